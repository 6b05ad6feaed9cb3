//! helion's side of the offline comparison. In: nothing. Out: kernels as cubins in a folder, with the `kernels.tsv` that the
//! peers have, too. Blocks are those of the peers; of what else a config can say, the default and a sample.

use crate::kernels;
use crate::tools::Tools;
use helion::prelude::Config;
use helion_codegen::ptx::Arch;
use helion_ir::config::{ConfigSpace, Knob, Slot};
use std::fmt::Write as _;
use std::path::Path;

/// The kernels, by what the peers call them, with the tile variables that have blocks of 128.
const KERNELS: [(&str, &str, &[&str]); 3] = [
    ("matmul bf16", "matmul 128x128", &["tm", "tn"]),
    ("attention bf16 64", "attention 64", &["tm"]),
    ("attention bf16 128", "attention 128", &["tm"]),
];

/// How many configs of each are tried.
const CONFIGS: usize = 60;

/// Compiles into the folder.
///
/// # Errors
/// A kernel does not compile with its default config, or the folder cannot be written.
pub fn write(folder: &Path, tools: &Tools) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (mut list, mut count) = (String::new(), 0);
    let cases = kernels::all();
    for (ours, theirs, blocks) in KERNELS {
        let case = cases.iter().find(|c| c.name == ours).ok_or_else(|| format!("there is no `{ours}`"))?;
        for arch in [Arch::Sm80, Arch::Sm90a] {
            for config in configs(kernels::space(&case.kernel, arch)?, blocks) {
                let Some(compiled) = kernels::compile(case, &config, arch)? else { continue };
                // A split kernel is another kind of contestant.
                let [kernel] = &compiled[..] else { continue };
                let made = tools.assemble(kernel.text(), arch.name()).map_err(|e| format!("{ours} {config}: {e}"))?;
                let file = format!("{count:03}.cubin");
                count += 1;
                std::fs::write(folder.join(&file), &made.cubin).map_err(|e| format!("{file}: {e}"))?;
                let (name, shared) = (env!("CARGO_PKG_VERSION"), kernel.shared_bytes());
                let _ = writeln!(list, "{file}\t{theirs}\t{arch}\thelion {name}\t{config}\t{shared}");
            }
        }
    }
    std::fs::write(folder.join("kernels.tsv"), list).map_err(|e| e.to_string())
}

/// The default config with the given blocks, and others evenly from the space.
fn configs(space: ConfigSpace, blocks: &[&str]) -> Vec<Config> {
    let with_blocks = |mut config: Config| {
        for &tile in blocks {
            config.set(Slot::of(Knob::Block, tile), 128);
        }
        config
    };
    let mut all = vec![with_blocks(Config::new())];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..20 * CONFIGS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let config = with_blocks(space.nth((state >> 16) % space.len()));
        if all.len() < CONFIGS && !all.contains(&config) {
            all.push(config);
        }
    }
    all
}
