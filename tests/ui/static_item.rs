//! A `static`.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        static SCALE: f32 = 2.0;
        out[t] = x[t] * constant(SCALE);
    }
    Ok(out)
}

fn main() {}
