//! What GPU kernels use of a device, without a device: NVIDIA's assembler judges the code of every example.
//!
//! Needs the tools that `scripts/gpu-tools` fetches; without them the tests that need them say so and pass.

mod sass;
mod tools;
