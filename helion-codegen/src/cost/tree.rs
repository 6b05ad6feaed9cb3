//! A loop function as a tree of loops and leaves, with numbers for all extents.
//!
//! In: a function and sizes. Out: a [`Tree`]: the loops around each piece of work, what it reads and writes, and how
//! much there is to compute. Loops and leaves are numbered in the order they are met, so those inside a node are a
//! range.

use super::ops;
use super::values::{Known, Loop, LoopId, Terms, Trips, UNKNOWN, Values};
use helion_ir::config::{Knob, Slot};
use helion_ir::dtype::DType;
use helion_ir::loops::{Contract, Extent, Function, Inst, Mem, Nest, Op, Operand, ParamKind, ReduceOp, Stmt, Val};
use helion_ir::target::Target;
use helion_ir::tile::{Dim, Layout};
use smallvec::SmallVec;
use std::ops::Range;

/// How often a loop runs whose condition only the data knows.
const WHILE_TRIPS: f64 = 8.0;

/// Values of `pack`, `stream` and `stages`.
const AUTO: u64 = 0;
const BOTH: u64 = 1;
pub(super) const LEFT: u64 = 2;
const NEVER: u64 = 1;
const NONE_AHEAD: u64 = 1;

/// A loop, or work.
#[derive(Debug)]
pub(super) enum Node {
    /// A loop.
    Loop(LoopNode),
    /// A leaf, by position.
    Leaf(usize),
}

/// A loop around other nodes.
#[derive(Debug)]
pub(super) struct LoopNode {
    /// The loop itself, then those inside it.
    pub loops: Range<LoopId>,
    /// The leaves inside it.
    pub leaves: Range<usize>,
    /// What it repeats.
    pub body: Vec<Node>,
}

/// A piece of work.
#[derive(Debug)]
pub(super) struct Leaf {
    /// The loops around it, outermost first.
    pub around: SmallVec<[LoopId; 6]>,
    /// How often it runs in one iteration of the loops around it.
    pub weight: f64,
    /// Its own loops.
    pub loops: Range<LoopId>,
    /// What it reads and writes.
    pub accesses: Vec<Access>,
    /// What it computes.
    pub work: Work,
    /// Whether it reads first what a later leaf of the program instance reads again: then the later one fetches the
    /// next instance's part ahead.
    pub ahead: bool,
}

/// What a leaf computes.
#[derive(Debug)]
pub(super) enum Work {
    /// Cycles each time.
    Scalar(f64),
    /// A vector loop or scalar loops.
    Nest(NestWork),
    /// A matrix product.
    Contract(ContractWork),
}

/// The work of a nest.
#[derive(Debug)]
pub(super) struct NestWork {
    /// The loop that runs on lanes, if one can.
    pub lanes_of: Option<LoopId>,
    /// Elements of a step.
    pub lanes: f64,
    /// Vector instructions of a step, or cycles of a scalar iteration.
    pub step: f64,
    /// Vector loads and stores of a step.
    pub loads: f64,
    /// See `loads`.
    pub stores: f64,
    /// Instructions around each run of the vector loop.
    pub start: f64,
    /// Whether it folds values.
    pub folds: bool,
}

/// The work of a matrix product.
#[derive(Debug)]
pub(super) struct ContractWork {
    /// Loops: rows, columns, summed.
    pub m: LoopId,
    /// See `m`.
    pub n: LoopId,
    /// See `m`.
    pub k: LoopId,
    /// Element type of the accumulator.
    pub dtype: DType,
    /// Whether rows of the left operand must be transposed to be packed, and columns of the right one.
    pub transposed: [bool; 2],
    /// Whether operands are converted.
    pub converted: [bool; 2],
    /// Products that the matrix unit makes in a cycle, where it takes these operands.
    pub matrix: Option<f64>,
    /// Register tile: rows, vectors.
    pub micro: Option<(u32, u32)>,
    /// The largest number of rows.
    pub rows: Option<u64>,
    /// Whether the right operand is read where it lies; by the number of rows, where that is not pinned.
    pub in_place: Option<bool>,
    /// Steps of `k`, and columns, that are packed at once, where pinned.
    pub blocks: [Option<u64>; 2],
    /// Whether the right operand is too large to stay in the last cache.
    pub far: bool,
}

