//! Functions on tiles as kernel arguments.
//!
//! In: an `fn` item, a closure without captures, or what `tile_fn!` makes. Out: something device code
//! can call. Functions have no size, so the instantiation of the kernel identifies them; values they
//! use are captured like any other.

use super::capture::{Capture, Name};
use crate::runtime::launch::Launching;
use std::marker::PhantomData;

/// Calls a tile function inside a kernel.
pub trait Apply<In> {
    /// What it returns.
    type Out;
    #[doc(hidden)]
    fn apply(&self, input: In) -> Self::Out;
}

/// Tells the implementations for functions apart from those for values.
#[derive(Debug)]
pub struct FnMark<In, Out>(PhantomData<(In, Out)>);

/// A function on tiles that a kernel takes as an argument: `E: TileFn<Tile<f32, 2>>`.
///
/// Pass an `fn` item, a closure that captures nothing (`|t: Tile<f32, 2>| t.tanh()`), or
/// `tile_fn!(|t: Tile<f32, 2>| t * gain + bias[..])` for one that uses tensors or numbers around it.
/// Several arguments are a tuple: `TileFn<(Tile<f32, 2>, TileIx), Tile<f32, 2>>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function from `{In}` to `{Out}`",
    label = "expected a function from `{In}` to `{Out}`",
    note = "pass an `fn` item, a closure that captures nothing, or `tile_fn!(|t| ..)` for a closure that uses tensors or numbers around it"
)]
pub trait TileFn<In, Out = In>: Capture<FnMark<In, Out>, Device: Apply<In, Out = Out> + Copy> {}
#[diagnostic::do_not_recommend]
impl<In, Out, E: Capture<FnMark<In, Out>, Device: Apply<In, Out = Out> + Copy>> TileFn<In, Out> for E {}

/// A function without captures, in device code.
#[derive(Clone, Copy, Debug)]
pub struct Pure<F>(F);
impl<In, Out, F: Fn(In) -> Out> Apply<In> for Pure<F> {
    type Out = Out;
    fn apply(&self, input: In) -> Out {
        (self.0)(input)
    }
}
#[diagnostic::do_not_recommend]
impl<In, Out, F: Fn(In) -> Out + Copy + 'static> Capture<FnMark<In, Out>> for F {
    type Device = Pure<F>;
    fn capture<'t>(&'t self, _: &mut Launching<'t>, _: Name) -> Pure<F> {
        const {
            assert!(
                size_of::<F>() == 0,
                "this closure captures variables, which would be frozen into the kernel: wrap it in `tile_fn!(..)`"
            )
        };
        Pure(*self)
    }
}

/// A variable that `tile_fn!` uses, with its name.
#[derive(Debug)]
pub struct Named<'e, C: ?Sized>(pub Name, pub &'e C);

/// The variables that `tile_fn!` uses: a tuple of [`Named`] ones.
pub trait CaptureAll<M> {
    /// What they are in device code.
    type Device: Copy;
    #[doc(hidden)]
    #[track_caller]
    fn capture_all<'t>(&'t self, launch: &mut Launching<'t>) -> Self::Device;
}

macro_rules! tuples {
    ($($($t:ident $m:ident $i:tt),*;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<'e, $($m, $t: Capture<$m, Device: Copy> + ?Sized),*> CaptureAll<($($m,)*)> for ($(Named<'e, $t>,)*) {
            type Device = ($($t::Device,)*);
            #[track_caller]
            fn capture_all<'t>(&'t self, _launch: &mut Launching<'t>) -> Self::Device {
                ($(self.$i.1.capture(_launch, self.$i.0),)*)
            }
        }
    )*};
}
impl CaptureAll<()> for () {
    type Device = ();
    fn capture_all<'t>(&'t self, _: &mut Launching<'t>) {}
}
tuples! {
    A MA 0; A MA 0, B MB 1; A MA 0, B MB 1, C MC 2; A MA 0, B MB 1, C MC 2, D MD 3;
    A MA 0, B MB 1, C MC 2, D MD 3, E ME 4; A MA 0, B MB 1, C MC 2, D MD 3, E ME 4, F MF 5;
    A MA 0, B MB 1, C MC 2, D MD 3, E ME 4, F MF 5, G MG 6;
    A MA 0, B MB 1, C MC 2, D MD 3, E ME 4, F MF 5, G MG 6, H MH 7;
}

/// What `tile_fn!` makes: variables beside a function that takes them as an argument.
pub struct Closed<K, M, F> {
    variables: K,
    function: F,
    of: PhantomData<fn() -> M>,
}
impl<K, M, F> std::fmt::Debug for Closed<K, M, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a tile function")
    }
}

/// The same in device code.
#[derive(Clone, Copy, Debug)]
pub struct Bound<C, F>(C, F);
impl<C: Copy, In, Out, F: Fn(C, In) -> Out> Apply<In> for Bound<C, F> {
    type Out = Out;
    fn apply(&self, input: In) -> Out {
        (self.1)(self.0, input)
    }
}
#[diagnostic::do_not_recommend]
impl<In, Out, M, K: CaptureAll<M>, F: Fn(K::Device, In) -> Out + Copy> Capture<FnMark<In, Out>> for Closed<K, M, F> {
    type Device = Bound<K::Device, F>;
    #[track_caller]
    fn capture<'t>(&'t self, launch: &mut Launching<'t>, _: Name) -> Self::Device {
        const {
            assert!(
                size_of::<F>() == 0,
                "`tile_fn!` did not see a variable that the closure uses, perhaps inside a macro: bind it with `let` before"
            )
        };
        Bound(self.variables.capture_all(launch), self.function)
    }
}

/// Ties the closure of `tile_fn!` to the types of the variables it uses.
pub fn closed<M, K: CaptureAll<M>, In, Out, F: Fn(K::Device, In) -> Out + Copy>(
    variables: K,
    function: F,
) -> Closed<K, M, F> {
    Closed { variables, function, of: PhantomData }
}
