//! `as` on a device value.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>, s: i32) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t] * (s as f32);
    }
    Ok(out)
}

fn main() {}
