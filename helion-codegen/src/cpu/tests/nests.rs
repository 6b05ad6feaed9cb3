//! Control flow, nests, reductions, masks and matrix products, at awkward sizes.

use super::*;

/// Sizes around the lane counts of every instruction set, and others that fit nothing.
const SIZES: &[u64] = &[0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 257];

/// Softmax over rows in blocks of two, the exponentials kept in a buffer.
const SOFTMAX: &str = r#"
loops softmax {
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
        %16: f32 = load x[%15, %12.j]
        %17: f32 = max %13, %16
      }
      finals {
        store &top[%11.i], %14
      }
    }
    %18: f32 = const f32 0.0
    nest {
      for %19.i in 0..%9.rows <= 2 (parallel)
      for %20.j in 0..%1.n (reduce)
      carry %21: f32 from %18 next %28 result %22 (sum)
      body {
        %23: i64 = add %7, %19.i
        %24: f32 = load x[%23, %20.j]
        %25: f32 = load &top[%19.i]
        %26: f32 = sub %24, %25
        %27: f32 = exp %26
        %28: f32 = add %21, %27
        store &row[%19.i, %20.j], %27
      }
      finals {
        store &top[%19.i], %22
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

/// A load and a store of one buffer at different values are two uses of `top` in one nest: it is written in
/// `finals` and read in the body, so the vectoriser must not keep an old value.
#[test]
fn softmax() {
    let text = SOFTMAX
        .replace("store &top[%19.i], %22", "store &sums[%19.i], %22")
        .replace("%34: f32 = load &top[%31.i]", "%34: f32 = load &sums[%31.i]");
    let text = text.replace("  buffer top", "  buffer sums: f32[%2]\n  buffer top");
    for n in SIZES {
        for m in [1, 2, 5] {
            check(&text, &[("m", m), ("n", *n)], 1e-6, true);
        }
    }
}

/// Causal mask, masked load and store, comparisons of indices.
#[test]
fn index_masks() {
    let text = r#"
loops causal {
  symbol m
  symbol n
  param x: tensor f32[$m, $n] contiguous
  param out: mut tensor f32[$m, $n] contiguous
  param at: mut tensor f32[$m, $n] contiguous
  header {
    %0: i64 = size $m
    %1: i64 = size $n
    %2: f32 = const f32 -5.0
    %3: i64 = const i64 3
    %20: i64 = const i64 2
  }
  body {
    nest {
      for %4.i in 0..%0 (parallel)
      for %5.j in 0..%1 (parallel)
      body {
        %6: bool = le %5.j, %4.i
        %7: f32 = load x[%4.i, %5.j] where %6 else %2
        store out[%4.i, %5.j], %7
        %8: i64 = add %5.j, %3
        %9: f32 = cast f32 %8
        %10: i64 = sub %4.i, %5.j
        %11: bool = gt %10, %20
        %12: i64 = mul %5.j, %20
        %13: f32 = cast f32 %12
        %14: f32 = select %11, %9, %13
        %15: bool = ne %5.j, %20
        store at[%4.i, %5.j], %14 where %15
      }
    }
  }
}
"#;
    for n in SIZES {
        check(text, &[("m", 7), ("n", *n)], 0.0, true);
    }
}

/// Reductions of every kind and type that can be split, two reduce axes.
#[test]
fn reductions() {
    let cases = [
        ("sum", "add", DType::F32, "0.0"),
        ("sum", "add", DType::F64, "0.0"),
        ("sum", "add", DType::I32, "0"),
        ("sum", "add", DType::I64, "0"),
        ("sum", "add", DType::U32, "0"),
        ("sum", "add", DType::I8, "0"),
        ("prod", "mul", DType::I32, "1"),
        ("max", "max", DType::F32, "-inf"),
        ("min", "min", DType::F64, "inf"),
        ("max", "max", DType::I32, "-2147483648"),
        ("min", "min", DType::U8, "255"),
        ("max", "max", DType::U32, "0"),
        ("any", "or", DType::Bool, "false"),
        ("all", "and", DType::Bool, "true"),
    ];
    for (kind, op, d, init) in cases {
        let text = format!(
            "loops r {{
  symbol m
  symbol n
  symbol k
  param x: tensor {d}[$m, $n, $k] contiguous
  param out: mut tensor {d}[$m] contiguous
  header {{
    %0: i64 = size $m
    %1: i64 = size $n
    %2: i64 = size $k
    %3: {d} = const {d} {init}
  }}
  body {{
    nest {{
      for %4 in 0..%0 (parallel)
      for %5 in 0..%1 (reduce)
      for %6 in 0..%2 (reduce)
      carry %7: {d} from %3 next %9 result %10 ({kind})
      body {{
        %8: {d} = load x[%4, %5, %6]
        %9: {d} = {op} %7, %8
      }}
      finals {{
        store out[%4], %10
      }}
    }}
  }}
}}
"
        );
        for k in SIZES {
            check(&text, &[("m", 3), ("n", 2), ("k", *k)], 1e-5, false);
        }
    }
}

