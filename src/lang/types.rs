//! The values of device code: small copyable handles whose types carry element type and rank.
//!
//! In: values of the recorder. Out: typed handles. A handle is meaningful only during the trace
//! that made it; everything it does is recorded, nothing is computed.

use super::elem::{Elem, Num};
use super::trace::{self, Source};
use helion_ir::Loc;
use helion_ir::tile::{Dim, Op, ParamId, TileId, ValueId};
use std::fmt;
use std::marker::PhantomData;

/// A block of elements of type `T` with `R` axes.
///
/// Tiles are values: operations make new tiles, and `let mut` variables may be reassigned in tile
/// loops, `while` and `if`. Arithmetic (`+ - * / %`, `& | ^ ! << >>`) works elementwise with numpy
/// broadcasting: axes are aligned from the last, and an axis of size 1 stretches.
///
/// # Comparing
/// Inside `#[kernel]`, `#[device]` and `tile_fn!`, the operators `== != < <= > >=` compare element by
/// element and give a mask, a `Tile<bool, R>`. Rust does not let a library give them that meaning in
/// plain functions; there write `.eq() .ne() .lt() .le() .gt() .ge()`, or mark the function
/// `#[device]`. To choose by a mask use [`select`](super::select).
pub struct Tile<T, const R: usize> {
    value: ValueId,
    of: PhantomData<fn() -> T>,
}

/// One element of type `T`: a captured number, an element of a tensor, or the result of device code.
///
/// In an `if` or `while` of device code a `Scalar<bool>` branches at run time. As with tiles, plain
/// functions compare with `.eq()`, `.lt()` and so on; kernels and `#[device]` functions with operators.
pub struct Scalar<T> {
    source: Source,
    of: PhantomData<fn() -> T>,
}

/// A size or index in device code: a captured `usize`, the bound of a tile, or arithmetic of these.
///
/// It combines with sizes and integers; as an operand of a tile it takes the tile's element type
/// (`row.sum(1) / n`). [`Size::to`] converts it to a number.
#[derive(Clone, Copy)]
pub struct Size {
    pub(crate) source: Source,
}

/// The variable of a tile loop: a block of consecutive indices of one axis.
///
/// As an index it loads or stores that block (`x[tm]`); `tm + k` is the block shifted by `k`. As an
/// extent it gives a new tile that many elements.
#[derive(Clone, Copy)]
pub struct TileIx {
    pub(crate) tile: TileId,
}

/// A tile variable shifted by an offset: `tm + 1`, `tm - k`.
#[derive(Clone, Copy)]
pub struct TileOffset {
    pub(crate) tile: TileId,
    pub(crate) offset: Source,
}

/// A tensor that device code can read.
pub struct TensorRef<T, const R: usize> {
    pub(crate) param: ParamId,
    pub(crate) dims: [Dim; R],
    of: PhantomData<fn() -> T>,
}

/// A tensor that device code can read and write.
pub struct TensorMut<T, const R: usize> {
    pub(crate) param: ParamId,
    pub(crate) dims: [Dim; R],
    of: PhantomData<fn() -> T>,
}

macro_rules! copies {
    ($($name:ident [$($g:tt)*] [$($a:tt)*];)*) => {$(
        impl<T, $($g)*> Clone for $name<T, $($a)*> { fn clone(&self) -> Self { *self } }
        impl<T, $($g)*> Copy for $name<T, $($a)*> {}
    )*};
}
copies! { Tile [const R: usize] [R]; Scalar [] []; TensorRef [const R: usize] [R]; TensorMut [const R: usize] [R]; }

impl<T, const R: usize> fmt::Debug for Tile<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a tile with {R} axes")
    }
}
impl<T> fmt::Debug for Scalar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }
}
impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size")
    }
}
impl fmt::Debug for TileIx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tile variable")
    }
}

/// Tiles and scalars. Implemented here only.
pub trait Val: Copy {
    /// The element type.
    type Elem: Elem;
    /// The same shape with another element type.
    type With<U: Elem>: Val<Elem = U>;
    #[doc(hidden)]
    fn from_value(value: ValueId) -> Self;
    #[doc(hidden)]
    #[track_caller]
    fn value(self) -> ValueId;
}

