//! Assigning to a part of a value.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut pair = (x[t], x[t]);
        pair.0 = x[t] * 2.0;
        out[t] = pair.0;
    }
    Ok(out)
}

fn main() {}
