//! The first, thin search; goes when the runtime uses [`crate::Bench`].
#![allow(missing_docs)]

use crate::random;
use helion_ir::config::{Config, ConfigSpace};
use std::time::Duration;

mod search;
pub use search::search;

/// What can be done with a config. Failures are data: they say why a config is out.
pub trait Measure {
    /// A config that is compiled and gives right results.
    type Candidate;

    /// Compiles a config and checks its results.
    ///
    /// # Errors
    /// Why it is out: it does not compile, is wrong, or is the same code as another one.
    fn prepare(&mut self, config: &Config) -> Result<Self::Candidate, String>;

    /// One sample of how many seconds a launch takes.
    ///
    /// # Errors
    /// Why there is none.
    fn time(&mut self, candidate: &mut Self::Candidate) -> Result<f64, String>;
}

/// How much may be tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The most configs that are prepared, the default included.
    pub configs: usize,
    /// Samples of each finalist.
    pub finals: usize,
    /// When to stop trying new configs and settle for the best so far.
    pub time: Duration,
    /// Seed of random choices.
    pub seed: u64,
}

/// One config that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Which.
    pub config: Config,
    /// The median of its samples in seconds, or why it is out.
    pub result: Result<f64, String>,
    /// How many samples it got.
    pub samples: usize,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The fastest config.
    pub best: Config,
    /// Its median in the final.
    pub seconds: f64,
    /// The default's median in the final.
    pub default_seconds: f64,
    /// Everything that was tried, the default first.
    pub tried: Vec<Tried>,
    /// How many configs there are.
    pub space: u64,
    /// How long the search took.
    pub time: Duration,
}

/// Which configs to try: all when the budget allows, else the default, its neighbours (one slot changed), and
/// random ones; each at most once, the default first.
pub fn candidates(space: &ConfigSpace, budget: &Budget) -> Vec<Config> {
    let most = budget.configs.max(1);
    let total = space.len();
    if total <= most as u64 {
        return (0..total).map(|i| space.nth(i)).collect();
    }
    let mut seen = std::collections::HashSet::new();
    let mut out = Vec::new();
    let mut add = |c: Config, out: &mut Vec<Config>| {
        if seen.insert(c.clone()) {
            out.push(c);
        }
    };
    add(space.default_config(), &mut out);
    let mut rng = random::Random::new(budget.seed);
    let mut neighbours: Vec<Config> = space
        .slots
        .iter()
        .flat_map(|(slot, values)| values.iter().skip(1).map(|v| space.default_config().with(slot.clone(), *v)))
        .collect();
    // At most half of the budget goes to neighbours, so that interactions are seen too.
    rng.shuffle(&mut neighbours);
    for c in neighbours.into_iter().take(most.div_ceil(2)) {
        add(c, &mut out);
    }
    // With fewer than the space to pick, a few draws each are enough to fill up.
    for _ in 0..most * 20 {
        if out.len() >= most {
            break;
        }
        add(space.nth(rng.below(total)), &mut out);
    }
    out.truncate(most);
    out
}
