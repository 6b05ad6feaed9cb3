//! Everything a search holds while it runs: what was tried, who is still in the race, what was spent.
//!
//! In: configs to admit, rounds to sample. The bench is called here only, in calls short enough that time and
//! interrupts are looked at in between. What then holds: every admitted config has one [`Trial`], and only configs
//! that compiled and gave right results are sampled.

use super::Task;
use crate::stats::{median, spread, timing};
use crate::strategy::{Proposal, Timed, View};
use crate::{Bench, End, Id, Observer, Progress, Rejection, Timing, Trial};
use helion_ir::config::Config;
use std::collections::HashSet;
use std::time::Duration;

/// Calls of the bench are cut so that each takes about so many seconds.
const CALL: f64 = 0.1;
/// How often an observer hears of progress.
const TELL: Duration = Duration::from_millis(50);
/// The usual deviation of a sample, until there are enough samples to know.
const SPREAD: f64 = 0.02;

/// What stands in a trial until it has a time.
const NOT_TIMED: &str = "it was not timed";

/// A config in the race.
pub(super) struct Runner {
    /// Its place in the list of trials.
    pub(super) trial: usize,
    pub(super) id: Id,
    /// Logarithms of the seconds of this heat's samples.
    pub(super) heat: Vec<f64>,
    /// Those of all samples, corrected for how fast the machine was.
    pub(super) kept: Vec<f64>,
}

impl Runner {
    /// The logarithm of its time by all samples.
    pub(super) fn score(&self) -> f64 {
        median(&self.kept).unwrap_or(f64::INFINITY)
    }
}

/// A config that was timed and may be out of the race by now.
struct Score {
    trial: usize,
    log: f64,
    samples: usize,
}

/// What things have cost lately, in seconds of the clock.
struct Cost {
    prepare: f64,
    sample: f64,
}

pub(super) struct Field<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) default: Config,
    pub(super) runners: Vec<Runner>,
    bench: &'a mut dyn Bench,
    observer: &'a mut dyn Observer,
    pub(super) trials: Vec<Trial>,
    scores: Vec<Score>,
    seen: HashSet<Config>,
    /// How many of `seen` are in the space.
    inside: u64,
    start: Duration,
    told: Duration,
    cost: Cost,
    /// Distances of samples from their medians.
    residuals: Vec<f64>,
    pub(super) phase: &'static str,
    interrupted: bool,
}

