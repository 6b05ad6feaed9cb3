//! A vector filled by an inner loop.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut parts = Vec::new();
        for tk in tile(n) {
            parts.push(x[tk]);
        }
        out[t] = x[t];
    }
    Ok(out)
}

fn main() {}
