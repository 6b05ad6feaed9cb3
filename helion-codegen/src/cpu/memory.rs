//! Memory for generated code.
//!
//! Comes in: bytes of machine code. Goes out: [`Code`], a counted handle to an executable copy. Pages are
//! written first and made executable after (never both at once), and a chunk of pages goes back to the
//! system when its last `Code` and the arena that filled it are gone.

use std::ptr::NonNull;
use std::sync::Arc;

/// Why code memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The system refused.
    #[error("no memory for generated code: {0}")]
    System(#[from] std::io::Error),
    /// This operating system has no support here.
    #[error("generated code is not supported on this operating system")]
    Platform,
}

/// One reservation of address space.
#[derive(Debug)]
struct Chunk {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pages are written only before a `Code` in them exists, and never change afterwards.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

/// Fills chunks with code. Cheap to make; one per compiling thread is fine.
#[derive(Debug, Default)]
pub struct CodeArena {
    chunk: Option<Arc<Chunk>>,
    used: usize,
}

/// Executable code. Cloning shares it; the memory lives as long as any clone.
#[derive(Clone, Debug)]
pub struct Code {
    chunk: Arc<Chunk>,
    offset: usize,
    len: usize,
}

impl Code {
    /// The first byte, aligned to 64.
    pub fn address(&self) -> *const u8 {
        // SAFETY: the offset lies within the chunk.
        unsafe { self.chunk.start.as_ptr().add(self.offset) }
    }
    /// The code, readable.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: these pages are mapped readable while the chunk lives, and are not written any more.
        unsafe { std::slice::from_raw_parts(self.address(), self.len) }
    }
}

const CHUNK: usize = 1 << 20;

impl CodeArena {
    /// An arena without memory yet.
    pub fn new() -> CodeArena {
        CodeArena::default()
    }

    /// Copies `code` into executable memory, at a page boundary.
    pub fn install(&mut self, code: &[u8]) -> Result<Code, MemoryError> {
        let page = system::page_size();
        let bytes = code.len().max(1).next_multiple_of(page);
        let room = self.chunk.as_ref().map_or(0, |c| c.bytes - self.used);
        let chunk = match &self.chunk {
            Some(chunk) if room >= bytes => chunk.clone(),
            Some(_) | None => {
                let chunk = Arc::new(system::reserve(bytes.max(CHUNK))?);
                self.chunk = Some(chunk.clone());
                self.used = 0;
                chunk
            }
        };
        let offset = self.used;
        // SAFETY: `offset..offset + bytes` is inside the chunk and belongs to no `Code` yet.
        unsafe {
            let at = chunk.start.as_ptr().add(offset);
            system::protect(at, bytes, system::Access::Write)?;
            std::ptr::copy_nonoverlapping(code.as_ptr(), at, code.len());
            system::protect(at, bytes, system::Access::Run)?;
            system::synchronize(at, code.len());
        }
        self.used += bytes;
        Ok(Code { chunk, offset, len: code.len() })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: nobody holds the chunk any more.
        unsafe { system::release(self) }
    }
}

#[cfg(unix)]
mod system {
    use super::{Chunk, MemoryError};
    use std::ptr::NonNull;

    pub enum Access {
        Write,
        Run,
    }

    pub fn page_size() -> usize {
        // SAFETY: no preconditions.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    }

    pub fn reserve(bytes: usize) -> Result<Chunk, MemoryError> {
        // SAFETY: a fresh private mapping.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        match NonNull::new(at.cast::<u8>()) {
            Some(start) if at != libc::MAP_FAILED => Ok(Chunk { start, bytes }),
            Some(_) | None => Err(std::io::Error::last_os_error().into()),
        }
    }

    /// # Safety
    /// The pages are the caller's, and nothing that is in use there needs the access that goes away.
    pub unsafe fn protect(at: *mut u8, bytes: usize, access: Access) -> Result<(), MemoryError> {
        let flags = match access {
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
            Access::Run => libc::PROT_READ | libc::PROT_EXEC,
        };
        // SAFETY: by the caller's promise.
        match unsafe { libc::mprotect(at.cast(), bytes, flags) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }

    /// # Safety
    /// Nothing uses the chunk any more.
    pub unsafe fn release(chunk: &mut Chunk) {
        // SAFETY: by the caller's promise; this is the whole mapping.
        unsafe { libc::munmap(chunk.start.as_ptr().cast(), chunk.bytes) };
    }

    /// Makes written code visible to instruction fetch, where the machine does not do it itself.
    ///
    /// # Safety
    /// The range is mapped.
    #[cfg(target_arch = "aarch64")]
    pub unsafe fn synchronize(at: *mut u8, bytes: usize) {
        use std::arch::asm;
        let (start, end) = (at as usize, at as usize + bytes);
        // SAFETY: cache maintenance by address on mapped memory. 4 bytes is the smallest line there is.
        unsafe {
            let types: usize;
            asm!("mrs {}, ctr_el0", out(reg) types);
            let (data, code) = (4 << ((types >> 16) & 15), 4 << (types & 15));
            for line in (start & !(data - 1)..end).step_by(data) {
                asm!("dc cvau, {}", in(reg) line);
            }
            asm!("dsb ish");
            for line in (start & !(code - 1)..end).step_by(code) {
                asm!("ic ivau, {}", in(reg) line);
            }
            asm!("dsb ish", "isb");
        }
    }

    /// Makes written code visible to instruction fetch, where the machine does not do it itself.
    ///
    /// # Safety
    /// The range is mapped.
    #[cfg(not(target_arch = "aarch64"))]
    pub unsafe fn synchronize(_at: *mut u8, _bytes: usize) {}
}

#[cfg(not(unix))]
mod system {
    use super::{Chunk, MemoryError};

    pub enum Access {
        Write,
        Run,
    }
    pub fn page_size() -> usize {
        4096
    }
    pub fn reserve(_bytes: usize) -> Result<Chunk, MemoryError> {
        Err(MemoryError::Platform)
    }
    pub unsafe fn protect(_at: *mut u8, _bytes: usize, _access: Access) -> Result<(), MemoryError> {
        Err(MemoryError::Platform)
    }
    pub unsafe fn release(_chunk: &mut Chunk) {}
    pub unsafe fn synchronize(_at: *mut u8, _bytes: usize) {}
}

#[cfg(test)]
mod tests {
    use super::CodeArena;

    #[test]
    fn blocks_outlive_the_arena() {
        let mut arena = CodeArena::new();
        let first = arena.install(&[1, 2, 3]).unwrap();
        let second = arena.install(&vec![7; 3 << 20]).unwrap();
        drop(arena);
        assert_eq!(first.bytes(), [1, 2, 3]);
        assert!(second.bytes().iter().all(|&b| b == 7));
        assert_eq!(first.address() as usize % 64, 0);
    }
}
