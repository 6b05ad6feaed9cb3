//! From a verified kernel to machine code: every step, in order.
//!
//! In: a verified tile function, a config, the target, how to compile. Out: a compiled kernel (several in a row when
//! its reductions are split), and how long each step took. An observer sees what each step made, also when a later
//! one fails.

use crate::backend::Backend;
use crate::split::{self, Split, Workspace};
use crate::{passes, schedule};
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use helion_ir::diag::{self, Diagnostic};
use helion_ir::loops;
use helion_ir::target::Target;
use helion_ir::tile::{Dim, Verified};
use std::time::{Duration, Instant};

/// What a step made; `K` is the backend's kernel.
#[derive(Debug)]
pub enum Made<'a, K> {
    /// One stage of a kernel whose reductions are split; what follows is made of it.
    Stage(&'a Verified),
    /// Loop IR as the schedule made it.
    Scheduled(&'a loops::Function),
    /// Loop IR after all passes: what the backend gets.
    Loops(&'a loops::Function),
    /// Machine code.
    Code(&'a K),
}

impl<K> Clone for Made<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Made<'_, K> {}

/// A compiled kernel with its story.
#[derive(Debug)]
pub struct Compiled<K> {
    /// The code.
    pub kernels: Sequence<K>,
    /// How long each step took, in order.
    pub phases: Vec<Phase>,
}

/// The kernels of one launch, to be run one after another. Mostly one; several when reductions are split.
#[derive(Debug)]
pub struct Sequence<K> {
    /// Kernels that fill workspaces, in order.
    pub before: Vec<K>,
    /// The last kernel.
    pub last: K,
    /// What they hand on; see [`Sequence::words`].
    pub workspaces: Vec<Workspace>,
    /// How many of the launch's words are sizes.
    symbols: usize,
}

/// Alignment of a workspace.
const ALIGN: u64 = 64;

impl<K> Sequence<K> {
    /// All kernels in order.
    pub fn kernels(&self) -> impl Iterator<Item = &K> {
        self.before.iter().chain([&self.last])
    }

    /// Bytes of memory that the workspaces of a launch need, to be aligned to 64; `None` when there is no such
    /// number. `args` are the launch's words: parameters and sizes.
    pub fn workspace_bytes(&self, args: &[u64]) -> Option<u64> {
        self.workspaces.iter().try_fold(0u64, |sum, w| {
            let count = w.dims.iter().try_fold(1u64, |n, d| n.checked_mul(self.extent(args, *d)))?;
            let bytes = count.checked_mul(w.dtype.size() as u64)?.checked_next_multiple_of(ALIGN)?;
            sum.checked_add(bytes).filter(|sum| *sum <= isize::MAX as u64)
        })
    }

    /// The words that every kernel of the sequence takes: the launch's, with the workspaces, which begin at `base`,
    /// before the sizes. They have as many bytes there as [`Sequence::workspace_bytes`] says.
    pub fn words(&self, args: &[u64], base: u64, into: &mut Vec<u64>) {
        let (params, sizes) = args.split_at(args.len().saturating_sub(self.symbols));
        into.clear();
        into.extend_from_slice(params);
        let mut at = base;
        for w in &self.workspaces {
            into.push(at);
            let first = into.len();
            into.extend(w.dims.iter().map(|d| self.extent(args, *d)));
            let mut stride = 1u64;
            into.resize(first + 2 * w.dims.len(), 0);
            for axis in (0..w.dims.len()).rev() {
                into[first + w.dims.len() + axis] = stride;
                stride = stride.wrapping_mul(into[first + axis]);
            }
            at = at.wrapping_add(stride.wrapping_mul(w.dtype.size() as u64).next_multiple_of(ALIGN));
        }
        into.extend_from_slice(sizes);
    }

    fn extent(&self, args: &[u64], d: Dim) -> u64 {
        match d {
            Dim::Const(n) => n,
            Dim::Symbol(s) => args[args.len() - self.symbols + s.index()],
            Dim::Tile(_) | Dim::Expr(_) => unreachable!("workspaces have plain extents"),
        }
    }
}

/// One step of compiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub time: Duration,
}

/// Why there is no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The config does not fit the kernel: the user can choose another.
    Config(String),
    /// The kernel has no schedule: the user can do something.
    Kernel(Diagnostic),
    /// A step broke a rule of ours.
    Internal(String),
}

/// Compiles a kernel: [`lower`], then [`Lowered::generate`].
///
/// # Errors
/// See [`Failure`].
pub fn compile<B: Backend>(
    kernel: &Verified,
    config: &Config,
    target: &Target,
    backend: &B,
    made: &mut dyn FnMut(Made<'_, B::Kernel>),
) -> Result<Compiled<B::Kernel>, Failure> {
    lower(kernel, config, target, backend, made)?.generate(backend, made)
}

/// A kernel as far as it is the same for equal code: loop IR of each of its stages, after all passes.
#[derive(Debug)]
pub struct Lowered {
    stages: Vec<loops::Function>,
    workspaces: Vec<Workspace>,
    symbols: usize,
    clock: Clock,
}

/// Schedules a kernel and runs all passes. Functions that print alike have the same code.
///
/// # Errors
/// See [`Failure`].
pub fn lower<B: Backend>(
    kernel: &Verified,
    config: &Config,
    target: &Target,
    backend: &B,
    made: &mut dyn FnMut(Made<'_, B::Kernel>),
) -> Result<Lowered, Failure> {
    let mut clock = Clock::default();
    // What the user asked for must be possible before anything is planned.
    schedule::check_config(kernel, config).map_err(Failure::Config)?;
    backend.legal(config, target).map_err(Failure::Config)?;
    let symbols = kernel.function().symbols.len();
    let Some((split, config)) = stages(kernel, config, target)? else {
        let one = lower_stage(kernel, config, target, backend, made, &mut clock)?;
        return Ok(Lowered { stages: vec![one], workspaces: Vec::new(), symbols, clock });
    };
    clock.step("split");
    let mut stages = Vec::new();
    for (n, stage) in split.stages.iter().enumerate() {
        made(Made::Stage(stage));
        stages.push(lower_stage(stage, &split.config(n, &config), target, backend, made, &mut clock)?);
    }
    Ok(Lowered { stages, workspaces: split.workspaces, symbols, clock })
}

impl Lowered {
    /// The loop IR of each stage, in the order they run.
    pub fn stages(&self) -> &[loops::Function] {
        &self.stages
    }

    /// Makes machine code.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn generate<B: Backend>(
        mut self,
        backend: &B,
        made: &mut dyn FnMut(Made<'_, B::Kernel>),
    ) -> Result<Compiled<B::Kernel>, Failure> {
        self.clock.last = Instant::now();
        let mut all = Vec::new();
        for func in &self.stages {
            let kernel = backend.compile(func).map_err(|e| Failure::Internal(format!("code generation: {e}")))?;
            self.clock.step("code");
            made(Made::Code(&kernel));
            all.push(kernel);
        }
        let last = all.pop().ok_or_else(|| Failure::Internal("a split kernel has no stages".to_owned()))?;
        let kernels = Sequence { before: all, last, workspaces: self.workspaces, symbols: self.symbols };
        Ok(Compiled { kernels, phases: self.clock.phases })
    }
}

/// The stages of a kernel under a config that splits its reductions, and the config with every block size pinned, of
/// which each stage has a part ([`Split::config`]); `None` when they are not split.
///
/// # Errors
/// When there is nothing to split.
pub fn stages(kernel: &Verified, config: &Config, target: &Target) -> Result<Option<(Split, Config)>, Failure> {
    let Some(parts) = config.get(&Slot::kernel(Knob::Split)).filter(|parts| *parts > 1) else { return Ok(None) };
    let config = schedule::pinned(kernel, config, target);
    let block = |t: helion_ir::tile::TileId| {
        let name = &kernel.function().tiles[t.index()].name;
        config.get(&Slot::of(Knob::Block, name)).unwrap_or(1)
    };
    let split = split::split(kernel, parts, &block).map_err(Failure::Internal)?;
    let nothing = || {
        let name = &kernel.function().name;
        Failure::Config(format!("`split={parts}`: kernel `{name}` has no reduction that can be split"))
    };
    split.map(|s| (s, config)).ok_or_else(nothing).map(Some)
}

/// Adds the knob for splitting, where a kernel has something to split.
pub fn add_knobs(kernel: &Verified, space: &mut ConfigSpace) {
    if split::applies(kernel) {
        space.add(Slot::kernel(Knob::Split), vec![1, 2, 4, 8, 16]);
    }
}

/// Lowers one kernel of a sequence.
fn lower_stage<B: Backend>(
    kernel: &Verified,
    config: &Config,
    target: &Target,
    backend: &B,
    made: &mut dyn FnMut(Made<'_, B::Kernel>),
    clock: &mut Clock,
) -> Result<loops::Function, Failure> {
    let mut func = schedule::schedule(kernel, config, target).map_err(Failure::Kernel)?;
    clock.step("schedule");
    made(Made::Scheduled(&func));
    check(&func, "the schedule")?;
    clock.step("verify");
    // Backends take only what is left after the passes: no wide mathematics, constants folded.
    passes::run(&mut func, target);
    backend.settle(&mut func, target);
    clock.step("passes");
    made(Made::Loops(&func));
    check(&func, "the passes")?;
    clock.step("verify again");
    Ok(func)
}

/// Loop IR that breaks a rule is our mistake, named after who made it.
fn check(func: &loops::Function, who: &str) -> Result<(), Failure> {
    loops::verify(func).map_err(|d| Failure::Internal(format!("{who} made malformed loop IR\n{}", diag::render(&d))))
}

/// Times steps.
#[derive(Debug)]
struct Clock {
    last: Instant,
    phases: Vec<Phase>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { last: Instant::now(), phases: Vec::new() }
    }
}

impl Clock {
    /// Ends a step.
    fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        self.phases.push(Phase { name, time: now - self.last });
        self.last = now;
    }
}
