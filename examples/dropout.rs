//! Dropout with a counter-based random generator (Philox): the mask is computed, never stored.
//!
//! `rand(seed, [t])` depends only on the seed and on the position, so a backward pass calls it again with
//! the same seed, and neither tile sizes nor the number of threads change the result.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// Zeros each element with probability `p` and scales the others by `1 / (1 - p)`.
#[kernel]
pub fn dropout<T: Float>(x: &Tensor<T, 1>, p: f32, seed: i64) -> Result<Tensor<T, 1>> {
    ensure!((0.0..1.0).contains(&p), "the probability must be at least 0 and below 1, not {p}");
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let keep = rand(seed, [t]) >= p;
        let scaled = x[t].cast::<f32>() / (1.0 - p);
        out[t] = select(keep, scaled, 0.0).cast();
    }
    Ok(out)
}

/// The generator in plain Rust: Philox 4x32 with 10 rounds, one counter per element, its first word.
fn philox(seed: u64, counter: u64) -> u32 {
    let mut c = [counter as u32, (counter >> 32) as u32, 0, 0];
    let mut k = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let (a, b) = (u64::from(c[0]) * 0xd251_1f53, u64::from(c[2]) * 0xcd9e_8d57);
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
    }
    c[0]
}

/// Compares with plain Rust for `n` elements.
///
/// # Errors
/// The first difference.
pub fn check(n: usize, data: &mut Data) -> Result<()> {
    let x = data.tensor([n])?;
    for (p, seed) in [(0.0f32, 1i64), (0.3, 7), (0.9, -5)] {
        let kept = |i: usize| (philox(seed as u64, i as u64) >> 8) as f32 / (1 << 24) as f32 >= p;
        let plain = x.to_vec()?;
        let want: Vec<f32> = (0..n).map(|i| if kept(i) { plain[i] / (1.0 - p) } else { 0.0 }).collect();
        close("dropout", &dropout(&x, p, seed)?.to_vec()?, &want, 1e-6)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    for n in [1, 33, 10_007] {
        check(n, &mut Data::plain())?;
    }
    println!("dropout: right");
    let n = 1 << 22;
    let x = Data::plain().tensor([n])?;
    time(&format!("{n} elements"), Work::Bytes(2 * 4 * n), || dropout(&x, 0.1, 42))
}
