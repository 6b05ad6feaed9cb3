//! An extent that is none.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 2>, h: &Tensor<f16, 2>, v: &Tensor<f32, 1>, s: f32) -> Result<Tensor<f32, 2>> {
    let [m, n] = x.dims();
    let mut out = x.empty_like();
    for [tm, tn] in tile([m, n]) {
        let acc = f32::zeros([s, s]);
        out[(tm, tn)] = acc;
    }
    Ok(out)
}

fn main() {}
