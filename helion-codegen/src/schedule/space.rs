//! The schedule's part of the configuration space: which slots a kernel has, which configs are legal.
//!
//! In: a tile function, the facts of a target. Out: each slot with the values worth trying, the default first; and for
//! a config, why it cannot or should not be compiled. A slot exists only where its knob can change something.

use super::grid::{FLAT, PERSISTENT, SWIZZLED};
use super::{blocks, grid};
use crate::passes::{interchange, owners, share};
use helion_ir::config::{Config, ConfigSpace, Knob, Scope, Slot};
use helion_ir::target::Target;
use helion_ir::tile::{Dim, Function, Op};
use std::collections::BTreeSet;

/// The knobs that the schedule reads. What is left of a config after it is the backend's.
pub const KNOBS: &[Knob] = &[Knob::Block, Knob::Order, Knob::Grid, Knob::Group, Knob::Keep];

/// With more axes than this not every order is tried.
const ALL_ORDERS: usize = 4;

/// Every slot of a kernel with the values worth trying, the default first.
pub fn config_space(func: &Function, target: &Target) -> ConfigSpace {
    let mut space = blocks::config_space(func, target);
    let axes = func.grid().count();
    if axes >= 2 {
        let most = grid::orders(axes.min(ALL_ORDERS));
        space.add(Slot::kernel(Knob::Order), (0..most).collect());
    }
    if axes >= 1 {
        let swizzled = (axes >= 2).then_some(SWIZZLED);
        space.add(Slot::kernel(Knob::Grid), [FLAT].into_iter().chain(swizzled).chain([PERSISTENT]).collect());
    }
    if axes >= 2 {
        space.add(Slot::kernel(Knob::Group), grid::GROUPS.to_vec());
    }
    // What the other knobs could change shows in the default schedule.
    let Ok((plan, keeps)) = super::plan(func, &Config::new(), target) else { return space };
    if keeps {
        space.add(Slot::kernel(Knob::Keep), vec![ON, OFF]);
    }
    let groups = share::groups(&plan);
    if !groups.is_empty() {
        space.add(Slot::kernel(Knob::Fuse), vec![ON, OFF]);
        let chunks = chunks(&groups, target);
        if chunks.len() > 1 {
            space.add(Slot::kernel(Knob::Chunk), chunks);
        }
    }
    if target.warp == 1 && interchange::applies(&plan) {
        space.add(Slot::kernel(Knob::Interchange), vec![ON, OFF]);
    }
    if target.warp == 1 && owners::applies(&plan) {
        space.add(Slot::kernel(Knob::Owners), owners::values(target));
    }
    space
}

/// Chunks that fit the near caches, for groups of loops that are longer.
fn chunks(groups: &[(Option<u64>, u64)], target: &Target) -> Vec<u64> {
    let widest = groups.iter().map(|g| g.1).max().unwrap_or(1);
    let longest = groups.iter().map(|g| g.0.unwrap_or(u64::MAX)).max().unwrap_or(0);
    let room = [target.l1_bytes / 4, target.l1_bytes / 2, target.l2_bytes / 4, target.l2_bytes / 2];
    let sizes: BTreeSet<u64> = room.iter().map(|bytes| (bytes / widest).max(1)).map(|n| 1 << n.ilog2()).collect();
    [0].into_iter().chain(sizes.into_iter().filter(|n| *n < longest)).collect()
}

/// The values of a switch.
const ON: u64 = 1;
const OFF: u64 = 0;