/// NaN wins in maxima, wherever it stands.
#[test]
fn nan_in_reductions() {
    let text = "loops r {
  symbol n
  param x: tensor f32[$n] contiguous
  param out: mut tensor f32[2] contiguous
  header {
    %0: i64 = size $n
    %1: i64 = const i64 1
    %2: f32 = const f32 -inf
    %3: f32 = const f32 inf
    %20: i64 = const i64 0
  }
  body {
    nest {
      for %4 in 0..%1 (parallel)
      for %5 in 0..%0 (reduce)
      carry %6: f32 from %2 next %9 result %10 (max)
      carry %7: f32 from %3 next %11 result %12 (min)
      body {
        %8: f32 = load x[%5]
        %9: f32 = max %6, %8
        %11: f32 = min %8, %7
      }
      finals {
        store out[%20], %10
        store out[%1], %12
      }
    }
  }
}
";
    let f = loops::parse(&renumber(text)).unwrap_or_else(|e| panic!("{e}"));
    for n in [1u64, 5, 16, 17, 40, 129] {
        for nan in [None, Some(0), Some(n / 2), Some(n - 1)] {
            let x = (0..n).map(|i| if Some(i) == nan { f64::NAN } else { i as f64 - 3.0 });
            let x = TensorArg::from_f64s(DType::F32, &[n], x);
            let out = TensorArg::zeros(DType::F32, &[2]);
            let args = Args::bind(&f.params, &f.symbols, vec![x.into(), out.into()], &[]).unwrap();
            check_args(&f, args, 0.0, true, &format!("{n} {nan:?}"));
        }
    }
}

/// Loops, branches, scalar buffers, a while loop, and atomics.
#[test]
fn control_flow() {
    let text = "loops c {
  symbol n
  param x: tensor i64[$n] contiguous
  param out: mut tensor i64[$n] contiguous
  param total: mut tensor f32[1] contiguous
  param most: mut tensor i32[1] contiguous
  header {
    %0: i64 = size $n
    %1: i64 = const i64 1
    %2: i64 = const i64 0
    %3: i64 = const i64 2
    %4: i64 = const i64 3
  }
  buffer steps: i64[]
  buffer now: i64[]
  grid t for %5 in 0..%0
  body {
    %6: i64 = load x[%5]
    %7: i64 = abs %6
    %8: i64 = add %7, %1
    store &now[], %8
    store &steps[], %2
    while {
      %9: i64 = load &now[]
      %10: bool = gt %9, %1
    } test %10 {
      %11: i64 = load &now[]
      %12: i64 = rem %11, %3
      %13: bool = eq %12, %2
      if %13 {
        %14: i64 = div %11, %3
        store &now[], %14
      } else {
        %15: i64 = mul %11, %4
        %16: i64 = add %15, %1
        store &now[], %16
      }
      %17: i64 = load &steps[]
      %18: i64 = add %17, %1
      store &steps[], %18
    }
    for %19 in %2..%8 step %4 {
      %20: i64 = load &steps[]
      %21: i64 = add %20, %19
      store &steps[], %21
    }
    %22: i64 = load &steps[]
    store out[%5], %22
    %23: f32 = cast f32 %22
    %24: f32 = atomic add total[%2], %23
    %25: i32 = cast i32 %22
    %26: i32 = atomic max most[%2], %25
  }
}
";
    // The numbers are kept small: bounded inputs make the loops end quickly.
    let f = match loops::parse(&renumber(text)) {
        Ok(f) => f,
        Err(e) => panic!("{e}"),
    };
    for n in [0u64, 1, 5, 33] {
        let x = TensorArg::from_i64s(DType::I64, &[n], (0..n as i64).map(|i| i * 7 % 31 - 9));
        let out = TensorArg::zeros(DType::I64, &[n]);
        let (total, most) = (TensorArg::zeros(DType::F32, &[1]), TensorArg::zeros(DType::I32, &[1]));
        let params = vec![x.into(), out.into(), total.into(), most.into()];
        let args = Args::bind(&f.params, &f.symbols, params, &[]).unwrap();
        check_args(&f, args, 1e-6, false, &n.to_string());
    }
}

