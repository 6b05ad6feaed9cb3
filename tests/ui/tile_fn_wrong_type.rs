//! A tile function of another type.
use helion::prelude::*;

#[kernel]
fn k<E: TileFn<Tile<f32, 1>>>(x: &Tensor<f32, 1>, e: E) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = e(x[t]);
    }
    Ok(out)
}

fn call(x: &Tensor<f32, 1>) {
    let _ = k(x, 2.0f32);
}

fn main() {}