/// Whether a config fits a kernel: the slots exist, the values are in range.
///
/// # Errors
/// The first slot or value that does not fit, and what there is instead.
pub fn check_config(func: &Function, config: &Config) -> Result<(), String> {
    config.check()?;
    let axes: Vec<&str> = func.grid().map(|t| func.tiles[t.index()].name.as_str()).collect();
    let has = if axes.is_empty() { "no axis".to_owned() } else { axes.join(", ") };
    for (slot, v) in config.iter() {
        if slot.knob == Knob::Block {
            blocks::check_slot(func, slot)?;
        } else if slot.knob.scope() == Scope::Kernel && !slot.of.is_empty() {
            return Err(format!(
                "`{slot}`: there is one `{0}` for the whole kernel, so write `{0}=…`",
                slot.knob.key()
            ));
        }
        if slot.knob == Knob::Order && v >= grid::orders(axes.len()) {
            let last = grid::orders(axes.len()) - 1;
            return Err(format!("`{slot}={v}`: the grid of `{}` has {has}, so its orders are 0 to {last}", func.name));
        }
        if slot.knob == Knob::Grid && v == SWIZZLED && axes.len() < 2 {
            return Err(format!("`{slot}=swizzled` needs two grid axes; the grid of `{}` has {has}", func.name));
        }
    }
    Ok(())
}

/// Whether compiling a config can be worth it. Cheap: looks at the tile function and the config only.
///
/// # Errors
/// A config that does not fit the kernel, that pins something that has no effect, or whose program instances need more
/// memory than the caches have for each core; in words.
pub fn legal(func: &Function, config: &Config, target: &Target) -> Result<(), String> {
    check_config(func, config)?;
    let room = room(target);
    let needs = |config| resident_bytes(func, &blocks::choose(func, config, target));
    let (default, needs) = (needs(&Config::new()), needs(config));
    if needs > room.max(default) {
        let near = if target.warp > 1 { "registers and shared memory" } else { "caches" };
        return Err(format!("blocks of a program instance need {needs} bytes, {near} have {room} for each core"));
    }
    let knob = |k| config.get(&Slot::kernel(k));
    if let Some(group) = knob(Knob::Group)
        && group != grid::GROUPS[0]
        && knob(Knob::Grid) != Some(SWIZZLED)
        && (knob(Knob::Grid) != Some(PERSISTENT) || target.warp == 1)
    {
        let or = if target.warp == 1 { "" } else { " or `grid=persistent`" };
        return Err(format!("`group={group}` has no effect without `grid=swizzled`{or}"));
    }
    if let Some(chunk) = knob(Knob::Chunk)
        && chunk != 0
        && knob(Knob::Fuse) != Some(OFF)
    {
        return Err(format!("`chunk={chunk}` has no effect without `fuse=off`"));
    }
    Ok(())
}

/// Bytes of the registers of a multiprocessor.
const REGISTER_FILE: u64 = 256 << 10;

/// Bytes that a program instance can keep near.
fn room(target: &Target) -> u64 {
    if target.warp > 1 {
        return REGISTER_FILE + target.l1_bytes;
    }
    target.l2_bytes.max(target.l3_bytes / u64::from(target.cores.max(1)))
}

/// Bytes that one program instance keeps in memory at least: results of products, reductions, scans and control flow
/// whose size follows from the blocks. Axes of unknown length count as one element.
fn resident_bytes(func: &Function, blocks: &[u64]) -> u64 {
    let mut bytes = 0u64;
    let mut regions = vec![&func.body];
    while let Some(region) = regions.pop() {
        for inst in &region.body {
            regions.extend(&inst.regions);
            if !stays(&inst.op) {
                continue;
            }
            for r in &inst.results {
                let ty = func.ty(*r);
                let elements = ty.shape.iter().map(|d| extent(*d, blocks)).fold(1, u64::saturating_mul);
                bytes = bytes.saturating_add(elements.saturating_mul(ty.dtype.size() as u64));
            }
        }
    }
    bytes
}

/// Whether results of an operation are always in memory.
fn stays(op: &Op) -> bool {
    let control = matches!(op, Op::For { .. } | Op::While | Op::If);
    control
        || matches!(
            op,
            Op::Dot { .. } | Op::Reduce { .. } | Op::ReduceWith { .. } | Op::Scan { .. } | Op::ScanWith { .. }
        )
}

/// The length of an axis as far as blocks decide it.
fn extent(d: Dim, blocks: &[u64]) -> u64 {
    match d {
        Dim::Const(n) => n,
        Dim::Tile(t) => blocks[t.index()],
        Dim::Symbol(_) | Dim::Expr(_) => 1,
    }
}
