//! The usual strategy: the cost model's favourites and some by chance, then what a surrogate expects most of.
//!
//! The cost model may be right, useless or misleading, and a search must do well in each case. It is right about much
//! of a kernel and wrong about some of it, so its favourites are tried first, but never only they; afterwards
//! measurements decide how much its numbers are worth.

use super::{Next, Proposal, Strategy, Timed, View, pool};
use crate::random::Random;
use crate::stats::median;
use crate::surrogate::{Axis, Point, Shape, Surrogate, improvement};
use helion_ir::config::{Config, ConfigSpace, Slot};
use std::collections::{HashMap, HashSet};

/// Configs that earlier searches found fast and that are tried first.
const FROM_PRIOR: usize = 4;
/// Points that a surrogate is fitted to; of more, the fastest and the latest.
const POINTS: usize = 128;
/// Configs among which the surrogate chooses.
const POOL: usize = 768;
/// Of these, how many get their deviation computed as well as their mean.
const CLOSER: usize = 160;
/// The most twins among them.
const TWINS: usize = 24;
/// The logarithm of how much slower than the best a config may be for its twins to count.
const CLOSE: f64 = 0.15;
/// Share of a budget's time that asking the cost model for seeds may take.
const ASKING: f64 = 0.02;
/// Before so many configs a search does not stop because nothing better is expected.
const PATIENCE: usize = 64;
/// Expecting less improvement than this share of the time is expecting none.
const LITTLE: f64 = 0.0005;

/// Seeds, then refinement by a surrogate.
pub struct Guided {
    rng: Random,
    seeds: Option<Vec<Proposal>>,
    shape: Option<Shape>,
    predictions: HashMap<Config, Option<f64>>,
    /// How many configs the cost model may be asked about at a time.
    asks: usize,
    /// How often in a row little was expected.
    dull: usize,
}

impl Guided {
    /// A search that depends on the seed.
    pub fn new(seed: u64) -> Guided {
        let predictions = HashMap::new();
        Guided { rng: Random::new(seed), seeds: None, shape: None, predictions, asks: 0, dull: 0 }
    }

    /// The logarithm of the cost model's seconds.
    fn predict(&mut self, view: &View<'_>, config: &Config) -> Option<f64> {
        if let Some(known) = self.predictions.get(config) {
            return *known;
        }
        let answer = view.predict(config).map(f64::ln);
        self.predictions.insert(config.clone(), answer);
        answer
    }

    /// The first configs: from before, by the model, by chance.
    fn seed(&mut self, view: &View<'_>) -> Vec<Proposal> {
        let most = (view.budget.configs / 5).clamp(4, 20);
        let mut out: Vec<Proposal> = from_prior(view);
        let drawn = self.draw(view);
        let scored: Option<Vec<f64>> = drawn.iter().map(|c| self.predict(view, c)).collect();
        if let Some(scores) = scored {
            let mut by_score: Vec<usize> = (0..drawn.len()).collect();
            by_score.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            let ranked: Vec<&Config> = by_score.into_iter().map(|i| &drawn[i]).collect();
            // Half by the model: its first choice, and others that are not all the same idea.
            for config in diverse(view.space, &ranked, most / 2) {
                out.push(Proposal { config, origin: "model" });
            }
        }
        let mut by_chance: Vec<Config> = drawn;
        self.rng.shuffle(&mut by_chance);
        let by_chance: Vec<&Config> = by_chance.iter().take(64).collect();
        let missing = most.saturating_sub(out.len());
        for config in spread_out(view.space, &by_chance, missing) {
            out.push(Proposal { config, origin: "random" });
        }
        let mut met = HashSet::new();
        out.retain(|p| met.insert(p.config.clone()));
        out
    }

    /// Legal configs by chance, as many as the cost model can be asked about in a small share of the time.
    fn draw(&mut self, view: &View<'_>) -> Vec<Config> {
        let few = pool::fresh(view, &mut self.rng, 32);
        let start = view.now();
        for config in &few {
            self.predict(view, config);
        }
        let each = (view.now() - start).as_secs_f64() / few.len().max(1) as f64;
        let fits = ASKING * view.budget.time.as_secs_f64() / each.max(1e-9);
        // Powers of four, so that the same search on the same machine takes the same number.
        self.asks = [64, 256, 1024].into_iter().take_while(|n| (*n as f64) < fits).last().unwrap_or(64);
        let mut out = pool::fresh(view, &mut self.rng, self.asks * 2);
        out.extend(few);
        let mut met = HashSet::new();
        out.retain(|c| met.insert(c.clone()));
        out
    }

