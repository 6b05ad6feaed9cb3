//! One launch: what it captured, found again by key, compiled at most once, and run.
//!
//! In: the calls that a `#[kernel]` function makes for every variable its tile loop uses. Out: argument
//! words for compiled code, and a key that says which compiled code fits. A call whose key was seen
//! before allocates nothing here: words, key and tables live in memory that the thread keeps.
//!
//! Ids are handed out while capturing, before anything is traced: parameters are numbered in the order
//! of capture, size symbols in the order in which new values appear. [`Launch::run`] declares exactly
//! these in the builder before it traces. **Sizes with equal values share a symbol, a size of 1 is the
//! constant 1, and a size equal to a const parameter of the kernel is that constant**; all of this is in
//! the key.

use super::cache::Code;
use super::choose::{Choice, Pick, Source};
use super::compile::{self, Traced};
use super::device::{Device, Machine};
use super::explain::Report;
use super::extent::{is_contiguous, overlaps, reach};
use super::mode::{self, Action, Mode, TunedAt};
use super::tensor::RawView;
use super::{auto, cache, cuda, entry, exec};
use crate::error::{Error, Result};
use crate::settings::{self, Stage};
use helion_codegen::pipeline::Phase;
use helion_codegen::ptx::{self, Facts};
use helion_ir::Loc;
use helion_ir::config::Config;
use helion_ir::dtype::DType;
use helion_ir::tile::{Builder, Dim, Layout, ParamId, SymbolId};
use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Instant;

/// A launch being prepared. Everything bound to it stays borrowed for `'t`, so until it has run.
///
/// ```compile_fail
/// # use helion::{Tensor, runtime::Launching};
/// let mut launch = Launching::begin("k");
/// {
///     let x = Tensor::<f32, 1>::zeros([4]);
///     let _: (_, [_; 1]) = launch.bind("x", x.raw()); // error: `x` does not live long enough
/// }
/// launch.run(0, |_| ()).unwrap();
/// ```
pub struct Launching<'t> {
    /// Present until dropped; boxed so that moving it is cheap.
    state: Option<Box<State>>,
    /// Neither longer nor shorter than the borrows of what is bound.
    bound: PhantomData<fn(&'t mut ()) -> &'t mut ()>,
}

/// A launch whose tensors are kept borrowed by other means; see [`Launching::tensor`].
pub type Launch = Launching<'static>;

/// What a launch collects.
#[derive(Default)]
pub(super) struct State {
    pub(super) kernel: &'static str,
    /// The key: identity and machine (two words, filled in by `run`), then what the captures say. `run`
    /// appends what chooses among the kernel's variants; see [`State::place`].
    pub(super) key: Vec<u64>,
    /// How many words of it are the key itself.
    pub(super) key_len: usize,
    /// Arguments of compiled code: parameters in order; `run` appends the sizes.
    pub(super) words: Vec<u64>,
    pub(super) captures: Vec<Capture>,
    /// Values of the size symbols.
    pub(super) sizes: Vec<u64>,
    /// The name of each symbol: what it was first seen as.
    pub(super) size_names: Vec<(Name, Option<u32>)>,
    /// Byte ranges of tensors.
    spans: Vec<Span>,
    /// The first mistake; reported by `run`.
    error: Option<Error>,
    /// Where its tensors are; `None` when there are none yet.
    pub(super) device: Option<Device>,
    /// Bit `i` is set when parameter `i` is a tensor that can be moved 16 bytes at a time.
    pub(super) aligned: u64,
    /// Whether the offsets into every tensor fit in 31 bits.
    pub(super) narrow: bool,
    /// Which element of an array is being captured.
    element: Option<u32>,
    /// Values whose sizes are constants; 1 where unused.
    pub(super) fixed: Fixed,
}

/// Sizes that are constants because a const parameter of the kernel has that value.
pub(super) type Fixed = [u64; MAX_FIXED];
/// The most const parameters that fix sizes.
const MAX_FIXED: usize = 4;

