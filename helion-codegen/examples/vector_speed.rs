//! Speed of vector programs on this machine: matrix micro-kernels in the first-level cache, a fused chain
//! of exponentials, and code generation. Run with `--release`; `-- asm` prints the code as well.

#![allow(clippy::excessive_precision, reason = "coefficients are written as the fit printed them")]

use std::hint::black_box;

use helion_codegen::cpu::memory::CodeArena;
use helion_codegen::cpu::vector::builder::Builder;
use helion_codegen::cpu::vector::ir::{Addr, Program, Rounding, Trip, Ty, V};
use helion_codegen::cpu::vector::micro::MicroKernel;
use helion_codegen::cpu::vector::{Isa, compile};
use helion_ir::DType;

/// Seconds of processor time of this thread, which does not count time lent to others.
fn clock() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the place given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

/// The median of the seconds that `f` takes, of some runs.
fn time(runs: usize, mut f: impl FnMut()) -> f64 {
    let mut all: Vec<f64> = (0..runs)
        .map(|_| {
            let start = clock();
            f();
            clock() - start
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[runs / 2]
}

/// Memory aligned to 64 bytes.
fn aligned(floats: usize) -> Vec<[f32; 16]> {
    vec![[0.5; 16]; floats.div_ceil(16)]
}

fn micro(isa: Isa, rows: u32, vectors: u32, dtype: DType, unroll: u32, asm: bool) {
    let kernel = MicroKernel { rows, vectors, dtype, unroll, accumulate: true, packed: None };
    let lanes = isa.lanes(dtype.size());
    let program = kernel.program(lanes).unwrap();
    let mut arena = CodeArena::new();
    let emission = time(41, || {
        let _ = black_box(compile(&program, isa, &mut arena));
    });
    let code = match compile(&program, isa, &mut arena) {
        Ok(code) => code,
        Err(e) => return println!("{isa} {rows}x{vectors} {dtype}: {e}"),
    };
    if asm {
        println!("{}", code.disassemble());
    }
    let columns = vectors as usize * lanes;
    let k = (24 << 10) / (dtype.size() * (columns + rows as usize));
    let words = dtype.size() / 4;
    let (a, b) = (aligned(k * rows as usize * words), aligned(k * columns * words));
    let mut c = aligned(rows as usize * columns * words);
    let mut slots = [a.as_ptr() as u64, b.as_ptr() as u64, c.as_mut_ptr() as u64, (columns * dtype.size()) as u64];
    let calls = 4_000;
    // SAFETY: the panels and the tile have these sizes.
    let seconds = time(9, || (0..calls).for_each(|_| unsafe { code.run(&mut slots, k as u64) }));
    let flops = 2.0 * (rows as usize * columns * k * calls) as f64;
    let gf = flops / seconds / 1e9;
    let size = code.code_size();
    let peak = peak(isa) * 4.0 / dtype.size() as f64;
    println!(
        "{isa:8} {dtype} {rows:2}x{vectors} unroll {unroll}: {gf:6.1} GF of {peak:.1} ({:.0} %), compiled in {:.0} us, {size} bytes",
        100.0 * gf / peak,
        emission * 1e6
    );
}

/// `exp` for arguments of moderate size.
fn exp(b: &mut Builder, x: V) -> V {
    let (log2e, high, low) = (b.f32(std::f32::consts::LOG2_E), b.f32(-0.693_145_75), b.f32(-1.428_606_8e-6));
    let scaled = b.mul(x, log2e);
    let n = b.round(Rounding::Nearest, scaled);
    let r = b.fma(n, high, x);
    let r = b.fma(n, low, r);
    let mut p = b.f32(0.001_381_454_1);
    for c in [0.008_368_745, 0.041_668_389, 0.166_665_21, 0.499_999_94, 1.0, 1.0] {
        let c = b.f32(c);
        p = b.fma(p, r, c);
    }
    let n = b.convert(Ty::I32, n);
    let bias = b.i32(127);
    let n = b.add(n, bias);
    let power = b.shl(n, 23);
    let power = b.bitcast(Ty::F32, power);
    b.mul(p, power)
}

/// `exp(-(x * x)) * y + 0.5 * tanh(x + y)`.
fn chain(unroll: u32) -> Program {
    let mut b = Builder::new("chain", Trip::Elements);
    b.unroll(unroll);
    let (x, y, out) = (b.pointer(), b.pointer(), b.pointer());
    b.begin_body();
    let (zero, one, half, two) = (b.f32(0.0), b.f32(1.0), b.f32(0.5), b.f32(2.0));
    let (vx, vy) = (b.load(Addr::unit(x), DType::F32), b.load(Addr::unit(y), DType::F32));
    let square = b.fnma(vx, vx, zero);
    let first = exp(&mut b, square);
    let sum = b.add(vx, vy);
    let double = b.add(sum, sum);
    let e = exp(&mut b, double);
    let below = b.add(e, one);
    let quotient = b.div(two, below);
    let tanh = b.sub(one, quotient);
    let scaled = b.mul(half, tanh);
    let result = b.fma(first, vy, scaled);
    b.store(Addr::unit(out), DType::F32, result);
    b.finish().unwrap()
}

fn exponential(unroll: u32) -> Program {
    let mut b = Builder::new("exp", Trip::Elements);
    b.unroll(unroll);
    let (x, out) = (b.pointer(), b.pointer());
    b.begin_body();
    let v = b.load(Addr::unit(x), DType::F32);
    let e = exp(&mut b, v);
    b.store(Addr::unit(out), DType::F32, e);
    b.finish().unwrap()
}

fn elements(isa: Isa, program: &Program, asm: bool) {
    let mut arena = CodeArena::new();
    let emission = time(41, || {
        let _ = black_box(compile(program, isa, &mut arena));
    });
    let code = match compile(program, isa, &mut arena) {
        Ok(code) => code,
        Err(e) => return println!("{isa} {}: {e}", program.name),
    };
    if asm {
        println!("{}", code.disassemble());
    }
    let n = 2000;
    let (x, y) = (aligned(n), aligned(n));
    let mut out = aligned(n);
    let pointers = [x.as_ptr() as u64, y.as_ptr() as u64, out.as_mut_ptr() as u64];
    let mut slots = if program.slots.len() == 2 { vec![pointers[0], pointers[2]] } else { pointers.to_vec() };
    let calls = 4_000;
    // SAFETY: all three have `n` elements.
    let seconds = time(9, || (0..calls).for_each(|_| unsafe { code.run(&mut slots, n as u64) }));
    let per = seconds / (n * calls) as f64 * 16.0;
    println!(
        "{isa:8} {:6} unroll {}: {:.2} ns per 16 elements ({:.1} cycles at 3.69 GHz), compiled in {:.0} us, {} bytes",
        program.name,
        program.unroll,
        per * 1e9,
        per * 3.69e9,
        emission * 1e6,
        code.code_size()
    );
}

/// Multiply-adds between registers only: what the machine can do at this moment.
fn peak(isa: Isa) -> f64 {
    let mut b = Builder::new("peak", Trip::Count);
    let x = b.scalar(Ty::F32);
    let (x, zero) = (b.splat(x), b.f32(0.0));
    let sums: Vec<_> = (0..12).map(|_| b.carry(zero, None)).collect();
    b.begin_body();
    for &(carry, sum) in &sums {
        let mut next = sum;
        for _ in 0..4 {
            next = b.fma(x, x, next);
        }
        b.set_next(carry, next);
    }
    b.begin_after();
    for &(carry, _) in &sums {
        let (total, slot) = (b.carried(carry), b.result(Ty::F32));
        b.reduce_to(helion_codegen::cpu::vector::ir::Fold::Add, slot, total);
    }
    let program = b.finish().unwrap();
    let code = compile(&program, isa, &mut CodeArena::new()).unwrap();
    let mut slots = vec![0; program.slots.len()];
    let n = 300_000;
    // SAFETY: no memory is touched but the argument block.
    let seconds = time(9, || unsafe { code.run(&mut slots, n) });
    2.0 * 48.0 * code.lanes() as f64 * n as f64 / seconds / 1e9
}

fn main() {
    let asm = std::env::args().any(|a| a == "asm");
    for isa in Isa::ALL.into_iter().filter(|i| i.available()) {
        let shapes: &[(u32, u32)] = match isa {
            Isa::Amx | Isa::Avx512 => &[(12, 2), (14, 2), (8, 3), (6, 4), (16, 1), (24, 1)],
            Isa::Avx2 => &[(6, 2), (4, 3), (12, 1)],
            Isa::Clif128 => &[(6, 2), (4, 3)],
        };
        for &(rows, vectors) in shapes {
            for unroll in [1, 2, 4] {
                micro(isa, rows, vectors, DType::F32, unroll, asm);
            }
        }
        micro(isa, shapes[0].0, shapes[0].1, DType::F64, 2, asm);
        for unroll in [1, 2, 4] {
            elements(isa, &exponential(unroll), asm);
            elements(isa, &chain(unroll), asm);
        }
    }
}
