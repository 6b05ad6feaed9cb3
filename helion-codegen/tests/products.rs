//! Products on matrix instructions: the PTX of a product agrees with the interpreter of loop IR, for operands that lie
//! along and across the summed axis, aligned or not, whole and cut, with several blocks, and for the two products of
//! attention, of which the second is fed from the first one's registers.

#[path = "../../tests/support/ptx.rs"]
mod ptx;

use helion_codegen::ptx::{Arch, target};
use helion_codegen::{passes, schedule};
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::config::Config;
use helion_ir::dtype::DType;
use helion_ir::{loops, tile};

/// A product whose operands are `dtype`, laid out as `a` and `b` say.
fn product(dtype: &str, a: &str, b: &str) -> String {
    format!(
        "tile product {{
  symbol m
  symbol k
  symbol n
  grid tm in %0..%1
  grid tn in %0..%2
  loop tk in %0..%3
  param a: tensor {dtype}[$m, $k] {a}
  param b: tensor {dtype}[$k, $n] {b}
  param out: mut tensor f32[$m, $n] contiguous
  header {{
    %0: i64 = const i64 0
    %1: i64 = extent $m
    %2: i64 = extent $n
    %3: i64 = extent $k
  }}
  body {{
    %4: f32 = const f32 0.0
    %5: f32[tm, tn] = broadcast %4 to [tm, tn]
    %6.acc: f32[tm, tn] = for [tk] with %5 {{
      take %7.acc: f32[tm, tn]
      %8: {dtype}[tm, tk] = load a[tm, tk]
      %9: {dtype}[tk, tn] = load b[tk, tn]
      %10: f32[tm, tn] = dot f32 %8, %9
      %11: f32[tm, tn] = add %7.acc, %10
      yield %11
    }}
    %12: f32 = const f32 0.5
    %13: f32[tm, tn] = mul %6.acc, %12
    store out[tm, tn], %13
  }}
}}"
    )
}

/// The same with the right operand transposed: its rows run along the summed axis.
fn transposed(dtype: &str) -> String {
    let text = product(dtype, "contiguous", "contiguous");
    let text = text.replace(&format!("param b: tensor {dtype}[$k, $n]"), &format!("param b: tensor {dtype}[$n, $k]"));
    let load = format!("%9: {dtype}[tk, tn] = load b[tk, tn]");
    let turned = format!("%14: {dtype}[tn, tk] = load b[tn, tk]\n      %9: {dtype}[tk, tn] = permute %14 by [1, 0]");
    text.replace(&load, &turned)
}

/// Small whole numbers, so that sums are exact.
fn numbers(dtype: DType, dims: &[u64], seed: u64) -> TensorArg {
    let count: u64 = dims.iter().product();
    let at = |i: u64| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97)) >> 7) % 7;
    TensorArg::from_f64s(dtype, dims, (0..count).map(|i| at(i) as f64 - 3.0))
}

/// Loop IR as the backend gets it.
fn lowered(kernel: &tile::Verified, config: &str, arch: Arch) -> loops::Function {
    let config: Config = config.parse().expect("a config");
    let target = target(arch);
    let mut f = schedule::schedule(kernel, &config, &target).expect("a schedule");
    passes::run(&mut f, &target);
    f
}

fn agree(want: &Args, got: &Args, what: &str, code: &str) {
    for (k, (want, got)) in want.params.iter().zip(&got.params).enumerate() {
        if let (Arg::Tensor(want), Arg::Tensor(got)) = (want, got) {
            got.close_to(want, 1e-3, 1e-3).unwrap_or_else(|e| panic!("{what}, parameter {k}: {e}\n{code}"));
        }
    }
}

/// Compiles and runs on both architectures; `matrix` says whether matrix instructions must be in the code.
fn check(text: &str, config: &str, args: &Args, matrix: bool) {
    let kernel = tile::verify(tile::parse(text).expect("tile IR")).expect("a verified kernel");
    for arch in [Arch::Sm80, Arch::Sm90a] {
        let f = lowered(&kernel, config, arch);
        let (mut want, mut got) = (args.clone(), args.clone());
        loops::interp::run(&f, &mut want).expect("the interpreter");
        let text = ptx::run(&f, arch, &mut got).unwrap_or_else(|e| panic!("{arch}, {config}: {e}"));
        let has = text.contains("mma.sync") || text.contains("wgmma");
        assert_eq!(has, matrix, "{arch}, {config}: matrix instructions\n{text}");
        agree(&want, &got, &format!("{arch}, {config}"), &text);
    }
}

fn args(dtype: DType, [m, k, n]: [u64; 3], turned: bool) -> Args {
    let b = if turned { [n, k] } else { [k, n] };
    let tensors = [numbers(dtype, &[m, k], 1), numbers(dtype, &b, 2), numbers(DType::F32, &[m, n], 3)];
    Args { params: tensors.map(Arg::Tensor).into(), symbols: vec![m, k, n] }
}