/// The name of a capture: a variable, or an element of an array of them.
#[derive(Clone, Copy)]
pub(super) struct Name {
    base: &'static str,
    element: Option<u32>,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.base)?;
        self.element.map_or(Ok(()), |i| write!(f, "[{i}]"))
    }
}

/// One captured parameter.
pub(super) struct Capture {
    pub(super) name: Name,
    pub(super) at: &'static Location<'static>,
    pub(super) dtype: DType,
    /// Where its words start.
    pub(super) word: usize,
    /// `None` for scalars.
    pub(super) tensor: Option<TensorFacts>,
}

/// What is known of a captured tensor.
#[derive(Clone, Copy)]
pub(super) struct TensorFacts {
    pub(super) rank: usize,
    /// A byte for each axis, as in the key; see [`dim_of`].
    sizes: u64,
    pub(super) mutable: bool,
    pub(super) layout: Layout,
}

impl Name {
    /// Of a launch that another process describes.
    pub(super) fn leaked(name: String) -> Name {
        Name { base: String::leak(name), element: None }
    }
}

impl TensorFacts {
    /// Of a launch that another process describes, which is not traced.
    pub(super) fn described(rank: usize, mutable: bool, layout: Layout) -> TensorFacts {
        TensorFacts { rank, sizes: 0, mutable, layout }
    }
    /// The symbol or constant of each axis.
    pub(super) fn dims(&self, fixed: Fixed) -> impl Iterator<Item = Dim> {
        let sizes = self.sizes;
        (0..self.rank).map(move |axis| dim_of(sizes >> (8 * axis) & 0xff, &fixed))
    }
}

/// The memory a captured tensor reaches: `[low, high)`.
struct Span {
    low: usize,
    high: usize,
    mutable: bool,
    capture: usize,
}

/// The most axes a tensor can have.
pub const MAX_RANK: usize = 8;
/// The most different sizes one launch can use; a size pattern takes a byte per axis.
const MAX_SIZES: usize = 254 - MAX_FIXED;
/// Words of the key that `run` fills in.
pub(super) const KEY_HEAD: usize = 2;

/// First words of the entries of a key; each entry's length follows from its first word.
mod tag {
    pub const TENSOR: u64 = 1;
    pub const SCALAR: u64 = 2;
    pub const SIZE: u64 = 3;
    pub const WORD: u64 = 4;
}

thread_local! {
    /// Collected memory of the last launch of this thread.
    static KEPT: Cell<Option<Box<State>>> = const { Cell::new(None) };
}

