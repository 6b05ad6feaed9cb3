//! The examples, each with sizes: small, large and odd.

use crate::softmax::support::Data;
use crate::{
    attention::attention, batched_matmul::batched_matmul, cross_entropy::cross_entropy, dropout::dropout,
    embedding::embedding, int8_matmul::int8_matmul, jagged_mean::jagged_mean, layer_norm::layer_norm,
    long_sum::long_sum, matmul::matmul, rms_norm::rms_norm, rotary::rotary, segment_sum::segment_sum, softmax::softmax,
    swiglu::swiglu, swiglu::swiglu_layer, vector_add::add, welford::mean_variance,
};
use helion::Result;
use helion::prelude::*;

/// One kernel with arguments.
pub struct Case {
    /// Kernel and sizes.
    pub name: String,
    /// The extents of the tensors of the first launch, by name.
    pub dims: Vec<(&'static str, Vec<usize>)>,
    /// Calls it.
    pub call: Box<dyn Fn() -> Result<()>>,
}

fn case(name: String, dims: &[(&'static str, &[usize])], call: impl Fn() -> Result<()> + 'static) -> Case {
    Case { name, dims: dims.iter().map(|(n, d)| (*n, d.to_vec())).collect(), call: Box::new(call) }
}

/// Every case.
///
/// # Errors
/// When there is no memory for the arguments.
pub fn all() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    products(&mut cases)?;
    rows(&mut cases)?;
    elements(&mut cases)?;
    irregular(&mut cases)?;
    Ok(cases)
}

fn products(cases: &mut Vec<Case>) -> Result<()> {
    let data = &mut Data::plain();
    for [m, k, n] in [
        [64, 64, 64],
        [512, 512, 512],
        [1024, 1024, 1024],
        [1, 2048, 4096],
        [16, 1024, 1024],
        [100, 300, 200],
        [130, 129, 257],
    ] {
        let (a, b) = (data.tensor([m, k])?, data.tensor([k, n])?);
        let name = format!("matmul {m}x{k}x{n}");
        let id = crate::matmul::identity;
        cases.push(case(name, &[("a", &[m, k]), ("b", &[k, n]), ("out", &[m, n])], move || {
            matmul(&a, &b, id).map(drop)
        }));
    }
    for [batch, m, k, n] in [[64, 64, 64, 64], [8, 256, 256, 256], [7, 100, 33, 65]] {
        let (a, b) = (data.tensor([batch, m, k])?, data.tensor([batch, k, n])?);
        let name = format!("batched_matmul {batch}x{m}x{k}x{n}");
        let dims: [(&str, &[usize]); 3] = [("a", &[batch, m, k]), ("b", &[batch, k, n]), ("out", &[batch, m, n])];
        cases.push(case(name, &dims, move || batched_matmul(&a, &b).map(drop)));
    }
    for [m, k, n] in [[32, 64, 48], [256, 512, 1024], [65, 129, 333]] {
        let (x, gate, up) = (data.tensor([m, k])?, data.tensor([k, n])?, data.tensor([k, n])?);
        let name = format!("swiglu_layer {m}x{k}x{n}");
        let dims: [(&str, &[usize]); 4] = [("x", &[m, k]), ("gate", &[k, n]), ("up", &[k, n]), ("out", &[m, n])];
        cases.push(case(name, &dims, move || swiglu_layer(&x, &gate, &up).map(drop)));
    }
    for [m, k, n] in [[48, 32, 40], [512, 512, 512], [129, 257, 100]] {
        let bytes = |data: &mut Data, dims: [usize; 2]| {
            let v = data.indices(dims[0] * dims[1], 256).into_iter().map(|v| (v - 128) as i8).collect();
            Tensor::from_vec(dims, v)
        };
        let (a, b) = (bytes(data, [m, k])?, bytes(data, [k, n])?);
        let (sa, sb) = (data.tensor([m])?, data.tensor([n])?);
        let dims: [(&str, &[usize]); 5] =
            [("a", &[m, k]), ("b", &[k, n]), ("a_scale", &[m]), ("b_scale", &[n]), ("out", &[m, n])];
        cases.push(case(format!("int8_matmul {m}x{k}x{n}"), &dims, move || int8_matmul(&a, &b, &sa, &sb).map(drop)));
    }
    for ([h, m, d], causal) in
        [([2, 64, 32], false), ([8, 512, 64], false), ([8, 512, 64], true), ([3, 130, 64], false)]
    {
        let (q, k, v) = (data.tensor([h, m, d])?, data.tensor([h, m, d])?, data.tensor([h, m, d])?);
        let name = format!("attention {h}x{m}x{d}{}", if causal { " causal" } else { "" });
        let shape = [h, m, d];
        let dims: [(&str, &[usize]); 4] = [("q", &shape), ("k", &shape), ("v", &shape), ("out", &shape)];
        cases.push(case(name, &dims, move || attention(&q, &k, &v, 0.125, causal).map(drop)));
    }
    Ok(())
}

fn rows(cases: &mut Vec<Case>) -> Result<()> {
    let data = &mut Data::plain();
    for [m, n] in [[64, 1024], [4096, 2048], [3, 100_000], [1000, 17]] {
        let x = data.tensor([m, n])?;
        let shape = [m, n];
        let dims: [(&str, &[usize]); 2] = [("x", &shape), ("out", &shape)];
        cases.push(case(format!("softmax {m}x{n}"), &dims, move || softmax(&x).map(drop)));
    }
    for [m, n] in [[64, 1024], [4096, 2048], [999, 77]] {
        let (x, w) = (data.tensor([m, n])?, data.tensor([n])?);
        let dims: [(&str, &[usize]); 3] = [("x", &[m, n]), ("weight", &[n]), ("out", &[m, n])];
        cases.push(case(format!("rms_norm {m}x{n}"), &dims, move || rms_norm(&x, &w, 1e-5).map(drop)));
    }
    for [m, n] in [[64, 1024], [4096, 2048], [999, 77]] {
        let (x, w, b) = (data.tensor([m, n])?, data.tensor([n])?, data.tensor([n])?);
        let dims: [(&str, &[usize]); 5] =
            [("x", &[m, n]), ("weight", &[n]), ("bias", &[n]), ("out", &[m, n]), ("rstds", &[m])];
        cases.push(case(format!("layer_norm {m}x{n}"), &dims, move || layer_norm(&x, &w, Some(&b), 1e-5).map(drop)));
    }
    for [m, n] in [[16, 1000], [256, 32_000], [1023, 129]] {
        let (x, labels) = (data.tensor([m, n])?, Tensor::from_vec([m], data.indices(m, n))?);
        let dims: [(&str, &[usize]); 3] = [("logits", &[m, n]), ("labels", &[m]), ("loss", &[m])];
        cases.push(case(format!("cross_entropy {m}x{n}"), &dims, move || cross_entropy(&x, &labels).map(drop)));
    }
    for [m, n] in [[64, 512], [1024, 4096], [129, 1000]] {
        let x = data.tensor([m, n])?;
        let dims: [(&str, &[usize]); 2] = [("x", &[m, n]), ("out", &[m, 2])];
        cases.push(case(format!("mean_variance {m}x{n}"), &dims, move || mean_variance(&x).map(drop)));
    }
    Ok(())
}

fn elements(cases: &mut Vec<Case>) -> Result<()> {
    let data = &mut Data::plain();
    for n in [1024, 100_003, 1 << 24] {
        let (x, y) = (data.tensor([n])?, data.tensor([n])?);
        let shape = [n];
        let dims: [(&str, &[usize]); 3] = [("x", &shape), ("y", &shape), ("out", &shape)];
        cases.push(case(format!("add {n}"), &dims, move || add(&x, &y).map(drop)));
    }
    for n in [1000, 100_003, 1 << 22] {
        let x = data.tensor([n])?;
        let shape = [n];
        let dims: [(&str, &[usize]); 2] = [("x", &shape), ("out", &shape)];
        cases.push(case(format!("dropout {n}"), &dims, move || dropout(&x, 0.1, 42).map(drop)));
    }
    for [m, n] in [[64, 100], [2048, 4096], [333, 1003]] {
        let (x, y) = (data.tensor([m, n])?, data.tensor([m, n])?);
        let shape = [m, n];
        let dims: [(&str, &[usize]); 3] = [("gate", &shape), ("up", &shape), ("out", &shape)];
        cases.push(case(format!("swiglu {m}x{n}"), &dims, move || swiglu(&x, &y).map(drop)));
    }
    Ok(())
}

fn irregular(cases: &mut Vec<Case>) -> Result<()> {
    let data = &mut Data::plain();
    for [rows, d, m] in [[100, 64, 100], [30_000, 384, 8192], [1000, 129, 777]] {
        let (table, ids) = (data.tensor([rows, d])?, Tensor::from_vec([m], data.indices(m, rows))?);
        let dims: [(&str, &[usize]); 3] = [("table", &[rows, d]), ("ids", &[m]), ("out", &[m, d])];
        cases.push(case(format!("embedding {rows}x{d} of {m}"), &dims, move || embedding(&table, &ids).map(drop)));
    }
    for [rows, each, d] in [[16, 10, 64], [500, 40, 256], [77, 13, 100]] {
        let offsets: Vec<i64> = (0..=rows).map(|i| (i * each) as i64).collect();
        let (values, offsets) = (data.tensor([rows * each, d])?, Tensor::from_vec([rows + 1], offsets)?);
        let dims: [(&str, &[usize]); 3] =
            [("values", &[rows * each, d]), ("offsets", &[rows + 1]), ("out", &[rows, d])];
        let name = format!("jagged_mean {rows} of {each}x{d}");
        cases.push(case(name, &dims, move || jagged_mean(&values, &offsets).map(drop)));
    }
    for [m, n, segments] in [[100, 64, 10], [16_384, 256, 1000], [999, 77, 50]] {
        let x = data.tensor([m, n])?;
        let ids = Tensor::from_vec([m], data.indices(m, segments).into_iter().map(|i| i as i32).collect())?;
        let out = std::cell::RefCell::new(Tensor::<f32, 2>::zeros([segments, n]));
        let dims: [(&str, &[usize]); 3] = [("x", &[m, n]), ("ids", &[m]), ("out", &[segments, n])];
        let name = format!("segment_sum {m}x{n} to {segments}");
        cases.push(case(name, &dims, move || segment_sum(&x, &ids, &mut out.borrow_mut())));
    }
    for [s, h, d] in [[16, 4, 32], [2048, 16, 64], [99, 5, 48]] {
        let x = std::cell::RefCell::new(data.tensor([s, h, d])?);
        // A true rotation: elements keep their size however often a launch is repeated in place.
        let angles = data.numbers(s * d / 2);
        let cos = Tensor::from_vec([s, d / 2], angles.iter().map(|a| a.cos()).collect())?;
        let sin = Tensor::from_vec([s, d / 2], angles.iter().map(|a| a.sin()).collect())?;
        let dims: [(&str, &[usize]); 3] = [("x", &[s, h, d]), ("cos", &[s, d / 2]), ("sin", &[s, d / 2])];
        cases.push(case(format!("rotary {s}x{h}x{d}"), &dims, move || rotary(&mut x.borrow_mut(), &cos, &sin)));
    }
    for n in [] {
        let x = data.tensor([n])?;
        let dims: [(&str, &[usize]); 2] = [("x", &[n]), ("partial", &[64])];
        cases.push(case(format!("long_sum {n}"), &dims, move || long_sum(&x).map(drop)));
    }
    Ok(())
}
