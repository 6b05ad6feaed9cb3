//! The config that the model likes best for given sizes.

use super::config::{predict_config, threads_of};
use super::tree::LEFT;
use super::{lockstep, predict, programs};
use crate::{passes, schedule};
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use helion_ir::loops;
use helion_ir::target::Target;
use helion_ir::tile::{Dim, Function, Inst, Op, ValueId, Verified};

/// The most schedules that [`choose`] makes before it looks at splitting, which takes a few more.
pub const MOST_SCHEDULES: usize = 24;
/// The most values of the backend's knobs that it looks at; they need no schedule.
const MOST_SETTINGS: usize = 24;

/// How much better a config must look to replace the one before: the model is not more exact than this, and the
/// space's defaults were chosen with care.
const MARGIN: f64 = 0.96;
/// The same for splitting a reduction, which costs memory and changes how sums are rounded.
const SPLIT_MARGIN: f64 = 0.7;

/// The config to use for these sizes when nothing was measured: from the space's default, one slot after the other is
/// set to the value with the least predicted time, until none changes or [`MOST_SCHEDULES`] were looked at. First
/// come the slots that shape loops; then, where threads have nothing to do, dividing reductions; then the
/// backend's knobs, with the loops as they are. Deterministic, and about a millisecond. The model is of caches and vector
/// units; where threads run in lockstep, rules take its place ([`lockstep`]).
pub fn choose(kernel: &Verified, space: &ConfigSpace, sizes: &[u64], target: &Target, threads: u32) -> Config {
    if target.warp > 1 {
        return lockstep::choose(kernel, space, sizes, target);
    }
    let func = kernel.function();
    let slots = |when: When| -> Vec<(&Slot, Vec<u64>)> {
        let chosen = space.slots.iter().filter(|(s, _)| When::of(s.knob) == Some(when));
        let values = chosen.map(|(s, values)| (s, distinct(s, values, extent(func, s, sizes))));
        values.filter(|(_, values)| values.len() > 1).collect()
    };
    let mut whole = |config: &Config| predict_config(kernel, config, sizes, target, threads);
    let looks = Looks { most: MOST_SCHEDULES, margin: MARGIN };
    let shaping = slots(When::Shaping);
    let mut config = looks.descend(start(space, threads), &shaping, &mut whole);
    if let Some(left) = unpacked(space, sizes) {
        let other = looks.descend(left, &shaping, &mut whole);
        if let (Some(before), Some(after)) = (whole(&config), whole(&other))
            && after < before * MARGIN
        {
            config = other;
        }
    }
    let Some(mut plan) = plan(kernel, &config, target) else { return config };
    let idle = programs(&plan, sizes, target) < f64::from(threads_of(&config, threads));
    let parts = slots(When::Dividing);
    if idle && !parts.is_empty() {
        let looks = Looks { most: MOST_SCHEDULES, margin: SPLIT_MARGIN };
        let divided = looks.descend(config.clone(), &parts, &mut whole);
        if divided != config {
            return divided;
        }
    }
    let settings = slots(When::Settling);
    let looks = Looks { most: MOST_SETTINGS, margin: MARGIN };
    looks.descend(config, &settings, &mut |config| {
        for (slot, _) in &settings {
            plan.config.set((*slot).clone(), config.get(slot)?);
        }
        predict(&plan, sizes, target, threads_of(config, threads))
    })
}

/// The space's default, with as many owners of scattered updates as there are threads: each looks at all updates.
fn start(space: &ConfigSpace, threads: u32) -> Config {
    let slot = Slot::kernel(Knob::Owners);
    let fit = |values: &[u64]| values.iter().copied().filter(|n| *n <= u64::from(threads.max(1))).max();
    match space.values(&slot).and_then(fit) {
        Some(owners) => space.default_config().with(slot, owners),
        None => space.default_config(),
    }
}

/// The default config with products that read their right operand where it is, when one may have few rows: those want
/// blocks of another shape, so the choice comes before that of blocks.
fn unpacked(space: &ConfigSpace, sizes: &[u64]) -> Option<Config> {
    let slot = Slot::kernel(Knob::Pack);
    let possible = space.slots.iter().any(|(s, values)| *s == slot && values.contains(&LEFT));
    let few = sizes.iter().any(|n| *n <= FEW_ROWS);
    (possible && few).then(|| space.default_config().with(slot, LEFT))
}

/// More rows than this are not few: packing is left to the blocks' choice.
const FEW_ROWS: u64 = 64;

/// When a slot is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// While loops are planned.
    Shaping,
    /// When they are, and leave threads idle.
    Dividing,
    /// At last: the loops stay.
    Settling,
}

impl When {
    /// When a knob's slots are chosen; `None` where the model does not see what it does, or not well enough to be
    /// trusted.
    fn of(knob: Knob) -> Option<When> {
        match knob {
            Knob::Block | Knob::User => Some(When::Shaping),
            Knob::Split => Some(When::Dividing),
            Knob::MicroRows | Knob::MicroVectors | Knob::Pack | Knob::Stages => Some(When::Settling),
            Knob::Order | Knob::Grid | Knob::Group | Knob::Keep => None,
            Knob::Fuse | Knob::Chunk | Knob::Interchange | Knob::Owners => None,
            Knob::Kc | Knob::Mc | Knob::Nc | Knob::Unroll | Knob::Stream | Knob::Threads | Knob::Share => None,
            Knob::Warps | Knob::Registers => None,
        }
    }
}

