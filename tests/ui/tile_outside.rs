//! A tile used outside its loop.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        for tk in tile(n) {
            let y = x[tk] * 2.0;
        }
        out[t] = y;
    }
    Ok(out)
}

fn main() {}
