//! Splitting reductions over program instances, with later stages that combine the parts.
//!
//! In: a verified kernel, into how many parts, the block sizes of its tile variables. Out: a [`Split`] kernel:
//! several launches to be run one after another, which together mean what the kernel means up to the order of
//! its sums, and the workspaces through which a stage hands its partial results to later ones.
//!
//! What is split ([`points`]): a tile loop at the top of the body whose carried values are each updated by an
//! associative operation with something that does not depend on them; and a reduction or product along a whole
//! axis, which becomes such a loop. The body is cut into stages ([`stages`]): each stage computes, for every
//! part, the partial results of the reductions that depend on those before it; the last one is the kernel itself
//! with its reductions replaced by a loop over the parts, in order, so a fixed number of parts gives the same
//! bits each time.
//!
//! What a stage needs besides its reductions is computed again by each part; only what is cheap may be. Stores
//! happen in the last stage only, so a split reduction never reads what the kernel itself has stored before.

mod along;
mod carried;
mod copy;
mod points;
mod stages;

use helion_ir::config::{Config, Knob, Scope};
use helion_ir::dtype::DType;
use helion_ir::tile::{Shape, TileId, TileVar, Verified};

/// A tensor between stages: row-major, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Element type.
    pub dtype: DType,
    /// Extents: constants and size symbols of the kernel.
    pub dims: Shape,
}

/// A kernel in stages.
#[derive(Clone, Debug)]
pub struct Split {
    /// Launches to run in order. Each takes the kernel's parameters, then one tensor for each workspace, and
    /// has the kernel's size symbols.
    pub stages: Vec<Verified>,
    /// What the stages hand on. Nothing needs to be in it at the beginning.
    pub workspaces: Vec<Workspace>,
}

/// Whether a kernel has a reduction that can be split.
pub fn applies(kernel: &Verified) -> bool {
    !points::find(kernel.function()).is_empty()
}

/// Splits the reductions of a kernel into `parts`; the loops among them between blocks, whose sizes `block`
/// gives. `None` when there is nothing to split.
///
/// # Errors
/// A stage that the verifier refuses, which is a mistake of ours; in words.
pub fn split(kernel: &Verified, parts: u64, block: &dyn Fn(TileId) -> u64) -> Result<Option<Split>, String> {
    let f = kernel.function();
    let points = points::find(f);
    if points.is_empty() || parts < 2 {
        return Ok(None);
    }
    stages::build(f, &points, parts, block).map(Some)
}

impl Split {
    /// What of a kernel's config belongs to stage `n`: it may not have all of the kernel's tile variables, and all
    /// but the last have one more axis in the grid.
    pub fn config(&self, n: usize, config: &Config) -> Config {
        let Some(stage) = self.stages.get(n) else { return Config::new() };
        let last = n + 1 == self.stages.len();
        let mut own = Config::new();
        for (slot, v) in config.iter() {
            let here = |t: &TileVar| !t.unit && t.name == slot.of;
            let fits = slot.knob.scope() != Scope::Tile || stage.function().tiles.iter().any(here);
            let orders = matches!(slot.knob, Knob::Order | Knob::Group);
            if fits && slot.knob != Knob::Split && (last || !orders) {
                own.set(slot.clone(), v);
            }
        }
        own
    }
}
