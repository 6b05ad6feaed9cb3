//! Comparisons and logic, as methods everywhere and behind the operators of device code.
//!
//! In: two values of one element type. Out: masks and conditions. Host numbers inside device code
//! compare as in Rust, so that loops over host values can be steered.

use super::elem::{Elem, Int};
use super::operand::{Operand, ScalarOperand, SizeOperand, binary};
use super::trace;
use super::types::{Scalar, Size, Tile, Val};
use helion_ir::tile::Op;
use helion_ir::{BinaryOp, Loc};

macro_rules! comparisons {
    ($($(#[$m:meta])* $f:ident $op:ident;)*) => {
        impl<T: Elem, const R: usize> Tile<T, R> {$(
            $(#[$m])*
            ///
            /// Element by element with broadcasting; gives a mask.
            #[allow(clippy::should_implement_trait, reason = "comparison operators must return bool")]
            #[track_caller]
            pub fn $f<Rhs: Operand<T, R>>(self, other: Rhs) -> <Rhs::Out as Val>::With<bool> {
                binary(BinaryOp::$op, self.value(), other.operand())
            }
        )*}
        impl<T: Elem> Scalar<T> {$(
            $(#[$m])*
            #[allow(clippy::should_implement_trait, reason = "comparison operators must return bool")]
            #[track_caller]
            pub fn $f<Rhs: ScalarOperand<T>>(self, other: Rhs) -> <Rhs::Out as Val>::With<bool> {
                binary(BinaryOp::$op, self.value(), other.operand())
            }
        )*}
        impl Size {$(
            $(#[$m])*
            #[allow(clippy::should_implement_trait, reason = "comparison operators must return bool")]
            #[track_caller]
            pub fn $f(self, other: impl SizeOperand) -> Scalar<bool> { compare_sizes(BinaryOp::$op, self, other) }
        )*}
    };
}
comparisons! {
    /// Whether `self < other`; false if either is NaN.
    lt Lt;
    /// Whether `self <= other`; false if either is NaN.
    le Le;
    /// Whether `self > other`; false if either is NaN.
    gt Gt;
    /// Whether `self >= other`; false if either is NaN.
    ge Ge;
    /// Whether `self == other`; false if either is NaN.
    eq Eq;
    /// Whether `self != other`; true if either is NaN.
    ne Ne;
}

#[track_caller]
fn compare_sizes(op: BinaryOp, a: Size, b: impl SizeOperand) -> Scalar<bool> {
    let at = Loc::caller();
    let b = b.source();
    Scalar::from_value(trace::with(|t| {
        let (a, b) = (t.resolve(a.source, at), t.resolve(b, at));
        t.one(Op::Binary(op), &[a, b], at)
    }))
}

/// A comparison operator of device code.
#[derive(Clone, Copy, Debug)]
pub enum CmpOp {
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
}

impl CmpOp {
    fn op(self) -> BinaryOp {
        match self {
            CmpOp::Lt => BinaryOp::Lt,
            CmpOp::Le => BinaryOp::Le,
            CmpOp::Gt => BinaryOp::Gt,
            CmpOp::Ge => BinaryOp::Ge,
            CmpOp::Eq => BinaryOp::Eq,
            CmpOp::Ne => BinaryOp::Ne,
        }
    }
    fn of_host<T: PartialOrd>(self, a: T, b: T) -> bool {
        match self {
            CmpOp::Lt => a < b,
            CmpOp::Le => a <= b,
            CmpOp::Gt => a > b,
            CmpOp::Ge => a >= b,
            CmpOp::Eq => a == b,
            CmpOp::Ne => a != b,
        }
    }
}

/// What the comparison operators of device code accept.
#[diagnostic::on_unimplemented(
    message = "cannot compare `{Self}` with `{Rhs}` in device code",
    label = "compared with `{Rhs}`",
    note = "both sides need the same element type: convert with `.cast()`; tiles are compared element by element and give a mask"
)]
pub trait Compare<Rhs> {
    /// A mask, a device condition, or a host `bool`.
    type Out;
    #[doc(hidden)]
    #[track_caller]
    fn compare(self, op: CmpOp, other: Rhs) -> Self::Out;
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize, Rhs: Operand<T, R>> Compare<Rhs> for Tile<T, R> {
    type Out = <Rhs::Out as Val>::With<bool>;
    #[track_caller]
    fn compare(self, op: CmpOp, other: Rhs) -> Self::Out {
        binary(op.op(), self.value(), other.operand())
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem, Rhs: ScalarOperand<T>> Compare<Rhs> for Scalar<T> {
    type Out = <Rhs::Out as Val>::With<bool>;
    #[track_caller]
    fn compare(self, op: CmpOp, other: Rhs) -> Self::Out {
        binary(op.op(), self.value(), other.operand())
    }
}
macro_rules! sizes {
    ($([$($g:tt)*] $t:ty;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($g)*> Compare<$t> for Size {
            type Out = Scalar<bool>;
            #[track_caller]
            fn compare(self, op: CmpOp, other: $t) -> Scalar<bool> { compare_sizes(op.op(), self, other) }
        }
    )*};
}
// One integer type only, so that a literal has its type at once.
sizes! { [] Size; [] usize; [I: Int] Scalar<I>; }

macro_rules! host {
    ($($t:ty)*) => {$(
        #[diagnostic::do_not_recommend]
        impl Compare<$t> for $t {
            type Out = bool;
            fn compare(self, op: CmpOp, other: $t) -> bool { op.of_host(self, other) }
        }
    )*};
}
host! { usize isize i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 bool char &str }

/// `a < b` and its like in device code.
#[track_caller]
pub fn cmp<A: Compare<B>, B>(op: CmpOp, a: A, b: B) -> A::Out {
    a.compare(op, b)
}

/// What `&&` and `||` of device code accept. Host conditions short-circuit; device conditions and masks
/// are combined element by element, and both sides are computed.
#[diagnostic::on_unimplemented(
    message = "`&&` and `||` cannot combine `{Self}` with `{Rhs}`",
    label = "combined with `{Rhs}`",
    note = "both sides are host `bool`s, or device conditions and masks"
)]
pub trait Logic<Rhs> {
    /// The combined condition.
    type Out;
    #[doc(hidden)]
    #[track_caller]
    fn logic(self, and: bool, other: impl Fn() -> Rhs) -> Self::Out;
}
#[diagnostic::do_not_recommend]
impl<Rhs: HostLogic> Logic<Rhs> for bool {
    type Out = Rhs;
    fn logic(self, and: bool, other: impl Fn() -> Rhs) -> Rhs {
        if self == and { other() } else { Rhs::decided(self) }
    }
}
/// What may follow a host condition: `causal && tm.end() > n`.
#[doc(hidden)]
pub trait HostLogic {
    fn decided(value: bool) -> Self;
}
impl HostLogic for bool {
    fn decided(value: bool) -> bool {
        value
    }
}
impl HostLogic for Scalar<bool> {
    fn decided(value: bool) -> Self {
        super::operand::constant(value)
    }
}
#[diagnostic::do_not_recommend]
impl<Rhs: ScalarOperand<bool>> Logic<Rhs> for Scalar<bool> {
    type Out = Rhs::Out;
    #[track_caller]
    fn logic(self, and: bool, other: impl Fn() -> Rhs) -> Rhs::Out {
        let op = if and { BinaryOp::And } else { BinaryOp::Or };
        binary(op, self.value(), other().operand())
    }
}
#[diagnostic::do_not_recommend]
impl<const R: usize, Rhs: Operand<bool, R>> Logic<Rhs> for Tile<bool, R> {
    type Out = Rhs::Out;
    #[track_caller]
    fn logic(self, and: bool, other: impl Fn() -> Rhs) -> Rhs::Out {
        let op = if and { BinaryOp::And } else { BinaryOp::Or };
        binary(op, self.value(), other().operand())
    }
}
/// `a && b` in device code.
#[track_caller]
pub fn and<A: Logic<B>, B>(a: A, b: impl Fn() -> B) -> A::Out {
    a.logic(true, b)
}
/// `a || b` in device code.
#[track_caller]
pub fn or<A: Logic<B>, B>(a: A, b: impl Fn() -> B) -> A::Out {
    a.logic(false, b)
}
