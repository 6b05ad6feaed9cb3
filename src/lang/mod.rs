//! The language of kernels: typed tiles whose operations are recorded.
//!
//! In: the calls that `#[kernel]` expands to. Out: a `tile::Function` in the builder of the launch.

pub mod elem;

pub use elem::{Bits, DotInto, Elem, F8E4M3, F8E5M2, Float, Int, Num, bf16, f16};
