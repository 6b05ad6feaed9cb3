//! CLIF in, an executable address out.
//!
//! In: a Cranelift function whose external names are [`Runtime`] functions (namespace 0) or vector
//! programs (namespace 1). Out: its machine code in executable memory, names resolved. The target
//! description is built once per process and optimisation level.

use super::Error;
use super::memory::{Code, CodeArena};
use super::runtime::Runtime;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{self, ExternalName, LibCall};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, FinalizedRelocTarget};
use std::cell::RefCell;
use std::sync::OnceLock;

/// How much work Cranelift puts into a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Effort {
    /// Least compile time.
    Quick,
    /// Common subexpressions and loop-invariant code motion.
    #[default]
    Full,
}

/// Namespace of runtime functions in external names.
pub(super) const RUNTIME: u32 = 0;
/// Namespace of vector programs in external names.
pub(super) const PROGRAM: u32 = 1;

/// The target description for an effort.
pub(super) fn target(effort: Effort) -> Result<&'static OwnedTargetIsa, Error> {
    static QUICK: OnceLock<Result<OwnedTargetIsa, String>> = OnceLock::new();
    static FULL: OnceLock<Result<OwnedTargetIsa, String>> = OnceLock::new();
    let cell = match effort {
        Effort::Quick => &QUICK,
        Effort::Full => &FULL,
    };
    cell.get_or_init(|| build_target(effort)).as_ref().map_err(|e| Error::Host(e.clone()))
}

fn build_target(effort: Effort) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    let level = match effort {
        Effort::Quick => "none",
        Effort::Full => "speed",
    };
    let checks = if cfg!(debug_assertions) { "true" } else { "false" };
    let choices = [
        ("opt_level", level),
        ("enable_verifier", checks),
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
    ];
    for (name, value) in choices {
        flags.set(name, value).map_err(|e| e.to_string())?;
    }
    let isa = cranelift_native::builder().map_err(|e| e.to_string())?;
    isa.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())
}

thread_local! {
    static CONTEXT: RefCell<Context> = RefCell::new(Context::new());
}

/// Compiles one function. `programs` are the addresses of vector programs by index. Gives the code and
/// the function after Cranelift's own rewrites, for dumps.
pub(super) fn compile(func: ir::Function, effort: Effort, programs: &[usize]) -> Result<(Code, ir::Function), Error> {
    let (bytes, func) = machine_code(func, effort, programs)?;
    let code = with_arena(|a| a.install(&bytes)).map_err(|e| Error::Memory(e.to_string()))?;
    Ok((code, func))
}

/// The same, with names resolved but not yet in executable memory; it runs at any address.
pub(super) fn machine_code(
    func: ir::Function,
    effort: Effort,
    programs: &[usize],
) -> Result<(Vec<u8>, ir::Function), Error> {
    let isa = target(effort)?;
    CONTEXT.with_borrow_mut(|ctx| {
        ctx.clear();
        ctx.func = func;
        let compiled = ctx
            .compile(&**isa, &mut ControlPlane::default())
            .map_err(|e| Error::Cranelift(format!("{:?}", e.inner)))?;
        let mut bytes = compiled.code_buffer().to_vec();
        let relocs = compiled.buffer.relocs().to_vec();
        for r in &relocs {
            let name = match &r.target {
                FinalizedRelocTarget::ExternalName(name) => name,
                FinalizedRelocTarget::Func(_) => return Err(Error::Cranelift("relocation to own code".into())),
            };
            let at = r.offset as usize;
            let address = resolve(name, &ctx.func, programs)? as i64 + r.addend;
            match r.kind {
                Reloc::Abs8 => bytes[at..at + 8].copy_from_slice(&address.to_le_bytes()),
                other => return Err(Error::Cranelift(format!("relocation {other:?} is not handled"))),
            }
        }
        let func = std::mem::replace(&mut ctx.func, ir::Function::new());
        ctx.clear();
        Ok((bytes, func))
    })
}

/// The address an external name stands for.
fn resolve(name: &ExternalName, func: &ir::Function, programs: &[usize]) -> Result<usize, Error> {
    match name {
        ExternalName::User(r) => {
            let user = &func.params.user_named_funcs()[*r];
            let index = user.index as usize;
            let found = if user.namespace == PROGRAM {
                programs.get(index).copied()
            } else {
                Runtime::ALL.get(index).map(|f| f.address())
            };
            found.ok_or_else(|| Error::Cranelift(format!("no function {user:?}")))
        }
        ExternalName::LibCall(call) => libcall(*call),
        other => Err(Error::Cranelift(format!("external name {other:?} is not handled"))),
    }
}

/// Functions Cranelift itself calls where the instruction set lacks an instruction.
fn libcall(call: LibCall) -> Result<usize, Error> {
    let f = match call {
        LibCall::CeilF32 => Runtime::CeilF32,
        LibCall::CeilF64 => Runtime::CeilF64,
        LibCall::FloorF32 => Runtime::FloorF32,
        LibCall::FloorF64 => Runtime::FloorF64,
        LibCall::TruncF32 => Runtime::TruncF32,
        LibCall::TruncF64 => Runtime::TruncF64,
        LibCall::NearestF32 => Runtime::RoundF32,
        LibCall::NearestF64 => Runtime::RoundF64,
        LibCall::FmaF32 => Runtime::FmaF32,
        LibCall::FmaF64 => Runtime::FmaF64,
        other => return Err(Error::Cranelift(format!("library call {other:?} is not handled"))),
    };
    Ok(f.address())
}

/// Runs something with this thread's code memory.
pub(super) fn with_arena<T>(f: impl FnOnce(&mut CodeArena) -> T) -> T {
    thread_local! {
        static ARENA: RefCell<CodeArena> = RefCell::new(CodeArena::new());
    }
    ARENA.with_borrow_mut(f)
}

/// Disassembly of machine code, one instruction per line; hexadecimal where no disassembler is built in.
pub(super) fn disassemble(bytes: &[u8], address: u64) -> String {
    #[cfg(target_arch = "x86_64")]
    {
        use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
        let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
        let mut formatter = IntelFormatter::new();
        let mut out = String::new();
        for inst in &mut decoder {
            out.push_str(&format!("{:6x}  ", inst.ip() - address));
            formatter.format(&inst, &mut out);
            out.push('\n');
        }
        out
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = address;
        bytes.chunks(4).map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n").collect()
    }
}
