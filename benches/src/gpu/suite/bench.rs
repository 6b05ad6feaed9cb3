//! One benchmark: helion untuned and tuned beside the peers. Out: rows of a Markdown table on standard output.

use crate::Options;
use crate::cases::{self, Case, Work};
use crate::peer::{Loaded, Peers};
use helion::cuda::Event;
use helion::prelude::*;
use std::fmt::Write as _;
use std::time::Instant;

/// The benchmarks.
pub const NAMES: &[&str] = &["matmul", "attention", "softmax", "add"];

/// How often everybody takes a turn.
const ROUNDS: usize = 15;
/// More than the last-level cache of any device.
const FLUSH_BYTES: usize = 256 << 20;
/// How far 16-bit results may be from the exact ones, as a part of their size.
const TOLERANCE: f64 = 0.02;

/// Runs one benchmark; its rows go to standard output.
///
/// # Errors
/// helion cannot run it, or its result is wrong.
pub fn run(name: &str, device: Device, o: &Options) -> Result<(), String> {
    let peers = Peers::start(o);
    for case in cases::all(name, device)? {
        let mut rows = String::new();
        match &peers {
            Ok(peers) => against(&case, device, peers, o.tuning, &mut rows)?,
            Err(why) => alone(&case, device, why, &mut rows)?,
        }
        for config in o.configs.iter().filter_map(|c| c.strip_prefix(name)?.strip_prefix(':')) {
            pinned(&case, device, config, &mut rows);
        }
        // One case after another, so that what is done is known when time runs out.
        print!("{rows}");
    }
    if let Ok(peers) = &peers {
        eprintln!("peers: {}", peers.versions);
    }
    Ok(())
}

/// helion without anybody to compare with.
fn alone(case: &Case, device: Device, why: &str, rows: &mut String) -> Result<(), String> {
    check(case)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(seconds(device, &case.call).map_err(|e| e.to_string())?);
    }
    row(rows, case, "helion", Some(median(times)), None, "");
    let _ = writeln!(rows, "| {} | peers | skipped: {} | | |", case.title, plain(why));
    Ok(())
}

/// helion with a config; one that does not work is a row that says why.
fn pinned(case: &Case, device: Device, config: &str, rows: &mut String) {
    let times = || -> Result<Vec<f64>, String> {
        let config: Config = config.parse().map_err(|e| format!("{e}"))?;
        helion::with_config(&config, || {
            let right = check(case);
            let times: Result<Vec<f64>> = (0..ROUNDS).map(|_| seconds(device, &case.call)).collect();
            Ok(right.and(times.map_err(|e| e.to_string())))
        })
        .map_err(|e: helion::Error| e.to_string())?
    };
    let who = format!("helion, {config}");
    match times() {
        Ok(times) => row(rows, case, &who, Some(median(times)), None, ""),
        Err(why) => row(rows, case, &who, None, None, &format!("skipped: {}", plain(&why))),
    }
}

fn against(case: &Case, device: Device, peers: &Peers, tuning: f64, rows: &mut String) -> Result<(), String> {
    let copy = match case.work {
        Work::Bytes(bytes) => copy_seconds(peers, bytes),
        Work::Operations(_) => None,
    };
    let loaded = peers
        .load(case.peer, &case.sizes)
        .unwrap_or_else(|why| Loaded { contestants: Vec::new(), skipped: [("peers".to_owned(), why)].into() });
    check(case)?;
    let untuned = race(case, device, peers, &loaded)?;
    let tuner = Tuner::quick().seconds(tuning).progress(false);
    let tuned = match tuning {
        0.0 => Err("not asked for".to_owned()),
        _ => helion::runtime::tune(tuner, || (case.call)()).map(drop).map_err(|e| e.to_string()),
    };
    let tuned = match tuned {
        Ok(()) => check(case).and_then(|()| race(case, device, peers, &loaded)).map(Ok)?,
        Err(why) => Err(why),
    };
    // Peers as they were in the last race.
    let last = tuned.as_ref().unwrap_or(&untuned);
    let best = last.peers.iter().map(|(_, t)| *t).fold(f64::INFINITY, f64::min);
    let best_before = untuned.peers.iter().map(|(_, t)| *t).fold(f64::INFINITY, f64::min);
    row(rows, case, "helion", Some(untuned.ours), Some(best_before), "");
    match &tuned {
        Ok(t) => row(rows, case, "helion, tuned", Some(t.ours), Some(best), ""),
        Err(why) => row(rows, case, "helion, tuned", None, None, &format!("skipped: {}", plain(why))),
    }
    for (name, t) in &last.peers {
        let wrong = match peers.difference(name) {
            Ok(d) if d <= TOLERANCE => String::new(),
            Ok(d) => format!("off by {d:.3}"),
            Err(e) => plain(&e),
        };
        row(rows, case, name, Some(*t), Some(best), &wrong);
    }
    if let Some(t) = copy {
        row(rows, case, "as many bytes copied", Some(t), Some(best), "");
    }
    for (name, why) in &loaded.skipped {
        row(rows, case, name, None, None, &format!("skipped: {}", plain(why)));
    }
    Ok(())
}

