//! Products of 16-bit floats on Hopper's own instructions, on the PTX interpreter: those whose operands a warp of its own
//! fetches with the copy engine, and those that are not laid out for it. Compared with the CPU. Memory around every
//! operand holds NaN, so that an element too many shows.
#![cfg(feature = "llvm")]
#![allow(dead_code)] // the examples' own `main`
#![allow(clippy::duplicate_mod, reason = "each example brings its support")]

#[path = "../examples/attention.rs"]
mod attention;
#[path = "../examples/matmul.rs"]
mod matmul;
#[path = "support/ptx_gpu.rs"]
mod ptx_gpu;

use helion::prelude::*;
use helion::{bf16, cuda, with_config};

fn device() -> Device {
    helion::settings::set_cache("off").unwrap();
    Device::cuda(cuda::install(ptx_gpu::PtxGpu::new((9, 0), |_, _| None)).unwrap()).unwrap()
}

/// Multiples of 1/64 between -1 and 1 that repeat nowhere near.
fn number(i: usize) -> f32 {
    let mixed = (i as u32).wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b;
    (mixed.wrapping_mul(0xc2b2_ae35) >> 25) as f32 / 64.0 - 1.0
}

/// A window of a larger tensor that holds NaN elsewhere; the window begins at a multiple of 16 bytes.
fn window<const R: usize>(dims: [usize; R], seed: usize) -> (Tensor<bf16, R>, [usize; R]) {
    let mut large = dims.map(|d| d + 3);
    large[R - 1] = dims[R - 1].next_multiple_of(8) + 16;
    let mut first = [1; R];
    first[R - 1] = 8;
    let count: usize = large.iter().product();
    let all = (0..count).map(|flat| {
        let (mut rest, mut inside) = (flat, true);
        for axis in (0..R).rev() {
            let i = rest % large[axis];
            rest /= large[axis];
            inside &= (first[axis]..first[axis] + dims[axis]).contains(&i);
        }
        bf16::from_f32(if inside { number(flat ^ seed << 24) } else { f32::NAN })
    });
    (Tensor::from_vec(large, all.collect()).unwrap(), first)
}

fn cut<const R: usize>(t: &Tensor<bf16, R>, dims: [usize; R], first: [usize; R]) -> Result<Tensor<bf16, R>> {
    (0..R).try_fold(t.clone(), |t, axis| t.slice(axis, first[axis]..first[axis] + dims[axis]))
}

/// The same window on both devices.
fn both<const R: usize>(dims: [usize; R], seed: usize, device: Device) -> Result<[Tensor<bf16, R>; 2]> {
    let (large, first) = window(dims, seed);
    Ok([cut(&large, dims, first)?, cut(&large.to(device)?, dims, first)?])
}

fn close<const R: usize>(what: &str, got: &Tensor<bf16, R>, want: &Tensor<bf16, R>) -> Result<()> {
    for (i, (g, w)) in got.to_vec()?.iter().zip(want.to_vec()?).enumerate() {
        let (g, w) = (g.to_f32(), w.to_f32());
        assert!((g - w).abs() <= 0.02 * w.abs().max(0.5), "{what}: element {i} is {g}, the CPU says {w}");
    }
    Ok(())
}

#[test]
fn products_of_every_length() -> Result<()> {
    let device = device();
    let sizes = [
        [1, 8, 8],
        [64, 64, 64],
        [128, 256, 192],
        [129, 264, 200],
        [200, 72, 56],
        [65, 130, 100],
        [70, 320, 1],
        [3, 40, 0],
        [260, 128, 328],
    ];
    let configs = [
        "block.tm=128 block.tn=256 warps=8",
        "block.tm=128 block.tn=128 warps=4 stages=2",
        "block.tm=64 block.tn=64 block.tk=64 warps=4 stages=3",
        "block.tm=128 block.tn=128 warps=8 grid=persistent",
    ];
    for [m, n, k] in sizes {
        let ([a, on_a], [b, on_b]) = (both([m, k], 1, device)?, both([k, n], 2, device)?);
        let want = matmul::matmul(&a, &b, matmul::identity)?;
        for config in configs {
            let got = with_config(&config.parse()?, || matmul::matmul(&on_a, &on_b, matmul::identity))?;
            close(&format!("{m}x{n}x{k}, {config}"), &got, &want)?;
        }
    }
    Ok(())
}

