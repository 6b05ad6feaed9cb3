//! The inner kernels of matrix products, as vector programs.
//!
//! *Tiles.* Comes in: a tile size. Goes out: a counted program over `k` that multiplies a packed panel of A,
//! `[k][rows]`, by a packed panel of B, `[k][vectors * lanes]`, keeps all sums in registers, and at the
//! end stores them to C or adds them to C, row by row.
//!
//! *Sweeps.* Comes in: a number of rows and of steps of `k`. Goes out: a program over the columns that adds to these rows
//! of C the product of a packed panel of A by rows of B, which stay where they are.
//!
//! *Rows by rows.* Comes in: a number of rows of A and of columns of B, both with adjacent steps of `k`. Goes out: a program
//! over `k` that gives all their sums of products; nothing is packed.

use helion_ir::dtype::{DType, Literal};

use super::builder::Builder;
use super::ir::{Addr, Fold, Packed, Program, SlotId, Trip, Ty, Walk};

/// The words of the argument block.
pub const A: SlotId = SlotId(0);
/// The packed panel of B.
pub const B: SlotId = SlotId(1);
/// The first element of the tile of C.
pub const C: SlotId = SlotId(2);
/// Bytes from one row of C to the next.
pub const C_STRIDE: SlotId = SlotId(3);

/// A tile of C and how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MicroKernel {
    /// Rows of the tile.
    pub rows: u32,
    /// Vectors in a row of the tile.
    pub vectors: u32,
    /// `f32`, `f64` or `i32`.
    pub dtype: DType,
    /// Elements of the panels where several steps of `k` share a 32-bit lane. Of 8-bit integers the panel of B is
    /// unsigned, and the panel of A begins with what the sums begin with, an `i32` for each row.
    pub packed: Option<Packed>,
    /// Steps of `k` per iteration.
    pub unroll: u32,
    /// Whether the product is added to C rather than stored.
    pub accumulate: bool,
}

impl MicroKernel {
    /// The program for vectors of `lanes` lanes, or why there is none.
    pub fn program(&self, lanes: usize) -> Result<Program, String> {
        let ty = match self.dtype {
            DType::F32 => Ty::F32,
            DType::F64 => Ty::F64,
            DType::I32 => Ty::I32,
            other => return Err(format!("no micro-kernel of {other}")),
        };
        let size = self.dtype.size() as u32;
        let (rows, vectors) = (self.rows, self.vectors);
        if rows == 0 || vectors == 0 || rows > 1 << 12 || vectors > 1 << 8 {
            return Err(format!("no micro-kernel of {rows} rows and {vectors} vectors"));
        }
        let name = format!("micro_{}x{}_{}", rows, vectors, self.dtype);
        let mut b = Builder::new(&name, Trip::Count);
        b.unroll(self.unroll);
        let (a_slot, b_slot, c_slot, stride) = (b.pointer(), b.pointer(), b.pointer(), b.stride());
        if self.packed.is_some_and(|p| p.sum() != ty) {
            return Err(format!("no micro-kernel of {:?} with sums of {}", self.packed, self.dtype));
        }
        let headed = self.packed == Some(Packed::I8);
        let starts: Vec<_> = match headed {
            true => (0..rows).map(|i| b.load(Addr::fixed(a_slot).plus((i * size) as i32), self.dtype)).collect(),
            false => vec![b.constant(Literal::from_bits(self.dtype, 0)); rows as usize],
        };
        let head = if headed { (rows * size) as i32 } else { 0 };
        let sums: Vec<_> = (0..rows * vectors).map(|i| b.carry(starts[(i / vectors) as usize], None)).collect();
        // What a panel holds for a row or column at a time.
        let element = if self.packed.is_some() { DType::I32 } else { self.dtype };
        b.begin_body();
        let columns: Vec<_> = (0..vectors)
            .map(|j| {
                let advance = (vectors as usize * lanes) as i32 * size as i32;
                let walk = Walk::Bytes { advance, splat: false };
                b.load(Addr { vectors: j, walk, ..Addr::unit(b_slot) }, element)
            })
            .collect();
        for i in 0..rows {
            let walk = Walk::Bytes { advance: (rows * size) as i32, splat: true };
            let x = b.load(Addr { offset: head + (i * size) as i32, walk, ..Addr::unit(a_slot) }, element);
            for (j, &column) in columns.iter().enumerate() {
                let (carry, sum) = sums[(i * vectors) as usize + j];
                let next = match self.packed {
                    Some(packed) => b.dots(packed, column, x, sum),
                    None if ty.is_float() => b.fma(column, x, sum),
                    None => {
                        let product = b.mul(column, x);
                        b.add(sum, product)
                    }
                };
                b.set_next(carry, next);
            }
        }
        b.begin_after();
        for i in 0..rows {
            for j in 0..vectors {
                let at = Addr { vectors: j, ..Addr::unit(c_slot) }.row(i, stride);
                let mut sum = b.carried(sums[(i * vectors + j) as usize].0);
                if self.accumulate {
                    let old = b.load(at, self.dtype);
                    sum = b.add(old, sum);
                }
                b.store(at, self.dtype, sum);
            }
        }
        b.finish()
    }
}

