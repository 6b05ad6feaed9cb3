//! The tuner against the truth: for every problem all configs of a cut space are timed, then the search runs from
//! several seeds, and what it found is timed in turns with the best of all.
//!
//! `cargo run --release -p helion-benches --bin tuner` prints tables for `BENCHMARKS.md`. Options: `--most N` (configs
//! in a space, 300), `--seeds N` (5), `--full` (effort `Full` instead of `Quick`), names of kernels.

#![allow(clippy::duplicate_mod, reason = "examples bring their support module along")]

mod measure;
mod problems;
mod tables;

#[path = "../../../examples/attention.rs"]
#[allow(dead_code)]
mod attention;
#[path = "../../../examples/batched_matmul.rs"]
#[allow(dead_code)]
mod batched_matmul;
#[path = "../../../examples/cross_entropy.rs"]
#[allow(dead_code)]
mod cross_entropy;
#[path = "../../../examples/dropout.rs"]
#[allow(dead_code)]
mod dropout;
#[path = "../../../examples/embedding.rs"]
#[allow(dead_code)]
mod embedding;
#[path = "../../../examples/int8_matmul.rs"]
#[allow(dead_code)]
mod int8_matmul;
#[path = "../../../examples/layer_norm.rs"]
#[allow(dead_code)]
mod layer_norm;
#[path = "../../../examples/matmul.rs"]
#[allow(dead_code)]
mod matmul;
#[path = "../../../examples/rms_norm.rs"]
#[allow(dead_code)]
mod rms_norm;
#[path = "../../../examples/softmax.rs"]
#[allow(dead_code)]
mod softmax;
#[path = "../../../examples/swiglu.rs"]
#[allow(dead_code)]
mod swiglu;
#[path = "../../../examples/vector_add.rs"]
#[allow(dead_code)]
mod vector_add;
#[path = "../../../examples/welford.rs"]
#[allow(dead_code)]
mod welford;

use measure::{Options, Row};
use std::process::ExitCode;

fn main() -> ExitCode {
    match options().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut o = Options { most: 300, seeds: 5, full: false, names: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        let mut number = || {
            let text = args.next().unwrap_or_default();
            text.parse().map_err(|_| format!("{a} takes a number, not `{text}`"))
        };
        match a.as_str() {
            "--most" => o.most = number()?,
            "--seeds" => o.seeds = number()?,
            "--full" => o.full = true,
            name if !name.starts_with('-') => o.names.push(name.to_owned()),
            _ => return Err(format!("{a}: the options are --most N, --seeds N, --full, and names of kernels")),
        }
    }
    Ok(o)
}

fn run(options: Options) -> Result<(), String> {
    // What one search finds must not be known to the next.
    helion::settings::set_cache("off").map_err(|e| e.to_string())?;
    let problems = problems::all().map_err(|e| e.to_string())?;
    let mut rows: Vec<Row> = Vec::new();
    for p in problems.iter().filter(|p| options.names.is_empty() || options.names.iter().any(|n| n == p.kernel)) {
        eprintln!("{} {} …", p.kernel, p.shape);
        match measure::judge(p, &options) {
            Ok(row) => {
                eprintln!("  {}", tables::line(&row));
                rows.push(row);
            }
            Err(e) => eprintln!("  error: {e}"),
        }
    }
    tables::print(&rows, &options);
    Ok(())
}
