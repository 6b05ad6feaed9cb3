//! The peers: a Python process that measures when told to. Its protocol is at the head of `device_peers.py`.

use crate::Options;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The process.
pub struct Peers {
    process: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    /// What it has, as in `PyTorch 2.9.0, Triton 3.5.0`.
    pub versions: String,
}

/// Who takes part in a benchmark, and who does not, with the reason.
pub struct Loaded {
    /// Names, for [`Peers::seconds`].
    pub contestants: Vec<String>,
    /// Reasons, by name.
    pub skipped: BTreeMap<String, String>,
}

impl Peers {
    /// Starts it.
    ///
    /// # Errors
    /// There is no such Python, or it has nothing to compare with.
    pub fn start(o: &Options) -> Result<Peers, String> {
        let mut process = Command::new(&o.python)
            .arg(&o.peers)
            .args(o.try_out.then_some("--cpu"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", o.python))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the Python process has no pipes".to_owned());
        };
        let pipes = RefCell::new((input, BufReader::new(output)));
        let mut peers = Peers { process, pipes, versions: String::new() };
        let versions = peers.ask(&json!({"do": "versions"}))?;
        let named =
            versions.as_object().into_iter().flatten().map(|(k, v)| format!("{k} {}", v.as_str().unwrap_or("")));
        peers.versions = named.collect::<Vec<_>>().join(", ");
        Ok(peers)
    }

    fn ask(&self, question: &Value) -> Result<Value, String> {
        let (input, output) = &mut *self.pipes.borrow_mut();
        let mut answer = String::new();
        writeln!(input, "{question}").and_then(|()| output.read_line(&mut answer)).map_err(|e| e.to_string())?;
        let answer: Value =
            serde_json::from_str(&answer).map_err(|_| format!("Python's answer to {question} is {answer:?}"))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }

    /// Makes operands of a benchmark.
    ///
    /// # Errors
    /// Nobody can take part.
    pub fn load(&self, bench: &str, sizes: &[(&str, usize)]) -> Result<Loaded, String> {
        let sizes: serde_json::Map<_, _> = sizes.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
        let answer = self.ask(&json!({"do": "load", "bench": bench, "sizes": sizes}))?;
        let names = answer["contestants"].as_array().into_iter().flatten();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let skipped = answer["skipped"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), text(v)));
        Ok(Loaded { contestants: names.map(text).collect(), skipped: skipped.collect() })
    }

    /// Seconds of one call.
    ///
    /// # Errors
    /// What Python says.
    pub fn seconds(&self, contestant: &str) -> Result<f64, String> {
        self.number(&json!({"do": "sample", "contestant": contestant}), "seconds")
    }

    /// How far a contestant's result is from the exact one, as a part of its size.
    ///
    /// # Errors
    /// What Python says.
    pub fn difference(&self, contestant: &str) -> Result<f64, String> {
        self.number(&json!({"do": "check", "contestant": contestant}), "difference")
    }

    fn number(&self, question: &Value, field: &str) -> Result<f64, String> {
        let answer = self.ask(question)?;
        answer[field].as_f64().ok_or_else(|| format!("Python's answer to {question} is {answer}"))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
