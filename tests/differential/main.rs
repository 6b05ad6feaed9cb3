//! Random tile programs: every engine must leave the same in memory.
//!
//! `HELION_FUZZ=100000 cargo test --release --test differential` runs that many programs on all engines (without it every
//! eighth is for the slow ones); a failure prints its seed and a shrunk program. `HELION_FUZZ_SEED=17` runs one seed,
//! `HELION_FUZZ_START` moves the first.
//! With `HELION_FUZZ_ISOLATE=1` every shrinking step runs in a process of its own, for programs that
//! crash; `HELION_FUZZ_CHOICES` then carries the decisions.

mod check;
mod generate;
mod num;
mod shrink;
mod source;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use check::{Failure, Outcome, check};
use generate::Refused;
use source::Source;
use support::engines::Engine;

/// How many programs run without being asked for more.
const DEFAULT_COUNT: u64 = 3000;
/// Which programs slow engines run, when nobody asked for a number.
const SLOW_EVERY: u64 = 8;
/// How many failures are shrunk and shown.
const SHOWN: usize = 5;
/// How many shorter programs are tried for each.
const TRIES: usize = 1500;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The engines to compare with the tile interpreter.
fn compared() -> Vec<Engine> {
    Engine::all().into_iter().filter(|e| !matches!(e, Engine::Tile)).collect()
}

/// Counts of what happened.
#[derive(Default)]
struct Tally {
    agreed: AtomicU64,
    costly: AtomicU64,
    refused: AtomicU64,
}

#[test]
fn random_programs_agree() {
    if std::env::var_os("HELION_FUZZ_CHOICES").is_some() {
        return replay();
    }
    support::crash::install();
    std::panic::set_hook(Box::new(|_| {}));
    let one = setting("HELION_FUZZ_SEED");
    let first = one.or(setting("HELION_FUZZ_START")).unwrap_or(0);
    let count = if one.is_some() { 1 } else { setting("HELION_FUZZ").unwrap_or(DEFAULT_COUNT) };
    let (next, tally) = (AtomicU64::new(first), Tally::default());
    let failures: Mutex<Vec<(u64, Vec<u32>, Failure)>> = Mutex::new(Vec::new());
    let refusals: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| worker(&next, first + count, &tally, &failures, &refusals))).collect();
        drop(workers);
    });
    let (agreed, refused) = (tally.agreed.load(Relaxed), tally.refused.load(Relaxed));
    println!("{} programs had reductions to split", check::SPLIT.load(Relaxed));
    println!("{agreed} programs agree, {refused} refused by the verifier, {} too long", tally.costly.load(Relaxed));
    for r in refusals.lock().expect("refusals").iter().take(if one.is_some() { 10 } else { 3 }) {
        println!("refused: {r}");
    }
    let failures = failures.into_inner().expect("failures");
    let mut kinds = std::collections::BTreeMap::new();
    for (seed, choices, f) in &failures {
        kinds.entry(f.kind()).or_insert_with(Vec::new).push((*seed, choices, f));
    }
    println!("failures by kind: {:#?}", kinds.iter().map(|(k, v)| (v.len(), k)).collect::<Vec<_>>());
    let shown: Vec<String> = kinds.values().take(SHOWN).map(|v| show(v[0].0, v[0].1, v[0].2)).collect();
    let _ = std::panic::take_hook();
    assert!(failures.is_empty(), "{} programs fail\n\n{}", failures.len(), shown.join("\n\n"));
    assert!(one.is_some() || refused * 10 <= count, "too many programs are refused by the verifier");
}

