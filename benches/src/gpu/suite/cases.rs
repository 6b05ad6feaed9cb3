//! The benchmarks' kernels with operands on the device. Each knows what it has to do, and how to tell whether the result is
//! right.

use crate::examples::{attention::attention, matmul, softmax::softmax, vector_add::add};
use helion::bf16;
use helion::prelude::*;

/// What a call has to do at least.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Bytes read and written.
    Bytes(f64),
    /// Floating-point operations.
    Operations(f64),
}

/// One benchmark.
pub struct Case {
    /// What is computed, with its sizes.
    pub title: String,
    /// What the peers call it.
    pub peer: &'static str,
    /// Sizes, as the peers call them.
    pub sizes: Vec<(&'static str, usize)>,
    pub work: Work,
    /// Queues one call.
    pub call: Box<dyn Fn() -> Result<()>>,
    /// The difference of some rows of the result from f64, as a part of its size.
    pub difference: Box<dyn Fn() -> Result<f64>>,
}

/// The cases of a benchmark; on the processor, with small sizes.
///
/// # Errors
/// There is no such benchmark, or no memory for it.
pub fn all(name: &str, device: Device) -> Result<Vec<Case>, String> {
    let small = device == Device::Cpu;
    let cases: Result<_> = match name {
        "add" => sizes(small, &[1 << 20], &[1 << 28]).map(|n| addition(n, device)).collect(),
        "softmax" => sizes(small, &[[64, 1000]], &[[32_768, 4096], [4096, 12_672]]).map(|s| rows(s, device)).collect(),
        "matmul" => sizes(small, &[256], &[8192, 4096]).map(|n| product(n, device)).collect(),
        "attention" => {
            sizes(small, &[[2, 256, 64]], &[[16, 16_384, 128], [32, 4096, 64]]).map(|s| attentions(s, device)).collect()
        }
        _ => return Err(format!("there is no benchmark `{name}`")),
    };
    cases.map_err(|e| e.to_string())
}

fn sizes<S: Copy>(small: bool, few: &'static [S], all: &'static [S]) -> impl Iterator<Item = S> {
    if small { few.iter().copied() } else { all.iter().copied() }
}

/// Numbers between -1 and 1 that repeat nowhere near a row's length.
fn number(i: usize) -> f32 {
    let mixed = (i as u32).wrapping_mul(0x9e37_79b9) ^ 0x85eb_ca6b;
    (mixed.wrapping_mul(0xc2b2_ae35) >> 8) as f32 / (1u32 << 23) as f32 - 1.0
}

fn numbers<const R: usize>(dims: [usize; R], seed: usize, device: Device) -> Result<(Vec<f32>, Tensor<bf16, R>)> {
    let rounded: Vec<bf16> = (0..dims.iter().product()).map(|i| bf16::from_f32(number(i ^ (seed << 28)))).collect();
    let plain = rounded.iter().map(|v| v.to_f32()).collect();
    Ok((plain, Tensor::from_vec(dims, rounded)?.to(device)?))
}

/// The norm of the difference as a part of the norm.
fn difference(got: impl IntoIterator<Item = f64>, want: &[f64]) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    for (g, w) in got.into_iter().zip(want) {
        off += (g - w) * (g - w);
        all += w * w;
    }
    if off.is_nan() { f64::INFINITY } else { (off / all).sqrt() }
}

fn addition(n: usize, device: Device) -> Result<Case> {
    let make = |seed| Tensor::from_vec([n], (0..n).map(|i| number(i ^ seed)).collect::<Vec<f32>>())?.to(device);
    let (x, y) = (make(0)?, make(1)?);
    let (cx, cy) = (x.clone(), y.clone());
    Ok(Case {
        title: format!("add, f32, {n}"),
        peer: "add",
        sizes: vec![("n", n)],
        work: Work::Bytes(12.0 * n as f64),
        call: Box::new(move || add(&x, &y).map(drop)),
        difference: Box::new(move || {
            let got = add(&cx, &cy)?.to_vec()?;
            let want: Vec<f64> = (0..n).map(|i| f64::from(number(i)) + f64::from(number(i ^ 1))).collect();
            Ok(difference(got.into_iter().map(f64::from), &want))
        }),
    })
}

