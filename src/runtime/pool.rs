//! Worker threads that share the grid of one launch.
//!
//! In: a number of shares and a function of the share's number. The caller takes share 0; each other share
//! belongs to one thread that lives as long as the process, spins for some tens of microseconds after each
//! job, then parks. Out: when [`run`] returns, the function has returned for every share.
//!
//! Share `i` always goes to the same thread, whose caches may still hold its data, unless that thread is
//! late (it was parked, or the system gave its core to another program): a caller that has finished its own share
//! runs those that nobody has begun. So a launch waits only for threads that are really at work.
//!
//! One job runs at a time. A call made while another thread's job runs, or from within a job, runs on
//! the calling thread alone, so calls nested in any way cannot wait for each other. A panic in a worker is
//! carried to the caller after all workers are done.

use super::cores;
use crate::settings;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The most workers of one launch, the caller included.
pub const MAX_WORKERS: usize = 1024;
/// How long an idle worker looks for work before it parks.
const SPIN: Duration = Duration::from_micros(50);
/// The same for workers that stay on cores of their own: there they keep other programs away between launches.
const SPIN_APART: Duration = Duration::from_millis(1);
/// How long waking a parked worker may take.
const WAKING: Duration = Duration::from_micros(500);
/// Bits of the epoch word that hold the number of workers.
const COUNT_BITS: u32 = 16;

thread_local! {
    /// Whether this thread is inside a job.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is running a part of a job; then [`run`] will not use other threads.
pub fn inside() -> bool {
    BUSY.get()
}

/// Forgets the workers in a process that was just forked: none of them exists here. New ones start when needed.
pub(super) fn after_fork() {
    let pool = pool();
    for w in &pool.workers[1..=pool.started.swap(0, Ordering::Relaxed)] {
        w.store(std::ptr::null_mut(), Ordering::Relaxed);
    }
    // Whatever job another thread was at is that process's.
    pool.panicked.store(false, Ordering::Relaxed);
    pool.taken.store(false, Ordering::Release);
}

/// Makes sure that the threads of a launch are up and looking for work, or waits as long as waking one may take. What
/// is measured next is then a launch in a row of them, not the first one after a pause.
pub(super) fn rouse(workers: usize) {
    let (here, start) = (AtomicUsize::new(0), Instant::now());
    run(workers, |_, workers| {
        here.fetch_add(1, Ordering::Relaxed);
        wait(|| here.load(Ordering::Relaxed) == workers || start.elapsed() > WAKING, None);
    });
}

/// Keeps the calling thread, and workers that start from now on, on a core of their own each.
pub(super) fn keep_apart() {
    pool().apart.store(true, Ordering::Relaxed);
    cores::stay(0);
}

/// A function of a worker's number, as two words.
type Call = unsafe fn(*const (), usize);

/// One cache line of its own, so that spinning workers do not disturb the caller's writes.
#[repr(align(128))]
struct Padded<V>(V);

/// What all workers look at.
struct Pool {
    /// Which job this is, and in the low bits for how many workers; changes when a job starts.
    epoch: Padded<AtomicU64>,
    /// Shares that workers have finished.
    done: Padded<AtomicUsize>,
    call: AtomicPtr<()>,
    data: AtomicPtr<()>,
    /// Held by the thread whose job runs.
    taken: AtomicBool,
    /// Whether `panic` holds something.
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Started workers by number, from 1 on; never removed. Added to by the thread that holds `taken`.
    workers: [AtomicPtr<Worker>; MAX_WORKERS],
    started: AtomicUsize,
    /// Whether workers stay on cores of their own, whatever the settings say.
    apart: AtomicBool,
}

/// One worker thread.
struct Worker {
    /// The last epoch whose share was begun, by this worker or by the caller. Grows.
    claimed: Padded<AtomicU64>,
    parked: Padded<AtomicBool>,
    thread: OnceLock<Thread>,
}

fn pool() -> &'static Pool {
    static POOL: Pool = Pool {
        epoch: Padded(AtomicU64::new(0)),
        done: Padded(AtomicUsize::new(0)),
        call: AtomicPtr::new(std::ptr::null_mut()),
        data: AtomicPtr::new(std::ptr::null_mut()),
        taken: AtomicBool::new(false),
        panicked: AtomicBool::new(false),
        panic: Mutex::new(None),
        workers: [const { AtomicPtr::new(std::ptr::null_mut()) }; MAX_WORKERS],
        started: AtomicUsize::new(0),
        apart: AtomicBool::new(false),
    };
    &POOL
}