impl<'t> Launching<'t> {
    /// Starts a launch of the named kernel.
    pub fn begin(kernel: &'static str) -> Launching<'t> {
        let mut state = KEPT.try_with(Cell::take).ok().flatten().unwrap_or_default();
        state.clear();
        state.kernel = kernel;
        state.key.resize(KEY_HEAD, 0);
        Launching { state: Some(state), bound: PhantomData }
    }

    #[inline]
    fn state(&mut self) -> &mut State {
        self.state.get_or_insert_default()
    }

    /// Captures a tensor: its parameter and the symbol (or constant 1) of each axis. A mistake is reported
    /// by `run`. The view's borrow lasts as long as the launch, so nothing else can use what it writes.
    #[track_caller]
    pub fn bind<const R: usize>(&mut self, name: &'static str, view: Result<RawView<'t>>) -> (ParamId, [Dim; R]) {
        // SAFETY: views are only made by tensors, and this one's borrow outlives `self`.
        unsafe { self.tensor(name, view) }
    }

    /// As [`bind`](Self::bind), for a view whose borrow ends earlier.
    ///
    /// # Safety
    /// What the view reaches must stay readable (writable, and used by nobody else, if mutable) until
    /// the launch is run or dropped: hold the borrow of the tensor until then.
    #[track_caller]
    pub unsafe fn tensor<const R: usize>(
        &mut self,
        name: &'static str,
        view: Result<RawView<'_>>,
    ) -> (ParamId, [Dim; R]) {
        let at = Location::caller();
        let state = self.state();
        let id = ParamId(state.captures.len() as u32);
        let name = Name { base: name, element: state.element };
        let view = view.and_then(|v| if v.dims.len() == R { Ok(v) } else { Err(rank_error(name, R, v.dims.len())) });
        match view {
            Ok(view) => (id, state.capture_tensor(name, at, view)),
            Err(e) => {
                state.fail(e);
                // Keeps the numbering in step; the launch will not run.
                state.captures.push(Capture { name, at, dtype: DType::F32, word: 0, tensor: None });
                (id, [Dim::Const(1); R])
            }
        }
    }

    /// Captures a number, by the stored bits of its type.
    #[track_caller]
    pub fn scalar(&mut self, name: &'static str, dtype: DType, bits: u64) -> ParamId {
        let at = Location::caller();
        let state = self.state();
        let id = ParamId(state.captures.len() as u32);
        let name = Name { base: name, element: state.element };
        state.captures.push(Capture { name, at, dtype, word: state.words.len(), tensor: None });
        state.words.push(bits);
        state.key.push(tag::SCALAR | (dtype as u64) << 8);
        id
    }

    /// Captures a size: a symbol that every equal size shares, or the constant 1.
    pub fn size(&mut self, name: &'static str, value: u64) -> Dim {
        let state = self.state();
        let name = Name { base: name, element: state.element };
        let dim = state.dim(name, None, value);
        state.key.push(tag::SIZE | pattern(dim, &state.fixed) << 8);
        dim
    }

    /// Makes every size with this value the constant, for the captures that follow; for const parameters
    /// of the kernel. Only the first few count.
    pub fn fix(&mut self, value: u64) {
        let state = self.state();
        if value > 1
            && !state.fixed.contains(&value)
            && let Some(free) = state.fixed.iter_mut().find(|f| **f == 1)
        {
            *free = value;
            state.key.extend([tag::WORD, value]);
        }
    }

    /// Makes a host value that shapes the trace (a `bool`, the variant of an `Option`, a length, a
    /// function's address) part of the key.
    pub fn key(&mut self, word: u64) {
        self.state().key.extend([tag::WORD, word]);
    }

    /// Captures that follow are elements of an array: `Some(i)` names them `name[i]`, `None` ends it.
    pub fn element(&mut self, index: Option<u32>) {
        self.state().element = index;
    }

    /// Makes `run` return this error, unless there is an earlier one.
    pub fn fail(&mut self, error: Error) {
        self.state().fail(error);
    }

    /// Finds the compiled kernel of this launch, or traces and compiles it, and runs it. `body` tells
    /// bodies apart: the address of the traced function. `trace` records the body; it is called on the
    /// first launch with this key only.
    ///
    /// # Errors
    /// Mistakes made while capturing, tensors that cannot be written, mistakes in the kernel, or a config
    /// that does not fit.
    pub fn run(mut self, body: usize, trace: impl FnOnce(&mut Builder)) -> Result<()> {
        let mode = mode::current();
        let state = self.state();
        let (threads, machine) = state.machine(&mode)?;
        state.check()?;
        if compile::tracing() {
            let text = format!("kernel `{}` is launched while another kernel is recorded", state.kernel);
            return Err(Error::check(format!("{text}\n  help: launch it before the tile loop")));
        }
        state.key[..KEY_HEAD].copy_from_slice(&[body as u64, machine]);
        state.key_len = state.key.len();
        state.key.extend([mode.config, state.aligned]);
        state.key.extend_from_slice(&state.sizes);
        state.key.push(threads as u64);
        state.words.extend_from_slice(&state.sizes);
        if mode.action != Action::Run {
            return special(state, mode, threads, trace);
        }
        let code = cache::find(&state.key, state.key_len, |entry| {
            let traced = entry.traced(|| compile::trace(state, Machine::of(state.device())?, trace))?;
            let pinned = mode::config(mode.config);
            if pinned.is_none() {
                auto::tune(state, entry, &traced, threads);
            }
            let code = entry.code(&traced, pinned.as_deref(), state)?;
            dump_elsewhere(state, &traced, pinned.as_deref());
            Ok(code)
        })?;
        execute(state, &code, threads)
    }

    /// The first mistake made while capturing, if any.
    ///
    /// # Errors
    /// That mistake.
    pub fn check(&mut self) -> Result<()> {
        self.state().check()
    }

    /// The name of a symbol handed out by this launch.
    pub fn size_name(&self, symbol: SymbolId) -> String {
        self.state.as_ref().and_then(|s| s.symbol_name(symbol.index())).unwrap_or_default()
    }
}

impl Drop for Launching<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            // At thread exit the place may be gone; then the memory goes, too.
            let _ = KEPT.try_with(|k| k.set(Some(state)));
        }
    }
}

