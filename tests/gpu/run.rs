//! The test that runs: every example for every element type on the interpreter of PTX, compared with the tile
//! interpreter, on sizes that are prime, one, nothing, or one more than a block.

use helion::prelude::Config;
use helion_codegen::ptx::{self, Arch};
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::dtype::{Class, DType, Literal};
use helion_ir::tile::{Dim, Function, ParamKind};

use crate::judge::for_each;
use crate::kernels::Case;
use crate::support::engines::{self, Engine};

/// Sizes of the first symbol, the second and so on, of each run.
const SIZES: [[u64; 4]; 4] = [[1, 1, 1, 1], [7, 33, 13, 5], [65, 17, 3, 19], [3, 0, 5, 2]];
/// With products runs are long; these are enough.
const SMALL: [[u64; 4]; 3] = [[1, 1, 1, 1], [7, 33, 13, 5], [65, 17, 3, 19]];

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An element: floats within ±1, whole numbers from 0 to 6, so that they serve as indices.
fn element(d: DType, state: &mut u64) -> Literal {
    match d.class() {
        Class::Float | Class::Storage => Literal::from_f64(d, (next(state) >> 40) as f64 / f64::from(1u32 << 23) - 1.0),
        _ => Literal::from_i64(d, (next(state) % 7) as i64),
    }
}

/// Arguments of a kernel with these sizes.
fn arguments(f: &Function, sizes: &[u64]) -> Result<Args, String> {
    let symbols: Vec<u64> = (0..f.symbols.len()).map(|i| sizes[i % sizes.len()]).collect();
    let mut state = 7;
    let mut params = Vec::new();
    for p in &f.params {
        params.push(match &p.kind {
            ParamKind::Scalar { dtype } => Arg::Scalar(element(*dtype, &mut state)),
            ParamKind::Tensor { dtype, dims, .. } => {
                let extent = |d: &Dim| match d {
                    Dim::Const(n) => Ok(*n),
                    Dim::Symbol(s) => Ok(symbols[s.index()]),
                    Dim::Tile(_) | Dim::Expr(_) => Err(format!("`{}` has an extent that is no size", p.name)),
                };
                let extents = dims.iter().map(extent).collect::<Result<Vec<_>, _>>()?;
                let count: u64 = extents.iter().product();
                let mut all: Vec<Literal> = (0..count).map(|_| element(*dtype, &mut state)).collect();
                // Where rows begin: one after the other.
                if p.name == "offsets" {
                    all.sort_by_key(|l| l.to_i64());
                }
                Arg::Tensor(TensorArg::new(*dtype, &extents, all))
            }
        });
    }
    let args = Args { params, symbols };
    args.check(&f.params, &f.symbols)?;
    Ok(args)
}

/// How far a result may be from the interpreter's: sums are taken in another order, and rounded at the end.
fn tolerance(d: DType) -> f64 {
    match d {
        // The examples' sums are of f32 at least, and often just that.
        DType::F64 | DType::F32 => 2e-5,
        DType::F16 => 4e-3,
        DType::BF16 => 3e-2,
        _ => 0.0,
    }
}

fn run(case: &Case, arch: Arch, sizes: &[u64]) -> Result<(), String> {
    let (target, config) = (ptx::target(arch), Config::new());
    let f = case.kernel.function();
    let args = arguments(f, sizes)?;
    let (mut want, mut got) = (args.clone(), args);
    engines::run(&Engine::Tile, &case.kernel, &config, &target, &mut want)?;
    engines::run(&Engine::Ptx(arch.to_string(), arch), &case.kernel, &config, &target, &mut got)?;
    for (p, (want, got)) in f.params.iter().zip(want.params.iter().zip(&got.params)) {
        if let (Arg::Tensor(want), Arg::Tensor(got)) = (want, got) {
            let near = tolerance(want.dtype());
            got.close_to(want, near, near).map_err(|e| format!("`{}`: {e}", p.name))?;
        }
    }
    Ok(())
}

#[test]
fn examples_compute_what_the_interpreter_does() {
    let wrong = for_each(|case, arch| {
        // The architectures take turns.
        if (case.name.len() % 2 == 0) != (arch == Arch::Sm80) {
            return Ok(());
        }
        let products = ["matmul", "attention", "swiglu_layer"].iter().any(|w| case.name.contains(w));
        let all: &[[u64; 4]] = if products { &SMALL } else { &SIZES };
        all.iter().try_for_each(|sizes| run(case, arch, sizes).map_err(|e| format!("sizes {sizes:?}: {e}")))
    });
    assert!(wrong.is_empty(), "{} kernels:\n  {}", wrong.len(), wrong.join("\n  "));
}
