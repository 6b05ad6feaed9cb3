//! Statements and control flow.
//!
//! What loops carry lives in buffers that the body updates in place; branches store their results into
//! buffers. Scalars do too, in buffers without dims, and are loaded where a region begins.

use super::lower::{Def, Dest, Lower, Res};
use super::scope::Scope;
use super::uses;
use helion_ir::diag::Loc;
use helion_ir::dtype::DType;
use helion_ir::elementwise::{BinaryOp, UnaryOp};
use helion_ir::loops::{Args, BufferId, Mem, Op as LoopOp, Stmt, Val};
use helion_ir::tile::{Inst, Op, Region, TileId, ValueId};
use std::collections::BTreeSet;

/// Cost from which a value used inside a loop or along a broadcast axis is computed once, before.
const HOIST: u32 = 4;
/// Cost from which a value with several uses is kept in a buffer.
const KEEP: u32 = 12;

impl<'a> Lower<'a> {
    /// Schedules the instructions of a region; its yields are up to the caller.
    pub fn region(&mut self, region: &'a Region) -> Res<()> {
        for inst in &region.body {
            self.stmt(inst)?;
        }
        Ok(())
    }

    fn stmt(&mut self, inst: &'a Inst) -> Res<()> {
        let start = self.now;
        for r in &inst.results {
            self.def_depth[r.index()] = self.depth;
        }
        match &inst.op {
            Op::Store { tensor, index } => self.write(inst, None, *tensor, index)?,
            Op::Atomic { op, tensor, index } => self.write(inst, Some(*op), *tensor, index)?,
            Op::Print { label } => self.print(inst, label)?,
            Op::Reduce { op, axis } => self.reduce(inst, *op, *axis as usize)?,
            Op::ReduceWith { axis } => self.combine(inst, *axis as usize, None)?,
            Op::Scan { op, axis, reverse } => self.scan(inst, *op, *axis as usize, *reverse)?,
            Op::ScanWith { axis, reverse } => self.combine(inst, *axis as usize, Some(*reverse))?,
            Op::Dot { .. } => self.dot(inst)?,
            Op::For { tiles } => self.for_loop(inst, tiles)?,
            Op::While => self.while_loop(inst)?,
            Op::If => self.branch(inst)?,
            _ if self.src.ty(inst.results[0]).shape.is_empty() => self.scalar_inst(&mut Scope::kernel(), inst)?,
            Op::Binary(BinaryOp::Add) if self.feeds_product(inst).is_some() => self.add_product(inst)?,
            _ => self.define(inst)?,
        }
        self.now = start + len(inst);
        Ok(())
    }

    /// Notes a value to be computed where it is used.
    fn define(&mut self, inst: &'a Inst) -> Res<()> {
        let v = inst.results[0];
        for a in &inst.args {
            if self.deferred.contains(a) {
                self.materialise(*a)?;
            }
        }
        self.hoist_broadcast(inst)?;
        let mut reads = BTreeSet::new();
        let mut cost = self.op_cost(inst);
        for a in uses::operands(self.src, inst) {
            match self.defs[a.index()] {
                Some(Def::Lazy(_)) => {
                    reads.extend(self.reads[a.index()].iter().copied());
                    cost = cost.saturating_add(self.cost[a.index()]);
                }
                Some(Def::Buffer(b)) => {
                    reads.insert(Mem::Buffer(b));
                    cost += 1;
                }
                Some(Def::Scalar(_)) | None => {}
            }
        }
        if let Op::Load { tensor, .. } = &inst.op {
            reads.insert(Mem::Tensor(*tensor));
        }
        self.reads[v.index()] = reads;
        self.cost[v.index()] = cost;
        self.defs[v.index()] = Some(Def::Lazy(inst));
        if self.uses.count[v.index()] > 1 && cost >= KEEP {
            self.could_keep = true;
            if self.may_keep {
                self.keep.insert(v);
            }
        }
        Ok(())
    }

    /// An operand that is repeated along an axis is computed once per element of its own.
    fn hoist_broadcast(&mut self, inst: &Inst) -> Res<()> {
        let wide = |this: &Self, v: ValueId| this.src.ty(v).shape.iter().filter(|d| !this.is_one(**d)).count();
        let all = wide(self, inst.results[0]);
        for a in &inst.args {
            let lazy = matches!(self.defs[a.index()], Some(Def::Lazy(_)));
            if lazy && self.cost[a.index()] >= HOIST && wide(self, *a) < all {
                self.materialise(*a)?;
            }
        }
        Ok(())
    }

