//! What stands beside an operator: the broadcasting rules as traits.
//!
//! In: the two sides of an operator. Out: the result's type and one recorded operation. Every operator
//! has one blanket impl over [`Operand`], so that a mistake is reported with the text below, at the
//! user's operator. Exactly one float type (`f64`) and one integer type (`i64`) are operands, so that
//! literals have their type at once.

use super::elem::{Bits, Elem, Float, Int, Num};
use super::trace::{self, Source};
use super::types::{Scalar, Size, Tile, TileIx, TileOffset, Val};
use helion_ir::dtype::Literal;
use helion_ir::tile::{Op, ValueId};
use helion_ir::{BinaryOp, Loc, UnaryOp};
use std::ops;

/// The other side of an operator on a `Tile<T, R>`: a tile of the same element type, a scalar, a size
/// or a literal. Knows the type of the broadcast result.
#[diagnostic::on_unimplemented(
    message = "a tile of `{T}` with {R} axes cannot be combined with `{Self}`",
    label = "this side is `{Self}`, the other is `Tile<{T}, {R}>`",
    note = "both sides need the same element type: convert with `.cast::<{T}>()`",
    note = "a host number in device code would be frozen into the kernel: pass it as a kernel argument, or write `constant(v)` if it never changes"
)]
pub trait Operand<T: Elem, const R: usize>: Copy {
    /// The result of broadcasting both sides.
    type Out: Val<Elem = T>;
    #[doc(hidden)]
    #[track_caller]
    fn operand(self) -> ValueId;
}

/// The other side of an operator on a `Scalar<T>`.
#[diagnostic::on_unimplemented(
    message = "a scalar of `{T}` cannot be combined with `{Self}`",
    label = "this side is `{Self}`, the other is `Scalar<{T}>`",
    note = "both sides need the same element type: convert with `.cast::<{T}>()`",
    note = "a host number in device code would be frozen into the kernel: pass it as a kernel argument, or write `constant(v)` if it never changes"
)]
pub trait ScalarOperand<T: Elem>: Copy {
    /// The result of broadcasting both sides.
    type Out: Val<Elem = T>;
    #[doc(hidden)]
    #[track_caller]
    fn operand(self) -> ValueId;
}

/// The other side of an operator on a [`Size`], and an offset of a tile variable.
#[diagnostic::on_unimplemented(
    message = "a size cannot be combined with `{Self}`",
    label = "this is `{Self}`; sizes combine with sizes and integers",
    note = "to use a size as a number write `n.to::<f32>()`"
)]
pub trait SizeOperand: Copy {
    #[doc(hidden)]
    #[track_caller]
    fn source(self) -> Source;
}

/// A literal as a value.
#[track_caller]
pub(crate) fn literal(value: Literal) -> ValueId {
    let at = Loc::caller();
    trace::with(|t| t.literal(value, at))
}

