//! Block sizes: the default for a kernel that nobody tuned, and the values worth trying.
//!
//! The choice follows from what a tile variable does: an axis of a matrix product is blocked for
//! registers and caches, the unit-stride axis of elementwise work in long runs, and an axis of rows one row
//! at a time, so that what a row needs stays in the first-level cache. Where threads run in lockstep a program instance
//! belongs to a block of threads, and sizes are powers of two that give each of them a few elements.

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
    /// An axis, not the last, of an access that takes the last axis whole.
    whole_rows: bool,
    /// Of a value that is computed, not just loaded.
    computed: bool,
    /// Rows, columns or the summed axis of a product of 16-bit floats.
    narrow: bool,
}

/// The roles of all tile variables, and whether the kernel has accesses over whole axes.
struct Roles {
    of: Vec<Role>,
    full: bool,
    /// How many products there are.
    products: usize,
}

impl Roles {
    fn of(func: &Function) -> Roles {
        let mut roles = Roles { of: vec![Role::default(); func.tiles.len()], full: false, products: 0 };
        roles.region(func, &func.body);
        roles
    }

    fn region(&mut self, func: &Function, region: &Region) {
        for inst in &region.body {
            self.inst(func, inst);
            if !is_window(inst) {
                let dims = inst.results.iter().flat_map(|r| &func.ty(*r).shape);
                dims.for_each(|d| self.mark(*d, |r| r.computed = true));
            }
            inst.regions.iter().for_each(|r| self.region(func, r));
        }
    }

