//! Nests: materialising values, storing to tensors, reductions, scans, atomics, prints.

use super::lower::{Def, Lower, Res};
use super::scope::Scope;
use helion_ir::diag::Loc;
use helion_ir::dtype::{Class, DType, Literal};
use helion_ir::elementwise::{BinaryOp, UnaryOp};
use helion_ir::loops::{Args, Axis, BufferId, Carry, Inst as LoopInst, Mem, Nest, Op as LoopOp, Stmt, Val};
use helion_ir::tile::{AtomicOp, Dim, Index, Inst, ParamId, ReduceOp, Region, Shape, ValueId};

/// A nest under construction.
struct Draft {
    sc: Scope,
    axes: Vec<Axis>,
    reduce: usize,
    carries: Vec<Carry>,
    finals: Vec<LoopInst>,
}

impl Draft {
    fn new() -> Draft {
        Draft { sc: Scope::nest(), axes: Vec::new(), reduce: 0, carries: Vec::new(), finals: Vec::new() }
    }
}

impl<'a> Lower<'a> {
    /// Adds an axis over `d` and returns its index; none is needed for axes of size 1.
    fn axis(&mut self, draft: &mut Draft, d: Dim) -> Val {
        if self.is_one(d) {
            return self.index(0);
        }
        let var = self.value(DType::I64);
        draft.sc.local.insert(var);
        draft.sc.axes.push((d, var));
        let extent = self.dim(d);
        draft.axes.push(Axis { var, extent, bound: self.bound(d) });
        var
    }

    fn axes(&mut self, draft: &mut Draft, shape: &Shape) -> Args {
        shape.iter().map(|d| self.axis(draft, *d)).collect()
    }

    /// Ends a nest. Values stored in passing are in their buffers from here on.
    fn finish(&mut self, draft: Draft) {
        let Draft { mut sc, axes, reduce, mut carries, finals } = draft;
        for c in &mut carries {
            self.settle(&mut sc, c);
        }
        for (v, b) in sc.kept.iter().zip(&sc.kept_in) {
            self.keep.remove(v);
            self.defs[v.index()] = Some(Def::Buffer(*b));
        }
        if axes.is_empty() && carries.is_empty() {
            self.body.extend(sc.insts.into_iter().chain(finals).map(Stmt::Inst));
        } else {
            self.body.push(Stmt::Nest(Nest { axes, reduce, carries, body: sc.insts, finals }));
        }
    }

    /// A step that folding reduced to a value from outside the nest becomes a copy in the body; a carry that
    /// no longer combines has no operation.
    fn settle(&mut self, sc: &mut Scope, c: &mut Carry) {
        if c.next != c.param {
            if sc.local.contains(&c.next) {
                return;
            }
            let dtype = self.out.dtype(c.next);
            let copy = self.value(dtype);
            let args = smallvec::smallvec![c.next];
            sc.insts.push(LoopInst { op: LoopOp::Bitcast(dtype), args, result: Some(copy), at: Loc::UNKNOWN });
            c.next = copy;
        }
        c.op = None;
    }

    /// Whether the nest reads `mem` anywhere else than where it stores.
    fn clashes(sc: &Scope, mem: Mem, index: &Args) -> bool {
        sc.loads.iter().any(|(m, i)| *m == mem && i != index)
    }

    /// Puts a lazy value in a buffer of its own.
    pub fn materialise(&mut self, v: ValueId) -> Res<BufferId> {
        let lazy = match self.defs[v.index()].clone() {
            Some(Def::Buffer(b)) => return Ok(b),
            Some(lazy @ Def::Lazy(_)) => lazy,
            other => unreachable!("materialising {other:?}"),
        };
        self.keep.remove(&v);
        let b = self.buffer_for(v);
        self.materialise_into(v, b)?;
        if self.def_depth[v.index()] < self.depth
            && let Some(undo) = self.undo.last_mut()
        {
            undo.push((v, lazy));
        }
        self.defs[v.index()] = Some(Def::Buffer(b));
        Ok(b)
    }

