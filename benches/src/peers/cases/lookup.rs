//! Kernels whose addresses come from data: rows of a table, sums of the rows of segments.

use helion::prelude::*;

use super::{Case, Context, Numbers, Work, indices, numbers, words};
use crate::crates::{candle, tensor};
use crate::embedding::embedding;
use crate::python::Array;
use crate::segment_sum::segment_sum;

/// Both.
pub fn all(context: &Context) -> std::result::Result<(), String> {
    if context.wants("embedding", true) {
        let [rows, d, m] = [32_000, 512, 8192];
        let table = numbers([rows, d])?;
        let ids = Tensor::from_vec([m], indices(m, rows)).map_err(words)?;
        let call = || embedding(&table, &ids);
        let want = call().and_then(|y| y.numbers()).map_err(words)?;
        let theirs = tensor(&table.to_vec().map_err(words)?, (rows, d))?;
        let picked = candle_core::Tensor::from_vec(ids.to_vec().map_err(words)?, m, &candle_core::Device::Cpu);
        let picked = picked.map_err(words)?;
        context.run(Case {
            kernel: "embedding",
            shape: format!("{m} of {rows} × {d}"),
            work: Work::Bytes(8 * m * d),
            tolerance: 0.0,
            python: ("embedding", vec![Array::new("table", &table)?, Array::new("ids", &ids)?]),
            compile: true,
            call: &call,
            crates: vec![candle(|| theirs.index_select(&picked, 0), &want, 0.0)?],
        });
    }
    if context.wants("segment_sum", true) {
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
            crates: Vec::new(),
        });
    }
    Ok(())
}
