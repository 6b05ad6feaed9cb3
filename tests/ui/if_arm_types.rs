//! Integer arms used as floats.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 2>, h: &Tensor<f16, 2>, v: &Tensor<f32, 1>, s: f32) -> Result<Tensor<f32, 2>> {
    let [m, n] = x.dims();
    let mut out = x.empty_like();
    for [tm, tn] in tile([m, n]) {
        let c = if s > 1.0 { 1 } else { 2 };
        out[(tm, tn)] = x[(tm, tn)] * c;
    }
    Ok(out)
}

fn main() {}