/// How long, and how doubtfully, to look.
struct Looks {
    most: usize,
    margin: f64,
}

impl Looks {
    /// Coordinate descent from a config, with a limited number of looks.
    fn descend(
        &self,
        mut config: Config,
        slots: &[(&Slot, Vec<u64>)],
        time: &mut dyn FnMut(&Config) -> Option<f64>,
    ) -> Config {
        let mut left = self.most - 1;
        let Some(mut best) = time(&config).filter(|_| !slots.is_empty()) else { return config };
        // How many slots in a row kept their value.
        let mut settled = 0;
        for (slot, values) in slots.iter().cycle() {
            if settled >= slots.len() || left == 0 {
                break;
            }
            settled += 1;
            let before = config.get(slot);
            for v in values.iter().filter(|v| before != Some(**v)) {
                let Some(rest) = left.checked_sub(1) else { break };
                left = rest;
                let other = config.clone().with((*slot).clone(), *v);
                if let Some(t) = time(&other)
                    && t < best * self.margin
                {
                    (best, config) = (t, other);
                    settled = 1;
                }
            }
        }
        config
    }
}

/// The values of a slot that differ for these sizes: of the blocks that hold a whole tile variable, one.
fn distinct(slot: &Slot, values: &[u64], extent: Option<u64>) -> Vec<u64> {
    let Some(extent) = extent.filter(|_| slot.knob == Knob::Block) else { return values.to_vec() };
    let mut found: Vec<u64> = Vec::new();
    for v in values {
        if !found.iter().any(|have| have == v || (*have >= extent && *v >= extent)) {
            found.push(*v);
        }
    }
    found
}

/// How many indices the tile variable of a block has, if its bounds are sizes.
fn extent(func: &Function, slot: &Slot, sizes: &[u64]) -> Option<u64> {
    let tile = func.tiles.iter().find(|t| t.name == slot.of)?;
    let made = |v: ValueId| -> Option<&Inst> { func.header.iter().find(|i| i.results.first() == Some(&v)) };
    let begins = made(tile.begin)?;
    if !matches!(&begins.op, Op::Const(l) if l.to_i64() == 0) {
        return None;
    }
    let Op::Extent(end) = made(tile.end)?.op else { return None };
    match end {
        Dim::Const(n) => Some(n),
        Dim::Symbol(s) => sizes.get(s.index()).copied(),
        Dim::Tile(_) | Dim::Expr(_) => None,
    }
}

/// The loop IR of a config, as far as the model needs it.
pub(super) fn plan(kernel: &Verified, config: &Config, target: &Target) -> Option<loops::Function> {
    let mut f = schedule::schedule(kernel, config, target).ok()?;
    passes::shape_loops(&mut f, target);
    Some(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKS: Looks = Looks { most: MOST_SCHEDULES, margin: MARGIN };

    fn slots() -> Vec<Slot> {
        ["a", "b", "c"].map(|n| Slot::of(Knob::Block, n)).to_vec()
    }

    #[test]
    fn descent_finds_the_valley_in_few_looks() {
        let slots = slots();
        let values: Vec<u64> = (1..=7).collect();
        let with: Vec<_> = slots.iter().map(|s| (s, values.clone())).collect();
        let start = slots.iter().fold(Config::new(), |c, s| c.with(s.clone(), 1));
        let mut looks = 0;
        let found = LOOKS.descend(start, &with, &mut |c| {
            looks += 1;
            Some(1.0 + slots.iter().map(|s| (c.get(s)? as f64 - 3.0).abs().into()).sum::<Option<f64>>()?)
        });
        assert!(looks <= MOST_SCHEDULES, "{looks}");
        assert!(slots.iter().all(|s| found.get(s) == Some(3)), "{found}");
    }

    #[test]
    fn looks_are_bounded_and_ties_keep_the_default() {
        let slots = slots();
        let values: Vec<u64> = (1..=1000).collect();
        let with: Vec<_> = slots.iter().map(|s| (s, values.clone())).collect();
        let start = slots.iter().fold(Config::new(), |c, s| c.with(s.clone(), 500));
        let mut looks = 0;
        let found = LOOKS.descend(start.clone(), &with, &mut |_| {
            looks += 1;
            Some(1.0)
        });
        assert_eq!((looks, found), (MOST_SCHEDULES, start));
    }

    #[test]
    fn blocks_beyond_the_extent_are_one() {
        let s = Slot::of(Knob::Block, "t");
        assert_eq!(distinct(&s, &[256, 64, 128, 512, 32], Some(100)), [256, 64, 32]);
        assert_eq!(distinct(&s, &[256, 64], None), [256, 64]);
    }
}
