//! Which thread computes what, and where buffers live.
//!
//! In: a loop function without contracts that no matrix path takes, and what is known of its values. Out: a [`Plan`]: a
//! [`Layout`] for every nest, a [`Home`] for every buffer.
//!
//! A buffer lives in registers when it is small and every nest that touches it does so element by element along its own
//! axes, with its elements in the same threads. Layouts spread from the nests that have a reason for theirs to the
//! others through these buffers; where two do not fit together, the buffer goes to shared memory, and planning starts
//! again. Buffers whose size launches decide are *dynamic*: in shared memory if there is enough, else in global memory.

use super::feed::Feed;
use super::known::{Forms, Known};
use super::layout::{Bit, LANE_BITS, Layout};
use super::product::Product;
use super::turns::{self, Turns};
use super::{Arch, Error, Facts};
use helion_ir::loops::{BufferId, Contract, Function, Inst, Mem, Nest, Op, Operand, ParamKind, Stmt, Val};
use helion_ir::tile::Layout as Strides;
use std::collections::HashMap;

/// Where the elements of a buffer are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Home {
    /// One element, a copy in each thread.
    Scalar,
    /// In registers.
    Registers(Layout),
    /// In shared memory, row-major from this byte on.
    Shared {
        /// The first byte.
        at: u32,
    },
    /// In memory that a launch finds room for, by its position among these.
    Dynamic(usize),
}

/// The plan of a function.
#[derive(Debug)]
pub(super) struct Plan {
    /// log2 of the warps of a block.
    pub warps: u32,
    /// The layout of each nest, by its address.
    nests: HashMap<usize, Layout>,
    /// The products, by the address of their contract.
    products: HashMap<usize, Product>,
    /// Where operands of products lie in shared memory.
    pub stage: u32,
    /// When a warp of its own fetches the operands of all products.
    pub feed: Option<Feed>,
    /// Loops that run rotated, by the addresses of their bodies.
    pub turns: HashMap<usize, Turns>,
    pub homes: Vec<Home>,
    /// Dynamic buffers in order.
    pub dynamic: Vec<BufferId>,
    /// Bytes of shared memory in all, but for dynamic buffers. Exchanges between warps use the first of them.
    pub shared: u32,
}

/// The most registers that a thread may hold of one buffer.
const MOST_REGISTERS: usize = 128;
/// Elements that a thread handles at once in nests whose layout nothing fixes.
const AT_ONCE: u32 = 5;

impl Plan {
    /// Plans a function.
    ///
    /// # Errors
    /// When it needs more shared memory than the architecture has.
    pub(super) fn new(
        f: &Function,
        known: &Known,
        facts: &Facts,
        arch: Arch,
        warps: u32,
        stages: u32,
    ) -> Result<Plan, Error> {
        let planner = Planner::new(f, known, facts, arch, warps, stages);
        planner.run(arch)
    }

    /// The product that a contract is.
    pub(super) fn product(&self, c: &Contract) -> Option<&Product> {
        self.products.get(&(std::ptr::from_ref(c) as usize))
    }

    /// The layout of a nest.
    pub(super) fn layout(&self, nest: &Nest) -> &Layout {
        &self.nests[&address(nest)]
    }
}

/// Names a nest.
fn address(nest: &Nest) -> usize {
    std::ptr::from_ref(nest) as usize
}

/// A nest with what matters here.
struct Site<'a> {
    nest: &'a Nest,
    forms: Forms,
    /// Buffers it touches, with the nest's axis for each axis of the buffer.
    touches: Vec<(BufferId, Vec<Option<usize>>)>,
}

impl Site<'_> {
    /// Whether a thread walks an axis alone: the order of a reduction that cannot be split.
    fn sequential(&self, axis: usize) -> bool {
        axis >= self.nest.axes.len() - self.nest.reduce && self.nest.carries.iter().any(|c| c.op.is_none())
    }
}

struct Planner<'a> {
    f: &'a Function,
    known: &'a Known,
    facts: &'a Facts,
    warps: u32,
    arch: Arch,
    stages: u32,
    sites: Vec<Site<'a>>,
    products: Vec<(&'a Contract, Product)>,
    /// Whether a buffer may be in registers.
    eligible: Vec<bool>,
    /// log2 of the extents of each buffer, where all are known.
    extents: Vec<Option<Vec<u32>>>,
}

