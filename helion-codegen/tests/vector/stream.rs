//! Kernels that write around the caches and prefetch, with tensors that end where memory does.

use helion_codegen::cpu::vector::Isa;
use helion_codegen::cpu::{CompiledKernel, CpuOptions, compile};
use helion_ir::loops;

use crate::memory::{Guarded, Random};

/// Two results of each element, and the rows are read twice: `out = x - max`, `twice = 2 x` of another size.
const ROWS: &str = "
loops rows {
  symbol m
  symbol n
  param x: tensor f32[$m, $n] contiguous
  param out: mut tensor f32[$m, $n] contiguous
  param twice: mut tensor f64[$m, $n] contiguous
  header {
    %0: i64 = size $m
    %1: i64 = size $n
    %2: f32 = const f32 -inf
    %3: i64 = const i64 1
  }
  buffer top: f32[%3]
  grid tm for %4 in 0..%0
  body {
    nest {
      for %5 in 0..%3 <= 1 (parallel)
      for %6 in 0..%1 (reduce)
      carry %7: f32 from %2 next %8 result %9 (max)
      body {
        %10: f32 = load x[%4, %6]
        %8: f32 = max %7, %10
      }
      finals {
        store &top[%5], %9
      }
    }
    nest {
      for %11 in 0..%3 <= 1 (parallel)
      for %12 in 0..%1 (parallel)
      body {
        %13: f32 = load x[%4, %12]
        %14: f32 = load &top[%11]
        %15: f32 = sub %13, %14
        store out[%4, %12], %15
        %16: f32 = add %13, %13
        %17: f64 = cast f64 %16
        store twice[%4, %12], %17
      }
    }
  }
}
";

/// The text with its values numbered in order, as the parser wants them.
fn parse(text: &str) -> loops::Function {
    let mut seen: Vec<&str> = Vec::new();
    let mut out = String::new();
    for (i, piece) in text.split('%').enumerate() {
        if i == 0 {
            out += piece;
            continue;
        }
        let (number, rest) = piece.split_at(piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len());
        let at = seen.iter().position(|n| *n == number).unwrap_or_else(|| {
            seen.push(number);
            seen.len() - 1
        });
        out += &format!("%{at}{rest}");
    }
    loops::parse(&out).unwrap_or_else(|e| panic!("{e}"))
}

/// `bytes` of memory `skew` bytes after an aligned address; at the end of the pages where that is possible.
fn place(memory: &Guarded, bytes: usize, skew: usize) -> *mut u8 {
    let end = (bytes + skew).next_multiple_of(64);
    // SAFETY: within the mapping, which is large enough.
    unsafe { memory.place(end, true).add(skew) }
}