/// A read or write of one element, or of a window by the loops of a product.
#[derive(Debug)]
pub(super) struct Access {
    /// Where.
    pub mem: Mem,
    /// Whether it writes.
    pub write: bool,
    /// Bytes of an element.
    pub size: f64,
    /// Each axis, outermost first.
    pub axes: SmallVec<[Span; 3]>,
    /// Whether elements along the last axis are neighbours.
    pub unit: bool,
    /// Whether the launch writes all of it and never reads it: large ones are stored around the caches.
    pub stream: bool,
}

/// How an access moves along one axis.
#[derive(Debug)]
pub(super) struct Span {
    /// Extent of the memory.
    pub dim: f64,
    /// The loops it depends on.
    pub terms: Terms,
}

/// A function in numbers.
#[derive(Debug)]
pub(super) struct Tree {
    /// Every loop.
    pub loops: Vec<Loop>,
    /// The grid's loops come first: how many.
    pub grid: usize,
    /// What one program instance does.
    pub body: Vec<Node>,
    /// All work.
    pub leaves: Vec<Leaf>,
}

impl Tree {
    /// Builds the tree.
    pub(super) fn new(f: &Function, sizes: &[u64], target: &Target) -> Tree {
        let mut b = Build {
            f,
            target,
            values: Values::new(f, sizes),
            around: SmallVec::new(),
            weight: 1.0,
            leaves: Vec::new(),
        };
        for axis in &f.grid {
            let count = b.values.of(axis.count);
            let id = b.values.count(axis.index, &count.trips(1.0));
            b.around.push(id);
        }
        let body = b.list(&f.body);
        b.mark_streams();
        b.mark_ahead();
        Tree { loops: b.values.loops, grid: f.grid.len(), body, leaves: b.leaves }
    }
}

struct Build<'a> {
    f: &'a Function,
    target: &'a Target,
    values: Values<'a>,
    around: SmallVec<[LoopId; 6]>,
    weight: f64,
    leaves: Vec<Leaf>,
}

