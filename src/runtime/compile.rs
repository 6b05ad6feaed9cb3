//! From a launch that was not seen before to a compiled kernel.
//!
//! In: what the launch captured, and the closure that traces its body. Out: a [`Traced`] kernel (verified
//! tile IR), then a [`Compiled`] one. Dumps asked for by settings are written on the way.

use super::cuda::Loaded;
use super::cuda::driver::Driver;
use super::device::Machine;
use super::launch::{Capture, State};
use super::records;
use crate::error::{Error, Result};
use crate::settings::{self, Dump, Isa, Stage};
use helion_codegen::backend::Backend;
use helion_codegen::cost;
use helion_codegen::cpu::{self, CompiledKernel, CpuOptions, vector};
use helion_codegen::pipeline::{self, Failure, Lowered, Made, Phase, Sequence};
use helion_codegen::ptx::{self, Facts, PtxKernel, PtxOptions};
use helion_codegen::schedule;
use helion_ir::config::{Config, ConfigSpace};
use helion_ir::loops;
use helion_ir::target::Target;
use helion_ir::tile::{self, Builder, Function, Param, ParamId, ParamKind, SymbolId, Verified};
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A kernel as the user wrote it, checked.
#[derive(Clone)]
pub(super) struct Traced {
    pub(super) verified: Verified,
    /// Printed tile IR.
    pub(super) text: String,
    /// What it is compiled for.
    pub(super) machine: Machine,
    /// Names the kernel, its specialisation, the device and this compiler.
    pub(super) id: records::Id,
    /// How long tracing and verifying took.
    pub(super) phases: Vec<Phase>,
}

/// Code, and what launches need to know of it.
pub(super) struct Compiled {
    pub(super) kernels: Sequence<CompiledKernel>,
    pub(super) phases: Vec<Phase>,
    /// What the config says about launches.
    pub(super) launch: cpu::Launch,
}

thread_local! {
    /// Whether this thread is tracing a kernel.
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is tracing a kernel.
pub(super) fn tracing() -> bool {
    TRACING.get()
}

/// Marks the thread as tracing, until dropped.
struct Tracing;
impl Drop for Tracing {
    fn drop(&mut self) {
        TRACING.set(false);
    }
}

/// Records the kernel's body and verifies what was recorded.
///
/// # Errors
/// Every mistake in the kernel.
pub(super) fn trace(state: &State, machine: Machine, body: impl FnOnce(&mut Builder)) -> Result<Traced> {
    let start = Instant::now();
    let mut b = Builder::new(state.kernel);
    declare(state, &mut b)?;
    TRACING.set(true);
    let tracing = Tracing;
    body(&mut b);
    drop(tracing);
    let wrong = |d| Error::kernel(state.kernel, d);
    let function = b.finish().map_err(wrong)?;
    check_declared(state, &function)?;
    let traced = start.elapsed();
    let verified = tile::verify(function).map_err(wrong)?;
    let text = tile_text(&verified);
    let checked = start.elapsed();
    dump(state.kernel, Stage::Tile, || text.clone());
    let start = Instant::now();
    // The first kernel of a process asks the machine.
    let target = machine.target();
    let asked = start.elapsed();
    let id = records::Id::new(state.kernel, &text, machine.device(), target);
    let identified = start.elapsed() - asked;
    let phase = |name, time| Phase { name, time };
    let phases = vec![
        phase("trace", traced),
        phase("verify", checked - traced),
        phase("target", asked),
        phase("identify", identified),
    ];
    Ok(Traced { verified, text, machine, id, phases })
}

/// Tile IR as text.
fn tile_text(v: &Verified) -> String {
    v.function().to_string()
}

/// Declares what was captured, under the ids that were handed out.
fn declare(state: &State, b: &mut Builder) -> Result<()> {
    let out_of_step = || Error::internal("captures and the builder number their parameters differently");
    for i in 0..state.sizes.len() {
        let name = state.symbol_name(i).unwrap_or_default();
        if b.symbol(&name) != SymbolId(i as u32) {
            return Err(out_of_step());
        }
    }
    for (i, c) in state.captures.iter().enumerate() {
        let (name, at) = (c.name.to_string(), State::at(c));
        let id = match &c.tensor {
            Some(t) => b.tensor(&name, c.dtype, t.dims(state.fixed).collect(), t.mutable, t.layout, at),
            None => b.scalar(&name, c.dtype, at),
        };
        if id != ParamId(i as u32) {
            return Err(out_of_step());
        }
    }
    Ok(())
}

/// Whether the recorded function still has the parameters that were declared. Compiled code trusts that
/// argument words mean what its parameters say, and a body gets the builder to itself.
fn check_declared(state: &State, f: &Function) -> Result<()> {
    let same = |c: &Capture, p: &Param| match (&c.tensor, &p.kind) {
        (Some(t), ParamKind::Tensor { dtype, dims, mutable, layout }) => {
            c.dtype == *dtype
                && dims.iter().copied().eq(t.dims(state.fixed))
                && (t.mutable, t.layout) == (*mutable, *layout)
        }
        (None, ParamKind::Scalar { dtype }) => c.dtype == *dtype,
        (Some(_), ParamKind::Scalar { .. }) | (None, ParamKind::Tensor { .. }) => false,
    };
    let counts = (f.params.len(), f.symbols.len()) == (state.captures.len(), state.sizes.len());
    if counts && state.captures.iter().zip(&f.params).all(|(c, p)| same(c, p)) {
        return Ok(());
    }
    Err(Error::internal(format!("the body of `{}` changed the parameters of its launch", state.kernel)))
}

/// This machine, as the scheduler sees it under the `isa` setting.
pub(super) fn target() -> &'static Target {
    static TARGETS: [OnceLock<Target>; 4] = [const { OnceLock::new() }; 4];
    let isa = settings::isa();
    TARGETS[isa as usize].get_or_init(|| {
        let mut t = cpu::host_target();
        let most = match isa {
            Isa::Best => return t,
            Isa::Avx512 => 64,
            Isa::Avx2 => 32,
            Isa::Portable => 16,
        };
        if std::mem::take(&mut t.speed.matrix_ops) > 0 {
            t.name = t.name.trim_end_matches(" amx").to_owned();
        }
        if t.vector_bytes > most {
            t.vector_bytes = most;
            t.vector_registers = t.vector_registers.min(if most == 64 { 32 } else { 16 });
            let _ = write!(t.name, " as {isa:?}");
        }
        t
    })
}

