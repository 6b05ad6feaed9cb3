//! What runs kernels: tensors and their memory, launches, threads, tuning.

pub mod alloc;
mod cache;
mod compile;
mod device;
mod exec;
mod explain;
mod extent;
pub mod launch;
mod mode;
#[cfg(feature = "ndarray")]
mod ndarray;
mod outputs;
pub mod pool;
mod records;
#[cfg(feature = "safetensors")]
mod safetensors;
mod show;
mod storage;
mod tensor;
mod tune;
mod views;

pub use device::Device;
pub use explain::Report;
pub use launch::{Launch, Launching};
pub use mode::{Effort, Explained, Tuned, check, explain, traced, tune, with_config, with_threads};
#[cfg(feature = "safetensors")]
pub use safetensors::SafeTensors;
pub use tensor::{RawView, Tensor};
pub use tune::Tuning;
