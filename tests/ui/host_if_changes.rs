//! A host number changed under an `if`.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>, causal: bool) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut stride = 1usize;
        if causal {
            stride = 2;
        }
        out[t] = x[t] * stride;
    }
    Ok(out)
}

fn main() {}
