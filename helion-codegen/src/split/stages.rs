//! Builds the stages of a split kernel.
//!
//! In: a function, its points, the number of parts, block sizes. Out: verified functions and the workspaces between
//! them. Every stage has the grid of the kernel; all but the last have a variable `part` before it, and part `p` of a
//! range of `n` indices is its `p`-th piece of `ceil(n / (parts * block)) * block` indices, so a block of a loop
//! belongs to one part.

use super::carried::neutral;
use super::copy::Copy;
use super::points::{Body, Kind, Needs, Point, extent, range};
use super::{Split, Workspace, along};
use helion_ir::BinaryOp;
use helion_ir::diag::{self, Loc};
use helion_ir::dtype::{DType, Literal};
use helion_ir::tile::{self, Dim, Function, Index, Inst, Layout, Op, ParamId, TileId, Type, ValueId};
use std::collections::BTreeMap;

/// Blocks of a whole axis are this long at least, so that parts begin where vectors do.
const WHOLE_BLOCK: u64 = 64;

/// A result of a point that is handed on.
#[derive(Clone, Debug)]
struct Slot {
    /// The point's position in the body, and which of its results.
    at: usize,
    result: usize,
    combine: BinaryOp,
    dtype: DType,
    /// Grid variables that are not axes of the value: the workspace has an axis for each.
    beside: Vec<TileId>,
}

/// Builds all stages.
pub fn build(f: &Function, points: &[Point], parts: u64, block: &dyn Fn(TileId) -> u64) -> Result<Split, String> {
    let body = Body::new(f);
    let slots: Vec<Slot> = points.iter().flat_map(|p| slots_of(f, p)).collect();
    let mut part_name = "part".to_owned();
    while f.tiles.iter().any(|t| t.name == part_name) {
        part_name.push('\'');
    }
    let plan = Plan { f, body, points, slots, parts, block, part_name };
    let last = points.iter().map(|p| p.stage + 1).max().unwrap_or(0);
    let stages = (0..=last).map(|n| plan.stage(n, n == last)).collect::<Result<Vec<_>, String>>()?;
    let workspaces = plan.slots.iter().map(|s| plan.workspace(s)).collect();
    Ok(Split { stages, workspaces })
}

/// What a point hands on.
fn slots_of(f: &Function, p: &Point) -> Vec<Slot> {
    let inst = &f.body.body[p.at];
    let slot = |result: usize, combine, dtype| {
        let shape = &f.ty(inst.results[result]).shape;
        let beside = f.grid().filter(|t| !shape.contains(&Dim::Tile(*t))).collect();
        Slot { at: p.at, result, combine, dtype, beside }
    };
    match &p.kind {
        Kind::Loop(carried) => {
            let changed = carried.iter().enumerate().filter_map(|(k, op)| op.map(|op| (k, op)));
            changed.map(|(k, op)| slot(k, op, f.ty(inst.results[k]).dtype)).collect()
        }
        Kind::Axis { combine, dtype, .. } => vec![slot(0, *combine, *dtype)],
    }
}

struct Plan<'a> {
    f: &'a Function,
    body: Body<'a>,
    points: &'a [Point],
    slots: Vec<Slot>,
    parts: u64,
    block: &'a dyn Fn(TileId) -> u64,
    /// What the variable of the parts is called: as none of the kernel's own, whose names configs mention.
    part_name: String,
}

/// A stage under construction.
struct Stage<'a> {
    plan: &'a Plan<'a>,
    copy: Copy<'a>,
    /// The variable of the parts; the last stage has none.
    part: Option<TileId>,
    /// The parameters of the workspaces.
    params: Vec<ParamId>,
}

