//! Elementwise functions, choice by mask, and conversion.

use crate::lang::elem::{Elem, Float, Int, Num};
use crate::lang::index::MaskFor;
use crate::lang::operand::{Operand, ScalarOperand, binary, literal, unary};
use crate::lang::trace;
use crate::lang::types::{Scalar, Tile, Val};
use helion_ir::dtype::Literal;
use helion_ir::tile::{Op, ValueId};
use helion_ir::{BinaryOp, UnaryOp};

macro_rules! unaries {
    ($bound:ident: $($(#[$m:meta])* $f:ident $op:ident;)*) => {
        impl<T: $bound, const R: usize> Tile<T, R> {$(
            $(#[$m])*
            #[track_caller]
            pub fn $f(self) -> Self { unary(UnaryOp::$op, self.value()) }
        )*}
        impl<T: $bound> Scalar<T> {$(
            $(#[$m])*
            #[track_caller]
            pub fn $f(self) -> Self { unary(UnaryOp::$op, self.value()) }
        )*}
    };
}
unaries! { Num:
    /// The absolute value; the smallest signed integer maps to itself.
    abs Abs;
}
unaries! { Float:
    /// The largest integer not above each element.
    floor Floor;
    /// The smallest integer not below each element.
    ceil Ceil;
    /// The nearest integer; halves go to the even one.
    round Round;
    /// The integer part, toward zero.
    trunc Trunc;
    /// *e* to the power `x`. Of 16-bit floats computed in f32 and rounded once.
    exp Exp;
    /// 2 to the power `x`. Of 16-bit floats computed in f32 and rounded once.
    exp2 Exp2;
    /// The natural logarithm; NaN below zero, -inf at zero.
    ln Log;
    /// The natural logarithm; the same as `ln`.
    log Log;
    /// The logarithm to base 2; NaN below zero, -inf at zero.
    log2 Log2;
    /// The square root, correctly rounded; NaN below zero.
    sqrt Sqrt;
    /// `1 / sqrt(x)`.
    rsqrt Rsqrt;
    /// The sine of `x` in radians.
    sin Sin;
    /// The cosine of `x` in radians.
    cos Cos;
    /// The hyperbolic tangent.
    tanh Tanh;
    /// `1 / (1 + exp(-x))`.
    sigmoid Sigmoid;
    /// The error function, `2/sqrt(pi)` times the integral of `exp(-t*t)` from 0 to `x`.
    erf Erf;
}

// Written out: in a macro rustc would show the invocation with every mistake.
impl<T: Num, const R: usize> Tile<T, R> {
    /// The larger of two elements; NaN if either is NaN. (`max(axis)` is the reduction.)
    ///
    /// Broadcasts like arithmetic.
    #[track_caller]
    pub fn maximum<Rhs: Operand<T, R>>(self, other: Rhs) -> Rhs::Out {
        binary(BinaryOp::Max, self.value(), other.operand())
    }
    /// The smaller of two elements; NaN if either is NaN. (`min(axis)` is the reduction.)
    ///
    /// Broadcasts like arithmetic.
    #[track_caller]
    pub fn minimum<Rhs: Operand<T, R>>(self, other: Rhs) -> Rhs::Out {
        binary(BinaryOp::Min, self.value(), other.operand())
    }
}
impl<T: Num> Scalar<T> {
    /// The larger of two elements; NaN if either is NaN. (`max(axis)` is the reduction.)
    #[track_caller]
    pub fn maximum<Rhs: ScalarOperand<T>>(self, other: Rhs) -> Rhs::Out {
        binary(BinaryOp::Max, self.value(), other.operand())
    }
    /// The smaller of two elements; NaN if either is NaN. (`min(axis)` is the reduction.)
    #[track_caller]
    pub fn minimum<Rhs: ScalarOperand<T>>(self, other: Rhs) -> Rhs::Out {
        binary(BinaryOp::Min, self.value(), other.operand())
    }
}
impl<T: Float, const R: usize> Tile<T, R> {
    /// `self` to the power `other`.
    ///
    /// Broadcasts like arithmetic.
    #[track_caller]
    pub fn pow<Rhs: Operand<T, R>>(self, other: Rhs) -> Rhs::Out {
        binary(BinaryOp::Pow, self.value(), other.operand())
    }
}
impl<T: Float> Scalar<T> {
    /// `self` to the power `other`.
    #[track_caller]
    pub fn pow<Rhs: ScalarOperand<T>>(self, other: Rhs) -> Rhs::Out {
        binary(BinaryOp::Pow, self.value(), other.operand())
    }
}

impl<T: Num, const R: usize> Tile<T, R> {
    /// Limits each element to `low..=high`: `self.maximum(low).minimum(high)`.
    #[track_caller]
    pub fn clamp<A, B>(self, low: A, high: B) -> Self
    where
        A: Operand<T, R, Out = Self>,
        B: Operand<T, R, Out = Self>,
    {
        let raised: Self = binary(BinaryOp::Max, self.value(), low.operand());
        binary(BinaryOp::Min, raised.value(), high.operand())
    }
}
impl<T: Num> Scalar<T> {
    /// Limits the number to `low..=high`.
    #[track_caller]
    pub fn clamp<A, B>(self, low: A, high: B) -> Self
    where
        A: ScalarOperand<T, Out = Self>,
        B: ScalarOperand<T, Out = Self>,
    {
        let raised: Self = binary(BinaryOp::Max, self.value(), low.operand());
        binary(BinaryOp::Min, raised.value(), high.operand())
    }
}

impl<T: Float, const R: usize> Tile<T, R> {
    /// Whether each element is NaN.
    #[track_caller]
    pub fn is_nan(self) -> Tile<bool, R> {
        unary(UnaryOp::IsNan, self.value())
    }
}
impl<T: Float> Scalar<T> {
    /// Whether the number is NaN.
    #[track_caller]
    pub fn is_nan(self) -> Scalar<bool> {
        unary(UnaryOp::IsNan, self.value())
    }
}

macro_rules! conversions {
    ($([$($g:tt)*] $t:ident<T $(, $r:ident)?>;)*) => {$(
        impl<T: Elem, $($g)*> $t<T $(, $r)?> {
            /// Converts to another element type; the target is often inferred from where the value goes.
            ///
            /// Floats round to nearest even; float to integer truncates and saturates (NaN gives 0);
            /// integer to integer wraps; `bool` is 0 or 1, and a number is `true` when it is not zero.
            #[track_caller]
            pub fn cast<U: Elem>(self) -> $t<U $(, $r)?> {
                let v = self.value();
                let at = helion_ir::Loc::caller();
                Val::from_value(trace::with(|t| t.cast(v, U::DTYPE, at)))
            }
            /// The same bits as another type of equal size.
            #[track_caller]
            pub fn bitcast<U: Elem>(self) -> $t<U $(, $r)?> {
                const { assert!(T::DTYPE.size() == U::DTYPE.size(), "`bitcast` needs types of equal size") };
                Val::from_value(trace::op(Op::Bitcast(U::DTYPE), &[self.value()]))
            }
        }
    )*};
}
conversions! { [const R: usize] Tile<T, R>; [] Scalar<T>; }

/// The two values of a [`select`]: which type they have together.
#[diagnostic::on_unimplemented(
    message = "`select` cannot choose between `{Self}` and `{B}`",
    label = "the other value is `{B}`",
    note = "both need the same element type, and at least one must be a tile or scalar: convert with `.cast()`, or start from `full(..)` or `constant(..)`"
)]
pub trait Choice<B> {
    /// Both, broadcast together.
    type Both: Val;
    #[doc(hidden)]
    #[track_caller]
    fn values(self, other: B) -> (ValueId, ValueId);
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize, B: Operand<T, R>> Choice<B> for Tile<T, R> {
    type Both = B::Out;
    #[track_caller]
    fn values(self, other: B) -> (ValueId, ValueId) {
        (self.value(), other.operand())
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem, B: ScalarOperand<T>> Choice<B> for Scalar<T> {
    type Both = B::Out;
    #[track_caller]
    fn values(self, other: B) -> (ValueId, ValueId) {
        (self.value(), other.operand())
    }
}
#[diagnostic::do_not_recommend]
impl<B: Val> Choice<B> for f64
where
    B::Elem: Float,
{
    type Both = B;
    #[track_caller]
    fn values(self, other: B) -> (ValueId, ValueId) {
        (literal(Literal::from_f64(<B::Elem as Elem>::DTYPE, self)), other.value())
    }
}
#[diagnostic::do_not_recommend]
impl<B: Val> Choice<B> for i64
where
    B::Elem: Num,
{
    type Both = B;
    #[track_caller]
    fn values(self, other: B) -> (ValueId, ValueId) {
        (literal(Literal::from_i64(<B::Elem as Elem>::DTYPE, self)), other.value())
    }
}

/// What a mask of type `M` gives when it chooses values of this type.
#[diagnostic::on_unimplemented(
    message = "`{M}` cannot choose values of type `{Self}`",
    label = "chosen by `{M}`",
    note = "the first argument of `select` is a mask: a tile of `bool`, a `Scalar<bool>` or a `bool`; comparisons such as `x > 0.0` make masks"
)]
pub trait ChosenBy<M>: Val {
    /// Mask and values, broadcast together.
    type Out: Val;
    #[doc(hidden)]
    #[track_caller]
    fn chooser(mask: M) -> ValueId;
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize, M: Operand<bool, R>> ChosenBy<M> for Tile<T, R> {
    type Out = <M::Out as Val>::With<T>;
    #[track_caller]
    fn chooser(mask: M) -> ValueId {
        mask.operand()
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem, M: ScalarOperand<bool>> ChosenBy<M> for Scalar<T> {
    type Out = <M::Out as Val>::With<T>;
    #[track_caller]
    fn chooser(mask: M) -> ValueId {
        mask.operand()
    }
}

/// For every element `a` where `mask` is true, else `b`.
///
/// All three broadcast together; both values have the same element type, and a literal takes it from
/// the other (`select(x > 0.0, x, 0.0)`). Both values are computed everywhere.
#[track_caller]
pub fn select<M, A, B>(mask: M, a: A, b: B) -> <A::Both as ChosenBy<M>>::Out
where
    A: Choice<B>,
    A::Both: ChosenBy<M>,
{
    let mask = <A::Both as ChosenBy<M>>::chooser(mask);
    let (a, b) = a.values(b);
    Val::from_value(trace::op(Op::Select, &[mask, a, b]))
}

/// Zero where the mask is false: `x.masked(m)` is `select(m, x, 0)`.
impl<T: Num, const R: usize> Tile<T, R> {
    /// The elements where `mask` is true, zero elsewhere.
    #[track_caller]
    pub fn masked<M: MaskFor<Self>>(self, mask: M) -> Self {
        let zero = literal(Literal::from_i64(T::DTYPE, 0));
        Val::from_value(trace::op(Op::Select, &[mask.mask(), self.value(), zero]))
    }
}

impl<T: Int, const R: usize> Tile<T, R> {
    /// The remainder that is never negative for a positive divisor: `((x % d) + d) % d`.
    #[track_caller]
    pub fn rem_euclid<Rhs: Operand<T, R, Out = Self>>(self, divisor: Rhs) -> Self {
        let d = divisor.operand();
        let rem: Self = binary(BinaryOp::Rem, self.value(), d);
        let up: Self = binary(BinaryOp::Add, rem.value(), d);
        binary(BinaryOp::Rem, up.value(), d)
    }
}
