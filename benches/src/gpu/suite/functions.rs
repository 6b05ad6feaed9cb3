//! Functions that the device's own unit computes, at every `f32` where they are not constant, against f64. Out: the
//! largest error in units of the last place.

use helion::prelude::*;

#[kernel]
fn exp(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t].exp();
    }
    Ok(out)
}

#[kernel]
fn exp2(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t].exp2();
    }
    Ok(out)
}

/// The name of the check.
pub const NAME: &str = "exp_exp2";
/// Magnitudes from 2^-26, below which both functions are 1, to 256, above which they are 0 or infinite.
const BITS: std::ops::Range<u32> = 0x3280_0000..0x4380_0000;
/// Numbers at a time.
const CHUNK: usize = 1 << 26;
/// The error that is promised.
const MOST: f64 = 3.0;
/// Beside those: ends and edges.
const EDGES: [f32; 12] = [
    0.0,
    -0.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-40,
    -1e-40,
    1e30,
    -1e30,
];

type Function = (&'static str, fn(&Tensor<f32, 1>) -> Result<Tensor<f32, 1>>, fn(f64) -> f64);

/// Checks both; says how exact they are.
///
/// # Errors
/// The first result that is further off than promised, or what the device says.
pub fn run(device: Device) -> Result<String, String> {
    let functions: [Function; 2] = [("exp", exp, f64::exp), ("exp2", exp2, f64::exp2)];
    let mut worst = [(0.0, 0.0); 2];
    for sign in [0, 1u32 << 31] {
        for first in BITS.step_by(CHUNK) {
            let last = BITS.end.min(first + CHUNK as u32);
            check((first..last).map(|b| f32::from_bits(b | sign)).collect(), device, &functions, &mut worst)?;
        }
    }
    check(EDGES.to_vec(), device, &functions, &mut worst)?;
    let said =
        functions.iter().zip(worst).map(|((name, ..), (off, at))| format!("`{name}` within {off:.2} ulp (at {at:e})"));
    Ok(said.collect::<Vec<_>>().join(", "))
}

fn check(x: Vec<f32>, device: Device, functions: &[Function; 2], worst: &mut [(f64, f32); 2]) -> Result<(), String> {
    let on_device = Tensor::from_vec([x.len()], x.clone()).and_then(|x| x.to(device)).map_err(|e| e.to_string())?;
    for ((name, kernel, exact), worst) in functions.iter().zip(worst) {
        let got = kernel(&on_device).and_then(|y| y.to_vec()).map_err(|e| e.to_string())?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let part = x.len().div_ceil(threads).max(1);
        let found = std::thread::scope(|s| {
            let parts = x.chunks(part).zip(got.chunks(part));
            let all: Vec<_> = parts.map(|(x, y)| s.spawn(move || furthest(x, y, *exact))).collect();
            all.into_iter().filter_map(|t| t.join().ok()).fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
        });
        if found.0 > worst.0 {
            *worst = found;
        }
        if found.0 > MOST {
            return Err(format!("`{name}` of {:e} is off by {:.2} ulp", found.1, found.0));
        }
    }
    Ok(())
}

/// The largest error and where it is.
fn furthest(x: &[f32], got: &[f32], exact: fn(f64) -> f64) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    for (x, got) in x.iter().zip(got) {
        let off = error(f64::from(*got), exact(f64::from(*x)));
        if off > worst.0 {
            worst = (off, *x);
        }
    }
    worst
}

/// How far a result is from the exact one, in units of the last place; infinite when it is another kind of number.
fn error(got: f64, want: f64) -> f64 {
    const LEAST: f64 = f32::MIN_POSITIVE as f64;
    // One unit above the largest number.
    let beyond = 2f64.powi(128);
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() == got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if want < LEAST {
        // Results below the smallest normal number may be zero.
        return if (0.0..=LEAST).contains(&got) { 0.0 } else { f64::INFINITY };
    }
    if want >= beyond {
        return if got == f64::INFINITY { 0.0 } else { f64::INFINITY };
    }
    (got.min(beyond) - want).abs() / 2f64.powi(want.log2().floor() as i32 - 23)
}
