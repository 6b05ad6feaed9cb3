//! Where a kernel can be split, and what each place depends on.
//!
//! In: a verified function. Out: its [`Point`]s, the reductions at the top of its body that can be split, each with
//! the stage that computes its parts: one after the last of those it depends on.
//!
//! A reduction is split when what it is computed from is cheap, since every part computes it again; when nothing it
//! reads has been stored before; and when its results have a place in memory for each program instance.

use super::along::{Along, follow};
use super::carried::carried;
use helion_ir::dtype::DType;
use helion_ir::tile::{Dim, Function, Inst, Op, ParamId, TileId, ValueId};
use helion_ir::{BinaryOp, eval};
use std::collections::{BTreeSet, HashMap};

/// A shorter axis is not worth a stage.
const SHORTEST: u64 = 256;

/// A reduction that can be split.
#[derive(Debug)]
pub struct Point {
    /// Which instruction of the body.
    pub at: usize,
    /// Which stage computes its parts.
    pub stage: usize,
    /// How.
    pub kind: Kind,
}

/// How a reduction is split.
#[derive(Debug)]
pub enum Kind {
    /// A tile loop: its range is. For each carried value how two parts combine; `None` where it does not change.
    Loop(Vec<Option<BinaryOp>>),
    /// A reduction or product along a whole axis: that axis is.
    Axis {
        /// How two parts combine.
        combine: BinaryOp,
        /// The axis.
        dim: Dim,
        /// What is computed part by part.
        along: Along,
        /// Element type of the parts.
        dtype: DType,
    },
}

/// The body of a function, with the instruction of each value at its top.
pub struct Body<'a> {
    /// The function.
    pub f: &'a Function,
    origin: HashMap<ValueId, usize>,
}

