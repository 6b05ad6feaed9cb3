//! New tiles: constants, counting, and printing.

use crate::lang::elem::Elem;
use crate::lang::extents::{Extent, Extents};
use crate::lang::operand::literal;
use crate::lang::trace;
use crate::lang::types::{Scalar, Tile, Val};
use helion_ir::dtype::Literal;
use helion_ir::tile::{Op, ValueId};

/// A value for [`full`]: an element (frozen into the kernel) or a scalar.
#[diagnostic::on_unimplemented(
    message = "a tile cannot be filled with `{Self}`",
    label = "not an element or a scalar",
    note = "give a number of the element type (`full([tm], 1.0f32)`) or a scalar"
)]
pub trait Fill: Copy {
    /// The element type.
    type Elem: Elem;
    #[doc(hidden)]
    #[track_caller]
    fn fill(self) -> ValueId;
}
#[diagnostic::do_not_recommend]
impl<T: Elem> Fill for T {
    type Elem = T;
    #[track_caller]
    fn fill(self) -> ValueId {
        literal(Literal::from_bits(T::DTYPE, self.to_bits64()))
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem> Fill for Scalar<T> {
    type Elem = T;
    #[track_caller]
    fn fill(self) -> ValueId {
        self.value()
    }
}

#[track_caller]
fn broadcast<V: Val>(value: ValueId, extents: impl Extents) -> V {
    V::from_value(trace::op(Op::Broadcast(extents.dims()), &[value]))
}

/// A tile with every element `value`: `full([tm, tn], 1.0f32)`.
#[track_caller]
pub fn full<S: Extents, V: Fill>(extents: S, value: V) -> S::Filled<V::Elem> {
    broadcast(value.fill(), extents)
}

/// A tile of zeros whose element type is inferred from use; `f32::zeros([tm, tn])` states it.
#[track_caller]
pub fn zeros<T: Elem, S: Extents>(extents: S) -> S::Filled<T> {
    broadcast(literal(Literal::from_bits(T::DTYPE, 0)), extents)
}

/// The numbers `0, 1, …` along one axis: `iota(n)`, `iota(tm)`.
///
/// For a tile variable it counts from 0 within the tile; `tm.index()` gives indices of the tensor.
#[track_caller]
pub fn iota<E: Extent>(extent: E) -> Tile<i64, 1> {
    Tile::from_value(trace::op(Op::Iota(extent.dim()), &[]))
}

/// Zeros of a stated element type: `f32::zeros([tm, tn])`, `T::zeros((tm, d))`.
pub trait Zeros: Elem {
    /// A tile of zeros (`false` for `bool`).
    #[track_caller]
    fn zeros<S: Extents>(extents: S) -> S::Filled<Self> {
        zeros(extents)
    }
}
impl<T: Elem> Zeros for T {}

impl<T: Elem, const R: usize> Tile<T, R> {
    /// A tile of the same shape with every element `value`.
    #[track_caller]
    pub fn full_like<V: Fill>(self, value: V) -> Tile<V::Elem, R> {
        let shape = trace::with(|t| t.builder().ty(self.value()).shape.clone());
        Tile::from_value(trace::op(Op::Broadcast(shape), &[value.fill()]))
    }
    /// A tile of zeros of the same shape and element type.
    #[track_caller]
    pub fn zeros_like(self) -> Self {
        let shape = trace::with(|t| t.builder().ty(self.value()).shape.clone());
        let zero = literal(Literal::from_bits(T::DTYPE, 0));
        Tile::from_value(trace::op(Op::Broadcast(shape), &[zero]))
    }
}

/// Prints a value from the running kernel, with a label and the tile it belongs to.
///
/// It runs for every tile; `println!` in a kernel would run once, while the kernel is recorded.
#[track_caller]
pub fn debug_print<V: Val>(label: &str, value: V) {
    trace::effect(Op::Print { label: label.to_owned() }, &[value.value()]);
}
