//! A tensor of something else.
use helion::prelude::*;

fn plain(x: Tile<String, 1>) -> Tile<f32, 1> {
    x.cast()
}

fn main() {}
