//! Loop IR: *how* a kernel runs. Structural tile ops are gone; what is left are element loops.
//!
//! # Meaning
//!
//! A [`Function`] is one launch with every scheduling decision taken. Its `header` is a list of scalar
//! instructions over sizes and scalar parameters, run once per launch; its values are visible
//! everywhere. The grid is the product of the `count`s of its [`GridAxis`]s; program instance
//! `(i0, i1, …)` runs `body` with each axis's `index` bound to its coordinate. Instances are
//! unordered and may run at the same time.
//!
//! A **value** is one scalar ([`DType`](crate::dtype::DType)), immutable. All state that changes (loop-carried tiles,
//! staged tiles, running scalars) lives in **buffers**: row-major arrays private to a program
//! instance, whose dims are header values, undefined on entry. A buffer without dims is one scalar.
//!
//! A [`Nest`] is a perfect loop nest over index axes with a straight-line body, the form in which
//! every elementwise computation, reduction, scan, gather and copy arrives. Its leading *parallel* axes
//! may be visited in any order or at the same time; its trailing *reduce* axes are visited in
//! ascending order for each point of the parallel ones, threading the carries: at the start of a
//! parallel point a carry's `param` is `init`, after each step it is `next`, and `result` is its last
//! value. A carry with an `op` may be split and recombined in any order. `finals` run once for each
//! parallel point after the reduce axes and may use the carries' results (and values of parallel axes
//! only). Within a nest, an element that is stored is loaded only at the point that stores it.
//!
//! A [`Contract`] is a matrix product `acc[b.., m, n] (+)= sum over k of lhs[b.., m, k] * rhs[b.., k, n]`
//! on strided operands, accumulated in the element type of `acc`; lhs and rhs elements are converted to it
//! first.
//!
//! **Memory.** An access names a tensor or buffer and one `i64` index per axis. Unmasked accesses are in
//! bounds: the scheduler proves it or masks them. A masked access with a false mask touches nothing
//! and reads `other`. The interpreter checks every access.
//!
//! **Arithmetic** is that of [`crate::eval`], on one element.

pub mod interp;
mod parse;
mod print;
mod types;
mod verify;

pub use parse::parse;
pub use types::*;
pub use verify::verify;
