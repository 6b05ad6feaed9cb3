//! A kernel compiler that lives inside Rust: write tiles, get tuned machine code.
#![deny(missing_docs)]

// Expansions of the macros name this crate.
#[allow(unused_extern_crates, reason = "used by expansions only")]
extern crate self as helion;

mod error;
pub mod lang;
pub mod runtime;
pub mod settings;

pub use error::{Error, Kind as ErrorKind, Result};
pub use lang::{F8E4M3, F8E5M2, Scalar, Size, TensorMut, TensorRef, Tile, TileIx, bf16, f16};
#[cfg(feature = "safetensors")]
pub use runtime::SafeTensors;
pub use runtime::{
    Device, Effort, Explained, Report, Tensor, Tuned, Tuning, check, explain, tune, with_config, with_threads,
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
    pub use crate::runtime::{Device, Effort, Tensor};
    pub use helion_ir::config::Config;
    pub use helion_macros::{device, kernel, tile_fn};
}
pub use helion_macros::{device, kernel, tile_fn};

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
