//! Conversions between element types, exactly as `helion_ir::eval::cast` says.
//!
//! In: an element in a register, its type, another type. Out: the element in that type: rounded once (to nearest, ties to
//! even) into floats, wrapped between integers, truncated and saturated from floats to integers, where NaN gives zero.
//! Where an instruction would round twice, `f32` takes the value rounded to odd first: with more bits than the result by
//! at least two, that loses nothing the second rounding needs.

use super::emit::{Done, Emit, F, I, V, mistake};
use helion_ir::dtype::{Class, DType};
use inkwell::{FloatPredicate, IntPredicate};

impl<'c> Emit<'c> {
    /// The value of `x` in another type.
    pub(super) fn cast(&self, x: V<'c>, from: DType, to: DType) -> Done<V<'c>> {
        if from == to {
            return Ok(x);
        }
        match (x, from.class()) {
            (V::IntValue(i), Class::Storage) => {
                let half = self.decode_small(from, i)?;
                self.cast(half.into(), DType::F16, to)
            }
            (V::IntValue(i), _) => self.cast_int(i, from, to),
            (V::FloatValue(f), _) => self.cast_float(f, from, to),
            _ => mistake(format!("a cast of something that is not {from}")),
        }
    }

    fn cast_int(&self, x: I<'c>, from: DType, to: DType) -> Done<V<'c>> {
        let signed = matches!(from.class(), Class::Signed);
        let build = &self.builder;
        match to {
            DType::Bool => Ok(self.compare(IntPredicate::NE, x, x.get_type().const_zero())?.into()),
            DType::F16 if x.get_type().get_bit_width() > 16 => {
                // What `f32` has to round is beyond the largest `f16` anyway.
                let f = self.cast_int(x, from, DType::F32)?;
                self.cast(f, DType::F32, to)
            }
            DType::F16 | DType::F32 | DType::F64 => {
                let t = self.register_type(to).into_float_type();
                Ok(match signed {
                    true => build.build_signed_int_to_float(x, t, "")?.into(),
                    false => build.build_unsigned_int_to_float(x, t, "")?.into(),
                })
            }
            DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                let f = self.int_to_odd(x, from)?;
                self.cast(f, DType::F32, to)
            }
            _ => Ok(build.build_int_cast_sign_flag(x, self.register_type(to).into_int_type(), signed, "")?.into()),
        }
    }

    /// An integer as `f32`, rounded to odd.
    fn int_to_odd(&self, x: I<'c>, from: DType) -> Done<V<'c>> {
        if from.size() <= 2 {
            return self.cast_int(x, from, DType::F32);
        }
        let (there, back) = match from {
            DType::I32 => ("i2f", "f2i"),
            DType::U32 => ("ui2f", "f2ui"),
            DType::I64 => ("ll2f", "f2ll"),
            _ => ("ull2f", "f2ull"),
        };
        let call = |name: &str, v: V<'c>| self.value_of(&format!("llvm.nvvm.{name}.rz"), &[], &[v]);
        let f = call(there, x.into())?;
        let again = call(back, f)?.into_int_value();
        self.odd(f, self.compare(IntPredicate::NE, again, x)?)
    }

    /// An `f64` as `f32`, rounded to odd.
    fn double_to_odd(&self, x: F<'c>) -> Done<V<'c>> {
        let f = self.value_of("llvm.nvvm.d2f.rz", &[], &[x.into()])?;
        let again = self.builder.build_float_ext(f.into_float_value(), self.context.f64_type(), "")?;
        // NaN differs from itself and stays NaN.
        self.odd(f, self.builder.build_float_compare(FloatPredicate::UNE, again, x, "")?)
    }

    /// An `f32` that was rounded toward zero, with its last bit set if that lost anything.
    fn odd(&self, f: V<'c>, lossy: I<'c>) -> Done<V<'c>> {
        let word = self.context.i32_type();
        let bits = self.bits_to(f, word.into())?.into_int_value();
        let sticky = self.builder.build_int_z_extend(lossy, word, "")?;
        self.bits_to(self.or(bits, sticky)?.into(), self.context.f32_type().into())
    }

    fn cast_float(&self, x: F<'c>, from: DType, to: DType) -> Done<V<'c>> {
        match (from, to) {
            (_, DType::Bool) => {
                let zero = x.get_type().const_zero();
                Ok(self.builder.build_float_compare(FloatPredicate::UNE, x, zero, "")?.into())
            }
            (_, DType::F64) | (DType::F16 | DType::BF16, DType::F32) => {
                Ok(self.builder.build_float_ext(x, self.register_type(to).into_float_type(), "")?.into())
            }
            (DType::F16 | DType::BF16, _) => {
                let wide = self.cast_float(x, from, DType::F32)?;
                self.cast(wide, DType::F32, to)
            }
            (DType::F64, DType::BF16 | DType::F8E4M3 | DType::F8E5M2) => {
                let odd = self.double_to_odd(x)?;
                self.cast(odd, DType::F32, to)
            }
            (_, DType::F32 | DType::F16 | DType::BF16) => {
                Ok(self.builder.build_float_trunc(x, self.register_type(to).into_float_type(), "")?.into())
            }
            (_, DType::F8E4M3 | DType::F8E5M2) => Ok(self.encode_small(to, x)?.into()),
            _ => Ok(self.float_to_int(x, from, to)?.into()),
        }
    }

    /// Toward zero, saturated; NaN gives zero. The instructions saturate to 32 or 64 bits.
    fn float_to_int(&self, x: F<'c>, from: DType, to: DType) -> Done<I<'c>> {
        let letter = if from == DType::F64 { "d" } else { "f" };
        let signed = matches!(to.class(), Class::Signed);
        let kind = match (to.size(), signed) {
            (8, true) => "ll",
            (8, false) => "ull",
            (_, true) => "i",
            (_, false) => "ui",
        };
        let r = self.value_of(&format!("llvm.nvvm.{letter}2{kind}.rz"), &[], &[x.into()])?.into_int_value();
        // The instructions give zero for NaN only from `f32` to 32 bits.
        let r = if from == DType::F64 || to.size() == 8 {
            let nan = self.builder.build_float_compare(FloatPredicate::UNO, x, x, "")?;
            self.select(nan, r.get_type().const_zero().into(), r.into())?.into_int_value()
        } else {
            r
        };
        if to.size() >= 4 {
            return Ok(r);
        }
        let t = r.get_type();
        let (low, high) = match signed {
            true => (-(1i64 << (8 * to.size() - 1)), (1i64 << (8 * to.size() - 1)) - 1),
            false => (0, (1i64 << (8 * to.size())) - 1),
        };
        let bound = |name: &str, r: I<'c>, by: i64| {
            let by = t.const_int(by as u64, true);
            Ok(self.value_of(name, &[t.into()], &[r.into(), by.into()])?.into_int_value())
        };
        let r: Done<I<'c>> = match signed {
            true => bound("llvm.smax", bound("llvm.smin", r, high)?, low),
            false => bound("llvm.umin", r, high),
        };
        Ok(self.builder.build_int_truncate(r?, self.register_type(to).into_int_type(), "")?)
    }

    /// The bits of `x` as another type of the same size.
    pub(super) fn bitcast(&self, x: V<'c>, from: DType, to: DType) -> Done<V<'c>> {
        if from.size() != to.size() {
            return mistake(format!("a bitcast from {from} to {to}"));
        }
        match (x, from, to) {
            (V::IntValue(i), DType::Bool, _) if to != DType::Bool => {
                Ok(self.builder.build_int_z_extend(i, self.context.i8_type(), "")?.into())
            }
            (V::IntValue(i), _, DType::Bool) if from != DType::Bool => {
                Ok(self.compare(IntPredicate::NE, i, i.get_type().const_zero())?.into())
            }
            _ => self.bits_to(x, self.register_type(to)),
        }
    }
}
