//! Every example's check with its tensors on a GPU: on a simulated device, which checks each launch, and computes what
//! the same loop IR computes on the CPU. Operands are transposed, windows of larger tensors or stepped backwards, too.
#![allow(dead_code)] // the examples' own `main`
#![allow(clippy::duplicate_mod, reason = "each example brings its support")]

#[path = "support/fake_gpu.rs"]
mod fake_gpu;

use fake_gpu::{FakeGpu, Options};
use helion::{Device, cuda, with_device};

/// Declares an example and its test. A device whose buffers have a size that launches decide, and not enough shared
/// memory for them, comes last.
macro_rules! check {
    ($example:ident, $file:literal, $sizes:expr, |$data:ident, $size:pat_param| $call:expr) => {
        #[path = $file]
        mod $example;
        #[test]
        fn $example() {
            helion::settings::set_cache("off").expect("a setting");
            for dynamic in [false, true] {
                let shared = if dynamic { 2 << 10 } else { 100 << 10 };
                let driver = FakeGpu::new(Options { dynamic, shared, ..Options::default() });
                let device = Device::cuda(cuda::install(driver.clone()).expect("a driver")).expect("a device");
                for (name, data) in $example::support::Data::variants() {
                    if name == "special" {
                        continue;
                    }
                    for size in $sizes {
                        let $data = &mut data.clone();
                        let $size = size;
                        if let Err(error) = with_device(device, || $call) {
                            panic!("{name} inputs, size {size:?}, dynamic buffers {dynamic}: {error}");
                        }
                    }
                }
                assert!(driver.launches() > 0, "nothing ran on the device");
            }
        }
    };
}

const VECTORS: [usize; 4] = [0, 1, 17, 1009];
const MATRICES: [[usize; 2]; 4] = [[0, 5], [1, 257], [17, 31], [33, 65]];
const ROWS: [[usize; 2]; 4] = [[1, 1], [257, 1], [17, 31], [33, 65]];
const PRODUCTS: [[usize; 3]; 5] = [[0, 3, 5], [3, 0, 5], [1, 33, 129], [13, 17, 19], [65, 129, 67]];

check!(vector_add, "../examples/vector_add.rs", VECTORS, |data, n| vector_add::check(n, data));
check!(softmax, "../examples/softmax.rs", MATRICES, |data, [m, n]| softmax::check(m, n, data));
check!(layer_norm, "../examples/layer_norm.rs", ROWS, |data, [m, n]| layer_norm::check(m, n, data));
check!(rms_norm, "../examples/rms_norm.rs", ROWS, |data, [m, n]| rms_norm::check(m, n, data));
check!(matmul, "../examples/matmul.rs", PRODUCTS, |data, dims| matmul::check(dims, data));
check!(int8_matmul, "../examples/int8_matmul.rs", PRODUCTS, |data, dims| int8_matmul::check(dims, data));
check!(swiglu, "../examples/swiglu.rs", PRODUCTS, |data, dims| swiglu::check(dims, data));
check!(cross_entropy, "../examples/cross_entropy.rs", ROWS, |data, [m, n]| cross_entropy::check(m, n, data));
check!(long_sum, "../examples/long_sum.rs", VECTORS, |data, n| long_sum::check(n, data));
check!(dropout, "../examples/dropout.rs", VECTORS, |data, n| dropout::check(n, data));
check!(welford, "../examples/welford.rs", ROWS, |data, [m, n]| welford::check(m, n, data));

const BATCHES: [[usize; 4]; 3] = [[2, 3, 0, 4], [3, 5, 7, 11], [2, 33, 17, 65]];
check!(batched_matmul, "../examples/batched_matmul.rs", BATCHES, |data, dims| batched_matmul::check(dims, data));

const ATTENTIONS: [[usize; 4]; 3] = [[1, 1, 1, 1], [2, 3, 5, 7], [3, 33, 65, 16]];
check!(attention, "../examples/attention.rs", ATTENTIONS, |data, dims| attention::check(dims, data));

const TABLES: [[usize; 3]; 3] = [[3, 0, 4], [10, 7, 33], [97, 65, 17]];
check!(embedding, "../examples/embedding.rs", TABLES, |data, dims| embedding::check(dims, data));

/// Rows, columns, segments.
const SEGMENTS: [[usize; 3]; 3] = [[0, 3, 2], [100, 7, 5], [129, 17, 200]];
check!(segment_sum, "../examples/segment_sum.rs", SEGMENTS, |data, dims| segment_sum::check(dims, data));

/// Rows, longest row, size of a vector.
const JAGGED: [[usize; 3]; 3] = [[1, 0, 4], [7, 5, 33], [31, 70, 17]];
check!(jagged_mean, "../examples/jagged_mean.rs", JAGGED, |data, dims| jagged_mean::check(dims, data));

/// Positions, heads, head size.
const HEADS: [[usize; 3]; 3] = [[1, 1, 2], [7, 3, 16], [33, 5, 66]];
check!(rotary, "../examples/rotary.rs", HEADS, |data, dims| rotary::check(dims, data));
