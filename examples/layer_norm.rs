//! Layer normalisation with an optional bias and two outputs.
//!
//! `bias` is an `Option`: whether it is there is known when the kernel is compiled, so the `if let` costs
//! nothing at run time; the two cases are two compiled kernels.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// Rows brought to mean 0 and variance 1, then scaled by `weight` and shifted by `bias`; also returns the
/// reciprocal standard deviation of each row, which training needs.
#[kernel]
pub fn layer_norm<T: Float>(
    x: &Tensor<T, 2>,
    weight: &Tensor<T, 1>,
    bias: Option<&Tensor<T, 1>>,
    eps: f32,
) -> Result<(Tensor<T, 2>, Tensor<f32, 1>)> {
    let [m, n] = x.dims();
    ensure!(weight.dims() == [n], "the rows have {n} elements, the weight {}", weight.dims()[0]);
    if let Some(bias) = bias {
        ensure!(bias.dims() == [n], "the rows have {n} elements, the bias {}", bias.dims()[0]);
    }
    let mut out = x.empty_like();
    let mut rstds = x.empty_of::<f32, 1>([m]);
    for tm in tile(m) {
        let row = x[(tm, ..)].cast::<f32>();
        let centered = row - row.mean(1);
        let rstd = ((centered * centered).mean(1) + eps).rsqrt();
        let mut y = centered * rstd * weight[..].cast::<f32>();
        if let Some(bias) = bias {
            y += bias[..].cast::<f32>();
        }
        out[(tm, ..)] = y.cast();
        rstds[tm] = rstd.squeeze(1);
    }
    Ok((out, rstds))
}

/// The same in plain Rust.
fn reference(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32) -> (Vec<f32>, Vec<f32>) {
    let n = weight.len();
    let (mut out, mut rstds) = (Vec::new(), Vec::new());
    for row in x.chunks(n.max(1)) {
        let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        let var = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n as f64;
        let rstd = 1.0 / (var + f64::from(eps)).sqrt();
        rstds.push(rstd as f32);
        for (i, v) in row.iter().enumerate() {
            let y = (f64::from(*v) - mean) * rstd * f64::from(weight[i]);
            out.push((y + bias.map_or(0.0, |b| f64::from(b[i]))) as f32);
        }
    }
    (out, rstds)
}

/// Compares with plain Rust for `m` rows of `n`, with a bias and without.
///
/// # Errors
/// The first difference.
pub fn check(m: usize, n: usize, data: &mut Data) -> Result<()> {
    let (x, weight, bias) = (data.tensor([m, n])?, data.tensor([n])?, data.tensor([n])?);
    for bias in [None, Some(&bias)] {
        let (out, rstds) = layer_norm(&x, &weight, bias, 1e-5)?;
        let plain_bias = bias.map(|b| b.to_vec()).transpose()?;
        let (want, want_rstds) = reference(&x.to_vec()?, &weight.to_vec()?, plain_bias.as_deref(), 1e-5);
        close("layer norm", &out.to_vec()?, &want, 1e-5)?;
        if n > 0 {
            close("reciprocal deviation", &rstds.to_vec()?, &want_rstds, 1e-5)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    for [m, n] in [[1, 1], [7, 33], [129, 1000]] {
        check(m, n, &mut Data::plain())?;
    }
    println!("layer norm: right");
    for [m, n] in [[64, 1024], [4096, 4096]] {
        let mut data = Data::plain();
        let (x, w, b) = (data.tensor([m, n])?, data.tensor([n])?, data.tensor([n])?);
        time(&format!("{m} x {n}"), Work::Bytes(2 * 4 * m * n), || layer_norm(&x, &w, Some(&b), 1e-5))?;
    }
    Ok(())
}
