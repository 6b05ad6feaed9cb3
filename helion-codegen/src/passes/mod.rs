//! Rewrites of loop IR, in the order they run.
//!
//! In: loop IR as the schedule made it. Out: loop IR with the same meaning that backends can compile: loops over
//! the same elements together ([`share`]), in the order memory likes ([`interchange`]), scattered updates by their owners
//! ([`owners`]), functions such as `exp` as
//! arithmetic ([`math`]), and divisions of a whole row by one value as products ([`quotients`]). The function's config keeps only knobs that no pass has read.

pub mod interchange;
pub mod math;
pub mod owners;
pub mod quotients;
pub mod share;

use helion_ir::loops::{Function, Nest, Stmt};
use helion_ir::target::Target;

/// Runs every pass.
pub fn run(f: &mut Function, target: &Target) {
    shape_loops(f, target);
    math::expand_math(f, math::native(target));
    quotients::share_quotients(f, target);
}

/// Runs the passes that decide about loops; what comes after them leaves loops as they are.
pub fn shape_loops(f: &mut Function, target: &Target) {
    // Before functions become arithmetic: nests are still short. Nests that share loops are turned around together.
    share::share_loops(f);
    interchange::interchange_reductions(f, target);
    owners::divide_owners(f, target);
}

/// Calls `visit` with every nest of a list of statements, however deep.
fn each_nest(list: &mut [Stmt], visit: &mut dyn FnMut(&mut Nest)) {
    for s in list {
        match s {
            Stmt::Inst(_) | Stmt::Contract(_) => {}
            Stmt::For { body, .. } => each_nest(body, visit),
            Stmt::While { cond, body, .. } => {
                each_nest(cond, visit);
                each_nest(body, visit);
            }
            Stmt::If { then, other, .. } => {
                each_nest(then, visit);
                each_nest(other, visit);
            }
            Stmt::Nest(n) => visit(n),
        }
    }
}
