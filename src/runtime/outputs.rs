//! Copies of the tensors a launch writes, for runs that must not touch the originals.

use super::alloc::Block;
use super::extent::reach;
use super::launch::State;
use super::show::close;
use crate::error::{Error, Result};
use helion_ir::dtype::{Class, DType, Literal};

/// Copies of all written tensors of a launch: what they held, and memory to run on.
pub(super) struct Outputs {
    copies: Vec<Copy>,
    dtypes: Vec<DType>,
}

/// One tensor, laid out with the strides of the original.
struct Copy {
    /// Which argument word is its address.
    word: usize,
    /// Bytes from the start of the memory to the element at index 0…0.
    offset: usize,
    /// What the original held; zero between elements.
    original: Vec<u8>,
    memory: Block,
}

impl Outputs {
    /// Copies every written tensor of a launch.
    ///
    /// # Errors
    /// When memory is short.
    ///
    /// # Safety
    /// The launch's written tensors must be live, and not written by anyone meanwhile.
    pub(super) unsafe fn copy(state: &State) -> Result<Outputs> {
        let mut out = Outputs { copies: Vec::new(), dtypes: Vec::new() };
        for c in &state.captures {
            let Some(t) = c.tensor.as_ref().filter(|t| t.mutable) else { continue };
            let words = &state.words[c.word..];
            let dims: Vec<usize> = words[1..1 + t.rank].iter().map(|&d| d as usize).collect();
            let strides: Vec<isize> = words[1 + t.rank..1 + 2 * t.rank].iter().map(|&s| s as isize).collect();
            // SAFETY: promised by the caller; the words describe a tensor.
            out.copies.push(unsafe { Copy::new(c.word, words[0] as *const u8, c.dtype.size(), &dims, &strides) }?);
            out.dtypes.push(c.dtype);
        }
        Ok(out)
    }

    /// Puts the copies' addresses in place of the originals'.
    pub(super) fn redirect(&self, words: &mut [u64]) {
        for c in &self.copies {
            words[c.word] = c.memory.ptr().as_ptr() as u64 + c.offset as u64;
        }
    }

    /// Makes the copies hold what the originals held.
    pub(super) fn restore(&mut self) {
        for c in &mut self.copies {
            // SAFETY: the memory has at least as many bytes as the original, and is ours.
            unsafe { c.memory.ptr().as_ptr().copy_from_nonoverlapping(c.original.as_ptr(), c.original.len()) };
        }
    }

    /// What the copies hold now.
    pub(super) fn bytes(&self) -> Vec<Vec<u8>> {
        // SAFETY: the memory has so many bytes, all initialised, and is ours.
        let of = |c: &Copy| unsafe { std::slice::from_raw_parts(c.memory.ptr().as_ptr(), c.original.len()) };
        self.copies.iter().map(|c| of(c).to_vec()).collect()
    }

    /// Element types of the copies.
    pub(super) fn dtypes(&self) -> &[DType] {
        &self.dtypes
    }
}

impl Copy {
    /// # Safety
    /// `from` is the element at index 0…0 of a live tensor of this shape that nobody writes.
    unsafe fn new(word: usize, from: *const u8, size: usize, dims: &[usize], strides: &[isize]) -> Result<Copy> {
        let (lo, hi) = reach(dims, strides).unwrap_or((0, -1));
        let short = || Error::memory("no memory for a copy of an output while tuning");
        let elements = usize::try_from(hi - lo + 1).map_err(|_| short())?;
        let bytes = elements.checked_mul(size).ok_or_else(short)?;
        let mut original = Vec::new();
        original.try_reserve_exact(bytes).map_err(|_| short())?;
        original.resize(bytes, 0);
        let offset = lo.unsigned_abs() * size;
        let count: usize = if elements == 0 { 0 } else { dims.iter().product() };
        if count == elements {
            // Without gaps all at once. SAFETY: from the lowest element on there are `bytes` bytes of tensor.
            unsafe { from.sub(offset).copy_to_nonoverlapping(original.as_mut_ptr(), bytes) };
        } else {
            let mut index = vec![0usize; dims.len()];
            for _ in 0..count {
                let at: isize = index.iter().zip(strides).map(|(&i, &s)| i as isize * s).sum();
                let to = (at - lo) as usize * size;
                // SAFETY: an element of the tensor, and its place in the copy.
                unsafe {
                    from.offset(at * size as isize).copy_to_nonoverlapping(original[to..to + size].as_mut_ptr(), size)
                };
                next(&mut index, dims);
            }
        }
        Ok(Copy { word, offset, original, memory: Block::new(bytes)? })
    }
}

