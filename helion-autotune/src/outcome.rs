//! What a search found, and what it says on the way.

use crate::{Effort, Rejection};
use helion_ir::config::Config;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The time of a config: the median of its samples with a confidence interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Median seconds of a launch.
    pub seconds: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// How many samples.
    pub samples: usize,
}

/// One config that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Which.
    pub config: Config,
    /// How fast it is, or why it is out.
    pub result: Result<Timing, Rejection>,
    /// What the cost model expected, in seconds.
    pub predicted: Option<f64>,
    /// What proposed it: `default`, `model`, `random`, `neighbour`, …
    pub origin: &'static str,
    /// When it was prepared, in seconds since the search began.
    pub at: f64,
}

/// How far apart two measurements of the same config were: the noise floor of a search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Ratio of the medians of two identical arms, the larger over the smaller; 1 when there is no noise.
    pub ratio: f64,
    /// Samples of each arm.
    pub samples: usize,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Every config was tried.
    Exhausted,
    /// The strategy had nothing better to propose.
    Converged,
    /// As many configs as allowed were measured.
    Configs,
    /// The time was up.
    Time,
    /// The goal was reached.
    Goal,
    /// It was interrupted.
    Interrupted,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The fastest config; the default, when nothing is faster for sure.
    pub best: Config,
    /// Its time in the final.
    pub timing: Timing,
    /// The config used without tuning: the cost model's choice.
    pub default: Config,
    /// The default's time in the same final.
    pub default_timing: Timing,
    /// The next best, in order, with their times in the final.
    pub runners_up: Vec<(Config, Timing)>,
    /// Everything that was tried, in order, the default first.
    pub trials: Vec<Trial>,
    /// The A/A arm of the final.
    pub noise: Noise,
    /// The bench's bound in seconds.
    pub bound: Option<f64>,
    /// How many configs the space has.
    pub space: u64,
    /// How long the search took.
    pub time: Duration,
    /// Why it ended.
    pub end: End,
    /// Name of the strategy.
    pub strategy: &'static str,
    /// Effort and seed.
    pub effort: Effort,
    /// Seed of random choices.
    pub seed: u64,
}

impl Outcome {
    /// How many configs were measured.
    pub fn measured(&self) -> usize {
        self.trials.iter().filter(|t| t.result.is_ok()).count()
    }
    /// How many times faster the winner is than the default.
    pub fn gain(&self) -> f64 {
        self.default_timing.seconds / self.timing.seconds
    }
}

/// Where a search stands; shown to people while it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What it does: `compiling`, `racing`, `refining`, `final`.
    pub phase: &'static str,
    /// Configs measured so far, and at most.
    pub measured: usize,
    /// The most that will be measured.
    pub configs: usize,
    /// Configs rejected so far.
    pub rejected: usize,
    /// Best seconds so far, and the default's.
    pub best: Option<f64>,
    /// The default's seconds.
    pub default: Option<f64>,
    /// Time spent.
    pub elapsed: Duration,
    /// Time that may be spent.
    pub time: Duration,
}

/// Hears of a search while it runs, and may end it.
pub trait Observer {
    /// Called several times a second. `false` ends the search with the best so far.
    fn progress(&mut self, progress: &Progress) -> bool {
        let _ = progress;
        true
    }
    /// Called when a config is timed or rejected, once each, for journals.
    fn trial(&mut self, trial: &Trial) {
        let _ = trial;
    }
}

/// An observer that says nothing.
impl Observer for () {}
