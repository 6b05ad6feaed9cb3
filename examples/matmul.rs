//! Matrix product with an epilogue: any function of the result tile, fused into the kernel.
//!
//! The epilogue is an ordinary generic argument. A function or a closure without captures is passed as it
//! is; a closure that uses tensors or numbers around it is wrapped in `tile_fn!`. One that wants to know
//! where its tile lies (a bias per column) takes the tile variables too: [`matmul_at`].

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// `epilogue(a · b)`, accumulated in f32.
#[kernel]
pub fn matmul<T: Float, E: TileFn<Tile<f32, 2>>>(
    a: &Tensor<T, 2>,
    b: &Tensor<T, 2>,
    epilogue: E,
) -> Result<Tensor<T, 2>> {
    let ([m, k], [kb, n]) = (a.dims(), b.dims());
    ensure!(k == kb, "inner dimensions differ: {k} and {kb}");
    let mut out = a.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut acc = f32::zeros([tm, tn]);
        for tk in tile(k) {
            acc += dot(a[(tm, tk)], b[(tk, tn)]);
        }
        out[(tm, tn)] = epilogue(acc).cast();
    }
    Ok(out)
}

/// `epilogue(a · b, rows, columns)`: the epilogue also sees which rows and columns it is given.
#[kernel]
pub fn matmul_at<T: Float, E: TileFn<(Tile<f32, 2>, TileIx, TileIx), Tile<f32, 2>>>(
    a: &Tensor<T, 2>,
    b: &Tensor<T, 2>,
    epilogue: E,
) -> Result<Tensor<T, 2>> {
    let ([m, k], [kb, n]) = (a.dims(), b.dims());
    ensure!(k == kb, "inner dimensions differ: {k} and {kb}");
    let mut out = a.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut acc = f32::zeros([tm, tn]);
        for tk in tile(k) {
            acc += dot(a[(tm, tk)], b[(tk, tn)]);
        }
        out[(tm, tn)] = epilogue(acc, tm, tn).cast();
    }
    Ok(out)
}

/// An epilogue that changes nothing.
pub fn identity(t: Tile<f32, 2>) -> Tile<f32, 2> {
    t
}

/// Negative numbers become zero; works for tiles with any number of axes.
pub fn relu<const R: usize>(t: Tile<f32, R>) -> Tile<f32, R> {
    t.maximum(0.0)
}

/// The same in plain Rust, without the epilogue.
fn reference(a: &[f32], b: &[f32], [m, k, n]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            out[i * n + j] = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum::<f64>() as f32;
        }
    }
    out
}

/// Compares with plain Rust for `m × k` by `k × n`, with four kinds of epilogue.
///
/// # Errors
/// The first difference.
pub fn check([m, k, n]: [usize; 3], data: &mut Data) -> Result<()> {
    let (a, b, bias) = (data.tensor([m, k])?, data.tensor([k, n])?, data.tensor([n])?);
    let plain = reference(&a.to_vec()?, &b.to_vec()?, [m, k, n]);
    let with =
        |f: &dyn Fn(f32, usize) -> f32| -> Vec<f32> { plain.iter().enumerate().map(|(i, v)| f(*v, i % n)).collect() };
    let tolerance = 1e-5 * (k.max(1) as f32).sqrt();
    let relu_plain = |v: f32, _| if v.is_nan() { v } else { v.max(0.0) };

    close("product", &matmul(&a, &b, identity)?.to_vec()?, &plain, tolerance)?;
    close("function", &matmul(&a, &b, relu)?.to_vec()?, &with(&relu_plain), tolerance)?;
    close("closure", &matmul(&a, &b, |t: Tile<f32, 2>| t * 2.0)?.to_vec()?, &with(&|v, _| v * 2.0), 2.0 * tolerance)?;
    let (gain, bias_plain) = (0.5f32, bias.to_vec()?);
    let scaled = matmul_at(&a, &b, tile_fn!(|(t, _tm, tn): (Tile<f32, 2>, TileIx, TileIx)| t * gain + bias[tn]))?;
    close("closure with captures", &scaled.to_vec()?, &with(&|v, j| v * 0.5 + bias_plain[j]), tolerance)
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1], [7, 33, 12], [65, 129, 33], [100, 300, 200]] {
        check(dims, &mut Data::plain())?;
    }
    println!("matmul: right");
    for s in [256, 1024] {
        let mut data = Data::plain();
        let (a, b) = (data.tensor([s, s])?, data.tensor([s, s])?);
        time(&format!("{s} x {s} x {s}"), Work::Operations(2 * s * s * s), || matmul(&a, &b, identity))?;
        time(&format!("{s} x {s} x {s} with relu"), Work::Operations(2 * s * s * s), || matmul(&a, &b, relu))?;
    }
    Ok(())
}
