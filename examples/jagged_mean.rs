//! Means over rows of different lengths, stored one after the other ("jagged").
//!
//! Where a row begins and ends is read from a tensor inside the kernel, and bounds the inner tile loop.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// The mean of rows `offsets[i] .. offsets[i + 1]` of `values`, for each `i`; zeros where there are none.
#[kernel]
pub fn jagged_mean(values: &Tensor<f32, 2>, offsets: &Tensor<i64, 1>) -> Result<Tensor<f32, 2>> {
    let ([_total, d], [bounds]) = (values.dims(), offsets.dims());
    ensure!(bounds > 0, "offsets has one more element than there are rows");
    let rows = bounds - 1;
    let mut out = values.empty([rows, d]);
    for (i, td) in (grid(rows), tile(d)) {
        let (begin, end) = (offsets[i], offsets[i + 1]);
        let mut sum = f32::zeros((1, td));
        for t in tile(begin..end) {
            sum += values[(t, td)].sum(0);
        }
        let count = (end - begin).maximum(1).cast::<f32>();
        out[(i, td)] = (sum / count).squeeze(0);
    }
    Ok(out)
}

/// The same in plain Rust.
fn reference(values: &[f32], offsets: &[i64], d: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for bounds in offsets.windows(2) {
        let (begin, end) = (bounds[0] as usize, bounds[1] as usize);
        let mean = |c: usize| {
            let sum: f64 = (begin..end).map(|r| f64::from(values[r * d + c])).sum();
            (sum / (end - begin).max(1) as f64) as f32
        };
        out.extend((0..d).map(mean));
    }
    out
}

/// Lengths from 0 to `longest`, as offsets.
fn offsets(data: &mut Data, rows: usize, longest: usize) -> Vec<i64> {
    let mut offsets = vec![0];
    for _ in 0..rows {
        offsets.push(offsets[offsets.len() - 1] + data.below(longest + 1) as i64);
    }
    offsets
}

/// Compares with plain Rust for `rows` rows of up to `longest` vectors of size `d`.
///
/// # Errors
/// The first difference.
pub fn check([rows, longest, d]: [usize; 3], data: &mut Data) -> Result<()> {
    let offsets = offsets(data, rows, longest);
    let values = data.tensor([offsets[rows] as usize, d])?;
    let want = reference(&values.to_vec()?, &offsets, d);
    let got = jagged_mean(&values, &Tensor::from_vec([rows + 1], offsets)?)?;
    close("means", &got.to_vec()?, &want, 1e-5)
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1], [7, 5, 33], [100, 70, 17]] {
        check(dims, &mut Data::plain())?;
    }
    println!("jagged mean: right");
    let [rows, longest, d] = [256, 256, 256];
    let mut data = Data::plain();
    let bounds = offsets(&mut data, rows, longest);
    let total = bounds[rows] as usize;
    let (values, bounds) = (data.tensor([total, d])?, Tensor::from_vec([rows + 1], bounds)?);
    time(&format!("{rows} rows of up to {longest} x {d}"), Work::Bytes(4 * total * d), || jagged_mean(&values, &bounds))
}
