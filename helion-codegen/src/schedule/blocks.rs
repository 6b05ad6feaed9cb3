//! Block sizes: the default for a kernel that nobody tuned, and the values worth trying.
//!
//! The choice follows from what a tile variable does: an axis of a matrix product is blocked for
//! registers and caches, the unit-stride axis of elementwise work in long runs, and an axis of rows one row
//! at a time, so that what a row needs stays in the first-level cache.

use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use helion_ir::target::Target;
use helion_ir::tile::{Dim, Function, Index, Inst, Op, Region, TileId};

/// What a tile variable is used for.
#[derive(Clone, Copy, Debug, Default)]
struct Role {
    batch: bool,
    rows: bool,
    cols: bool,
    summed: bool,
    last_axis: bool,
    other_axis: bool,
    /// Last axis of an access that takes another axis whole.
    beside_full: bool,
}

/// The roles of all tile variables, and whether the kernel has accesses over whole axes.
struct Roles {
    of: Vec<Role>,
    full: bool,
}

impl Roles {
    fn of(func: &Function) -> Roles {
        let mut roles = Roles { of: vec![Role::default(); func.tiles.len()], full: false };
        roles.region(func, &func.body);
        roles
    }

    fn region(&mut self, func: &Function, region: &Region) {
        for inst in &region.body {
            self.inst(func, inst);
            inst.regions.iter().for_each(|r| self.region(func, r));
        }
    }

    fn inst(&mut self, func: &Function, inst: &Inst) {
        match &inst.op {
            Op::Dot { .. } => {
                let (a, b) = (&func.ty(inst.args[0]).shape, &func.ty(inst.args[1]).shape);
                let rank = a.len();
                a[..rank - 2].iter().for_each(|d| self.mark(*d, |r| r.batch = true));
                self.mark(a[rank - 2], |r| r.rows = true);
                self.mark(a[rank - 1], |r| r.summed = true);
                self.mark(b[rank - 1], |r| r.cols = true);
            }
            Op::Load { index, .. } | Op::Store { index, .. } | Op::Atomic { index, .. } => {
                let full = index.iter().any(|i| matches!(i, Index::Full));
                for (k, i) in index.iter().enumerate() {
                    match i {
                        Index::Tile(t, _) if k + 1 == index.len() => {
                            self.of[t.index()].last_axis = true;
                            self.of[t.index()].beside_full |= full;
                        }
                        Index::Tile(t, _) => self.of[t.index()].other_axis = true,
                        Index::Full => self.full = true,
                        Index::Scalar(_) | Index::Gather(_) => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn mark(&mut self, d: Dim, f: impl Fn(&mut Role)) {
        if let Dim::Tile(t) = d {
            f(&mut self.of[t.index()]);
        }
    }

    /// Candidates for one variable, the default first.
    fn candidates(&self, func: &Function, t: TileId, target: &Target) -> Vec<u64> {
        let role = self.of[t.index()];
        let lanes = u64::from(target.vector_bytes / 4).max(4);
        let streaming = self.of.iter().any(|r| r.cols && r.summed);
        let vector = self.of.iter().any(|r| r.last_axis && !r.other_axis) || self.full;
        match role {
            Role { batch: true, .. } => vec![1],
            Role { cols: true, summed: true, .. } => vec![128, 64, 256, 512],
            Role { rows: true, .. } if streaming => vec![64, 32, 128, 192],
            Role { rows: true, .. } => vec![240, 480, 120, 48],
            Role { cols: true, .. } => vec![16 * lanes, 32 * lanes, 64 * lanes, 4 * lanes],
            Role { summed: true, .. } => vec![512, 256, 1024, 128],
            // Columns: few enough for each thread to get some, enough for whole cache lines.
            Role { last_axis: true, beside_full: true, .. } => vec![256, 64, 1024],
            Role { last_axis: true, other_axis: false, .. } if func.tiles[t.index()].grid => {
                vec![8192, 2048, 32768, 512]
            }
            Role { last_axis: true, other_axis: false, .. } => vec![2048, 512, 8192],
            Role { last_axis: true, other_axis: true, .. } => vec![16, 64, 4],
            Role { other_axis: true, .. } if vector => vec![1, 4, 16],
            _ => vec![256, 64, 1024],
        }
    }
}

/// Whether a slot of `block` names a tile variable with a block size.
///
/// # Errors
/// Which variables there are.
pub fn check_slot(func: &Function, slot: &Slot) -> Result<(), String> {
    let names: Vec<&str> = func.tiles.iter().filter(|t| !t.unit).map(|t| t.name.as_str()).collect();
    if names.contains(&slot.of.as_str()) {
        return Ok(());
    }
    let has = if names.is_empty() { "none with a block size".to_owned() } else { names.join(", ") };
    Err(format!("kernel `{}` has no tile variable `{}`; it has {has}", func.name, slot.of))
}

/// The block size of every tile variable: what the config pins, the default elsewhere.
pub fn choose(func: &Function, config: &Config, target: &Target) -> Vec<u64> {
    let roles = Roles::of(func);
    let block = |(k, var): (usize, &helion_ir::tile::TileVar)| {
        if var.unit {
            return 1;
        }
        let pinned = config.get(&Slot::of(Knob::Block, &var.name));
        pinned.unwrap_or_else(|| roles.candidates(func, TileId(k as u32), target)[0])
    };
    func.tiles.iter().enumerate().map(block).collect()
}

/// Every slot of a kernel with the values worth trying, the default first.
pub fn config_space(func: &Function, target: &Target) -> ConfigSpace {
    let roles = Roles::of(func);
    let mut space = ConfigSpace::default();
    for (k, var) in func.tiles.iter().enumerate().filter(|(_, v)| !v.unit) {
        let values = roles.candidates(func, TileId(k as u32), target);
        space.add(Slot::of(Knob::Block, &var.name), values);
    }
    space
}