#[test]
fn operands_that_run_the_other_way() -> Result<()> {
    let device = device();
    let [m, n, k] = [136, 72, 200];
    let config: Config = "block.tm=128 block.tn=64 warps=4".parse()?;
    let ([at, on_at], [bt, on_bt]) = (both([k, m], 3, device)?, both([n, k], 4, device)?);
    let ([a, on_a], [b, on_b]) = (both([m, k], 5, device)?, both([k, n], 6, device)?);
    let turned = |t: &Tensor<bf16, 2>| t.t();
    let pairs = [
        ("both turned", turned(&at), turned(&bt), turned(&on_at), turned(&on_bt)),
        ("left turned", turned(&at), b.clone(), turned(&on_at), on_b.clone()),
        ("right turned", a.clone(), turned(&bt), on_a.clone(), turned(&on_bt)),
    ];
    for (what, a, b, on_a, on_b) in pairs {
        let want = matmul::matmul(&a, &b, matmul::identity)?;
        let got = with_config(&config, || matmul::matmul(&on_a, &on_b, matmul::identity))?;
        close(what, &got, &want)?;
    }
    Ok(())
}

/// Both strides are multiples of 16 bytes, but neighbours along the last axis are not neighbours in memory.
#[test]
fn operands_with_gaps() -> Result<()> {
    let device = device();
    let [m, n, k] = [64, 64, 128];
    let config: Config = "block.tm=64 block.tn=64 warps=4".parse()?;
    let ([a, on_a], [b, on_b]) = (both([m, 8 * k], 1, device)?, both([k, 8 * n], 2, device)?);
    let gaps = |t: &Tensor<bf16, 2>| t.step_by(1, 8);
    let want = matmul::matmul(&gaps(&a)?, &gaps(&b)?, matmul::identity)?;
    let got = with_config(&config, || matmul::matmul(&gaps(&on_a)?, &gaps(&on_b)?, matmul::identity))?;
    close("every eighth column", &got, &want)
}

#[test]
fn attention_of_every_length() -> Result<()> {
    let device = device();
    let configs = [
        "block.th=1 block.tm=128 block.tn=128",
        "block.th=1 block.tm=128 block.tn=64 grid=persistent",
        "block.th=1 block.tm=64 block.tn=64 warps=4 stages=2",
    ];
    for [heads, m, d] in [[1, 64, 64], [2, 200, 64], [1, 130, 128], [1, 77, 72], [1, 70, 256]] {
        let [q, k, v] = [7, 8, 9].map(|seed| both([heads, m, d], seed, device));
        let ([q, on_q], [k, on_k], [v, on_v]) = (q?, k?, v?);
        for causal in [false, true] {
            let want = attention::attention(&q, &k, &v, 0.3, causal)?;
            for config in configs {
                let got = with_config(&config.parse()?, || attention::attention(&on_q, &on_k, &on_v, 0.3, causal))?;
                close(&format!("{heads} heads, {m} x {d}, causal {causal}, {config}"), &got, &want)?;
            }
        }
    }
    Ok(())
}

#[test]
fn square_products_without_a_config() -> Result<()> {
    let device = device();
    for n in [64, 256, 320] {
        let ([a, on_a], [b, on_b]) = (both([n, n], 1, device)?, both([n, n], 2, device)?);
        let want = matmul::matmul(&a, &b, matmul::identity)?;
        close(&format!("{n}³"), &matmul::matmul(&on_a, &on_b, matmul::identity)?, &want)?;
        let (a, b) = (on_a.contiguous(), on_b.contiguous());
        close(&format!("{n}³, contiguous"), &matmul::matmul(&a, &b, matmul::identity)?, &want)?;
    }
    Ok(())
}
