//! Peers among Rust crates: three matrix products, and candle.
//!
//! In: the inputs as plain numbers and the result that helion has. Out: contestants whose results were compared with it.

use candle_core::{Device, Tensor};
use gemm::Parallelism;

use crate::python::same;
use crate::race::{Contestant, Contestants, Kind};

/// Multiplies into a matrix.
type Product<'a> = Box<dyn FnMut(&mut [f32]) + 'a>;

/// Tolerance of a product, relative to its largest element.
const TOLERANCE: f32 = 1e-4;

/// The row-major product of an `m × k` and a `k × n` matrix by the crates `gemm`, `faer` and, unless only `the_fastest`
/// are wanted, `matrixmultiply` and candle. All but candle write into a matrix that is there already.
///
/// # Errors
/// When a result differs from `want`.
pub fn products<'a>(
    (a, b): (&'a helion::Tensor<f32, 2>, &'a helion::Tensor<f32, 2>),
    threads: usize,
    the_fastest: bool,
    want: &[f32],
) -> Contestants<'a> {
    let ([m, k], [_, n]) = (a.dims(), b.dims());
    let (theirs_a, theirs_b) = (a, b);
    let (a, b) = (a.as_slice().map_err(|e| e.to_string())?, b.as_slice().map_err(|e| e.to_string())?);
    let mut contestants = Vec::new();
    let mut add = |name: &str, mut call: Product<'a>| -> Result<(), String> {
        let mut c = vec![0.0f32; m * n];
        call(&mut c);
        same(name, &c, want, TOLERANCE)?;
        contestants.push(Contestant::new(name, Kind::Peer, move || {
            call(&mut c);
            Ok::<_, String>(())
        }));
        Ok(())
    };
    let [rows_a, rows_b] = [k as isize, n as isize];
    let par = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
    add(
        "`gemm` crate",
        Box::new(move |c| {
            let (c, a, b) = (c.as_mut_ptr(), a.as_ptr(), b.as_ptr());
            // SAFETY: three row-major matrices of these sizes; nothing else uses `c` meanwhile.
            unsafe {
                gemm::gemm(
                    m, n, k, c, 1, rows_b, false, a, 1, rows_a, b, 1, rows_b, 0.0, 1.0, false, false, false, par,
                );
            }
        }),
    )?;
    let par = if threads == 1 { faer::Par::Seq } else { faer::Par::rayon(threads) };
    add(
        "`faer` crate",
        Box::new(move |c| {
            let c = faer::MatMut::from_row_major_slice_mut(c, m, n);
            let (a, b) = (faer::MatRef::from_row_major_slice(a, m, k), faer::MatRef::from_row_major_slice(b, k, n));
            faer::linalg::matmul::matmul(c, faer::Accum::Replace, a, b, 1.0, par);
        }),
    )?;
    if the_fastest {
        return Ok(contestants);
    }
    add(
        "`matrixmultiply` crate",
        Box::new(move |c| {
            let (c, a, b) = (c.as_mut_ptr(), a.as_ptr(), b.as_ptr());
            // SAFETY: as above.
            unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, rows_a, 1, b, rows_b, 1, 0.0, c, rows_b, 1) };
        }),
    )?;
    let (a, b) = (tensor(theirs_a)?, tensor(theirs_b)?);
    contestants.push(candle(move || a.matmul(&b), want, TOLERANCE)?);
    Ok(contestants)
}

/// A tensor of ours as one of candle.
///
/// # Errors
/// In words.
pub fn tensor<T: candle_core::WithDType + helion::prelude::Elem, const R: usize>(
    ours: &helion::Tensor<T, R>,
) -> Result<Tensor, String> {
    let numbers = ours.to_vec().map_err(|e| e.to_string())?;
    Tensor::from_vec(numbers, ours.dims().as_slice(), &Device::Cpu).map_err(|e| e.to_string())
}

/// An operation of candle.
///
/// # Errors
/// candle's, or that its result differs from `want`.
pub fn candle<'a>(
    call: impl Fn() -> candle_core::Result<Tensor> + 'a,
    want: &[f32],
    tolerance: f32,
) -> Result<Contestant<'a>, String> {
    let numbers = call().and_then(|t| t.flatten_all()?.to_vec1()).map_err(|e| e.to_string())?;
    same("candle", &numbers, want, tolerance)?;
    Ok(Contestant::new("candle", Kind::Peer, call))
}
