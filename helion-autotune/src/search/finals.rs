//! The final: the few best against the default, beside a second copy of the default.
//!
//! In: a field that was explored. Out: the outcome. Only samples of the final count here, so nobody wins by the
//! luck that brought him here. In each round every arm is sampled once; a finalist replaces the default when it
//! beats both copies of it in more rounds than chance explains, by a factor that the two copies do not
//! show between themselves.

use super::field::Field;
use crate::stats::{interval, luck, median, ratios, timing};
use crate::{End, Id, Noise, Outcome, Rejection, Timing};
use helion_ir::config::Config;

/// Rounds that are enough to tell arms apart when one always wins.
pub(super) const ENOUGH: usize = 7;
/// Most finalists beside the default.
const FINALISTS: usize = 6;
/// After so many rounds a decision is tried.
const LOOKS: [usize; 7] = [ENOUGH, 12, 20, 40, 80, 160, 320];
/// A finalist is faster when chance would explain its rounds with less than this probability.
const CHANCE: f64 = 0.0007;
/// The same when time allows less than [`ENOUGH`] rounds; the gain must be [`LARGE`] then.
const CHANCE_OF_FEW: f64 = 0.005;
/// A gain that shows in few rounds.
const LARGE: f64 = 1.1;
/// Less gain than this is none.
const LEAST: f64 = 1.005;
/// Share of the budget after which a final that has not decided settles.
const SHARE: f64 = 0.15;
/// The budget may be exceeded by this share before a final with dear samples is cut.
const OVER: f64 = 0.25;

/// One arm of the final.
struct Arm {
    id: Id,
    config: Config,
    /// Seconds, one for each round.
    seconds: Vec<f64>,
    /// Why it is out.
    failed: Option<Rejection>,
}

/// Holds the final and sums up.
///
/// # Errors
/// Why the default failed now, when nothing else is left.
pub(super) fn hold(mut field: Field<'_>, end: End, strategy: &'static str) -> Result<Outcome, Rejection> {
    field.phase = "final";
    let mut arms = arms(&mut field);
    run(&mut field, &mut arms);
    let end = if field.is_interrupted() { End::Interrupted } else { end };
    let (default, null, finalists) = match arms.as_slice() {
        [default, null, finalists @ ..] => (default, null, finalists),
        _ => return Err(Rejection::Failed("the default was never timed".into())),
    };
    let mut ranked: Vec<(&Arm, Timing)> =
        finalists.iter().filter(|a| a.failed.is_none()).filter_map(|a| Some((a, timing(&a.seconds)?))).collect();
    ranked.sort_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
    let own = timing(&default.seconds).filter(|_| default.failed.is_none());
    let winner = ranked.iter().position(|(a, _)| own.is_none() || is_faster(a, default, null));
    let (best, time) = match (winner, own) {
        (Some(w), _) => {
            let (arm, time) = ranked.remove(w);
            (arm.config.clone(), time)
        }
        (None, Some(own)) => (default.config.clone(), own),
        (None, None) => return Err(default.failed.clone().unwrap_or(Rejection::Failed("it has no time".into()))),
    };
    let noise = noise(default, null);
    let task = field.task;
    let before = field.timing_of(&default.config).unwrap_or(time);
    Ok(Outcome {
        best,
        timing: time,
        default: default.config.clone(),
        default_timing: own.unwrap_or(before),
        runners_up: ranked.into_iter().map(|(a, t)| (a.config.clone(), t)).collect(),
        noise,
        bound: field.bound(),
        space: task.space.len(),
        time: field.elapsed(),
        end,
        strategy,
        effort: task.budget.effort,
        seed: task.budget.seed,
        trials: field.into_trials(),
    })
}

/// The default, its second copy, and the finalists.
fn arms(field: &mut Field<'_>) -> Vec<Arm> {
    field.runners.retain(|r| !r.kept.is_empty());
    field.runners.sort_by(|a, b| a.score().total_cmp(&b.score()));
    let arm = |id, config| Arm { id, config, seconds: Vec::new(), failed: None };
    let Some(default) = field.runners.iter().find(|r| field.is_default(r)).map(|r| r.id) else {
        return Vec::new();
    };
    let mut out = vec![arm(default, field.default.clone())];
    let second = field.copy_default(default);
    out.push(arm(second, field.default.clone()));
    // Each arm costs; who is far behind the best has no chance.
    let lead = field.runners.first().map_or(0.0, super::field::Runner::score);
    let near = 0.02 + 2.0 * field.spread();
    let fits = field.final_seconds() / (ENOUGH as f64 * field.sample_cost().max(1e-9));
    let most = (fits as usize).saturating_sub(2).clamp(1, FINALISTS);
    let others = field.runners.iter().filter(|r| !field.is_default(r));
    for (i, r) in others.take(most).enumerate() {
        if i == 0 || r.score() < lead + near {
            out.push(arm(r.id, field.trials[r.trial].config.clone()));
        }
    }
    out
}

