//! Splitting keeps the meaning: every kernel of `tests/split` is cut into stages, which are printed (and compared with
//! the `.stages` file beside it), and give what the kernel gives, for many sizes, numbers of parts and block sizes.
//! `HELION_BLESS=1` rewrites the printed stages.

use helion_codegen::split::{self, Split};
use helion_codegen::{cpu, passes, schedule};
use helion_ir::DType;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::config::{Config, Knob, Slot};
use helion_ir::dtype::Literal;
use helion_ir::tile::{self, Dim, ParamKind, Verified};
use std::path::PathBuf;

/// The kernels, by name.
fn kernels() -> Vec<(PathBuf, Verified)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/split");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "tile"));
    paths.sort();
    let kernel = |p: PathBuf| {
        let text = std::fs::read_to_string(&p).expect("a readable file");
        let v = kernel(&text).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
        (p, v)
    };
    paths.into_iter().map(kernel).collect()
}

fn kernel(text: &str) -> Result<Verified, String> {
    let f = tile::parse(text).map_err(|e| e.to_string())?;
    tile::verify(f).map_err(|e| helion_ir::diag::render(&e))
}

fn cut(kernel: &Verified, parts: u64, block: u64) -> Split {
    split::split(kernel, parts, &|_| block).unwrap_or_else(|e| panic!("{e}")).expect("something to split")
}

#[test]
fn printed_stages() {
    let bless = std::env::var_os("HELION_BLESS").is_some();
    for (path, kernel) in kernels() {
        let split = cut(&kernel, 3, 8);
        let printed: Vec<String> = split.stages.iter().map(|s| s.function().to_string()).collect();
        let (printed, path) = (printed.join("\n"), path.with_extension("stages"));
        if bless {
            std::fs::write(&path, &printed).expect("a writable file");
        }
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(printed == want, "{}: is now\n{printed}", path.display());
        for stage in &split.stages {
            let back = tile::parse(&stage.function().to_string()).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(back, *stage.function());
        }
    }
}

/// Numbers that are small and whole, so that sums are exact in any order.
fn arguments(kernel: &Verified, sizes: &[u64], wild: bool) -> Args {
    let f = kernel.function();
    let mut state = 88u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i64 % 5 - 2
    };
    let mut tensor = |dtype: DType, dims: &[Dim]| {
        let extents: Vec<u64> = dims.iter().map(|d| extent(*d, sizes)).collect();
        let count = extents.iter().product::<u64>();
        let values: Vec<i64> = (0..count).map(|_| next()).collect();
        if wild && dtype.is_float() && count > 3 {
            let odd = |i: usize| [f64::NAN, f64::INFINITY, 1.0][(i / 5) % 3];
            return TensorArg::from_f64s(
                dtype,
                &extents,
                (0..count as usize).map(|i| if i % 5 == 0 { odd(i) } else { values[i] as f64 }),
            );
        }
        match dtype {
            DType::Bool => TensorArg::from_i64s(dtype, &extents, values.iter().map(|v| v & 1)),
            _ => TensorArg::from_i64s(dtype, &extents, values),
        }
    };
    let params = f.params.iter().map(|p| match &p.kind {
        ParamKind::Tensor { dtype, dims, .. } => Arg::Tensor(tensor(*dtype, dims)),
        ParamKind::Scalar { dtype } => Arg::Scalar(Literal::from_i64(*dtype, 2)),
    });
    Args { params: params.collect(), symbols: sizes.to_vec() }
}

fn extent(d: Dim, sizes: &[u64]) -> u64 {
    match d {
        Dim::Const(n) => n,
        Dim::Symbol(s) => sizes[s.index()],
        Dim::Tile(_) | Dim::Expr(_) => panic!("not the extent of a tensor"),
    }
}

/// The arguments of the stages: those of the kernel, and workspaces full of something.
fn with_workspaces(args: &Args, split: &Split) -> Args {
    let mut all = args.clone();
    for w in &split.workspaces {
        let extents: Vec<u64> = w.dims.iter().map(|d| extent(*d, &args.symbols)).collect();
        let count = extents.iter().product::<u64>() as i64;
        all.params.push(TensorArg::from_i64s(w.dtype, &extents, (0..count).map(|_| 1)).into());
    }
    all
}

fn config(kernel: &Verified, block: u64) -> Config {
    let mut config = Config::new();
    for t in kernel.function().tiles.iter().filter(|t| !t.unit) {
        config.set(Slot::of(Knob::Block, t.name.clone()), block);
    }
    config
}

