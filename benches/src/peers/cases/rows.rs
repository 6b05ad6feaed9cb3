//! Kernels of whole rows: softmax, norms, cross-entropy.

use candle_core::D;
use helion::prelude::*;

use super::{Case, Context, Work, indices, numbers, words};
use crate::crates::{candle, tensor};
use crate::python::Array;
use crate::{cross_entropy, layer_norm, rms_norm, softmax};

type Done = std::result::Result<(), String>;

const SHAPES: [([usize; 2], bool); 3] = [([4096, 4096], true), ([64, 1024], true), ([4096, 4099], false)];
const EPS: f32 = 1e-5;

/// All of them.
pub fn all(context: &Context) -> Done {
    for (dims, quick) in SHAPES {
        if context.wants("softmax", quick) {
            softmax_rows(context, dims)?;
        }
    }
    for (dims, _) in SHAPES {
        if context.wants("layer_norm", false) {
            layer_norm_rows(context, dims)?;
        }
    }
    for (dims, _) in SHAPES {
        if context.wants("rms_norm", dims == SHAPES[0].0) {
            rms_norm_rows(context, dims)?;
        }
    }
    if context.wants("cross_entropy", false) {
        cross_entropy_rows(context)?;
    }
    Ok(())
}

fn shape([m, n]: [usize; 2]) -> String {
    if m == n { format!("{m}²") } else { format!("{m} × {n}") }
}

fn softmax_rows(context: &Context, dims @ [m, n]: [usize; 2]) -> Done {
    let x = numbers(dims)?;
    let theirs = tensor(&x)?;
    context.run(Case {
        kernel: "softmax",
        shape: shape(dims),
        work: Work::Bytes(8 * m * n),
        tolerance: 1e-5,
        python: ("softmax", vec![Array::new("x", &x)?]),
        compile: true,
        call: &|| softmax::softmax(&x),
        crates: &|want| Ok(vec![candle(|| candle_nn::ops::softmax_last_dim(&theirs), want, 1e-5)?]),
    });
    Ok(())
}

fn layer_norm_rows(context: &Context, dims @ [m, n]: [usize; 2]) -> Done {
    let (x, w, b) = (numbers(dims)?, numbers([n])?, numbers([n])?);
    let (tx, tw, tb) = (tensor(&x)?, tensor(&w)?, tensor(&b)?);
    context.run(Case {
        kernel: "layer_norm",
        shape: shape(dims),
        work: Work::Bytes(8 * m * n),
        tolerance: 1e-5,
        python: ("layer_norm", vec![Array::new("x", &x)?, Array::new("w", &w)?, Array::new("b", &b)?]),
        compile: true,
        call: &|| layer_norm::layer_norm(&x, &w, Some(&b), EPS),
        crates: &|want| Ok(vec![candle(|| candle_nn::ops::layer_norm(&tx, &tw, &tb, EPS), want, 1e-5)?]),
    });
    Ok(())
}

fn rms_norm_rows(context: &Context, dims @ [m, n]: [usize; 2]) -> Done {
    let (x, w) = (numbers(dims)?, numbers([n])?);
    let (tx, tw) = (tensor(&x)?, tensor(&w)?);
    context.run(Case {
        kernel: "rms_norm",
        shape: shape(dims),
        work: Work::Bytes(8 * m * n),
        tolerance: 1e-5,
        python: ("rms_norm", vec![Array::new("x", &x)?, Array::new("w", &w)?]),
        compile: true,
        call: &|| rms_norm::rms_norm(&x, &w, EPS),
        crates: &|want| Ok(vec![candle(|| candle_nn::ops::rms_norm(&tx, &tw, EPS), want, 1e-5)?]),
    });
    Ok(())
}

fn cross_entropy_rows(context: &Context) -> Done {
    let [m, n] = [1024, 32_000];
    let x = numbers([m, n])?;
    let labels = Tensor::from_vec([m], indices(m, n)).map_err(words)?;
    let (tx, tl) = (tensor(&x)?, tensor(&labels.reshape([m, 1]).map_err(words)?)?);
    let theirs = || candle_nn::ops::log_softmax(&tx, D::Minus1)?.gather(&tl, 1)?.neg();
    context.run(Case {
        kernel: "cross_entropy",
        shape: shape([m, n]),
        work: Work::Read(4 * m * n),
        tolerance: 1e-5,
        python: ("cross_entropy", vec![Array::new("x", &x)?, Array::new("labels", &labels)?]),
        compile: true,
        call: &|| cross_entropy::cross_entropy(&x, &labels),
        crates: &|want| Ok(vec![candle(theirs, want, 1e-5)?]),
    });
    Ok(())
}
