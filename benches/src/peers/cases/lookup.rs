//! Kernels whose addresses come from data: rows of a table, sums of the rows of segments.

use helion::prelude::*;

use super::{Case, Context, Work, indices, no_crates, numbers, words};
use crate::crates::{candle, tensor};
use crate::embedding::embedding;
use crate::python::Array;
use crate::segment_sum::segment_sum;

/// Both.
pub fn all(context: &Context) -> std::result::Result<(), String> {
    if context.wants("embedding", false) {
        let [rows, d, m] = [32_000, 512, 8192];
        let table = numbers([rows, d])?;
        let ids = Tensor::from_vec([m], indices(m, rows)).map_err(words)?;
        let (theirs, picked) = (tensor(&table)?, tensor(&ids)?);
        context.run(Case {
            kernel: "embedding",
            shape: format!("{m} of {rows} × {d}"),
            work: Work::Bytes(8 * m * d),
            tolerance: 0.0,
            python: ("embedding", vec![Array::new("table", &table)?, Array::new("ids", &ids)?]),
            compile: true,
            call: &|| embedding(&table, &ids),
            crates: &|want| Ok(vec![candle(|| theirs.index_select(&picked, 0), want, 0.0)?]),
        });
    }
    if context.wants("segment_sum", false) {
        let [rows, n, segments] = [65_536, 64, 4096];
        let (x, start) = (numbers([rows, n])?, Tensor::full([segments, n], 0.0f32));
        let ids = indices(rows, segments).into_iter().map(|i| i as i32).collect();
        let ids = Tensor::from_vec([rows], ids).map_err(words)?;
        let inputs = vec![Array::new("x", &x)?, Array::new("ids", &ids)?, Array::new("start", &start)?];
        context.run(Case {
            kernel: "segment_sum",
            shape: format!("{rows} × {n} into {segments}"),
            work: Work::Read(4 * rows * n),
            tolerance: 1e-5,
            python: ("segment_sum", inputs),
            compile: true,
            call: &|| {
                let mut out = Tensor::full([segments, n], 0.0f32);
                segment_sum(&x, &ids, &mut out)?;
                Ok(out)
            },
            crates: &no_crates,
        });
    }
    Ok(())
}
