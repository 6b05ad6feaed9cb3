//! Memory between guard pages: an access one byte outside it ends the process.

/// Bytes that end (or begin) where a page without access begins (or ends).
pub struct Guarded {
    base: *mut u8,
    mapped: usize,
    start: *mut u8,
    len: usize,
}

const PAGE: usize = 4096;

impl Guarded {
    /// A copy of `bytes`, its end at a guard page when `at_end` is set, else its start.
    #[allow(clippy::cast_sign_loss)]
    pub fn new(bytes: &[u8], at_end: bool) -> Guarded {
        let room = bytes.len().div_ceil(PAGE).max(1) * PAGE;
        let mapped = room + 2 * PAGE;
        // SAFETY: a fresh private mapping of our own; the kernel chooses the place.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(std::ptr::null_mut(), mapped, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED, "no memory");
            let base = base.cast::<u8>();
            // Before anything is placed: the first and the last page lose their access.
            assert_eq!(libc::mprotect(base.cast(), PAGE, libc::PROT_NONE), 0);
            assert_eq!(libc::mprotect(base.add(PAGE + room).cast(), PAGE, libc::PROT_NONE), 0);
            base
        };
        let offset = if at_end { PAGE + room - bytes.len() } else { PAGE };
        // SAFETY: `offset + bytes.len()` stays within the accessible pages.
        let start = unsafe {
            let start = base.add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len());
            start
        };
        Guarded { base, mapped, start, len: bytes.len() }
    }
    /// The first byte.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start
    }
    /// What it holds now.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range is mapped, readable and initialised, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, not used after this.
        unsafe { libc::munmap(self.base.cast(), self.mapped) };
    }
}

// SAFETY: it owns its mapping, as a `Box` owns its memory.
unsafe impl Send for Guarded {}
