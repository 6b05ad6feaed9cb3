//! Settings.
/// Bytes of freed big blocks kept for reuse.
pub fn pool_bytes() -> usize {
    1 << 30
}
