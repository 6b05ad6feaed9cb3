//! `match` on a device number.
use helion::prelude::*;

#[kernel]
fn k(x: &Tensor<f32, 1>, s: i32) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let y = match s {
            0 => x[t],
            _ => x[t] * 2.0,
        };
        out[t] = y;
    }
    Ok(out)
}

fn main() {}
