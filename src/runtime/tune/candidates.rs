//! Candidates of one launch: compiled, checked on copies of what the launch writes, timed.
//!
//! In: a traced kernel and a launch's arguments. Out: an [`Engine`]. The caller's tensors are read, never written:
//! what the launch writes is replaced by copies, and in a process of its own what it reads is write-protected.

use super::super::compile::{self, Traced};
use super::super::extent::reach;
use super::super::launch::State;
use super::super::outputs::Outputs;
use super::super::{exec, pool};
use super::ahead::Ahead;
use super::board::Board;
use super::check::{Checker, Input};
use super::codes::{Built, Code, Codes};
use super::compare::{Tolerance, tensors};
use super::engine::Engine;
use super::reduced::Reduced;
use crate::error::Result as OurResult;
use helion_autotune::{Id, Rejection};
use helion_codegen::cost;
use helion_ir::config::Config;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A sample runs a launch as often as fills this time.
const SAMPLE: Duration = Duration::from_micros(40);
/// Launches that take longer are not run once before each sample.
const WARM: Duration = Duration::from_millis(1);

/// What can be measured of a launch.
pub(super) struct Candidates<'a> {
    state: &'a State,
    traced: Arc<Traced>,
    threads: usize,
    cold: bool,
    /// The results of all others are compared with this one's.
    reference: Config,
    /// Arguments, with written tensors replaced by copies.
    words: Vec<u64>,
    checker: Checker,
    /// One for each process.
    codes: Arc<Codes>,
    ahead: Option<Ahead<Built>>,
    /// Asked about last.
    built: Option<(Config, Built)>,
    candidates: HashMap<Id, Candidate>,
    /// Made when first needed.
    reduced: Option<Result<Reduced, String>>,
    /// Memory that fills the caches with something else.
    evict: Vec<u8>,
    /// Answers of the cost model.
    predicted: RefCell<HashMap<Config, Option<f64>>>,
}

/// A config in the race.
struct Candidate {
    config: Config,
    code: Code,
    /// Launches per sample; 0 until known.
    batch: u32,
    /// Whether a launch is short enough to run one before each sample.
    warm: bool,
}

