//! Quotients by what the elements of a row have in common, as products with its reciprocal.
//!
//! In: nests that divide `f32` by a value which does not change along their last axis and which the kernel has computed in a
//! buffer, as softmax divides by the sum of a row. Out: one division for each row, since vector units multiply faster than they
//! divide. A result is within 1.5 ulp: the reciprocal and the product are rounded. Divisors that the
//! nest loads from tensors, such as scales of integers, stay exact, for whole numbers are expected of them.
//!
//! Reciprocals of very large and of denormal numbers are not exact or not finite, so divisor and dividend are multiplied by a
//! power of two first, which is 1 for all others. Zeros, infinities and NaN give what division gives.

use super::interchange::{dependents, emit};
use helion_ir::diag::Loc;
use helion_ir::dtype::{DType, Literal};
use helion_ir::loops::{Args, Function, Inst, Mem, Nest, Op, Val};
use helion_ir::target::Target;
use helion_ir::{BinaryOp, UnaryOp};
use std::collections::HashMap;

/// Rewrites every nest. Only for targets that run one instance on one thread: where lanes are threads, each of them would
/// compute the reciprocal.
pub fn share_quotients(f: &mut Function, target: &Target) {
    if target.warp > 1 {
        return;
    }
    let mut body = std::mem::take(&mut f.body);
    super::each_nest(&mut body, &mut |n| nest(f, n));
    f.body = body;
}

fn nest(f: &mut Function, n: &mut Nest) {
    let Some(last) = n.axes.last() else { return };
    let moving = dependents(n, n.carries.iter().map(|c| c.param).chain([last.var]));
    let buffered = n.body.iter().filter(|i| matches!(i.op, Op::Load { mem: Mem::Buffer(_), .. }));
    let computed = dependents(n, buffered.filter_map(|i| i.result));
    let mut made: HashMap<Val, (Val, Val)> = HashMap::new();
    let mut out = Vec::with_capacity(n.body.len());
    for mut inst in std::mem::take(&mut n.body) {
        if let (Op::Binary(BinaryOp::Div), [x, s]) = (&inst.op, inst.args.as_slice())
            && f.dtype(*x) == DType::F32
            && moving.contains(x)
            && computed.contains(s)
            && !moving.contains(s)
        {
            let (factor, reciprocal) = *made.entry(*s).or_insert_with(|| reciprocal(f, *s, inst.at, &mut out));
            let x = emit(f, Op::Binary(BinaryOp::Mul), &[*x, factor], DType::F32, inst.at, &mut out);
            inst.op = Op::Binary(BinaryOp::Mul);
            inst.args = Args::from_slice(&[x, reciprocal]);
        }
        out.push(inst);
    }
    n.body = out;
}

/// A power of two by which to multiply dividends, and the reciprocal of the divisor multiplied by it.
fn reciprocal(f: &mut Function, s: Val, at: Loc, out: &mut Vec<Inst>) -> (Val, Val) {
    let constant = |f: &mut Function, exponent: i32, out: &mut Vec<Inst>| {
        let literal = Literal::from_f64(DType::F32, f64::from(exponent).exp2());
        emit(f, Op::Const(literal), &[], DType::F32, at, out)
    };
    let (small, one, large) = (constant(f, -64, out), constant(f, 0, out), constant(f, 64, out));
    let size = emit(f, Op::Unary(UnaryOp::Abs), &[s], DType::F32, at, out);
    let above = emit(f, Op::Binary(BinaryOp::Gt), &[size, large], DType::Bool, at, out);
    let below = emit(f, Op::Binary(BinaryOp::Lt), &[size, small], DType::Bool, at, out);
    let factor = emit(f, Op::Select, &[above, small, one], DType::F32, at, out);
    let factor = emit(f, Op::Select, &[below, large, factor], DType::F32, at, out);
    let scaled = emit(f, Op::Binary(BinaryOp::Mul), &[s, factor], DType::F32, at, out);
    (factor, emit(f, Op::Binary(BinaryOp::Div), &[one, scaled], DType::F32, at, out))
}
