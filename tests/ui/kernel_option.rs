//! An option that does not exist.
use helion::prelude::*;

#[kernel(fast)]
fn k(_: &mut Tensor<f32, 1>) -> Result<()> {
    Ok(())
}

fn main() {}
