//! Candidates of one launch on a GPU: compiled, checked on copies of what the launch writes, timed by events.
//!
//! In: a traced kernel and a launch's arguments, on a device. Out: an [`Engine`]. The caller's tensors are read, never
//! written: what the launch writes is replaced by copies on the device, with margins around them, that start at the
//! same place within 256 bytes. Before each timed launch the last cache is filled with something else.

use super::super::compile::{self, Traced};
use super::super::cuda::{self, Event, Gpu, Loaded};
use super::super::device::Device;
use super::super::extent::reach;
use super::super::launch::{self, State};
use super::super::outputs::{self, PATTERNS};
use super::board::Board;
use super::compare::{Expected, Tolerance, tensors};
use super::engine::Engine;
use super::reduced::Reduced;
use super::remote::{self, Remote};
use crate::error::{Error, Kind, Result as OurResult};
use helion_autotune::{Id, Rejection};
use helion_codegen::ptx::Facts;
use helion_ir::args::{Arg, Args};
use helion_ir::config::Config;
use helion_ir::dtype::DType;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

/// A sample runs a launch as often as fills this time.
const SAMPLE: Duration = Duration::from_micros(500);
/// The most launches of a sample.
const MOST: u32 = 20;
/// Bytes before and after a copy that are looked at.
const MARGIN: usize = 1024;
/// What blocks of memory are aligned to.
const ALIGN: usize = 256;

/// What can be measured of a launch on a GPU.
pub(super) struct OnGpu<'a> {
    state: &'a State,
    traced: Arc<Traced>,
    gpu: &'static Gpu,
    /// The results of all others are compared with this one's.
    reference: Config,
    /// Arguments, with written tensors replaced by copies once [`enter`](Engine::enter)ed.
    words: Vec<u64>,
    copies: Vec<Copy>,
    tolerance: Tolerance,
    /// What the reference leaves in the outputs, for each pattern.
    expected: [Vec<Expected>; 2],
    /// Asked about last.
    built: Option<(Config, Built)>,
    candidates: HashMap<Id, Candidate>,
    /// Made when first needed.
    reduced: Option<Result<Reduced, String>>,
    /// Memory that fills the last cache.
    flush: Option<cuda::Block>,
    /// Before and after each launch of a sample.
    events: Vec<[Event; 2]>,
    /// Answers of the cost model.
    predicted: RefCell<HashMap<Config, Option<f64>>>,
}

/// Code and its name.
struct Built {
    name: u128,
    loaded: Loaded,
}

/// A config in the race.
struct Candidate {
    config: Config,
    loaded: Loaded,
    /// Launches per sample; 0 until known.
    batch: u32,
}

/// A written tensor, laid out with the strides of the original.
struct Copy {
    /// Which argument word is its address.
    word: usize,
    dtype: DType,
    /// Bytes from the lowest element to the one at index 0…0.
    offset: usize,
    /// Bytes from the lowest element to the end of the highest.
    bytes: usize,
    /// The original's lowest element.
    original: *const u8,
    /// Whether the kernel reads it, so that it starts as the original is.
    keep: bool,
    memory: Option<cuda::Block>,
}

impl Copy {
    /// Bytes of memory before the lowest element.
    fn lead(&self) -> usize {
        MARGIN + self.original.addr() % ALIGN
    }
    /// The lowest element.
    fn start(&self) -> *mut u8 {
        let block = self.memory.as_ref().map_or(0, |m| m.address().0 as usize);
        std::ptr::without_provenance_mut(block + self.lead())
    }
}

fn failed(e: Error) -> Rejection {
    Rejection::Failed(e.to_string())
}

