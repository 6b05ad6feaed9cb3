//! The race: prepare candidates, sample them in turn, drop the slower half, repeat, hold a final.

use super::{Budget, Measure, Outcome, Tried, candidates};
use helion_ir::config::ConfigSpace;
use std::time::Instant;

/// How many are left for the final, the default not counted.
const FINALISTS: usize = 3;
/// A winner must be so much faster than the default.
const MARGIN: f64 = 0.98;

/// A config in the race.
struct Runner<C> {
    /// Its place in the list of tried configs.
    index: usize,
    candidate: C,
    samples: Vec<f64>,
}

/// Searches for the fastest config. `None` when not even the default could be prepared and timed.
pub fn search<M: Measure>(space: &ConfigSpace, measure: &mut M, budget: Budget) -> Option<Outcome> {
    let start = Instant::now();
    let mut tried = Vec::new();
    let mut runners = prepare(space, measure, &budget, start, &mut tried);
    if runners.first().is_none_or(|r| r.index != 0) {
        return None;
    }
    while runners.len() > FINALISTS + 1 {
        let in_time = start.elapsed() < budget.time;
        round(measure, &mut runners, &mut tried);
        let keep = if in_time { (runners.len() / 2).max(FINALISTS + 1) } else { FINALISTS + 1 };
        drop_slower(&mut runners, keep, &mut tried);
    }
    // Samples of the final are taken under the same conditions; earlier ones no longer count.
    runners.iter_mut().for_each(|r| r.samples.clear());
    for n in 0..budget.finals.max(1) {
        if n >= 3 && start.elapsed() > budget.time * 2 {
            break;
        }
        round(measure, &mut runners, &mut tried);
    }
    runners.iter().for_each(|r| note(r, &mut tried));
    let default_seconds = median(&runners.iter().find(|r| r.index == 0)?.samples)?;
    let of = |r: &Runner<_>| median(&r.samples).unwrap_or(f64::INFINITY);
    let first = runners.iter().min_by(|a, b| of(a).total_cmp(&of(b)))?;
    let wins = of(first) < default_seconds * MARGIN;
    let (index, seconds) = if wins { (first.index, of(first)) } else { (0, default_seconds) };
    let best = tried[index].config.clone();
    Some(Outcome { best, seconds, default_seconds, tried, space: space.len(), time: start.elapsed() })
}

fn prepare<M: Measure>(
    space: &ConfigSpace,
    measure: &mut M,
    budget: &Budget,
    start: Instant,
    tried: &mut Vec<Tried>,
) -> Vec<Runner<M::Candidate>> {
    let mut runners = Vec::new();
    for config in candidates(space, budget) {
        // Compiling gets half of the time; what is left would not be measured anyway.
        if start.elapsed() > budget.time / 2 && tried.len() > 1 {
            break;
        }
        let result = measure.prepare(&config);
        let (index, out) = (tried.len(), result.as_ref().err().cloned());
        tried.push(Tried { config, result: Err(out.unwrap_or_else(|| "not timed".into())), samples: 0 });
        if let Ok(candidate) = result {
            runners.push(Runner { index, candidate, samples: Vec::new() });
        }
    }
    runners
}

/// One sample of every runner, in turn; who fails is out.
fn round<M: Measure>(measure: &mut M, runners: &mut Vec<Runner<M::Candidate>>, tried: &mut [Tried]) {
    runners.retain_mut(|r| match measure.time(&mut r.candidate) {
        Ok(s) => {
            r.samples.push(s);
            true
        }
        Err(why) => {
            tried[r.index].result = Err(why);
            false
        }
    });
}

/// Keeps the `keep` fastest, and the default in any case.
fn drop_slower<C>(runners: &mut Vec<Runner<C>>, keep: usize, tried: &mut [Tried]) {
    let of = |r: &Runner<C>| r.samples.iter().copied().fold(f64::INFINITY, f64::min);
    runners.sort_by(|a, b| (a.index != 0).cmp(&(b.index != 0)).then(of(a).total_cmp(&of(b))));
    for r in runners.drain(keep.min(runners.len())..) {
        note(&r, tried);
    }
}

