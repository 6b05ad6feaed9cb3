//! An atomic on an input.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let _ = x.atomic_add(t, 1.0);
    }
    Ok(out)
}

fn main() {}
