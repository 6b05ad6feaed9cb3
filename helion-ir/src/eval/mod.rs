//! The meaning of every elementwise operation, conversion and reduction step on one element.
//!
//! Everything here is total: an operation applied to a type that its rule refuses gives some value, never a
//! panic. Integers wrap; `x / 0` and `x % 0` of integers are 0; float-to-integer conversion truncates
//! and saturates, NaN gives 0. Operations of floats are computed in `f64` and rounded once to their
//! type, which for `+ - * / sqrt` is the correctly rounded result. Every NaN that an operation makes is
//! the type's quiet NaN, except where bits are merely moved (`neg`, `abs`, selection).
//! Conversion to a shorter float rounds once, also from integers. Overflow gives infinity, in
//! `f8e4m3` (which has none) NaN.

mod small_float;
#[cfg(test)]
mod tests;

use crate::dtype::{Class, DType, Literal};
use crate::elementwise::{BinaryOp, UnaryOp};
use crate::tile::ReduceOp;

/// `v` in `dtype`: rounded to nearest even for floats, saturated for integers, `v != 0` for `bool`.
pub fn from_f64(dtype: DType, v: f64) -> Literal {
    let bits = match dtype {
        DType::Bool => u64::from(v != 0.0),
        DType::I8 => v as i8 as u64,
        DType::I16 => v as i16 as u64,
        DType::I32 => v as i32 as u64,
        DType::I64 => v as i64 as u64,
        DType::U8 => v as u8 as u64,
        DType::U16 => v as u16 as u64,
        DType::U32 => v as u32 as u64,
        DType::U64 => v as u64,
        DType::F32 => u64::from((v as f32).to_bits()),
        DType::F64 => v.to_bits(),
        DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => small_float::encode(dtype, v).unwrap_or(0),
    };
    Literal::from_bits(dtype, bits)
}

/// `v` in `dtype`: wrapped for integers, rounded once for floats, `v != 0` for `bool`.
pub fn from_i64(dtype: DType, v: i64) -> Literal {
    from_integer(dtype, v.unsigned_abs(), v < 0)
}

/// An integer given by magnitude and sign, in `dtype`.
fn from_integer(dtype: DType, magnitude: u64, negative: bool) -> Literal {
    let wrapped = if negative { magnitude.wrapping_neg() } else { magnitude };
    let bits = match dtype.class() {
        Class::Bool => u64::from(magnitude != 0),
        Class::Signed | Class::Unsigned => wrapped,
        Class::Float if matches!(dtype, DType::F64) => {
            let v = magnitude as f64;
            (if negative { -v } else { v }).to_bits()
        }
        Class::Float | Class::Storage => return from_f64(dtype, small_float::sticky(magnitude, negative)),
    };
    Literal::from_bits(dtype, bits)
}

/// The value as `f64`; 64-bit integers round, everything else is exact.
pub fn to_f64(l: Literal) -> f64 {
    match l.dtype {
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => l.bits as f64,
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => signed(l) as f64,
        DType::F32 => f64::from(f32::from_bits(l.bits as u32)),
        DType::F64 => f64::from_bits(l.bits),
        DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
            small_float::decode(l.dtype, l.bits).unwrap_or(f64::NAN)
        }
    }
}

/// The value as `i64`; floats truncate and saturate, `u64` wraps.
pub fn to_i64(l: Literal) -> i64 {
    match l.dtype.class() {
        Class::Bool | Class::Unsigned => l.bits as i64,
        Class::Signed => signed(l),
        Class::Float | Class::Storage => to_f64(l) as i64,
    }
}

/// The bits of an integer, sign-extended from its width.
const fn signed(l: Literal) -> i64 {
    let unused = 64 - 8 * l.dtype.size() as u32;
    ((l.bits << unused) as i64) >> unused
}

/// Conversion to another type, as documented at [`crate::tile::Op::Cast`].
pub fn cast(x: Literal, to: DType) -> Literal {
    if x.dtype == to {
        return x;
    }
    match x.dtype.class() {
        Class::Bool | Class::Unsigned => from_integer(to, x.bits, false),
        Class::Signed => from_integer(to, signed(x).unsigned_abs(), signed(x) < 0),
        Class::Float | Class::Storage => from_f64(to, to_f64(x)),
    }
}

/// The same bits as another type of equal size.
pub const fn bitcast(x: Literal, to: DType) -> Literal {
    Literal::from_bits(to, x.bits)
}

/// The value of a unary operation.
pub fn unary(op: UnaryOp, x: Literal) -> Literal {
    match x.dtype.class() {
        Class::Float | Class::Storage => unary_float(op, x),
        Class::Signed | Class::Unsigned | Class::Bool => unary_int(op, x),
    }
}

