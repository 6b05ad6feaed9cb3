//! The offline comparison of GPU code: what a round of the main loop costs in machine instructions, beside Triton and
//! NVIDIA's tile compiler. No GPU is needed.
//!
//! `./scripts/bench gpu-offline` makes the peers' kernels (`benches/gpu/offline_peers.py`) and runs this with their folder
//! and one for ours (`--ours`, which needs the feature `llvm`). `--all` prints every setting, and not only the best of each
//! compiler.

#[cfg(feature = "llvm")]
#[path = "../../../tests/gpu/examples.rs"]
mod examples;
#[cfg(feature = "llvm")]
#[path = "../../../tests/gpu/kernels.rs"]
mod kernels;
#[cfg(feature = "llvm")]
mod ours;
#[path = "../../../tests/gpu/sass.rs"]
mod sass;
#[path = "../../../tests/gpu/tools.rs"]
mod tools;

use sass::MainLoop;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tools::{Tools, Usage};

/// A kernel as some compiler made it.
struct Kernel {
    /// What it computes: `matmul 128x128`.
    name: String,
    /// For what: `sm_90a`.
    target: String,
    compiler: String,
    setting: String,
    /// Bytes of shared memory that a launch asks for, where the compiler says it.
    shared: Option<u32>,
    code: PathBuf,
}

/// A kernel with what its code costs.
struct Row {
    kernel: Kernel,
    usage: Usage,
    /// `None` when no loop has matrix instructions.
    cost: Option<MainLoop>,
}

impl Row {
    /// Instructions for the work of one `m16n8k16` product of a warp.
    fn per_product(&self) -> f64 {
        self.cost.as_ref().map_or(f64::INFINITY, MainLoop::per_product)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let tools = Tools::find()?;
    let (mut all, mut folders) = (false, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--all" => all = true,
            "--ours" => {
                let folder = PathBuf::from(arguments.next().ok_or("`--ours` needs a folder to write to")?);
                make_ours(&folder, &tools)?;
                folders.push(folder);
            }
            a if a.starts_with('-') => return Err(format!("`{a}` is not an option; there are `--all` and `--ours`")),
            folder => folders.push(PathBuf::from(folder)),
        }
    }
    let mut rows = Vec::new();
    for folder in &folders {
        for kernel in read(folder)? {
            let name = format!("{} {} {}", kernel.name, kernel.target, kernel.setting);
            rows.push(judge(kernel, &tools).map_err(|e| format!("{name}: {e}"))?);
        }
    }
    print(rows, all, &tools.version);
    Ok(())
}

#[cfg(feature = "llvm")]
use ours::write as make_ours;

#[cfg(not(feature = "llvm"))]
fn make_ours(_: &Path, _: &Tools) -> Result<(), String> {
    Err("this build cannot compile for GPUs: build it with `--features llvm`".to_owned())
}

/// The kernels that a folder's `kernels.tsv` lists.
fn read(folder: &Path) -> Result<Vec<Kernel>, String> {
    let path = folder.join("kernels.tsv");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let kernel = |line: &str| -> Result<Kernel, String> {
        let [file, name, target, compiler, setting, shared] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("{}: `{line}` does not have six columns", path.display()));
        };
        Ok(Kernel {
            name: name.to_owned(),
            target: target.to_owned(),
            compiler: compiler.to_owned(),
            setting: setting.to_owned(),
            shared: shared.parse().ok(),
            code: folder.join(file),
        })
    };
    text.lines().map(kernel).collect()
}

fn judge(kernel: Kernel, tools: &Tools) -> Result<Row, String> {
    let usage = tools.usage(&kernel.code)?.into_iter().next().ok_or("there is no kernel in it")?;
    let cost = sass::main_loop(&tools.disassemble(&kernel.code)?);
    Ok(Row { kernel, usage, cost })
}

/// One line for each kernel, target and compiler: the setting with the fewest instructions for the work, among those
/// that keep everything in registers.
fn print(mut rows: Vec<Row>, all: bool, version: &str) {
    let spills = |r: &Row| r.usage.stack > 0;
    rows.sort_by(|a, b| {
        let key = |r: &Row| (r.kernel.name.clone(), r.kernel.target.clone(), r.kernel.compiler.clone(), spills(r));
        let registers = |r: &Row| r.usage.registers;
        key(a).cmp(&key(b)).then(a.per_product().total_cmp(&b.per_product())).then(registers(a).cmp(&registers(b)))
    });
    if !all {
        rows.dedup_by(|b, a| {
            let key = |r: &Row| (r.kernel.name.clone(), r.kernel.target.clone(), r.kernel.compiler.clone());
            key(a) == key(b)
        });
    }
    println!("## Code for GPUs, judged without one\n");
    println!(
        "Instructions of one round of the main loop, counted in the machine code (`./scripts/bench gpu-offline`; ptxas \
         {version} for PTX, each peer's own assembler for its cubin): bf16 with f32 accumulation, a block of 128x128 of \
         the product, 128 queries of attention (not causal), head depth as named. Each compiler in the best of its \
         settings. `per MMA` divides by matrix instructions; `per m16n8k16` by the work they do for a warp, since one \
         `HGMMA.64x128x16` is 16 of Ampere's. Both sides of a branch inside the loop count, such as code for blocks at \
         the edge.\n"
    );
    println!(
        "| kernel | target | compiler | setting | matrix instruction | loop | per MMA | per m16n8k16 | registers | \
         stack | shared |"
    );
    println!("|---|---|---|---|---|---:|---:|---:|---:|---:|---:|");
    for Row { kernel, usage, cost } in &rows {
        let Kernel { name, target, compiler, setting, shared, .. } = kernel;
        let shared = shared.map_or(String::new(), |s| format!("{}", s + usage.shared));
        let costs = cost.as_ref().map_or("none | | |".to_owned(), |c| {
            let (count, matrix, instructions) = (c.matrix_count, &c.matrix, c.instructions);
            format!("{count} x {matrix} | {instructions} | {:.2} | {:.2}", c.per_matrix(), c.per_product())
        });
        let (registers, stack) = (usage.registers, usage.stack);
        println!("| {name} | {target} | {compiler} | {setting} | {costs} | {registers} | {stack} | {shared} |");
        if let (true, Some(cost)) = (all, cost) {
            let counts: Vec<_> = cost.counts.iter().take(16).map(|(op, n)| format!("{op} {n}")).collect();
            println!("|  | | | {} | | | | | | | |", counts.join(", "));
        }
    }
    println!();
}
