//! Parts of the suite as processes of their own. In: names and a deadline. Out: what each printed, or why it did not.

use crate::Options;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How a part ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// What it printed.
    Done(String),
    /// Its last words.
    Failed(String),
    /// What it printed before it was ended at the deadline; nothing when it never began.
    Late(String),
}

/// Runs all parts of a kind, at most `side_by_side` at once; the results are in order, with how long each took.
pub fn run_all(
    kind: &str,
    names: &[&'static str],
    side_by_side: usize,
    end: Instant,
    o: &Options,
) -> Vec<(&'static str, Outcome, Duration)> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(n) else { return };
            eprintln!("{kind} {name} …");
            let begin = Instant::now();
            let outcome = run(kind, name, end, o).unwrap_or_else(Outcome::Failed);
            done.lock().unwrap_or_else(|e| e.into_inner()).push((n, outcome, begin.elapsed()));
        }
    };
    std::thread::scope(|s| {
        for _ in 0..side_by_side {
            s.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|d| d.0);
    done.into_iter().map(|(n, outcome, took)| (names[n], outcome, took)).collect()
}

fn run(kind: &str, name: &str, end: Instant, o: &Options) -> Result<Outcome, String> {
    if Instant::now() >= end {
        return Ok(Outcome::Late(String::new()));
    }
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(program)
        .args(["--part", kind, name, "--python", &o.python, "--peers", &o.peers, "--tuning", &o.tuning.to_string()])
        .args(o.configs.iter().flat_map(|c| ["--config", c]))
        .args(o.try_out.then_some("--try"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let out = reader(child.stdout.take());
    let err = reader(child.stderr.take());
    let status = wait(&mut child, end);
    let text = |t: std::thread::JoinHandle<String>| t.join().unwrap_or_default();
    let (out, err) = (text(out), text(err));
    eprint!("{err}");
    match status {
        None => Ok(Outcome::Late(out)),
        Some(status) if status.success() => Ok(Outcome::Done(out)),
        Some(status) => {
            let last = err.lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default();
            Ok(Outcome::Failed(if last.is_empty() { status.to_string() } else { last.to_owned() }))
        }
    }
}

/// Reads a pipe to its end, so that the child never waits for it.
fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before a failure is shown.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end of a child, and ends it at the deadline.
fn wait(child: &mut Child, end: Instant) -> Option<std::process::ExitStatus> {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
