//! An output that is not `mut`.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t];
    }
    Ok(out)
}

fn main() {}
