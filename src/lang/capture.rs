//! How host variables enter device code.
//!
//! In: a host value and its name. Out: argument words and key words in the [`Launch`], and a small
//! device handle. Capturing happens on every call and allocates nothing.

use super::elem::{Elem, bf16, f16};
use super::trace::Source;
use super::types::{Scalar, Size, TensorMut, TensorRef};
use crate::runtime::Tensor;
use crate::runtime::launch::Launching;
use helion_ir::DType;

/// The user's words for a captured variable.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The variable or field.
    pub name: &'static str,
    /// Names of the tensor's extents, from `let [m, n] = x.dims()`; empty where unknown.
    pub dims: &'static [&'static str],
}

/// A host value that can enter a tile loop: a tensor, a number, a `bool`, an array, tuple or `Option`
/// of these, or a tile function.
///
/// `M` only tells implementations apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "a value of type `{Self}` cannot enter a tile loop",
    label = "used inside the tile loop",
    note = "tile loops can use tensors, numbers, `bool`, arrays and tuples of these, `Option` of these, and tile functions; compute anything else before the loop"
)]
pub trait Capture<M = ()> {
    /// What it is in device code.
    type Device;
    #[doc(hidden)]
    #[track_caller]
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> Self::Device;
}

/// The same for a variable declared `mut` or an argument `&mut Tensor`.
#[diagnostic::on_unimplemented(
    message = "a mutable `{Self}` cannot enter a tile loop",
    label = "used inside the tile loop",
    note = "only tensors can be written by a tile loop"
)]
pub trait CaptureMut<M = ()> {
    /// What it is in device code.
    type Device;
    #[doc(hidden)]
    #[track_caller]
    fn capture_mut<'t>(&'t mut self, launch: &mut Launching<'t>, name: Name) -> Self::Device;
}

/// Sizes the user has named, before the tensor that has them.
fn name_sizes(launch: &mut Launching<'_>, name: Name, dims: &[usize]) {
    for (size, value) in name.dims.iter().zip(dims) {
        if !size.is_empty() {
            launch.size(size, *value as u64);
        }
    }
}

#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize> Capture for Tensor<T, R> {
    type Device = TensorRef<T, R>;
    #[track_caller]
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> TensorRef<T, R> {
        name_sizes(launch, name, &self.dims());
        let (param, dims) = launch.bind(name.name, self.raw());
        TensorRef::new(param, dims)
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize> CaptureMut for Tensor<T, R> {
    type Device = TensorMut<T, R>;
    #[track_caller]
    fn capture_mut<'t>(&'t mut self, launch: &mut Launching<'t>, name: Name) -> TensorMut<T, R> {
        name_sizes(launch, name, &self.dims());
        let (param, dims) = launch.bind(name.name, self.raw_mut());
        TensorMut::new(param, dims)
    }
}

#[diagnostic::do_not_recommend]
impl<M, C: Capture<M> + ?Sized> Capture<(M,)> for &C {
    type Device = C::Device;
    #[track_caller]
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> C::Device {
        (**self).capture(launch, name)
    }
}
#[diagnostic::do_not_recommend]
impl<M, C: CaptureMut<M> + ?Sized> CaptureMut<(M,)> for &mut C {
    type Device = C::Device;
    #[track_caller]
    fn capture_mut<'t>(&'t mut self, launch: &mut Launching<'t>, name: Name) -> C::Device {
        (**self).capture_mut(launch, name)
    }
}

#[diagnostic::do_not_recommend]
impl Capture for usize {
    type Device = Size;
    #[track_caller]
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> Size {
        Size { source: Source::of(launch.size(name.name, *self as u64)) }
    }
}
#[diagnostic::do_not_recommend]
impl Capture for bool {
    type Device = bool;
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, _: Name) -> bool {
        launch.key(u64::from(*self));
        *self
    }
}
#[diagnostic::do_not_recommend]
impl Capture for () {
    type Device = ();
    fn capture<'t>(&'t self, _: &mut Launching<'t>, _: Name) {}
}

macro_rules! numbers {
    ($($t:ident)*) => {$(
        #[diagnostic::do_not_recommend]
        impl Capture for $t {
            type Device = Scalar<$t>;
            #[track_caller]
            fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> Scalar<$t> {
                Scalar::from_source(Source::Param(launch.scalar(name.name, <$t as Elem>::DTYPE, self.to_bits64())))
            }
        }
    )*};
}
numbers! { i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64 }

