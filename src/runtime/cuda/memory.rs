//! Memory of devices: kept for reuse, in the order of streams.
//!
//! In: a number of bytes. Out: a [`Block`] that goes back to its device's pool when dropped. The pool has a list for
//! each stream: memory that was given back while a thread worked on a stream is handed out again to work on the same
//! stream only, which runs after whatever still uses it. So a block may be dropped while kernels that use it are queued,
//! and a call in a loop neither allocates nor waits.
//!
//! Memory that is allocated while a stream is captured belongs to the graph: it is used again within the capture, and
//! goes back to the pool when the graph and the tensors are gone.

use super::driver::{Address, Driver, Severity, Stream};
use super::gpu::Gpu;
use super::stream::{self, Captured};
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex};

/// Memory of a device. Exclusively owned; its bytes are arbitrary.
pub(in crate::runtime) struct Block {
    gpu: &'static Gpu,
    address: Address,
    class: usize,
    /// The graph that it belongs to.
    graph: Option<Arc<Captured>>,
}

/// The smallest block.
const LEAST: usize = 256;
/// Blocks from this size on are multiples of it.
const LARGE: usize = 2 << 20;

/// The size class of so many bytes, and the size of its blocks: four classes for each doubling.
fn class(bytes: usize) -> Option<(usize, usize)> {
    let quarters = bytes.max(LEAST).checked_next_power_of_two()?.trailing_zeros().checked_sub(3)? as usize;
    let step = (1usize << quarters).max(if bytes > LARGE { LARGE } else { LEAST });
    let size = bytes.max(LEAST).checked_next_multiple_of(step)?;
    // A number for each size: the power of two below it, and which quarter.
    let power = size.ilog2() as usize;
    Some((power * 4 + ((size - (1 << power)) >> power.saturating_sub(2)), size))
}

/// The size of the blocks of a class.
fn size_of_class(class: usize) -> usize {
    let (power, quarter) = (class / 4, class % 4);
    (1 << power) + (quarter << power.saturating_sub(2))
}

/// Free blocks, by class.
#[derive(Default)]
pub(super) struct Free(Vec<Vec<Address>>);

impl Free {
    pub(super) fn take(&mut self, class: usize) -> Option<Address> {
        self.0.get_mut(class)?.pop()
    }
    pub(super) fn put(&mut self, class: usize, address: Address) {
        if self.0.len() <= class {
            self.0.resize_with(class + 1, Vec::new);
        }
        self.0[class].push(address);
    }
    /// All of them, with their classes.
    fn drain(&mut self) -> impl Iterator<Item = (usize, Address)> {
        self.0.iter_mut().enumerate().flat_map(|(class, all)| all.drain(..).map(move |a| (class, a)))
    }
}

/// The free memory of a device.
#[derive(Default)]
pub(super) struct Pool {
    streams: Vec<(Stream, Free)>,
    /// Bytes got from the driver and not given back.
    held: usize,
    /// Bytes of those that are free.
    free: usize,
}

impl Pool {
    fn of(&mut self, stream: Stream) -> &mut Free {
        let at = self.streams.iter().position(|(s, _)| *s == stream).unwrap_or_else(|| {
            self.streams.push((stream, Free::default()));
            self.streams.len() - 1
        });
        &mut self.streams[at].1
    }

    fn take(&mut self, stream: Stream, class: usize) -> Option<Address> {
        let found = self.of(stream).take(class)?;
        self.free -= size_of_class(class);
        Some(found)
    }

    pub(super) fn put(&mut self, stream: Stream, class: usize, address: Address) {
        self.free += size_of_class(class);
        self.of(stream).put(class, address);
    }

    /// What was free on one stream is free on another one, which waits for the first.
    pub(super) fn hand_over(&mut self, from: Stream, to: Stream) {
        let mut all = std::mem::take(self.of(from));
        for (class, address) in all.drain() {
            self.of(to).put(class, address);
        }
    }

    /// Takes memory that nothing uses any more.
    pub(super) fn adopt(&mut self, mut all: Free) {
        for (class, address) in all.drain() {
            self.put(Stream::default(), class, address);
        }
    }

