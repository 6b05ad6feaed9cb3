//! What there is to see on a machine with a GPU: every example against plain Rust, and the benchmarks beside their peers, as
//! one Markdown section on standard output. `scripts/gpu-suite` builds and runs it.
//!
//! Each example and each benchmark is a process of its own with a deadline, so that one that crashes, hangs or loses the
//! device is a line of the table.
//!
//! Usage: `gpu-suite [--seconds N] [--tuning N] [--only NAME,…] [--config NAME:CONFIG]… [--python PATH]
//! [--peers device_peers.py] [--try]`. `--tuning` is for how long each benchmark is tuned, 0 for not at all; `--only`
//! names examples and benchmarks; `--config` adds a config to a benchmark's contestants. `--try` runs all of it on the
//! processor, with sizes that are too small to say anything: to see that the program works.

#[path = "../../../../tests/gpu/examples.rs"]
mod examples;

#[path = "../../date.rs"]
mod date;

mod bench;
mod cases;
mod checks;
mod child;
mod functions;
mod peer;

use child::Outcome;
use helion::prelude::*;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long all of it may take.
    seconds: u64,
    /// How long tuning may take for one case, in seconds; 0 for not at all.
    tuning: f64,
    /// Only these examples and benchmarks, when there are any.
    only: Vec<String>,
    /// Configs to race, with the benchmark's name before a colon.
    configs: Vec<String>,
    /// A Python that may have PyTorch.
    python: String,
    /// The peers' side.
    peers: String,
    /// On the processor, with small sizes.
    try_out: bool,
    /// Only this part, in this process: `example softmax` or `bench matmul`.
    part: Option<(String, String)>,
}

fn options() -> Result<Options, String> {
    let peers = concat!(env!("CARGO_MANIFEST_DIR"), "/gpu/device_peers.py");
    let (python, peers) = ("python3".to_owned(), peers.to_owned());
    let mut o = Options {
        seconds: 480,
        tuning: 25.0,
        only: Vec::new(),
        configs: Vec::new(),
        python,
        peers,
        try_out: false,
        part: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(a) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("`{a}` needs a value"));
        match a.as_str() {
            "--seconds" => o.seconds = value()?.parse().map_err(|_| "`--seconds` needs a number".to_owned())?,
            "--tuning" => o.tuning = value()?.parse().map_err(|_| "`--tuning` needs a number".to_owned())?,
            "--only" => o.only = value()?.split(',').map(str::to_owned).collect(),
            "--config" => o.configs.push(value()?),
            "--python" => o.python = value()?,
            "--peers" => o.peers = value()?,
            "--try" => o.try_out = true,
            "--part" => o.part = Some((value()?, value()?)),
            _ => {
                return Err(format!(
                    "`{a}` is not one of --seconds, --tuning, --only, --config, --python, --peers, --try, --part"
                ));
            }
        }
    }
    Ok(o)
}

fn main() -> ExitCode {
    helion::tuning::worker::<&str>([]);
    let done = options().and_then(|o| match &o.part {
        Some((kind, name)) => part(kind, name, &o),
        None => all(&o),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("gpu-suite: {e}");
            ExitCode::from(2)
        }
    }
}

/// One part, whose rows go to standard output.
fn part(kind: &str, name: &str, o: &Options) -> Result<bool, String> {
    // What other runs found must not count.
    helion::settings::set_cache("off").map_err(|e| e.to_string())?;
    let device = if o.try_out { Device::Cpu } else { Device::cuda(0).map_err(|e| e.to_string())? };
    match kind {
        "example" if name == functions::NAME => functions::run(device).map(|rows| println!("{rows}")),
        "example" => checks::run(name, device).map(|rows| println!("{rows}")),
        "bench" => bench::run(name, device, o),
        _ => Err(format!("`{kind}` is neither example nor bench")),
    }
    .map(|()| true)
}

/// So many examples are checked at once: most of it is compiling.
const SIDE_BY_SIDE: usize = 8;

/// All parts; whether all examples were right.
fn all(o: &Options) -> Result<bool, String> {
    let end = Instant::now() + Duration::from_secs(o.seconds);
    println!("{}", if o.try_out { "## On the processor, to try the program\n".to_owned() } else { heading()? });
    let mut right = true;
    println!("| example | result | seconds |\n|---|---|---:|");
    // The benchmarks come after this and need the device for themselves.
    let chosen = |names: &[&'static str]| -> Vec<&'static str> {
        names.iter().copied().filter(|n| o.only.is_empty() || o.only.iter().any(|only| only == n)).collect()
    };
    let checked: Vec<&'static str> = checks::NAMES.iter().copied().chain([functions::NAME]).collect();
    let examples =
        child::run_all("example", &chosen(&checked), SIDE_BY_SIDE, end - Duration::from_secs(o.seconds / 2), o);
    for (name, outcome, took) in examples {
        let said = match &outcome {
            Outcome::Done(rows) => rows.trim().to_owned(),
            Outcome::Failed(why) => format!("**wrong**: {why}"),
            Outcome::Late(_) => "not finished in time".to_owned(),
        };
        right &= matches!(outcome, Outcome::Done(_));
        println!("| {name} | {} | {:.1} |", said.replace('|', "\\|").replace('\n', "<br>"), took.as_secs_f64());
    }
    println!("\n| benchmark | contestant | time | rate | of the best peer |\n|---|---|---:|---:|---:|");
    for (name, outcome, _) in child::run_all("bench", &chosen(bench::NAMES), 1, end, o) {
        match outcome {
            Outcome::Done(rows) => print!("{rows}"),
            Outcome::Failed(why) => println!("| {name} | did not run | | | {} |", why.replace(['|', '\n'], " ")),
            Outcome::Late(rows) => println!("{rows}| {name} | not finished in time | | | |"),
        }
    }
    println!();
    Ok(right)
}

/// The device and the day.
fn heading() -> Result<String, String> {
    let devices = helion::cuda::devices().map_err(|e| e.to_string())?;
    let info = devices.first().ok_or("no GPU")?;
    Ok(format!(
        "## On a GPU\n\nMade by `scripts/gpu-suite` on {}: {}, compute capability {}.{}, {} \
         multiprocessors, driver for CUDA {}.{}, code for {}. Times are medians by the device's clock, all contestants \
         in turns, caches filled with something else before each call.\n",
        date::today(),
        info.facts.name,
        info.facts.capability.0,
        info.facts.capability.1,
        info.facts.multiprocessors,
        info.driver / 1000,
        info.driver % 1000 / 10,
        info.arch.unwrap_or("nothing: it is too old"),
    ))
}
