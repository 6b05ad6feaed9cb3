//! 8-bit floats from and to longer ones.
//!
//! In: the bits of an `f8e4m3` or `f8e5m2`, or an `f32`. Out: the value as `f16`, which has them all; or the bits of the
//! nearest 8-bit float, ties to even, where overflow gives infinity, or NaN in `f8e4m3`, which has none.

use super::emit::{Done, Emit, F, I, V, mistake};
use helion_ir::dtype::DType;
use inkwell::{FloatPredicate, IntPredicate};

/// The layout of an 8-bit float, and the instruction that makes two.
struct Format {
    /// Bits after the leading one.
    mantissa: u32,
    /// The exponent of the smallest normal number.
    least: i32,
    /// The code of what is beyond the largest number, and of NaN.
    beyond: u64,
    nan: u64,
    /// Up to here values round to a number.
    limit: f32,
    /// Whether a value at the limit is one of those.
    inclusive: bool,
    name: &'static str,
}

fn format(d: DType) -> Done<Format> {
    match d {
        DType::F8E4M3 => Ok(Format {
            mantissa: 3,
            least: -6,
            beyond: 0x7f,
            nan: 0x7f,
            limit: 464.0,
            inclusive: true,
            name: "e4m3x2",
        }),
        DType::F8E5M2 => Ok(Format {
            mantissa: 2,
            least: -14,
            beyond: 0x7c,
            nan: 0x7e,
            limit: 61440.0,
            inclusive: false,
            name: "e5m2x2",
        }),
        _ => mistake(format!("{d} is not an 8-bit float")),
    }
}

impl<'c> Emit<'c> {
    /// The value as `f16`.
    pub(super) fn decode_small(&self, d: DType, bits: I<'c>) -> Done<F<'c>> {
        let half = self.context.f16_type();
        let wide = self.builder.build_int_z_extend(bits, self.context.i16_type(), "")?;
        if d == DType::F8E5M2 {
            // The upper half of an `f16`.
            return Ok(self.bits_to(self.shl(wide, 8)?.into(), half.into())?.into_float_value());
        }
        if self.arch.has_fp8() {
            let pair = self.value_of("llvm.nvvm.e4m3x2.to.f16x2.rn", &[], &[wide.into()])?;
            return Ok(self.part(pair, 0)?.into_float_value());
        }
        // The exponent and mantissa of an `f16` that is 2^8 too small.
        let constant = |v: u64| self.context.i16_type().const_int(v, false);
        let magnitude = self.and(wide, constant(0x7f))?;
        let sign = self.shl(self.and(wide, constant(0x80))?, 8)?;
        let small = self.bits_to(self.or(self.shl(magnitude, 7)?, sign)?.into(), half.into())?.into_float_value();
        let value = self.builder.build_float_mul(small, half.const_float(256.0), "")?;
        let nan = self.compare(IntPredicate::EQ, magnitude, constant(0x7f))?;
        Ok(self.select(nan, half.const_float(f64::NAN).into(), value.into())?.into_float_value())
    }

    /// The bits of the nearest 8-bit float.
    pub(super) fn encode_small(&self, d: DType, x: F<'c>) -> Done<I<'c>> {
        let f = format(d)?;
        match self.arch.has_fp8() {
            true => self.encode_by_instruction(&f, x),
            false => self.encode_by_bits(&f, x),
        }
    }

    /// The instruction saturates; what it should not have saturated is put right.
    fn encode_by_instruction(&self, f: &Format, x: F<'c>) -> Done<I<'c>> {
        let byte = self.context.i8_type();
        let zero = self.f32(0.0);
        let pair = self.value_of(&format!("llvm.nvvm.ff.to.{}.rn", f.name), &[], &[zero.into(), x.into()])?;
        let code = self.builder.build_int_truncate(pair.into_int_value(), byte, "")?;
        let magnitude = self.value_of("llvm.fabs", &[x.get_type().into()], &[x.into()])?.into_float_value();
        let p = if f.inclusive { FloatPredicate::OGT } else { FloatPredicate::OGE };
        let over = self.builder.build_float_compare(p, magnitude, self.f32(f.limit), "")?;
        let sign = self.and(code, byte.const_int(0x80, false))?;
        let beyond = self.or(sign, byte.const_int(f.beyond, false))?;
        Ok(self.select(over, beyond.into(), code.into())?.into_int_value())
    }

    fn encode_by_bits(&self, f: &Format, x: F<'c>) -> Done<I<'c>> {
        let word = self.context.i32_type();
        let constant = |v: u64| word.const_int(v, false);
        let bits = self.bits_to(x.into(), word.into())?.into_int_value();
        let magnitude = self.and(bits, constant(0x7fff_ffff))?;
        // Normal results: add just below half of the last place, or half where the last bit is odd, and cut.
        let drop = u64::from(23 - f.mantissa);
        let last = self.and(self.shr(magnitude, drop)?, constant(1))?;
        let rounded = self.add(self.add(magnitude, last)?, constant((1 << (drop - 1)) - 1))?;
        let bias = ((127 + f.least - 1) as u64) << f.mantissa;
        let normal = self.sub(self.shr(rounded, drop)?, constant(bias))?;
        // Others: an addition that leaves the units of the last place in the low bits rounds them.
        let magic = f32::from_bits(((127 + f.least - f.mantissa as i32 + 23) as u32) << 23);
        let a = self.bits_to(magnitude.into(), self.context.f32_type().into())?.into_float_value();
        let units = self.builder.build_float_add(a, self.f32(magic), "")?;
        let units = self.bits_to(units.into(), word.into())?.into_int_value();
        let denormal = self.sub(units, constant(u64::from(magic.to_bits())))?;
        let least = constant(((127 + f.least) as u64) << 23);
        let is_denormal = self.compare(IntPredicate::ULT, magnitude, least)?;
        let code = self.select(is_denormal, denormal.into(), normal.into())?;
        let code = self.value_of("llvm.umin", &[word.into()], &[code, constant(f.beyond).into()])?;
        let nan = self.compare(IntPredicate::UGT, magnitude, constant(0x7f80_0000))?;
        let code = self.select(nan, constant(f.nan).into(), code)?.into_int_value();
        let sign = self.and(self.shr(bits, 24)?, constant(0x80))?;
        let value: V<'c> = self.or(code, sign)?.into();
        Ok(self.builder.build_int_truncate(value.into_int_value(), self.context.i8_type(), "")?)
    }
}
