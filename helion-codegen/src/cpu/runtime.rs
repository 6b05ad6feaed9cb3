//! Functions that compiled kernels call: library mathematics, conversions, random numbers, printing.
//!
//! Each is an `extern "C"` function with one row in the table below, which gives its CLIF signature;
//! compiled code names it by its position in the table.

use cranelift_codegen::ir::{self, types};
use helion_ir::dtype::{DType, Literal};

macro_rules! runtime {
    ($($name:ident $f:expr, ($($arg:ident),*) -> ($($ret:ident)?), $doc:literal;)*) => {
        /// A function of this table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Runtime { $(#[doc = $doc] $name,)* }
        impl Runtime {
            /// All functions; the position is the index in external names.
            pub(super) const ALL: &'static [Runtime] = &[$(Runtime::$name),*];
            /// The function's address.
            pub(super) fn address(self) -> usize {
                match self { $(Runtime::$name => { let f: extern "C" fn($(runtime!(@ty $arg)),*) $(-> runtime!(@ty $ret))? = $f; f as usize })* }
            }
            /// Types of the arguments and the result.
            pub(super) fn signature(self) -> (&'static [ir::Type], Option<ir::Type>) {
                match self { $(Runtime::$name => (&[$(runtime!(@clif $arg)),*], runtime!(@ret $($ret)?)),)* }
            }
        }
    };
    (@ty F32) => { f32 }; (@ty F64) => { f64 }; (@ty I32) => { u32 }; (@ty I64) => { u64 };
    (@clif $t:ident) => { types::$t };
    (@ret) => { None }; (@ret $t:ident) => { Some(types::$t) };
}

runtime! {
    ExpF32 exp_f32, (F32) -> (F32), "`exp`.";
    Exp2F32 exp2_f32, (F32) -> (F32), "`exp2`.";
    LogF32 log_f32, (F32) -> (F32), "`log`.";
    Log2F32 log2_f32, (F32) -> (F32), "`log2`.";
    SinF32 sin_f32, (F32) -> (F32), "`sin`.";
    CosF32 cos_f32, (F32) -> (F32), "`cos`.";
    TanhF32 tanh_f32, (F32) -> (F32), "`tanh`.";
    SigmoidF32 sigmoid_f32, (F32) -> (F32), "`sigmoid`.";
    ErfF32 erf_f32, (F32) -> (F32), "`erf`.";
    PowF32 pow_f32, (F32, F32) -> (F32), "`pow`.";
    RemF32 rem_f32, (F32, F32) -> (F32), "Remainder.";
    ExpF64 exp_f64, (F64) -> (F64), "`exp`.";
    Exp2F64 exp2_f64, (F64) -> (F64), "`exp2`.";
    LogF64 log_f64, (F64) -> (F64), "`log`.";
    Log2F64 log2_f64, (F64) -> (F64), "`log2`.";
    SinF64 sin_f64, (F64) -> (F64), "`sin`.";
    CosF64 cos_f64, (F64) -> (F64), "`cos`.";
    TanhF64 tanh_f64, (F64) -> (F64), "`tanh`.";
    SigmoidF64 sigmoid_f64, (F64) -> (F64), "`sigmoid`.";
    ErfF64 erf_f64, (F64) -> (F64), "`erf`.";
    PowF64 pow_f64, (F64, F64) -> (F64), "`pow`.";
    RemF64 rem_f64, (F64, F64) -> (F64), "Remainder.";
    CeilF32 ceil_f32, (F32) -> (F32), "`ceil`.";
    CeilF64 ceil_f64, (F64) -> (F64), "`ceil`.";
    FloorF32 floor_f32, (F32) -> (F32), "`floor`.";
    FloorF64 floor_f64, (F64) -> (F64), "`floor`.";
    TruncF32 trunc_f32, (F32) -> (F32), "`trunc`.";
    TruncF64 trunc_f64, (F64) -> (F64), "`trunc`.";
    RoundF32 round_f32, (F32) -> (F32), "`round`.";
    RoundF64 round_f64, (F64) -> (F64), "`round`.";
    FmaF32 fma_f32, (F32, F32, F32) -> (F32), "`a * b + c`, rounded once.";
    FmaF64 fma_f64, (F64, F64, F64) -> (F64), "`a * b + c`, rounded once.";
    ToF16 to_f16, (F32) -> (I32), "Bits of the nearest `f16`.";
    Narrow narrow, (I32, F64) -> (I32), "Bits of the nearest value of a type of at most 16 bits, by its ordinal.";
    FromInt from_int, (I32, I32, I64) -> (I32), "Bits of the nearest 16-bit or 8-bit float to a 64-bit integer: types' ordinals, bits.";
    Widen8 widen8, (I32, I32) -> (F32), "The value of an 8-bit float, by its type's ordinal.";
    Random random, (I64, I64, I32) -> (I32), "A word of Philox.";
    Print print, (I64, I64, I32, I64, I64, I64) -> (), "Prints label (address, length), value (type, bits), coordinates (address, count).";
}

