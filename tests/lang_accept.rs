//! What must compile, and what a kernel's shape mistakes read like.
#![allow(missing_docs)]
#![allow(unnameable_test_items, reason = "kernels may stand in functions")]
use helion::prelude::*;

const EPS: f64 = 1e-5;

/// Names of ours do not meet the user's.
#[kernel]
pub fn hygiene(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    let __launch = 2.0f32;
    let __args = 3.0f32;
    for t in tile(n) {
        let __vars = x[t];
        let __domain = __vars * __launch + __args;
        out[t] = __domain + EPS;
    }
    Ok(out)
}

/// Sizes that equal a const parameter are constants.
#[kernel]
pub fn heads<T: Float, const D: usize>(x: &Tensor<T, 2>) -> Result<Tensor<T, 2>> {
    let [m, d] = x.dims();
    ensure!(d == D, "rows have {D} elements");
    let mut out = x.empty_like();
    for tm in tile(m) {
        let mut acc = T::zeros((tm, D));
        for _ in 0..D / 8 {
            acc = acc + x[(tm, ..)];
        }
        let halves = acc.reshape((tm, 2, D / 2));
        let (low, high) = halves.split(1);
        out[(tm, ..)] = concat([high, low], 1).reshape((tm, D)) + iota(D).cast();
    }
    Ok(out)
}

/// Any error that converts from helion's.
#[kernel]
pub fn other_error(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>, Box<dyn std::error::Error>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t];
    }
    Ok(out)
}

/// `if let` chains, blocks as values, host loops around launches, outputs read again.
#[kernel]
pub fn host_code(x: &Tensor<f32, 1>, w: Option<&Tensor<f32, 1>>, fast: bool) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    ensure!(w.is_none_or(|w| w.dims() == [n]), "sizes differ");
    let mut out = x.empty_like();
    let scale = if fast { 2.0f32 } else { 1.0 };
    for first in [true, false] {
        for t in tile(n) {
            let y = if let Some(w) = w
                && fast
            {
                w[t] * scale
            } else {
                x[t]
            };
            out[t] = if first { y } else { out[t] + y };
        }
    }
    match w {
        Some(w) => {
            for t in tile(n) {
                out[t] += w[t];
            }
        }
        None => {}
    }
    Ok(out)
}

#[test]
fn kernels_inside_functions() {
    #[kernel]
    fn twice(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
        let [n] = x.dims();
        let mut out = x.empty_like();
        for t in tile(n) {
            out[t] = x[t] * 2;
        }
        Ok(out)
    }
    let x = Tensor::from_slice([3], &[1.0f32, 2.0, 3.0]).unwrap();
    assert_eq!(twice(&x).unwrap().to_vec().unwrap(), [2.0, 4.0, 6.0]);
    let text = twice::explain(&x).unwrap().to_string();
    assert!(text.contains("kernel twice"), "{text}");
    assert_eq!(twice::with(Config::new().block("t", 2)).call(&x).unwrap().to_vec().unwrap(), [2.0, 4.0, 6.0]);
}

#[test]
fn const_parameters_are_sizes() {
    let x = Tensor::<f32, 2>::full([5, 16], 1.0);
    let y = heads::<f32, 16>(&x).unwrap();
    assert_eq!(y.get([4, 3]), Some(2.0 + 3.0));
    let y = heads::<f32, 32>(&Tensor::full([5, 32], 1.0)).unwrap();
    assert_eq!(y.get([4, 3]), Some(4.0 + 3.0));
    assert!(heads::<f32, 32>(&x).is_err());
}

/// The text of the first mistake of a kernel, without positions.
fn mistake<R>(f: impl FnOnce() -> Result<R>) -> String {
    let text = match helion::runtime::traced(f) {
        Err(e) => e.to_string(),
        Ok(_) => panic!("the kernel has no mistake"),
    };
    let keep = |l: &&str| l.starts_with("error") || l.contains("help:") || l.starts_with("note");
    text.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_row_against_a_column() {
    #[kernel(no_test)]
    fn wrong(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
        let [m, _n] = x.dims();
        let mut out = x.empty_like();
        for tm in tile(m) {
            let row = x[(tm, ..)];
            let top = row.max(1).squeeze(1);
            out[(tm, ..)] = row - top;
        }
        Ok(out)
    }
    let text = mistake(|| wrong(&Tensor::zeros([8, 16])));
    assert!(text.contains("`row` is [tm, n], `top` is [tm]"), "{text}");
    assert!(text.contains("top.unsqueeze(1)"), "{text}");
}

#[test]
fn a_variable_that_changes_shape() {
    #[kernel(no_test)]
    fn wrong(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
        let [m, n] = x.dims();
        let mut out = x.empty_like();
        for tm in tile(m) {
            let mut acc = f32::zeros((tm, 1));
            for tn in tile(n) {
                acc = acc + x[(tm, tn)];
            }
            out[(tm, ..)] = acc;
        }
        Ok(out)
    }
    let text = mistake(|| wrong(&Tensor::zeros([8, 16])));
    assert!(text.contains("`acc` is [tm, 1] before this loop, and [tm, tn] after an iteration"), "{text}");
}

#[test]
fn squeezing_a_long_axis() {
    #[kernel(no_test)]
    fn wrong(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 1>> {
        let [m, _n] = x.dims();
        let mut out = x.empty([m]);
        for tm in tile(m) {
            out[tm] = x[(tm, ..)].squeeze(1);
        }
        Ok(out)
    }
    let text = mistake(|| wrong(&Tensor::zeros([8, 16])));
    assert!(text.contains("squeeze(1): that axis has size n, not 1; the tile is [tm, n]"), "{text}");
}
