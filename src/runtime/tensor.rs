//! [`Tensor`]: a strided array over shared storage.
//!
//! **A tensor is a value.** Clones and views share memory and cost nothing, and writing to one tensor
//! never changes another: a tensor about to be written first makes sure that it is the only one that
//! refers to its storage, and takes a copy of its elements if it is not. So a kernel that takes
//! `&mut Tensor` writes in place when no clone or view is alive, and copies once when there is. Together
//! with rustc's rules for `&` and `&mut` this leaves no way to a data race or an aliased write.
//!
//! **A tensor that cannot be made** (its size overflows, or memory is short) remembers why. The
//! constructors that take only a shape do not return a `Result`, so that kernels stay short; such a
//! tensor has its shape but no elements, and every use of its elements returns the error.
//!
//! **A tensor lives on a device.** All of the above holds for every device; what hands out host memory (slices)
//! returns an error for a tensor that is elsewhere, and what copies elements gets them from there.

use super::alloc::Block;
use super::device::Device;
use super::extent::{count, is_contiguous, overlaps, reach, row_major};
use super::storage::Storage;
use super::{cuda, mode};
use crate::error::{Error, Result};
use crate::lang::Elem;
use helion_ir::dtype::DType;
use std::any::Any;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

/// A strided array of `R` axes on a device. See the module's head for who may write.
pub struct Tensor<T, const R: usize> {
    /// The element at index `[0; R]`; within the storage unless there are no elements.
    pub(super) ptr: NonNull<T>,
    pub(super) dims: [usize; R],
    /// In elements; may be zero or negative.
    pub(super) strides: [isize; R],
    pub(super) storage: Arc<Storage>,
    pub(super) element: PhantomData<T>,
}

// SAFETY: the pointer refers into `storage`, which is `Send + Sync`; see `Storage` for who writes.
unsafe impl<T: Send + Sync, const R: usize> Send for Tensor<T, R> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync, const R: usize> Sync for Tensor<T, R> {}

impl<T, const R: usize> Clone for Tensor<T, R> {
    /// Another tensor with the same elements; nothing is copied until one of them is written.
    fn clone(&self) -> Self {
        Tensor { storage: Arc::clone(&self.storage), ..*self }
    }
}

/// What a launch needs to know of one tensor. Only tensors make these; one that is `mutable` holds an
/// exclusive borrow of its tensor, whose storage is not shared.
#[derive(Clone, Copy, Debug)]
pub struct RawView<'a> {
    /// The element at index 0…0.
    pub(super) ptr: *mut u8,
    pub(super) device: Device,
    pub(super) dtype: DType,
    pub(super) dims: &'a [usize],
    /// In elements.
    pub(super) strides: &'a [isize],
    pub(super) mutable: bool,
}

