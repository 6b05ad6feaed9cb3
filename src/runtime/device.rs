//! Where tensors live and kernels run.

use crate::error::{Error, Result};
use std::fmt;

/// A device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// The processor this program runs on.
    #[default]
    Cpu,
}

impl Device {
    /// The processor this program runs on.
    pub const fn cpu() -> Device {
        Device::Cpu
    }
    /// The `n`-th CUDA device.
    ///
    /// # Errors
    /// Always, in this build.
    pub fn cuda(n: usize) -> Result<Device> {
        Err(Error::device(format!("CUDA device {n} cannot be used: this build of helion runs on the CPU only")))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
        }
    }
}
