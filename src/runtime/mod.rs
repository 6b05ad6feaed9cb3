//! What runs kernels: tensors and their memory, launches, threads, settings, tuning.

pub mod alloc;
mod device;
mod extent;
pub mod launch;
#[cfg(feature = "ndarray")]
mod ndarray;
pub mod pool;
#[cfg(feature = "safetensors")]
mod safetensors;
mod show;
mod storage;
mod tensor;
mod views;

pub use device::Device;
pub use launch::Launch;
#[cfg(feature = "safetensors")]
pub use safetensors::SafeTensors;
pub use tensor::{RawView, Tensor};