fn same(kernel: &Verified, got: &Args, want: &Args, what: &dyn Fn() -> String) {
    for (k, p) in kernel.function().params.iter().enumerate() {
        if let (Some(got), Some(want)) = (got.tensor(k), want.tensor(k)) {
            got.close_to(want, 1e-5, 1e-5).unwrap_or_else(|e| panic!("{}: `{}`: {e}", what(), p.name));
        }
    }
}

#[test]
fn stages_give_what_the_kernel_gives() {
    let target = cpu::host_target();
    let sizes: [&[u64]; 7] =
        [&[1, 1, 1], &[3, 0, 0], &[0, 3, 2], &[2, 5, 7], &[7, 64, 31], &[3, 257, 66], &[300, 4, 5]];
    for (path, kernel) in kernels() {
        let symbols = kernel.function().symbols.len();
        for (sizes, parts, block, wild) in sizes
            .iter()
            .flat_map(|s| [(2, 1), (5, 8), (64, 64)].map(|(p, b)| (*s, p, b, false)))
            .chain([(sizes[5], 3, 8, true)])
        {
            let what = || format!("{}, sizes {sizes:?}, {parts} parts, blocks of {block}", path.display());
            let args = arguments(&kernel, &sizes[..symbols], wild);
            let mut want = args.clone();
            let ran = tile::interp::run(&kernel, &mut want, &|_| block);
            ran.unwrap_or_else(|e| panic!("{}: {e}", what()));
            let split = cut(&kernel, parts, block);
            let start = with_workspaces(&args, &split);
            let mut got = start.clone();
            for stage in &split.stages {
                let ran = tile::interp::run(stage, &mut got, &|_| block);
                ran.unwrap_or_else(|e| panic!("{}: {e}\n{}", what(), stage.function()));
            }
            same(&kernel, &got, &want, &what);
            let mut got = start;
            for (n, stage) in split.stages.iter().enumerate() {
                let config = split.config(n, &config(&kernel, block));
                let mut f = schedule::schedule(stage, &config, &target).unwrap_or_else(|e| panic!("{}: {e}", what()));
                passes::run(&mut f, &target);
                helion_ir::loops::verify(&f).unwrap_or_else(|e| panic!("{}: {}", what(), helion_ir::diag::render(&e)));
                let ran = helion_ir::loops::interp::run(&f, &mut got);
                ran.unwrap_or_else(|e| panic!("{}: {e}\n{f}", what()));
            }
            same(&kernel, &got, &want, &what);
        }
    }
}

#[test]
fn what_is_not_split() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/split");
    let text = std::fs::read_to_string(folder.join("sum.tile")).expect("a readable file");
    let changed = |changes: &[(&str, &str)]| {
        let new = changes.iter().fold(text.clone(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        split::applies(&kernel(&new).unwrap_or_else(|e| panic!("{changes:?}: {e}")))
    };
    assert!(changed(&[]));
    let sum = "%9: f32[1] = add %6.sum, %8";
    assert!(changed(&[(sum, "%9: f32[1] = max %8, %6.sum")]));
    assert!(changed(&[(sum, "%9: f32[1] = sub %6.sum, %8")]));
    // What is carried is subtracted, divided, used twice, or not used at all.
    for other in ["sub %8, %6.sum", "div %6.sum, %8", "add %6.sum, %6.sum", "add %8, %8"] {
        assert!(!changed(&[(sum, &format!("%9: f32[1] = {other}"))]), "{other}");
    }
    // The number of the block.
    let load = "%7: f32[t] = load x[t]";
    assert!(!changed(&[(load, "%10: i64 = tile_ordinal t\n      %7: f32[t] = load x[t + %10]")]));
    // A store in the loop.
    assert!(!changed(&[(sum, &format!("store out[one], %8\n      {sum}"))]));
    // A store before the loop to what it reads; to something else it is fine.
    let alone =
        [("  grid one unit in %0..%1\n", ""), ("out[one]", "out[..]"), ("param x: tensor", "param x: mut tensor")];
    let with = |store: &str| {
        let first = "%5.sum: f32[1] = for";
        let store = format!("{store}\n    {first}");
        changed(&[&alone[..], &[(first, &store)]].concat())
    };
    assert!(!with("store x[%0], %3"));
    assert!(with("store out[..], %4"));
}