/// The smallest power of two that is no less, as its logarithm.
fn log2_up(n: u64) -> u32 {
    n.max(1).next_power_of_two().trailing_zeros()
}

/// The memory and the indices of an access.
pub(super) fn access(inst: &Inst) -> Option<(Mem, &[Val])> {
    match &inst.op {
        Op::Load { mem, masked } => {
            let end = inst.args.len() - if *masked { 2 } else { 0 };
            Some((*mem, &inst.args[..end]))
        }
        Op::Store { mem, masked } => Some((*mem, &inst.args[1..inst.args.len() - usize::from(*masked)])),
        Op::Atomic { op, mem, masked } => {
            let first = if matches!(op, helion_ir::loops::AtomicOp::CompareSwap) { 2 } else { 1 };
            Some((*mem, &inst.args[first..inst.args.len() - usize::from(*masked)]))
        }
        Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) | Op::Unary(_) | Op::Binary(_) | Op::Fma => None,
        Op::Select | Op::Cast(_) | Op::Bitcast(_) | Op::Random { .. } | Op::Print { .. } => None,
    }
}

impl<'a> Planner<'a> {
    fn new(f: &'a Function, known: &'a Known, facts: &'a Facts, arch: Arch, warps: u32, stages: u32) -> Planner<'a> {
        let extents = |b: &helion_ir::loops::Buffer| {
            b.dims.iter().map(|d| known.bound(*d, None).map(log2_up)).collect::<Option<Vec<u32>>>()
        };
        let extents: Vec<_> = f.buffers.iter().map(extents).collect();
        let most = MOST_REGISTERS.trailing_zeros() + LANE_BITS as u32 + warps;
        let eligible = extents.iter().map(|e| e.as_ref().is_some_and(|e| e.iter().sum::<u32>() <= most)).collect();
        let (sites, products) = (Vec::new(), Vec::new());
        let mut planner = Planner { f, known, facts, arch, warps, stages, sites, products, eligible, extents };
        planner.visit(&f.body);
        planner
    }

    /// Whether a buffer has one element.
    fn is_scalar(&self, b: BufferId) -> bool {
        self.extents[b.index()].as_ref().is_some_and(|e| e.iter().all(|n| *n == 0))
    }

    /// Collects nests, and rules out buffers that statements touch by element.
    fn visit(&mut self, body: &'a [Stmt]) {
        for s in body {
            match s {
                Stmt::Inst(i) => {
                    if let Some((Mem::Buffer(b), _)) = access(i) {
                        self.eligible[b.index()] = false;
                    }
                }
                Stmt::For { body, .. } => self.visit(body),
                Stmt::While { cond, body, .. } => {
                    self.visit(cond);
                    self.visit(body);
                }
                Stmt::If { then, other, .. } => {
                    self.visit(then);
                    self.visit(other);
                }
                Stmt::Nest(n) => self.nest(n),
                Stmt::Contract(c) => self.contract(c),
            }
        }
    }

    /// A product's result may be in registers, and its left operand when it is all of a buffer; other buffers that it
    /// reads must be in memory.
    fn contract(&mut self, c: &'a Contract) {
        let Some(p) = Product::of(self.f, self.known, self.facts, c, self.warps, self.stages, self.arch) else {
            return;
        };
        if let Mem::Buffer(b) = c.rhs.mem {
            self.eligible[b.index()] = false;
        }
        if let Mem::Buffer(b) = c.lhs.mem
            && self.left_layout(c, &p).is_none()
        {
            self.eligible[b.index()] = false;
        }
        self.products.push((c, p));
    }

    /// The layout that the left operand of a product has in registers, when it is all of a buffer.
    fn left_layout(&self, c: &Contract, p: &Product) -> Option<Layout> {
        let Mem::Buffer(b) = c.lhs.mem else { return None };
        let dims = &self.f.buffers[b.index()].dims;
        let rank = dims.len() as u32;
        let whole = c.lhs.origin.iter().all(|v| self.known.int(*v) == Some(0));
        let plain = rank as usize == p.batch + 2 && c.lhs.row == Some(rank - 2) && c.lhs.col == Some(rank - 1);
        let extent = |d: Val| self.known.int(d).and_then(|n| u32::try_from(n).ok());
        let (m, k) = (extent(*dims.get(dims.len().checked_sub(2)?)?)?, extent(*dims.last()?)?);
        let fits = whole && plain && m.next_power_of_two() == p.m && k >= 16;
        p.left_registers(k).filter(|l| fits && l.registers() <= MOST_REGISTERS)
    }

    fn nest(&mut self, nest: &'a Nest) {
        let forms = Forms::new(self.f, self.known, nest);
        let mut touches: Vec<(BufferId, Vec<Option<usize>>)> = Vec::new();
        for inst in nest.body.iter().chain(&nest.finals) {
            let Some((Mem::Buffer(b), index)) = access(inst) else { continue };
            if self.is_scalar(b) {
                continue;
            }
            match self.projection(nest, &forms, b, index, inst) {
                Some(axes) => touches.push((b, axes)),
                None => self.eligible[b.index()] = false,
            }
        }
        self.sites.push(Site { nest, forms, touches });
    }

    /// The axis of the nest for each axis of a buffer, when an access goes along them.
    fn projection(
        &self,
        nest: &Nest,
        forms: &Forms,
        b: BufferId,
        index: &[Val],
        inst: &Inst,
    ) -> Option<Vec<Option<usize>>> {
        if matches!(inst.op, Op::Load { masked: true, .. } | Op::Store { masked: true, .. } | Op::Atomic { .. }) {
            return None;
        }
        // What an atomic returned is in one copy only.
        if matches!(inst.op, Op::Store { .. }) && self.from_atomic(nest, inst.args[0]) {
            return None;
        }
        let extents = self.extents[b.index()].as_ref()?;
        let mut axes = Vec::with_capacity(index.len());
        for (i, extent) in index.iter().zip(extents) {
            match forms.axis(*i, nest) {
                Some(a) if axes.contains(&Some(a)) => return None,
                Some(a) => axes.push(Some(a)),
                None if *extent == 0 && self.known.int(*i) == Some(0) => axes.push(None),
                None => return None,
            }
        }
        Some(axes)
    }

    /// Whether a value of a nest follows from what an atomic returned.
    fn from_atomic(&self, nest: &Nest, v: Val) -> bool {
        let mut tainted = Vec::new();
        for inst in &nest.body {
            let taints = matches!(inst.op, Op::Atomic { .. }) || inst.args.iter().any(|a| tainted.contains(a));
            tainted.extend(inst.result.filter(|_| taints));
        }
        tainted.contains(&v)
    }

    /// Plans until nothing is in the way.
    fn run(mut self, arch: Arch) -> Result<Plan, Error> {
        loop {
            let (nests, registers) = self.layouts();
            match self.misfit(&nests, &registers) {
                Some(b) => self.eligible[b.index()] = false,
                None => return self.homes(nests, registers, arch),
            }
        }
    }

    /// A layout for every nest and every eligible buffer.
    fn layouts(&self) -> (HashMap<usize, Layout>, HashMap<BufferId, Layout>) {
        let mut nests: HashMap<usize, Layout> = HashMap::new();
        let mut buffers: HashMap<BufferId, Layout> = HashMap::new();
        // Matrix instructions leave no choice.
        for (c, p) in &self.products {
            buffers.entry(c.acc).or_insert_with(|| p.result());
            if let (Mem::Buffer(b), Some(layout)) = (c.lhs.mem, self.left_layout(c, p)) {
                buffers.entry(b).or_insert(layout);
            }
        }
        buffers.retain(|b, _| self.eligible[b.index()]);
        while nests.len() < self.sites.len() {
            // The nest that is told the most by buffers with a layout; else the first without a layout.
            let open = self.sites.iter().filter(|s| !nests.contains_key(&address(s.nest)));
            let told = |s: &&Site<'_>| self.anchor(s, &buffers).map_or(0, |(_, l)| l.reg.len() + 1);
            let Some(site) = open.rev().max_by_key(told) else { break };
            let layout = match self.anchor(site, &buffers) {
                Some((axes, layout)) => self.lift(site, axes, layout),
                None => self.fresh(site),
            };
            for (b, axes) in site.touches.iter().filter(|(b, _)| self.eligible[b.index()]) {
                buffers.entry(*b).or_insert_with(|| layout.project(axes));
            }
            nests.insert(address(site.nest), layout);
        }
        (nests, buffers)
    }

    /// The largest buffer of a nest that has a layout.
    fn anchor<'s, 'b>(
        &self,
        site: &'s Site<'_>,
        buffers: &'b HashMap<BufferId, Layout>,
    ) -> Option<(&'s [Option<usize>], &'b Layout)> {
        // What a thread walks alone cannot be spread over threads, whatever a buffer says.
        let alone = |axes: &[Option<usize>]| axes.iter().flatten().any(|a| site.sequential(*a));
        let known = site.touches.iter().filter_map(|(b, axes)| Some((axes.as_slice(), buffers.get(b)?)));
        let known = known.filter(|(axes, _)| !alone(axes));
        known.max_by_key(|(axes, l)| (axes.iter().flatten().count(), l.reg.len()))
    }

    /// A layout of a nest that agrees with that of a buffer; other axes go where the buffer has copies.
    fn lift(&self, site: &Site<'_>, axes: &[Option<usize>], buffer: &Layout) -> Layout {
        let to = |b: Bit| Bit { axis: axes[usize::from(b.axis)].unwrap_or(0) as u8, ..b };
        let mut layout = Layout {
            reg: buffer.reg.iter().map(|b| to(*b)).collect(),
            lane: buffer.lane.map(|b| b.map(to)),
            warp: buffer.warp.iter().map(|b| b.map(to)).collect(),
        };
        let shape = Shape::of(self, site);
        let rest: Vec<usize> = shape.order.iter().copied().filter(|a| !axes.contains(&Some(*a))).collect();
        let mut bits = Vec::new();
        for &axis in &rest {
            bits.extend((0..shape.most[axis].min(12)).map(|bit| Bit::new(axis, bit)));
        }
        let vector = rest.first().filter(|a| **a == shape.order[0]).map_or(0, |_| shape.vector as usize);
        let mut bits = bits.into_iter().peekable();
        // Runs first, so that memory is read in vectors.
        let run: Vec<Bit> = bits.by_ref().take(vector).collect();
        layout.reg.insert_many(0, run);
        for place in layout.lane.iter_mut().chain(&mut layout.warp).filter(|p| p.is_none()) {
            *place = bits.next();
        }
        layout
    }

    /// A layout for a nest that nothing else decides about.
    fn fresh(&self, site: &Site<'_>) -> Layout {
        let shape = Shape::of(self, site);
        let threads = LANE_BITS as u32 + self.warps;
        let mut extents = vec![0; site.nest.axes.len()];
        let mut room = threads + shape.vector;
        for &axis in &shape.order {
            extents[axis] = shape.most[axis].min(room);
            room -= extents[axis];
        }
        // What must be whole because a buffer in registers is, and a few more elements for each thread.
        for (_, axes) in site.touches.iter().filter(|(b, _)| self.eligible[b.index()]) {
            for a in axes.iter().flatten() {
                extents[*a] = shape.most[*a];
            }
        }
        for &axis in &shape.order {
            let held = extents.iter().sum::<u32>().saturating_sub(threads);
            let more = AT_ONCE.saturating_sub(held).min(shape.most[axis].saturating_sub(extents[axis]));
            extents[axis] += if shape.sequential[axis] { 0 } else { more };
        }
        Layout::blocked(&extents, &shape.order, shape.vector, self.warps)
    }

    /// A buffer that cannot be in registers under these layouts.
    fn misfit(&self, nests: &HashMap<usize, Layout>, buffers: &HashMap<BufferId, Layout>) -> Option<BufferId> {
        for site in &self.sites {
            let layout = &nests[&address(site.nest)];
            for (b, axes) in site.touches.iter().filter(|(b, _)| self.eligible[b.index()]) {
                let whole = axes.iter().zip(self.extents[b.index()].as_ref()?).all(|(a, extent)| {
                    // A nest that walks an axis piece by piece would need registers by a number it computes.
                    a.is_none_or(|a| layout.extent(a) >= *extent)
                });
                let fits =
                    |home: &Layout| home.same_threads(&layout.project(axes)) && home.registers() <= MOST_REGISTERS;
                if !whole || !buffers.get(b).is_some_and(fits) {
                    return Some(*b);
                }
            }
        }
        for (c, p) in &self.products {
            let wrong = |b: BufferId, layout: &Layout| {
                self.eligible[b.index()]
                    && !self.is_scalar(b)
                    && !buffers.get(&b).is_some_and(|l| l.same_threads(layout))
            };
            if wrong(c.acc, &p.result()) {
                return Some(c.acc);
            }
            if let (Mem::Buffer(b), Some(layout)) = (c.lhs.mem, self.left_layout(c, p))
                && wrong(b, &layout)
            {
                return Some(b);
            }
        }
        None
    }

    fn homes(
        self,
        nests: HashMap<usize, Layout>,
        registers: HashMap<BufferId, Layout>,
        arch: Arch,
    ) -> Result<Plan, Error> {
        let exchange = self.exchange(&nests);
        // Exchanges between warps have the first bytes.
        // What warpgroups read begins at a multiple of 1024.
        let stage = exchange.next_multiple_of(1024);
        let in_registers =
            |o: &Operand| matches!(o.mem, Mem::Buffer(b) if self.eligible[b.index()] && registers.contains_key(&b));
        let feed = Feed::of(self.f, (self.known, self.facts), arch, &self.products, &in_registers, (self.warps, stage));
        let fed = feed.as_ref().map(Feed::bytes);
        let bytes = fed.or_else(|| self.products.iter().map(|(_, p)| p.bytes()).max());
        let shared = bytes.map_or(exchange, |b| stage + b);
        let products = self.products.iter().map(|(c, p)| (std::ptr::from_ref(*c) as usize, p.clone())).collect();
        let (warps, homes, dynamic) = (self.warps, Vec::new(), Vec::new());
        let turns = HashMap::new();
        let mut plan = Plan { warps, nests, products, stage, feed, turns, homes, dynamic, shared };
        for (k, buffer) in self.f.buffers.iter().enumerate() {
            let b = BufferId(k as u32);
            let size = |dims: &[Val]| {
                let bytes = buffer.dtype.size() as u64;
                dims.iter().try_fold(bytes, |n, d| n.checked_mul(self.known.int(*d)?.max(0) as u64))
            };
            let room = u64::from(arch.shared_bytes()).saturating_sub(u64::from(plan.shared));
            let home = if self.is_scalar(b) {
                Home::Scalar
            } else if let Some(layout) = registers.get(&b).filter(|_| self.eligible[k]) {
                Home::Registers(layout.clone())
            } else if let Some(bytes) = size(&buffer.dims).filter(|n| n.next_multiple_of(16) <= room) {
                let at = plan.shared;
                plan.shared += bytes.next_multiple_of(16) as u32;
                Home::Shared { at }
            } else {
                plan.dynamic.push(b);
                Home::Dynamic(plan.dynamic.len() - 1)
            };
            plan.homes.push(home);
        }
        if plan.shared > arch.shared_bytes() {
            return Err(Error::TooLarge(format!(
                "a program instance needs {} bytes of shared memory, {arch} has {}\n  help: smaller blocks need less",
                plan.shared,
                arch.shared_bytes()
            )));
        }
        plan.turns = turns::find(self.f, self.known, &plan);
        Ok(plan)
    }

    /// Bytes that reductions over several warps exchange at most.
    fn exchange(&self, nests: &HashMap<usize, Layout>) -> u32 {
        let bytes = |site: &Site<'_>| {
            let layout = &nests[&address(site.nest)];
            let first = site.nest.axes.len() - site.nest.reduce;
            let reduced = |b: &Bit| usize::from(b.axis) >= first;
            if site.nest.reduce == 0 || !layout.warp.iter().flatten().any(reduced) {
                return 0;
            }
            let sums = 1u32 << layout.reg.iter().filter(|b| !reduced(b)).count();
            let wide = site.nest.carries.iter().map(|c| self.f.dtype(c.param).size() as u32).max().unwrap_or(0);
            sums * wide * (32 << self.warps)
        };
        // One element for what atomics outside nests return.
        self.sites.iter().map(bytes).max().unwrap_or(0).max(16).next_multiple_of(16)
    }
}