    fn op_cost(&self, inst: &Inst) -> u32 {
        match &inst.op {
            Op::Unary(u) => match u {
                UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Log | UnaryOp::Log2 => 10,
                UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Tanh | UnaryOp::Sigmoid | UnaryOp::Erf => 14,
                UnaryOp::Sqrt | UnaryOp::Rsqrt => 6,
                UnaryOp::Neg
                | UnaryOp::Abs
                | UnaryOp::Not
                | UnaryOp::Floor
                | UnaryOp::Ceil
                | UnaryOp::Round
                | UnaryOp::Trunc
                | UnaryOp::IsNan => 1,
            },
            Op::Binary(BinaryOp::Pow) => 20,
            Op::Binary(BinaryOp::Div | BinaryOp::Rem) => 4,
            Op::Random { .. } => 20,
            Op::Load { .. } => 2,
            Op::Reshape(_) | Op::Gather { .. } | Op::Concat { .. } => 3,
            _ => 1,
        }
    }

    /// What must be evaluated before an instruction with regions: what its stores would change, and
    /// what it would compute again and again.
    fn before_regions(&mut self, inst: &'a Inst) -> Res<()> {
        let mut written = BTreeSet::new();
        inst.regions.iter().for_each(|r| uses::writes(r, &mut written));
        for tensor in written {
            self.before_write(Mem::Tensor(tensor))?;
        }
        let end = self.now + len(inst) - 1;
        for v in 0..self.defs.len() {
            let lazy = matches!(self.defs[v], Some(Def::Lazy(_)));
            let inside = self.uses.nested[v] && self.uses.last[v] >= end;
            let deferred = self.deferred.contains(&ValueId(v as u32));
            if lazy && inside && (self.cost[v] >= HOIST || deferred) {
                self.materialise(ValueId(v as u32))?;
            }
        }
        Ok(())
    }

    /// Opens a region at a deeper level, and afterwards forgets what was evaluated only there.
    fn deeper(&mut self, yields: Vec<(ValueId, Dest)>, f: impl FnOnce(&mut Self) -> Res<()>) -> Res<Vec<Stmt>> {
        self.depth += 1;
        self.undo.push(Vec::new());
        self.yields.push(yields);
        let stmts = self.nested(f);
        self.yields.pop();
        for (v, def) in self.undo.pop().expect("pushed above").into_iter().rev() {
            self.defs[v.index()] = Some(def);
        }
        self.depth -= 1;
        stmts
    }

    fn store_scalar(&mut self, val: Val, b: BufferId) {
        let op = LoopOp::Store { mem: Mem::Buffer(b), masked: false };
        self.effect(&mut Scope::kernel(), op, Args::from_slice(&[val]), None, Loc::UNKNOWN);
    }

    /// Makes `v` refer to what a buffer holds now.
    fn bind(&mut self, v: ValueId, b: BufferId) {
        self.def_depth[v.index()] = self.depth;
        let ty = self.src.ty(v);
        self.defs[v.index()] = Some(if ty.shape.is_empty() {
            let dtype = ty.dtype;
            Def::Scalar(self.load(&mut Scope::kernel(), Mem::Buffer(b), Args::new(), dtype, None, Loc::UNKNOWN))
        } else {
            Def::Buffer(b)
        });
    }

    fn is_scalar(&self, v: ValueId) -> bool {
        self.src.ty(v).shape.is_empty()
    }

    /// Buffers for what a loop carries, filled with the initial values.
    fn carry_buffers(&mut self, inst: &Inst) -> Res<Vec<BufferId>> {
        let mut buffers = Vec::new();
        for (init, result) in inst.args.iter().zip(&inst.results) {
            let b = self.buffer_for(*result);
            if self.is_scalar(*init) {
                let val = self.scalar(*init);
                self.store_scalar(val, b);
            } else {
                self.materialise_into(*init, b)?;
            }
            buffers.push(b);
        }
        Ok(buffers)
    }

    fn for_loop(&mut self, inst: &'a Inst, tiles: &'a [TileId]) -> Res<()> {
        self.before_regions(inst)?;
        let buffers = self.carry_buffers(inst)?;
        self.now += 1;
        self.loop_over(inst, tiles, &buffers)?;
        for (r, b) in inst.results.iter().zip(&buffers) {
            self.bind(*r, *b);
        }
        Ok(())
    }

    fn loop_over(&mut self, inst: &'a Inst, tiles: &'a [TileId], buffers: &[BufferId]) -> Res<()> {
        let Some((t, inner)) = tiles.split_first() else { return self.loop_body(inst, buffers) };
        let var = &self.src.tiles[t.index()];
        let (lo, hi) = (self.scalar(var.begin), self.scalar(var.end));
        let step = self.index(self.blocks[t.index()] as i64);
        let count = self.count_tiles(&mut Scope::kernel(), lo, hi, step);
        let at = self.value(DType::I64);
        self.out.values[at.index()].name = Some(var.name.clone());
        let body = self.nested(|this| {
            let mut sc = Scope::kernel();
            let done = this.arith(&mut sc, BinaryOp::Sub, at, lo);
            let ordinal = this.arith(&mut sc, BinaryOp::Div, done, step);
            this.bind_tile(&mut sc, *t, at, hi, ordinal, count);
            this.loop_over(inst, inner, buffers)
        })?;
        self.body.push(Stmt::For { var: at, begin: lo, end: hi, step, body });
        Ok(())
    }

