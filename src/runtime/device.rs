//! Where tensors live and kernels run, and what kernels are compiled for.

use super::{compile, cuda};
use crate::error::Result;
use helion_autotune::store::Fingerprint;
use helion_codegen::cpu;
use helion_codegen::ptx::{self, Arch};
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
    /// The NVIDIA GPU of this number; [`Device::cuda`] makes sure that it is there.
    Cuda(usize),
}

impl Device {
    /// The processor this program runs on.
    pub const fn cpu() -> Device {
        Device::Cpu
    }
    /// The `n`-th NVIDIA GPU, counted from 0.
    ///
    /// # Errors
    /// When this build, this machine or the driver has none of this number, or it is too old: what is missing, and what
    /// to do.
    pub fn cuda(n: usize) -> Result<Device> {
        cuda::gpu(n)?.arch()?;
        Ok(Device::Cuda(n))
    }
    /// What tells this device from others, as compiled for under the current settings. What was measured on one is not
    /// used on another.
    pub fn fingerprint(self) -> Fingerprint {
        let machine = Machine::of(self).unwrap_or_else(|_| Machine::cpu());
        self.fingerprint_as(machine.target())
    }
    /// As [`fingerprint`](Device::fingerprint), for code compiled for `target`.
    pub(super) fn fingerprint_as(self, target: &Target) -> Fingerprint {
        static IDENTITY: OnceLock<Fingerprint> = OnceLock::new();
        let all = |parts: Vec<(&'static str, String)>| {
            parts.into_iter().fold(Fingerprint::new(), |all, (name, value)| all.with(name, value))
        };
        let identity = match self {
            Device::Cpu => IDENTITY.get_or_init(|| all(cpu::identity().into_iter().collect())).clone(),
            Device::Cuda(n) => all(cuda::gpu(n).map(cuda::Gpu::identity).unwrap_or_default()),
        };
        let t = target;
        let (vectors, caches) = (t.vector_bytes, format!("{} {} {}", t.l1_bytes, t.l2_bytes, t.l3_bytes));
        identity.with("target", &t.name).with("vector bytes", vectors).with("cores", t.cores).with("caches", caches)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

/// What kernels are compiled for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Machine {
    /// This processor, under the `isa` setting.
    Cpu(&'static Target),
    /// A GPU.
    Gpu(&'static cuda::Gpu, Arch),
    /// An architecture of GPUs, without a device: nothing can run.
    Arch(Arch, &'static Target),
}

impl Machine {
    /// This processor, as set.
    pub(super) fn cpu() -> Machine {
        Machine::Cpu(compile::target())
    }
    /// That of a device.
    ///
    /// # Errors
    /// When there is no such device.
    pub(super) fn of(device: Device) -> Result<Machine> {
        match device {
            Device::Cpu => Ok(Machine::cpu()),
            Device::Cuda(n) => {
                let gpu = cuda::gpu(n)?;
                Ok(Machine::Gpu(gpu, gpu.arch()?))
            }
        }
    }
    /// A typical device of an architecture.
    pub(super) fn arch(arch: Arch) -> Machine {
        static TARGETS: [OnceLock<Target>; Arch::ALL.len()] = [const { OnceLock::new() }; Arch::ALL.len()];
        let place = Arch::ALL.iter().position(|a| *a == arch).unwrap_or(0);
        Machine::Arch(arch, TARGETS[place].get_or_init(|| ptx::target(arch)))
    }
    /// As the scheduler sees it.
    pub(super) fn target(&self) -> &'static Target {
        match self {
            Machine::Cpu(t) | Machine::Arch(_, t) => t,
            Machine::Gpu(gpu, _) => &gpu.target,
        }
    }
    /// The device; of an architecture alone there is none, and nothing is remembered.
    pub(super) fn device(&self) -> Device {
        match self {
            Machine::Cpu(_) | Machine::Arch(..) => Device::Cpu,
            Machine::Gpu(gpu, _) => Device::Cuda(gpu.index),
        }
    }
    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Machine::Cpu(t) => t.name.clone(),
            Machine::Arch(arch, _) => format!("{arch} (compiled only)"),
            Machine::Gpu(gpu, arch) => format!("{gpu:?} ({arch})"),
        }
    }
}
