//! `&` of floats.
use helion::prelude::*;

fn plain(x: Tile<f32, 1>) -> Tile<f32, 1> {
    x & x
}

fn main() {}