    fn loop_body(&mut self, inst: &'a Inst, buffers: &[BufferId]) -> Res<()> {
        let region = &inst.regions[0];
        let dests = dests(&region.yields, buffers, Some(&region.params));
        let stmts = self.deeper(dests.clone(), |this| {
            for (p, b) in region.params.iter().zip(buffers) {
                this.bind(*p, *b);
            }
            this.region(region)?;
            this.hand_out(&dests)
        })?;
        self.body.extend(stmts);
        Ok(())
    }

    fn while_loop(&mut self, inst: &'a Inst) -> Res<()> {
        self.before_regions(inst)?;
        let buffers = self.carry_buffers(inst)?;
        self.now += 1;
        let (test_region, body_region) = (&inst.regions[0], &inst.regions[1]);
        let mut test = None;
        let cond = self.deeper(Vec::new(), |this| {
            for (p, b) in test_region.params.iter().zip(&buffers) {
                this.bind(*p, *b);
            }
            this.region(test_region)?;
            test = Some(this.scalar(test_region.yields[0]));
            Ok(())
        })?;
        self.now += 1;
        let dests = dests(&body_region.yields, &buffers, Some(&body_region.params));
        let body = self.deeper(dests.clone(), |this| {
            for (p, b) in body_region.params.iter().zip(&buffers) {
                this.bind(*p, *b);
            }
            this.region(body_region)?;
            this.hand_out(&dests)
        })?;
        self.body.push(Stmt::While { cond, test: test.expect("set above"), body });
        for (r, b) in inst.results.iter().zip(&buffers) {
            self.bind(*r, *b);
        }
        Ok(())
    }

    fn branch(&mut self, inst: &'a Inst) -> Res<()> {
        self.before_regions(inst)?;
        let cond = self.scalar(inst.args[0]);
        let buffers: Vec<BufferId> = inst.results.iter().map(|r| self.buffer_for(*r)).collect();
        self.now += 1;
        let mut arms = Vec::new();
        for region in &inst.regions {
            let dests = dests(&region.yields, &buffers, None);
            arms.push(self.deeper(dests.clone(), |this| {
                this.region(region)?;
                this.hand_out(&dests)
            })?);
            self.now += 1;
        }
        let other = arms.pop().expect("two arms");
        let then = arms.pop().expect("two arms");
        self.body.push(Stmt::If { cond, then, other });
        for (r, b) in inst.results.iter().zip(&buffers) {
            self.bind(*r, *b);
        }
        Ok(())
    }

    /// Moves the yields of a region to their buffers, all reading what was there before.
    fn hand_out(&mut self, dests: &[(ValueId, Dest)]) -> Res<()> {
        let settled =
            |this: &Self, v: ValueId, b: BufferId| matches!(this.defs[v.index()], Some(Def::Buffer(x)) if x == b);
        let mut todo: Vec<(ValueId, BufferId)> = dests.iter().map(|(v, d)| (*v, d.buffer)).collect();
        todo.retain(|(v, b)| !self.is_scalar(*v) && !settled(self, *v, *b));
        while !todo.is_empty() {
            let free =
                (0..todo.len()).find(|&k| (0..todo.len()).all(|j| j == k || !self.depends(todo[j].0, todo[k].1)));
            let (v, b) = todo.remove(free.unwrap_or(0));
            if free.is_some() {
                self.materialise_into(v, b)?;
                continue;
            }
            // A cycle: this one waits in a buffer of its own.
            let spare = self.buffer_for(v);
            self.materialise_into(v, spare)?;
            self.defs[v.index()] = Some(Def::Buffer(spare));
            todo.push((v, b));
        }
        for (v, d) in dests {
            if self.is_scalar(*v) {
                let val = self.scalar(*v);
                self.store_scalar(val, d.buffer);
            }
        }
        Ok(())
    }

    /// Whether evaluating `v` reads a buffer.
    fn depends(&self, v: ValueId, b: BufferId) -> bool {
        match &self.defs[v.index()] {
            Some(Def::Buffer(x)) => *x == b,
            Some(Def::Lazy(_)) => self.reads[v.index()].contains(&Mem::Buffer(b)),
            Some(Def::Scalar(_)) | None => false,
        }
    }
}

fn dests(yields: &[ValueId], buffers: &[BufferId], params: Option<&[ValueId]>) -> Vec<(ValueId, Dest)> {
    let dest = |k: usize| Dest { buffer: buffers[k], param: params.map(|p| p[k]) };
    yields.iter().enumerate().map(|(k, v)| (*v, dest(k))).collect()
}

/// How many positions an instruction takes; mirrors [`uses::Uses`].
fn len(inst: &Inst) -> u32 {
    let regions: u32 = inst.regions.iter().map(|r| 1 + r.body.iter().map(len).sum::<u32>()).sum();
    1 + regions + u32::from(!inst.regions.is_empty())
}
