//! What is remembered of a kernel: one point for each set of sizes and number of threads it was tuned at.
//!
//! In: an [`Outcome`]. Out: a [`Point`], with everything a later process needs to choose a config and a person
//! needs to judge it. What is read back is checked: numbers are finite and configs within the knobs' domains.

use crate::{Effort, End, Noise, Outcome, Timing};
use helion_ir::config::Config;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// The most configs behind the winner that a point keeps.
const RUNNERS_UP: usize = 8;

/// Everything remembered under one key; points are in the order of their places, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was found, by sizes.
    pub points: Vec<Point>,
}

/// The result of one search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The sizes that were tuned at: names and values.
    #[serde(with = "super::pairs")]
    pub sizes: Vec<(String, u64)>,
    /// How many threads shared the launches; 0 where that has no meaning.
    pub threads: u32,
    /// The fastest config.
    pub winner: Measured,
    /// The config used without tuning, in the same final.
    pub default: Measured,
    /// The next best, in order.
    pub runners_up: Vec<Measured>,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// A config and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The config.
    #[serde(with = "text")]
    pub config: Config,
    /// Its time.
    pub timing: Timing,
}

/// How a point was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// When the search ended, in seconds since 1970.
    pub unix: u64,
    /// Effort of the search.
    pub effort: Effort,
    /// Seed of its random choices.
    pub seed: u64,
    /// Name of its strategy.
    pub strategy: String,
    /// How many configs were measured.
    pub measured: u64,
    /// How many configs the space has.
    pub space: u64,
    /// How many seconds the search took.
    pub seconds: f64,
    /// The A/A arm of its final.
    pub noise: Noise,
    /// Why it ended.
    pub end: End,
    /// Version of the program that searched.
    pub version: String,
}

impl Record {
    /// Adds a point, or replaces the one with equal sizes and threads.
    pub fn insert(&mut self, point: Point) {
        match self.points.binary_search_by(|p| p.place().cmp(&point.place())) {
            Ok(i) => self.points[i] = point,
            Err(i) => self.points.insert(i, point),
        }
    }
    /// The point with exactly these sizes and threads.
    pub fn at(&self, sizes: &[(String, u64)], threads: u32) -> Option<&Point> {
        self.points.iter().find(|p| p.place() == (sizes, threads))
    }
    /// Whether it makes sense.
    ///
    /// # Errors
    /// What does not, in words.
    pub fn check(&self) -> Result<(), String> {
        for (i, p) in self.points.iter().enumerate() {
            p.check().map_err(|e| format!("points[{i}]{e}"))?;
        }
        let sorted = self.points.windows(2).all(|w| w[0].place() < w[1].place());
        if sorted { Ok(()) } else { Err("points: not in the order of their sizes and threads, or one twice".into()) }
    }
}

impl Point {
    /// The point of an outcome found now.
    pub fn of(outcome: &Outcome, sizes: Vec<(String, u64)>, threads: u32) -> Point {
        let measured = |config: &Config, timing: Timing| Measured { config: config.clone(), timing };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Point {
            sizes,
            threads,
            winner: measured(&outcome.best, outcome.timing),
            default: measured(&outcome.default, outcome.default_timing),
            runners_up: outcome.runners_up.iter().take(RUNNERS_UP).map(|(c, t)| measured(c, *t)).collect(),
            provenance: Provenance {
                unix,
                effort: outcome.effort,
                seed: outcome.seed,
                strategy: outcome.strategy.to_owned(),
                measured: outcome.measured() as u64,
                space: outcome.space,
                seconds: outcome.time.as_secs_f64(),
                noise: outcome.noise,
                end: outcome.end,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
        }
    }
    /// What it was tuned for; a record has one point at each place.
    pub fn place(&self) -> (&[(String, u64)], u32) {
        (&self.sizes, self.threads)
    }
    /// How many times faster the winner is than the default.
    pub fn gain(&self) -> f64 {
        self.default.timing.seconds / self.winner.timing.seconds
    }
    /// Whether it makes sense.
    ///
    /// # Errors
    /// What does not, in words that begin with the place.
    pub fn check(&self) -> Result<(), String> {
        self.winner.check().map_err(|e| format!(".winner{e}"))?;
        self.default.check().map_err(|e| format!(".default{e}"))?;
        for (i, m) in self.runners_up.iter().enumerate() {
            m.check().map_err(|e| format!(".runners_up[{i}]{e}"))?;
        }
        for (i, (name, _)) in self.sizes.iter().enumerate() {
            if self.sizes[..i].iter().any(|(n, _)| n == name) {
                return Err(format!(".sizes: `{name}` stands there twice"));
            }
        }
        let p = &self.provenance;
        for (name, v) in [("seconds", p.seconds), ("noise.ratio", p.noise.ratio)] {
            if !v.is_finite() || v < 0.0 {
                return Err(format!(".provenance.{name}: {v} is not a number from 0 up"));
            }
        }
        Ok(())
    }
}

impl Measured {
    fn check(&self) -> Result<(), String> {
        self.config.check().map_err(|e| format!(".config: {e}"))?;
        let t = &self.timing;
        for (name, v) in [("seconds", t.seconds), ("low", t.low), ("high", t.high)] {
            if !v.is_finite() || v < 0.0 {
                return Err(format!(".timing.{name}: {v} is not a number of seconds"));
            }
        }
        if t.seconds > 0.0 { Ok(()) } else { Err(".timing.seconds: no launch takes no time".into()) }
    }
}

impl fmt::Display for Point {
    /// `m=1024 n=512, 2 threads: 12.50 µs (1.60x the default) with `block.tm=4``
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, v)) in self.sizes.iter().enumerate() {
            write!(f, "{}{name}={v}", if i == 0 { "" } else { " " })?;
        }
        if self.threads > 0 {
            let gap = if self.sizes.is_empty() { "" } else { ", " };
            write!(f, "{gap}{} thread{}", self.threads, if self.threads == 1 { "" } else { "s" })?;
        }
        let (us, gain) = (self.winner.timing.seconds * 1e6, self.gain());
        let gap = if self.sizes.is_empty() && self.threads == 0 { "" } else { ": " };
        write!(f, "{gap}{us:.2} µs ({gain:.2}x the default) with `{}`", self.winner.config)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.points.iter().try_for_each(|p| writeln!(f, "{p}"))
    }
}

/// Configs as they print.
mod text {
    use super::Config;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(c: &Config, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(c)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Config, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