fn rows([m, n]: [usize; 2], device: Device) -> Result<Case> {
    let (plain, x) = numbers([m, n], 0, device)?;
    let checked = x.clone();
    Ok(Case {
        title: format!("softmax, bf16, {m} x {n}"),
        peer: "softmax",
        sizes: vec![("m", m), ("n", n)],
        work: Work::Bytes(4.0 * (m * n) as f64),
        call: Box::new(move || softmax(&x).map(drop)),
        difference: Box::new(move || {
            let got = softmax(&checked)?.slice(0, ..1)?.to_vec()?;
            let e: Vec<f64> = plain[..n].iter().map(|v| f64::from(*v).exp()).collect();
            let sum: f64 = e.iter().sum();
            let want: Vec<f64> = e.iter().map(|v| v / sum).collect();
            Ok(difference(got.into_iter().map(|v| f64::from(v.to_f32())), &want))
        }),
    })
}

fn product(n: usize, device: Device) -> Result<Case> {
    let (left, a) = numbers([n, n], 0, device)?;
    let (right, b) = numbers([n, n], 1, device)?;
    let (ca, cb) = (a.clone(), b.clone());
    Ok(Case {
        title: format!("matmul, bf16, {n}³"),
        peer: "matmul",
        sizes: vec![("m", n), ("n", n), ("k", n)],
        work: Work::Operations(2.0 * (n as f64).powi(3)),
        call: Box::new(move || matmul::matmul(&a, &b, matmul::identity).map(drop)),
        difference: Box::new(move || {
            let got = matmul::matmul(&ca, &cb, matmul::identity)?;
            // A row in the middle and the last one.
            let mut worst = 0.0f64;
            for row in [n / 2 + 1, n - 1] {
                let got = got.slice(0, row..row + 1)?.to_vec()?;
                let mut want = vec![0.0; n];
                for (k, right) in right.chunks(n).enumerate() {
                    let l = f64::from(left[row * n + k]);
                    want.iter_mut().zip(right).for_each(|(w, r)| *w += l * f64::from(*r));
                }
                worst = worst.max(difference(got.into_iter().map(|v| f64::from(v.to_f32())), &want));
            }
            Ok(worst)
        }),
    })
}

fn attentions([heads, n, d]: [usize; 3], device: Device) -> Result<Case> {
    let (qs, q) = numbers([heads, n, d], 0, device)?;
    let (ks, k) = numbers([heads, n, d], 1, device)?;
    let (vs, v) = numbers([heads, n, d], 2, device)?;
    let (cq, ck, cv) = (q.clone(), k.clone(), v.clone());
    let scale = 1.0 / (d as f32).sqrt();
    Ok(Case {
        title: format!("attention, bf16, {heads} heads, {n} x {d}"),
        peer: "attention",
        sizes: vec![("heads", heads), ("n", n), ("d", d)],
        work: Work::Operations(4.0 * (heads * n * d) as f64 * n as f64),
        call: Box::new(move || attention(&q, &k, &v, scale, false).map(drop)),
        difference: Box::new(move || {
            let head = heads - 1;
            let got = attention(&cq, &ck, &cv, scale, false)?.slice(0, head..heads)?.slice(1, n - 1..n)?.to_vec()?;
            let query = &qs[(head * n + n - 1) * d..][..d];
            let keys = ks[head * n * d..].chunks(d).take(n);
            let dot = |key: &[f32]| query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let weights: Vec<f64> = keys.map(|key| (dot(key) * f64::from(scale)).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut want = vec![0.0; d];
            for (w, value) in weights.iter().zip(vs[head * n * d..].chunks(d)) {
                want.iter_mut().zip(value).for_each(|(o, v)| *o += w / total * f64::from(*v));
            }
            Ok(difference(got.into_iter().map(|v| f64::from(v.to_f32())), &want))
        }),
    })
}
