//! `while let`.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut it = [1, 2].into_iter();
        while let Some(i) = it.next() {
            out[t] = x[t] * i;
        }
    }
    Ok(out)
}

fn main() {}
