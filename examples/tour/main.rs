//! A tour: five kernels are compiled for this CPU, checked against plain Rust, tuned, and timed beside what the machine
//! can do at most.
//!
//! ```sh
//! cargo run --release --example tour            # about half a minute the first time
//! cargo run --release --example tour -- --again # searches again although the best configs are remembered
//! ```

#![allow(clippy::duplicate_mod, reason = "each example brings its support")]

use std::io::Write as _;
use std::time::{Duration, Instant};

use helion::prelude::*;
use helion::tuning::Source;
use helion::{explain, tune, with_config};
use softmax::support::{Data, median};

mod ceilings;

#[path = "../attention.rs"]
#[allow(dead_code)]
mod attention;
#[path = "../matmul.rs"]
#[allow(dead_code)]
mod matmul;
#[path = "../rms_norm.rs"]
#[allow(dead_code)]
mod rms_norm;
#[path = "../softmax.rs"]
#[allow(dead_code)]
mod softmax;
#[path = "../vector_add.rs"]
#[allow(dead_code)]
mod vector_add;

use ceilings::Ceilings;

/// What bounds a kernel from below.
enum Work {
    Bytes(usize),
    Operations(usize),
}

/// One stop of the tour.
struct Stop {
    name: String,
    work: Work,
    /// Compares with plain Rust on awkward sizes.
    check: fn() -> Result<()>,
    /// One call on the tensors that are timed.
    call: Box<dyn Fn() -> Result<()>>,
}

/// What became of it.
struct Row {
    name: String,
    default: Duration,
    tuned: Duration,
    /// Fraction of the ceiling that the tuned kernel reaches.
    reached: f64,
    rate: String,
    config: String,
}

fn main() -> Result<()> {
    let again = std::env::args().any(|a| a == "--again");
    let threads = helion::settings::threads();
    print!("measuring the ceilings of {threads} threads … ");
    flush();
    let ceilings = ceilings::measure(threads);
    println!("{:.0} Gflop/s in f32 multiply-adds, {:.0} GB/s copying\n", ceilings.flops / 1e9, ceilings.bytes / 1e9);

    let stops = [add_stop()?, rms_norm_stop()?, softmax_stop()?, matmul_stop()?, attention_stop()?];
    let mut rows = Vec::new();
    for (i, stop) in stops.iter().enumerate() {
        println!("[{}/{}] {}", i + 1, stops.len(), stop.name);
        rows.push(visit(stop, &ceilings, again)?);
    }
    print_table(&rows);
    Ok(())
}

/// Progress lines appear before what they announce.
fn flush() {
    let _ = std::io::stdout().flush();
}

fn visit(stop: &Stop, ceilings: &Ceilings, again: bool) -> Result<Row> {
    print!("      compiling … ");
    flush();
    let report = explain(&stop.call)?;
    let compiling: Duration = report.reports.iter().flat_map(|r| &r.phases).map(|p| p.time).sum();
    let remembered = report.reports.iter().all(|r| r.choice.source == Source::Disk && r.choice.extrapolated == 0.0);
    let device = report.reports.first().map_or("this machine", |r| &r.device);
    println!("{:.2} ms from Rust to machine code for {device}", compiling.as_secs_f64() * 1e3);

    let default = report.reports.first().map(|r| r.default.clone()).unwrap_or_default();
    let default_time = with_config(&default, || median(&stop.call))?;
    let config = if remembered && !again {
        let config = report.reports.first().map(|r| r.config.to_string()).unwrap_or_default();
        println!("      the best config is remembered from an earlier run: {config}");
        config
    } else {
        search(stop)?
    };
    let tuned_time = median(&stop.call)?;

    print!("      checking against plain Rust … ");
    flush();
    let begin = Instant::now();
    (stop.check)()?;
    println!("right ({:.1} s)", begin.elapsed().as_secs_f64());

    let seconds = tuned_time.as_secs_f64();
    let (rate, reached) = match stop.work {
        Work::Bytes(n) => (format!("{:.1} GB/s", n as f64 / seconds / 1e9), n as f64 / seconds / ceilings.bytes),
        Work::Operations(n) => {
            (format!("{:.1} Gflop/s", n as f64 / seconds / 1e9), n as f64 / seconds / ceilings.flops)
        }
    };
    Ok(Row { name: stop.name.clone(), default: default_time, tuned: tuned_time, reached, rate, config })
}

