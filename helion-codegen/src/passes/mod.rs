//! Rewrites of loop IR, in the order they run.

pub mod math;

use helion_ir::loops::Function;
use helion_ir::target::Target;

/// Runs every pass.
pub fn run(f: &mut Function, _target: &Target) {
    math::expand_math(f);
}
