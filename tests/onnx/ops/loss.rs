//! Losses over classes.

use helion_ir::DType;
use helion_ir::tile::ReduceOp;

use super::Cx;
use crate::graph::V;

/// Whether the operator is of this family; it is then appended.
pub fn lower(cx: &mut Cx<'_>) -> bool {
    match cx.node.op.as_str() {
        "NegativeLogLikelihoodLoss" => {
            let x = cx.x(0);
            loss(cx, &x);
        }
        "SoftmaxCrossEntropyLoss" => {
            let x = cx.x(0).log_softmax(1);
            loss(cx, &x);
            cx.out(1, x);
        }
        _ => return false,
    }
    true
}

/// `-log_prob[n, target[n]] * weight[target[n]]`, then none, sum or weighted mean.
fn loss(cx: &mut Cx<'_>, log_prob: &V) {
    let target = cx.x(1).cast(DType::I64);
    let classes = log_prob.shape[1];
    let mut column = target.shape.clone();
    column.insert(1, 1);
    let ignored = cx.node.int("ignore_index").map(|i| target.eq(target.seed(i)));
    // An ignored class may be outside the axis; any valid one will do.
    let class = match &ignored {
        Some(mask) => mask.select(0.0, &target, &target),
        None => target.clone(),
    };
    let picked = log_prob.gather_elements(1, &class.reshape(&column)).reshape(&target.shape).neg();
    let weight = match cx.opt(2) {
        Some(w) => w.take(0, &class.reshape(&[class.len()])).reshape(&target.shape),
        None => picked.num(1.0).broadcast(&target.shape),
    };
    assert!(classes > 0);
    let weight = match &ignored {
        Some(mask) => mask.select(0.0, &weight, &weight),
        None => weight,
    };
    // `0 * inf` of an ignored class must not spoil the sum.
    let picked = match &ignored {
        Some(mask) => mask.select(0.0, &picked, &picked),
        None => picked,
    };
    let each = picked * &weight;
    let axes: Vec<usize> = (0..each.rank()).collect();
    let total = |v: &V| v.reduce_all(ReduceOp::Sum, &axes).squeeze(&axes);
    let y = match cx.node.text("reduction") {
        Some("none") => each,
        Some("sum") => total(&each),
        _ => total(&each) / total(&weight),
    };
    cx.out(0, y);
}
