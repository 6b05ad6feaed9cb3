//! A float as a seed.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>, s: f32) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = rand(s, [t]);
    }
    Ok(out)
}

fn main() {}
