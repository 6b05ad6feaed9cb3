//! Operations on lanes: what each operation of a nest's body is on vectors.
//!
//! In: an instruction whose result varies along the axis. Out: vector instructions with exactly its meaning, or
//! `None` where there are none.

use super::Kind;
use super::Source;
use super::lanes::{Emitter, is_half, lane_type};
use crate::cpu::vector::ir::{Cmp, Rounding, Ty, V};
use helion_ir::dtype::{Class, DType};
use helion_ir::loops::{Inst, Op, Val};
use helion_ir::{BinaryOp, UnaryOp};

impl Emitter<'_> {
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

    pub(super) fn operation(&mut self, inst: &Inst) -> Option<V> {
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
