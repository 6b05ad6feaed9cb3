//! Memory between pages that may not be touched.

/// Pages with an inaccessible page before and after them.
pub struct Guarded {
    start: *mut u8,
    bytes: usize,
}

const PAGE: usize = 4096;

impl Guarded {
    /// At least `bytes` bytes.
    pub fn new(bytes: usize) -> Guarded {
        let bytes = bytes.next_multiple_of(PAGE);
        // SAFETY: a fresh mapping, of which the middle is made accessible.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let at = libc::mmap(std::ptr::null_mut(), bytes + 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            let start = at.cast::<u8>().add(PAGE);
            assert_eq!(libc::mprotect(start.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE), 0);
            Guarded { start, bytes }
        }
    }
    pub fn all(&mut self) -> &mut [u8] {
        // SAFETY: mapped and ours.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
    /// Where `used` bytes begin that lie at the beginning or at the end.
    pub fn place(&self, used: usize, at_end: bool) -> *mut u8 {
        assert!(used <= self.bytes);
        // SAFETY: within the mapping.
        unsafe { self.start.add(if at_end { self.bytes - used } else { 0 }) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, unused from here on.
        unsafe { libc::munmap(self.start.sub(PAGE).cast(), self.bytes + 2 * PAGE) };
    }
}

/// A small deterministic generator (xorshift, 64 bits).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 33) as usize) % n
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
