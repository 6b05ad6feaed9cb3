//! A heat: newcomers run against the best so far, in turn, and who is slower for sure is out.
//!
//! In: runners without samples. Out: each has a score, at most [`ELITE`] of the fastest stay, and the default. All
//! arms of a heat are sampled in rounds whose order rotates, so a slow moment hits all of them. How fast the
//! machine was during a heat is read off the arms that have run before, and taken out of the scores: they can be
//! compared across heats.

use super::field::Field;
use crate::Id;
use crate::stats::median;

/// How many stay in the race after a heat, beside the default.
const ELITE: usize = 6;
/// Rounds of a heat when samples are cheap.
const ROUNDS: usize = 12;
/// Rounds of a heat when samples cost as much as preparing.
const FEW: usize = 3;
/// Rounds of a heat when samples are dear.
const LEAST: usize = 2;
/// After so many rounds the slower half of those who still run is out.
const HALVE: [usize; 2] = [4, 8];
/// A newcomer that is faster than the best by this factor or more is measured again before that is believed.
const SUSPICIOUS: f64 = 1.3;

/// Runs a heat of everyone who has no samples yet against the best. Without newcomers the default runs alone.
pub(super) fn heat(field: &mut Field<'_>) {
    let newcomers: Vec<Id> = field.runners.iter().filter(|r| r.kept.is_empty()).map(|r| r.id).collect();
    let anchors = anchors(field);
    let rounds = rounds(field, newcomers.len());
    race(field, &newcomers, &anchors, rounds);
    confirm(field, &newcomers, &anchors, rounds);
    score(field, &anchors);
    retire(field);
}

/// The arms that have run before and run again: the two best.
fn anchors(field: &Field<'_>) -> Vec<Id> {
    let mut known: Vec<_> = field.runners.iter().filter(|r| !r.kept.is_empty()).collect();
    known.sort_by(|a, b| a.score().total_cmp(&b.score()));
    let dear = is_dear(field);
    known.iter().take(if dear { 1 } else { 2 }).map(|r| r.id).collect()
}

/// Whether a sample costs so much that single ones decide. Such samples are long: bursts average out in them.
fn is_dear(field: &Field<'_>) -> bool {
    let time = field.task.budget.time.as_secs_f64();
    field.sample_cost() * 1000.0 > time
}

/// As many rounds as the time allows for all the configs that may still come.
fn rounds(field: &Field<'_>, newcomers: usize) -> usize {
    if is_dear(field) {
        return LEAST;
    }
    let to_come = field.task.budget.configs.saturating_sub(field.measured()).max(newcomers).max(1);
    let each = field.left() / to_come as f64 - field.prepare_cost();
    // Losers get a third of the rounds; sampling longer than preparing buys less than the next config.
    let most = (3.0 * each.min(2.0 * field.prepare_cost().max(1e-3)) / field.sample_cost().max(1e-9)) as usize;
    most.clamp(FEW, ROUNDS)
}

/// Samples in rounds, and drops who is slower for sure from the rounds that follow.
fn race(field: &mut Field<'_>, newcomers: &[Id], anchors: &[Id], rounds: usize) {
    let mut running: Vec<Id> = newcomers.to_vec();
    for n in 0..rounds {
        let mut order: Vec<Id> = anchors.iter().chain(&running).copied().collect();
        if order.is_empty() || (n > 0 && (field.left() <= 0.0 || field.is_interrupted())) {
            break;
        }
        let shift = n % order.len();
        order.rotate_left(shift);
        if n % 2 == 1 {
            order.reverse();
        }
        field.round(&order);
        running.retain(|id| field.runners.iter().any(|r| r.id == *id));
        drop_slower(field, &mut running, anchors, n + 1);
        if running.is_empty() && !newcomers.is_empty() {
            break;
        }
    }
}

/// The median of a runner's samples in this heat.
fn now(field: &Field<'_>, id: Id) -> f64 {
    field.runners.iter().find(|r| r.id == id).and_then(|r| median(&r.heat)).unwrap_or(f64::INFINITY)
}

/// Takes out of `running` who is slower than the best for sure, and at times the slower half.
fn drop_slower(field: &Field<'_>, running: &mut Vec<Id>, anchors: &[Id], n: usize) {
    let best = running.iter().chain(anchors).map(|id| now(field, *id)).fold(f64::INFINITY, f64::min);
    // The deviation of a difference of two medians of n samples.
    let error = 1.25 * field.spread() * (2.0 / n as f64).sqrt();
    let margin = match (is_dear(field), n >= FEW) {
        (true, _) => (2.0 * error).max(0.04),
        (false, true) => (3.0 * error).max(0.02),
        // One sample of microseconds may have met a burst; one far off is enough all the same.
        (false, false) => 1.0,
    };
    running.retain(|id| now(field, *id) <= best + margin);
    if HALVE.contains(&n) && running.len() > 1 {
        running.sort_by(|a, b| now(field, *a).total_cmp(&now(field, *b)));
        running.truncate(running.len().div_ceil(2));
    }
}

/// Measures suspiciously fast newcomers again; only the new samples count.
fn confirm(field: &mut Field<'_>, newcomers: &[Id], anchors: &[Id], rounds: usize) {
    let known = anchors.iter().map(|id| now(field, *id)).fold(f64::INFINITY, f64::min);
    let bound = field.bound().map_or(f64::NEG_INFINITY, f64::ln);
    let jump = if field.measured() >= 8 { SUSPICIOUS.ln() } else { f64::INFINITY };
    let doubted: Vec<Id> = newcomers
        .iter()
        .copied()
        .filter(|id| now(field, *id) < bound || (known.is_finite() && now(field, *id) < known - jump))
        .collect();
    if doubted.is_empty() {
        return;
    }
    for r in field.runners.iter_mut().filter(|r| doubted.contains(&r.id)) {
        r.heat.clear();
    }
    let mut order: Vec<Id> = doubted.iter().chain(anchors).copied().collect();
    for _ in 0..rounds {
        order.retain(|id| field.runners.iter().any(|r| r.id == *id));
        if order.is_empty() {
            break;
        }
        field.round(&order);
        order.rotate_left(1);
    }
}

/// Turns the samples of this heat into scores.
fn score(field: &mut Field<'_>, anchors: &[Id]) {
    let drift = |id: &Id| {
        let r = field.runners.iter().find(|r| r.id == *id)?;
        Some((median(&r.heat)? - r.score(), r.heat.len()))
    };
    let drifts: Vec<(f64, usize)> = anchors.iter().filter_map(drift).collect();
    let level = median(&drifts.iter().map(|d| d.0).collect::<Vec<_>>()).unwrap_or(0.0);
    // A level within its own error is noise: it is taken out only as far as it stands out.
    let samples: usize = drifts.iter().map(|d| d.1).sum();
    let error = 1.25 * field.spread() / (samples.max(1) as f64).sqrt();
    let trust = level * level / (level * level + error * error);
    let level = if trust.is_finite() { level * trust } else { 0.0 };
    for at in 0..field.runners.len() {
        if !field.runners[at].heat.is_empty() {
            field.settle(at, level);
        }
    }
}

/// Keeps the fastest and the default.
fn retire(field: &mut Field<'_>) {
    field.runners.sort_by(|a, b| a.score().total_cmp(&b.score()));
    let mut place = 0;
    let mut at = 0;
    while at < field.runners.len() {
        let stays = field.is_default(&field.runners[at]) || place < ELITE;
        place += 1;
        if stays { at += 1 } else { field.drop_runner(at) }
    }
}
