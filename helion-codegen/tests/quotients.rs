//! Divisions of rows by one value as products with its reciprocal: within 2 ulp of the quotient for all kinds of numbers.

use helion_codegen::cpu::host_target;
use helion_codegen::passes::quotients;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::dtype::DType;
use helion_ir::loops::{self, Function};

/// Each row of `y` is `x` over the row's `s`, by way of a buffer.
const ROWS: &str = "loops rows {
  symbol m
  symbol n
  param y: mut tensor f32[$m, $n] contiguous
  param s: tensor f32[$m] contiguous
  param x: tensor f32[$n] contiguous
  header {
    %0: i64 = size $m
    %1: i64 = size $n
  }
  buffer sum: f32[%0]
  body {
    nest {
      for %2 in 0..%0 (parallel)
      body {
        %3: f32 = load s[%2]
        store &sum[%2], %3
      }
    }
    nest {
      for %4 in 0..%0 (parallel)
      for %5 in 0..%1 (parallel)
      body {
        %6: f32 = load $FROM[%4]
        %7: f32 = load x[%5]
        %8: f32 = div %7, %6
        store y[%4, %5], %8
      }
    }
  }
}";

fn function(from: &str) -> Function {
    let f = loops::parse(&ROWS.replace("$FROM", from)).unwrap_or_else(|e| panic!("{e}"));
    loops::verify(&f).unwrap_or_else(|e| panic!("{}\n{f}", helion_ir::diag::render(&e)));
    f
}

fn rewritten(f: &Function) -> Function {
    let mut f = f.clone();
    quotients::share_quotients(&mut f, &host_target());
    loops::verify(&f).unwrap_or_else(|e| panic!("{}\n{f}", helion_ir::diag::render(&e)));
    f
}

fn results(f: &Function, s: &[f32], x: &[f32]) -> Vec<f32> {
    let tensor = |v: &[f32]| TensorArg::from_f64s(DType::F32, &[v.len() as u64], v.iter().map(|v| f64::from(*v)));
    let (m, n) = (s.len() as u64, x.len() as u64);
    let y = TensorArg::from_f64s(DType::F32, &[m, n], (0..m * n).map(|_| 0.0));
    let mut args =
        Args { params: [y, tensor(s), tensor(x)].into_iter().map(Arg::Tensor).collect(), symbols: vec![m, n] };
    loops::interp::run(f, &mut args).unwrap_or_else(|e| panic!("{e}\n{f}"));
    let Arg::Tensor(y) = &args.params[0] else { panic!("a tensor") };
    y.to_f64s().into_iter().map(|v| v as f32).collect()
}

/// Numbers of all sizes and kinds, some with all bits of the fraction in use.
fn numbers() -> Vec<f32> {
    let scales = [-149, -140, -127, -126, -100, -64, -63, -40, -1, 0, 1, 40, 63, 64, 65, 100, 126, 127];
    let sizes = scales.iter().flat_map(|e| [1.0, 1.1, 1.999_999_9].map(|m| (m * f64::from(*e).exp2()) as f32));
    let mut all: Vec<f32> = sizes.flat_map(|v| [v, -v]).collect();
    all.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, 3.0, 41.0]);
    all
}

#[test]
fn quotients_of_rows_are_within_two_ulp() {
    let f = function("&sum");
    let product = rewritten(&f);
    assert_ne!(f.to_string(), product.to_string(), "{f}");
    let (s, x) = (numbers(), numbers());
    let got = results(&product, &s, &x);
    for (i, got) in got.iter().enumerate() {
        let (s, x) = (s[i / x.len()], x[i % x.len()]);
        let want = x / s;
        if want.is_nan() {
            assert!(got.is_nan(), "{x:e} / {s:e} is {got:e}");
            continue;
        }
        assert_eq!(got.is_sign_negative(), want.is_sign_negative(), "{x:e} / {s:e} is {got:e}");
        let apart = i64::from(got.to_bits()).abs_diff(i64::from(want.to_bits()));
        assert!(apart <= 2, "{x:e} / {s:e} is {got:e}, not {want:e}");
    }
}

#[test]
fn divisors_of_the_user_stay() {
    let f = function("s");
    assert_eq!(f.to_string(), rewritten(&f).to_string());
}
