//! Where tensors live and kernels run.

use crate::error::{Error, Result};
use helion_autotune::store::Fingerprint;
use helion_codegen::cpu;
use helion_ir::target::Target;
use std::fmt;
use std::sync::OnceLock;

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
    /// What tells this device from others, as compiled for under the current settings. What was measured on one is not
    /// used on another.
    pub fn fingerprint(self) -> Fingerprint {
        self.fingerprint_as(super::compile::target())
    }
    /// As [`fingerprint`](Device::fingerprint), for code compiled for `target`.
    pub(super) fn fingerprint_as(self, target: &Target) -> Fingerprint {
        static IDENTITY: OnceLock<Fingerprint> = OnceLock::new();
        let identity = match self {
            Device::Cpu => IDENTITY.get_or_init(|| {
                cpu::identity().into_iter().fold(Fingerprint::new(), |all, (name, value)| all.with(name, value))
            }),
        };
        let t = target;
        let (vectors, caches) = (t.vector_bytes, format!("{} {} {}", t.l1_bytes, t.l2_bytes, t.l3_bytes));
        identity
            .clone()
            .with("target", &t.name)
            .with("vector bytes", vectors)
            .with("cores", t.cores)
            .with("caches", caches)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
        }
    }
}
