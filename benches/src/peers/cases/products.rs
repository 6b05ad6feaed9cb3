//! Matrix products: square and odd, skinny, batched, in bf16, of 8-bit integers, with 4-bit weights.

use helion::{Tensor, bf16};

use super::{Case, Context, Work, numbers, words};
use crate::crates::products as crates;
use crate::python::Array;
use crate::{batched_matmul, int4_matmul, int8_matmul, matmul, report};

type Done = std::result::Result<(), String>;

fn shape([m, k, n]: [usize; 3]) -> String {
    if m == k && k == n { format!("{m}³") } else { format!("{m} × {k} × {n}") }
}

fn operations(dims: [usize; 3]) -> Work {
    Work::Operations(2 * dims.iter().product::<usize>())
}

/// f32 and bf16.
pub fn plain(context: &Context) -> Done {
    const ODD: [usize; 3] = [1000, 1700, 300];
    let square = |n| [n, n, n];
    for (dims, quick) in [(square(512), true), (square(1024), true), (square(2048), false), (square(4096), false)]
        .into_iter()
        .chain([(square(509), false), (square(1023), false), (ODD, false)])
        .chain([([1, 4096, 4096], true), ([16, 4096, 4096], true)])
    {
        if context.wants("matmul", quick) {
            f32_product(context, dims)?;
        }
    }
    // Without dot instructions PyTorch has no fast product of large bf16 matrices: it would take minutes.
    let large = [square(2048), square(4096)].into_iter().filter(|_| report::has("avx512bf16"));
    for dims in [square(512), square(1024)].into_iter().chain(large).chain([square(509), square(1023), ODD]) {
        if context.wants("bf16_matmul", false) {
            bf16_product(context, dims)?;
        }
    }
    Ok(())
}

fn f32_product(context: &Context, dims @ [m, k, n]: [usize; 3]) -> Done {
    let (a, b) = (numbers([m, k])?, numbers([k, n])?);
    let the_fastest = m * k * n > 1 << 32;
    context.run(Case {
        kernel: "matmul",
        shape: shape(dims),
        work: if m == 1 { Work::Read(4 * k * n) } else { operations(dims) },
        tolerance: 1e-4,
        python: ("matmul", vec![Array::new("a", &a)?, Array::new("b", &b)?]),
        compile: false,
        call: &|| matmul::matmul(&a, &b, matmul::identity),
        crates: &|want| crates((&a, &b), context.threads, the_fastest, want),
    });
    Ok(())
}

fn rounded<const R: usize>(t: &Tensor<f32, R>) -> std::result::Result<Tensor<bf16, R>, String> {
    let values = t.to_vec().map_err(words)?.into_iter().map(bf16::from_f32).collect();
    Tensor::from_vec(t.dims(), values).map_err(words)
}

fn bf16_product(context: &Context, dims @ [m, k, n]: [usize; 3]) -> Done {
    let (a, b) = (rounded(&numbers([m, k])?)?, rounded(&numbers([k, n])?)?);
    context.run(Case {
        kernel: "bf16_matmul",
        shape: shape(dims),
        work: operations(dims),
        tolerance: 1e-2,
        python: ("bf16_matmul", vec![Array::new("a", &a)?, Array::new("b", &b)?]),
        compile: false,
        call: &|| matmul::matmul(&a, &b, matmul::identity),
        crates: &super::no_crates,
    });
    Ok(())
}

/// Batched, 8-bit, 4-bit.
pub fn others(context: &Context) -> Done {
    if context.wants("batched_matmul", true) {
        let (a, b) = (numbers([64, 128, 128])?, numbers([64, 128, 128])?);
        context.run(Case {
            kernel: "batched_matmul",
            shape: "64 × 128³".to_owned(),
            work: operations([64 * 128, 128, 128]),
            tolerance: 1e-4,
            python: ("batched_matmul", vec![Array::new("a", &a)?, Array::new("b", &b)?]),
            compile: false,
            call: &|| batched_matmul::batched_matmul(&a, &b),
            crates: &super::no_crates,
        });
    }
    if context.wants("int8_matmul", false) {
        let (a, b) = (int8([1024, 1024])?, int8([1024, 1024])?);
        let (sa, sb) = (numbers([1024])?, numbers([1024])?);
        let scales = [Array::new("a_scale", &sa)?, Array::new("b_scale", &sb)?];
        context.run(Case {
            kernel: "int8_matmul",
            shape: shape([1024; 3]),
            work: operations([1024; 3]),
            tolerance: 1e-5,
            python: ("int8_matmul", [Array::new("a", &a)?, Array::new("b", &b)?].into_iter().chain(scales).collect()),
            compile: false,
            call: &|| int8_matmul::int8_matmul(&a, &b, &sa, &sb),
            crates: &super::no_crates,
        });
    }
    for m in [1, 16] {
        if context.wants("int4_matmul", m == 16) {
            int4(context, m)?;
        }
    }
    Ok(())
}

fn int8(dims: [usize; 2]) -> std::result::Result<Tensor<i8, 2>, String> {
    let values = super::indices(dims[0] * dims[1], 256).into_iter().map(|v| (v - 128) as i8).collect();
    Tensor::from_vec(dims, values).map_err(words)
}

fn int4(context: &Context, m: usize) -> Done {
    let (k, n) = (4096, 4096);
    let groups = k / int4_matmul::GROUP;
    let mut data = int4_matmul::support::Data::plain();
    let w = int4_matmul::weights(&mut data, groups, n).map_err(words)?;
    let (x, scale) = (numbers([m, k])?, numbers([groups, n])?);
    context.run(Case {
        kernel: "int4_matmul",
        shape: shape([m, k, n]),
        work: if m == 1 { Work::Read(k * n / 2) } else { operations([m, k, n]) },
        tolerance: 1e-4,
        python: ("int4_matmul", vec![Array::new("x", &x)?, Array::new("w", &w)?, Array::new("scale", &scale)?]),
        compile: false,
        call: &|| int4_matmul::int4_matmul(&x, &w, &scale),
        crates: &super::no_crates,
    });
    Ok(())
}
