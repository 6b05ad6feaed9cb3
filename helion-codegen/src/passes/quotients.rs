//! Quotients by what the elements of a row have in common, as products with its reciprocal.
//!
//! In: nests that divide `f32` by a value which does not change along their last axis and which the kernel has computed in a
//! buffer, as softmax divides by the sum of a row. Out: one division for each row; vector units take as long for one as for
//! six products. A result is within 1.5 ulp: the reciprocal and the product are rounded. Divisors that come straight from
//! the user, such as scales of integers, stay exact, for whole numbers are expected of them.
//!
//! Reciprocals of very large and of denormal numbers are not exact or not finite, so divisor and dividend are multiplied by a
//! power of two first, which is 1 for all others. Zeros, infinities and NaN give what division gives.

use super::interchange::fresh;
use helion_ir::dtype::{DType, Literal};
use helion_ir::loops::{Args, Function, Inst, Mem, Nest, Op, Stmt, Val};
use helion_ir::target::Target;
use helion_ir::{BinaryOp, UnaryOp};
use std::collections::{HashMap, HashSet};

/// Rewrites every nest. Only for targets that run one instance on one thread: where lanes are threads, each of them would
/// compute the reciprocal.
pub fn share_quotients(f: &mut Function, target: &Target) {
    if target.warp > 1 {
        return;
    }
    let mut body = std::mem::take(&mut f.body);
    stmts(f, &mut body);
    f.body = body;
}

fn stmts(f: &mut Function, list: &mut [Stmt]) {
    for s in list {
        match s {
            Stmt::Inst(_) | Stmt::Contract(_) => {}
            Stmt::For { body, .. } => stmts(f, body),
            Stmt::While { cond, body, .. } => {
                stmts(f, cond);
                stmts(f, body);
            }
            Stmt::If { then, other, .. } => {
                stmts(f, then);
                stmts(f, other);
            }
            Stmt::Nest(n) => nest(f, n),
        }
    }
}

fn nest(f: &mut Function, n: &mut Nest) {
    let Some(last) = n.axes.last() else { return };
    let divides = |i: &Inst| i.op == Op::Binary(BinaryOp::Div) && f.dtype(i.args[0]) == DType::F32;
    if !n.body.iter().any(divides) {
        return;
    }
    let mut moving: HashSet<Val> = n.carries.iter().map(|c| c.param).chain([last.var]).collect();
    let mut computed: HashSet<Val> = HashSet::new();
    let mut made: HashMap<Val, (Val, Val)> = HashMap::new();
    let mut out = Vec::with_capacity(n.body.len() + 8);
    for mut inst in std::mem::take(&mut n.body) {
        let any = |set: &HashSet<Val>| inst.args.iter().any(|a| set.contains(a));
        let (moves, from_buffer) = (any(&moving), matches!(inst.op, Op::Load { mem: Mem::Buffer(_), .. }));
        if from_buffer || any(&computed) {
            computed.extend(inst.result);
        }
        if moves {
            moving.extend(inst.result);
        }
        if moves && inst.op == Op::Binary(BinaryOp::Div) && f.dtype(inst.args[0]) == DType::F32 {
            let (x, s) = (inst.args[0], inst.args[1]);
            if computed.contains(&s) && !moving.contains(&s) {
                let (factor, reciprocal) = *made.entry(s).or_insert_with(|| reciprocal(f, s, &inst, &mut out));
                let x = emit(f, Op::Binary(BinaryOp::Mul), &[x, factor], DType::F32, &inst, &mut out);
                moving.insert(x);
                inst.op = Op::Binary(BinaryOp::Mul);
                inst.args = Args::from_slice(&[x, reciprocal]);
            }
        }
        out.push(inst);
    }
    n.body = out;
}

/// A power of two by which to multiply dividends, and the reciprocal of the divisor multiplied by it.
fn reciprocal(f: &mut Function, s: Val, of: &Inst, out: &mut Vec<Inst>) -> (Val, Val) {
    let constant = |f: &mut Function, exponent: i32, out: &mut Vec<Inst>| {
        let literal = Literal::from_f64(DType::F32, f64::from(exponent).exp2());
        emit(f, Op::Const(literal), &[], DType::F32, of, out)
    };
    let (small, one, large) = (constant(f, -64, out), constant(f, 0, out), constant(f, 64, out));
    let size = emit(f, Op::Unary(UnaryOp::Abs), &[s], DType::F32, of, out);
    let above = emit(f, Op::Binary(BinaryOp::Gt), &[size, large], DType::Bool, of, out);
    let below = emit(f, Op::Binary(BinaryOp::Lt), &[size, small], DType::Bool, of, out);
    let factor = emit(f, Op::Select, &[above, small, one], DType::F32, of, out);
    let factor = emit(f, Op::Select, &[below, large, factor], DType::F32, of, out);
    let scaled = emit(f, Op::Binary(BinaryOp::Mul), &[s, factor], DType::F32, of, out);
    (factor, emit(f, Op::Binary(BinaryOp::Div), &[one, scaled], DType::F32, of, out))
}

fn emit(f: &mut Function, op: Op, args: &[Val], result: DType, of: &Inst, out: &mut Vec<Inst>) -> Val {
    let v = fresh(f, result);
    out.push(Inst { op, args: Args::from_slice(args), result: Some(v), at: of.at });
    v
}
