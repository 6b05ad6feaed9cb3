//! The schedule's part of the configuration space: which slots a kernel has, which configs are legal.
//!
//! In: a tile function, the facts of a target. Out: each slot with the values worth trying, the default first; and for
//! a config, why it cannot or should not be compiled. A slot exists only where its knob can change something.

use super::{blocks, grid};
use helion_ir::config::{Config, ConfigSpace, Knob, Scope, Slot};
use helion_ir::target::Target;
use helion_ir::tile::Function;

/// The knobs that the schedule reads. What is left of a config after it is the backend's.
pub const KNOBS: &[Knob] = &[Knob::Block, Knob::Order, Knob::Grid, Knob::Group];

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
        let swizzled = (axes >= 2).then_some(1);
        space.add(Slot::kernel(Knob::Grid), [0].into_iter().chain(swizzled).chain([2]).collect());
    }
    if axes >= 2 {
        space.add(Slot::kernel(Knob::Group), grid::GROUPS.to_vec());
    }
    space
}

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

/// The position of `swizzled` among the mappings.
const SWIZZLED: u64 = 1;

/// Whether compiling a config can be worth it. Cheap: looks at the tile function and the config only.
///
/// # Errors
/// A config that does not fit the kernel, or that pins something that has no effect; in words.
pub fn legal(func: &Function, config: &Config, _target: &Target) -> Result<(), String> {
    check_config(func, config)?;
    let knob = |k| config.get(&Slot::kernel(k));
    if let Some(group) = knob(Knob::Group)
        && group != grid::GROUPS[0]
        && knob(Knob::Grid) != Some(SWIZZLED)
    {
        return Err(format!("`group={group}` has no effect without `grid=swizzled`"));
    }
    Ok(())
}
