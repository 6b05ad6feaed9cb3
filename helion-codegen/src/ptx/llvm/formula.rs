//! Formulas: arithmetic of one element written with operators, and functions of the module made of it.
//!
//! In: values of `f32`, `f64`, integers and truths. Out: instructions at the builder's place. A [`X`] is a value together
//! with the [`Math`] that it belongs to, so that `x * 2.0 + y` emits two instructions. What LLVM's builder refuses is
//! remembered and reported once, by [`Math::done`]. Nothing is contracted or reordered: every operation rounds as IEEE
//! says.

use super::emit::{Done, Emit, P, V, mistake};
use inkwell::attributes::AttributeLoc;
use inkwell::builder::BuilderError;
use inkwell::module::Linkage;
use inkwell::types::{BasicMetadataTypeEnum, BasicType, BasicTypeEnum};
use inkwell::values::BasicMetadataValueEnum;
use inkwell::{FloatPredicate, IntPredicate};
use std::cell::RefCell;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Shl, Shr, Sub};

/// Formulas under construction.
pub(super) struct Math<'e, 'c> {
    pub(super) e: &'e Emit<'c>,
    failed: RefCell<Option<super::super::Error>>,
}

/// A value in a formula.
#[derive(Clone, Copy)]
pub(super) struct X<'m, 'c> {
    m: &'m Math<'m, 'c>,
    pub(super) v: V<'c>,
}

/// What an operator takes on its right side: a value, or a number in the type of the left side.
pub(super) trait Term<'m, 'c> {
    /// As a value of the same type as `like`.
    fn term(self, like: X<'m, 'c>) -> X<'m, 'c>;
}

impl<'m, 'c> Term<'m, 'c> for X<'m, 'c> {
    fn term(self, _: X<'m, 'c>) -> X<'m, 'c> {
        self
    }
}

impl<'m, 'c> Term<'m, 'c> for f64 {
    fn term(self, like: X<'m, 'c>) -> X<'m, 'c> {
        match like.v {
            V::FloatValue(f) => like.with(f.get_type().const_float(self).into()),
            _ => like.refused("a fraction with something that is not a float"),
        }
    }
}

impl<'m, 'c> Term<'m, 'c> for i64 {
    fn term(self, like: X<'m, 'c>) -> X<'m, 'c> {
        match like.v {
            V::IntValue(i) => like.with(i.get_type().const_int(self as u64, true).into()),
            _ => like.refused("an integer with something that is not one"),
        }
    }
}

impl<'e, 'c> Math<'e, 'c> {
    pub(super) fn new(e: &'e Emit<'c>) -> Math<'e, 'c> {
        Math { e, failed: RefCell::new(None) }
    }

    /// A value as part of formulas.
    pub(super) fn x<'m>(&'m self, v: V<'c>) -> X<'m, 'c>
    where
        'e: 'm,
    {
        X { m: self, v }
    }

    pub(super) fn f64<'m>(&'m self, v: f64) -> X<'m, 'c>
    where
        'e: 'm,
    {
        self.x(self.e.context.f64_type().const_float(v).into())
    }

    pub(super) fn i64<'m>(&'m self, v: i64) -> X<'m, 'c>
    where
        'e: 'm,
    {
        self.x(self.e.i64(v).into())
    }

    /// The value, if every instruction of its formula could be emitted.
    pub(super) fn done(&self, x: X<'_, 'c>) -> Done<V<'c>> {
        match self.failed.take() {
            None => Ok(x.v),
            Some(e) => Err(e),
        }
    }

    /// Several values.
    pub(super) fn all(&self, x: &[X<'_, 'c>]) -> Done<Vec<V<'c>>> {
        match self.failed.take() {
            None => Ok(x.iter().map(|x| x.v).collect()),
            Some(e) => Err(e),
        }
    }

    fn fail(&self, error: super::super::Error) {
        self.failed.borrow_mut().get_or_insert(error);
    }
}

impl<'m, 'c> X<'m, 'c> {
    fn with(self, v: V<'c>) -> X<'m, 'c> {
        X { m: self.m, v }
    }