    /// Writes all elements of a value to a buffer of its shape.
    pub fn materialise_into(&mut self, v: ValueId, b: BufferId) -> Res<()> {
        if self.deferred.remove(&v) {
            return self.contract(self.origin[v.index()].expect("a product"), b, false);
        }
        let shape = self.src.ty(v).shape.clone();
        let mut draft = Draft::new();
        let idx = self.axes(&mut draft, &shape);
        let val = self.elem(&mut draft.sc, v, &idx, None)?;
        let index = self.buffer_index(&shape, &idx);
        if Self::clashes(&draft.sc, Mem::Buffer(b), &index) {
            let spare = self.buffer_for(v);
            self.materialise_into(v, spare)?;
            self.copy(&shape, spare, b);
            return Ok(());
        }
        let mut args: Args = Args::from_slice(&[val]);
        args.extend(index);
        self.effect(&mut draft.sc, LoopOp::Store { mem: Mem::Buffer(b), masked: false }, args, None, Loc::UNKNOWN);
        self.finish(draft);
        Ok(())
    }

    fn copy(&mut self, shape: &Shape, from: BufferId, to: BufferId) {
        let mut draft = Draft::new();
        let idx = self.axes(&mut draft, shape);
        let index = self.buffer_index(shape, &idx);
        let dtype = self.out.buffers[from.index()].dtype;
        let val = self.load(&mut draft.sc, Mem::Buffer(from), index.clone(), dtype, None, Loc::UNKNOWN);
        let mut args: Args = Args::from_slice(&[val]);
        args.extend(index);
        self.effect(&mut draft.sc, LoopOp::Store { mem: Mem::Buffer(to), masked: false }, args, None, Loc::UNKNOWN);
        self.finish(draft);
    }

    /// Evaluates what is still needed and would read `mem` after it has changed.
    pub fn before_write(&mut self, mem: Mem) -> Res<()> {
        for v in 0..self.defs.len() {
            let lazy = matches!(self.defs[v], Some(Def::Lazy(_)));
            if lazy && self.reads[v].contains(&mem) && self.uses.last[v] > self.now {
                self.materialise(ValueId(v as u32))?;
            }
        }
        Ok(())
    }

    /// The shape that an access keeps.
    fn kept_shape(&self, tensor: ParamId, index: &[Index]) -> Shape {
        let dims = self.tensor(tensor).1;
        let kept = index.iter().zip(dims).filter_map(|(i, d)| match i {
            Index::Tile(t, _) => Some(Dim::Tile(*t)),
            Index::Full => Some(*d),
            Index::Scalar(_) => None,
            Index::Gather(v) => Some(self.src.ty(*v).shape[0]),
        });
        kept.collect()
    }

    fn operand_at(&mut self, sc: &mut Scope, v: ValueId, to: &Shape, idx: &[Val]) -> Res<Val> {
        let from = self.src.ty(v).shape.clone();
        let at = self.broadcast_index(&from, to, idx);
        self.elem(sc, v, &at, None)
    }

    /// A store or an atomic.
    pub fn write(&mut self, inst: &'a Inst, atomic: Option<AtomicOp>, tensor: ParamId, index: &[Index]) -> Res<()> {
        let mem = Mem::Tensor(tensor);
        self.before_write(mem)?;
        let shape = self.kept_shape(tensor, index);
        let mut draft = Draft::new();
        let idx = self.axes(&mut draft, &shape);
        let place = self.place(&mut draft.sc, tensor, index, &idx, None)?;
        let values = if atomic == Some(AtomicOp::CompareSwap) { 2 } else { 1 };
        let mut args = Args::new();
        for v in &inst.args[..values] {
            args.push(self.operand_at(&mut draft.sc, *v, &shape, &idx)?);
        }
        let extra = match inst.args.get(values) {
            Some(mask) => Some(self.operand_at(&mut draft.sc, *mask, &shape, &idx)?),
            None => None,
        };
        if Self::clashes(&draft.sc, mem, &place.index) {
            for v in super::uses::operands(self.src, inst) {
                if matches!(self.defs[v.index()], Some(Def::Lazy(_))) {
                    self.materialise(v)?;
                }
            }
            return self.write(inst, atomic, tensor, index);
        }
        let mask = self.both(&mut draft.sc, place.mask, extra);
        args.extend(place.index);
        args.extend(mask);
        let masked = mask.is_some();
        let Some(op) = atomic else {
            self.effect(&mut draft.sc, LoopOp::Store { mem, masked }, args, None, inst.at);
            self.finish(draft);
            return Ok(());
        };
        let dtype = self.tensor(tensor).0;
        let old = self.effect(&mut draft.sc, LoopOp::Atomic { op, mem, masked }, args, Some(dtype), inst.at);
        let old = old.expect("an atomic has a result");
        self.keep_old(draft, inst.results[0], &idx, old)
    }

