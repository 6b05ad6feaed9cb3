//! What a launch on a GPU costs the host beside the driver: with a simulated driver whose launches do nothing.
//!
//! `cargo run --release -p helion-benches --bin gpu-launch`

#[path = "../../../tests/support/fake_gpu.rs"]
mod fake_gpu;

use fake_gpu::{FakeGpu, Options};
use helion::prelude::*;
use helion::{cuda, settings, with_config};
use std::time::Instant;

/// Calls of one sample.
const CALLS: u32 = 10_000;
/// Samples; the fastest counts.
const SAMPLES: usize = 30;

#[kernel]
fn scale(x: &Tensor<f32, 1>, out: &mut Tensor<f32, 1>, by: f32) -> Result<()> {
    let [n] = x.dims();
    ensure!(out.dims() == [n], "sizes differ");
    for t in tile(n) {
        out[t] = x[t] * by;
    }
    Ok(())
}

#[kernel]
fn product(a: &Tensor<f32, 2>, b: &Tensor<f32, 2>, out: &mut Tensor<f32, 2>) -> Result<()> {
    let ([m, k], [_, n]) = (a.dims(), b.dims());
    ensure!(b.dims()[0] == k && out.dims() == [m, n], "sizes differ");
    for [tm, tn] in tile([m, n]) {
        let mut sum = f32::zeros([tm, tn]);
        for tk in tile(k) {
            sum += dot(a[(tm, tk)], b[(tk, tn)]);
        }
        out[(tm, tn)] = sum;
    }
    Ok(())
}

#[kernel]
fn total(x: &Tensor<f32, 1>, out: &mut Tensor<f32, 1>) -> Result<()> {
    for one in grid(1) {
        out[one] = x[..].sum(0).squeeze(0);
    }
    Ok(())
}

/// Nanoseconds of a call.
fn time(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..SAMPLES {
        let start = Instant::now();
        for _ in 0..CALLS {
            call()?;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    Ok(best)
}

fn main() -> Result<()> {
    settings::set_cache("off")?;
    let driver = FakeGpu::new(Options { idle: true, ..Options::default() });
    let gpu = Device::cuda(cuda::install(driver.clone())?)?;
    let (x, mut y) = (Tensor::zeros_on(gpu, [4096]), Tensor::zeros_on(gpu, [4096]));
    println!("## What a launch on a GPU costs the host\n");
    println!(
        "Beside the driver, whose calls do nothing here, on one thread; nothing is allocated, and nothing waits (`cargo run --release -p helion-benches --bin gpu-launch | ./scripts/section gpu-launch`).\n"
    );
    println!("| a launch of | ns |\n|---|---:|");
    let row = |name: &str, ns: f64| println!("| {name} | {ns:.0} |");
    row("two vectors and a scalar", time(|| scale(&x, &mut y, 2.0))?);
    let a = Tensor::zeros_on(gpu, [512, 256]);
    let (b, mut c) = (Tensor::zeros_on(gpu, [256, 384]), Tensor::zeros_on(gpu, [512, 384]));
    row("three matrices", time(|| product(&a, &b, &mut c))?);
    row(
        "three matrices, the result new each time",
        time(|| {
            let mut c = Tensor::new_on(gpu, [512, 384]);
            product(&a, &b, &mut c)
        })?,
    );
    let mut out = Tensor::zeros_on(gpu, [1]);
    let parts = "split=4".parse()?;
    row("a reduction in two kernels with a workspace", with_config(&parts, || time(|| total(&x, &mut out)))?);
    let stream = std::ptr::without_provenance_mut(1 << 20);
    // SAFETY: streams are numbers to this driver.
    let ns = unsafe { cuda::with_stream(gpu, stream, || time(|| scale(&x, &mut y, 2.0))) }??;
    row("two vectors and a scalar, in a stream of the caller", ns);
    eprintln!("{} launches", driver.launches());
    Ok(())
}