    /// A number in the type of this value.
    pub(super) fn like(self, number: f64) -> X<'m, 'c> {
        number.term(self)
    }

    /// The value that was emitted; zero of a type after a mistake, which [`Math::done`] then reports.
    fn emitted(self, v: Done<V<'c>>, fallback: BasicTypeEnum<'c>) -> X<'m, 'c> {
        match v {
            Ok(v) => self.with(v),
            Err(e) => {
                self.m.fail(e);
                self.with(fallback.const_zero())
            }
        }
    }

    fn built<T: Into<V<'c>>>(self, v: Result<T, BuilderError>) -> X<'m, 'c> {
        self.emitted(v.map(Into::into).map_err(Into::into), self.v.get_type())
    }

    fn refused(self, what: &str) -> X<'m, 'c> {
        self.emitted(mistake(what), self.v.get_type())
    }

    /// A call of an intrinsic that is overloaded on this value's type and returns it.
    pub(super) fn call(self, name: &str, rest: &[X<'m, 'c>]) -> X<'m, 'c> {
        let args: Vec<V<'c>> = std::iter::once(self.v).chain(rest.iter().map(|x| x.v)).collect();
        self.emitted(self.m.e.value_of(name, &[self.v.get_type()], &args), self.v.get_type())
    }

    /// `self * b + c`, rounded once.
    pub(super) fn fma(self, b: impl Term<'m, 'c>, c: impl Term<'m, 'c>) -> X<'m, 'c> {
        self.call("llvm.fma", &[b.term(self), c.term(self)])
    }
    pub(super) fn sqrt(self) -> X<'m, 'c> {
        self.call("llvm.sqrt", &[])
    }
    pub(super) fn trunc(self) -> X<'m, 'c> {
        self.call("llvm.trunc", &[])
    }
    pub(super) fn abs(self) -> X<'m, 'c> {
        self.call("llvm.fabs", &[])
    }
    /// The magnitude of this with the sign of another.
    pub(super) fn with_sign_of(self, of: X<'m, 'c>) -> X<'m, 'c> {
        self.call("llvm.copysign", &[of])
    }
    /// `c[0] + c[1] x + …`.
    pub(super) fn polynomial(self, c: &[f64]) -> X<'m, 'c> {
        let Some((last, rest)) = c.split_last() else { return 0.0.term(self) };
        rest.iter().rev().fold(last.term(self), |p, c| p.fma(self, *c))
    }

    fn compare(self, f: FloatPredicate, i: IntPredicate, b: impl Term<'m, 'c>) -> X<'m, 'c> {
        let made: Done<V<'c>> = match (self.v, b.term(self).v) {
            (V::FloatValue(a), V::FloatValue(b)) => {
                self.m.e.builder.build_float_compare(f, a, b, "").map(Into::into).map_err(Into::into)
            }
            (V::IntValue(a), V::IntValue(b)) => self.m.e.compare(i, a, b).map(Into::into),
            _ => mistake("values of different kinds are compared"),
        };
        self.emitted(made, self.m.e.context.bool_type().into())
    }
    /// Of integers: as signed numbers. Of floats: false with NaN, as are the other comparisons but `ne`.
    pub(super) fn lt(self, b: impl Term<'m, 'c>) -> X<'m, 'c> {
        self.compare(FloatPredicate::OLT, IntPredicate::SLT, b)
    }
    pub(super) fn le(self, b: impl Term<'m, 'c>) -> X<'m, 'c> {
        self.compare(FloatPredicate::OLE, IntPredicate::SLE, b)
    }
    pub(super) fn gt(self, b: impl Term<'m, 'c>) -> X<'m, 'c> {
        self.compare(FloatPredicate::OGT, IntPredicate::SGT, b)
    }
    pub(super) fn eq(self, b: impl Term<'m, 'c>) -> X<'m, 'c> {
        self.compare(FloatPredicate::OEQ, IntPredicate::EQ, b)
    }
    pub(super) fn ne(self, b: impl Term<'m, 'c>) -> X<'m, 'c> {
        self.compare(FloatPredicate::UNE, IntPredicate::NE, b)
    }
    pub(super) fn is_nan(self) -> X<'m, 'c> {
        self.ne(self)
    }

    /// `a` where this holds, else `b`. One of the two has to be a value, the other may be a number.
    pub(super) fn select(self, a: X<'m, 'c>, b: impl Term<'m, 'c>) -> X<'m, 'c> {
        match self.v {
            V::IntValue(mask) => a.emitted(self.m.e.select(mask, a.v, b.term(a).v), a.v.get_type()),
            _ => self.refused("a choice by something that is not a truth"),
        }
    }

    /// The bits as another type of the same size.
    fn moved(self, to: BasicTypeEnum<'c>) -> X<'m, 'c> {
        self.emitted(self.m.e.bits_to(self.v, to), to)
    }
    /// The bits of a float as an integer.
    pub(super) fn bits(self) -> X<'m, 'c> {
        let wide = self.v.get_type() == self.m.e.context.f64_type().into();
        self.moved(self.m.e.int_type(if wide { 64 } else { 32 }).into())
    }
    /// The float with these bits.
    pub(super) fn of_bits(self) -> X<'m, 'c> {
        let wide = self.v.get_type() == self.m.e.context.i64_type().into();
        self.moved(if wide { self.m.e.context.f64_type().into() } else { self.m.e.context.f32_type().into() })
    }

    /// A float as `f64`.
    pub(super) fn widen(self) -> X<'m, 'c> {
        let to = self.m.e.context.f64_type();
        match self.v {
            V::FloatValue(f) if f.get_type() != to => {
                let made = self.m.e.builder.build_float_ext(f, to, "");
                self.emitted(made.map(Into::into).map_err(Into::into), to.into())
            }
            _ => self,
        }
    }
    /// A float as `f32`, rounded to nearest.
    pub(super) fn narrow(self) -> X<'m, 'c> {
        let to = self.m.e.context.f32_type();
        match self.v {
            V::FloatValue(f) if f.get_type() != to => {
                let made = self.m.e.builder.build_float_trunc(f, to, "");
                self.emitted(made.map(Into::into).map_err(Into::into), to.into())
            }
            _ => self,
        }
    }
    /// A signed integer as a float of a size.
    pub(super) fn to_float(self, bits: u32) -> X<'m, 'c> {
        let to = if bits == 64 { self.m.e.context.f64_type() } else { self.m.e.context.f32_type() };
        match self.v {
            V::IntValue(i) => {
                let made = self.m.e.builder.build_signed_int_to_float(i, to, "");
                self.emitted(made.map(Into::into).map_err(Into::into), to.into())
            }
            _ => self.refused("a conversion from something that is not an integer"),
        }
    }
    /// An integer in another size: its low bits, or with its sign repeated.
    pub(super) fn resize(self, bits: u32) -> X<'m, 'c> {
        let to = self.m.e.int_type(bits);
        match self.v {
            V::IntValue(i) => {
                let made = self.m.e.builder.build_int_cast_sign_flag(i, to, true, "");
                self.emitted(made.map(Into::into).map_err(Into::into), to.into())
            }
            _ => self.refused("a resize of something that is not an integer"),
        }
    }
    /// The high 64 bits of the product of two 64-bit integers without sign.
    pub(super) fn mul_high(self, b: X<'m, 'c>) -> X<'m, 'c> {
        let wide = self.m.e.context.i128_type();
        let made = || -> Done<V<'c>> {
            let (V::IntValue(a), V::IntValue(b)) = (self.v, b.v) else { return mistake("a product of floats") };
            let build = &self.m.e.builder;
            let (a, b) = (build.build_int_z_extend(a, wide, "")?, build.build_int_z_extend(b, wide, "")?);
            let high = self.m.e.shr(build.build_int_mul(a, b, "")?, 64)?;
            Ok(build.build_int_truncate(high, self.m.e.context.i64_type(), "")?.into())
        };
        self.emitted(made(), self.v.get_type())
    }
    /// A comparison of 64-bit integers without sign.
    pub(super) fn below(self, b: X<'m, 'c>) -> X<'m, 'c> {
        self.compare(FloatPredicate::OLT, IntPredicate::ULT, b)
    }
    /// The remainder of integers without sign.
    pub(super) fn modulo(self, b: X<'m, 'c>) -> X<'m, 'c> {
        match (self.v, b.v) {
            (V::IntValue(a), V::IntValue(b)) => self.built(self.m.e.builder.build_int_unsigned_rem(a, b, "")),
            _ => self.refused("a remainder of floats by integers"),
        }
    }
    /// Shifted left, by a count below the width.
    pub(super) fn shift_left(self, by: X<'m, 'c>) -> X<'m, 'c> {
        match (self.v, by.v) {
            (V::IntValue(a), V::IntValue(b)) => self.built(self.m.e.builder.build_left_shift(a, b, "")),
            _ => self.refused("a shift of a float"),
        }
    }
    /// Shifted right without sign, by a count below the width.
    pub(super) fn shift_right(self, by: X<'m, 'c>) -> X<'m, 'c> {
        match (self.v, by.v) {
            (V::IntValue(a), V::IntValue(b)) => self.built(self.m.e.builder.build_right_shift(a, b, false, "")),
            _ => self.refused("a shift of a float"),
        }
    }
    /// Shifted right with the sign repeated, by a count below the width.
    pub(super) fn shift_right_signed(self, by: i64) -> X<'m, 'c> {
        match (self.v, by.term(self).v) {
            (V::IntValue(a), V::IntValue(b)) => self.built(self.m.e.builder.build_right_shift(a, b, true, "")),
            _ => self.refused("a shift of a float"),
        }
    }
    /// How many of the high bits are zero, of an integer that is not.
    pub(super) fn leading_zeros(self) -> X<'m, 'c> {
        let sure = self.with(self.m.e.bool(true).into());
        self.call("llvm.ctlz", &[sure])
    }
    /// The 64-bit integer at an index of an array.
    pub(super) fn element_of(self, array: P<'c>) -> X<'m, 'c> {
        let made = || -> Done<V<'c>> {
            let V::IntValue(i) = self.v else { return mistake("an index that is not an integer") };
            let at = self.m.e.offset(array, self.m.e.shl(i, 3)?)?;
            self.m.e.load(self.m.e.context.i64_type(), at, 8)
        };
        self.emitted(made(), self.m.e.context.i64_type().into())
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident $float:ident $int:ident;)*) => {
        $(impl<'m, 'c, T: Term<'m, 'c>> $trait<T> for X<'m, 'c> {
            type Output = X<'m, 'c>;
            fn $method(self, b: T) -> X<'m, 'c> {
                match (self.v, b.term(self).v) {
                    (V::FloatValue(a), V::FloatValue(b)) => self.built(self.m.e.builder.$float(a, b, "")),
                    (V::IntValue(a), V::IntValue(b)) => self.built(self.m.e.builder.$int(a, b, "")),
                    _ => self.refused("an operator on values of different kinds"),
                }
            }
        })*
    };
}

