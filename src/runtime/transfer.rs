//! Tensors between devices, and the elements of those that are not on the host.
//!
//! In: tensors of any strides on any device. Out: row-major tensors, or elements, where they were asked for. What
//! becomes host memory is valid: bytes of a `bool` are made 0 or 1 whatever a device left there.

use super::device::Device;
use super::extent::{count, reach, row_major};
use super::tensor::Tensor;
use super::{cuda, mode};
use crate::error::{Error, Result};
use crate::lang::Elem;
use helion_ir::dtype::DType;
use smallvec::SmallVec;

/// Copies of rows that one strided copy on a device may take; more go through the host.
const ROWS_AT_ONCE: usize = 256;

impl<T: Elem, const R: usize> Tensor<T, R> {
    /// A tensor to be written, on a device. Its elements are arbitrary, but initialised.
    pub fn new_on(device: Device, dims: [usize; R]) -> Self {
        Self::allocate(device, dims, false).unwrap_or_else(|e| Self::failed(dims, e))
    }
    /// Zeros (`false` for `bool`), on a device.
    pub fn zeros_on(device: Device, dims: [usize; R]) -> Self {
        Self::allocate(device, dims, true).unwrap_or_else(|e| Self::failed(dims, e))
    }

    /// The same elements on a device: itself if it is there, else a row-major copy.
    ///
    /// ```no_run
    /// # use helion::prelude::*;
    /// # fn main() -> Result<()> {
    /// let x = Tensor::<f32, 1>::full([1000], 0.5).to(Device::cuda(0)?)?;
    /// let y = x.to(Device::Cpu)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the tensor could not be made, the device cannot be used, or memory is short.
    pub fn to(&self, device: Device) -> Result<Self> {
        self.check()?;
        match (self.device(), device) {
            (Device::Cpu, Device::Cpu) => Ok(self.clone()),
            (Device::Cuda(from), Device::Cuda(to)) if from == to => Ok(self.clone()),
            (Device::Cpu, Device::Cuda(_)) => self.upload(device),
            (Device::Cuda(n), Device::Cpu) => self.download(cuda::gpu(n)?),
            (Device::Cuda(_), Device::Cuda(_)) => self.to(Device::Cpu)?.to(device),
        }
    }

    /// A tensor that was made on the host, on the device where new tensors go.
    pub(super) fn placed(self) -> Result<Self> {
        let device = mode::device();
        if device == Device::Cpu { Ok(self) } else { self.to(device) }
    }

