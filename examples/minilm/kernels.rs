//! Every arithmetic step of the encoder, as kernels.
//!
//! Activations are `[tokens, features]`, where the tokens of a batch lie one sentence after the other, each
//! padded to the longest. Weights are as they lie in the file: `[out, in]`.

use helion::prelude::*;

/// Rows brought to mean 0 and variance 1, scaled and shifted.
fn normalise(x: Tile<f32, 2>, weight: Tile<f32, 1>, bias: Tile<f32, 1>, eps: Scalar<f32>) -> Tile<f32, 2> {
    let centered = x - x.mean(1);
    let rstd = ((centered * centered).mean(1) + eps).rsqrt();
    centered * rstd * weight + bias
}

/// `x`; for [`linear`] without an activation.
pub fn identity(x: Tile<f32, 2>) -> Tile<f32, 2> {
    x
}

/// The Gaussian error linear unit, exact form.
pub fn gelu(x: Tile<f32, 2>) -> Tile<f32, 2> {
    x * 0.5 * (1.0 + (x * std::f64::consts::FRAC_1_SQRT_2).erf())
}

/// A scale and a shift for each feature, and the number that keeps the variance from being zero.
pub struct Norm {
    /// Scales.
    pub weight: Tensor<f32, 1>,
    /// Shifts.
    pub bias: Tensor<f32, 1>,
    /// Added to the variance.
    pub eps: f32,
}

/// Word, position and segment vectors of each token, added and normalised. `length` is that of a padded sentence.
#[kernel]
pub fn embed(
    ids: &Tensor<i64, 1>,
    length: usize,
    words: &Tensor<f32, 2>,
    positions: &Tensor<f32, 2>,
    segments: &Tensor<f32, 2>,
    norm: &Norm,
) -> Result<Tensor<f32, 2>> {
    let ([tokens], [_, d]) = (ids.dims(), words.dims());
    let mut out = words.empty([tokens, d]);
    for t in tile(tokens) {
        let x = words[(ids[t], ..)] + positions[(t.index() % length, ..)] + segments[(0, ..)];
        out[(t, ..)] = normalise(x, norm.weight[..], norm.bias[..], norm.eps);
    }
    Ok(out)
}

/// `activation(x · weightᵀ + bias)`.
#[kernel]
pub fn linear<A: TileFn<Tile<f32, 2>>>(
    x: &Tensor<f32, 2>,
    weight: &Tensor<f32, 2>,
    bias: &Tensor<f32, 1>,
    activation: A,
) -> Result<Tensor<f32, 2>> {
    let ([m, k], [n, kw]) = (x.dims(), weight.dims());
    ensure!(k == kw, "the layer takes {kw} features, not {k}");
    let mut out = x.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut acc = f32::zeros([tm, tn]);
        for tk in tile(k) {
            acc += dot(x[(tm, tk)], weight[(tn, tk)].t());
        }
        out[(tm, tn)] = activation(acc + bias[tn]);
    }
    Ok(out)
}

/// `x + residual`, normalised.
#[kernel]
pub fn add_norm(x: &Tensor<f32, 2>, residual: &Tensor<f32, 2>, norm: &Norm) -> Result<Tensor<f32, 2>> {
    let [m, _d] = x.dims();
    let mut out = x.empty_like();
    for tm in tile(m) {
        let sum = x[(tm, ..)] + residual[(tm, ..)];
        out[(tm, ..)] = normalise(sum, norm.weight[..], norm.bias[..], norm.eps);
    }
    Ok(out)
}

/// Attention of each sentence and head to itself. Operands and result are `[sentences, length, heads, size]`;
/// sentence `i` has `lengths[i]` tokens, and what lies beyond them is never read as a key.
#[kernel]
pub fn attention(
    q: &Tensor<f32, 4>,
    k: &Tensor<f32, 4>,
    v: &Tensor<f32, 4>,
    lengths: &Tensor<i64, 1>,
    scale: f32,
) -> Result<Tensor<f32, 4>> {
    let [sentences, length, heads, size] = q.dims();
    ensure!(k.dims() == q.dims() && v.dims() == q.dims(), "queries, keys and values must have one shape");
    ensure!(lengths.dims() == [sentences], "{sentences} sentences and {} lengths", lengths.dims()[0]);
    let mut out = q.empty_like();
    for (b, h, tm) in (grid(sentences), grid(heads), tile(length)) {
        let qt = q[(b, tm, h, ..)] * scale;
        let mut row_max = full((tm, 1), f32::NEG_INFINITY);
        let mut row_sum = f32::zeros((tm, 1));
        let mut acc = f32::zeros((tm, size));
        for tn in tile(0..lengths[b]) {
            let s = dot(qt, k[(b, tn, h, ..)].t());
            let new_max = row_max.maximum(s.max(1));
            let p = (s - new_max).exp();
            let fix = (row_max - new_max).exp();
            row_sum = row_sum * fix + p.sum(1);
            acc = acc * fix + dot(p, v[(b, tn, h, ..)]);
            row_max = new_max;
        }
        out[(b, tm, h, ..)] = acc / row_sum;
    }
    Ok(out)
}

/// The mean over the tokens of each sentence, scaled to length 1.
#[kernel]
pub fn pool(x: &Tensor<f32, 3>, lengths: &Tensor<i64, 1>) -> Result<Tensor<f32, 2>> {
    let [sentences, _length, d] = x.dims();
    ensure!(lengths.dims() == [sentences], "{sentences} sentences and {} lengths", lengths.dims()[0]);
    let mut out = x.empty([sentences, d]);
    for b in grid(sentences) {
        let mut sum = f32::zeros((1, d));
        for t in tile(0..lengths[b]) {
            sum += x[(b, t, ..)].sum(0);
        }
        // The mean differs from the sum by a factor, which the scaling to length 1 takes away again.
        let norm = (sum * sum).sum(1).sqrt().maximum(1e-12);
        out[(b, ..)] = (sum / norm).squeeze(0);
    }
    Ok(out)
}
