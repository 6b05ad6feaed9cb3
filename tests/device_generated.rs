//! Every example on small sizes, through the code generator (feature `llvm`) and the whole launch path, on the PTX
//! interpreter, for two architectures.
#![cfg(feature = "llvm")]
#![allow(dead_code, clippy::duplicate_mod, reason = "examples bring their own `main` and support")]

#[path = "support/ptx_gpu.rs"]
mod ptx_gpu;

use helion::{Device, cuda, with_device};
use ptx_gpu::PtxGpu;

/// Runs a check on a device of each architecture.
fn on_each(name: &str, mut check: impl FnMut() -> helion::Result<()>) {
    for capability in [(8, 0), (9, 0)] {
        helion::settings::set_cache("off").expect("a setting");
        let driver = PtxGpu::new(capability, |_, _| None);
        let gpu = Device::cuda(cuda::install(driver.clone()).expect("a driver")).expect("a device");
        if let Err(error) = with_device(gpu, &mut check) {
            panic!("{name} on {capability:?}: {error}");
        }
        assert!(driver.launches() > 0, "{name}: nothing ran on the device");
    }
}

macro_rules! check {
    ($example:ident, $file:literal, $sizes:expr, |$data:ident, $size:pat_param| $call:expr) => {
        #[path = $file]
        mod $example;
        #[test]
        fn $example() {
            on_each(stringify!($example), || {
                for (name, data) in $example::support::Data::variants() {
                    for size in $sizes {
                        let $data = &mut data.clone();
                        let $size = size;
                        if name != "special" {
                            $call?;
                        }
                    }
                }
                Ok(())
            });
        }
    };
}

const VECTORS: [usize; 2] = [17, 1009];
const MATRICES: [[usize; 2]; 2] = [[1, 257], [17, 31]];
const PRODUCTS: [[usize; 3]; 2] = [[13, 17, 19], [33, 65, 17]];

check!(vector_add, "../examples/vector_add.rs", VECTORS, |data, n| vector_add::check(n, data));
check!(softmax, "../examples/softmax.rs", MATRICES, |data, [m, n]| softmax::check(m, n, data));
check!(layer_norm, "../examples/layer_norm.rs", MATRICES, |data, [m, n]| layer_norm::check(m, n, data));
check!(rms_norm, "../examples/rms_norm.rs", MATRICES, |data, [m, n]| rms_norm::check(m, n, data));
check!(matmul, "../examples/matmul.rs", PRODUCTS, |data, dims| matmul::check(dims, data));
check!(int8_matmul, "../examples/int8_matmul.rs", PRODUCTS, |data, dims| int8_matmul::check(dims, data));
check!(pointwise, "../examples/pointwise.rs", VECTORS, |data, n| pointwise::check(n, data));
check!(int4_matmul, "../examples/int4_matmul.rs", [[3, 1, 7]], |data, dims| int4_matmul::check(dims, data));
check!(swiglu, "../examples/swiglu.rs", PRODUCTS, |data, dims| swiglu::check(dims, data));
check!(cross_entropy, "../examples/cross_entropy.rs", MATRICES, |data, [m, n]| cross_entropy::check(m, n, data));
check!(long_sum, "../examples/long_sum.rs", VECTORS, |data, n| long_sum::check(n, data));
check!(dropout, "../examples/dropout.rs", VECTORS, |data, n| dropout::check(n, data));
check!(welford, "../examples/welford.rs", MATRICES, |data, [m, n]| welford::check(m, n, data));
check!(batched_matmul, "../examples/batched_matmul.rs", [[3, 5, 7, 11]], |data, dims| {
    batched_matmul::check(dims, data)
});
check!(attention, "../examples/attention.rs", [[2, 3, 5, 7], [1, 17, 17, 8]], |data, dims| {
    attention::check(dims, data)
});
check!(embedding, "../examples/embedding.rs", [[10, 7, 33]], |data, dims| embedding::check(dims, data));
check!(segment_sum, "../examples/segment_sum.rs", [[100, 7, 5]], |data, dims| segment_sum::check(dims, data));
check!(jagged_mean, "../examples/jagged_mean.rs", [[7, 5, 33]], |data, dims| jagged_mean::check(dims, data));
check!(rotary, "../examples/rotary.rs", [[7, 3, 16]], |data, dims| rotary::check(dims, data));