const BLOCKS: [&str; 4] = [
    "block.tm=64 block.tn=64 block.tk=65536",
    "block.tm=32 block.tn=128 block.tk=32",
    "block.tm=128 block.tn=64 block.tk=64 stages=2",
    "block.tm=64 block.tn=32 block.tk=16 stages=3",
];

#[test]
fn products_agree_with_the_interpreter() {
    for (dtype, name) in [(DType::BF16, "bf16"), (DType::F16, "f16")] {
        for size in [[64, 64, 64], [65, 40, 72], [8, 8, 8], [1, 1, 1], [130, 104, 48]] {
            for blocks in BLOCKS {
                check(&product(name, "contiguous", "contiguous"), blocks, &args(dtype, size, false), true);
                check(&transposed(name), blocks, &args(dtype, size, true), true);
            }
        }
    }
}

#[test]
fn what_is_not_aligned_is_right_too() {
    for size in [[33, 17, 31], [64, 63, 65], [5, 1, 3]] {
        for blocks in &BLOCKS[..2] {
            check(&product("bf16", "contiguous", "contiguous"), blocks, &args(DType::BF16, size, false), true);
            check(&transposed("bf16"), blocks, &args(DType::BF16, size, true), true);
            check(&product("bf16", "strided", "strided"), blocks, &args(DType::BF16, size, false), true);
        }
    }
}

#[test]
fn other_types_are_multiplied_without_matrix_instructions() {
    for size in [[33, 17, 31], [16, 16, 16]] {
        check(
            &product("f32", "contiguous", "contiguous"),
            "block.tm=32 block.tn=32",
            &args(DType::F32, size, false),
            false,
        );
    }
}

/// A product of integers, with sums of 32 bits.
fn integers(dtype: &str, turned: bool) -> String {
    let text = if turned { transposed(dtype) } else { product(dtype, "contiguous", "contiguous") };
    let text = text.replace("dot f32", "dot i32").replace("const f32 0.0", "const i32 0");
    let text = text.replace(": f32[", ": i32[").replace("tensor f32[", "tensor i32[");
    text.replace("const f32 0.5", "const i32 2").replace("%4: f32", "%4: i32").replace("%12: f32", "%12: i32")
}

#[test]
fn elements_of_one_byte_have_matrix_instructions() {
    for (dtype, name) in [(DType::I8, "i8"), (DType::U8, "u8")] {
        for size in [[64, 64, 64], [33, 160, 48], [5, 7, 3]] {
            for turned in [false, true] {
                let mut args = args(dtype, size, turned);
                args.params[2] = numbers(DType::I32, &[size[0], size[2]], 3).into();
                check(&integers(name, turned), BLOCKS[0], &args, true);
            }
        }
    }
    // Both architectures of `check` differ here: only one of them multiplies floats of 8 bits.
    for size in [[64, 64, 64], [33, 160, 48]] {
        let text = transposed("f8e4m3");
        let (mut want, got) = (args(DType::F8E4M3, size, true), args(DType::F8E4M3, size, true));
        let kernel = tile::verify(tile::parse(&text).expect("tile IR")).expect("a verified kernel");
        let f = lowered(&kernel, BLOCKS[0], Arch::Sm90a);
        loops::interp::run(&f, &mut want).expect("the interpreter");
        for (arch, matrix) in [(Arch::Sm80, false), (Arch::Sm90a, true)] {
            let mut got = got.clone();
            let code = ptx::run(&lowered(&kernel, BLOCKS[0], arch), arch, &mut got).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(code.contains("mma.sync"), matrix, "{arch}");
            agree(&want, &got, arch.name(), &code);
        }
    }
}

/// Heads, queries, depth.
fn heads(dtype: DType, [heads, m, d]: [u64; 3]) -> Args {
    let tensor = |seed| numbers(dtype, &[heads, m, d], seed).into();
    let scale = Arg::Scalar(helion_ir::dtype::Literal::from_f64(DType::F32, 0.05));
    let (q, k, v, out) = (tensor(1), tensor(2), tensor(3), tensor(4));
    Args { params: vec![q, k, scale, v, out], symbols: vec![heads, m, d] }
}

#[test]
fn attention_feeds_one_product_to_the_next() {
    for text in [include_str!("products/attention.tile"), include_str!("products/causal.tile")] {
        for size in [[1, 64, 64], [2, 100, 64], [1, 130, 32], [1, 7, 16]] {
            for blocks in ["block.tm=64 block.tn=64", "block.tm=64 block.tn=32 stages=3"] {
                check(text, blocks, &heads(DType::BF16, size), true);
            }
        }
    }
}

/// Without matrix instructions statistics of rows are spread over lanes, which the ends of rows must keep to.
#[test]
fn attention_without_matrix_instructions_is_right_at_the_ends_of_rows() {
    let text = include_str!("products/attention.tile").replace("bf16", "f32");
    for size in [[3, 65, 16], [1, 33, 17]] {
        for blocks in ["block.tm=64 block.tn=64", "block.tm=16 block.tn=32"] {
            check(&text, blocks, &heads(DType::F32, size), false);
        }
    }
}
