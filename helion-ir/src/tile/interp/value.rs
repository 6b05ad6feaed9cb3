//! Tiles at run time, and walks over their elements.

use crate::dtype::{DType, Literal};
use smallvec::SmallVec;
use std::rc::Rc;

/// Extents or strides.
pub(super) type Extents = SmallVec<[usize; 4]>;

/// Tiles of more elements are refused instead of exhausting memory.
const MAX_ELEMENTS: usize = 1 << 28;

/// A value of a program instance: elements in row-major order, as bits.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub dtype: DType,
    pub dims: Extents,
    pub data: Rc<[u64]>,
}

impl Tile {
    pub fn scalar(l: Literal) -> Tile {
        Tile { dtype: l.dtype, dims: Extents::new(), data: Rc::new([l.bits]) }
    }
    pub fn new(dtype: DType, dims: Extents, data: Vec<u64>) -> Tile {
        Tile { dtype, dims, data: data.into() }
    }
    pub fn get(&self, i: usize) -> Literal {
        Literal { dtype: self.dtype, bits: self.data[i] }
    }
    /// The element of a scalar.
    pub fn item(&self) -> Literal {
        Literal { dtype: self.dtype, bits: self.data.first().copied().unwrap_or(0) }
    }
    pub fn elements(&self) -> impl Iterator<Item = Literal> + '_ {
        self.data.iter().map(|bits| Literal { dtype: self.dtype, bits: *bits })
    }
    /// Each element replaced.
    pub fn map(&self, dtype: DType, f: impl Fn(Literal) -> Literal) -> Tile {
        Tile { dtype, dims: self.dims.clone(), data: self.elements().map(|l| f(l).bits).collect() }
    }
}

/// How many elements there are.
pub(super) fn count(dims: &[usize]) -> Result<usize, String> {
    let n = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_ELEMENTS);
    n.ok_or_else(|| format!("a tile of shape {dims:?} is too large to interpret"))
}

/// Row-major strides.
pub(super) fn row_major(dims: &[usize]) -> Extents {
    let mut strides: Extents = dims.iter().map(|_| 1).collect();
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// The strides with which a tile of shape `from` is read at the points of shape `to`.
pub(super) fn broadcast_strides(from: &[usize], to: &[usize]) -> Result<Extents, String> {
    let missing = to.len().checked_sub(from.len());
    let own = row_major(from);
    let stride = |axis: usize| match missing.and_then(|m| axis.checked_sub(m)) {
        None => Some(0),
        Some(i) if from[i] == to[axis] => Some(own[i]),
        Some(i) => (from[i] == 1).then_some(0),
    };
    let strides = (0..to.len()).map(stride).collect::<Option<Extents>>();
    strides.filter(|_| missing.is_some()).ok_or_else(|| format!("shape {from:?} does not broadcast to {to:?}"))
}

/// Calls `f` with the position in each of `N` arrays, for every point of `dims` in row-major order.
pub(super) fn walk<const N: usize>(dims: &[usize], strides: [&[usize]; N], mut f: impl FnMut([usize; N])) {
    if dims.contains(&0) {
        return;
    }
    let mut index: Extents = dims.iter().map(|_| 0).collect();
    let mut at = [0; N];
    loop {
        f(at);
        let mut axis = dims.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            for (at, s) in at.iter_mut().zip(strides) {
                *at += s[axis];
            }
            if index[axis] < dims[axis] {
                break;
            }
            for (at, s) in at.iter_mut().zip(strides) {
                *at -= s[axis] * dims[axis];
            }
            index[axis] = 0;
        }
    }
}

/// An axis of a shape: how many lines run along it, and where their elements are.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub outer: usize,
    pub len: usize,
    pub inner: usize,
}

impl Lines {
    pub fn new(dims: &[usize], axis: usize) -> Lines {
        let product = |d: &[usize]| d.iter().product();
        Lines { outer: product(&dims[..axis]), len: dims[axis], inner: product(&dims[axis + 1..]) }
    }
    /// Every line, in row-major order of the other axes.
    pub fn each(self) -> impl Iterator<Item = Line> {
        (0..self.outer)
            .flat_map(move |o| (0..self.inner).map(move |i| Line { start: o * self.len * self.inner + i, lines: self }))
    }
}

/// One line of elements along an axis.
#[derive(Clone, Copy)]
pub(super) struct Line {
    start: usize,
    lines: Lines,
}

impl Line {
    /// Where its `i`-th element is.
    pub fn at(self, i: usize) -> usize {
        self.start + i * self.lines.inner
    }
}
