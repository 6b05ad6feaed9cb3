//! Encoding and decoding of the floats with at most 16 bits, and exact rounding of integers.
//!
//! In: an `f64` (every value of a smaller float is one exactly). Out: the bits of the nearest value of the
//! small type, ties to even. There is one rounding, never two in a row.

use crate::dtype::DType;

/// The layout of a small float: a sign bit, `exp` exponent bits, `man` mantissa bits.
struct Format {
    exp: u32,
    man: u32,
    /// The code of the largest finite magnitude; the next code is what overflow gives (infinity, or NaN
    /// in e4m3fn, which has no infinity).
    max: u64,
    /// The code of NaN without sign.
    nan: u64,
}

impl Format {
    /// The exponent of the smallest normal number.
    const fn min_exp(&self) -> i32 {
        2 - (1 << (self.exp - 1))
    }
    const fn sign(&self) -> u64 {
        1 << (self.exp + self.man)
    }
}

/// The format of a small float type; `None` for every other type.
const fn format(dtype: DType) -> Option<Format> {
    match dtype {
        DType::F16 => Some(Format { exp: 5, man: 10, max: 0x7bff, nan: 0x7e00 }),
        DType::BF16 => Some(Format { exp: 8, man: 7, max: 0x7f7f, nan: 0x7fc0 }),
        DType::F8E4M3 => Some(Format { exp: 4, man: 3, max: 0x7e, nan: 0x7f }),
        DType::F8E5M2 => Some(Format { exp: 5, man: 2, max: 0x7b, nan: 0x7e }),
        DType::Bool
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::U8
        | DType::U16
        | DType::U32
        | DType::U64
        | DType::F32
        | DType::F64 => None,
    }
}

/// Two to the power `e`, for exponents of normal `f64`s.
fn exp2i(e: i32) -> f64 {
    f64::from_bits(((1023 + e) as u64) << 52)
}

/// The bits of the value of `dtype` nearest to `v`, ties to even; `None` if `dtype` is not a small float.
pub(super) fn encode(dtype: DType, v: f64) -> Option<u64> {
    let f = format(dtype)?;
    let sign = if v.is_sign_negative() { f.sign() } else { 0 };
    if v.is_nan() {
        return Some(f.nan);
    }
    let a = v.abs();
    if a.is_infinite() {
        return Some(sign | (f.max + 1));
    }
    let exp = ((a.to_bits() >> 52) as i32 - 1023).max(f.min_exp());
    // In units of the last place the value is an integer after rounding; the scaling is exact.
    let units = (a * exp2i(f.man as i32 - exp)).round_ties_even() as u64;
    let code = (((exp - f.min_exp()) as u64) << f.man) + units;
    Some(sign | code.min(f.max + 1))
}

/// The value of the small float with these bits; `None` if `dtype` is not a small float.
pub(super) fn decode(dtype: DType, bits: u64) -> Option<f64> {
    let f = format(dtype)?;
    let code = bits & (f.sign() - 1);
    let v = if code > f.max + 1 || (code > f.max && f.nan == f.max + 1) {
        return Some(f64::NAN);
    } else if code > f.max {
        f64::INFINITY
    } else {
        let (exp, man) = (code >> f.man, code & ((1 << f.man) - 1));
        let units = if exp == 0 { man } else { man | (1 << f.man) };
        units as f64 * exp2i(f.min_exp() + (exp.max(1) - 1) as i32 - f.man as i32)
    };
    Some(if bits & f.sign() != 0 { -v } else { v })
}

/// `v` as an `f64` that rounds to any shorter float as `v` itself would: low bits that do not fit are
/// kept as one sticky bit.
pub(super) fn sticky(magnitude: u64, negative: bool) -> f64 {
    let shift = 64 - magnitude.leading_zeros().min(64);
    let kept = if shift <= 53 {
        magnitude as f64
    } else {
        let drop = shift - 53;
        let low = magnitude & ((1 << drop) - 1);
        let high = (magnitude >> drop) | u64::from(low != 0);
        high as f64 * exp2i(drop as i32)
    };
    if negative { -kept } else { kept }
}
