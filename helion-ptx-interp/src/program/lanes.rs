//! What the 32 lanes of a warp hold, and functions on all of them at once.
//!
//! A register is 32 numbers of 64 bits. Narrow values are zero-extended: that is an invariant which every
//! function keeps. A [`Value`] says how the bits are read and written; for floats this is where denormals are flushed and
//! NaNs made canonical, and for 16-bit floats where they are rounded. So one formula serves a whole family of types.

use crate::float::add_odd;
use half::{bf16, f16};

/// Threads in a warp.
pub(crate) const WARP: usize = 32;

/// One register of a warp.
pub(crate) type Lanes = [u64; WARP];

/// The operands of a lane function; what it does not use is a constant zero.
pub(crate) type Sources<'a> = [&'a Lanes; 4];

/// Computes all lanes of a result.
pub(crate) type LaneFn = fn(&Sources<'_>, &mut Lanes);

/// A way to read and write the bits of a lane.
pub(crate) trait Value {
    /// What formulas work on.
    type Native: Copy;
    /// Reads a lane.
    fn of(bits: u64) -> Self::Native;
    /// Writes a lane.
    fn bits(value: Self::Native) -> u64;
}

macro_rules! integers {
    ($($t:ty as $u:ty),*) => { $(
        impl Value for $t {
            type Native = $t;
            #[inline(always)]
            fn of(bits: u64) -> $t { bits as $t }
            #[inline(always)]
            fn bits(value: $t) -> u64 { value as $u as u64 }
        }
    )* };
}
integers!(u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64);

impl Value for bool {
    type Native = bool;
    #[inline(always)]
    fn of(bits: u64) -> bool {
        bits & 1 != 0
    }
    #[inline(always)]
    fn bits(value: bool) -> u64 {
        u64::from(value)
    }
}

/// An f32 with denormals.
pub(crate) enum F32 {}
/// An f32 whose denormals are zero, in and out.
pub(crate) enum F32Ftz {}
/// An f64.
pub(crate) enum F64 {}
/// An f16, computed with as f32.
pub(crate) enum F16 {}
/// A bf16, computed with as f32.
pub(crate) enum Bf16 {}

impl Value for F32 {
    type Native = f32;
    #[inline(always)]
    fn of(bits: u64) -> f32 {
        f32::from_bits(bits as u32)
    }
    #[inline(always)]
    fn bits(value: f32) -> u64 {
        u64::from(if value.is_nan() { 0x7fff_ffff } else { value.to_bits() })
    }
}

/// Denormals become zeros of the same sign.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 1 << 31) } else { x }
}

impl Value for F32Ftz {
    type Native = f32;
    #[inline(always)]
    fn of(bits: u64) -> f32 {
        flush(f32::from_bits(bits as u32))
    }
    #[inline(always)]
    fn bits(value: f32) -> u64 {
        F32::bits(flush(value))
    }
}

impl Value for F64 {
    type Native = f64;
    #[inline(always)]
    fn of(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
    #[inline(always)]
    fn bits(value: f64) -> u64 {
        if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
    }
}

impl Value for F16 {
    type Native = f32;
    #[inline(always)]
    fn of(bits: u64) -> f32 {
        f16::from_bits(bits as u16).to_f32()
    }
    #[inline(always)]
    fn bits(value: f32) -> u64 {
        u64::from(if value.is_nan() { 0x7fff } else { f16::from_f32(value).to_bits() })
    }
}

impl Value for Bf16 {
    type Native = f32;
    #[inline(always)]
    fn of(bits: u64) -> f32 {
        bf16::from_bits(bits as u16).to_f32()
    }
    #[inline(always)]
    fn bits(value: f32) -> u64 {
        u64::from(if value.is_nan() { 0x7fff } else { bf16::from_f32(value).to_bits() })
    }
}

/// A multiplication and an addition that round once, into the type's own format.
pub(crate) trait Fused: Value {
    /// `a * b + c`
    fn fused(a: Self::Native, b: Self::Native, c: Self::Native) -> Self::Native;
}

/// The product is exact in f64, so is the sum but for a last bit; two roundings that end in 16 bits are then one.
fn fused_narrow(a: f32, b: f32, c: f32) -> f32 {
    let exact = add_odd(f64::from(a) * f64::from(b), f64::from(c));
    let near = exact as f32;
    let error = exact - f64::from(near);
    if error == 0.0 || !near.is_finite() || near.to_bits() & 1 == 1 {
        return near;
    }
    if error > 0.0 { near.next_up() } else { near.next_down() }
}

impl Fused for F32 {
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}
impl Fused for F32Ftz {
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}
impl Fused for F64 {
    fn fused(a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
}
impl Fused for F16 {
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        fused_narrow(a, b, c)
    }
}
impl Fused for Bf16 {
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        fused_narrow(a, b, c)
    }
}