impl<'a> Plan<'a> {
    fn point(&self, at: usize) -> Option<&'a Point> {
        self.points.iter().find(|p| p.at == at)
    }

    fn workspace(&self, slot: &Slot) -> Workspace {
        let f = self.f;
        let shape = &f.ty(f.body.body[slot.at].results[slot.result]).shape;
        let beside = slot.beside.iter().filter_map(|t| range(f, *t));
        let own = shape.iter().filter_map(|d| extent(f, *d));
        Workspace { dtype: slot.dtype, dims: [Dim::Const(self.parts)].into_iter().chain(beside).chain(own).collect() }
    }

    fn stage(&'a self, n: usize, last: bool) -> Result<tile::Verified, String> {
        let name = format!("{}.{}", self.f.name, n + 1);
        let mut s = Stage { plan: self, copy: Copy::new(self.f, &name), part: None, params: Vec::new() };
        if !last {
            let (begin, end) = (s.int(0), s.int(self.parts as i64));
            s.part = Some(s.copy.b.grid_tile(&self.part_name, begin, end, true, Loc::UNKNOWN));
        }
        s.copy.grid();
        for (k, slot) in self.slots.iter().enumerate() {
            let filled = self.point(slot.at).is_some_and(|p| p.stage == n);
            let w = self.workspace(slot);
            let name = format!("part.{k}");
            let param = s.copy.b.tensor(&name, w.dtype, w.dims, filled && !last, Layout::Contiguous, Loc::UNKNOWN);
            s.params.push(param);
        }
        s.copy.b.begin_body();
        s.body(n, last);
        let made = s.copy.b.finish().and_then(tile::verify);
        made.map_err(|e| format!("splitting made a malformed stage: {}", diag::render(&e)))
    }

    /// What a stage runs.
    fn needs(&self, n: usize, last: bool) -> Needs {
        if last {
            return Needs::of_effects(&self.body, self.points);
        }
        let mut needs = Needs::default();
        for p in self.points.iter().filter(|p| p.stage == n) {
            needs.add_parts(&self.body, p.at, &p.kind, self.points, n);
        }
        needs
    }
}

impl<'a> Stage<'a> {
    fn body(&mut self, n: usize, last: bool) {
        let plan = self.plan;
        let needs = plan.needs(n, last);
        for (at, inst) in plan.f.body.body.iter().enumerate() {
            if needs.combined.contains(&at) {
                self.combine(at, inst);
            } else if needs.plain.contains(&at) {
                self.copy.inst(inst);
            }
            // The parts come where the reduction was: what they need is there.
            if let Some(p) = plan.point(at).filter(|p| p.stage == n && !last) {
                self.parts(p, inst);
            }
        }
    }

    fn one(&mut self, op: Op, args: &[ValueId], at: Loc) -> ValueId {
        self.copy.b.one(op, args, at)
    }

    fn int(&mut self, v: i64) -> ValueId {
        self.one(Op::Const(Literal::from_i64(DType::I64, v)), &[], Loc::UNKNOWN)
    }

    fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.one(Op::Binary(op), &[a, b], Loc::UNKNOWN)
    }

    /// A tile of the neutral element.
    fn neutral(&mut self, op: BinaryOp, ty: &Type, at: Loc) -> ValueId {
        let literal = neutral(op, ty.dtype).unwrap_or(Literal::from_bits(ty.dtype, 0));
        let one = self.one(Op::Const(literal), &[], at);
        if ty.rank() == 0 { one } else { self.one(Op::Broadcast(ty.shape.clone()), &[one], at) }
    }

    /// The slots of a point, with the numbers of their workspaces.
    fn slots(&self, at: usize) -> Vec<(usize, Slot)> {
        self.plan.slots.iter().cloned().enumerate().filter(|(_, s)| s.at == at).collect()
    }

    /// Where a part of a slot is.
    fn place(&mut self, slot: &Slot, part: TileId, at: Loc) -> Vec<Index> {
        let f = self.plan.f;
        let mut index = vec![Index::Scalar(self.one(Op::TileBegin(part), &[], at))];
        for t in &slot.beside {
            let t = self.copy.tile_of(*t);
            index.push(Index::Scalar(self.one(Op::TileBegin(t), &[], at)));
        }
        let shape = &f.ty(f.body.body[slot.at].results[slot.result]).shape;
        index.extend(shape.iter().map(|d| match d {
            Dim::Tile(t) => Index::Tile(self.copy.tile_of(*t), None),
            Dim::Const(_) | Dim::Symbol(_) | Dim::Expr(_) => Index::Full,
        }));
        index
    }

    /// The type in which a slot is kept.
    fn kept(&mut self, slot: &Slot) -> Type {
        let f = self.plan.f;
        let ty = self.copy.type_of(f.body.body[slot.at].results[slot.result]);
        Type { dtype: slot.dtype, ..ty }
    }

    /// Stores the parts of a point.
    fn store(&mut self, at: usize, values: &[ValueId], loc: Loc) {
        let Some(part) = self.part else { return };
        for ((k, slot), v) in self.slots(at).into_iter().zip(values) {
            let index = self.place(&slot, part, loc);
            self.copy.b.push(Op::Store { tensor: self.params[k], index }, &[*v], loc);
        }
    }

    /// Computes and stores the parts of a point.
    fn parts(&mut self, p: &'a Point, inst: &'a Inst) {
        match &p.kind {
            Kind::Loop(carried) => self.loop_parts(p.at, inst, carried),
            Kind::Axis { combine, dim, along, dtype } => self.axis_parts(p.at, inst, *combine, *dim, along, *dtype),
        }
    }

    fn loop_parts(&mut self, at: usize, inst: &'a Inst, carried: &[Option<BinaryOp>]) {
        let Op::For { tiles } = &inst.op else { return };
        let f = self.plan.f;
        for (k, t) in tiles.iter().enumerate() {
            let var = &f.tiles[t.index()];
            let (mut begin, mut end) = (self.copy.get(var.begin), self.copy.get(var.end));
            if k == 0 {
                let block = if var.unit { 1 } else { (self.plan.block)(*t) };
                (begin, end) = self.piece(begin, end, block);
            }
            self.copy.loop_tile(*t, begin, end);
        }
        let mut init = Vec::new();
        for (v, op) in inst.args.iter().zip(carried) {
            init.push(match op {
                Some(op) => {
                    let ty = self.copy.type_of(*v);
                    self.neutral(*op, &ty, inst.at)
                }
                None => self.copy.get(*v),
            });
        }
        self.copy.inst_with(inst, &init);
        let changed = inst.results.iter().zip(carried).filter(|(_, op)| op.is_some());
        let values: Vec<ValueId> = changed.map(|(v, _)| self.copy.get(*v)).collect();
        self.store(at, &values, inst.at);
    }

    fn axis_parts(
        &mut self,
        at: usize,
        inst: &'a Inst,
        combine: BinaryOp,
        dim: Dim,
        followed: &along::Along,
        dtype: DType,
    ) {
        let (begin, end) = (self.int(0), self.one(Op::Extent(dim), &[], inst.at));
        let (begin, end) = self.piece(begin, end, WHOLE_BLOCK);
        let axis = self.copy.b.loop_tile("along", begin, end, false, inst.at);
        let ty = self.copy.type_of(inst.results[0]);
        let ty = Type { dtype, ..ty };
        let init = self.neutral(combine, &ty, inst.at);
        let params = self.copy.b.open_region(&[ty], inst.at);
        let positions = followed.iter().filter_map(|(v, axis)| Some((self.plan.body.position(*v)?, *axis)));
        let order: BTreeMap<usize, usize> = positions.collect();
        let whole = self.copy.places();
        for (i, along) in order {
            self.narrowed(&self.plan.f.body.body[i], along, axis);
        }
        let part = self.reduced(inst, dtype);
        let sum = self.binary(combine, params[0], part);
        let region = self.copy.b.close_region(&[sum]);
        self.copy.restore(whole);
        let made = self.copy.b.push_with_regions(Op::For { tiles: vec![axis] }, &[init], vec![region], inst.at);
        self.store(at, &made, inst.at);
    }

    /// Copies an instruction that goes along the axis, for the block of `tile`.
    fn narrowed(&mut self, inst: &Inst, axis: usize, tile: TileId) {
        let op = along::narrowed(&inst.op.renamed(&mut self.copy), axis, tile);
        let args: Vec<ValueId> = inst.args.iter().map(|v| self.copy.get(*v)).collect();
        self.copy.op(inst, op, &args);
        if let (Op::Iota(_), Some(v)) = (&inst.op, inst.results.first()) {
            let begin = self.one(Op::TileBegin(tile), &[], inst.at);
            let local = self.copy.get(*v);
            let index = self.binary(BinaryOp::Add, local, begin);
            self.copy.set(*v, index);
        }
    }

    /// The reduction or product of a block of the axis, in the type of the parts.
    fn reduced(&mut self, inst: &Inst, dtype: DType) -> ValueId {
        let mut args: Vec<ValueId> = inst.args.iter().map(|v| self.copy.get(*v)).collect();
        let mut op = inst.op.clone();
        if let Op::Dot { acc } = &mut op {
            *acc = dtype;
        } else if self.copy.b.ty(args[0]).dtype != dtype {
            args[0] = self.one(Op::Cast(dtype), &[args[0]], inst.at);
        }
        self.one(op, &args, inst.at)
    }

    /// The range of this stage's part of `begin..end`: whole blocks, except at the end.
    fn piece(&mut self, begin: ValueId, end: ValueId, block: u64) -> (ValueId, ValueId) {
        let Some(part) = self.part else { return (begin, end) };
        let (zero, one) = (self.int(0), self.int(1));
        let (step, all) = (self.int(block as i64), self.int(block.saturating_mul(self.plan.parts) as i64));
        let span = self.binary(BinaryOp::Sub, end, begin);
        let span = self.binary(BinaryOp::Max, span, zero);
        let (whole, rest) = (self.binary(BinaryOp::Div, span, all), self.binary(BinaryOp::Rem, span, all));
        let rest = self.binary(BinaryOp::Min, rest, one);
        let blocks = self.binary(BinaryOp::Add, whole, rest);
        let piece = self.binary(BinaryOp::Mul, blocks, step);
        let p = self.one(Op::TileBegin(part), &[], Loc::UNKNOWN);
        let shift = self.binary(BinaryOp::Mul, p, piece);
        let first = self.binary(BinaryOp::Add, begin, shift);
        // What follows from the bounds of the whole range (that it lies inside a tensor) must follow from these, too.
        let first = self.binary(BinaryOp::Max, first, begin);
        let last = self.binary(BinaryOp::Add, first, piece);
        (first, self.binary(BinaryOp::Min, last, end))
    }

    /// The results of a point from the parts of an earlier stage, in the order of the parts.
    fn combine(&mut self, at: usize, inst: &Inst) {
        let Some(point) = self.plan.point(at) else { return };
        let slots = self.slots(at);
        let mut init = Vec::new();
        for (_, slot) in &slots {
            init.push(match &point.kind {
                Kind::Loop(_) => self.copy.get(inst.args[slot.result]),
                Kind::Axis { .. } => {
                    let ty = self.kept(slot);
                    self.neutral(slot.combine, &ty, inst.at)
                }
            });
        }
        let made = self.over_parts(&slots, &init, inst.at);
        if let Kind::Loop(carried) = &point.kind {
            for (k, _) in carried.iter().enumerate().filter(|(_, op)| op.is_none()) {
                let same = self.copy.get(inst.args[k]);
                self.copy.set(inst.results[k], same);
            }
        }
        for ((_, slot), v) in slots.iter().zip(made) {
            let result = inst.results[slot.result];
            let want = self.plan.f.ty(result).dtype;
            let v = if slot.dtype == want { v } else { self.one(Op::Cast(want), &[v], inst.at) };
            self.copy.set(result, v);
        }
    }

    /// A loop over the parts that adds each to what it has.
    fn over_parts(&mut self, slots: &[(usize, Slot)], init: &[ValueId], at: Loc) -> Vec<ValueId> {
        let (begin, end) = (self.int(0), self.int(self.plan.parts as i64));
        let part = self.copy.b.loop_tile(&self.plan.part_name, begin, end, true, at);
        let types: Vec<Type> = init.iter().map(|v| self.copy.b.ty(*v).clone()).collect();
        let params = self.copy.b.open_region(&types, at);
        let mut yields = Vec::new();
        for ((k, slot), have) in slots.iter().zip(params) {
            let index = self.place(slot, part, at);
            let next = self.one(Op::Load { tensor: self.params[*k], index }, &[], at);
            yields.push(self.one(Op::Binary(slot.combine), &[have, next], at));
        }
        let region = self.copy.b.close_region(&yields);
        self.copy.b.push_with_regions(Op::For { tiles: vec![part] }, init, vec![region], at).to_vec()
    }
}
