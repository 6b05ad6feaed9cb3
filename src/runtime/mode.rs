//! What a launch on this thread should do: run (normally), check, explain, or tune; with which config
//! and how many threads.
//!
//! Modes are set for the duration of a closure, so `softmax::explain(&x)` can call the plain kernel
//! function inside one. They apply to the calling thread only.

use super::choose::Choice;
use super::device::Device;
use super::explain::Report;
use super::many::Row;
use super::records::Id;
use super::tune::{Tuner, Tuning};
use crate::error::Result;
use crate::settings::{self, Isa};
use crate::tunable;
pub use helion_autotune::Effort;
use helion_ir::config::{Config, Scope};
use helion_ir::dtype::DType;
use helion_ir::tile::Verified;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// What launches do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Compile if needed, and run.
    #[default]
    Run,
    /// Trace and verify only: nothing is compiled, run or allocated by the launch.
    Check,
    /// Trace and tell which config would be taken; nothing is compiled or run by the launch.
    Choose,
    /// Compile, describe in a report, and run.
    Explain,
    /// Search for the best config, remember it, and run.
    Tune,
    /// Measure given configs, and run.
    Compare,
    /// Run, and keep copies of what was written.
    Keep,
}

/// The part of the mode that a warm launch looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mode {
    pub(super) action: Action,
    /// Number of the pinned config; 0 for none. Part of the key.
    pub(super) config: u64,
    /// Threads per launch; 0 for the setting's.
    pub(super) threads: usize,
    /// Where new tensors go.
    pub(super) device: Device,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode { action: Action::Run, config: 0, threads: 0, device: Device::Cpu }) };
    /// What launches in a special mode leave behind.
    static FOUND: RefCell<Found> = RefCell::default();
    /// Copies of settings, with the version they belong to.
    static KNOWN: Cell<(u32, usize, Isa)> = const { Cell::new((u32::MAX, 1, Isa::Best)) };
}

/// What a tuning is for: launches with all of this equal share it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TunedAt {
    pub(super) id: Id,
    /// Sizes and threads.
    pub(super) place: Box<[u64]>,
    /// The number of the pinned config.
    pub(super) config: u64,
    /// The kernel's body.
    pub(super) body: u64,
}

/// Results of the launches of one special mode.
#[derive(Default)]
pub(super) struct Found {
    pub(super) tuner: Tuner,
    pub(super) reports: Vec<Report>,
    /// What was tuned, and what for.
    pub(super) tunings: Vec<(TunedAt, Tuning)>,
    /// What to measure, by the kernel's body, and what came out.
    pub(super) wanted: HashMap<u64, Vec<Config>>,
    pub(super) rows: Vec<Row>,
    pub(super) traced: Vec<Verified>,
    pub(super) choices: Vec<Choice>,
    /// What the last launch wrote.
    pub(super) written: Vec<(DType, Vec<u8>)>,
}

pub(super) fn current() -> Mode {
    MODE.get()
}

/// Threads of a launch, and vector instructions, as set.
pub(super) fn known_settings() -> (usize, Isa) {
    let version = settings::version();
    let (at, threads, isa) = KNOWN.get();
    if at == version {
        return (threads, isa);
    }
    let (threads, isa) = (settings::threads(), settings::isa());
    KNOWN.set((version, threads, isa));
    (threads, isa)
}

/// Adds to the results of the current mode.
pub(super) fn found<R>(f: impl FnOnce(&mut Found) -> R) -> R {
    FOUND.with_borrow_mut(f)
}

/// Puts the previous mode back, also when the closure panics.
struct Restore(Mode);
impl Drop for Restore {
    fn drop(&mut self) {
        MODE.set(self.0);
    }
}

fn within<R>(mode: Mode, f: impl FnOnce() -> R) -> R {
    let _restore = Restore(MODE.replace(mode));
    f()
}

/// Runs `f` with every launch in it using this config. What it does not mention stays the scheduler's. A config of
/// nothing but tunables ([`tunable`](crate::tunable)) leaves the launches their own configs.
pub fn with_config<R>(config: &Config, f: impl FnOnce() -> R) -> R {
    let (mut launch, mut tunables) = (Config::new(), Config::new());
    for (slot, v) in config.iter() {
        let to = if slot.knob.scope() == Scope::Tunable { &mut tunables } else { &mut launch };
        to.set(slot.clone(), v);
    }
    let config = if launch.is_empty() && !tunables.is_empty() { current().config } else { number(&launch) };
    within(Mode { config, ..current() }, || tunable::with_pinned(&tunables, f))
}

/// Runs `f`, and gives copies of what its last launch wrote.
///
/// # Errors
/// What `f` returns.
pub(super) fn written<R>(f: impl FnOnce() -> Result<R>) -> Result<Vec<(DType, Vec<u8>)>> {
    found(|x| x.written.clear());
    let result = within(Mode { action: Action::Keep, ..current() }, f);
    let written = found(|x| std::mem::take(&mut x.written));
    result.map(|_| written)
}

/// Runs `f` with every launch in it using at most so many threads.
pub fn with_threads<R>(threads: usize, f: impl FnOnce() -> R) -> R {
    within(Mode { threads: threads.clamp(1, super::pool::MAX_WORKERS), ..current() }, f)
}

/// Where new tensors of this thread go.
#[inline]
pub(super) fn device() -> Device {
    MODE.get().device
}

/// Runs `f` with new tensors (`Tensor::new`, `zeros`, `full`, `from_vec` and their like) on a device instead of the CPU.
/// Tensors that kernels make are where their operands are in any case.
pub fn with_device<R>(device: Device, f: impl FnOnce() -> R) -> R {
    within(Mode { device, ..current() }, f)
}

