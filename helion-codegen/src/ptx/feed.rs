//! Products that are *fed*: one more warp fetches their operands, while the others multiply.
//!
//! In: the products of a function. Out: a [`Feed`], when all of them can be fed: which tensors the copy engine walks, in
//! which boxes, and how the ring of stages lies in shared memory.
//!
//! # How it runs
//! The *producer* walks the same statements as everybody, but does only what says where operands begin. For each step of
//! each product, in order, it waits until the next stage of the ring is empty, and has the copy engine fill it. The
//! other warps wait until that stage is full, multiply, and call it empty. Both sides count stages alike, so loads of
//! the next product, turn, or tile are under way while this one is computed, whatever the loops between them are.

use super::Arch;
use super::Facts;
use super::kernel::Mapped;
use super::product::{Product, Tile};
use super::rule::word_offsets;
use helion_ir::dtype::DType;
use helion_ir::loops::{Contract, Function, Mem, Op, Operand, ParamKind, Stmt};
use std::collections::HashMap;

/// Which products are fed, and how.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    /// The tensors that the copy engine walks, as the kernel's first parameters.
    pub maps: Vec<Mapped>,
    /// For each contract, by its address: the map of its left operand, unless that is in registers, and of its right one.
    of: HashMap<usize, [Option<usize>; 2]>,
    /// Stages of the ring, and the bytes of each.
    pub stages: u32,
    pub stage_bytes: u32,
    /// Warps beside those that multiply. One fetches; where registers are short it comes with three that only give
    /// theirs away, since those are moved between warpgroups.
    pub warps: u32,
    /// Where the ring and, after it, its barriers are in shared memory: for each stage one that says full, one that
    /// says empty.
    pub ring: u32,
}

/// Warps that give registers away together.
pub(super) const WARPGROUP: u32 = 4;
/// Axes that the copy engine counts.
const MOST_AXES: usize = 5;
/// Bytes of the two barriers of a stage.
pub(super) const BARRIERS: u32 = 16;

impl Feed {
    /// The feed of a function with these products on `1 << warps` warps, the ring beginning at `ring`; `None` when a
    /// product cannot be fed.
    /// `in_registers` says whether an operand is.
    pub(super) fn of(
        f: &Function,
        facts: &Facts,
        arch: Arch,
        products: &[(&Contract, Product)],
        in_registers: &dyn Fn(&Operand) -> bool,
        (warps, ring): (u32, u32),
    ) -> Option<Feed> {
        let stages = products.first()?.1.stages;
        if !arch.has_warpgroups() || !products.iter().all(|(_, p)| p.groups) || !is_plain(&f.body) {
            return None;
        }
        let warps = if warps < 3 { 1 } else { WARPGROUP };
        let mut feed = Feed { maps: Vec::new(), of: HashMap::new(), stages, stage_bytes: 0, warps, ring };
        for (c, p) in products {
            let left = match in_registers(&c.lhs) {
                true => None,
                false => Some(feed.map(f, facts, &c.lhs, p.lhs, [c.lhs.col, c.lhs.row])?),
            };
            let right = feed.map(f, facts, &c.rhs, p.rhs, [c.rhs.row, c.rhs.col])?;
            let bytes = left.map_or(0, |_| p.lhs.bytes()) + p.rhs.bytes();
            feed.stage_bytes = feed.stage_bytes.max(bytes);
            feed.of.insert(address(c), [left, Some(right)]);
        }
        Some(feed)
    }

    /// The map of an operand that is a tensor as the copy engine takes them; `summed` and `other` are the axes that the
    /// product walks.
    fn map(
        &mut self,
        f: &Function,
        facts: &Facts,
        o: &Operand,
        tile: Tile,
        [summed, other]: [Option<u32>; 2],
    ) -> Option<usize> {
        let Mem::Tensor(param) = o.mem else { return None };
        let ParamKind::Tensor { dtype, dims, mutable: false, .. } = &f.params[param.index()].kind else { return None };
        let last = dims.len().checked_sub(1)?;
        let (inner, outer) = if tile.along { (summed?, other?) } else { (other?, summed?) };
        if !facts.is_aligned(param.index()) || inner as usize != last || inner == outer || dims.len() > MOST_AXES {
            return None;
        }
        let dtype = match dtype {
            DType::F16 => F16,
            DType::BF16 => BF16,
            _ => return None,
        };
        // The innermost axis comes first.
        let mut window = vec![1; dims.len()];
        window[0] = tile.width();
        window[last - outer as usize] = tile.rows;
        let map = Mapped { word: word_offsets(f)[param.index()], rank: dims.len(), dtype, size: tile.size, window };
        let known = self.maps.iter().position(|m| *m == map);
        Some(known.unwrap_or_else(|| {
            self.maps.push(map);
            self.maps.len() - 1
        }))
    }

    /// The maps of the operands of a contract.
    pub(super) fn operands(&self, c: &Contract) -> [Option<usize>; 2] {
        self.of.get(&address(c)).copied().unwrap_or_default()
    }

    /// Bytes of the ring and its barriers.
    pub(super) fn bytes(&self) -> u32 {
        self.stages * (self.stage_bytes + BARRIERS)
    }
}

/// The driver's numbers of element types (`CUtensorMapDataType`).
const F16: u32 = 6;
const BF16: u32 = 9;

fn address(c: &Contract) -> usize {
    std::ptr::from_ref(c) as usize
}

/// Whether the way through statements depends on nothing that the kernel computes in memory: then a warp can walk it
/// without the others.
fn is_plain(body: &[Stmt]) -> bool {
    body.iter().all(|s| match s {
        Stmt::Inst(i) => !matches!(i.op, Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } | Op::Print { .. }),
        Stmt::For { body, .. } => is_plain(body),
        Stmt::If { then, other, .. } => is_plain(then) && is_plain(other),
        Stmt::While { .. } => false,
        Stmt::Nest(_) | Stmt::Contract(_) => true,
    })
}

/// Whether statements contain a product.
pub(super) fn multiplies(body: &[Stmt]) -> bool {
    body.iter().any(|s| match s {
        Stmt::Contract(_) => true,
        Stmt::For { body, .. } => multiplies(body),
        Stmt::While { cond, body, .. } => multiplies(cond) || multiplies(body),
        Stmt::If { then, other, .. } => multiplies(then) || multiplies(other),
        Stmt::Inst(_) | Stmt::Nest(_) => false,
    })
}