#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize> Val for Tile<T, R> {
    type Elem = T;
    type With<U: Elem> = Tile<U, R>;
    fn from_value(value: ValueId) -> Self {
        Tile { value, of: PhantomData }
    }
    fn value(self) -> ValueId {
        self.value
    }
}

#[diagnostic::do_not_recommend]
impl<T: Elem> Val for Scalar<T> {
    type Elem = T;
    type With<U: Elem> = Scalar<U>;
    fn from_value(value: ValueId) -> Self {
        Scalar::from_source(Source::Value(value))
    }
    #[track_caller]
    fn value(self) -> ValueId {
        let at = Loc::caller();
        trace::with(|t| t.resolve(self.source, at))
    }
}

impl<T> Scalar<T> {
    pub(crate) fn from_source(source: Source) -> Self {
        Scalar { source, of: PhantomData }
    }
}

impl Size {
    pub(crate) fn from_value(value: ValueId) -> Size {
        Size { source: Source::Value(value) }
    }
    #[track_caller]
    pub(crate) fn value(self) -> ValueId {
        let at = Loc::caller();
        trace::with(|t| t.resolve(self.source, at))
    }
    /// The size as a number of type `T`.
    #[track_caller]
    pub fn to<T: Num>(self) -> Scalar<T> {
        let at = Loc::caller();
        Scalar::from_value(trace::with(|t| {
            let v = t.resolve(self.source, at);
            t.cast(v, T::DTYPE, at)
        }))
    }
}

impl TileIx {
    #[track_caller]
    fn size(self, op: Op) -> Size {
        Size::from_value(trace::op(op, &[]))
    }
    /// The first index of this tile.
    #[track_caller]
    pub fn begin(self) -> Size {
        self.size(Op::TileBegin(self.tile))
    }
    /// One past the last index of this tile.
    #[track_caller]
    pub fn end(self) -> Size {
        self.size(Op::TileEnd(self.tile))
    }
    /// The ordinal of this tile within its loop, from 0. It depends on the block size.
    #[track_caller]
    pub fn id(self) -> Size {
        self.size(Op::TileOrdinal(self.tile))
    }
    /// How many tiles the loop has. It depends on the block size.
    #[track_caller]
    pub fn count(self) -> Size {
        self.size(Op::TileCount(self.tile))
    }
    /// How many indices this tile has; the last tile of an axis may have fewer than the others.
    #[track_caller]
    pub fn len(self) -> Size {
        self.size(Op::Extent(Dim::Tile(self.tile)))
    }
    /// The indices this tile covers: `begin, begin + 1, …` as a tile with one axis.
    #[track_caller]
    pub fn index(self) -> Tile<i64, 1> {
        let at = Loc::caller();
        Tile::from_value(trace::with(|t| indices(t, self.tile, at)))
    }
}

/// The global indices of a tile variable.
pub(crate) fn indices(t: &mut trace::Trace, tile: TileId, at: Loc) -> ValueId {
    let from = t.builder().one(Op::TileBegin(tile), &[], at);
    let steps = t.builder().one(Op::Iota(Dim::Tile(tile)), &[], at);
    t.binary(helion_ir::BinaryOp::Add, steps, from, at)
}

impl<T: Elem, const R: usize> TensorRef<T, R> {
    pub(crate) fn new(param: ParamId, dims: [Dim; R]) -> Self {
        TensorRef { param, dims, of: PhantomData }
    }
    /// The extent of each axis.
    pub fn dims(&self) -> [Size; R] {
        self.dims.map(|d| Size { source: Source::of(d) })
    }
}

impl<T: Elem, const R: usize> TensorMut<T, R> {
    pub(crate) fn new(param: ParamId, dims: [Dim; R]) -> Self {
        TensorMut { param, dims, of: PhantomData }
    }
    /// The extent of each axis.
    pub fn dims(&self) -> [Size; R] {
        self.dims.map(|d| Size { source: Source::of(d) })
    }
}
