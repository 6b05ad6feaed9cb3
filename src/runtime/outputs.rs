//! Copies of the tensors a launch writes, for runs that must not touch the originals.
//!
//! A tensor that the kernel only writes is filled with a pattern before a run, so that what stays unwritten shows.
//! One that it also reads, or updates atomically, gets what the original holds. Bytes before and after each copy
//! must stay as they are. Copies lie in their pages as the originals do.

use super::alloc::{Block, HUGE};
use super::cuda;
use super::device::Device;
use super::extent::reach;
use super::launch::State;
use crate::error::{Error, Result};
use helion_ir::dtype::DType;
use helion_ir::tile::{AccessKind, Function, Inst};

/// What write-only outputs are filled with: not a number in every float type, and a large number.
pub(super) const PATTERNS: [u8; 2] = [0xff, 0x7b];
/// Bytes before and after a copy that are looked at.
const MARGIN: usize = 4096;

/// Copies of all written tensors of a launch.
pub(super) struct Outputs {
    copies: Vec<Copy>,
}

/// One tensor, laid out with the strides of the original.
struct Copy {
    /// Which argument word is its address.
    word: usize,
    dtype: DType,
    /// Bytes from the lowest element to the one at index 0…0.
    offset: usize,
    /// Bytes from the lowest element to the end of the highest.
    bytes: usize,
    /// Bytes of memory before the lowest element.
    lead: usize,
    /// What the original holds, zero between elements; only if the kernel reads it.
    original: Option<Vec<u8>>,
    /// Present once allocated.
    memory: Option<Block>,
}

impl Outputs {
    /// Describes every written tensor of a launch of `f`. Memory comes later, in the process that runs it.
    ///
    /// # Errors
    /// When memory is short.
    ///
    /// # Safety
    /// The launch's written tensors must be live, and not written by anyone meanwhile.
    pub(super) unsafe fn new(state: &State, f: &Function) -> Result<Outputs> {
        let read = read_params(f);
        let mut copies = Vec::new();
        for (i, c) in state.captures.iter().enumerate() {
            let Some(t) = c.tensor.as_ref().filter(|t| t.mutable) else { continue };
            let words = &state.words[c.word..];
            let (dims, strides) = shape(words, t.rank);
            let keep = read.get(i).copied().unwrap_or(true);
            // SAFETY: promised by the caller; the words describe a tensor.
            copies.push(unsafe { Copy::new(c.word, words[0] as *const u8, c.dtype, &dims, &strides, keep) }?);
        }
        Ok(Outputs { copies })
    }

    /// Gets memory for the copies.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn allocate(&mut self) -> Result<()> {
        for c in &mut self.copies {
            c.memory = Some(Block::new(c.lead + c.bytes + MARGIN)?);
        }
        Ok(())
    }

    /// Puts the copies' addresses in place of the originals'. They must be allocated.
    pub(super) fn redirect(&self, words: &mut [u64]) {
        for c in &self.copies {
            words[c.word] = c.start() as u64 + c.offset as u64;
        }
    }

    /// Fills write-only copies with a pattern, and makes the others hold what the originals held.
    pub(super) fn reset(&mut self, pattern: u8) {
        for c in &mut self.copies {
            let start = c.start();
            // SAFETY: the memory has `lead`, then `bytes`, then `MARGIN` bytes, lead is at least `MARGIN`, and all
            // of it is ours.
            unsafe { start.sub(MARGIN).write_bytes(pattern, MARGIN + c.bytes + MARGIN) };
        }
        self.restore();
    }

    /// Makes copies of what the kernel reads hold what the originals held.
    pub(super) fn restore(&mut self) {
        for c in &self.copies {
            if let Some(original) = &c.original {
                // SAFETY: the copy has as many bytes as the original, and is ours.
                unsafe { c.start().copy_from_nonoverlapping(original.as_ptr(), c.bytes) };
            }
        }
    }

    /// Whether a launch reads what it writes, so that a second one on the same memory would do something else.
    pub(super) fn in_place(&self) -> bool {
        self.copies.iter().any(|c| c.original.is_some())
    }

    /// The first output with a byte before or after it that is not the pattern any more.
    pub(super) fn overrun(&self, pattern: u8) -> Option<usize> {
        self.copies.iter().position(|c| {
            // SAFETY: initialised memory of ours before and after the copy.
            let (before, after) = unsafe {
                let before = std::slice::from_raw_parts(c.start().sub(MARGIN), MARGIN);
                (before, std::slice::from_raw_parts(c.start().add(c.bytes), MARGIN))
            };
            before.iter().chain(after).any(|b| *b != pattern)
        })
    }

    /// What the copies hold now, gaps between elements included.
    pub(super) fn bytes(&self) -> impl Iterator<Item = (DType, &[u8])> {
        // SAFETY: the memory has so many bytes, all initialised, and is ours.
        self.copies.iter().map(|c| (c.dtype, unsafe { std::slice::from_raw_parts(c.start(), c.bytes) }))
    }

    /// Bytes of all copies.
    pub(super) fn size(&self) -> usize {
        self.copies.iter().map(|c| c.bytes).sum()
    }
}

