//! The config that the model likes best for given sizes.

use super::predict;
use crate::{passes, schedule};
use helion_ir::config::{Config, ConfigSpace, Knob};
use helion_ir::loops;
use helion_ir::target::Target;
use helion_ir::tile::Verified;

/// The most schedules that [`choose`] makes.
pub const MOST_SCHEDULES: usize = 40;

/// How much better a config must look to replace the one before: the model is not more exact than this, and the
/// space's defaults were chosen with care.
const MARGIN: f64 = 0.97;

/// The config to use for these sizes when nothing was measured: from the space's default, one slot after the other is
/// set to the value with the least predicted time, until none changes. Deterministic, and about a millisecond.
pub fn choose(kernel: &Verified, space: &ConfigSpace, sizes: &[u64], target: &Target, threads: u32) -> Config {
    let mut config = space.default_config();
    let mut left = MOST_SCHEDULES;
    let mut time = |c: &Config| -> Option<f64> {
        left = left.checked_sub(1)?;
        predict(&plan(kernel, c, target)?, sizes, target, threads)
    };
    let Some(mut best) = time(&config) else { return config };
    loop {
        let before = best;
        for (slot, values) in space.slots.iter().filter(|(s, v)| is_seen(s.knob) && v.len() > 1) {
            let mut winner = config.clone();
            for v in values {
                if config.get(slot) == Some(*v) {
                    continue;
                }
                let other = config.clone().with(slot.clone(), *v);
                if let Some(t) = time(&other)
                    && t < best * MARGIN
                {
                    (best, winner) = (t, other);
                }
            }
            config = winner;
        }
        if best >= before {
            return config;
        }
    }
}

/// The loop IR of a config, as far as the model needs it.
fn plan(kernel: &Verified, config: &Config, target: &Target) -> Option<loops::Function> {
    let mut f = schedule::schedule(kernel, config, target).ok()?;
    passes::shape_loops(&mut f, target);
    Some(f)
}

/// Whether loop IR shows what a knob does.
fn is_seen(knob: Knob) -> bool {
    match knob {
        Knob::Block | Knob::User => true,
        Knob::Order | Knob::Grid | Knob::Group | Knob::Keep | Knob::Split => false,
        Knob::Fuse | Knob::Chunk | Knob::Interchange => false,
        Knob::MicroRows | Knob::MicroVectors | Knob::Kc | Knob::Mc | Knob::Nc | Knob::Pack => false,
        Knob::Unroll | Knob::Stages | Knob::Stream | Knob::Threads | Knob::Share => false,
    }
}