impl<'a> Candidates<'a> {
    /// What is needed to measure configs of a launch.
    ///
    /// # Errors
    /// When memory for copies is short.
    pub(super) fn new(state: &'a State, traced: &Traced, threads: usize, cold: bool) -> OurResult<Candidates<'a>> {
        let f = traced.verified.function();
        // SAFETY: the launch's tensors are live, and its written ones are ours alone until it ends.
        let outputs = unsafe { Outputs::new(state, f) }?;
        let extents = |p: usize| {
            let c = &state.captures[p];
            let rank = c.tensor.as_ref().map_or(0, |t| t.rank);
            &state.words[c.word + 1..][..rank]
        };
        let longest = state.sizes.iter().copied().max().unwrap_or(1);
        let tolerance = Tolerance::of(f, &tensors(f, extents), longest);
        let traced = Arc::new(traced.clone());
        Ok(Candidates {
            state,
            codes: Arc::new(Codes::new(Arc::clone(&traced), state.words.clone(), threads)),
            traced,
            threads,
            cold,
            reference: Config::new(),
            words: state.words.clone(),
            checker: Checker::new(outputs, inputs(state), tolerance),
            ahead: None,
            built: None,
            candidates: HashMap::new(),
            reduced: None,
            evict: Vec::new(),
            predicted: RefCell::default(),
        })
    }

    fn take(&mut self, config: &Config) -> Result<Built, Rejection> {
        match self.built.take() {
            Some((c, built)) if c == *config => Ok(built),
            Some(_) | None => match &self.ahead {
                Some(ahead) => ahead.take(config),
                None => self.codes.build(config),
            },
        }
    }

    fn run(&self, code: &Code) -> Result<(), Rejection> {
        run(code, &self.words, self.threads)
    }

    /// Compares what a candidate leaves with what the reference does.
    fn check(&mut self, code: &Code) -> Result<(), Rejection> {
        let threads = self.threads;
        let words = &self.words;
        if !self.checker.is_ready() {
            // Compiled again, so that a worker that takes over needs nothing of the one before.
            let reference = self.codes.compile(&self.reference)?;
            self.checker.set_reference(&mut || run(&reference, words, threads))?;
        }
        self.checker.check(&mut || run(code, words, threads))
    }

    /// Seconds of one launch, measured over a batch.
    fn measure(&mut self, c: &mut Candidate) -> Result<f64, Rejection> {
        if self.cold {
            self.checker.outputs.restore();
            self.chill();
            return self.timed(&c.code).map(|t| t.as_secs_f64());
        }
        if c.batch == 0 {
            self.checker.outputs.restore();
            self.run(&c.code)?;
            self.checker.outputs.restore();
            let once = self.timed(&c.code)?;
            c.batch = (SAMPLE.as_nanos() / once.as_nanos().max(20)).clamp(1, 1000) as u32;
            c.warm = once < WARM;
        }
        self.checker.outputs.restore();
        pool::rouse(self.threads);
        if c.warm {
            self.run(&c.code)?;
        }
        if self.checker.outputs.in_place() {
            // Each launch gets what the first one got: what a kernel does may depend on it.
            let mut total = Duration::ZERO;
            for _ in 0..c.batch {
                self.checker.outputs.restore();
                total += self.timed(&c.code)?;
            }
            return Ok(total.as_secs_f64() / f64::from(c.batch));
        }
        let start = Instant::now();
        for _ in 0..c.batch {
            self.run(&c.code)?;
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(c.batch))
    }

    fn timed(&self, code: &Code) -> Result<Duration, Rejection> {
        pool::rouse(self.threads);
        let start = Instant::now();
        self.run(code)?;
        Ok(start.elapsed())
    }

    /// Fills the caches of all cores with something else.
    fn chill(&mut self) {
        let t = compile::target();
        let bytes = (2 * t.l3_bytes).max(4 * t.l2_bytes) as usize;
        if self.evict.len() != bytes {
            self.evict = vec![1; bytes];
        }
        let evict = &self.evict;
        pool::run(self.threads, |worker, workers| {
            // Each core's own caches are smaller than a share is at least.
            let each = (evict.len() / workers).max(evict.len().min(4 * t.l2_bytes as usize));
            let from = (worker * evict.len() / workers).min(evict.len() - each);
            let sum = evict[from..from + each].iter().step_by(64).fold(0u8, |s, b| s.wrapping_add(*b));
            std::hint::black_box(sum);
        });
    }

    fn small(&mut self) -> Result<&Reduced, String> {
        let (kernel, state) = (&self.traced.verified, self.state);
        let config = &self.reference;
        self.reduced.get_or_insert_with(|| Reduced::new(kernel, state, config)).as_ref().map_err(Clone::clone)
    }
}

impl Engine for Candidates<'_> {
    fn enter(&mut self, board: Arc<Board>, own: bool) -> Result<(), String> {
        self.checker.outputs.allocate().map_err(|e| e.to_string())?;
        self.checker.outputs.redirect(&mut self.words);
        if own {
            self.checker.inputs.iter().for_each(Input::protect);
        }
        let codes = Arc::clone(&self.codes);
        let cores = compile::target().cores as usize;
        self.ahead = Some(Ahead::new(Box::new(move |c| codes.build(c)), board, cores));
        Ok(())
    }

    fn refer(&mut self, config: &Config) {
        self.reference = config.clone();
    }

    fn legal(&self, config: &Config) -> Result<(), String> {
        compile::legal(&self.traced, config)
    }

    fn predict(&self, config: &Config) -> Option<f64> {
        // Many configs differ in what the model does not look at.
        let mut seen = config.clone();
        seen.retain(|s, _| cost::is_modelled(s.knob));
        if let Some(known) = self.predicted.borrow().get(&seen) {
            return *known;
        }
        let answer = compile::predict(&self.traced, &seen, self.state.place());
        self.predicted.borrow_mut().insert(seen, answer);
        answer
    }

