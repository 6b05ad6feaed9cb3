//! SwiGLU, the gate of many feed-forward layers: `silu(x · gate) * (x · up)`.
//!
//! Two products share their left operand, so one loop feeds two accumulators, and the gate is applied before
//! anything is stored.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// `x * sigmoid(x)`, for tiles with any number of axes.
fn silu<const R: usize>(x: Tile<f32, R>) -> Tile<f32, R> {
    x * x.sigmoid()
}

/// `silu(gate) * up`, element by element.
#[kernel]
pub fn swiglu<T: Float>(gate: &Tensor<T, 2>, up: &Tensor<T, 2>) -> Result<Tensor<T, 2>> {
    let [m, n] = gate.dims();
    ensure!(up.dims() == [m, n], "gate and up must have one shape");
    let mut out = gate.empty_like();
    for [tm, tn] in tile([m, n]) {
        out[(tm, tn)] = (silu(gate[(tm, tn)].cast()) * up[(tm, tn)].cast::<f32>()).cast();
    }
    Ok(out)
}

/// `silu(x · gate) * (x · up)`: both products and the gate in one kernel.
#[kernel]
pub fn swiglu_layer<T: Float>(x: &Tensor<T, 2>, gate: &Tensor<T, 2>, up: &Tensor<T, 2>) -> Result<Tensor<T, 2>> {
    let ([m, k], [kg, n]) = (x.dims(), gate.dims());
    ensure!(k == kg && up.dims() == [k, n], "the weights must both be [{k}, {n}]");
    let mut out = x.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut g = f32::zeros([tm, tn]);
        let mut u = f32::zeros([tm, tn]);
        for tk in tile(k) {
            let xt = x[(tm, tk)];
            g += dot(xt, gate[(tk, tn)]);
            u += dot(xt, up[(tk, tn)]);
        }
        out[(tm, tn)] = (silu(g) * u).cast();
    }
    Ok(out)
}

fn silu_plain(v: f64) -> f64 {
    v / (1.0 + (-v).exp())
}

/// Compares with plain Rust for `x` of `m × k` and weights of `k × n`.
///
/// # Errors
/// The first difference.
pub fn check([m, k, n]: [usize; 3], data: &mut Data) -> Result<()> {
    let (x, gate, up) = (data.tensor([m, k])?, data.tensor([k, n])?, data.tensor([k, n])?);
    let (g, u) = (gate.to_vec()?, up.to_vec()?);
    let pairs = g.iter().zip(&u);
    let want: Vec<f32> = pairs.map(|(g, u)| (silu_plain(f64::from(*g)) * f64::from(*u)) as f32).collect();
    close("swiglu", &swiglu(&gate, &up)?.to_vec()?, &want, 1e-6)?;

    let xs = x.to_vec()?;
    let product = |w: &[f32], i: usize, j: usize| -> f64 {
        (0..k).map(|l| f64::from(xs[i * k + l]) * f64::from(w[l * n + j])).sum()
    };
    let element = |i: usize| (silu_plain(product(&g, i / n, i % n)) * product(&u, i / n, i % n)) as f32;
    let want: Vec<f32> = (0..m * n).map(element).collect();
    close("layer", &swiglu_layer(&x, &gate, &up)?.to_vec()?, &want, 1e-5 * k.max(1) as f32)
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1], [7, 33, 12], [65, 129, 33]] {
        check(dims, &mut Data::plain())?;
    }
    println!("swiglu: right");
    let mut data = Data::plain();
    let (a, b) = (data.tensor([4096, 4096])?, data.tensor([4096, 4096])?);
    time("4096 x 4096", Work::Bytes(3 * 4 * 4096 * 4096), || swiglu(&a, &b))?;
    let (x, gate, up) = (data.tensor([256, 512])?, data.tensor([512, 1024])?, data.tensor([512, 1024])?);
    time("layer, 256 x 512 x 1024", Work::Operations(4 * 256 * 512 * 1024), || swiglu_layer(&x, &gate, &up))
}
