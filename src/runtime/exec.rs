//! Runs compiled code: how many threads, which share of the grid each takes, memory for scratch and workspaces.

use super::alloc::Block;
use super::pool;
use crate::error::{Error, Result};
use helion_codegen::cpu::{CompiledKernel, Launch, Plan, Share};
use helion_codegen::pipeline::Sequence;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::LocalKey;

/// Instructions, as a plan counts them, below which a launch stays on its thread: three to five microseconds of work.
/// Handing work to a thread takes a third of a microsecond when it is looking for some, several when it is parked.
const SERIAL: u64 = 30_000;
/// The least instructions worth a thread of their own.
const SHARE: u64 = 10_000;

thread_local! {
    /// Scratch memory of the last launch of this thread.
    static SCRATCH: Kept = const { Cell::new(None) };
    /// Workspaces of the last launch of this thread that needed some.
    static WORKSPACES: Kept = const { Cell::new(None) };
    /// Memory for argument words of kernels with workspaces.
    static WORDS: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Memory that a thread keeps, with its size.
type Kept = Cell<Option<(usize, Block)>>;

/// Runs the kernels of a launch one after another.
///
/// # Errors
/// When there is no memory for workspaces or scratch; then outputs may be partly written.
///
/// # Safety
/// `words` are arguments of this launch: for each kernel what [`CompiledKernel::run`] demands, but for its workspaces.
#[inline]
pub(super) unsafe fn run(
    kernels: &Sequence<CompiledKernel>,
    words: &[u64],
    limit: usize,
    launch: Launch,
) -> Result<()> {
    if kernels.workspaces.is_empty() {
        // SAFETY: promised by the caller; without workspaces there is one kernel.
        return unsafe { run_one(&kernels.last, words, limit, launch) };
    }
    // SAFETY: promised by the caller.
    unsafe { run_all(kernels, words, limit, launch) }
}

/// Runs kernels that hand on results in workspaces. Each begins when all instances of the one before have ended.
///
/// # Errors
/// As [`run`].
///
/// # Safety
/// As [`run`].
#[inline(never)]
unsafe fn run_all(kernels: &Sequence<CompiledKernel>, words: &[u64], limit: usize, launch: Launch) -> Result<()> {
    let too_large = || Error::memory("the workspaces of a split reduction are too large; a smaller `split` needs less");
    let bytes = kernels.workspace_bytes(words).ok_or_else(too_large)?;
    // Taken, so that a launch within a launch gets memory of its own.
    let mut all = WORDS.try_with(Cell::take).unwrap_or_default();
    let result = with_kept(&WORKSPACES, bytes, no_workspace, |base| {
        kernels.words(words, base as u64, &mut all);
        // SAFETY: the workspaces lie in memory of this call, and nothing else uses that; the rest is promised by
        // the caller.
        kernels.kernels().try_for_each(|kernel| unsafe { run_one(kernel, &all, limit, launch) })
    });
    let _ = WORDS.try_with(|w| w.set(all));
    result?
}

/// Runs one kernel on at most `limit` threads, shared as `launch` says.
///
/// # Errors
/// When there is no memory for scratch; then outputs are partly written.
///
/// # Safety
/// `words` are arguments of this kernel as [`CompiledKernel::run`] demands.
unsafe fn run_one(kernel: &CompiledKernel, words: &[u64], limit: usize, launch: Launch) -> Result<()> {
    let plan = kernel.plan(words);
    let workers = workers(&plan, limit, launch);
    if workers <= 1 {
        // SAFETY: promised by the caller; this thread runs every program.
        return with_scratch(plan.scratch_bytes, |s| unsafe { kernel.run(words, s, 0, plan.programs) });
    }
    let failed = AtomicBool::new(false);
    let taken = AtomicU64::new(0);
    pool::run(workers, |worker, workers| {
        let part = Part::new(launch.share, plan.programs, worker as u64, workers as u64);
        let ran = with_scratch(plan.scratch_bytes, |s| {
            // SAFETY: promised by the caller; parts are disjoint, each worker has scratch of its own.
            part.each(&taken, |first, last| unsafe { kernel.run(words, s, first, last) });
        });
        if ran.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
    });
    if failed.into_inner() { Err(no_scratch(plan.scratch_bytes)) } else { Ok(()) }
}

/// How many threads a launch gets: what its config says, else what it deserves.
fn workers(plan: &Plan, limit: usize, launch: Launch) -> usize {
    let most = (limit as u64).min(plan.programs);
    if launch.threads > 0 {
        return most.min(launch.threads) as usize;
    }
    let work = plan.programs.saturating_mul(plan.work_per_program);
    if most <= 1 || work < SERIAL {
        return 1;
    }
    most.min(work / SHARE) as usize
}

/// What becomes of a launch's wishes: how many threads share a kernel's grid, and how, if that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Division {
    workers: usize,
    share: Option<Share>,
}

/// How the grid of a kernel with this plan is divided among at most `limit` threads.
pub(super) fn division(plan: &Plan, limit: usize, launch: Launch) -> Division {
    let workers = workers(plan, limit, launch);
    // With an instance for each there is nothing to divide.
    let share = (workers > 1 && (workers as u64) < plan.programs).then_some(launch.share);
    Division { workers, share }
}

/// The plans of a launch's kernels. Of its words only sizes and numbers are read.
pub(super) fn plans(kernels: &Sequence<CompiledKernel>, words: &[u64]) -> Vec<Plan> {
    let mut all = Vec::new();
    kernels.words(words, 0, &mut all);
    kernels.kernels().map(|kernel| kernel.plan(&all)).collect()
}

