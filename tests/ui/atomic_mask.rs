//! An atomic addition of booleans.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>, hits: &mut Tensor<bool, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let _ = hits.atomic_add(t, x[t] > 0.0);
        out[t] = x[t];
    }
    Ok(out)
}

fn main() {}