    /// Gives all free memory back to the driver.
    fn trim(&mut self, driver: &dyn Driver) {
        for (_, free) in &mut self.streams {
            for (class, address) in free.drain() {
                // SAFETY: from `alloc`; nobody has it, and the driver waits for kernels that use it. What it refuses to
                // free is lost, which is no worse than keeping it.
                let _ = unsafe { driver.free(address) };
                self.held -= size_of_class(class);
                self.free -= size_of_class(class);
            }
        }
    }
}

impl Block {
    /// At least `bytes` bytes for work on the current stream of this thread.
    ///
    /// # Errors
    /// When the device has no such amount of memory.
    pub(in crate::runtime) fn new(gpu: &'static Gpu, bytes: usize) -> Result<Block> {
        let too_large = || Error::memory(format!("no memory for {bytes} bytes on {gpu:?}"));
        let (class, size) = class(bytes).ok_or_else(too_large)?;
        let scope = stream::current(gpu);
        let kept = match &scope.graph {
            Some(g) => g.take(class),
            None => gpu.pool().take(scope.stream, class),
        };
        let address = match kept {
            Some(a) => a,
            None => fresh(gpu, size)?,
        };
        Ok(Block { gpu, address, class, graph: scope.graph })
    }

    pub(in crate::runtime) fn address(&self) -> Address {
        self.address
    }
}

/// Memory from the driver.
#[cold]
fn fresh(gpu: &'static Gpu, size: usize) -> Result<Address> {
    let driver = gpu.enter()?;
    let address = match driver.alloc(size) {
        Err(f) if f.severity() == Severity::Memory => {
            gpu.pool().trim(&*driver);
            driver.alloc(size)
        }
        other => other,
    };
    let address = address.map_err(|f| match f.severity() {
        Severity::Memory => {
            let (free, total) = driver.memory().unwrap_or_default();
            let held = gpu.pool().held;
            Error::memory(format!(
                "no memory for {size} bytes on {gpu:?}: {free} of {total} bytes are free, tensors of this process have {held} ({f})"
            ))
        }
        Severity::Lost | Severity::Call => gpu.error(&f),
    })?;
    gpu.pool().held += size;
    Ok(address)
}

impl Drop for Block {
    fn drop(&mut self) {
        match &self.graph {
            Some(g) => g.put(self.class, self.address),
            None => {
                let stream = stream::current(self.gpu).stream;
                self.gpu.pool().put(stream, self.class, self.address);
            }
        }
    }
}

/// Bytes that this process has of a device's memory: in tensors, and kept for reuse.
///
/// # Errors
/// When there is no such device.
pub fn memory(device: usize) -> Result<Memory> {
    let gpu = super::gpu::gpu(device)?;
    let driver = gpu.enter()?;
    let (free, total) = gpu.check(driver.memory())?;
    let pool = gpu.pool();
    Ok(Memory { used: (pool.held - pool.free) as u64, kept: pool.free as u64, free, total })
}

/// A device's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In tensors and workspaces of this process.
    pub used: u64,
    /// Kept by this process for reuse.
    pub kept: u64,
    /// Free for everybody.
    pub free: u64,
    /// All.
    pub total: u64,
}

/// Gives memory that is kept for reuse back to the driver. Waits for the device.
///
/// # Errors
/// When there is no such device.
pub fn release(device: usize) -> Result<()> {
    let gpu = super::gpu::gpu(device)?;
    let driver = gpu.enter()?;
    gpu.check(driver.wait_all())?;
    gpu.pool().trim(&*driver);
    Ok(())
}

/// Free memory of a graph.
pub(super) type GraphFree = Mutex<Free>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_and_waste_little() {
        for bytes in (0..5000).chain([65_535, 65_536, 65_537, (1 << 20) + 1, 3 << 20, (5 << 30) + 7]) {
            let (c, size) = class(bytes).unwrap();
            assert!(size >= bytes && size.is_multiple_of(LEAST), "{bytes} -> {size}");
            assert_eq!(size_of_class(c), size, "{bytes}");
            assert_eq!(class(size), Some((c, size)));
            let most = bytes / 4 + if bytes > LARGE { LARGE } else { LEAST };
            assert!(size <= bytes + most, "{bytes} -> {size}");
        }
        assert_eq!(class(usize::MAX), None);
    }
}
