//! Mean and variance of each row in one pass, by Welford's method: a reduction with a combine function of
//! one's own, over tuples.
//!
//! A partial result is the triple (mean, sum of squared differences from it, count). [`combine`] joins two
//! of them; it is used within a tile by `reduce_with`, and between tiles by plain arithmetic.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

type Stat = (Scalar<f32>, Scalar<f32>, Scalar<f32>);

/// The statistics of two groups together.
fn combine((mean_a, m2_a, a): Stat, (mean_b, m2_b, b): Stat) -> Stat {
    let n = a + b;
    let delta = mean_b - mean_a;
    (mean_a + delta * b / n, m2_a + m2_b + delta * delta * a * b / n, n)
}

/// Two columns for each row of `x`: its mean and its (population) variance.
#[kernel]
pub fn mean_variance(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let [m, n] = x.dims();
    let mut out = x.empty([m, 2]);
    for tm in tile(m) {
        let mut mean = f32::zeros([tm]);
        let mut m2 = f32::zeros([tm]);
        let mut count = f32::zeros([tm]);
        for tn in tile(n) {
            let b = x[(tm, tn)];
            let (bm, bs, bc) = reduce_with((b, b * 0, b * 0 + 1), 1, combine);
            let (bm, bs, bc) = (bm.squeeze(1), bs.squeeze(1), bc.squeeze(1));
            let (delta, total) = (bm - mean, count + bc);
            mean += delta * bc / total;
            m2 += bs + delta * delta * count * bc / total;
            count = total;
        }
        out[(tm, 0)] = mean;
        out[(tm, 1)] = m2 / count;
    }
    Ok(out)
}

/// The same in plain Rust, in two passes.
fn reference(x: &[f32], n: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for row in x.chunks(n) {
        let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        let variance = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n as f64;
        out.extend([mean as f32, variance as f32]);
    }
    out
}

/// Compares with plain Rust for `m` rows of `n`.
///
/// # Errors
/// The first difference.
pub fn check(m: usize, n: usize, data: &mut Data) -> Result<()> {
    let x = data.tensor([m, n])?;
    close("mean and variance", &mean_variance(&x)?.to_vec()?, &reference(&x.to_vec()?, n), 1e-5)
}

fn main() -> Result<()> {
    for [m, n] in [[1, 1], [7, 33], [129, 1000]] {
        check(m, n, &mut Data::plain())?;
    }
    println!("welford: right");
    let [m, n] = [1024, 4096];
    let x = Data::plain().tensor([m, n])?;
    time(&format!("{m} x {n}"), Work::Bytes(4 * m * n), || mean_variance(&x))
}