impl State {
    fn clear(&mut self) {
        self.key.clear();
        self.words.clear();
        self.captures.clear();
        self.sizes.clear();
        self.size_names.clear();
        self.spans.clear();
        self.error = None;
        (self.device, self.aligned, self.narrow) = (None, 0, true);
        self.element = None;
        self.fixed = [1; MAX_FIXED];
    }

    /// Where the launch is among those of its kernel: its sizes, then its threads.
    pub(super) fn place(&self) -> &[u64] {
        &self.key[self.key_len + 2..]
    }

    /// Makes this the place of a launch that another process describes.
    pub(super) fn set_place(&mut self, place: &[u64]) {
        self.key = vec![0; 2];
        self.key.extend_from_slice(place);
        self.key_len = 0;
    }

    /// Where it runs: where its tensors are.
    pub(super) fn device(&self) -> Device {
        self.device.unwrap_or_default()
    }

    /// How many threads it may use (multiprocessors of a GPU), and a word that tells machines apart.
    #[inline]
    fn machine(&self, mode: &Mode) -> Result<(usize, u64)> {
        match self.device() {
            Device::Cpu => {
                let (threads, isa) = mode::known_settings();
                Ok((if mode.threads == 0 { threads } else { mode.threads }, isa as u64))
            }
            Device::Cuda(n) => Ok((cuda::gpu(n)?.target.cores as usize, 1 << 32 | n as u64)),
        }
    }

    /// What tells this kernel's body from others.
    pub(super) fn body(&self) -> u64 {
        self.key[0]
    }

