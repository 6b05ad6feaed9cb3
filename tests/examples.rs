//! Runs every example's check on awkward sizes: nothing, one, primes, one more than a power of two, long and
//! thin; with operands that are transposed, windows of larger tensors or stepped backwards; and with NaN and
//! infinities where the example promises something about them. Then on one size under random configs.
#![allow(dead_code)] // the examples' own `main`
#![allow(clippy::duplicate_mod, reason = "each example brings its support")]

#[path = "../examples/attention.rs"]
mod attention;
#[path = "../examples/batched_matmul.rs"]
mod batched_matmul;
#[path = "../examples/cross_entropy.rs"]
mod cross_entropy;
#[path = "../examples/dropout.rs"]
mod dropout;
#[path = "../examples/embedding.rs"]
mod embedding;
#[path = "../examples/int4_matmul.rs"]
mod int4_matmul;
#[path = "../examples/int8_matmul.rs"]
mod int8_matmul;
#[path = "../examples/jagged_mean.rs"]
mod jagged_mean;
#[path = "../examples/layer_norm.rs"]
mod layer_norm;
#[path = "../examples/long_sum.rs"]
mod long_sum;
#[path = "../examples/matmul.rs"]
mod matmul;
#[path = "../examples/pointwise.rs"]
mod pointwise;
#[path = "../examples/rms_norm.rs"]
mod rms_norm;
#[path = "../examples/rotary.rs"]
mod rotary;
#[path = "../examples/segment_sum.rs"]
mod segment_sum;
#[path = "../examples/softmax.rs"]
mod softmax;
#[path = "../examples/swiglu.rs"]
mod swiglu;
#[path = "../examples/vector_add.rs"]
mod vector_add;
#[path = "../examples/welford.rs"]
mod welford;

#[path = "support/configs.rs"]
mod configs;

/// One test for one example. `special` says whether NaN and infinities are among its inputs.
macro_rules! check {
    ($example:ident, special: $special:literal, $sizes:expr, |$data:ident, $size:pat_param| $call:expr) => {
        #[test]
        fn $example() {
            for (name, data) in $example::support::Data::variants() {
                if name == "special" && !$special {
                    continue;
                }
                for size in $sizes {
                    let $data = &mut data.clone();
                    let $size = size;
                    if let Err(error) = $call {
                        panic!("{name} inputs, size {size:?}: {error}");
                    }
                }
            }
            let (data, size) = ($example::support::Data::variants()[0].1.clone(), $sizes[$sizes.len() - 1]);
            configs::under_random_configs(stringify!($example), CONFIGS, || {
                let ($data, $size) = (&mut data.clone(), size);
                $call
            });
        }
    };
}

/// How many random configs of its whole space each example runs under.
const CONFIGS: u64 = 50;

const VECTORS: [usize; 8] = [0, 1, 2, 17, 31, 65, 1009, 4099];
const MATRICES: [[usize; 2]; 10] =
    [[0, 5], [5, 0], [1, 1], [1, 257], [257, 1], [2, 3], [17, 31], [33, 65], [3, 1009], [131, 127]];
/// Without empty rows.
const ROWS: [[usize; 2]; 9] = [[0, 5], [1, 1], [1, 257], [257, 1], [2, 3], [17, 31], [33, 65], [3, 1009], [131, 127]];
const PRODUCTS: [[usize; 3]; 11] = [
    [0, 3, 5],
    [3, 0, 5],
    [3, 5, 0],
    [1, 1, 1],
    [1, 67, 1],
    [1, 33, 129],
    [129, 33, 1],
    [13, 17, 19],
    [33, 65, 17],
    [65, 129, 67],
    [100, 3, 100],
];

check!(vector_add, special: true, VECTORS, |data, n| vector_add::check(n, data));
check!(softmax, special: true, MATRICES, |data, [m, n]| softmax::check(m, n, data));
check!(layer_norm, special: true, ROWS, |data, [m, n]| layer_norm::check(m, n, data));
check!(rms_norm, special: true, ROWS, |data, [m, n]| rms_norm::check(m, n, data));
check!(matmul, special: true, PRODUCTS, |data, dims| matmul::check(dims, data));
check!(int8_matmul, special: false, PRODUCTS, |data, dims| int8_matmul::check(dims, data));
check!(pointwise, special: true, VECTORS, |data, n| pointwise::check(n, data));
check!(swiglu, special: true, PRODUCTS, |data, dims| swiglu::check(dims, data));
check!(cross_entropy, special: false, ROWS, |data, [m, n]| cross_entropy::check(m, n, data));
check!(long_sum, special: true, VECTORS, |data, n| long_sum::check(n, data));
check!(dropout, special: true, VECTORS, |data, n| dropout::check(n, data));
check!(welford, special: false, ROWS, |data, [m, n]| welford::check(m, n, data));

const BATCHES: [[usize; 4]; 7] =
    [[0, 2, 3, 4], [2, 3, 0, 4], [1, 1, 1, 1], [3, 5, 7, 11], [2, 33, 17, 65], [5, 1, 9, 1], [1, 65, 64, 63]];
check!(batched_matmul, special: true, BATCHES, |data, dims| batched_matmul::check(dims, data));

/// Rows, groups of the inner dimension, columns.
const QUANTISED: [[usize; 3]; 6] = [[0, 1, 3], [3, 0, 5], [1, 1, 1], [1, 2, 33], [17, 1, 65], [33, 3, 7]];
check!(int4_matmul, special: false, QUANTISED, |data, dims| int4_matmul::check(dims, data));

const ATTENTIONS: [[usize; 4]; 7] =
    [[0, 2, 3, 4], [1, 1, 1, 1], [2, 3, 5, 7], [1, 17, 17, 8], [3, 33, 65, 16], [2, 65, 65, 33], [1, 130, 130, 64]];
check!(attention, special: false, ATTENTIONS, |data, dims| attention::check(dims, data));

const TABLES: [[usize; 3]; 7] = [[1, 1, 1], [3, 0, 4], [3, 4, 0], [10, 7, 33], [97, 65, 17], [2, 129, 64], [5, 1, 257]];
check!(embedding, special: true, TABLES, |data, dims| embedding::check(dims, data));

/// Rows, columns, segments.
const SEGMENTS: [[usize; 3]; 7] =
    [[1, 1, 1], [0, 3, 2], [3, 0, 2], [100, 7, 5], [67, 33, 1], [129, 17, 200], [257, 1, 3]];
check!(segment_sum, special: false, SEGMENTS, |data, dims| segment_sum::check(dims, data));

/// Rows, longest row, size of a vector.
const JAGGED: [[usize; 3]; 7] = [[0, 3, 2], [1, 0, 4], [1, 1, 1], [7, 5, 33], [31, 70, 17], [3, 257, 1], [5, 9, 0]];
check!(jagged_mean, special: true, JAGGED, |data, dims| jagged_mean::check(dims, data));

/// Positions, heads, head size.
const HEADS: [[usize; 3]; 6] = [[0, 2, 4], [1, 1, 2], [7, 3, 16], [33, 5, 66], [2, 17, 10], [65, 1, 64]];
check!(rotary, special: true, HEADS, |data, dims| rotary::check(dims, data));
