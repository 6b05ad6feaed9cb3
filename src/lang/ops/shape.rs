//! Operations that move elements without changing them.

use crate::lang::elem::{Elem, Int};
use crate::lang::extents::Extents;
use crate::lang::trace::{self, Trace};
use crate::lang::types::{Scalar, Tile, Val};
use helion_ir::tile::{Dim, Op, Shape, ValueId};
use helion_ir::{BinaryOp, Diagnostic, Loc};

impl<T: Elem, const R: usize> Tile<T, R> {
    /// The tile broadcast to a shape: axes are aligned from the last, and axes of size 1 stretch.
    #[track_caller]
    pub fn broadcast_to<S: Extents>(self, extents: S) -> S::Filled<T> {
        Val::from_value(trace::op(Op::Broadcast(extents.dims()), &[self.value()]))
    }
    /// The same as `broadcast_to`.
    #[track_caller]
    pub fn expand<S: Extents>(self, extents: S) -> S::Filled<T> {
        self.broadcast_to(extents)
    }
    /// The same elements in row-major order under another shape.
    #[track_caller]
    pub fn reshape<S: Extents>(self, extents: S) -> S::Filled<T> {
        Val::from_value(trace::op(Op::Reshape(extents.dims()), &[self.value()]))
    }
    /// Reorders axes: axis `i` of the result is axis `axes[i]` of this tile.
    #[track_caller]
    pub fn permute(self, axes: [usize; R]) -> Self {
        let axes = axes.iter().map(|a| *a as u32).collect();
        Tile::from_value(trace::op(Op::Permute(axes), &[self.value()]))
    }
    /// Swaps two axes.
    #[track_caller]
    pub fn transpose(self, a: usize, b: usize) -> Self {
        let mut axes: Vec<u32> = (0..R as u32).collect();
        if a < R && b < R {
            axes.swap(a, b);
        } else {
            trace::mistake(format!("transpose({a}, {b}): the tile has {R} axes"), "axes count from 0");
        }
        Tile::from_value(trace::op(Op::Permute(axes), &[self.value()]))
    }
    /// Swaps the last two axes.
    #[track_caller]
    pub fn t(self) -> Self {
        const { assert!(R >= 2, "`t()` needs a tile with at least two axes") };
        let mut axes: Vec<u32> = (0..R as u32).collect();
        axes.swap(R - 2, R - 1);
        Tile::from_value(trace::op(Op::Permute(axes), &[self.value()]))
    }
    /// The two halves of an axis of even size, in order.
    #[track_caller]
    pub fn split(self, axis: usize) -> (Self, Self) {
        let at = Loc::caller();
        let v = self.value();
        let halves = trace::with(|t| {
            let Some(dim) = axis_dim(t, v, axis, "split", at) else { return (v, v) };
            if matches!(dim, Dim::Const(c) if c % 2 != 0) {
                let text = format!("split({axis}): the axis has an odd size; the tile is {}", t.shape_text(v));
                t.builder().error(Diagnostic::new(at, text).help("split an axis of even size"));
            }
            let half = t.builder().dim_expr(BinaryOp::Div, dim, Dim::Const(2));
            let axis = axis as u32;
            let low = t.one(Op::Slice { axis, start: Dim::Const(0), len: half }, &[v], at);
            (low, t.one(Op::Slice { axis, start: half, len: half }, &[v], at))
        });
        (Tile::from_value(halves.0), Tile::from_value(halves.1))
    }
    /// Elements `start..start + len` of an axis.
    #[track_caller]
    pub fn slice(
        self,
        axis: usize,
        start: impl crate::lang::extents::Extent,
        len: impl crate::lang::extents::Extent,
    ) -> Self {
        let op = Op::Slice { axis: axis as u32, start: start.dim(), len: len.dim() };
        Tile::from_value(trace::op(op, &[self.value()]))
    }
    /// Picks along one axis by an integer tile: `out[i, j] = x[i, index[i, j]]` for axis 1. The other
    /// axes match. An index outside the axis gives zero.
    #[track_caller]
    pub fn gather<I: Int>(self, axis: usize, index: Tile<I, R>) -> Self {
        Tile::from_value(trace::op(Op::Gather { axis: axis as u32 }, &[self.value(), index.value()]))
    }
}

/// The size of an axis, or a mistake.
fn axis_dim(t: &mut Trace, v: ValueId, axis: usize, what: &str, at: Loc) -> Option<Dim> {
    let dim = t.builder().ty(v).shape.get(axis).copied();
    if dim.is_none() {
        let text = format!("{what}({axis}): the tile is {}", t.shape_text(v));
        t.builder().error(Diagnostic::new(at, text).help("axes count from 0"));
    }
    dim
}

