//! Product of two quantised matrices: 8-bit integers with one scale per row of `a` and per column of `b`.
//!
//! `dot` of 8-bit integers accumulates in `i32`, exactly; the scales are applied once at the end.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// `(a · b) * a_scale * b_scale`.
#[kernel]
pub fn int8_matmul(
    a: &Tensor<i8, 2>,
    b: &Tensor<i8, 2>,
    a_scale: &Tensor<f32, 1>,
    b_scale: &Tensor<f32, 1>,
) -> Result<Tensor<f32, 2>> {
    let ([m, k], [kb, n]) = (a.dims(), b.dims());
    ensure!(k == kb, "inner dimensions differ: {k} and {kb}");
    ensure!(a_scale.dims() == [m] && b_scale.dims() == [n], "one scale per row of a and per column of b");
    let mut out = a.empty_of::<f32, 2>([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut acc = i32::zeros([tm, tn]);
        for tk in tile(k) {
            acc += dot(a[(tm, tk)], b[(tk, tn)]);
        }
        out[(tm, tn)] = acc.cast::<f32>() * a_scale[tm].unsqueeze(1) * b_scale[tn];
    }
    Ok(out)
}

/// The same in plain Rust.
fn reference(a: &[i8], b: &[i8], a_scale: &[f32], b_scale: &[f32], k: usize) -> Vec<f32> {
    let (m, n) = (a_scale.len(), b_scale.len());
    let mut out = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let sum: i32 = (0..k).map(|l| i32::from(a[i * k + l]) * i32::from(b[l * n + j])).sum();
            out.push(sum as f32 * a_scale[i] * b_scale[j]);
        }
    }
    out
}

fn bytes(data: &mut Data, dims: [usize; 2]) -> Result<Tensor<i8, 2>> {
    let values = data.indices(dims[0] * dims[1], 256);
    Tensor::from_vec(dims, values.into_iter().map(|v| (v - 128) as i8).collect())
}

/// Compares with plain Rust for `m × k` by `k × n`.
///
/// # Errors
/// The first difference.
pub fn check([m, k, n]: [usize; 3], data: &mut Data) -> Result<()> {
    let (a, b) = (bytes(data, [m, k])?, bytes(data, [k, n])?);
    let (a_scale, b_scale) = (data.tensor([m])?, data.tensor([n])?);
    let want = reference(&a.to_vec()?, &b.to_vec()?, &a_scale.to_vec()?, &b_scale.to_vec()?, k);
    close("int8 product", &int8_matmul(&a, &b, &a_scale, &b_scale)?.to_vec()?, &want, 1e-6)
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1], [7, 33, 12], [65, 129, 33]] {
        check(dims, &mut Data::plain())?;
    }
    println!("int8 matmul: right");
    let s = 512;
    let mut data = Data::plain();
    let (a, b) = (bytes(&mut data, [s, s])?, bytes(&mut data, [s, s])?);
    let (sa, sb) = (data.tensor([s])?, data.tensor([s])?);
    time(&format!("{s} x {s} x {s}"), Work::Operations(2 * s * s * s), || int8_matmul(&a, &b, &sa, &sb))
}