impl<'a> OnGpu<'a> {
    /// What is needed to measure configs of a launch.
    ///
    /// # Errors
    /// When the launch is not on a GPU.
    pub(super) fn new(state: &'a State, traced: &Traced) -> OurResult<OnGpu<'a>> {
        let Device::Cuda(n) = state.device() else {
            return Err(Error::internal("a launch on the CPU is not measured on a GPU"));
        };
        let f = traced.verified.function();
        let read = outputs::read_params(f);
        let mut copies = Vec::new();
        for (i, c) in state.captures.iter().enumerate() {
            let Some(t) = c.tensor.as_ref().filter(|t| t.mutable) else { continue };
            let (dims, strides) = outputs::shape(&state.words[c.word..], t.rank);
            let (lo, hi) = reach(&dims, &strides).unwrap_or((0, -1));
            let size = c.dtype.size();
            let from: *const u8 = std::ptr::without_provenance(state.words[c.word] as usize);
            copies.push(Copy {
                word: c.word,
                dtype: c.dtype,
                offset: lo.unsigned_abs() * size,
                bytes: usize::try_from(hi - lo + 1).unwrap_or(0) * size,
                original: from.wrapping_offset(lo * size as isize),
                keep: read.get(i).copied().unwrap_or(true),
                memory: None,
            });
        }
        let extents = |p: usize| {
            let c = &state.captures[p];
            let rank = c.tensor.as_ref().map_or(0, |t| t.rank);
            &state.words[c.word + 1..][..rank]
        };
        let longest = state.sizes.iter().copied().max().unwrap_or(1);
        Ok(OnGpu {
            state,
            traced: Arc::new(traced.clone()),
            gpu: cuda::gpu(n)?,
            reference: Config::new(),
            words: state.words.clone(),
            copies,
            tolerance: Tolerance::of(f, &tensors(f, extents), longest),
            expected: [Vec::new(), Vec::new()],
            built: None,
            candidates: HashMap::new(),
            reduced: None,
            flush: None,
            events: Vec::new(),
            predicted: RefCell::default(),
        })
    }

    fn take(&mut self, config: &Config) -> Result<Built, Rejection> {
        match self.built.take() {
            Some((c, built)) if c == *config => Ok(built),
            Some(_) | None => build(&self.traced, config, self.facts(config)),
        }
    }

    fn facts(&self, config: &Config) -> Facts {
        self.state.facts(&compile::wanted(&self.traced, config))
    }

    /// Fills write-only copies with a pattern, and makes the others hold what the originals hold.
    fn reset(&self, pattern: u8) -> OurResult<()> {
        for c in &self.copies {
            let (start, bytes) = (c.start().wrapping_sub(MARGIN), c.bytes + 2 * MARGIN);
            // SAFETY: the block has `lead`, then `bytes`, then `MARGIN` bytes.
            unsafe { cuda::fill(self.gpu, start, pattern, bytes) }?;
        }
        self.restore()
    }

    /// Makes copies of what the kernel reads hold what the originals hold.
    fn restore(&self) -> OurResult<()> {
        for c in self.copies.iter().filter(|c| c.keep) {
            // SAFETY: the original is a live tensor of the launch, the copy has as many bytes.
            unsafe { cuda::copy(self.gpu, (c.start(), c.bytes), (c.original, c.bytes), c.bytes, 1) }?;
        }
        Ok(())
    }

    /// What the copies hold after a run over a pattern; waits for it.
    fn written(&self, pattern: u8) -> Result<Vec<(DType, Vec<u8>)>, Rejection> {
        let mut found = Vec::new();
        for (i, c) in self.copies.iter().enumerate() {
            let mut bytes = vec![0; c.bytes + 2 * MARGIN];
            // SAFETY: the block has `lead`, then `bytes`, then `MARGIN` bytes.
            unsafe { cuda::read(self.gpu, &mut bytes, c.start().wrapping_sub(MARGIN)) }.map_err(failed)?;
            let beside = bytes[..MARGIN].iter().chain(&bytes[MARGIN + c.bytes..]);
            if beside.into_iter().any(|b| *b != pattern) {
                return Err(Rejection::Wrong(format!("output {i}: memory beside it was written")));
            }
            found.push((c.dtype, bytes[MARGIN..MARGIN + c.bytes].to_vec()));
        }
        Ok(found)
    }

    fn run(&self, loaded: &Loaded) -> Result<(), Rejection> {
        // SAFETY: the launch's arguments, checked when they were captured, with written tensors replaced by copies of
        // the same shape, strides and alignment that are ours.
        unsafe { loaded.run(&self.words) }.map_err(failed)
    }

    fn run_over(&self, loaded: &Loaded, pattern: u8) -> Result<Vec<(DType, Vec<u8>)>, Rejection> {
        self.reset(pattern).map_err(failed)?;
        self.run(loaded)?;
        cuda::synchronize(self.state.device()).map_err(failed)?;
        self.written(pattern)
    }

    /// Compares what a candidate leaves with what the reference does, over two patterns.
    fn check(&mut self, loaded: &Loaded) -> Result<(), Rejection> {
        if self.expected[0].is_empty() && !self.copies.is_empty() {
            // Compiled again, so that a worker that takes over needs nothing of the one before.
            let reference = build(&self.traced, &self.reference, self.facts(&self.reference))?.loaded;
            for (n, pattern) in PATTERNS.into_iter().enumerate() {
                let found = self.run_over(&reference, pattern)?;
                self.expected[n] = found.into_iter().map(|(d, b)| Expected::new(d, b)).collect();
            }
        }
        for (n, pattern) in PATTERNS.into_iter().enumerate() {
            let found = self.run_over(loaded, pattern)?;
            for (i, ((_, bytes), e)) in found.iter().zip(&self.expected[n]).enumerate() {
                if let Some(text) = e.differs(bytes, self.tolerance) {
                    return Err(Rejection::Wrong(format!("output {i}: {text}")));
                }
            }
        }
        Ok(())
    }

    /// Fills the last cache with something else.
    fn chill(&mut self) -> OurResult<()> {
        let bytes = 2 * (self.gpu.facts.cache as usize).max(1 << 20);
        let block = match self.flush.take() {
            Some(b) => b,
            None => cuda::Block::new(self.gpu, bytes)?,
        };
        let at = std::ptr::without_provenance_mut(block.address().0 as usize);
        self.flush = Some(block);
        // SAFETY: the block is ours and has so many bytes.
        unsafe { cuda::fill(self.gpu, at, 1, bytes) }
    }

    /// Seconds of one launch, the mean of so many.
    fn timed(&mut self, loaded: &Loaded, times: u32) -> Result<f64, Rejection> {
        let device = self.state.device();
        while self.events.len() < times as usize {
            let event = || Event::record(device).map_err(failed);
            self.events.push([event()?, event()?]);
        }
        for i in 0..times as usize {
            if self.copies.iter().any(|c| c.keep) {
                // Each launch gets what the first one got: what a kernel does may depend on it.
                self.restore().map_err(failed)?;
            }
            self.chill().map_err(failed)?;
            self.events[i][0].again().map_err(failed)?;
            self.run(loaded)?;
            self.events[i][1].again().map_err(failed)?;
        }
        let mut total = Duration::ZERO;
        for [from, to] in &self.events[..times as usize] {
            total += from.until(to).map_err(failed)?;
        }
        Ok(total.as_secs_f64() / f64::from(times))
    }

    fn measure(&mut self, c: &mut Candidate) -> Result<f64, Rejection> {
        if c.batch == 0 {
            self.run(&c.loaded)?;
            let once = self.timed(&c.loaded, 1)?;
            c.batch = ((SAMPLE.as_secs_f64() / once.max(1e-6)) as u32).clamp(1, MOST);
        }
        self.timed(&c.loaded, c.batch)
    }

    /// The bytes of each tensor after a run on these arguments; empty for scalars.
    fn run_on(&self, args: &Args, config: &Config) -> Result<Vec<Vec<u8>>, Rejection> {
        let (mut words, mut memory, mut aligned) = (Vec::new(), Vec::new(), 0);
        for (i, arg) in args.params.iter().enumerate() {
            match arg {
                Arg::Scalar(l) => {
                    words.push(l.bits);
                    memory.push(None);
                }
                Arg::Tensor(t) => {
                    let block = cuda::Block::new(self.gpu, t.data().len()).map_err(failed)?;
                    let at: *mut u8 = std::ptr::without_provenance_mut(block.address().0 as usize);
                    // SAFETY: the block has at least as many bytes and is ours.
                    unsafe { cuda::write(self.gpu, at, t.data()) }.map_err(failed)?;
                    let size = t.dtype().size();
                    let first = block.address().0 + t.offset() * size as u64;
                    let dims: Vec<usize> = t.dims().iter().map(|d| *d as usize).collect();
                    let strides: Vec<isize> = t.strides().iter().map(|s| *s as isize).collect();
                    if launch::is_aligned(first as usize, size, &dims, &strides) {
                        aligned |= 1u64.checked_shl(i as u32).unwrap_or(0);
                    }
                    words.push(first);
                    words.extend(t.dims());
                    words.extend(t.strides().iter().map(|s| *s as u64));
                    memory.push(Some((block, t.data().len())));
                }
            }
        }
        words.extend(&args.symbols);
        let size = |s: helion_ir::loops::SymbolId| args.symbols.get(s.index()).copied();
        let facts = compile::wanted(&self.traced, config).facts(size, aligned, true);
        let built = build(&self.traced, config, facts)?;
        // SAFETY: the words describe the blocks, laid out as the kernel's parameters promise (checked when the arguments
        // were made); nobody else uses them.
        unsafe { built.loaded.run(&words) }.map_err(failed)?;
        let mut found = Vec::new();
        for m in &memory {
            let mut bytes = Vec::new();
            if let Some((block, n)) = m {
                bytes.resize(*n, 0);
                // SAFETY: the block has so many bytes.
                let read = unsafe {
                    cuda::read(self.gpu, &mut bytes, std::ptr::without_provenance(block.address().0 as usize))
                };
                read.map_err(failed)?;
            }
            found.push(bytes);
        }
        Ok(found)
    }
}

impl Engine for OnGpu<'_> {
    fn enter(&mut self, _board: Arc<Board>, _own: bool) -> Result<(), String> {
        for c in &mut self.copies {
            let block = cuda::Block::new(self.gpu, c.lead() + c.bytes + MARGIN).map_err(|e| e.to_string())?;
            c.memory = Some(block);
            self.words[c.word] = c.start().addr() as u64 + c.offset as u64;
        }
        Ok(())
    }

