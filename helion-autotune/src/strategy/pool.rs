//! Sets of legal configs to choose from: by chance, near others, all of a small space.

use super::View;
use crate::random::Random;
use helion_ir::config::{Config, ConfigSpace};
use std::collections::HashSet;

/// Spaces up to this size are listed; larger ones are only drawn from.
const SMALL: u64 = 4096;
/// Draws for each config wanted: where few are legal, drawing must end.
const DRAWS: usize = 64;

/// Whether the whole space may be listed.
pub(super) fn is_small(space: &ConfigSpace) -> bool {
    space.len() <= SMALL
}

/// A config by chance; each slot alone, so that the space may be larger than any number.
pub(super) fn draw(space: &ConfigSpace, rng: &mut Random) -> Config {
    let mut config = Config::new();
    for (slot, values) in &space.slots {
        if let Some(v) = rng.pick(values) {
            config.set(slot.clone(), *v);
        }
    }
    config
}

/// Up to `n` different configs by chance that are legal and were not tried. Of a small space none is missed.
pub(super) fn fresh(view: &View<'_>, rng: &mut Random, n: usize) -> Vec<Config> {
    let (mut out, mut met) = (Vec::new(), HashSet::new());
    let mut add = |c: Config, out: &mut Vec<Config>| {
        if view.is_fresh(&c) && !met.contains(&c) {
            if view.is_legal(&c) {
                out.push(c.clone());
            }
            met.insert(c);
        }
    };
    // Drawing is quick while most of the space is fresh; a list finds the last ones.
    if is_small(view.space) && (view.seen() + n) as u64 * 2 > view.space.len() {
        let mut all: Vec<u64> = (0..view.space.len()).collect();
        rng.shuffle(&mut all);
        for i in all {
            if out.len() >= n {
                break;
            }
            add(view.space.nth(i), &mut out);
        }
        return out;
    }
    for _ in 0..n.saturating_mul(DRAWS) {
        if out.len() >= n {
            break;
        }
        add(draw(view.space, rng), &mut out);
    }
    if out.is_empty() && is_small(view.space) {
        (0..view.space.len()).for_each(|i| add(view.space.nth(i), &mut out));
        rng.shuffle(&mut out);
        out.truncate(n);
    }
    out
}

/// Configs that differ from `from` in one slot.
pub(super) fn neighbours(space: &ConfigSpace, from: &Config) -> Vec<Config> {
    let other = |slot, v| from.get(slot) != Some(v);
    space
        .slots
        .iter()
        .flat_map(|(slot, values)| {
            values.iter().filter(move |v| other(slot, **v)).map(|v| from.clone().with(slot.clone(), *v))
        })
        .collect()
}

/// A config that takes each slot from one of two parents, and one slot or two by chance.
pub(super) fn child(space: &ConfigSpace, one: &Config, other: &Config, rng: &mut Random) -> Config {
    let mut config = one.clone();
    for (slot, _) in &space.slots {
        if let (0, Some(v)) = (rng.below(2), other.get(slot)) {
            config.set(slot.clone(), v);
        }
    }
    for _ in 0..=rng.below(2) {
        if let Some((slot, values)) = rng.pick(&space.slots)
            && let Some(v) = rng.pick(values)
        {
            config.set(slot.clone(), *v);
        }
    }
    config
}

/// In how many slots two configs differ.
pub(super) fn distance(space: &ConfigSpace, a: &Config, b: &Config) -> usize {
    space.slots.iter().filter(|(s, _)| a.get(s) != b.get(s)).count()
}
