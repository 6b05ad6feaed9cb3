//! The CPU backend: Cranelift for the kernel, vector programs for its loops.

pub mod vector;
