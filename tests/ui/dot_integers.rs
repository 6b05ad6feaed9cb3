//! `dot` of 32-bit integers.
use helion::prelude::*;

fn plain(a: Tile<i32, 2>) -> Tile<i32, 2> {
    dot(a, a)
}

fn main() {}
