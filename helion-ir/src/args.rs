//! Arguments of a launch for the reference interpreters of both IRs.
//!
//! [`Args`] holds what a launch is given: for each parameter a [`TensorArg`] (bytes, type, extents, strides)
//! or a scalar, and a value for every size symbol. Every element access is bounds-checked twice: the index
//! against the extents, the address against the storage.

use crate::dtype::{DType, Literal};
use crate::tile::{Dim, Layout, Param, ParamKind, Symbol};
use std::fmt;

/// What a kernel is launched with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    /// One per parameter, in order.
    pub params: Vec<Arg>,
    /// The value of each size symbol, in order.
    pub symbols: Vec<u64>,
}

/// The argument for one parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// For a tensor parameter.
    Tensor(TensorArg),
    /// For a scalar parameter.
    Scalar(Literal),
}

/// A strided array in storage of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorArg {
    dtype: DType,
    dims: Vec<u64>,
    strides: Vec<i64>,
    offset: u64,
    data: Vec<u8>,
}

impl TensorArg {
    /// A row-major tensor of zeros.
    ///
    /// # Panics
    /// When the extents multiply to more elements than memory can hold.
    pub fn zeros(dtype: DType, dims: &[u64]) -> TensorArg {
        let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).expect("extents that fit in memory");
        let data = vec![0; count as usize * dtype.size()];
        TensorArg { dtype, dims: dims.to_vec(), strides: row_major(dims), offset: 0, data }
    }
    /// A row-major tensor of the given elements, converted to `dtype`.
    ///
    /// # Panics
    /// When the number of elements is not the product of the extents.
    pub fn new(dtype: DType, dims: &[u64], elements: impl IntoIterator<Item = Literal>) -> TensorArg {
        let mut t = TensorArg::zeros(dtype, dims);
        let size = dtype.size();
        let mut n = 0;
        for l in elements {
            let bits = crate::eval::cast(l, dtype).bits;
            t.data[n * size..(n + 1) * size].copy_from_slice(&bits.to_le_bytes()[..size]);
            n += 1;
        }
        assert_eq!(n * size, t.data.len(), "as many elements as the extents say");
        t
    }
    /// A row-major tensor of floats, rounded to `dtype`.
    pub fn from_f64s(dtype: DType, dims: &[u64], elements: impl IntoIterator<Item = f64>) -> TensorArg {
        TensorArg::new(dtype, dims, elements.into_iter().map(|v| Literal::from_f64(dtype, v)))
    }
    /// A row-major tensor of integers.
    pub fn from_i64s(dtype: DType, dims: &[u64], elements: impl IntoIterator<Item = i64>) -> TensorArg {
        TensorArg::new(dtype, dims, elements.into_iter().map(|v| Literal::from_i64(dtype, v)))
    }
    /// A view of storage: `strides` and `offset` count elements.
    ///
    /// # Errors
    /// When some element would lie outside `data`.
    pub fn strided(
        dtype: DType,
        dims: &[u64],
        strides: &[i64],
        offset: u64,
        data: Vec<u8>,
    ) -> Result<TensorArg, String> {
        if dims.len() != strides.len() {
            return Err(format!("{} extents but {} strides", dims.len(), strides.len()));
        }
        let (mut low, mut high) = (i128::from(offset), i128::from(offset));
        for (d, s) in dims.iter().zip(strides) {
            let reach = i128::from(d.saturating_sub(1)) * i128::from(*s);
            low += reach.min(0);
            high += reach.max(0);
        }
        let held = (data.len() / dtype.size()) as i128;
        if !dims.contains(&0) && (low < 0 || high >= held) {
            return Err(format!("elements {low}..={high} are reached, the storage holds {held}"));
        }
        Ok(TensorArg { dtype, dims: dims.to_vec(), strides: strides.to_vec(), offset, data })
    }
    /// The same elements laid out so that the axes, from the outermost in memory, are `order`, with `gap`
    /// unused elements after each innermost run: a layout that is not row-major, for tests.
    ///
    /// # Panics
    /// When `order` is not a permutation of the axes.
    #[must_use]
    pub fn relaid(&self, order: &[usize], gap: u64) -> TensorArg {
        assert_eq!(order.len(), self.dims.len(), "one entry per axis");
        let mut strides = vec![0i64; self.dims.len()];
        let mut next = 1i64;
        for (i, &axis) in order.iter().rev().enumerate() {
            strides[axis] = next;
            next *= self.dims[axis] as i64 + if i == 0 { gap as i64 } else { 0 };
        }
        let data = vec![0; next.max(1) as usize * self.dtype.size()];
        let mut t = TensorArg { dtype: self.dtype, dims: self.dims.clone(), strides, offset: 0, data };
        for (index, l) in self.indices().zip(self.elements()) {
            let written = t.set(&index, l);
            debug_assert!(written);
        }
        t
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Extents.
    pub fn dims(&self) -> &[u64] {
        &self.dims
    }
    /// Strides in elements.
    pub fn strides(&self) -> &[i64] {
        &self.strides
    }
    /// The storage.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
    /// The storage, to be written by compiled code.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
    /// Position in the storage (in elements) of the element whose indices are all 0.
    pub fn offset(&self) -> u64 {
        self.offset
    }
    /// How many elements there are.
    pub fn len(&self) -> u64 {
        self.dims.iter().product()
    }
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }
    /// Where an element is in the storage, in elements; `None` outside the tensor.
    pub fn position(&self, index: &[i64]) -> Option<usize> {
        if index.len() != self.dims.len() {
            return None;
        }
        let mut at = self.offset as i64;
        for ((&i, &d), &s) in index.iter().zip(&self.dims).zip(&self.strides) {
            if i < 0 || i as u64 >= d {
                return None;
            }
            at += i * s;
        }
        usize::try_from(at).ok()
    }
    /// Reads by position in the storage.
    pub fn get_at(&self, position: usize) -> Option<Literal> {
        let size = self.dtype.size();
        let start = position.checked_mul(size)?;
        let bytes = self.data.get(start..start.checked_add(size)?)?;
        let mut bits = [0; 8];
        bits[..size].copy_from_slice(bytes);
        Some(Literal { dtype: self.dtype, bits: u64::from_le_bytes(bits) })
    }
    /// Writes by position in the storage; `false` outside it or when the type differs.
    pub fn set_at(&mut self, position: usize, value: Literal) -> bool {
        let size = self.dtype.size();
        let Some(start) = position.checked_mul(size) else { return false };
        match self.data.get_mut(start..start.saturating_add(size)) {
            Some(bytes) if value.dtype == self.dtype => {
                bytes.copy_from_slice(&value.bits.to_le_bytes()[..size]);
                true
            }
            Some(_) | None => false,
        }
    }
    /// Reads an element; `None` outside the tensor.
    pub fn get(&self, index: &[i64]) -> Option<Literal> {
        self.get_at(self.position(index)?)
    }
    /// Writes an element; `false` outside the tensor or when the type differs.
    pub fn set(&mut self, index: &[i64], value: Literal) -> bool {
        self.position(index).is_some_and(|p| self.set_at(p, value))
    }
    /// Every index in row-major order.
    fn indices(&self) -> impl Iterator<Item = Vec<i64>> + '_ {
        let dims = &self.dims;
        (0..self.len()).map(move |mut n| {
            let mut index = vec![0; dims.len()];
            for (i, d) in index.iter_mut().zip(dims).rev() {
                *i = (n % d) as i64;
                n /= d;
            }
            index
        })
    }
    /// Every element in row-major order of the indices.
    pub fn elements(&self) -> Vec<Literal> {
        let zero = Literal { dtype: self.dtype, bits: 0 };
        self.indices().map(|i| self.get(&i).unwrap_or(zero)).collect()
    }
    /// Every element as `f64`, in row-major order.
    pub fn to_f64s(&self) -> Vec<f64> {
        self.elements().into_iter().map(Literal::to_f64).collect()
    }
    /// Every element as `i64`, in row-major order.
    pub fn to_i64s(&self) -> Vec<i64> {
        self.elements().into_iter().map(Literal::to_i64).collect()
    }
    /// The strongest fact about the strides that holds.
    pub fn layout(&self) -> Layout {
        let exact = row_major(&self.dims);
        let irrelevant = |axis: usize| self.dims[axis] == 1 || self.is_empty();
        let same = |axis: usize| irrelevant(axis) || self.strides[axis] == exact[axis];
        if (0..self.dims.len()).all(same) {
            Layout::Contiguous
        } else if self.strides.last() == Some(&1) {
            Layout::LastUnit
        } else {
            Layout::Strided
        }
    }
    /// Compares with what was expected, element by element: equal bits, both NaN, or within
    /// `absolute + relative * |expected|`.
    ///
    /// # Errors
    /// How many elements differ, and the first of them.
    pub fn close_to(&self, expected: &TensorArg, absolute: f64, relative: f64) -> Result<(), String> {
        if (self.dtype, &self.dims) != (expected.dtype, &expected.dims) {
            let (a, b) = (Brackets(&self.dims), Brackets(&expected.dims));
            return Err(format!("{} {a} where {} {b} was expected", self.dtype, expected.dtype));
        }
        let mut wrong = 0u64;
        let mut first = None;
        for (index, (a, b)) in self.indices().zip(self.elements().into_iter().zip(expected.elements())) {
            if !close(a, b, absolute, relative) {
                wrong += 1;
                first.get_or_insert((index, a, b));
            }
        }
        match first {
            None => Ok(()),
            Some((index, a, b)) => Err(format!(
                "{wrong} of {} elements differ; at {}: {:?} where {:?} was expected",
                self.len(),
                Brackets(&index),
                a.to_f64(),
                b.to_f64()
            )),
        }
    }
}

