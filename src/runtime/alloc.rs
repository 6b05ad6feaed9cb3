//! Memory for tensors: aligned, initialised, and kept for reuse.
//!
//! In goes a number of bytes, out comes a [`Block`] that gives its memory back when dropped. Every
//! byte of a block is initialised (zero when fresh, old tensor data when reused). Blocks of 2 MiB and
//! more are mapped on a 2 MiB boundary with huge pages requested and wait in one process-wide pool,
//! so a call in a loop does not fault pages in again; smaller ones are 64-byte aligned and wait in a
//! pool of the thread that freed them.

use crate::error::{Error, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Mutex;

/// Size of a huge page, and the size from which blocks are mapped.
pub const HUGE: usize = 2 << 20;
/// Alignment of small blocks: a cache line and the widest vector.
const LINE: usize = 64;
/// Blocks of a page and more start on one: streams over several tensors then have equal offsets in their
/// pages, and a load never looks like it hits a store of the iteration before (which compares 12 bits).
const PAGE: usize = 4096;
/// Bytes one thread keeps in small blocks.
const SMALL_KEPT: usize = 8 << 20;

/// Memory of one tensor. Exclusively owned; every byte is initialised.
#[derive(Debug)]
pub struct Block {
    ptr: NonNull<u8>,
    /// Bytes the block really has: a size class.
    capacity: usize,
    /// Whether every byte is known to be zero.
    zeroed: bool,
}

// SAFETY: a block owns its memory like a boxed slice of bytes.
unsafe impl Send for Block {}
// SAFETY: as above; shared access only hands out the address.
unsafe impl Sync for Block {}

impl Block {
    /// At least `bytes` bytes (one cache line at least).
    ///
    /// # Errors
    /// When the system has no such amount of memory.
    pub fn new(bytes: usize) -> Result<Block> {
        let block = if bytes < HUGE && small_class(bytes).1 < HUGE { small(bytes) } else { big(bytes) };
        block.ok_or_else(|| Error::memory(format!("no memory for a tensor of {bytes} bytes")))
    }
    /// The first byte: aligned to 64, and to 2 MiB for blocks of at least that size.
    pub fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }
    /// Whether all of it is known to be zero.
    pub fn is_zeroed(&self) -> bool {
        self.zeroed
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.capacity >= HUGE { free_big(self.ptr, self.capacity) } else { free_small(self.ptr, self.capacity) }
    }
}

/// The size class of a small block: a power of two, or one and a half times one.
fn small_class(bytes: usize) -> (usize, usize) {
    let b = bytes.max(LINE);
    let up = b.next_power_of_two();
    let low = up / 4 * 3;
    let exponent = up.trailing_zeros() as usize;
    if b <= low && low.is_multiple_of(LINE) { (exponent * 2 - 1, low) } else { (exponent * 2, up) }
}

/// How a small block of a class size is allocated.
fn small_layout(capacity: usize) -> Option<Layout> {
    Layout::from_size_align(capacity, if capacity >= PAGE { PAGE } else { LINE }).ok()
}

/// Gives a small block back to the system.
///
/// # Safety
/// The block must come from [`small`] with this capacity, and nothing may use it afterwards.
unsafe fn dealloc_small(ptr: NonNull<u8>, capacity: usize) {
    if let Some(layout) = small_layout(capacity) {
        // SAFETY: promised by the caller; the same layout as when it was allocated.
        unsafe { dealloc(ptr.as_ptr(), layout) };
    }
}

/// Free small blocks of one thread, by class.
struct Small {
    free: [Vec<NonNull<u8>>; 44],
    bytes: usize,
}

impl Drop for Small {
    fn drop(&mut self) {
        for (class, blocks) in self.free.iter_mut().enumerate() {
            let size = if class % 2 == 0 { 1usize << (class / 2) } else { (1usize << class.div_ceil(2)) / 4 * 3 };
            for p in blocks.drain(..) {
                // SAFETY: blocks of this class have this capacity; nothing refers to them.
                unsafe { dealloc_small(p, size) };
            }
        }
    }
}

thread_local! {
    static SMALL: RefCell<Small> = const { RefCell::new(Small { free: [const { Vec::new() }; 44], bytes: 0 }) };
}

fn small(bytes: usize) -> Option<Block> {
    let (class, capacity) = small_class(bytes);
    let kept = SMALL.try_with(|s| {
        let mut s = s.borrow_mut();
        let p = s.free[class].pop()?;
        s.bytes -= capacity;
        Some(p)
    });
    if let Ok(Some(ptr)) = kept {
        return Some(Block { ptr, capacity, zeroed: false });
    }
    let layout = small_layout(capacity)?;
    // SAFETY: the layout has a non-zero size.
    let ptr = NonNull::new(unsafe { alloc_zeroed(layout) })?;
    Some(Block { ptr, capacity, zeroed: true })
}

fn free_small(ptr: NonNull<u8>, capacity: usize) {
    let (class, size) = small_class(capacity);
    debug_assert_eq!(size, capacity);
    let kept = SMALL.try_with(|s| {
        let mut s = s.borrow_mut();
        let fits = s.bytes + capacity <= SMALL_KEPT;
        if fits {
            s.bytes += capacity;
            s.free[class].push(ptr);
        }
        fits
    });
    if kept != Ok(true) {
        // SAFETY: allocated with this capacity in `small`; its owner is being dropped.
        unsafe { dealloc_small(ptr, capacity) };
    }
}

