//! Scaled dot-product attention with masks, grouped heads, caches and soft cap.

use helion_ir::DType;

use super::matrix::matmul;
use super::{Cx, wide};
use crate::graph::V;

/// Whether the operator is of this family; it is then appended.
pub fn lower(cx: &mut Cx<'_>) -> bool {
    if cx.node.op != "Attention" {
        return false;
    }
    let dtype = cx.x(0).dtype;
    let is_flat = cx.x(0).rank() == 3;
    let heads = |cx: &mut Cx<'_>, i: usize, attr: &str| {
        let x = cx.x(i);
        match x.shape[..] {
            [b, s, hidden] => {
                let n = cx.node.int(attr).expect("a number of heads") as u64;
                x.reshape(&[b, s, n, hidden / n]).permute(&[0, 2, 1, 3])
            }
            _ => x,
        }
    };
    let q = heads(cx, 0, "q_num_heads");
    let (mut k, mut v) = (heads(cx, 1, "kv_num_heads"), heads(cx, 2, "kv_num_heads"));
    let mut past = 0;
    if let (Some(past_k), Some(past_v)) = (cx.opt(4), cx.opt(5)) {
        past = past_k.shape[2];
        k = V::concat(&[past_k, k], 2);
        v = V::concat(&[past_v, v], 2);
    }
    cx.out(1, k.clone());
    cx.out(2, v.clone());
    let [b, q_heads, rows, size] = q.shape[..] else { panic!("rank 4") };
    let columns = k.shape[2];
    // Queries of a group share keys and values.
    let share = |x: &V| {
        let [_, h, s, d] = x.shape[..] else { panic!("rank 4") };
        x.reshape(&[b, h, 1, s, d]).broadcast(&[b, h, q_heads / h, s, d]).reshape(&[b, q_heads, s, d])
    };
    let scale = cx.node.float("scale").unwrap_or(1.0 / (size as f64).sqrt());
    let raw = matmul(&wide(&q), &wide(&share(&k)).transpose()) * scale;
    let mut masked = raw.clone();
    let mode = cx.node.int("qk_matmul_output_mode").unwrap_or(0);
    let softcap = cx.node.float("softcap").unwrap_or(0.0);
    if softcap != 0.0 {
        masked = (masked / softcap).tanh() * softcap;
    }
    let capped = masked.clone();
    let low = f64::NEG_INFINITY;
    if let Some(mask) = cx.opt(3) {
        let bias = if mask.dtype == DType::Bool { mask.select(0.0, low, &masked) } else { wide(&mask) };
        let bias = pad_mask(&bias, columns);
        masked = masked + bias;
    }
    if let Some(lengths) = cx.opt(6) {
        let inside = raw.iota_along(columns, 3, 4).lt(lengths.cast(DType::I64).reshape(&[b, 1, 1, 1]));
        masked = masked.clone() + inside.select(0.0, low, &masked);
        past = 0;
    }
    if cx.node.flag("is_causal") {
        let row = raw.iota_along(rows, 2, 4) + past as f64;
        let visible = raw.iota_along(columns, 3, 4).le(&row);
        masked = masked.clone() + visible.select(0.0, low, &masked);
    }
    let probability = masked.softmax(3);
    let y = matmul(&probability, &wide(&share(&v))).cast(dtype);
    let y = if is_flat { y.permute(&[0, 2, 1, 3]).reshape(&[b, rows, q_heads * v.shape[3]]) } else { y };
    cx.out(0, y);
    let seen = match mode {
        0 | 1 => capped,
        2 => masked,
        _ => probability,
    };
    cx.out(3, seen.cast(dtype));
    true
}

/// A mask for fewer columns than there are hides the rest.
fn pad_mask(mask: &V, columns: u64) -> V {
    let last = mask.rank() - 1;
    let n = mask.shape[last];
    if n == columns || n == 1 {
        return mask.clone();
    }
    let mut rest = mask.shape.clone();
    rest[last] = columns - n;
    V::concat(&[mask.clone(), mask.num(f64::NEG_INFINITY).broadcast(&rest)], last)
}