/// Rows of C to which some steps of `k` are added. The argument block: the panel of A, `[steps][rows]`; the first row of
/// B and its bytes per row; the first row of C and its bytes per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sweep {
    /// Rows of C.
    pub rows: u32,
    /// Rows of B.
    pub steps: u32,
    /// `f32`, `f64` or `i32`.
    pub dtype: DType,
    /// Element type of B.
    pub from: DType,
    /// Rows of C that are summed side by side, to hide how long an addition takes. Their sums and the rows of B share
    /// the registers.
    pub group: u32,
}

impl Sweep {
    /// The program, or why there is none.
    pub fn program(&self) -> Result<Program, String> {
        let (Some(ty), Some(from)) = (Ty::of_memory(self.dtype), Ty::of_memory(self.from)) else {
            return Err(format!("no sweep of {} into {}", self.from, self.dtype));
        };
        let (rows, steps, size) = (self.rows, self.steps, self.dtype.size() as u32);
        if rows == 0 || steps == 0 || self.group == 0 || rows > 1 << 8 || steps > 1 << 8 {
            return Err(format!("no sweep of {rows} rows and {steps} steps"));
        }
        let mut b = Builder::new(&format!("sweep_{}x{}_{}", rows, steps, self.dtype), Trip::Elements);
        let (a, right, right_stride, c, c_stride) = (b.pointer(), b.pointer(), b.stride(), b.pointer(), b.stride());
        b.begin_body();
        let mut loaded = Vec::with_capacity(steps as usize);
        for s in 0..steps {
            let at = Addr::unit(right);
            let x = b.load(at.row(s, right_stride), self.from);
            loaded.push(if from == ty { x } else { b.convert(ty, x) });
        }
        for first in (0..rows).step_by(self.group as usize) {
            let group = first..rows.min(first + self.group);
            let places: Vec<_> = group.clone().map(|i| Addr::unit(c).row(i, c_stride)).collect();
            let mut sums: Vec<_> = places.iter().map(|at| b.load(*at, self.dtype)).collect();
            for (s, &x) in (0..).zip(&loaded) {
                for (i, sum) in group.clone().zip(&mut sums) {
                    let factor = b.load(Addr::fixed(a).plus(((s * rows + i) * size) as i32), self.dtype);
                    *sum = if ty.is_float() {
                        b.fma(x, factor, *sum)
                    } else {
                        let product = b.mul(x, factor);
                        b.add(*sum, product)
                    };
                }
            }
            for (at, sum) in places.into_iter().zip(sums) {
                b.store(at, self.dtype, sum);
            }
        }
        b.finish()
    }
}

/// Sums along `k` of some rows of A by some columns of B, where the steps of `k` of both lie side by side. The argument block:
/// the first row of A and its bytes per row; the first column of B and its bytes per column; then the sums, which the program
/// writes, row by row. `n` is the number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowsByRows {
    /// Rows of A.
    pub rows: u32,
    /// Columns of B.
    pub columns: u32,
    /// `f32` or `f64`.
    pub dtype: DType,
    /// Element types of A and B.
    pub from: [DType; 2],
}

/// Words of the argument block before the sums.
pub const SUMS: usize = 4;

impl RowsByRows {
    /// The program, or why there is none.
    pub fn program(&self) -> Result<Program, String> {
        let RowsByRows { rows, columns, dtype, from } = *self;
        let types = [dtype, from[0], from[1]].map(Ty::of_memory);
        let [Some(ty), Some(left), Some(right)] = types else {
            return Err(format!("no sums of {} by {} in {dtype}", from[0], from[1]));
        };
        if !ty.is_float() || rows == 0 || columns == 0 || rows > 1 << 4 || columns > 1 << 4 {
            return Err(format!("no sums of {rows} rows and {columns} columns in {dtype}"));
        }
        let mut b = Builder::new(&format!("rows_{rows}x{columns}_{dtype}"), Trip::Elements);
        b.unroll(1);
        let (a, a_stride, right_at, right_stride) = (b.pointer(), b.stride(), b.pointer(), b.stride());
        let slots: Vec<_> = (0..rows * columns).map(|_| b.result(ty)).collect();
        let zero = b.constant(Literal::from_bits(dtype, 0));
        let sums: Vec<_> = slots.iter().map(|_| b.carry(zero, Some(Fold::Add))).collect();
        b.begin_body();
        let load = |b: &mut Builder, at: Addr, from: DType, own: Ty| {
            let x = b.load(at, from);
            if own == ty { x } else { b.convert(ty, x) }
        };
        let held: Vec<_> =
            (0..columns).map(|j| load(&mut b, Addr::unit(right_at).row(j, right_stride), from[1], right)).collect();
        for i in 0..rows {
            let x = load(&mut b, Addr::unit(a).row(i, a_stride), from[0], left);
            for (&y, (carry, sum)) in held.iter().zip(&sums[(i * columns) as usize..]) {
                let next = b.fma(x, y, *sum);
                b.set_next(*carry, next);
            }
        }
        b.begin_after();
        for (slot, (carry, _)) in slots.into_iter().zip(&sums) {
            let sum = b.carried(*carry);
            b.reduce_to(Fold::Add, slot, sum);
        }
        b.finish()
    }
}