/// Samples rounds until there is a decision or the time is up.
fn run(field: &mut Field<'_>, arms: &mut [Arm]) {
    let start = field.elapsed().as_secs_f64();
    let total = field.task.budget.time.as_secs_f64();
    let most = if field.is_interrupted() { LOOKS[1] } else { LOOKS[LOOKS.len() - 1] };
    for n in 1..=most {
        round(field, arms, n);
        let spent = field.elapsed().as_secs_f64();
        let each = (spent - start) / n as f64;
        let cut = spent + each > total * (1.0 + OVER);
        let settled = n >= ENOUGH && spent - start > total * SHARE && spent + each > total;
        if cut || settled || arms.iter().all(|a| a.failed.is_some()) || (LOOKS.contains(&n) && decided(arms, n)) {
            break;
        }
    }
}

/// One sample of every arm, in an order that rotates.
fn round(field: &mut Field<'_>, arms: &mut [Arm], n: usize) {
    let mut order: Vec<usize> = (0..arms.len()).filter(|i| arms[*i].failed.is_none()).collect();
    if order.is_empty() {
        return;
    }
    let shift = n % order.len();
    order.rotate_left(shift);
    if n % 2 == 1 {
        order.reverse();
    }
    let ids: Vec<Id> = order.iter().map(|i| arms[*i].id).collect();
    for (i, answer) in order.into_iter().zip(field.sample(&ids)) {
        match answer {
            Ok(s) => arms[i].seconds.push(s),
            Err(why) => {
                field.reject(arms[i].id, &why);
                arms[i].failed = Some(why);
            }
        }
    }
}

/// Whether more rounds would not change the answer: a finalist is faster and its gain is known well, or none has
/// a gain worth having.
fn decided(arms: &[Arm], n: usize) -> bool {
    let [default, null, finalists @ ..] = arms else { return true };
    if finalists.is_empty() {
        return n >= LOOKS[2];
    }
    let gains = |a: &Arm| interval(&ratios(&a.seconds, &default.seconds)).unwrap_or((0.0, f64::INFINITY));
    let faster = |a: &&Arm| a.failed.is_none() && is_faster(a, default, null);
    if let Some(first) = finalists.iter().filter(faster).min_by(|a, b| middle(a).total_cmp(&middle(b))) {
        let (low, high) = gains(first);
        return high / low < 1.02 && n >= LOOKS[2];
    }
    n >= LOOKS[2] && finalists.iter().all(|a| a.failed.is_some() || gains(a).1 < LEAST)
}

fn middle(arm: &Arm) -> f64 {
    median(&arm.seconds).unwrap_or(f64::INFINITY)
}

/// Whether an arm beats the default by more than chance and noise explain.
fn is_faster(arm: &Arm, default: &Arm, null: &Arm) -> bool {
    let Some(gain) = median(&ratios(&arm.seconds, &default.seconds)) else { return false };
    // Without a second copy the first is what there is; chance is then overestimated.
    let other = if null.failed.is_none() { null } else { default };
    let rounds = arm.seconds.iter().zip(&default.seconds).zip(&other.seconds).map(|((a, b), c)| (*a, *b, *c));
    let chance = luck(rounds);
    let sure = chance < CHANCE || (arm.seconds.len() < ENOUGH && chance < CHANCE_OF_FEW && gain > LARGE);
    sure && gain > LEAST.max(noise(default, null).ratio)
}

/// The noise floor: two copies of the default.
fn noise(default: &Arm, null: &Arm) -> Noise {
    let ratio = median(&ratios(&default.seconds, &null.seconds)).unwrap_or(1.0);
    Noise { ratio: ratio.max(1.0 / ratio), samples: default.seconds.len().min(null.seconds.len()) }
}