#[cfg(test)]
impl Outputs {
    /// One write-only output of so many `f32`, for tests.
    pub(super) fn of_f32(count: usize) -> Outputs {
        // SAFETY: nothing is read.
        let copy = unsafe { Copy::new(0, std::ptr::without_provenance(4096), DType::F32, &[count], &[1], false) };
        Outputs { copies: copy.into_iter().collect() }
    }
}

/// What the tensors written by a launch hold now.
///
/// # Errors
/// When memory is short.
///
/// # Safety
/// The launch's written tensors must be live, and not written by anyone meanwhile.
pub(super) unsafe fn written(state: &State) -> Result<Vec<(DType, Vec<u8>)>> {
    let mut all = Vec::new();
    for c in &state.captures {
        let Some(t) = c.tensor.as_ref().filter(|t| t.mutable) else { continue };
        let (dims, strides) = shape(&state.words[c.word..], t.rank);
        // SAFETY: promised by the caller; the words describe a tensor.
        all.push((c.dtype, unsafe {
            held(state.device(), state.words[c.word] as *const u8, c.dtype, &dims, &strides)
        }?));
    }
    Ok(all)
}

/// The bytes of a tensor on a device, from its lowest element on, zero between elements.
///
/// # Errors
/// When memory is short, or the device is lost.
///
/// # Safety
/// `from` is the element at index 0…0 of a live tensor of this shape that nobody writes.
pub(super) unsafe fn held(
    device: Device,
    from: *const u8,
    dtype: DType,
    dims: &[usize],
    strides: &[isize],
) -> Result<Vec<u8>> {
    let n = match device {
        Device::Cpu => {
            // SAFETY: promised by the caller.
            let copy = unsafe { Copy::new(0, from, dtype, dims, strides, true) }?;
            return Ok(copy.original.unwrap_or_default());
        }
        Device::Cuda(n) => n,
    };
    let size = dtype.size();
    let (lo, hi) = reach(dims, strides).unwrap_or((0, -1));
    let short = |_| Error::memory("no memory for a copy of a tensor");
    let bytes = usize::try_from(hi - lo + 1).map_err(short)?.saturating_mul(size);
    let mut all = Vec::new();
    all.try_reserve_exact(bytes).map_err(|_| Error::memory("no memory for a copy of a tensor"))?;
    all.resize(bytes, 0u8);
    if bytes == 0 {
        return Ok(all);
    }
    // SAFETY: promised by the caller; what lies between its elements is memory of the same storage.
    unsafe { cuda::read(cuda::gpu(n)?, &mut all, from.wrapping_offset(lo * size as isize)) }?;
    let first = all.as_ptr().wrapping_offset(-lo * size as isize);
    // SAFETY: the copy has the tensor's shape and strides.
    unsafe { contents(first, size, dims, strides, lo, bytes) }
}

/// Extents and strides from the words of a tensor.
pub(super) fn shape(words: &[u64], rank: usize) -> (Vec<usize>, Vec<isize>) {
    let dims = words[1..1 + rank].iter().map(|&d| d as usize).collect();
    (dims, words[1 + rank..1 + 2 * rank].iter().map(|&s| s as isize).collect())
}

/// Which parameters a function loads from or updates atomically, or never touches.
pub(super) fn read_params(f: &Function) -> Vec<bool> {
    fn walk(insts: &[Inst], seen: &mut impl FnMut(usize, AccessKind)) {
        for i in insts {
            if let Some(a) = i.op.access() {
                seen(a.tensor.index(), a.kind);
            }
            i.regions.iter().for_each(|r| walk(&r.body, seen));
        }
    }
    let (mut written, mut read) = (vec![false; f.params.len()], vec![false; f.params.len()]);
    let mut seen = |p: usize, kind| match kind {
        AccessKind::Load | AccessKind::Atomic => read[p] = true,
        AccessKind::Store => written[p] = true,
    };
    walk(&f.header, &mut seen);
    walk(&f.body.body, &mut seen);
    written.iter().zip(&read).map(|(w, r)| *r || !*w).collect()
}

