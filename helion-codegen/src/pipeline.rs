//! From a verified kernel to machine code: every step, in order.
//!
//! In: a verified tile function, a config, the target, how to compile. Out: a compiled kernel, and how
//! long each step took. An observer sees what each step made, also when a later one fails.

use crate::cpu::{self, CompiledKernel, CpuOptions};
use crate::{passes, schedule};
use helion_ir::config::Config;
use helion_ir::diag::{self, Diagnostic};
use helion_ir::loops;
use helion_ir::target::Target;
use helion_ir::tile::Verified;
use std::time::{Duration, Instant};

/// What a step made.
#[derive(Clone, Copy, Debug)]
pub enum Made<'a> {
    /// Loop IR as the schedule made it.
    Scheduled(&'a loops::Function),
    /// Loop IR after all passes: what the backend gets.
    Loops(&'a loops::Function),
    /// Machine code.
    Code(&'a CompiledKernel),
}

/// A compiled kernel with its story.
#[derive(Debug)]
pub struct Compiled {
    /// The code.
    pub kernel: CompiledKernel,
    /// How long each step took, in order.
    pub phases: Vec<Phase>,
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

/// Compiles a kernel.
///
/// # Errors
/// See [`Failure`].
pub fn compile(
    kernel: &Verified,
    config: &Config,
    target: &Target,
    options: &CpuOptions,
    made: &mut dyn FnMut(Made<'_>),
) -> Result<Compiled, Failure> {
    let mut clock = Clock::default();
    // What the user asked for must be possible before anything is planned.
    schedule::check_config(kernel, config).map_err(Failure::Config)?;
    cpu::legal(config, target).map_err(Failure::Config)?;
    let mut func = schedule::schedule(kernel, config, target).map_err(Failure::Kernel)?;
    clock.step("schedule");
    made(Made::Scheduled(&func));
    check(&func, "the schedule")?;
    clock.step("verify");
    // Backends take only what is left after the passes: no wide mathematics, constants folded.
    passes::run(&mut func, target);
    cpu::settle(&mut func, target);
    clock.step("passes");
    made(Made::Loops(&func));
    check(&func, "the passes")?;
    clock.step("verify again");
    let kernel = cpu::compile(&func, options).map_err(|e| Failure::Internal(format!("code generation: {e}")))?;
    clock.step("code");
    made(Made::Code(&kernel));
    Ok(Compiled { kernel, phases: clock.phases })
}

/// Loop IR that breaks a rule is our mistake, named after who made it.
fn check(func: &loops::Function, who: &str) -> Result<(), Failure> {
    loops::verify(func).map_err(|d| Failure::Internal(format!("{who} made malformed loop IR\n{}", diag::render(&d))))
}

/// Times steps.
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
