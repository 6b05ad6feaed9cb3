//! Indexing: what `x[…]` and `out[…] = v` mean, and how many axes the result has.
//!
//! In: a tensor and one entry per axis. Out: a load, store or atomic. Ranks are types here
//! ([`Rank`]), so that an index can add up the axes it keeps without const arithmetic.

use super::elem::{Elem, Float, Int, Num};
use super::operand::{Operand, ScalarOperand, literal};
use super::trace::{self, Source};
use super::types::{Scalar, Size, TensorMut, TensorRef, Tile, TileIx, TileOffset, Val};
use helion_ir::Loc;
use helion_ir::dtype::Literal;
use helion_ir::tile::{AtomicOp, Index, Op, ParamId, ValueId};
use smallvec::SmallVec;

/// A number of axes, as a type.
pub trait Rank {
    /// One axis more.
    type Succ: Rank;
    /// Values with this many axes.
    type Of<T: Elem>: Val<Elem = T>;
}

macro_rules! ranks {
    ($($n:ident $succ:ident $of:ty;)*) => {$(
        #[doc(hidden)]
        #[derive(Debug)]
        pub struct $n;
        impl Rank for $n {
            type Succ = $succ;
            type Of<T: Elem> = $of;
        }
    )*};
}
ranks! {
    N0 N1 Scalar<T>; N1 N2 Tile<T, 1>; N2 N3 Tile<T, 2>; N3 N4 Tile<T, 3>; N4 N5 Tile<T, 4>;
    N5 TooMany Tile<T, 5>; TooMany TooMany Tile<T, 99>;
}

/// One axis of an index: a tile variable (also shifted: `tm + k`), `..`, a tile of integers, a scalar
/// integer, a size, or an integer literal. The last three drop the axis.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot index an axis of a tensor",
    label = "not an index",
    note = "an axis takes a tile variable, a shifted tile variable (`tm + k`), `..`, an integer tile, a scalar integer, a size, or an integer literal"
)]
pub trait AxisIndex: Copy {
    /// The rank with this axis added to `R`.
    type Add<R: Rank>: Rank;
    #[doc(hidden)]
    #[track_caller]
    fn axis(self) -> Index;
}

#[diagnostic::do_not_recommend]
impl AxisIndex for TileIx {
    type Add<R: Rank> = R::Succ;
    fn axis(self) -> Index {
        Index::Tile(self.tile, None)
    }
}
#[diagnostic::do_not_recommend]
impl AxisIndex for TileOffset {
    type Add<R: Rank> = R::Succ;
    #[track_caller]
    fn axis(self) -> Index {
        Index::Tile(self.tile, Some(resolve(self.offset)))
    }
}
#[diagnostic::do_not_recommend]
impl AxisIndex for std::ops::RangeFull {
    type Add<R: Rank> = R::Succ;
    fn axis(self) -> Index {
        Index::Full
    }
}
#[diagnostic::do_not_recommend]
impl<I: Int> AxisIndex for Scalar<I> {
    type Add<R: Rank> = R;
    #[track_caller]
    fn axis(self) -> Index {
        Index::Scalar(to_i64(self.value()))
    }
}
#[diagnostic::do_not_recommend]
impl AxisIndex for Size {
    type Add<R: Rank> = R;
    #[track_caller]
    fn axis(self) -> Index {
        Index::Scalar(self.value())
    }
}
#[diagnostic::do_not_recommend]
impl AxisIndex for usize {
    type Add<R: Rank> = R;
    #[track_caller]
    fn axis(self) -> Index {
        Index::Scalar(resolve(Source::Const(self as i64)))
    }
}
#[diagnostic::do_not_recommend]
impl<I: Int> AxisIndex for Tile<I, 1> {
    type Add<R: Rank> = R::Succ;
    #[track_caller]
    fn axis(self) -> Index {
        Index::Gather(to_i64(self.value()))
    }
}

#[track_caller]
fn resolve(source: Source) -> ValueId {
    let at = Loc::caller();
    trace::with(|t| t.resolve(source, at))
}
#[track_caller]
fn to_i64(v: ValueId) -> ValueId {
    let at = Loc::caller();
    trace::with(|t| t.cast(v, i64::DTYPE, at))
}

/// The axes of an index.
pub type Axes = SmallVec<[Index; 4]>;