/// What the layout of a nest depends on.
struct Shape {
    /// log2 of the most that each axis can be; large where nobody knows.
    most: Vec<u32>,
    /// Axes that a thread walks alone.
    sequential: Vec<bool>,
    /// Axes, the one along which memory runs first.
    order: Vec<usize>,
    /// log2 of the adjacent elements that a thread moves at once.
    vector: u32,
}

/// What stands for an extent that only launches know.
const UNKNOWN: u32 = 30;

impl Shape {
    fn of(planner: &Planner<'_>, site: &Site<'_>) -> Shape {
        let (nest, known) = (site.nest, planner.known);
        let first = nest.axes.len() - nest.reduce;
        let sequential: Vec<bool> = (0..nest.axes.len()).map(|a| site.sequential(a)).collect();
        let bound = |a: &helion_ir::loops::Axis| known.bound(a.extent, a.bound).map_or(UNKNOWN, log2_up);
        let most: Vec<u32> = nest.axes.iter().zip(&sequential).map(|(a, s)| if *s { 0 } else { bound(a) }).collect();
        let runs = Runs::of(planner, site);
        let fast =
            (0..nest.axes.len()).filter(|a| !sequential[*a] && most[*a] > 0).max_by_key(|a| (runs.bytes[*a], *a));
        let fast = fast.unwrap_or(nest.axes.len().saturating_sub(1));
        let mut order: Vec<usize> = Vec::new();
        if !nest.axes.is_empty() {
            order.push(fast);
        }
        // Rows side by side before the pieces of a sum, which cost an exchange.
        order.extend((0..first).rev().filter(|a| *a != fast));
        order.extend((first..nest.axes.len()).rev().filter(|a| *a != fast));
        let vector = if nest.axes.is_empty() { 0 } else { runs.vector(fast).min(most[fast]) };
        Shape { most, sequential, order, vector }
    }
}

