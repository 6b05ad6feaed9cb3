//! Matrix products.

use helion_ir::DType;
use helion_ir::tile::ReduceOp;

use super::Cx;
use crate::graph::{V, broadcast_shape};

/// Whether the operator is of this family; it is then appended.
pub fn lower(cx: &mut Cx<'_>) -> bool {
    let y = match cx.node.op.as_str() {
        "MatMul" => matmul(&cx.x(0), &cx.x(1)),
        "MatMulInteger" => {
            let mut operands = [0, 1].map(|i| cx.x(i).cast(DType::I32));
            for (i, operand) in operands.iter_mut().enumerate() {
                if let Some(zero) = cx.opt(2 + i) {
                    let zero = if zero.len() == 1 { zero.reshape(&[]) } else { zero };
                    *operand = &*operand - zero.cast(DType::I32);
                }
            }
            matmul(&operands[0], &operands[1])
        }
        "Gemm" => {
            let orient = |v: V, flag: &str| if cx.node.flag(flag) { v.transpose() } else { v };
            let (a, b) = (orient(cx.g.value(&cx.node.inputs[0]), "transA"), cx.g.value(&cx.node.inputs[1]));
            let b = if cx.node.flag("transB") { b.transpose() } else { b };
            let mut y = matmul(&a, &b) * cx.node.float("alpha").unwrap_or(1.0);
            if let Some(c) = cx.opt(2) {
                y = y + c * cx.node.float("beta").unwrap_or(1.0);
            }
            y
        }
        "Einsum" => einsum(cx),
        _ => return false,
    };
    cx.out(0, y);
    true
}

/// numpy's matmul: leading axes broadcast, vectors are rows or columns.
pub fn matmul(a: &V, b: &V) -> V {
    let a2 = if a.rank() == 1 { a.reshape(&[1, a.len()]) } else { a.clone() };
    let b2 = if b.rank() == 1 { b.reshape(&[b.len(), 1]) } else { b.clone() };
    let split = |v: &V| (v.shape[..v.rank() - 2].to_vec(), v.shape[v.rank() - 2..].to_vec());
    let ((lead_a, tail_a), (lead_b, tail_b)) = (split(&a2), split(&b2));
    let lead = broadcast_shape(&lead_a, &lead_b);
    let batch: u64 = lead.iter().product();
    let acc = a.dtype.compute();
    let fit = |v: &V, tail: &[u64]| v.broadcast(&[&lead, tail].concat());
    let (l, r) = (fit(&a2, &tail_a), fit(&b2, &tail_b));
    let y = if lead.len() > 1 {
        l.reshape(&[batch, tail_a[0], tail_a[1]]).dot(&r.reshape(&[batch, tail_b[0], tail_b[1]]), acc)
    } else {
        l.dot(&r, acc)
    };
    let mut shape = lead;
    if a.rank() > 1 {
        shape.push(tail_a[0]);
    }
    if b.rank() > 1 {
        shape.push(tail_b[1]);
    }
    y.reshape(&shape).cast(a.dtype)
}

/// The equations of the tests, each by its meaning.
fn einsum(cx: &mut Cx<'_>) -> V {
    let equation = cx.node.text("equation").expect("an equation").replace(' ', "");
    let x = cx.x(0);
    match equation.as_str() {
        "->" => x,
        "ij->i" => x.reduce(ReduceOp::Sum, 1).squeeze(&[1]),
        "ij->ji" => x.transpose(),
        "i,i" => matmul(&x, &cx.x(1)),
        "bij,bjk->bik" => matmul(&x, &cx.x(1)),
        "...ii->...i" => {
            let n = x.rank();
            let (row, column) = (x.iota_along(x.shape[n - 2], n - 2, n), x.iota_along(x.shape[n - 1], n - 1, n));
            row.eq(&column).select(&x, 0.0, &x).reduce(ReduceOp::Sum, n - 1).squeeze(&[n - 1])
        }
        other => panic!("no program for the equation {other}"),
    }
}
