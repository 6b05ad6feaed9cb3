//! NVIDIA GPUs: devices, streams, graphs, and the driver behind them.
//!
//! `Device::cuda(0)` gives a device; tensors move with [`Tensor::to`](crate::Tensor::to), and kernels run where their
//! tensors are. Nothing else is needed for that. This module is for programs that share a device with others: work on
//! their [stream](with_stream) and in their [context](use_context), [capture] launches into a graph,
//! measure with [events](Event), or ask for [memory](memory()).
//!
//! Launches, copies between tensors of a device, and dropping tensors do not wait for the device; reading elements does.
//! What goes wrong on the device shows at the next call that waits.
//!
//! Running needs the feature `cuda`, compiling `llvm`. A [`driver::Driver`] of one's own can be [installed](install),
//! which is how the tests run without a device.

pub mod driver;

mod code;
mod gpu;
mod kept;
mod memory;
mod stream;
#[cfg(feature = "cuda")]
mod system;

pub(in crate::runtime) use code::Loaded;
pub(in crate::runtime) use gpu::{Gpu, gpu, wait_everywhere};
pub use gpu::{install, use_context};
pub(in crate::runtime) use memory::Block;
pub use memory::{Memory, memory, release};
pub use stream::{Event, Graph, capture, synchronize, with_stream};

use crate::error::Result;
use driver::{Address, Facts};

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its number, for [`Device::cuda`](crate::Device::cuda).
    pub index: usize,
    /// What it is.
    pub facts: Facts,
    /// The driver's version, as in 12080 for 12.8.
    pub driver: u32,
    /// The name of the architecture that is compiled for; `None` when the device is too old.
    pub arch: Option<&'static str>,
}

/// Every device.
///
/// # Errors
/// Why there is none.
pub fn devices() -> Result<Vec<Info>> {
    let info = |g: &Gpu| Info {
        index: g.index,
        facts: g.facts.clone(),
        driver: g.version,
        arch: g.arch().ok().map(helion_codegen::ptx::Arch::name),
    };
    Ok(gpu::all()?.into_iter().map(info).collect())
}

/// Copies host memory to a device.
///
/// # Safety
/// From `to` on there must be as many bytes of live memory of the device.
pub(in crate::runtime) unsafe fn write(gpu: &'static Gpu, to: *mut u8, from: &[u8]) -> Result<()> {
    let driver = gpu.enter()?;
    // SAFETY: promised by the caller.
    gpu.check(unsafe { driver.copy_in(address(to), from, stream::current(gpu).stream) })
}

/// Copies memory of a device to the host, when the current stream has come there.
///
/// # Safety
/// From `from` on there must be as many bytes of live memory of the device.
pub(in crate::runtime) unsafe fn read(gpu: &'static Gpu, to: &mut [u8], from: *const u8) -> Result<()> {
    let driver = gpu.enter()?;
    // SAFETY: promised by the caller.
    gpu.check(unsafe { driver.copy_out(to, address(from), stream::current(gpu).stream) })
}

/// Copies rows within a device; each is given by its address and the distance to the next.
///
/// # Safety
/// Both must be so many rows of so many bytes in live memory of the device that does not overlap.
pub(in crate::runtime) unsafe fn copy(
    gpu: &'static Gpu,
    to: (*mut u8, usize),
    from: (*const u8, usize),
    bytes: usize,
    rows: usize,
) -> Result<()> {
    if bytes == 0 || rows == 0 {
        return Ok(());
    }
    let driver = gpu.enter()?;
    let stream = stream::current(gpu).stream;
    // SAFETY: promised by the caller.
    gpu.check(unsafe { driver.copy((address(to.0), to.1), (address(from.0), from.1), bytes, rows, stream) })
}

/// Sets bytes of memory of a device.
///
/// # Safety
/// From `to` on there must be so many bytes of live memory of the device.
pub(in crate::runtime) unsafe fn fill(gpu: &'static Gpu, to: *mut u8, value: u8, bytes: usize) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let driver = gpu.enter()?;
    // SAFETY: promised by the caller.
    gpu.check(unsafe { driver.fill(address(to), value, bytes, stream::current(gpu).stream) })
}

/// The device's address behind a pointer of a tensor.
fn address<T>(pointer: *const T) -> Address {
    Address(pointer.addr() as u64)
}
