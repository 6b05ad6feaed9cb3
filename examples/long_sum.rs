//! The sum of one long vector, split over program instances: two launches in one function.
//!
//! One launch cannot both split a reduction and finish it. The first gives each of a fixed number of pieces
//! to one program instance, the second adds the partial sums. Host code between the launches is plain Rust.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// How many pieces the vector is cut into.
const PIECES: usize = 64;

/// `Σ x`, as a tensor with one element.
#[kernel]
pub fn long_sum(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let piece = n.div_ceil(PIECES);
    let mut partial = x.empty([PIECES]);
    for p in grid(PIECES) {
        let begin = p * piece;
        let mut sum = f32::zeros([1]);
        for t in tile(begin..(begin + piece).minimum(n)) {
            sum += x[t].sum(0);
        }
        partial[p] = sum.squeeze(0);
    }
    let mut out = x.empty([1]);
    for one in grid(1) {
        out[one] = partial[..].sum(0).squeeze(0);
    }
    Ok(out)
}

/// Compares with plain Rust for `n` elements.
///
/// # Errors
/// The difference.
pub fn check(n: usize, data: &mut Data) -> Result<()> {
    let x = data.tensor([n])?;
    let want: f64 = x.to_vec()?.iter().map(|v| f64::from(*v)).sum();
    close("sum", &long_sum(&x)?.to_vec()?, &[want as f32], 1e-5 * (n.max(1) as f32).sqrt())
}

fn main() -> Result<()> {
    for n in [0, 1, 63, 65, 100_003] {
        check(n, &mut Data::plain())?;
    }
    println!("long sum: right");
    for n in [1 << 16, 1 << 24] {
        let x = Data::plain().tensor([n])?;
        time(&format!("{n} elements"), Work::Bytes(4 * n), || long_sum(&x))?;
    }
    Ok(())
}
