//! What GPU kernels use of a device, without a device: NVIDIA's assembler judges the code of every example.
//!
//! Needs the tools that `scripts/gpu-tools` fetches, and the feature `llvm`; without the tools the tests that need them
//! say so and pass. `HELION_GPU=softmax` runs the kernels with that word in their name.

#[cfg(feature = "llvm")]
#[path = "../support/crash.rs"]
mod crash;
#[cfg(feature = "llvm")]
mod examples;
#[cfg(feature = "llvm")]
mod judge;
#[cfg(feature = "llvm")]
mod kernels;
mod sass;
mod table;
mod tools;
