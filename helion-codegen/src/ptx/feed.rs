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
//!
//! A left operand that a loop does not change, such as the queries of attention, is *kept*: fetched once before the loop
//! to a place of its own.

use super::kernel::Mapped;
use super::known::Known;
use super::product::{Product, Tile};
use super::rule::word_offsets;
use super::{Arch, Facts, products};
use helion_ir::dtype::DType;
use helion_ir::loops::{Contract, Function, Mem, Op, Operand, ParamKind, Stmt, Val};
use std::collections::{HashMap, HashSet};

/// Which products are fed, and how.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    /// The tensors that the copy engine walks, as the kernel's first parameters.
    pub maps: Vec<Mapped>,
    /// For each contract, by its address: the map of its left operand, unless that is in registers, and of its right one.
    of: HashMap<usize, [Option<usize>; 2]>,
    /// For each contract whose left operand is kept, where it is.
    kept: HashMap<usize, Kept>,
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

/// What a product fetches: bytes of a step of each operand, 0 where it is in registers; and, when its left operand may be
/// kept, the loop that keeps it and its steps.
struct Share<'a> {
    c: &'a Contract,
    left: u32,
    right: u32,
    kept: Option<(usize, u32)>,
}

/// A left operand with a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Where it begins in shared memory, one step after the other, and how many steps there are.
    pub at: u32,
    pub steps: u32,
    /// Its barriers: full, then empty.
    pub barriers: u32,
}

/// Warps that give registers away together.
pub(super) const WARPGROUP: u32 = 4;
/// The most stages of a ring.
const MOST_STAGES: u32 = 8;
/// The most steps of an operand that is kept.
const MOST_KEPT: i64 = 4;
/// Bytes of the two barriers of a stage.
pub(super) const BARRIERS: u32 = 16;

impl Feed {
    /// The feed of a function with these products on `1 << warps` warps, the ring beginning at `ring`; `None` when a
    /// product cannot be fed, or there is no room. `in_registers` says whether an operand is.
    pub(super) fn of(
        f: &Function,
        (known, facts): (&Known, &Facts),
        arch: Arch,
        found: &[(&Contract, Product)],
        in_registers: &dyn Fn(&Operand) -> bool,
        (warps, ring): (u32, u32),
    ) -> Option<Feed> {
        let stages = found.first()?.1.stages;
        if !arch.has_warpgroups() || !found.iter().all(|(_, p)| p.groups) || !is_plain(&f.body) {
            return None;
        }
        let warps = if warps < 3 { 1 } else { WARPGROUP };
        let (of, kept) = (HashMap::new(), HashMap::new());
        let mut feed = Feed { maps: Vec::new(), of, kept, stages, stage_bytes: 0, warps, ring };
        let mut loops = HashMap::new();
        unchanged(&f.body, None, &mut loops);
        let mut shares = Vec::new();
        for (c, p) in found {
            let left = match in_registers(&c.lhs) {
                true => None,
                false => Some(feed.map(f, facts, &c.lhs, p.lhs, [c.lhs.col, c.lhs.row])?),
            };
            let right = feed.map(f, facts, &c.rhs, p.rhs, [c.rhs.row, c.rhs.col])?;
            feed.of.insert(address(c), [left, Some(right)]);
            let steps = known.int(c.k.extent).filter(|k| k % i64::from(p.step) == 0).map(|k| k / i64::from(p.step));
            let steps = steps.filter(|n| left.is_some() && (1..=MOST_KEPT).contains(n));
            let kept = loops.get(&address(c)).zip(steps).map(|(l, n)| (*l, n as u32));
            shares.push(Share { c, left: left.map_or(0, |_| p.lhs.bytes()), right: p.rhs.bytes(), kept });
        }
        // What is kept makes stages smaller. There are more of them then where a block has all registers to itself; where
        // several share a multiprocessor, they need the memory.
        let whole = found.iter().map(|(_, p)| p.lhs.bytes() + p.rhs.bytes()).max()?;
        let ways = [(true, warps == WARPGROUP), (true, false), (false, false)];
        let fits = ways.into_iter().any(|(keeps, more)| {
            feed.lay_out(&shares, keeps);
            let most = (stages * whole / feed.stage_bytes).clamp(stages, MOST_STAGES.max(stages));
            feed.stages = if more { most } else { stages };
            feed.place_kept(&shares, keeps);
            ring + feed.bytes() <= arch.shared_bytes()
        });
        fits.then_some(feed)
    }

