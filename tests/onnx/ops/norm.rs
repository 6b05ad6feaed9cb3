//! Normalisations and rotary embedding.

use helion_ir::tile::ReduceOp;

use super::index::from_front;
use super::{Cx, wide};
use crate::graph::{Dims, V};

/// Whether the operator is of this family; it is then appended.
pub fn lower(cx: &mut Cx<'_>) -> bool {
    match cx.node.op.as_str() {
        "LayerNormalization" => layer_norm(cx),
        "RMSNormalization" => {
            let x = cx.x(0);
            let w = wide(&x);
            let axes: Vec<usize> = (cx.axis("axis", x.rank(), -1)..x.rank()).collect();
            let scale = ((&w * &w).mean(&axes) + epsilon(cx)).sqrt();
            let y = (&w / &scale).cast(x.dtype) * cx.x(1);
            cx.out(0, y);
        }
        "BatchNormalization" => batch_norm(cx),
        "InstanceNormalization" => {
            let x = cx.x(0);
            let axes: Vec<usize> = (2..x.rank()).collect();
            let y = standard(&x, &axes, epsilon(cx)) * channel(&cx.x(1), x.rank()) + channel(&cx.x(2), x.rank());
            cx.out(0, y);
        }
        "GroupNormalization" => {
            let x = cx.x(0);
            let groups = cx.node.int("num_groups").expect("groups") as u64;
            let rest = x.len() / x.shape[0] / groups;
            let y = standard(&x.reshape(&[x.shape[0], groups, rest]), &[2], epsilon(cx)).reshape(&x.shape);
            let y = y * channel(&cx.x(1), x.rank()) + channel(&cx.x(2), x.rank());
            cx.out(0, y);
        }
        "MeanVarianceNormalization" => {
            let x = cx.x(0);
            let axes: Vec<usize> = cx.node.list("axes").expect("axes").iter().map(|a| x.axis(*a)).collect();
            let mean = x.mean(&axes);
            let deviation = ((&x * &x).mean(&axes) - &mean * &mean).sqrt();
            let y = (&x - &mean) / (deviation + 1e-9);
            cx.out(0, y);
        }
        "LpNormalization" => {
            let x = cx.x(0);
            let axis = cx.axis("axis", x.rank(), -1);
            let norm = match cx.node.int("p") {
                Some(1) => x.abs().reduce(ReduceOp::Sum, axis),
                _ => (&x * &x).reduce(ReduceOp::Sum, axis).sqrt(),
            };
            let y = norm.eq(0.0).select(0.0, &x / &norm, &x);
            cx.out(0, y);
        }
        "RotaryEmbedding" => rotary(cx),
        _ => return false,
    }
    true
}

fn epsilon(cx: &Cx<'_>) -> f64 {
    cx.node.float("epsilon").unwrap_or(1e-5)
}

/// Mean 0 and variance 1 along axes.
fn standard(x: &V, axes: &[usize], epsilon: f64) -> V {
    let centred = x - &x.mean(axes);
    let variance = (&centred * &centred).mean(axes);
    centred / (variance + epsilon).sqrt()
}

/// A number per channel (axis 1), shaped to broadcast.
fn channel(v: &V, rank: usize) -> V {
    let mut shape = vec![1; rank];
    shape[1] = v.len();
    v.reshape(&shape)
}

fn layer_norm(cx: &mut Cx<'_>) {
    let x = cx.x(0);
    let axes: Vec<usize> = (cx.axis("axis", x.rank(), -1)..x.rank()).collect();
    let w = wide(&x);
    let mean = w.mean(&axes);
    let centred = &w - &mean;
    let inverse = w.num(1.0) / ((&centred * &centred).mean(&axes) + epsilon(cx)).sqrt();
    let mut y = (&centred * &inverse).cast(x.dtype) * cx.x(1);
    if let Some(bias) = cx.opt(2) {
        y = y + bias;
    }
    cx.out(0, y);
    cx.out(1, mean);
    cx.out(2, inverse);
}

fn batch_norm(cx: &mut Cx<'_>) {
    let x = cx.x(0);
    let rank = x.rank();
    let [scale, bias, mean, var] = [1, 2, 3, 4].map(|i| cx.x(i));
    let (mut m, mut v) = (channel(&mean, rank), channel(&var, rank));
    if cx.node.flag("training_mode") {
        let axes: Vec<usize> = (0..rank).filter(|a| *a != 1).collect();
        m = x.mean(&axes);
        let centred = &x - &m;
        v = (&centred * &centred).mean(&axes);
        let keep = cx.node.float("momentum").unwrap_or(0.9);
        let moved = |old: &V, new: &V| old * keep + new.reshape(&old.shape) * (1.0 - keep);
        cx.out(1, moved(&mean, &m));
        cx.out(2, moved(&var, &v));
    }
    let y = (&x - &m) / (v + epsilon(cx)).sqrt() * channel(&scale, rank) + channel(&bias, rank);
    cx.out(0, y);
}

fn rotary(cx: &mut Cx<'_>) {
    let x0 = cx.x(0);
    // To [batch, sequence, heads, size].
    let x = match x0.shape[..] {
        [_, _, _, _] => x0.permute(&[0, 2, 1, 3]),
        [b, s, hidden] => {
            let heads = cx.node.int("num_heads").expect("heads") as u64;
            x0.reshape(&[b, s, heads, hidden / heads])
        }
        _ => panic!("rank 3 or 4"),
    };
    let [b, s, _, size] = x.shape[..] else { panic!("rank 4") };
    let turned = match cx.node.int("rotary_embedding_dim") {
        Some(0) | None => size,
        Some(n) => n as u64,
    };
    let half = turned / 2;
    let table = |cx: &mut Cx<'_>, i: usize| {
        let t = cx.x(i);
        let t = match cx.opt(3) {
            Some(p) => {
                let flat = from_front(&p, t.shape[0]).reshape(&[p.len()]);
                t.take(0, &flat).reshape(&[b, s, t.shape[1]])
            }
            None => t,
        };
        t.slice(2, 0, half).reshape(&[b, s, 1, half])
    };
    let (cos, sin) = (table(cx, 1), table(cx, 2));
    let (moving, still) = (x.slice(3, 0, turned), x.slice(3, turned, size - turned));
    let interleaved = cx.node.flag("interleaved");
    let mut pairs: Dims = moving.shape[..3].to_vec();
    pairs.extend([half, 2]);
    let part = |i: u64| {
        let m = &moving;
        let mut shape = m.shape.clone();
        shape[3] = half;
        if interleaved { m.reshape(&pairs).slice(4, i, 1).reshape(&shape) } else { m.slice(3, i * half, half) }
    };
    let (x1, x2) = (part(0), part(1));
    let (real, imaginary) = (&cos * &x1 - &sin * &x2, &sin * &x1 + &cos * &x2);
    let joined = if interleaved {
        let mut shape: Dims = real.shape.clone();
        shape.push(1);
        V::concat(&[real.reshape(&shape), imaginary.reshape(&shape)], 4).reshape(&moving.shape)
    } else {
        V::concat(&[real, imaginary], 3)
    };
    let y = if size == turned { joined } else { V::concat(&[joined, still], 3) };
    let y = if x0.rank() == 3 { y.reshape(&x0.shape) } else { y.permute(&[0, 2, 1, 3]) };
    cx.out(0, y);
}
