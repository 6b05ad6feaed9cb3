//! What it costs that a config comes from the cache.
//!
//! In: nothing. Out: a table. *Warm*: calls whose config the cache gave, in turns with calls whose config is pinned; and
//! calls as they are, output allocated. *Cold*: fresh processes that look a kernel up on disk for the first time, by the
//! steps that `explain` times.

use crate::measure::quantile;
use crate::vector_add::add;
use helion::prelude::*;
use helion::{Tuner, with_config};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Fresh processes.
const PROCESSES: usize = 40;
/// Turns of warm calls, and calls of a turn.
const TURNS: usize = 61;
const CALLS: u32 = 10_000;
/// The argument of a fresh process, before the cache folder.
pub const CHILD: &str = "--lookup-in";

fn words(e: helion::Error) -> String {
    e.to_string()
}

fn numbers() -> Tensor<f32, 1> {
    Tensor::from_fn([1024], |[i]| i as f32)
}

/// Measures and prints the table.
///
/// # Errors
/// When a step fails.
pub fn run() -> Result<(), String> {
    let dir = std::env::temp_dir().join(format!("helion-lookup-{}", std::process::id()));
    let result = in_folder(&dir);
    let _ = std::fs::remove_dir_all(&dir);
    result
}

fn in_folder(dir: &Path) -> Result<(), String> {
    let x = numbers();
    use_folder(dir)?;
    let mut tuned = helion::tune(Tuner::quick().configs(1).progress(false), || add(&x, &x)).map_err(words)?;
    let best = tuned.tunings.pop().ok_or("nothing was tuned")?.config;
    let (mut pinned, mut found, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let a = with_config(&best, || calls(&x))?;
        let b = calls(&x)?;
        pinned.push(a);
        found.push(b);
        more.push(b - a);
    }
    let mut cold: Vec<Vec<f64>> = (0..PROCESSES).map(|_| fresh(dir)).collect::<Result<_, _>>()?;
    let mut column = |i: usize| cold.iter_mut().filter_map(|c| c.get(i).copied()).collect::<Vec<f64>>();
    let (mut identify, mut choose, mut both) = (column(0), column(1), column(2));
    let ns = |v: &mut Vec<f64>, q| quantile(v, q) * 1e9;
    println!("### Calls whose config comes from the cache\n");
    println!("| | median | 10th to 90th percentile |\n|---|---|---|");
    let row = |name: &str, v: &mut Vec<f64>, scale: f64, unit: &str| {
        let of = |v: &mut Vec<f64>, q| ns(v, q) / scale;
        let (low, middle, high) = (of(v, 0.1), of(v, 0.5), of(v, 0.9));
        println!("| {name} | {middle:.1} {unit} | {low:.1} to {high:.1} {unit} |");
    };
    row("warm: a call with a pinned config, 1,024 numbers", &mut pinned, 1.0, "ns");
    row("warm: the same config from the cache", &mut found, 1.0, "ns");
    row("warm: what the cache adds", &mut more, 1.0, "ns");
    row("cold: naming the kernel for the cache", &mut identify, 1e3, "µs");
    row("cold: reading its record and choosing", &mut choose, 1e3, "µs");
    row("cold: both", &mut both, 1e3, "µs");
    println!();
    Ok(())
}

fn use_folder(dir: &Path) -> Result<(), String> {
    helion::settings::set_cache("read-write").map_err(words)?;
    helion::settings::set_cache_dir(&dir.to_string_lossy()).map_err(words)
}

/// Seconds of a call.
fn calls(x: &Tensor<f32, 1>) -> Result<f64, String> {
    for _ in 0..100 {
        black_box(add(x, x).map_err(words)?);
    }
    let begin = Instant::now();
    for _ in 0..CALLS {
        black_box(add(x, x).map_err(words)?);
    }
    Ok(begin.elapsed().as_secs_f64() / f64::from(CALLS))
}

/// Starts a process that has never looked into the cache, and reads what it measured.
fn fresh(dir: &Path) -> Result<Vec<f64>, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let out = Command::new(program).arg(CHILD).arg(dir).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    if numbers.len() == 3 { Ok(numbers) } else { Err(format!("a fresh process said `{text}`")) }
}

/// The life of a fresh process: seconds of both steps, and of both together.
///
/// # Errors
/// When the record was not found.
pub fn child(dir: &str) -> Result<(), String> {
    let x = numbers();
    use_folder(Path::new(dir))?;
    let explained = helion::explain(|| add(&x, &x)).map_err(words)?;
    let report = explained.reports.first().ok_or("nothing was explained")?;
    if report.choice.extrapolated != 0.0 {
        return Err(format!("the record was not found: {}", report.choice));
    }
    let of = |name: &str| report.phases.iter().filter(|p| p.name == name).map(|p| p.time.as_secs_f64()).sum::<f64>();
    let (identify, choose) = (of("identify"), of("choose"));
    println!("{identify} {choose} {}", identify + choose);
    Ok(())
}