    fn inst(&mut self, func: &Function, inst: &Inst) {
        match &inst.op {
            Op::Dot { .. } => {
                let (a, b) = (&func.ty(inst.args[0]).shape, &func.ty(inst.args[1]).shape);
                let rank = a.len();
                let dtype = func.ty(inst.args[0]).dtype;
                let narrow = dtype.is_float() && dtype.size() == 2;
                self.products += 1;
                a[..rank - 2].iter().for_each(|d| self.mark(*d, |r| r.batch = true));
                self.mark(a[rank - 2], |r| (r.rows, r.narrow) = (true, narrow));
                self.mark(a[rank - 1], |r| (r.summed, r.narrow) = (true, narrow));
                self.mark(b[rank - 1], |r| (r.cols, r.narrow) = (true, narrow));
            }
            Op::Load { index, .. } | Op::Store { index, .. } | Op::Atomic { index, .. } => {
                let full = index.iter().any(|i| matches!(i, Index::Full));
                for (k, i) in index.iter().enumerate() {
                    match i {
                        Index::Tile(t, _) if k + 1 == index.len() => {
                            self.of[t.index()].last_axis = true;
                            self.of[t.index()].beside_full |= full;
                        }
                        Index::Tile(t, _) => {
                            self.of[t.index()].other_axis = true;
                            self.of[t.index()].whole_rows |= matches!(index.last(), Some(Index::Full));
                        }
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

    /// The default for one variable, and the values worth trying.
    fn candidates(&self, t: TileId, grid: bool, target: &Target) -> (u64, Vec<u64>) {
        if target.warp > 1 {
            return self.candidates_in_lockstep(t, target);
        }
        let role = self.of[t.index()];
        let lanes = u64::from(target.vector_bytes / 4).max(4);
        let (high, wide) = register_tile(target);
        let streaming = self.of.iter().any(|r| r.cols && r.summed);
        let vector = self.of.iter().any(|r| r.last_axis && !r.other_axis) || self.full;
        let times = |unit: u64, by: &[u64]| by.iter().map(|k| unit * k).collect::<Vec<_>>();
        match role {
            Role { batch: true, .. } => (1, vec![1, 2, 4, 8]),
            // A matrix unit is so fast that copying its operands counts: large blocks, each copied seldom.
            Role { summed: true, narrow: true, cols: false, .. } if target.speed.matrix_ops > 0 => {
                (2048, vec![256, 512, 1024, 4096])
            }
            Role { rows: true, narrow: true, .. } if target.speed.matrix_ops > 0 && !streaming => {
                (512, times(32, &[1, 2, 3, 4, 6, 8, 12, 32]))
            }
            Role { cols: true, narrow: true, summed: false, .. } if target.speed.matrix_ops > 0 => {
                (1024, times(32, &[1, 2, 3, 4, 6, 8, 12, 16, 24, 64]))
            }
            Role { cols: true, summed: true, .. } => {
                let columns = if target.narrow() { 32 * lanes } else { 128 };
                (columns, times(lanes, &[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]))
            }
            // Rows that the columns stream past: few keep their state in the nearest cache, many pack the columns less often.
            Role { rows: true, .. } if streaming => {
                let rows = if target.narrow() { 240 } else { 64 };
                (rows, times(high, &[1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 60, 80]))
            }
            // Whole register tiles. Each tile of the grid packs its operands itself, so large ones pack less; with narrow
            // vectors there is less to gain from small ones that stay in the second cache.
            Role { rows: true, .. } => {
                // A little more than a half of 1024, a quarter of 2048 and so on, so that no small rest packs everything again.
                let (rows, halves) = if target.narrow() { (540, 44) } else { (240, 40) };
                (rows, times(high, &[1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 24, 30, halves, 60, 90]))
            }
            Role { cols: true, .. } => {
                let columns = if target.narrow() { 64 * lanes } else { 16 * lanes };
                (columns, times(wide, &[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256]))
            }
            Role { summed: true, .. } => (512, vec![64, 96, 128, 192, 256, 384, 768, 1024, 1536, 2048, 4096]),
            // Columns: few enough for each thread to get some, enough for whole cache lines.
            Role { last_axis: true, beside_full: true, .. } => {
                (256, times(lanes, &[1, 2, 4, 6, 8, 12, 24, 32, 64, 128]))
            }
            Role { last_axis: true, other_axis: false, .. } if grid => {
                (8192, times(256, &[1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 64, 96, 128, 256, 512]))
            }
            Role { last_axis: true, other_axis: false, .. } => {
                (2048, times(128, &[1, 2, 3, 4, 6, 8, 12, 24, 32, 48, 64, 128]))
            }
            // What a row gives beside it, such as its mean, is one element for each.
            Role { last_axis: true, whole_rows: true, .. } => (1, vec![2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256]),
            Role { last_axis: true, other_axis: true, .. } => (16, vec![1, 2, 4, 8, 12, 24, 32, 48, 64, 96, 128, 256]),
            Role { other_axis: true, .. } if vector => (1, vec![2, 3, 4, 6, 8, 12, 16, 24, 32, 64]),
            _ => (256, vec![1, 4, 16, 32, 64, 96, 128, 192, 384, 512, 768, 1024, 2048, 4096]),
        }
    }

    /// The same for a block of threads.
    fn candidates_in_lockstep(&self, t: TileId, target: &Target) -> (u64, Vec<u64>) {
        let role = self.of[t.index()];
        // Room for several steps of the operands of large products.
        let roomy = target.l1_bytes >= ROOMY;
        let streaming = self.of.iter().any(|r| r.cols && r.summed);
        let rows_of_vectors = self.of.iter().any(|r| r.last_axis && !r.other_axis) || self.full;
        let (default, others): (u64, &[u64]) = match role {
            Role { batch: true, .. } => (1, &[2, 4]),
            Role { cols: true, summed: true, .. } => (64, &[32, 128]),
            Role { rows: true, narrow: true, .. } if streaming && roomy => (128, &[16, 32, 64]),
            Role { rows: true, .. } if streaming => (64, &[16, 32, 128]),
            // Several results share the registers.
            Role { cols: true, narrow: true, .. } if self.products > 1 => (64, &[32, 128]),
            Role { cols: true, .. } if self.products > 1 => (32, &[16, 64]),
            // What matrix units take can have a result that fills the registers.
            Role { rows: true, narrow: true, .. } => (128, &[16, 32, 64, 256]),
            Role { cols: true, narrow: true, .. } if roomy => (256, &[32, 64, 128]),
            Role { cols: true, narrow: true, .. } => (128, &[32, 64, 256]),
            Role { rows: true, .. } => (64, &[16, 32, 128]),
            Role { cols: true, .. } => (64, &[32, 128]),
            // One turn of the loop: the product runs along the axis itself, with copies ahead of arithmetic.
            Role { summed: true, computed: false, .. } => (WHOLE, &[32, 64, 128]),
            Role { summed: true, .. } => (64, &[32, 128]),
            Role { last_axis: true, beside_full: true, .. } => (128, &[32, 64, 256]),
            Role { last_axis: true, other_axis: false, .. } => (1024, &[128, 256, 512, 2048, 4096]),
            Role { last_axis: true, other_axis: true, .. } => (32, &[16, 64, 128]),
            Role { other_axis: true, .. } if rows_of_vectors => (1, &[2, 4, 8]),
            _ => (128, &[1, 32, 64, 256, 512, 1024]),
        };
        (default, others.to_vec())
    }

    /// Candidates for one variable, the default first, then the rest in order. Where the length of the axis is known,
    /// nothing is longer, and the whole axis is among them.
    fn values(&self, func: &Function, t: TileId, target: &Target) -> Vec<u64> {
        let (default, mut rest) = self.candidates(t, func.tiles[t.index()].grid, target);
        if let Some(n) = length(func, t).filter(|n| *n < rest.iter().copied().max().unwrap_or(0)) {
            rest.retain(|v| *v < n);
            rest.extend((n > 0 && n != default).then_some(n));
        }
        rest.sort_unstable();
        rest.dedup();
        rest.retain(|v| *v != default);
        rest.insert(0, default);
        rest
    }
}

/// Whether a value is a part of a tensor as it is.
fn is_window(inst: &Inst) -> bool {
    match &inst.op {
        Op::Load { index, .. } => !index.iter().any(|i| matches!(i, Index::Gather(_))),
        op => matches!(op, Op::Permute(_)),
    }
}

/// Shared memory with room for four steps of 128 × 256 × 64 elements of 16 bits.
const ROOMY: u64 = 200 << 10;

/// Longer than summed axes are.
const WHOLE: u64 = 65536;

/// Rows and columns of the register tile of products in `f32`: as many rows as leave registers for a row of the right
/// operand, columns of two vectors.
pub fn register_tile(target: &Target) -> (u64, u64) {
    let rows = if target.vector_registers >= 32 { 12 } else { 6 };
    (rows, u64::from(target.vector_bytes / 4).max(4) * 2)
}

/// How many indices a tile variable has, when that is known before any launch.
fn length(func: &Function, t: TileId) -> Option<u64> {
    let origins = super::uses::origins(func);
    let var = &func.tiles[t.index()];
    let known = |v: helion_ir::tile::ValueId| match origins[v.index()].map(|i| &i.op) {
        Some(Op::Const(c)) => Some(c.to_i64()),
        Some(Op::Extent(Dim::Const(n))) => i64::try_from(*n).ok(),
        _ => None,
    };
    u64::try_from(known(var.end)?.checked_sub(known(var.begin)?)?).ok()
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
        pinned.unwrap_or_else(|| roles.candidates(TileId(k as u32), var.grid, target).0)
    };
    func.tiles.iter().enumerate().map(block).collect()
}

/// Every slot of a kernel with the values worth trying, the default first.
pub fn config_space(func: &Function, target: &Target) -> ConfigSpace {
    let roles = Roles::of(func);
    let mut space = ConfigSpace::default();
    for (k, var) in func.tiles.iter().enumerate().filter(|(_, v)| !v.unit) {
        let values = roles.values(func, TileId(k as u32), target);
        space.add(Slot::of(Knob::Block, &var.name), values);
    }
    space
}
