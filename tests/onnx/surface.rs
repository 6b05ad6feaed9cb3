//! A few ONNX operators as a user writes them: typed kernels called like functions.

use helion::prelude::*;
use helion_ir::DType;

use crate::case::{Case, Node, Tensor as Stored, read};

/// A function of each element.
#[kernel]
pub fn map<E: TileFn<Tile<f32, 1>>>(x: &Tensor<f32, 1>, f: E) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = f(x[t]);
    }
    Ok(out)
}

/// A function of two elements.
#[kernel]
pub fn zip<E: TileFn<(Tile<f32, 1>, Tile<f32, 1>), Tile<f32, 1>>>(
    x: &Tensor<f32, 1>,
    y: &Tensor<f32, 1>,
    f: E,
) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = f(x[t], y[t]);
    }
    Ok(out)
}

/// Softmax of rows.
#[kernel]
pub fn softmax(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let [m, _n] = x.dims();
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)];
        let e = (row - row.max(1)).exp();
        out[(tm, ..)] = e / e.sum(1);
    }
    Ok(out)
}

/// Layer normalisation of rows.
#[kernel]
pub fn layer_norm(
    x: &Tensor<f32, 2>,
    scale: &Tensor<f32, 1>,
    bias: &Tensor<f32, 1>,
    eps: f32,
) -> Result<Tensor<f32, 2>> {
    let ([m, n], [k], [l]) = (x.dims(), scale.dims(), bias.dims());
    ensure!(k == n && l == n, "{k} scales and {l} biases for {n} columns");
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)];
        let centred = row - row.mean(1);
        let variance = (centred * centred).mean(1);
        out[(tm, ..)] = centred / (variance + eps).sqrt() * scale[..] + bias[..];
    }
    Ok(out)
}

/// RMS normalisation of rows.
#[kernel]
pub fn rms_norm(x: &Tensor<f32, 2>, scale: &Tensor<f32, 1>, eps: f32) -> Result<Tensor<f32, 2>> {
    let ([m, n], [k]) = (x.dims(), scale.dims());
    ensure!(k == n, "{k} scales for {n} columns");
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)];
        out[(tm, ..)] = row / ((row * row).mean(1) + eps).sqrt() * scale[..];
    }
    Ok(out)
}

/// A matrix product.
#[kernel]
pub fn matmul(a: &Tensor<f32, 2>, b: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let ([m, k], [kb, n]) = (a.dims(), b.dims());
    ensure!(k == kb, "inner dimensions differ: {k} and {kb}");
    let mut out = a.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut acc = f32::zeros([tm, tn]);
        for tk in tile(k) {
            acc += dot(a[(tm, tk)], b[(tk, tn)]);
        }
        out[(tm, tn)] = acc;
    }
    Ok(out)
}

fn floats(t: &Stored) -> Vec<f32> {
    (0..t.len()).map(|i| t.get(i).to_f64() as f32).collect()
}

fn flat(t: &Stored) -> Result<Tensor<f32, 1>> {
    Tensor::from_vec([t.len()], floats(t))
}

fn rows(t: &Stored, axis: usize) -> Result<Tensor<f32, 2>> {
    let columns: usize = t.shape[axis..].iter().product::<u64>() as usize;
    Tensor::from_vec([t.len() / columns, columns], floats(t))
}

