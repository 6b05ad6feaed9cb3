//! A store to a field behind `&`.
use helion::prelude::*;

struct Layer {
    w: Tensor<f32, 1>,
}
impl Layer {
    #[kernel]
    fn run(&self, x: &Tensor<f32, 1>) -> Result<()> {
        let [n] = x.dims();
        for t in tile(n) {
            self.w[t] = x[t];
        }
        Ok(())
    }
}

fn main() {}