/// Runs `f` with launches only traced and verified, and returns its error.
///
/// # Errors
/// What `f` returns: all mistakes in the kernel.
pub fn check<R>(f: impl FnOnce() -> Result<R>) -> Result<()> {
    traced(f).map(drop)
}

/// Runs `f` with launches only traced and verified, and returns what was recorded: one function for each
/// launch.
///
/// # Errors
/// What `f` returns: all mistakes in the kernel.
pub fn traced<R>(f: impl FnOnce() -> Result<R>) -> Result<Vec<Verified>> {
    let outer = found(|x| std::mem::take(&mut x.traced));
    let result = within(Mode { action: Action::Check, ..current() }, f);
    let traced = found(|x| std::mem::replace(&mut x.traced, outer));
    result.map(|_| traced)
}

/// Runs `f` with launches only traced, and returns the config that each would take, and why.
///
/// # Errors
/// What `f` returns: all mistakes in the kernel.
pub fn choices<R>(f: impl FnOnce() -> Result<R>) -> Result<Vec<Choice>> {
    let outer = found(|x| std::mem::take(&mut x.choices));
    let result = within(Mode { action: Action::Choose, ..current() }, f);
    let choices = found(|x| std::mem::replace(&mut x.choices, outer));
    result.map(|_| choices)
}

/// Runs `f` and describes every launch in it.
///
/// # Errors
/// What `f` returns.
pub fn explain<R>(f: impl FnOnce() -> Result<R>) -> Result<Explained> {
    let outer = found(|x| std::mem::take(&mut x.reports));
    let result = within(Mode { action: Action::Explain, ..current() }, f);
    let reports = found(|x| std::mem::replace(&mut x.reports, outer));
    result.map(|_| Explained { reports })
}

/// Runs `f`, searching the best config for every launch in it; says the result of each in a line on standard
/// error. Launches of one kernel at the same sizes, as in the layers of a model, share one search. Later launches of the
/// same kernels use what was found, in this process and, unless turned off, in later ones.
///
/// # Errors
/// What `f` returns.
pub fn tune<R>(tuner: impl Into<Tuner>, f: impl FnOnce() -> Result<R>) -> Result<Tuned> {
    let tunings = tune_each(tuner.into(), f)?.into_iter().map(|(_, tuning)| tuning).collect();
    Ok(Tuned { tunings })
}

fn tune_each<R>(tuner: Tuner, f: impl FnOnce() -> Result<R>) -> Result<Vec<(TunedAt, Tuning)>> {
    let outer = found(|x| (std::mem::replace(&mut x.tuner, tuner), std::mem::take(&mut x.tunings)));
    let result = within(Mode { action: Action::Tune, ..current() }, f);
    let tunings = found(|x| {
        x.tuner = outer.0;
        std::mem::replace(&mut x.tunings, outer.1)
    });
    result.map(|_| tunings)
}

/// As [`tune`], with the body of each launch's kernel.
pub(super) fn tune_by_body(tuner: Tuner, f: impl FnOnce() -> Result<()>) -> Result<Vec<(u64, Tuning)>> {
    Ok(tune_each(tuner, f)?.into_iter().map(|(at, tuning)| (at.body, tuning)).collect())
}

/// Runs `f`, measuring these configs on every launch in it, by the body of its kernel.
pub(super) fn compare(
    tuner: Tuner,
    wanted: HashMap<u64, Vec<Config>>,
    f: impl FnOnce() -> Result<()>,
) -> Result<Vec<Row>> {
    let outer = found(|x| {
        let tuner = std::mem::replace(&mut x.tuner, tuner);
        (tuner, std::mem::replace(&mut x.wanted, wanted), std::mem::take(&mut x.rows))
    });
    let result = within(Mode { action: Action::Compare, ..current() }, f);
    let rows = found(|x| {
        (x.tuner, x.wanted) = (outer.0, outer.1);
        std::mem::replace(&mut x.rows, outer.2)
    });
    result.map(|()| rows)
}

/// What [`explain`] found: one report for each launch.
#[derive(Debug)]
pub struct Explained {
    /// In the order of launches.
    pub reports: Vec<Report>,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reports.iter().try_for_each(|r| writeln!(f, "{r}"))
    }
}

/// What [`tune`] found: one result for each launch.
#[derive(Debug)]
pub struct Tuned {
    /// In the order of launches.
    pub tunings: Vec<Tuning>,
}

impl std::fmt::Display for Tuned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.tunings.iter().try_for_each(|t| writeln!(f, "{t}"))
    }
}

/// Configs that were pinned, by number from 1 on.
#[derive(Default)]
struct Pinned {
    numbers: HashMap<Config, u64>,
    configs: Vec<Arc<Config>>,
}

fn pinned() -> &'static Mutex<Pinned> {
    static PINNED: OnceLock<Mutex<Pinned>> = OnceLock::new();
    PINNED.get_or_init(Default::default)
}

/// The number of a config, the same for equal ones in this process.
fn number(config: &Config) -> u64 {
    let mut p = pinned().lock().unwrap_or_else(|e| e.into_inner());
    if let Some(n) = p.numbers.get(config) {
        return *n;
    }
    p.configs.push(Arc::new(config.clone()));
    let n = p.configs.len() as u64;
    p.numbers.insert(config.clone(), n);
    n
}

/// The pinned config of a number.
pub(super) fn config(number: u64) -> Option<Arc<Config>> {
    let p = pinned().lock().unwrap_or_else(|e| e.into_inner());
    number.checked_sub(1).and_then(|i| p.configs.get(i as usize).cloned())
}