    fn upload(&self, device: Device) -> Result<Self> {
        let from = self.contiguous();
        let out = Self::allocate(device, self.dims, false)?;
        let Device::Cuda(n) = device else { return Ok(from) };
        let elements = from.as_slice()?;
        // SAFETY: elements have no padding.
        let bytes = unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), size_of_val(elements)) };
        if !bytes.is_empty() {
            // SAFETY: the new tensor has as many bytes.
            unsafe { cuda::write(cuda::gpu(n)?, out.ptr.as_ptr().cast(), bytes) }?;
        }
        Ok(out)
    }

    fn download(&self, gpu: &'static cuda::Gpu) -> Result<Self> {
        if self.is_contiguous() {
            let mut out = Self::allocate(Device::Cpu, self.dims, false)?;
            // SAFETY: as many elements as the tensor has lie there.
            unsafe { fetch(gpu, self.ptr.as_ptr(), out.as_mut_slice()?) }?;
            return Ok(out);
        }
        // Everything between the first and the last element, then a view of that.
        let (lo, hi) = reach(&self.dims, &self.strides).unwrap_or((0, -1));
        let mut all = Tensor::<T, 1>::allocate(Device::Cpu, [hi.abs_diff(lo - 1)], false)?;
        // SAFETY: memory between two elements of a tensor belongs to its storage.
        unsafe { fetch(gpu, self.ptr.as_ptr().wrapping_offset(lo), all.as_mut_slice()?) }?;
        let start = all.ptr.as_ptr().wrapping_offset(lo.wrapping_neg());
        let ptr = std::ptr::NonNull::new(start).ok_or_else(|| Error::internal("a view at address 0"))?;
        let (dims, strides) = (self.dims, self.strides);
        Ok(Tensor { ptr, dims, strides, storage: all.storage, element: std::marker::PhantomData }.copy())
    }

    /// A copy of the elements of a tensor on a GPU.
    pub(super) fn download_vec(&self, gpu: &'static cuda::Gpu) -> Result<Vec<T>> {
        if !self.is_contiguous() {
            return self.download(gpu)?.to_vec();
        }
        let n = count(&self.dims, size_of::<T>())?;
        let mut out = Vec::<T>::new();
        out.try_reserve_exact(n).map_err(|e| Error::memory(format!("a copy of {n} elements: {e}")))?;
        // SAFETY: there is room for so many elements, and zero bytes are a value of every element type.
        unsafe {
            out.as_mut_ptr().write_bytes(0, n);
            out.set_len(n);
        }
        // SAFETY: as many elements as the tensor has lie there.
        unsafe { fetch(gpu, self.ptr.as_ptr(), &mut out) }?;
        Ok(out)
    }

    /// One element of a tensor on a GPU, at a valid offset.
    pub(super) fn download_one(&self, gpu: &'static cuda::Gpu, offset: isize) -> Result<T> {
        let mut one = Tensor::<T, 1>::allocate(Device::Cpu, [1], true)?;
        let to = one.as_mut_slice()?;
        // SAFETY: an element of the tensor.
        unsafe { fetch(gpu, self.ptr.as_ptr().wrapping_offset(offset), to) }?;
        Ok(to[0])
    }

    /// Replaces one element of a tensor on a GPU, at a valid offset. The storage must be its own.
    pub(super) fn upload_one(&self, gpu: &'static cuda::Gpu, offset: isize, value: T) -> Result<()> {
        let value = [value];
        // SAFETY: elements have no padding.
        let bytes = unsafe { std::slice::from_raw_parts(value.as_ptr().cast::<u8>(), size_of::<T>()) };
        // SAFETY: an element of the tensor.
        unsafe { cuda::write(gpu, self.ptr.as_ptr().wrapping_offset(offset).cast(), bytes) }
    }

    /// A row-major copy of a tensor on a GPU, on that GPU.
    pub(super) fn copy_there(&self, gpu: &'static cuda::Gpu) -> Result<Self> {
        let size = size_of::<T>();
        let Some(walk) = Walk::of(&self.dims, &self.strides, size) else {
            return self.download(gpu)?.to(self.device());
        };
        let out = Self::allocate(self.device(), self.dims, false)?;
        let (mut from, mut to) = (self.ptr.as_ptr().cast::<u8>().cast_const(), out.ptr.as_ptr().cast::<u8>());
        let mut index = SmallVec::<[usize; 8]>::from_elem(0, walk.outer.len());
        loop {
            // SAFETY: rows of the tensor, to as many bytes of the new one.
            unsafe { cuda::copy(gpu, (to, walk.bytes), (from, walk.step), walk.bytes, walk.rows) }?;
            to = to.wrapping_add(walk.bytes * walk.rows);
            let Some(turn) = walk.next(&mut index) else { return Ok(out) };
            from = from.wrapping_offset(turn);
        }
    }

    /// What an operation on host memory says to a tensor that is elsewhere.
    pub(super) fn on_host(&self) -> Result<()> {
        if self.device() == Device::Cpu {
            return Ok(());
        }
        Err(Error::device(format!(
            "the tensor's elements are on {}, not in host memory\n  help: `.to(Device::Cpu)?` or `.to_vec()?` copies them",
            self.device()
        )))
    }
}

/// Copies elements from a device, and makes them valid.
///
/// # Safety
/// From `from` on there must be as many elements in live memory of the device.
unsafe fn fetch<T: Elem>(gpu: &'static cuda::Gpu, from: *const T, to: &mut [T]) -> Result<()> {
    if to.is_empty() {
        return Ok(());
    }
    // SAFETY: elements have no padding, and what is not valid is mended before anyone sees it.
    let bytes = unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u8>(), size_of_val(to)) };
    // SAFETY: promised by the caller.
    let result = unsafe { cuda::read(gpu, bytes, from.cast()) };
    if T::DTYPE == DType::Bool {
        bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    result
}

/// A strided tensor as copies of rows.
struct Walk {
    /// Bytes of a row, the distance to the next, and how many one copy takes.
    bytes: usize,
    step: usize,
    rows: usize,
    /// Extents and strides, in bytes, of what is left, the outermost first.
    outer: SmallVec<[(usize, isize); 8]>,
}

