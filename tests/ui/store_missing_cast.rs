//! A forgotten `.cast()` in generic code.
use helion::prelude::*;

#[kernel]
fn k<T: Float>(x: &Tensor<T, 1>) -> Result<Tensor<T, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t].cast::<f32>().exp();
    }
    Ok(out)
}

fn main() {}
