//! The kernels and shapes that the tuner is judged on: examples, unchanged, over a small, a large and an odd
//! shape each.

use helion::prelude::*;

use crate::attention::attention;
use crate::batched_matmul::batched_matmul;
use crate::cross_entropy::cross_entropy;
use crate::dropout::dropout;
use crate::embedding::embedding;
use crate::int8_matmul::int8_matmul;
use crate::layer_norm::layer_norm;
use crate::matmul::{matmul, relu};
use crate::rms_norm::rms_norm;
use crate::softmax::softmax;
use crate::softmax::support::Data;
use crate::swiglu::swiglu;
use crate::vector_add::add;
use crate::welford::mean_variance;

/// A kernel on one shape.
pub struct Problem {
    /// The kernel.
    pub kernel: &'static str,
    /// The shape, as the table shows it.
    pub shape: String,
    /// One call.
    pub call: Box<dyn Fn() -> Result<()>>,
}

fn problem(kernel: &'static str, shape: &[usize], call: impl Fn() -> Result<()> + 'static) -> Problem {
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    Problem { kernel, shape: shape.join(" × "), call: Box::new(call) }
}

/// Every problem, kernel by kernel.
///
/// # Errors
/// When the data cannot be made.
pub fn all() -> Result<Vec<Problem>> {
    let mut out = Vec::new();
    elementwise(&mut out)?;
    rows(&mut out)?;
    products(&mut out)?;
    lookups(&mut out)?;
    Ok(out)
}

fn elementwise(out: &mut Vec<Problem>) -> Result<()> {
    let mut data = Data::plain();
    for n in [4096, 1 << 18, 100_003] {
        let (x, y) = (data.tensor([n])?, data.tensor([n])?);
        out.push(problem("vector_add", &[n], move || add(&x, &y).map(drop)));
    }
    for [m, n] in [[64, 1024], [512, 1024], [301, 1537]] {
        let (gate, up) = (data.tensor([m, n])?, data.tensor([m, n])?);
        out.push(problem("swiglu", &[m, n], move || swiglu(&gate, &up).map(drop)));
    }
    for n in [4096, 1 << 18, 100_003] {
        let x = data.tensor([n])?;
        out.push(problem("dropout", &[n], move || dropout(&x, 0.1, 7).map(drop)));
    }
    Ok(())
}

fn rows(out: &mut Vec<Problem>) -> Result<()> {
    let mut data = Data::plain();
    for [m, n] in [[64, 1024], [512, 1024], [499, 1001]] {
        let (x, w, b) = (data.tensor([m, n])?, data.tensor([n])?, data.tensor([n])?);
        let y = x.clone();
        out.push(problem("softmax", &[m, n], move || softmax(&y).map(drop)));
        let (y, v) = (x.clone(), w.clone());
        out.push(problem("rms_norm", &[m, n], move || rms_norm(&y, &v, 1e-5).map(drop)));
        let y = x.clone();
        out.push(problem("layer_norm", &[m, n], move || layer_norm(&y, &w, Some(&b), 1e-5).map(drop)));
        out.push(problem("welford", &[m, n], move || mean_variance(&x).map(drop)));
    }
    for [m, n] in [[64, 1000], [64, 16_000], [33, 10_007]] {
        let logits = data.tensor([m, n])?;
        let labels = Tensor::from_vec([m], data.indices(m, n))?;
        out.push(problem("cross_entropy", &[m, n], move || cross_entropy(&logits, &labels).map(drop)));
    }
    Ok(())
}

fn products(out: &mut Vec<Problem>) -> Result<()> {
    let mut data = Data::plain();
    for [m, k, n] in [[128, 128, 128], [512, 512, 512], [509, 203, 301]] {
        let (a, b) = (data.tensor([m, k])?, data.tensor([k, n])?);
        out.push(problem("matmul", &[m, k, n], move || matmul(&a, &b, relu).map(drop)));
    }
    for [z, m, k, n] in [[16, 64, 64, 64], [12, 128, 64, 128], [7, 65, 33, 67]] {
        let (a, b) = (data.tensor([z, m, k])?, data.tensor([z, k, n])?);
        out.push(problem("batched_matmul", &[z, m, k, n], move || batched_matmul(&a, &b).map(drop)));
    }
    for s in [128, 384, 251] {
        let mut bytes = || Tensor::from_vec([s, s], data.indices(s * s, 255).iter().map(|v| (v - 127) as i8).collect());
        let (a, b) = (bytes()?, bytes()?);
        let (x, y) = (data.tensor([s])?, data.tensor([s])?);
        out.push(problem("int8_matmul", &[s, s, s], move || int8_matmul(&a, &b, &x, &y).map(drop)));
    }
    for [h, s, d] in [[4, 128, 64], [4, 512, 64], [3, 333, 64]] {
        let mut qkv = || data.tensor([h, s, d]);
        let (q, k, v) = (qkv()?, qkv()?, qkv()?);
        out.push(problem("attention", &[h, s, d], move || attention(&q, &k, &v, 0.125, false).map(drop)));
    }
    Ok(())
}

fn lookups(out: &mut Vec<Problem>) -> Result<()> {
    let mut data = Data::plain();
    for [rows, d, m] in [[1000, 384, 128], [3000, 384, 1024], [1001, 385, 777]] {
        let table = data.tensor([rows, d])?;
        let ids = Tensor::from_vec([m], data.indices(m, rows))?;
        out.push(problem("embedding", &[rows, d, m], move || embedding(&table, &ids).map(drop)));
    }
    Ok(())
}
