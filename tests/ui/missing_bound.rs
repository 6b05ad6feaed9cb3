//! Arithmetic without a bound.
use helion::prelude::*;

fn plain<T: Elem, const R: usize>(x: Tile<T, R>) -> Tile<T, R> {
    x * 2
}

fn main() {}
