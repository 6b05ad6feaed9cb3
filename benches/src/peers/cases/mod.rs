//! What is measured: kernels of `examples/` on one shape each, and what is the same for all of them.
//!
//! In: inputs, a call of ours, the case that `peers.py` knows, contestants from other crates. Out: a [`Measured`], after
//! helion has been tuned for the case and all results have been compared.

mod attention;
mod elements;
mod lookup;
mod model;
mod products;
mod rows;
mod start;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Instant;

use helion::prelude::*;
use helion::{bf16, tuning};

use crate::python::{Array, Python};
use crate::race::{Contestant, Contestants, Kind, Outcome, race};
use crate::report;

/// What a case has to do, for its rate and for the share of the ceiling.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Multiplications and additions; the ceiling is that of f32.
    Operations(usize),
    /// Bytes of inputs and results; the ceiling is copying.
    Bytes(usize),
    /// Bytes that are only read; the ceiling is reading.
    Read(usize),
    /// Things of a kind.
    Things(usize, &'static str),
}

/// What came out of a case.
pub struct Measured {
    /// The kernel.
    pub kernel: &'static str,
    /// The shape, in words.
    pub shape: String,
    /// What there was to do.
    pub work: Work,
    /// Everybody's times, helion's first.
    pub outcomes: Vec<Outcome>,
}

/// How to run.
pub struct Options {
    /// Fewer shapes, less time.
    pub quick: bool,
    /// Only kernels with these names, when there are any.
    pub wanted: Vec<String>,
    /// Cases that would begin later than this many seconds after the start are left out.
    pub seconds: f64,
}

/// What the cases share.
pub struct Context {
    /// Threads of every contestant.
    pub threads: usize,
    /// How to run.
    pub options: Options,
    /// The peers in Python.
    pub python: Python,
    /// What has come out so far.
    pub measured: RefCell<Vec<Measured>>,
    /// Cases that gave no numbers, and why.
    pub failed: RefCell<Vec<(String, String)>>,
    begin: Instant,
}

/// One race to come.
pub struct Case<'a, R> {
    /// The kernel: the name that selects it.
    pub kernel: &'static str,
    /// The shape, in words.
    pub shape: String,
    /// What there is to do.
    pub work: Work,
    /// Largest difference between results, relative to the largest element.
    pub tolerance: f32,
    /// The case in `peers.py`, with its inputs.
    pub python: (&'static str, Vec<Array>),
    /// Whether PyTorch's compiler takes part.
    pub compile: bool,
    /// The call of ours.
    pub call: &'a dyn Fn() -> Result<R>,
    /// Makes the contestants from other crates, given our result to compare theirs with.
    pub crates: &'a dyn Fn(&[f32]) -> Contestants<'a>,
}

/// For cases without contestants from other crates.
pub fn no_crates<'a>(_: &[f32]) -> Contestants<'a> {
    Ok(Vec::new())
}

/// Results as numbers to compare.
pub trait Numbers {
    /// All elements in order.
    ///
    /// # Errors
    /// When they cannot be read.
    fn numbers(&self) -> Result<Vec<f32>>;
}

impl<const R: usize> Numbers for Tensor<f32, R> {
    fn numbers(&self) -> Result<Vec<f32>> {
        self.to_vec()
    }
}

impl<const R: usize> Numbers for Tensor<bf16, R> {
    fn numbers(&self) -> Result<Vec<f32>> {
        Ok(self.to_vec()?.into_iter().map(bf16::to_f32).collect())
    }
}

impl<A: Numbers, B> Numbers for (A, B) {
    fn numbers(&self) -> Result<Vec<f32>> {
        self.0.numbers()
    }
}

/// An error in words.
pub fn words(e: impl ToString) -> String {
    e.to_string()
}

/// Made-up numbers, the same in every run.
pub fn numbers<const R: usize>(dims: [usize; R]) -> std::result::Result<Tensor<f32, R>, String> {
    crate::softmax::support::Data::plain().tensor(dims).map_err(words)
}

/// A view as a tensor of its own, row by row.
pub fn dense<const R: usize>(t: &Tensor<f32, R>) -> std::result::Result<Tensor<f32, R>, String> {
    t.to_vec().and_then(|v| Tensor::from_vec(t.dims(), v)).map_err(words)
}

