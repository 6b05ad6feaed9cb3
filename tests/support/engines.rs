//! Every way to execute a tile program, behind one function.
//!
//! The tile interpreter is the definition; the loop interpreter runs what the scheduler made; compiled code
//! runs in memory between guard pages, with scratch memory full of garbage, its program instances in two
//! pieces and not in order.

use helion_codegen::cpu::vector::Isa;
use helion_codegen::cpu::{self, CpuOptions};
use helion_codegen::{passes, pipeline, schedule};
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::config::{Config, Slot};
use helion_ir::target::Target;
use helion_ir::tile::{self, Dim, TileId, Verified};
use helion_ir::{config::Knob, loops};

use super::guard::Guarded;

/// One way to execute a program.
#[derive(Clone, Debug)]
pub enum Engine {
    /// The tile interpreter.
    Tile,
    /// Schedule, then the loop interpreter.
    Loops,
    /// Schedule, passes, then the loop interpreter.
    Passes,
    /// Machine code by the given options.
    Compiled(String, CpuOptions),
    /// PTX for an architecture, in its interpreter.
    #[cfg(feature = "llvm")]
    Ptx(String, helion_codegen::ptx::Arch),
}

impl Engine {
    /// Its name in tables.
    pub fn name(&self) -> &str {
        match self {
            Engine::Tile => "tile interpreter",
            Engine::Loops => "loop interpreter",
            Engine::Passes => "loop interpreter after passes",
            Engine::Compiled(name, _) => name,
            #[cfg(feature = "llvm")]
            Engine::Ptx(name, _) => name,
        }
    }
    /// Whether a program takes much longer on it than on the others.
    #[allow(dead_code, reason = "only one of the programs that share this asks")]
    pub fn is_slow(&self) -> bool {
        match self {
            Engine::Tile | Engine::Loops | Engine::Passes | Engine::Compiled(..) => false,
            #[cfg(feature = "llvm")]
            Engine::Ptx(..) => true,
        }
    }
    /// Every engine this machine can run.
    pub fn all() -> Vec<Engine> {
        let mut all = vec![Engine::Tile, Engine::Loops, Engine::Passes];
        all.extend(lowerings().into_iter().map(|(name, options)| Engine::Compiled(name, options)));
        #[cfg(feature = "llvm")]
        all.extend({
            use helion_codegen::ptx::Arch;
            [Arch::Sm80, Arch::Sm90a].map(|a| Engine::Ptx(format!("PTX for {a}"), a))
        });
        all
    }
}

/// The lowerings of the CPU backend that this machine has instructions for.
fn lowerings() -> Vec<(String, CpuOptions)> {
    let scalar = CpuOptions { vectorise: false, ..CpuOptions::default() };
    let vector = |isa| CpuOptions { isa: Some(isa), ..CpuOptions::default() };
    let mut all = vec![("scalar code".to_string(), scalar)];
    all.extend(Isa::ALL.iter().filter(|isa| isa.available()).map(|isa| (isa.to_string(), vector(*isa))));
    all
}

/// The block size of a tile variable under a config that pins all of them.
pub fn block(f: &tile::Function, config: &Config, t: TileId) -> u64 {
    let var = &f.tiles[t.index()];
    if var.unit { 1 } else { config.get(&Slot::of(Knob::Block, &var.name)).unwrap_or(64) }
}

/// Executes a program; the tensors of `args` then hold its results. A config that splits reductions makes several
/// programs of it, which run one after another.
pub fn run(
    engine: &Engine,
    kernel: &Verified,
    config: &Config,
    target: &Target,
    args: &mut Args,
) -> Result<(), String> {
    let Some((split, config)) = pipeline::stages(kernel, config, target).map_err(|e| format!("{e:?}"))? else {
        return run_one(engine, kernel, config, target, args);
    };
    let own = args.params.len();
    for w in &split.workspaces {
        let extents: Vec<u64> = w.dims.iter().map(|d| extent(*d, &args.symbols)).collect();
        let count = extents.iter().product::<u64>() as i64;
        args.params.push(TensorArg::from_i64s(w.dtype, &extents, (0..count).map(|_| 1)).into());
    }
    for (n, stage) in split.stages.iter().enumerate() {
        run_one(engine, stage, &split.config(n, &config), target, args)
            .map_err(|e| format!("stage {} of {}: {e}\n{}", n + 1, split.stages.len(), stage.function()))?;
    }
    args.params.truncate(own);
    Ok(())
}

