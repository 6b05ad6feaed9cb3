//! One element of a lazy value: structural ops become index maps, elementwise ops become instructions.

use super::lower::{Def, Lower, Res};
use super::scope::Scope;
use helion_ir::diag::{Diagnostic, Loc};
use helion_ir::dtype::{DType, Literal};
use helion_ir::elementwise::BinaryOp;
use helion_ir::loops::{Args, Mem, Op as LoopOp, Val};
use helion_ir::tile::{Dim, Index, Inst, Op, ParamId, Shape, ValueId};

/// Where an access goes, and the condition under which it is inside the tensor.
pub struct Place {
    /// One index per axis of the tensor.
    pub index: Args,
    /// Absent when it is always inside.
    pub mask: Option<Val>,
}

impl<'a> Lower<'a> {
    /// The element of `v` at `idx`, computed in `sc`. Where `guard` is given and false the result is
    /// meaningless and no memory is touched.
    pub fn elem(&mut self, sc: &mut Scope, v: ValueId, idx: &[Val], guard: Option<Val>) -> Res<Val> {
        let def = self.defs[v.index()].clone().expect("defined before use");
        let inst = match def {
            Def::Scalar(val) => return Ok(val),
            Def::Buffer(b) => {
                let index = self.buffer_index(&self.src.ty(v).shape, idx);
                return Ok(self.memo(sc, v, idx, guard, |this, sc| {
                    Ok(this.load(sc, Mem::Buffer(b), index, this.src.ty(v).dtype, guard, Loc::UNKNOWN))
                }))?;
            }
            Def::Lazy(inst) => inst,
        };
        self.memo(sc, v, idx, guard, |this, sc| {
            let val = this.compute(sc, inst, v, idx, guard)?;
            this.keep_in_passing(sc, v, idx, guard, val);
            Ok(val)
        })
    }

    fn memo(
        &mut self,
        sc: &mut Scope,
        v: ValueId,
        idx: &[Val],
        guard: Option<Val>,
        make: impl FnOnce(&mut Self, &mut Scope) -> Res<Val>,
    ) -> Res<Val> {
        let key = (v, idx.iter().copied().collect::<Args>(), guard);
        if sc.nest
            && let Some(val) = sc.memo.get(&key)
        {
            return Ok(*val);
        }
        let val = make(self, sc)?;
        sc.memo.insert(key, val);
        Ok(val)
    }

    /// A value worth keeping is stored by the first nest that computes all of it in order.
    fn keep_in_passing(&mut self, sc: &mut Scope, v: ValueId, idx: &[Val], guard: Option<Val>, val: Val) {
        let shape = &self.src.ty(v).shape;
        let wanted = self.keep.contains(&v) && guard.is_none() && sc.nest && !sc.kept.contains(&v);
        // In a deeper region the buffer would be filled only there.
        let wanted = wanted && self.def_depth[v.index()] == self.depth;
        let axes: Vec<(Dim, Val)> =
            shape.iter().copied().zip(idx.iter().copied()).filter(|(d, _)| !self.is_one(*d)).collect();
        if !wanted || axes != sc.axes {
            return;
        }
        let b = self.buffer_for(v);
        let mut args: Args = Args::from_slice(&[val]);
        args.extend(self.buffer_index(shape, idx));
        self.effect(sc, LoopOp::Store { mem: Mem::Buffer(b), masked: false }, args, None, Loc::UNKNOWN);
        sc.kept.push(v);
        sc.kept_in.push(b);
    }

    /// Indices into a buffer of that shape: axes of size 1 are at 0.
    pub fn buffer_index(&mut self, shape: &Shape, idx: &[Val]) -> Args {
        let zero = self.index(0);
        shape.iter().zip(idx).map(|(d, i)| if self.is_one(*d) { zero } else { *i }).collect()
    }

    /// The index of an operand of shape `from` that broadcasts to `to`.
    pub fn broadcast_index(&mut self, from: &Shape, to: &Shape, idx: &[Val]) -> Args {
        let zero = self.index(0);
        let skip = to.len() - from.len();
        from.iter()
            .zip(&to[skip..])
            .zip(&idx[skip..])
            .map(|((f, t), i)| if f != t && *f == Dim::Const(1) { zero } else { *i })
            .collect()
    }

