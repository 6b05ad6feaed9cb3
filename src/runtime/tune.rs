//! Tuning one launch: every candidate runs on copies, must agree with the default, and is timed.
//!
//! In: a traced kernel and a launch's arguments. Out: the best config, remembered. The caller's tensors
//! are read but never written here; the launch itself runs afterwards, once.

use super::compile::{self, Compiled, Traced};
use super::launch::State;
use super::mode::Effort;
use super::outputs::{Outputs, same};
use super::{exec, records};
use crate::error::{Error, Result};
use crate::settings;
use helion_autotune::store::Point;
use helion_autotune::thin::{Budget, Measure, Outcome, search};
use helion_autotune::{End, Noise, Timing};
use helion_codegen::pipeline::Made;
use helion_ir::config::Config;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// A timing sample runs a launch as often as fills this time.
const SAMPLE: Duration = Duration::from_micros(40);

/// The result of tuning one launch. `Display` gives one line.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The kernel's name.
    pub kernel: String,
    /// What was tried, and the best; `None` when there was nothing to search.
    pub outcome: Option<Outcome>,
    /// What launches use from now on.
    pub config: Config,
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(o) = &self.outcome else {
            return write!(f, "{}: nothing to tune, config `{}`", self.kernel, self.config);
        };
        let (before, after) = (o.default_seconds * 1e6, o.seconds * 1e6);
        let (gain, ok) = (before / after, o.tried.iter().filter(|t| t.result.is_ok()).count());
        write!(
            f,
            "{}: {before:.2} µs -> {after:.2} µs ({gain:.2}x) with `{}`; {ok} of {} configs measured in {:.1} s",
            self.kernel,
            o.best,
            o.space,
            o.time.as_secs_f64()
        )
    }
}

/// Searches, remembers, and makes later launches use the result.
///
/// # Errors
/// When the kernel does not compile, or memory for copies is short.
pub(super) fn tune(state: &State, traced: &Traced, effort: Effort, threads: usize) -> Result<Tuning> {
    let budget = |configs, finals, seconds| {
        let time = Duration::from_secs(seconds);
        Some(Budget { configs, finals, time, seed: settings::seed_tuning() })
    };
    let budget = match effort {
        Effort::None => None,
        Effort::Quick => budget(48, 15, 2),
        Effort::Full => budget(400, 31, 60),
    };
    let space = compile::space(traced);
    let kernel = state.kernel.to_owned();
    let Some(budget) = budget.filter(|_| !space.is_empty()) else {
        let config = compile::space(traced).default_config();
        return Ok(Tuning { kernel, outcome: None, config });
    };
    let mut bench = Bench::new(state, traced, threads)?;
    let Some(outcome) = search(&space, &mut bench, budget) else {
        return Err(bench
            .broken
            .unwrap_or_else(|| Error::internal(format!("the default of `{kernel}` cannot be timed"))));
    };
    let config = outcome.best.clone();
    let names = |i| state.symbol_name(i).unwrap_or_default();
    let sizes = state.sizes.iter().enumerate().map(|(i, v)| (names(i), *v)).collect();
    let default = space.default_config();
    records::remember(&traced.id, point(&outcome, default, sizes, (effort, settings::seed_tuning(), threads)));
    Ok(Tuning { kernel, outcome: Some(outcome), config })
}

/// What is remembered of an outcome.
fn point(
    o: &Outcome,
    default: Config,
    sizes: Vec<(String, u64)>,
    (effort, seed, threads): (Effort, u64, usize),
) -> Point {
    let timing = |seconds| Timing { seconds, low: seconds, high: seconds, samples: 1 };
    let effort = match effort {
        Effort::None => helion_autotune::Effort::None,
        Effort::Quick => helion_autotune::Effort::Quick,
        Effort::Full => helion_autotune::Effort::Full,
    };
    let done = helion_autotune::Outcome {
        best: o.best.clone(),
        timing: timing(o.seconds),
        default,
        default_timing: timing(o.default_seconds),
        runners_up: Vec::new(),
        trials: Vec::new(),
        noise: Noise { ratio: 1.0, samples: 0 },
        bound: None,
        space: o.space,
        time: o.time,
        end: End::Configs,
        strategy: "thin",
        effort,
        seed,
    };
    let mut point = Point::of(&done, sizes, threads as u32);
    point.provenance.measured = o.tried.len() as u64;
    point
}

