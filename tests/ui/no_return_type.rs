//! A kernel that returns nothing.
use helion::prelude::*;

#[kernel]
fn k(x: &mut Tensor<f32, 1>) {
    let [n] = x.dims();
    for t in tile(n) {
        x[t] = x[t] * 2.0;
    }
}

fn main() {}