operator! {
    Add add build_float_add build_int_add;
    Sub sub build_float_sub build_int_sub;
    Mul mul build_float_mul build_int_mul;
    Div div build_float_div build_int_unsigned_div;
}

macro_rules! bit_operator {
    ($($trait:ident $method:ident $build:ident;)*) => {
        $(impl<'m, 'c, T: Term<'m, 'c>> $trait<T> for X<'m, 'c> {
            type Output = X<'m, 'c>;
            fn $method(self, b: T) -> X<'m, 'c> {
                match (self.v, b.term(self).v) {
                    (V::IntValue(a), V::IntValue(b)) => self.built(self.m.e.builder.$build(a, b, "")),
                    _ => self.refused("bits of floats"),
                }
            }
        })*
    };
}

bit_operator! {
    BitAnd bitand build_and;
    BitOr bitor build_or;
    BitXor bitxor build_xor;
}

impl<'m, 'c> Shl<i64> for X<'m, 'c> {
    type Output = X<'m, 'c>;
    fn shl(self, by: i64) -> X<'m, 'c> {
        self.shift_left(by.term(self))
    }
}

/// A shift without sign.
impl<'m, 'c> Shr<i64> for X<'m, 'c> {
    type Output = X<'m, 'c>;
    fn shr(self, by: i64) -> X<'m, 'c> {
        self.shift_right(by.term(self))
    }
}

