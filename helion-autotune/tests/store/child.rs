//! The other process: started by the tests with a task, a folder and a number; says what it did, line by line.

use super::{key, number, point, sound};
use helion_autotune::store::{Claim, Store};
use helion_autotune::{Rejection, Trial};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Where a child finds its task.
const TASK: &str = "STORE_CHILD";
/// What begins the lines a child says; the test runner says some, too.
const MARK: &str = "said ";
/// How many points a hammering child puts.
pub const PUTS: u64 = 25;
/// How many keys are hammered.
pub const KEYS: u64 = 4;

/// A process under way.
pub struct Running {
    pub process: Child,
    lines: BufReader<ChildStdout>,
}

/// Starts this program as a child, by way of `wrapper` if that is not empty.
pub fn start(wrapper: &[&str], task: &str, dir: &Path, n: u64) -> Running {
    let me = std::env::current_exe().expect("this program");
    let mut command = match wrapper.split_first() {
        None => Command::new(me),
        Some((program, arguments)) => {
            let mut c = Command::new(program);
            c.args(arguments).arg(me);
            c
        }
    };
    command.args(["--exact", "child::child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(TASK, format!("{task} {n} {}", dir.display())).env("STORE_DIR", dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("a process");
    let lines = BufReader::new(process.stdout.take().expect("its output"));
    Running { process, lines }
}

impl Running {
    /// The next whole line it says; `None` at its end.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            // The test runner ends its own line after the child's first one.
            if let Some((_, said)) = line.split_once(MARK) {
                return said.strip_suffix('\n').map(str::to_owned);
            }
        }
    }
    /// All it still says, and whether it ended well.
    pub fn finish(mut self) -> (Vec<String>, bool) {
        let lines = std::iter::from_fn(|| self.line()).collect();
        (lines, self.process.wait().is_ok_and(|s| s.success()))
    }
    /// Ends it at once, as nothing can prevent. What it had said before.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().expect("a process of ours");
        let lines = std::iter::from_fn(|| self.line()).collect();
        let _ = self.process.wait();
        lines
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{MARK}{text}");
    let _ = out.flush();
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let mut words = task.splitn(3, ' ');
    let (Some(task), Some(n), Some(dir)) = (words.next(), words.next(), words.next()) else { panic!("{task}") };
    let (n, dir): (u64, &Path) = (n.parse().expect("a number"), Path::new(dir));
    match task {
        "write" => write_for_ever(dir, n),
        "journal" => note_for_ever(dir),
        "claim" => claim_for_ever(dir),
        "fork" => fork_with_claim(dir),
        "hammer" => hammer(dir, n),
        "fill" => fill(dir),
        "locked-out" => locked_out(dir, n),
        other => panic!("no such task: {other}"),
    }
}

/// Puts points with rising numbers, and says each that was acknowledged, until it is killed.
fn write_for_ever(dir: &Path, first: u64) {
    let store = sound(dir);
    for n in first.. {
        let (k, size) = (n % 3, n / 3 % 8);
        store.put(&key(k), point(size, n)).expect("a put that nothing hinders");
        say(&format!("{k} {size} {n}"));
    }
}

/// A trial with a number.
pub fn trial(n: u64) -> Trial {
    let p = point(1, n);
    let result = if n.is_multiple_of(3) { Err(Rejection::Wrong(format!("{n}"))) } else { Ok(p.winner.timing) };
    Trial { config: p.winner.config, result, predicted: None, origin: "journal", at: n as f64 }
}

/// Adds to a journal, until it is killed.
fn note_for_ever(dir: &Path) {
    let (mut journal, before) = sound(dir).journal(&key(0), &point(1, 0).sizes, 2).expect("a journal");
    for n in before.len() as u64.. {
        journal.append(&trial(n)).expect("an append that nothing hinders");
        say(&n.to_string());
    }
}

/// Holds a claim, until it is killed.
fn claim_for_ever(dir: &Path) {
    let claim = sound(dir).claim_within(&key(0), Duration::from_secs(30)).expect("a claim");
    let Claim::Mine(_guard) = claim else { panic!("held by another for 30 seconds") };
    say("mine");
    std::thread::sleep(Duration::from_secs(600));
}