macro_rules! math {
    ($($name:ident ($($x:ident),*) $t:ident $e:expr;)*) => { $(extern "C" fn $name($($x: $t),*) -> $t { $e })* };
}

math! {
    exp_f32(x) f32 x.exp();
    exp2_f32(x) f32 x.exp2();
    log_f32(x) f32 x.ln();
    log2_f32(x) f32 x.log2();
    sin_f32(x) f32 x.sin();
    cos_f32(x) f32 x.cos();
    tanh_f32(x) f32 x.tanh();
    sigmoid_f32(x) f32 (1.0 / (1.0 + (-f64::from(x)).exp())) as f32;
    erf_f32(x) f32 libm::erff(x);
    pow_f32(a, b) f32 a.powf(b);
    rem_f32(a, b) f32 a % b;
    exp_f64(x) f64 x.exp();
    exp2_f64(x) f64 x.exp2();
    log_f64(x) f64 x.ln();
    log2_f64(x) f64 x.log2();
    sin_f64(x) f64 x.sin();
    cos_f64(x) f64 x.cos();
    tanh_f64(x) f64 x.tanh();
    sigmoid_f64(x) f64 1.0 / (1.0 + (-x).exp());
    erf_f64(x) f64 libm::erf(x);
    pow_f64(a, b) f64 a.powf(b);
    rem_f64(a, b) f64 a % b;
    ceil_f32(x) f32 x.ceil();
    ceil_f64(x) f64 x.ceil();
    floor_f32(x) f32 x.floor();
    floor_f64(x) f64 x.floor();
    trunc_f32(x) f32 x.trunc();
    trunc_f64(x) f64 x.trunc();
    round_f32(x) f32 x.round_ties_even();
    round_f64(x) f64 x.round_ties_even();
    fma_f32(a, b, c) f32 a.mul_add(b, c);
    fma_f64(a, b, c) f64 a.mul_add(b, c);
}

extern "C" fn to_f16(x: f32) -> u32 {
    u32::from(half::f16::from_f32(x).to_bits())
}

/// The element type of an ordinal made by [`ordinal`].
fn dtype(ordinal: u32) -> DType {
    DType::ALL.get(ordinal as usize).copied().unwrap_or(DType::F32)
}

/// The position of an element type among all, as compiled code passes it.
pub(super) fn ordinal(d: DType) -> i64 {
    DType::ALL.iter().position(|x| *x == d).unwrap_or_default() as i64
}

extern "C" fn narrow(to: u32, x: f64) -> u32 {
    Literal::from_f64(dtype(to), x).bits as u32
}

extern "C" fn from_int(from: u32, to: u32, x: u64) -> u32 {
    helion_ir::eval::cast(Literal::from_bits(dtype(from), x), dtype(to)).bits as u32
}

extern "C" fn widen8(from: u32, bits: u32) -> f32 {
    Literal::from_bits(dtype(from), u64::from(bits)).to_f64() as f32
}

extern "C" fn random(seed: u64, counter: u64, word: u32) -> u32 {
    helion_ir::philox::word(seed, counter, word as u8)
}

extern "C" fn print(label: u64, len: u64, of: u32, bits: u64, coords: u64, count: u64) {
    // SAFETY: compiled code passes a label that lives as long as the kernel.
    let label = unsafe { std::slice::from_raw_parts(label as *const u8, len as usize) };
    // SAFETY: compiled code passes `count` coordinates in its own stack frame.
    let coords = unsafe { std::slice::from_raw_parts(coords as *const i64, count as usize) };
    let value = Literal::from_bits(dtype(of), bits);
    let shown = match value.dtype.class() {
        helion_ir::dtype::Class::Bool => value.is_true().to_string(),
        helion_ir::dtype::Class::Signed => value.to_i64().to_string(),
        helion_ir::dtype::Class::Unsigned => value.bits.to_string(),
        helion_ir::dtype::Class::Float | helion_ir::dtype::Class::Storage => value.to_f64().to_string(),
    };
    let at = coords.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    // One write, so that lines of different threads do not mix.
    eprintln!("{}[{at}] = {shown}", String::from_utf8_lossy(label));
}