impl Build<'_> {
    /// Finds the tensors that are written in vector loops and never read.
    fn mark_streams(&mut self) {
        if self.pinned(Knob::Stream) == Some(NEVER) {
            return;
        }
        let mut read: SmallVec<[Mem; 8]> = SmallVec::new();
        for leaf in &self.leaves {
            let slow = !matches!(&leaf.work, Work::Nest(n) if n.lanes_of.is_some());
            read.extend(leaf.accesses.iter().filter(|a| slow || !a.write).map(|a| a.mem));
        }
        for a in self.leaves.iter_mut().flat_map(|l| &mut l.accesses) {
            a.stream = matches!(a.mem, Mem::Tensor(_)) && !read.contains(&a.mem);
        }
    }

    /// Finds the leaves whose data may be fetched ahead.
    fn mark_ahead(&mut self) {
        if self.pinned(Knob::Stages) == Some(NONE_AHEAD) {
            return;
        }
        let grid = self.f.grid.len();
        let reads =
            |leaf: &Leaf, mem: Mem| leaf.around.len() == grid && leaf.accesses.iter().any(|a| !a.write && a.mem == mem);
        for i in 0..self.leaves.len() {
            let (before, rest) = self.leaves.split_at(i);
            let Some((leaf, after)) = rest.split_first() else { continue };
            let mut tensors = leaf.accesses.iter().map(|a| a.mem).filter(|m| matches!(m, Mem::Tensor(_)));
            let ahead = tensors
                .any(|m| reads(leaf, m) && after.iter().any(|l| reads(l, m)) && !before.iter().any(|l| reads(l, m)));
            self.leaves[i].ahead = ahead;
        }
    }

    /// What is left of the config for the backend.
    fn pinned(&self, knob: Knob) -> Option<u64> {
        self.f.config.get(&Slot::kernel(knob))
    }

    fn list(&mut self, list: &[Stmt]) -> Vec<Node> {
        let mut out = Vec::with_capacity(list.len());
        for s in list {
            self.stmt(s, &mut out);
        }
        out
    }

    fn stmt(&mut self, s: &Stmt, out: &mut Vec<Node>) {
        match s {
            Stmt::Inst(inst) => {
                self.values.inst(inst);
                let first = self.next_loop();
                let mut accesses = Vec::new();
                self.access(inst, &mut accesses);
                // Index arithmetic between loops is next to nothing.
                if !accesses.is_empty() {
                    out.push(self.leaf(first, accesses, Work::Scalar(ops::scalar(self.f, inst))));
                }
            }
            Stmt::For { var, begin, end, step, body } => {
                let (begin, step) = (self.values.of(*begin), self.values.of(*step).at[0].max(1.0));
                let span = self.difference(&begin, &self.values.of(*end));
                let id = self.values.enter(*var, &begin, step, &loop_trips(&span, step));
                let node = self.repeat(id, |s| s.list(body));
                if begin.guess
                    && let Node::Loop(l) = &node
                {
                    self.guess(id, &begin, step, l.leaves.clone());
                }
                out.push(node);
            }
            Stmt::While { cond, body, .. } => {
                let id = self.values.repeat(&Trips { mean: WHILE_TRIPS, most: WHILE_TRIPS, guess: true }, 1.0);
                out.push(self.repeat(id, |s| {
                    let mut all = s.list(cond);
                    all.extend(s.list(body));
                    all
                }));
            }
            Stmt::If { then, other, .. } => {
                let outer = self.weight;
                if !other.is_empty() {
                    self.weight = outer / 2.0;
                }
                for s in then.iter().chain(other) {
                    self.stmt(s, out);
                }
                self.weight = outer;
            }
            Stmt::Nest(n) => {
                let leaf = self.nest(n);
                out.push(leaf);
            }
            Stmt::Contract(c) => {
                let leaf = self.contract(c);
                out.push(leaf);
            }
        }
    }

    fn next_loop(&self) -> LoopId {
        self.values.loops.len() as LoopId
    }

    /// How many indices lie between; a guess where only the data knows.
    fn difference(&self, begin: &Known, end: &Known) -> Known {
        let guess = begin.guess || end.guess;
        let at = std::array::from_fn(|i| {
            let d = end.at[i] - begin.at[i];
            if guess && d <= 0.0 { UNKNOWN } else { d.max(0.0) }
        });
        Known { at, trips: begin.trips.max(end.trips), above: None, terms: Terms::new(), guess }
    }

    fn repeat(&mut self, id: LoopId, body: impl FnOnce(&mut Self) -> Vec<Node>) -> Node {
        let first_leaf = self.leaves.len();
        self.around.push(id);
        let body = body(self);
        self.around.pop();
        Node::Loop(LoopNode { loops: id..self.next_loop(), leaves: first_leaf..self.leaves.len(), body })
    }

    /// A better guess for a loop whose bounds are data: its pieces make up an axis that it walks along.
    fn guess(&mut self, id: LoopId, begin: &Known, step: f64, leaves: Range<usize>) {
        let spans = self.leaves[leaves].iter().flat_map(|l| &l.accesses).flat_map(|a| &a.axes);
        let axis = spans.into_iter().find(|s| s.terms.iter().any(|(l, c)| *l == id && !c.is_nan()));
        let Some(dim) = axis.map(|s| s.dim) else { return };
        let pieces: f64 = begin.terms.iter().map(|(l, _)| self.values.loops[*l as usize].mean.max(1.0)).product();
        let each = dim / pieces.max(1.0);
        let trips = each / step;
        self.values.loops[id as usize] = Loop { mean: trips, most: trips.ceil(), span: each, guess: true };
    }

    fn leaf(&mut self, first: LoopId, accesses: Vec<Access>, work: Work) -> Node {
        let loops = first..self.next_loop();
        self.leaves.push(Leaf {
            around: self.around.clone(),
            weight: self.weight,
            loops,
            accesses,
            work,
            ahead: false,
        });
        Node::Leaf(self.leaves.len() - 1)
    }

    /// The access of a load, store or atomic operation.
    fn access(&self, inst: &Inst, out: &mut Vec<Access>) {
        let Some((mem, index, write)) = place(inst) else { return };
        let Some((size, dims, unit)) = self.memory(mem) else { return };
        let axes = index.iter().zip(&dims).map(|(v, dim)| {
            let terms = self.values.of(*v).terms;
            Span { dim: *dim, terms }
        });
        out.push(Access { mem, write, size, axes: axes.collect(), unit, stream: false });
    }

    /// Bytes of an element, extents, and whether the last axis is dense; `None` for a scalar.
    fn memory(&self, mem: Mem) -> Option<(f64, SmallVec<[f64; 4]>, bool)> {
        match mem {
            Mem::Tensor(p) => match &self.f.params.get(p.index())?.kind {
                ParamKind::Tensor { dtype, dims, layout, .. } => {
                    let dims = (0..dims.len()).map(|axis| self.values.dim(p, axis)).collect();
                    Some((dtype.size() as f64, dims, *layout != Layout::Strided))
                }
                ParamKind::Scalar { .. } => None,
            },
            Mem::Buffer(b) => {
                let b = self.f.buffers.get(b.index())?;
                let dims = b.dims.iter().map(|d| self.values.of(*d).most()).collect();
                (!b.dims.is_empty()).then_some((b.dtype.size() as f64, dims, true))
            }
        }
    }

    fn nest(&mut self, n: &Nest) -> Node {
        let first = self.next_loop();
        let mut axes: SmallVec<[LoopId; 4]> = SmallVec::new();
        for a in &n.axes {
            axes.push(self.values.count(a.var, &self.extent(a.extent, a.bound)));
        }
        let reduced: Terms = axes[n.axes.len() - n.reduce..].iter().map(|l| (*l, 1.0)).collect();
        for c in &n.carries {
            self.values.set(c.param, Known::opaque(reduced.clone()));
        }
        let mut accesses = Vec::new();
        for inst in n.body.iter().chain(&n.finals) {
            self.values.inst(inst);
            self.access(inst, &mut accesses);
        }
        let work = self.nest_work(n, &axes);
        self.leaf(first, accesses, Work::Nest(work))
    }

    /// Iterations of an axis: not rounded, so that the mean of full blocks and a cut one stays exact.
    fn extent(&self, v: Val, bound: Option<u64>) -> Trips {
        let k = self.values.of(v);
        let k = Known { at: k.at.map(|n| n.max(0.0)), ..k };
        let bound = bound.map_or(f64::INFINITY, |b| b as f64);
        Trips { mean: k.mean().min(bound), most: k.most().min(bound), guess: k.guess }
    }

    fn nest_work(&self, n: &Nest, axes: &[LoopId]) -> NestWork {
        let last = if n.reduce > 0 { axes.len() - 1 } else { 0 };
        let folds = n.carries.iter().any(|c| c.next != c.param);
        let finals: f64 = n.finals.iter().map(|i| ops::scalar(self.f, i)).sum();
        for axis in (last..axes.len()).rev() {
            if let Some(mut w) = self.along(n, axes[axis]) {
                w.start += finals + if folds { 20.0 } else { 0.0 };
                w.folds = folds;
                return w;
            }
        }
        let mut step: f64 = n.body.iter().map(|i| ops::scalar(self.f, i)).sum();
        if folds {
            // Steps wait for each other.
            step += 4.0;
        }
        NestWork { lanes_of: None, lanes: 1.0, step: step + 1.0, loads: 0.0, stores: 0.0, start: finals, folds }
    }

    /// The nest with one axis on lanes; `None` where vectors cannot do that.
    fn along(&self, n: &Nest, axis: LoopId) -> Option<NestWork> {
        let mut w =
            NestWork { lanes_of: Some(axis), lanes: 1.0, step: 0.0, loads: 0.0, stores: 0.0, start: 0.0, folds: false };
        let mut widest = 4;
        for c in n.carries.iter().filter(|c| c.next != c.param) {
            let op = c.op?;
            if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) {
                return None;
            }
            widest = widest.max(self.f.dtype(c.param).size());
            w.step += if matches!(op, ReduceOp::Max | ReduceOp::Min) { 1.0 } else { 0.0 };
        }
        for inst in &n.body {
            let varies = match inst.result {
                Some(v) => self.values.get(v).is_some_and(|k| k.along(axis).is_some()),
                None => true,
            };
            if !varies {
                w.start += ops::scalar(self.f, inst);
                continue;
            }
            let steady = inst.result.and_then(|v| self.values.get(v)).is_some_and(Known::is_linear);
            if steady && place(inst).is_none() {
                // An index, known from where the loop begins.
                w.start += 1.0;
                continue;
            }
            w.step += ops::vector(self.f, inst)?;
            if let Some((mem, index, write)) = place(inst) {
                self.is_unit(mem, index, axis)?.then_some(())?;
                w.start += 3.0;
                *(if write { &mut w.stores } else { &mut w.loads }) += 1.0;
            }
            widest = widest.max(inst.result.map_or(0, |v| self.f.dtype(v).size()));
        }
        w.lanes = (f64::from(self.target.vector_bytes) / widest as f64).max(1.0);
        Some(w)
    }

    /// Whether an access moves by one element along a loop; `None` when where it goes is not known.
    fn is_unit(&self, mem: Mem, index: &[Val], axis: LoopId) -> Option<bool> {
        let fixed: SmallVec<[Option<f64>; 4]> = match mem {
            Mem::Tensor(p) => match &self.f.params.get(p.index())?.kind {
                ParamKind::Tensor { dims, layout: Layout::Contiguous, .. } => {
                    dims.iter().map(|d| if let Dim::Const(n) = d { Some(*n as f64) } else { None }).collect()
                }
                ParamKind::Tensor { dims, layout: Layout::LastUnit, .. } => dims.iter().map(|_| None).collect(),
                ParamKind::Tensor { .. } | ParamKind::Scalar { .. } => return None,
            },
            Mem::Buffer(b) => {
                let dims = &self.f.buffers.get(b.index())?.dims;
                dims.iter().map(|d| self.values.get(*d).filter(|k| k.is_linear()).map(|k| k.at[0])).collect()
            }
        };
        let (mut stride, mut total) = (Some(1.0), 0.0);
        for (v, dim) in index.iter().zip(&fixed).rev() {
            if let Some(k) = self.values.get(*v)
                && let Some(c) = k.along(axis)
            {
                if c.is_nan() {
                    return None;
                }
                total += c * stride?;
            }
            stride = stride.and_then(|s| Some(s * (*dim)?));
        }
        Some(total == 1.0)
    }

    fn contract(&mut self, c: &Contract) -> Node {
        let first = self.next_loop();
        let mut enter = |e: &Extent| self.values.repeat(&self.extent(e.extent, e.bound), 1.0);
        let batch: SmallVec<[LoopId; 2]> = c.batch.iter().map(&mut enter).collect();
        let (m, n, k) = (enter(&c.m), enter(&c.n), enter(&c.k));
        let (lhs, rhs) = (self.window(&c.lhs, &batch, m, k), self.window(&c.rhs, &batch, k, n));
        let mut accesses: Vec<Access> = [lhs, rhs].into_iter().flatten().collect();
        let dtype = self.f.buffers.get(c.acc.index()).map_or(DType::F32, |b| b.dtype);
        if let Some((size, dims, unit)) = self.memory(Mem::Buffer(c.acc)) {
            let walk = batch.iter().chain([&m, &n]);
            let axes = walk.zip(&dims).map(|(l, dim)| Span { dim: *dim, terms: std::iter::once((*l, 1.0)).collect() });
            accesses.push(Access {
                mem: Mem::Buffer(c.acc),
                write: true,
                size,
                axes: axes.collect(),
                unit,
                stream: false,
            });
        }
        let dtype_of = |mem: Mem| self.f.memory_dtype(mem).unwrap_or(dtype);
        let rank = |mem: Mem| self.memory(mem).map_or(0, |(_, dims, _)| dims.len() as u32);
        let last = |o: &Operand, axis: Option<u32>| axis.is_some_and(|a| a + 1 == rank(o.mem));
        let pinned = |knob| self.pinned(knob).map(|v| v as u32);
        let work = ContractWork {
            m,
            n,
            k,
            dtype,
            transposed: [last(&c.lhs, c.lhs.col), last(&c.rhs, c.rhs.row)],
            converted: [dtype_of(c.lhs.mem) != dtype, dtype_of(c.rhs.mem) != dtype],
            matrix: on_matrix_unit([dtype_of(c.lhs.mem), dtype_of(c.rhs.mem)], self.target),
            micro: pinned(Knob::MicroRows).zip(pinned(Knob::MicroVectors)),
            rows: c.m.bound,
            in_place: self.pinned(Knob::Pack).filter(|pack| *pack != AUTO).map(|pack| pack != BOTH),
            blocks: [Knob::Kc, Knob::Nc].map(|knob| self.pinned(knob)),
            far: self
                .memory(c.rhs.mem)
                .is_some_and(|(size, dims, _)| size * dims.iter().product::<f64>() > self.target.l3_bytes as f64 / FAR),
        };
        self.leaf(first, accesses, Work::Contract(work))
    }

    /// The part of an operand that a product reads.
    fn window(&self, o: &Operand, batch: &[LoopId], row: LoopId, col: LoopId) -> Option<Access> {
        let (size, dims, unit) = self.memory(o.mem)?;
        let mut axes: SmallVec<[Span; 3]> = SmallVec::new();
        for (v, dim) in o.origin.iter().zip(&dims) {
            axes.push(Span { dim: *dim, terms: self.values.of(*v).terms });
        }
        let walks = o.batch.iter().copied().zip(batch.iter().copied()).chain([(o.row, row), (o.col, col)]);
        for (axis, l) in walks {
            if let Some(span) = axis.and_then(|a| axes.get_mut(a as usize)) {
                span.terms.push((l, 1.0));
            }
        }
        Some(Access { mem: o.mem, write: false, size, axes, unit, stream: false })
    }
}