/// How to compile under the current settings.
pub(super) fn options() -> CpuOptions {
    let best = vector::Isa::best();
    let isa = match settings::isa() {
        Isa::Best => best,
        Isa::Avx512 => vector::Isa::Avx512,
        Isa::Avx2 => vector::Isa::Avx2,
        Isa::Portable => vector::Isa::Clif128,
    };
    // A machine without the wanted instructions takes the best it has.
    CpuOptions { isa: Some(if isa.available() { isa } else { best }), ..CpuOptions::default() }
}

/// The cost model's choice from a space for these sizes, the last one being the number of threads.
pub(super) fn model(traced: &Traced, space: &ConfigSpace, place: &[u64]) -> Config {
    let Some((threads, sizes)) = place.split_last() else { return space.default_config() };
    cost::choose(&traced.verified, space, sizes, traced.machine.target(), *threads as u32)
}

/// The cost model's seconds of a launch with this config.
pub(super) fn predict(traced: &Traced, config: &Config, place: &[u64]) -> Option<f64> {
    let (threads, sizes) = place.split_last()?;
    cost::predict_config(&traced.verified, config, sizes, traced.machine.target(), *threads as u32)
}

/// The least seconds a launch could take.
pub(super) fn bound(traced: &Traced, place: &[u64]) -> Option<f64> {
    let (threads, sizes) = place.split_last()?;
    let seconds = cost::bound(&traced.verified, sizes, traced.machine.target(), *threads as u32);
    Some(seconds).filter(|s| s.is_finite() && *s > 0.0)
}

/// Whether a config may be compiled at all. Cheap.
///
/// # Errors
/// Why not, in words.
pub(super) fn legal(traced: &Traced, config: &Config) -> Result<(), String> {
    let target = traced.machine.target();
    schedule::legal(&traced.verified, config, target)?;
    match traced.machine {
        Machine::Cpu(_) => cpu::legal(config, target),
        Machine::Gpu(_, arch) | Machine::Arch(arch, _) => PtxOptions::new(arch).legal(config, target),
    }
}

/// Whether a config may be compiled at all. Cheap.
pub(super) fn fits(traced: &Traced, config: &Config) -> bool {
    schedule::check_config(&traced.verified, config).is_ok()
}