/// Free big blocks of the process, by size.
struct Big {
    free: BTreeMap<usize, Vec<Address>>,
    bytes: usize,
}

/// An address that may move between threads.
struct Address(NonNull<u8>);
// SAFETY: a free block belongs to nobody but the pool.
unsafe impl Send for Address {}

static BIG: Mutex<Big> = Mutex::new(Big { free: BTreeMap::new(), bytes: 0 });

fn big(bytes: usize) -> Option<Block> {
    let capacity = bytes.checked_next_multiple_of(HUGE)?;
    // Up to an eighth more than asked for is still a good fit.
    let most = capacity.saturating_add(capacity / 8);
    {
        let mut pool = BIG.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((&size, blocks)) = pool.free.range_mut(capacity..=most).next() {
            let ptr = blocks.pop();
            if blocks.is_empty() {
                pool.free.remove(&size);
            }
            if let Some(Address(ptr)) = ptr {
                pool.bytes -= size;
                return Some(Block { ptr, capacity: size, zeroed: false });
            }
        }
    }
    if let Some(ptr) = map(capacity) {
        return Some(Block { ptr, capacity, zeroed: true });
    }
    // What is kept may be what is missing.
    release_pooled();
    map(capacity).map(|ptr| Block { ptr, capacity, zeroed: true })
}

fn free_big(ptr: NonNull<u8>, capacity: usize) {
    let limit = crate::settings::pool_bytes();
    let mut pool = BIG.lock().unwrap_or_else(|e| e.into_inner());
    if pool.bytes.saturating_add(capacity) <= limit {
        pool.bytes += capacity;
        pool.free.entry(capacity).or_default().push(Address(ptr));
        return;
    }
    drop(pool);
    // SAFETY: a block of this size that nothing refers to any more.
    unsafe { unmap(ptr, capacity) };
}

/// Runs `f` while no other thread is at the pool of big blocks: a process forked in `f` finds it whole and unlocked.
#[cfg(unix)]
pub(super) fn locked<R>(f: impl FnOnce() -> R) -> R {
    let _pool = BIG.lock().unwrap_or_else(|e| e.into_inner());
    f()
}

/// Gives all pooled big blocks back to the system.
pub fn release_pooled() {
    let taken = {
        let mut pool = BIG.lock().unwrap_or_else(|e| e.into_inner());
        pool.bytes = 0;
        std::mem::take(&mut pool.free)
    };
    for (size, blocks) in taken {
        for Address(p) in blocks {
            // SAFETY: the block was in the pool, so nothing refers to it.
            unsafe { unmap(p, size) };
        }
    }
}

/// Fresh zero pages on a 2 MiB boundary.
#[cfg(unix)]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    let len = bytes.checked_add(HUGE)?;
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping at an address of the system's choice touches nothing of ours.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start = start.cast::<u8>();
    let skip = start.align_offset(HUGE);
    // SAFETY: `skip <= HUGE`, so the aligned part and both ends lie in the mapping just made; the ends
    // are whole pages because `bytes` is a multiple of 2 MiB.
    unsafe {
        let aligned = start.add(skip);
        if skip > 0 {
            libc::munmap(start.cast(), skip);
        }
        if skip < HUGE {
            libc::munmap(aligned.add(bytes).cast(), HUGE - skip);
        }
        #[cfg(target_os = "linux")]
        libc::madvise(aligned.cast(), bytes, libc::MADV_HUGEPAGE);
        NonNull::new(aligned)
    }
}

#[cfg(not(unix))]
fn map(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: the layout has a non-zero size.
    NonNull::new(unsafe { alloc_zeroed(Layout::from_size_align(bytes, HUGE).ok()?) })
}

/// # Safety
/// `ptr` must come from [`map`] with this size, and nothing may use it afterwards.
#[cfg(unix)]
unsafe fn unmap(ptr: NonNull<u8>, bytes: usize) {
    // SAFETY: promised by the caller.
    unsafe { libc::munmap(ptr.as_ptr().cast(), bytes) };
}

/// # Safety
/// As above.
#[cfg(not(unix))]
unsafe fn unmap(ptr: NonNull<u8>, bytes: usize) {
    // SAFETY: promised by the caller.
    unsafe { dealloc(ptr.as_ptr(), Layout::from_size_align_unchecked(bytes, HUGE)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_and_round_trip() {
        for bytes in (0..5000).chain([65_535, 65_536, 65_537, HUGE * 3 / 4]) {
            let (class, size) = small_class(bytes);
            assert!(size >= bytes && size % LINE == 0 && class < 44, "{bytes} -> {class} {size}");
            assert_eq!(small_class(size), (class, size));
            assert!(size <= bytes.max(LINE) * 2);
        }
    }

    #[test]
    fn big_blocks_are_aligned_and_reused() {
        let a = Block::new(3 * HUGE + 1).unwrap();
        assert!(a.is_zeroed() && (a.ptr().as_ptr() as usize).is_multiple_of(HUGE));
        let at = a.ptr();
        // SAFETY: within the block.
        unsafe { at.as_ptr().add(3 * HUGE).write(7) };
        drop(a);
        let b = Block::new(4 * HUGE).unwrap();
        assert!(b.ptr() != at || !b.is_zeroed());
    }

    #[test]
    fn impossible_sizes_are_errors() {
        drop(Block::new(HUGE - 1).unwrap());
        for bytes in [usize::MAX, usize::MAX / 2, isize::MAX as usize, 1 << 60] {
            assert!(Block::new(bytes).is_err());
        }
    }
}
