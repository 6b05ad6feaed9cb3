//! Runs PTX on the CPU, and checks every access. A tool of helion's tests: no part of the library uses it.
//!
//! In: PTX as text, as LLVM's backend emits it for sm_80 and sm_90a, inline assembly included; memory; a launch. Out: memory as
//! the kernel leaves it, with a [`Report`] of what it did, or a [`Fault`] that says kernel, line of PTX, block, thread,
//! and what was wrong. Nothing here needs a GPU, a driver, or LLVM.
//!
//! What is a fault ([`FaultKind`]): accesses outside of live memory or not aligned, in every space; reads of shared memory that nobody
//! wrote; races over shared memory, between warps and between lanes of a warp; waiting for what cannot happen; using data of
//! background copies and products before their wait; leaving out a fence towards the asynchronous proxy; loops without
//! end. A [`Report`] counts instructions, sectors of global memory and passes over the banks of shared memory, for each line. A
//! [`TensorMap`] makes the 128 bytes that tensor copies need, from the inputs of the driver's function, so that a
//! simulated driver can be built on a [`Device`].
//!
//! What is *not* modelled: time, caches, the memory model beyond barriers and acquire/release, blocks that run at
//! the same time (they run one after another, so a block may wait for earlier ones only), and clusters of more than one
//! block. Approximate functions (`ex2.approx`, …) are correctly rounded instead of approximate.
//!
//! ```
//! use helion_ptx_interp::{Device, Module};
//! let module = Module::parse("
//!     .version 8.0
//!     .target sm_80
//!     .address_size 64
//!     .visible .entry twice(.param .u64 data) {
//!         .reg .b32 %r<3>;
//!         .reg .b64 %rd<4>;
//!         ld.param.b64 %rd1, [data];
//!         mov.u32 %r1, %tid.x;
//!         mul.wide.u32 %rd2, %r1, 4;
//!         add.s64 %rd3, %rd1, %rd2;
//!         ld.global.b32 %r2, [%rd3];
//!         shl.b32 %r2, %r2, 1;
//!         st.global.b32 [%rd3], %r2;
//!         ret;
//!     }").unwrap();
//! let mut device = Device::new();
//! let data = device.alloc(8);
//! device.write(data, &[3, 0, 0, 0, 4, 0, 0, 0]).unwrap();
//! device.launch(&module, "twice", [1, 1, 1], [2, 1, 1], 0, &data.to_le_bytes()).unwrap();
//! assert_eq!(device.read(data, 8).unwrap(), [6, 0, 0, 0, 8, 0, 0, 0]);
//! let fault = device.launch(&module, "twice", [1, 1, 1], [3, 1, 1], 0, &data.to_le_bytes()).unwrap_err();
//! assert_eq!((fault.line, fault.thread), (12, Some([2, 0, 0])));
//! ```
#![deny(missing_docs)]

mod address;
mod device;
mod exec;
mod fault;
mod float;
mod memory;
mod module;
mod program;
mod report;
mod syntax;
mod tensor_map;

pub use device::{Device, HostError};
pub use fault::{Fault, FaultKind};
pub use module::{Entry, Module, Param};
pub use report::{Class, Count, GlobalTraffic, Line, Report, SharedTraffic};
pub use syntax::ParseError;
pub use tensor_map::{Swizzle, TensorMap, TensorMapError, TensorType};