impl Copy {
    /// # Safety
    /// `from` is the element at index 0…0 of a live tensor of this shape that nobody writes.
    unsafe fn new(
        word: usize,
        from: *const u8,
        dtype: DType,
        dims: &[usize],
        strides: &[isize],
        keep: bool,
    ) -> Result<Copy> {
        let size = dtype.size();
        let (lo, hi) = reach(dims, strides).unwrap_or((0, -1));
        let short = || Error::memory("no memory for a copy of an output while tuning");
        let elements = usize::try_from(hi - lo + 1).map_err(|_| short())?;
        let bytes = elements.checked_mul(size).ok_or_else(short)?;
        let offset = lo.unsigned_abs() * size;
        // The same place within a page as the original, or within a huge page.
        let page = if bytes < HUGE { MARGIN } else { HUGE };
        let shift = (from as usize).wrapping_sub(offset) % page;
        let lead = if shift < MARGIN { shift + page } else { shift };
        // SAFETY: promised by the caller.
        let original = if keep { Some(unsafe { contents(from, size, dims, strides, lo, bytes) }?) } else { None };
        Ok(Copy { word, dtype, offset, bytes, lead, original, memory: None })
    }

    /// The lowest element.
    fn start(&self) -> *mut u8 {
        let memory = self.memory.as_ref().map_or(std::ptr::dangling_mut(), |m| m.ptr().as_ptr());
        memory.wrapping_add(self.lead)
    }
}

/// The bytes of a tensor from its lowest element on, zero between elements.
///
/// # Safety
/// `from` is the element at index 0…0 of a live tensor of this shape that nobody writes; its lowest element is `lo`
/// elements after it, and it reaches `bytes` bytes.
unsafe fn contents(
    from: *const u8,
    size: usize,
    dims: &[usize],
    strides: &[isize],
    lo: isize,
    bytes: usize,
) -> Result<Vec<u8>> {
    let mut original = Vec::new();
    let short = |_| Error::memory("no memory for a copy of an output while tuning");
    original.try_reserve_exact(bytes).map_err(short)?;
    original.resize(bytes, 0);
    let count: usize = if bytes == 0 { 0 } else { dims.iter().product() };
    if count * size == bytes {
        // Without gaps all at once. SAFETY: from the lowest element on there are `bytes` bytes of tensor.
        unsafe { from.offset(lo * size as isize).copy_to_nonoverlapping(original.as_mut_ptr(), bytes) };
        return Ok(original);
    }
    let mut index = vec![0usize; dims.len()];
    for _ in 0..count {
        let at: isize = index.iter().zip(strides).map(|(&i, &s)| i as isize * s).sum();
        let to = (at - lo) as usize * size;
        let place = original[to..to + size].as_mut_ptr();
        // SAFETY: an element of the tensor, and its place in the copy.
        unsafe { from.offset(at * size as isize).copy_to_nonoverlapping(place, size) };
        next(&mut index, dims);
    }
    Ok(original)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_strides() {
        let data: Vec<u32> = (0..20).collect();
        let from = data.as_ptr().wrapping_add(15).cast::<u8>();
        // SAFETY: within `data`; strides 1 and -5 from element 15 on.
        let c = unsafe { Copy::new(0, from, DType::U32, &[4, 3], &[-5, 1], true) }.unwrap();
        assert_eq!((c.offset, c.bytes), (60, 72));
        let original = c.original.as_ref().unwrap();
        let at = |e: usize| u32::from_le_bytes(original[4 * e..4 * e + 4].try_into().unwrap());
        assert_eq!((at(0), at(2), at(3), at(15), at(17)), (0, 2, 0, 15, 17));
        // SAFETY: no elements.
        let none = unsafe { Copy::new(0, std::ptr::dangling(), DType::U32, &[0, 3], &[3, 1], true) }.unwrap();
        assert_eq!(none.bytes, 0);
    }

    #[test]
    fn copies_lie_as_originals_do_and_notice_what_is_written_beside_them() {
        let data = vec![1.5f32; 1000];
        let from = data.as_ptr().wrapping_add(3).cast::<u8>();
        // SAFETY: within `data`.
        let c = unsafe { Copy::new(0, from, DType::F32, &[900], &[1], true) }.unwrap();
        // SAFETY: within `data`.
        let w = unsafe { Copy::new(1, from, DType::F32, &[900], &[1], false) }.unwrap();
        let mut outputs = Outputs { copies: vec![c, w] };
        outputs.allocate().unwrap();
        let mut words = [0; 2];
        outputs.redirect(&mut words);
        assert_eq!(words.map(|w| w as usize % MARGIN), [from as usize % MARGIN; 2]);
        outputs.reset(PATTERNS[1]);
        assert!(outputs.in_place() && outputs.overrun(PATTERNS[1]).is_none());
        let bytes: Vec<_> = outputs.bytes().map(|(_, b)| b.to_vec()).collect();
        assert!(bytes[0] == 1.5f32.to_le_bytes().repeat(900) && bytes[1] == [0x7b; 3600]);
        // SAFETY: one past the end, in the margin that belongs to the copy.
        unsafe { (words[1] as *mut f32).add(900).write(0.0) };
        assert_eq!(outputs.overrun(PATTERNS[1]), Some(1));
    }
}
