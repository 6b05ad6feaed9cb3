//! Instructions of a nest's body as vector instructions.
//!
//! Loads and stores keep their order; everything else is made when something needs it, so what nobody
//! uses disappears.

use super::{Analysis, Carried, Kind, Source, VectorNest};
use crate::cpu::vector::builder::Builder;
use crate::cpu::vector::ir::{Addr, Cmp, Rounding, SlotId, Trip, Ty, V};
use helion_ir::config::{Knob, Slot as KnobSlot};
use helion_ir::dtype::{Class, DType, Literal};
use helion_ir::loops::{Inst, Mem, Op, Val};
use helion_ir::{BinaryOp, UnaryOp};
use std::collections::{HashMap, HashSet};

/// The lane type of an element type; `None` where vectors have none.
pub(super) fn lane_type(d: DType) -> Option<Ty> {
    Ty::of_memory(d)
}

/// Floats that take less than a lane.
pub(super) fn is_half(d: DType) -> bool {
    matches!(d, DType::F16 | DType::BF16)
}

/// A program under construction.
pub(super) struct Emitter<'a> {
    pub(super) a: Analysis<'a>,
    pub(super) b: Builder,
    pub(super) slots: Vec<Source>,
    made: HashMap<Val, V>,
    /// Vectors without NaN.
    numbers: HashSet<V>,
    pub(super) narrow: Vec<(Val, i64)>,
    pub(super) short: bool,
    /// Values that only stores use: their rounding is left to the store.
    stored_only: HashSet<Val>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(a: Analysis<'a>) -> Emitter<'a> {
        let name = format!(
            "{}.{}",
            a.facts.f.name,
            a.facts.f.values[a.nest.axes[a.axis].var.index()].name.as_deref().unwrap_or("i")
        );
        let b = Builder::new(&name, Trip::Elements);
        Emitter {
            a,
            b,
            slots: Vec::new(),
            made: HashMap::new(),
            numbers: HashSet::new(),
            narrow: Vec::new(),
            short: false,
            stored_only: HashSet::new(),
        }
    }

    /// The whole program, or `None` where something has no vector form.
    pub(super) fn run(mut self) -> Option<VectorNest> {
        let nest = self.a.nest;
        let live = self.live()?;
        self.find_stored_only();
        let folds = self.begin_carries()?;
        self.b.begin_body();
        for (i, inst) in nest.body.iter().enumerate() {
            match &inst.op {
                Op::Load { mem, masked } if live[i] && self.a.kind(inst.result?) == Kind::Lane => {
                    let v = self.load(*mem, *masked, inst)?;
                    self.made.insert(inst.result?, v);
                }
                Op::Store { mem, masked } => self.store(*mem, *masked, inst)?,
                _ => {}
            }
        }
        let carries = self.finish_carries(folds)?;
        self.pick_unroll(&carries);
        let scalar = self.scalar_insts();
        let program = self.b.finish().ok()?;
        Some(VectorNest {
            axis: self.a.axis,
            program,
            slots: self.slots,
            scalar,
            narrow: self.narrow,
            short: self.short,
            carries,
        })
    }

    /// Binds a vector to a value.
    pub(super) fn bind(&mut self, v: Val, to: V) {
        self.made.insert(v, to);
    }

    /// Which instructions a store or a carry needs.
    fn live(&self) -> Option<Vec<bool>> {
        let body = &self.a.nest.body;
        let mut wanted: HashSet<Val> = self.a.nest.carries.iter().map(|c| c.next).collect();
        let mut live = vec![false; body.len()];
        for (i, inst) in body.iter().enumerate().rev() {
            let needed = matches!(inst.op, Op::Store { .. }) || inst.result.is_some_and(|v| wanted.contains(&v));
            if needed {
                live[i] = true;
                wanted.extend(inst.args.iter().copied());
            }
        }
        Some(live)
    }

    fn find_stored_only(&mut self) {
        let mut other: HashSet<Val> = self.a.nest.carries.iter().flat_map(|c| [c.next, c.init]).collect();
        let mut stored = HashSet::new();
        for inst in &self.a.nest.body {
            let skip = usize::from(matches!(inst.op, Op::Store { .. }));
            stored.extend(inst.args.iter().take(skip).copied());
            other.extend(inst.args.iter().skip(skip).copied());
        }
        self.stored_only = stored.difference(&other).copied().collect();
    }

    /// Whether only stores use a value.
    pub(super) fn is_stored_only(&self, v: Val) -> bool {
        self.stored_only.contains(&v)
    }

    /// How many steps the main loop takes at once: the user's choice, else few for long bodies.
    fn pick_unroll(&mut self, carries: &[Carried]) {
        let chosen = self.a.facts.f.config.get(&KnobSlot::kernel(Knob::Unroll));
        let reduces = carries.iter().any(|c| matches!(c, Carried::Fold { .. }));
        let default = match self.b.len() {
            0..16 => 4,
            16..40 => 2,
            _ if reduces => 2,
            _ => 1,
        };
        self.b.unroll(chosen.map_or(default, |u| u.clamp(1, 8) as u32));
    }

    /// Body instructions that the words of the argument block need, in order.
    fn scalar_insts(&self) -> Vec<usize> {
        let mut wanted: HashSet<Val> = HashSet::new();
        for s in &self.slots {
            match s {
                Source::Address(_, index) => wanted.extend(index.iter().copied()),
                Source::Value(v, _) => {
                    wanted.insert(*v);
                }
                Source::Limit(a, b) => wanted.extend([*a, *b]),
                Source::Ahead(_) | Source::Result => {}
            }
        }
        wanted.extend(self.narrow.iter().map(|(v, _)| *v));
        let body = &self.a.nest.body;
        let mut picked = Vec::new();
        for (i, inst) in body.iter().enumerate().rev() {
            if inst.result.is_some_and(|v| wanted.contains(&v)) {
                wanted.extend(inst.args.iter().copied());
                picked.push(i);
            }
        }
        picked.reverse();
        picked
    }

    /// The word of the argument block with this content; new ones are appended.
    pub(super) fn slot(&mut self, source: Source) -> SlotId {
        if source != Source::Result
            && let Some(i) = self.slots.iter().position(|s| *s == source)
        {
            return SlotId(i as u32);
        }
        let id = match &source {
            Source::Address(..) => self.b.pointer(),
            Source::Value(_, ty) => self.b.scalar(*ty),
            Source::Limit(..) => self.b.scalar(Ty::I32),
            Source::Ahead(_) | Source::Result => return SlotId(u32::MAX),
        };
        self.slots.push(source);
        id
    }

    /// A result word.
    pub(super) fn result_slot(&mut self, ty: Ty) -> SlotId {
        let id = self.b.result(ty);
        self.slots.push(Source::Result);
        id
    }

    pub(super) fn dtype(&self, v: Val) -> DType {
        self.a.facts.f.dtype(v)
    }

    /// A literal in every lane.
    pub(super) fn literal(&mut self, l: Literal) -> Option<V> {
        let lane = match l.dtype {
            DType::I8 | DType::I16 | DType::U8 | DType::U16 => Literal::from_i64(DType::I32, l.to_i64()),
            DType::F16 | DType::BF16 => Literal::from_f64(DType::F32, l.to_f64()),
            DType::F8E4M3 | DType::F8E5M2 => return None,
            DType::Bool | DType::I32 | DType::I64 | DType::U32 | DType::U64 | DType::F32 | DType::F64 => l,
        };
        let v = self.b.constant(lane);
        if l.dtype.is_float() && !l.to_f64().is_nan() {
            self.numbers.insert(v);
        }
        Some(v)
    }

    /// A value as a vector.
    pub(super) fn lane(&mut self, v: Val) -> Option<V> {
        if let Some(x) = self.made.get(&v) {
            return Some(*x);
        }
        let x = match self.a.kind(v) {
            Kind::Same => match self.a.facts.consts.get(&v) {
                Some(l) => self.literal(*l)?,
                None => {
                    let ty = lane_type(self.dtype(v))?;
                    let slot = self.slot(Source::Value(v, ty));
                    self.b.splat(slot)
                }
            },
            Kind::Affine(step) => self.index_lanes(v, step, Ty::I64),
            Kind::Lane => {
                let inst = self.a.nest.body.get(*self.a.defs.get(&v)?)?;
                self.operation(inst)?
            }
        };
        self.made.insert(v, x);
        Some(x)
    }

    /// `v0 + step * index`, wrapping to the lane type.
    pub(super) fn index_lanes(&mut self, v: Val, step: i64, ty: Ty) -> V {
        self.short |= ty == Ty::I32;
        let slot = self.slot(Source::Value(v, ty));
        let base = self.b.splat(slot);
        let mut index = self.b.index(ty);
        if step != 1 {
            let step = if ty == Ty::I32 { self.b.i32(step as i32) } else { self.b.i64(step) };
            index = self.b.mul(index, step);
        }
        self.b.add(base, index)
    }

    fn address(&mut self, mem: Mem, index: &[Val]) -> Option<Addr> {
        if self.a.step(mem, index)? != 1 {
            return None;
        }
        Some(Addr::unit(self.slot(Source::Address(mem, index.iter().copied().collect()))))
    }

    fn load(&mut self, mem: Mem, masked: bool, inst: &Inst) -> Option<V> {
        let d = self.a.facts.mem_dtype(mem)?;
        lane_type(d)?;
        if !masked {
            let at = self.address(mem, &inst.args)?;
            return Some(self.b.load(at, d));
        }
        let n = inst.args.len().checked_sub(2)?;
        let (mask, other) = (self.lane(inst.args[n])?, inst.args[n + 1]);
        // A masked element that does not move is one read under many masks: not a vector load.
        let at = self.address(mem, &inst.args[..n])?;
        let v = self.b.load_masked(mask, at, d);
        if self.a.facts.consts.get(&other).is_some_and(|l| l.bits == 0) {
            return Some(v);
        }
        let other = self.lane(other)?;
        Some(self.choose(mask, v, other))
    }

    fn store(&mut self, mem: Mem, masked: bool, inst: &Inst) -> Option<()> {
        let d = self.a.facts.mem_dtype(mem)?;
        lane_type(d)?;
        let (value, rest) = inst.args.split_first()?;
        let (index, mask) = if masked { rest.split_last().map(|(m, i)| (i, Some(*m)))? } else { (rest, None) };
        let value = self.lane(*value)?;
        let mask = match mask {
            Some(m) => Some(self.lane(m)?),
            None => None,
        };
        let at = self.address(mem, index)?;
        match mask {
            Some(m) => self.b.store_masked(m, at, d, value),
            None => self.b.store(at, d, value),
        }
        Some(())
    }

    /// `mask ? a : b`, also of masks.
    pub(super) fn choose(&mut self, mask: V, a: V, b: V) -> V {
        if self.b.ty(a) != Ty::Mask {
            return self.b.select(mask, a, b);
        }
        let yes = self.b.and(mask, a);
        let not = self.b.not(mask);
        let no = self.b.and(not, b);
        self.b.or(yes, no)
    }

    fn operation(&mut self, inst: &Inst) -> Option<V> {
        let args = &inst.args;
        match &inst.op {
            Op::Unary(op) => {
                let d = self.dtype(args[0]);
                let x = self.lane(args[0])?;
                self.unary(*op, d, x)
            }
            Op::Binary(op) => self.binary(*op, args[0], args[1]),
            Op::Fma => {
                let (a, b, c) = (self.lane(args[0])?, self.lane(args[1])?, self.lane(args[2])?);
                self.b.ty(a).is_float().then(|| self.b.fma(a, b, c))
            }
            Op::Select => match self.clamp(args[0], args[1], args[2]) {
                Some(v) => Some(v),
                None => {
                    let (m, a, b) = (self.lane(args[0])?, self.lane(args[1])?, self.lane(args[2])?);
                    Some(self.choose(m, a, b))
                }
            },
            Op::Cast(to) => self.cast(args[0], *to, inst.result?),
            Op::Bitcast(to) => {
                let (from, x) = (self.dtype(args[0]), self.lane(args[0])?);
                if is_half(from) || is_half(*to) || from.size() < 4 || from.size() != to.size() {
                    return (from == *to).then_some(x);
                }
                Some(self.b.bitcast(lane_type(*to)?, x))
            }
            Op::Const(_)
            | Op::Size(_)
            | Op::Dim(..)
            | Op::Scalar(_)
            | Op::Load { .. }
            | Op::Store { .. }
            | Op::Atomic { .. }
            | Op::Random { .. }
            | Op::Print { .. } => None,
        }
    }

    /// `select(p < q, q, p)` and the like are one instruction with exactly that meaning, NaN included.
    fn clamp(&mut self, cond: Val, a: Val, b: Val) -> Option<V> {
        let inst = self.a.nest.body.get(*self.a.defs.get(&cond)?)?;
        let Op::Binary(op @ (BinaryOp::Lt | BinaryOp::Gt)) = inst.op else { return None };
        let (p, q) = (inst.args[0], inst.args[1]);
        if !matches!(self.dtype(p), DType::F32 | DType::F64) || ((a, b) != (p, q) && (a, b) != (q, p)) {
            return None;
        }
        let takes_larger = (op == BinaryOp::Lt) == ((a, b) == (q, p));
        let (x, y) = (self.lane(a)?, self.lane(b)?);
        Some(if takes_larger { self.b.max(x, y) } else { self.b.min(x, y) })
    }

    fn unary(&mut self, op: UnaryOp, d: DType, x: V) -> Option<V> {
        let ty = self.b.ty(x);
        Some(match (op, d.class()) {
            (UnaryOp::Not, Class::Bool) => self.b.not(x),
            (UnaryOp::Neg, Class::Float) => {
                let sign = if ty == Ty::F64 { self.b.f64(-0.0) } else { self.b.f32(-0.0) };
                self.b.xor(x, sign)
            }
            (UnaryOp::Abs, Class::Float) => {
                let keep = if ty == Ty::F64 {
                    self.b.f64(f64::from_bits(i64::MAX as u64))
                } else {
                    self.b.f32(f32::from_bits(i32::MAX as u32))
                };
                self.b.and(x, keep)
            }
            (UnaryOp::Floor, Class::Float) => self.b.round(Rounding::Down, x),
            (UnaryOp::Ceil, Class::Float) => self.b.round(Rounding::Up, x),
            (UnaryOp::Round, Class::Float) => self.b.round(Rounding::Nearest, x),
            (UnaryOp::Trunc, Class::Float) => self.b.round(Rounding::Zero, x),
            (UnaryOp::Sqrt, Class::Float) if !is_half(d) => self.b.sqrt(x),
            (UnaryOp::Rsqrt, Class::Float) if !is_half(d) => {
                let root = self.b.sqrt(x);
                let one = if ty == Ty::F64 { self.b.f64(1.0) } else { self.b.f32(1.0) };
                self.b.div(one, root)
            }
            (UnaryOp::IsNan, Class::Float) => self.b.is_nan(x),
            (UnaryOp::Neg, Class::Signed | Class::Unsigned) => {
                let zero = self.integer(ty, 0);
                let y = self.b.sub(zero, x);
                self.wrap(d, y)
            }
            (UnaryOp::Not, Class::Signed | Class::Unsigned) => {
                let ones = self.integer(ty, -1);
                let y = self.b.xor(x, ones);
                self.wrap(d, y)
            }
            (UnaryOp::Abs, Class::Unsigned) => x,
            (UnaryOp::Abs, Class::Signed) => {
                let zero = self.integer(ty, 0);
                let negative = self.b.lt(x, zero);
                let minus = self.b.sub(zero, x);
                let y = self.b.select(negative, minus, x);
                self.wrap(d, y)
            }
            _ => return None,
        })
    }

    /// An integer constant of a lane type.
    pub(super) fn integer(&mut self, ty: Ty, v: i64) -> V {
        if ty == Ty::I64 { self.b.i64(v) } else { self.b.i32(v as i32) }
    }

    /// Brings a 32-bit lane back into the range of a narrower integer type.
    pub(super) fn wrap(&mut self, d: DType, x: V) -> V {
        match d {
            DType::I8 | DType::I16 => {
                let by = 32 - 8 * d.size() as u8;
                let up = self.b.shl(x, by);
                self.b.shr_s(up, by)
            }
            DType::U8 | DType::U16 => {
                let mask = self.b.i32((1 << (8 * d.size())) - 1);
                self.b.and(x, mask)
            }
            _ => x,
        }
    }

    fn binary(&mut self, op: BinaryOp, p: Val, q: Val) -> Option<V> {
        if let Some(v) = self.index_compare(op, p, q) {
            return Some(v);
        }
        let d = self.dtype(p);
        if matches!(op, BinaryOp::Shl | BinaryOp::Shr) {
            return self.shift(op, d, p, q);
        }
        let (a, b) = (self.lane(p)?, self.lane(q)?);
        match d.class() {
            Class::Bool => self.binary_mask(op, a, b),
            Class::Float => self.binary_float(op, d, a, b),
            Class::Signed | Class::Unsigned => self.binary_int(op, d, a, b),
            Class::Storage => None,
        }
    }

    /// A comparison of indices that move by one relative to each other: the lane's index against a limit.
    fn index_compare(&mut self, op: BinaryOp, p: Val, q: Val) -> Option<V> {
        let step = |s: &Self, v| match s.a.kind(v) {
            Kind::Same if s.dtype(v) == DType::I64 => Some(0),
            Kind::Affine(c) => Some(c),
            Kind::Same | Kind::Lane => None,
        };
        let (cp, cq) = (step(self, p)?, step(self, q)?);
        // index + (p0 - q0) against 0 is index against q0 - p0; mirrored where the index is subtracted.
        let (limit, mirrored) = match cp - cq {
            1 => (Source::Limit(q, p), false),
            -1 => (Source::Limit(p, q), true),
            _ => return None,
        };
        if op.rule() != helion_ir::elementwise::Rule::Compare {
            return None;
        }
        self.short = true;
        let slot = self.slot(limit);
        let (index, limit) = (self.b.index(Ty::I32), self.b.splat(slot));
        let (a, b) = if mirrored { (limit, index) } else { (index, limit) };
        self.compare(op, Ty::I32, true, a, b)
    }

    /// A comparison of numbers.
    fn compare(&mut self, op: BinaryOp, ty: Ty, signed: bool, a: V, b: V) -> Option<V> {
        let unsigned = !signed && ty.is_int();
        Some(match op {
            BinaryOp::Eq => self.b.eq(a, b),
            BinaryOp::Ne => self.b.ne(a, b),
            BinaryOp::Lt if unsigned => self.b.lt_u(a, b),
            BinaryOp::Gt if unsigned => self.b.lt_u(b, a),
            BinaryOp::Le if unsigned => {
                let more = self.b.lt_u(b, a);
                self.b.not(more)
            }
            BinaryOp::Ge if unsigned => {
                let less = self.b.lt_u(a, b);
                self.b.not(less)
            }
            BinaryOp::Lt => self.b.lt(a, b),
            BinaryOp::Gt => self.b.lt(b, a),
            BinaryOp::Le => self.b.compare(Cmp::Le, a, b),
            BinaryOp::Ge => self.b.compare(Cmp::Le, b, a),
            _ => return None,
        })
    }

    fn binary_mask(&mut self, op: BinaryOp, a: V, b: V) -> Option<V> {
        Some(match op {
            BinaryOp::And => self.b.and(a, b),
            BinaryOp::Or => self.b.or(a, b),
            BinaryOp::Xor | BinaryOp::Ne => self.b.xor(a, b),
            BinaryOp::Eq => {
                let differ = self.b.xor(a, b);
                self.b.not(differ)
            }
            BinaryOp::Lt | BinaryOp::Ge => {
                let not = self.b.not(a);
                let less = self.b.and(not, b);
                if op == BinaryOp::Lt { less } else { self.b.not(less) }
            }
            BinaryOp::Gt | BinaryOp::Le => {
                let not = self.b.not(b);
                let more = self.b.and(not, a);
                if op == BinaryOp::Gt { more } else { self.b.not(more) }
            }
            _ => return None,
        })
    }

    fn binary_float(&mut self, op: BinaryOp, d: DType, a: V, b: V) -> Option<V> {
        if op.rule() == helion_ir::elementwise::Rule::Compare {
            return self.compare(op, self.b.ty(a), true, a, b);
        }
        if is_half(d) {
            // The math pass made these f32; what is left would round twice.
            return None;
        }
        Some(match op {
            BinaryOp::Add => self.b.add(a, b),
            BinaryOp::Sub => self.b.sub(a, b),
            BinaryOp::Mul => self.b.mul(a, b),
            BinaryOp::Div => self.b.div(a, b),
            BinaryOp::Min | BinaryOp::Max => self.extreme(op == BinaryOp::Max, a, b),
            _ => return None,
        })
    }

    /// Maximum or minimum that gives NaN if either is: the instruction gives its second operand then.
    fn extreme(&mut self, larger: bool, a: V, b: V) -> V {
        let (first, second) = if self.numbers.contains(&b) { (b, a) } else { (a, b) };
        let m = if larger { self.b.max(first, second) } else { self.b.min(first, second) };
        if self.numbers.contains(&first) {
            return m;
        }
        let nan = self.b.is_nan(first);
        self.b.select(nan, first, m)
    }

    fn binary_int(&mut self, op: BinaryOp, d: DType, a: V, b: V) -> Option<V> {
        let signed = d.class() == Class::Signed;
        if op.rule() == helion_ir::elementwise::Rule::Compare {
            return self.compare(op, self.b.ty(a), signed, a, b);
        }
        let y = match op {
            BinaryOp::Add => self.b.add(a, b),
            BinaryOp::Sub => self.b.sub(a, b),
            BinaryOp::Mul => self.b.mul(a, b),
            BinaryOp::And => self.b.and(a, b),
            BinaryOp::Or => self.b.or(a, b),
            BinaryOp::Xor => self.b.xor(a, b),
            BinaryOp::Min | BinaryOp::Max if signed || d.size() < 4 => {
                if op == BinaryOp::Max {
                    self.b.max(a, b)
                } else {
                    self.b.min(a, b)
                }
            }
            BinaryOp::Min | BinaryOp::Max => {
                let less = self.b.lt_u(a, b);
                let (x, y) = if op == BinaryOp::Max { (b, a) } else { (a, b) };
                self.b.select(less, x, y)
            }
            _ => return None,
        };
        Some(self.wrap(d, y))
    }

    fn shift(&mut self, op: BinaryOp, d: DType, p: Val, q: Val) -> Option<V> {
        let bits = 8 * d.size() as u64;
        let by = (self.a.facts.consts.get(&q)?.bits % bits) as u8;
        let x = self.lane(p)?;
        Some(match (op, d.class()) {
            (BinaryOp::Shl, _) => {
                let y = self.b.shl(x, by);
                self.wrap(d, y)
            }
            (_, Class::Signed) => self.b.shr_s(x, by),
            _ => self.b.shr_u(x, by),
        })
    }

    /// Notes that a vector has no NaN.
    pub(super) fn is_number(&mut self, v: V) {
        self.numbers.insert(v);
    }
}
