//! Rotary position embedding, in place.
//!
//! `x` is a `&mut Tensor`: rustc sees to it that nobody else reads it meanwhile. The two halves of each head
//! are addressed by index tiles, `lo` and `lo + half`.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// Rotates the pairs `(x[.., i], x[.., i + d/2])` of `[positions, heads, d]` by the angle of position and `i`.
#[kernel]
pub fn rotary<T: Float>(x: &mut Tensor<T, 3>, cos: &Tensor<f32, 2>, sin: &Tensor<f32, 2>) -> Result<()> {
    let [s, h, d] = x.dims();
    ensure!(d % 2 == 0, "the head size must be even, not {d}");
    let half = d / 2;
    ensure!(cos.dims() == [s, half] && sin.dims() == [s, half], "the tables must be [{s}, {half}]");
    for [ts, th] in tile([s, h]) {
        let lo = iota(half);
        let hi = lo + half;
        let (a, b) = (x[(ts, th, lo)].cast::<f32>(), x[(ts, th, hi)].cast::<f32>());
        let (c, s) = (cos[(ts, ..)].unsqueeze(1), sin[(ts, ..)].unsqueeze(1));
        x[(ts, th, lo)] = (a * c - b * s).cast();
        x[(ts, th, hi)] = (b * c + a * s).cast();
    }
    Ok(())
}

/// Cosines and sines of position times frequency.
fn tables(s: usize, half: usize) -> Result<(Tensor<f32, 2>, Tensor<f32, 2>)> {
    let angle = |i: usize| (i / half) as f32 * 10_000f32.powf(-((i % half) as f32) / half as f32);
    let cos = (0..s * half).map(|i| angle(i).cos()).collect();
    let sin = (0..s * half).map(|i| angle(i).sin()).collect();
    Ok((Tensor::from_vec([s, half], cos)?, Tensor::from_vec([s, half], sin)?))
}

/// The same in plain Rust.
fn reference(x: &mut [f32], cos: &[f32], sin: &[f32], [_, h, d]: [usize; 3]) {
    let half = d / 2;
    for (row, x) in x.chunks_mut(d.max(1)).enumerate() {
        let position = row / h;
        for i in 0..half {
            let (c, s) = (cos[position * half + i], sin[position * half + i]);
            let (a, b) = (x[i], x[i + half]);
            (x[i], x[i + half]) = (a * c - b * s, b * c + a * s);
        }
    }
}

/// Compares with plain Rust for `positions × heads × head size`.
///
/// # Errors
/// The first difference.
pub fn check([s, h, d]: [usize; 3], data: &mut Data) -> Result<()> {
    let mut x = data.tensor([s, h, d])?;
    let (cos, sin) = tables(s, d / 2)?;
    let mut want = x.to_vec()?;
    reference(&mut want, &cos.to_vec()?, &sin.to_vec()?, [s, h, d]);
    rotary(&mut x, &cos, &sin)?;
    close("rotary", &x.to_vec()?, &want, 1e-6)
}

fn main() -> Result<()> {
    for dims in [[1, 1, 2], [7, 3, 16], [65, 5, 64]] {
        check(dims, &mut Data::plain())?;
    }
    println!("rotary: right");
    let [s, h, d] = [2048, 16, 64];
    let mut x = Data::plain().tensor([s, h, d])?;
    let (cos, sin) = tables(s, d / 2)?;
    time(&format!("{s} positions, {h} heads of {d}"), Work::Bytes(2 * 4 * s * h * d), || rotary(&mut x, &cos, &sin))
}
