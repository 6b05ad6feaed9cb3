//! Views: other shapes and strides over the same storage, without copies.
//!
//! Every view is a [`Tensor`] that shares storage with its source. Offsets stay inside what the source
//! could reach, so no view can name memory its source could not.

use super::tensor::Tensor;
use crate::error::{Error, Result};
use std::ops::{Bound, RangeBounds};
use std::ptr::NonNull;
use std::sync::Arc;

impl<T, const R: usize> Tensor<T, R> {
    /// The same storage under another shape.
    ///
    /// `offset` elements from index 0 and everything that dims and strides reach must be elements of
    /// `self`, or there must be no elements; all callers are in this file.
    fn view<const Q: usize>(&self, offset: isize, dims: [usize; Q], strides: [isize; Q]) -> Tensor<T, Q> {
        // Without elements the pointer is never used; leave it where it is, inside the storage.
        let offset = if dims.contains(&0) || self.is_empty() { 0 } else { offset };
        // Wrapping, since memory of a device has addresses but no place here.
        let ptr = self.ptr.as_ptr().wrapping_offset(offset);
        // SAFETY: the offset is that of an element of `self`, so this is an address in the storage.
        let ptr = unsafe { NonNull::new_unchecked(ptr) };
        Tensor { ptr, dims, strides, storage: Arc::clone(&self.storage), element: std::marker::PhantomData }
    }

    fn axis(&self, axis: usize, what: &str) -> Result<()> {
        if axis < R {
            return Ok(());
        }
        Err(Error::shape(format!("`{what}`: axis {axis} does not exist; the tensor has {R} axes")))
    }

    /// Axes in another order: axis `i` of the result is axis `axes[i]` of `self`.
    ///
    /// # Errors
    /// When `axes` is not a permutation.
    pub fn permute(&self, axes: [usize; R]) -> Result<Tensor<T, R>> {
        let mut seen = [false; R];
        for &a in &axes {
            self.axis(a, "permute")?;
            if std::mem::replace(&mut seen[a], true) {
                return Err(Error::shape(format!("`permute`: axis {a} appears twice in {axes:?}")));
            }
        }
        Ok(self.view(0, axes.map(|a| self.dims[a]), axes.map(|a| self.strides[a])))
    }

