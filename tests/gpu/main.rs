//! GPU kernels without a device: the code of every example runs on the interpreter of PTX, and NVIDIA's assembler judges
//! what it uses of a device.
//!
//! Needs the feature `llvm`, and for the assembler what `scripts/gpu-tools` fetches; without it the tests that need it
//! say so and pass. `HELION_GPU=softmax` runs the kernels with that word in their name.

#[cfg(feature = "llvm")]
mod examples;
#[cfg(feature = "llvm")]
mod judge;
#[cfg(feature = "llvm")]
mod kernels;
#[cfg(feature = "llvm")]
mod run;
mod sass;
#[cfg(feature = "llvm")]
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other programs")]
mod support;
mod table;
#[cfg(feature = "llvm")]
mod times;
mod tools;