impl<'m, 'c> Neg for X<'m, 'c> {
    type Output = X<'m, 'c>;
    fn neg(self) -> X<'m, 'c> {
        match self.v {
            V::FloatValue(f) => self.built(self.m.e.builder.build_float_neg(f, "")),
            V::IntValue(i) => self.built(self.m.e.builder.build_int_neg(i, "")),
            _ => self.refused("a negation of something that is not a number"),
        }
    }
}

impl<'c> Emit<'c> {
    /// A value of a formula.
    pub(super) fn formula(&self, write: impl for<'m> FnOnce(&'m Math<'m, 'c>) -> X<'m, 'c>) -> Done<V<'c>> {
        let m = Math::new(self);
        let x = write(&m);
        m.done(x)
    }

    /// Calls a function of the module that has neither effects nor memory. It is written at the first call.
    pub(super) fn function(
        &self,
        name: &str,
        result: BasicTypeEnum<'c>,
        args: &[V<'c>],
        write: impl FnOnce(&[V<'c>]) -> Done<V<'c>>,
    ) -> Done<V<'c>> {
        let f = match self.module.get_function(name) {
            Some(f) => f,
            None => {
                let types: Vec<BasicMetadataTypeEnum<'c>> = args.iter().map(|v| v.get_type().into()).collect();
                let f = self.module.add_function(name, result.fn_type(&types, false), Some(Linkage::Internal));
                for flag in ["nounwind", "willreturn", "nosync", "nofree", "memory"] {
                    f.add_attribute(AttributeLoc::Function, self.flag(flag));
                }
                let here = self.here()?;
                self.at(self.context.append_basic_block(f, "entry"));
                let value = write(&f.get_params())?;
                self.builder.build_return(Some(&value))?;
                self.at(here);
                f
            }
        };
        let args: Vec<BasicMetadataValueEnum<'c>> = args.iter().map(|v| (*v).into()).collect();
        match self.builder.build_call(f, &args, "")?.try_as_basic_value().basic() {
            Some(v) => Ok(v),
            None => mistake(format!("`{name}` has no result")),
        }
    }

    /// One of two lists of values, of which only the one that counts is computed.
    pub(super) fn either(
        &self,
        mask: V<'c>,
        yes: impl FnOnce() -> Done<Vec<V<'c>>>,
        no: impl FnOnce() -> Done<Vec<V<'c>>>,
    ) -> Done<Vec<V<'c>>> {
        let V::IntValue(mask) = mask else { return mistake("a branch on something that is not a truth") };
        let (a, b, end) = (self.block_here()?, self.block_here()?, self.block_here()?);
        self.branch(mask, a, b)?;
        self.at(a);
        let (yes, from_yes) = (yes()?, self.here()?);
        self.jump(end)?;
        self.at(b);
        let (no, from_no) = (no()?, self.here()?);
        self.jump(end)?;
        self.at(end);
        let join = |(a, b): (&V<'c>, &V<'c>)| -> Done<V<'c>> {
            let phi = self.builder.build_phi(a.get_type(), "")?;
            phi.add_incoming(&[(a, from_yes), (b, from_no)]);
            Ok(phi.as_basic_value())
        };
        yes.iter().zip(&no).map(join).collect()
    }

    /// A new block of the function that is being written.
    pub(super) fn block_here(&self) -> Done<inkwell::basic_block::BasicBlock<'c>> {
        match self.here()?.get_parent() {
            Some(f) => Ok(self.context.append_basic_block(f, "")),
            None => mistake("a block without a function"),
        }
    }
}
