//! Global memory: allocations far apart.
//!
//! Each allocation begins at a multiple of 4 GiB, so any address names at most one, and an access is right exactly if
//! it lies in the bytes that were asked for. Freed addresses are not given out again soon.

use crate::address::ALLOCATION_BITS;
use crate::fault::{Exec, FaultKind, trouble};

#[derive(Debug)]
enum Slot {
    /// Never used; the first is such, so that null is outside of everything.
    Void,
    Live {
        bytes: Vec<u8>,
        writable: bool,
    },
    Freed {
        size: usize,
    },
}

/// All allocations of a device.
#[derive(Debug)]
pub(crate) struct GlobalMemory {
    slots: Vec<Slot>,
}

impl GlobalMemory {
    pub fn new() -> GlobalMemory {
        GlobalMemory { slots: vec![Slot::Void] }
    }

    /// Adds an allocation; its bytes are filled with a pattern that is no sensible number.
    pub fn alloc(&mut self, size: usize) -> u64 {
        self.add(Slot::Live { bytes: vec![0xcb; size], writable: true })
    }

    /// Adds memory of a module.
    pub fn alloc_with(&mut self, bytes: Vec<u8>, writable: bool) -> u64 {
        self.add(Slot::Live { bytes, writable })
    }

    fn add(&mut self, slot: Slot) -> u64 {
        self.slots.push(slot);
        (self.slots.len() as u64 - 1) << ALLOCATION_BITS
    }

    /// Ends an allocation.
    pub fn free(&mut self, address: u64) -> Exec<()> {
        let (index, offset) = split(address);
        match self.slots.get_mut(index) {
            Some(slot @ Slot::Live { .. }) if offset == 0 => {
                let size = if let Slot::Live { bytes, .. } = slot { bytes.len() } else { 0 };
                *slot = Slot::Freed { size };
                Ok(())
            }
            _ => trouble(FaultKind::OutOfBounds, format!("{address:#x} is not the start of a live allocation")),
        }
    }

    /// The bytes at an address.
    pub fn read(&self, address: u64, size: usize) -> Exec<&[u8]> {
        let (index, offset) = split(address);
        if let Some(Slot::Live { bytes, .. }) = self.slots.get(index)
            && let Some(found) = bytes.get(offset..offset.saturating_add(size))
        {
            return Ok(found);
        }
        self.outside("reads", address, size)
    }

    /// The bytes at an address, to be written.
    pub fn write(&mut self, address: u64, size: usize) -> Exec<&mut [u8]> {
        let (index, offset) = split(address);
        match self.slots.get(index) {
            Some(Slot::Live { bytes, writable: true }) if offset.saturating_add(size) <= bytes.len() => {}
            Some(Slot::Live { writable: false, .. }) => {
                return trouble(FaultKind::OutOfBounds, format!("writes to constant memory at {address:#x}"));
            }
            _ => return self.outside("writes", address, size),
        }
        match &mut self.slots[index] {
            Slot::Live { bytes, .. } => Ok(&mut bytes[offset..offset + size]),
            Slot::Void | Slot::Freed { .. } => trouble(FaultKind::OutOfBounds, "writes to no allocation"),
        }
    }

    /// Writes bytes of a module's variable, also where kernels may not.
    pub fn initialise(&mut self, address: u64, from: &[u8]) {
        let (index, offset) = split(address);
        if let Some(Slot::Live { bytes, .. }) = self.slots.get_mut(index)
            && let Some(to) = bytes.get_mut(offset..offset + from.len())
        {
            to.copy_from_slice(from);
        }
    }

    fn outside<T>(&self, what: &str, address: u64, size: usize) -> Exec<T> {
        let (index, offset) = split(address);
        let place = match self.slots.get(index) {
            Some(Slot::Live { bytes, .. }) if offset < 1 << 31 => {
                let start = (index as u64) << ALLOCATION_BITS;
                format!("{offset} bytes into the allocation of {} bytes at {start:#x}", bytes.len())
            }
            Some(Slot::Freed { size }) => format!("in an allocation of {size} bytes that was freed"),
            _ => match self.slots.get(index + 1) {
                Some(Slot::Live { .. }) if offset >= 1 << 31 => {
                    format!("{} bytes before an allocation", (1u64 << ALLOCATION_BITS) - offset as u64)
                }
                _ if address < 1 << ALLOCATION_BITS => "in no allocation (null, or an address cut to 32 bits)".into(),
                _ => "in no allocation".into(),
            },
        };
        trouble(FaultKind::OutOfBounds, format!("{what} {size} bytes at global address {address:#x}: {place}"))
    }
}

/// The slot of an address, and the offset in it.
fn split(address: u64) -> (usize, usize) {
    ((address >> ALLOCATION_BITS) as usize, (address & ((1 << ALLOCATION_BITS) - 1)) as usize)
}
