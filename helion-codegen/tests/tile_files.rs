//! Scheduling keeps the meaning: every `.tile` file test that runs is scheduled with several block sizes, printed and
//! read back, and run by the interpreter of loop IR, which must write what the interpreter of tile IR writes.

#[path = "../../helion-ir/tests/common/case.rs"]
mod case;

use case::{Given, cases, given, paths};
use helion_codegen::schedule::schedule;
use helion_ir::args::{Arg, Args};
use helion_ir::config::{Config, Knob, Slot};
use helion_ir::diag::render;
use helion_ir::target::{Speed, Target};
use helion_ir::tile::ParamKind;
use helion_ir::{loops, tile};

const BLOCKS: [u64; 4] = [1, 2, 3, 8];

fn target() -> Target {
    Target {
        name: "test".into(),
        vector_bytes: 32,
        vector_registers: 16,
        l1_bytes: 32 << 10,
        l2_bytes: 1 << 20,
        l3_bytes: 32 << 20,
        cores: 2,
        warp: 1,
        speed: Speed::default(),
    }
}

/// Runs one kernel both ways with one block size for every tile variable.
fn compare(kernel: &tile::Verified, given: &Given, block: u64) -> Result<(), String> {
    let f = kernel.function();
    let mut want = given.bind(&f.params, &f.symbols)?;
    let mut got = want.clone();
    tile::interp::run_with(kernel, &mut want, &|_| block, &mut drop)?;
    let mut config = Config::new();
    for t in f.tiles.iter().filter(|t| !t.unit) {
        config.set(Slot::of(Knob::Block, t.name.clone()), block);
    }
    let scheduled = schedule(kernel, &config, &target()).map_err(|e| e.to_string())?;
    let show = |why: String| format!("{why}\n{scheduled}");
    loops::verify(&scheduled).map_err(|e| show(render(&e)))?;
    let back = loops::parse(&scheduled.to_string()).map_err(|e| show(e.to_string()))?;
    if back != scheduled {
        return Err(show("is read back differently".to_owned()));
    }
    loops::interp::run_with(&scheduled, &mut got, 1 << 32, &mut drop).map_err(show)?;
    outputs(f, &got, &want).map_err(show)
}

fn outputs(f: &tile::Function, got: &Args, want: &Args) -> Result<(), String> {
    for ((p, got), want) in f.params.iter().zip(&got.params).zip(&want.params) {
        if let (ParamKind::Tensor { mutable: true, .. }, Arg::Tensor(got), Arg::Tensor(want)) = (&p.kind, got, want) {
            got.close_to(want, 1e-6, 1e-6).map_err(|e| format!("`{}`: {e}", p.name))?;
        }
    }
    Ok(())
}

#[test]
fn scheduled_file_tests_agree_with_the_tile_interpreter() {
    let (mut count, mut failures) = (0, String::new());
    for path in paths().into_iter().filter(|p| p.extension().is_some_and(|e| e == "tile")) {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        for case in cases(&text).expect("cases").into_iter().filter(|c| c.kind == "interp") {
            let Ok(f) = tile::parse(&case.text) else { continue };
            let Ok(kernel) = tile::verify(f) else { continue };
            let given = given(&case.text).expect("arguments");
            for block in BLOCKS {
                count += 1;
                if let Err(e) = compare(&kernel, &given, block) {
                    failures += &format!("\n{}:{}, block {block}: {e}", path.display(), case.line);
                    break;
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count >= 40, "only {count} runs");
}
