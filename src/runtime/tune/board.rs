//! A page of memory that a worker process shares with the one that waits for it.
//!
//! The worker notes what it is at, so that the other learns from a dead worker who killed it and what was
//! measured before, without being woken for each sample. All of it may be garbage: a candidate can
//! write anywhere.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Samples whose times are kept.
pub(super) const PLACES: usize = 1000;

/// What is on the board.
pub(super) struct Cells {
    /// Items of the current request that are finished.
    done: AtomicU64,
    /// The two halves of the name of the current item's code, and whether there is one.
    name: [AtomicU64; 3],
    /// Jobs on other threads.
    pub(super) others: AtomicU64,
    /// Bits of the seconds of the finished items.
    seconds: [AtomicU64; PLACES],
}

/// The shared memory. Zero at first.
pub(super) struct Board {
    cells: NonNull<Cells>,
}

// SAFETY: the memory is only used through atomics.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

impl Deref for Board {
    type Target = Cells;
    fn deref(&self) -> &Cells {
        // SAFETY: mapped and zeroed, which is a value of atomics, while the board lives.
        unsafe { self.cells.as_ref() }
    }
}

impl Cells {
    /// A request is about to be sent.
    pub(super) fn clear(&self) {
        self.done.store(0, Ordering::Relaxed);
        self.name[2].store(0, Ordering::Relaxed);
        self.others.store(0, Ordering::Relaxed);
    }
    /// An item begins.
    pub(super) fn begin(&self) {
        self.name[2].store(0, Ordering::Relaxed);
    }
    /// The name of its code.
    pub(super) fn name(&self, name: u128) {
        self.name[0].store(name as u64, Ordering::Relaxed);
        self.name[1].store((name >> 64) as u64, Ordering::Relaxed);
        self.name[2].store(1, Ordering::Release);
    }
    /// The item is finished, with its seconds if it has any.
    pub(super) fn end(&self, seconds: f64) {
        let n = self.done.load(Ordering::Relaxed);
        if let Some(place) = self.seconds.get(n as usize) {
            place.store(seconds.to_bits(), Ordering::Relaxed);
        }
        self.done.store(n.wrapping_add(1), Ordering::Release);
    }
    /// How many items are finished.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }
    /// The name of the current item's code.
    pub(super) fn named(&self) -> Option<u128> {
        let half = |i: usize| u128::from(self.name[i].load(Ordering::Relaxed));
        (self.name[2].load(Ordering::Acquire) == 1).then(|| half(0) | half(1) << 64)
    }
    /// The seconds of a finished item.
    pub(super) fn seconds(&self, item: usize) -> Option<f64> {
        let s = f64::from_bits(self.seconds.get(item)?.load(Ordering::Relaxed));
        (s.is_finite() && s > 0.0).then_some(s)
    }
}

#[cfg(unix)]
impl Board {
    /// A board that is shared with processes forked from now on.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn new() -> std::io::Result<Board> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Cells>(), access, flags, -1, 0) };
        match NonNull::new(at.cast::<Cells>()) {
            Some(cells) if at != libc::MAP_FAILED => Ok(Board { cells }),
            Some(_) | None => Err(std::io::Error::last_os_error()),
        }
    }
}

#[cfg(unix)]
impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this size; nobody uses it any more.
        unsafe { libc::munmap(self.cells.as_ptr().cast(), size_of::<Cells>()) };
    }
}

#[cfg(not(unix))]
impl Board {
    /// A board of this process.
    pub(super) fn new() -> std::io::Result<Board> {
        // SAFETY: zero is a value of atomics.
        let cells: Box<Cells> = unsafe { Box::new_zeroed().assume_init() };
        Ok(Board { cells: NonNull::from(Box::leak(cells)) })
    }
}

#[cfg(not(unix))]
impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: made from a box in `new`.
        drop(unsafe { Box::from_raw(self.cells.as_ptr()) });
    }
}
