//! The shapes of new tiles.
//!
//! In: tile variables, sizes and constants, as `[tm, tn]` or `(tb, tm, D)`. Out: the dims of a tile,
//! and its rank as a type.

use super::elem::Elem;
use super::trace::{self, Source};
use super::types::{Size, Tile, TileIx, Val};
use helion_ir::Loc;
use helion_ir::tile::{Dim, Shape};

/// One extent of a new tile: a tile variable, a size or a constant.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extent",
    label = "not an extent",
    note = "extents are tile variables, sizes, and constants"
)]
pub trait Extent: Copy {
    #[doc(hidden)]
    #[track_caller]
    fn dim(self) -> Dim;
    #[doc(hidden)]
    #[track_caller]
    fn counter(self) -> Counter;
}

/// Where the elements along an extent lie in the whole, for random numbers.
#[derive(Clone, Copy, Debug)]
pub enum Counter {
    /// The block of a tile variable.
    Tile(helion_ir::tile::TileId),
    /// All of an axis.
    Whole(Dim),
}

#[diagnostic::do_not_recommend]
impl Extent for TileIx {
    fn dim(self) -> Dim {
        Dim::Tile(self.tile)
    }
    fn counter(self) -> Counter {
        Counter::Tile(self.tile)
    }
}
#[diagnostic::do_not_recommend]
impl Extent for Size {
    #[track_caller]
    fn dim(self) -> Dim {
        size_dim(self.source)
    }
    #[track_caller]
    fn counter(self) -> Counter {
        Counter::Whole(self.dim())
    }
}
#[diagnostic::do_not_recommend]
impl Extent for usize {
    fn dim(self) -> Dim {
        Dim::Const(self as u64)
    }
    fn counter(self) -> Counter {
        Counter::Whole(self.dim())
    }
}

#[track_caller]
fn size_dim(source: Source) -> Dim {
    let at = Loc::caller();
    match trace::with(|t| t.dim(source, at)) {
        Some(d) => d,
        None => {
            trace::mistake(
                "the extent of a tile must be a size that is known at launch",
                "use a tile variable, a size of a captured tensor, a captured `usize`, or a constant; a value computed from tensor elements can bound a loop (`tile(0..count)`), but not shape a tile",
            );
            Dim::Const(1)
        }
    }
}

/// The shape of a new tile: an array of extents of one kind, a tuple of mixed kinds, or one extent.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not describe the shape of a tile",
    label = "not a shape",
    note = "write `[tm, tn]`, or `(tb, tm, D)` when the kinds of extent differ"
)]
pub trait Extents: Copy {
    /// A tile of this shape.
    type Filled<T: Elem>: Val<Elem = T>;
    #[doc(hidden)]
    #[track_caller]
    fn dims(self) -> Shape;
    #[doc(hidden)]
    #[track_caller]
    fn counters(self) -> Vec<Counter>;
}

macro_rules! arrays {
    ($($n:literal)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<E: Extent> Extents for [E; $n] {
            type Filled<T: Elem> = Tile<T, $n>;
            #[track_caller]
            fn dims(self) -> Shape {
                let mut out = Shape::new();
                for e in self { out.push(e.dim()); }
                out
            }
            #[track_caller]
            fn counters(self) -> Vec<Counter> {
                let mut out = Vec::new();
                for e in self { out.push(e.counter()); }
                out
            }
        }
    )*};
}
arrays! { 1 2 3 4 5 }

macro_rules! tuples {
    ($($n:literal: $($t:ident $i:tt),+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($t: Extent),+> Extents for ($($t,)+) {
            type Filled<T: Elem> = Tile<T, $n>;
            #[track_caller]
            fn dims(self) -> Shape { Shape::from_slice(&[$(self.$i.dim()),+]) }
            #[track_caller]
            fn counters(self) -> Vec<Counter> { vec![$(self.$i.counter()),+] }
        }
    )*};
}
tuples! { 1: A 0; 2: A 0, B 1; 3: A 0, B 1, C 2; 4: A 0, B 1, C 2, D 3; 5: A 0, B 1, C 2, D 3, E 4; }

macro_rules! alone {
    ($($t:ty)*) => {$(
        #[diagnostic::do_not_recommend]
        impl Extents for $t {
            type Filled<T: Elem> = Tile<T, 1>;
            #[track_caller]
            fn dims(self) -> Shape { Shape::from_slice(&[self.dim()]) }
            #[track_caller]
            fn counters(self) -> Vec<Counter> { vec![self.counter()] }
        }
    )*};
}
alone! { TileIx Size usize }