impl<'a> Body<'a> {
    /// Reads a function.
    pub fn new(f: &'a Function) -> Body<'a> {
        let made = |(at, inst): (usize, &'a Inst)| inst.results.iter().map(move |v| (*v, at));
        Body { f, origin: f.body.body.iter().enumerate().flat_map(made).collect() }
    }
    /// Position of the instruction that makes a value, if that is at the top of the body.
    pub fn position(&self, v: ValueId) -> Option<usize> {
        self.origin.get(&v).copied()
    }
    /// The instruction that makes a value, if that is at the top of the body.
    pub fn origin(&self, v: ValueId) -> Option<&'a Inst> {
        self.position(v).map(|at| &self.f.body.body[at])
    }
}

/// Every value that an instruction reads itself: operands, places, bounds of its loop.
pub fn reads<'a>(f: &'a Function, inst: &'a Inst) -> impl Iterator<Item = ValueId> + 'a {
    let tiles: &[TileId] = if let Op::For { tiles } = &inst.op { tiles } else { &[] };
    let bounds = tiles.iter().flat_map(|t| [f.tiles[t.index()].begin, f.tiles[t.index()].end]);
    inst.uses().chain(bounds)
}

/// Calls `visit` on an instruction and all inside it.
pub fn each(inst: &Inst, visit: &mut dyn FnMut(&Inst)) {
    visit(inst);
    inst.regions.iter().flat_map(|r| &r.body).for_each(|i| each(i, visit));
}

/// The values that an instruction and all inside it read, also those defined inside.
pub fn deep_reads(f: &Function, inst: &Inst) -> Vec<ValueId> {
    let mut all = Vec::new();
    each(inst, &mut |i| {
        all.extend(reads(f, i));
        all.extend(i.regions.iter().flat_map(|r| r.yields.iter().copied()));
    });
    all
}

/// Whether an instruction, or one inside it, does something besides giving values.
pub fn has_effect(inst: &Inst) -> bool {
    let mut found = false;
    each(inst, &mut |i| found |= matches!(i.op, Op::Store { .. } | Op::Atomic { .. } | Op::Print { .. }));
    found
}

/// Every reduction that can be split.
pub fn find(f: &Function) -> Vec<Point> {
    let body = Body::new(f);
    if f.grid().any(|t| range(f, t).is_none()) {
        return Vec::new();
    }
    let mut points: Vec<Point> = Vec::new();
    let mut stored = BTreeSet::new();
    for (at, inst) in f.body.body.iter().enumerate() {
        if let Some(kind) = kind(&body, inst)
            && let Some(stage) = stage(&body, at, &kind, &points, &stored)
        {
            points.push(Point { at, stage, kind });
        }
        each(inst, &mut |i| {
            if let Op::Store { tensor, .. } | Op::Atomic { tensor, .. } = &i.op {
                stored.insert(*tensor);
            }
        });
    }
    live(&body, points)
}

/// Those that the last stage uses, by itself or through others.
fn live(body: &Body<'_>, points: Vec<Point>) -> Vec<Point> {
    let mut needs = Needs::of_effects(body, &points);
    let mut seen = BTreeSet::new();
    while let Some(at) = needs.combined.difference(&seen).next().copied() {
        seen.insert(at);
        if let Some(p) = points.iter().find(|p| p.at == at) {
            needs.add_parts(body, p.at, &p.kind, &points, usize::MAX);
        }
    }
    points.into_iter().filter(|p| seen.contains(&p.at)).collect()
}

/// How an instruction could be split.
fn kind(body: &Body<'_>, inst: &Inst) -> Option<Kind> {
    let f = body.f;
    let placed = |v: &ValueId| f.ty(*v).shape.iter().all(|d| extent(f, *d).is_some());
    if has_effect(inst) || !inst.results.iter().all(placed) {
        return None;
    }
    if let Op::For { tiles } = &inst.op {
        return loop_kind(f, inst, *tiles.first()?);
    }
    let mut along = Along::new();
    let whole = f.ty(*inst.args.first()?);
    if let Op::Reduce { op, axis } = &inst.op {
        let (combine, axis) = (eval::reduce_combine(*op)?, *axis as usize);
        let dim = long(whole.shape[axis])?;
        follow(body, inst.args[0], axis, &mut along)?;
        return Some(Kind::Axis { combine, dim, along, dtype: summed(whole.dtype, combine) });
    }
    let Op::Dot { acc } = &inst.op else { return None };
    let (combine, rank) = (BinaryOp::Add, whole.rank());
    let dim = long(whole.shape[rank - 1])?;
    follow(body, inst.args[0], rank - 1, &mut along)?;
    follow(body, inst.args[1], rank - 2, &mut along)?;
    Some(Kind::Axis { combine, dim, along, dtype: summed(*acc, combine) })
}

/// How a loop could be split, whose first tile variable is `outer`.
fn loop_kind(f: &Function, inst: &Inst, outer: TileId) -> Option<Kind> {
    // The number of an iteration would count from the begin of its part.
    let mut counted = false;
    each(inst, &mut |i| {
        counted |= matches!(i.op, Op::TileOrdinal(t) | Op::TileCount(t) if t == outer);
    });
    let carried = carried(f, inst)?;
    (!counted && carried.iter().any(Option::is_some)).then_some(Kind::Loop(carried))
}

/// A whole axis that is worth splitting.
fn long(d: Dim) -> Option<Dim> {
    match d {
        Dim::Symbol(_) => Some(d),
        Dim::Const(n) if n >= SHORTEST => Some(d),
        Dim::Const(_) | Dim::Tile(_) | Dim::Expr(_) => None,
    }
}

/// The type in which parts of a sum or product are kept: 16-bit floats are rounded once, at the end.
fn summed(dtype: DType, combine: BinaryOp) -> DType {
    let narrow = dtype.is_float() && dtype.size() == 2;
    if narrow && matches!(combine, BinaryOp::Add | BinaryOp::Mul) { DType::F32 } else { dtype }
}

/// The stage that computes the parts of a reduction; `None` when what it needs cannot be computed again.
fn stage(body: &Body<'_>, at: usize, kind: &Kind, points: &[Point], stored: &BTreeSet<ParamId>) -> Option<usize> {
    let needs = Needs::of_parts(body, at, kind, points, usize::MAX);
    let insts = &body.f.body.body;
    let along: BTreeSet<usize> = match kind {
        Kind::Loop(_) => BTreeSet::new(),
        Kind::Axis { along, .. } => along.keys().filter_map(|v| body.position(*v)).collect(),
    };
    let mut fine = needs.plain.iter().all(|i| cheap(body.f, &insts[*i]));
    for i in needs.plain.iter().chain(&along).chain([&at]) {
        each(&insts[*i], &mut |i| fine &= !matches!(&i.op, Op::Load { tensor, .. } if stored.contains(tensor)));
    }
    let after = needs.combined.iter().filter_map(|i| points.iter().find(|p| p.at == *i)).map(|p| p.stage + 1);
    fine.then(|| after.max().unwrap_or(0))
}

/// Whether each part may compute an instruction again.
fn cheap(f: &Function, inst: &Inst) -> bool {
    match &inst.op {
        Op::Reduce { axis, .. } => long(f.ty(inst.args[0]).shape[*axis as usize]).is_none(),
        Op::Store { .. }
        | Op::Atomic { .. }
        | Op::Print { .. }
        | Op::For { .. }
        | Op::While
        | Op::If
        | Op::Dot { .. }
        | Op::Scan { .. }
        | Op::ScanWith { .. }
        | Op::ReduceWith { .. } => false,
        Op::Const(_)
        | Op::Extent(_)
        | Op::Scalar(_)
        | Op::TileBegin(_)
        | Op::TileEnd(_)
        | Op::TileOrdinal(_)
        | Op::TileCount(_)
        | Op::Iota(_)
        | Op::Load { .. }
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::Cast(_)
        | Op::Bitcast(_)
        | Op::Broadcast(_)
        | Op::Reshape(_)
        | Op::Permute(_)
        | Op::Slice { .. }
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::Random { .. } => true,
    }
}

/// Which instructions of the body a stage runs, by position.
#[derive(Debug, Default)]
pub struct Needs {
    /// Those it copies.
    pub plain: BTreeSet<usize>,
    /// Points whose parts it combines.
    pub combined: BTreeSet<usize>,
}

impl Needs {
    /// What the parts of a reduction need; points of stages from `stage` on are not combined.
    pub fn of_parts(body: &Body<'_>, at: usize, kind: &Kind, points: &[Point], stage: usize) -> Needs {
        let mut needs = Needs::default();
        needs.add_parts(body, at, kind, points, stage);
        needs
    }

