//! PTX through the whole launch path, on the PTX interpreter: written by hand, so that the calling convention is tested
//! without a code generator.

#[path = "support/ptx_gpu.rs"]
mod ptx_gpu;

use helion::prelude::*;
use helion::{ErrorKind, cuda, with_config};
use helion_codegen::ptx::{Foreign, PtxKernel, PtxOptions};
use helion_ir::loops;
use ptx_gpu::{Compiler, PtxGpu};
use std::sync::Arc;

/// A device whose kernels `compiler` makes.
fn device(capability: (u32, u32), compiler: Compiler) -> (Arc<PtxGpu>, Device) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| helion::settings::set_cache("off").unwrap());
    let driver = PtxGpu::new(capability, compiler);
    let first = cuda::install(driver.clone()).unwrap();
    (driver, Device::cuda(first).unwrap())
}

/// `y = by * x` for a column of a matrix.
#[kernel]
fn scaled(x: &Tensor<f32, 1>, by: f32, y: &mut Tensor<f32, 1>) -> Result<()> {
    let [n] = x.dims();
    ensure!(y.dims() == [n], "sizes differ");
    for t in tile(n) {
        y[t] = x[t] * by;
    }
    Ok(())
}

/// The same by hand, for tensors of any stride: words are address, extent and stride of `x`, the bits of `by`, address,
/// extent and stride of `y`, the size, then `spill` and `programs`. A block takes the 64
/// elements of its program instance. `MORE` is added to the address of `y`.
const SCALED: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry scaled_by_hand(
    .param .u64 x, .param .u64 xn, .param .u64 xs, .param .u64 by,
    .param .u64 y, .param .u64 yn, .param .u64 ys, .param .u64 n,
    .param .u64 spill, .param .u64 programs)
{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .f32 %f<4>;
    .reg .b64 %rd<16>;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %tid.x;
    mov.u32 %r4, %ntid.x;
    cvt.u64.u32 %rd1, %r2;
    cvt.u64.u32 %rd14, %r4;
    ld.param.b64 %rd2, [n];
    ld.param.b64 %rd3, [by];
    cvt.u32.u64 %r3, %rd3;
    mov.b32 %f1, %r3;
LOOP:
    setp.ge.u64 %p0, %rd1, 64;
    @%p0 bra DONE;
    mul.wide.u32 %rd4, %r1, 64;
    add.s64 %rd4, %rd4, %rd1;
    setp.ge.u64 %p1, %rd4, %rd2;
    @%p1 bra DONE;
    ld.param.b64 %rd5, [x];
    ld.param.b64 %rd6, [xs];
    mul.lo.s64 %rd7, %rd4, %rd6;
    shl.b64 %rd7, %rd7, 2;
    add.s64 %rd7, %rd5, %rd7;
    ld.global.f32 %f2, [%rd7];
    mul.rn.f32 %f3, %f2, %f1;
    ld.param.b64 %rd8, [y];
    ld.param.b64 %rd9, [ys];
    mul.lo.s64 %rd10, %rd4, %rd9;
    shl.b64 %rd10, %rd10, 2;
    add.s64 %rd10, %rd8, %rd10;
    st.global.f32 [%rd10+MORE], %f3;
    add.s64 %rd1, %rd1, %rd14;
    bra LOOP;
DONE:
    ret;
}";

/// What the code below is written for.
fn blocks() -> Config {
    "block.t=64 grid=flat".parse().unwrap()
}

fn by_hand(f: &loops::Function, options: &PtxOptions, more: &str) -> PtxKernel {
    let text = SCALED.replace("MORE", more);
    let entry = "scaled_by_hand".to_owned();
    PtxKernel::foreign(f, options, Foreign { text, entry, threads: 64, ..Foreign::default() })
}

#[test]
fn ptx_by_hand_gets_its_words() {
    let (driver, gpu) = device((8, 0), |f, o| Some(Ok(by_hand(f, o, "0"))));
    // A size of 1 would be a constant, and no word.
    for n in [2, 63, 64, 1000, 5003] {
        let x = Tensor::from_fn([n, 3], |[i, j]| (10 * i + j) as f32).to(gpu).unwrap();
        let y = Tensor::<f32, 2>::zeros_on(gpu, [2, n]);
        // Strided and backwards.
        let x = x.t().slice(0, 1..2).unwrap().reshape([n]).unwrap().flip(0).unwrap();
        let mut y = y.slice(0, 1..).unwrap().reshape([n]).unwrap();
        with_config(&blocks(), || scaled(&x, -0.5, &mut y)).unwrap();
        let want: Vec<f32> = (0..n).rev().map(|i| (10 * i + 1) as f32 * -0.5).collect();
        assert_eq!(y.to_vec().unwrap(), want, "{n}");
    }
    assert_eq!(driver.launches(), 5);
}

#[test]
fn a_kernel_that_writes_outside_loses_the_device() {
    let (_, gpu) = device((8, 0), |f, o| Some(Ok(by_hand(f, o, "1048576"))));
    let x = Tensor::full([100], 1.0f32).to(gpu).unwrap();
    let e = with_config(&blocks(), || scaled(&x, 1.0, &mut x.empty_like())).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Lost { code: 700, .. }), "{e}");
    assert!(e.to_string().contains("scaled_by_hand"), "{e}");
    assert_eq!(x.to_vec().unwrap_err(), e);
}

#[cfg(not(feature = "llvm"))]
#[test]
fn without_a_code_generator_the_error_names_the_package() {
    let (_, gpu) = device((9, 0), |_, _| None);
    let x = Tensor::full([100], 1.0f32).to(gpu).unwrap();
    let e = scaled(&x, 1.0, &mut x.empty_like()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Device(_)), "{e}");
    assert!(e.to_string().contains("llvm-22-dev") && e.to_string().contains("--features llvm"), "{e}");
    helion::settings::set_gpu_arch("sm_90a").unwrap();
    let here = Tensor::full([100], 1.0f32);
    let explained = helion::explain(|| scaled(&here, 1.0, &mut here.empty_like()));
    helion::settings::set_gpu_arch("none").unwrap();
    assert_eq!(explained.map(drop).unwrap_err().to_string(), e.to_string());
}
