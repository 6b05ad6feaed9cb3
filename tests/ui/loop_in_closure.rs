//! A tile loop in a host closure.
use helion::prelude::*;

#[kernel]
fn k(x: &mut Tensor<f32, 1>) -> Result<()> {
    let [n] = x.dims();
    let run = || {
        for t in tile(n) {
            let _ = t;
        }
    };
    run();
    Ok(())
}

fn main() {}
