//! The tests that compile: every example for every element type and two architectures, through NVIDIA's assembler.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use helion::prelude::Config;
use helion_codegen::ptx::{Arch, PtxKernel};

use crate::kernels::{self, Case};
use crate::sass;
use crate::support::crash;
use crate::table::{self, Row, Rows};
use crate::tools::{Assembled, Scratch, Tools};

/// What code is made for.
const ARCHS: [Arch; 2] = [Arch::Sm80, Arch::Sm90a];

/// How many random configs of each kernel are assembled.
const CONFIGS: u64 = 2;

/// Runs `f` for every case and architecture on all cores; returns what it found wrong.
pub fn for_each(f: impl Fn(&Case, Arch) -> Result<(), String> + Sync) -> Vec<String> {
    crash::install();
    let word = std::env::var("HELION_GPU").unwrap_or_default();
    let cases: Vec<Case> = kernels::all().into_iter().filter(|c| c.name.contains(&word)).collect();
    assert!(!cases.is_empty(), "HELION_GPU={word} is in no kernel's name");
    let jobs: Vec<(&Case, Arch)> = cases.iter().flat_map(|c| ARCHS.map(|arch| (c, arch))).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((case, arch)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            crash::running(&format!("{} {arch}", case.name));
            if let Err(e) = f(case, *arch) {
                wrong.lock().expect("no thread panicked").push(format!("{} {arch}: {e}", case.name));
            }
        }
    };
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(work);
        }
    });
    let mut wrong = wrong.into_inner().expect("no thread panicked");
    wrong.sort();
    wrong
}

/// Assembles a kernel. What the assembler remarks, such as matrix instructions that it serialises (C7510) or waits that
/// it adds (C7517), is an error.
fn assemble(tools: &Tools, kernel: &PtxKernel) -> Result<Assembled, String> {
    let made = tools.assemble(kernel.text(), kernel.arch().name())?;
    match made.remarks.first() {
        Some(remark) => Err(format!("the assembler remarks: {remark}")),
        None if made.usage.len() != 1 => Err(format!("{} entries instead of one", made.usage.len())),
        None => Ok(made),
    }
}

/// What a kernel uses.
fn measure(tools: &Tools, kernel: &PtxKernel) -> Result<Row, String> {
    let made = assemble(tools, kernel)?;
    let usage = &made.usage[0];
    if usage.spill_stores + usage.spill_loads > 0 {
        return Err(format!("the default config spills: {usage}"));
    }
    let scratch = Scratch::new()?;
    std::fs::write(scratch.file("cubin"), &made.cubin).map_err(|e| e.to_string())?;
    let main_loop = sass::main_loop(&tools.disassemble(&scratch.file("cubin"))?);
    Ok(Row::new(usage, kernel.shared_bytes(), main_loop.as_ref()))
}

#[test]
fn default_configs_use_no_more_than_the_table_says() {
    let Some(tools) = Tools::for_test() else { return };
    let rows = Mutex::new(Rows::new());
    let wrong = for_each(|case, arch| {
        let kernels = kernels::compile(case, &Config::new(), arch)?.ok_or("the default config is refused")?;
        for (i, kernel) in kernels.iter().enumerate() {
            let part = if kernels.len() > 1 { format!(" part {}", i + 1) } else { String::new() };
            let row = measure(&tools, kernel)?;
            let key = (format!("{}{part}", case.name), arch.name().to_owned());
            rows.lock().expect("no thread panicked").insert(key, row);
        }
        Ok(())
    });
    assert!(wrong.is_empty(), "{} kernels:\n  {}", wrong.len(), wrong.join("\n  "));
    let measured = rows.into_inner().expect("no thread panicked");

    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/gpu/TABLE.md");
    let versions = format!("ptxas {}", tools.version);
    let partial = std::env::var_os("HELION_GPU").is_some();
    if std::env::var_os("HELION_BLESS").is_some() && !partial {
        std::fs::write(&path, table::page(&measured, &versions)).expect("a writable page");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    if !page.is_empty() && !page.contains(&versions) {
        eprintln!("skipped: the table was made with another assembler than {versions}");
        return;
    }
    let mut stored = table::read(&page);
    if partial {
        stored.retain(|key, _| measured.contains_key(key));
    }
    let found = table::worse(&stored, &measured);
    assert!(
        found.is_empty(),
        "tests/gpu/TABLE.md says otherwise; if this is meant, HELION_BLESS=1 cargo test --features llvm --test gpu\n  {}",
        found.join("\n  ")
    );
}

#[test]
#[ignore = "assembles hundreds of kernels, which takes many minutes"]
fn random_configs_assemble() {
    let Some(tools) = Tools::for_test() else { return };
    let assembled = AtomicUsize::new(0);
    let wrong = for_each(|case, arch| {
        let space = kernels::space(&case.kernel, arch)?;
        let mut state = case.name.bytes().fold(7u64, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
        let (mut done, mut drawn) = (0, 0);
        while done < CONFIGS && drawn < 20 * CONFIGS {
            drawn += 1;
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let config = space.nth((state >> 16) % space.len());
            let with = |e: String| format!("with {config}: {e}");
            let Some(kernels) = kernels::compile(case, &config, arch).map_err(with)? else { continue };
            for kernel in &kernels {
                assemble(&tools, kernel).map_err(with)?;
            }
            done += 1;
        }
        assembled.fetch_add(done as usize, Ordering::Relaxed);
        if done == 0 { Err(format!("none of {drawn} random configs is legal")) } else { Ok(()) }
    });
    println!("{} random configs assembled", assembled.into_inner());
    assert!(wrong.is_empty(), "{} kernels:\n  {}", wrong.len(), wrong.join("\n  "));
}
