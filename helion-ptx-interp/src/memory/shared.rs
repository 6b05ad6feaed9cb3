//! Shared memory of a block.

use crate::fault::{Exec, FaultKind, trouble};

/// Who accesses memory.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code)]
pub(crate) struct Who {
    pub warp: usize,
    pub lane: usize,
}

/// The bytes of a block.
#[derive(Debug, Default)]
pub(crate) struct SharedMemory {
    bytes: Vec<u8>,
}

impl SharedMemory {
    /// Forgets everything: another block begins.
    pub fn reset(&mut self, size: usize, _warps: usize) {
        self.bytes.clear();
        self.bytes.resize(size, 0xcb);
    }

    fn check(&self, what: &str, offset: u64, size: usize) -> Exec<std::ops::Range<usize>> {
        match usize::try_from(offset).ok().and_then(|o| Some(o..o.checked_add(size)?)) {
            Some(range) if range.end <= self.bytes.len() => Ok(range),
            _ => trouble(
                FaultKind::OutOfBounds,
                format!(
                    "{what} {size} bytes at shared address {offset:#x}; the block has {:#x} bytes of shared memory",
                    self.bytes.len()
                ),
            ),
        }
    }

    /// Reads bytes for a thread.
    pub fn read(&mut self, _who: Who, offset: u64, size: usize) -> Exec<&[u8]> {
        let range = self.check("reads", offset, size)?;
        Ok(&self.bytes[range])
    }

    /// Writes bytes for a thread.
    pub fn write(&mut self, _who: Who, offset: u64, bytes: &[u8]) -> Exec<()> {
        let range = self.check("writes", offset, bytes.len())?;
        self.bytes[range].copy_from_slice(bytes);
        Ok(())
    }

    /// Reads and writes as one step.
    pub fn update(&mut self, _who: Who, offset: u64, size: usize, f: impl FnOnce(&mut [u8])) -> Exec<()> {
        let range = self.check("updates", offset, size)?;
        f(&mut self.bytes[range]);
        Ok(())
    }
}