/// A product of windows of `a` and `b` through an accumulator with larger capacity.
pub(super) fn product(lhs: DType, rhs: DType, acc: DType, transposed: (bool, bool), config: &str) -> String {
    let (a, b) = transposed;
    let dims = |t: bool, x: &str, y: &str| if t { format!("${y}, ${x}") } else { format!("${x}, ${y}") };
    let axes = |t: bool| if t { "row 2 col 1" } else { "row 1 col 2" };
    format!(
        "loops product {{{config}
  symbol s
  symbol m
  symbol n
  symbol k
  param a: tensor {lhs}[$s, {}] contiguous
  param b: tensor {rhs}[$s, {}] contiguous
  param out: mut tensor {acc}[$s, $m, $n] contiguous
  header {{
    %0: i64 = size $m
    %1: i64 = size $n
    %2: i64 = size $k
    %3: i64 = const i64 0
    %4: i64 = size $s
    %5: i64 = const i64 3
    %6: i64 = add %1, %5
    %7: i64 = const i64 2
    %8: i64 = div %2, %7
    %9: i64 = sub %2, %8
  }}
  buffer acc: {acc}[%4, %0, %6]
  body {{
    contract &acc[%4, %0, %1] = sum %8
      lhs a[%3, %3, %3] batch [0] {}
      rhs b[%3, %3, %3] batch [0] {}
    contract &acc[%4, %0, %1] += sum %9
      lhs a[%3, {}] batch [0] {}
      rhs b[%3, {}] batch [0] {}
    nest {{
      for %10 in 0..%4 (parallel)
      for %11 in 0..%0 (parallel)
      for %12 in 0..%1 (parallel)
      body {{
        %13: {acc} = load &acc[%10, %11, %12]
        store out[%10, %11, %12], %13
      }}
    }}
  }}
}}
",
        dims(a, "m", "k"),
        dims(b, "k", "n"),
        axes(a),
        axes(b),
        if a { "%8, %3" } else { "%3, %8" },
        axes(a),
        if b { "%3, %8" } else { "%8, %3" },
        axes(b),
    )
}

#[test]
fn products() {
    let shapes =
        [(1, 1, 1), (3, 5, 7), (12, 32, 16), (13, 33, 17), (25, 70, 40), (1, 40, 9), (30, 1, 33), (0, 4, 3), (4, 4, 0)];
    for transposed in [(false, false), (true, false), (false, true), (true, true)] {
        for (m, n, k) in shapes {
            let sizes = [("s", 2), ("m", m), ("n", n), ("k", k)];
            check(&product(DType::F32, DType::F32, DType::F32, transposed, ""), &sizes, 2e-4, false);
        }
    }
    // Several blocks of rows.
    check(
        &product(DType::F32, DType::F32, DType::F32, (false, false), ""),
        &[("s", 1), ("m", 300), ("n", 35), ("k", 6)],
        2e-3,
        false,
    );
}

#[test]
fn products_of_every_type() {
    let sizes = [("s", 2), ("m", 14), ("n", 37), ("k", 19)];
    let f32s = [DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2, DType::I8, DType::U16];
    for (acc, list) in [
        (DType::F32, &f32s[..]),
        (DType::F64, &[DType::F64, DType::F32]),
        (DType::I32, &[DType::I8, DType::U8, DType::I16, DType::I32]),
        (DType::I64, &[DType::I8, DType::I64]),
    ] {
        for d in list {
            check(&product(*d, list[0], acc, (false, true), ""), &sizes, 2e-4, false);
        }
    }
}

