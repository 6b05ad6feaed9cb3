//! Fragments of matrices and their products.
//!
//! A fragment is spread over the lanes of a warp: lane `4 g + t` holds, in each register, the elements of row `g` (or `g + 8`)
//! whose depth begins at `t` times the elements in a register. Products are summed in f64, which holds the products of
//! all narrower types exactly, and rounded once; the hardware rounds differently in the last bits.

use super::Machine;
use super::memory::{Place, check_alignment, place};
use super::traffic::Request;
use super::warp::Warp;
use crate::fault::{AtLane, Exec, FaultKind, trouble};
use crate::float::{e4m3, e5m2};
use crate::memory::number;
use crate::program::inst::{Element, MatrixAccess, Mma, Reg, Regs, Src, Sum};
use crate::program::lanes::{F16, F32, Lanes, Value, WARP};

/// The value of an element's bits.
pub(super) fn value(element: Element, bits: u64) -> f64 {
    match element {
        Element::F16 => half::f16::from_bits(bits as u16).to_f32().into(),
        Element::Bf16 => half::bf16::from_bits(bits as u16).to_f32().into(),
        // The hardware does not look at the lower bits.
        Element::Tf32 => f32::from_bits(bits as u32 & !0x1fff).into(),
        Element::E4m3 => e4m3(bits as u8).into(),
        Element::E5m2 => e5m2(bits as u8).into(),
        Element::F64 => f64::from_bits(bits),
        Element::S8 => f64::from(bits as u8 as i8),
        Element::U8 => f64::from(bits as u8),
    }
}

/// The bits of a sum, rounded to its type.
pub(super) fn sum_bits(sum: Sum, x: f64, saturate: bool) -> u64 {
    match sum {
        Sum::F16 => F16::bits(half::f16::from_f64(x).to_f32()),
        Sum::F32 => F32::bits(x as f32),
        Sum::F64 => x.to_bits(),
        Sum::S32 if saturate => u64::from(x as i32 as u32),
        Sum::S32 => u64::from(x as i64 as u32),
    }
}

/// The value of a sum's bits.
pub(super) fn sum_value(sum: Sum, bits: u64) -> f64 {
    match sum {
        Sum::F16 => F16::of(bits).into(),
        Sum::F32 => F32::of(bits).into(),
        Sum::F64 => f64::from_bits(bits),
        Sum::S32 => f64::from(bits as u32 as i32),
    }
}

/// Row and column of a sum: the `i`-th that a lane holds.
pub(super) fn sum_place(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + 8 * (i / 2 % 2), i / 4 * 8 + lane % 4 * 2 + i % 2)
}