    /// Two axes exchanged.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn transpose(&self, a: usize, b: usize) -> Result<Tensor<T, R>> {
        self.axis(a, "transpose")?;
        self.axis(b, "transpose")?;
        let (mut dims, mut strides) = (self.dims, self.strides);
        dims.swap(a, b);
        strides.swap(a, b);
        Ok(self.view(0, dims, strides))
    }

    /// A range of one axis.
    ///
    /// # Errors
    /// When the axis does not exist, or the range is not within it.
    pub fn slice(&self, axis: usize, range: impl RangeBounds<usize>) -> Result<Tensor<T, R>> {
        self.axis(axis, "slice")?;
        let n = self.dims[axis];
        let start = match range.start_bound() {
            Bound::Included(&s) => Some(s),
            Bound::Excluded(&s) => s.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Bound::Included(&e) => e.checked_add(1),
            Bound::Excluded(&e) => Some(e),
            Bound::Unbounded => Some(n),
        };
        match (start, end) {
            (Some(s), Some(e)) if s <= e && e <= n => Ok(self.cut(axis, s, e - s)),
            _ => {
                let text = |v: Option<usize>| v.map_or_else(|| "2^64".to_owned(), |v| v.to_string());
                Err(Error::shape(format!(
                    "`slice`: {}..{} is not a range of axis {axis}, which has {n} elements",
                    text(start),
                    text(end)
                )))
            }
        }
    }

    /// `len` elements of one axis from `start` on.
    ///
    /// # Errors
    /// When the axis does not exist or is too short.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Result<Tensor<T, R>> {
        let end = start.checked_add(len).ok_or_else(|| Error::shape(format!("`narrow`: {start} + {len} overflows")))?;
        self.slice(axis, start..end)
    }

    /// A valid range of one axis.
    fn cut(&self, axis: usize, start: usize, len: usize) -> Tensor<T, R> {
        let mut dims = self.dims;
        dims[axis] = len;
        let offset = if len == 0 { 0 } else { self.strides[axis].wrapping_mul(start as isize) };
        self.view(offset, dims, self.strides)
    }

    /// Every `step`-th element of one axis.
    ///
    /// # Errors
    /// When the axis does not exist or the step is zero.
    pub fn step_by(&self, axis: usize, step: usize) -> Result<Tensor<T, R>> {
        self.axis(axis, "step_by")?;
        if step == 0 {
            return Err(Error::shape("`step_by`: the step must not be zero"));
        }
        let (mut dims, mut strides) = (self.dims, self.strides);
        dims[axis] = dims[axis].div_ceil(step);
        // With one element left the stride is never used.
        strides[axis] = isize::try_from(step).ok().and_then(|s| strides[axis].checked_mul(s)).unwrap_or(0);
        Ok(self.view(0, dims, strides))
    }

    /// One axis in reverse order.
    ///
    /// # Errors
    /// When the axis does not exist.
    pub fn flip(&self, axis: usize) -> Result<Tensor<T, R>> {
        self.axis(axis, "flip")?;
        let mut strides = self.strides;
        let last = self.dims[axis].saturating_sub(1) as isize;
        let offset = strides[axis].wrapping_mul(last);
        strides[axis] = strides[axis].wrapping_neg();
        Ok(self.view(offset, self.dims, strides))
    }

    /// Axes of size 1 repeated, and axes put in front, as numpy broadcasts.
    ///
    /// # Errors
    /// When a trailing axis differs and is not 1.
    pub fn expand<const Q: usize>(&self, dims: [usize; Q]) -> Result<Tensor<T, Q>> {
        let refuse = || Error::shape(format!("a tensor of shape {:?} does not expand to {dims:?}", self.dims));
        let extra = Q.checked_sub(R).ok_or_else(refuse)?;
        let mut strides = [0; Q];
        for (i, (&d, &s)) in self.dims.iter().zip(&self.strides).enumerate() {
            if d == dims[extra + i] {
                strides[extra + i] = s;
            } else if d != 1 {
                return Err(refuse());
            }
        }
        Ok(self.view(0, dims, strides))
    }

    /// Another name of [`expand`](Self::expand).
    ///
    /// # Errors
    /// As there.
    pub fn broadcast<const Q: usize>(&self, dims: [usize; Q]) -> Result<Tensor<T, Q>> {
        self.expand(dims)
    }

    /// The same elements in row-major order under another shape.
    ///
    /// # Errors
    /// When the number of elements differs, or strides do not allow it without a copy.
    pub fn reshape<const Q: usize>(&self, dims: [usize; Q]) -> Result<Tensor<T, Q>> {
        let product =
            |d: &[usize]| if d.contains(&0) { Some(0) } else { d.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) };
        if product(&self.dims).is_none() || product(&self.dims) != product(&dims) {
            return Err(Error::shape(format!(
                "a tensor of shape {:?} cannot become {dims:?}: the number of elements differs",
                self.dims
            )));
        }
        if self.is_contiguous() && self.storage.error().is_none() {
            return Ok(self.view(0, dims, super::extent::row_major(&dims)));
        }
        let strides = regroup(&self.dims, &self.strides, &dims).ok_or_else(|| {
            Error::shape(format!(
                "a tensor of shape {:?} with strides {:?} cannot become {dims:?} without a copy\n  help: write `.contiguous().reshape(..)`",
                self.dims, self.strides
            ))
        })?;
        Ok(self.view(0, dims, strides))
    }
}

