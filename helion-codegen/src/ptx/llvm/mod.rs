//! Loop IR to LLVM IR to PTX.
//!
//! In: a loop function and its [`Plan`]. Out: PTX. `emit` is the layer over LLVM's builder that everything is written
//! with; the files named after instructions (`arith`, `cast`, `memory`, …) add to it what one element needs. `lower` makes
//! the kernel: statements, then nests (`nest`, `points`, `reduce`) with their accesses (`access`) and barriers
//! (`sync`). `module` turns the result into text.

mod access;
mod arith;
mod atomic;
mod cast;
mod contract;
mod emit;
mod engine;
mod fed;
mod formula;
mod functions;
mod lower;
mod matrix;
mod memory;
mod module;
mod nest;
mod pair;
mod points;
mod print;
mod random;
mod reduce;
mod rescue;
mod ring;
mod small;
mod special;
mod stage;
mod sync;
#[cfg(test)]
mod tests;
mod trigonometry;
mod turns;
mod warp;

use super::knobs::{self, Knobs};
use super::known::Known;
use super::plan::Plan;
use super::rule::Rule;
use super::{Arch, Error, PtxKernel, PtxOptions};
use helion_ir::loops::Function;
use inkwell::context::Context;

/// Compiles a loop function whose contracts are all nests or on a matrix path.
///
/// # Errors
/// See [`Error`].
pub(super) fn compile(f: &Function, options: &PtxOptions, knobs: Knobs) -> Result<PtxKernel, Error> {
    let (f, options) = (f.clone(), options.clone());
    rescue::on_own_thread(move || make(&f, &options, knobs))
}

fn make(f: &Function, options: &PtxOptions, knobs: Knobs) -> Result<PtxKernel, Error> {
    let known = Known::new(f, &options.facts);
    let plan = Plan::new(f, &known, &options.facts, options.arch, knobs.warps, knobs.stages)?;
    let context = Context::create();
    rescue::watch(&context);
    let entry = module::entry_name(&f.name);
    let warps = (1 << plan.warps) + plan.feed.as_ref().map_or(0, |f| f.warps);
    let threads = 32 * warps;
    let registers = knobs.registers.min(knobs::registers_of(warps));
    let module = lower::lower(&context, f, options, &known, &plan, &entry, (threads, registers))?;
    let text = module::to_ptx(&module, options.arch)?;
    let rule = Rule::new(f, &plan.dynamic);
    Ok(PtxKernel {
        name: f.name.clone(),
        entry,
        text,
        arch: options.arch,
        facts: options.facts.clone(),
        threads,
        shared_bytes: plan.shared,
        maps: plan.feed.map_or_else(Vec::new, |f| f.maps),
        rule,
    })
}
