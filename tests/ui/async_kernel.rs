//! An `async` kernel.
use helion::prelude::*;

#[kernel]
async fn k(x: &mut Tensor<f32, 1>) -> Result<()> {
    let [n] = x.dims();
    for t in tile(n) {
        x[t] = x[t] * 2.0;
    }
    Ok(())
}

fn main() {}