/// Whether two elements of one type are equal, both NaN, or within `absolute + relative * |b|`.
pub fn close(a: Literal, b: Literal, absolute: f64, relative: f64) -> bool {
    if a == b {
        return true;
    }
    if a.dtype != b.dtype {
        return false;
    }
    if !matches!(a.dtype.class(), crate::dtype::Class::Float | crate::dtype::Class::Storage) {
        let (x, y) = (a.to_i64(), b.to_i64());
        return (i128::from(x) - i128::from(y)).unsigned_abs() as f64 <= absolute;
    }
    let (x, y) = (a.to_f64(), b.to_f64());
    (x.is_nan() && y.is_nan()) || x == y || (y.is_finite() && (x - y).abs() <= absolute + relative * y.abs())
}

/// Numbers in brackets, for messages.
struct Brackets<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Brackets<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, v) in self.0.iter().enumerate() {
            write!(f, "{}{v}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// Strides of a row-major array without gaps.
pub fn row_major(dims: &[u64]) -> Vec<i64> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis].max(1) as i64;
    }
    strides
}

impl Args {
    /// Arguments for `params`, with every symbol that is an extent of a tensor bound to that extent and the
    /// others taken from `given` by name.
    ///
    /// # Errors
    /// When an argument does not fit its parameter or a symbol stays unbound.
    pub fn bind(params: &[Param], symbols: &[Symbol], args: Vec<Arg>, given: &[(&str, u64)]) -> Result<Args, String> {
        let mut values: Vec<Option<u64>> =
            symbols.iter().map(|s| given.iter().find(|(n, _)| *n == s.name).map(|(_, v)| *v)).collect();
        for (param, arg) in params.iter().zip(&args) {
            if let (ParamKind::Tensor { dims, .. }, Arg::Tensor(t)) = (&param.kind, arg) {
                for (dim, extent) in dims.iter().zip(&t.dims) {
                    if let Dim::Symbol(s) = dim
                        && let Some(slot) = values.get_mut(s.index())
                    {
                        slot.get_or_insert(*extent);
                    }
                }
            }
        }
        let mut bound = Vec::new();
        for (value, symbol) in values.iter().zip(symbols) {
            bound.push(value.ok_or_else(|| format!("the size `{}` has no value", symbol.name))?);
        }
        let args = Args { params: args, symbols: bound };
        args.check(params, symbols)?;
        Ok(args)
    }
    /// Checks that every argument fits its parameter: kind, type, extents, layout.
    ///
    /// # Errors
    /// The first that does not, in words.
    pub fn check(&self, params: &[Param], symbols: &[Symbol]) -> Result<(), String> {
        if self.params.len() != params.len() {
            return Err(format!("{} arguments for {} parameters", self.params.len(), params.len()));
        }
        if self.symbols.len() != symbols.len() {
            return Err(format!("{} sizes for {} size symbols", self.symbols.len(), symbols.len()));
        }
        if let Some((v, s)) = self.symbols.iter().zip(symbols).find(|(v, _)| **v > i64::MAX as u64) {
            return Err(format!("the size `{}` is {v}, more than an index can count", s.name));
        }
        params.iter().zip(&self.params).try_for_each(|(p, a)| self.check_one(p, a, symbols))
    }

