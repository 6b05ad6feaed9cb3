//! Tuning one launch: every candidate runs on copies, in a process that may be lost, must agree with what the kernel
//! means, and is timed.
//!
//! In: a traced kernel, a launch's arguments, a [`Tuner`]. Out: the best config, remembered. The caller's tensors
//! are read but never written here; the launch itself runs afterwards, once.
//!
//! What is right is settled in three steps. The default is compared with the interpreter on a small problem. Every
//! candidate is compared with the default on the real one, with outputs filled with two patterns before. The
//! winner is compared with the interpreter on the small problem, and the next best takes its place if it fails.

mod ahead;
mod board;
mod calls;
mod candidates;
mod check;
mod codes;
mod compare;
mod engine;
#[cfg(all(test, unix))]
mod faults;
mod interrupt;
mod isolated;
mod on_gpu;
#[cfg(unix)]
mod process;
mod reduced;
#[cfg(unix)]
mod remote;
mod tuner;
mod wire;

pub use calls::tune_calls;
pub use isolated::Spent;
#[cfg(unix)]
pub use remote::worker;
pub use tuner::Tuner;

use super::compile::{self, Traced};
use super::device::Device;
use super::launch::State;
use super::many::{self, Row};
use super::{entry, records};
use crate::error::{Error, Result};
use candidates::Candidates;
use engine::Engine;
use helion_autotune::store::{Journal, Point, Store};
use helion_autotune::{Bar, Bench, Budget, End, Observer, Outcome, Progress, Report, Task, Trial, search};
use helion_ir::config::{Config, ConfigSpace};
use isolated::Isolated;
use on_gpu::OnGpu;
use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// The result of tuning one launch. `Display` gives one line.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The kernel's name.
    pub kernel: String,
    /// What was tried, and the best; `None` when there was nothing to search.
    pub outcome: Option<Outcome>,
    /// What launches use from now on.
    pub config: Config,
    /// Why results were not compared with the interpreter, if they were not.
    pub unverified: Option<String>,
    /// How many worker processes candidates took down.
    pub deaths: usize,
    /// Where the time went; the rest of it is the search's own.
    pub spent: Spent,
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(o) = &self.outcome else {
            return write!(f, "{}: nothing to tune, config `{}`", self.kernel, self.config);
        };
        let us = |s: f64| s * 1e6;
        let (from, to) = (o.default_timing, o.timing);
        write!(
            f,
            "{}: {:.2} µs -> {:.2} µs ({:.2}x, 95 % within {:.2}..{:.2} µs, noise {:.1} %); \
             {} of {} configs measured, {} rejected, {:.1} s; {}",
            self.kernel,
            us(from.seconds),
            us(to.seconds),
            o.gain(),
            us(to.low),
            us(to.high),
            (o.noise.ratio - 1.0) * 100.0,
            o.measured(),
            o.space,
            o.trials.len() - o.measured(),
            o.time.as_secs_f64(),
            source(&self.config),
        )?;
        match &self.unverified {
            Some(why) => write!(f, " // not compared with the interpreter: {why}"),
            None => Ok(()),
        }
    }
}

impl Tuning {
    /// A search that was not about one launch.
    fn of_calls(kernel: &str, outcome: Outcome, config: Config) -> Tuning {
        let kernel = kernel.to_owned();
        Tuning { kernel, outcome: Some(outcome), config, unverified: None, deaths: 0, spent: Spent::default() }
    }
}

/// A config as Rust.
fn source(config: &Config) -> String {
    format!("let config: Config = \"{config}\".parse()?;")
}

/// Searches, remembers, and makes later launches use the result.
///
/// # Errors
/// When the tuner asks for what the kernel does not have, the kernel does not compile, its default config does not
/// work, or memory for copies is short.
pub(super) fn tune(
    state: &State,
    traced: &Traced,
    tuner: &Tuner,
    pinned: Option<&Config>,
    threads: usize,
) -> Result<Tuning> {
    let mut space = compile::space(traced);
    tuner.restrict_space(&mut space, pinned)?;
    let kernel = state.kernel.to_owned();
    let default = default(state, traced, &space);
    let Some(budget) = tuner.budget().filter(|_| !space.is_empty()) else {
        return Ok(Tuning {
            kernel,
            outcome: None,
            config: default,
            unverified: None,
            deaths: 0,
            spent: Spent::default(),
        });
    };
    match state.device() {
        Device::Cpu => {
            let engine = Candidates::new(state, traced, threads, tuner.cold)?;
            let bench = Isolated::new(engine, tuner.isolated())?;
            search_on(state, traced, tuner, threads, (&space, &budget, default), bench)
        }
        Device::Cuda(_) => {
            let bench = Isolated::new(OnGpu::new(state, traced)?, tuner.isolated())?;
            search_on(state, traced, tuner, threads, (&space, &budget, default), bench)
        }
    }
}