impl<'a> Field<'a> {
    pub(super) fn new(task: &'a Task<'a>, bench: &'a mut dyn Bench, observer: &'a mut dyn Observer) -> Field<'a> {
        let failed = task.prior.iter().filter(|t| t.result.is_err()).map(|t| t.config.clone());
        let seen: HashSet<Config> = failed.collect();
        Field {
            inside: seen.iter().filter(|c| task.space.contains(c)).count() as u64,
            seen,
            task,
            default: task.default.clone(),
            runners: Vec::new(),
            trials: Vec::new(),
            scores: Vec::new(),
            start: task.clock.now(),
            told: Duration::ZERO,
            cost: Cost { prepare: 0.0, sample: 0.0 },
            residuals: Vec::new(),
            phase: "compiling",
            interrupted: false,
            bench,
            observer,
        }
    }

    /// Time since the search began.
    pub(super) fn elapsed(&self) -> Duration {
        self.task.clock.now().saturating_sub(self.start)
    }
    /// Seconds that exploring may still take; what the final needs is set aside.
    pub(super) fn left(&self) -> f64 {
        let time = self.task.budget.time.as_secs_f64();
        time - self.reserve() - self.elapsed().as_secs_f64()
    }
    /// Seconds that the final will need: enough rounds of three arms to tell them apart.
    fn reserve(&self) -> f64 {
        let time = self.task.budget.time.as_secs_f64();
        (super::finals::ENOUGH as f64 * 3.0 * self.cost.sample).clamp(0.04 * time, 0.4 * time)
    }
    pub(super) fn sample_cost(&self) -> f64 {
        self.cost.sample
    }
    pub(super) fn prepare_cost(&self) -> f64 {
        self.cost.prepare
    }
    /// The usual relative deviation of a sample.
    pub(super) fn spread(&self) -> f64 {
        let known = if self.residuals.len() >= 12 { spread(&self.residuals) } else { None };
        known.unwrap_or(SPREAD).max(0.001)
    }
    /// How many configs were timed.
    pub(super) fn measured(&self) -> usize {
        self.scores.len()
    }
    pub(super) fn bound(&self) -> Option<f64> {
        self.bench.bound().filter(|s| s.is_finite() && *s > 0.0)
    }
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted
    }
    pub(super) fn is_default(&self, runner: &Runner) -> bool {
        self.trials[runner.trial].config == self.default
    }
    /// The runner with the lowest score.
    pub(super) fn best(&self) -> Option<&Runner> {
        self.runners.iter().filter(|r| !r.kept.is_empty()).min_by(|a, b| a.score().total_cmp(&b.score()))
    }

    /// Why exploring must end now, if it must.
    pub(super) fn over(&self) -> Option<End> {
        let budget = self.task.budget;
        if self.interrupted {
            return Some(End::Interrupted);
        }
        let goal = budget.goal.zip(self.bound()).map(|(factor, bound)| (factor * bound).ln());
        if goal.zip(self.best()).is_some_and(|(goal, best)| best.kept.len() >= 3 && best.score() <= goal) {
            return Some(End::Goal);
        }
        // What fails after it was compiled is not counted as measured, but not for ever.
        if self.measured() >= budget.configs || self.trials.len() > 8 * budget.configs + 64 {
            return Some(End::Configs);
        }
        (self.left() <= 0.0).then_some(End::Time)
    }

    /// Whether every config of the space was tried.
    pub(super) fn is_exhausted(&self) -> bool {
        self.inside >= self.task.space.len()
    }
    /// Marks a config as tried; `false` when it was already.
    fn mark(&mut self, config: &Config) -> bool {
        let new = self.seen.insert(config.clone());
        self.inside += u64::from(new && self.task.space.contains(config));
        new
    }
    fn unmark(&mut self, config: &Config) {
        let old = self.seen.remove(config);
        self.inside -= u64::from(old && self.task.space.contains(config));
    }

    /// What a strategy may know.
    pub(super) fn view(&self) -> View<'_> {
        let timed = |s: &Score| Timed { config: &self.trials[s.trial].config, log: s.log, samples: s.samples };
        let cheap = |e: &Rejection| matches!(e, Rejection::Illegal(_) | Rejection::Same(_));
        let in_vain = |t: &&Trial| t.result.as_ref().is_err_and(|e| !cheap(e));
        let known = self.trials.iter().chain(self.task.prior);
        View {
            failed: known.filter(in_vain).map(|t| &t.config).collect(),
            twins: self.trials.iter().filter_map(twin).collect(),
            space: self.task.space,
            default: &self.default,
            budget: self.task.budget,
            prior: self.task.prior,
            timed: self.scores.iter().map(timed).collect(),
            spread: self.spread(),
            seen: &self.seen,
            bench: &*self.bench,
            clock: self.task.clock,
        }
    }

    /// Tells the bench what will probably be asked for next.
    pub(super) fn expect(&mut self, next: &[Proposal]) {
        let configs: Vec<Config> = next.iter().map(|p| p.config.clone()).collect();
        self.bench.expect(&configs);
    }

    /// Checks and prepares the default, whatever is known about it from before.
    pub(super) fn admit_default(&mut self, config: Config) -> bool {
        self.unmark(&config);
        self.admit(vec![Proposal { config, origin: "default" }]) == 1
    }

    /// Checks and prepares proposals; those that work join the race. Answers how many did.
    pub(super) fn admit(&mut self, proposals: Vec<Proposal>) -> usize {
        let before = self.runners.len();
        let mut legal = Vec::new();
        for p in proposals {
            if !self.mark(&p.config) {
                continue;
            }
            match self.bench.legal(&p.config) {
                Ok(()) => legal.push(p),
                Err(why) => {
                    let trial = self.note(p, Err(Rejection::Illegal(why)));
                    self.observer.trial(&self.trials[trial]);
                }
            }
        }
        let mut rest = legal.into_iter().peekable();
        while rest.peek().is_some() && !self.interrupted {
            let fits = (CALL / self.cost.prepare.max(1e-6)).clamp(1.0, 64.0) as usize;
            let first = self.cost.prepare == 0.0;
            self.prepare(rest.by_ref().take(if first { 1 } else { fits }).collect());
            self.tell();
            if self.left() <= 0.0 && !first {
                break;
            }
        }
        // What was not reached may be proposed again.
        for p in rest {
            self.unmark(&p.config);
        }
        self.runners.len() - before
    }

    /// Compiles and checks configs in one call of the bench.
    fn prepare(&mut self, proposals: Vec<Proposal>) {
        let configs: Vec<Config> = proposals.iter().map(|p| p.config.clone()).collect();
        let start = self.task.clock.now();
        let answers = self.bench.prepare(&configs);
        let each = (self.task.clock.now() - start).as_secs_f64() / configs.len().max(1) as f64;
        self.cost.prepare = blend(self.cost.prepare, each.max(1e-9));
        for (p, answer) in proposals.into_iter().zip(answers) {
            match answer {
                Ok(id) => {
                    // Replaced by its time as soon as there is one.
                    let trial = self.note(p, Err(Rejection::Failed(NOT_TIMED.into())));
                    self.runners.push(Runner { trial, id, heat: Vec::new(), kept: Vec::new() });
                }
                Err(why) => {
                    let trial = self.note(p, Err(why));
                    self.observer.trial(&self.trials[trial]);
                }
            }
        }
    }

    fn note(&mut self, p: Proposal, result: Result<Timing, Rejection>) -> usize {
        let predicted = self.bench.predict(&p.config);
        let at = self.elapsed().as_secs_f64();
        self.trials.push(Trial { config: p.config, result, predicted, origin: p.origin, at });
        self.trials.len() - 1
    }

    /// A second copy of the default for the final; its first copy when there is none.
    pub(super) fn copy_default(&mut self, first: Id) -> Id {
        self.bench.prepare(std::slice::from_ref(&self.default)).pop().and_then(Result::ok).unwrap_or(first)
    }

    /// Takes one sample of each, in this order; the answers are seconds.
    pub(super) fn sample(&mut self, ids: &[Id]) -> Vec<Result<f64, Rejection>> {
        let mut out = Vec::with_capacity(ids.len());
        let mut rest = ids;
        while !rest.is_empty() {
            let fits = (CALL / self.cost.sample.max(1e-6)).clamp(1.0, rest.len() as f64) as usize;
            // The first of all is taken alone, to see what it costs.
            let (now, later) = rest.split_at(if self.cost.sample == 0.0 { 1 } else { fits });
            let start = self.task.clock.now();
            out.extend(self.bench.sample(now).into_iter().map(|r| match r {
                Ok(s) if !(s.is_finite() && s > 0.0) => Err(Rejection::Failed(format!("its time was {s} s"))),
                r => r,
            }));
            let each = (self.task.clock.now() - start).as_secs_f64() / now.len() as f64;
            self.cost.sample = blend(self.cost.sample, each.max(1e-9));
            rest = later;
            self.tell();
        }
        out
    }

    /// One sample of each of these runners; those that fail are out. Answers whether all are still there.
    pub(super) fn round(&mut self, order: &[Id]) -> bool {
        let answers = self.sample(order);
        let mut whole = true;
        for (id, answer) in order.iter().zip(answers) {
            let Some(at) = self.runners.iter().position(|r| r.id == *id) else { continue };
            match answer {
                Ok(s) => self.runners[at].heat.push(s.ln()),
                Err(why) => {
                    whole = false;
                    self.fail(at, why);
                }
            }
        }
        whole
    }

    /// Takes a runner out that failed while it was sampled.
    fn fail(&mut self, at: usize, why: Rejection) {
        let runner = self.runners.remove(at);
        self.scores.retain(|s| s.trial != runner.trial);
        self.trials[runner.trial].result = Err(why);
        self.observer.trial(&self.trials[runner.trial]);
    }

    /// Takes a runner out that failed in the final.
    pub(super) fn reject(&mut self, id: Id, why: &Rejection) {
        if let Some(at) = self.runners.iter().position(|r| r.id == id) {
            self.fail(at, why.clone());
        }
    }

    /// The time of a config by the race.
    pub(super) fn timing_of(&self, config: &Config) -> Option<Timing> {
        self.trials.iter().find(|t| t.config == *config)?.result.clone().ok()
    }

    /// Seconds that a final may take from now on.
    pub(super) fn final_seconds(&self) -> f64 {
        let left = self.task.budget.time.saturating_sub(self.elapsed()).as_secs_f64();
        left.max(self.reserve())
    }

    /// Ends a runner's heat: its samples, less the machine's `level`, are kept, and its trial gets its time.
    pub(super) fn settle(&mut self, at: usize, level: f64) {
        let runner = &mut self.runners[at];
        if let (Some(m), 4..) = (median(&runner.heat), runner.heat.len()) {
            self.residuals.extend(runner.heat.iter().map(|x| x - m));
            let old = self.residuals.len().saturating_sub(400);
            self.residuals.drain(..old);
        }
        runner.kept.extend(runner.heat.drain(..).map(|x| x - level));
        let seconds: Vec<f64> = runner.kept.iter().map(|x| x.exp()).collect();
        let Some(t) = timing(&seconds) else { return };
        let trial = runner.trial;
        let score = Score { trial, log: t.seconds.ln(), samples: t.samples };
        self.trials[trial].result = Ok(t);
        match self.scores.iter_mut().find(|s| s.trial == trial) {
            Some(old) => *old = score,
            None => {
                self.scores.push(score);
                self.observer.trial(&self.trials[trial]);
            }
        }
    }

    /// Takes a runner out of the race; its time stays.
    pub(super) fn drop_runner(&mut self, at: usize) {
        let runner = self.runners.remove(at);
        self.bench.forget(runner.id);
    }

    /// Everything that was tried to an end.
    pub(super) fn into_trials(self) -> Vec<Trial> {
        let pending = |t: &Trial| matches!(&t.result, Err(Rejection::Failed(why)) if why == NOT_TIMED);
        self.trials.into_iter().filter(|t| !pending(t)).collect()
    }

    /// Tells the observer where things stand, now and then.
    fn tell(&mut self) {
        let elapsed = self.elapsed();
        if self.interrupted || elapsed < self.told + TELL {
            return;
        }
        self.told = elapsed;
        let default = self.runners.iter().find(|r| self.is_default(r) && !r.kept.is_empty());
        let progress = Progress {
            phase: self.phase,
            measured: self.measured(),
            configs: self.task.budget.configs,
            rejected: self.trials.len() - self.measured(),
            best: self.best().map(|r| r.score().exp()),
            default: default.map(|r| r.score().exp()),
            elapsed,
            time: self.task.budget.time,
        };
        self.interrupted = !self.observer.progress(&progress);
    }
}

/// A config that is the same as another, and that one.
fn twin(t: &Trial) -> Option<(&Config, &Config)> {
    match &t.result {
        Err(Rejection::Same(of)) => Some((&t.config, of)),
        Ok(_) | Err(_) => None,
    }
}

/// A mean that forgets.
fn blend(old: f64, new: f64) -> f64 {
    if old == 0.0 { new } else { 0.7 * old + 0.3 * new }
}