/// An index of a tensor with `R` axes: one entry per axis, as a tuple, or alone for one axis.
#[diagnostic::on_unimplemented(
    message = "this index does not fit a tensor with {R} axes",
    label = "the tensor has {R} axes",
    note = "write one entry per axis: `x[(tm, ..)]` for two axes, `x[tm]` for one; `..` takes a whole axis",
    note = "an entry is a tile variable (also `tm + k`), `..`, an integer tile, a scalar integer, a size, or an integer literal"
)]
pub trait TensorIndex<const R: usize>: Copy {
    /// The rank of what is loaded or stored.
    type Rank: Rank;
    #[doc(hidden)]
    #[track_caller]
    fn axes(self) -> Axes;
}

// Written out: in a macro rustc would show the invocation with every mistake.
#[diagnostic::do_not_recommend]
impl TensorIndex<1> for TileIx {
    type Rank = N1;
    #[track_caller]
    fn axes(self) -> Axes {
        Axes::from_slice(&[self.axis()])
    }
}
#[diagnostic::do_not_recommend]
impl TensorIndex<1> for TileOffset {
    type Rank = N1;
    #[track_caller]
    fn axes(self) -> Axes {
        Axes::from_slice(&[self.axis()])
    }
}
#[diagnostic::do_not_recommend]
impl TensorIndex<1> for std::ops::RangeFull {
    type Rank = N1;
    #[track_caller]
    fn axes(self) -> Axes {
        Axes::from_slice(&[self.axis()])
    }
}
#[diagnostic::do_not_recommend]
impl TensorIndex<1> for Size {
    type Rank = N0;
    #[track_caller]
    fn axes(self) -> Axes {
        Axes::from_slice(&[self.axis()])
    }
}
#[diagnostic::do_not_recommend]
impl TensorIndex<1> for usize {
    type Rank = N0;
    #[track_caller]
    fn axes(self) -> Axes {
        Axes::from_slice(&[self.axis()])
    }
}
#[diagnostic::do_not_recommend]
impl<I: Int> TensorIndex<1> for Scalar<I> {
    type Rank = N0;
    #[track_caller]
    fn axes(self) -> Axes {
        Axes::from_slice(&[self.axis()])
    }
}
#[diagnostic::do_not_recommend]
impl<I: Int> TensorIndex<1> for Tile<I, 1> {
    type Rank = N1;
    #[track_caller]
    fn axes(self) -> Axes {
        Axes::from_slice(&[self.axis()])
    }
}

macro_rules! tuples {
    ($($n:literal: $rank:ty; $($t:ident $i:tt),+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($t: AxisIndex),+> TensorIndex<$n> for ($($t,)+) {
            type Rank = $rank;
            #[track_caller]
            fn axes(self) -> Axes { Axes::from_slice(&[$(self.$i.axis()),+]) }
        }
    )*};
}
tuples! {
    1: A::Add<N0>; A 0;
    2: A::Add<B::Add<N0>>; A 0, B 1;
    3: A::Add<B::Add<C::Add<N0>>>; A 0, B 1, C 2;
    4: A::Add<B::Add<C::Add<D::Add<N0>>>>; A 0, B 1, C 2, D 3;
    5: A::Add<B::Add<C::Add<D::Add<E::Add<N0>>>>>; A 0, B 1, C 2, D 3, E 4;
}

/// What loading at an index of type `I` gives.
pub type At<I, T, const R: usize> = <<I as TensorIndex<R>>::Rank as Rank>::Of<T>;

