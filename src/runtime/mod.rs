//! What runs kernels: tensors and their memory, launches, threads, tuning.
//!
//! In: what a `#[kernel]` function captures at a call. Out: results in tensors, or an [`Error`](crate::Error).
//!
//! - **Tensors** are values: clones and views share memory until one of them is written ([`Tensor`]).
//! - **A launch** collects pointers, sizes and numbers, forms a key of element types, ranks, layouts and equal sizes,
//!   and looks it up. The first call with a key records the kernel, checks it, and compiles it; later calls go
//!   straight to the code and allocate nothing but results ([`Launch`], in [`launch`]).
//! - **The config** of a launch is chosen by its sizes from what was measured, else by the cost model
//!   ([`tuning`](crate::tuning) tells how).
//! - **Threads** share the program instances of a launch ([`pool`]); results never depend on their number, except
//!   for the order of atomics.
//! - **Modes** hold for a closure on one thread: [`with_config`], [`with_threads`], [`check`], [`explain`], [`tune`],
//!   [`choices`], [`traced`], [`with_device`]. `softmax::tune(&x, …)` and its like are short for these.
//! - **Devices**: a launch runs where its tensors are; on a GPU it is queued ([`cuda`]).
//! - **Memory** of dropped tensors is kept for reuse ([`alloc`]).

pub mod alloc;
mod auto;
mod cache;
mod choose;
mod compile;
mod cores;
pub mod cuda;
mod device;
mod entry;
mod exec;
mod explain;
mod extent;
pub mod launch;
mod many;
mod mode;
#[cfg(feature = "ndarray")]
mod ndarray;
mod outputs;
pub mod pool;
mod records;
#[cfg(feature = "safetensors")]
mod safetensors;
#[cfg(test)]
mod shapes_test;
mod show;
mod storage;
mod tensor;
mod transfer;
pub(crate) mod tunables;
mod tune;
mod views;

pub use choose::{Choice, REACH, Source};
pub use device::Device;
pub use explain::Report;
pub use launch::{Launch, Launching};
pub use many::{Served, Shared, tune_many};
pub use mode::{
    Effort, Explained, Tuned, check, choices, explain, traced, tune, with_config, with_device, with_threads,
};
pub use records::{embed, export, forget, import};
#[cfg(feature = "safetensors")]
pub use safetensors::SafeTensors;
pub use tensor::{RawView, Tensor};
#[cfg(unix)]
pub use tune::worker;
pub use tune::{Spent, Tuner, Tuning, tune_calls};