impl<T: Elem, const R: usize> Tensor<T, R> {
    /// A tensor to be written. Its elements are arbitrary, but initialised.
    pub fn new(dims: [usize; R]) -> Self {
        Self::new_on(mode::device(), dims)
    }
    /// Zeros (`false` for `bool`).
    pub fn zeros(dims: [usize; R]) -> Self {
        Self::zeros_on(mode::device(), dims)
    }
    /// Every element the same.
    pub fn full(dims: [usize; R], value: T) -> Self {
        let mut t = Self::new_on(Device::Cpu, dims);
        if let Ok(s) = t.as_mut_slice() {
            s.fill(value);
        }
        t.placed().unwrap_or_else(|e| Self::failed(dims, e))
    }
    /// Elements by their index, in row-major order.
    pub fn from_fn(dims: [usize; R], mut f: impl FnMut([usize; R]) -> T) -> Self {
        let mut t = Self::new_on(Device::Cpu, dims);
        if let Ok(s) = t.as_mut_slice() {
            let mut index = [0; R];
            for v in s {
                *v = f(index);
                step(&mut index, &dims);
            }
        }
        t.placed().unwrap_or_else(|e| Self::failed(dims, e))
    }
    /// Copies elements given in row-major order.
    ///
    /// # Errors
    /// When their number is not that of the shape.
    pub fn from_slice(dims: [usize; R], elements: &[T]) -> Result<Self> {
        expect_count(&dims, size_of::<T>(), elements.len())?;
        let mut t = Self::allocate(Device::Cpu, dims, false)?;
        t.as_mut_slice()?.copy_from_slice(elements);
        t.placed()
    }
    /// Takes over elements given in row-major order. Small vectors and those that are not aligned to a
    /// cache line are copied, which makes kernels faster.
    ///
    /// # Errors
    /// When their number is not that of the shape.
    pub fn from_vec(dims: [usize; R], elements: Vec<T>) -> Result<Self> {
        expect_count(&dims, size_of::<T>(), elements.len())?;
        let bytes = size_of_val(&elements[..]);
        if bytes < super::alloc::HUGE || !(elements.as_ptr() as usize).is_multiple_of(64) {
            return Self::from_slice(dims, &elements);
        }
        let mut elements = elements;
        let ptr = NonNull::from(&mut elements[..]).cast::<T>();
        // SAFETY: the vector is moved into the owner, its heap memory stays where it is, and nobody else
        // refers to it.
        unsafe { Self::from_raw_parts(ptr, dims, row_major(&dims), true, Box::new(elements)) }?.placed()
    }

    /// A tensor over memory of another library, without a copy; `owner` is dropped with the last view.
    /// Strides are in elements; `ptr` is the element at index `[0; R]`.
    ///
    /// # Errors
    /// When the shape does not fit in the address space, the pointer is not aligned for `T`, or a
    /// `writable` tensor's elements overlap.
    ///
    /// # Safety
    /// Every element that an index reaches must be readable, hold a valid `T`, and not be changed by
    /// anyone else while `owner` lives; if `writable`, it must be writable and not be read by anyone
    /// else either.
    pub unsafe fn from_raw_parts(
        ptr: NonNull<T>,
        dims: [usize; R],
        strides: [isize; R],
        writable: bool,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        // SAFETY: promised by the caller.
        unsafe { Self::from_raw_parts_on(Device::Cpu, ptr, dims, strides, writable, owner) }
    }

    /// As [`from_raw_parts`](Self::from_raw_parts), for memory of any device; on a GPU `ptr` is an address there
    /// (`std::ptr::without_provenance_mut`).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// As there; on a GPU what is said holds for the device's memory, in the order of the streams that are used.
    pub unsafe fn from_raw_parts_on(
        device: Device,
        ptr: NonNull<T>,
        dims: [usize; R],
        strides: [isize; R],
        writable: bool,
        owner: Box<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        count(&dims, size_of::<T>())?;
        if !ptr.is_aligned() {
            return Err(Error::shape(format!("memory at {ptr:p} is not aligned for `{}`", T::DTYPE)));
        }
        if writable && overlaps(&dims, &strides) {
            return Err(overlap_error(&dims, &strides));
        }
        let (lo, hi) = reach(&dims, &strides).unwrap_or((0, -1));
        let outside = || Error::shape(format!("strides {strides:?} of shape {dims:?} leave the address space"));
        let size = size_of::<T>() as isize;
        let bytes = hi.checked_sub(lo).and_then(|n| n.checked_add(1)?.checked_mul(size)).ok_or_else(outside)?;
        let start = lo.checked_mul(size).and_then(|o| (ptr.as_ptr() as usize).checked_add_signed(o));
        start.and_then(|s| s.checked_add(bytes as usize)).ok_or_else(outside)?;
        let first = NonNull::new(ptr.as_ptr().wrapping_offset(lo).cast::<u8>()).ok_or_else(outside)?;
        // SAFETY: promised by the caller for exactly this range.
        let storage = unsafe { Storage::foreign(device, first, writable, owner) };
        Ok(Tensor { ptr, dims, strides, storage: Arc::new(storage), element: PhantomData })
    }

