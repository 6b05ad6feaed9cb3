//! Runs compiled code: how many threads, which share of the grid each takes, scratch memory.

use super::alloc::Block;
use super::pool;
use crate::error::{Error, Result};
use helion_codegen::cpu::{CompiledKernel, Plan};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Scalar operations below which another thread costs more than it gains: some microseconds of work.
const SERIAL: u64 = 60_000;
/// The least work worth a thread of its own.
const SHARE: u64 = 20_000;

thread_local! {
    /// Scratch memory of the last launch of this thread.
    static SCRATCH: Cell<Option<(usize, Block)>> = const { Cell::new(None) };
}

/// Runs a launch on up to `threads` threads.
///
/// # Errors
/// When there is no memory for scratch; then outputs are partly written.
///
/// # Safety
/// `words` are arguments of this kernel as [`CompiledKernel::run`] demands.
pub(super) unsafe fn run(kernel: &CompiledKernel, words: &[u64], threads: usize) -> Result<()> {
    let plan = kernel.plan(words);
    let workers = workers(&plan, threads);
    if workers <= 1 {
        // SAFETY: promised by the caller; this thread runs every program.
        return with_scratch(plan.scratch_bytes, |s| unsafe { kernel.run(words, s, 0, plan.programs) });
    }
    let failed = AtomicBool::new(false);
    let tail = AtomicU64::new(0);
    pool::run(workers, |worker, workers| {
        let share = Share::new(plan.programs, worker as u64, workers as u64);
        let ran = with_scratch(plan.scratch_bytes, |s| {
            // SAFETY: promised by the caller; shares are disjoint, each worker has scratch of its own.
            share.each(&tail, |first, last| unsafe { kernel.run(words, s, first, last) });
        });
        if ran.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
    });
    if failed.into_inner() { Err(no_scratch(plan.scratch_bytes)) } else { Ok(()) }
}

/// How many threads a launch deserves.
fn workers(plan: &Plan, threads: usize) -> usize {
    let work = plan.programs.saturating_mul(plan.work_per_program);
    if threads <= 1 || work < SERIAL {
        return 1;
    }
    (threads as u64).min(plan.programs).min(work / SHARE) as usize
}

/// A worker's part of the grid: most of it fixed and contiguous, so that neighbours share caches and
/// nothing is contended; the rest in small pieces for whoever comes first, so that a slow worker does not hold
/// up the others.
struct Share {
    first: u64,
    last: u64,
    /// Where the shared rest begins, and the size of its pieces.
    rest: u64,
    piece: u64,
    programs: u64,
}

impl Share {
    fn new(programs: u64, worker: u64, workers: u64) -> Share {
        let each = programs / workers;
        // With few programs for each worker any may be the slow one: share all but the first.
        let fixed = if each < 4 { each.min(1) } else { each - each / 4 };
        let rest = fixed * workers;
        let piece = ((programs - rest) / (workers * 4)).max(1);
        Share { first: fixed * worker, last: fixed * (worker + 1), rest, piece, programs }
    }

    fn each(&self, taken: &AtomicU64, mut run: impl FnMut(u64, u64)) {
        if self.first < self.last {
            run(self.first, self.last);
        }
        if self.rest >= self.programs {
            return;
        }
        loop {
            let at = self.rest.saturating_add(taken.fetch_add(self.piece, Ordering::Relaxed));
            if at >= self.programs {
                return;
            }
            run(at, at.saturating_add(self.piece).min(self.programs));
        }
    }
}

/// Calls `f` with memory of this thread, aligned to 64.
fn with_scratch(bytes: u64, f: impl FnOnce(*mut u8)) -> Result<()> {
    if bytes == 0 {
        // Aligned, and never accessed.
        f(std::ptr::without_provenance_mut(64));
        return Ok(());
    }
    let bytes = usize::try_from(bytes).map_err(|_| no_scratch(bytes))?;
    // Taken, so that a launch within a launch gets memory of its own.
    let kept = SCRATCH.try_with(Cell::take).ok().flatten().filter(|(n, _)| *n >= bytes);
    let (size, block) = match kept {
        Some(k) => k,
        None => (bytes, Block::new(bytes).map_err(|_| no_scratch(bytes as u64))?),
    };
    f(block.ptr().as_ptr());
    let _ = SCRATCH.try_with(|s| s.set(Some((size, block))));
    Ok(())
}

fn no_scratch(bytes: u64) -> Error {
    Error::memory(format!("no memory for {bytes} bytes of scratch for each thread of a launch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_the_grid_once() {
        for programs in [1, 2, 3, 7, 16, 100, 1001] {
            for workers in [1, 2, 3, 8, 200] {
                let (taken, mut hits) = (AtomicU64::new(0), vec![0; programs as usize]);
                for w in 0..workers {
                    Share::new(programs, w, workers).each(&taken, |a, b| (a..b).for_each(|i| hits[i as usize] += 1));
                }
                assert!(hits.iter().all(|h| *h == 1), "{programs} {workers}");
            }
        }
    }

    #[test]
    fn small_launches_stay_on_one_thread() {
        let plan = |programs, work_per_program| Plan { programs, scratch_bytes: 0, work_per_program };
        assert_eq!(workers(&plan(1 << 20, 0), 8), 1);
        assert_eq!(workers(&plan(16, 1024), 8), 1);
        assert_eq!(workers(&plan(1 << 20, 1024), 8), 8);
        assert_eq!(workers(&plan(2, u64::MAX), 8), 2);
        assert_eq!(workers(&plan(8, 10_000), 8), 4);
    }
}
