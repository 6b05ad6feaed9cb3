//! Adding rows into the segments they belong to, with atomic additions.
//!
//! Several rows may go to one segment, and tiles run in parallel; a plain store of tiles that could meet in
//! one element is refused when the kernel is compiled. `atomic_add` is the way to say that they may.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, close, time};

/// Adds row `i` of `x` to row `ids[i]` of `out`; ids out of range are ignored.
#[kernel]
pub fn segment_sum(x: &Tensor<f32, 2>, ids: &Tensor<i32, 1>, out: &mut Tensor<f32, 2>) -> Result<()> {
    let [m, n] = x.dims();
    ensure!(ids.dims() == [m], "{m} rows and {} ids", ids.dims()[0]);
    ensure!(out.dims()[1] == n, "rows of {n} cannot be added to rows of {}", out.dims()[1]);
    for [tm, tn] in tile([m, n]) {
        out.atomic_add((ids[tm], tn), x[(tm, tn)]);
    }
    Ok(())
}

/// Compares with plain Rust for `m` rows of `n` and the given number of segments.
///
/// # Errors
/// The first difference.
pub fn check([m, n, segments]: [usize; 3], data: &mut Data) -> Result<()> {
    let x = data.tensor([m, n])?;
    let ids: Vec<i32> = data.indices(m, segments + 1).into_iter().map(|i| i as i32).collect();
    let mut want = vec![1.0; segments * n];
    for (row, id) in x.to_vec()?.chunks(n.max(1)).zip(&ids) {
        if (*id as usize) < segments {
            want[*id as usize * n..].iter_mut().zip(row).for_each(|(o, v)| *o += v);
        }
    }
    let mut out = Tensor::full([segments, n], 1.0);
    segment_sum(&x, &Tensor::from_vec([m], ids)?, &mut out)?;
    close("segments", &out.to_vec()?, &want, 1e-5 * (m.max(1) as f32).sqrt())
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1], [100, 7, 5], [1000, 33, 10]] {
        check(dims, &mut Data::plain())?;
    }
    println!("segment sum: right");
    let [m, n, segments] = [16_384, 256, 1000];
    let mut data = Data::plain();
    let x = data.tensor([m, n])?;
    let ids = Tensor::from_vec([m], data.indices(m, segments).into_iter().map(|i| i as i32).collect())?;
    let mut out = Tensor::zeros([segments, n]);
    time(&format!("{m} rows of {n}"), Work::Bytes(3 * 4 * m * n), || segment_sum(&x, &ids, &mut out))
}
