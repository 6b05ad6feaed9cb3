//! Matrix products.

use crate::lang::elem::{DotInto, Elem};
use crate::lang::trace;
use crate::lang::types::{Tile, Val};
use helion_ir::tile::Op;

/// The matrix product of the last two axes: `[.., m, k] · [.., k, n]` gives `[.., m, n]`.
///
/// Leading axes are equal on both sides (a batch). `A` is the type in which it accumulates and which
/// it returns: f32 for floats (f64 may also use f64), i32 for 8-bit integers; it is inferred.
#[track_caller]
pub fn dot<T: DotInto<A>, A: Elem, const R: usize>(a: Tile<T, R>, b: Tile<T, R>) -> Tile<A, R> {
    const { assert!(R >= 2, "`dot` needs tiles with at least two axes") };
    Tile::from_value(trace::op(Op::Dot { acc: A::DTYPE }, &[a.value(), b.value()]))
}
