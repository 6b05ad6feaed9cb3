//! `==` of tiles in a plain function.
use helion::prelude::*;

fn plain(x: Tile<f32, 2>, y: Tile<f32, 2>) -> Tile<f32, 2> {
    if x == y { x } else { y }
}

fn main() {}
