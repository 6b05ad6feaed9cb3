//! Softmax of each row of a matrix.
//!
//! A tile `x[(tm, ..)]` holds whole rows. A reduction keeps its axis with size 1, so `row - row.max(1)`
//! subtracts from each row its own maximum. Subtracting it first keeps `exp` from overflowing.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// `exp(x) / Σ exp(x)` along the last axis; computed in f32.
#[kernel]
pub fn softmax<T: Float>(x: &Tensor<T, 2>) -> Result<Tensor<T, 2>> {
    let [m, _n] = x.dims();
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)].cast::<f32>();
        let e = (row - row.max(1)).exp();
        out[(tm, ..)] = (e / e.sum(1)).cast();
    }
    Ok(out)
}

/// The same in plain Rust.
fn reference(x: &[f32], n: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks(n.max(1)) {
        let top =
            row.iter().fold(f32::NEG_INFINITY, |a, &b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) });
        let e: Vec<f64> = row.iter().map(|v| f64::from(v - top).exp()).collect();
        let sum: f64 = e.iter().sum();
        out.extend(e.iter().map(|v| (v / sum) as f32));
    }
    out
}

/// Compares with plain Rust for `m` rows of `n`.
///
/// # Errors
/// The first difference.
pub fn check(m: usize, n: usize, data: &mut Data) -> Result<()> {
    let x = data.tensor([m, n])?;
    close("softmax", &softmax(&x)?.to_vec()?, &reference(&x.to_vec()?, n), 1e-6)
}

fn main() -> Result<()> {
    for [m, n] in [[1, 1], [7, 33], [129, 1000]] {
        check(m, n, &mut Data::plain())?;
    }
    println!("softmax: right");
    for [m, n] in [[64, 1024], [4096, 4096]] {
        let x = Data::plain().tensor([m, n])?;
        time(&format!("{m} x {n}"), Work::Bytes(2 * 4 * m * n), || softmax(&x))?;
    }
    Ok(())
}