/// The time in which PyTorch copies as much memory as a benchmark reads and writes.
fn copy_seconds(peers: &Peers, bytes: f64) -> Option<f64> {
    let loaded = peers.load("copy", &[("bytes", bytes as usize / 2)]).ok()?;
    let name = loaded.contestants.first()?;
    let times = (0..ROUNDS).map(|_| peers.seconds(name).ok()).collect::<Option<Vec<_>>>()?;
    Some(median(times))
}

/// Medians of one race.
struct Medians {
    ours: f64,
    peers: Vec<(String, f64)>,
}

/// Everybody in turns.
fn race(case: &Case, device: Device, peers: &Peers, loaded: &Loaded) -> Result<Medians, String> {
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); loaded.contestants.len()];
    for round in 0..=ROUNDS {
        let t = seconds(device, &case.call).map_err(|e| e.to_string())?;
        // The first round warms up.
        if round > 0 {
            ours.push(t);
        }
        for (name, times) in loaded.contestants.iter().zip(&mut theirs) {
            let t = peers.seconds(name).map_err(|e| format!("{name}: {e}"))?;
            if round > 0 {
                times.push(t);
            }
        }
    }
    let peers = loaded.contestants.iter().cloned().zip(theirs.into_iter().map(median)).collect();
    Ok(Medians { ours: median(ours), peers })
}

/// One call by the device's clock. The device is still busy with filling its caches when the call is queued, so that
/// the time to queue it does not count.
fn seconds(device: Device, call: &dyn Fn() -> Result<()>) -> Result<f64> {
    if device == Device::Cpu {
        let begin = Instant::now();
        call()?;
        return Ok(begin.elapsed().as_secs_f64());
    }
    drop(Tensor::<u8, 1>::zeros_on(device, [FLUSH_BYTES]));
    let begin = Event::record(device)?;
    call()?;
    let end = Event::record(device)?;
    Ok(begin.until(&end)?.as_secs_f64())
}

fn check(case: &Case) -> Result<(), String> {
    let off = (case.difference)().map_err(|e| e.to_string())?;
    if off <= TOLERANCE { Ok(()) } else { Err(format!("{}: the result is wrong, off by {off:.3}", case.title)) }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Text for a cell.
fn plain(text: &str) -> String {
    text.trim().replace(['|', '\n'], " ")
}

fn row(rows: &mut String, case: &Case, who: &str, seconds: Option<f64>, best: Option<f64>, note: &str) {
    let (time, rate) = seconds.map_or((String::new(), String::new()), |t| {
        let rate = match case.work {
            Work::Bytes(n) => format!("{:.0} GB/s", n / t / 1e9),
            Work::Operations(n) => format!("{:.1} Tflop/s", n / t / 1e12),
        };
        (format!("{:.3} ms", t * 1e3), rate)
    });
    let part = match (seconds, best.filter(|b| b.is_finite())) {
        (Some(t), Some(best)) => format!("{:.3}", best / t),
        _ => String::new(),
    };
    let note = if note.is_empty() { part } else { format!("{part} {note}").trim().to_owned() };
    let _ = writeln!(rows, "| {} | {who} | {time} | {rate} | {note} |", case.title);
}
