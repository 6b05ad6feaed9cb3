//! A fixed rank in rank-generic code.
use helion::prelude::*;

fn plain<const R: usize>(x: Tile<f32, R>, b: Tile<f32, 1>) -> Tile<f32, R> {
    x + b
}

fn main() {}
