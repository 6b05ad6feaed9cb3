//! The time of a launch with a config, whatever it pins.

use super::predict;
use crate::{passes, pipeline, schedule};
use helion_ir::config::{Config, Knob, Slot};
use helion_ir::target::Target;
use helion_ir::tile::Verified;

/// Predicts how many seconds a launch with this config takes: the sum of its stages where the config splits reductions.
/// `None` when it cannot be scheduled, or a size is missing.
pub fn predict_config(kernel: &Verified, config: &Config, sizes: &[u64], target: &Target, threads: u32) -> Option<f64> {
    let threads = threads_of(config, threads);
    let one = |kernel: &Verified, config: &Config| {
        let mut f = schedule::schedule(kernel, config, target).ok()?;
        passes::shape_loops(&mut f, target);
        predict(&f, sizes, target, threads)
    };
    match pipeline::stages(kernel, config, target).ok()? {
        None => one(kernel, config),
        Some((split, config)) => {
            split.stages.iter().enumerate().map(|(n, stage)| one(stage, &split.config(n, &config))).sum()
        }
    }
}

/// How many of the threads a config lets a launch use.
pub(super) fn threads_of(config: &Config, threads: u32) -> u32 {
    let pinned = config.get(&Slot::kernel(Knob::Threads)).filter(|n| *n > 0);
    pinned.map_or(threads, |n| threads.min(u32::try_from(n).unwrap_or(u32::MAX)))
}

/// Whether predictions depend on a knob. Many configs differ only in what the model does not look at.
pub fn is_modelled(knob: Knob) -> bool {
    match knob {
        Knob::Block | Knob::Order | Knob::Grid | Knob::Group | Knob::Keep => true,
        Knob::Fuse | Knob::Chunk | Knob::Interchange | Knob::Owners | Knob::User | Knob::Split => true,
        Knob::MicroRows | Knob::MicroVectors | Knob::Kc | Knob::Nc | Knob::Pack => true,
        Knob::Stages | Knob::Stream | Knob::Threads => true,
        Knob::Mc | Knob::Unroll | Knob::Share | Knob::Warps | Knob::Registers => false,
    }
}
