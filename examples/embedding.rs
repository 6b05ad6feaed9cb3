//! Looking up rows of a table: an index tile as one axis of a load.
//!
//! Indices come from data, so they may be wrong. Reading outside the table is not possible: a row whose
//! index is out of range is filled with zeros.

pub mod support;

use helion::prelude::*;
use support::{Data, Work, equal, time};

/// Row `ids[i]` of the table, for each `i`.
#[kernel]
pub fn embedding<T: Num>(table: &Tensor<T, 2>, ids: &Tensor<i64, 1>) -> Result<Tensor<T, 2>> {
    let ([_rows, d], [m]) = (table.dims(), ids.dims());
    let mut out = table.empty([m, d]);
    for [tm, td] in tile([m, d]) {
        out[(tm, td)] = table[(ids[tm], td)];
    }
    Ok(out)
}

/// Compares with plain Rust for `m` look-ups in a table of `rows` by `d`; some indices are out of range.
///
/// # Errors
/// The first difference.
pub fn check([rows, d, m]: [usize; 3], data: &mut Data) -> Result<()> {
    let table = data.tensor([rows, d])?;
    let mut ids = data.indices(m, rows);
    for (i, id) in ids.iter_mut().enumerate().skip(5).step_by(7) {
        *id = [-1, rows as i64, i64::MAX, i64::MIN][i % 4];
    }
    let plain = table.to_vec()?;
    let row = |id: &i64| match usize::try_from(*id) {
        Ok(id) if id < rows => plain[id * d..(id + 1) * d].to_vec(),
        _ => vec![0.0; d],
    };
    let bits = |v: Vec<f32>| -> Vec<u32> { v.into_iter().map(f32::to_bits).collect() };
    let want: Vec<f32> = ids.iter().flat_map(row).collect();
    equal("rows", &bits(embedding(&table, &Tensor::from_vec([m], ids)?)?.to_vec()?), &bits(want))
}

fn main() -> Result<()> {
    for dims in [[1, 1, 1], [10, 7, 33], [1000, 129, 65]] {
        check(dims, &mut Data::plain())?;
    }
    println!("embedding: right");
    let [rows, d, m] = [30_000, 384, 8192];
    let mut data = Data::plain();
    let (table, ids) = (data.tensor([rows, d])?, Tensor::from_vec([m], data.indices(m, rows))?);
    time(&format!("{m} rows of {d}"), Work::Bytes(2 * 4 * m * d), || embedding(&table, &ids))
}
