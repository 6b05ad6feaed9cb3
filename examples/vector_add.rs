//! Element-wise sum of two vectors: the smallest kernel.
//!
//! `tile(n)` cuts the `n` elements into tiles; how long a tile is, and which thread computes it, is the
//! compiler's choice. The last tile may be shorter: nothing outside the tensors is read or written.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// `x + y`, for numbers of any type.
#[kernel]
pub fn add<T: Num>(x: &Tensor<T, 1>, y: &Tensor<T, 1>) -> Result<Tensor<T, 1>> {
    let [n] = x.dims();
    ensure!(y.dims() == [n], "the vectors have {n} and {} elements", y.dims()[0]);
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t] + y[t];
    }
    Ok(out)
}

/// Compares with plain Rust for `n` elements, in f32 and i32.
///
/// # Errors
/// The first difference.
pub fn check(n: usize, data: &mut Data) -> Result<()> {
    let (x, y) = (data.tensor([n])?, data.tensor([n])?);
    let want: Vec<f32> = x.to_vec()?.iter().zip(y.to_vec()?).map(|(a, b)| a + b).collect();
    close("add", &add(&x, &y)?.to_vec()?, &want, 0.0)?;

    let ints: Vec<i32> = data.indices(n, 1 << 32).into_iter().map(|v| v as i32).collect();
    let x = Tensor::from_vec([n], ints.clone())?;
    let want: Vec<i32> = ints.iter().map(|v| v.wrapping_add(*v)).collect();
    support::equal("add of integers", &add(&x, &x)?.to_vec()?, &want)
}

fn main() -> Result<()> {
    for n in [1, 1000, 65_537] {
        check(n, &mut Data::plain())?;
    }
    println!("add: right");
    for n in [1 << 10, 1 << 16, 1 << 24] {
        let (x, y) = (Data::plain().tensor([n])?, Data::plain().tensor([n])?);
        time(&format!("{n} elements"), Work::Bytes(3 * 4 * n), || add(&x, &y))?;
    }
    Ok(())
}
