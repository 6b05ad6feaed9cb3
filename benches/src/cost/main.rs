//! How good the cost model is: for each example and size, its prediction beside the measured time of some random
//! configs, the config it chooses, and the scheduler's default.
//!
//! `cargo run --release -p helion-benches --bin cost-model -- [--threads N] [--configs N] [--list] [names]`. `--list`
//! prints every config. Samples of all configs of a case take turns; the least counts.
#![allow(dead_code)] // the examples' own `main` and checks
#![allow(clippy::duplicate_mod, reason = "each example brings its support")]

mod cases;

macro_rules! examples {
    ($($name:ident $path:literal)*) => { $(#[path = $path] mod $name;)* };
}
examples! {
    attention "../../../examples/attention.rs"
    batched_matmul "../../../examples/batched_matmul.rs"
    cross_entropy "../../../examples/cross_entropy.rs"
    dropout "../../../examples/dropout.rs"
    embedding "../../../examples/embedding.rs"
    int8_matmul "../../../examples/int8_matmul.rs"
    jagged_mean "../../../examples/jagged_mean.rs"
    layer_norm "../../../examples/layer_norm.rs"
    long_sum "../../../examples/long_sum.rs"
    matmul "../../../examples/matmul.rs"
    rms_norm "../../../examples/rms_norm.rs"
    rotary "../../../examples/rotary.rs"
    segment_sum "../../../examples/segment_sum.rs"
    softmax "../../../examples/softmax.rs"
    swiglu "../../../examples/swiglu.rs"
    vector_add "../../../examples/vector_add.rs"
    welford "../../../examples/welford.rs"
}

use cases::Case;
use helion::prelude::*;
use helion_codegen::{cost, cpu, passes, schedule};
use helion_ir::target::Target;
use helion_ir::tile::{Dim, ParamKind, Verified};
use std::time::{Duration, Instant};

/// Turns of a case.
const ROUNDS: usize = 7;
/// A sample repeats a call for this long.
const SAMPLE: Duration = Duration::from_micros(300);

struct Options {
    threads: usize,
    configs: usize,
    list: bool,
    names: Vec<String>,
}

fn options() -> Options {
    let mut o = Options { threads: helion::settings::threads(), configs: 40, list: false, names: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        let mut number = || args.next().and_then(|v| v.parse().ok()).unwrap_or(1);
        match a.as_str() {
            "--threads" => o.threads = number(),
            "--configs" => o.configs = number(),
            "--list" => o.list = true,
            _ => o.names.push(a),
        }
    }
    o
}

/// One config: predicted and measured seconds.
struct Row {
    config: Config,
    predicted: f64,
    measured: f64,
}

fn main() -> Result<()> {
    let o = options();
    let target = cpu::host_target();
    println!("{target:?}\n{} threads\n", o.threads);
    println!(
        "{:<32} {:>6} {:>9} {:>8} {:>8} {:>7} {:>8} {:>8}",
        "case", "space", "best", "spearman", "model", "fixed", "predicts", "bound"
    );
    let (mut model, mut fixed, mut ranks) = (Vec::new(), Vec::new(), Vec::new());
    for case in cases::all()? {
        if !o.names.is_empty() && !o.names.iter().any(|n| case.name.starts_with(n.as_str())) {
            continue;
        }
        let Some(line) = helion::with_threads(o.threads, || run(&case, &o, &target))? else { continue };
        model.push(line[0]);
        fixed.push(line[1]);
        if line[2].is_finite() {
            ranks.push(line[2]);
        }
    }
    let geometric = |v: &[f64]| (v.iter().map(|x| x.ln()).sum::<f64>() / v.len().max(1) as f64).exp();
    let mean = ranks.iter().sum::<f64>() / ranks.len().max(1) as f64;
    println!("\nmodel {:.3}, fixed {:.3}, spearman {mean:.2}", geometric(&model), geometric(&fixed));
    Ok(())
}

/// The sizes of a kernel's symbols, from the extents of its tensors.
fn sizes(kernel: &Verified, dims: &[(&'static str, Vec<usize>)]) -> Vec<u64> {
    let f = kernel.function();
    let mut sizes = vec![1; f.symbols.len()];
    for p in &f.params {
        let ParamKind::Tensor { dims: axes, .. } = &p.kind else { continue };
        let given = dims.iter().find(|(name, _)| *name == p.name).map(|(_, d)| d.as_slice()).unwrap_or_default();
        assert_eq!(axes.len(), given.len(), "`{}` of `{}`", p.name, f.name);
        for (d, n) in axes.iter().zip(given) {
            if let Dim::Symbol(s) = d {
                sizes[s.index()] = *n as u64;
            }
        }
    }
    sizes
}

fn run(case: &Case, o: &Options, target: &Target) -> Result<Option<[f64; 3]>> {
    let kernels = helion::runtime::traced(|| (case.call)())?;
    let Some(kernel) = kernels.first() else { return Ok(None) };
    let sizes = sizes(kernel, &case.dims);
    let space = schedule::config_space(kernel, target);
    let predict = |c: &Config| -> Option<f64> {
        let mut f = schedule::schedule(kernel, c, target).ok()?;
        passes::run(&mut f, target);
        cost::predict(&f, &sizes, target, o.threads as u32)
    };
    let begin = Instant::now();
    let chosen = cost::choose(kernel, &space, &sizes, target, o.threads as u32);
    let choosing = begin.elapsed();
    let mut configs = vec![chosen, space.default_config()];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..o.configs * 4 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let c = space.nth((state >> 33) % space.len());
        if configs.len() < o.configs && !configs.contains(&c) {
            configs.push(c);
        }
    }
    let mut rows = Vec::new();
    for config in configs {
        let Some(predicted) = predict(&config) else { continue };
        helion::with_config(&config, || (case.call)())?;
        rows.push(Row { config, predicted, measured: f64::MAX });
    }
    for round in 0..ROUNDS {
        let n = rows.len();
        for i in 0..n {
            let row = &mut rows[(i + round * 7) % n];
            let t = sample(|| helion::with_config(&row.config, || (case.call)()))?;
            row.measured = row.measured.min(t);
        }
    }
    let best = rows.iter().map(|r| r.measured).fold(f64::MAX, f64::min);
    let (model, fixed) = (best / rows[0].measured, best / rows[1].measured);
    let rank = spearman(&rows);
    println!(
        "{:<32} {:>6} {:>6.1} us {rank:>8.2} {model:>8.3} {fixed:>7.3} {:>7.2}x {:>7.2}x   {} us",
        case.name,
        space.len(),
        best * 1e6,
        rows[0].predicted / rows[0].measured,
        cost::bound(kernel, &sizes, target, o.threads as u32) / best,
        choosing.as_micros(),
    );
    if o.list {
        let chosen = rows[0].config.clone();
        rows.sort_by(|a, b| a.measured.total_cmp(&b.measured));
        for r in &rows {
            let mark = if r.config == chosen { "*" } else { " " };
            println!("  {mark} {:>9.1} us, predicted {:>9.1}  {}", r.measured * 1e6, r.predicted * 1e6, r.config);
        }
    }
    Ok(Some([model, fixed, rank]))
}

/// Seconds of one call, from enough calls for the clock.
fn sample(call: impl Fn() -> Result<()>) -> Result<f64> {
    call()?;
    let begin = Instant::now();
    let mut calls = 0;
    while calls == 0 || begin.elapsed() < SAMPLE {
        call()?;
        calls += 1;
    }
    Ok(begin.elapsed().as_secs_f64() / f64::from(calls))
}

/// Rank correlation of predicted and measured times; equal values share their mean rank. NaN when all are equal.
fn spearman(rows: &[Row]) -> f64 {
    let ranks = |of: &dyn Fn(&Row) -> f64| -> Vec<f64> {
        let rank = |r: &Row| {
            let below = rows.iter().filter(|x| of(x) < of(r)).count();
            let equal = rows.iter().filter(|x| of(x) == of(r)).count();
            below as f64 + (equal as f64 - 1.0) / 2.0
        };
        rows.iter().map(rank).collect()
    };
    let (a, b) = (ranks(&|r| r.predicted), ranks(&|r| r.measured));
    let mean = (rows.len() as f64 - 1.0) / 2.0;
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}
