//! Every example against plain Rust, on the device: its own `check` with tensors made there.

use crate::examples::*;
use helion::prelude::*;

/// Runs a check with every kind of data and the given sizes.
macro_rules! checks {
    ($($example:ident, special: $special:literal, $sizes:expr, |$data:ident, $size:pat_param| $call:expr;)*) => {
        /// The examples.
        pub const NAMES: &[&str] = &[$(stringify!($example)),*];

        /// Checks one; says what was run.
        ///
        /// # Errors
        /// The first difference.
        pub fn run(name: &str, device: Device) -> Result<String, String> {
            match name {
                $(stringify!($example) => {
                    let mut count = 0;
                    for (kind, data) in $example::support::Data::variants() {
                        if kind == "special" && !$special {
                            continue;
                        }
                        for size in $sizes {
                            let $data = &mut data.clone();
                            let $size = size;
                            helion::with_device(device, || $call)
                                .map_err(|e: Error| format!("{kind} inputs, size {size:?}: {e}"))?;
                            count += 1;
                        }
                    }
                    Ok(format!("right, {count} calls"))
                })*
                _ => Err(format!("`{name}` is not one of {}", NAMES.join(", "))),
            }
        }
    };
}

const VECTORS: [usize; 5] = [0, 1, 31, 1009, 100_003];
const MATRICES: [[usize; 2]; 5] = [[0, 5], [1, 257], [33, 65], [3, 1009], [131, 1024]];
const ROWS: [[usize; 2]; 5] = [[1, 1], [1, 257], [33, 65], [3, 1009], [131, 1024]];
const PRODUCTS: [[usize; 3]; 6] = [[0, 3, 5], [1, 67, 1], [13, 17, 19], [65, 129, 67], [128, 64, 256], [300, 200, 260]];

checks! {
    vector_add, special: true, VECTORS, |data, n| vector_add::check(n, data);
    softmax, special: true, MATRICES, |data, [m, n]| softmax::check(m, n, data);
    layer_norm, special: true, ROWS, |data, [m, n]| layer_norm::check(m, n, data);
    rms_norm, special: true, ROWS, |data, [m, n]| rms_norm::check(m, n, data);
    matmul, special: true, PRODUCTS, |data, dims| matmul::check(dims, data);
    int8_matmul, special: false, PRODUCTS, |data, dims| int8_matmul::check(dims, data);
    int4_matmul, special: false, [[3, 0, 5], [1, 1, 1], [17, 1, 65], [33, 3, 130]], |data, dims| int4_matmul::check(dims, data);
    pointwise, special: true, VECTORS, |data, n| pointwise::check(n, data);
    swiglu, special: true, PRODUCTS, |data, dims| swiglu::check(dims, data);
    cross_entropy, special: false, ROWS, |data, [m, n]| cross_entropy::check(m, n, data);
    long_sum, special: true, VECTORS, |data, n| long_sum::check(n, data);
    dropout, special: true, VECTORS, |data, n| dropout::check(n, data);
    welford, special: false, ROWS, |data, [m, n]| welford::check(m, n, data);
    batched_matmul, special: true, [[0, 2, 3, 4], [3, 5, 7, 11], [2, 33, 17, 65], [2, 128, 64, 128]],
        |data, dims| batched_matmul::check(dims, data);
    attention, special: false, [[0, 2, 3, 4], [2, 3, 5, 7], [2, 65, 65, 33], [1, 130, 130, 64], [2, 256, 256, 128]],
        |data, dims| attention::check(dims, data);
    embedding, special: true, [[1, 1, 1], [3, 0, 4], [97, 65, 17], [2, 129, 64]],
        |data, dims| embedding::check(dims, data);
    segment_sum, special: false, [[1, 1, 1], [0, 3, 2], [100, 7, 5], [129, 17, 200]],
        |data, dims| segment_sum::check(dims, data);
    jagged_mean, special: true, [[0, 3, 2], [1, 0, 4], [7, 5, 33], [31, 70, 17]],
        |data, dims| jagged_mean::check(dims, data);
    rotary, special: true, [[0, 2, 4], [7, 3, 16], [33, 5, 66], [65, 1, 64]],
        |data, dims| rotary::check(dims, data);
}
