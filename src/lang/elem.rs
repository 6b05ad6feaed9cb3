//! Element types: which Rust types tensors and tiles hold, and what each allows.
//!
//! In: a Rust type as a type argument. Out: its [`DType`] and its bits. The marker traits ([`Num`],
//! [`Float`], [`Int`], [`Bits`], [`DotInto`]) say which operations exist, so that a wrong dtype is an
//! error of the Rust compiler at the user's line.

use helion_ir::DType;
use helion_ir::dtype::Literal;
use std::fmt;

pub use half::{bf16, f16};

mod sealed {
    pub trait Sealed {}
}

/// An element type of tensors and tiles.
///
/// Implemented for `bool`, `i8` to `i64`, `u8` to `u64`, [`f16`](struct@f16), [`bf16`], `f32`, `f64`, and the
/// storage types [`F8E4M3`] and [`F8E5M2`]; it cannot be implemented elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an element type",
    note = "element types are bool, i8 to i64, u8 to u64, f16, bf16, f32, f64; F8E4M3 and F8E5M2 for storage"
)]
pub trait Elem: Copy + PartialEq + Default + fmt::Debug + Send + Sync + 'static + sealed::Sealed {
    /// The element type's code.
    const DTYPE: DType;
    /// The stored bits, zero-extended.
    fn to_bits64(self) -> u64;
    /// The value of stored bits; higher bits are ignored, and any non-zero `bool` is `true`.
    fn from_bits64(bits: u64) -> Self;
    /// The value nearest to `v`: rounded for floats, saturated for integers, `v != 0` for `bool`.
    fn from_f64(v: f64) -> Self {
        Self::from_bits64(Literal::from_f64(Self::DTYPE, v).bits)
    }
    /// The value as `f64`; 64-bit integers round.
    fn to_f64(self) -> f64 {
        Literal::from_bits(Self::DTYPE, self.to_bits64()).to_f64()
    }
}

/// Numbers: types with arithmetic. Integers wrap; floats follow IEEE 754.
#[diagnostic::on_unimplemented(
    message = "arithmetic needs numbers, and `{Self}` is not a number type",
    label = "needs a number type, not `{Self}`",
    note = "masks (tiles of `bool`) combine with `&`, `|`, `!` and `select`; 8-bit floats are for storage: `.cast::<f32>()` first; in generic code add the bound `{Self}: Num` or `{Self}: Float`"
)]
pub trait Num: Elem {}

/// Floats with arithmetic: `f16`, `bf16`, `f32`, `f64`.
#[diagnostic::on_unimplemented(
    message = "this operation is defined for floats only, not for `{Self}`",
    label = "needs a float type, not `{Self}`",
    note = "cast first: `x.cast::<f32>()`; in generic code add the bound `{Self}: Float`"
)]
pub trait Float: Num + DotInto<f32> {}

/// Types with bitwise logic: integers and `bool`.
#[diagnostic::on_unimplemented(
    message = "`&`, `|`, `^` and `!` are not defined for `{Self}`",
    label = "needs integers or `bool`, not `{Self}`",
    note = "they work on integers and on masks (tiles of `bool`), which comparisons make"
)]
pub trait Bits: Elem {}

/// Integers.
#[diagnostic::on_unimplemented(
    message = "this needs an integer type, not `{Self}`",
    label = "needs an integer type, not `{Self}`",
    note = "cast first: `x.cast::<i64>()`; in generic code add the bound `{Self}: Int`"
)]
pub trait Int: Num + Bits {}

/// `dot` of two tiles of `Self` may accumulate in `A`.
#[diagnostic::on_unimplemented(
    message = "`dot` of `{Self}` tiles cannot accumulate in `{A}`",
    label = "needs floats or 8-bit integers",
    note = "floats accumulate in f32 (f64 also in f64), 8-bit integers in i32; `.cast()` the result for another type"
)]
pub trait DotInto<A>: Elem {}

macro_rules! ints {
    ($($t:ident $u:ident $d:ident;)*) => {$(
        impl sealed::Sealed for $t {}
        #[diagnostic::do_not_recommend]
        impl Elem for $t {
            const DTYPE: DType = DType::$d;
            fn to_bits64(self) -> u64 { u64::from(self as $u) }
            fn from_bits64(bits: u64) -> Self { bits as $t }
        }
        #[diagnostic::do_not_recommend]
        impl Num for $t {}
        #[diagnostic::do_not_recommend]
        impl Bits for $t {}
        #[diagnostic::do_not_recommend]
        impl Int for $t {}
    )*};
}
ints! { i8 u8 I8; i16 u16 I16; i32 u32 I32; i64 u64 I64; u8 u8 U8; u16 u16 U16; u32 u32 U32; u64 u64 U64; }

macro_rules! floats {
    ($($t:ident $u:ident $d:ident;)*) => {$(
        impl sealed::Sealed for $t {}
        #[diagnostic::do_not_recommend]
        impl Elem for $t {
            const DTYPE: DType = DType::$d;
            fn to_bits64(self) -> u64 { u64::from(self.to_bits()) }
            fn from_bits64(bits: u64) -> Self { $t::from_bits(bits as $u) }
        }
        #[diagnostic::do_not_recommend]
        impl Num for $t {}
        #[diagnostic::do_not_recommend]
        impl Float for $t {}
        #[diagnostic::do_not_recommend]
        impl DotInto<f32> for $t {}
    )*};
}
floats! { f16 u16 F16; bf16 u16 BF16; f32 u32 F32; f64 u64 F64; }

#[diagnostic::do_not_recommend]
impl DotInto<f64> for f64 {}
#[diagnostic::do_not_recommend]
impl DotInto<i32> for i8 {}
#[diagnostic::do_not_recommend]
impl DotInto<i32> for u8 {}

impl sealed::Sealed for bool {}
#[diagnostic::do_not_recommend]
impl Elem for bool {
    const DTYPE: DType = DType::Bool;
    fn to_bits64(self) -> u64 {
        u64::from(self)
    }
    fn from_bits64(bits: u64) -> Self {
        bits & 0xff != 0
    }
}
#[diagnostic::do_not_recommend]
impl Bits for bool {}

macro_rules! storage {
    ($($(#[$m:meta])* $t:ident $d:ident;)*) => {$(
        $(#[$m])*
        ///
        /// For storage: it is loaded, stored, and converted with `.cast()`; it has no arithmetic.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(transparent)]
        pub struct $t(pub u8);
        impl sealed::Sealed for $t {}
        #[diagnostic::do_not_recommend]
        impl Elem for $t {
            const DTYPE: DType = DType::$d;
            fn to_bits64(self) -> u64 { u64::from(self.0) }
            fn from_bits64(bits: u64) -> Self { $t(bits as u8) }
        }
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:?}", self.to_f64()) }
        }
        impl From<f32> for $t {
            /// Rounds to nearest even.
            fn from(v: f32) -> Self { Self::from_f64(f64::from(v)) }
        }
        impl From<$t> for f32 {
            fn from(v: $t) -> f32 { v.to_f64() as f32 }
        }
    )*};
}
storage! {
    /// An 8-bit float with 4 exponent bits and no infinities (OCP e4m3fn); its largest value is 448.
    F8E4M3 F8E4M3;
    /// An 8-bit float with 5 exponent bits and infinities (OCP e5m2).
    F8E5M2 F8E5M2;
}
