//! Loop IR from text, run by the interpreter.

use helion_ir::DType;
use helion_ir::args::{Args, TensorArg};
use helion_ir::loops::{self, interp};

const SOFTMAX: &str = r#"
loops softmax {
  config block.tm=2
  symbol m
  symbol n
  param x: tensor f32[$m, $n] contiguous
  param out: mut tensor f32[$m, $n] contiguous
  header {
    %0.m: i64 = size $m
    %1.n: i64 = size $n
    %2: i64 = const i64 2
    %3: i64 = const i64 1
    %4: i64 = add %0.m, %3
    %5: i64 = div %4, %2
  }
  buffer row: f32[%2, %1.n]
  buffer top: f32[%2]
  grid tm for %6.tm in 0..%5
  body {
    %7: i64 = mul %6.tm, %2
    %8: i64 = sub %0.m, %7
    %9.rows: i64 = min %8, %2
    %10: f32 = const f32 -inf
    nest {
      for %11.i in 0..%9.rows <= 2 (parallel)
      for %12.j in 0..%1.n (reduce)
      carry %13: f32 from %10 next %17 result %14 (max)
      body {
        %15: i64 = add %7, %11.i
        %16: f32 = load x[%15, %12.j] @src/softmax.rs:3:9
        %17: f32 = max %13, %16
      }
      finals {
        store &top[%11.i], %14
      }
    }
    %18: f64 = const f64 0.0
    nest {
      for %19.i in 0..%9.rows <= 2 (parallel)
      for %20.j in 0..%1.n (reduce)
      carry %21: f64 from %18 next %28 result %22 (sum)
      body {
        %23: i64 = add %7, %19.i
        %24: f32 = load x[%23, %20.j]
        %25: f32 = load &top[%19.i]
        %26: f32 = sub %24, %25
        %27: f32 = exp %26
        %29: f64 = cast f64 %27
        %28: f64 = add %21, %29
        store &row[%19.i, %20.j], %27
      }
      finals {
        %30: f32 = cast f32 %22
        store &top[%19.i], %30
      }
    }
    nest {
      for %31.i in 0..%9.rows <= 2 (parallel)
      for %32.j in 0..%1.n (parallel)
      body {
        %33: f32 = load &row[%31.i, %32.j]
        %34: f32 = load &top[%31.i]
        %35: f32 = div %33, %34
        %36: i64 = add %7, %31.i
        store out[%36, %32.j], %35
      }
    }
  }
}
"#;

#[test]
fn softmax_prints_verifies_and_runs() {
    let func = loops::parse(SOFTMAX).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(func.to_string().trim(), SOFTMAX.trim());
    loops::verify(&func).unwrap_or_else(|e| panic!("{}", helion_ir::diag::render(&e)));
    let x = TensorArg::from_f64s(DType::F32, &[3, 2], [0.0, 0.0, 1.0, 2.0, -3.0, 5.0]);
    let out = TensorArg::zeros(DType::F32, &[3, 2]);
    let mut args = Args::bind(&func.params, &func.symbols, vec![x.into(), out.into()], &[]).unwrap();
    interp::run(&func, &mut args).unwrap();
    let want = TensorArg::from_f64s(DType::F32, &[3, 2], [0.5, 0.5, 0.26894143, 0.7310586, 0.00033535014, 0.99966466]);
    args.tensor(1).unwrap().close_to(&want, 1e-6, 1e-6).unwrap();
}

#[test]
fn wrong_accesses_are_named() {
    let run = |from: &str, to: &str| {
        let func = loops::parse(&SOFTMAX.replace(from, to)).unwrap_or_else(|e| panic!("{e}"));
        let x = TensorArg::zeros(DType::F32, &[3, 2]);
        let mut args = Args::bind(&func.params, &func.symbols, vec![x.clone().into(), x.into()], &[]).unwrap();
        interp::run(&func, &mut args).unwrap_err()
    };
    assert_eq!(
        run("%9.rows: i64 = min %8, %2", "%9.rows: i64 = max %2, %2"),
        "load x[3, 0] into %16 at src/softmax.rs:3:9: outside its extents [3, 2] (program instance 1 of 2)"
    );
    assert_eq!(
        run("        store &row[%19.i, %20.j], %27\n", ""),
        "load &row[0, 0] into %33: the element is undefined: nothing was stored there (program instance 0 of 2)"
    );
    assert_eq!(
        run("store out[%36, %32.j], %35", "store out[%31.i, %32.j], %35"),
        "store out[0, 0]: program instance 0 wrote this element too (program instance 1 of 2)"
    );
    assert_eq!(
        run("%34: f32 = load &top[%31.i]", "%34: f32 = load &top[%31.i]\n store &top[%31.i], %33"),
        "load &top[0] into %34: another point of this nest stored this element (program instance 0 of 2)"
    );
}
