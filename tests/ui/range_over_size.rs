//! A plain `for` over a size.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut y = x[t];
        for i in 0..n {
            y = y + 1.0;
        }
        out[t] = y;
    }
    Ok(out)
}

fn main() {}