/// What formulas need of both native floats beyond the operators.
pub(crate) trait Real: Copy + PartialOrd {
    fn nan() -> Self;
    fn zero() -> Self;
    fn one() -> Self;
    fn is_negative(self) -> bool;
    fn unordered(self) -> bool;
    fn wide(self) -> f64;
    fn narrowed(x: f64) -> Self;
    /// The larger; a number beats NaN, +0 beats -0.
    fn larger(self, other: Self) -> Self {
        if self.unordered() {
            return other;
        }
        if other.unordered() || self > other || (self == other && !self.is_negative()) { self } else { other }
    }
    /// The smaller; a number beats NaN, -0 beats +0.
    fn smaller(self, other: Self) -> Self {
        if self.unordered() {
            return other;
        }
        if other.unordered() || self < other || (self == other && self.is_negative()) { self } else { other }
    }
    /// Like [`Real::larger`], but NaN beats a number.
    fn larger_nan(self, other: Self) -> Self {
        if self.unordered() || other.unordered() { Self::nan() } else { self.larger(other) }
    }
    /// Like [`Real::smaller`], but NaN beats a number.
    fn smaller_nan(self, other: Self) -> Self {
        if self.unordered() || other.unordered() { Self::nan() } else { self.smaller(other) }
    }
    /// Into [0, 1]; NaN becomes zero.
    fn unit(self) -> Self {
        if self > Self::one() {
            Self::one()
        } else if self > Self::zero() {
            self
        } else {
            Self::zero()
        }
    }
    /// Zero where negative; NaN stays.
    fn rectified(self) -> Self {
        if self.unordered() || self > Self::zero() { self } else { Self::zero() }
    }
}

macro_rules! reals {
    ($($t:ty),*) => { $(
        impl Real for $t {
            fn nan() -> $t { <$t>::NAN }
            fn zero() -> $t { 0.0 }
            fn one() -> $t { 1.0 }
            fn is_negative(self) -> bool { self.is_sign_negative() }
            fn unordered(self) -> bool { self.is_nan() }
            fn wide(self) -> f64 { self as f64 }
            fn narrowed(x: f64) -> $t { x as $t }
        }
    )* };
}
reals!(f32, f64);

/// The error of a product that was rounded to nearest.
pub(crate) fn product_error(a: f64, b: f64, product: f64) -> f64 {
    a.mul_add(b, -product)
}

/// A lane function from a formula: `lanes!(|a: u32, b: u32| -> u32 { a & b })`.
macro_rules! lanes {
    (|$($x:ident: $t:ty),+| -> $r:ty { $e:expr }) => {{
        let f: $crate::program::lanes::LaneFn = |sources, out| {
            let [$($x,)+ ..] = *sources;
            for (i, o) in out.iter_mut().enumerate() {
                $(let $x = <$t as $crate::program::lanes::Value>::of($x[i]);)+
                *o = <$r as $crate::program::lanes::Value>::bits($e);
            }
        };
        f
    }};
}
pub(crate) use lanes;

/// A lane function from a formula on each half of 32 bits.
macro_rules! packed {
    (|$($x:ident),+| $t:ty { $e:expr }) => {{
        let f: $crate::program::lanes::LaneFn = |sources, out| {
            let [$($x,)+ ..] = *sources;
            for (i, o) in out.iter_mut().enumerate() {
                let mut both = 0;
                for shift in [0, 16] {
                    $(let $x = <$t as $crate::program::lanes::Value>::of($x[i] >> shift & 0xffff);)+
                    both |= (<$t as $crate::program::lanes::Value>::bits($e) & 0xffff) << shift;
                }
                *o = both;
            }
        };
        f
    }};
}
pub(crate) use packed;
