//! The attributes and macros of helion's kernel language.
//!
//! In: the tokens of a user's function. Out: the same function with its tile loops replaced by calls
//! into the library, which record what the loop computes; or errors at the user's tokens. This crate
//! knows syntax only: control flow, assignment, indexing, captured variables, and what device code
//! cannot say. Types, ranks and element types are left to rustc, sizes to the recorded kernel.
//!
//! | file | holds |
//! |---|---|
//! | `kernel` | the entry points, what is emitted around a function |
//! | `host` | host code: finds launches |
//! | `device` | device code: rewrites expressions and statements |
//! | `control` | device code: loops, branches, assignments |
//! | `capture` | variables that enter device code |
//! | `scope` | what names stand for |
//! | `writes` | which variables a piece of code changes |
//! | `names` | the user's names for values and sizes |
//! | `refuse` | what device code cannot say, and what to write instead |
//! | `shape_test` | the unit test made for every kernel |

mod capture;
mod control;
mod device;
mod host;
mod kernel;
mod names;
mod refuse;
mod scope;
mod shape_test;
mod writes;

use proc_macro::TokenStream;

/// Turns a function into a kernel.
///
/// Host code stays as it is; each `for … in tile(…)` or `grid(…)` outside another one becomes a launch.
/// The function returns `helion::Result` (or a `Result` whose error converts from `helion::Error`).
/// A kernel `f` can also be called as `f::tune(…, effort)`, `f::explain(…)`, `f::choices(…)` and `f::with(config).call(…)`,
/// and gets a unit test that checks its shapes for every element type it can have.
///
/// - `#[kernel(no_test)]`: no unit test.
/// - `#[kernel(method)]`: for associated functions without `self`; no unit test, and no `tune`,
///   `explain`, `choices` or `with`. Functions with `self` need no mark.
#[proc_macro_attribute]
pub fn kernel(options: TokenStream, input: TokenStream) -> TokenStream {
    kernel::kernel(options.into(), input.into()).into()
}

/// Lets a function on tiles use the syntax of kernels: `==` and `<` on tiles, `x[…]`, assignment in
/// loops and branches.
#[proc_macro_attribute]
pub fn device(options: TokenStream, input: TokenStream) -> TokenStream {
    kernel::device(options.into(), input.into()).into()
}

/// A tile function that uses tensors and numbers around it: `tile_fn!(|t: Tile<f32, 2>| t * gain)`.
#[proc_macro]
pub fn tile_fn(input: TokenStream) -> TokenStream {
    kernel::tile_fn(input.into()).into()
}
