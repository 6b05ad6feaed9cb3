//! Functions of single elements: both forms of GELU, the exponential, and a chain of several functions.
//!
//! Each is one pass over memory however long its formula is; what a library does in five calls and five passes is one
//! kernel here. The functions themselves are ordinary Rust, so a matrix product takes them as its epilogue too.

pub mod support;

use helion::prelude::*;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use support::{Data, Work, close, time};

/// `f(x)`, element by element, computed in f32.
#[kernel]
pub fn map<T: Float, F: TileFn<Tile<f32, 1>>>(x: &Tensor<T, 1>, f: F) -> Result<Tensor<T, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = f(x[t].cast()).cast();
    }
    Ok(out)
}

/// `exp(-x²) · y + tanh(x + y) / 2`: two inputs and two functions that cost far more than the arithmetic.
#[kernel]
pub fn chain<T: Float>(x: &Tensor<T, 1>, y: &Tensor<T, 1>) -> Result<Tensor<T, 1>> {
    let [n] = x.dims();
    ensure!(y.dims() == [n], "the vectors have {n} and {} elements", y.dims()[0]);
    let mut out = x.empty_like();
    for t in tile(n) {
        let (a, b) = (x[t].cast::<f32>(), y[t].cast::<f32>());
        out[t] = ((-(a * a)).exp() * b + (a + b).tanh() * 0.5).cast();
    }
    Ok(out)
}

/// The Gaussian error linear unit, `x · Φ(x)` with Φ the normal distribution (Hendrycks and Gimpel, 2016).
pub fn gelu<const R: usize>(x: Tile<f32, R>) -> Tile<f32, R> {
    x * 0.5 * (1.0 + (x * FRAC_1_SQRT_2).erf())
}

/// Its approximation through `tanh`, from the same paper: within 5e-4 of [`gelu`].
pub fn gelu_tanh<const R: usize>(x: Tile<f32, R>) -> Tile<f32, R> {
    let inner = (x + x * x * x * 0.044_715) * (FRAC_2_SQRT_PI * FRAC_1_SQRT_2);
    x * 0.5 * (1.0 + inner.tanh())
}

/// The exponential.
pub fn exp<const R: usize>(x: Tile<f32, R>) -> Tile<f32, R> {
    x.exp()
}

/// The normal distribution by its power series, for `|x| < 4`, and at infinity.
fn normal(x: f64) -> f64 {
    if x.is_infinite() {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut term, mut sum) = (x, x);
    for i in 1..120 {
        term *= -x * x / 2.0 / f64::from(i);
        sum += term / f64::from(2 * i + 1);
    }
    0.5 + sum * FRAC_2_SQRT_PI * FRAC_1_SQRT_2 / 2.0
}

/// Compares with plain Rust for `n` elements.
///
/// # Errors
/// The first difference.
pub fn check(n: usize, data: &mut Data) -> Result<()> {
    let (x, y) = (data.tensor([n])?, data.tensor([n])?);
    let (xs, ys) = (x.to_vec()?, y.to_vec()?);
    let of = |f: &dyn Fn(f64) -> f64| -> Vec<f32> { xs.iter().map(|v| f(f64::from(*v)) as f32).collect() };
    let through_tanh = |v: f64| 0.5 * v * (1.0 + (FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (v + 0.044_715 * v * v * v)).tanh());
    close("gelu", &map(&x, gelu)?.to_vec()?, &of(&|v| v * normal(v)), 1e-6)?;
    close("gelu through tanh", &map(&x, gelu_tanh)?.to_vec()?, &of(&through_tanh), 1e-6)?;
    close("exp", &map(&x, exp)?.to_vec()?, &of(&f64::exp), 1e-6)?;
    let pairs = xs.iter().zip(&ys).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let want: Vec<f32> = pairs.map(|(a, b)| ((-a * a).exp() * b + (a + b).tanh() * 0.5) as f32).collect();
    close("chain", &chain(&x, &y)?.to_vec()?, &want, 1e-6)
}

fn main() -> Result<()> {
    for n in [1, 33, 1009] {
        check(n, &mut Data::plain())?;
    }
    println!("pointwise: right");
    let n = 1 << 24;
    let (x, y) = (Data::plain().tensor([n])?, Data::plain().tensor([n])?);
    time("gelu, 2^24 elements", Work::Bytes(8 * n), || map(&x, gelu))?;
    time("gelu through tanh", Work::Bytes(8 * n), || map(&x, gelu_tanh))?;
    time("exp", Work::Bytes(8 * n), || map(&x, exp))?;
    time("exp(-x²) y + tanh(x + y) / 2", Work::Bytes(12 * n), || chain(&x, &y))
}
