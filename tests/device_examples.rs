//! Every example's check with its tensors on a GPU: on a simulated device, which checks each launch, and computes what
//! the same loop IR computes on the CPU; and, where there is a code generator, on devices that run its PTX. Operands are
//! transposed, windows of larger tensors or stepped backwards, too.
#![allow(dead_code)] // the examples' own `main`
#![allow(clippy::duplicate_mod, reason = "each example brings its support")]

#[path = "support/fake_gpu.rs"]
mod fake_gpu;
#[cfg(feature = "llvm")]
#[path = "support/ptx_gpu.rs"]
mod ptx_gpu;

use fake_gpu::{FakeGpu, Options};
use helion::{Device, cuda, with_device};
use std::sync::Arc;

/// A device to run on, and how many launches it has seen.
type Seen = (String, Device, Box<dyn Fn() -> u64>);

fn device(name: &str, driver: Arc<dyn cuda::driver::Driver>, launches: impl Fn() -> u64 + 'static) -> Seen {
    let device = Device::cuda(cuda::install(driver).expect("a driver")).expect("a device");
    (name.to_owned(), device, Box::new(launches))
}

/// All devices. One has too little shared memory for buffers whose size launches decide.
fn devices() -> Vec<Seen> {
    helion::settings::set_cache("off").expect("a setting");
    let mut all = Vec::new();
    for (name, dynamic, shared) in [("simulated", false, 100 << 10), ("simulated, dynamic buffers", true, 2 << 10)] {
        let driver = FakeGpu::new(Options { dynamic, shared, ..Options::default() });
        all.push(device(name, driver.clone(), move || driver.launches()));
    }
    #[cfg(feature = "llvm")]
    for (name, capability) in [("PTX for sm_80", (8, 0)), ("PTX for sm_90a", (9, 0))] {
        let driver = ptx_gpu::PtxGpu::new(capability, |_, _| None);
        all.push(device(name, driver.clone(), move || driver.launches()));
    }
    all
}

/// Declares an example and its test.
macro_rules! check {
    ($example:ident, $file:literal, $sizes:expr, |$data:ident, $size:pat_param| $call:expr) => {
        #[path = $file]
        mod $example;
        #[test]
        fn $example() {
            for (on, device, launches) in devices() {
                for (name, data) in $example::support::Data::variants() {
                    if name == "special" {
                        continue;
                    }
                    for size in $sizes {
                        let $data = &mut data.clone();
                        let $size = size;
                        if let Err(error) = with_device(device, || $call) {
                            panic!("{name} inputs, size {size:?}, {on}: {error}");
                        }
                    }
                }
                assert!(launches() > 0, "nothing ran on {on}");
            }
        }
    };
}

const VECTORS: [usize; 5] = [0, 1, 17, 1009, 1025];
const MATRICES: [[usize; 2]; 4] = [[0, 5], [1, 257], [17, 31], [33, 65]];
const ROWS: [[usize; 2]; 4] = [[1, 1], [257, 1], [17, 31], [33, 65]];
const PRODUCTS: [[usize; 3]; 5] = [[0, 3, 5], [3, 0, 5], [1, 33, 129], [13, 17, 19], [65, 67, 67]];

check!(vector_add, "../examples/vector_add.rs", VECTORS, |data, n| vector_add::check(n, data));
check!(softmax, "../examples/softmax.rs", MATRICES, |data, [m, n]| softmax::check(m, n, data));
check!(layer_norm, "../examples/layer_norm.rs", ROWS, |data, [m, n]| layer_norm::check(m, n, data));
check!(rms_norm, "../examples/rms_norm.rs", ROWS, |data, [m, n]| rms_norm::check(m, n, data));
check!(matmul, "../examples/matmul.rs", PRODUCTS, |data, dims| matmul::check(dims, data));
check!(int8_matmul, "../examples/int8_matmul.rs", PRODUCTS, |data, dims| int8_matmul::check(dims, data));
check!(pointwise, "../examples/pointwise.rs", VECTORS, |data, n| pointwise::check(n, data));
check!(swiglu, "../examples/swiglu.rs", PRODUCTS, |data, dims| swiglu::check(dims, data));
check!(cross_entropy, "../examples/cross_entropy.rs", ROWS, |data, [m, n]| cross_entropy::check(m, n, data));
check!(long_sum, "../examples/long_sum.rs", VECTORS, |data, n| long_sum::check(n, data));
check!(dropout, "../examples/dropout.rs", VECTORS, |data, n| dropout::check(n, data));
check!(welford, "../examples/welford.rs", ROWS, |data, [m, n]| welford::check(m, n, data));

const BATCHES: [[usize; 4]; 3] = [[2, 3, 0, 4], [3, 5, 7, 11], [2, 33, 17, 65]];
check!(batched_matmul, "../examples/batched_matmul.rs", BATCHES, |data, dims| batched_matmul::check(dims, data));

const QUANTISED: [[usize; 3]; 3] = [[3, 0, 5], [1, 2, 33], [17, 1, 65]];
check!(int4_matmul, "../examples/int4_matmul.rs", QUANTISED, |data, dims| int4_matmul::check(dims, data));

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