    /// Configs near the best, children of two good ones, and some by chance.
    fn pool(&mut self, view: &View<'_>, elite: &[&Config]) -> Vec<(Config, &'static str)> {
        let most = POOL.min(self.asks.max(64) * 2);
        let mut out = Vec::new();
        let mut met = HashSet::new();
        let mut add = |c: Config, origin, out: &mut Vec<(Config, &'static str)>| {
            if !view.is_fresh(&c) || !met.insert(c.clone()) {
                return;
            }
            if view.is_legal(&c) {
                out.push((c, origin));
            }
        };
        for from in elite.iter().take(3) {
            let mut near = pool::neighbours(view.space, from);
            self.rng.shuffle(&mut near);
            near.into_iter().take(most / 4).for_each(|c| add(c, "neighbour", &mut out));
        }
        for _ in 0..most / 3 {
            if let (Some(one), Some(other)) = (self.rng.pick(elite), self.rng.pick(elite)) {
                let config = pool::child(view.space, one, other, &mut self.rng);
                add(config, "child", &mut out);
            }
        }
        let missing = most.saturating_sub(out.len());
        pool::fresh(view, &mut self.rng, missing).into_iter().for_each(|c| add(c, "random", &mut out));
        out
    }

    /// Chooses from a pool what promises most, not all of it in one place.
    fn refine(&mut self, view: &View<'_>, n: usize) -> Next {
        let mut ranked: Vec<_> = view.timed.iter().collect();
        ranked.sort_by(|a, b| a.log.total_cmp(&b.log));
        let elite: Vec<&Config> = ranked.iter().take(8).map(|t| t.config).collect();
        let pool = self.pool(view, &elite);
        if pool.is_empty() {
            return if pool::is_small(view.space) { Next::Exhausted } else { Next::Converged };
        }
        let best = ranked.first().map_or(0.0, |t| t.log);
        let data = self.points(view, best);
        let model = Model::of(&data);
        let residual: Vec<Point> = data.iter().map(|(p, m)| Point { y: p.y - model.part(*m), ..p.clone() }).collect();
        let mut shape = self.shape.take().unwrap_or_else(|| Shape::new(axes(view.space)));
        shape.learn(&residual);
        let picked = match Surrogate::fit(&shape, &residual) {
            Some(surrogate) => self.choose(view, &pool, &surrogate, &model, n),
            None => pool.into_iter().take(n).map(|(config, origin)| (Proposal { config, origin }, 1.0)).collect(),
        };
        self.shape = Some(shape);
        let dull = picked.first().is_none_or(|(_, gain)| *gain < LITTLE);
        self.dull = if dull { self.dull + 1 } else { 0 };
        if self.dull >= 3 && view.timed.len() + view.failed.len() + view.twins.len() >= PATIENCE {
            return Next::Converged;
        }
        Next::Try(picked.into_iter().map(|(p, _)| p).collect())
    }

    /// What is known, as points of the surrogate, with the cost model's logarithm beside each.
    fn points(&mut self, view: &View<'_>, best: f64) -> Vec<(Point, Option<f64>)> {
        let mut timed: Vec<(Config, f64, f64)> = twins(view, best);
        timed.extend(view.timed.iter().map(|t| (t.config.clone(), t.log, noise(t))));
        timed.extend(prior_points(view));
        if timed.len() > POINTS {
            // The first are measured here; of them the fastest half is kept, and the latest.
            let late = timed.split_off(timed.len() - POINTS / 2);
            timed.sort_by(|a, b| a.1.total_cmp(&b.1));
            timed.truncate(POINTS / 2);
            timed.extend(late);
        }
        timed
            .into_iter()
            .map(|(config, log, noise)| {
                let model = self.predict(view, &config);
                (Point { x: coordinates(view.space, &config), y: squeeze(log - best), noise }, model)
            })
            .collect()
    }

