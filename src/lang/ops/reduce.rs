//! Reductions along an axis. The axis stays, with size 1, so that the result broadcasts against what
//! was reduced; `squeeze(axis)` drops it.

use super::scan::combine_region;
use crate::lang::elem::{Elem, Float, Num};
use crate::lang::trace;
use crate::lang::types::{Scalar, Tile, Val};
use helion_ir::tile::{Op, ReduceOp, Type, ValueId};
use helion_ir::{BinaryOp, DType, Loc};
use smallvec::SmallVec;

#[track_caller]
pub(super) fn reduce<O: Val>(op: ReduceOp, v: ValueId, axis: usize) -> O {
    O::from_value(trace::op(Op::Reduce { op, axis: axis as u32 }, &[v]))
}

impl<T: Num, const R: usize> Tile<T, R> {
    /// The sum along an axis, which gets size 1. 16-bit floats add in f32 and round once.
    #[track_caller]
    pub fn sum(self, axis: usize) -> Self {
        reduce(ReduceOp::Sum, self.value(), axis)
    }
    /// The product along an axis, which gets size 1. 16-bit floats multiply in f32 and round once.
    #[track_caller]
    pub fn prod(self, axis: usize) -> Self {
        reduce(ReduceOp::Prod, self.value(), axis)
    }
    /// The largest element along an axis, which gets size 1; NaN if any is NaN. (`maximum` compares two
    /// tiles.)
    #[track_caller]
    pub fn max(self, axis: usize) -> Self {
        reduce(ReduceOp::Max, self.value(), axis)
    }
    /// The smallest element along an axis, which gets size 1; NaN if any is NaN.
    #[track_caller]
    pub fn min(self, axis: usize) -> Self {
        reduce(ReduceOp::Min, self.value(), axis)
    }
    /// The index of the first largest element along an axis, which gets size 1; the first NaN counts as
    /// largest.
    #[track_caller]
    pub fn argmax(self, axis: usize) -> Tile<i64, R> {
        reduce(ReduceOp::ArgMax, self.value(), axis)
    }
    /// The index of the first smallest element along an axis, which gets size 1; the first NaN counts as
    /// smallest.
    #[track_caller]
    pub fn argmin(self, axis: usize) -> Tile<i64, R> {
        reduce(ReduceOp::ArgMin, self.value(), axis)
    }
}

impl<T: Float, const R: usize> Tile<T, R> {
    /// The mean along an axis, which gets size 1: the sum divided by the number of elements that exist.
    /// 16-bit floats compute in f32 and round once.
    #[track_caller]
    pub fn mean(self, axis: usize) -> Self {
        let at = Loc::caller();
        let v = self.value();
        Tile::from_value(trace::with(|t| {
            let wide = T::DTYPE.compute();
            let x = t.cast(v, wide, at);
            let sum = t.one(Op::Reduce { op: ReduceOp::Sum, axis: axis as u32 }, &[x], at);
            let Some(dim) = t.builder().ty(v).shape.get(axis).copied() else { return sum };
            let n = t.one(Op::Extent(dim), &[], at);
            let n = t.cast(n, wide, at);
            let mean = t.binary(BinaryOp::Div, sum, n, at);
            t.cast(mean, T::DTYPE, at)
        }))
    }
}

impl<const R: usize> Tile<bool, R> {
    /// Whether any element along an axis is true; the axis gets size 1.
    #[track_caller]
    pub fn any(self, axis: usize) -> Self {
        reduce(ReduceOp::Any, self.value(), axis)
    }
    /// Whether all elements along an axis are true; the axis gets size 1.
    #[track_caller]
    pub fn all(self, axis: usize) -> Self {
        reduce(ReduceOp::All, self.value(), axis)
    }
    /// How many elements along an axis are true; the axis gets size 1.
    #[track_caller]
    pub fn count(self, axis: usize) -> Tile<i64, R> {
        let ones: Tile<i64, R> = Tile::from_value(trace::op(Op::Cast(DType::I64), &[self.value()]));
        reduce(ReduceOp::Sum, ones.value(), axis)
    }
}

impl<T: Elem, const R: usize> Tile<T, R> {
    /// Reduces an axis, which gets size 1, with a function of two partial results. The function must be
    /// associative; the order of combination is not defined. Of no elements the result is zero.
    #[track_caller]
    pub fn reduce(self, axis: usize, f: impl Fn(Scalar<T>, Scalar<T>) -> Scalar<T>) -> Self {
        let (v,) = reduce_with((self,), axis, |(a,), (b,)| (f(a, b),));
        v
    }
}

/// Several tiles of one shape that are reduced or scanned together.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of tiles of one rank",
    label = "expected a tuple of tiles",
    note = "write `reduce_with((a, b), axis, |(x0, x1), (y0, y1)| ..)`"
)]
pub trait TileTuple: Copy {
    /// One element of each.
    type Scalars: ScalarTuple;
    #[doc(hidden)]
    fn ids(self) -> SmallVec<[ValueId; 4]>;
    #[doc(hidden)]
    fn from_ids(ids: &[ValueId]) -> Self;
}
/// One element of each tile of a [`TileTuple`].
pub trait ScalarTuple: Copy {
    #[doc(hidden)]
    #[track_caller]
    fn ids(self) -> SmallVec<[ValueId; 4]>;
    #[doc(hidden)]
    fn from_ids(ids: &[ValueId]) -> Self;
    #[doc(hidden)]
    fn types() -> Vec<Type>;
}

macro_rules! tuples {
    ($($($t:ident $i:tt),+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($t: Elem,)+ const R: usize> TileTuple for ($(Tile<$t, R>,)+) {
            type Scalars = ($(Scalar<$t>,)+);
            fn ids(self) -> SmallVec<[ValueId; 4]> { SmallVec::from_slice(&[$(self.$i.value()),+]) }
            fn from_ids(ids: &[ValueId]) -> Self { ($(Tile::<$t, R>::from_value(ids[$i]),)+) }
        }
        #[diagnostic::do_not_recommend]
        impl<$($t: Elem,)+> ScalarTuple for ($(Scalar<$t>,)+) {
            #[track_caller]
            fn ids(self) -> SmallVec<[ValueId; 4]> { SmallVec::from_slice(&[$(self.$i.value()),+]) }
            fn from_ids(ids: &[ValueId]) -> Self { ($(Scalar::<$t>::from_value(ids[$i]),)+) }
            fn types() -> Vec<Type> { vec![$(Type::scalar($t::DTYPE)),+] }
        }
    )*};
}
tuples! { A 0; A 0, B 1; A 0, B 1, C 2; A 0, B 1, C 2, D 3; A 0, B 1, C 2, D 3, E 4; }

/// Reduces several tiles of one shape together: `reduce_with((mean, m2, count), 1, welford)`.
///
/// `f` combines two partial results and must be associative. The axis gets size 1. Of no elements the
/// results are zeros.
#[track_caller]
pub fn reduce_with<V: TileTuple>(tiles: V, axis: usize, f: impl Fn(V::Scalars, V::Scalars) -> V::Scalars) -> V {
    let at = Loc::caller();
    let args = tiles.ids();
    let region = combine_region(f, at);
    let op = Op::ReduceWith { axis: axis as u32 };
    V::from_ids(&trace::with(|t| t.push_with_regions(op, &args, vec![region], at)))
}