/// Forks while it holds a claim, as a tuner does to measure in a process that may die.
fn fork_with_claim(dir: &Path) {
    let free = || matches!(sound(dir).claim(&key(0)).expect("a claim"), Claim::Mine(_));
    for child_drops in [true, false] {
        let Claim::Mine(guard) = sound(dir).claim(&key(0)).expect("a claim") else { panic!("nobody else is there") };
        // SAFETY: the child uses what was allocated before, and ends without running anything of its parent's.
        let child = unsafe { libc::fork() };
        if child == 0 {
            if child_drops {
                drop(guard);
            } else {
                std::thread::sleep(Duration::from_secs(20));
            }
            // SAFETY: ends this process.
            unsafe { libc::_exit(0) };
        }
        assert!(child > 0, "no fork");
        let mut status = 0;
        if child_drops {
            // SAFETY: the child is ours.
            unsafe { libc::waitpid(child, &mut status, 0) };
            assert!(!free(), "a forked child gave up its parent's claim");
        }
        drop(guard);
        assert!(free(), "a forked child kept its parent's claim");
        if !child_drops {
            // SAFETY: the child is ours, and still there.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &mut status, 0);
            }
        }
    }
    say("well");
}

/// Puts its own points under keys that all others write, too; then tunes a key that only one may tune.
fn hammer(dir: &Path, process: u64) {
    let store = sound(dir);
    for i in 0..PUTS {
        let (k, size) = (i % KEYS, process * 1000 + i);
        store.put(&key(k), point(size, size)).expect("a put that nothing hinders");
        say(&format!("{k} {size}"));
        let seen = store.get(&key(k)).expect("what was just put");
        assert!(seen.points.iter().all(|p| number(p).is_some()), "a mixture");
    }
    let Claim::Mine(_guard) = store.claim_within(&key(99), Duration::from_secs(60)).expect("a claim") else {
        panic!("waited for a minute")
    };
    if store.get(&key(99)).is_none() {
        std::thread::sleep(Duration::from_millis(20));
        store.put(&key(99), point(0, 0)).expect("a put that nothing hinders");
        say("searched");
    }
}

/// Puts until the disk is full; then everything acknowledged must still be there.
fn fill(dir: &Path) {
    let store = sound(dir);
    let mut acknowledged = Vec::new();
    let mut errors = 0;
    for n in 0..400u64 {
        match store.put(&key(n % 5), point(n / 5, n)) {
            Ok(()) => acknowledged.push(n),
            Err(e) => {
                errors += 1;
                let _ = (e.to_string(), store.claim(&key(7)), store.journal(&key(7), &[], 0).map(|(j, _)| j.finish()));
            }
        }
    }
    let found =
        |n: &&u64| store.get(&key(**n % 5)).and_then(|r| Some(number(r.at(&point(**n / 5, 0).sizes, 2)?) == Some(**n)));
    let kept = acknowledged.iter().filter(|n| found(n) == Some(true)).count();
    say(&format!("{} {kept} {errors}", acknowledged.len()));
}

/// Tries everything on a folder that may not be written.
fn locked_out(dir: &Path, records: u64) {
    let store = sound(dir);
    let mut refused = 0;
    for n in 0..records {
        assert_eq!(store.get(&key(n)).map(|r| r.points), Some(vec![point(n, n)]));
        refused += u64::from(store.put(&key(n), point(n, n + 1)).is_err());
        refused += u64::from(store.remove(&key(n)).is_err());
        refused += u64::from(store.claim(&key(n)).is_err());
        refused += u64::from(store.journal(&key(n), &[], 0).is_err());
        assert_eq!(store.get(&key(n)).map(|r| r.points), Some(vec![point(n, n)]));
    }
    refused += u64::from(store.clear().is_err());
    refused += u64::from(Store::open(dir.join("below")).put(&key(0), point(0, 0)).is_err());
    assert_eq!(store.list().expect("a readable folder").len() as u64, records);
    assert_eq!(store.verify().expect("a readable folder").good as u64, records);
    say(&refused.to_string());
}
