//! What became of a launch, for people: config, arguments, every stage, and how long compiling took.
//!
//! A launch on the CPU is also explained as for a GPU when the `gpu_arch` setting names an architecture; nothing runs
//! there.

use super::choose::Choice;
use super::compile::{self, Traced, total};
use super::cuda::{Loaded, driver::Usage};
use super::launch::State;
use crate::error::Result;
use crate::settings::Stage;
use helion_codegen::cpu::CompiledKernel;
use helion_codegen::pipeline::{Made, Phase};
use helion_codegen::ptx::{PtxKernel, Values};
use helion_ir::config::Config;
use std::fmt;
use std::fmt::Write as _;

/// The story of one launch.
#[derive(Clone, Debug)]
pub struct Report {
    /// The kernel's name.
    pub kernel: String,
    /// The device's name.
    pub device: String,
    /// What the launch uses.
    pub config: Config,
    /// Where the config comes from, and how far the sizes are from what was measured.
    pub choice: Choice,
    /// What it would use if nothing were tuned or pinned: the cost model's choice for these sizes.
    pub default: Config,
    /// What the kernel was specialised on, and the values of this launch: one line each.
    pub arguments: String,
    /// Program instances, scratch bytes for each thread and work of an instance, for each kernel of this launch. There
    /// are several when reductions are split.
    pub plans: Vec<(u64, u64, u64)>,
    /// On a GPU, a line for each kernel: blocks, threads, registers, memory.
    pub grids: Vec<String>,
    /// Each stage as text.
    pub stages: Vec<(Stage, String)>,
    /// How long each step took.
    pub phases: Vec<Phase>,
}

impl Report {
    /// One stage as text.
    pub fn stage(&self, stage: Stage) -> Option<&str> {
        self.stages.iter().find(|(s, _)| *s == stage).map(|(_, t)| t.as_str())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {} on {}", self.kernel, self.device)?;
        writeln!(f, "config: {} ({})", self.config, self.choice.reason())?;
        writeln!(f, "default config: {}", self.default)?;
        for (programs, scratch, work) in &self.plans {
            writeln!(
                f,
                "{programs} program instances of about {work} operations, {scratch} bytes of scratch per thread"
            )?;
        }
        self.grids.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "\n-- arguments\n{}", self.arguments.trim_end())?;
        for (stage, text) in &self.stages {
            writeln!(f, "\n-- {}\n{}", stage.name(), text.trim_end())?;
        }
        writeln!(f, "\n-- compile time: {:?}", total(&self.phases))?;
        self.phases.iter().try_for_each(|p| writeln!(f, "{:>14} {:?}", p.name, p.time))
    }
}

/// Compiles a launch's kernel and tells what happened; does not run it.
///
/// # Errors
/// When it does not compile.
pub(super) fn report(
    state: &State,
    traced: &Traced,
    choice: Choice,
    default: Config,
    choosing: Phase,
) -> Result<Report> {
    let config = choice.config.clone();
    let mut stages = vec![(Stage::Tile, traced.text.clone())];
    let compiled = compile::compile_config(traced, &config, &mut |made| match made {
        Made::Stage(v) => stages.push((Stage::Tile, v.function().to_string())),
        Made::Scheduled(_) => {}
        Made::Loops(f) => stages.push((Stage::Loops, f.to_string())),
        Made::Code(k) => {
            stages.extend([(Stage::Clif, k.clif()), (Stage::Vector, k.vector_programs()), (Stage::Asm, k.asm())]);
        }
    })?;
    let mut words = Vec::new();
    compiled.kernels.words(&state.words, 0, &mut words);
    let plan = |k: &CompiledKernel| {
        let plan = k.plan(&words);
        (plan.programs, plan.scratch_bytes, plan.work_per_program)
    };
    let plans = compiled.kernels.kernels().map(plan).collect();
    let phases = traced.phases.iter().chain([&choosing]).chain(&compiled.phases).copied().collect();
    Ok(Report {
        kernel: state.kernel.to_owned(),
        device: traced.machine.name(),
        config,
        choice,
        default,
        arguments: arguments(state),
        plans,
        grids: Vec::new(),
        stages,
        phases,
    })
}

/// As [`report`], for a kernel that was traced for a GPU; `loaded` is its code there, if it was loaded.
///
/// # Errors
/// When it does not compile.
pub(super) fn report_gpu(
    state: &State,
    traced: &Traced,
    choice: Choice,
    default: Config,
    choosing: Phase,
    loaded: Option<&Loaded>,
) -> Result<Report> {
    let config = choice.config.clone();
    let mut stages = vec![(Stage::Tile, traced.text.clone())];
    let facts = state.facts(&compile::wanted(traced, &config));
    let compiled = compile::compile_ptx(traced, &config, facts, &mut |made| match made {
        Made::Stage(v) => stages.push((Stage::Tile, v.function().to_string())),
        Made::Scheduled(_) => {}
        Made::Loops(f) => stages.push((Stage::Loops, f.to_string())),
        Made::Code(k) => stages.push((Stage::Ptx, k.text().to_owned())),
    })?;
    let mut words = Vec::new();
    compiled.kernels.words(&state.words, 0, &mut words);
    let mut values = Values::default();
    let usages: Vec<Usage> = loaded.map(|l| l.usages().collect()).unwrap_or_default();
    let line = |(i, k): (usize, &PtxKernel)| {
        let plan = k.plan(&words, &mut values);
        let mut line = format!("{} program instances of {} threads", plan.programs, k.threads());
        let shared = u64::from(k.shared_bytes()) + u64::from(usages.get(i).map_or(0, |u| u.shared));
        let _ = write!(line, ", {shared} bytes of shared memory");
        if plan.dynamic_bytes > 0 {
            let _ = write!(line, " and {} for buffers", plan.dynamic_bytes);
        }
        if let Some(u) = usages.get(i) {
            let _ = write!(line, ", {} registers, {} bytes spilled", u.registers, u.local);
        }
        line
    };
    let grids = compiled.kernels.kernels().enumerate().map(line).collect();
    let done = loaded.map_or(&compiled.phases, |l| &l.phases);
    let phases = traced.phases.iter().chain([&choosing]).chain(done).copied().collect();
    Ok(Report {
        kernel: state.kernel.to_owned(),
        device: traced.machine.name(),
        config,
        choice,
        default,
        arguments: arguments(state),
        plans: Vec::new(),
        grids,
        stages,
        phases,
    })
}

/// One line for each argument and size.
fn arguments(state: &State) -> String {
    let mut out = String::new();
    for c in &state.captures {
        let words = &state.words[c.word..];
        let _ = match &c.tensor {
            Some(t) => {
                let (dims, strides) = (&words[1..1 + t.rank], &words[1 + t.rank..1 + 2 * t.rank]);
                let strides: Vec<i64> = strides.iter().map(|&s| s as i64).collect();
                let (layout, access) = (t.layout, if t.mutable { "written" } else { "read" });
                writeln!(out, "{}: {} {dims:?}, strides {strides:?}, {layout:?}, {access}", c.name, c.dtype)
            }
            None => {
                let value = helion_ir::dtype::Literal::from_bits(c.dtype, words[0]);
                writeln!(out, "{}: {} = {}", c.name, c.dtype, value.to_f64())
            }
        };
    }
    for (i, v) in state.sizes.iter().enumerate() {
        let _ = writeln!(out, "{} = {v}", state.symbol_name(i).unwrap_or_default());
    }
    out
}
