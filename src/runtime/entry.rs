//! One kernel under one key: its trace, its variants, and which of them a launch takes.
//!
//! In: a closure that traces (called once), and the places (sizes and threads) of launches. Out: compiled code.
//! Launches at different places share a [`Variant`] when they take equal configs; a variant is compiled at most
//! once, by one thread while the others wait, and its error is kept like code. What is remembered per place is
//! bounded: measured points, and the cost model's answers for rounded sizes.

use super::cache::{self, Code};
use super::choose::{Pick, Points, Source, bucket};
use super::compile::{self, Compiled, Traced};
use super::cuda::Loaded;
use super::device::Machine;
use super::launch::State;
use super::records;
use crate::error::{Kind, Result};
use helion_autotune::store::Point;
use helion_codegen::ptx::{Facts, Wanted};
use helion_ir::config::Config;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

/// The most answers of the cost model that are kept for one kernel.
const ANSWERS: usize = 1024;

/// A config of a kernel, and its code once somebody launches it.
pub(super) struct Variant {
    pub(super) config: Config,
    compiled: OnceLock<Result<Arc<Compiled>>>,
    /// Code for a GPU, by what it relies on.
    loaded: Mutex<HashMap<Facts, Result<Arc<Loaded>>>>,
    /// The sizes that code for a GPU wants to know.
    wanted: OnceLock<Wanted>,
}

impl Variant {
    pub(super) fn new(config: Config) -> Variant {
        Variant { config, compiled: OnceLock::new(), loaded: Mutex::default(), wanted: OnceLock::new() }
    }

    /// The code, compiled if this is the first call.
    ///
    /// # Errors
    /// When the config does not fit, or the kernel has no schedule; the same for every call.
    pub(super) fn compiled(&self, traced: &Traced) -> Result<Arc<Compiled>> {
        let compile = || compile::compile_config(traced, &self.config, &mut |_| {}).map(Arc::new);
        self.compiled.get_or_init(compile).clone()
    }

    /// The code for a GPU and what is known of a launch, compiled and loaded if this is the first call with these facts.
    ///
    /// # Errors
    /// When the config does not fit, the same for every call; when the device has no memory, or is lost.
    pub(super) fn loaded(&self, traced: &Traced, state: &State) -> Result<Arc<Loaded>> {
        let wanted = self.wanted.get_or_init(|| compile::wanted(traced, &self.config));
        let facts = state.facts(wanted);
        // Others that want the same config wait.
        let mut loaded = self.loaded.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = loaded.get(&facts) {
            return known.clone();
        }
        let made = compile::load(traced, &self.config, facts.clone()).map(Arc::new);
        if !made.as_ref().is_err_and(|e| matches!(e.kind(), Kind::Memory(_) | Kind::Driver { .. } | Kind::Lost { .. }))
        {
            loaded.insert(facts, made.clone());
        }
        made
    }

    fn failed(&self) -> bool {
        let loaded = self.loaded.lock().unwrap_or_else(|e| e.into_inner());
        matches!(self.compiled.get(), Some(Err(_))) || loaded.values().any(Result::is_err)
    }
}

/// Where a point was measured, as launches say it.
fn place(p: &Point) -> Vec<u64> {
    p.sizes.iter().map(|(_, v)| *v).chain([u64::from(p.threads)]).collect()
}

/// The place for which the cost model is asked: with rounded sizes.
pub(super) fn rounded(place: &[u64]) -> SmallVec<[u64; 8]> {
    let mut rounded = SmallVec::from_slice(place);
    let sizes = place.len().saturating_sub(1);
    rounded[..sizes].iter_mut().for_each(|s| *s = bucket(*s));
    rounded
}

/// Everything known of one kernel.
#[derive(Default)]
pub(super) struct Entry {
    traced: OnceLock<Result<Arc<Traced>>>,
    variants: Mutex<HashMap<Config, Arc<Variant>>>,
    /// What was measured, with the generation in which it was collected.
    points: RwLock<Option<(u64, Arc<Points>)>>,
    /// The cost model's answers, by rounded place.
    answers: RwLock<HashMap<Box<[u64]>, Arc<Variant>>>,
}

impl Entry {
    /// The traced kernel; `trace` makes it, at most once.
    ///
    /// # Errors
    /// Every mistake in the kernel, the same for every call.
    pub(super) fn traced(&self, trace: impl FnOnce() -> Result<Traced>) -> Result<Arc<Traced>> {
        self.traced.get_or_init(|| trace().map(Arc::new)).clone()
    }

