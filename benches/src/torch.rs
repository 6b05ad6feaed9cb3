//! PyTorch as a contestant: a Python process that runs an operation when told to and answers with its time.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::race::Contestant;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The process.
pub struct Torch {
    process: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    /// Its version.
    pub version: String,
}

impl Torch {
    /// Starts it with its best allocator settings: by default it returns the memory of large tensors to the
    /// system after each call, and spends most of its time having it mapped again.
    ///
    /// # Errors
    /// When the environment of `scripts/python-env` is missing.
    pub fn start(threads: usize) -> Result<Torch, String> {
        let python = Path::new(ROOT).join(".venv/bin/python");
        let mut process = Command::new(&python)
            .arg(Path::new(ROOT).join("benches/torch_peer.py"))
            .arg(threads.to_string())
            .env("OMP_NUM_THREADS", threads.to_string())
            .envs([("MALLOC_MMAP_MAX_", "0"), ("MALLOC_TRIM_THRESHOLD_", "200000000000")])
            .envs([("MALLOC_TOP_PAD_", "1000000000"), ("THP_MEM_ALLOC_ENABLE", "1")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e} (./scripts/python-env makes it)", python.display()))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the Python process has no pipes".to_owned());
        };
        let mut torch = Torch { process, pipes: RefCell::new((input, BufReader::new(output))), version: String::new() };
        torch.version = torch.ask("version")?;
        Ok(torch)
    }

    fn ask(&self, question: &str) -> Result<String, String> {
        let (input, output) = &mut *self.pipes.borrow_mut();
        let mut answer = String::new();
        writeln!(input, "{question}").and_then(|()| output.read_line(&mut answer)).map_err(|e| e.to_string())?;
        match answer.trim() {
            "" => Err("PyTorch gave no answer".to_owned()),
            answer => Ok(answer.to_owned()),
        }
    }

    /// One of the operations that `torch_peer.py` knows.
    pub fn contestant<'a>(&'a self, operation: &'a str) -> Contestant<'a> {
        Contestant::timed_elsewhere("PyTorch eager", move || {
            self.ask(operation)?.parse().map_err(|e| format!("{operation}: {e}"))
        })
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
