//! Which configs to try next: the trait [`Strategy`] and those that implement it.
//!
//! In: a [`View`] of what was tried so far. Out: proposals, the likeliest first. A strategy measures nothing and
//! drops nothing; that is the race's work, the same for all of them.

mod exhaustive;
mod guided;
mod pool;
mod random;

pub use exhaustive::Exhaustive;
pub use guided::Guided;
pub use random::Random;

use crate::{Bench, Budget, Trial};
use helion_ir::config::{Config, ConfigSpace};
use std::collections::HashSet;
use std::time::Duration;

/// A config that a strategy wants to have measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Which.
    pub config: Config,
    /// What made it: `model`, `random`, `neighbour`, …
    pub origin: &'static str,
}

/// What a strategy wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// These. A strategy may return more than it was asked for: the rest is what it will probably want after.
    Try(Vec<Proposal>),
    /// Nothing: every config was tried.
    Exhausted,
    /// Nothing: it does not expect to find anything better.
    Converged,
}

/// Chooses configs to try.
pub trait Strategy {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// About `n` configs to measure next, none of them tried before ([`View::is_fresh`]).
    fn propose(&mut self, view: &View<'_>, n: usize) -> Next;
}

/// The names that [`named`] knows, the usual one first.
pub const NAMES: &[&str] = &["guided", "random", "exhaustive"];

/// A strategy by its name.
pub fn named(name: &str, seed: u64) -> Option<Box<dyn Strategy>> {
    match name {
        "guided" => Some(Box::new(Guided::new(seed))),
        "random" => Some(Box::new(Random::new(seed))),
        "exhaustive" => Some(Box::new(Exhaustive::new(seed))),
        _ => None,
    }
}

/// A config that was timed, as a strategy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Timed<'a> {
    /// Which.
    pub config: &'a Config,
    /// Natural logarithm of its seconds, corrected for how fast the machine was at that time.
    pub log: f64,
    /// How many samples that rests on.
    pub samples: usize,
}

/// What a strategy may know.
pub struct View<'a> {
    /// The space.
    pub space: &'a ConfigSpace,
    /// The config used without tuning.
    pub default: &'a Config,
    /// What may be spent.
    pub budget: &'a Budget,
    /// What earlier searches found, on this problem or a similar one.
    pub prior: &'a [Trial],
    /// Everything that was timed.
    pub timed: Vec<Timed<'a>>,
    /// What was compiled in vain.
    pub failed: Vec<&'a Config>,
    /// Configs that turned out to be the same as another, with that one.
    pub twins: Vec<(&'a Config, &'a Config)>,
    /// The usual relative deviation of a sample.
    pub spread: f64,
    pub(crate) seen: &'a HashSet<Config>,
    pub(crate) bench: &'a dyn Bench,
    pub(crate) clock: &'a dyn crate::Clock,
}

impl View<'_> {
    /// Whether a config was neither tried nor is known to fail.
    pub fn is_fresh(&self, config: &Config) -> bool {
        !self.seen.contains(config)
    }
    /// How many configs were tried or are known to fail.
    pub fn seen(&self) -> usize {
        self.seen.len()
    }
    /// Whether facts of the target allow a config.
    pub fn is_legal(&self, config: &Config) -> bool {
        self.bench.legal(config).is_ok()
    }
    /// The cost model's seconds; `None` when there is no model or its answer is no time.
    pub fn predict(&self, config: &Config) -> Option<f64> {
        self.bench.predict(config).filter(|s| s.is_finite() && *s > 0.0)
    }
    /// How many more configs may be measured.
    pub fn left(&self) -> usize {
        self.budget.configs.saturating_sub(self.timed.len())
    }
    /// The time now, to see what thinking costs.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }
}
