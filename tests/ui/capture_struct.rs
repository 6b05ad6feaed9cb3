//! A struct in device code.
use helion::prelude::*;

struct Config {
    eps: f32,
}
#[kernel]
fn k(x: &Tensor<f32, 1>, config: Config) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        let c = config;
        out[t] = x[t];
    }
    Ok(out)
}

fn main() {}