fn note<C>(r: &Runner<C>, tried: &mut [Tried]) {
    if let Some(m) = median(&r.samples) {
        tried[r.index].result = Ok(m);
        tried[r.index].samples = r.samples.len();
    }
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut s = samples.to_vec();
    s.sort_by(f64::total_cmp);
    s.get(s.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use helion_ir::config::{Config, Knob, Slot};
    use std::time::Duration;

    /// Times from a formula, with noise.
    struct Model {
        prepared: usize,
        noise: u64,
    }

    fn true_time(c: &Config) -> f64 {
        let (m, n) = (c.get(&Slot::of(Knob::Block, "m")).unwrap(), c.get(&Slot::of(Knob::Block, "n")).unwrap());
        1.0 + (m as f64 - 8.0).abs() / 10.0 + (n as f64 - 32.0).abs() / 100.0
    }

    impl Measure for Model {
        type Candidate = Config;
        fn prepare(&mut self, config: &Config) -> Result<Config, String> {
            self.prepared += 1;
            if config.get(&Slot::of(Knob::Block, "m")) == Some(4) { Err("wrong".into()) } else { Ok(config.clone()) }
        }
        fn time(&mut self, c: &mut Config) -> Result<f64, String> {
            self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Ok(true_time(c) * (1.0 + (self.noise >> 48) as f64 / 65536.0 * 0.05))
        }
    }

    fn space() -> ConfigSpace {
        let blocks = vec![1, 2, 4, 8, 16, 32, 64];
        ConfigSpace { slots: vec![(Slot::of(Knob::Block, "m"), blocks.clone()), (Slot::of(Knob::Block, "n"), blocks)] }
    }

    fn budget(configs: usize) -> Budget {
        Budget { configs, finals: 9, time: Duration::from_secs(60), seed: 1 }
    }

    #[test]
    fn all_are_tried_when_few() {
        let mut m = Model { prepared: 0, noise: 1 };
        let o = search(&space(), &mut m, budget(100)).unwrap();
        assert_eq!((m.prepared, o.tried.len(), o.space), (49, 49, 49));
        assert_eq!(o.best.to_string(), "block.m=8 block.n=32");
        assert!(o.seconds < o.default_seconds);
        assert_eq!(o.tried.iter().filter(|t| t.result == Err("wrong".into())).count(), 7);
    }

    #[test]
    fn a_sample_of_the_space_comes_close() {
        for seed in 0..10 {
            let mut m = Model { prepared: 0, noise: seed };
            let o = search(&space(), &mut m, Budget { seed, ..budget(24) }).unwrap();
            assert_eq!(m.prepared, 24);
            assert!(true_time(&o.best) < 1.9, "{} {}", o.best, true_time(&o.best));
        }
    }

    #[test]
    fn candidates_are_distinct_and_reproducible() {
        let (a, b) = (candidates(&space(), &budget(20)), candidates(&space(), &budget(20)));
        assert_eq!(a, b);
        assert_eq!(a[0], space().default_config());
        assert_eq!(a.iter().collect::<std::collections::HashSet<_>>().len(), 20);
        assert_eq!(candidates(&ConfigSpace::default(), &budget(5)), [Config::new()]);
    }

    #[test]
    fn without_gain_the_default_stays() {
        struct Flat(u64);
        impl Measure for Flat {
            type Candidate = ();
            fn prepare(&mut self, _: &Config) -> Result<(), String> {
                Ok(())
            }
            fn time(&mut self, (): &mut ()) -> Result<f64, String> {
                self.0 += 1;
                Ok(1.0 + (self.0 % 7) as f64 * 0.001)
            }
        }
        assert_eq!(search(&space(), &mut Flat(0), budget(49)).unwrap().best, space().default_config());
    }

    #[test]
    fn a_default_that_fails_ends_the_search() {
        struct Broken;
        impl Measure for Broken {
            type Candidate = ();
            fn prepare(&mut self, _: &Config) -> Result<(), String> {
                Err("no".into())
            }
            fn time(&mut self, (): &mut ()) -> Result<f64, String> {
                Err("no".into())
            }
        }
        assert_eq!(search(&space(), &mut Broken, budget(5)), None);
    }
}