    /// The code of a launch with this pinned config, or at this place.
    ///
    /// # Errors
    /// When a pinned config does not fit, or the kernel has no schedule.
    pub(super) fn code(&self, traced: &Traced, pinned: Option<&Config>, state: &State) -> Result<Code> {
        self.resolve(traced, pinned, state.place(), |v| match traced.machine {
            Machine::Gpu(..) => v.loaded(traced, state).map(Code::Gpu),
            Machine::Cpu(_) | Machine::Arch(..) => v.compiled(traced).map(Code::Cpu),
        })
    }

    /// What `make` makes of the config of a launch, or of one that works.
    fn resolve<C>(
        &self,
        traced: &Traced,
        pinned: Option<&Config>,
        place: &[u64],
        make: impl Fn(&Variant) -> Result<C>,
    ) -> Result<C> {
        loop {
            let pick = self.pick(traced, pinned, place);
            let code = make(&pick.variant);
            match (&code, pick.source) {
                // A point that no longer fits is as good as none: collect them again, without it.
                (Err(_), Source::Embedded | Source::Disk) => {
                    *self.points.write().unwrap_or_else(|e| e.into_inner()) = None;
                }
                (Err(_), Source::Model) if !pick.variant.config.is_empty() => {
                    return make(&self.variant(&Config::new()));
                }
                _ => return code,
            }
        }
    }

    /// What a launch with this pinned config, or at this place, takes.
    pub(super) fn pick(&self, traced: &Traced, pinned: Option<&Config>, place: &[u64]) -> Pick {
        if let Some(config) = pinned {
            return Pick { variant: self.variant(config), source: Source::Explicit, extrapolated: 0.0 };
        }
        self.points(traced).pick(place).unwrap_or_else(|extrapolated| {
            let variant = self.answer(traced, place);
            Pick { variant, source: Source::Model, extrapolated }
        })
    }

    /// The variant of a config.
    fn variant(&self, config: &Config) -> Arc<Variant> {
        let mut variants = self.variants.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(v) = variants.get(config) {
            return Arc::clone(v);
        }
        let v = Arc::new(Variant::new(config.clone()));
        variants.insert(config.clone(), Arc::clone(&v));
        v
    }

    /// What was measured for this kernel, collected anew when something was tuned since.
    fn points(&self, traced: &Traced) -> Arc<Points> {
        let now = cache::generation();
        if let Some((at, p)) = &*self.points.read().unwrap_or_else(|e| e.into_inner())
            && *at == now
        {
            return Arc::clone(p);
        }
        let found = records::points(&traced.id);
        let usable = |p: &Point| {
            let variant = compile::fits(traced, &p.winner.config).then(|| self.variant(&p.winner.config))?;
            (!variant.failed()).then(|| (place(p), variant))
        };
        let table = |points: &[Point]| points.iter().filter_map(usable).collect();
        let points = Arc::new(Points { embedded: table(&found.embedded), disk: table(&found.disk) });
        *self.points.write().unwrap_or_else(|e| e.into_inner()) = Some((now, Arc::clone(&points)));
        points
    }

    /// The cost model's answer for a place.
    pub(super) fn answer(&self, traced: &Traced, place: &[u64]) -> Arc<Variant> {
        let rounded = rounded(place);
        if let Some(v) = self.answers.read().unwrap_or_else(|e| e.into_inner()).get(&*rounded) {
            return Arc::clone(v);
        }
        let variant = self.variant(&compile::model(traced, &compile::space(traced), &rounded));
        let mut answers = self.answers.write().unwrap_or_else(|e| e.into_inner());
        if answers.len() >= ANSWERS {
            answers.clear();
        }
        answers.insert(rounded.as_slice().into(), Arc::clone(&variant));
        variant
    }
}

#[cfg(test)]
impl Entry {
    /// The trace, if there is one.
    pub(super) fn known_trace(&self) -> Option<Arc<Traced>> {
        self.traced.get()?.as_ref().ok().cloned()
    }

    /// Code for the CPU of a launch with this config.
    pub(super) fn compiled(&self, traced: &Traced, pinned: Option<&Config>, place: &[u64]) -> Result<Arc<Compiled>> {
        self.resolve(traced, pinned, place, |v| v.compiled(traced))
    }

    /// Every config that was compiled, in order, and whether it could be.
    pub(super) fn compiled_configs(&self) -> Vec<(Config, bool)> {
        let variants = self.variants.lock().unwrap();
        let mut all: Vec<_> =
            variants.values().filter_map(|v| Some((v.config.clone(), v.compiled.get()?.is_ok()))).collect();
        all.sort();
        all
    }

    /// How many answers of the cost model, and how many configs, are kept.
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.answers.read().unwrap().len(), self.variants.lock().unwrap().len())
    }
}