    fn arg(&mut self, sc: &mut Scope, inst: &Inst, k: usize, to: &Shape, idx: &[Val], guard: Option<Val>) -> Res<Val> {
        let v = inst.args[k];
        let at = self.broadcast_index(&self.src.ty(v).shape.clone(), to, idx);
        self.elem(sc, v, &at, guard)
    }

    fn compute(&mut self, sc: &mut Scope, inst: &'a Inst, v: ValueId, idx: &[Val], guard: Option<Val>) -> Res<Val> {
        let ty = self.src.ty(v).clone();
        let shape = &ty.shape;
        Ok(match &inst.op {
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Bitcast(_) | Op::Random { .. } => {
                let mut args = Args::new();
                for k in 0..inst.args.len() {
                    args.push(self.arg(sc, inst, k, shape, idx, guard)?);
                }
                self.emit(sc, elementwise(&inst.op), &args, ty.dtype, inst.at)
            }
            Op::Broadcast(_) => self.arg(sc, inst, 0, shape, idx, guard)?,
            Op::Iota(_) => idx[0],
            Op::Permute(perm) => {
                let mut at: Args = idx.into();
                for (i, p) in perm.iter().enumerate() {
                    at[*p as usize] = idx[i];
                }
                self.elem(sc, inst.args[0], &at, guard)?
            }
            Op::Reshape(_) => {
                let from = self.src.ty(inst.args[0]).shape.clone();
                let at = self.reshape_index(sc, shape, &from, idx);
                self.elem(sc, inst.args[0], &at, guard)?
            }
            Op::Slice { axis, start, .. } => {
                let start = self.dim(*start);
                let mut at: Args = idx.into();
                at[*axis as usize] = self.arith(sc, BinaryOp::Add, at[*axis as usize], start);
                self.elem(sc, inst.args[0], &at, guard)?
            }
            Op::Concat { axis } => self.concat(sc, inst, *axis as usize, idx, guard, ty.dtype)?,
            Op::Gather { axis } => self.gather(sc, inst, *axis as usize, idx, guard, ty.dtype)?,
            Op::Load { .. } => self.load_elem(sc, inst, shape, idx, guard)?,
            other => unreachable!("{other:?} is never lazy"),
        })
    }

    /// Row-major renumbering; axes of size 1 come and go for free.
    fn reshape_index(&mut self, sc: &mut Scope, to: &Shape, from: &Shape, idx: &[Val]) -> Args {
        let zero = self.index(0);
        let wide = |this: &Self, s: &Shape| -> Vec<(usize, Dim)> {
            s.iter().copied().enumerate().filter(|(_, d)| !this.is_one(*d)).collect()
        };
        let (source, target) = (wide(self, from), wide(self, to));
        let mut at: Args = smallvec::smallvec![zero; from.len()];
        if source.iter().map(|s| s.1).eq(target.iter().map(|t| t.1)) {
            for ((s, _), (t, _)) in source.iter().zip(&target) {
                at[*s] = idx[*t];
            }
            return at;
        }
        let mut linear = zero;
        for (t, d) in &target {
            let extent = self.dim(*d);
            linear = self.arith(sc, BinaryOp::Mul, linear, extent);
            linear = self.arith(sc, BinaryOp::Add, linear, idx[*t]);
        }
        for (n, (s, d)) in source.iter().enumerate().rev() {
            let extent = self.dim(*d);
            at[*s] = if n == 0 { linear } else { self.arith(sc, BinaryOp::Rem, linear, extent) };
            linear = self.arith(sc, BinaryOp::Div, linear, extent);
        }
        at
    }

