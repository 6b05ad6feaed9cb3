//! `?` in device code.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let r: Result<f32> = Ok(1.0);
        r?;
        out[t] = x[t];
    }
    Ok(out)
}

fn main() {}