/// Compiles with exactly this config. `made` sees every stage.
///
/// # Errors
/// When it does not fit, or the kernel has no schedule.
pub(super) fn compile_config(
    traced: &Traced,
    config: &Config,
    made: &mut dyn FnMut(Made<'_, CompiledKernel>),
) -> Result<Compiled> {
    let lowered = lower(traced, config, made)?;
    generate(traced, config, lowered, made)
}

/// The first half of compiling, after which it is known whether the code would be that of another config.
///
/// # Errors
/// As [`compile_config`].
pub(super) fn lower(
    traced: &Traced,
    config: &Config,
    made: &mut dyn FnMut(Made<'_, CompiledKernel>),
) -> Result<Lowered> {
    let name = &traced.verified.function().name;
    let mut observe = |m: Made<'_, CompiledKernel>| {
        dump_made(name, m);
        made(m);
    };
    let lowered = pipeline::lower(&traced.verified, config, target(), &options(), &mut observe);
    lowered.map_err(|f| failure(name, config, f))
}

/// The second half of compiling.
///
/// # Errors
/// When a step broke a rule of ours.
pub(super) fn generate(
    traced: &Traced,
    config: &Config,
    lowered: Lowered,
    made: &mut dyn FnMut(Made<'_, CompiledKernel>),
) -> Result<Compiled> {
    let name = &traced.verified.function().name;
    let mut observe = |m: Made<'_, CompiledKernel>| {
        dump_made(name, m);
        made(m);
    };
    let done = lowered.generate(&options(), &mut observe).map_err(|f| failure(name, config, f))?;
    Ok(Compiled { kernels: done.kernels, phases: done.phases, launch: cpu::Launch::of(config) })
}

fn failure(name: &str, config: &Config, failure: Failure) -> Error {
    match failure {
        Failure::Config(text) => Error::setting(format!("config `{config}` cannot be used here: {text}")),
        Failure::Kernel(d) => Error::kernel(name, vec![d]),
        Failure::Internal(text) => Error::internal(format!("kernel `{name}`, config `{config}`: {text}")),
    }
}

/// Compiles for a GPU with exactly this config, relying on these facts. `made` sees every stage.
///
/// # Errors
/// When it does not fit, the kernel has no schedule, or this build cannot compile for GPUs.
pub(super) fn compile_ptx(
    traced: &Traced,
    config: &Config,
    facts: Facts,
    made: &mut dyn FnMut(Made<'_, PtxKernel>),
) -> Result<pipeline::Compiled<PtxKernel>> {
    let name = &traced.verified.function().name;
    let (driver, arch) = match traced.machine {
        Machine::Gpu(gpu, arch) => (Some(gpu.driver()), arch),
        Machine::Arch(arch, _) => (None, arch),
        Machine::Cpu(_) => return Err(Error::internal(format!("kernel `{name}` was traced for the CPU"))),
    };
    let mut observe = |m: Made<'_, PtxKernel>| {
        dump_ptx(name, &m);
        made(m);
    };
    let backend = GpuBackend { options: PtxOptions { arch, facts }, driver, refused: RefCell::default() };
    let done = pipeline::compile(&traced.verified, config, traced.machine.target(), &backend, &mut observe);
    done.map_err(|f| match backend.refused.into_inner() {
        Some(e @ ptx::Error::NoCodeGenerator) => Error::device(e),
        Some(ptx::Error::TooLarge(text)) => failure(name, config, Failure::Config(text)),
        Some(ptx::Error::Malformed(_) | ptx::Error::Llvm(_)) | None => failure(name, config, f),
    })
}

/// The code generator for GPUs, unless the device's driver brings its own.
struct GpuBackend<'a> {
    options: PtxOptions,
    driver: Option<&'a dyn Driver>,
    /// Why there is no code.
    refused: RefCell<Option<ptx::Error>>,
}

impl Backend for GpuBackend<'_> {
    type Kernel = PtxKernel;

    fn legal(&self, config: &Config, target: &Target) -> Result<(), String> {
        self.options.legal(config, target)
    }
    fn add_knobs(&self, f: &loops::Function, space: &mut ConfigSpace, target: &Target) {
        self.options.add_knobs(f, space, target);
    }
    fn settle(&self, f: &mut loops::Function, target: &Target) {
        self.options.settle(f, target);
    }
    fn compile(&self, f: &loops::Function) -> Result<PtxKernel, String> {
        if let Some(made) = self.driver.and_then(|d| d.compile(f, &self.options)) {
            return made;
        }
        ptx::compile(f, &self.options).map_err(|e| {
            let text = e.to_string();
            *self.refused.borrow_mut() = Some(e);
            text
        })
    }
}

