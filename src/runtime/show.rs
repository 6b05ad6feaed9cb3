//! Printing tensors, and comparing them.
//!
//! `Display` prints elements like numpy does: nested brackets, the middle of long axes left out.
//! `Debug` puts element type and shape before it.

use super::device::Device;
use super::tensor::Tensor;
use crate::lang::Elem;
use helion_ir::dtype::Class;
use std::fmt::{self, Write as _};

/// Axes longer than this are shortened when the tensor has more than [`MANY`] elements.
const LONG: usize = 6;
/// Elements printed at each end of a shortened axis.
const EDGE: usize = 3;
/// Tensors of up to so many elements are printed whole.
const MANY: usize = 1000;

impl<T: Elem, const R: usize> fmt::Display for Tensor<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The elements of a tensor that is elsewhere come in one copy.
        let here = match self.to(Device::Cpu) {
            Ok(t) => t,
            Err(e) => return write!(f, "<no elements: {e}>"),
        };
        let short = self.len() > MANY;
        let mut cells = Vec::new();
        walk(&here, short, 0, &mut [0; R], &mut |t| cells.push(t));
        let width = cells.iter().map(|c| c.chars().count()).max().unwrap_or(0);
        let mut cells = cells.into_iter();
        let mut out = String::new();
        brackets(
            &self.dims(),
            short,
            0,
            0,
            &mut |s| {
                let _ = write!(s, "{:>width$}", cells.next().unwrap_or_default());
            },
            &mut out,
        );
        f.write_str(&out)
    }
}

impl<T: Elem, const R: usize> fmt::Debug for Tensor<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor<{}>{:?} {self}", T::DTYPE, self.dims())
    }
}

/// Which indices of an axis are printed.
fn shown(d: usize, short: bool) -> impl Iterator<Item = usize> {
    let cut = short && d > LONG;
    let (head, tail) = if cut { (EDGE, d - EDGE) } else { (d, d) };
    (0..head).chain(tail..d)
}

fn walk<T: Elem, const R: usize>(
    t: &Tensor<T, R>,
    short: bool,
    axis: usize,
    index: &mut [usize; R],
    put: &mut impl FnMut(String),
) {
    if axis == R {
        put(t.get(*index).map(cell).unwrap_or_default());
        return;
    }
    for i in shown(t.dims()[axis], short) {
        index[axis] = i;
        walk(t, short, axis + 1, index, put);
    }
}

fn cell<T: Elem>(v: T) -> String {
    match T::DTYPE.class() {
        Class::Bool | Class::Signed | Class::Unsigned => format!("{v:?}"),
        Class::Float | Class::Storage => {
            let v = v.to_f64();
            let size = v.abs();
            if v == 0.0 || (1e-4..1e8).contains(&size) {
                let text = format!("{v:.4}");
                let cut = text.trim_end_matches('0').len();
                text[..cut].to_owned()
            } else if v.is_finite() {
                format!("{v:.4e}")
            } else {
                format!("{v}")
            }
        }
    }
}

fn brackets(
    dims: &[usize],
    short: bool,
    axis: usize,
    depth: usize,
    element: &mut impl FnMut(&mut String),
    out: &mut String,
) {
    let Some((&d, rest)) = dims.get(axis).map(|d| (d, &dims[axis + 1..])) else { return element(out) };
    out.push('[');
    let cut = short && d > LONG;
    for (n, i) in shown(d, short).enumerate() {
        if n > 0 {
            separate(rest.len(), depth + 1, out);
        }
        if cut && i == d - EDGE {
            out.push_str("...");
            separate(rest.len(), depth + 1, out);
        }
        brackets(dims, short, axis + 1, depth + 1, element, out);
    }
    out.push(']');
}

/// A comma between elements; between rows as many line ends as there are inner axes.
fn separate(inner: usize, depth: usize, out: &mut String) {
    out.push(',');
    if inner == 0 {
        out.push(' ');
    } else {
        out.extend(std::iter::repeat_n('\n', inner));
        out.extend(std::iter::repeat_n(' ', depth));
    }
}

