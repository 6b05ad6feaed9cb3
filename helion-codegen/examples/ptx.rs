//! Prints the PTX of a loop function: `cargo run -p helion-codegen --features llvm --example ptx -- file.loops [sm_90a]`.
//! A file of tile IR (`.tile`) is scheduled first.

use helion_codegen::ptx::{self, Arch, PtxOptions};
use helion_codegen::{passes, schedule};
use helion_ir::config::Config;
use helion_ir::{loops, tile};
use std::collections::HashMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("which file?")?;
    let arch: Arch = args.next().as_deref().unwrap_or("sm_80").parse()?;
    // Sizes as launches say them: `size:d=64`.
    let (sizes, rest): (Vec<String>, Vec<String>) = args.partition(|a| a.starts_with("size:"));
    let mut args = rest.into_iter();
    let config: Config = args.by_ref().collect::<Vec<_>>().join(" ").parse().map_err(|e| format!("{e}"))?;
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let f = if path.ends_with(".tile") {
        let kernel = tile::parse(&text).map_err(|e| e.to_string())?;
        let kernel = tile::verify(kernel).map_err(|d| d.iter().map(|d| format!("{d:?}\n")).collect::<String>())?;
        let target = ptx::target(arch);
        let mut f = schedule::schedule(&kernel, &config, &target).map_err(|d| d.to_string())?;
        passes::run(&mut f, &target);
        eprintln!("{f}");
        f
    } else {
        loops::parse(&text).map_err(|e| e.to_string())?
    };
    let mut known = HashMap::new();
    for s in sizes {
        let (name, value) = s["size:".len()..].split_once('=').ok_or("a size is written `size:d=64`")?;
        let symbol = f.symbols.iter().position(|s| s.name == name).ok_or_else(|| format!("no size `{name}`"))?;
        known.insert(loops::SymbolId(symbol as u32), value.parse().map_err(|e| format!("{s}: {e}"))?);
    }
    let facts = ptx::Wanted::of(&f).facts(|s| known.get(&s).copied(), u64::MAX, true);
    let options = PtxOptions { facts, ..PtxOptions::new(arch) };
    let kernel = ptx::compile(&f, &options).map_err(|e| e.to_string())?;
    Ok(kernel.text().to_owned())
}
