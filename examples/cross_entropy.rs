//! Cross-entropy of logits with one right class per row.
//!
//! `gather` picks one element of each row: the index tile has the shape of the result.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// `log Σ exp(logits) - logits[label]` for each row.
#[kernel]
pub fn cross_entropy(logits: &Tensor<f32, 2>, labels: &Tensor<i64, 1>) -> Result<Tensor<f32, 1>> {
    let [m, _classes] = logits.dims();
    ensure!(labels.dims() == [m], "{m} rows and {} labels", labels.dims()[0]);
    let mut loss = logits.empty_of::<f32, 1>([m]);
    for tm in tile(m) {
        let row = logits[(tm, ..)];
        let top = row.max(1);
        let lse = (row - top).exp().sum(1).ln() + top;
        let picked = row.gather(1, labels[tm].unsqueeze(1));
        loss[tm] = (lse - picked).squeeze(1);
    }
    Ok(loss)
}

/// The same in plain Rust.
fn reference(logits: &[f32], labels: &[i64], classes: usize) -> Vec<f32> {
    let loss = |(row, label): (&[f32], &i64)| {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
        (sum.ln() + f64::from(top) - f64::from(row[*label as usize])) as f32
    };
    logits.chunks(classes).zip(labels).map(loss).collect()
}

/// Compares with plain Rust for `m` rows of `classes`.
///
/// # Errors
/// The first difference.
pub fn check(m: usize, classes: usize, data: &mut Data) -> Result<()> {
    let logits = data.tensor([m, classes])?;
    let labels = data.indices(m, classes);
    let want = reference(&logits.to_vec()?, &labels, classes);
    close("loss", &cross_entropy(&logits, &Tensor::from_vec([m], labels)?)?.to_vec()?, &want, 1e-5)
}

fn main() -> Result<()> {
    for [m, n] in [[1, 1], [7, 33], [129, 1000]] {
        check(m, n, &mut Data::plain())?;
    }
    println!("cross entropy: right");
    let [m, n] = [256, 32_000];
    let mut data = Data::plain();
    let (logits, labels) = (data.tensor([m, n])?, Tensor::from_vec([m], data.indices(m, n))?);
    time(&format!("{m} rows of {n}"), Work::Bytes(4 * m * n), || cross_entropy(&logits, &labels))
}
