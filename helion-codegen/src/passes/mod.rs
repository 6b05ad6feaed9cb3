//! Rewrites of loop IR, in the order they run.
//!
//! In: loop IR as the schedule made it. Out: loop IR with the same meaning that backends can compile: loops in
//! the order memory likes ([`interchange`]), functions such as `exp` as arithmetic ([`math`]).

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
