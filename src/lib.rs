//! A kernel compiler that lives inside Rust: write tiles, get tuned machine code.
//!
//! You write what to compute on *tiles* of tensors, as ordinary typed Rust. helion chooses block sizes, threads,
//! vector instructions and masks, compiles the kernel to machine code while your program runs, and lets you call
//! it like any function.
//!
//! ```
//! use helion::prelude::*;
//!
//! /// `x * scale + y`, element by element, for any float type.
//! #[kernel]
//! pub fn scaled_sum<T: Float>(x: &Tensor<T, 1>, y: &Tensor<T, 1>, scale: f32) -> Result<Tensor<T, 1>> {
//!     let [n] = x.dims(); // ordinary Rust, run at each call
//!     ensure!(y.dims() == [n], "the vectors have {n} and {} elements", y.dims()[0]);
//!     let mut out = x.empty_like();
//!     for t in tile(n) {
//!         // recorded once, compiled, and run in parallel
//!         out[t] = (x[t].cast::<f32>() * scale + y[t].cast::<f32>()).cast();
//!     }
//!     Ok(out)
//! }
//!
//! # fn main() -> Result<()> {
//! let x = Tensor::from_vec([3], vec![1.0f32, 2.0, 3.0])?;
//! let y = scaled_sum(&x, &x, 10.0)?; // a plain call
//! assert_eq!(y.to_vec()?, [11.0, 22.0, 33.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to read
//!
//! | | |
//! |---|---|
//! | [`guide`] | the tutorial: tensors, tile loops, reductions, indices from data, functions, random numbers, tuning |
//! | [`lang`] | the language of kernels: every operation with its element types, on one page |
//! | [`prelude`] | what `use helion::prelude::*;` brings |
//! | [`Tensor`] | tensors: making them, views, elements, devices |
//! | [`kernel`], [`device`], [`tile_fn!`] | the macros |
//! | [`tune`], [`explain`], [`with_config`], [`with_threads`], [`with_device`], [`check`] | running any kernels in another way |
//! | [`tuning`] | which config a launch takes and why; tables of tuning results to ship |
//! | [`tunable`] | choices of an algorithm that a kernel leaves to the tuner |
//! | [`cuda`] | GPUs: streams and contexts of the caller, graphs, events, memory |
//! | [`settings`] | environment variables, and setting them from code |
//! | [`runtime`] | what is under a launch: memory, threads, launches by hand |
//! | [`Error`] | what can go wrong, as one type; nothing panics on bad input |
//!
//! # Element types
//!
//! `bool`, `i8` to `i64`, `u8` to `u64`, [`struct@f16`], [`bf16`], `f32`, `f64`, and [`F8E4M3`] and [`F8E5M2`] for
//! storage. Generic kernels are bounded by [`Float`](prelude::Float), [`Int`](prelude::Int),
//! [`Num`](prelude::Num), [`Bits`](prelude::Bits) or [`Elem`](prelude::Elem).
//!
//! # Features
//!
//! - `ndarray` (default): tensors from and to arrays of that crate.
//! - `safetensors` (default): tensors from files, mapped into memory.
//! - `cuda`: running on NVIDIA GPUs. The driver is looked for when a program runs.
//! - `llvm`: compiling for them; needs LLVM 22 where the program is built.
#![deny(missing_docs)]

// Expansions of the macros name this crate.
#[allow(unused_extern_crates, reason = "used by expansions only")]
extern crate self as helion;

mod error;
pub mod guide;
pub mod lang;
pub mod runtime;
pub mod settings;
pub mod tunable;
pub mod tuning;

pub use error::{Error, Kind as ErrorKind, Result};
pub use lang::{F8E4M3, F8E5M2, Scalar, Size, TensorMut, TensorRef, Tile, TileIx, bf16, f16};
#[cfg(feature = "safetensors")]
pub use runtime::SafeTensors;
pub use runtime::{
    Device, Effort, Explained, Report, Tensor, Tuned, Tuner, Tuning, check, cuda, explain, tune, with_config,
    with_device, with_threads,
};

#[doc(hidden)]
pub use lang::expansion as __m;

/// Everything a file with kernels needs: `use helion::prelude::*;`.
pub mod prelude {
    pub use crate::ensure;
    pub use crate::error::{Error, Result};
    pub use crate::lang::{
        Bits, DotInto, Elem, Extent, Extents, F8E4M3, F8E5M2, Float, Int, Num, Scalar, Size, TensorMut, TensorRef,
        Tile, TileFn, TileIx, TileOffset, Val, Zeros, bf16, concat, constant, debug_print, dot, dropout, f16, full,
        grid, iota, rand, rand_bits, randint, randn, reduce_with, scan_with, scan_with_reverse, select, tile, zeros,
    };
    pub use crate::runtime::{Device, Effort, Tensor, Tuner};
    pub use crate::tunable;
    pub use helion_ir::config::Config;
    pub use helion_macros::{device, kernel, tile_fn};
}
pub use helion_macros::{device, kernel, tile_fn};
