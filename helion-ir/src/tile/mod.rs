//! Tile IR: *what* a kernel computes, with no sizes of blocks.
//!
//! # Meaning
//!
//! A [`Function`] is one launch. Its grid is the product of its grid [`TileVar`]s; each point of
//! the grid is a *program instance* that runs `body` once. Instances are independent and unordered.
//!
//! A **tile variable** stands for a block of consecutive indices `begin..end` of one axis. How long
//! a block is belongs to the configuration, not to the IR. The last block of an axis is shorter when
//! the block size does not divide the axis: **the extent of a tile variable is the number of indices
//! that exist**, so a tile never holds elements outside its axis. Backends with fixed block shapes
//! realise this with masks; here there are none. A *unit* variable (from `grid`) has block size 1.
//!
//! A **value** is a tile: an element type and a shape of [`Dim`]s; rank 0 is a scalar. Values are
//! immutable (SSA). Sizes and indices are `i64` scalars. A dim is a constant, a size symbol, the
//! extent of a tile variable, or an arithmetic expression of these; two dims are equal when they are
//! structurally equal after folding. Symbols that are different may have equal values at run time,
//! except that a function is only launched with sizes that agree with its equalities.
//!
//! **Memory.** A tensor parameter is a strided array. A load reads one element per point of its
//! index product; **a point outside the tensor reads zero, and a store or atomic there does nothing**.
//! The same holds where an extra mask is false (a load then gives `other`). All loads and stores of an
//! instance happen in program order: a load sees every earlier store of its own instance.
//! No two instances write one element, unless by atomics; the verifier proves it.
//!
//! **Arithmetic** is that of [`crate::eval`]: wrapping integers, IEEE floats, 16-bit floats rounded
//! after every operation, transcendental functions of them computed in f32 and rounded once.
//! Sums, products, scans and dots of 16-bit floats accumulate in f32 and round once at the end.
//! Floating-point sums and products have no defined order; the interpreter sums in f64.
//!
//! **Regions** (bodies of loops, branches, combine functions) see the values defined before them.
//! What a loop changes is passed in and out: see [`Op::For`].

mod builder;
mod dims;
mod infer;
pub mod interp;
mod parse;
mod parts;
mod print;
#[cfg(test)]
mod samples;
mod types;
mod verify;

pub use builder::Builder;
pub use infer::{Types, infer};
pub use parse::parse;
pub use parts::{AccessKind, MemoryAccess, Rename};
pub use types::*;
pub use verify::{Verified, verify};
