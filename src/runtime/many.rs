//! Few configs for many shapes: every shape is tuned, then all of them are measured with each other's winners.
//!
//! In: inputs, and a call that launches kernels with one of them. Out: for each kernel at most so many configs, chosen so
//! that the geometric mean over the shapes is least, and what that loses against a winner for each shape. Every shape is
//! remembered with the config that serves it, so launches use just these.

use super::compile::Traced;
use super::launch::State;
use super::mode;
use super::records::{self, Id};
use super::tune::Tuner;
use crate::error::{Error, Result};
use helion_autotune::store::Measured;
use helion_autotune::{Bench, Outcome, Rejection, Timing, cover, stats};
use helion_ir::config::Config;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Samples of each config on each shape.
const ROUNDS: usize = 31;
/// Samples when time is short.
const FEWEST: usize = 5;
/// How many of the next best of each shape are tried on the others, beside its winner.
const RUNNERS_UP: usize = 3;
/// The most configs that are measured on every shape.
const CANDIDATES: usize = 24;

/// Few configs of one kernel that serve many shapes. `Display` gives a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// The kernel's name.
    pub kernel: String,
    /// The configs.
    pub configs: Vec<Config>,
    /// Every shape with the config that serves it.
    pub shapes: Vec<Served>,
    /// The geometric mean of the losses: 1.02 is 2 % slower than with a config for each shape.
    pub loss: f64,
}

/// One shape, and what serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Its sizes, by name.
    pub sizes: Vec<(String, u64)>,
    /// How many threads shared the launches.
    pub threads: usize,
    /// What serves it.
    pub config: Config,
    /// Seconds of a launch with that.
    pub seconds: f64,
    /// The fastest of all configs that were measured on every shape.
    pub winner: Config,
    /// Seconds of a launch with that.
    pub winner_seconds: f64,
}

impl Served {
    /// How many times slower it is than with its own winner.
    pub fn loss(&self) -> f64 {
        self.seconds / self.winner_seconds
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, shapes, loss) = (self.configs.len(), self.shapes.len(), (self.loss - 1.0) * 100.0);
        write!(f, "{}: {n} configs serve {shapes} shapes, {loss:.1} % slower than a config for each", self.kernel)?;
        for c in &self.configs {
            write!(f, "\n  `{c}`")?;
            for s in self.shapes.iter().filter(|s| s.config == *c) {
                let sizes: Vec<String> = s.sizes.iter().map(|(name, v)| format!("{name}={v}")).collect();
                let (us, loss) = (s.seconds * 1e6, (s.loss() - 1.0) * 100.0);
                write!(f, "\n    {}: {us:.2} µs, {loss:.1} % slower than `{}`", sizes.join(" "), s.winner)?;
            }
        }
        Ok(())
    }
}

/// Tunes every launch of every input, and finds at most `most` configs for each kernel that serve all its shapes. Later
/// launches at these shapes use them, as after [`tune`](super::tune). Says the result of each search on standard error.
///
/// ```
/// use helion::prelude::*;
/// use helion::tuning::tune_many;
///
/// #[kernel]
/// pub fn double(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
///     let mut out = x.empty_like();
///     for t in tile(x.dims()[0]) {
///         out[t] = x[t] + x[t];
///     }
///     Ok(out)
/// }
///
/// # fn main() -> Result<()> {
/// # helion::settings::set_cache("off")?;
/// let inputs = [100, 1000, 10_000].map(|n| Tensor::full([n], 0.5f32));
/// let tuner = Tuner::quick().seconds(0.1);
/// for shared in tune_many(2, tuner, &inputs, |x| double(x))? {
///     assert!(shared.configs.len() <= 2 && shared.shapes.len() == 3);
///     println!("{shared}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What `call` returns; when nothing may be tuned; when no so few configs work for all shapes of a kernel.
pub fn tune_many<I, R>(
    most: usize,
    tuner: impl Into<Tuner>,
    inputs: impl IntoIterator<Item = I>,
    mut call: impl FnMut(&I) -> Result<R>,
) -> Result<Vec<Shared>> {
    let (tuner, inputs): (Tuner, Vec<I>) = (tuner.into(), inputs.into_iter().collect());
    let mut all = || inputs.iter().try_for_each(|i| call(i).map(drop));
    let tunings = mode::tune_by_body(tuner.clone(), &mut all)?;
    // Kernels in the order of their launches.
    let mut kernels: Vec<(u64, Vec<Config>)> = Vec::new();
    for (body, tuning) in &tunings {
        let Some(outcome) = &tuning.outcome else { continue };
        let at = kernels.iter().position(|k| k.0 == *body).unwrap_or_else(|| {
            kernels.push((*body, Vec::new()));
            kernels.len() - 1
        });
        add(&mut kernels[at].1, outcome);
    }
    kernels.iter_mut().for_each(|k| k.1.truncate(CANDIDATES));
    let rows = mode::compare(tuner, kernels.iter().cloned().collect(), all)?;
    kernels.iter().map(|(body, configs)| share(most, configs, rows_of(&rows, *body))).collect()
}