/// Strides under which `to` names the same elements in the same order as `dims` with `strides`; the
/// shapes have equal counts, not zero. Axes of both shapes are matched in groups of equal product; a
/// group must be evenly spaced to be cut anew.
fn regroup<const Q: usize>(dims: &[usize], strides: &[isize], to: &[usize; Q]) -> Option<[isize; Q]> {
    let from: smallvec::SmallVec<[(usize, isize); 8]> =
        dims.iter().copied().zip(strides.iter().copied()).filter(|(d, _)| *d != 1).collect();
    let mut out = [1isize; Q];
    let (mut i, mut j) = (0, 0);
    while i < from.len() {
        let (first_i, first_j) = (i, j);
        let (mut a, mut b) = (from[i].0, 1usize);
        i += 1;
        while a != b {
            if a < b {
                a = a.checked_mul(from.get(i)?.0)?;
                i += 1;
            } else {
                b = b.checked_mul(*to.get(j)?)?;
                j += 1;
            }
        }
        for pair in from[first_i..i].windows(2) {
            if pair[0].1 != pair[1].1.checked_mul(isize::try_from(pair[1].0).ok()?)? {
                return None;
            }
        }
        let mut stride = from[i - 1].1;
        for k in (first_j..j).rev() {
            out[k] = stride;
            stride = stride.checked_mul(isize::try_from(to[k]).ok()?)?;
        }
    }
    Some(out)
}

impl<T> Tensor<T, 2> {
    /// The transpose.
    #[must_use]
    pub fn t(&self) -> Tensor<T, 2> {
        let ([m, n], [a, b]) = (self.dims, self.strides);
        self.view(0, [n, m], [b, a])
    }
}

macro_rules! neighbours {
    ($($low:literal $high:literal;)*) => {$(
        impl<T> Tensor<T, $high> {
            /// Without one axis of size 1.
            ///
            /// # Errors
            /// When the axis does not exist or has another size.
            pub fn squeeze(&self, axis: usize) -> Result<Tensor<T, $low>> {
                self.axis(axis, "squeeze")?;
                if self.dims[axis] != 1 {
                    return Err(Error::shape(format!("`squeeze`: axis {axis} has {} elements, not 1", self.dims[axis])));
                }
                Ok(self.view(0, without(&self.dims, axis), without(&self.strides, axis)))
            }
            /// What lies at one index of an axis; that axis is dropped.
            ///
            /// # Errors
            /// When the axis does not exist or is too short.
            pub fn select(&self, axis: usize, index: usize) -> Result<Tensor<T, $low>> {
                self.axis(axis, "select")?;
                if index >= self.dims[axis] {
                    return Err(Error::shape(format!("`select`: index {index} is outside axis {axis}, which has {} elements", self.dims[axis])));
                }
                let one = self.cut(axis, index, 1);
                Ok(one.view(0, without(&self.dims, axis), without(&self.strides, axis)))
            }
        }
        impl<T> Tensor<T, $low> {
            /// With an axis of size 1 put before the given one (or at the end).
            ///
            /// # Errors
            /// When the axis is beyond the end.
            pub fn unsqueeze(&self, axis: usize) -> Result<Tensor<T, $high>> {
                if axis > $low {
                    return Err(Error::shape(format!("`unsqueeze`: axis {axis} is beyond the end; the tensor has {} axes", $low)));
                }
                Ok(self.view(0, with(&self.dims, axis, 1), with(&self.strides, axis, 1)))
            }
        }
    )*};
}

neighbours! { 0 1; 1 2; 2 3; 3 4; 4 5; 5 6; 6 7; 7 8; }

fn without<V: Copy, const H: usize, const L: usize>(all: &[V; H], axis: usize) -> [V; L] {
    std::array::from_fn(|i| all[i + usize::from(i >= axis)])
}

fn with<V: Copy, const L: usize, const H: usize>(all: &[V; L], axis: usize, new: V) -> [V; H] {
    std::array::from_fn(|i| if i == axis { new } else { all[i - usize::from(i > axis)] })
}