/// A value that fits a place of type `Place`: the same type, a scalar for every element, or a literal.
#[diagnostic::on_unimplemented(
    message = "a value of type `{Self}` cannot be stored where `{Place}` is expected",
    label = "stored as `{Place}`",
    note = "end with `.cast()` to convert to the element type of the output",
    note = "`squeeze(axis)` and `unsqueeze(axis)` change the number of axes"
)]
pub trait Stored<Place>: Copy {
    #[doc(hidden)]
    #[track_caller]
    fn stored(self) -> ValueId;
}
#[diagnostic::do_not_recommend]
impl<V: Val> Stored<V> for V {
    #[track_caller]
    fn stored(self) -> ValueId {
        self.value()
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize> Stored<Tile<T, R>> for Scalar<T> {
    #[track_caller]
    fn stored(self) -> ValueId {
        self.value()
    }
}
#[diagnostic::do_not_recommend]
impl<V: Val> Stored<V> for f64
where
    V::Elem: Float,
{
    #[track_caller]
    fn stored(self) -> ValueId {
        literal(Literal::from_f64(<V::Elem as super::elem::Elem>::DTYPE, self))
    }
}
#[diagnostic::do_not_recommend]
impl<V: Val> Stored<V> for i64
where
    V::Elem: Num,
{
    #[track_caller]
    fn stored(self) -> ValueId {
        literal(Literal::from_i64(<V::Elem as super::elem::Elem>::DTYPE, self))
    }
}
#[diagnostic::do_not_recommend]
impl<V: Val<Elem = bool>> Stored<V> for bool {
    #[track_caller]
    fn stored(self) -> ValueId {
        literal(Literal::from_i64(bool::DTYPE, i64::from(self)))
    }
}

/// A mask for a value of type `V`: booleans that broadcast to it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a mask for `{V}`",
    label = "not a mask for `{V}`",
    note = "a mask is a tile of `bool` with the same axes or fewer, a `Scalar<bool>`, or a `bool`; comparisons such as `x > 0.0` make masks"
)]
pub trait MaskFor<V>: Copy {
    #[doc(hidden)]
    #[track_caller]
    fn mask(self) -> ValueId;
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize, M: Operand<bool, R, Out = Tile<bool, R>>> MaskFor<Tile<T, R>> for M {
    #[track_caller]
    fn mask(self) -> ValueId {
        self.operand()
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem, M: ScalarOperand<bool, Out = Scalar<bool>>> MaskFor<Scalar<T>> for M {
    #[track_caller]
    fn mask(self) -> ValueId {
        self.operand()
    }
}

#[track_caller]
fn load<V: Val>(tensor: ParamId, axes: Axes, args: &[ValueId]) -> V {
    V::from_value(trace::op(Op::Load { tensor, index: axes.into_vec() }, args))
}

macro_rules! loads {
    ($($tensor:ident)*) => {$(
        impl<T: Elem, const R: usize> $tensor<T, R> {
            /// Loads: the same as `x[index]`, for plain functions.
            ///
            /// One entry per axis; tile variables, `..` and index tiles keep an axis, scalars drop it.
            /// An element outside the tensor reads as zero.
            #[track_caller]
            pub fn load<I: TensorIndex<R>>(&self, index: I) -> At<I, T, R> {
                load(self.param, index.axes(), &[])
            }
            /// Loads where `mask` is true; elsewhere, and outside the tensor, gives `other` and zero
            /// respectively. The mask broadcasts to the loaded shape.
            #[track_caller]
            pub fn load_masked<I: TensorIndex<R>, M, O>(&self, index: I, mask: M, other: O) -> At<I, T, R>
            where
                M: MaskFor<At<I, T, R>>,
                O: ScalarOperand<T, Out = Scalar<T>>,
            {
                load(self.param, index.axes(), &[mask.mask(), other.operand()])
            }
        }
        impl<T: Elem, const R: usize, I: TensorIndex<R>> DeviceIndex<I> for $tensor<T, R> {
            type Out = At<I, T, R>;
            #[track_caller]
            fn index(&self, index: I) -> Self::Out { self.load(index) }
        }
    )*};
}
loads! { TensorRef TensorMut }

macro_rules! atomics {
    ($($(#[$m:meta])* $f:ident $op:ident $bound:ident;)*) => {
        impl<T: Elem, const R: usize> TensorMut<T, R> {$(
            $(#[$m])*
            ///
            /// Returns the old elements (zero outside the tensor, where nothing is written). Several tiles
            /// may hit the same element. An index tile with duplicates is applied element by element.
            #[track_caller]
            pub fn $f<I: TensorIndex<R>, V: Stored<At<I, T, R>>>(&self, index: I, value: V) -> At<I, T, R>
            where
                T: $bound,
            {
                let op = Op::Atomic { op: AtomicOp::$op, tensor: self.param, index: index.axes().into_vec() };
                Val::from_value(trace::op(op, &[value.stored()]))
            }
        )*}
    };
}
atomics! {
    /// Adds to the elements atomically.
    atomic_add Add Num;
    /// Keeps the larger of element and value atomically.
    atomic_max Max Num;
    /// Keeps the smaller of element and value atomically.
    atomic_min Min Num;
    /// Replaces the elements atomically.
    atomic_exchange Exchange Elem;
}

impl<T: Elem, const R: usize> TensorMut<T, R> {
    /// Stores: the same as `out[index] = value`, for plain functions.
    ///
    /// The value has the shape the index keeps, or is a scalar. Outside the tensor nothing is written.
    #[track_caller]
    pub fn store<I: TensorIndex<R>, V: Stored<At<I, T, R>>>(&self, index: I, value: V) {
        trace::effect(Op::Store { tensor: self.param, index: index.axes().into_vec() }, &[value.stored()]);
    }
    /// Stores where `mask` is true. The mask broadcasts to the shape the index keeps.
    #[track_caller]
    pub fn store_masked<I: TensorIndex<R>, V, M>(&self, index: I, value: V, mask: M)
    where
        V: Stored<At<I, T, R>>,
        M: MaskFor<At<I, T, R>>,
    {
        let op = Op::Store { tensor: self.param, index: index.axes().into_vec() };
        trace::effect(op, &[value.stored(), mask.mask()]);
    }
    /// Replaces the elements that equal `expected` bit for bit by `new`, atomically; returns the old
    /// elements.
    #[track_caller]
    pub fn atomic_compare_and_swap<I: TensorIndex<R>, E, V>(&self, index: I, expected: E, new: V) -> At<I, T, R>
    where
        E: Stored<At<I, T, R>>,
        V: Stored<At<I, T, R>>,
    {
        let op = Op::Atomic { op: AtomicOp::CompareSwap, tensor: self.param, index: index.axes().into_vec() };
        Val::from_value(trace::op(op, &[new.stored(), expected.stored()]))
    }
}

/// What `x[i]` means in device code: a load of a tensor, or an element of a host array.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be indexed by `{I}` in device code",
    label = "cannot be indexed by `{I}`",
    note = "tensors take one entry per axis; host arrays and slices take a `usize` known while the kernel is recorded"
)]
pub trait DeviceIndex<I> {
    /// What is found there.
    type Out;
    #[doc(hidden)]
    #[track_caller]
    fn index(&self, index: I) -> Self::Out;
}
#[diagnostic::do_not_recommend]
impl<V: Clone, const N: usize> DeviceIndex<usize> for [V; N] {
    type Out = V;
    #[track_caller]
    fn index(&self, index: usize) -> V {
        self[index].clone()
    }
}
#[diagnostic::do_not_recommend]
impl<V: Clone> DeviceIndex<usize> for [V] {
    type Out = V;
    #[track_caller]
    fn index(&self, index: usize) -> V {
        self[index].clone()
    }
}
#[diagnostic::do_not_recommend]
impl<V: Clone> DeviceIndex<usize> for Vec<V> {
    type Out = V;
    #[track_caller]
    fn index(&self, index: usize) -> V {
        self[index].clone()
    }
}
#[diagnostic::do_not_recommend]
impl<X: DeviceIndex<I> + ?Sized, I> DeviceIndex<I> for &X {
    type Out = X::Out;
    #[track_caller]
    fn index(&self, index: I) -> X::Out {
        (**self).index(index)
    }
}

/// What `out[i] = v` writes to in device code.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written at an index of type `{I}`",
    label = "cannot be written",
    note = "only outputs can be written: a tensor made in this kernel with `let mut`, or a `&mut Tensor` argument",
    note = "write one entry per axis: `out[(tm, ..)]` for two axes, `out[tm]` for one"
)]
pub trait DeviceStore<I> {
    /// What the place holds.
    type Place;
    #[doc(hidden)]
    #[track_caller]
    fn put<V: Stored<Self::Place>>(&self, index: I, value: V);
}
impl<T: Elem, const R: usize, I: TensorIndex<R>> DeviceStore<I> for TensorMut<T, R> {
    type Place = At<I, T, R>;
    #[track_caller]
    fn put<V: Stored<Self::Place>>(&self, index: I, value: V) {
        self.store(index, value);
    }
}

/// `x[i]` of device code.
#[track_caller]
pub fn index<X: DeviceIndex<I> + ?Sized, I>(x: &X, index: I) -> X::Out {
    x.index(index)
}
/// `x[i] = v` of device code.
#[track_caller]
pub fn store<X: DeviceStore<I> + ?Sized, I, V: Stored<X::Place>>(x: &X, index: I, value: V) {
    x.put(index, value);
}
