//! The CPU backend: Cranelift for the kernel, vector programs for its loops.
//!
//! In: a loop function. Out: a [`CompiledKernel`], which plans a launch and runs any range of its program
//! instances on the calling thread. Threads, scratch memory and caching belong to the caller.
//!
//! # Calling convention
//! `args` is a list of 64-bit words. For each parameter in order: a tensor gives the address of its
//! element at index 0…0, its extents, then its strides (elements, signed), one word per axis; a scalar
//! gives its bits. After the parameters comes one word per size symbol.

mod contract;
mod host;
mod identity;
mod jit;
mod kernel;
mod knobs;
pub mod memory;
mod programs;
mod runtime;
#[cfg(test)]
mod tests;
pub mod vector;
mod vectorise;

pub use host::host_target;
pub use identity::identity;
pub use jit::Effort;
pub use knobs::{Launch, Share, add_knobs, legal, settle};

use helion_ir::config::{Config, ConfigSpace};
use helion_ir::loops;
use helion_ir::target::Target;
use memory::Code;
use programs::Programs;

/// How to compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CpuOptions {
    /// Instruction set of vector programs; the best of this machine if not given.
    pub isa: Option<vector::Isa>,
    /// Whether loops may become vector programs.
    pub vectorise: bool,
    /// How much work Cranelift puts into the kernel.
    pub effort: Effort,
    /// Tensors of so many bytes and more, which a kernel writes and never reads, are written around the caches
    /// where vector programs can.
    pub stream_bytes: u64,
    /// How far ahead memory is prefetched at most: what one program instance reads twice, its successor
    /// soon reads too.
    pub prefetch_bytes: u64,
}

/// What one launch may leave in the last cache at most: a cache of hundreds of megabytes belongs to many cores, often
/// of other users, too.
const MOST_CACHED: u64 = 32 << 20;

impl Default for CpuOptions {
    fn default() -> Self {
        let [_, l2, l3] = host::caches();
        CpuOptions {
            isa: None,
            vectorise: true,
            effort: Effort::default(),
            stream_bytes: (l3 / 2).min(MOST_CACHED),
            prefetch_bytes: l2 / 2,
        }
    }
}

/// Why a kernel could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The loop function breaks a rule of the loop IR.
    #[error("malformed loop IR: {0}")]
    Malformed(String),
    /// Cranelift refused.
    #[error("code generation failed: {0}")]
    Cranelift(String),
    /// This machine is not one Cranelift can compile for.
    #[error("no code generator for this machine: {0}")]
    Host(String),
    /// No executable memory.
    #[error("{0}")]
    Memory(String),
}

/// What a launch needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Program instances.
    pub programs: u64,
    /// Bytes of scratch memory for each thread, to be aligned to 64.
    pub scratch_bytes: u64,
    /// Roughly how many instructions one instance takes.
    pub work_per_program: u64,
}

type Entry = unsafe extern "C" fn(*const u64, *mut u8, u64, u64, *mut u64);

/// A kernel as machine code. Can be shared between threads.
#[derive(Debug)]
pub struct CompiledKernel {
    name: String,
    words: usize,
    entry: Entry,
    code: Code,
    clif: cranelift_codegen::ir::Function,
    programs: Programs,
    /// Text whose address is in the code.
    _labels: Vec<Box<str>>,
}

/// Compiles a loop function.
///
/// # Errors
/// The function breaks a rule of the loop IR, or this machine has no code generator.
pub fn compile(f: &loops::Function, options: &CpuOptions) -> Result<CompiledKernel, Error> {
    let conv = jit::target(options.effort)?.default_call_conv();
    let lowered = kernel::lower(f, options, conv)?;
    let (code, clif) = jit::compile(lowered.func, options.effort, &lowered.programs.addresses())?;
    // SAFETY: the code was compiled from a function with exactly this signature and calling convention.
    let entry = unsafe { std::mem::transmute::<*const u8, Entry>(code.address()) };
    let words = kernel::word_offsets(f).last().copied().unwrap_or(0) + f.symbols.len();
    let (programs, _labels) = (lowered.programs, lowered.labels);
    Ok(CompiledKernel { name: f.name.clone(), words, entry, code, clif, programs, _labels })
}

impl CompiledKernel {
    /// The kernel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many argument words it takes.
    pub fn words(&self) -> usize {
        self.words
    }

    /// What a launch with these arguments needs.
    ///
    /// # Panics
    /// When the number of words is wrong.
    pub fn plan(&self, args: &[u64]) -> Plan {
        assert_eq!(args.len(), self.words, "argument words of `{}`", self.name);
        let mut out = [0u64; 3];
        // SAFETY: with `plan` given the code only reads argument words, all present, and writes three words.
        unsafe { (self.entry)(args.as_ptr(), std::ptr::null_mut(), 0, 0, out.as_mut_ptr()) };
        Plan { programs: out[0], scratch_bytes: out[1], work_per_program: out[2] }
    }

    /// Runs program instances `first..last` (row-major over the grid) on this thread.
    ///
    /// # Safety
    /// `args` describe live tensors whose extents agree with the kernel's shapes and symbols, mutable ones
    /// not in use elsewhere (other instances of this launch excepted); `last` is at most the plan's
    /// `programs`; `scratch` is aligned to 64, has the plan's `scratch_bytes`, and is this call's alone.
    ///
    /// # Panics
    /// When the number of words is wrong.
    pub unsafe fn run(&self, args: &[u64], scratch: *mut u8, first: u64, last: u64) {
        assert_eq!(args.len(), self.words, "argument words of `{}`", self.name);
        // SAFETY: the caller vouches for what the words describe and for the scratch memory.
        unsafe { (self.entry)(args.as_ptr(), scratch, first, last, std::ptr::null_mut()) };
    }

    /// Bytes of machine code of the kernel itself.
    pub fn code_size(&self) -> usize {
        self.code.bytes().len()
    }

    /// The kernel as Cranelift's text, after its own rewrites.
    pub fn clif(&self) -> String {
        self.clif.display().to_string()
    }

    /// The machine code of the kernel and its vector programs, disassembled.
    pub fn asm(&self) -> String {
        jit::disassemble(self.code.bytes(), self.code.address() as u64) + &self.programs.asm()
    }

    /// The vector programs it calls, as text.
    pub fn vector_programs(&self) -> String {
        self.programs.text()
    }
}

impl crate::backend::Backend for CpuOptions {
    type Kernel = CompiledKernel;

    fn legal(&self, config: &Config, target: &Target) -> Result<(), String> {
        legal(config, target)
    }
    fn add_knobs(&self, f: &loops::Function, space: &mut ConfigSpace, target: &Target) {
        add_knobs(f, space, target);
    }
    fn settle(&self, f: &mut loops::Function, target: &Target) {
        settle(f, target);
    }
    fn compile(&self, f: &loops::Function) -> Result<CompiledKernel, String> {
        compile(f, self).map_err(|e| e.to_string())
    }
}