    fn concat(
        &mut self,
        sc: &mut Scope,
        inst: &Inst,
        axis: usize,
        idx: &[Val],
        guard: Option<Val>,
        dtype: DType,
    ) -> Res<Val> {
        let mut at: Args = idx.into();
        let mut rest = guard;
        let mut picks: Vec<(Option<Val>, Val)> = Vec::new();
        for (k, v) in inst.args.iter().enumerate() {
            let len = self.dim(self.src.ty(*v).shape[axis]);
            let here = (k + 1 < inst.args.len()).then(|| self.arith(sc, BinaryOp::Lt, at[axis], len));
            let inside = self.both(sc, rest, here);
            picks.push((here, self.elem(sc, *v, &at, inside)?));
            if let Some(here) = here {
                let past = self.emit(sc, LoopOp::Unary(helion_ir::UnaryOp::Not), &[here], DType::Bool, inst.at);
                rest = self.both(sc, rest, Some(past));
                at[axis] = self.arith(sc, BinaryOp::Sub, at[axis], len);
            }
        }
        let (_, mut out) = picks.pop().expect("at least one operand");
        while let Some((here, val)) = picks.pop() {
            out = self.emit(sc, LoopOp::Select, &[here.expect("not the last"), val, out], dtype, inst.at);
        }
        Ok(out)
    }

    fn gather(
        &mut self,
        sc: &mut Scope,
        inst: &Inst,
        axis: usize,
        idx: &[Val],
        guard: Option<Val>,
        dtype: DType,
    ) -> Res<Val> {
        let pick = self.elem(sc, inst.args[1], idx, guard)?;
        let pick = self.to_index(sc, pick, inst.at);
        let len = self.dim(self.src.ty(inst.args[0]).shape[axis]);
        let inside = self.inside(sc, pick, len, false);
        let mut at: Args = idx.into();
        at[axis] = pick;
        let guard = self.both(sc, guard, Some(inside));
        let val = self.elem(sc, inst.args[0], &at, guard)?;
        let zero = self.literal(Literal::from_bits(dtype, 0));
        Ok(self.emit(sc, LoopOp::Select, &[inside, val, zero], dtype, inst.at))
    }

    /// An integer as an index. `u64` above 2^63 becomes negative, which is outside every axis.
    fn to_index(&mut self, sc: &mut Scope, v: Val, at: Loc) -> Val {
        match self.out.dtype(v) {
            DType::I64 => v,
            _ => self.emit(sc, LoopOp::Cast(DType::I64), &[v], DType::I64, at),
        }
    }

    /// `0 <= i && i < len`; the first half only if `i` can be negative.
    fn inside(&mut self, sc: &mut Scope, i: Val, len: Val, nonneg: bool) -> Val {
        let below = self.arith(sc, BinaryOp::Lt, i, len);
        if nonneg {
            return below;
        }
        let zero = self.index(0);
        let above = self.arith(sc, BinaryOp::Ge, i, zero);
        self.arith(sc, BinaryOp::And, above, below)
    }

    fn load_elem(&mut self, sc: &mut Scope, inst: &Inst, shape: &Shape, idx: &[Val], guard: Option<Val>) -> Res<Val> {
        let Op::Load { tensor, index } = &inst.op else { unreachable!("only loads are loaded") };
        let tensor = *tensor;
        let (dtype, ..) = self.tensor(tensor);
        let place = self.place(sc, tensor, index, idx, guard)?;
        let extra = match inst.args.len() {
            0 => None,
            _ => Some(self.arg(sc, inst, 0, shape, idx, guard)?),
        };
        let mask = self.both(sc, place.mask, extra);
        let mask = self.both(sc, mask, guard);
        let val = self.load(sc, Mem::Tensor(tensor), place.index, dtype, mask, inst.at);
        match (inst.args.get(1), extra) {
            (Some(other), Some(extra)) => {
                let other = self.scalar(*other);
                Ok(self.emit(sc, LoopOp::Select, &[extra, val, other], dtype, inst.at))
            }
            _ => Ok(val),
        }
    }