    pub(super) fn allocate(device: Device, dims: [usize; R], zero: bool) -> Result<Self> {
        if let Device::Cuda(n) = device {
            return Self::allocate_there(n, dims, zero);
        }
        let bytes = count(&dims, size_of::<T>())? * size_of::<T>();
        let block = Block::new(bytes)?;
        // Stale bytes are values of every element type but `bool`.
        if (zero || T::DTYPE == DType::Bool) && !block.is_zeroed() {
            // SAFETY: the block has at least `bytes` bytes and is ours alone.
            unsafe { block.ptr().write_bytes(0, bytes) };
        }
        let (ptr, storage) = (block.ptr().cast(), Arc::new(Storage::block(block)));
        Ok(Tensor { ptr, dims, strides: row_major(&dims), storage, element: PhantomData })
    }

    /// A tensor that could not be made: all indices share one readable zero.
    pub(super) fn failed(dims: [usize; R], error: Error) -> Self {
        let storage = Arc::new(Storage::failed(error));
        Tensor { ptr: storage.ptr().cast(), dims, strides: [0; R], storage, element: PhantomData }
    }
}

/// Of the kind of an existing tensor.
impl<T: Elem, const R: usize> Tensor<T, R> {
    /// A tensor to be written, of the same shape and element type, row-major.
    pub fn empty_like(&self) -> Self {
        Self::new_on(self.device(), self.dims)
    }
    /// Zeros of the same shape and element type, row-major.
    pub fn zeros_like(&self) -> Self {
        Self::zeros_on(self.device(), self.dims)
    }
    /// A tensor to be written, of the same element type and device.
    pub fn empty<const Q: usize>(&self, dims: [usize; Q]) -> Tensor<T, Q> {
        Tensor::new_on(self.device(), dims)
    }
    /// A tensor to be written, of another element type (`x.empty_of::<f32, _>([m])`) and the same device.
    pub fn empty_of<U: Elem, const Q: usize>(&self, dims: [usize; Q]) -> Tensor<U, Q> {
        Tensor::new_on(self.device(), dims)
    }
}

/// Facts.
impl<T, const R: usize> Tensor<T, R> {
    /// The extent of each axis.
    pub fn dims(&self) -> [usize; R] {
        self.dims
    }
    /// The distance in elements between neighbours along each axis.
    pub fn strides(&self) -> [isize; R] {
        self.strides
    }
    /// The number of elements (saturating for tensors made by `expand`).
    pub fn len(&self) -> usize {
        self.dims.iter().fold(1usize, |n, &d| n.saturating_mul(d)) * usize::from(!self.dims.contains(&0))
    }
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }
    /// The number of axes.
    pub const fn rank(&self) -> usize {
        R
    }
    /// Where it lives.
    pub fn device(&self) -> Device {
        self.storage.device()
    }
    /// Whether elements lie row-major without gaps.
    pub fn is_contiguous(&self) -> bool {
        is_contiguous(&self.dims, &self.strides)
    }
    /// Whether no other tensor shares the memory, so that writing copies nothing.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.storage) == 1 && self.storage.writable()
    }
    /// Address of the element at index `[0; R]`.
    pub fn as_ptr(&self) -> *const T {
        self.ptr.as_ptr()
    }
    /// Why the tensor has no elements, if it could not be made.
    ///
    /// # Errors
    /// That reason.
    pub fn check(&self) -> Result<()> {
        self.storage.error().map_or(Ok(()), |e| Err(e.clone()))
    }
}

