//! One problem: every config timed, searches from several seeds, and paired comparisons of what they found.
//!
//! In: a [`Problem`]. Out: a [`Row`]. The truth is the best of the exhaustive search's fastest configs after they have
//! been timed again in turns; what a search found is then timed in turns with it, so that a slow spell of the
//! machine hits both.

use crate::problems::Problem;
use helion::prelude::*;
use helion::{Tuner, with_config};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

/// What to do.
pub struct Options {
    /// The most configs of a space.
    pub most: u64,
    /// Searches from so many seeds.
    pub seeds: u64,
    /// Effort `Full` instead of `Quick`.
    pub full: bool,
    /// Kernels; all when empty.
    pub names: Vec<String>,
    /// Where rows are added, and read from.
    pub rows: Option<PathBuf>,
    /// Print what is there, and measure nothing.
    pub print: bool,
}

/// What was found for a problem.
pub struct Row {
    /// The kernel.
    pub kernel: String,
    /// The shape.
    pub shape: String,
    /// Configs in the space.
    pub space: u64,
    /// Configs that the exhaustive search timed.
    pub timed: usize,
    /// Configs that turned out to do the same as another.
    pub same: usize,
    /// Seconds of a call with the best config of all.
    pub optimum: f64,
    /// For each seed.
    pub runs: Vec<Run>,
    /// Time of the untuned config over that of the best of all.
    pub untuned: f64,
    /// Candidates compiled, checked and timed in a second, by the exhaustive search.
    pub rate: f64,
}

/// What a search from one seed found.
pub struct Run {
    /// Time of what it found over that of the best of all, in turns.
    pub ratio: f64,
    /// How many configs it had measured when one within 5 % of the best of all was among them.
    pub within: Option<usize>,
    /// Configs it measured.
    pub measured: usize,
    /// Seconds of the search.
    pub seconds: f64,
    /// The ratio of its null arms.
    pub noise: f64,
}

/// How many of the fastest are timed again to find the truth.
const AGAIN: usize = 6;
/// Rounds of a paired comparison.
const ROUNDS: usize = 31;

/// Judges the search on a problem.
///
/// # Errors
/// When the kernel fails, or nothing could be searched.
pub fn judge(p: &Problem, options: &Options) -> Result<Row, String> {
    let all = options.most as usize + 1;
    let everything = Tuner::full().strategy("exhaustive").cut(options.most).configs(all).seconds(600.0);
    let truth = tune(p, everything)?;
    let mut fastest: Vec<(f64, Config)> =
        truth.trials.iter().filter_map(|t| Some((t.result.as_ref().ok()?.seconds, t.config.clone()))).collect();
    fastest.sort_by(|a, b| a.0.total_cmp(&b.0));
    let timed = fastest.len();
    let head: Vec<Config> = fastest.iter().take(AGAIN).map(|f| f.1.clone()).collect();
    let times = in_turns(p, &head)?;
    let (best, optimum) = head.iter().zip(&times).min_by(|a, b| a.1.total_cmp(b.1)).ok_or("nothing was timed")?;

    let mut runs = Vec::new();
    for seed in 0..options.seeds {
        let effort = if options.full { Tuner::full() } else { Tuner::quick() };
        let found = tune(p, effort.cut(options.most).seed(seed))?;
        let least = fastest.first().map_or(0.0, |f| f.0);
        let close: Vec<&Config> = fastest.iter().filter(|f| f.0 <= least * 1.05).map(|f| &f.1).collect();
        let measured = found.trials.iter().filter(|t| t.result.is_ok());
        runs.push(Run {
            ratio: ratio(p, &found.best, best)?,
            within: measured.clone().position(|t| close.contains(&&t.config)).map(|i| i + 1),
            measured: measured.count(),
            seconds: found.time.as_secs_f64(),
            noise: found.noise.ratio,
        });
    }
    let untuned = ratio(p, &truth.default, best)?;
    let tried = truth.trials.iter().filter(|t| t.result.is_ok()).count();
    let rate = tried as f64 / truth.time.as_secs_f64();
    let same = |t: &&helion::tuning::Trial| matches!(t.result, Err(helion::tuning::Rejection::Same(_)));
    Ok(Row {
        same: truth.trials.iter().filter(same).count(),
        kernel: p.kernel.to_owned(),
        shape: p.shape.clone(),
        space: truth.space,
        timed,
        optimum: *optimum,
        runs,
        untuned,
        rate,
    })
}

/// Tunes the one launch of a problem.
fn tune(p: &Problem, tuner: Tuner) -> Result<helion::tuning::Outcome, String> {
    let mut tuned = helion::tune(tuner.progress(false), || (p.call)()).map_err(|e| e.to_string())?;
    let first = if tuned.tunings.is_empty() { None } else { tuned.tunings.swap_remove(0).outcome };
    first.ok_or_else(|| "there was nothing to search".to_owned())
}

/// Time with one config over time with another, timed in turns.
fn ratio(p: &Problem, a: &Config, b: &Config) -> Result<f64, String> {
    if a == b {
        return Ok(1.0);
    }
    let times = in_turns(p, &[a.clone(), b.clone()])?;
    Ok(times[0] / times[1])
}

/// Seconds with each config, timed in turns: the first quartile, since what else runs on the machine only ever adds.
fn in_turns(p: &Problem, configs: &[Config]) -> Result<Vec<f64>, String> {
    let mut times = vec![Vec::new(); configs.len()];
    let _apart = Apart::new();
    for round in 0..ROUNDS {
        // Whoever comes first has the other's data in the caches; so they change places.
        for i in 0..configs.len() {
            let at = if round % 2 == 0 { i } else { configs.len() - 1 - i };
            times[at].push(once(p, &configs[at])?);
        }
    }
    Ok(times.iter_mut().map(|t| quantile(t, 0.25)).collect())
}

/// While it lives, this thread stays on the first core; helion's other threads are on theirs (`HELION_PIN`).
struct Apart(Option<libc::cpu_set_t>);

impl Apart {
    fn new() -> Apart {
        // SAFETY: sets of cores are plain bits; both calls read or fill one.
        unsafe {
            let (mut before, mut first): (libc::cpu_set_t, libc::cpu_set_t) = (std::mem::zeroed(), std::mem::zeroed());
            let size = size_of::<libc::cpu_set_t>();
            if libc::sched_getaffinity(0, size, &raw mut before) != 0 {
                return Apart(None);
            }
            let core = (0..libc::CPU_SETSIZE as usize).find(|core| libc::CPU_ISSET(*core, &before));
            libc::CPU_SET(core.unwrap_or(0), &mut first);
            libc::sched_setaffinity(0, size, &raw const first);
            Apart(Some(before))
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // SAFETY: as above.
            unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), std::ptr::from_ref(before)) };
        }
    }
}

/// Seconds of a call: as many calls as take half a millisecond, after one that does not count.
fn once(p: &Problem, config: &Config) -> Result<f64, String> {
    with_config(config, || -> Result<f64> {
        black_box((p.call)()?);
        let (begin, mut calls) = (Instant::now(), 0);
        while calls < 2 || begin.elapsed().as_secs_f64() < 5e-4 {
            black_box((p.call)()?);
            calls += 1;
        }
        Ok(begin.elapsed().as_secs_f64() / f64::from(calls))
    })
    .map_err(|e| e.to_string())
}

/// The value below which a fraction `q` lies.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}