    /// Adds what the parts of a reduction need.
    pub fn add_parts(&mut self, body: &Body<'_>, at: usize, kind: &Kind, points: &[Point], stage: usize) {
        let inst = &body.f.body.body[at];
        match kind {
            Kind::Loop(carried) => {
                let inside = inst.regions.iter().flat_map(|r| &r.body).flat_map(|i| deep_reads(body.f, i));
                let yields = inst.regions.iter().flat_map(|r| r.yields.iter().copied());
                let bounds = reads(body.f, inst).skip(inst.args.len());
                let kept = inst.args.iter().zip(carried).filter(|(_, op)| op.is_none()).map(|(v, _)| *v);
                let all: Vec<ValueId> = inside.chain(yields).chain(bounds).chain(kept).collect();
                all.into_iter().for_each(|v| self.add(body, v, points, stage));
            }
            Kind::Axis { along, .. } => {
                let followed = along.keys().filter_map(|v| body.origin(*v));
                let beside: Vec<ValueId> = followed.flat_map(|i| reads(body.f, i)).collect();
                let beside = beside.into_iter().filter(|v| !along.contains_key(v));
                beside.for_each(|v| self.add(body, v, points, stage));
            }
        }
    }

    /// What the instructions with effects need: those of the last stage.
    pub fn of_effects(body: &Body<'_>, points: &[Point]) -> Needs {
        let mut needs = Needs::default();
        for (at, inst) in body.f.body.body.iter().enumerate().filter(|(_, inst)| has_effect(inst)) {
            needs.plain.insert(at);
            deep_reads(body.f, inst).into_iter().for_each(|v| needs.add(body, v, points, usize::MAX));
        }
        needs
    }

    /// Adds a value and what it needs.
    fn add(&mut self, body: &Body<'_>, v: ValueId, points: &[Point], stage: usize) {
        let Some(at) = body.position(v) else { return };
        let inst = &body.f.body.body[at];
        let point = points.iter().find(|p| p.at == at && p.stage < stage);
        if !(if point.is_some() { &mut self.combined } else { &mut self.plain }).insert(at) {
            return;
        }
        let needed = match point.map(|p| &p.kind) {
            None => deep_reads(body.f, inst),
            Some(Kind::Loop(_)) => inst.args.clone(),
            Some(Kind::Axis { .. }) => Vec::new(),
        };
        needed.into_iter().for_each(|v| self.add(body, v, points, stage));
    }
}

/// The extent of a workspace along an axis of a value; `None` when it is not a size of the launch.
pub fn extent(f: &Function, d: Dim) -> Option<Dim> {
    match d {
        Dim::Const(_) | Dim::Symbol(_) => Some(d),
        Dim::Tile(t) => range(f, t),
        Dim::Expr(_) => None,
    }
}

/// The size up to which a grid variable counts, if that is a constant or a symbol and it begins at no less than 0.
pub fn range(f: &Function, t: TileId) -> Option<Dim> {
    let var = &f.tiles[t.index()];
    let header = |v: ValueId| f.header.iter().find(|i| i.results.contains(&v)).map(|i| &i.op);
    let plain = |op: &Op| if let Op::Extent(d @ (Dim::Const(_) | Dim::Symbol(_))) = op { Some(*d) } else { None };
    let size = |v: ValueId| {
        let op = header(v)?;
        if let Op::Const(c) = op { u64::try_from(c.to_i64()).ok().map(Dim::Const) } else { plain(op) }
    };
    size(var.begin)?;
    size(var.end).filter(|_| var.grid)
}
