//! Products of few rows by rows: the steps of `k` lie side by side in both operands, and nothing is packed.
//!
//! In: a [`Contract`] whose operands are so. Out: an [`Along`], the kernels to compile and when they are used; at run time
//! [`multiply`] goes over the columns of the right operand, a few at a time, and passes all rows by them.

use super::driver::{Job, Kernel, Number, Word};
use super::{Knobs, Pack, packed, reads_in_place};
use crate::cpu::vector::Isa;
use crate::cpu::vector::ir::Program;
use crate::cpu::vector::micro::{RowsByRows, SUMS};
use helion_ir::dtype::DType;

/// The most rows for which this is used, where the config does not say: with more, packing pays.
const FEW: u64 = 16;
/// The fewest steps of `k` for that: adding up the lanes in the end takes as long as dozens of them.
const LONG: u64 = 192;
/// Rows of the kernels.
const ROWS: [u32; 3] = [4, 2, 1];
/// Columns that a single row is multiplied by at once: as many streams as memory serves well.
const COLUMNS_OF_ONE: u32 = 8;
/// The most sums of a kernel.
const MOST_SUMS: usize = 24;
/// Steps of `k` at once: the rows of the left operand stay in the second cache.
const STEPS: usize = 1024;

/// Where the kernels are: those of [`ROWS`] by several columns, by one column, and that of a single row.
pub(in super::super) const KERNELS: [Word; 2 * ROWS.len() + 1] =
    [Word::Along0, Word::Along1, Word::Along2, Word::Along3, Word::Along4, Word::Along5, Word::Along6];

/// When kernels sum along `k`, and which.
pub(in super::super) struct Along {
    /// The most rows.
    pub most_rows: u64,
    /// The fewest steps of `k`.
    pub least_steps: u64,
    /// Columns that several rows share.
    pub columns: u32,
    /// The kernels, in the order of [`KERNELS`].
    pub kernels: Vec<Program>,
}

/// Whether there are such kernels for operands of these types.
pub(in super::super) fn applies(acc: DType, [lhs, rhs]: [DType; 2], isa: Isa) -> bool {
    // Where several steps share a lane, packing is worth more; 128-bit vectors leave too few lanes to add up in the end.
    let in_lanes = packed(acc, lhs, rhs).is_some_and(|p| isa.multiplies(p));
    let float = matches!(acc, DType::F32 | DType::F64);
    float && !in_lanes && isa != Isa::Clif128 && reads_in_place(lhs, acc) && reads_in_place(rhs, acc)
}

/// Plans a product whose operands have adjacent steps of `k`; `None` where it is packed in any case.
pub(in super::super) fn plan(acc: DType, operands: [DType; 2], isa: Isa, knobs: &Knobs) -> Option<Along> {
    let (most_rows, least_steps) = match knobs.pack {
        Pack::Both => return None,
        Pack::Auto => (FEW, LONG),
        Pack::Left => (i64::MAX as u64, 0),
    };
    if !applies(acc, operands, isa) {
        return None;
    }
    // The sums, the columns and one row share the registers.
    let columns = if isa.registers() >= 32 { 6 } else { 3 };
    let by = |columns| ROWS.map(|rows| (rows, columns));
    let sizes = [by(columns), by(1)].concat().into_iter().chain([(1, COLUMNS_OF_ONE)]);
    let kernel = |(rows, columns)| RowsByRows { rows, columns, dtype: acc, from: operands }.program().ok();
    Some(Along { most_rows, least_steps, columns, kernels: sizes.map(kernel).collect::<Option<_>>()? })
}

/// Whether this is how to multiply `m` rows along `k` steps.
pub(super) fn wanted(job: &Job, m: usize, k: usize) -> bool {
    m <= job.size(Word::FewAlong) && k >= job.size(Word::LongAlong)
}

/// The whole product. A few columns of the right operand stay in the first cache while all rows pass.
///
/// # Safety
/// As of the driver; the steps of `k` of both operands are adjacent.
pub(super) unsafe fn multiply<T: Number>(job: &Job, [m, n, k]: [usize; 3], accumulate: bool) {
    let widest = if m == 1 { COLUMNS_OF_ONE as usize } else { job.size(Word::AlongColumns) };
    for k0 in (0..k).step_by(STEPS) {
        let steps = STEPS.min(k - k0);
        let mut j = 0;
        while j < n {
            let columns = if n - j >= widest { widest } else { 1 };
            let mut i = 0;
            while i < m {
                let (rows, kernel) = kernel(job, m, m - i, columns == widest);
                // SAFETY: these rows, columns and steps exist.
                unsafe { sums::<T>(job, kernel, (i, rows), (j, columns), (k0, steps), accumulate || k0 > 0) };
                i += rows;
            }
            j += columns;
        }
    }
}

/// The kernel for the next of `left` rows, and how many it takes.
fn kernel(job: &Job, m: usize, left: usize, wide: bool) -> (usize, Kernel) {
    let at = ROWS.iter().position(|r| *r as usize <= left).unwrap_or(ROWS.len() - 1);
    let place = match (wide, m) {
        (true, 1) => 2 * ROWS.len(),
        (true, _) => at,
        (false, _) => ROWS.len() + at,
    };
    (ROWS[at] as usize, job.kernel(KERNELS[place]))
}

/// Runs a kernel, and stores its sums or adds them to the accumulator.
unsafe fn sums<T: Number>(
    job: &Job,
    kernel: Kernel,
    (i, rows): (usize, usize),
    (j, columns): (usize, usize),
    (k0, steps): (usize, usize),
    add: bool,
) {
    let place = |base, along: Word, at: usize, step: Word| {
        let start = (job.word(base) as *const u8).wrapping_offset(k0 as isize * job.step(along));
        start.wrapping_offset(at as isize * job.step(step)) as u64
    };
    let mut slots = [0u64; SUMS + MOST_SUMS];
    slots[..SUMS].copy_from_slice(&[
        place(Word::Lhs, Word::LhsCol, i, Word::LhsRow),
        job.word(Word::LhsRow),
        place(Word::Rhs, Word::RhsRow, j, Word::RhsCol),
        job.word(Word::RhsCol),
    ]);
    // SAFETY: so many rows, columns and steps exist; the block has room for all sums.
    unsafe { kernel(slots.as_mut_ptr(), steps as u64) };
    for (r, sums) in slots[SUMS..][..rows * columns].chunks_exact(columns).enumerate() {
        let row = (job.word(Word::Acc) as *mut u8).wrapping_offset((i + r) as isize * job.step(Word::AccRow));
        for (c, bits) in sums.iter().enumerate() {
            let sum = T::from_word(*bits);
            // SAFETY: the element is in the accumulator.
            unsafe {
                let to = row.cast::<T>().add(j + c);
                *to = if add { (*to).plus(sum) } else { sum };
            }
        }
    }
}
