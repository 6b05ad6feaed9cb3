//! Matrix products: operands packed into panels, micro-kernels over the panels; or the right operand where it is.
//!
//! In: a [`Contract`]. Out: a [`Form`], that is the kernels to compile and the block sizes; the compiled kernel
//! then calls [`driver`] once per batch element with a block of words that says where everything is. `None`
//! for element types without micro-kernels; the kernel then runs scalar loops.
//!
//! *Packed.* The driver blocks over `k` (so that a panel of the right operand stays in cache), over columns, and over
//! rows (so that the packed left operand stays in the second-level cache). Panels are `[k][rows]` and
//! `[k][columns]`, padded with zeros; tiles at the edges go through a temporary.
//!
//! *In place.* With few rows packing the right operand costs as much as using it. Then kernels sweep over the columns:
//! each takes some steps of `k`, loads that many rows of the right operand where they are, and adds their part to the
//! accumulator, which is small. Steps of `k` that are left over at the end are packed.
//!
//! *Rows by rows.* Where the steps of `k` of both operands lie side by side, as in a layer whose weights are stored by
//! outputs, and rows are few, nothing is packed either: kernels sum along `k` (`along`).
//!
//! *Matrix unit.* Where the machine has one for the operands' types, panels take its form and its kernels, which are
//! precompiled (`amx`), the place of vector programs.

pub(super) mod along;
mod amx;
pub(super) mod driver;
mod pack;
mod panels;
#[cfg(test)]
mod tests;

use super::knobs::{Knobs, Pack};
use super::vector::Isa;
use super::vector::ir::{Packed, Program, Ty};
use super::vector::micro::{MicroKernel, Sweep};
use amx::Matrix;
pub(super) use amx::exists as has_matrix_unit;
use driver::Word;
use helion_ir::dtype::DType;
use helion_ir::loops::Contract;
use panels::Panels;

/// Sizes of packed blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// Steps of `k` per block.
    pub kc: u64,
    /// Rows per block.
    pub mc: u64,
    /// Columns per block.
    pub nc: u64,
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks { kc: 512, mc: 288, nc: 2048 }
    }
}

/// The most rows for which the right operand is read in place, where the config does not say.
const FEW: u64 = 16;
/// How many times as many steps of `k` are in a block for the matrix unit: its elements are small, and loading and storing
/// sums takes long beside its products.
const LONGER: u64 = 4;
/// Steps of `k` in a sweep.
pub(super) const STEPS: u32 = 8;
/// Rows of the kernels that sweep, in the order of their words.
pub(super) const SWEEPS: [u32; 3] = [8, 4, 1];

/// A register tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Rows.
    pub rows: u32,
    /// Vectors per row.
    pub vectors: u32,
}

impl Tile {
    /// The tile that suits an instruction set, with what is pinned.
    pub(super) fn of(pinned: (Option<u32>, Option<u32>), isa: Isa) -> Tile {
        let standard = match isa {
            Isa::Amx | Isa::Avx512 => Tile { rows: 12, vectors: 2 },
            Isa::Avx2 => Tile { rows: 6, vectors: 2 },
            Isa::Clif128 => Tile { rows: 4, vectors: 2 },
        };
        let rows_beside = |vectors: u32| (isa.registers() as u32).saturating_sub(1 + vectors) / vectors;
        let vectors_beside = |rows: u32| (isa.registers() as u32 - 1) / (rows + 1);
        match pinned {
            (None, None) => standard,
            (Some(rows), None) if rows == standard.rows => standard,
            (Some(rows), None) => Tile { rows, vectors: vectors_beside(rows).clamp(1, 8) },
            (None, Some(vectors)) if vectors == standard.vectors => standard,
            (None, Some(vectors)) => Tile { rows: rows_beside(vectors).clamp(1, 24), vectors },
            // A tile that does not fit would be slow: `legal` keeps it out, and here it shrinks.
            (Some(rows), Some(vectors)) => Tile { rows: rows.min(rows_beside(vectors)).max(1), vectors },
        }
    }

