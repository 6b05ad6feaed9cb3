//! Conversions between element types: floats to integers truncate and saturate (NaN gives 0), integers
//! wrap, floats round to nearest even once, `bool` is "not zero".

use super::{Lower, clif_type};
use crate::cpu::Error;
use crate::cpu::runtime::{Runtime, ordinal};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, types};
use helion_ir::dtype::{Class, DType};

impl Lower<'_> {
    /// Converts a value.
    pub(super) fn cast(&mut self, from: DType, to: DType, x: ir::Value) -> Result<ir::Value, Error> {
        if from == to {
            return Ok(x);
        }
        match (from.class(), to.class()) {
            (Class::Float | Class::Storage, Class::Float | Class::Storage) => Ok(self.float_to_float(from, to, x)),
            (Class::Float | Class::Storage, Class::Signed | Class::Unsigned) => {
                let (x, _) = self.native_float(from, x);
                Ok(self.float_to_int(to, x))
            }
            (Class::Float | Class::Storage, Class::Bool) => {
                let (x, d) = self.native_float(from, x);
                let zero = self.float(d, 0.0);
                Ok(self.b.ins().fcmp(FloatCC::NotEqual, x, zero))
            }
            (Class::Signed | Class::Unsigned, Class::Bool) => {
                let zero = self.iconst(clif_type(from), 0);
                Ok(self.b.ins().icmp(IntCC::NotEqual, x, zero))
            }
            (Class::Signed | Class::Unsigned | Class::Bool, Class::Signed | Class::Unsigned | Class::Bool) => {
                Ok(self.resize(from, clif_type(to), x))
            }
            (Class::Signed | Class::Unsigned | Class::Bool, Class::Float | Class::Storage) => {
                Ok(self.int_to_float(from, to, x))
            }
        }
    }

    /// Widens by the source's signedness, or drops high bits.
    fn resize(&mut self, from: DType, to: ir::Type, x: ir::Value) -> ir::Value {
        let have = clif_type(from);
        if have.bits() == to.bits() {
            x
        } else if have.bits() > to.bits() {
            self.b.ins().ireduce(to, x)
        } else if from.class() == Class::Signed {
            self.b.ins().sextend(to, x)
        } else {
            self.b.ins().uextend(to, x)
        }
    }

    /// The value as `f32` or `f64`, exactly.
    fn native_float(&mut self, from: DType, x: ir::Value) -> (ir::Value, DType) {
        match from {
            DType::F64 => (x, DType::F64),
            DType::F16 => (self.f16_to_f32(x), DType::F32),
            DType::BF16 => (self.bf16_to_f32(x), DType::F32),
            DType::F8E4M3 | DType::F8E5M2 => {
                let of = self.iconst(types::I32, ordinal(from));
                let wide = self.b.ins().uextend(types::I32, x);
                (self.call(Runtime::Widen8, &[of, wide]), DType::F32)
            }
            DType::F32
            | DType::Bool
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::U8
            | DType::U16
            | DType::U32
            | DType::U64 => (x, DType::F32),
        }
    }

    fn float_to_float(&mut self, from: DType, to: DType, x: ir::Value) -> ir::Value {
        let (x, d) = self.native_float(from, x);
        match (to, d) {
            (DType::F64, DType::F32) => self.b.ins().fpromote(types::F64, x),
            (DType::F32, DType::F64) => self.b.ins().fdemote(types::F32, x),
            (DType::F16, DType::F32) => {
                let bits = self.call(Runtime::ToF16, &[x]);
                self.b.ins().ireduce(types::I16, bits)
            }
            (DType::BF16, DType::F32) => self.f32_to_bf16(x),
            (DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2, _) => {
                let x = if d == DType::F64 { x } else { self.b.ins().fpromote(types::F64, x) };
                self.narrow(to, x)
            }
            _ => x,
        }
    }

    /// An `f64` rounded once to a small float.
    fn narrow(&mut self, to: DType, x: ir::Value) -> ir::Value {
        let of = self.iconst(types::I32, ordinal(to));
        let bits = self.call(Runtime::Narrow, &[of, x]);
        self.b.ins().ireduce(clif_type(to), bits)
    }

    /// Shifts the fraction into place and scales by 2^112, which also normalises denormals.
    fn f16_to_f32(&mut self, x: ir::Value) -> ir::Value {
        let wide = self.b.ins().uextend(types::I32, x);
        let sign_mask = self.iconst(types::I32, 0x8000);
        let sign = self.b.ins().band(wide, sign_mask);
        let magnitude = self.b.ins().bxor(wide, sign);
        let (s16, s13) = (self.iconst(types::I8, 16), self.iconst(types::I8, 13));
        let sign = self.b.ins().ishl(sign, s16);
        let shifted = self.b.ins().ishl(magnitude, s13);
        let small = self.b.ins().bitcast(types::F32, MemFlagsData::new(), shifted);
        let scale = self.b.ins().f32const(f32::from_bits(0x7780_0000));
        let scaled = self.b.ins().fmul(small, scale);
        let scaled = self.b.ins().bitcast(types::I32, MemFlagsData::new(), scaled);
        let (limit, all) = (self.iconst(types::I32, 0x7c00), self.iconst(types::I32, 0x7f80_0000));
        let special = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, magnitude, limit);
        let infinite = self.b.ins().bor(shifted, all);
        let bits = self.b.ins().select(special, infinite, scaled);
        let bits = self.b.ins().bor(bits, sign);
        self.b.ins().bitcast(types::F32, MemFlagsData::new(), bits)
    }

    fn bf16_to_f32(&mut self, x: ir::Value) -> ir::Value {
        let wide = self.b.ins().uextend(types::I32, x);
        let s16 = self.iconst(types::I8, 16);
        let bits = self.b.ins().ishl(wide, s16);
        self.b.ins().bitcast(types::F32, MemFlagsData::new(), bits)
    }

    /// Rounds to nearest even on the bits; a NaN stays one.
    fn f32_to_bf16(&mut self, x: ir::Value) -> ir::Value {
        let bits = self.b.ins().bitcast(types::I32, MemFlagsData::new(), x);
        let (s16, one) = (self.iconst(types::I8, 16), self.iconst(types::I32, 1));
        let high = self.b.ins().ushr(bits, s16);
        let odd = self.b.ins().band(high, one);
        let up = self.add_const(odd, 0x7fff);
        let rounded = self.b.ins().iadd(bits, up);
        let rounded = self.b.ins().ushr(rounded, s16);
        let quiet = self.iconst(types::I32, 0x40);
        let nan = self.b.ins().bor(high, quiet);
        let is_nan = self.b.ins().fcmp(FloatCC::Unordered, x, x);
        let r = self.b.ins().select(is_nan, nan, rounded);
        self.b.ins().ireduce(types::I16, r)
    }

    fn float_to_int(&mut self, to: DType, x: ir::Value) -> ir::Value {
        let ty = clif_type(to);
        let signed = to.class() == Class::Signed;
        if ty.bits() >= 32 {
            return if signed { self.b.ins().fcvt_to_sint_sat(ty, x) } else { self.b.ins().fcvt_to_uint_sat(ty, x) };
        }
        let wide = self.b.ins().fcvt_to_sint_sat(types::I32, x);
        let (lo, hi) = match (signed, ty.bits()) {
            (true, bits) => (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1),
            (false, bits) => (0, (1i64 << bits) - 1),
        };
        let (lo, hi) = (self.iconst(types::I32, lo), self.iconst(types::I32, hi));
        let clamped = self.b.ins().smax(wide, lo);
        let clamped = self.b.ins().smin(clamped, hi);
        self.b.ins().ireduce(ty, clamped)
    }

    fn int_to_float(&mut self, from: DType, to: DType, x: ir::Value) -> ir::Value {
        let bits = clif_type(from).bits();
        let wide = if bits < 32 { types::I32 } else { clif_type(from) };
        let unsigned = from.class() != Class::Signed && bits >= 32;
        let x = self.resize(from, wide, x);
        let convert = |s: &mut Self, ty: ir::Type| {
            if unsigned { s.b.ins().fcvt_from_uint(ty, x) } else { s.b.ins().fcvt_from_sint(ty, x) }
        };
        match to {
            DType::F64 => convert(self, types::F64),
            DType::F32 => convert(self, types::F32),
            _ if bits == 64 => {
                let (of, into) = (self.iconst(types::I32, ordinal(from)), self.iconst(types::I32, ordinal(to)));
                let r = self.call(Runtime::FromInt, &[of, into, x]);
                self.b.ins().ireduce(clif_type(to), r)
            }
            _ => {
                let x = convert(self, types::F64);
                self.narrow(to, x)
            }
        }
    }
}
