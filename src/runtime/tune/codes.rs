//! The code of candidates, made once for equal loop IR.
//!
//! In: configs, from several threads at once. Out: for each a name, equal when a launch would do exactly the same, and
//! its code. Two configs are told apart only after scheduling, when the loop IR is there; what launches alone read
//! ([`Launch`](helion_codegen::cpu::Launch)) counts as far as it changes who does what in this launch. So a config that
//! does what an earlier one did costs its schedule and no machine code, and one that only divides the grid otherwise
//! uses the code that is there.

use super::super::compile::{self, Compiled, Traced};
use super::super::exec::{self, Division};
use crate::error::{Error, Kind};
use helion_autotune::Rejection;
use helion_codegen::cpu::{Launch, Plan};
use helion_codegen::pipeline::Lowered;
use helion_ir::config::{Config, Knob};
use helion_ir::loops::Function;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What became of a config.
pub(super) struct Built {
    /// Equal for configs whose launches do the same.
    pub(super) name: u128,
    /// Its code; none when an earlier config had this name.
    pub(super) code: Option<Code>,
}

/// Code, and how a launch divides its work.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) compiled: Arc<Compiled>,
    pub(super) launch: Launch,
}

/// Makes code for the configs of one launch.
pub(super) struct Codes {
    traced: Arc<Traced>,
    /// The launch's arguments, of which plans read the sizes.
    words: Vec<u64>,
    /// The most threads of a launch.
    threads: usize,
    /// By the name of the loop IR. One config at a time compiles what has one name.
    known: Mutex<HashMap<u128, Arc<Mutex<Option<Known>>>>>,
    /// Names that were given with code.
    given: Mutex<HashSet<u128>>,
}

/// Code that was made before.
struct Known {
    /// Whose it is. It gets code of its own when it asks again: that is a copy, to be compared with the first.
    owner: Config,
    plans: Vec<Plan>,
    /// Lives as long as a candidate that uses it.
    compiled: Weak<Compiled>,
}

impl Codes {
    pub(super) fn new(traced: Arc<Traced>, words: Vec<u64>, threads: usize) -> Codes {
        Codes { traced, words, threads, known: Mutex::default(), given: Mutex::default() }
    }

    /// Names a config, with its code unless an earlier one had the name.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn build(&self, config: &Config) -> Result<Built, Rejection> {
        let lowered = compile::lower(&self.traced, config, &mut |_| {}).map_err(|e| rejection(&e))?;
        let code_name = name_of(&lowered);
        let launch = Launch::of(config);
        let slot = Arc::clone(lock(&self.known).entry(code_name).or_default());
        let mut known = lock(&slot);
        if let Some(k) = known.as_ref().filter(|k| k.owner != *config) {
            let name = self.name(code_name, &k.plans, launch);
            if let Some(compiled) = k.compiled.upgrade() {
                lock(&self.given).insert(name);
                return Ok(Built { name, code: Some(Code { compiled, launch }) });
            }
            if lock(&self.given).contains(&name) {
                return Ok(Built { name, code: None });
            }
        }
        let compiled = self.generate(config, lowered)?;
        let plans = exec::plans(&compiled.kernels, &self.words);
        let name = self.name(code_name, &plans, launch);
        *known = Some(Known { owner: config.clone(), plans, compiled: Arc::downgrade(&compiled) });
        lock(&self.given).insert(name);
        Ok(Built { name, code: Some(Code { compiled, launch }) })
    }

    /// The code of a config, made now.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn compile(&self, config: &Config) -> Result<Code, Rejection> {
        let lowered = compile::lower(&self.traced, config, &mut |_| {}).map_err(|e| rejection(&e))?;
        Ok(Code { compiled: self.generate(config, lowered)?, launch: Launch::of(config) })
    }

    fn generate(&self, config: &Config, lowered: Lowered) -> Result<Arc<Compiled>, Rejection> {
        compile::generate(&self.traced, config, lowered, &mut |_| {}).map(Arc::new).map_err(|e| rejection(&e))
    }

    /// The name of code that is launched so.
    fn name(&self, code: u128, plans: &[Plan], launch: Launch) -> u128 {
        let divisions: Vec<Division> = plans.iter().map(|p| exec::division(p, self.threads, launch)).collect();
        wide_hash(&(code, divisions))
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of loop IR. What the schedule did is in the loops; what is left of the config is for the backend.
fn name_of(lowered: &Lowered) -> u128 {
    let text = |f: &Function| {
        let mut f = f.clone();
        f.config.retain(|s, _| is_backend(s.knob));
        f.to_string()
    };
    wide_hash(&lowered.stages().iter().map(text).collect::<Vec<_>>())
}

/// 128 bits that are equal for what is equal.
fn wide_hash(of: &impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut h = DefaultHasher::new();
        (salt, of).hash(&mut h);
        u128::from(h.finish())
    };
    half(0) | half(1) << 64
}

/// Whether the backend reads a knob from what is left of a config after scheduling.
fn is_backend(knob: Knob) -> bool {
    match knob {
        Knob::MicroRows | Knob::MicroVectors | Knob::Kc | Knob::Mc | Knob::Nc | Knob::Pack => true,
        Knob::Unroll | Knob::Stages | Knob::Stream | Knob::Warps | Knob::Registers => true,
        Knob::Block | Knob::Order | Knob::Grid | Knob::Group | Knob::Keep => false,
        Knob::Fuse | Knob::Chunk | Knob::Interchange | Knob::Owners | Knob::User => false,
        // What launches read is named apart.
        Knob::Threads | Knob::Share | Knob::Split => false,
    }
}

fn rejection(e: &Error) -> Rejection {
    match e.kind() {
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
    }
}
