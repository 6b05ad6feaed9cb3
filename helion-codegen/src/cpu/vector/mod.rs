//! Vector programs and their lowerings.
//!
//! Comes in: a [`Program`], made with [`builder::Builder`]. [`compile`] stages it
//! ([`unroll`]), assigns registers ([`alloc`]) and emits it for one instruction set ([`Isa`]). Goes out: a
//! [`CompiledProgram`], callable until dropped, that does what [`interp`] does.

pub mod alloc;
pub mod builder;
pub mod clif;
mod fuse;
pub mod interp;
pub mod ir;
pub mod micro;
mod print;
pub mod unroll;
pub mod verify;
#[cfg(target_arch = "x86_64")]
pub mod x86;

use std::fmt;

use self::ir::Program;
use super::memory::{Code, CodeArena, MemoryError};

/// An instruction set that vector programs are lowered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// [`Isa::Avx512`], and AMX for products of `bf16` and of 8-bit integers (Linux).
    Amx,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 64-byte vectors.
    Avx512,
    /// x86-64 with AVX2, FMA, F16C and BMI: 32-byte vectors.
    Avx2,
    /// Any machine Cranelift knows: 16-byte vectors.
    Clif128,
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Isa::Amx => "amx",
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Clif128 => "clif128",
        })
    }
}

impl std::str::FromStr for Isa {
    type Err = String;
    fn from_str(s: &str) -> Result<Isa, String> {
        Isa::ALL.into_iter().find(|isa| isa.to_string() == s).ok_or_else(|| format!("`{s}` is not an instruction set"))
    }
}

impl Isa {
    /// All of them, best first.
    pub const ALL: [Isa; 4] = [Isa::Amx, Isa::Avx512, Isa::Avx2, Isa::Clif128];

    /// Whether this machine has it.
    pub fn available(self) -> bool {
        #[cfg(all(target_arch = "x86_64", unix))]
        match self {
            Isa::Amx => Isa::Avx512.available() && super::contract::has_matrix_unit(),
            Isa::Avx512 => {
                std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512bw")
                    && std::is_x86_feature_detected!("avx512dq")
                    && std::is_x86_feature_detected!("avx512vl")
                    && std::is_x86_feature_detected!("bmi2")
            }
            Isa::Avx2 => {
                std::is_x86_feature_detected!("avx2")
                    && std::is_x86_feature_detected!("fma")
                    && std::is_x86_feature_detected!("f16c")
                    && std::is_x86_feature_detected!("bmi1")
            }
            Isa::Clif128 => true,
        }
        #[cfg(not(all(target_arch = "x86_64", unix)))]
        match self {
            Isa::Amx | Isa::Avx512 | Isa::Avx2 => false,
            Isa::Clif128 => true,
        }
    }

    /// Whether vectors are those of AVX-512.
    pub const fn is_wide(self) -> bool {
        match self {
            Isa::Amx | Isa::Avx512 => true,
            Isa::Avx2 | Isa::Clif128 => false,
        }
    }

    /// Whether it multiplies elements that share lanes, as [`Op::Dots`](ir::Op::Dots).
    pub fn multiplies(self, packed: ir::Packed) -> bool {
        #[cfg(all(target_arch = "x86_64", unix))]
        return self.is_wide()
            && match packed {
                ir::Packed::Bf16 => std::is_x86_feature_detected!("avx512bf16"),
                ir::Packed::I16 | ir::Packed::I8 => std::is_x86_feature_detected!("avx512vnni"),
            };
        #[cfg(not(all(target_arch = "x86_64", unix)))]
        {
            let _ = packed;
            false
        }
    }

    /// The best one of this machine.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.available()).unwrap_or(Isa::Clif128)
    }

    /// Bytes of a vector register.
    pub const fn vector_bytes(self) -> usize {
        match self {
            Isa::Amx | Isa::Avx512 => 64,
            Isa::Avx2 => 32,
            Isa::Clif128 => 16,
        }
    }

    /// Vector registers.
    pub const fn registers(self) -> usize {
        match self {
            Isa::Amx | Isa::Avx512 => 32,
            Isa::Avx2 | Isa::Clif128 => 16,
        }
    }

    /// Lanes of a step of this program.
    pub fn lanes_of(self, program: &Program) -> usize {
        match self {
            Isa::Amx | Isa::Avx512 | Isa::Avx2 => self.lanes(program.widest()),
            Isa::Clif128 => clif::lanes(program),
        }
    }

    /// Lanes of a program whose widest lane has `widest` bytes (see [`Program::widest`]).
    pub const fn lanes(self, widest: usize) -> usize {
        self.vector_bytes() / widest
    }
}

