//! Running reductions along an axis; shapes stay.

use super::reduce::{ScalarTuple, TileTuple};
use crate::lang::elem::{Elem, Num};
use crate::lang::trace;
use crate::lang::types::{Scalar, Tile, Val};
use helion_ir::Loc;
use helion_ir::tile::{Op, ReduceOp, Region};

/// Records a function of two partial results.
#[track_caller]
pub(super) fn combine_region<S: ScalarTuple>(f: impl Fn(S, S) -> S, at: Loc) -> Region {
    let types = S::types();
    let k = types.len();
    let both: Vec<_> = types.iter().chain(&types).cloned().collect();
    let params = trace::with(|t| t.open(&both, at));
    let (left, right) = params.split_at(k.min(params.len()));
    let yields = f(S::from_ids(left), S::from_ids(right)).ids();
    trace::with(|t| t.close(&yields))
}

macro_rules! scans {
    ($($(#[$m:meta])* $f:ident $op:ident $reverse:literal;)*) => {
        impl<T: Num, const R: usize> Tile<T, R> {$(
            $(#[$m])*
            #[track_caller]
            pub fn $f(self, axis: usize) -> Self {
                let op = Op::Scan { op: ReduceOp::$op, axis: axis as u32, reverse: $reverse };
                Tile::from_value(trace::op(op, &[self.value()]))
            }
        )*}
    };
}
scans! {
    /// The running sum along an axis: element `i` is the sum of elements `0..=i`. 16-bit floats add in
    /// f32 and round once.
    cumsum Sum false;
    /// The running sum from the end of an axis.
    cumsum_reverse Sum true;
    /// The running product along an axis.
    cumprod Prod false;
    /// The running product from the end of an axis.
    cumprod_reverse Prod true;
    /// The running maximum along an axis.
    cummax Max false;
    /// The running maximum from the end of an axis.
    cummax_reverse Max true;
    /// The running minimum along an axis.
    cummin Min false;
    /// The running minimum from the end of an axis.
    cummin_reverse Min true;
}

impl<T: Elem, const R: usize> Tile<T, R> {
    /// The running combination along an axis with a function `f(so_far, next)`, which must be
    /// associative.
    #[track_caller]
    pub fn scan(self, axis: usize, f: impl Fn(Scalar<T>, Scalar<T>) -> Scalar<T>) -> Self {
        let (v,) = scan_with((self,), axis, |(a,), (b,)| (f(a, b),));
        v
    }
    /// The same from the end of the axis.
    #[track_caller]
    pub fn scan_reverse(self, axis: usize, f: impl Fn(Scalar<T>, Scalar<T>) -> Scalar<T>) -> Self {
        let (v,) = scan_with_reverse((self,), axis, |(a,), (b,)| (f(a, b),));
        v
    }
}

/// Scans several tiles of one shape together: `scan_with((a, b), 1, |(a0, b0), (a1, b1)| ..)`.
///
/// `f` combines the running values with the next ones and must be associative.
#[track_caller]
pub fn scan_with<V: TileTuple>(tiles: V, axis: usize, f: impl Fn(V::Scalars, V::Scalars) -> V::Scalars) -> V {
    record(tiles, axis, false, f)
}

/// The same from the end of the axis.
#[track_caller]
pub fn scan_with_reverse<V: TileTuple>(tiles: V, axis: usize, f: impl Fn(V::Scalars, V::Scalars) -> V::Scalars) -> V {
    record(tiles, axis, true, f)
}

#[track_caller]
fn record<V: TileTuple>(tiles: V, axis: usize, reverse: bool, f: impl Fn(V::Scalars, V::Scalars) -> V::Scalars) -> V {
    let at = Loc::caller();
    let args = tiles.ids();
    let region = combine_region(f, at);
    let op = Op::ScanWith { axis: axis as u32, reverse };
    V::from_ids(&trace::with(|t| t.push_with_regions(op, &args, vec![region], at)))
}
