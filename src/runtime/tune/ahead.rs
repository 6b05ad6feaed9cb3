//! Compiles candidates on other threads before they are asked for.
//!
//! In: configs that will probably be wanted, the likeliest first. Out: what became of one, at once if it
//! is ready. While samples are taken, jobs begin only on cores that the kernel leaves free: with a kernel on
//! all cores compiling and measuring take turns, with one on fewer they overlap.

use super::super::cores;
use super::board::Board;
use super::engine::panic_text;
use helion_autotune::Rejection;
use helion_ir::config::Config;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Makes something of a config.
pub(super) type Job<V> = dyn Fn(&Config) -> Result<V, Rejection> + Send + Sync;

/// Threads that work through a list of configs. They end with this.
pub(super) struct Ahead<V> {
    shared: Arc<Shared<V>>,
    cores: usize,
}

struct Shared<V> {
    job: Box<Job<V>>,
    board: Arc<Board>,
    state: Mutex<State<V>>,
    changed: Condvar,
}

struct State<V> {
    queue: VecDeque<Config>,
    running: Vec<Config>,
    done: HashMap<Config, Result<V, Rejection>>,
    /// How many jobs may run.
    allowed: usize,
    ended: bool,
}

impl<V: Send + 'static> Ahead<V> {
    /// Starts threads on all cores but that of the caller, one at least.
    pub(super) fn new(job: Box<Job<V>>, board: Arc<Board>, cores: usize) -> Ahead<V> {
        let threads = cores.saturating_sub(1).max(1);
        let state =
            State { queue: VecDeque::new(), running: Vec::new(), done: HashMap::new(), allowed: threads, ended: false };
        let shared = Arc::new(Shared { job, board, state: Mutex::new(state), changed: Condvar::new() });
        for _ in 0..threads {
            let shared = Arc::clone(&shared);
            // Without a thread the caller does the work itself.
            let _ = std::thread::Builder::new().name("helion-compile".into()).spawn(move || shared.work());
        }
        Ahead { shared, cores }
    }

    /// Replaces the list of what is to be compiled.
    pub(super) fn expect(&self, configs: &[Config]) {
        let mut state = self.shared.lock();
        let state = &mut *state;
        let (running, done) = (&state.running, &mut state.done);
        done.retain(|c, _| configs.contains(c));
        state.queue = configs.iter().filter(|c| !running.contains(c) && !done.contains_key(c)).cloned().collect();
        self.shared.changed.notify_all();
    }

    /// What became of a config; compiled now, on this thread, unless another one has begun.
    pub(super) fn take(&self, config: &Config) -> Result<V, Rejection> {
        let mut state = self.shared.lock();
        loop {
            if let Some(done) = state.done.remove(config) {
                return done;
            }
            if !state.running.contains(config) {
                break;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        state.queue.retain(|c| c != config);
        drop(state);
        self.shared.run(config)
    }

    /// Leaves so many cores to others, and waits until they have them.
    pub(super) fn leave(&self, cores: usize) {
        let mut state = self.shared.lock();
        let free = self.cores.saturating_sub(cores);
        state.allowed = if cores == 0 { self.cores.saturating_sub(1).max(1) } else { free };
        self.shared.changed.notify_all();
        while state.running.len() > state.allowed {
            state = self.shared.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }
}

impl<V> Drop for Ahead<V> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        self.shared.changed.notify_all();
        // Jobs may use what the caller frees next.
        while !state.running.is_empty() {
            state = self.shared.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }
}

impl<V> Shared<V> {
    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn run(&self, config: &Config) -> Result<V, Rejection> {
        let run = catch_unwind(AssertUnwindSafe(|| (self.job)(config)));
        run.unwrap_or_else(|p| Err(Rejection::Failed(format!("panic while compiling: {}", panic_text(&*p)))))
    }

    /// The life of a thread.
    fn work(&self) {
        // The thread that measures stays on its core; these go where there is room.
        cores::roam();
        let mut state = self.lock();
        while !state.ended {
            let next = if state.running.len() < state.allowed { state.queue.pop_front() } else { None };
            let Some(config) = next else {
                state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
                continue;
            };
            state.running.push(config.clone());
            drop(state);
            self.board.others.fetch_add(1, Ordering::Relaxed);
            let result = self.run(&config);
            self.board.others.fetch_sub(1, Ordering::Relaxed);
            state = self.lock();
            state.running.retain(|c| *c != config);
            state.done.insert(config, result);
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use helion_ir::config::Knob;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn what_is_expected_is_ready_and_nothing_begins_while_cores_are_taken() {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let job = move |c: &Config| {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            let n = c.iter().next().map_or(0, |(_, v)| v);
            assert!(n != 5, "five");
            Ok(n)
        };
        let ahead = Ahead::new(Box::new(job), Arc::new(Board::new().unwrap()), 2);
        let config = |n| Config::new().knob(Knob::Unroll, n);
        let all: Vec<Config> = (1..=8).map(config).collect();
        ahead.expect(&all);
        assert_eq!(ahead.take(&all[2]), Ok(3));
        ahead.leave(2);
        let before = begun.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(begun.load(Ordering::SeqCst), before);
        ahead.leave(0);
        for (i, c) in all.iter().enumerate().filter(|(i, _)| *i != 2) {
            let found = ahead.take(c);
            if i == 4 {
                assert!(matches!(found, Err(Rejection::Failed(t)) if t.contains("five")));
            } else {
                assert_eq!(found, Ok(i as u64 + 1));
            }
        }
        assert_eq!(begun.load(Ordering::SeqCst), 8, "each once");
        ahead.expect(&all);
    }
}
