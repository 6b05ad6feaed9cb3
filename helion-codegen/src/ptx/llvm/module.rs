//! A finished LLVM module as PTX.

use super::super::{Arch, Error};
use inkwell::OptimizationLevel;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use std::sync::Once;

/// What LLVM does before it selects instructions. More costs time and does not make better machine code, which is
/// `ptxas`'s work: variables become registers, what was computed twice is computed once, what nobody uses goes.
const PASSES: &str = "function(sroa,early-cse,instsimplify,dce,simplifycfg)";

/// An entry name that PTX accepts and that readers recognise.
pub(super) fn entry_name(kernel: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = kernel.chars().map(plain).collect();
    format!("helion_{name}")
}

/// The PTX version, where the lowest that has the architecture lacks some of its instructions: those of 8-bit floats came
/// to sm_89 later. Otherwise the lowest is best, because old drivers read it.
fn version(arch: Arch) -> &'static str {
    match arch {
        Arch::Sm89 => "+ptx84",
        Arch::Sm80 | Arch::Sm86 | Arch::Sm90a => "",
    }
}

/// The code generator for an architecture.
pub(super) fn machine(arch: Arch) -> Result<TargetMachine, Error> {
    static READY: Once = Once::new();
    READY.call_once(|| Target::initialize_nvptx(&InitializationConfig::default()));
    let triple = TargetTriple::create("nvptx64-nvidia-cuda");
    let target = Target::from_triple(&triple).map_err(|e| Error::Llvm(e.to_string()))?;
    let level = OptimizationLevel::Aggressive;
    let machine = target.create_target_machine(
        &triple,
        arch.name(),
        version(arch),
        level,
        RelocMode::Default,
        CodeModel::Default,
    );
    machine.ok_or_else(|| Error::Llvm(format!("this LLVM has no target {arch}")))
}

/// Verifies a module and makes PTX of it.
///
/// # Errors
/// What LLVM says.
pub(super) fn to_ptx(module: &Module<'_>, arch: Arch) -> Result<String, Error> {
    let llvm = |e: inkwell::support::LLVMString| Error::Llvm(e.to_string());
    let machine = machine(arch)?;
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    module.verify().map_err(llvm)?;
    module.run_passes(PASSES, &machine, PassBuilderOptions::create()).map_err(llvm)?;
    super::pair::resolve(module)?;
    let text = machine.write_to_memory_buffer(module, FileType::Assembly).map_err(llvm)?;
    Ok(String::from_utf8_lossy(text.as_slice()).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_plain_names() {
        assert_eq!(entry_name("soft::max<f32>"), "helion_soft__max_f32_");
    }
}
