//! Arithmetic on dims and strides, with every overflow noticed.

use crate::error::{Error, Result};

/// The number of elements of a shape.
///
/// # Errors
/// When it, or its size in bytes, does not fit in the address space.
pub fn count(dims: &[usize], size: usize) -> Result<usize> {
    if dims.contains(&0) {
        return Ok(0);
    }
    let n = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    n.filter(|n| n.checked_mul(size).is_some_and(|b| b <= isize::MAX as usize))
        .ok_or_else(|| Error::shape(format!("a tensor of shape {dims:?} does not fit in memory")))
}

/// Row-major strides. The shape's count must have been checked; axes of zero-size shapes get what does
/// not overflow.
pub fn row_major<const R: usize>(dims: &[usize; R]) -> [isize; R] {
    let mut strides = [1isize; R];
    for i in (1..R).rev() {
        strides[i - 1] = strides[i].saturating_mul(isize::try_from(dims[i].max(1)).unwrap_or(isize::MAX));
    }
    strides
}

/// The lowest and highest element offset that an index can reach; `None` when there are no elements.
/// Exact for shapes whose offsets were checked to fit.
#[inline]
pub fn reach(dims: &[usize], strides: &[isize]) -> Option<(isize, isize)> {
    let (mut lo, mut hi) = (0isize, 0isize);
    for (&d, &s) in dims.iter().zip(strides) {
        let last = isize::try_from(d.checked_sub(1)?).unwrap_or(isize::MAX);
        let far = last.saturating_mul(s);
        if far < 0 { lo = lo.saturating_add(far) } else { hi = hi.saturating_add(far) }
    }
    Some((lo, hi))
}

/// Whether two different indices can reach the same element. Says yes when in doubt: axes are taken by
/// growing stride, and each must step over everything the smaller ones reach.
pub fn overlaps(dims: &[usize], strides: &[isize]) -> bool {
    if dims.contains(&0) {
        return false;
    }
    let mut axes: smallvec::SmallVec<[(usize, usize); 8]> =
        dims.iter().zip(strides).filter(|(d, _)| **d > 1).map(|(&d, &s)| (s.unsigned_abs(), d)).collect();
    axes.sort_unstable();
    let mut span = 0usize;
    for (stride, d) in axes {
        if stride <= span {
            return true;
        }
        span = span.saturating_add(stride.saturating_mul(d - 1));
    }
    false
}

/// Whether elements lie row-major without gaps. Strides of axes of size 1 do not matter, and without
/// elements nothing does.
#[inline]
pub fn is_contiguous(dims: &[usize], strides: &[isize]) -> bool {
    let mut expected = 1isize;
    for (&d, &s) in dims.iter().zip(strides).rev() {
        if d == 0 {
            return true;
        }
        if d != 1 {
            if s != expected {
                return dims.contains(&0);
            }
            expected = expected.saturating_mul(isize::try_from(d).unwrap_or(isize::MAX));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_notice_overflow() {
        assert_eq!(count(&[2, 3], 4).unwrap(), 6);
        assert_eq!(count(&[usize::MAX, 0], 4).unwrap(), 0);
        assert_eq!(count(&[], 4).unwrap(), 1);
        for dims in [&[usize::MAX][..], &[1 << 40, 1 << 40], &[isize::MAX as usize / 2]] {
            assert!(count(dims, 4).is_err());
        }
    }

    #[test]
    fn overlap_is_found() {
        assert!(!overlaps(&[4, 5], &[5, 1]));
        assert!(!overlaps(&[5, 4], &[1, 5]));
        assert!(!overlaps(&[4, 5], &[-5, -1]));
        assert!(!overlaps(&[1, 5], &[0, 1]));
        assert!(!overlaps(&[0, 5], &[0, 0]));
        assert!(overlaps(&[4, 5], &[0, 1]));
        assert!(overlaps(&[4, 5], &[4, 1]));
        assert!(overlaps(&[2], &[0]));
    }

    #[test]
    fn contiguity() {
        assert!(is_contiguous(&[2, 3], &[3, 1]));
        assert!(is_contiguous(&[2, 1, 3], &[3, 77, 1]));
        assert!(is_contiguous(&[0, 3], &[9, 9]));
        assert!(!is_contiguous(&[2, 3], &[4, 1]));
        assert!(is_contiguous(&[], &[]));
    }
}