    /// Picks twice as many as asked for; each with the improvement expected of it.
    fn choose(
        &mut self,
        view: &View<'_>,
        pool: &[(Config, &'static str)],
        surrogate: &Surrogate<'_>,
        model: &Model,
        n: usize,
    ) -> Vec<(Proposal, f64)> {
        struct Candidate {
            at: usize,
            x: Vec<f64>,
            mean: f64,
            gain: f64,
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for (at, (config, _)) in pool.iter().enumerate() {
            let x = coordinates(view.space, config);
            let mean = surrogate.mean(&x) + model.part(self.predict(view, config));
            candidates.push(Candidate { at, x, mean, gain: 0.0 });
        }
        // What looks best, and for what the surrogate has not seen yet every so-many-th of the rest.
        candidates.sort_by(|a, b| a.mean.total_cmp(&b.mean));
        let far = candidates.split_off(CLOSER.min(candidates.len()));
        let step = (far.len() / 48).max(1);
        candidates.extend(far.into_iter().step_by(step));
        let hopes = Hopes::of(view);
        for c in &mut candidates {
            let hope = hopes.of_config(&pool[c.at].0);
            c.gain = improvement(0.0, c.mean, surrogate.deviation(&c.x)) * hope;
            c.mean -= 0.1 * hope.ln();
        }
        let mut picked: Vec<(Proposal, f64)> = Vec::new();
        while picked.len() < 2 * n {
            // In turn what may be much faster and what is likely a little faster: the first finds new places, the
            // second goes down to the bottom of known ones.
            let bold = picked.len().is_multiple_of(2);
            let worth = |c: &Candidate| if bold { c.gain } else { -c.mean };
            let better = |a: &usize, b: &usize| worth(&candidates[*a]).total_cmp(&worth(&candidates[*b]));
            let Some(i) = (0..candidates.len()).max_by(better) else { break };
            let c = candidates.swap_remove(i);
            let (config, origin) = pool[c.at].clone();
            picked.push((Proposal { config, origin }, c.gain));
            // What is like this one will be known once it is measured.
            for other in &mut candidates {
                other.gain *= 1.0 - surrogate.likeness(&c.x, &other.x).powi(2);
            }
        }
        picked
    }
}

impl Strategy for Guided {
    fn name(&self) -> &'static str {
        "guided"
    }

    fn propose(&mut self, view: &View<'_>, n: usize) -> Next {
        let mut seeds = match self.seeds.take() {
            Some(seeds) => seeds,
            None => self.seed(view),
        };
        seeds.retain(|p| view.is_fresh(&p.config));
        self.seeds = Some(seeds.clone());
        if seeds.is_empty() { self.refine(view, n.max(1)) } else { Next::Try(seeds) }
    }
}

/// The fastest of what earlier searches found.
fn from_prior(view: &View<'_>) -> Vec<Proposal> {
    let mut timed: Vec<(&Config, f64)> = view
        .prior
        .iter()
        .filter_map(|t| Some((&t.config, t.result.as_ref().ok()?.seconds)))
        .filter(|(c, _)| view.space.contains(c) && view.is_fresh(c) && view.is_legal(c))
        .collect();
    timed.sort_by(|a, b| a.1.total_cmp(&b.1));
    timed.into_iter().take(FROM_PRIOR).map(|(c, _)| Proposal { config: c.clone(), origin: "prior" }).collect()
}

/// Times of earlier searches, scaled to this one by what was measured in both; nothing when nothing was.
fn prior_points(view: &View<'_>) -> Vec<(Config, f64, f64)> {
    let old: HashMap<&Config, f64> =
        view.prior.iter().filter_map(|t| Some((&t.config, t.result.as_ref().ok()?.seconds.ln()))).collect();
    let shifts: Vec<f64> = view.timed.iter().filter_map(|t| Some(t.log - old.get(t.config)?)).collect();
    let Some(shift) = median(&shifts) else { return Vec::new() };
    let now: HashSet<&Config> = view.timed.iter().map(|t| t.config).collect();
    let mut out: Vec<_> = old.into_iter().filter(|(c, _)| !now.contains(c)).collect();
    out.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(b.0)));
    out.into_iter().take(POINTS / 2).map(|(c, log)| (c.clone(), log + shift, 8.0)).collect()
}

/// How much more the surrogate doubts a time than one of four samples.
fn noise(t: &Timed<'_>) -> f64 {
    4.0 / t.samples.clamp(1, 16) as f64
}

/// Twins of fast configs as points: they say which slots do not matter there.
fn twins(view: &View<'_>, best: f64) -> Vec<(Config, f64, f64)> {
    let fast: HashMap<&Config, &Timed<'_>> =
        view.timed.iter().filter(|t| t.log < best + CLOSE).map(|t| (t.config, t)).collect();
    let point = |&(twin, of): &(&Config, &Config)| fast.get(of).map(|t| (twin.clone(), t.log, noise(t)));
    view.twins.iter().rev().filter_map(point).take(TWINS).collect()
}

/// The first of a ranking, leaving out what differs from one already taken in a single slot.
fn diverse(space: &ConfigSpace, ranked: &[&Config], n: usize) -> Vec<Config> {
    let apart = if space.slots.iter().filter(|(_, v)| v.len() > 1).count() > 3 { 2 } else { 1 };
    let mut out: Vec<Config> = Vec::new();
    for config in ranked {
        if out.len() >= n {
            break;
        }
        if out.iter().all(|c| pool::distance(space, c, config) >= apart) {
            out.push((*config).clone());
        }
    }
    out
}