/// The shapes of one kernel, each once.
fn rows_of(rows: &[Row], body: u64) -> Vec<&Row> {
    let mut found: Vec<&Row> = Vec::new();
    for r in rows.iter().filter(|r| r.body == body) {
        if !found.iter().any(|f| (&f.id, &f.sizes, f.threads) == (&r.id, &r.sizes, r.threads)) {
            found.push(r);
        }
    }
    found
}

/// What a search says may be good elsewhere, too: the default first, since results are compared with the first one's.
fn add(candidates: &mut Vec<Config>, outcome: &Outcome) {
    let next = outcome.runners_up.iter().take(RUNNERS_UP).map(|(c, _)| c);
    for c in [&outcome.default, &outcome.best].into_iter().chain(next) {
        if !candidates.contains(c) {
            candidates.push(c.clone());
        }
    }
}

/// Chooses among the configs of one kernel, and remembers what serves each shape.
fn share(most: usize, configs: &[Config], rows: Vec<&Row>) -> Result<Shared> {
    let seconds: Vec<Vec<Option<f64>>> =
        rows.iter().map(|r| r.timings.iter().map(|t| t.map(|t| t.seconds)).collect()).collect();
    let kernel = rows.first().map_or("", |r| r.kernel).to_owned();
    let cover = cover::cover(&seconds, most)
        .map_err(|e| Error::check(format!("kernel `{kernel}`: {e}\n  help: allow more configs")))?;
    let mut shapes = Vec::new();
    for (row, &k) in rows.iter().zip(&cover.serves) {
        let timed = row.timings.iter().zip(configs).filter_map(|(t, c)| Some(((*t)?, c)));
        let winner = timed.min_by(|a, b| a.0.seconds.total_cmp(&b.0.seconds));
        let (Some(own), Some((best, winner))) = (row.timings[k], winner) else { continue };
        row.remember(&Measured { config: configs[k].clone(), timing: own });
        shapes.push(Served {
            sizes: row.sizes.clone(),
            threads: row.threads,
            config: configs[k].clone(),
            seconds: own.seconds,
            winner: winner.clone(),
            winner_seconds: best.seconds,
        });
    }
    let loss = cover.loss();
    Ok(Shared { kernel, configs: cover.kept.iter().map(|&k| configs[k].clone()).collect(), shapes, loss })
}

/// The times of some configs on one launch.
pub(super) struct Row {
    kernel: &'static str,
    body: u64,
    id: Id,
    sizes: Vec<(String, u64)>,
    threads: usize,
    /// In the order of the configs; `None` where one cannot be used.
    timings: Vec<Option<Timing>>,
}

impl Row {
    /// Makes later launches at this shape use a config. The search's own winner becomes the next best.
    fn remember(&self, serves: &Measured) {
        let known = records::points(&self.id).disk;
        let own = known.into_iter().find(|p| p.place() == (&self.sizes, self.threads as u32));
        let Some(mut point) = own.filter(|p| p.winner.config != serves.config) else { return };
        point.runners_up.retain(|m| m.config != serves.config);
        point.runners_up.insert(0, std::mem::replace(&mut point.winner, serves.clone()));
        point.provenance.strategy = "shared".to_owned();
        records::remember(&self.id, point);
    }
}