fn extent(d: Dim, symbols: &[u64]) -> u64 {
    match d {
        Dim::Const(n) => n,
        Dim::Symbol(s) => symbols[s.index()],
        Dim::Tile(_) | Dim::Expr(_) => panic!("workspaces have plain extents"),
    }
}

/// Executes one program.
fn run_one(
    engine: &Engine,
    kernel: &Verified,
    config: &Config,
    target: &Target,
    args: &mut Args,
) -> Result<(), String> {
    match engine {
        Engine::Tile => {
            let f = kernel.function();
            tile::interp::run(kernel, args, &|t| block(f, config, t))
        }
        Engine::Loops => loops::interp::run(&scheduled(kernel, config, target)?, args),
        Engine::Passes => loops::interp::run(&lowered(kernel, config, target)?, args),
        Engine::Compiled(_, options) => compiled(&lowered(kernel, config, target)?, options, args),
        #[cfg(feature = "llvm")]
        Engine::Ptx(_, arch) => {
            let target = helion_codegen::ptx::target(*arch);
            super::ptx::run(&lowered(kernel, config, &target)?, *arch, args).map(drop)
        }
    }
}

/// Loop IR right after the schedule; verified, and equal to what its own text reads back as.
pub fn scheduled(kernel: &Verified, config: &Config, target: &Target) -> Result<loops::Function, String> {
    let f = schedule::schedule(kernel, config, target).map_err(|d| format!("schedule: {d}"))?;
    loops::verify(&f).map_err(|d| format!("schedule made bad IR: {}\n{f}", helion_ir::diag::render(&d)))?;
    Ok(f)
}

/// Loop IR as a backend gets it.
pub fn lowered(kernel: &Verified, config: &Config, target: &Target) -> Result<loops::Function, String> {
    let mut f = scheduled(kernel, config, target)?;
    passes::run(&mut f, target);
    loops::verify(&f).map_err(|d| format!("passes made bad IR: {}\n{f}", helion_ir::diag::render(&d)))?;
    Ok(f)
}

/// Compiles and runs.
fn compiled(f: &loops::Function, options: &CpuOptions, args: &mut Args) -> Result<(), String> {
    let kernel = cpu::compile(f, options).map_err(|e| format!("compile: {e}"))?;
    let mut memory: Vec<Option<Guarded>> = Vec::new();
    let mut words = Vec::new();
    for (i, arg) in args.params.iter().enumerate() {
        match arg {
            Arg::Tensor(t) => {
                let mut g = Guarded::new(t.data(), i % 2 == 0);
                // The offset may lie outside the storage when the tensor is empty.
                let start = g.as_mut_ptr().wrapping_add(t.offset() as usize * t.dtype().size());
                words.push(start as u64);
                words.extend(t.dims());
                words.extend(t.strides().iter().map(|s| *s as u64));
                memory.push(Some(g));
            }
            Arg::Scalar(l) => {
                words.push(l.bits);
                memory.push(None);
            }
        }
    }
    words.extend(&args.symbols);
    let plan = kernel.plan(&words);
    let scratch_bytes = plan.scratch_bytes.next_multiple_of(64) as usize;
    let mut scratch = Guarded::new(&vec![0xA5; scratch_bytes], true);
    let middle = plan.programs / 2;
    for (first, last) in [(middle, plan.programs), (0, middle)] {
        // SAFETY: the words describe the tensors above, of which each is used by this launch only; the scratch
        // memory is aligned to 64 (its end is a page boundary) and large enough.
        unsafe { kernel.run(&words, scratch.as_mut_ptr(), first, last) };
    }
    for (arg, g) in args.params.iter_mut().zip(memory) {
        if let (Arg::Tensor(t), Some(g)) = (arg, g) {
            t.data_mut().copy_from_slice(g.bytes());
        }
    }
    Ok(())
}
