//! Compile times and speeds of two kernels on one thread: row softmax and a matrix product.
//!
//! `cargo run --release -p helion-codegen --example speed`

use helion_codegen::cpu::{CompiledKernel, CpuOptions, Effort, compile, vector::Isa};
use helion_codegen::passes::math::expand_math;
use helion_ir::loops;
use std::time::Instant;

/// Softmax of each row, a block of rows at a time.
const SOFTMAX: &str = r#"
loops softmax {
  symbol m
  symbol n
  param x: tensor f32[$m, $n] contiguous
  param out: mut tensor f32[$m, $n] contiguous
  header {
    %0: i64 = size $m
    %1: i64 = size $n
    %2: f32 = const f32 -inf
    %3: f32 = const f32 0.0
    %4: i64 = const i64 1
  }
  buffer row: f32[%4, %1]
  buffer top: f32[%4]
  buffer sum: f32[%4]
  grid tm for %5 in 0..%0
  body {
    nest {
      for %6 in 0..%4 <= 1 (parallel)
      for %7 in 0..%1 (reduce)
      carry %8: f32 from %2 next %9 result %10 (max)
      body {
        %11: f32 = load x[%5, %7]
        %9: f32 = max %8, %11
      }
      finals {
        store &top[%6], %10
      }
    }
    nest {
      for %12 in 0..%4 <= 1 (parallel)
      for %13 in 0..%1 (reduce)
      carry %14: f32 from %3 next %15 result %16 (sum)
      body {
        %17: f32 = load x[%5, %13]
        %18: f32 = load &top[%12]
        %19: f32 = sub %17, %18
        %20: f32 = exp %19
        %15: f32 = add %14, %20
        store &row[%12, %13], %20
      }
      finals {
        store &sum[%12], %16
      }
    }
    nest {
      for %21 in 0..%4 <= 1 (parallel)
      for %22 in 0..%1 (parallel)
      body {
        %23: f32 = load &row[%21, %22]
        %24: f32 = load &sum[%21]
        %25: f32 = div %23, %24
        store out[%5, %22], %25
      }
    }
  }
}
"#;

/// A product in blocks of rows and columns, the whole `k` at once.
const MATMUL: &str = r#"
loops matmul {
  symbol m
  symbol n
  symbol k
  param a: tensor f32[$m, $k] contiguous
  param b: tensor f32[$k, $n] contiguous
  param out: mut tensor f32[$m, $n] contiguous
  header {
    %0: i64 = size $m
    %1: i64 = size $n
    %2: i64 = size $k
    %3: i64 = const i64 BM
    %4: i64 = const i64 BN
    %5: i64 = const i64 1
    %6: i64 = sub %3, %5
    %7: i64 = add %0, %6
    %8: i64 = div %7, %3
    %9: i64 = sub %4, %5
    %10: i64 = add %1, %9
    %11: i64 = div %10, %4
    %12: i64 = const i64 0
  }
  buffer acc: f32[%3, %4]
  grid tm for %13 in 0..%8
  grid tn for %14 in 0..%11
  body {
    %15: i64 = mul %13, %3
    %16: i64 = mul %14, %4
    %17: i64 = sub %0, %15
    %18: i64 = min %17, %3
    %19: i64 = sub %1, %16
    %20: i64 = min %19, %4
    contract &acc[%18 <= BM, %20 <= BN] = sum %2
      lhs a[%15, %12] batch [] row 0 col 1
      rhs b[%12, %16] batch [] row 0 col 1
    nest {
      for %21 in 0..%18 <= BM (parallel)
      for %22 in 0..%20 <= BN (parallel)
      body {
        %23: f32 = load &acc[%21, %22]
        %24: i64 = add %15, %21
        %25: i64 = add %16, %22
        store out[%24, %25], %23
      }
    }
  }
}
"#;

fn kernel(text: &str, options: &CpuOptions) -> CompiledKernel {
    let mut f = loops::parse(text).unwrap_or_else(|e| panic!("{e}"));
    expand_math(&mut f, &[]);
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let k = compile(&f, options).unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e6);
        drop(k);
    }
    times.sort_by(f64::total_cmp);
    let k = compile(&f, options).unwrap();
    println!("  compile {:.0} us median of {}, {} bytes of kernel code", times[10], times.len(), k.code_size());
    k
}

/// Seconds of the fastest of several runs over the whole grid.
fn time(k: &CompiledKernel, words: &[u64]) -> f64 {
    let plan = k.plan(words);
    let mut scratch = vec![0u8; plan.scratch_bytes as usize + 64];
    let at = scratch.as_mut_ptr();
    let at = at.wrapping_add(at.align_offset(64));
    let mut best = f64::MAX;
    for _ in 0..12 {
        let start = Instant::now();
        // SAFETY: the words describe live tensors of the kernel's types, and scratch is large enough.
        unsafe { k.run(words, at, 0, plan.programs) };
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 97) as f32 / 50.0 - 1.0).collect()
}

fn main() {
    for isa in
        Isa::ALL.into_iter().filter(|i| i.available() && std::env::args().nth(1).is_none_or(|a| a == i.to_string()))
    {
        for effort in [Effort::Quick, Effort::Full] {
            let options = CpuOptions { isa: Some(isa), effort, ..CpuOptions::default() };
            println!("{isa}, {effort:?}");
            let k = kernel(SOFTMAX, &options);
            for (m, n) in [(64usize, 1024usize), (4096, 4096)] {
                let x = numbers(m * n);
                let mut out = vec![0f32; m * n];
                let (mw, nw) = (m as u64, n as u64);
                let words = [x.as_ptr() as u64, mw, nw, nw, 1, out.as_mut_ptr() as u64, mw, nw, nw, 1, mw, nw];
                let s = time(&k, &words);
                let gb = (m * n * 8) as f64 / s / 1e9;
                println!("  softmax {m}x{n}: {:.1} us, {gb:.1} GB/s", s * 1e6);
            }
            for (bm, bn) in [(120, 256), (240, 1024)] {
                let k = kernel(&MATMUL.replace("BM", &bm.to_string()).replace("BN", &bn.to_string()), &options);
                for (m, size) in [(256usize, 256usize), (1024, 1024), (2048, 2048), (16, 4096), (1, 4096)] {
                    if isa == Isa::Clif128 && size > 256 {
                        continue;
                    }
                    let (a, b, mut c) = (numbers(m * size), numbers(size * size), vec![0f32; m * size]);
                    let (mw, z) = (m as u64, size as u64);
                    let tensor = |(p, m): (u64, u64)| [p, m, z, z, 1];
                    let parts = [(a.as_ptr() as u64, mw), (b.as_ptr() as u64, z), (c.as_mut_ptr() as u64, mw)];
                    let words: Vec<u64> = parts.into_iter().flat_map(tensor).chain([mw, z, z]).collect();
                    let s = time(&k, &words);
                    let gf = 2e-9 * (m * size * size) as f64 / s;
                    println!("  matmul {m}x{size}x{size} in {bm}x{bn}: {:.2} ms, {gf:.1} GF", s * 1e3);
                }
            }
        }
    }
}
