//! How addresses are divided among the spaces.
//!
//! A generic address names its space in its upper bits, as on the hardware, where shared and local memory are
//! windows of the address space. Each allocation of global memory has 4 GiB of addresses for itself, so that an
//! index that runs off its end, or a pointer cut to 32 bits, never lands in another one.

/// Generic addresses of shared memory begin here.
pub(crate) const SHARED: u64 = 1 << 60;
/// Generic addresses of local memory begin here.
pub(crate) const LOCAL: u64 = 2 << 60;
/// Generic addresses of a launch's parameters begin here.
pub(crate) const PARAM: u64 = 3 << 60;
/// Bits of an address inside of an allocation.
pub(crate) const ALLOCATION_BITS: u32 = 32;

/// The window of a generic address; global memory's is zero.
pub(crate) fn window(address: u64) -> u64 {
    address & (15 << 60)
}