/// Runs `f(share, shares)` once for each share, on up to `workers` threads, and waits for all of them. `f` is
/// told how many shares there really are: at most `workers`.
///
/// # Panics
/// When `f` does, after all shares are done.
pub fn run<F: Fn(usize, usize) + Sync>(workers: usize, f: F) {
    let workers = workers.min(MAX_WORKERS);
    if workers <= 1 || inside() || pool().taken.swap(true, Ordering::Acquire) {
        return f(0, 1);
    }
    let workers = pool().start(workers);
    let g = |w: usize| f(w, workers);
    /// # Safety
    /// `data` must point to a live `G`.
    unsafe fn call<G: Fn(usize)>(data: *const (), worker: usize) {
        // SAFETY: promised by the caller.
        unsafe { (*data.cast::<G>())(worker) }
    }
    fn of<G: Fn(usize)>(_: &G) -> Call {
        call::<G>
    }
    // SAFETY: `share` returns after all workers have left `g`, which lives until then.
    let panic = unsafe { pool().share(of(&g), (&raw const g).cast(), workers) };
    pool().taken.store(false, Ordering::Release);
    if let Some(p) = panic {
        resume_unwind(p);
    }
}

impl Pool {
    /// Makes sure that workers `1..n` exist; returns how many there are, with the caller, up to `n`.
    fn start(&'static self, n: usize) -> usize {
        for number in self.started.load(Ordering::Relaxed) + 1..n {
            let seen = self.epoch.0.load(Ordering::Relaxed);
            let worker: &'static Worker = Box::leak(Box::new(Worker {
                claimed: Padded(AtomicU64::new(seen)),
                parked: Padded(AtomicBool::new(false)),
                thread: OnceLock::new(),
            }));
            let name = format!("helion-{number}");
            let thread = std::thread::Builder::new().name(name).spawn(move || self.work(worker, number, seen));
            // Without another thread the work is shared by those there are.
            let Ok(thread) = thread else { break };
            // Set before the worker can be found.
            let _ = worker.thread.set(thread.thread().clone());
            self.workers[number].store(std::ptr::from_ref(worker).cast_mut(), Ordering::Relaxed);
            self.started.store(number, Ordering::Relaxed);
        }
        n.min(self.started.load(Ordering::Relaxed) + 1)
    }

    /// Hands a job to workers `1..n`, does the part of worker 0, and waits for all.
    ///
    /// # Safety
    /// `call` may be called with `data` from any thread until this returns.
    unsafe fn share(&self, call: Call, data: *const (), n: usize) -> Option<Box<dyn Any + Send>> {
        self.call.store(call as *mut (), Ordering::Relaxed);
        self.data.store(data.cast_mut(), Ordering::Relaxed);
        self.done.0.store(0, Ordering::Relaxed);
        let epoch = self.epoch.0.load(Ordering::Relaxed) >> COUNT_BITS;
        // Sequentially consistent with `parked`: either the worker sees the epoch, or we see it parked.
        let epoch = (epoch + 1) << COUNT_BITS | n as u64;
        self.epoch.0.store(epoch, Ordering::SeqCst);
        self.wake(n);
        BUSY.set(true);
        // SAFETY: promised by the caller.
        let mut mine = catch_unwind(AssertUnwindSafe(|| unsafe { call(data, 0) }));
        let mut begun = n - 1;
        for (number, worker) in (1..n).filter_map(|w| Some((w, self.worker(w)?))) {
            if worker.claim(epoch) {
                begun -= 1;
                // SAFETY: promised by the caller.
                mine = mine.and(catch_unwind(AssertUnwindSafe(|| unsafe { call(data, number) })));
            }
        }
        BUSY.set(false);
        wait(|| self.done.0.load(Ordering::Acquire) == begun, None);
        let theirs = if self.panicked.load(Ordering::Relaxed) { self.take_panic() } else { None };
        mine.err().or(theirs)
    }

    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.panicked.store(false, Ordering::Relaxed);
        self.panic.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// A worker, for the thread that holds `taken`.
    fn worker(&self, number: usize) -> Option<&'static Worker> {
        // SAFETY: workers `1..=started` are stored by holders of `taken`, and never freed.
        unsafe { self.workers[number].load(Ordering::Relaxed).as_ref() }
    }

    fn wake(&self, n: usize) {
        for w in (1..n).filter_map(|w| self.worker(w)) {
            if w.parked.0.load(Ordering::SeqCst)
                && w.parked.0.swap(false, Ordering::SeqCst)
                && let Some(t) = w.thread.get()
            {
                t.unpark();
            }
        }
    }

    /// The life of worker `number`, which has seen every epoch up to `seen`.
    fn work(&self, worker: &Worker, number: usize, mut seen: u64) {
        BUSY.set(true);
        let apart = self.apart.load(Ordering::Relaxed) || settings::pin();
        if apart {
            cores::stay(number);
        }
        let patience = if apart { SPIN_APART } else { SPIN };
        let mut spin = true;
        loop {
            let fresh = || self.epoch.0.load(Ordering::SeqCst) != seen;
            if !(spin && wait(fresh, Some(patience))) {
                // A late wake-up for an earlier job may have cleared the flag: set it again each time.
                while !fresh() {
                    worker.parked.0.store(true, Ordering::SeqCst);
                    if !fresh() {
                        std::thread::park();
                    }
                }
                worker.parked.0.store(false, Ordering::SeqCst);
            }
            seen = self.epoch.0.load(Ordering::Acquire);
            // Not for us, so we are not needed now.
            spin = number < (seen & ((1 << COUNT_BITS) - 1)) as usize;
            // Too late: the caller did it.
            if !spin || !worker.claim(seen) {
                continue;
            }
            let (call, data) = (self.call.load(Ordering::Relaxed), self.data.load(Ordering::Relaxed));
            // SAFETY: stored by `share` from a `Call` before the epoch that we read. We have claimed our share
            // of that epoch, so `share` waits for us and the words are still its own.
            let call = unsafe { std::mem::transmute::<*mut (), Call>(call) };
            // SAFETY: as above.
            if let Err(p) = catch_unwind(AssertUnwindSafe(|| unsafe { call(data, number) })) {
                self.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(p);
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.done.0.fetch_add(1, Ordering::Release);
        }
    }
}

