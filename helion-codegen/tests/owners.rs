//! Scattered updates divided among owners: the same results, no atomic operation, and nothing else is touched.

use helion_codegen::cpu::host_target;
use helion_codegen::passes::owners;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::dtype::DType;
use helion_ir::loops::{self, Function};

/// Rows of `x` are added to rows of `out` by `ids`; `$UPDATE` is the update.
const ROWS: &str = "loops rows {
  symbol m
  symbol n
  symbol s
  param out: mut tensor f32[$s, $n] contiguous
  param ids: tensor i32[$m] contiguous
  param x: tensor f32[$m, $n] contiguous
  header {
    %0: i64 = const i64 0
    %1: i64 = size $m
    %2: i64 = size $n
    %3: i64 = size $s
    %4: i64 = const i64 4
    %5: i64 = const i64 3
    %6: i64 = add %1, %5
    %7: i64 = div %6, %4
  }
  grid tm for %8 in 0..%7
  body {
    %9: i64 = mul %8, %4
    %10: i64 = sub %1, %9
    %11: i64 = min %10, %4
    nest {
      for %12 in 0..%11 <= 4 (parallel)
      for %13 in 0..%2 (parallel)
      body {
        %14: i64 = add %9, %12
        %15: i32 = load ids[%14]
        %16: i64 = cast i64 %15
        %17: bool = lt %16, %3
        %18: bool = ge %16, %0
        %19: bool = and %18, %17
        %20: f32 = load x[%14, %13]
        %21: i64 = const i64 1
        %22: i64 = add %13, %21
        %23: bool = lt %22, %2
        %24: bool = and %19, %23
        $UPDATE
      }
    }
  }
}";

fn function(update: &str) -> Function {
    let f = loops::parse(&ROWS.replace("$UPDATE", update)).unwrap_or_else(|e| panic!("{e}"));
    loops::verify(&f).unwrap_or_else(|e| panic!("{}\n{f}", helion_ir::diag::render(&e)));
    f
}

fn divided(f: &Function, owners: u64) -> Function {
    let mut f = f.clone();
    f.config = format!("owners={owners}").parse().expect("a config");
    owners::divide_owners(&mut f, &host_target());
    loops::verify(&f).unwrap_or_else(|e| panic!("{}\n{f}", helion_ir::diag::render(&e)));
    assert!(f.config.is_empty(), "knobs that were read are gone: {}", f.config);
    f
}

fn results(f: &Function, [m, n, s]: [u64; 3]) -> Vec<f64> {
    let out = TensorArg::from_f64s(DType::F32, &[s, n], (0..s * n).map(|i| i as f64));
    // Some are outside of the tensor.
    let ids = TensorArg::from_f64s(DType::I32, &[m], (0..m).map(|i| (i * 5 % (s + 3)) as f64 - 1.0));
    let x = TensorArg::from_f64s(DType::F32, &[m, n], (0..m * n).map(|i| (i * 7 % 11) as f64));
    let mut args = Args { params: [out, ids, x].into_iter().map(Arg::Tensor).collect(), symbols: vec![m, n, s] };
    loops::interp::run(f, &mut args).unwrap_or_else(|e| panic!("{e}\n{f}"));
    let Arg::Tensor(out) = &args.params[0] else { panic!("a tensor") };
    out.to_f64s()
}

#[test]
fn owners_make_the_same_updates() {
    let masks = [
        "%25: f32 = atomic add out[%16, %13], %20 where %19",
        // Decided for each element, and an index that is a column moved by one.
        "%25: f32 = atomic max out[%16, %22], %20 where %24",
        // All columns meet in one element: they stay in order.
        "%25: f32 = atomic add out[%16, %0], %20 where %24",
    ];
    for update in masks {
        let f = function(update);
        assert!(owners::applies(&f), "{f}");
        for owners in [1, 2, 3, 8] {
            let plain = divided(&f, owners);
            assert!(!plain.to_string().contains("atomic"), "{plain}");
            for sizes in [[0, 3, 2], [1, 1, 1], [9, 5, 4], [13, 2, 7], [6, 3, 0]] {
                assert_eq!(results(&f, sizes), results(&plain, sizes), "{owners} owners, {sizes:?}\n{plain}");
            }
        }
        assert_eq!(divided(&f, 0).to_string(), f.to_string(), "0 stands for atomic updates");
    }
}

#[test]
fn other_updates_stay_atomic() {
    let others = [
        // The place is no matter of data.
        "%25: f32 = atomic add out[%0, %13], %20 where %19",
        // Somebody wants to know what was there before, or reads it otherwise.
        "%25: f32 = atomic add out[%16, %13], %20 where %19\n        store out[%0, %13], %25 where %19",
        "%25: f32 = load out[%16, %13] where %19 else %20\n        %26: f32 = atomic add out[%16, %13], %25 where %19",
        "%25: f32 = atomic exchange out[%16, %13], %20 where %19",
    ];
    for update in others {
        let f = function(update);
        assert!(!owners::applies(&f), "{f}");
        assert_eq!(divided(&f, 2).body, f.body);
    }
}
