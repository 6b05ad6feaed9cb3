//! Rewrites of loop IR, in the order they run.

pub mod interchange;
pub mod math;

use helion_ir::loops::Function;
use helion_ir::target::Target;

/// Runs every pass.
pub fn run(f: &mut Function, target: &Target) {
    // Before functions become arithmetic: nests are still short.
    interchange::interchange_reductions(f, target);
    math::expand_math(f);
}
