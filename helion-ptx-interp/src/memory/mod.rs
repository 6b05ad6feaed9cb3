//! Global and shared memory: bytes whose every access is checked.

pub(crate) mod global;
pub(crate) mod order;
pub(crate) mod shared;

/// The little-endian number in at most eight bytes.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(all)
}
