//! Arithmetic of 8-bit floats.
use helion::prelude::*;

fn plain(x: Tile<F8E4M3, 1>) -> Tile<F8E4M3, 1> {
    x.sum(0)
}

fn main() {}
