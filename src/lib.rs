//! A kernel compiler that lives inside Rust: write tiles, get tuned machine code.

pub mod lang;