impl Walk {
    /// `None` when it takes too many copies.
    fn of(dims: &[usize], strides: &[isize], size: usize) -> Option<Walk> {
        let empty = Walk { bytes: 0, step: 0, rows: 0, outer: SmallVec::new() };
        if dims.contains(&0) {
            return Some(empty);
        }
        // Neighbouring axes that are evenly spaced are one; strides in bytes.
        let mut axes: SmallVec<[(usize, isize); 8]> = SmallVec::new();
        for (&d, &s) in dims.iter().zip(strides).filter(|(d, _)| **d != 1) {
            let s = s.checked_mul(size as isize)?;
            match axes.last_mut() {
                Some(last) if last.1 == s.checked_mul(isize::try_from(d).ok()?)? => *last = (last.0 * d, s),
                _ => axes.push((d, s)),
            }
        }
        let mut walk = Walk { bytes: size, step: size, rows: 1, outer: axes };
        if let Some(&(d, s)) = walk.outer.last()
            && s == size as isize
        {
            (walk.bytes, walk.step) = (d * size, d * size);
            walk.outer.pop();
        }
        if let Some(&(d, s)) = walk.outer.last()
            && s >= walk.bytes as isize
        {
            (walk.rows, walk.step) = (d, s as usize);
            walk.outer.pop();
        }
        let copies = walk.outer.iter().try_fold(1usize, |n, a| n.checked_mul(a.0))?;
        (copies <= ROWS_AT_ONCE).then_some(walk)
    }

    /// The way to the next copy, in bytes.
    fn next(&self, index: &mut [usize]) -> Option<isize> {
        let mut turn = 0isize;
        for (i, &(d, s)) in index.iter_mut().zip(&self.outer).rev() {
            *i += 1;
            if *i < d {
                return Some(turn.wrapping_add(s));
            }
            turn = turn.wrapping_sub(s.wrapping_mul(d as isize - 1));
            *i = 0;
        }
        None
    }
}

/// Memory.
impl<T: Elem, const R: usize> Tensor<T, R> {
    /// Memory on a GPU for a new tensor.
    pub(super) fn allocate_there(n: usize, dims: [usize; R], zero: bool) -> Result<Self> {
        let bytes = count(&dims, size_of::<T>())? * size_of::<T>();
        let gpu = cuda::gpu(n)?;
        let storage = super::storage::Storage::gpu(n, cuda::Block::new(gpu, bytes)?);
        let ptr = storage.ptr();
        if zero || T::DTYPE == DType::Bool {
            // SAFETY: the block has so many bytes and is ours alone.
            unsafe { cuda::fill(gpu, ptr.as_ptr(), 0, bytes) }?;
        }
        let (strides, storage) = (row_major(&dims), std::sync::Arc::new(storage));
        Ok(Tensor { ptr: ptr.cast(), dims, strides, storage, element: std::marker::PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_copies_visit_every_row_once() {
        // Dims and strides in elements of four bytes.
        for (dims, strides, copies) in [
            (&[4usize, 5][..], &[5isize, 1][..], 1),
            (&[4, 5], &[8, 1], 1),
            (&[5, 4], &[1, 8], 5),
            (&[3, 4, 5], &[100, 8, 1], 3),
            (&[4, 5], &[-8, 1], 4),
            (&[7], &[-1], 7),
            (&[7], &[3], 1),
            (&[2, 3], &[0, 1], 2),
        ] {
            let walk = Walk::of(dims, strides, 4).unwrap();
            let (mut index, mut at, mut found, mut n) = (vec![0; walk.outer.len()], 0isize, Vec::new(), 0);
            loop {
                n += 1;
                for r in 0..walk.rows {
                    found.extend((0..walk.bytes / 4).map(|e| at / 4 + (r * walk.step / 4 + e) as isize));
                }
                let Some(turn) = walk.next(&mut index) else { break };
                at += turn;
            }
            let mut want = Vec::new();
            let mut i = vec![0usize; dims.len()];
            for _ in 0..dims.iter().product() {
                want.push(i.iter().zip(strides).map(|(&i, &s)| i as isize * s).sum::<isize>());
                for (i, &d) in i.iter_mut().zip(dims).rev() {
                    *i += 1;
                    if *i < d {
                        break;
                    }
                    *i = 0;
                }
            }
            assert_eq!((found, n), (want, copies), "{dims:?} {strides:?}");
        }
        assert!(Walk::of(&[1000, 1000], &[1, 1000], 4).is_none());
    }
}