fn next(index: &mut [usize], dims: &[usize]) {
    for (i, &d) in index.iter_mut().zip(dims).rev() {
        *i += 1;
        if *i < d {
            return;
        }
        *i = 0;
    }
}

/// What is different between two results, in words; `None` when they are the same up to rounding.
pub(super) fn same(dtypes: &[DType], expected: &[Vec<u8>], found: &[Vec<u8>]) -> Option<String> {
    dtypes.iter().zip(expected).zip(found).enumerate().find_map(|(n, ((&dtype, e), f))| {
        if e == f {
            return None;
        }
        let size = dtype.size();
        let value = |b: &[u8]| {
            let mut w = [0u8; 8];
            w[..size].copy_from_slice(b);
            Literal::from_bits(dtype, u64::from_le_bytes(w)).to_f64()
        };
        let relative = tolerance(dtype);
        let scale = if relative == 0.0 { 0.0 } else { mean(e.chunks_exact(size).map(value)) };
        let pairs = e.chunks_exact(size).zip(f.chunks_exact(size));
        let wrong = pairs.filter(|(a, b)| a != b).map(|(a, b)| (value(a), value(b)));
        let mut wrong = wrong.filter(|(a, b)| !close(*b, *a, relative, relative * scale));
        wrong.next().map(|(a, b)| format!("output {n} differs from the default's: expected {a}, found {b}"))
    })
}

/// Relative error that another order of summation may cause.
fn tolerance(dtype: DType) -> f64 {
    match dtype.class() {
        Class::Bool | Class::Signed | Class::Unsigned => 0.0,
        Class::Storage => 0.25,
        Class::Float if dtype.size() == 2 => 2e-2,
        Class::Float if dtype.size() == 4 => 1e-3,
        Class::Float => 1e-9,
    }
}

/// The mean size of finite values.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.filter(|v| v.is_finite()).fold((0.0, 0.0), |(s, n), v| (s + v.abs(), n + 1.0));
    if n == 0.0 { 0.0 } else { sum / n }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_not_a_difference() {
        let bytes = |v: &[f32]| vec![v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()];
        let (a, b, c) = (bytes(&[1.0, 2.0]), bytes(&[1.0, 2.0005]), bytes(&[1.0, 2.1]));
        assert_eq!(same(&[DType::F32], &a, &b), None);
        assert!(same(&[DType::F32], &a, &c).unwrap().contains("expected 2, found 2.0"));
        let nan = bytes(&[1.0, f32::NAN]);
        assert_eq!(same(&[DType::F32], &nan, &nan), None);
        assert!(same(&[DType::F32], &a, &nan).is_some());
        assert!(same(&[DType::I32], &[1i32.to_le_bytes().to_vec()], &[2i32.to_le_bytes().to_vec()]).is_some());
    }

    #[test]
    fn copies_keep_strides() {
        let data: Vec<u32> = (0..20).collect();
        // SAFETY: within `data`; strides 1 and -5 from element 15 on.
        let c = unsafe { Copy::new(0, data.as_ptr().add(15).cast(), 4, &[4, 3], &[-5, 1]) }.unwrap();
        assert_eq!((c.offset, c.original.len()), (60, 72));
        let at = |e: usize| u32::from_le_bytes(c.original[4 * e..4 * e + 4].try_into().unwrap());
        assert_eq!((at(0), at(2), at(3), at(15), at(17)), (0, 2, 0, 15, 17));
        // SAFETY: no elements.
        let none = unsafe { Copy::new(0, std::ptr::dangling(), 4, &[0, 3], &[3, 1]) }.unwrap();
        assert!(none.original.is_empty());
    }
}
