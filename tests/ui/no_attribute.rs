//! A tile loop without `#[kernel]`.
use helion::prelude::*;

fn k(x: &Tensor<f32, 1>) {
    let [n] = x.dims();
    for t in tile(n) {}
}

fn main() {}