    /// Finds the size of a stage.
    fn lay_out(&mut self, shares: &[Share<'_>], keeps: bool) {
        let in_stage = |s: &Share<'_>| s.right + if keeps && s.kept.is_some() { 0 } else { s.left };
        self.stage_bytes = shares.iter().map(in_stage).max().unwrap_or(0);
    }

    /// Finds places for what is kept, after the ring and its barriers. Loops that come after each other, such as one over
    /// whole tiles and one over the last, keep the same operand in the same place.
    fn place_kept(&mut self, shares: &[Share<'_>], keeps: bool) {
        let mut at = self.barriers(self.stages).next_multiple_of(1024);
        let mut places: Vec<(&Share<'_>, Kept, Vec<usize>)> = Vec::new();
        self.kept.clear();
        for s in shares.iter().filter(|_| keeps) {
            let Some((of, steps)) = s.kept else { continue };
            let same = |o: &Share<'_>| {
                o.kept.map(|k| k.1) == Some(steps) && o.c.lhs.mem == s.c.lhs.mem && o.c.lhs.origin == s.c.lhs.origin
            };
            let known = places.iter_mut().find(|(o, _, loops)| same(o) && !loops.contains(&of));
            let kept = match known {
                Some((_, kept, loops)) => {
                    loops.push(of);
                    *kept
                }
                None => {
                    let kept = Kept { at, steps, barriers: at + steps * s.left };
                    // What the engine writes begins at a multiple of 1024.
                    at = (kept.barriers + BARRIERS).next_multiple_of(1024);
                    places.push((s, kept, vec![of]));
                    kept
                }
            };
            self.kept.insert(address(s.c), kept);
        }
    }

    /// Where the left operand of a contract is kept, if it is.
    pub(super) fn kept(&self, c: &Contract) -> Option<Kept> {
        self.kept.get(&address(c)).copied()
    }

    /// All that are kept.
    pub(super) fn all_kept(&self) -> impl Iterator<Item = Kept> {
        let mut all: Vec<Kept> = self.kept.values().copied().collect();
        all.sort_unstable_by_key(|k| k.at);
        all.dedup();
        all.into_iter()
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
        if !facts.is_aligned(param.index()) || inner as usize != last || inner == outer || dims.len() > Mapped::AXES {
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

    /// Where the barriers of a stage are, full, then empty.
    pub(super) fn barriers(&self, stage: u32) -> u32 {
        self.ring + self.stages * self.stage_bytes + stage * BARRIERS
    }

    /// Bytes of the ring, what is kept, and their barriers.
    pub(super) fn bytes(&self) -> u32 {
        self.all_kept().map(|k| k.barriers + BARRIERS).max().unwrap_or(self.barriers(self.stages)) - self.ring
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

/// Finds contracts in a loop whose turns all have the same left operand, each with its loop, by address. `inside` are the
/// values that the loop around `body` makes.
fn unchanged(body: &[Stmt], inside: Option<&HashSet<Val>>, found: &mut HashMap<usize, usize>) {
    for s in body {
        match s {
            Stmt::Contract(c) => {
                let still = |made: &HashSet<Val>| !c.lhs.origin.iter().any(|v| made.contains(v));
                found.extend(inside.filter(|made| still(made)).map(|_| (address(c), body.as_ptr() as usize)));
            }
            Stmt::For { var, body, .. } => {
                let mut made = HashSet::from([*var]);
                values_of(body, &mut made);
                unchanged(body, Some(&made), found);
            }
            // Only what a loop does in every turn.
            Stmt::If { .. } | Stmt::While { .. } | Stmt::Inst(_) | Stmt::Nest(_) => {}
        }
    }
}

/// The values that statements outside nests make.
fn values_of(body: &[Stmt], made: &mut HashSet<Val>) {
    for s in body {
        match s {
            Stmt::Inst(i) => made.extend(i.result),
            Stmt::For { var, body, .. } => {
                made.insert(*var);
                values_of(body, made);
            }
            Stmt::If { then, other, .. } => {
                values_of(then, made);
                values_of(other, made);
            }
            Stmt::While { .. } | Stmt::Nest(_) | Stmt::Contract(_) => {}
        }
    }
}

/// Whether statements contain a product.
pub(super) fn multiplies(body: &[Stmt]) -> bool {
    let mut any = false;
    products(body, &mut |_| any = true);
    any
}