fn worker(
    next: &AtomicU64,
    end: u64,
    tally: &Tally,
    failures: &Mutex<Vec<(u64, Vec<u32>, Failure)>>,
    refusals: &Mutex<Vec<String>>,
) {
    let (all, target) = (compared(), helion_codegen::cpu::host_target());
    let quick: Vec<Engine> = all.iter().filter(|e| !e.is_slow()).cloned().collect();
    let thorough = setting("HELION_FUZZ").or(setting("HELION_FUZZ_SEED")).is_some();
    loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= end || failures.lock().expect("failures").len() >= 20 {
            return;
        }
        support::crash::running(&format!("HELION_FUZZ_SEED={seed}"));
        if end == seed + 1
            && let Ok(case) = generate::generate(&mut Source::random(seed))
        {
            println!("{}\nconfig: {}\n{}", case.kernel.function(), case.config, check::arguments(&case.args));
        }
        let mut source = Source::random(seed);
        let engines = if thorough || seed.is_multiple_of(SLOW_EVERY) { &all } else { &quick };
        match check(&mut source, engines, &target) {
            Outcome::Agreed => {
                let n = 1 + tally.agreed.fetch_add(1, Relaxed);
                if n.is_multiple_of(10_000) {
                    eprintln!("{n} programs agree so far");
                }
            }
            Outcome::Refused(Refused::Cost) => drop(tally.costly.fetch_add(1, Relaxed)),
            Outcome::Refused(Refused::Verifier(why)) => {
                tally.refused.fetch_add(1, Relaxed);
                refusals.lock().expect("refusals").push(format!("seed {seed}: {why}"));
            }
            Outcome::Failed(f) => {
                eprintln!("HELION_FUZZ_SEED={seed} fails: {}", f.kind());
                failures.lock().expect("failures").push((seed, source.taken().to_vec(), f));
            }
        }
    }
}

/// Shrinks a failure and describes it.
fn show(seed: u64, choices: &[u32], failure: &Failure) -> String {
    let (engines, target) = (compared(), helion_codegen::cpu::host_target());
    let limit = Instant::now() + Duration::from_secs(20);
    let small = shrink::shrink(choices, TRIES, |c| {
        if Instant::now() > limit {
            return false;
        }
        match check(&mut Source::replay(c), &engines, &target) {
            Outcome::Failed(f) => f.kind() == failure.kind(),
            Outcome::Agreed | Outcome::Refused(_) => false,
        }
    });
    let shown = match check(&mut Source::replay(&small), &engines, &target) {
        Outcome::Failed(f) => f,
        Outcome::Agreed | Outcome::Refused(_) => {
            Failure { stage: failure.stage.clone(), message: failure.message.clone(), program: failure.program.clone() }
        }
    };
    format!("HELION_FUZZ_SEED={seed}, {}: {}\n{}", shown.stage, shown.message, shown.program)
}

/// Runs the decisions given by the environment; crashes are the caller's to see.
fn replay() {
    support::crash::install();
    let text = std::env::var("HELION_FUZZ_CHOICES").unwrap_or_default();
    let choices: Vec<u32> = text.split(',').filter_map(|w| w.parse().ok()).collect();
    let target = helion_codegen::cpu::host_target();
    if let Outcome::Failed(f) = check(&mut Source::replay(&choices), &compared(), &target) {
        panic!("{}: {}\n{}", f.stage, f.message, f.program);
    }
}

/// A program that crashes shrinks in processes of its own: `HELION_FUZZ_ISOLATE=1 HELION_FUZZ_SEED=17`.
#[test]
fn crashing_program_shrinks_in_isolation() {
    let (Some(_), Some(seed)) = (std::env::var_os("HELION_FUZZ_ISOLATE"), setting("HELION_FUZZ_SEED")) else { return };
    let mut source = Source::random(seed);
    let _ = generate::generate(&mut source);
    let run = |choices: &[u32]| {
        let text: Vec<String> = choices.iter().map(u32::to_string).collect();
        let exe = std::env::current_exe().expect("this program");
        let mut command = std::process::Command::new(exe);
        command.args(["random_programs_agree", "--exact", "--nocapture"]).env("HELION_FUZZ_CHOICES", text.join(","));
        command.output().map(|o| !o.status.success() && o.status.code() != Some(101)).unwrap_or(false)
    };
    if !run(source.taken()) {
        println!("seed {seed} does not crash");
        return;
    }
    let small = shrink::shrink(source.taken(), TRIES, run);
    let case = generate::generate(&mut Source::replay(&small));
    if let Ok(case) = case {
        panic!(
            "seed {seed} crashes:\n{}\nconfig: {}\nsizes {:?}",
            case.kernel.function(),
            case.config,
            case.args.symbols
        );
    }
}