    /// Keeps what an atomic returned, where it is used.
    fn keep_old(&mut self, mut draft: Draft, result: ValueId, idx: &Args, old: Val) -> Res<()> {
        let shape = self.src.ty(result).shape.clone();
        if shape.is_empty() {
            self.defs[result.index()] = Some(Def::Scalar(old));
        } else {
            let b = self.buffer_for(result);
            let mut args: Args = Args::from_slice(&[old]);
            args.extend(self.buffer_index(&shape, idx));
            self.effect(&mut draft.sc, LoopOp::Store { mem: Mem::Buffer(b), masked: false }, args, None, Loc::UNKNOWN);
            self.defs[result.index()] = Some(Def::Buffer(b));
        }
        self.finish(draft);
        Ok(())
    }

    /// A debug print of every element.
    pub fn print(&mut self, inst: &'a Inst, label: &str) -> Res<()> {
        let v = inst.args[0];
        let shape = self.src.ty(v).shape.clone();
        let mut draft = Draft::new();
        let idx = self.axes(&mut draft, &shape);
        let mut args: Args = Args::from_slice(&[self.elem(&mut draft.sc, v, &idx, None)?]);
        args.extend(idx);
        self.effect(&mut draft.sc, LoopOp::Print { label: label.to_owned() }, args, None, inst.at);
        self.finish(draft);
        Ok(())
    }

    /// Parallel axes for all but one axis of `shape`, then the reduce axis. Returns the index.
    fn reduce_axes(&mut self, draft: &mut Draft, shape: &Shape, axis: usize) -> Args {
        let zero = self.index(0);
        let mut idx: Args = smallvec::smallvec![zero; shape.len()];
        for (k, d) in shape.iter().enumerate() {
            if k != axis {
                idx[k] = self.axis(draft, *d);
            }
        }
        if !self.is_one(shape[axis]) {
            idx[axis] = self.axis(draft, shape[axis]);
        } else {
            // A reduction of one element still threads its carries.
            let (var, extent) = (self.value(DType::I64), self.index(1));
            draft.sc.local.insert(var);
            draft.axes.push(Axis { var, extent, bound: Some(1) });
            draft.sc.axes.push((shape[axis], var));
        }
        draft.reduce = 1;
        idx
    }

    fn carry(&mut self, draft: &mut Draft, dtype: DType, init: Literal) -> Val {
        let (param, result, init) = (self.value(dtype), self.value(dtype), self.literal(init));
        draft.sc.local.insert(param);
        draft.carries.push(Carry { param, init, next: param, result, op: None });
        param
    }

