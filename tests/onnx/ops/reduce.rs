//! Reductions and scans.

use helion_ir::DType;
use helion_ir::tile::ReduceOp;

use super::Cx;
use crate::graph::{Dims, V};

/// Whether the operator is of this family; it is then appended.
pub fn lower(cx: &mut Cx<'_>) -> bool {
    let y = match cx.node.op.as_str() {
        "ArgMax" | "ArgMin" => arg(cx),
        "CumSum" | "CumProd" => cumulative(cx),
        "Hardmax" => {
            let x = cx.x(0);
            let axis = cx.axis("axis", x.rank(), -1);
            let at = x.reduce(ReduceOp::ArgMax, axis);
            x.iota_along(x.shape[axis], axis, x.rank()).eq(&at).cast(x.dtype)
        }
        "Softmax" => {
            let x = cx.x(0);
            x.softmax(cx.axis("axis", x.rank(), -1))
        }
        "LogSoftmax" => {
            let x = cx.x(0);
            x.log_softmax(cx.axis("axis", x.rank(), -1))
        }
        "GlobalAveragePool" => {
            let x = cx.x(0);
            x.mean(&(2..x.rank()).collect::<Vec<_>>())
        }
        "GlobalMaxPool" => {
            let x = cx.x(0);
            x.reduce_all(ReduceOp::Max, &(2..x.rank()).collect::<Vec<_>>())
        }
        op => match op.strip_prefix("Reduce") {
            Some(kind) => reduction(cx, kind),
            None => return false,
        },
    };
    cx.out(0, y);
    true
}

/// The axes of a reduction, from attribute or operand; all of them by default.
fn axes(cx: &Cx<'_>, rank: usize) -> Vec<usize> {
    let given = cx.node.list("axes").or_else(|| cx.ints(1)).unwrap_or_default();
    if given.is_empty() {
        return if cx.node.flag("noop_with_empty_axes") { Vec::new() } else { (0..rank).collect() };
    }
    given.iter().map(|a| (if *a < 0 { a + rank as i64 } else { *a }) as usize).collect()
}

fn reduction(cx: &mut Cx<'_>, kind: &str) -> V {
    let x = cx.x(0);
    let axes = axes(cx, x.rank());
    let sum = |v: &V| v.reduce_all(ReduceOp::Sum, &axes);
    let y = match kind {
        "Sum" => sum(&x),
        "Mean" => x.mean(&axes),
        "Prod" => x.reduce_all(ReduceOp::Prod, &axes),
        "Max" if x.dtype == DType::Bool => x.reduce_all(ReduceOp::Any, &axes),
        "Min" if x.dtype == DType::Bool => x.reduce_all(ReduceOp::All, &axes),
        "Max" => x.reduce_all(ReduceOp::Max, &axes),
        "Min" => x.reduce_all(ReduceOp::Min, &axes),
        "L1" => sum(&x.abs()),
        "L2" => sum(&(&x * &x)).sqrt(),
        "SumSquare" => sum(&(&x * &x)),
        "LogSum" => sum(&x).log(),
        "LogSumExp" => sum(&x.exp()).log(),
        other => panic!("no reduction {other}"),
    };
    if cx.node.flag("keepdims") { y } else { y.squeeze(&axes) }
}

fn arg(cx: &mut Cx<'_>) -> V {
    let x = cx.x(0);
    let axis = cx.axis("axis", x.rank(), 0);
    let n = x.shape[axis];
    let op = if cx.node.op == "ArgMax" { ReduceOp::ArgMax } else { ReduceOp::ArgMin };
    let mut y = if cx.node.flag("select_last_index") {
        let last = x.seed(n as i64 - 1);
        let at = x.take(axis, &(&last - &x.iota(n))).reduce(op, axis);
        &last - &at
    } else {
        x.reduce(op, axis)
    };
    if !cx.node.flag("keepdims") {
        y = y.squeeze(&[axis]);
    }
    y
}

fn cumulative(cx: &mut Cx<'_>) -> V {
    let x = cx.x(0);
    let (op, neutral) = if cx.node.op == "CumSum" { (ReduceOp::Sum, 0) } else { (ReduceOp::Prod, 1) };
    let axis = x.axis(cx.ints(1).expect("an axis")[0]);
    let reverse = cx.node.flag("reverse");
    let y = x.scan(op, axis, reverse);
    if !cx.node.flag("exclusive") {
        return y;
    }
    let n = x.shape[axis];
    let mut edge: Dims = x.shape.clone();
    edge[axis] = 1;
    let first = x.int(neutral).broadcast(&edge);
    if reverse {
        V::concat(&[y.slice(axis, 1, n - 1), first], axis)
    } else {
        V::concat(&[first, y.slice(axis, 0, n - 1)], axis)
    }
}