fn unary_float(op: UnaryOp, x: Literal) -> Literal {
    let sign = 1u64 << (8 * x.dtype.size() - 1);
    let v = to_f64(x);
    let r = match op {
        UnaryOp::Neg => return Literal::from_bits(x.dtype, x.bits ^ sign),
        UnaryOp::Abs => return Literal::from_bits(x.dtype, x.bits & !sign),
        UnaryOp::Not => return Literal::from_bits(x.dtype, !x.bits),
        UnaryOp::IsNan => return Literal::from_bits(DType::Bool, u64::from(v.is_nan())),
        UnaryOp::Floor => v.floor(),
        UnaryOp::Ceil => v.ceil(),
        UnaryOp::Round => v.round_ties_even(),
        UnaryOp::Trunc => v.trunc(),
        UnaryOp::Exp => v.exp(),
        UnaryOp::Exp2 => v.exp2(),
        UnaryOp::Log => v.ln(),
        UnaryOp::Log2 => v.log2(),
        UnaryOp::Sqrt => v.sqrt(),
        UnaryOp::Rsqrt => 1.0 / v.sqrt(),
        UnaryOp::Sin => v.sin(),
        UnaryOp::Cos => v.cos(),
        UnaryOp::Tanh => v.tanh(),
        UnaryOp::Sigmoid => sigmoid(v),
        UnaryOp::Erf => libm::erf(v),
    };
    from_f64(x.dtype, r)
}

