//! The tuner against the truth: for every problem all configs of a cut space are timed, then the search runs from
//! several seeds, and what it found is timed in turns with the best of all.
//!
//! `cargo run --release -p helion-benches --bin tuner` prints tables for `BENCHMARKS.md`. Options: `--most N` (configs
//! in a space, 300), `--seeds N` (5), `--full` (effort `Full` instead of `Quick`), names of kernels. `--rows FILE` also
//! adds each row to a file, and `--rows FILE --print` prints all that are there. `--null N` runs so many searches among
//! identical candidates instead, and `--lookup` measures what the cache costs calls.

#![allow(clippy::duplicate_mod, reason = "examples bring their support module along")]

mod lookup;
mod measure;
mod null;
mod problems;
mod rows;
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

/// What is to be done.
enum Task {
    /// Search problems, and compare with the truth.
    Judge(Options),
    /// Search among identical candidates.
    Null(u64),
    /// Time what the cache costs calls.
    Lookup,
    /// One cold look-up in this folder.
    Child(String),
}

fn options() -> Result<Task, String> {
    let mut o = Options { most: 300, seeds: 5, full: false, names: Vec::new(), rows: None, print: false };
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        let mut word = || args.next().ok_or_else(|| format!("{a} takes a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{a} takes a number, not `{text}`"));
        match a.as_str() {
            "--most" => o.most = number(word()?)?,
            "--seeds" => o.seeds = number(word()?)?,
            "--full" => o.full = true,
            "--rows" => o.rows = Some(word()?.into()),
            "--print" => o.print = true,
            "--null" => return Ok(Task::Null(number(word()?)?)),
            "--lookup" => return Ok(Task::Lookup),
            lookup::CHILD => return Ok(Task::Child(word()?)),
            name if !name.starts_with('-') => o.names.push(name.to_owned()),
            _ => {
                let known = "--most N, --seeds N, --full, --rows FILE, --print, --null N, --lookup";
                return Err(format!("{a}: the options are {known}, and names of kernels"));
            }
        }
    }
    if o.print && o.rows.is_none() {
        return Err("--print needs --rows FILE".to_owned());
    }
    Ok(Task::Judge(o))
}

fn run(task: Task) -> Result<(), String> {
    // What one search finds must not be known to the next.
    helion::settings::set_cache("off").map_err(|e| e.to_string())?;
    helion::settings::set_pin("on").map_err(|e| e.to_string())?;
    match task {
        Task::Judge(options) => judge(&options),
        Task::Null(trials) => null::run(trials),
        Task::Lookup => lookup::run(),
        Task::Child(dir) => lookup::child(&dir),
    }
}

fn judge(options: &Options) -> Result<(), String> {
    let mut found: Vec<Row> = Vec::new();
    if let (true, Some(path)) = (options.print, &options.rows) {
        found = rows::read(path)?;
    } else {
        let problems = problems::all().map_err(|e| e.to_string())?;
        for p in problems.iter().filter(|p| options.names.is_empty() || options.names.iter().any(|n| n == p.kernel)) {
            eprintln!("{} {} …", p.kernel, p.shape);
            match measure::judge(p, options) {
                Ok(row) => {
                    eprintln!("  {}", tables::line(&row));
                    if let Some(path) = &options.rows {
                        rows::append(path, &row)?;
                    }
                    found.push(row);
                }
                Err(e) => eprintln!("  error: {e}"),
            }
        }
    }
    tables::print(&found, options);
    Ok(())
}
