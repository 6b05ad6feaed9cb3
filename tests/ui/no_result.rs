//! A kernel that returns no `Result`.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Tensor<f32, 1> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t];
    }
    out
}

fn main() {}
