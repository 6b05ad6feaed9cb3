//! How long compiling takes: `cargo test --release --features llvm --test gpu times -- --ignored --nocapture` prints a table,
//! the slowest kernels first. Every candidate of the tuner pays this.

use std::time::{Duration, Instant};

use helion::prelude::Config;
use helion_codegen::ptx::Arch;

use crate::kernels;
use crate::tools::Tools;

/// Compiles so often, and keeps the shortest time.
const TIMES: usize = 3;

fn shortest<T>(mut f: impl FnMut() -> Result<T, String>) -> Result<(Duration, T), String> {
    let mut best: Option<(Duration, T)> = None;
    for _ in 0..TIMES {
        let start = Instant::now();
        let made = f()?;
        let time = start.elapsed();
        if best.as_ref().is_none_or(|(b, _)| time < *b) {
            best = Some((time, made));
        }
    }
    best.ok_or_else(|| "never ran".to_owned())
}

#[test]
#[ignore = "measures"]
fn times() {
    let tools = Tools::for_test();
    let word = std::env::var("HELION_GPU").unwrap_or_default();
    let arch = Arch::Sm90a;
    let mut rows = Vec::new();
    for case in kernels::all().into_iter().filter(|c| c.name.contains(&word)) {
        let compile =
            || kernels::compile(&case, &Config::new(), arch)?.ok_or_else(|| "the default config is refused".to_owned());
        let (to_ptx, kernels) = shortest(compile).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let lines: usize = kernels.iter().map(|k| k.text().lines().count()).sum();
        let assemble = |tools: &Tools| kernels.iter().try_for_each(|k| tools.assemble(k.text(), arch.name()).map(drop));
        let assembled = tools.as_ref().map(|t| shortest(|| assemble(t)).map_or(Duration::ZERO, |r| r.0));
        rows.push((to_ptx, lines, assembled, case.name.clone()));
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.0));
    println!("| kernel | lines of PTX | to PTX, ms | ptxas, ms |\n|---|---:|---:|---:|");
    for (to_ptx, lines, assembled, name) in rows {
        let assembled = assembled.map_or_else(|| "–".to_owned(), |t| format!("{:.0}", t.as_secs_f64() * 1e3));
        println!("| {name} | {lines} | {:.1} | {assembled} |", to_ptx.as_secs_f64() * 1e3);
    }
}