#[diagnostic::do_not_recommend]
impl Capture for isize {
    type Device = Scalar<i64>;
    #[track_caller]
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> Scalar<i64> {
        Scalar::from_source(Source::Param(launch.scalar(name.name, DType::I64, *self as i64 as u64)))
    }
}

macro_rules! mutable_values {
    ($($t:ident)*) => {$(
        #[diagnostic::do_not_recommend]
        impl CaptureMut for $t {
            type Device = <$t as Capture>::Device;
            #[track_caller]
            fn capture_mut<'t>(&'t mut self, launch: &mut Launching<'t>, name: Name) -> Self::Device { self.capture(launch, name) }
        }
    )*};
}
mutable_values! { usize isize bool i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64 }

#[diagnostic::do_not_recommend]
impl<M, C: Capture<M>> Capture<(M,)> for Option<C> {
    type Device = Option<C::Device>;
    #[track_caller]
    #[allow(clippy::manual_map, reason = "in a closure the caller's position would be lost")]
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> Self::Device {
        launch.key(u64::from(self.is_some()));
        match self {
            Some(c) => Some(c.capture(launch, name)),
            None => None,
        }
    }
}
#[diagnostic::do_not_recommend]
impl<M, C: CaptureMut<M>> CaptureMut<(M,)> for Option<C> {
    type Device = Option<C::Device>;
    #[track_caller]
    #[allow(clippy::manual_map, reason = "in a closure the caller's position would be lost")]
    fn capture_mut<'t>(&'t mut self, launch: &mut Launching<'t>, name: Name) -> Self::Device {
        launch.key(u64::from(self.is_some()));
        match self {
            Some(c) => Some(c.capture_mut(launch, name)),
            None => None,
        }
    }
}
#[diagnostic::do_not_recommend]
impl<M, C: Capture<M>, const N: usize> Capture<(M,)> for [C; N] {
    type Device = [C::Device; N];
    #[track_caller]
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> Self::Device {
        let mut all = [const { None }; N];
        for (i, (c, place)) in self.iter().zip(&mut all).enumerate() {
            launch.element(u32::try_from(i).ok());
            *place = Some(c.capture(launch, name));
        }
        launch.element(None);
        every(all)
    }
}
#[diagnostic::do_not_recommend]
impl<M, C: CaptureMut<M>, const N: usize> CaptureMut<(M,)> for [C; N] {
    type Device = [C::Device; N];
    #[track_caller]
    fn capture_mut<'t>(&'t mut self, launch: &mut Launching<'t>, name: Name) -> Self::Device {
        let mut all = [const { None }; N];
        for (i, (c, place)) in self.iter_mut().zip(&mut all).enumerate() {
            launch.element(u32::try_from(i).ok());
            *place = Some(c.capture_mut(launch, name));
        }
        launch.element(None);
        every(all)
    }
}

/// An array whose every place was filled; a loop fills it, because closures do not know their caller.
fn every<D, const N: usize>(all: [Option<D>; N]) -> [D; N] {
    all.map(|d| d.unwrap_or_else(|| unreachable!("every element is captured")))
}

macro_rules! tuples {
    ($($($t:ident $m:ident $i:tt),+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($m, $t: Capture<$m>),+> Capture<($($m,)+ u8)> for ($($t,)+) {
            type Device = ($($t::Device,)+);
            #[track_caller]
            fn capture<'t>(&'t self, launch: &mut Launching<'t>, name: Name) -> Self::Device {
                let all = ($({
                    launch.element(Some($i));
                    self.$i.capture(launch, name)
                },)+);
                launch.element(None);
                all
            }
        }
    )*};
}
tuples! { A M 0, B N 1; A M 0, B N 1, C O 2; A M 0, B N 1, C O 2, D P 3; }

/// Captures a variable that is only read.
#[track_caller]
pub fn capture<'t, M, C: Capture<M> + ?Sized>(launch: &mut Launching<'t>, name: Name, c: &'t C) -> C::Device {
    c.capture(launch, name)
}
/// Captures a variable that may be written.
#[track_caller]
pub fn capture_mut<'t, M, C: CaptureMut<M> + ?Sized>(
    launch: &mut Launching<'t>,
    name: Name,
    c: &'t mut C,
) -> C::Device {
    c.capture_mut(launch, name)
}