/// The logistic function without overflow on either side.
fn sigmoid(v: f64) -> f64 {
    let e = (-v.abs()).exp();
    (if v < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

fn unary_int(op: UnaryOp, x: Literal) -> Literal {
    let bits = match op {
        UnaryOp::Neg => x.bits.wrapping_neg(),
        UnaryOp::Abs if matches!(x.dtype.class(), Class::Signed) => signed(x).unsigned_abs(),
        UnaryOp::Not if matches!(x.dtype, DType::Bool) => x.bits ^ 1,
        UnaryOp::Not => !x.bits,
        UnaryOp::IsNan => return Literal::from_bits(DType::Bool, 0),
        UnaryOp::Abs | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => x.bits,
        // Refused by the rules; defined through f64 so that the function is total.
        UnaryOp::Exp
        | UnaryOp::Exp2
        | UnaryOp::Log
        | UnaryOp::Log2
        | UnaryOp::Sqrt
        | UnaryOp::Rsqrt
        | UnaryOp::Sin
        | UnaryOp::Cos
        | UnaryOp::Tanh
        | UnaryOp::Sigmoid
        | UnaryOp::Erf => return cast(unary_float(op, from_f64(DType::F64, to_f64(x))), x.dtype),
    };
    Literal::from_bits(x.dtype, bits)
}

/// The value of a binary operation on two elements of one type (that of `a`).
pub fn binary(op: BinaryOp, a: Literal, b: Literal) -> Literal {
    match a.dtype.class() {
        Class::Float | Class::Storage => binary_float(op, a, b),
        Class::Signed => binary_signed(op, a, b),
        Class::Unsigned | Class::Bool => binary_unsigned(op, a, b),
    }
}

const fn truth(v: bool) -> Literal {
    Literal::from_bits(DType::Bool, v as u64)
}

fn binary_float(op: BinaryOp, a: Literal, b: Literal) -> Literal {
    let (x, y) = (to_f64(a), to_f64(b));
    let r = match op {
        BinaryOp::Add => x + y,
        BinaryOp::Sub => x - y,
        BinaryOp::Mul => x * y,
        BinaryOp::Div => x / y,
        BinaryOp::Rem => x % y,
        BinaryOp::Min if x.is_nan() || x < y => return a,
        BinaryOp::Max if x.is_nan() || x > y => return a,
        BinaryOp::Min | BinaryOp::Max => return b,
        BinaryOp::Pow => x.powf(y),
        BinaryOp::And => return Literal::from_bits(a.dtype, a.bits & b.bits),
        BinaryOp::Or => return Literal::from_bits(a.dtype, a.bits | b.bits),
        BinaryOp::Xor => return Literal::from_bits(a.dtype, a.bits ^ b.bits),
        BinaryOp::Shl | BinaryOp::Shr => return a,
        BinaryOp::Eq => return truth(x == y),
        BinaryOp::Ne => return truth(x != y),
        BinaryOp::Lt => return truth(x < y),
        BinaryOp::Le => return truth(x <= y),
        BinaryOp::Gt => return truth(x > y),
        BinaryOp::Ge => return truth(x >= y),
    };
    from_f64(a.dtype, r)
}

fn binary_signed(op: BinaryOp, a: Literal, b: Literal) -> Literal {
    let (x, y) = (signed(a), signed(b));
    let by = (b.bits % (8 * a.dtype.size() as u64)) as u32;
    let r = match op {
        BinaryOp::Add => x.wrapping_add(y),
        BinaryOp::Sub => x.wrapping_sub(y),
        BinaryOp::Mul => x.wrapping_mul(y),
        BinaryOp::Div => x.checked_div(y).unwrap_or(if y == 0 { 0 } else { x }),
        BinaryOp::Rem => x.checked_rem(y).unwrap_or(0),
        BinaryOp::Min => x.min(y),
        BinaryOp::Max => x.max(y),
        BinaryOp::Pow => return cast(Literal::from_f64(DType::F64, (x as f64).powf(y as f64)), a.dtype),
        BinaryOp::And => x & y,
        BinaryOp::Or => x | y,
        BinaryOp::Xor => x ^ y,
        BinaryOp::Shl => x << by,
        BinaryOp::Shr => x >> by,
        BinaryOp::Eq => return truth(x == y),
        BinaryOp::Ne => return truth(x != y),
        BinaryOp::Lt => return truth(x < y),
        BinaryOp::Le => return truth(x <= y),
        BinaryOp::Gt => return truth(x > y),
        BinaryOp::Ge => return truth(x >= y),
    };
    Literal::from_bits(a.dtype, r as u64)
}

fn binary_unsigned(op: BinaryOp, a: Literal, b: Literal) -> Literal {
    let (x, y) = (a.bits, b.bits);
    let by = (y % (8 * a.dtype.size() as u64)) as u32;
    let r = match op {
        BinaryOp::Add => x.wrapping_add(y),
        BinaryOp::Sub => x.wrapping_sub(y),
        BinaryOp::Mul => x.wrapping_mul(y),
        BinaryOp::Div => x.checked_div(y).unwrap_or(0),
        BinaryOp::Rem => x.checked_rem(y).unwrap_or(0),
        BinaryOp::Min => x.min(y),
        BinaryOp::Max => x.max(y),
        BinaryOp::Pow => return cast(Literal::from_f64(DType::F64, (x as f64).powf(y as f64)), a.dtype),
        BinaryOp::And => x & y,
        BinaryOp::Or => x | y,
        BinaryOp::Xor => x ^ y,
        BinaryOp::Shl => x << by,
        BinaryOp::Shr => x >> by,
        BinaryOp::Eq => return truth(x == y),
        BinaryOp::Ne => return truth(x != y),
        BinaryOp::Lt => return truth(x < y),
        BinaryOp::Le => return truth(x <= y),
        BinaryOp::Gt => return truth(x > y),
        BinaryOp::Ge => return truth(x >= y),
    };
    match a.dtype {
        DType::Bool => truth(r & 1 != 0),
        _ => Literal::from_bits(a.dtype, r),
    }
}

/// `a * b + c`, rounded once for `f32` and `f64`; integers wrap.
pub fn fma(a: Literal, b: Literal, c: Literal) -> Literal {
    match a.dtype {
        DType::F32 => {
            let f = |l: Literal| f32::from_bits(l.bits as u32);
            Literal::from_bits(DType::F32, u64::from(f(a).mul_add(f(b), f(c)).to_bits()))
        }
        _ if matches!(a.dtype.class(), Class::Float | Class::Storage) => {
            from_f64(a.dtype, to_f64(a).mul_add(to_f64(b), to_f64(c)))
        }
        _ => binary(BinaryOp::Add, binary(BinaryOp::Mul, a, b), c),
    }
}

/// The smallest value of a type: `-inf` for floats that have it.
pub fn lowest(dtype: DType) -> Literal {
    match dtype.class() {
        Class::Bool | Class::Unsigned => Literal::from_bits(dtype, 0),
        Class::Signed => Literal::from_bits(dtype, 1 << (8 * dtype.size() - 1)),
        Class::Float | Class::Storage => unary(UnaryOp::Neg, highest(dtype)),
    }
}

/// The largest value of a type: `inf` for floats that have it.
pub fn highest(dtype: DType) -> Literal {
    match dtype {
        DType::Bool => truth(true),
        DType::F8E4M3 => Literal::from_bits(dtype, 0x7e),
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => Literal::from_bits(dtype, !lowest(dtype).bits),
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => Literal::from_bits(dtype, u64::MAX),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 | DType::F8E5M2 => from_f64(dtype, f64::INFINITY),
    }
}

/// What a reduction of elements of type `dtype` gives for nothing; an `i64` zero for `ArgMax` and `ArgMin`.
pub fn reduce_identity(op: ReduceOp, dtype: DType) -> Literal {
    match op {
        ReduceOp::Sum => from_i64(dtype, 0),
        ReduceOp::Prod => from_i64(dtype, 1),
        ReduceOp::Max => lowest(dtype),
        ReduceOp::Min => highest(dtype),
        ReduceOp::Any => truth(false),
        ReduceOp::All => truth(true),
        ReduceOp::ArgMax | ReduceOp::ArgMin => from_i64(DType::I64, 0),
    }
}

/// The elementwise operation that combines two partial results of a reduction; `None` for `ArgMax` and
/// `ArgMin`, which are not one.
pub const fn reduce_combine(op: ReduceOp) -> Option<BinaryOp> {
    match op {
        ReduceOp::Sum => Some(BinaryOp::Add),
        ReduceOp::Prod => Some(BinaryOp::Mul),
        ReduceOp::Max => Some(BinaryOp::Max),
        ReduceOp::Min => Some(BinaryOp::Min),
        ReduceOp::Any => Some(BinaryOp::Or),
        ReduceOp::All => Some(BinaryOp::And),
        ReduceOp::ArgMax | ReduceOp::ArgMin => None,
    }
}
