//! The peers that Python has: a process that runs `benches/peers.py`, and what is said to it.
//!
//! In: the name of a case, its input arrays, and the result that helion has for them. Out: contestants for the race, each
//! after its own result was compared with that one, because a race between different computations would say nothing.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use helion::prelude::*;
use helion::{Tensor, bf16};
use serde_json::{Value, json};

use crate::race::{Contestant, Contestants, Kind};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// An input of a case, as bytes.
pub struct Array {
    name: &'static str,
    dtype: &'static str,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

/// Element types that go to Python.
pub trait Bytes: Elem + Copy {
    /// What `peers.py` calls the type.
    const NAME: &'static str;
    /// Adds the bytes of one element.
    fn add(self, to: &mut Vec<u8>);
}

macro_rules! bytes {
    ($($t:ty: $name:literal, $bits:expr;)*) => {
        $(impl Bytes for $t {
            const NAME: &'static str = $name;
            fn add(self, to: &mut Vec<u8>) {
                let bits: fn($t) -> _ = $bits;
                to.extend(bits(self).to_le_bytes());
            }
        })*
    };
}
bytes! { f32: "f32", |v| v; i8: "i8", |v| v; i32: "i32", |v| v; i64: "i64", |v| v; bf16: "bf16", |v| v.to_bits(); }

impl Array {
    /// A tensor under the name that `peers.py` knows it by.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new<T: Bytes, const R: usize>(name: &'static str, tensor: &Tensor<T, R>) -> Result<Array, String> {
        let mut bytes = Vec::new();
        tensor.to_vec().map_err(|e| e.to_string())?.into_iter().for_each(|v| v.add(&mut bytes));
        Ok(Array { name, dtype: T::NAME, dims: tensor.dims().to_vec(), bytes })
    }
}

/// The process.
pub struct Python {
    process: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    folder: PathBuf,
}

impl Python {
    /// Starts it with the allocator settings that are best for PyTorch: by default it returns the memory of large tensors to
    /// the system after each call, and spends most of its time having it mapped again.
    ///
    /// # Errors
    /// When the environment of `scripts/python-env` is missing.
    pub fn start(threads: usize) -> Result<Python, String> {
        let python = Path::new(ROOT).join(".venv/bin/python");
        let mut process = Command::new(&python)
            .arg(Path::new(ROOT).join("benches/peers.py"))
            .arg(threads.to_string())
            .env("TORCHINDUCTOR_CACHE_DIR", Path::new(ROOT).join("target/bench/inductor"))
            .env("PYTHONWARNINGS", "ignore")
            // Its threads would wait for the next call for 30 ms, at full speed, while others have their turn.
            .env("OPENBLAS_THREAD_TIMEOUT", "20")
            .envs([("MALLOC_MMAP_MAX_", "0"), ("MALLOC_TRIM_THRESHOLD_", "200000000000")])
            .envs([("MALLOC_TOP_PAD_", "1000000000"), ("THP_MEM_ALLOC_ENABLE", "1")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e} (./scripts/python-env makes it)", python.display()))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the Python process has no pipes".to_owned());
        };
        // In memory where the system has such a folder: some inputs are large.
        let shared = Path::new("/dev/shm");
        let root = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        let folder = root.join(format!("helion-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Python { process, pipes: RefCell::new((input, BufReader::new(output))), folder })
    }

    fn ask(&self, question: &Value) -> Result<Value, String> {
        let (input, output) = &mut *self.pipes.borrow_mut();
        let mut answer = String::new();
        writeln!(input, "{question}").and_then(|()| output.read_line(&mut answer)).map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_str(&answer).map_err(|e| format!("Python gave no answer: {e}"))?;
        match answer["error"].as_str() {
            Some(e) => Err(e.to_owned()),
            None => Ok(answer),
        }
    }

    fn seconds(&self, question: &Value) -> Result<f64, String> {
        self.ask(question)?["seconds"].as_f64().ok_or_else(|| "Python gave no time".to_owned())
    }

    /// Versions of the libraries.
    ///
    /// # Errors
    /// When the process does not answer.
    pub fn versions(&self) -> Result<Value, String> {
        Ok(self.ask(&json!({}))?["versions"].take())
    }

    /// The contestants of a case, with PyTorch's compiler among them where asked. Each has computed `want` within
    /// `tolerance`, relative to the largest element.
    ///
    /// # Errors
    /// When the case cannot be prepared, or the result of a contestant differs.
    pub fn contestants(
        &self,
        case: &str,
        inputs: &[Array],
        compile: bool,
        want: &[f32],
        tolerance: f32,
    ) -> Contestants<'_> {
        let mut specs = serde_json::Map::new();
        for a in inputs {
            let path = self.folder.join(format!("{}.raw", a.name));
            std::fs::write(&path, &a.bytes).map_err(|e| format!("{}: {e}", path.display()))?;
            specs.insert(a.name.to_owned(), json!([a.dtype, a.dims]));
        }
        let question = json!({ "case": case, "folder": self.folder, "inputs": specs, "compile": compile });
        let names = self.ask(&question)?["contestants"].take();
        let names: Vec<String> = serde_json::from_value(names).map_err(|e| e.to_string())?;
        names.into_iter().map(|name| self.contestant(name, want, tolerance)).collect()
    }

    fn contestant(&self, name: String, want: &[f32], tolerance: f32) -> Result<Contestant<'_>, String> {
        self.seconds(&json!({ "output": name }))?;
        let path = self.folder.join("output.raw");
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let numbers = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        // A contestant that rounds its inputs says so in its name.
        let tolerance = if name.contains("int8") { 0.05 } else { tolerance };
        same(&name, &numbers.collect::<Vec<f32>>(), want, tolerance)?;
        let packed = name.ends_with('*');
        let shown = name.trim_end_matches('*').to_owned();
        let kind = if packed { Kind::Packed } else { Kind::Peer };
        let turn = move |seconds: f64| self.seconds(&json!({ "turn": name, "seconds": seconds }));
        Ok(Contestant::timed_elsewhere(&shown, kind, turn))
    }
}

/// Whether a peer computed the same, within a tolerance relative to the largest element.
///
/// # Errors
/// Names the element that differs.
pub fn same(who: &str, got: &[f32], want: &[f32], tolerance: f32) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{who} has {} elements where helion has {}", got.len(), want.len()));
    }
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    // NaN is near nothing.
    let near = |(g, w): (&f32, &f32)| (g - w).abs() <= tolerance * largest;
    match got.iter().zip(want).position(|both| !near(both)) {
        Some(i) => Err(format!("{who} has {} as element {i} where helion has {}", got[i], want[i])),
        None => Ok(()),
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