/// Why a program has no code; the caller uses scalar code instead.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    /// The program is not legal.
    #[error("not a legal vector program: {0}")]
    Illegal(String),
    /// This machine does not have the instruction set.
    #[error("this machine does not have {0}")]
    Machine(Isa),
    /// The lowering cannot express something.
    #[error("{isa} code: {reason}")]
    Reason {
        /// The instruction set.
        isa: Isa,
        /// What it cannot do.
        reason: String,
    },
    /// No memory for code.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Machine code of a program.
#[derive(Clone, Debug)]
pub struct CompiledProgram {
    code: Code,
    isa: Isa,
    lanes: usize,
    code_bytes: usize,
}

/// The type of the entry point: the argument block, and the number of elements or iterations.
pub type Entry = unsafe extern "C" fn(slots: *mut u64, n: u64);

impl CompiledProgram {
    /// The entry point, valid while `self` or a clone of it lives.
    pub fn entry(&self) -> Entry {
        // SAFETY: the code was emitted for this signature and is executable while `self.code` lives.
        unsafe { std::mem::transmute::<*const u8, Entry>(self.code.address()) }
    }
    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }
    /// Lanes of a step.
    pub fn lanes(&self) -> usize {
        self.lanes
    }
    /// Bytes of code and constants.
    pub fn code_size(&self) -> usize {
        self.code.bytes().len()
    }

    /// Runs the program.
    ///
    /// # Safety
    /// `slots` holds one word per slot of the program, and every access of the program with these arguments
    /// is to memory that may be read or written.
    pub unsafe fn run(&self, slots: &mut [u64], n: u64) {
        // SAFETY: by the caller's promise.
        unsafe { (self.entry())(slots.as_mut_ptr(), n) }
    }

    /// The instructions as text.
    #[cfg(target_arch = "x86_64")]
    pub fn disassemble(&self) -> String {
        x86::disassemble(&self.code.bytes()[..self.code_bytes])
    }
    /// The instructions as text: bytes, where nothing here can read them.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn disassemble(&self) -> String {
        self.code.bytes()[..self.code_bytes].chunks(16).map(|line| format!("{line:02x?}\n")).collect()
    }
}

/// Compiles a program for an instruction set of this machine.
pub fn compile(program: &Program, isa: Isa, arena: &mut CodeArena) -> Result<CompiledProgram, Unsupported> {
    verify::verify(program).map_err(Unsupported::Illegal)?;
    if !isa.available() {
        return Err(Unsupported::Machine(isa));
    }
    let reason = |reason: String| Unsupported::Reason { isa, reason };
    let lanes = isa.lanes_of(program);
    let fused = isa.is_wide().then(|| fuse::scales(program));
    let program = fused.as_ref().unwrap_or(program);
    if !isa.is_wide() && program.body.iter().any(|i| i.op == ir::Op::Scale) {
        return Err(reason("no instruction scales by a power of two".into()));
    }
    let packed = |i: &ir::Inst| if let ir::Op::Dots(p) = i.op { Some(p) } else { None };
    if program.body.iter().filter_map(packed).any(|p| !isa.multiplies(p)) {
        return Err(reason("no instruction multiplies packed elements".into()));
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx | Isa::Avx512 | Isa::Avx2 => {
            let staged = unroll::stage(program, lanes as u32);
            let emitted = x86::emit(&staged, isa.is_wide()).map_err(reason)?;
            let code = arena.install(&emitted.bytes)?;
            Ok(CompiledProgram { code, isa, lanes, code_bytes: emitted.code })
        }
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Amx | Isa::Avx512 | Isa::Avx2 => Err(Unsupported::Machine(isa)),
        Isa::Clif128 => {
            let effort = super::jit::Effort::Quick;
            let target = super::jit::target(effort).map_err(|e| reason(e.to_string()))?;
            let staged = unroll::stage(program, lanes as u32);
            let func = clif::function(&staged, target.frontend_config());
            let (bytes, _) = super::jit::machine_code(func, effort, &[]).map_err(|e| reason(e.to_string()))?;
            Ok(CompiledProgram { code: arena.install(&bytes)?, isa, lanes, code_bytes: bytes.len() })
        }
    }
}
