//! The search on kernels that do not exist: right winners, honest noise, budgets, faults.

mod synthetic;

use helion_autotune::{
    Bench, Budget, Effort, End, Id, Observer, Outcome, Progress, Rejection, Task, Trial, search, strategy,
};
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use std::collections::HashSet;
use std::time::Duration;
use synthetic::{BUSY, Disturbance, Hand, Model, NONE, QUIET, SURFACES, Surface, Synthetic, flat};

fn surface(name: &str) -> Surface {
    (SURFACES.iter().find(|k| k.name == name).expect("a known surface").make)()
}

fn quick(seed: u64) -> Budget {
    Budget::of(Effort::Quick, seed)
}

fn all() -> Budget {
    Budget { configs: 100_000, time: Duration::from_secs(10_000), ..Budget::of(Effort::Full, 1) }
}

/// A search on the bench's own clock.
fn run(bench: &mut Synthetic, name: &str, budget: &Budget) -> Result<Outcome, Rejection> {
    run_with(bench, name, budget, &[], &mut ())
}

fn run_with(
    bench: &mut Synthetic,
    name: &str,
    budget: &Budget,
    prior: &[Trial],
    observer: &mut dyn Observer,
) -> Result<Outcome, Rejection> {
    let (space, hand) = (bench.surface.space.clone(), bench.hand.clone());
    let mut task = Task::new(&space, budget);
    task.clock = &hand;
    task.prior = prior;
    let mut strategy = strategy::named(name, budget.seed).expect("a known strategy");
    search(&task, &mut *strategy, bench, observer)
}

#[test]
fn exhaustive_finds_the_optimum_of_every_surface() {
    for kind in SURFACES {
        let mut bench = Synthetic::new((kind.make)(), QUIET, 3);
        let outcome = run(&mut bench, "exhaustive", &all()).unwrap();
        let ratio = bench.truth(&outcome.best) / bench.optimum();
        assert!(ratio < 1.01, "{}: {ratio} with {}", kind.name, outcome.best);
        let len = bench.surface.space.len();
        assert_eq!((outcome.end, outcome.trials.len() as u64), (End::Exhausted, len), "{}", kind.name);
        let legal = (0..len).filter(|i| bench.legal(&bench.surface.space.nth(*i)).is_ok()).count();
        assert_eq!(outcome.measured(), legal, "{}", kind.name);
    }
}

#[test]
fn guided_comes_close_and_beats_random() {
    let (mut guided, mut random) = (Vec::new(), Vec::new());
    for kind in SURFACES {
        for seed in 0..8 {
            for (name, ratios) in [("guided", &mut guided), ("random", &mut random)] {
                let mut bench = Synthetic::new((kind.make)(), BUSY, seed);
                bench.model = Model::Good;
                let outcome = run(&mut bench, name, &quick(seed)).unwrap();
                assert!(outcome.measured() <= 48);
                ratios.push(bench.truth(&outcome.best) / bench.optimum());
            }
        }
    }
    let middle = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    let (guided, random) = (middle(&mut guided), middle(&mut random));
    assert!(guided < 1.04 && guided < 1.0 + (random - 1.0) / 2.0, "guided {guided}, random {random}");
}

#[test]
fn identical_kernels_are_called_identical() {
    let heavy = Disturbance { jitter: 0.05, bursts: 0.1, drift: 0.1, slow: 1.5 };
    let mut called = Vec::new();
    let mut trials = 0;
    for noise in [QUIET, BUSY, heavy] {
        for seconds in [50e-6, 2e-3, 30e-3] {
            for seed in 0..200 {
                let mut bench = Synthetic::new(flat(seconds), noise, seed);
                let outcome = run(&mut bench, "random", &Budget { configs: 12, ..quick(seed) }).unwrap();
                trials += 1;
                if outcome.gain() > 1.03 {
                    called.push((seconds, noise.jitter, outcome.gain()));
                }
            }
        }
    }
    println!("{} of {trials} A/A trials called a difference above 3 %", called.len());
    assert!(called.len() * 200 <= trials, "{called:?}");
}

#[test]
fn one_seed_and_one_bench_give_one_outcome() {
    for name in strategy::NAMES {
        let once = |seed| {
            let mut bench = Synthetic::new(surface("matmul"), BUSY, 7);
            bench.model = Model::Good;
            run(&mut bench, name, &Budget { seed, ..quick(0) }).unwrap()
        };
        assert_eq!(once(1), once(1), "{name}");
        assert_ne!(once(1).trials, once(2).trials, "{name}");
    }
}

