//! A closure that changes what is around it.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let mut acc = x[t];
        let mut f = |v: Tile<f32, 1>| {
            acc = acc + v;
        };
        f(x[t]);
        out[t] = acc;
    }
    Ok(out)
}

fn main() {}