/// Elements.
impl<T: Elem, const R: usize> Tensor<T, R> {
    /// The elements in row-major order.
    ///
    /// # Errors
    /// When they do not lie so in memory (`contiguous()` makes a tensor whose elements do), or not on the host.
    pub fn as_slice(&self) -> Result<&[T]> {
        self.check()?;
        self.on_host()?;
        if !self.is_contiguous() {
            return Err(not_contiguous(&self.dims, &self.strides));
        }
        // SAFETY: `len` elements from `ptr` are in the storage, initialised, and not written while this
        // tensor is borrowed: another tensor on this storage would copy first.
        Ok(unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len()) })
    }
    /// The elements in row-major order, to be written. Copies them first if another tensor shares them.
    ///
    /// # Errors
    /// When they do not lie so in memory, or not on the host.
    pub fn as_mut_slice(&mut self) -> Result<&mut [T]> {
        self.check()?;
        self.on_host()?;
        if !self.is_contiguous() {
            return Err(not_contiguous(&self.dims, &self.strides));
        }
        self.make_unique()?;
        // SAFETY: as in `as_slice`; the storage is ours alone and writable, and we are borrowed mutably.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len()) })
    }
    /// A copy of the elements in row-major order.
    ///
    /// # Errors
    /// When the tensor could not be made, or memory is short.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        self.check()?;
        if let Device::Cuda(n) = self.device() {
            return self.download_vec(cuda::gpu(n)?);
        }
        if let Ok(s) = self.as_slice() {
            return copy_of(s);
        }
        let n = count(&self.dims, size_of::<T>())?;
        let mut out = Vec::new();
        out.try_reserve_exact(n).map_err(|e| Error::memory(format!("a copy of {n} elements: {e}")))?;
        let mut index = [0; R];
        for _ in 0..n {
            // SAFETY: `step` visits every index in range once.
            out.push(unsafe { self.at(&index) });
            step(&mut index, &self.dims);
        }
        Ok(out)
    }
    /// One element; of a tensor on a GPU that takes a copy for each, `to_vec` one for all.
    pub fn get(&self, index: [usize; R]) -> Option<T> {
        let inside = self.check().is_ok() && index.iter().zip(&self.dims).all(|(i, d)| i < d);
        if let (Device::Cuda(n), true) = (self.device(), inside) {
            return self.download_one(cuda::gpu(n).ok()?, offset(&index, &self.strides)).ok();
        }
        // SAFETY: the index is in range.
        inside.then(|| unsafe { self.at(&index) })
    }
    /// Replaces one element. Copies all first if another tensor shares them.
    ///
    /// # Errors
    /// When the index is outside, or the tensor cannot be written.
    pub fn set(&mut self, index: [usize; R], value: T) -> Result<()> {
        if !index.iter().zip(&self.dims).all(|(i, d)| i < d) {
            return Err(Error::shape(format!("index {index:?} is outside a tensor of shape {:?}", self.dims)));
        }
        self.make_unique()?;
        if let Device::Cuda(n) = self.device() {
            return self.upload_one(cuda::gpu(n)?, offset(&index, &self.strides), value);
        }
        // SAFETY: the index is in range, and the storage is ours alone and writable.
        unsafe { self.ptr.offset(offset(&index, &self.strides)).write(value) };
        Ok(())
    }
    /// The elements as row-major memory: itself if they lie so, a copy otherwise.
    #[must_use]
    pub fn contiguous(&self) -> Self {
        if self.is_contiguous() { self.clone() } else { self.copy() }
    }
    /// A row-major copy that shares nothing.
    #[must_use]
    pub fn copy(&self) -> Self {
        self.try_copy().unwrap_or_else(|e| Self::failed(self.dims, e))
    }

    fn try_copy(&self) -> Result<Self> {
        self.check()?;
        if let Device::Cuda(n) = self.device() {
            return self.copy_there(cuda::gpu(n)?);
        }
        let mut out = Self::allocate(Device::Cpu, self.dims, false)?;
        let source = self.as_slice();
        // Fresh and not shared: this does not come back here.
        let to = out.as_mut_slice()?;
        match source {
            Ok(from) => to.copy_from_slice(from),
            Err(_) => {
                let mut index = [0; R];
                for v in to {
                    // SAFETY: `step` visits every index in range once.
                    *v = unsafe { self.at(&index) };
                    step(&mut index, &self.dims);
                }
            }
        }
        Ok(out)
    }

    /// # Safety
    /// The index must be in range, the elements on the host, and the tensor not a failed one of a non-zero-able type.
    pub(super) unsafe fn at(&self, index: &[usize; R]) -> T {
        // SAFETY: in range means inside the storage.
        unsafe { self.ptr.offset(offset(index, &self.strides)).read() }
    }

    /// After this the storage belongs to this tensor alone and may be written at every element.
    ///
    /// # Errors
    /// When elements overlap (`expand`), the tensor could not be made, or a copy finds no memory.
    pub(super) fn make_unique(&mut self) -> Result<()> {
        if Arc::get_mut(&mut self.storage).is_some_and(|s| s.writable()) {
            // Contiguous is the common case and never overlaps.
            return if self.is_contiguous() { Ok(()) } else { self.check_overlap() };
        }
        self.check()?;
        self.check_overlap()?;
        *self = self.try_copy()?;
        Ok(())
    }

    fn check_overlap(&self) -> Result<()> {
        if overlaps(&self.dims, &self.strides) { Err(overlap_error(&self.dims, &self.strides)) } else { Ok(()) }
    }
}