#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize> Operand<T, R> for Tile<T, R> {
    type Out = Tile<T, R>;
    fn operand(self) -> ValueId {
        self.value()
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize> Operand<T, R> for Scalar<T> {
    type Out = Tile<T, R>;
    #[track_caller]
    fn operand(self) -> ValueId {
        self.value()
    }
}
#[diagnostic::do_not_recommend]
impl<T: Num, const R: usize> Operand<T, R> for Size {
    type Out = Tile<T, R>;
    #[track_caller]
    fn operand(self) -> ValueId {
        self.to::<T>().value()
    }
}
#[diagnostic::do_not_recommend]
impl<T: Float, const R: usize> Operand<T, R> for f64 {
    type Out = Tile<T, R>;
    #[track_caller]
    fn operand(self) -> ValueId {
        literal(Literal::from_f64(T::DTYPE, self))
    }
}
#[diagnostic::do_not_recommend]
impl<T: Num, const R: usize> Operand<T, R> for i64 {
    type Out = Tile<T, R>;
    #[track_caller]
    fn operand(self) -> ValueId {
        literal(Literal::from_i64(T::DTYPE, self))
    }
}
#[diagnostic::do_not_recommend]
impl<const R: usize> Operand<bool, R> for bool {
    type Out = Tile<bool, R>;
    #[track_caller]
    fn operand(self) -> ValueId {
        literal(Literal::from_i64(bool::DTYPE, i64::from(self)))
    }
}

macro_rules! ranks {
    ($($lo:literal < $hi:literal;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<T: Elem> Operand<T, $hi> for Tile<T, $lo> {
            type Out = Tile<T, $hi>;
            fn operand(self) -> ValueId { self.value() }
        }
        #[diagnostic::do_not_recommend]
        impl<T: Elem> Operand<T, $lo> for Tile<T, $hi> {
            type Out = Tile<T, $hi>;
            fn operand(self) -> ValueId { self.value() }
        }
    )*};
}
ranks! { 1 < 2; 1 < 3; 1 < 4; 1 < 5; 2 < 3; 2 < 4; 2 < 5; 3 < 4; 3 < 5; 4 < 5; }

#[diagnostic::do_not_recommend]
impl<T: Elem> ScalarOperand<T> for Scalar<T> {
    type Out = Scalar<T>;
    #[track_caller]
    fn operand(self) -> ValueId {
        self.value()
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize> ScalarOperand<T> for Tile<T, R> {
    type Out = Tile<T, R>;
    fn operand(self) -> ValueId {
        self.value()
    }
}
#[diagnostic::do_not_recommend]
impl<T: Float> ScalarOperand<T> for f64 {
    type Out = Scalar<T>;
    #[track_caller]
    fn operand(self) -> ValueId {
        literal(Literal::from_f64(T::DTYPE, self))
    }
}
#[diagnostic::do_not_recommend]
impl<T: Num> ScalarOperand<T> for i64 {
    type Out = Scalar<T>;
    #[track_caller]
    fn operand(self) -> ValueId {
        literal(Literal::from_i64(T::DTYPE, self))
    }
}
#[diagnostic::do_not_recommend]
impl<T: Num> ScalarOperand<T> for Size {
    type Out = Scalar<T>;
    #[track_caller]
    fn operand(self) -> ValueId {
        self.to::<T>().value()
    }
}
#[diagnostic::do_not_recommend]
impl ScalarOperand<bool> for bool {
    type Out = Scalar<bool>;
    #[track_caller]
    fn operand(self) -> ValueId {
        literal(Literal::from_i64(bool::DTYPE, i64::from(self)))
    }
}

#[diagnostic::do_not_recommend]
impl SizeOperand for Size {
    fn source(self) -> Source {
        self.source
    }
}
#[diagnostic::do_not_recommend]
impl<I: Int> SizeOperand for Scalar<I> {
    #[track_caller]
    fn source(self) -> Source {
        let at = Loc::caller();
        let v = self.value();
        Source::Value(trace::with(|t| t.cast(v, i64::DTYPE, at)))
    }
}
#[diagnostic::do_not_recommend]
impl SizeOperand for usize {
    fn source(self) -> Source {
        Source::Const(self as i64)
    }
}
#[diagnostic::do_not_recommend]
impl SizeOperand for i32 {
    fn source(self) -> Source {
        Source::Const(i64::from(self))
    }
}
#[diagnostic::do_not_recommend]
impl SizeOperand for i64 {
    fn source(self) -> Source {
        Source::Const(self)
    }
}

/// A host number frozen into the kernel on purpose.
///
/// It must never change between calls: the kernel is recorded once and reused. Numbers that change
/// are kernel arguments.
#[track_caller]
pub fn constant<T: Elem>(v: T) -> Scalar<T> {
    Scalar::from_value(literal(Literal::from_bits(T::DTYPE, v.to_bits64())))
}

/// Records a binary operation.
#[track_caller]
pub(crate) fn binary<O: Val>(op: BinaryOp, a: ValueId, b: ValueId) -> O {
    O::from_value(trace::op(Op::Binary(op), &[a, b]))
}

/// Records a unary operation.
#[track_caller]
pub(crate) fn unary<O: Val>(op: UnaryOp, a: ValueId) -> O {
    O::from_value(trace::op(Op::Unary(op), &[a]))
}

macro_rules! operators {
    ($($tr:ident $f:ident $assign:ident $g:ident $bound:ident;)*) => {$(
        impl<T: $bound, const R: usize, Rhs: Operand<T, R>> ops::$tr<Rhs> for Tile<T, R> {
            type Output = Rhs::Out;
            #[track_caller]
            fn $f(self, rhs: Rhs) -> Rhs::Out { binary(operators!(@op $tr), self.value(), rhs.operand()) }
        }
        impl<T: $bound, Rhs: ScalarOperand<T>> ops::$tr<Rhs> for Scalar<T> {
            type Output = Rhs::Out;
            #[track_caller]
            fn $f(self, rhs: Rhs) -> Rhs::Out { binary(operators!(@op $tr), self.value(), rhs.operand()) }
        }
        impl<T: $bound, const R: usize, Rhs: Operand<T, R, Out = Tile<T, R>>> ops::$assign<Rhs> for Tile<T, R> {
            #[track_caller]
            fn $g(&mut self, rhs: Rhs) { *self = binary(operators!(@op $tr), self.value(), rhs.operand()) }
        }
        impl<T: $bound, Rhs: ScalarOperand<T, Out = Scalar<T>>> ops::$assign<Rhs> for Scalar<T> {
            #[track_caller]
            fn $g(&mut self, rhs: Rhs) { *self = binary(operators!(@op $tr), self.value(), rhs.operand()) }
        }
    )*};
    (@op BitAnd) => { BinaryOp::And };
    (@op BitOr) => { BinaryOp::Or };
    (@op BitXor) => { BinaryOp::Xor };
    (@op $tr:ident) => { BinaryOp::$tr };
}
operators! {
    Add add AddAssign add_assign Num; Sub sub SubAssign sub_assign Num; Mul mul MulAssign mul_assign Num;
    Div div DivAssign div_assign Num; Rem rem RemAssign rem_assign Num;
    BitAnd bitand BitAndAssign bitand_assign Bits; BitOr bitor BitOrAssign bitor_assign Bits;
    BitXor bitxor BitXorAssign bitxor_assign Bits; Shl shl ShlAssign shl_assign Int; Shr shr ShrAssign shr_assign Int;
}

macro_rules! literal_left {
    ($($lit:ident $bound:ident $from:ident: $($tr:ident $f:ident)*;)*) => {$($(
        impl<T: $bound, const R: usize> ops::$tr<Tile<T, R>> for $lit {
            type Output = Tile<T, R>;
            #[track_caller]
            fn $f(self, rhs: Tile<T, R>) -> Tile<T, R> {
                binary(BinaryOp::$tr, literal(Literal::$from(T::DTYPE, self)), rhs.value())
            }
        }
        impl<T: $bound> ops::$tr<Scalar<T>> for $lit {
            type Output = Scalar<T>;
            #[track_caller]
            fn $f(self, rhs: Scalar<T>) -> Scalar<T> {
                binary(BinaryOp::$tr, literal(Literal::$from(T::DTYPE, self)), rhs.value())
            }
        }
    )*)*};
}
literal_left! { f64 Float from_f64: Add add Sub sub Mul mul Div div Rem rem; i64 Num from_i64: Add add Sub sub Mul mul Div div Rem rem; }

macro_rules! prefix {
    ($($tr:ident $f:ident $bound:ident;)*) => {$(
        impl<T: $bound, const R: usize> ops::$tr for Tile<T, R> {
            type Output = Self;
            #[track_caller]
            fn $f(self) -> Self { unary(UnaryOp::$tr, self.value()) }
        }
        impl<T: $bound> ops::$tr for Scalar<T> {
            type Output = Self;
            #[track_caller]
            fn $f(self) -> Self { unary(UnaryOp::$tr, self.value()) }
        }
    )*};
}
prefix! { Neg neg Num; Not not Bits; }

/// A binary operation of sizes; constants fold.
#[track_caller]
fn size_op(op: BinaryOp, a: Source, b: Source) -> Size {
    let at = Loc::caller();
    Size::from_value(trace::with(|t| {
        let (a, b) = (t.resolve(a, at), t.resolve(b, at));
        t.binary(op, a, b, at)
    }))
}

macro_rules! size_operators {
    ($($tr:ident $f:ident)*) => {$(
        impl<Rhs: SizeOperand> ops::$tr<Rhs> for Size {
            type Output = Size;
            #[track_caller]
            fn $f(self, rhs: Rhs) -> Size { size_op(BinaryOp::$tr, self.source, rhs.source()) }
        }
        impl ops::$tr<Size> for usize {
            type Output = Size;
            #[track_caller]
            fn $f(self, rhs: Size) -> Size { size_op(BinaryOp::$tr, self.source(), rhs.source) }
        }
    )*};
}
size_operators! { Add add Sub sub Mul mul Div div Rem rem }

impl Size {
    /// The smaller of two sizes.
    #[track_caller]
    pub fn min(self, other: impl SizeOperand) -> Size {
        size_op(BinaryOp::Min, self.source, other.source())
    }
    /// The larger of two sizes.
    #[track_caller]
    pub fn max(self, other: impl SizeOperand) -> Size {
        size_op(BinaryOp::Max, self.source, other.source())
    }
}

impl<K: SizeOperand> ops::Add<K> for TileIx {
    type Output = TileOffset;
    #[track_caller]
    fn add(self, offset: K) -> TileOffset {
        TileOffset { tile: self.tile, offset: offset.source() }
    }
}
impl<K: SizeOperand> ops::Sub<K> for TileIx {
    type Output = TileOffset;
    #[track_caller]
    fn sub(self, offset: K) -> TileOffset {
        let offset = match offset.source() {
            Source::Const(k) => Source::Const(-k),
            other => size_op(BinaryOp::Sub, Source::Const(0), other).source,
        };
        TileOffset { tile: self.tile, offset }
    }
}
impl<K: SizeOperand> ops::Add<K> for TileOffset {
    type Output = TileOffset;
    #[track_caller]
    fn add(self, offset: K) -> TileOffset {
        TileOffset { offset: size_op(BinaryOp::Add, self.offset, offset.source()).source, ..self }
    }
}
impl<K: SizeOperand> ops::Sub<K> for TileOffset {
    type Output = TileOffset;
    #[track_caller]
    fn sub(self, offset: K) -> TileOffset {
        TileOffset { offset: size_op(BinaryOp::Sub, self.offset, offset.source()).source, ..self }
    }
}