    /// The place of an access for the element `idx` of its kept axes.
    pub fn place(
        &mut self,
        sc: &mut Scope,
        tensor: ParamId,
        index: &[Index],
        idx: &[Val],
        guard: Option<Val>,
    ) -> Res<Place> {
        let dims = self.tensor(tensor).1;
        let (mut at, mut mask, mut kept) = (Args::new(), None, idx.iter());
        for (entry, d) in index.iter().zip(dims) {
            let mut next = || *kept.next().expect("one index per kept axis");
            let (i, safe) = match entry {
                Index::Full => (next(), true),
                Index::Tile(t, offset) => {
                    let (local, begin) = (next(), self.tile(*t).begin);
                    let zero = self.index(0);
                    let local = if self.unit(*t) { zero } else { local };
                    let base = match offset {
                        Some(o) => self.arith(sc, BinaryOp::Add, begin, self.scalar(*o)),
                        None => begin,
                    };
                    (self.arith(sc, BinaryOp::Add, base, local), offset.is_none() && self.tile_fits(*t, *d))
                }
                Index::Scalar(v) => (self.scalar(*v), self.scalar_fits(*v, *d)),
                Index::Gather(v) => {
                    let i = next();
                    let i = if self.is_one(self.src.ty(*v).shape[0]) { self.index(0) } else { i };
                    let picked = self.elem(sc, *v, &[i], guard)?;
                    (self.to_index(sc, picked, Loc::UNKNOWN), false)
                }
            };
            if !safe {
                let len = self.dim(*d);
                let inside = self.inside(sc, i, len, false);
                mask = self.both(sc, mask, Some(inside));
            }
            at.push(i);
        }
        Ok(Place { index: at, mask })
    }

    /// Runs a scalar instruction at the kernel level or inside a combine function.
    pub fn scalar_inst(&mut self, sc: &mut Scope, inst: &'a Inst) -> Res<()> {
        let result = inst.results[0];
        let dtype = self.src.ty(result).dtype;
        let val = match &inst.op {
            Op::Const(lit) => self.literal(*lit),
            Op::Extent(d) => self.dim(*d),
            Op::Scalar(p) => self.emit(sc, LoopOp::Scalar(*p), &[], dtype, inst.at),
            Op::TileBegin(t) => self.tile(*t).begin,
            Op::TileEnd(t) => self.tile(*t).end,
            Op::TileOrdinal(t) => self.tile(*t).ordinal,
            Op::TileCount(t) => self.tile(*t).count,
            Op::Unary(_) | Op::Binary(_) | Op::Select | Op::Cast(_) | Op::Bitcast(_) | Op::Random { .. } => {
                let args: Args = inst.args.iter().map(|a| self.scalar(*a)).collect();
                self.emit(sc, elementwise(&inst.op), &args, dtype, inst.at)
            }
            Op::Broadcast(_) | Op::Permute(_) => self.scalar(inst.args[0]),
            Op::Reshape(_) => {
                let from = self.src.ty(inst.args[0]).shape.clone();
                let zero = self.index(0);
                let at: Args = from.iter().map(|_| zero).collect();
                self.elem(sc, inst.args[0], &at, None)?
            }
            Op::Load { .. } if !sc.nest => self.compute(sc, inst, result, &[], None)?,
            other => {
                return Err(Diagnostic::new(
                    inst.at,
                    format!("{} cannot be used inside a combine function", describe(other)),
                )
                .help("a combine function may use arithmetic, comparisons and `select` on its arguments"));
            }
        };
        if let Some(name) = &self.src.values[result.index()].name
            && self.out.values[val.index()].name.is_none()
        {
            self.out.values[val.index()].name = Some(name.clone());
        }
        self.defs[result.index()] = Some(Def::Scalar(val));
        Ok(())
    }
}

/// What an op is called in messages.
fn describe(op: &Op) -> &'static str {
    match op {
        Op::If => "`if` on a device value",
        Op::While | Op::For { .. } => "a loop",
        Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } => "memory",
        Op::Print { .. } => "printing",
        _ => "this operation",
    }
}

/// The loop op of an elementwise tile op.
fn elementwise(op: &Op) -> LoopOp {
    match op {
        Op::Unary(u) => LoopOp::Unary(*u),
        Op::Binary(b) => LoopOp::Binary(*b),
        Op::Select => LoopOp::Select,
        Op::Cast(d) => LoopOp::Cast(*d),
        Op::Bitcast(d) => LoopOp::Bitcast(*d),
        Op::Random { word } => LoopOp::Random { word: *word },
        other => unreachable!("{other:?} is not elementwise"),
    }
}
