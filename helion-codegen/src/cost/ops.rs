//! What one operation costs: in vector instructions on lanes, and in cycles on scalars.

use helion_ir::dtype::{Class, DType};
use helion_ir::loops::{Function, Inst, Op, Val};
use helion_ir::{BinaryOp, UnaryOp};

/// Vector instructions that a division or square root takes the time of.
const DIVIDE: f64 = 12.0;

/// How many vector instructions an operation on lanes takes; `None` where vectors have none. Functions count as the
/// arithmetic that passes make of them.
pub(super) fn vector(f: &Function, inst: &Inst) -> Option<f64> {
    let of = |i: usize| inst.args.get(i).map(|v: &Val| f.dtype(*v));
    let result = inst.result.map(|v| f.dtype(v));
    let half = |d: Option<DType>| matches!(d, Some(DType::F16 | DType::BF16));
    // Rounding to 16 bits after each operation.
    let round = if half(result) { 6.0 } else { 0.0 };
    Some(match &inst.op {
        Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) | Op::Bitcast(_) => 0.0,
        Op::Unary(op) => round + unary(*op, of(0)?)?,
        Op::Binary(op) => round + binary(*op, of(0)?)?,
        Op::Fma | Op::Select => 1.0,
        Op::Cast(to) => cast(of(0)?, *to)?,
        Op::Load { masked, .. } | Op::Store { masked, .. } => f64::from(u8::from(*masked)),
        Op::Atomic { .. } | Op::Print { .. } | Op::Random { .. } => return None,
    })
}

fn unary(op: UnaryOp, d: DType) -> Option<f64> {
    if d == DType::F64 && !matches!(op, UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sqrt | UnaryOp::IsNan) {
        return matches!(op, UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc).then_some(1.0);
    }
    Some(match op {
        UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Not | UnaryOp::IsNan => 1.0,
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => 2.0,
        UnaryOp::Exp | UnaryOp::Exp2 => 15.0,
        UnaryOp::Log | UnaryOp::Log2 => 32.0,
        UnaryOp::Sqrt => DIVIDE,
        UnaryOp::Rsqrt => 2.0 * DIVIDE,
        UnaryOp::Tanh => 24.0 + DIVIDE,
        UnaryOp::Sigmoid => 18.0 + DIVIDE,
        UnaryOp::Erf => 34.0,
        UnaryOp::Sin | UnaryOp::Cos => return None,
    })
}

fn binary(op: BinaryOp, d: DType) -> Option<f64> {
    Some(match (op, d.class()) {
        (BinaryOp::Pow | BinaryOp::Rem, _) => return None,
        (BinaryOp::Div, Class::Float) => {
            if d == DType::F64 {
                2.0 * DIVIDE
            } else {
                DIVIDE
            }
        }
        (BinaryOp::Div, _) => return None,
        (BinaryOp::Min | BinaryOp::Max, Class::Float) => 3.0,
        (BinaryOp::Mul, Class::Signed | Class::Unsigned) => {
            if d.size() == 8 {
                3.0
            } else {
                2.0
            }
        }
        (_, Class::Storage) => return None,
        _ if matches!(d, DType::I8 | DType::U8 | DType::I16 | DType::U16) => 2.0,
        _ => 1.0,
    })
}

fn cast(from: DType, to: DType) -> Option<f64> {
    Some(match (from.class(), to.class()) {
        (Class::Storage, _) | (_, Class::Storage) => return None,
        _ if from == to => 0.0,
        (Class::Float, Class::Float) if matches!(to, DType::F16 | DType::BF16) => 3.0,
        (Class::Float, Class::Signed | Class::Unsigned) => match to {
            DType::U32 | DType::U64 | DType::I64 => return None,
            _ => 6.0,
        },
        (Class::Unsigned, Class::Float) if from.size() >= 4 => return None,
        _ => 1.0,
    })
}

/// Cycles of an operation on a scalar, in a loop whose iterations overlap.
pub(super) fn scalar(f: &Function, inst: &Inst) -> f64 {
    let d = inst.args.first().map(|v| f.dtype(*v));
    match &inst.op {
        Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) => 0.0,
        Op::Unary(op) => match op {
            UnaryOp::Sin | UnaryOp::Cos => 60.0,
            UnaryOp::Sqrt | UnaryOp::Rsqrt => 8.0,
            op if d == Some(DType::F64) => unary(*op, DType::F32).unwrap_or(60.0) * 2.0,
            op => unary(*op, DType::F32).unwrap_or(60.0),
        },
        Op::Binary(BinaryOp::Pow) => 120.0,
        Op::Binary(BinaryOp::Div | BinaryOp::Rem) => {
            if d.is_some_and(DType::is_int) {
                20.0
            } else {
                6.0
            }
        }
        Op::Binary(BinaryOp::Min | BinaryOp::Max) => 3.0,
        Op::Load { .. } | Op::Store { .. } => 2.0,
        Op::Atomic { .. } => 25.0,
        Op::Random { .. } => 70.0,
        Op::Print { .. } => 1000.0,
        Op::Cast(_) => 2.0,
        Op::Binary(_) | Op::Fma | Op::Select | Op::Bitcast(_) => 1.0,
    }
}