#[test]
fn no_config_is_tried_twice_and_illegal_ones_are_never_prepared() {
    for name in strategy::NAMES {
        let mut bench = Synthetic::new(surface("matmul"), BUSY, 7);
        let outcome = run(&mut bench, name, &Budget { configs: 150, ..Budget::of(Effort::Full, 1) }).unwrap();
        let distinct: HashSet<_> = outcome.trials.iter().map(|t| &t.config).collect();
        assert_eq!(distinct.len(), outcome.trials.len(), "{name}");
        for (config, times) in &bench.asked {
            assert!(bench.legal(config).is_ok(), "{name}: {config}");
            // The final's second copy of the default.
            assert_eq!(*times, 1 + usize::from(*config == outcome.default), "{name}: {config}");
        }
        assert!(outcome.measured() == 150 || outcome.end == End::Converged, "{name}");
    }
}

#[test]
fn every_kind_of_failure_is_recorded_and_the_search_goes_on() {
    let mut bench = Synthetic::new(surface("rows"), BUSY, 7);
    let slot = Slot::kernel(Knob::Threads);
    let unroll = Slot::kernel(Knob::Unroll);
    bench.fault = Box::new(move |c| match c.get(&slot).unwrap() {
        1 => Some(Rejection::Compile("no register left".into())),
        2 => Some(Rejection::Wrong("element 3".into())),
        4 => Some(Rejection::Crashed("signal 11".into())),
        6 if c.get(&unroll) == Some(1) => Some(Rejection::Hung(Duration::from_secs(1))),
        6 => Some(Rejection::Same(Config::new())),
        _ => None,
    });
    let unroll = Slot::kernel(Knob::Unroll);
    bench.late = Box::new(move |c| (c.get(&unroll) == Some(8)).then(|| Rejection::Failed("panicked".into())));
    let outcome = run(&mut bench, "guided", &quick(3)).unwrap();
    let kinds: HashSet<_> = outcome.trials.iter().filter_map(|t| Some(t.result.as_ref().err()?.kind())).collect();
    for kind in ["compile", "wrong", "crashed", "hung", "same", "failed"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    assert_eq!(outcome.best.get(&Slot::kernel(Knob::Threads)), Some(8));
    assert_ne!(outcome.best.get(&Slot::kernel(Knob::Unroll)), Some(8));
    // Five of six configs fail; they are not counted as measured, and the search learns to avoid them.
    assert!(outcome.end == End::Configs && outcome.measured() == 48 || outcome.end == End::Converged);
    assert!(outcome.trials.len() < 6 * outcome.measured(), "{} of {}", outcome.measured(), outcome.trials.len());
}

#[test]
fn a_default_that_fails_ends_the_search_with_its_reason() {
    let mut bench = Synthetic::new(surface("rows"), NONE, 7);
    bench.fault = Box::new(|_| Some(Rejection::Compile("no".into())));
    assert_eq!(run(&mut bench, "guided", &quick(1)), Err(Rejection::Compile("no".into())));
    let mut bench = Synthetic::new(surface("rows"), NONE, 7);
    bench.late = Box::new(|_| Some(Rejection::Crashed("signal 4".into())));
    assert_eq!(run(&mut bench, "guided", &quick(1)), Err(Rejection::Crashed("signal 4".into())));
}

#[test]
fn the_space_s_default_stands_in_for_one_that_fails() {
    let mut bench = Synthetic::new(surface("rows"), NONE, 7);
    let (space, hand, budget) = (bench.surface.space.clone(), bench.hand.clone(), quick(1));
    let own = space.nth(17);
    let bad = own.clone();
    bench.fault = Box::new(move |c| (*c == bad).then(|| Rejection::Wrong("all".into())));
    let mut task = Task::new(&space, &budget);
    task.clock = &hand;
    task.default = own.clone();
    let outcome = search(&task, &mut strategy::Guided::new(1), &mut bench, &mut ()).unwrap();
    assert_eq!(outcome.default, space.default_config());
    assert_eq!(outcome.trials[0].config, own);
}

#[test]
fn nothing_to_choose_gives_the_default() {
    let one = ConfigSpace { slots: vec![(Slot::of(Knob::Block, "a"), vec![8])] };
    for space in [one, ConfigSpace::default()] {
        for name in strategy::NAMES {
            let surface = Surface { name: "one", space: space.clone(), time: Box::new(|_| Some(1e-3)) };
            let mut bench = Synthetic::new(surface, BUSY, 1);
            let outcome = run(&mut bench, name, &quick(1)).unwrap();
            assert_eq!(outcome.best, space.default_config());
            assert_eq!((outcome.end, outcome.measured()), (End::Exhausted, 1), "{name}");
            assert!(outcome.noise.samples >= 7);
        }
    }
}

/// Twenty slots of four values: 10^12 configs.
fn huge() -> Surface {
    let slots: Vec<Slot> = (0..20).map(|i| Slot::of(Knob::Block, format!("t{i:02}"))).collect();
    let space = ConfigSpace { slots: slots.iter().map(|s| (s.clone(), vec![1, 2, 4, 8])).collect() };
    let time = move |c: &Config| {
        let far = |(i, s): (usize, &Slot)| (synthetic::value(c, s).log2() - (i % 4) as f64).abs();
        Some(1e-4 * (1.0 + 0.05 * slots.iter().enumerate().map(far).sum::<f64>()))
    };
    Surface { name: "huge", space, time: Box::new(time) }
}

#[test]
fn a_huge_space_is_not_listed() {
    for name in strategy::NAMES {
        let mut bench = Synthetic::new(huge(), BUSY, 1);
        let default = bench.truth(&bench.surface.space.default_config());
        let outcome = run(&mut bench, name, &quick(1)).unwrap();
        assert_eq!((outcome.space, outcome.measured()), (1 << 40, 48), "{name}");
        assert!(bench.truth(&outcome.best) < default, "{name}");
    }
}

#[test]
fn a_budget_of_time_is_kept_also_when_launches_are_long() {
    for seconds in [20e-6, 1e-3, 10e-3, 50e-3, 100e-3] {
        let mut surface = surface("matmul");
        let (time, scale) = (surface.time, seconds / 4e-4);
        surface.time = Box::new(move |c| Some(time(c)? * scale));
        let mut bench = Synthetic::new(surface, BUSY, 5);
        bench.model = Model::Good;
        let outcome = run(&mut bench, "guided", &quick(5)).unwrap();
        let spent = bench.hand.seconds();
        println!(
            "{seconds} s: {} configs, {} samples, {spent:.2} s, {:.3} of the optimum, final of {}",
            outcome.measured(),
            bench.samples,
            bench.truth(&outcome.best) / bench.optimum(),
            outcome.timing.samples
        );
        assert!(spent < 5.0, "{spent} s with launches of {seconds} s");
        assert!(outcome.gain() > 1.05 || seconds > 20e-3, "{seconds}: {}", outcome.gain());
        assert!(outcome.timing.samples >= 5 && outcome.measured() > 4, "{seconds}");
    }
}

#[test]
fn a_goal_ends_the_search() {
    let mut bench = Synthetic::new(surface("scan"), QUIET, 5);
    bench.bound = Some(bench.optimum());
    let outcome = run(&mut bench, "random", &Budget { goal: Some(1.5), ..quick(5) }).unwrap();
    assert_eq!(outcome.end, End::Goal);
    assert!(outcome.measured() < 48 && outcome.timing.seconds < 1.55 * bench.optimum());
    assert_eq!(outcome.bound, bench.bound);
}

/// Counts what it hears, and interrupts.
#[derive(Default)]
struct Ear {
    trials: Vec<Trial>,
    progress: Vec<Progress>,
    end_after: Option<Duration>,
}

impl Observer for Ear {
    fn progress(&mut self, progress: &Progress) -> bool {
        self.progress.push(progress.clone());
        self.end_after.is_none_or(|t| progress.elapsed < t)
    }
    fn trial(&mut self, trial: &Trial) {
        self.trials.push(trial.clone());
    }
}

#[test]
fn an_interrupt_gives_the_best_so_far_soon() {
    let mut bench = Synthetic::new(surface("matmul"), BUSY, 5);
    bench.compile = 0.02;
    let mut ear = Ear { end_after: Some(Duration::from_millis(700)), ..Ear::default() };
    let outcome = run_with(&mut bench, "guided", &quick(5), &[], &mut ear).unwrap();
    assert_eq!(outcome.end, End::Interrupted);
    assert!(bench.hand.seconds() < 0.95, "{}", bench.hand.seconds());
    assert!(outcome.measured() > 5 && outcome.timing.samples >= 7);
    assert!(outcome.timing.seconds <= outcome.default_timing.seconds);
}

#[test]
fn observers_hear_of_each_config_once_and_often_of_progress() {
    let mut bench = Synthetic::new(surface("matmul"), BUSY, 5);
    bench.compile = 0.02;
    let mut ear = Ear::default();
    let outcome = run_with(&mut bench, "guided", &quick(5), &[], &mut ear).unwrap();
    let heard: Vec<_> = ear.trials.iter().map(|t| &t.config).collect();
    let distinct: HashSet<_> = heard.iter().collect();
    assert_eq!((heard.len(), distinct.len()), (outcome.trials.len(), heard.len()));
    assert!(ear.progress.len() > 10);
    assert!(ear.progress.windows(2).all(|w| w[0].measured <= w[1].measured && w[0].elapsed <= w[1].elapsed));
}

#[test]
fn what_is_known_from_before_is_used() {
    let mut bench = Synthetic::new(surface("matmul"), BUSY, 5);
    let first = run(&mut bench, "guided", &Budget { configs: 60, ..Budget::of(Effort::Full, 5) }).unwrap();
    // As from another size: all times four times as long; and two that failed there.
    let mut prior = first.trials.clone();
    for t in prior.iter_mut().filter_map(|t| t.result.as_mut().ok()) {
        *t = helion_autotune::Timing { seconds: 4.0 * t.seconds, ..*t };
    }
    let failed: Vec<Config> = (100..140).map(|i| bench.surface.space.nth(i)).collect();
    let broken = |c: &Config| Trial {
        config: c.clone(),
        result: Err(Rejection::Hung(Duration::from_secs(1))),
        predicted: None,
        origin: "random",
        at: 0.0,
    };
    prior.extend(failed.iter().map(broken));
    let mut again = Synthetic::new(surface("matmul"), BUSY, 6);
    let second = run_with(&mut again, "guided", &Budget { configs: 12, ..quick(6) }, &prior, &mut ()).unwrap();
    assert!(again.truth(&second.best) <= again.truth(&first.best) * 1.02, "the old winner is tried again");
    assert!(second.trials.iter().any(|t| t.origin == "prior"));
    assert!(failed.iter().all(|c| !again.asked.contains_key(c)));
}

/// A bench that lies once: a config's first heat looks five times as fast as it is.
struct Liar {
    inner: Synthetic,
    lies: usize,
}

impl Bench for Liar {
    fn legal(&self, config: &Config) -> Result<(), String> {
        self.inner.legal(config)
    }
    fn predict(&self, config: &Config) -> Option<f64> {
        self.inner.predict(config)
    }
    fn prepare(&mut self, configs: &[Config]) -> Vec<Result<Id, Rejection>> {
        self.inner.prepare(configs)
    }
    fn sample(&mut self, ids: &[Id]) -> Vec<Result<f64, Rejection>> {
        let mut out = self.inner.sample(ids);
        for (id, r) in ids.iter().zip(&mut out) {
            if id.0 == 20 && self.lies > 0 {
                self.lies -= 1;
                *r = r.clone().map(|s| s / 5.0);
            }
        }
        out
    }
}

#[test]
fn a_suspiciously_fast_result_is_measured_again() {
    let inner = Synthetic::new(flat(1e-3), QUIET, 1);
    let (space, hand) = (inner.surface.space.clone(), inner.hand.clone());
    let budget = quick(1);
    let mut task = Task::new(&space, &budget);
    task.clock = &hand;
    let mut liar = Liar { inner, lies: 3 };
    let outcome = search(&task, &mut strategy::Random::new(1), &mut liar, &mut ()).unwrap();
    assert_eq!(liar.lies, 0);
    let fastest = outcome.trials.iter().filter_map(|t| t.result.as_ref().ok()).map(|t| t.seconds).fold(1.0, f64::min);
    assert!(fastest > 0.9e-3, "{fastest}");
    assert_eq!(outcome.best, outcome.default);
}

#[test]
fn strategies_have_names() {
    for name in strategy::NAMES {
        assert_eq!(strategy::named(name, 1).unwrap().name(), *name);
    }
    assert!(strategy::named("nothing", 1).is_none());
    assert_eq!(Hand::default().seconds(), 0.0);
}