    fn bound(&self) -> Option<f64> {
        compile::bound(&self.traced, self.state.place())
    }

    fn memory(&self) -> u64 {
        let inputs: usize = self.checker.inputs.iter().map(|i| i.bytes).sum();
        (inputs + self.checker.outputs.size()) as u64 + if self.cold { 2 * compile::target().l3_bytes } else { 0 }
    }

    fn expect(&mut self, configs: &[Config]) {
        if let Some(ahead) = &self.ahead {
            ahead.expect(configs);
        }
    }

    fn measuring(&mut self, on: bool) {
        if let Some(ahead) = &self.ahead {
            ahead.leave(if on { self.threads } else { 0 });
        }
    }

    fn fingerprint(&mut self, config: &Config) -> Result<u128, Rejection> {
        let built = self.take(config)?;
        let name = built.name;
        self.built = Some((config.clone(), built));
        Ok(name)
    }

    fn prepare(&mut self, id: Id, config: &Config) -> Result<(), Rejection> {
        // Without code it is what an earlier config was, and asked for all the same.
        let code = self.take(config)?.code.map_or_else(|| self.codes.compile(config), Ok)?;
        self.measuring(true);
        let checked = self.check(&code);
        self.measuring(false);
        checked?;
        self.candidates.insert(id, Candidate { config: config.clone(), code, batch: 0, warm: true });
        Ok(())
    }

    fn sample(&mut self, id: Id) -> Result<f64, Rejection> {
        let gone = || Rejection::Failed("it is not prepared".to_owned());
        let mut c = self.candidates.remove(&id).ok_or_else(gone)?;
        let seconds = self.measure(&mut c);
        self.candidates.insert(id, c);
        seconds
    }

    fn verify(&mut self, id: Id) -> Result<Option<String>, Rejection> {
        if let Err(why) = self.small() {
            return Ok(Some(why));
        }
        let (Some(Ok(small)), Some(c)) = (&self.reduced, self.candidates.get(&id)) else {
            return Err(Rejection::Failed("it is not prepared".to_owned()));
        };
        let run = |words: &[u64]| run(&c.code, words, self.threads);
        small.check(&self.traced.verified, &run, &c.config).map_err(Rejection::Wrong)
    }

    fn forget(&mut self, id: Id) {
        self.candidates.remove(&id);
    }
}

/// Runs a candidate. The words must be those of [`Candidates`].
fn run(code: &Code, words: &[u64], most: usize) -> Result<(), Rejection> {
    // SAFETY: the launch's arguments, checked when they were captured, with written tensors
    // replaced by copies of the same shape and strides that are ours.
    unsafe { exec::run(&code.compiled.kernels, words, most, code.launch) }.map_err(|e| Rejection::Failed(e.to_string()))
}

/// The memory that a launch only reads.
fn inputs(state: &State) -> Vec<Input> {
    let mut found = Vec::new();
    for c in &state.captures {
        let Some(t) = c.tensor.as_ref().filter(|t| !t.mutable) else { continue };
        let words = &state.words[c.word..];
        let dims: Vec<usize> = words[1..1 + t.rank].iter().map(|&d| d as usize).collect();
        let strides: Vec<isize> = words[1 + t.rank..1 + 2 * t.rank].iter().map(|&s| s as isize).collect();
        let Some((lo, hi)) = reach(&dims, &strides) else { continue };
        let size = c.dtype.size();
        let start = (words[0] as usize).wrapping_add_signed(lo * size as isize);
        let bytes = (hi - lo + 1) as usize * size;
        // SAFETY: a live tensor of the launch, borrowed until it ends; what lies between its elements is memory of the
        // same storage.
        found.push(unsafe { Input::new(c.name.to_string(), start, bytes) });
    }
    found
}
