//! A host number in a plain function.
use helion::prelude::*;

fn plain<const D: usize>(x: Tile<f32, 2>, slope: f32) -> Tile<f32, 2> {
    x * slope
}

fn main() {}
