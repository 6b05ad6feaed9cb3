//! `#[kernel]` on an `impl`.
use helion::prelude::*;

struct Layer;
#[kernel]
impl Layer {}

fn main() {}
