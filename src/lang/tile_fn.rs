//! Functions on tiles as kernel arguments.
//!
//! In: an `fn` item, a closure without captures, or what `tile_fn!` makes. Out: something device code
//! can call. Functions have no size, so the instantiation of the kernel identifies them; values they
//! use are captured like any other.

use super::capture::{Capture, Name};
use crate::runtime::launch::Launch;
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
    fn capture(&self, _: &mut Launch, _: Name) -> Pure<F> {
        const {
            assert!(
                size_of::<F>() == 0,
                "this closure captures variables, which would be frozen into the kernel: wrap it in `tile_fn!(..)`"
            )
        };
        Pure(*self)
    }
}

/// What `tile_fn!` makes: captures beside a function that takes them as an argument.
pub struct Closed<B, F> {
    bind: B,
    function: F,
}
impl<B, F> std::fmt::Debug for Closed<B, F> {
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
impl<In, Out, C: Copy, B: Fn(&mut Launch) -> C, F: Fn(C, In) -> Out + Copy> Capture<FnMark<In, Out>> for Closed<B, F> {
    type Device = Bound<C, F>;
    fn capture(&self, launch: &mut Launch, _: Name) -> Bound<C, F> {
        const {
            assert!(
                size_of::<F>() == 0,
                "`tile_fn!` has captured a variable that it could not see; is it inside a macro?"
            )
        };
        Bound((self.bind)(launch), self.function)
    }
}

/// Fixes the argument types of the two closures of `tile_fn!` to each other.
pub fn closed<C: Copy, In, Out, B: Fn(&mut Launch) -> C, F: Fn(C, In) -> Out + Copy>(
    bind: B,
    function: F,
) -> Closed<B, F> {
    Closed { bind, function }
}
