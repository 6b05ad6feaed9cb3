//! Matrix products of a batch: `dot` of tiles with a leading axis multiplies pair by pair.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// `out[i] = a[i] · b[i]`, accumulated in f32.
#[kernel]
pub fn batched_matmul<T: Float>(a: &Tensor<T, 3>, b: &Tensor<T, 3>) -> Result<Tensor<T, 3>> {
    let ([batch, m, k], [batch_b, kb, n]) = (a.dims(), b.dims());
    ensure!(batch == batch_b, "{batch} matrices on the left and {batch_b} on the right");
    ensure!(k == kb, "inner dimensions differ: {k} and {kb}");
    let mut out = a.empty([batch, m, n]);
    for [tb, tm, tn] in tile([batch, m, n]) {
        let mut acc = f32::zeros([tb, tm, tn]);
        for tk in tile(k) {
            acc += dot(a[(tb, tm, tk)], b[(tb, tk, tn)]);
        }
        out[(tb, tm, tn)] = acc.cast();
    }
    Ok(out)
}

/// The same in plain Rust.
fn reference(a: &[f32], b: &[f32], [batch, m, k, n]: [usize; 4]) -> Vec<f32> {
    let mut out = Vec::with_capacity(batch * m * n);
    for i in 0..batch * m {
        for j in 0..n {
            let b = &b[i / m * k * n..];
            out.push((0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum::<f64>() as f32);
        }
    }
    out
}

/// Compares with plain Rust for `batch` products of `m × k` by `k × n`.
///
/// # Errors
/// The first difference.
pub fn check([batch, m, k, n]: [usize; 4], data: &mut Data) -> Result<()> {
    let (a, b) = (data.tensor([batch, m, k])?, data.tensor([batch, k, n])?);
    let want = reference(&a.to_vec()?, &b.to_vec()?, [batch, m, k, n]);
    close("batched product", &batched_matmul(&a, &b)?.to_vec()?, &want, 1e-5 * (k.max(1) as f32).sqrt())
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1, 1], [3, 7, 33, 12], [5, 65, 17, 33]] {
        check(dims, &mut Data::plain())?;
    }
    println!("batched matmul: right");
    for [batch, s] in [[64, 64], [16, 256]] {
        let mut data = Data::plain();
        let (a, b) = (data.tensor([batch, s, s])?, data.tensor([batch, s, s])?);
        let work = Work::Operations(2 * batch * s * s * s);
        time(&format!("{batch} of {s} x {s} x {s}"), work, || batched_matmul(&a, &b))?;
    }
    Ok(())
}
