//! A mutable reference.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut acc = x[t];
        for tk in tile(n) {
            std::mem::swap(&mut acc, &mut acc);
        }
        out[t] = acc;
    }
    Ok(out)
}

fn main() {}
