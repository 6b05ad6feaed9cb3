//! The examples, as modules.
#![allow(dead_code)] // their own checks and `main`
#![allow(clippy::duplicate_mod, reason = "each example brings its support")]

#[path = "../../examples/attention.rs"]
pub mod attention;
#[path = "../../examples/batched_matmul.rs"]
pub mod batched_matmul;
#[path = "../../examples/cross_entropy.rs"]
pub mod cross_entropy;
#[path = "../../examples/dropout.rs"]
pub mod dropout;
#[path = "../../examples/embedding.rs"]
pub mod embedding;
#[path = "../../examples/int4_matmul.rs"]
pub mod int4_matmul;
#[path = "../../examples/int8_matmul.rs"]
pub mod int8_matmul;
#[path = "../../examples/jagged_mean.rs"]
pub mod jagged_mean;
#[path = "../../examples/layer_norm.rs"]
pub mod layer_norm;
#[path = "../../examples/long_sum.rs"]
pub mod long_sum;
#[path = "../../examples/matmul.rs"]
pub mod matmul;
#[path = "../../examples/pointwise.rs"]
pub mod pointwise;
#[path = "../../examples/rms_norm.rs"]
pub mod rms_norm;
#[path = "../../examples/rotary.rs"]
pub mod rotary;
#[path = "../../examples/segment_sum.rs"]
pub mod segment_sum;
#[path = "../../examples/softmax.rs"]
pub mod softmax;
#[path = "../../examples/swiglu.rs"]
pub mod swiglu;
#[path = "../../examples/vector_add.rs"]
pub mod vector_add;
#[path = "../../examples/welford.rs"]
pub mod welford;
