//! How much a search may spend, and when it has found enough.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a search may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// No search: what was remembered, or the cost model's choice.
    None,
    /// Some tens of configs; under 5 seconds.
    #[default]
    Quick,
    /// Some hundreds of configs; under 30 seconds.
    Full,
}

/// Limits of one search. [`Budget::of`] gives those of an effort; fields can be changed after.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// What the limits were made from.
    pub effort: Effort,
    /// The most configs that are measured, the default included.
    pub configs: usize,
    /// When to settle for the best so far. A final that has begun is finished.
    pub time: Duration,
    /// Stop once the best is within this factor of the bench's bound: 1.05 is 5 % above it.
    pub goal: Option<f64>,
    /// Seed of random choices.
    pub seed: u64,
}

impl Budget {
    /// The limits of an effort.
    pub fn of(effort: Effort, seed: u64) -> Budget {
        let (configs, seconds) = match effort {
            Effort::None => (0, 0.0),
            Effort::Quick => (48, 3.5),
            Effort::Full => (400, 22.5),
        };
        Budget { effort, configs, time: Duration::from_secs_f64(seconds), goal: None, seed }
    }
}