    /// Registers for the sums, a row of the right operand, and an element of the left one.
    pub(super) fn registers(self) -> usize {
        (self.rows * self.vectors + self.vectors + 1) as usize
    }
}

/// Rows of edge kernels: the next larger one costs little more than the rows there are.
fn edges(rows: u64) -> impl Iterator<Item = u64> {
    [16, 8, 4, 2, 1].into_iter().filter(move |r| *r < rows)
}

/// How a product is computed.
#[derive(Debug)]
pub(super) struct Form {
    /// Element type of the accumulator.
    pub dtype: DType,
    /// Rows of a full tile.
    pub rows: u64,
    /// Columns of a full tile.
    pub columns: u64,
    /// Sizes of packed blocks.
    pub blocks: Blocks,
    /// What panels hold.
    pub panels: Panels,
    /// The kernels.
    pub kernels: Kernels,
}

/// The vector programs of packed products.
#[derive(Debug)]
pub(super) struct TilePrograms {
    /// Adds a full tile to the accumulator.
    pub add: Program,
    /// Stores a full tile.
    pub store: Program,
    /// Stores a tile with fewer rows.
    pub edges: Vec<(u64, Program)>,
}

/// The kernels of packed products.
#[derive(Debug)]
pub(super) enum Kernels {
    /// Vector programs.
    Programs(Box<TilePrograms>),
    /// Those of the matrix unit.
    Matrix(Matrix),
}

/// Plans a product with operands of types `lhs` and `rhs`; `None` when it must run as scalar loops.
pub(super) fn form(c: &Contract, acc: DType, lhs: DType, rhs: DType, isa: Isa, knobs: &Knobs) -> Option<Form> {
    if !driver::converts(lhs, acc) || !driver::converts(rhs, acc) {
        return None;
    }
    let up = |size: u64, to: u64| (size / to * to).max(to);
    let blocks = |rows: u64, columns: u64, longer: u64| Blocks {
        kc: c.k.bound.unwrap_or(u64::MAX).clamp(1, knobs.blocks.kc.saturating_mul(longer)),
        mc: up(knobs.blocks.mc, rows),
        nc: up(knobs.blocks.nc, columns),
    };
    if isa == Isa::Amx
        && let Some(matrix) = matrix(acc, lhs, rhs)
    {
        let (side, kernels) = (amx::SIDE, Kernels::Matrix(matrix));
        let (blocks, panels) = (blocks(side, side, LONGER), Panels::Tiles(matrix));
        return Some(Form { dtype: acc, rows: side, columns: side, blocks, panels, kernels });
    }
    let tile = Tile::of(knobs.micro, isa);
    let most = u64::from(tile.rows);
    let rows = c.m.bound.map_or(most, |b| most.min(b.max(1)));
    let lanes = isa.vector_bytes() / acc.size();
    let packed = packed(acc, lhs, rhs).filter(|p| isa.multiplies(*p));
    let kernel = |rows: u64, accumulate| {
        let k = MicroKernel { rows: rows as u32, vectors: tile.vectors, dtype: acc, packed, unroll: 2, accumulate };
        k.program(lanes).ok()
    };
    let edges = edges(rows).map(|r| Some((r, kernel(r, false)?))).collect::<Option<Vec<_>>>()?;
    let columns = u64::from(tile.vectors) * lanes as u64;
    let programs = TilePrograms { add: kernel(rows, true)?, store: kernel(rows, false)?, edges };
    let kernels = Kernels::Programs(Box::new(programs));
    let panels = packed.map_or(Panels::Single, Panels::Lanes);
    Some(Form { dtype: acc, rows, columns, blocks: blocks(rows, columns, 1), panels, kernels })
}