/// Along which axes memory runs.
struct Runs {
    /// Bytes of elements that accesses walk one by one along an axis.
    bytes: Vec<usize>,
    /// The widest element among them.
    widest: Vec<usize>,
    /// Whether one of them is a tensor that is not aligned.
    rough: Vec<bool>,
}

impl Runs {
    fn of(planner: &Planner<'_>, site: &Site<'_>) -> Runs {
        let rank = site.nest.axes.len();
        let mut runs = Runs { bytes: vec![0; rank], widest: vec![0; rank], rough: vec![false; rank] };
        for inst in site.nest.body.iter().chain(&site.nest.finals) {
            let Some((mem, index)) = access(inst) else { continue };
            let Some(last) = index.last() else { continue };
            let Some(factors) = site.forms.of(*last).factors else { continue };
            let (unit, size, aligned) = match mem {
                Mem::Tensor(p) => match &planner.f.params[p.index()].kind {
                    ParamKind::Tensor { layout, dtype, .. } => {
                        let unit = !matches!(layout, Strides::Strided);
                        (unit, dtype.size(), planner.facts.is_aligned(p.index()))
                    }
                    ParamKind::Scalar { .. } => continue,
                },
                Mem::Buffer(b) if planner.eligible[b.index()] => continue,
                Mem::Buffer(b) => (true, planner.f.buffers[b.index()].dtype.size(), false),
            };
            for (axis, factor) in factors.iter().enumerate().filter(|(_, f)| **f == 1) {
                if unit {
                    let weight = if matches!(mem, Mem::Tensor(_)) { 4 } else { 1 };
                    runs.bytes[axis] += size * weight * *factor as usize;
                    if matches!(mem, Mem::Tensor(_)) {
                        runs.widest[axis] = runs.widest[axis].max(size);
                        runs.rough[axis] |= !aligned;
                    }
                }
            }
        }
        runs
    }

    /// log2 of the elements that fit in 16 bytes, where memory allows it.
    fn vector(&self, axis: usize) -> u32 {
        match self.widest[axis] {
            0 => 0,
            _ if self.rough[axis] => 0,
            size => (16 / size.min(16)).trailing_zeros(),
        }
    }
}