    fn check_one(&self, param: &Param, arg: &Arg, symbols: &[Symbol]) -> Result<(), String> {
        let name = &param.name;
        match (&param.kind, arg) {
            (ParamKind::Scalar { dtype }, Arg::Scalar(l)) if l.dtype == *dtype => Ok(()),
            (ParamKind::Scalar { dtype }, Arg::Scalar(l)) => Err(format!("`{name}` is {dtype}, not {}", l.dtype)),
            (ParamKind::Tensor { dtype, dims, layout, .. }, Arg::Tensor(t)) => {
                if t.dtype != *dtype || t.dims.len() != dims.len() {
                    let (r, given) = (dims.len(), t.dims.len());
                    return Err(format!("`{name}` is {dtype} of rank {r}, not {} of rank {given}", t.dtype));
                }
                for (axis, (dim, extent)) in dims.iter().zip(&t.dims).enumerate() {
                    let (want, what) = match dim {
                        Dim::Const(c) => (Some(*c), c.to_string()),
                        Dim::Symbol(s) => (
                            self.symbols.get(s.index()).copied(),
                            symbols.get(s.index()).map_or_else(String::new, |s| s.name.clone()),
                        ),
                        Dim::Tile(_) | Dim::Expr(_) => (None, "not a size".to_owned()),
                    };
                    if want != Some(*extent) {
                        let want = match dim {
                            Dim::Symbol(_) => want.map_or_else(String::new, |w| format!(" = {w}")),
                            Dim::Const(_) | Dim::Tile(_) | Dim::Expr(_) => String::new(),
                        };
                        return Err(format!("axis {axis} of `{name}` has {extent} elements, its size is {what}{want}"));
                    }
                }
                let fits = match layout {
                    Layout::Contiguous => t.layout() == Layout::Contiguous,
                    Layout::LastUnit => t.dims.last().is_none_or(|d| *d <= 1) || t.strides.last() == Some(&1),
                    Layout::Strided => true,
                };
                if fits { Ok(()) } else { Err(format!("the strides of `{name}` are not as promised ({layout:?})")) }
            }
            (ParamKind::Scalar { .. }, Arg::Tensor(_)) => Err(format!("`{name}` is a scalar, not a tensor")),
            (ParamKind::Tensor { .. }, Arg::Scalar(_)) => Err(format!("`{name}` is a tensor, not a scalar")),
        }
    }
    /// The tensor given for a parameter, if it is one.
    pub fn tensor(&self, param: usize) -> Option<&TensorArg> {
        match self.params.get(param) {
            Some(Arg::Tensor(t)) => Some(t),
            Some(Arg::Scalar(_)) | None => None,
        }
    }
    /// The tensor given for a parameter, if it is one, for writing.
    pub fn tensor_mut(&mut self, param: usize) -> Option<&mut TensorArg> {
        match self.params.get_mut(param) {
            Some(Arg::Tensor(t)) => Some(t),
            Some(Arg::Scalar(_)) | None => None,
        }
    }
    /// The scalar given for a parameter, if it is one.
    pub fn scalar(&self, param: usize) -> Option<Literal> {
        match self.params.get(param) {
            Some(Arg::Scalar(l)) => Some(*l),
            Some(Arg::Tensor(_)) | None => None,
        }
    }
}

