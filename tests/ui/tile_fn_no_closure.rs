//! `tile_fn!` of something else.
use helion::prelude::*;

fn call() {
    let _ = tile_fn!(3 + 4);
}

fn main() {}
