//! `self` as a whole.
use helion::prelude::*;

struct Layer {
    w: Tensor<f32, 1>,
}
impl Layer {
    fn scale(&self) -> f32 {
        2.0
    }
    #[kernel]
    fn run(&self, x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
        let [n] = x.dims();
        let mut out = x.empty_like();
        for t in tile(n) {
            out[t] = x[t] * self.scale();
        }
        Ok(out)
    }
}

fn main() {}
