//! Elementwise operators and conversions.

use helion_ir::dtype::{Class, Literal};
use helion_ir::{BinaryOp, DType, UnaryOp};

use super::{Cx, wide};
use crate::graph::V;

/// Whether the operator is of this family; it is then appended.
pub fn lower(cx: &mut Cx<'_>) -> bool {
    let op = cx.node.op.as_str();
    if let Some(unary) = plain_unary(op) {
        let y = cx.x(0).un(unary);
        cx.out(0, y);
        return true;
    }
    if let Some(binary) = plain_binary(op) {
        let y = cx.x(0).bin(binary, cx.x(1));
        cx.out(0, y);
        return true;
    }
    if let Some(y) = folded(cx).or_else(|| integers(cx)).or_else(|| activation(cx)).or_else(|| conversion(cx)) {
        cx.out(0, y);
        return true;
    }
    false
}

/// Operators that are one elementwise operation.
fn plain_unary(op: &str) -> Option<UnaryOp> {
    Some(match op {
        "Abs" => UnaryOp::Abs,
        "Neg" => UnaryOp::Neg,
        "Not" | "BitwiseNot" => UnaryOp::Not,
        "Floor" => UnaryOp::Floor,
        "Ceil" => UnaryOp::Ceil,
        "Round" => UnaryOp::Round,
        "Exp" => UnaryOp::Exp,
        "Log" => UnaryOp::Log,
        "Sqrt" => UnaryOp::Sqrt,
        "Sin" => UnaryOp::Sin,
        "Cos" => UnaryOp::Cos,
        "Tanh" => UnaryOp::Tanh,
        "Sigmoid" => UnaryOp::Sigmoid,
        "Erf" => UnaryOp::Erf,
        "IsNaN" => UnaryOp::IsNan,
        _ => return None,
    })
}

/// Operators that are one elementwise operation.
fn plain_binary(op: &str) -> Option<BinaryOp> {
    Some(match op {
        "Add" => BinaryOp::Add,
        "Sub" => BinaryOp::Sub,
        "Mul" => BinaryOp::Mul,
        "Div" => BinaryOp::Div,
        "And" | "BitwiseAnd" => BinaryOp::And,
        "Or" | "BitwiseOr" => BinaryOp::Or,
        "Xor" | "BitwiseXor" => BinaryOp::Xor,
        "Equal" => BinaryOp::Eq,
        "Less" => BinaryOp::Lt,
        "LessOrEqual" => BinaryOp::Le,
        "Greater" => BinaryOp::Gt,
        "GreaterOrEqual" => BinaryOp::Ge,
        _ => return None,
    })
}

/// Operators on any number of operands.
fn folded(cx: &mut Cx<'_>) -> Option<V> {
    let op = match cx.node.op.as_str() {
        "Max" => BinaryOp::Max,
        "Min" => BinaryOp::Min,
        "Sum" | "Mean" => BinaryOp::Add,
        _ => return None,
    };
    let all = cx.all();
    let total = all[1..].iter().fold(all[0].clone(), |a, b| a.bin(op, b));
    Some(if cx.node.op == "Mean" { total / all.len() as f64 } else { total })
}