impl<T: Elem, const R: usize> Tensor<T, R> {
    /// Whether shapes are equal and every pair of elements is: either both NaN, or
    /// `|a - b| <= absolute + relative * |b|`. Infinities are close to themselves only.
    pub fn allclose(&self, other: &Tensor<T, R>, relative: f64, absolute: f64) -> bool {
        self.first_difference(other, relative, absolute).is_none()
    }

    /// The first index at which [`allclose`](Self::allclose) fails, with both elements; for tensors of
    /// different shape, or that could not be made, index 0 with NaN.
    pub fn first_difference(
        &self,
        other: &Tensor<T, R>,
        relative: f64,
        absolute: f64,
    ) -> Option<([usize; R], f64, f64)> {
        let (Ok(here), Ok(there)) = (self.to(Device::Cpu), other.to(Device::Cpu)) else {
            return Some(([0; R], f64::NAN, f64::NAN));
        };
        if self.dims() != other.dims() {
            return Some(([0; R], f64::NAN, f64::NAN));
        }
        let (dims, mut index) = (self.dims(), [0; R]);
        for _ in 0..self.len() {
            let (a, b) = (here.get(index)?.to_f64(), there.get(index)?.to_f64());
            if !close(a, b, relative, absolute) {
                return Some((index, a, b));
            }
            super::tensor::step(&mut index, &dims);
        }
        None
    }
}

/// Whether two numbers are close in the sense of [`Tensor::allclose`].
pub(super) fn close(a: f64, b: f64, relative: f64, absolute: f64) -> bool {
    a == b
        || (a.is_nan() && b.is_nan())
        || (a.is_finite() && b.is_finite() && (a - b).abs() <= absolute + relative * b.abs())
}

/// Same shape and equal elements (`NaN` differs from itself).
impl<T: Elem, const R: usize> PartialEq for Tensor<T, R> {
    fn eq(&self, other: &Self) -> bool {
        if self.dims() != other.dims() {
            return false;
        }
        let (Ok(here), Ok(there)) = (self.to(Device::Cpu), other.to(Device::Cpu)) else { return false };
        if let (Ok(a), Ok(b)) = (here.as_slice(), there.as_slice()) {
            return a == b;
        }
        let (dims, mut index) = (self.dims(), [0; R]);
        (0..self.len()).all(|_| {
            let equal = here.get(index) == there.get(index);
            super::tensor::step(&mut index, &dims);
            equal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_like_numpy() {
        let t = Tensor::from_slice([2, 3], &[1.0f32, -2.5, 3.0, 0.0, f32::NAN, 1e-9]).unwrap();
        assert_eq!(t.to_string(), "[[       1.,      -2.5,        3.],\n [       0.,       NaN, 1.0000e-9]]");
        assert_eq!(Tensor::from_slice([], &[7i32]).unwrap().to_string(), "7");
        assert_eq!(Tensor::<u8, 1>::zeros([0]).to_string(), "[]");
        assert_eq!(Tensor::<u8, 2>::zeros([2, 0]).to_string(), "[[],\n []]");
        let long = Tensor::<i64, 1>::from_fn([2000], |[i]| i as i64).to_string();
        assert_eq!(long, "[   0,    1,    2, ..., 1997, 1998, 1999]");
        let cube = Tensor::<i64, 3>::zeros([2, 1, 1]).to_string();
        assert_eq!(cube, "[[[0]],\n\n [[0]]]");
        assert_eq!(format!("{:?}", Tensor::<bool, 1>::zeros([2])), "Tensor<bool>[2] [false, false]");
        assert!(Tensor::<f32, 2>::zeros([usize::MAX, 2]).to_string().contains("does not fit"));
    }

    #[test]
    fn comparisons() {
        let a = Tensor::from_slice([2], &[1.0f32, f32::INFINITY]).unwrap();
        let b = Tensor::from_slice([2], &[1.0001f32, f32::INFINITY]).unwrap();
        assert!(a.allclose(&b, 1e-3, 0.0) && !a.allclose(&b, 1e-6, 0.0) && a != b && a == a.clone());
        assert_eq!(a.first_difference(&b, 0.0, 0.0).unwrap().0, [0]);
        assert!(!a.allclose(&Tensor::zeros([2]), 1e9, 1e9), "infinity is close to itself only");
    }
}
