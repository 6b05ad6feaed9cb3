//! The ONNX node tests: every case in scope is a tile program, run by every engine and compared with the
//! results that the onnx package stores.
//!
//! `cases.txt` and `data.bin` come from `scripts/make-onnx-fixtures.py`, which also says in `SCOPE.md` what is
//! left out. The counts go to `TABLE.md`; `HELION_BLESS=1` rewrites it. `HELION_ONNX=name` runs the cases whose
//! name contains a word.

mod case;
mod graph;
mod ops;
#[path = "../support/mod.rs"]
mod support;
mod surface;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use helion_ir::DType;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::config::Config;
use helion_ir::target::Target;
use helion_ir::tile::{self, Verified};

use case::{Case, Tensor};
use graph::Graph;
use support::engines::{self, Engine};

/// A case as a program with its arguments; the last ones are the outputs.
struct Program {
    kernel: Verified,
    args: Args,
}

/// Builds the program of a case.
fn build(case: &Case) -> Result<Program, String> {
    let (mut g, arguments) = Graph::new(case);
    for node in &case.nodes {
        ops::lower(&mut g, node)?;
    }
    let f = g.finish()?;
    let kernel = tile::verify(f).map_err(|d| helion_ir::diag::render(&d))?;
    let zeros = |(_, t): &(String, Tensor)| TensorArg::zeros(t.dtype, &t.shape);
    let mut outputs = case.outputs.iter().map(zeros);
    let mut params = Vec::new();
    for t in arguments.tensors {
        let t = match t {
            Some(t) => argument(&t)?,
            None => outputs.next().ok_or("an output")?,
        };
        params.push(Arg::Tensor(t));
    }
    Ok(Program { kernel, args: Args { params, symbols: vec![] } })
}

fn argument(t: &Tensor) -> Result<TensorArg, String> {
    TensorArg::strided(t.dtype, &t.shape, &helion_ir::args::row_major(&t.shape), 0, t.bytes.clone())
}

/// How far results may be from the stored ones. Those were computed by numpy in the operand's own type,
/// and the package itself compares them with a relative tolerance of 1e-3.
fn tolerance(case: &Case, dtype: DType) -> (f64, f64) {
    let half = case.inputs.iter().chain(&case.outputs).any(|(_, t)| matches!(t.dtype, DType::F16 | DType::BF16));
    match dtype {
        DType::F64 if half => (1e-3, 1e-3),
        DType::F64 => (1e-7, 1e-6),
        DType::F32 if !half => (2e-6, 2e-5),
        DType::F32 | DType::F16 => (1e-3, 2e-3),
        DType::BF16 => (1e-2, 1e-2),
        _ => (0.0, 0.0),
    }
}

/// Runs a program and compares.
fn check(engine: &Engine, case: &Case, program: &Program, target: &Target) -> Result<(), String> {
    let mut args = program.args.clone();
    engines::run(engine, &program.kernel, &Config::new(), target, &mut args)?;
    let first = args.params.len() - case.outputs.len();
    for (i, (name, t)) in case.outputs.iter().enumerate() {
        let (absolute, relative) = tolerance(case, t.dtype);
        let got = args.tensor(first + i).ok_or("a tensor")?;
        got.close_to(&argument(t)?, absolute, relative).map_err(|e| format!("`{name}`: {e}"))?;
    }
    Ok(())
}

/// Passed and all, by group of cases.
type Counts = BTreeMap<String, Vec<(usize, usize)>>;

#[test]
fn every_case_in_scope_passes_on_every_engine() {
    support::crash::install();
    let wanted = std::env::var("HELION_ONNX").unwrap_or_default();
    let (all, engines, target) = (case::read(), Engine::all(), helion_codegen::cpu::host_target());
    let mut counts = Counts::new();
    let mut failures = Vec::new();
    for case in all.iter().filter(|c| c.name.contains(&wanted)) {
        let row = counts.entry(case.group()).or_insert_with(|| vec![(0, 0); engines.len()]);
        let program = catch_unwind(AssertUnwindSafe(|| build(case))).unwrap_or_else(|_| Err("panic".into()));
        let program = match program {
            Ok(program) => program,
            Err(e) => {
                failures.push(format!("{}: {e}", case.name));
                row.iter_mut().for_each(|c| c.1 += 1);
                continue;
            }
        };
        for (engine, count) in engines.iter().zip(row) {
            support::crash::running(&format!("ONNX case {} by the {}", case.name, engine.name()));
            count.1 += 1;
            let result = catch_unwind(AssertUnwindSafe(|| check(engine, case, &program, &target)));
            match result.unwrap_or_else(|_| Err("panic".into())) {
                Ok(()) => count.0 += 1,
                Err(e) => failures.push(format!("{} by the {}: {e}", case.name, engine.name())),
            }
        }
    }
    let table = table(&counts, &engines);
    println!("{table}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    if wanted.is_empty() {
        compare_with_stored(&table);
    }
}

/// The table of pass counts.
fn table(counts: &Counts, engines: &[Engine]) -> String {
    let mut text = String::from("# ONNX node tests: results\n\n");
    let total: usize = counts.values().map(|row| row[0].1).sum();
    let passed = |i: usize| counts.values().map(|row| row[i].0).sum::<usize>();
    let _ = writeln!(
        text,
        "{total} cases of onnx 1.22.0 are in scope; [SCOPE.md](SCOPE.md) lists the others with the reason."
    );
    let _ = writeln!(text, "Written by `HELION_BLESS=1 cargo test --test onnx`.\n");
    let names: Vec<_> = engines.iter().map(|e| e.name()).collect();
    let _ = writeln!(text, "| operator | cases | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (group, row) in counts {
        let cells: Vec<_> = row.iter().map(|(ok, _)| ok.to_string()).collect();
        let _ = writeln!(text, "| {group} | {} | {} |", row[0].1, cells.join(" | "));
    }
    let cells: Vec<_> = (0..engines.len()).map(|i| passed(i).to_string()).collect();
    let _ = writeln!(text, "| **all** | {total} | {} |", cells.join(" | "));
    text
}

/// The committed table is the current one; machines with fewer instruction sets have fewer columns.
fn compare_with_stored(table: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx/TABLE.md");
    if std::env::var_os("HELION_BLESS").is_some() {
        std::fs::write(path, table).expect("a writable table");
        return;
    }
    let stored = std::fs::read_to_string(path).expect("tests/onnx/TABLE.md; write it with HELION_BLESS=1");
    let all = |t: &str| {
        t.lines()
            .filter_map(|l| l.split('|').nth(2).map(|c| (l.split('|').nth(1).map(str::to_owned), c.to_owned())))
            .collect::<Vec<_>>()
    };
    assert_eq!(all(&stored), all(table), "tests/onnx/TABLE.md is out of date: HELION_BLESS=1");
}
