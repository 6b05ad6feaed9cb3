//! `while` on a host condition.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>, fast: bool) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut y = x[t];
        while fast {
            y -= 1.0;
        }
        out[t] = y;
    }
    Ok(out)
}

fn main() {}