/// Measures configs on a launch, in turn.
pub(super) fn row(
    state: &State,
    traced: &Traced,
    threads: usize,
    configs: &[Config],
    bench: &mut dyn Bench,
    limit: Duration,
) -> Row {
    Row {
        kernel: state.kernel,
        body: state.body(),
        id: traced.id.clone(),
        sizes: state.named_sizes(),
        threads,
        timings: measure(configs, bench, limit),
    }
}

fn measure(configs: &[Config], bench: &mut dyn Bench, limit: Duration) -> Vec<Option<Timing>> {
    let prepared = bench.prepare(configs);
    let mut ids: Vec<_> = prepared.iter().filter_map(|p| p.as_ref().ok().copied()).collect();
    let mut samples: HashMap<_, Vec<f64>> = HashMap::new();
    let begin = Instant::now();
    for round in 0..ROUNDS {
        if round >= FEWEST && begin.elapsed() > limit {
            break;
        }
        // Nobody is always first.
        if !ids.is_empty() {
            ids.rotate_left(1);
        }
        let found = bench.sample(&ids);
        let ok: Vec<bool> = found.iter().map(|s| s.is_ok()).collect();
        for (id, s) in ids.iter().zip(&found) {
            samples.entry(*id).or_default().extend(s.as_ref().ok());
        }
        let mut ok = ok.into_iter();
        ids.retain(|_| ok.next().unwrap_or(false));
    }
    // What failed on the way is out.
    let at = |p: &Result<_, Rejection>| {
        let id = p.as_ref().ok().filter(|id| ids.contains(id))?;
        stats::timing(samples.get(id)?)
    };
    let same = |c: &Config| configs.iter().position(|x| x == c).and_then(|i| at(&prepared[i]));
    prepared.iter().map(|p| if let Err(Rejection::Same(c)) = p { same(c) } else { at(p) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use helion_autotune::Id as Number;

    /// Configs by block: seconds, or nothing for those that fail.
    struct Fake(Vec<u64>);

    impl Bench for Fake {
        fn legal(&self, _: &Config) -> Result<(), String> {
            Ok(())
        }
        fn predict(&self, _: &Config) -> Option<f64> {
            None
        }
        fn prepare(&mut self, configs: &[Config]) -> Vec<Result<Number, Rejection>> {
            let block = |c: &Config| c.iter().next().map_or(0, |(_, v)| v);
            let one = |c: &Config| match block(c) {
                7 => Err(Rejection::Same(Config::new().block("t", 8))),
                9 => Err(Rejection::Wrong("no".into())),
                b => {
                    self.0.push(b);
                    Ok(Number(self.0.len() as u32 - 1))
                }
            };
            configs.iter().map(one).collect()
        }
        fn sample(&mut self, ids: &[Number]) -> Vec<Result<f64, Rejection>> {
            let time = |id: &Number| match self.0[id.0 as usize] {
                5 => Err(Rejection::Crashed("no".into())),
                b => Ok(b as f64),
            };
            ids.iter().map(time).collect()
        }
    }

    #[test]
    fn each_config_gets_its_time() {
        let configs: Vec<Config> = [8, 7, 9, 5, 4].iter().map(|b| Config::new().block("t", *b)).collect();
        let found = measure(&configs, &mut Fake(Vec::new()), Duration::MAX);
        let seconds: Vec<_> = found.iter().map(|t| t.map(|t| (t.seconds, t.samples))).collect();
        assert_eq!(seconds, [Some((8.0, ROUNDS)), Some((8.0, ROUNDS)), None, None, Some((4.0, ROUNDS))]);
        let short = measure(&configs[..1], &mut Fake(Vec::new()), Duration::ZERO);
        assert_eq!(short[0].map(|t| t.samples), Some(FEWEST));
    }
}