    /// `Reduce` of every kind. The result has size 1 along the axis.
    pub fn reduce(&mut self, inst: &'a Inst, op: ReduceOp, axis: usize) -> Res<()> {
        let shape = self.src.ty(inst.args[0]).shape.clone();
        let mut draft = Draft::new();
        let idx = self.reduce_axes(&mut draft, &shape, axis);
        let x = self.elem(&mut draft.sc, inst.args[0], &idx, None)?;
        match op {
            ReduceOp::ArgMax | ReduceOp::ArgMin => self.arg_step(&mut draft, op, x, idx[axis], inst.at),
            _ => {
                self.running(&mut draft, op, x, inst.at);
                draft.carries[0].op = Some(op);
            }
        }
        let which = if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) { 1 } else { 0 };
        self.store_result(&mut draft, which, inst.results[0], &idx, axis);
        self.finish(draft);
        Ok(())
    }

    /// Adds a carry that accumulates `x` and returns its next value.
    fn running(&mut self, draft: &mut Draft, op: ReduceOp, x: Val, at: Loc) -> Val {
        let dtype = self.out.dtype(x);
        let acc = dtype.compute();
        let (binary, init) = neutral(op, acc);
        let param = self.carry(draft, acc, init);
        let x = self.emit(&mut draft.sc, LoopOp::Cast(acc), &[x], acc, at);
        let next = self.emit(&mut draft.sc, LoopOp::Binary(binary), &[param, x], acc, at);
        draft.carries[0].next = next;
        next
    }

    /// The best element so far and its index.
    fn arg_step(&mut self, draft: &mut Draft, op: ReduceOp, x: Val, i: Val, at: Loc) {
        let dtype = self.out.dtype(x);
        let (compare, kind) = match op {
            ReduceOp::ArgMax => (BinaryOp::Gt, ReduceOp::Max),
            _ => (BinaryOp::Lt, ReduceOp::Min),
        };
        let best = self.carry(draft, dtype, neutral(kind, dtype).1);
        let place = self.carry(draft, DType::I64, Literal::from_i64(DType::I64, 0));
        let sc = &mut draft.sc;
        let mut better = self.emit(sc, LoopOp::Binary(compare), &[x, best], DType::Bool, at);
        if dtype.is_float() {
            let nan = self.emit(sc, LoopOp::Unary(UnaryOp::IsNan), &[x], DType::Bool, at);
            let had = self.emit(sc, LoopOp::Unary(UnaryOp::IsNan), &[best], DType::Bool, at);
            let fresh = self.emit(sc, LoopOp::Unary(UnaryOp::Not), &[had], DType::Bool, at);
            let first = self.arith(sc, BinaryOp::And, nan, fresh);
            better = self.arith(sc, BinaryOp::Or, better, first);
        }
        let value = self.emit(sc, LoopOp::Select, &[better, x, best], dtype, at);
        let index = self.emit(sc, LoopOp::Select, &[better, i, place], DType::I64, at);
        (draft.carries[0].next, draft.carries[1].next) = (value, index);
    }

    /// Stores a carry's result as a tile whose reduced axis has size 1.
    fn store_result(&mut self, draft: &mut Draft, carry: usize, result: ValueId, idx: &Args, axis: usize) {
        let ty = self.src.ty(result).clone();
        let b = self.buffer_for(result);
        let mut sc = Scope::nest();
        let val = draft.carries[carry].result;
        sc.local.insert(val);
        let val = self.emit(&mut sc, LoopOp::Cast(ty.dtype), &[val], ty.dtype, Loc::UNKNOWN);
        let mut at = idx.clone();
        at[axis] = self.index(0);
        let mut args: Args = Args::from_slice(&[val]);
        args.extend(self.buffer_index(&ty.shape, &at));
        self.effect(&mut sc, LoopOp::Store { mem: Mem::Buffer(b), masked: false }, args, None, Loc::UNKNOWN);
        draft.finals.extend(sc.insts);
        self.defs[result.index()] = Some(Def::Buffer(b));
    }

    /// Starts a scan: axes, and the index of the element each step reads.
    fn scan_axes(&mut self, draft: &mut Draft, shape: &Shape, axis: usize, reverse: bool) -> Args {
        let mut idx = self.reduce_axes(draft, shape, axis);
        if reverse && !self.is_one(shape[axis]) {
            let (extent, one) = (self.dim(shape[axis]), self.index(1));
            let last = self.arith(&mut Scope::kernel(), BinaryOp::Sub, extent, one);
            idx[axis] = self.arith(&mut draft.sc, BinaryOp::Sub, last, idx[axis]);
        }
        idx
    }

    fn store_step(&mut self, draft: &mut Draft, val: Val, result: ValueId, idx: &Args) {
        let ty = self.src.ty(result).clone();
        let b = self.buffer_for(result);
        let val = self.emit(&mut draft.sc, LoopOp::Cast(ty.dtype), &[val], ty.dtype, Loc::UNKNOWN);
        let mut args: Args = Args::from_slice(&[val]);
        args.extend(self.buffer_index(&ty.shape, idx));
        self.effect(&mut draft.sc, LoopOp::Store { mem: Mem::Buffer(b), masked: false }, args, None, Loc::UNKNOWN);
        self.defs[result.index()] = Some(Def::Buffer(b));
    }

    /// `Scan`.
    pub fn scan(&mut self, inst: &'a Inst, op: ReduceOp, axis: usize, reverse: bool) -> Res<()> {
        let shape = self.src.ty(inst.args[0]).shape.clone();
        let mut draft = Draft::new();
        let idx = self.scan_axes(&mut draft, &shape, axis, reverse);
        let x = self.elem(&mut draft.sc, inst.args[0], &idx, None)?;
        let next = self.running(&mut draft, op, x, inst.at);
        self.store_step(&mut draft, next, inst.results[0], &idx);
        self.finish(draft);
        Ok(())
    }

    /// `ReduceWith` and, when `scan` says in which direction, `ScanWith`.
    pub fn combine(&mut self, inst: &'a Inst, axis: usize, scan: Option<bool>) -> Res<()> {
        let shape = self.src.ty(inst.args[0]).shape.clone();
        let mut draft = Draft::new();
        let idx = self.scan_axes(&mut draft, &shape, axis, scan.unwrap_or(false));
        let mut left = Args::new();
        let mut right = Args::new();
        for v in &inst.args {
            let x = self.elem(&mut draft.sc, *v, &idx, None)?;
            let dtype = self.out.dtype(x);
            right.push(x);
            left.push(self.carry(&mut draft, dtype, Literal::from_bits(dtype, 0)));
        }
        let seen = self.carry(&mut draft, DType::Bool, Literal::from_bits(DType::Bool, 0));
        draft.carries.last_mut().expect("just made").next = self.literal(Literal::from_bits(DType::Bool, 1));
        let joined = self.inline(&mut draft.sc, &inst.regions[0], left.iter().chain(&right).copied())?;
        for (k, (y, x)) in joined.iter().zip(&right).enumerate() {
            let dtype = self.out.dtype(*x);
            draft.carries[k].next = self.emit(&mut draft.sc, LoopOp::Select, &[seen, *y, *x], dtype, inst.at);
        }
        for (k, result) in inst.results.iter().enumerate() {
            if scan.is_some() {
                let next = draft.carries[k].next;
                self.store_step(&mut draft, next, *result, &idx);
            } else {
                self.store_result(&mut draft, k, *result, &idx, axis);
            }
        }
        self.finish(draft);
        Ok(())
    }

    /// A combine function applied to scalars.
    fn inline(&mut self, sc: &mut Scope, region: &'a Region, args: impl Iterator<Item = Val>) -> Res<Args> {
        for (p, val) in region.params.iter().zip(args) {
            self.defs[p.index()] = Some(Def::Scalar(val));
        }
        for inst in &region.body {
            self.scalar_inst(sc, inst)?;
        }
        Ok(region.yields.iter().map(|y| self.scalar(*y)).collect())
    }
}

/// The operation of a built-in reduction and its neutral element.
fn neutral(op: ReduceOp, dtype: DType) -> (BinaryOp, Literal) {
    let extreme = |sign: f64| match dtype.class() {
        Class::Float | Class::Storage => Literal::from_f64(dtype, sign * f64::INFINITY),
        Class::Signed | Class::Unsigned | Class::Bool => Literal::from_f64(dtype, sign * f64::MAX),
    };
    match op {
        ReduceOp::Sum => (BinaryOp::Add, Literal::from_f64(dtype, 0.0)),
        ReduceOp::Prod => (BinaryOp::Mul, Literal::from_f64(dtype, 1.0)),
        ReduceOp::Max | ReduceOp::ArgMax => (BinaryOp::Max, extreme(-1.0)),
        ReduceOp::Min | ReduceOp::ArgMin => (BinaryOp::Min, extreme(1.0)),
        ReduceOp::Any => (BinaryOp::Or, Literal::from_bits(dtype, 0)),
        ReduceOp::All => (BinaryOp::And, Literal::from_bits(dtype, 1)),
    }
}
