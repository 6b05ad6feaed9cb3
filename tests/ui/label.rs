//! A labelled loop.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        'rows: for i in 0..4 {
            out[t] = x[t] * i;
        }
    }
    Ok(out)
}

fn main() {}
