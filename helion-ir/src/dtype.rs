//! Element types, and literals of them.

use std::fmt;
use std::str::FromStr;

macro_rules! dtypes {
    ($($variant:ident $name:literal $bytes:literal $class:ident $doc:literal;)*) => {
        /// The type of one element of a tensor or tile.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType { $(#[doc = $doc] $variant,)* }

        impl DType {
            /// Every element type, in declaration order.
            pub const ALL: &'static [DType] = &[$(DType::$variant),*];
            /// The name used in printed IR and in messages: the Rust name of the type.
            pub const fn name(self) -> &'static str { match self { $(DType::$variant => $name,)* } }
            /// Bytes of one stored element.
            pub const fn size(self) -> usize { match self { $(DType::$variant => $bytes,)* } }
            /// What kind of number this is.
            pub const fn class(self) -> Class { match self { $(DType::$variant => Class::$class,)* } }
        }
    };
}

/// The kinds of element types, by the arithmetic they allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `bool`: logic only; stored as one byte, 0 or 1.
    Bool,
    /// Two's-complement integers; arithmetic wraps.
    Signed,
    /// Unsigned integers; arithmetic wraps.
    Unsigned,
    /// IEEE floats with arithmetic.
    Float,
    /// 8-bit floats: storage and conversion only, no arithmetic.
    Storage,
}

dtypes! {
    Bool "bool" 1 Bool "`bool`, one byte, 0 or 1.";
    I8 "i8" 1 Signed "8-bit signed integer.";
    I16 "i16" 2 Signed "16-bit signed integer.";
    I32 "i32" 4 Signed "32-bit signed integer.";
    I64 "i64" 8 Signed "64-bit signed integer; also the type of sizes and indices.";
    U8 "u8" 1 Unsigned "8-bit unsigned integer.";
    U16 "u16" 2 Unsigned "16-bit unsigned integer.";
    U32 "u32" 4 Unsigned "32-bit unsigned integer.";
    U64 "u64" 8 Unsigned "64-bit unsigned integer.";
    F16 "f16" 2 Float "IEEE binary16.";
    BF16 "bf16" 2 Float "bfloat16: the upper half of an f32.";
    F32 "f32" 4 Float "IEEE binary32.";
    F64 "f64" 8 Float "IEEE binary64.";
    F8E4M3 "f8e4m3" 1 Storage "8-bit float, 4 exponent bits, no infinities (OCP e4m3fn); largest value 448.";
    F8E5M2 "f8e5m2" 1 Storage "8-bit float, 5 exponent bits, with infinities (OCP e5m2).";
}

impl DType {
    /// Floats with arithmetic (`f16`, `bf16`, `f32`, `f64`).
    pub const fn is_float(self) -> bool {
        matches!(self.class(), Class::Float)
    }
    /// Signed and unsigned integers.
    pub const fn is_int(self) -> bool {
        matches!(self.class(), Class::Signed | Class::Unsigned)
    }
    /// Types that arithmetic operators accept.
    pub const fn is_num(self) -> bool {
        self.is_float() || self.is_int()
    }
    /// The type in which sums, products and transcendental functions of this type are computed:
    /// `f32` for the 16-bit floats, the type itself otherwise. Results are rounded once.
    pub const fn compute(self) -> DType {
        match self {
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => DType::F32,
            other => other,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        DType::ALL.iter().copied().find(|d| d.name() == s).ok_or_else(|| format!("`{s}` is not an element type"))
    }
}

/// One element: its type and its bits, zero-extended to 64.
///
/// `bits` holds the stored form (an `f16` occupies the low 16 bits, an `i8` the low 8). Two
/// literals are equal when type and bits are equal, so `NaN == NaN` and `0.0 != -0.0` here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Literal {
    /// The element type.
    pub dtype: DType,
    /// The stored bits; those above `dtype.size()` bytes are zero.
    pub bits: u64,
}

impl Literal {
    /// A literal from raw bits; bits above the type's size are dropped.
    pub const fn from_bits(dtype: DType, bits: u64) -> Self {
        let keep = if dtype.size() == 8 { u64::MAX } else { (1 << (8 * dtype.size())) - 1 };
        Literal { dtype, bits: bits & keep }
    }
    /// The value `v` in `dtype`, rounded to nearest even for floats, saturated for integers.
    pub fn from_f64(dtype: DType, v: f64) -> Self {
        crate::eval::from_f64(dtype, v)
    }
    /// The value `v` in `dtype`, wrapped for integers, rounded for floats, `v != 0` for `bool`.
    pub fn from_i64(dtype: DType, v: i64) -> Self {
        crate::eval::from_i64(dtype, v)
    }
    /// The value as `f64`; 64-bit integers round.
    pub fn to_f64(self) -> f64 {
        crate::eval::to_f64(self)
    }
    /// The value as `i64`; floats truncate and saturate, `u64` wraps.
    pub fn to_i64(self) -> i64 {
        crate::eval::to_i64(self)
    }
    /// `true` for a non-zero `bool`.
    pub const fn is_true(self) -> bool {
        self.bits != 0
    }
}