/// Configs as far apart as possible, each chosen farthest from those before.
fn spread_out(space: &ConfigSpace, from: &[&Config], n: usize) -> Vec<Config> {
    let mut out: Vec<Config> = Vec::new();
    let x: Vec<Vec<f64>> = from.iter().map(|c| coordinates(space, c)).collect();
    let mut nearest = vec![f64::INFINITY; from.len()];
    while out.len() < n {
        let Some(i) = (0..from.len()).max_by(|a, b| nearest[*a].total_cmp(&nearest[*b])) else { break };
        if nearest[i] <= 0.0 {
            break;
        }
        out.push(from[i].clone());
        for (j, d) in nearest.iter_mut().enumerate() {
            let apart: f64 = x[i].iter().zip(&x[j]).map(|(a, b)| (a - b).abs().min(1.0)).sum();
            *d = d.min(apart);
        }
    }
    out
}

/// How the values of each slot compare.
fn axes(space: &ConfigSpace) -> Vec<Axis> {
    let axis = |words: bool| if words { Axis::Word } else { Axis::Number };
    space.slots.iter().map(|(slot, _)| axis(slot.knob.domain().words().is_some())).collect()
}

/// A config as a point: numbers by their logarithm over the slot's range.
fn coordinates(space: &ConfigSpace, config: &Config) -> Vec<f64> {
    let log = |v: u64| (v as f64 + 1.0).log2();
    let of = |slot, values: &[u64]| {
        let v: u64 = config.get(slot)?;
        if slot.knob.domain().words().is_some() {
            return Some(v as f64);
        }
        let (low, high) = (log(*values.iter().min()?), log(*values.iter().max()?));
        Some(if high > low { (log(v) - low) / (high - low) } else { 0.0 })
    };
    space.slots.iter().map(|(slot, values)| of(slot, values).unwrap_or(0.0)).collect()
}

/// Far from the best, differences matter less: half as slow or a tenth is much the same.
fn squeeze(above: f64) -> f64 {
    if above < 0.5 { above } else { 0.5 + 0.4 * (above - 0.5) }
}

/// How likely a config works, by how often others with the same values did.
struct Hopes<'a> {
    /// For each value of a slot, how many worked and how many failed.
    counts: HashMap<(&'a Slot, u64), (f64, f64)>,
}

impl<'a> Hopes<'a> {
    fn of(view: &'a View<'_>) -> Hopes<'a> {
        let mut counts: HashMap<_, (f64, f64)> = HashMap::new();
        if !view.failed.is_empty() {
            view.timed.iter().flat_map(|t| t.config.iter()).for_each(|k| counts.entry(k).or_default().0 += 1.0);
            view.failed.iter().flat_map(|c| c.iter()).for_each(|k| counts.entry(k).or_default().1 += 1.0);
        }
        Hopes { counts }
    }
    /// The least that any of its values leaves, squared: what is unknown looks promising otherwise, however often it
    /// failed. A value that was never tried is trusted.
    fn of_config(&self, config: &Config) -> f64 {
        let rate = |k| self.counts.get(&k).map_or(1.0, |(ok, failed)| (ok + 0.5) / (ok + failed + 0.5));
        config.iter().map(rate).fold(1.0, f64::min).powi(2)
    }
}

/// What the cost model's numbers are worth: the slope of measured times over them.
struct Model {
    slope: f64,
    mean: f64,
}

impl Model {
    fn of(data: &[(Point, Option<f64>)]) -> Model {
        let pairs: Option<Vec<(f64, f64)>> = data.iter().map(|(p, m)| Some(((*m)?, p.y))).collect();
        let pairs = pairs.unwrap_or_default();
        let n = pairs.len().max(1) as f64;
        let (mx, my) = pairs.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0 / n, s.1 + p.1 / n));
        let (xy, xx) = pairs.iter().fold((0.0, 0.0), |s, p| (s.0 + (p.0 - mx) * (p.1 - my), s.1 + (p.0 - mx).powi(2)));
        // Few points prove little; a slope against the model is no knowledge at all.
        let shrink = 0.02 * n;
        Model { slope: (xy / (xx + shrink.min(0.2))).clamp(0.0, 1.2), mean: mx }
    }
    /// The part of a config's time that the model explains.
    fn part(&self, log: Option<f64>) -> f64 {
        log.map_or(0.0, |p| self.slope * (p - self.mean))
    }
}