/// Operators whose meaning on integers needs care.
fn integers(cx: &mut Cx<'_>) -> Option<V> {
    Some(match cx.node.op.as_str() {
        "BitShift" => {
            let op = if cx.node.text("direction") == Some("LEFT") { BinaryOp::Shl } else { BinaryOp::Shr };
            cx.x(0).bin(op, cx.x(1))
        }
        "Mod" => {
            let (a, b) = (cx.x(0), cx.x(1));
            let r = a.rem(&b);
            if cx.node.flag("fmod") || matches!(a.dtype.class(), Class::Unsigned) {
                return Some(r);
            }
            // The remainder takes the sign of the divisor.
            let zero = a.num(0.0);
            let opposite = r.lt(&zero).bin(BinaryOp::Xor, b.lt(&zero)).and(r.ne(&zero));
            opposite.select(&r + &b, &r, &r)
        }
        "Pow" => {
            let (a, b) = (cx.x(0), cx.x(1));
            let by =
                if a.dtype.is_float() && a.dtype != DType::F64 && !b.dtype.is_int() { a.dtype } else { DType::F64 };
            a.cast(by).pow(b.cast(by)).cast(a.dtype)
        }
        "Sign" => {
            let x = cx.x(0);
            let negative = x.lt(0.0).select(-1.0, 0.0, &x);
            x.gt(0.0).select(1.0, negative, &x)
        }
        "Reciprocal" => {
            let x = cx.x(0);
            x.num(1.0) / x
        }
        "Where" => {
            let (c, a, b) = (cx.x(0), cx.x(1), cx.x(2));
            c.select(&a, &b, &a)
        }
        "IsInf" => {
            let x = cx.x(0);
            let (up, down) = (x.num(f64::INFINITY), x.num(f64::NEG_INFINITY));
            match (cx.node.flag("detect_positive"), cx.node.flag("detect_negative")) {
                (true, true) => x.eq(&up).or(x.eq(&down)),
                (true, false) => x.eq(&up),
                (false, _) => x.eq(&down),
            }
        }
        "Clip" => {
            let mut x = cx.x(0);
            if let Some(low) = cx.opt(1) {
                x = x.max(&low);
            }
            if let Some(high) = cx.opt(2) {
                x = x.min(&high);
            }
            x
        }
        "Identity" => cx.x(0),
        "Dropout" => {
            let x = cx.x(0);
            if cx.wants(1) {
                let kept = x.full(Literal::from_i64(DType::Bool, 1), &x.shape);
                cx.out(1, kept);
            }
            x
        }
        _ => return None,
    })
}

