//! What runs kernels: tensors and their memory, launches, threads, settings, tuning.

pub mod alloc;
mod device;
mod extent;
pub mod launch;
mod storage;
mod tensor;
mod views;

pub use device::Device;
pub use launch::Launch;
pub use tensor::{RawView, Tensor};
