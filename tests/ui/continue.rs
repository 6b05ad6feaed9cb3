//! `continue`.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        for i in 0..4 {
            if i == 2 {
                continue;
            }
        }
        out[t] = x[t];
    }
    Ok(out)
}

fn main() {}