/// Activation functions, from their definitions.
fn activation(cx: &mut Cx<'_>) -> Option<V> {
    let op = cx.node.op.clone();
    let alpha = cx.node.float("alpha").unwrap_or(1.0);
    let attr = |name: &str| cx.node.float(name).unwrap_or(0.0);
    let (beta, gamma, lambda, bias) = (attr("beta"), attr("gamma"), attr("lambd"), attr("bias"));
    let known = "Relu Elu Celu Selu LeakyRelu ThresholdedRelu PRelu HardSigmoid HardSwish Softplus Softsign Gelu Mish \
                 Swish Shrink Tan Sinh Cosh Asinh Acosh Atanh";
    if !known.split_whitespace().any(|k| k == op) {
        return None;
    }
    let x = cx.x(0);
    let positive = x.gt(0.0);
    let softplus = |x: &V| x.max(0.0) + (x.num(1.0) + x.abs().neg().exp()).log();
    Some(match op.as_str() {
        "Relu" => x.max(0.0),
        "Elu" => positive.select(&x, (x.exp() - 1.0) * alpha, &x),
        "Celu" => positive.select(&x, ((&x / alpha).exp() - 1.0) * alpha, &x),
        "Selu" => positive.select(&x, x.exp() * alpha - alpha, &x) * gamma,
        "LeakyRelu" => x.ge(0.0).select(&x, &x * alpha, &x),
        "ThresholdedRelu" => x.gt(alpha).select(&x, 0.0, &x),
        "PRelu" => x.ge(0.0).select(&x, &x * cx.x(1), &x),
        "HardSigmoid" => (&x * alpha + beta).max(0.0).min(1.0),
        "HardSwish" => (&x / 6.0 + 0.5).max(0.0).min(1.0) * &x,
        "Softplus" => softplus(&x),
        "Softsign" => &x / (x.abs() + 1.0),
        "Gelu" if cx.node.text("approximate") == Some("tanh") => {
            let inner = (&x + (&x * &x * &x) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
            &x * 0.5 * (inner.tanh() + 1.0)
        }
        "Gelu" => &x * 0.5 * ((&x / std::f64::consts::SQRT_2).erf() + 1.0),
        "Mish" => &x * softplus(&x).tanh(),
        "Swish" => &x * (&x * alpha).sigmoid(),
        "Shrink" => {
            let low = x.lt(-lambda).select(&x + bias, 0.0, &x);
            x.gt(lambda).select(&x - bias, low, &x)
        }
        "Tan" => x.sin() / x.cos(),
        "Sinh" => (x.exp() - x.neg().exp()) / 2.0,
        "Cosh" => (x.exp() + x.neg().exp()) / 2.0,
        "Asinh" => {
            let a = x.abs();
            let y = (&a + (&a * &a + 1.0).sqrt()).log();
            x.lt(0.0).select(y.neg(), &y, &y)
        }
        "Acosh" => (&x + (&x * &x - 1.0).sqrt()).log(),
        "Atanh" => ((x.num(1.0) + &x) / (x.num(1.0) - &x)).log() * 0.5,
        _ => return None,
    })
}

/// Conversions between element types, and quantisation.
fn conversion(cx: &mut Cx<'_>) -> Option<V> {
    Some(match cx.node.op.as_str() {
        "Cast" => {
            let to = cx.node.dtype("to").expect("`to`");
            convert(&cx.x(0), to, cx.node.int("saturate") != Some(0))
        }
        "CastLike" => {
            let to = cx.x(1).dtype;
            convert(&cx.x(0), to, cx.node.int("saturate") != Some(0))
        }
        "BitCast" => cx.x(0).bitcast(cx.node.dtype("to").expect("`to`")),
        "QuantizeLinear" => quantize(cx),
        "DequantizeLinear" => {
            let x = cx.x(0);
            let scale = along(cx, 1, &x.shape);
            let wide = scale.dtype.compute();
            let mut y = x.cast(wide);
            if cx.has(2) {
                let zero = along(cx, 2, &x.shape);
                y = y - zero.cast(wide);
            }
            (y * scale.cast(wide)).cast(scale.dtype)
        }
        _ => return None,
    })
}

/// Largest finite value of the 8-bit floats.
fn largest(d: DType) -> Option<f64> {
    match d {
        DType::F8E4M3 => Some(448.0),
        DType::F8E5M2 => Some(57344.0),
        _ => None,
    }
}

/// A conversion; to 8-bit floats values out of range become the largest ones when `saturate` is set, else
/// NaN (e4m3) or infinity (e5m2).
pub fn convert(x: &V, to: DType, saturate: bool) -> V {
    let Some(largest) = largest(to) else { return x.cast(to) };
    let w = wide(x);
    let w = if saturate { w.max(-largest).min(largest) } else { w };
    w.cast(to)
}

/// A scale or zero point, which is a scalar, one number per index of an axis, or one per block of an axis.
fn along(cx: &mut Cx<'_>, i: usize, shape: &[u64]) -> V {
    let s = cx.x(i);
    let axis = cx.axis("axis", shape.len(), 1);
    let block = cx.node.int("block_size").unwrap_or(0) as u64;
    if block != 0 {
        let index = s.iota(shape[axis]) / s.constant(Literal::from_i64(DType::I64, block as i64));
        return s.take(axis, &index);
    }
    if s.rank() == 1 && s.len() > 1 {
        let mut column = vec![1; shape.len()];
        column[axis] = s.len();
        return s.reshape(&column);
    }
    if s.rank() == 1 { s.reshape(&[]) } else { s }
}

fn quantize(cx: &mut Cx<'_>) -> V {
    let x = cx.x(0);
    let scale = along(cx, 1, &x.shape);
    let zero = if cx.has(2) { Some(along(cx, 2, &x.shape)) } else { None };
    let to = match (&zero, cx.node.int("output_dtype").unwrap_or(0)) {
        (Some(z), _) => z.dtype,
        (None, 5) => DType::I16,
        (None, _) => DType::U8,
    };
    let mut y = wide(&x) / wide(&scale);
    if largest(to).is_none() {
        y = y.round();
    }
    if let Some(z) = zero {
        y = &y + z.cast(y.dtype);
    }
    // Float to integer saturates.
    convert(&y, to, true)
}