    /// The sizes of the launch, by name.
    pub(super) fn named_sizes(&self) -> Vec<(String, u64)> {
        self.sizes.iter().enumerate().map(|(i, v)| (self.symbol_name(i).unwrap_or_default(), *v)).collect()
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    /// What code for a GPU may rely on, of what it wants to know.
    pub(super) fn facts(&self, wanted: &helion_codegen::ptx::Wanted) -> Facts {
        wanted.facts(|s| self.sizes.get(s.index()).copied(), self.aligned, self.narrow)
    }

    #[inline]
    fn capture_tensor<const R: usize>(
        &mut self,
        name: Name,
        at: &'static Location<'static>,
        v: RawView<'_>,
    ) -> [Dim; R] {
        if R > MAX_RANK {
            self.fail(Error::shape(format!("`{name}` has {R} axes; kernels take tensors of at most {MAX_RANK}")));
            return [Dim::Const(1); R];
        }
        self.place_tensor(name, v.device);
        let layout = layout(v.dims, v.strides);
        let mut sizes = 0u64;
        for (axis, &d) in v.dims.iter().enumerate() {
            sizes |= pattern(self.dim(name, Some(axis as u32), d as u64), &self.fixed) << (8 * axis);
        }
        let narrow = self.span(name, &v, layout);
        self.narrow &= narrow;
        if v.device != Device::Cpu && is_aligned(v.ptr.addr(), v.dtype.size(), v.dims, v.strides) {
            self.aligned |= 1u64.checked_shl(self.captures.len() as u32).unwrap_or(0);
        }
        let facts = u64::from(v.mutable) | u64::from(narrow) << 1 | (layout as u64) << 2 | (R as u64) << 4;
        self.key.extend([tag::TENSOR | (v.dtype as u64) << 8 | facts << 16, sizes]);
        let tensor = Some(TensorFacts { rank: R, sizes, mutable: v.mutable, layout });
        self.captures.push(Capture { name, at, dtype: v.dtype, word: self.words.len(), tensor });
        self.words.push(v.ptr as u64);
        self.words.extend(v.dims.iter().map(|&d| d as u64));
        self.words.extend(v.strides.iter().map(|&s| s as u64));
        std::array::from_fn(|axis| dim_of(sizes >> (8 * axis) & 0xff, &self.fixed))
    }

    /// All tensors of a launch are on one device.
    #[inline]
    fn place_tensor(&mut self, name: Name, device: Device) {
        let first = *self.device.get_or_insert(device);
        if first != device {
            let other = self.captures.iter().find(|c| c.tensor.is_some()).map(|c| c.name.to_string());
            let other = other.unwrap_or_default();
            self.fail(Error::device(format!(
                "kernel `{}`: `{other}` is on {first} and `{name}` on {device}\n  help: `.to(device)?` moves a tensor",
                self.kernel
            )));
        }
    }

    /// The symbol of a size: the first one with this value.
    #[inline]
    fn dim(&mut self, name: Name, axis: Option<u32>, value: u64) -> Dim {
        if value == 1 || self.fixed.contains(&value) {
            return Dim::Const(value);
        }
        if let Some(i) = self.sizes.iter().position(|&v| v == value) {
            return Dim::Symbol(SymbolId(i as u32));
        }
        if value > i64::MAX as u64 {
            self.fail(Error::shape(format!("`{name}`: a size of {value} is too large")));
        }
        if self.sizes.len() >= MAX_SIZES {
            self.fail(Error::shape(format!("one launch cannot use more than {MAX_SIZES} different sizes")));
            return Dim::Const(1);
        }
        self.sizes.push(value);
        self.size_names.push((name, axis));
        Dim::Symbol(SymbolId(self.sizes.len() as u32 - 1))
    }

    /// Notes the memory a tensor reaches. Returns whether all its byte offsets fit 31 bits.
    #[inline]
    fn span(&mut self, name: Name, v: &RawView<'_>, layout: Layout) -> bool {
        let Some((lo, hi)) = reach(v.dims, v.strides) else { return true };
        let size = v.dtype.size() as isize;
        let (lo, hi) = (lo.saturating_mul(size), hi.saturating_mul(size));
        let address = |o: isize| (v.ptr as usize).wrapping_add_signed(o);
        let (low, high) = (address(lo), address(hi).saturating_add(size as usize));
        if v.mutable && layout != Layout::Contiguous && overlaps(v.dims, v.strides) {
            let text = "several of its elements are the same memory";
            self.fail(Error::access(format!("`{name}` cannot be written: {text}\n  help: write to `.copy()` of it")));
        }
        self.spans.push(Span { low, high, mutable: v.mutable, capture: self.captures.len() });
        lo > -(1 << 31) && hi < 1 << 31
    }

    /// Whether no written tensor shares memory with another one of this launch.
    fn check_aliasing(&self) -> Result<()> {
        for (i, a) in self.spans.iter().enumerate() {
            for b in &self.spans[i + 1..] {
                if (a.mutable || b.mutable) && a.low < b.high && b.low < a.high {
                    let (a, b) = if a.mutable { (a, b) } else { (b, a) };
                    let (x, y) = (self.captures[a.capture].name, self.captures[b.capture].name);
                    return Err(Error::access(format!(
                        "kernel `{}` writes `{x}`, whose memory `{y}` shares\n  help: pass `{y}.copy()`, or a different output",
                        self.kernel
                    )));
                }
            }
        }
        Ok(())
    }

    /// The first mistake made while capturing, or found now.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.error.take() {
            Some(e) => Err(e),
            None => self.check_aliasing(),
        }
    }

    /// What a symbol is called: `n` when captured as a size, `x.1` when first seen as an axis.
    pub(super) fn symbol_name(&self, i: usize) -> Option<String> {
        let (name, axis) = self.size_names.get(i)?;
        Some(axis.map_or_else(|| name.to_string(), |a| format!("{name}.{a}")))
    }

    /// Position of a capture in the user's source.
    pub(super) fn at(capture: &Capture) -> Loc {
        capture.at.into()
    }
}