impl From<TensorArg> for Arg {
    fn from(t: TensorArg) -> Arg {
        Arg::Tensor(t)
    }
}

impl From<Literal> for Arg {
    fn from(l: Literal) -> Arg {
        Arg::Scalar(l)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Loc;
    use crate::tile::SymbolId;

    fn iota(dims: &[u64]) -> TensorArg {
        TensorArg::from_i64s(DType::I32, dims, 0..dims.iter().product::<u64>() as i64)
    }

    #[test]
    fn reads_and_writes_are_bounds_checked() {
        let mut t = iota(&[2, 3]);
        assert_eq!(t.get(&[1, 2]).map(Literal::to_i64), Some(5));
        for outside in [[2, 0], [0, 3], [-1, 0]] {
            assert_eq!(t.get(&outside), None);
            assert!(!t.set(&outside, Literal::from_i64(DType::I32, 1)));
        }
        assert!(!t.set(&[0, 0], Literal::from_i64(DType::I64, 1)), "the type must match");
        assert!(t.set(&[0, 1], Literal::from_i64(DType::I32, -7)));
        assert_eq!(t.to_i64s(), [0, -7, 2, 3, 4, 5]);
    }

    #[test]
    fn layouts() {
        let t = iota(&[2, 3]);
        assert_eq!(t.layout(), Layout::Contiguous);
        let gap = t.relaid(&[0, 1], 2);
        assert_eq!((gap.layout(), gap.strides(), gap.to_i64s()), (Layout::LastUnit, &[5, 1][..], t.to_i64s()));
        let turned = t.relaid(&[1, 0], 0);
        assert_eq!((turned.layout(), turned.to_i64s()), (Layout::Strided, t.to_i64s()));
        let flipped = TensorArg::strided(DType::I32, &[2, 3], &[3, -1], 2, t.data().to_vec()).unwrap();
        assert_eq!(flipped.to_i64s(), [2, 1, 0, 5, 4, 3]);
        let outside = TensorArg::strided(DType::I32, &[2, 3], &[3, -1], 1, t.data().to_vec());
        assert_eq!(outside.unwrap_err(), "elements -1..=4 are reached, the storage holds 6");
        assert!(TensorArg::strided(DType::I32, &[0, 3], &[3, -1], 0, vec![]).unwrap().elements().is_empty());
    }

    #[test]
    fn binding_takes_sizes_from_extents() {
        let symbols = [Symbol { name: "m".into() }, Symbol { name: "k".into() }];
        let dims = [Dim::Symbol(SymbolId(0)), Dim::Const(3)].into_iter().collect();
        let kind = ParamKind::Tensor { dtype: DType::I32, dims, mutable: false, layout: Layout::Contiguous };
        let params = [Param { name: "x".into(), kind, at: Loc::UNKNOWN }];
        let bind = |t: TensorArg, given: &[(&str, u64)]| Args::bind(&params, &symbols, vec![t.into()], given);
        assert_eq!(bind(iota(&[2, 3]), &[("k", 9)]).unwrap().symbols, [2, 9]);
        assert_eq!(bind(iota(&[2, 3]), &[]).unwrap_err(), "the size `k` has no value");
        assert_eq!(bind(iota(&[2, 4]), &[("k", 9)]).unwrap_err(), "axis 1 of `x` has 4 elements, its size is 3");
        assert_eq!(
            bind(iota(&[2, 3]), &[("k", 9), ("m", 5)]).unwrap_err(),
            "axis 0 of `x` has 2 elements, its size is m = 5"
        );
        assert!(bind(iota(&[2, 3]).relaid(&[1, 0], 0), &[("k", 9)]).unwrap_err().contains("strides of `x`"));
    }

    #[test]
    fn comparison() {
        let a = TensorArg::from_f64s(DType::F32, &[3], [1.0, f64::NAN, f64::INFINITY]);
        assert_eq!(a.close_to(&a, 0.0, 0.0), Ok(()));
        let b = TensorArg::from_f64s(DType::F32, &[3], [1.001, f64::NAN, 3.0]);
        let said = a.close_to(&b, 0.0, 0.01).unwrap_err();
        assert_eq!(said, "1 of 3 elements differ; at [2]: inf where 3.0 was expected");
    }
}