/// Made-up whole numbers below `limit`.
pub fn indices(n: usize, limit: usize) -> Vec<i64> {
    crate::softmax::support::Data::plain().indices(n, limit)
}

impl Context {
    /// Starts the peers.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(options: Options) -> std::result::Result<Context, String> {
        // What earlier runs found would make the untuned contestant a tuned one.
        helion::settings::set_cache("off").map_err(words)?;
        let threads = helion::settings::threads();
        let (measured, failed) = Default::default();
        Ok(Context { threads, options, python: Python::start(threads)?, measured, failed, begin: Instant::now() })
    }

    /// Whether a kernel on a shape is to be measured.
    pub fn wants(&self, kernel: &str, quick: bool) -> bool {
        let named = self.options.wanted.iter().any(|w| w == kernel);
        (named || self.options.wanted.is_empty()) && (quick || !self.options.quick)
    }

    /// Measures one case.
    pub fn run<R: Numbers>(&self, case: Case<'_, R>) {
        let title = format!("{} {}", case.kernel, case.shape);
        let late = self.begin.elapsed().as_secs_f64() > self.options.seconds;
        let result = if late { Err("left out: no time was left".to_owned()) } else { self.measure(case) };
        match result {
            Ok(m) => {
                eprintln!("{}", report::line(&m, self.begin.elapsed()));
                self.measured.borrow_mut().push(m);
            }
            Err(e) => {
                eprintln!("{title}: {e}");
                self.failed.borrow_mut().push((title, e));
            }
        }
    }

    fn measure<R: Numbers>(&self, case: Case<'_, R>) -> std::result::Result<Measured, String> {
        let call = case.call;
        let want = call().and_then(|r| r.numbers()).map_err(words)?;
        let mut contestants = vec![Contestant::new("helion", Kind::Untuned, call)];
        contestants.extend(self.tuned(call)?);
        let (name, inputs) = case.python;
        contestants.extend(self.python.contestants(
            name,
            &inputs,
            self.compiles(case.compile),
            &want,
            case.tolerance,
        )?);
        contestants.extend((case.crates)(&want)?);
        let outcomes = race(contestants, if self.options.quick { 0.4 } else { 2.0 })?;
        Ok(Measured { kernel: case.kernel, shape: case.shape, work: case.work, outcomes })
    }

    /// PyTorch's compiler takes seconds for each kernel.
    fn compiles(&self, wanted: bool) -> bool {
        wanted && !self.options.quick
    }

    /// helion with what its tuner finds, unless a call takes so long that there is no time for that.
    fn tuned<'a, R>(&self, call: &'a dyn Fn() -> Result<R>) -> std::result::Result<Option<Contestant<'a>>, String> {
        let begin = Instant::now();
        call().map_err(words)?;
        if begin.elapsed().as_secs_f64() > 0.25 {
            return Ok(None);
        }
        let seconds = if self.options.quick { 0.3 } else { 2.0 };
        helion::tune(Tuner::quick().seconds(seconds).progress(false), || call().map(drop)).map_err(words)?;
        let table = Table(std::env::temp_dir().join(format!("helion-bench-{}.json", std::process::id())));
        tuning::export(&table.0).map_err(words)?;
        tuning::forget().map_err(words)?;
        let text = std::fs::read(&table.0).map_err(words)?;
        let turn = move |seconds: f64| {
            std::fs::write(&table.0, &text).map_err(words)?;
            tuning::import(&table.0).map_err(words)?;
            let time = crate::race::median_seconds(seconds, &mut || call().map(drop).map_err(words));
            tuning::forget().map_err(words)?;
            time
        };
        Ok(Some(Contestant::timed_elsewhere("helion, tuned", Kind::Tuned, turn)))
    }
}

/// A file that goes when it is no longer needed.
struct Table(PathBuf);

impl Drop for Table {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

type Group = fn(&Context) -> std::result::Result<(), String>;

/// Everything, in the order of the tables.
pub const GROUPS: [(&str, Group); 8] = [
    ("products", products::plain),
    ("other products", products::others),
    ("rows", rows::all),
    ("elements", elements::all),
    ("attention", attention::all),
    ("lookup", lookup::all),
    ("model", model::all),
    ("start", start::all),
];