/// Runs compiled code on what was captured.
#[inline]
fn execute(state: &State, code: &Code, threads: usize) -> Result<()> {
    match code {
        // SAFETY: the words were made from captured tensors, live by the promise made to `tensor`; written
        // ones overlap nothing, as `check` found; extents agree with the kernel's symbols, whose pattern is
        // in the key that found it.
        Code::Cpu(c) => unsafe { exec::run(&c.kernels, &state.words, threads, c.launch) },
        // SAFETY: as above; memory of tensors that are dropped before the kernel runs is used again only by work
        // that is queued after it. What the code relies on is in the words that found it.
        Code::Gpu(c) => unsafe { c.run(&state.words) },
    }
}

/// A launch that does more, or less, than run.
#[cold]
fn special(state: &State, mode: Mode, threads: usize, trace: impl FnOnce(&mut Builder)) -> Result<()> {
    let entry = cache::entry(&state.key[..state.key_len]);
    let traced = entry.traced(|| compile::trace(state, Machine::of(state.device())?, trace))?;
    let pinned = mode::config(mode.config);
    let pinned = pinned.as_deref();
    match mode.action {
        Action::Check => {
            mode::found(|f| f.traced.push(traced.verified.clone()));
            return Ok(());
        }
        Action::Choose => {
            let choice = choice(state, &entry.pick(&traced, pinned, state.place()), threads);
            mode::found(|f| f.choices.push(choice));
            return Ok(());
        }
        Action::Run | Action::Keep => {}
        Action::Explain => {
            let start = Instant::now();
            entry.pick(&traced, pinned, state.place());
            let choosing = Phase { name: "choose", time: start.elapsed() };
            // Compiled as a launch would, so that what is shown is what runs.
            let code = entry.code(&traced, pinned, state)?;
            let choice = choice(state, &entry.pick(&traced, pinned, state.place()), threads);
            let default = entry.answer(&traced, state.place()).config.clone();
            let report = match &code {
                Code::Cpu(_) => super::explain::report(state, &traced, choice, default, choosing)?,
                Code::Gpu(l) => super::explain::report_gpu(state, &traced, choice, default, choosing, Some(l))?,
            };
            mode::found(|f| f.reports.push(report));
            if let (Code::Cpu(_), Some(arch)) = (&code, settings::gpu_arch()) {
                let report = explain_as(state, &traced, Machine::arch(arch), pinned)?;
                mode::found(|f| f.reports.push(report));
            }
        }
        Action::Tune => {
            let (id, place) = (traced.id.clone(), state.place().into());
            let at = TunedAt { id, place, config: mode.config, body: state.body() };
            let before = mode::found(|f| f.tunings.iter().find(|t| t.0 == at).map(|t| t.1.clone()));
            let tuning = match before {
                Some(tuning) => tuning,
                None => {
                    let tuner = mode::found(|f| f.tuner.clone());
                    let tuning = auto::asked(state, &traced, &tuner, pinned, threads)?;
                    eprintln!("{tuning}");
                    tuning
                }
            };
            mode::found(|f| f.tunings.push((at, tuning)));
        }
        Action::Compare => {
            let (tuner, configs) = mode::found(|f| (f.tuner.clone(), f.wanted.get(&state.body()).cloned()));
            if let Some(configs) = configs {
                let row = super::tune::compare(state, &traced, &tuner, &configs, threads)?;
                mode::found(|f| f.rows.push(row));
            }
        }
    }
    execute(state, &entry.code(&traced, pinned, state)?, threads)?;
    if mode.action == Action::Keep {
        // SAFETY: the launch's tensors are live, and its written ones are ours alone until it ends.
        let written = unsafe { super::outputs::written(state) }?;
        mode::found(|f| f.written = written);
    }
    Ok(())
}

