//! A mask as a number.
use helion::prelude::*;

fn plain(x: Tile<f32, 1>) -> Tile<f32, 1> {
    x * x.gt(0.0)
}

fn main() {}
