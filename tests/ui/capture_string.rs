//! A string in device code.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>, name: &str) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let l = name.len();
        out[t] = x[t];
    }
    Ok(out)
}

fn main() {}