/// What the matrix unit multiplies of these types.
fn matrix(acc: DType, lhs: DType, rhs: DType) -> Option<Matrix> {
    let signs = |d| match d {
        DType::I8 => Some(true),
        DType::U8 => Some(false),
        _ => None,
    };
    match acc {
        DType::F32 => (lhs == DType::BF16 && rhs == DType::BF16).then_some(Matrix::Bf16),
        DType::I32 => Some(Matrix::Bytes(signs(lhs)?, signs(rhs)?)),
        _ => None,
    }
}

/// What can share lanes in panels of operands of types `lhs` and `rhs`.
fn packed(acc: DType, lhs: DType, rhs: DType) -> Option<Packed> {
    let small = |d| matches!(d, DType::I8 | DType::U8 | DType::I16);
    match (acc, lhs, rhs) {
        (DType::F32, DType::BF16, DType::BF16) => Some(Packed::Bf16),
        (DType::I32, DType::I8, DType::I8) => Some(Packed::I8),
        (DType::I32, lhs, rhs) if small(lhs) && small(rhs) => Some(Packed::I16),
        (_, _, _) => None,
    }
}

/// Whether a right operand of type `from` can be used where it is, for an accumulator of type `acc`.
pub(super) fn reads_in_place(from: DType, acc: DType) -> bool {
    matches!(Ty::of_memory(from), Some(ty) if ty != Ty::Mask) && driver::converts(from, acc)
}

/// The kernels that read the right operand in place, and the most rows they are for; none where they do not apply.
/// Its columns must be adjacent.
pub(super) fn sweeps(c: &Contract, acc: DType, rhs: DType, isa: Isa, knobs: &Knobs) -> Option<(u64, Vec<Program>)> {
    let most = match knobs.pack {
        Pack::Both => return None,
        Pack::Auto => FEW,
        Pack::Left => i64::MAX as u64,
    };
    if !reads_in_place(rhs, acc) || c.k.bound.is_some_and(|b| b < u64::from(STEPS)) {
        return None;
    }
    let group = if isa.registers() >= 32 { 8 } else { 4 };
    let sweep = |rows| Sweep { rows, steps: STEPS, dtype: acc, from: rhs, group }.program().ok();
    Some((most, SWEEPS.into_iter().map(sweep).collect::<Option<Vec<_>>>()?))
}

impl Form {
    /// Constant words of the driver's block.
    pub(super) fn words(&self, lhs: DType, rhs: DType, accumulate: bool) -> Vec<(Word, i64)> {
        let mut words = vec![
            (Word::Rows, self.rows as i64),
            (Word::Columns, self.columns as i64),
            (Word::Kc, self.blocks.kc as i64),
            (Word::Mc, self.blocks.mc as i64),
            (Word::Nc, self.blocks.nc as i64),
            (Word::LhsType, super::runtime::ordinal(lhs)),
            (Word::RhsType, super::runtime::ordinal(rhs)),
            (Word::Accumulate, i64::from(accumulate)),
            (Word::Panels, self.panels.number()),
        ];
        let edges: &[_] = match &self.kernels {
            Kernels::Programs(programs) => &programs.edges,
            Kernels::Matrix(_) => &[],
        };
        for (i, (word, _)) in driver::EDGES.into_iter().enumerate() {
            words.push((word, edges.get(i).map_or(0, |(r, _)| *r as i64)));
        }
        words
    }

    /// Bytes of packed panels that do not depend on the extents, and those per row and per column.
    pub(super) fn spare(&self) -> (i64, i64, i64) {
        let size = self.dtype.size() as i64;
        let (rows, columns) = (self.rows as i64, self.columns as i64);
        let kc = self.blocks.kc as usize;
        // Panels have elements of the accumulator's size, or lanes of as much.
        let (left, right) = (self.panels.row_depth(kc) as i64, (self.panels.depth(kc) + driver::GAP) as i64);
        let (left, right) = (left * size, right * size);
        (rows * left + columns * right + rows * columns * size + 3 * 64, left, right)
    }
}