fn search(stop: &Stop) -> Result<String> {
    println!("      trying configs …");
    // Says its result itself, on standard error.
    let tuned = tune(Effort::Quick, &stop.call)?;
    Ok(tuned.tunings.first().map(|t| t.config.to_string()).unwrap_or_default())
}

fn print_table(rows: &[Row]) {
    let width = rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
    println!(
        "\n{:width$}  {:>10}  {:>10}  {:>15}  {:>10}  config",
        "kernel", "default", "tuned", "speed", "of ceiling"
    );
    for r in rows {
        let ms = |d: Duration| format!("{:.3} ms", d.as_secs_f64() * 1e3);
        println!(
            "{:width$}  {:>10}  {:>10}  {:>15}  {:>8.0} %  {}",
            r.name,
            ms(r.default),
            ms(r.tuned),
            r.rate,
            r.reached * 100.0,
            r.config
        );
    }
    match helion::settings::cache_dir() {
        Some(dir) => println!("\nThe configs are remembered in {}; later programs use them.", dir.display()),
        None => println!("\nThe configs are not remembered: HELION_CACHE_DIR is off."),
    }
}

fn add_stop() -> Result<Stop> {
    let n = 1 << 24;
    let (x, y) = (Data::plain().tensor([n])?, Data::plain().tensor([n])?);
    Ok(Stop {
        name: "add, 16M elements".to_owned(),
        work: Work::Bytes(3 * 4 * n),
        check: || vector_add::check(10_007, &mut vector_add::support::Data::plain()),
        call: Box::new(move || vector_add::add(&x, &y).map(drop)),
    })
}

fn rms_norm_stop() -> Result<Stop> {
    let (x, w) = (Data::plain().tensor([4096, 4096])?, Data::plain().tensor([4096])?);
    Ok(Stop {
        name: "RMS norm, 4096 × 4096".to_owned(),
        work: Work::Bytes(2 * 4 * 4096 * 4096),
        check: || rms_norm::check(131, 1009, &mut rms_norm::support::Data::plain()),
        call: Box::new(move || rms_norm::rms_norm(&x, &w, 1e-5).map(drop)),
    })
}

fn softmax_stop() -> Result<Stop> {
    let x = Data::plain().tensor([4096, 4096])?;
    Ok(Stop {
        name: "softmax, 4096 × 4096".to_owned(),
        work: Work::Bytes(2 * 4 * 4096 * 4096),
        check: || softmax::check(131, 1009, &mut Data::plain()),
        call: Box::new(move || softmax::softmax(&x).map(drop)),
    })
}

fn matmul_stop() -> Result<Stop> {
    let s = 1024;
    let (a, b) = (Data::plain().tensor([s, s])?, Data::plain().tensor([s, s])?);
    Ok(Stop {
        name: "matrix product, 1024³".to_owned(),
        work: Work::Operations(2 * s * s * s),
        check: || matmul::check([131, 257, 67], &mut matmul::support::Data::plain()),
        call: Box::new(move || matmul::matmul(&a, &b, matmul::identity).map(drop)),
    })
}

fn attention_stop() -> Result<Stop> {
    let [heads, n, d] = [8, 512, 64];
    let t = || Data::plain().tensor([heads, n, d]);
    let (q, k, v) = (t()?, t()?, t()?);
    Ok(Stop {
        name: "attention, 8 × 512 × 64".to_owned(),
        work: Work::Operations(4 * heads * n * n * d),
        check: || attention::check([3, 67, 67, 64], &mut attention::support::Data::plain()),
        call: Box::new(move || attention::attention(&q, &k, &v, 0.125, false).map(drop)),
    })
}
