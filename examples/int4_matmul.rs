//! Product of a float matrix and a matrix of 4-bit integers, two to a byte, with a scale for each group of rows: the
//! weights of a quantised language model.
//!
//! The weights are unpacked on the way to the product and never stored: `>>` on signed bytes gives the high four bits
//! with their sign, a `<<` before it the low ones. The high half of byte `i` of a group belongs to a row half a group
//! further on, so that both halves are read in their order.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// Rows of the weights that share a scale.
pub const GROUP: usize = 128;

/// `x · (w * scale)`: `x` is `[m, k]`; byte `(g, i, j)` of `w`, which is `[k / GROUP, GROUP / 2, n]`, holds rows
/// `g * GROUP + i` (low bits) and `GROUP / 2` further on (high bits) of column `j`; `scale` is `[k / GROUP, n]`.
#[kernel]
pub fn int4_matmul(x: &Tensor<f32, 2>, w: &Tensor<i8, 3>, scale: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let ([m, k], [groups, half, n]) = (x.dims(), w.dims());
    ensure!(
        2 * half == GROUP && groups * GROUP == k,
        "the weights are for {} columns of x, not {k}",
        groups * 2 * half
    );
    ensure!(scale.dims() == [groups, n], "expected scales of shape [{groups}, {n}]");
    let x = x.reshape([m, groups, GROUP])?;
    let mut out = x.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut acc = f32::zeros([tm, tn]);
        for g in grid(groups) {
            let mut sum = f32::zeros([tm, tn]);
            for tk in tile(half) {
                let both = w[(g, tk, tn)];
                let (low, high) = ((both << 4) >> 4, both >> 4);
                sum += dot(x[(tm, g, tk)], low.cast::<f32>()) + dot(x[(tm, g, tk + half)], high.cast::<f32>());
            }
            acc += sum * scale[(g, tn)];
        }
        out[(tm, tn)] = acc;
    }
    Ok(out)
}

/// The same in plain Rust.
fn reference(x: &[f32], w: &[i8], scale: &[f32], [m, k, n]: [usize; 3]) -> Vec<f32> {
    let weight = |l: usize, j: usize| {
        let (group, row) = (l / GROUP, l % GROUP);
        let byte = w[(group * (GROUP / 2) + row % (GROUP / 2)) * n + j];
        let four = if row < GROUP / 2 { (byte << 4) >> 4 } else { byte >> 4 };
        f64::from(four) * f64::from(scale[group * n + j])
    };
    let element = |i: usize, j: usize| (0..k).map(|l| f64::from(x[i * k + l]) * weight(l, j)).sum::<f64>() as f32;
    (0..m * n).map(|at| element(at / n, at % n)).collect()
}

/// Random weights of `groups` groups and `n` columns.
pub fn weights(data: &mut Data, groups: usize, n: usize) -> Result<Tensor<i8, 3>> {
    let values = data.indices(groups * (GROUP / 2) * n, 256);
    Tensor::from_vec([groups, GROUP / 2, n], values.into_iter().map(|v| (v - 128) as i8).collect())
}

/// Compares with plain Rust for `m × (groups · GROUP)` by `n` columns.
///
/// # Errors
/// The first difference.
pub fn check([m, groups, n]: [usize; 3], data: &mut Data) -> Result<()> {
    let k = groups * GROUP;
    let (x, w, scale) = (data.tensor([m, k])?, weights(data, groups, n)?, data.tensor([groups, n])?);
    let want = reference(&x.to_vec()?, &w.to_vec()?, &scale.to_vec()?, [m, k, n]);
    close("int4 product", &int4_matmul(&x, &w, &scale)?.to_vec()?, &want, 1e-4)
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1], [7, 2, 33], [33, 3, 65]] {
        check(dims, &mut Data::plain())?;
    }
    println!("int4 matmul: right");
    let mut data = Data::plain();
    for m in [1, 16] {
        let (x, w, scale) = (data.tensor([m, 4096])?, weights(&mut data, 32, 4096)?, data.tensor([32, 4096])?);
        time(&format!("{m} x 4096 x 4096"), Work::Operations(2 * m * 4096 * 4096), || int4_matmul(&x, &w, &scale))?;
    }
    Ok(())
}