/// Compiles, checks and times configs of one launch.
struct Bench<'a> {
    traced: &'a Traced,
    threads: usize,
    /// Arguments, with written tensors replaced by copies.
    words: Vec<u64>,
    outputs: Outputs,
    /// What the default gives.
    expected: Option<Vec<Vec<u8>>>,
    /// Configs by the code they gave, to compile equal code once.
    codes: HashMap<String, Config>,
    /// Why the default failed.
    broken: Option<Error>,
}

/// A config in the race.
struct Candidate {
    compiled: Compiled,
    /// Launches per sample.
    batch: u32,
}

impl<'a> Bench<'a> {
    fn new(state: &State, traced: &'a Traced, threads: usize) -> Result<Bench<'a>> {
        // SAFETY: the launch's tensors are live, and its written ones are ours alone until it ends.
        let outputs = unsafe { Outputs::copy(state) }?;
        let mut words = state.words.clone();
        outputs.redirect(&mut words);
        let codes = HashMap::new();
        Ok(Bench { traced, threads, words, outputs, expected: None, codes, broken: None })
    }

    fn run(&self, c: &Compiled) -> Result<()> {
        // SAFETY: the launch's arguments, checked when they were captured, with written tensors
        // replaced by copies of the same shape and strides that are ours.
        unsafe { exec::run(&c.kernel, &self.words, self.threads, c.launch) }
    }

    fn compile_and_check(&mut self, config: &Config) -> Result<Candidate, Error> {
        let mut code = String::new();
        let compiled = compile::compile_config(self.traced, config, &mut |made| {
            if let Made::Loops(f) = made {
                let mut f = f.clone();
                f.config = Config::new();
                code = f.to_string();
            }
        })?;
        // How threads share the work is not part of the code.
        code.push_str(&format!("{:?}", compiled.launch));
        if let Some(same) = self.codes.get(&code) {
            return Err(Error::check(format!("the same code as `{same}`")));
        }
        self.codes.insert(code, config.clone());
        self.outputs.restore();
        self.run(&compiled)?;
        let found = self.outputs.bytes();
        match &self.expected {
            None => self.expected = Some(found),
            Some(expected) => {
                if let Some(text) = same(self.outputs.dtypes(), expected, &found) {
                    return Err(Error::check(text));
                }
            }
        }
        Ok(Candidate { compiled, batch: 0 })
    }
}

impl Measure for Bench<'_> {
    type Candidate = Candidate;

    fn prepare(&mut self, config: &Config) -> Result<Candidate, String> {
        self.compile_and_check(config).map_err(|e| {
            let text = e.to_string();
            if self.expected.is_none() {
                self.broken.get_or_insert(e);
            }
            text
        })
    }

    fn time(&mut self, c: &mut Candidate) -> Result<f64, String> {
        // The same data for every sample: what a kernel does may depend on it.
        self.outputs.restore();
        if c.batch == 0 {
            self.run(&c.compiled).map_err(|e| e.to_string())?;
            let start = Instant::now();
            self.run(&c.compiled).map_err(|e| e.to_string())?;
            let once = start.elapsed().max(Duration::from_nanos(20));
            c.batch = (SAMPLE.as_nanos() / once.as_nanos()).clamp(1, 1000) as u32;
            self.outputs.restore();
        }
        let start = Instant::now();
        for _ in 0..c.batch {
            self.run(&c.compiled).map_err(|e| e.to_string())?;
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(c.batch))
    }
}
