//! A variable hidden in a macro.
use helion::prelude::*;

macro_rules! twice {
    ($e:expr) => {
        $e * $e
    };
}
#[kernel]
fn k(x: &Tensor<f32, 1>, s: f32) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let y = twice!(s);
        out[t] = y;
    }
    Ok(out)
}

fn main() {}