impl Machine<'_> {
    /// Elements of an operand whose rows are spread over lanes: `rows` of `depth`, row after row.
    pub(super) fn gather_rows(
        &self,
        warp: &Warp,
        src: &[Src],
        element: Element,
        rows: usize,
        depth: usize,
    ) -> Vec<f64> {
        let bits = element.bits();
        let each = (32 / bits as usize).max(1);
        let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        let mut all = vec![0.0; rows * depth];
        for (r, src) in src.iter().enumerate() {
            let values = self.lanes(warp, *src);
            let (half, step) = if rows == 16 { (r % 2, r / 2) } else { (0, r) };
            for (lane, v) in values.iter().enumerate() {
                let row = lane / 4 + 8 * half;
                for j in 0..each {
                    let k = lane % 4 * each + j + 4 * each * step;
                    all[row * depth + k] = value(element, v >> (bits as usize * j % 64) & mask);
                }
            }
        }
        all
    }

    /// Sums that are spread over lanes, as they stand in registers.
    pub(super) fn gather_sums(&self, warp: &Warp, src: &[Src], sum: Sum, rows: usize, columns: usize) -> Vec<f64> {
        let mut all = vec![0.0; rows * columns];
        let per_register = if sum == Sum::F16 { 2 } else { 1 };
        for (r, src) in src.iter().enumerate() {
            let values = self.lanes(warp, *src);
            for (lane, v) in values.iter().enumerate() {
                for j in 0..per_register {
                    let (row, column) = sum_place(lane, r * per_register + j);
                    all[row * columns + column] = sum_value(sum, v >> (16 * j));
                }
            }
        }
        all
    }

    /// Writes sums back to the lanes.
    pub(super) fn scatter_sums(warp: &mut Warp, d: &[Reg], sum: Sum, saturate: bool, all: &[f64], columns: usize) {
        let per_register = if sum == Sum::F16 { 2 } else { 1 };
        for (r, reg) in d.iter().enumerate() {
            let values: Lanes = std::array::from_fn(|lane| {
                (0..per_register).fold(0, |bits, j| {
                    let (row, column) = sum_place(lane, r * per_register + j);
                    bits | sum_bits(sum, all[row * columns + column], saturate) << (16 * j)
                })
            });
            warp.set(*reg, u32::MAX, &values);
        }
    }

    pub(super) fn mma(&mut self, warp: &mut Warp, mma: &Mma) {
        let [rows, columns, depth] = mma.shape;
        let a = self.gather_rows(warp, &mma.a, mma.elements[0], rows, depth);
        // The second operand is held column by column, as the first is row by row.
        let b = self.gather_rows(warp, &mma.b, mma.elements[1], columns, depth);
        let mut sums = self.gather_sums(warp, &mma.c, mma.sums[1], rows, columns);
        for row in 0..rows {
            for column in 0..columns {
                let (x, y) = (&a[row * depth..][..depth], &b[column * depth..][..depth]);
                sums[row * columns + column] += dot(x, y);
            }
        }
        Self::scatter_sums(warp, &mma.d, mma.sums[0], mma.saturate, &sums, columns);
    }

    /// The shared address of a matrix row, which a lane gives.
    fn row_address(&self, access: &MatrixAccess, addresses: &Lanes, lane: usize) -> Exec<u64> {
        check_alignment(addresses[lane], 16).at(lane)?;
        match place(access.space, addresses[lane]) {
            Place::Shared(a) => Ok(a),
            Place::Global(_) | Place::Local(_) | Place::Param(_) => trouble(
                FaultKind::OutOfBounds,
                format!("the matrix row at {:#x} is not in shared memory", addresses[lane]),
            )
            .at(lane),
        }
    }

    pub(super) fn load_matrix(&mut self, warp: &mut Warp, access: &MatrixAccess, dst: &Regs) -> Exec<()> {
        let addresses = self.addresses(warp, access.address);
        for (i, reg) in dst.iter().enumerate() {
            let mut request = Request::default();
            let mut rows = [[0u64; 8]; 8];
            for (r, row) in rows.iter_mut().enumerate() {
                let owner = i * 8 + r;
                let at = self.row_address(access, &addresses, owner)?;
                // Eight lanes of a pass read one row each.
                request.shared(r, at);
                for (c, element) in row.iter_mut().enumerate() {
                    // The lane that will hold the element reads it.
                    let lane = if access.transposed { c * 4 + r / 2 } else { r * 4 + c / 2 };
                    let who = self.who(warp, lane, false);
                    *element = number(self.shared.read(who, at + 2 * c as u64, 2).at(owner)?);
                }
            }
            request.count(16, &mut self.sites[self.pc as usize]);
            let values: Lanes = std::array::from_fn(|lane| {
                let (g, t) = (lane / 4, lane % 4 * 2);
                if access.transposed { rows[t][g] | rows[t + 1][g] << 16 } else { rows[g][t] | rows[g][t + 1] << 16 }
            });
            if let Some(reg) = reg {
                warp.set(*reg, u32::MAX, &values);
            }
        }
        Ok(())
    }

    pub(super) fn store_matrix(&mut self, warp: &mut Warp, access: &MatrixAccess, src: &[Src]) -> Exec<()> {
        self.effects += 1;
        let addresses = self.addresses(warp, access.address);
        for (i, src) in src.iter().enumerate() {
            let values = *self.lanes(warp, *src);
            let mut request = Request::default();
            for r in 0..8 {
                let owner = i * 8 + r;
                let at = self.row_address(access, &addresses, owner)?;
                request.shared(r, at);
                for c in 0..8 {
                    let (lane, upper) = if access.transposed { (c * 4 + r / 2, r % 2) } else { (r * 4 + c / 2, c % 2) };
                    let who = self.who(warp, lane, false);
                    let bits = (values[lane] >> (16 * upper)) as u16;
                    self.shared.write(who, at + 2 * c as u64, &bits.to_le_bytes()).at(owner)?;
                }
            }
            request.count(16, &mut self.sites[self.pc as usize]);
        }
        Ok(())
    }

    /// Whether all lanes of a warp are here, which these instructions need.
    pub(super) fn all_here(warp: &Warp, mask: u32) -> Exec<bool> {
        if warp.live != u32::MAX {
            return trouble(
                FaultKind::Misuse,
                format!("only the lanes {:#x} are left; all {WARP} have to take part", warp.live),
            );
        }
        Ok(mask == u32::MAX)
    }
}

/// A sum of products.
pub(super) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}
