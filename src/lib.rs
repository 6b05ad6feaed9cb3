//! A kernel compiler that lives inside Rust: write tiles, get tuned machine code.
#![deny(missing_docs)]

mod error;
pub mod lang;
pub mod runtime;
pub mod settings;

pub use error::{Error, Kind as ErrorKind, Result};
pub use runtime::{Device, Tensor};
