//! Tensors between protected pages: touching anything outside ends the test.

use helion::Tensor;
use std::ptr::NonNull;

/// Zeros placed directly after (or before) a page that must not be touched.
pub fn guarded<T: helion::lang::Elem, const R: usize>(dims: [usize; R], at_end: bool) -> Tensor<T, R> {
    struct Mapping(*mut libc::c_void, usize);
    // SAFETY: the mapping is only unmapped, once.
    unsafe impl Send for Mapping {}
    // SAFETY: as above.
    unsafe impl Sync for Mapping {}
    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: mapped below with this length.
            unsafe { libc::munmap(self.0, self.1) };
        }
    }
    let bytes = dims.iter().product::<usize>() * size_of::<T>();
    let page = 4096;
    let inner = bytes.next_multiple_of(page);
    // SAFETY: a fresh anonymous mapping; its first and last page are made inaccessible.
    let start = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let p = libc::mmap(std::ptr::null_mut(), inner + 2 * page, libc::PROT_NONE, flags, -1, 0);
        assert_ne!(p, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(p.byte_add(page), inner, libc::PROT_READ | libc::PROT_WRITE), 0);
        p
    };
    let skip = page + if at_end { inner - bytes } else { 0 };
    let mut strides = [1isize; R];
    for i in (1..R).rev() {
        strides[i - 1] = strides[i] * dims[i] as isize;
    }
    // SAFETY: `bytes` zero bytes from `skip` on are readable and writable, and nobody else's.
    unsafe {
        let ptr = NonNull::new(start.byte_add(skip).cast::<T>()).unwrap();
        Tensor::from_raw_parts(ptr, dims, strides, true, Box::new(Mapping(start, inner + 2 * page))).unwrap()
    }
}
