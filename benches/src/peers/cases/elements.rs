//! Element by element: GELU both ways, the exponential, a chain, SwiGLU, sums.

use candle_core::Tensor as Theirs;
use helion::prelude::*;

use super::{Case, Context, Work, dense, numbers, words};
use crate::crates::{candle, tensor};
use crate::python::Array;
use crate::{pointwise, swiglu, vector_add};

type Done = std::result::Result<(), String>;

const N: usize = 1 << 24;

/// A kernel of ours with two inputs.
type OfTwo<'a> = dyn Fn(&Tensor<f32, 1>, &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> + 'a;

/// All of them.
pub fn all(context: &Context) -> Done {
    one_input(context, "gelu_tanh", &|x| pointwise::map(x, pointwise::gelu_tanh), &|x| x.gelu())?;
    one_input(context, "gelu_erf", &|x| pointwise::map(x, pointwise::gelu), &|x| x.gelu_erf())?;
    one_input(context, "exp", &|x| pointwise::map(x, pointwise::exp), &|x| x.exp())?;
    let chain = |x: &Theirs, y: &Theirs| (x.sqr()?.neg()?.exp()? * y)? + ((x + y)?.tanh()? * 0.5)?;
    two_inputs(context, "chain", N, ["x", "y"], &|x, y| pointwise::chain(x, y), &chain)?;
    let gate = |gate: &Tensor<f32, 1>, up: &Tensor<f32, 1>| {
        swiglu::swiglu(&gate.reshape([4096, N / 4096])?, &up.reshape([4096, N / 4096])?)?.reshape([N])
    };
    two_inputs(context, "swiglu", N, ["gate", "up"], &gate, &|gate, up| gate.silu()? * up)?;
    two_inputs(context, "add", N, ["x", "y"], &|x, y| vector_add::add(x, y), &|x, y| x + y)?;
    two_inputs(context, "add", 1024, ["x", "y"], &|x, y| vector_add::add(x, y), &|x, y| x + y)
}

fn shape(n: usize) -> String {
    if n.is_power_of_two() && n > 4096 { format!("2^{}", n.ilog2()) } else { n.to_string() }
}

fn one_input(
    context: &Context,
    kernel: &'static str,
    ours: &dyn Fn(&Tensor<f32, 1>) -> Result<Tensor<f32, 1>>,
    theirs: &dyn Fn(&Theirs) -> candle_core::Result<Theirs>,
) -> Done {
    if !context.wants(kernel, matches!(kernel, "gelu_erf" | "add")) {
        return Ok(());
    }
    let x = numbers([N])?;
    let tx = tensor(&x)?;
    context.run(Case {
        kernel,
        shape: shape(N),
        work: Work::Bytes(8 * N),
        tolerance: 1e-5,
        python: (kernel, vec![Array::new("x", &x)?]),
        compile: true,
        call: &|| ours(&x),
        crates: &|want| Ok(vec![candle(|| theirs(&tx), want, 1e-5)?]),
    });
    Ok(())
}

fn two_inputs(
    context: &Context,
    kernel: &'static str,
    n: usize,
    names: [&'static str; 2],
    ours: &OfTwo<'_>,
    theirs: &dyn Fn(&Theirs, &Theirs) -> candle_core::Result<Theirs>,
) -> Done {
    if !context.wants(kernel, matches!(kernel, "gelu_erf" | "add")) {
        return Ok(());
    }
    let x = numbers([n])?;
    let y = dense(&x.flip(0).map_err(words)?)?;
    let (tx, ty) = (tensor(&x)?, tensor(&y)?);
    context.run(Case {
        kernel,
        shape: shape(n),
        work: Work::Bytes(12 * n),
        tolerance: 1e-5,
        python: (kernel, vec![Array::new(names[0], &x)?, Array::new(names[1], &y)?]),
        compile: true,
        call: &|| ours(&x, &y),
        crates: &|want| Ok(vec![candle(|| theirs(&tx, &ty), want, 1e-5)?]),
    });
    Ok(())
}