    fn remote(&self) -> Option<std::io::Result<Remote>> {
        Some(remote::of(self.state, &self.traced, &self.reference))
    }

    fn at_once(&self) -> usize {
        1
    }

    fn refer(&mut self, config: &Config) {
        self.reference = config.clone();
    }

    fn legal(&self, config: &Config) -> Result<(), String> {
        compile::legal(&self.traced, config)
    }

    fn predict(&self, config: &Config) -> Option<f64> {
        if let Some(known) = self.predicted.borrow().get(config) {
            return *known;
        }
        let answer = compile::predict(&self.traced, config, self.state.place());
        self.predicted.borrow_mut().insert(config.clone(), answer);
        answer
    }

    fn bound(&self) -> Option<f64> {
        compile::bound(&self.traced, self.state.place())
    }

    fn fingerprint(&mut self, config: &Config) -> Result<u128, Rejection> {
        let built = self.take(config)?;
        let name = built.name;
        self.built = Some((config.clone(), built));
        Ok(name)
    }

    fn prepare(&mut self, id: Id, config: &Config) -> Result<(), Rejection> {
        let loaded = self.take(config)?.loaded;
        self.check(&loaded)?;
        self.candidates.insert(id, Candidate { config: config.clone(), loaded, batch: 0 });
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
        let (kernel, state, config) = (&self.traced.verified, self.state, &self.reference);
        let small = self.reduced.get_or_insert_with(|| Reduced::new(kernel, state, config));
        if let Err(why) = small {
            return Ok(Some(why.clone()));
        }
        let (Some(Ok(small)), Some(c)) = (&self.reduced, self.candidates.get(&id)) else {
            return Err(Rejection::Failed("it is not prepared".to_owned()));
        };
        let run = |args: &Args| self.run_on(args, &c.config);
        small.check_with(&self.traced.verified, &run, &c.config).map_err(Rejection::Wrong)
    }

    fn forget(&mut self, id: Id) {
        self.candidates.remove(&id);
    }
}

/// Compiles a config, loads it, and names its code.
fn build(traced: &Traced, config: &Config, facts: Facts) -> Result<Built, Rejection> {
    let loaded = compile::load(traced, config, facts).map_err(|e| match e.kind() {
        Kind::Setting(text) => Rejection::Illegal(text.clone()),
        Kind::Check(_)
        | Kind::Shape(_)
        | Kind::Access(_)
        | Kind::Memory(_)
        | Kind::File(_)
        | Kind::Device(_)
        | Kind::Driver { .. }
        | Kind::Lost { .. }
        | Kind::Kernel { .. }
        | Kind::Internal(_) => Rejection::Compile(e.to_string()),
    })?;
    let mut text = String::new();
    for k in loaded.kernels() {
        text.push_str(&format!("{} {} {}\n", k.threads(), k.shared_bytes(), k.text()));
    }
    Ok(Built { name: xxh3_128(text.as_bytes()), loaded })
}