/// For launches.
impl<T: Elem, const R: usize> Tensor<T, R> {
    /// What a launch that reads needs.
    ///
    /// # Errors
    /// When the tensor could not be made.
    pub fn raw(&self) -> Result<RawView<'_>> {
        self.check()?;
        let (ptr, dtype) = (self.ptr.as_ptr().cast(), T::DTYPE);
        let device = self.device();
        Ok(RawView { ptr, device, dtype, dims: &self.dims, strides: &self.strides, mutable: false })
    }
    /// What a launch that writes needs. Copies the elements first if another tensor shares them.
    ///
    /// # Errors
    /// When the tensor could not be made or cannot be written.
    pub fn raw_mut(&mut self) -> Result<RawView<'_>> {
        self.check()?;
        self.make_unique()?;
        let (ptr, dtype) = (self.ptr.as_ptr().cast(), T::DTYPE);
        let device = self.device();
        Ok(RawView { ptr, device, dtype, dims: &self.dims, strides: &self.strides, mutable: true })
    }
}

/// The element offset of an index in range.
pub(super) fn offset<const R: usize>(index: &[usize; R], strides: &[isize; R]) -> isize {
    index.iter().zip(strides).map(|(&i, &s)| i as isize * s).sum()
}

/// The next index in row-major order.
pub(super) fn step<const R: usize>(index: &mut [usize; R], dims: &[usize; R]) {
    for (i, &d) in index.iter_mut().zip(dims).rev() {
        *i += 1;
        if *i < d {
            return;
        }
        *i = 0;
    }
}

fn expect_count(dims: &[usize], size: usize, found: usize) -> Result<()> {
    let expected = count(dims, size)?;
    if expected == found {
        return Ok(());
    }
    Err(Error::shape(format!("a tensor of shape {dims:?} has {expected} elements; {found} were given")))
}

fn copy_of<T: Copy>(s: &[T]) -> Result<Vec<T>> {
    let mut out = Vec::new();
    out.try_reserve_exact(s.len()).map_err(|e| Error::memory(format!("a copy of {} elements: {e}", s.len())))?;
    out.extend_from_slice(s);
    Ok(out)
}

fn not_contiguous(dims: &[usize], strides: &[isize]) -> Error {
    Error::shape(format!(
        "a tensor of shape {dims:?} with strides {strides:?} is not row-major in memory\n  help: use `.contiguous()` or `.to_vec()`"
    ))
}

fn overlap_error(dims: &[usize], strides: &[isize]) -> Error {
    Error::access(format!(
        "a tensor of shape {dims:?} with strides {strides:?} cannot be written: several of its elements are the same memory\n  help: write to `.copy()` of it"
    ))
}