/// The result of a case by a typed kernel, if one of those above expresses it.
fn run(case: &Case, node: &Node) -> Option<Result<Vec<f32>>> {
    let x = &case.inputs.first()?.1;
    let y = case.inputs.get(1).map_or(x, |i| &i.1);
    let alpha = node.float("alpha").unwrap_or(1.0) as f32;
    let beta = node.float("beta").unwrap_or(0.0) as f32;
    let one = |r: Result<Tensor<f32, 1>>| Some(r.and_then(|t| t.to_vec()));
    let two = |r: Result<Tensor<f32, 2>>| Some(r.and_then(|t| t.to_vec()));
    let last = |rank: usize| node.int("axis").map_or(rank - 1, |a| (if a < 0 { a + rank as i64 } else { a }) as usize);
    macro_rules! mapped {
        ($($f:tt)*) => { one(flat(x).and_then(|x| map(&x, $($f)*))) };
    }
    match node.op.as_str() {
        "Abs" => mapped!(|t: Tile<f32, 1>| t.abs()),
        "Exp" => mapped!(|t: Tile<f32, 1>| t.exp()),
        "Log" => mapped!(|t: Tile<f32, 1>| t.ln()),
        "Sqrt" => mapped!(|t: Tile<f32, 1>| t.sqrt()),
        "Sin" => mapped!(|t: Tile<f32, 1>| t.sin()),
        "Cos" => mapped!(|t: Tile<f32, 1>| t.cos()),
        "Tanh" => mapped!(|t: Tile<f32, 1>| t.tanh()),
        "Erf" => mapped!(|t: Tile<f32, 1>| t.erf()),
        "Floor" => mapped!(|t: Tile<f32, 1>| t.floor()),
        "Ceil" => mapped!(|t: Tile<f32, 1>| t.ceil()),
        "Round" => mapped!(|t: Tile<f32, 1>| t.round()),
        "Neg" => mapped!(|t: Tile<f32, 1>| -t),
        "Sigmoid" => mapped!(|t: Tile<f32, 1>| t.sigmoid()),
        "Relu" => mapped!(|t: Tile<f32, 1>| t.maximum(0.0)),
        "HardSwish" => mapped!(|t: Tile<f32, 1>| t * (t / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Softsign" => mapped!(|t: Tile<f32, 1>| t / (t.abs() + 1.0)),
        "Gelu" if node.text("approximate") == Some("none") => {
            mapped!(|t: Tile<f32, 1>| t * 0.5 * ((t * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0))
        }
        "Elu" => mapped!(tile_fn!(|t: Tile<f32, 1>| select(t.gt(0.0), t, (t.exp() - 1.0) * alpha))),
        "LeakyRelu" => mapped!(tile_fn!(|t: Tile<f32, 1>| select(t.ge(0.0), t, t * alpha))),
        "ThresholdedRelu" => mapped!(tile_fn!(|t: Tile<f32, 1>| select(t.gt(alpha), t, 0.0))),
        "HardSigmoid" => mapped!(tile_fn!(|t: Tile<f32, 1>| (t * alpha + beta).clamp(0.0, 1.0))),
        "Add" | "Sub" | "Mul" | "Div" if y.shape == x.shape => {
            let (a, b) = (flat(x), flat(y));
            let pair = a.and_then(|a| Ok((a, b?)));
            one(pair.and_then(|(a, b)| match node.op.as_str() {
                "Add" => zip(&a, &b, |(a, b): (Tile<f32, 1>, Tile<f32, 1>)| a + b),
                "Sub" => zip(&a, &b, |(a, b): (Tile<f32, 1>, Tile<f32, 1>)| a - b),
                "Mul" => zip(&a, &b, |(a, b): (Tile<f32, 1>, Tile<f32, 1>)| a * b),
                _ => zip(&a, &b, |(a, b): (Tile<f32, 1>, Tile<f32, 1>)| a / b),
            }))
        }
        "Softmax" if last(x.shape.len()) + 1 == x.shape.len() => {
            two(rows(x, x.shape.len() - 1).and_then(|x| softmax(&x)))
        }
        "LayerNormalization" if case.inputs.len() == 3 && case.outputs[0].1.dtype == DType::F32 => {
            let eps = node.float("epsilon")? as f32;
            let args = rows(x, last(x.shape.len())).and_then(|x| Ok((x, flat(y)?, flat(&case.inputs[2].1)?)));
            two(args.and_then(|(x, s, b)| layer_norm(&x, &s, &b, eps)))
        }
        "RMSNormalization" => {
            let eps = node.float("epsilon")? as f32;
            let args = rows(x, last(x.shape.len())).and_then(|x| Ok((x, flat(y)?)));
            two(args.and_then(|(x, s)| rms_norm(&x, &s, eps)))
        }
        "MatMul" if x.shape.len() == 2 && y.shape.len() == 2 => {
            let args = rows(x, 1).and_then(|a| Ok((a, rows(y, 1)?)));
            two(args.and_then(|(a, b)| matmul(&a, &b)))
        }
        _ => None,
    }
}

#[test]
fn typed_kernels_pass_the_cases_they_express() {
    let (mut passed, mut failures) = (0, Vec::new());
    for case in read() {
        let [node] = &case.nodes[..] else { continue };
        if case.inputs.iter().chain(&case.host).any(|(_, t)| t.dtype != DType::F32 || t.len() == 0) {
            continue;
        }
        let Some(result) = run(&case, node) else { continue };
        let want = floats(&case.outputs[0].1);
        let close =
            |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 2e-6 + 2e-5 * b.abs();
        match result {
            Ok(got) if got.len() == want.len() && got.iter().zip(&want).all(close) => passed += 1,
            Ok(_) => failures.push(format!("{}: wrong values", case.name)),
            Err(e) => failures.push(format!("{}: {e}", case.name)),
        }
    }
    println!("{passed} cases pass through typed kernels");
    assert!(failures.is_empty() && passed >= 60, "{passed} pass, these fail:\n{}", failures.join("\n"));
}