/// Operands whose elements share lanes where the machine multiplies such lanes; rows on both sides of the most that
/// are multiplied in place.
#[test]
fn products_of_elements_that_share_lanes() {
    let shapes = [(1, 1, 1), (17, 33, 5), (20, 70, 26), (37, 5, 64), (16, 40, 11), (0, 4, 3), (30, 9, 0)];
    let types = [
        (DType::BF16, DType::BF16, DType::F32),
        (DType::I8, DType::I8, DType::I32),
        (DType::U8, DType::I8, DType::I32),
        (DType::I16, DType::U8, DType::I32),
    ];
    for (lhs, rhs, acc) in types {
        for (at, (m, n, k)) in shapes.into_iter().enumerate() {
            let sizes = [("s", 2), ("m", m), ("n", n), ("k", k)];
            let transposed = (at % 2 == 1, at / 2 % 2 == 1);
            let blocks = ["pack=1", "pack=1 kc=9 mc=13 nc=33", "pack=1 kc=8 micro_rows=5 micro_vectors=3", "pack=0"];
            let text = product(lhs, rhs, acc, transposed, &config(blocks[at % blocks.len()]));
            check(&text, &sizes, 1e-3, false);
        }
    }
}

/// The text of a config for [`product`].
fn config(text: &str) -> String {
    format!("\n  config {text}")
}

#[test]
fn products_with_every_register_tile() {
    let sizes = [("s", 1), ("m", 37), ("n", 70), ("k", 21)];
    for (rows, vectors) in [(1, 1), (5, 1), (3, 3), (12, 2), (7, 4), (2, 8), (24, 1), (31, 8)] {
        for acc in [DType::F32, DType::F64, DType::I32] {
            let text = config(&format!("micro_rows={rows} micro_vectors={vectors} pack=1"));
            check(&product(acc, acc, acc, (false, false), &text), &sizes, 2e-4, false);
        }
    }
    for one in ["micro_rows=1", "micro_rows=7", "micro_rows=31", "micro_vectors=1", "micro_vectors=5"] {
        check(&product(DType::F32, DType::F32, DType::F32, (false, true), &config(one)), &sizes, 2e-4, false);
    }
}

#[test]
fn products_in_small_blocks() {
    for blocks in ["kc=8", "mc=1", "nc=1", "kc=9 mc=13 nc=33", "kc=16 mc=24 nc=64 pack=2", "kc=9 mc=3 nc=1 pack=2"] {
        for (m, n, k) in [(40, 70, 50), (5, 33, 17), (13, 32, 8)] {
            let sizes = [("s", 2), ("m", m), ("n", n), ("k", k)];
            check(&product(DType::F32, DType::F32, DType::F32, (true, false), &config(blocks)), &sizes, 2e-4, false);
        }
    }
}

#[test]
fn products_that_pack_what_they_are_told() {
    let shapes = [(1, 1, 1), (1, 300, 40), (2, 5, 7), (3, 64, 16), (13, 33, 34), (16, 17, 64), (47, 40, 30), (0, 4, 3)];
    let shapes = shapes.into_iter().chain([
        (5, 9, 40),
        (4, 8, 33),
        (7, 13, 1030),
        (1, 8, 9),
        (3, 1, 5),
        (2, 2, 2),
        (1, 21, 200),
    ]);
    let check_all = |acc: DType, right: DType, pack: &str, every: usize| {
        for (at, (m, n, k)) in shapes.clone().enumerate().step_by(every) {
            let transposed = (at % 2 == 1, at % 4 == 2);
            let sizes = [("s", 2), ("m", m), ("n", n), ("k", k)];
            // Long sums of numbers of both signs lose digits.
            let tolerance = if k > 1000 { 3e-3 } else { 3e-4 };
            check(&product(acc, right, acc, transposed, &config(pack)), &sizes, tolerance, false);
        }
    };
    for pack in ["pack=0 stages=1", "pack=1", "pack=2", "pack=2 stages=4"] {
        check_all(DType::F32, DType::F32, pack, 1);
    }
    let f32s = [DType::BF16, DType::F16, DType::I8, DType::U8, DType::F8E4M3];
    for (acc, rights) in [
        (DType::F32, &f32s[..]),
        (DType::F64, &[DType::F64, DType::F32]),
        (DType::I32, &[DType::I32, DType::I8, DType::U8, DType::I16]),
    ] {
        for right in rights {
            check_all(acc, *right, "pack=2", 2);
        }
    }
}