/// A worker's part of the grid: a range of its own, then what is left of the grid, in turns or in pieces for
/// whoever comes first.
struct Part {
    first: u64,
    last: u64,
    /// Where the shared rest begins, and the size of its pieces.
    rest: u64,
    piece: u64,
    /// The first piece and the distance to the next, when pieces have owners.
    turns: Option<(u64, u64)>,
    programs: u64,
}

impl Part {
    fn new(share: Share, programs: u64, worker: u64, workers: u64) -> Part {
        let each = programs / workers;
        let fixed = match share {
            // Most of it contiguous, so that neighbours share caches and nothing is contended; the rest for
            // whoever comes first, so that a slow worker does not hold up the others. With few programs for each
            // worker any may be the slow one: share all but the first.
            Share::Mixed if each < 4 => each.min(1),
            Share::Mixed => each - each / 4,
            Share::Contiguous => each,
            Share::Dynamic | Share::Interleaved => 0,
        };
        let rest = fixed * workers;
        let piece = match share {
            Share::Mixed => (programs - rest) / (workers * 4),
            Share::Dynamic => programs / (workers * 16),
            Share::Contiguous | Share::Interleaved => 1,
        };
        let turns = match share {
            Share::Mixed | Share::Dynamic => None,
            Share::Contiguous | Share::Interleaved => Some((worker, workers)),
        };
        Part { first: fixed * worker, last: fixed * (worker + 1), rest, piece: piece.max(1), turns, programs }
    }

    fn each(&self, taken: &AtomicU64, mut run: impl FnMut(u64, u64)) {
        if self.first < self.last {
            run(self.first, self.last);
        }
        if self.rest >= self.programs {
            return;
        }
        let mut turn = self.turns;
        loop {
            let number = match &mut turn {
                Some((next, step)) => {
                    let number = *next;
                    *next = number.saturating_add(*step);
                    number.saturating_mul(self.piece)
                }
                None => taken.fetch_add(self.piece, Ordering::Relaxed),
            };
            let at = self.rest.saturating_add(number);
            if at >= self.programs {
                return;
            }
            run(at, at.saturating_add(self.piece).min(self.programs));
        }
    }
}

/// Calls `f` with scratch memory of this thread, aligned to 64.
fn with_scratch(bytes: u64, f: impl FnOnce(*mut u8)) -> Result<()> {
    with_kept(&SCRATCH, bytes, no_scratch, f)
}

/// Calls `f` with memory that this thread keeps, aligned to 64.
fn with_kept<T>(
    kept: &'static LocalKey<Kept>,
    bytes: u64,
    short: fn(u64) -> Error,
    f: impl FnOnce(*mut u8) -> T,
) -> Result<T> {
    if bytes == 0 {
        // Aligned, and never accessed.
        return Ok(f(std::ptr::without_provenance_mut(64)));
    }
    let bytes = usize::try_from(bytes).map_err(|_| short(bytes))?;
    // Taken, so that a launch within a launch gets memory of its own.
    let old = kept.try_with(Cell::take).ok().flatten().filter(|(n, _)| *n >= bytes);
    let (size, block) = match old {
        Some(k) => k,
        None => (bytes, Block::new(bytes).map_err(|_| short(bytes as u64))?),
    };
    let result = f(block.ptr().as_ptr());
    let _ = kept.try_with(|s| s.set(Some((size, block))));
    Ok(result)
}

fn no_scratch(bytes: u64) -> Error {
    Error::memory(format!("no memory for {bytes} bytes of scratch for each thread of a launch"))
}

fn no_workspace(bytes: u64) -> Error {
    Error::memory(format!(
        "no memory for {bytes} bytes of workspaces of a split reduction; a smaller `split` needs less"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_the_grid_once() {
        for share in Share::ALL {
            for programs in [0, 1, 2, 3, 7, 16, 100, 1001] {
                for workers in [1, 2, 3, 8, 200] {
                    let (taken, mut hits) = (AtomicU64::new(0), vec![0; programs as usize]);
                    for w in 0..workers {
                        let part = Part::new(share, programs, w, workers);
                        part.each(&taken, |a, b| (a..b).for_each(|i| hits[i as usize] += 1));
                    }
                    assert!(hits.iter().all(|h| *h == 1), "{share:?} {programs} {workers}");
                }
            }
        }
    }

    #[test]
    fn threads_follow_the_work_unless_pinned() {
        let plan = |programs, work_per_program| Plan { programs, scratch_bytes: 0, work_per_program };
        let free = Launch::default();
        assert_eq!(workers(&plan(1 << 20, 0), 8, free), 1);
        assert_eq!(workers(&plan(16, 1024), 8, free), 1);
        assert_eq!(workers(&plan(1 << 20, 1024), 8, free), 8);
        assert_eq!(workers(&plan(2, u64::MAX), 8, free), 2);
        assert_eq!(workers(&plan(8, 5_000), 8, free), 4);
        let divided = |plan, launch| division(&plan, 8, launch);
        let two = Launch { threads: 2, ..free };
        let other = Launch { share: Share::Dynamic, ..free };
        assert_eq!(divided(plan(16, 1), free), divided(plan(16, 1), other), "one thread divides nothing");
        assert_ne!(divided(plan(1 << 20, 1024), free), divided(plan(1 << 20, 1024), other));
        assert_eq!(divided(plan(2, u64::MAX), free), divided(plan(2, u64::MAX), two));
        let pinned = Launch { threads: 4, ..free };
        assert_eq!(workers(&plan(16, 1), 8, pinned), 4);
        assert_eq!(workers(&plan(16, 1), 2, pinned), 2);
        assert_eq!(workers(&plan(3, 1), 8, pinned), 3);
    }
}