fn run(k: &CompiledKernel, m: usize, n: usize, skew: usize) {
    let pages = Guarded::new;
    let (mut x, mut out, mut twice) = (pages(m * n * 4 + 128), pages(m * n * 4 + 128), pages(m * n * 8 + 128));
    let mut r = Random(m as u64 * 1000 + n as u64 + 1);
    x.all().chunks_exact_mut(4).for_each(|e| e.copy_from_slice(&(r.below(1000) as f32 / 8.0).to_le_bytes()));
    out.all().fill(0x11);
    twice.all().fill(0x22);
    let (count, rows, cols) = (m * n, m as u64, n as u64);
    let at = [place(&x, count * 4, skew), place(&out, count * 4, skew), place(&twice, count * 8, skew)];
    let mut words: Vec<u64> = at.iter().flat_map(|p| [*p as u64, rows, cols, cols, 1]).collect();
    words.extend([rows, cols]);
    let plan = k.plan(&words);
    let mut scratch = vec![0u8; plan.scratch_bytes as usize + 64];
    let aligned = scratch.as_mut_ptr();
    let aligned = aligned.wrapping_add(aligned.align_offset(64));
    // SAFETY: the words describe the pages, and scratch is large enough and aligned.
    unsafe { k.run(&words, aligned, 0, plan.programs) };
    // SAFETY: `count` elements lie there; the addresses are multiples of 4, and of 8 for `twice`.
    let (x, got, doubled) = unsafe {
        let floats = |p: *mut u8| std::slice::from_raw_parts(p.cast::<f32>(), count);
        (floats(at[0]), floats(at[1]), std::slice::from_raw_parts(at[2].cast::<f64>(), count))
    };
    for row in 0..m {
        let range = row * n..(row + 1) * n;
        let top = x[range.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for i in range {
            assert_eq!(got[i], x[i] - top, "{m} x {n}, skew {skew}, element {i}");
            assert_eq!(doubled[i], f64::from(x[i] * 2.0), "{m} x {n}, skew {skew}, element {i}");
        }
    }
    // Nothing else was written.
    let (before, after) = ((at[1] as usize - 1) as *const u8, (at[1] as usize + count * 4) as *const u8);
    let (all, start) = (out.all().as_ptr_range(), out.all().as_ptr());
    for p in [before, after] {
        if all.contains(&p) {
            assert_eq!(out.all()[p as usize - start as usize], 0x11, "{m} x {n}, skew {skew}: next to the tensor");
        }
    }
}

#[test]
fn rows_around_the_caches() {
    let f = parse(ROWS);
    for isa in crate::isas() {
        // Always, for some of these sizes, never; the prefetch reaches all rows, or none.
        for (stream_bytes, prefetch_bytes) in [(0, 1 << 20), (2048, 256), (u64::MAX, 0)] {
            let options = CpuOptions { isa: Some(isa), stream_bytes, prefetch_bytes, ..CpuOptions::default() };
            let k = compile(&f, &options).unwrap();
            let text = k.vector_programs();
            assert!(text.contains("store_stream") == (isa != Isa::Clif128) && text.contains("prefetch"), "{text}");
            if isa != Isa::Clif128 {
                let asm = k.asm();
                assert!(asm.contains("vmovnt") && asm.contains("prefetcht0") && asm.contains("mfence"), "{asm}");
            }
            for n in [1, 7, 8, 15, 16, 17, 32, 33, 48, 64, 100, 128, 129, 256, 1000] {
                for (m, skew) in [(1, 0), (3, 0), (5, 8), (2, 16), (4, 32), (9, 0), (2, 56)] {
                    run(&k, m, n, skew);
                }
            }
        }
    }
}

/// Results of 16 bits stored while a row is summed, and the number of each element.
const PASS: &str = "
loops pass {
  config stream=2
  symbol m
  symbol n
  param x: tensor f32[$m, $n] contiguous
  param out: mut tensor bf16[$m, $n] contiguous
  param half: mut tensor f16[$m, $n] contiguous
  param total: mut tensor f32[$m] contiguous
  header {
    %0: i64 = size $m
    %1: i64 = size $n
    %2: f32 = const f32 0.0
    %3: i64 = const i64 1
  }
  grid tm for %4 in 0..%0
  body {
    nest {
      for %5 in 0..%3 <= 1 (parallel)
      for %6 in 0..%1 (reduce)
      carry %7: f32 from %2 next %8 result %9 (sum)
      body {
        %10: f32 = load x[%4, %6]
        %8: f32 = add %7, %10
        %11: f32 = cast f32 %6
        %12: f32 = add %10, %11
        %13: bf16 = cast bf16 %12
        store out[%4, %6], %13
        %14: f16 = cast f16 %12
        store half[%4, %6], %14
      }
      finals {
        store total[%4], %9
      }
    }
  }
}
";

/// Runs [`PASS`] with both results `skew` elements after an aligned address.
fn run_pass(k: &CompiledKernel, m: usize, n: usize, skew: usize) {
    let mut r = Random(m as u64 * 1000 + n as u64 + 1);
    let x: Vec<f32> = (0..m * n).map(|_| r.below(64) as f32).collect();
    let mut total = vec![0f32; m];
    let (mut out, mut half) = (vec![0x1111u16; m * n + 128], vec![0x1111u16; m * n + 128]);
    let first = |v: &[u16]| v.as_ptr().align_offset(64) + skew;
    let (o, h) = (first(&out), first(&half));
    let (rows, cols) = (m as u64, n as u64);
    let (out_at, half_at) = (out[o..].as_mut_ptr() as u64, half[h..].as_mut_ptr() as u64);
    let mut words: Vec<u64> =
        [x.as_ptr() as u64, out_at, half_at].iter().flat_map(|p| [*p, rows, cols, cols, 1]).collect();
    words.extend([total.as_mut_ptr() as u64, rows, 1, rows, cols]);
    let plan = k.plan(&words);
    let mut scratch = vec![0u8; plan.scratch_bytes as usize + 64];
    let aligned = scratch.as_mut_ptr();
    let aligned = aligned.wrapping_add(aligned.align_offset(64));
    // SAFETY: the words describe the vectors, and scratch is large enough and aligned.
    unsafe { k.run(&words, aligned, 0, plan.programs) };
    for row in 0..m {
        assert_eq!(total[row], x[row * n..(row + 1) * n].iter().sum::<f32>(), "{m} x {n}, skew {skew}, row {row}");
        for j in 0..n {
            let (at, want) = (row * n + j, x[row * n + j] + j as f32);
            assert_eq!(out[o + at], half::bf16::from_f32(want).to_bits(), "{m} x {n}, skew {skew}, element {at}");
            assert_eq!(half[h + at], half::f16::from_f32(want).to_bits(), "{m} x {n}, skew {skew}, element {at}");
        }
    }
    for (v, at) in [(&out, o), (&half, h)] {
        let around = v[..at].iter().chain(&v[at + m * n..]);
        assert!(around.into_iter().all(|x| *x == 0x1111), "{m} x {n}, skew {skew}: next to the tensor");
    }
}

#[test]
fn rows_that_begin_between_registers() {
    let f = parse(PASS);
    for isa in crate::isas() {
        let k = compile(&f, &CpuOptions { isa: Some(isa), ..CpuOptions::default() }).unwrap();
        assert!(k.vector_programs().contains("store_stream") == (isa != Isa::Clif128), "{}", k.vector_programs());
        for n in [1, 7, 16, 31, 32, 33, 64, 65, 100, 1000, 1001] {
            for (m, skew) in [(1, 0), (3, 0), (2, 1), (3, 5), (2, 16), (2, 31)] {
                run_pass(&k, m, n, skew);
            }
        }
    }
}
