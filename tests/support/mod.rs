//! What several test programs share: ways to execute a tile program.

pub mod crash;
pub mod engines;
pub mod guard;
#[cfg(feature = "llvm")]
pub mod ptx;
