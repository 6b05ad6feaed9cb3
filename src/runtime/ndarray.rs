//! To and from `ndarray` (feature `ndarray`).

use super::tensor::Tensor;
use crate::error::{Error, Result};
use crate::lang::Elem;
use ::ndarray::{Array, ArrayView, Dim, Dimension, IntoDimension, Ix, ShapeBuilder};
use std::ptr::NonNull;

impl<T: Elem, const R: usize> Tensor<T, R> {
    /// A view for `ndarray`, without a copy.
    ///
    /// # Errors
    /// When the tensor could not be made, or has more elements (by `expand`) than `ndarray` allows.
    pub fn to_ndarray(&self) -> Result<ArrayView<'_, T, Dim<[Ix; R]>>>
    where
        [Ix; R]: IntoDimension<Dim = Dim<[Ix; R]>>,
        Dim<[Ix; R]>: Dimension,
    {
        self.check()?;
        self.on_host()?;
        super::extent::count(&self.dims(), size_of::<T>())?;
        // ndarray takes strides without sign; an axis that runs backwards is turned round first.
        let (dims, mut strides) = (self.dims(), self.strides());
        let mut ptr = self.as_ptr();
        let empty = self.is_empty();
        for (s, &d) in strides.iter_mut().zip(&dims) {
            if *s < 0 && d > 0 {
                let back = if empty { 0 } else { s.wrapping_mul(d as isize - 1) };
                // SAFETY: the last element along this axis, inside the storage.
                ptr = unsafe { ptr.offset(back) };
                *s = s.wrapping_neg();
            }
        }
        let shape = dims.into_dimension().strides(strides.map(|s| s.unsigned_abs()).into_dimension());
        // SAFETY: these elements are in the storage and, while `self` is borrowed, not written.
        let mut view = unsafe { ArrayView::from_shape_ptr(shape, ptr) };
        for (axis, s) in self.strides().into_iter().enumerate() {
            if s < 0 {
                view.invert_axis(::ndarray::Axis(axis));
            }
        }
        Ok(view)
    }

    /// Takes over an array, without a copy if it lies in memory without gaps.
    ///
    /// # Errors
    /// When memory for a copy is short.
    pub fn from_ndarray(array: Array<T, Dim<[Ix; R]>>) -> Result<Self>
    where
        [Ix; R]: IntoDimension<Dim = Dim<[Ix; R]>>,
        Dim<[Ix; R]>: Dimension,
    {
        let mut dims = [0; R];
        let mut strides = [0; R];
        dims.copy_from_slice(array.shape());
        strides.copy_from_slice(array.strides());
        let small = array.len() * size_of::<T>() < super::alloc::HUGE;
        let Some(ptr) =
            NonNull::new(array.as_ptr().cast_mut()).filter(|p| !small && (p.as_ptr() as usize).is_multiple_of(64))
        else {
            let elements: Vec<T> = array.iter().copied().collect();
            return Self::from_vec(dims, elements);
        };
        // SAFETY: the array is moved into the owner, its elements stay where they are, and nobody else
        // refers to them; an owned array's elements do not overlap.
        unsafe { Self::from_raw_parts(ptr, dims, strides, true, Box::new(array)) }?.placed()
    }
}

impl<T: Elem, const R: usize> TryFrom<Array<T, Dim<[Ix; R]>>> for Tensor<T, R>
where
    [Ix; R]: IntoDimension<Dim = Dim<[Ix; R]>>,
    Dim<[Ix; R]>: Dimension,
{
    type Error = Error;
    fn try_from(array: Array<T, Dim<[Ix; R]>>) -> Result<Self> {
        Tensor::from_ndarray(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::ndarray::array;

    #[test]
    fn views_agree_with_strides_of_any_sign() {
        let t = Tensor::<i32, 2>::from_fn([3, 4], |[i, j]| (10 * i + j) as i32);
        assert_eq!(t.to_ndarray().unwrap()[[2, 1]], 21);
        assert_eq!(t.t().to_ndarray().unwrap()[[1, 2]], 21);
        let f = t.flip(0).unwrap().flip(1).unwrap();
        let v = f.to_ndarray().unwrap();
        assert_eq!((v[[0, 0]], v[[2, 3]], v[[0, 3]]), (23, 0, 20));
        let e = t.select(0, 1).unwrap().expand([2, 4]).unwrap();
        assert_eq!(e.to_ndarray().unwrap()[[1, 3]], 13);
        assert_eq!(Tensor::<i32, 2>::zeros([0, 4]).flip(0).unwrap().to_ndarray().unwrap().len(), 0);
        assert!(t.select(0, 0).unwrap().expand([usize::MAX, 4]).unwrap().to_ndarray().is_err());
    }

    #[test]
    fn arrays_come_in() {
        let t = Tensor::from_ndarray(array![[1.0f32, 2.0], [3.0, 4.0]].reversed_axes()).unwrap();
        assert_eq!(t.to_vec().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        let big = Array::<f32, _>::from_shape_fn((1024, 1024), |(i, j)| (i * 7 + j) as f32);
        let at = big.as_ptr();
        let t = Tensor::from_ndarray(big).unwrap();
        assert_eq!(t.get([5, 9]), Some(44.0));
        assert!(t.as_ptr() == at || !(at as usize).is_multiple_of(64));
    }
}