/// Compiles for the GPU that a kernel was traced for, and loads the code there.
///
/// # Errors
/// When it does not compile, or the device cannot take it.
pub(super) fn load(traced: &Traced, config: &Config, facts: Facts) -> Result<Loaded> {
    let Machine::Gpu(gpu, _) = traced.machine else {
        return Err(Error::internal("code for no GPU cannot be loaded"));
    };
    let done = compile_ptx(traced, config, facts, &mut |_| {})?;
    Loaded::new(gpu, done.kernels, done.phases)
}

/// The sizes that code for a GPU wants to know.
pub(super) fn wanted(traced: &Traced, config: &Config) -> ptx::Wanted {
    // Without a schedule there is no code either, and that is said when it is compiled.
    let scheduled = schedule::schedule(&traced.verified, config, traced.machine.target());
    scheduled.map(|f| ptx::Wanted::of(&f)).unwrap_or_default()
}

/// The configs worth trying.
pub(super) fn space(traced: &Traced) -> ConfigSpace {
    let target = traced.machine.target();
    let mut space = schedule::config_space(&traced.verified, target);
    if let Ok(f) = schedule::schedule(&traced.verified, &Config::new(), target) {
        match traced.machine {
            Machine::Cpu(_) => cpu::add_knobs(&f, &mut space, target),
            Machine::Gpu(_, arch) | Machine::Arch(arch, _) => {
                PtxOptions::new(arch).add_knobs(&f, &mut space, target);
            }
        }
    }
    pipeline::add_knobs(&traced.verified, &mut space);
    space
}

fn dump_made(kernel: &str, made: Made<'_, CompiledKernel>) {
    match made {
        Made::Stage(v) => dump(kernel, Stage::Tile, || tile_text(v)),
        Made::Scheduled(f) => dump(kernel, Stage::Graph, || schedule::graph::to_dot(f)),
        Made::Loops(f) => dump(kernel, Stage::Loops, || f.to_string()),
        Made::Code(k) => {
            dump(kernel, Stage::Clif, || k.clif());
            dump(kernel, Stage::Vector, || k.vector_programs());
            dump(kernel, Stage::Asm, || k.asm());
        }
    }
}

fn dump_ptx(kernel: &str, made: &Made<'_, PtxKernel>) {
    match made {
        Made::Stage(v) => dump(kernel, Stage::Tile, || tile_text(v)),
        Made::Scheduled(f) => dump(kernel, Stage::Graph, || schedule::graph::to_dot(f)),
        Made::Loops(f) => dump(kernel, Stage::Loops, || f.to_string()),
        Made::Code(k) => dump(kernel, Stage::Ptx, || k.text().to_owned()),
    }
}

/// Writes a stage where the settings say, if they ask for it. Dumps are for people: what goes wrong with
/// them is said on standard error and stops nothing.
pub(super) fn dump(kernel: &str, stage: Stage, text: impl FnOnce() -> String) {
    let wanted: Dump = settings::dump();
    if !wanted.has(stage) || !kernel.contains(&settings::dump_filter()) {
        return;
    }
    let text = text();
    match settings::dump_dir() {
        None => eprintln!("; {kernel}: {}\n{text}", stage.name()),
        Some(dir) => {
            if let Err(e) = dump_to(&dir, kernel, stage, &text) {
                eprintln!("warning: HELION_DUMP_DIR={}: {e}", dir.display());
            }
        }
    }
}

/// Each dump of a process gets a number, so that specialisations of a kernel do not replace each other.
fn dump_to(dir: &Path, kernel: &str, stage: Stage, text: &str) -> std::io::Result<()> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let n = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    std::fs::create_dir_all(dir)?;
    let safe: String = kernel.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' }).collect();
    std::fs::write(dir.join(format!("{n:04}-{safe}.{}", stage.name())), text)
}

/// The sum of all phases.
pub(super) fn total(phases: &[Phase]) -> Duration {
    phases.iter().map(|p| p.time).sum()
}