#[track_caller]
fn squeeze(v: ValueId, axis: usize) -> ValueId {
    let at = Loc::caller();
    trace::with(|t| {
        let mut shape = t.builder().ty(v).shape.clone();
        match axis_dim(t, v, axis, "squeeze", at) {
            None => shape = shape.iter().skip(1).copied().collect(),
            Some(dim) => {
                if dim != Dim::Const(1) {
                    let (name, text) = (t.builder().dim_name(dim), t.shape_text(v));
                    let d = Diagnostic::new(at, format!("squeeze({axis}): that axis has size {name}, not 1; the tile is {text}"))
                        .help("`squeeze` drops an axis of size 1, as reductions leave it; to pick one index of an axis load with a scalar index");
                    t.builder().error(d);
                    // Goes on with what was meant.
                    let kept: Shape = shape.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| *d).collect();
                    let zero = t.literal(helion_ir::dtype::Literal::from_bits(t.dtype(v), 0), at);
                    return t.one(Op::Broadcast(kept), &[zero], at);
                }
                shape.remove(axis);
            }
        }
        t.one(Op::Reshape(shape), &[v], at)
    })
}

#[track_caller]
fn unsqueeze(v: ValueId, axis: usize) -> ValueId {
    let at = Loc::caller();
    trace::with(|t| {
        let mut shape = t.builder().ty(v).shape.clone();
        if axis > shape.len() {
            let text = format!("unsqueeze({axis}): the tile is {}", t.shape_text(v));
            t.builder().error(Diagnostic::new(at, text).help("the new axis is at most one past the last"));
        }
        shape.insert(axis.min(shape.len()), Dim::Const(1));
        t.one(Op::Reshape(shape), &[v], at)
    })
}

/// Stacks two equal shapes on a new last axis of size 2.
#[track_caller]
fn join(a: ValueId, b: ValueId) -> ValueId {
    let at = Loc::caller();
    let last = trace::with(|t| t.builder().ty(a).rank());
    let (a, b) = (unsqueeze(a, last), unsqueeze(b, last));
    trace::with(|t| t.one(Op::Concat { axis: last as u32 }, &[a, b], at))
}

/// Ranks differ by one here, so these are written once per rank: const arithmetic is not stable.
macro_rules! steps {
    ($($r:literal => $lo:ty, $hi:ty;)*) => {$(
        impl<T: Elem> Tile<T, $r> {
            /// Drops an axis of size 1.
            #[track_caller]
            pub fn squeeze(self, axis: usize) -> $lo { Val::from_value(squeeze(self.value(), axis)) }
            /// Inserts an axis of size 1 at a position.
            #[track_caller]
            pub fn unsqueeze(self, axis: usize) -> $hi { Val::from_value(unsqueeze(self.value(), axis)) }
            /// Stacks two tiles of one shape on a new last axis of size 2.
            #[track_caller]
            pub fn join(self, other: Self) -> $hi { Val::from_value(join(self.value(), other.value())) }
        }
    )*};
}
steps! {
    1 => Scalar<T>, Tile<T, 2>; 2 => Tile<T, 1>, Tile<T, 3>; 3 => Tile<T, 2>, Tile<T, 4>;
    4 => Tile<T, 3>, Tile<T, 5>;
}
impl<T: Elem> Tile<T, 5> {
    /// Drops an axis of size 1.
    #[track_caller]
    pub fn squeeze(self, axis: usize) -> Tile<T, 4> {
        Val::from_value(squeeze(self.value(), axis))
    }
}
impl<T: Elem> Scalar<T> {
    /// The scalar as a tile of one element.
    #[track_caller]
    pub fn unsqueeze(self, axis: usize) -> Tile<T, 1> {
        Val::from_value(unsqueeze(self.value(), axis))
    }
    /// The scalar for every element of a shape.
    #[track_caller]
    pub fn broadcast_to<S: Extents>(self, extents: S) -> S::Filled<T> {
        Val::from_value(trace::op(Op::Broadcast(extents.dims()), &[self.value()]))
    }
}

/// Joins tiles along an existing axis; the other axes match. `concat([a, b], 1)`.
#[track_caller]
pub fn concat<T: Elem, const R: usize, const N: usize>(tiles: [Tile<T, R>; N], axis: usize) -> Tile<T, R> {
    const { assert!(N > 0, "`concat` needs at least one tile") };
    let args: Vec<_> = tiles.iter().map(|t| t.value()).collect();
    Tile::from_value(trace::op(Op::Concat { axis: axis as u32 }, &args))
}