/// Dumps what a launch on the CPU would be for a GPU, if the settings name an architecture and ask for its stages.
fn dump_elsewhere(state: &State, traced: &Traced, pinned: Option<&Config>) {
    let wanted = settings::dump();
    let Some(arch) = settings::gpu_arch().filter(|_| wanted.has(Stage::Ptx) || wanted.has(Stage::Llvm)) else { return };
    if state.device() == Device::Cpu
        && let Err(e) = explain_as(state, traced, Machine::arch(arch), pinned)
    {
        eprintln!("warning: kernel `{}` for {arch}: {e}", state.kernel);
    }
}

/// What a launch on the CPU would be on a machine where nothing runs.
fn explain_as(state: &State, traced: &Traced, machine: Machine, pinned: Option<&Config>) -> Result<Report> {
    let start = Instant::now();
    let traced = Traced { machine, ..traced.clone() };
    let threads = machine.target().cores as usize;
    let mut place = entry::rounded(state.place());
    place.pop();
    place.push(threads as u64);
    let default = compile::model(&traced, &compile::space(&traced), &place);
    let (config, source) = pinned.map_or((default.clone(), Source::Model), |config| (config.clone(), Source::Explicit));
    let extrapolated = if source == Source::Explicit { 0.0 } else { f64::INFINITY };
    let (kernel, sizes) = (state.kernel.to_owned(), state.named_sizes());
    let choice = Choice { kernel, sizes, threads, config, source, extrapolated };
    let choosing = Phase { name: "choose", time: start.elapsed() };
    super::explain::report_gpu(state, &traced, choice, default, choosing, None)
}

/// What was picked for a launch, for people.
fn choice(state: &State, pick: &Pick, threads: usize) -> Choice {
    Choice {
        kernel: state.kernel.to_owned(),
        sizes: state.named_sizes(),
        threads,
        config: pick.variant.config.clone(),
        source: pick.source,
        extrapolated: pick.extrapolated,
    }
}

/// A size in a key: 0 for the constant 1, one more than the symbol, or counted from 255 down for the
/// fixed constants.
#[inline]
fn pattern(dim: Dim, fixed: &Fixed) -> u64 {
    match dim {
        Dim::Symbol(s) => u64::from(s.0) + 1,
        Dim::Const(1) | Dim::Tile(_) | Dim::Expr(_) => 0,
        Dim::Const(value) => fixed.iter().position(|f| *f == value).map_or(0, |i| 255 - i as u64),
    }
}

/// The size of a byte in a key.
#[inline]
fn dim_of(pattern: u64, fixed: &Fixed) -> Dim {
    match (pattern, fixed.get(255 - pattern as usize)) {
        (0, _) => Dim::Const(1),
        (_, Some(value)) => Dim::Const(*value),
        (_, None) => Dim::Symbol(SymbolId(pattern as u32 - 1)),
    }
}

/// What compiled code may rely on. Strides of axes of size 1 do not matter.
#[inline]
fn layout(dims: &[usize], strides: &[isize]) -> Layout {
    if is_contiguous(dims, strides) {
        return Layout::Contiguous;
    }
    match (dims.last(), strides.last()) {
        (Some(1), _) | (_, Some(1)) => Layout::LastUnit,
        _ => Layout::Strided,
    }
}

/// Whether a tensor is [`ptx::is_aligned`].
#[inline]
pub(super) fn is_aligned(address: usize, size: usize, dims: &[usize], strides: &[isize]) -> bool {
    let axes = dims.iter().zip(strides).map(|(n, s)| (*n as u64, *s as i64));
    ptx::is_aligned(address as u64, size as u64, axes)
}

fn rank_error(name: Name, expected: usize, found: usize) -> Error {
    Error::internal(format!("`{name}` was captured with {expected} axes and has {found}"))
}
