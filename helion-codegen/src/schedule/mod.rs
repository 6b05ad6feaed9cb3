//! From tile IR to loop IR: what fuses with what, what is kept in memory, in what blocks.
//!
//! In: a verified tile function, a config, the facts of a target. Out: loop IR with the same meaning.
//!
//! Most tile values never exist in memory. A value is *lazy*: it is computed element by element in the
//! nests that use it, structural operations becoming index arithmetic (`elem`). What does get a buffer:
//! results of reductions, scans, products and control flow; operands of products that are computed;
//! values that are expensive and used more than once (stored in passing by the first nest that computes
//! all of them); and lazy values whose inputs are about to be overwritten (`nest`). So a chain of
//! elementwise work is one pass, and `exp` in a softmax is stored by the loop that sums it.
//!
//! Tile variables are cut to the part of the block that exists, so nothing here needs masks except
//! accesses that can leave their tensor (`bounds`).

mod blocks;
mod bounds;
mod cleanup;
mod dot;
mod elem;
pub mod graph;
mod grid;
mod lower;
mod nest;
mod region;
mod scope;
mod space;
mod uses;

pub(crate) use grid::SWIZZLED;

use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use helion_ir::diag::{Diagnostic, Loc};
use helion_ir::loops;
use helion_ir::target::Target;
use helion_ir::tile::{Function, Verified};

/// Schedules a kernel.
///
/// # Errors
/// A config that does not fit the kernel, or a construct that has no schedule (with what to write instead).
pub fn schedule(kernel: &Verified, config: &Config, target: &Target) -> Result<loops::Function, Diagnostic> {
    space::check_config(kernel.function(), config).map_err(|e| Diagnostic::new(Loc::UNKNOWN, e))?;
    plan(kernel.function(), config, target).map(|(f, _)| f)
}

/// Schedules a kernel. Also says whether there are values that can be kept or computed again.
fn plan(func: &Function, config: &Config, target: &Target) -> Result<(loops::Function, bool), Diagnostic> {
    let blocks = blocks::choose(func, config, target);
    // What the schedule has read is in the code from here on: equal loop IR means equal machine code.
    let rest = config.clone().without(space::KNOBS);
    let mut lower = lower::Lower::new(func, rest, blocks, grid::Walk::of(config, target));
    lower.may_keep = config.get(&Slot::kernel(Knob::Keep)) != Some(0);
    lower.run()
}

/// A config with every block size pinned to what the schedule takes under it.
pub fn pinned(kernel: &Verified, config: &Config, target: &Target) -> Config {
    let func = kernel.function();
    let blocks = blocks::choose(func, config, target);
    let mut pinned = config.clone();
    for (var, block) in func.tiles.iter().zip(blocks).filter(|(var, _)| !var.unit) {
        pinned.set(Slot::of(Knob::Block, &var.name), block);
    }
    pinned
}

/// Whether a config fits a kernel: known slots, values in range.
///
/// # Errors
/// The first slot or value that does not, in words.
pub fn check_config(kernel: &Verified, config: &Config) -> Result<(), String> {
    space::check_config(kernel.function(), config)
}

/// Whether a config is worth compiling for a target: it fits the kernel, everything it pins has an effect, and
/// what a program instance needs fits the caches. Cheap beside compiling.
///
/// # Errors
/// What rules it out, in words.
pub fn legal(kernel: &Verified, config: &Config, target: &Target) -> Result<(), String> {
    space::legal(kernel.function(), config, target)
}

/// The slots of a kernel that the schedule reads, with the values worth trying on a target.
pub fn config_space(kernel: &Verified, target: &Target) -> ConfigSpace {
    space::config_space(kernel.function(), target)
}