/// Searches with a bench for this launch.
fn search_on<E: Engine>(
    state: &State,
    traced: &Traced,
    tuner: &Tuner,
    threads: usize,
    (space, budget, default): (&ConfigSpace, &Budget, Config),
    mut bench: Isolated<E>,
) -> Result<Tuning> {
    let kernel = state.kernel.to_owned();
    let watch = interrupt::Watch::new();
    let (mut listener, prior) = Listener::new(tuner, state, traced, threads);
    let task = Task { prior: &prior, default: default.clone(), ..Task::new(space, budget) };
    let mut strategy = tuner.chooser(budget.seed)?;
    let found = search(&task, &mut *strategy, &mut bench, &mut listener);
    let mut outcome =
        found.map_err(|why| Error::internal(format!("the default config of `{kernel}`, `{default}`: {why}")))?;
    let unverified = settle(&mut outcome, &mut bench);
    let (deaths, spent) = (bench.deaths(), bench.spent());
    drop(bench);
    let config = outcome.best.clone();
    records::remember(&traced.id, Point::of(&outcome, state.named_sizes(), threads as u32));
    listener.end(&outcome);
    report(state, traced, tuner, &outcome);
    // An interrupt takes effect now.
    drop(watch);
    Ok(Tuning { kernel, outcome: Some(outcome), config, unverified, deaths, spent })
}

/// Measures these configs on a launch, in turn. Results are compared with those of the first.
///
/// # Errors
/// When memory for copies is short.
pub(super) fn compare(
    state: &State,
    traced: &Traced,
    tuner: &Tuner,
    configs: &[Config],
    threads: usize,
) -> Result<Row> {
    let limit = tuner.budget().map(|b| b.time).unwrap_or_default();
    let row = |bench: &mut dyn Bench| Ok(many::row(state, traced, threads, configs, bench, limit));
    match state.device() {
        Device::Cpu => {
            let engine = Candidates::new(state, traced, threads, tuner.cold)?;
            row(&mut Isolated::new(engine, tuner.isolated())?)
        }
        Device::Cuda(_) => row(&mut Isolated::new(OnGpu::new(state, traced)?, tuner.isolated())?),
    }
}

/// What is used without tuning: the cost model's choice.
fn default(state: &State, traced: &Traced, space: &ConfigSpace) -> Config {
    compile::model(traced, space, &entry::rounded(state.place()))
}

/// Compares the winner with the interpreter; the next best takes its place as long as there is a difference. Gives
/// the reason when they cannot be compared.
fn settle<E: Engine>(outcome: &mut Outcome, bench: &mut Isolated<E>) -> Option<String> {
    loop {
        let Some(id) = bench.id(&outcome.best) else { return Some("the winner is gone".to_owned()) };
        let why = match bench.verify(id) {
            Ok(skipped) => return skipped.or_else(|| bench.unverified().map(str::to_owned)),
            Err(why) => why,
        };
        let wrong = outcome.best.clone();
        if wrong == outcome.default {
            return Some(why.to_string());
        }
        if let Some(t) = outcome.trials.iter_mut().find(|t| t.config == wrong) {
            t.result = Err(why);
        }
        let next = (0..outcome.runners_up.len()).next().map(|_| outcome.runners_up.remove(0));
        let default = (outcome.default.clone(), outcome.default_timing);
        let next = next.filter(|(_, t)| t.seconds < default.1.seconds).unwrap_or(default);
        (outcome.best, outcome.timing) = next;
    }
}

/// Writes the report that was asked for. What goes wrong is said and stops nothing.
fn report(state: &State, traced: &Traced, tuner: &Tuner, outcome: &Outcome) {
    let Some(path) = &tuner.report else { return };
    let sizes = state.named_sizes();
    let device = &traced.machine.target().name;
    let r = Report { kernel: state.kernel, device, sizes: &sizes, outcome };
    let path = free(path);
    if let Err(e) = r.write(&path) {
        eprintln!("warning: the report cannot be written to {}: {e}", path.display());
    }
}

/// The path, with a number if this process has written a report there before.
fn free(path: &Path) -> PathBuf {
    static WRITTEN: std::sync::Mutex<Vec<PathBuf>> = std::sync::Mutex::new(Vec::new());
    let mut written = WRITTEN.lock().unwrap_or_else(|e| e.into_inner());
    let n = written.iter().filter(|p| *p == path).count();
    written.push(path.to_owned());
    if n == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let end = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{end}", n + 1))
}

/// Hears of a search: draws the bar, keeps the journal, and ends the search when the user wants that.
struct Listener {
    bar: Option<Bar>,
    journal: Option<Journal>,
}

impl Listener {
    /// Also gives what an earlier search on the same problem left that did not finish.
    fn new(tuner: &Tuner, state: &State, traced: &Traced, threads: usize) -> (Listener, Vec<Trial>) {
        let wanted = tuner.progress.unwrap_or_else(|| std::io::stderr().is_terminal());
        let bar = wanted.then(|| Bar::new(state.kernel));
        let store = records::store().filter(Store::writes);
        // Without a journal a search cannot be resumed; nothing else is lost.
        let journal = store.and_then(|s| s.journal(traced.id.key(), &state.named_sizes(), threads as u32).ok());
        let (journal, prior) = journal.map_or((None, Vec::new()), |(j, trials)| (Some(j), trials));
        (Listener { bar, journal }, prior)
    }

    /// The search has ended: unless it was interrupted, nobody will resume it.
    fn end(mut self, outcome: &Outcome) {
        if let Some(j) = self.journal.take().filter(|_| outcome.end != End::Interrupted) {
            let _ = j.finish();
        }
    }
}

impl Observer for Listener {
    fn progress(&mut self, progress: &Progress) -> bool {
        let go_on = self.bar.as_mut().is_none_or(|b| b.progress(progress));
        go_on && !interrupt::came()
    }
    fn trial(&mut self, trial: &Trial) {
        if let Some(b) = &mut self.bar {
            b.trial(trial);
        }
        if let Some(j) = &mut self.journal
            && j.append(trial).is_err()
        {
            self.journal = None;
        }
    }
}
