//! Flash attention: softmax(q · kᵀ · scale) · v without ever storing the matrix of scores.
//!
//! The loop over keys keeps, for each query, the largest score so far, the sum of the exponentials relative
//! to it, and the weighted sum of values; a new largest score rescales the other two. Scores are in units of
//! ln 2, so that their exponentials are powers of two, which devices have an instruction for. `causal` is a host
//! `bool`: the two cases are two compiled kernels, and the causal one never visits keys after its queries.

pub mod support;

use helion::prelude::*;
use std::f32::consts::LOG2_E;
use support::{Data, Work, close, time};

/// Attention of `[heads, queries, d]` to `[heads, keys, d]`; causal attention lets query `i` see keys `0..=i`.
#[kernel]
pub fn attention<T: Float>(
    q: &Tensor<T, 3>,
    k: &Tensor<T, 3>,
    v: &Tensor<T, 3>,
    scale: f32,
    causal: bool,
) -> Result<Tensor<T, 3>> {
    let ([heads, m, d], [_, n, _]) = (q.dims(), k.dims());
    ensure!(k.dims() == [heads, n, d] && v.dims() == [heads, n, d], "keys and values must be [{heads}, {n}, {d}]");
    let mut out = q.empty_like();
    let scale = scale * LOG2_E;
    for [th, tm] in tile([heads, m]) {
        let qt = q[(th, tm, ..)];
        let mut row_max = full((th, tm, 1), f32::NEG_INFINITY);
        let mut row_sum = f32::zeros((th, tm, 1));
        let mut acc = f32::zeros((th, tm, d));
        let end = if causal { tm.end() } else { n };
        for tn in tile(0..end) {
            let mut s = dot(qt, k[(th, tn, ..)].t()) * scale;
            if causal {
                let keep = tm.index().unsqueeze(1) >= tn.index();
                s = select(keep, s, -f64::INFINITY);
            }
            let new_max = row_max.maximum(s.max(2));
            let p = (s - new_max).exp2();
            let fix = (row_max - new_max).exp2();
            row_sum = row_sum * fix + p.sum(2);
            acc = acc * fix + dot(p.cast::<T>(), v[(th, tn, ..)]);
            row_max = new_max;
        }
        out[(th, tm, ..)] = (acc / row_sum).cast();
    }
    Ok(out)
}

/// The same in plain Rust, one query at a time.
fn reference(q: &[f32], k: &[f32], v: &[f32], [heads, m, n, d]: [usize; 4], scale: f32, causal: bool) -> Vec<f32> {
    let mut out = vec![0.0; heads * m * d];
    for h in 0..heads {
        for i in 0..m {
            let q = &q[(h * m + i) * d..][..d];
            let seen = if causal { n.min(i + 1) } else { n };
            let score = |j: usize| -> f64 {
                let k = &k[(h * n + j) * d..][..d];
                q.iter().zip(k).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() * f64::from(scale)
            };
            let scores: Vec<f64> = (0..seen).map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            for c in 0..d {
                let sum: f64 = weights.iter().enumerate().map(|(j, w)| w * f64::from(v[(h * n + j) * d + c])).sum();
                out[(h * m + i) * d + c] = (sum / total) as f32;
            }
        }
    }
    out
}

/// Compares with plain Rust for `heads` heads, `m` queries, `n` keys and head size `d`, causal (where `m` and
/// `n` are equal) and not.
///
/// # Errors
/// The first difference.
pub fn check([heads, m, n, d]: [usize; 4], data: &mut Data) -> Result<()> {
    let (q, k, v) = (data.tensor([heads, m, d])?, data.tensor([heads, n, d])?, data.tensor([heads, n, d])?);
    let scale = 1.0 / (d as f32).sqrt();
    for causal in [false, true] {
        if causal && m != n {
            continue;
        }
        let got = attention(&q, &k, &v, scale, causal)?.to_vec()?;
        let want = reference(&q.to_vec()?, &k.to_vec()?, &v.to_vec()?, [heads, m, n, d], scale, causal);
        close(if causal { "causal attention" } else { "attention" }, &got, &want, 1e-5)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1, 8], [2, 7, 33, 16], [3, 65, 65, 64], [2, 130, 130, 32]] {
        check(dims, &mut Data::plain())?;
    }
    println!("attention: right");
    let [heads, n, d] = [8, 512, 64];
    let mut data = Data::plain();
    let (q, k, v) = (data.tensor([heads, n, d])?, data.tensor([heads, n, d])?, data.tensor([heads, n, d])?);
    let all = 4 * heads * n * n * d;
    time("8 heads, 512 positions of 64", Work::Operations(all), || attention(&q, &k, &v, 0.125, false))?;
    time("the same, causal", Work::Operations(all / 2), || attention(&q, &k, &v, 0.125, true))
}