impl Worker {
    /// Begins the share of an epoch; false when it was begun before.
    fn claim(&self, epoch: u64) -> bool {
        let last = self.claimed.0.load(Ordering::Relaxed);
        last < epoch && self.claimed.0.compare_exchange(last, epoch, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Waits until something holds. With a limit gives up after it; without one starts to let other threads
/// of the machine run after a while.
fn wait(holds: impl Fn() -> bool, limit: Option<Duration>) -> bool {
    // Most waits are short: look at the clock only after some hundred nanoseconds.
    for _ in 0..64 {
        if holds() {
            return true;
        }
        std::hint::spin_loop();
    }
    let start = Instant::now();
    loop {
        for _ in 0..32 {
            if holds() {
                return true;
            }
            std::hint::spin_loop();
        }
        match limit {
            Some(limit) if start.elapsed() > limit => return false,
            Some(_) => {}
            None => {
                if start.elapsed() > SPIN {
                    std::thread::yield_now();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_is_called_once() {
        for n in [1, 2, 3, 7, 16] {
            let hits: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
            let told = AtomicUsize::new(0);
            run(n, |w, of| {
                hits[w].fetch_add(1, Ordering::Relaxed);
                told.store(of, Ordering::Relaxed);
            });
            let told = told.into_inner();
            assert!((1..=n).contains(&told));
            for (w, h) in hits.iter().enumerate() {
                assert_eq!(h.load(Ordering::Relaxed), usize::from(w < told));
            }
        }
    }

    #[test]
    fn many_callers_and_nested_calls_finish() {
        let total = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for i in 0..500 {
                        run(1 + i % 5, |w, _| {
                            if w == 0 {
                                run(4, |w, of| {
                                    assert!(w < of);
                                    total.fetch_add(usize::from(w == 0), Ordering::Relaxed);
                                });
                            }
                        });
                        if i % 100 == 0 {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 8 * 500);
    }

    #[test]
    fn panics_reach_the_caller_and_the_pool_survives() {
        for bad in 0..3 {
            let r = catch_unwind(AssertUnwindSafe(|| {
                run(3, |w, of| assert!(w != bad.min(of - 1), "worker {w} fails"));
            }));
            assert!(r.is_err());
        }
        let n = AtomicUsize::new(0);
        run(3, |_, _| {
            n.fetch_add(1, Ordering::Relaxed);
        });
        assert!(n.into_inner() >= 1);
    }

    #[test]
    fn parked_workers_wake() {
        for _ in 0..20 {
            let n = AtomicUsize::new(0);
            run(2, |_, _| {
                n.fetch_add(1, Ordering::Relaxed);
            });
            assert!(n.into_inner() >= 1);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
