//! The search: open with the default, explore in heats, hold a final.
//!
//! In: a [`Task`], a [`Strategy`] that proposes, a [`Bench`] that compiles and times. Out: an [`Outcome`]. What then
//! holds: its winner was timed in the final beside the default and beats it for sure, or is the default.

mod field;
mod finals;
mod race;

use crate::strategy::{Next, Proposal, Strategy};
use crate::{Bench, Budget, Clock, End, Observer, Outcome, Rejection, Trial, Wall};
use field::Field;
use helion_ir::config::{Config, ConfigSpace};

/// What to search, from where, and how much may be spent.
pub struct Task<'a> {
    /// The configs.
    pub space: &'a ConfigSpace,
    /// The config that is used without tuning, and that a winner must beat.
    pub default: Config,
    /// What may be spent.
    pub budget: &'a Budget,
    /// What is known from before, on this problem or a similar one: what failed is not tried again, what was fast is
    /// tried early.
    pub prior: &'a [Trial],
    /// The clock that the budget is measured by.
    pub clock: &'a dyn Clock,
}

impl<'a> Task<'a> {
    /// A search of the whole space from its default.
    pub fn new(space: &'a ConfigSpace, budget: &'a Budget) -> Task<'a> {
        Task { space, default: space.default_config(), budget, prior: &[], clock: &Wall }
    }
}

/// Searches for the fastest config.
///
/// # Errors
/// Why the default is out, when neither the task's nor the space's works.
pub fn search(
    task: &Task<'_>,
    strategy: &mut dyn Strategy,
    bench: &mut dyn Bench,
    observer: &mut dyn Observer,
) -> Result<Outcome, Rejection> {
    let mut field = Field::new(task, bench, observer);
    open(&mut field)?;
    let end = explore(&mut field, strategy);
    finals::hold(field, end, strategy.name())
}

/// Prepares and samples the default; the space's own when the task's does not work.
fn open(field: &mut Field<'_>) -> Result<(), Rejection> {
    let first = open_with(field, field.task.default.clone());
    let other = field.task.space.default_config();
    if first.is_err() && other != field.task.default { open_with(field, other) } else { first }
}

fn open_with(field: &mut Field<'_>, default: Config) -> Result<(), Rejection> {
    field.default = default.clone();
    if field.admit_default(default) {
        race::heat(field);
    }
    match (field.runners.is_empty(), field.trials.last().map(|t| &t.result)) {
        (true, Some(Err(why))) => Err(why.clone()),
        _ => Ok(()),
    }
}

/// Heat after heat, until something ends it.
fn explore(field: &mut Field<'_>, strategy: &mut dyn Strategy) -> End {
    loop {
        if field.is_exhausted() {
            return End::Exhausted;
        }
        if let Some(end) = field.over() {
            return end;
        }
        let n = batch(field);
        let proposals = match strategy.propose(&field.view(), n) {
            Next::Try(list) if !list.is_empty() => list,
            Next::Exhausted => return End::Exhausted,
            Next::Try(_) | Next::Converged => return End::Converged,
        };
        field.phase = if field.measured() < 2 { "compiling" } else { "refining" };
        if admit(field, proposals, n) > 0 {
            field.phase = "racing";
            race::heat(field);
        }
    }
}

/// Admits proposals in order until `n` have joined: what turns out to be the same as an earlier config costs next to
/// nothing, and a heat of one or two costs as much as one of more. Answers how many joined.
fn admit(field: &mut Field<'_>, mut proposals: Vec<Proposal>, n: usize) -> usize {
    let mut joined = 0;
    while joined < n && !proposals.is_empty() {
        let later = proposals.split_off((n - joined).min(proposals.len()));
        field.expect(&later);
        let new = field.admit(proposals);
        joined += new;
        proposals = later;
        if field.over().is_some() {
            break;
        }
    }
    joined
}

/// How many configs run together: more shares the cost of the best running with them, fewer learns sooner.
fn batch(field: &Field<'_>) -> usize {
    let left = field.task.budget.configs.saturating_sub(field.measured()).max(1);
    let each = field.prepare_cost() + 2.0 * field.sample_cost();
    let fits = (0.1 * field.task.budget.time.as_secs_f64() / each.max(1e-9)) as usize;
    fits.clamp(3, 4).min(left)
}
