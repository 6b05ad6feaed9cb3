//! The config for given sizes on devices whose threads run in lockstep.
//!
//! In: a kernel, its space, sizes. Out: the space's default, changed by rules: blocks of the grid shrink until every
//! multiprocessor has a program instance; instances of a product that share operands run at the same time, and there are
//! as many warps as hold the results of products in registers; without products, what is used twice is kept if so many
//! warps as there may be hold it in registers, and computed twice rather than kept in shared memory.

use super::choose::plan;
use super::programs;
use super::values::Values;
use crate::schedule::SWIZZLED;
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use helion_ir::loops::{Buffer, Function, Inst, Op, Stmt, Val};
use helion_ir::target::Target;
use helion_ir::tile::Verified;

/// Blocks are not made smaller than this: what a matrix unit takes at once.
const LEAST_BLOCK: u64 = 64;
/// Elements of the results of products that a warp holds, 128 for each thread.
const RESULTS_OF_WARP: u64 = 4096;
/// Fewer warps hide no latency; with more there are too few registers.
const WARPS: std::ops::RangeInclusive<u64> = 4..=8;
/// Elements that a thread keeps, and hence a warp; up to twice as many where there are no more warps.
const KEPT_OF_THREAD: u64 = 32;
const KEPT_OF_WARP: u64 = 32 * KEPT_OF_THREAD;
/// Warps of a block that keeps rows.
const KEEPING: std::ops::RangeInclusive<u64> = 4..=16;
/// Registers of a thread with which three of the largest blocks share a multiprocessor: while the row of one arrives,
/// others compute. Softmax of 12,672 columns was 9 % faster than with two on an H200, although a few values spill.
const REGISTERS_OF_THREE: u64 = 40;
/// The extent of an axis that is not known before launches.
const UNKNOWN: u64 = 128;
/// The value of a switch.
const OFF: u64 = 0;

pub(super) fn choose(kernel: &Verified, space: &ConfigSpace, sizes: &[u64], target: &Target) -> Config {
    let mut config = space.default_config();
    let Some(mut f) = plan(kernel, &config, target) else { return config };
    while programs(&f, sizes, target) < f64::from(target.cores) {
        let Some(smaller) = shrunk(kernel, space, &config) else { break };
        let Some(planned) = plan(kernel, &smaller, target) else { break };
        (config, f) = (smaller, planned);
    }
    let held = results(&f, &f.body);
    let tiled = is_tiled(kernel, &config);
    let mut set = |knob, value: u64| {
        let slot = Slot::kernel(knob);
        if space.slots.iter().any(|(s, values)| *s == slot && values.contains(&value)) {
            config.set(slot, value);
        }
    };
    if held == 0 {
        match kept_in_registers(&f, sizes) {
            Some(kept) => {
                let warps = (kept / KEPT_OF_WARP).next_power_of_two().clamp(*KEEPING.start(), *KEEPING.end());
                set(Knob::Warps, warps);
                if warps > *KEEPING.start() && kept <= warps * KEPT_OF_WARP {
                    set(Knob::Registers, REGISTERS_OF_THREE);
                }
            }
            None => set(Knob::Keep, OFF),
        }
        return config;
    }
    set(Knob::Warps, warps(&f));
    if tiled {
        // In groups of as many rows as is the default.
        set(Knob::Grid, SWIZZLED);
    }
    config
}

/// The warps of a block for a function: as many as hold the results of its products.
pub fn warps(f: &Function) -> u64 {
    let held = results(f, &f.body);
    (held / RESULTS_OF_WARP).next_power_of_two().clamp(*WARPS.start(), *WARPS.end())
}

/// Elements that a function without products keeps, when the registers of a block can hold them.
fn kept_in_registers(f: &Function, sizes: &[u64]) -> Option<u64> {
    let values = Values::new(f, sizes);
    let extent = |d: &Val| (values.of(*d).most().max(1.0) as u64).checked_next_power_of_two().unwrap_or(u64::MAX);
    let elements = |b: &Buffer| b.dims.iter().map(extent).fold(1, u64::saturating_mul);
    let kept = f.buffers.iter().map(elements).filter(|n| *n > KEPT_OF_THREAD).fold(0, u64::saturating_add);
    (1..=KEEPING.end() * 2 * KEPT_OF_WARP).contains(&kept).then_some(kept)
}

/// Whether the grid's last two axes are both cut in blocks, as the rows and columns of a product are: then neighbours
/// along both share operands.
fn is_tiled(kernel: &Verified, config: &Config) -> bool {
    let func = kernel.function();
    let blocks: Vec<u64> = func
        .grid()
        .map(|t| config.get(&Slot::of(Knob::Block, func.tiles[t.index()].name.clone())).unwrap_or(1))
        .collect();
    matches!(blocks[..], [.., rows, cols] if rows > 1 && cols > 1)
}

/// The config with the longest block of the grid halved; `None` when no such block is left.
fn shrunk(kernel: &Verified, space: &ConfigSpace, config: &Config) -> Option<Config> {
    let func = kernel.function();
    let of_grid = |s: &Slot| s.knob == Knob::Block && func.tiles.iter().any(|t| t.grid && t.name == s.of);
    let halves = space.slots.iter().filter(|(s, _)| of_grid(s)).filter_map(|(slot, values)| {
        let half = config.get(slot)? / 2;
        (half >= LEAST_BLOCK && values.contains(&half)).then_some((half, slot))
    });
    let (half, slot) = halves.max_by_key(|(half, _)| *half)?;
    Some(config.clone().with(slot.clone(), half))
}

/// Elements of the results of all products.
fn results(f: &Function, body: &[Stmt]) -> u64 {
    let of = |s: &Stmt| match s {
        Stmt::Contract(c) => f.buffers[c.acc.index()].dims.iter().map(|d| extent(f, *d)).product(),
        Stmt::For { body, .. } => results(f, body),
        Stmt::While { cond, body, .. } => results(f, cond) + results(f, body),
        Stmt::If { then, other, .. } => results(f, then).max(results(f, other)),
        Stmt::Inst(_) | Stmt::Nest(_) => 0,
    };
    body.iter().map(of).sum()
}

fn extent(f: &Function, v: Val) -> u64 {
    let made = f.header.iter().find(|i: &&Inst| i.result == Some(v));
    match made.map(|i| &i.op) {
        Some(Op::Const(l)) => u64::try_from(l.to_i64()).unwrap_or(UNKNOWN),
        _ => UNKNOWN,
    }
}
