//! Elementwise operations on one element, with the meaning of `helion_ir::eval`.
//!
//! 16-bit floats compute in `f32` and round after each operation.

use super::{Lower, clif_type};
use crate::cpu::Error;
use crate::cpu::runtime::Runtime;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{self, InstBuilder, types};
use helion_ir::dtype::{Class, DType};
use helion_ir::{BinaryOp, UnaryOp};

/// Whether a float type computes in `f32`.
fn is_half(d: DType) -> bool {
    matches!(d, DType::F16 | DType::BF16)
}

fn unsupported(op: impl std::fmt::Display, d: DType) -> Error {
    Error::Malformed(format!("`{op}` does not apply to {d}"))
}

/// The `f32` or the `f64` function.
fn pick(d: DType, single: Runtime, double: Runtime) -> Runtime {
    if d == DType::F64 { double } else { single }
}

impl Lower<'_> {
    /// A unary operation.
    pub(super) fn unary(&mut self, op: UnaryOp, d: DType, x: ir::Value) -> Result<ir::Value, Error> {
        if is_half(d) {
            let wide = self.cast(d, DType::F32, x)?;
            let y = self.unary(op, DType::F32, wide)?;
            return if op == UnaryOp::IsNan { Ok(y) } else { self.cast(DType::F32, d, y) };
        }
        match d.class() {
            Class::Float => Ok(self.unary_float(op, d, x)),
            Class::Signed | Class::Unsigned => self.unary_int(op, d, x),
            Class::Bool if op == UnaryOp::Not => {
                let one = self.iconst(types::I8, 1);
                Ok(self.b.ins().bxor(x, one))
            }
            Class::Bool | Class::Storage => Err(unsupported(op, d)),
        }
    }

    fn unary_int(&mut self, op: UnaryOp, d: DType, x: ir::Value) -> Result<ir::Value, Error> {
        match op {
            UnaryOp::Neg => Ok(self.b.ins().ineg(x)),
            UnaryOp::Not => Ok(self.b.ins().bnot(x)),
            UnaryOp::Abs if d.class() == Class::Unsigned => Ok(x),
            UnaryOp::Abs => {
                let n = self.b.ins().ineg(x);
                let zero = self.iconst(clif_type(d), 0);
                let negative = self.b.ins().icmp(IntCC::SignedLessThan, x, zero);
                Ok(self.b.ins().select(negative, n, x))
            }
            UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Round
            | UnaryOp::Trunc
            | UnaryOp::Exp
            | UnaryOp::Exp2
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Sqrt
            | UnaryOp::Rsqrt
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tanh
            | UnaryOp::Sigmoid
            | UnaryOp::Erf
            | UnaryOp::IsNan => Err(unsupported(op, d)),
        }
    }

    fn unary_float(&mut self, op: UnaryOp, d: DType, x: ir::Value) -> ir::Value {
        use Runtime as R;
        let f = match op {
            UnaryOp::Neg | UnaryOp::Not => return self.b.ins().fneg(x),
            UnaryOp::Abs => return self.b.ins().fabs(x),
            UnaryOp::Floor => return self.b.ins().floor(x),
            UnaryOp::Ceil => return self.b.ins().ceil(x),
            UnaryOp::Round => return self.b.ins().nearest(x),
            UnaryOp::Trunc => return self.b.ins().trunc(x),
            UnaryOp::Sqrt => return self.b.ins().sqrt(x),
            UnaryOp::IsNan => return self.b.ins().fcmp(FloatCC::Unordered, x, x),
            UnaryOp::Rsqrt => {
                let root = self.b.ins().sqrt(x);
                let one = self.float(d, 1.0);
                return self.b.ins().fdiv(one, root);
            }
            UnaryOp::Exp => pick(d, R::ExpF32, R::ExpF64),
            UnaryOp::Exp2 => pick(d, R::Exp2F32, R::Exp2F64),
            UnaryOp::Log => pick(d, R::LogF32, R::LogF64),
            UnaryOp::Log2 => pick(d, R::Log2F32, R::Log2F64),
            UnaryOp::Sin => pick(d, R::SinF32, R::SinF64),
            UnaryOp::Cos => pick(d, R::CosF32, R::CosF64),
            UnaryOp::Tanh => pick(d, R::TanhF32, R::TanhF64),
            UnaryOp::Sigmoid => pick(d, R::SigmoidF32, R::SigmoidF64),
            UnaryOp::Erf => pick(d, R::ErfF32, R::ErfF64),
        };
        self.call(f, &[x])
    }

    /// A float constant.
    pub(super) fn float(&mut self, d: DType, v: f64) -> ir::Value {
        if d == DType::F64 { self.b.ins().f64const(v) } else { self.b.ins().f32const(v as f32) }
    }

    /// `a * b + c`, rounded once.
    pub(super) fn fma(&mut self, d: DType, a: ir::Value, b: ir::Value, c: ir::Value) -> Result<ir::Value, Error> {
        match d.class() {
            Class::Float if is_half(d) => {
                // Exact product in f64; the sum is rounded there first, far below a 16-bit ulp.
                let (a, b) = (self.cast(d, DType::F64, a)?, self.cast(d, DType::F64, b)?);
                let c = self.cast(d, DType::F64, c)?;
                let r = self.b.ins().fma(a, b, c);
                self.cast(DType::F64, d, r)
            }
            Class::Float => Ok(self.b.ins().fma(a, b, c)),
            Class::Signed | Class::Unsigned => {
                let p = self.b.ins().imul(a, b);
                Ok(self.b.ins().iadd(p, c))
            }
            Class::Bool | Class::Storage => Err(unsupported("fma", d)),
        }
    }

    /// A binary operation.
    pub(super) fn binary(&mut self, op: BinaryOp, d: DType, a: ir::Value, b: ir::Value) -> Result<ir::Value, Error> {
        if is_half(d) {
            let (wa, wb) = (self.cast(d, DType::F32, a)?, self.cast(d, DType::F32, b)?);
            let y = self.binary(op, DType::F32, wa, wb)?;
            let is_test = op.rule().result(d) == DType::Bool;
            return if is_test { Ok(y) } else { self.cast(DType::F32, d, y) };
        }
        match d.class() {
            Class::Float => self.binary_float(op, d, a, b),
            Class::Signed | Class::Unsigned | Class::Bool => self.binary_int(op, d, a, b),
            Class::Storage => Err(unsupported(op, d)),
        }
    }

    fn binary_float(&mut self, op: BinaryOp, d: DType, a: ir::Value, b: ir::Value) -> Result<ir::Value, Error> {
        Ok(match op {
            BinaryOp::Add => self.b.ins().fadd(a, b),
            BinaryOp::Sub => self.b.ins().fsub(a, b),
            BinaryOp::Mul => self.b.ins().fmul(a, b),
            BinaryOp::Div => self.b.ins().fdiv(a, b),
            BinaryOp::Min => self.b.ins().fmin(a, b),
            BinaryOp::Max => self.b.ins().fmax(a, b),
            BinaryOp::Rem => self.call(pick(d, Runtime::RemF32, Runtime::RemF64), &[a, b]),
            BinaryOp::Pow => self.call(pick(d, Runtime::PowF32, Runtime::PowF64), &[a, b]),
            BinaryOp::Eq => self.b.ins().fcmp(FloatCC::Equal, a, b),
            BinaryOp::Ne => self.b.ins().fcmp(FloatCC::NotEqual, a, b),
            BinaryOp::Lt => self.b.ins().fcmp(FloatCC::LessThan, a, b),
            BinaryOp::Le => self.b.ins().fcmp(FloatCC::LessThanOrEqual, a, b),
            BinaryOp::Gt => self.b.ins().fcmp(FloatCC::GreaterThan, a, b),
            BinaryOp::Ge => self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, a, b),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr => {
                return Err(unsupported(op, d));
            }
        })
    }

    fn binary_int(&mut self, op: BinaryOp, d: DType, a: ir::Value, b: ir::Value) -> Result<ir::Value, Error> {
        let signed = d.class() == Class::Signed;
        Ok(match op {
            BinaryOp::Add => self.b.ins().iadd(a, b),
            BinaryOp::Sub => self.b.ins().isub(a, b),
            BinaryOp::Mul => self.b.ins().imul(a, b),
            BinaryOp::Div => self.divide(d, a, b, false),
            BinaryOp::Rem => self.divide(d, a, b, true),
            BinaryOp::Min if signed => self.b.ins().smin(a, b),
            BinaryOp::Max if signed => self.b.ins().smax(a, b),
            BinaryOp::Min => self.b.ins().umin(a, b),
            BinaryOp::Max => self.b.ins().umax(a, b),
            BinaryOp::And => self.b.ins().band(a, b),
            BinaryOp::Or => self.b.ins().bor(a, b),
            BinaryOp::Xor => self.b.ins().bxor(a, b),
            // Cranelift takes shift amounts modulo the width.
            BinaryOp::Shl => self.b.ins().ishl(a, b),
            BinaryOp::Shr if signed => self.b.ins().sshr(a, b),
            BinaryOp::Shr => self.b.ins().ushr(a, b),
            BinaryOp::Eq => self.b.ins().icmp(IntCC::Equal, a, b),
            BinaryOp::Ne => self.b.ins().icmp(IntCC::NotEqual, a, b),
            BinaryOp::Lt => self.b.ins().icmp(order(IntCC::SignedLessThan, signed), a, b),
            BinaryOp::Le => self.b.ins().icmp(order(IntCC::SignedLessThanOrEqual, signed), a, b),
            BinaryOp::Gt => self.b.ins().icmp(order(IntCC::SignedGreaterThan, signed), a, b),
            BinaryOp::Ge => self.b.ins().icmp(order(IntCC::SignedGreaterThanOrEqual, signed), a, b),
            BinaryOp::Pow => return Err(unsupported(op, d)),
        })
    }

    /// Integer division or remainder: by zero gives zero, the smallest value over -1 wraps. The hardware
    /// instruction would trap in both cases, so it gets a harmless divisor there.
    fn divide(&mut self, d: DType, a: ir::Value, b: ir::Value, rem: bool) -> ir::Value {
        let narrow = clif_type(d);
        let signed = d.class() == Class::Signed;
        if narrow.bits() < 32 {
            let (wa, wb) = if signed {
                (self.b.ins().sextend(types::I32, a), self.b.ins().sextend(types::I32, b))
            } else {
                (self.b.ins().uextend(types::I32, a), self.b.ins().uextend(types::I32, b))
            };
            let r = self.divide(if signed { DType::I32 } else { DType::U32 }, wa, wb, rem);
            return self.b.ins().ireduce(narrow, r);
        }
        match self.const_of(b) {
            Some(0) => return self.iconst(narrow, 0),
            Some(c) if c > 0 => return self.divide_safe(signed, a, b, rem),
            Some(_) | None => {}
        }
        let (zero, one) = (self.iconst(narrow, 0), self.iconst(narrow, 1));
        let by_zero = self.b.ins().icmp(IntCC::Equal, b, zero);
        if !signed {
            let safe = self.b.ins().select(by_zero, one, b);
            let r = self.divide_safe(false, a, safe, rem);
            return self.b.ins().select(by_zero, zero, r);
        }
        let minus = self.iconst(narrow, -1);
        let by_minus = self.b.ins().icmp(IntCC::Equal, b, minus);
        let either = self.b.ins().bor(by_zero, by_minus);
        let safe = self.b.ins().select(either, one, b);
        let r = self.divide_safe(true, a, safe, rem);
        // With the divisor replaced by 1 the remainder is already 0, and the quotient is `a`.
        if rem {
            return r;
        }
        let negated = self.b.ins().ineg(a);
        let r = self.b.ins().select(by_minus, negated, r);
        self.b.ins().select(by_zero, zero, r)
    }

    fn divide_safe(&mut self, signed: bool, a: ir::Value, b: ir::Value, rem: bool) -> ir::Value {
        match (signed, rem) {
            (true, false) => self.b.ins().sdiv(a, b),
            (true, true) => self.b.ins().srem(a, b),
            (false, false) => self.b.ins().udiv(a, b),
            (false, true) => self.b.ins().urem(a, b),
        }
    }
}

/// A signed order, or its unsigned form.
fn order(cc: IntCC, signed: bool) -> IntCC {
    if signed { cc } else { cc.unsigned() }
}
