//! A const parameter as an operand.
use helion::prelude::*;

fn plain<const D: usize>(x: Tile<f32, 2>) -> Tile<f32, 2> {
    x / D
}

fn main() {}