/// What is larger than this part of the last cache is not there when it is needed again.
const FAR: f64 = 4.0;

/// Products in a cycle of the matrix unit, if the target has one for these operands: 8-bit integers go twice as fast.
fn on_matrix_unit(operands: [DType; 2], target: &Target) -> Option<f64> {
    let ops = Some(f64::from(target.speed.matrix_ops)).filter(|ops| *ops > 0.0)?;
    let all = |these: &[DType]| operands.iter().all(|d| these.contains(d));
    match () {
        () if all(&[DType::BF16]) => Some(ops),
        () if all(&[DType::I8, DType::U8]) => Some(2.0 * ops),
        () => None,
    }
}

/// Iterations of a loop over `span` indices. Where that varies, as below a diagonal, a cut last block is on average not
/// what it is at the end; then parts of iterations count.
fn loop_trips(span: &Known, step: f64) -> Trips {
    let trips = span.trips(step);
    let even = span.at.iter().all(|n| *n == span.at[0]);
    Trips { mean: if even { trips.mean } else { (span.mean() / step).max(1.0).min(trips.most) }, ..trips }
}

/// The memory, the indices, and whether it is written.
fn place(inst: &Inst) -> Option<(Mem, &[Val], bool)> {
    let masked = |masked: bool, n: usize| if masked { n } else { 0 };
    let (mem, skip, tail, write) = if let Op::Load { mem, masked: m } = &inst.op {
        (*mem, 0, masked(*m, 2), false)
    } else if let Op::Store { mem, masked: m } = &inst.op {
        (*mem, 1, masked(*m, 1), true)
    } else if let Op::Atomic { op, mem, masked: m } = &inst.op {
        let skip = if *op == helion_ir::loops::AtomicOp::CompareSwap { 2 } else { 1 };
        (*mem, skip, masked(*m, 1), true)
    } else {
        return None;
    };
    let end = inst.args.len().checked_sub(tail)?;
    Some((mem, inst.args.get(skip..end)?, write))
}
