//! Root-mean-square normalisation of each row.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// `x / sqrt(mean(x²) + eps) * weight`, computed in f32.
#[kernel]
pub fn rms_norm<T: Float>(x: &Tensor<T, 2>, weight: &Tensor<T, 1>, eps: f32) -> Result<Tensor<T, 2>> {
    let [m, n] = x.dims();
    ensure!(weight.dims() == [n], "the rows have {n} elements, the weight {}", weight.dims()[0]);
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)].cast::<f32>();
        let scale = ((row * row).mean(1) + eps).rsqrt();
        out[(tm, ..)] = (row * scale * weight[..].cast::<f32>()).cast();
    }
    Ok(out)
}

/// The same in plain Rust.
fn reference(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let n = weight.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(n.max(1)) {
        let mean = row.iter().map(|v| f64::from(v * v)).sum::<f64>() / n as f64;
        let scale = 1.0 / (mean + f64::from(eps)).sqrt();
        out.extend(row.iter().zip(weight).map(|(v, w)| (f64::from(*v) * scale * f64::from(*w)) as f32));
    }
    out
}

/// Compares with plain Rust for `m` rows of `n`.
///
/// # Errors
/// The first difference.
pub fn check(m: usize, n: usize, data: &mut Data) -> Result<()> {
    let (x, weight) = (data.tensor([m, n])?, data.tensor([n])?);
    let want = reference(&x.to_vec()?, &weight.to_vec()?, 1e-5);
    close("rms norm", &rms_norm(&x, &weight, 1e-5)?.to_vec()?, &want, 1e-5)
}

fn main() -> Result<()> {
    for [m, n] in [[1, 1], [7, 33], [129, 1000]] {
        check(m, n, &mut Data::plain())?;
    }
    println!("rms norm: right");
    for [m, n] in [[64, 1024], [4096, 4096]] {
        let mut data = Data::plain();
        let (x, w) = (data.tensor([m, n])?, data.tensor([n])?);
        time(&format!("{m} x {n}"), Work::Bytes(2 * 4 * m * n), || rms_norm(&x, &w, 1e-5))?;
    }
    Ok(())
}
