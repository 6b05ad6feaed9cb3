//! Arithmetic on elements, exactly as `helion_ir::eval` says.
//!
//! In: an operation, the element type of its operands, operands in registers. Out: the result in a register. Floats of
//! 16 bits are computed in their own instructions where those round once, otherwise in `f32`; nothing is contracted. NaN
//! results are the device's NaN, of whatever bits.

use super::emit::{Done, Emit, I, V, mistake};
use crate::passes::math;
use helion_ir::dtype::{Class, DType};
use helion_ir::loops::{Inst, Op};
use helion_ir::{BinaryOp, UnaryOp};
use inkwell::{FloatPredicate, IntPredicate};

/// 16-bit floats.
fn is_half(d: DType) -> bool {
    matches!(d, DType::F16 | DType::BF16)
}

impl<'c> Emit<'c> {
    /// A unary operation on an element of type `d`.
    pub(super) fn unary(&self, op: UnaryOp, d: DType, x: V<'c>) -> Done<V<'c>> {
        match x {
            V::IntValue(i) => self.unary_int(op, d, i),
            V::FloatValue(_) => self.unary_float(op, d, x),
            _ => mistake(format!("`{op}` of something that is not an element")),
        }
    }

    fn unary_int(&self, op: UnaryOp, d: DType, x: I<'c>) -> Done<V<'c>> {
        match (op, d.class()) {
            (UnaryOp::Not, Class::Bool | Class::Signed | Class::Unsigned) => Ok(self.not(x)?.into()),
            (UnaryOp::Neg, Class::Signed | Class::Unsigned) => Ok(self.builder.build_int_neg(x, "")?.into()),
            (UnaryOp::Abs, Class::Signed) => {
                self.value_of("llvm.abs", &[x.get_type().into()], &[x.into(), self.bool(false).into()])
            }
            (UnaryOp::Abs, Class::Unsigned) => Ok(x.into()),
            _ => mistake(format!("`{op}` of {d}")),
        }
    }

    fn unary_float(&self, op: UnaryOp, d: DType, x: V<'c>) -> Done<V<'c>> {
        let own = |name: &str| self.value_of(name, &[x.get_type()], &[x]);
        match op {
            UnaryOp::Neg => return Ok(self.builder.build_float_neg(x.into_float_value(), "")?.into()),
            UnaryOp::Abs => return own("llvm.fabs"),
            UnaryOp::IsNan => return self.float_compare(FloatPredicate::UNO, x, x),
            _ if is_half(d) => {
                let wide = self.cast(x, d, DType::F32)?;
                let y = self.unary_float(op, DType::F32, wide)?;
                return self.cast(y, DType::F32, d);
            }
            UnaryOp::Not => return mistake(format!("`{op}` of {d}")),
            UnaryOp::Floor => return own("llvm.floor"),
            UnaryOp::Ceil => return own("llvm.ceil"),
            UnaryOp::Round => return own("llvm.roundeven"),
            UnaryOp::Trunc => return own("llvm.trunc"),
            UnaryOp::Sqrt => return own("llvm.sqrt"),
            UnaryOp::Sin | UnaryOp::Cos => return self.sine(d, matches!(op, UnaryOp::Cos), x),
            UnaryOp::Rsqrt if d == DType::F64 => return self.formula(|m| m.f64(1.0) / m.x(x).sqrt()),
            UnaryOp::Exp if d == DType::F32 => return self.exp_f32(x),
            UnaryOp::Exp2 if d == DType::F32 => return self.exp2_f32(x),
            UnaryOp::Exp
            | UnaryOp::Exp2
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Rsqrt
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Erf => {}
        }
        match d {
            DType::F64 => self.function_f64(op, x),
            _ => self.expanded(op, x),
        }
    }

    /// A function of `f32` by the expansion that nests get.
    fn expanded(&self, op: UnaryOp, x: V<'c>) -> Done<V<'c>> {
        let Some(e) = math::expansion(op) else { return mistake(format!("`{op}` has no expansion")) };
        let mut values = vec![x; e.values.len()];
        for Inst { op, args, result, .. } in &e.body {
            let (Some(result), d) = (result, args.first().map(|v| e.values[v.index()].dtype)) else {
                return mistake("an instruction without result in an expansion");
            };
            let arg = |n: usize| values[args[n].index()];
            values[result.index()] = match (op, d) {
                (Op::Const(l), _) => self.literal(*l)?,
                (Op::Unary(op), Some(d)) => self.unary(*op, d, arg(0))?,
                (Op::Binary(op), Some(d)) => self.binary(*op, d, arg(0), arg(1))?,
                (Op::Fma, Some(d)) => self.fma(d, arg(0), arg(1), arg(2))?,
                (Op::Select, Some(_)) => self.select(arg(0).into_int_value(), arg(1), arg(2))?,
                (Op::Cast(to), Some(d)) => self.cast(arg(0), d, *to)?,
                (Op::Bitcast(to), Some(d)) => self.bitcast(arg(0), d, *to)?,
                _ => return mistake("an instruction of another kind in an expansion"),
            };
        }
        Ok(values[e.result.index()])
    }

    /// A binary operation on elements of type `d`.
    pub(super) fn binary(&self, op: BinaryOp, d: DType, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        match (a, b) {
            (V::IntValue(a), V::IntValue(b)) => self.binary_int(op, d, a, b),
            (V::FloatValue(_), V::FloatValue(_)) => self.binary_float(op, d, a, b),
            _ => mistake(format!("`{op}` of operands of different kinds")),
        }
    }

    fn binary_int(&self, op: BinaryOp, d: DType, a: I<'c>, b: I<'c>) -> Done<V<'c>> {
        let signed = match d.class() {
            Class::Signed => true,
            Class::Unsigned | Class::Bool => false,
            Class::Float | Class::Storage => return mistake(format!("`{op}` of {d}")),
        };
        let compare = |s: IntPredicate, u: IntPredicate| self.compare(if signed { s } else { u }, a, b);
        let call = |s: &str, u: &str| {
            let name = if signed { s } else { u };
            Ok(self.value_of(name, &[a.get_type().into()], &[a.into(), b.into()])?.into_int_value())
        };
        let r: Done<I<'c>> = match op {
            BinaryOp::Add => self.add(a, b),
            BinaryOp::Sub => self.sub(a, b),
            BinaryOp::Mul => self.mul(a, b),
            BinaryOp::Div | BinaryOp::Rem => self.divide(matches!(op, BinaryOp::Div), signed, a, b),
            BinaryOp::Min if d == DType::Bool => self.and(a, b),
            BinaryOp::Max if d == DType::Bool => self.or(a, b),
            BinaryOp::Min => call("llvm.smin", "llvm.umin"),
            BinaryOp::Max => call("llvm.smax", "llvm.umax"),
            BinaryOp::Pow => mistake(format!("`{op}` of {d}")),
            BinaryOp::And => self.and(a, b),
            BinaryOp::Or => self.or(a, b),
            BinaryOp::Xor => self.xor(a, b),
            BinaryOp::Shl | BinaryOp::Shr => {
                let t = a.get_type();
                let by = self.and(b, t.const_int(u64::from(t.get_bit_width() - 1), false))?;
                match op {
                    BinaryOp::Shl => Ok(self.builder.build_left_shift(a, by, "")?),
                    _ => Ok(self.builder.build_right_shift(a, by, signed, "")?),
                }
            }
            BinaryOp::Eq => compare(IntPredicate::EQ, IntPredicate::EQ),
            BinaryOp::Ne => compare(IntPredicate::NE, IntPredicate::NE),
            BinaryOp::Lt => compare(IntPredicate::SLT, IntPredicate::ULT),
            BinaryOp::Le => compare(IntPredicate::SLE, IntPredicate::ULE),
            BinaryOp::Gt => compare(IntPredicate::SGT, IntPredicate::UGT),
            BinaryOp::Ge => compare(IntPredicate::SGE, IntPredicate::UGE),
        };
        Ok(r?.into())
    }

    /// Quotient or remainder, zero for a zero divisor. A divisor of 1 takes the place of those that LLVM forbids: it gives
    /// the right answer for the smallest integer over -1.
    fn divide(&self, quotient: bool, signed: bool, a: I<'c>, b: I<'c>) -> Done<I<'c>> {
        let t = a.get_type();
        let zero = self.compare(IntPredicate::EQ, b, t.const_zero())?;
        let mut refused = zero;
        if signed {
            let least = self.compare(IntPredicate::EQ, a, t.const_int(1 << (t.get_bit_width() - 1), false))?;
            let minus = self.compare(IntPredicate::EQ, b, t.const_all_ones())?;
            refused = self.or(zero, self.and(least, minus)?)?;
        }
        let b = self.select(refused, t.const_int(1, false).into(), b.into())?.into_int_value();
        let r = match (quotient, signed) {
            (true, true) => self.builder.build_int_signed_div(a, b, "")?,
            (true, false) => self.builder.build_int_unsigned_div(a, b, "")?,
            // The remainder by 1 is zero.
            (false, true) => return Ok(self.builder.build_int_signed_rem(a, b, "")?),
            (false, false) => return Ok(self.builder.build_int_unsigned_rem(a, b, "")?),
        };
        Ok(self.select(zero, t.const_zero().into(), r.into())?.into_int_value())
    }

    fn float_compare(&self, p: FloatPredicate, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        Ok(self.builder.build_float_compare(p, a.into_float_value(), b.into_float_value(), "")?.into())
    }

    fn binary_float(&self, op: BinaryOp, d: DType, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        let (x, y) = (a.into_float_value(), b.into_float_value());
        let build = &self.builder;
        match op {
            BinaryOp::Add => Ok(build.build_float_add(x, y, "")?.into()),
            BinaryOp::Sub => Ok(build.build_float_sub(x, y, "")?.into()),
            BinaryOp::Mul => Ok(build.build_float_mul(x, y, "")?.into()),
            BinaryOp::Min => self.extremum(d, false, a, b),
            BinaryOp::Max => self.extremum(d, true, a, b),
            BinaryOp::Eq => self.float_compare(FloatPredicate::OEQ, a, b),
            BinaryOp::Ne => self.float_compare(FloatPredicate::UNE, a, b),
            BinaryOp::Lt => self.float_compare(FloatPredicate::OLT, a, b),
            BinaryOp::Le => self.float_compare(FloatPredicate::OLE, a, b),
            BinaryOp::Gt => self.float_compare(FloatPredicate::OGT, a, b),
            BinaryOp::Ge => self.float_compare(FloatPredicate::OGE, a, b),
            BinaryOp::Rem => {
                let (a, b) = (self.cast(a, d, DType::F64)?, self.cast(b, d, DType::F64)?);
                let r = self.remainder(a, b)?;
                // The remainder is a value of the operands' type.
                self.cast(r, DType::F64, d)
            }
            BinaryOp::Div | BinaryOp::Pow if is_half(d) => {
                let (a, b) = (self.cast(a, d, DType::F32)?, self.cast(b, d, DType::F32)?);
                let y = self.binary_float(op, DType::F32, a, b)?;
                self.cast(y, DType::F32, d)
            }
            BinaryOp::Div => Ok(build.build_float_div(x, y, "")?.into()),
            BinaryOp::Pow => self.pow(d, a, b),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr => {
                mistake(format!("`{op}` of {d}"))
            }
        }
    }

    /// The smaller or larger; NaN if either is.
    fn extremum(&self, d: DType, largest: bool, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        if d != DType::F64 {
            let name = if largest { "llvm.maximum" } else { "llvm.minimum" };
            return self.value_of(name, &[a.get_type()], &[a, b]);
        }
        let p = if largest { FloatPredicate::OGT } else { FloatPredicate::OLT };
        let first = self.float_compare(p, a, b)?.into_int_value();
        let nan = self.float_compare(FloatPredicate::UNO, a, a)?.into_int_value();
        self.select(self.or(first, nan)?, a, b)
    }

    /// `a * b + c`, rounded once.
    pub(super) fn fma(&self, d: DType, a: V<'c>, b: V<'c>, c: V<'c>) -> Done<V<'c>> {
        match (a, b, c) {
            (V::IntValue(a), V::IntValue(b), V::IntValue(c)) if d.is_int() => Ok(self.add(self.mul(a, b)?, c)?.into()),
            (V::FloatValue(_), V::FloatValue(_), V::FloatValue(_)) => {
                self.value_of("llvm.fma", &[a.get_type()], &[a, b, c])
            }
            _ => mistake(format!("`fma` of {d}")),
        }
    }
}
