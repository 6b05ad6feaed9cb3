//! The architectures that can be compiled for, and what the scheduler needs to know of them.

use helion_ir::target::{Speed, Target};
use std::fmt;
use std::str::FromStr;

/// An architecture, by the name of its code generation target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// Ampere (A100) and everything after it.
    Sm80,
    /// Ampere (GeForce 30) and everything after it.
    Sm86,
    /// Ada, with 8-bit floats in matrix instructions, and everything after it.
    Sm89,
    /// Hopper, with its own matrix and copy instructions; runs on Hopper only.
    Sm90a,
}

impl Arch {
    /// All of them, oldest first.
    pub const ALL: [Arch; 4] = [Arch::Sm80, Arch::Sm86, Arch::Sm89, Arch::Sm90a];

    /// The name that LLVM, `ptxas` and PTX itself use.
    pub const fn name(self) -> &'static str {
        match self {
            Arch::Sm80 => "sm_80",
            Arch::Sm86 => "sm_86",
            Arch::Sm89 => "sm_89",
            Arch::Sm90a => "sm_90a",
        }
    }

    /// The best architecture for a device of this compute capability; `None` when the device is too old.
    pub const fn of_device(major: u32, minor: u32) -> Option<Arch> {
        match (major, minor) {
            (0..8, _) => None,
            (8, 0..6) => Some(Arch::Sm80),
            (8, 6..9) => Some(Arch::Sm86),
            (9, 0) => Some(Arch::Sm90a),
            _ => Some(Arch::Sm89),
        }
    }

    /// Bytes of shared memory that one block can have at most.
    pub const fn shared_bytes(self) -> u32 {
        match self {
            Arch::Sm80 => 163 << 10,
            Arch::Sm86 | Arch::Sm89 => 99 << 10,
            Arch::Sm90a => 227 << 10,
        }
    }

    /// Whether four warps together can multiply out of shared memory.
    pub const fn has_warpgroups(self) -> bool {
        matches!(self, Arch::Sm90a)
    }

    /// Whether there are conversions between `f8e4m3` or `f8e5m2` and other floats.
    pub const fn has_fp8(self) -> bool {
        matches!(self, Arch::Sm89 | Arch::Sm90a)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Arch {
    type Err = String;
    fn from_str(s: &str) -> Result<Arch, String> {
        let names = || Arch::ALL.map(Arch::name).join(", ");
        Arch::ALL.into_iter().find(|a| a.name() == s).ok_or_else(|| format!("`{s}` is not one of {}", names()))
    }
}

/// A typical device of an architecture, as the scheduler sees it; `cores` are its multiprocessors.
pub fn target(arch: Arch) -> Target {
    let (cores, l2, memory) = match arch {
        Arch::Sm80 => (108, 40 << 20, 1_555_000),
        Arch::Sm86 => (84, 6 << 20, 760_000),
        Arch::Sm89 => (128, 72 << 20, 1_000_000),
        Arch::Sm90a => (132, 50 << 20, 3_350_000),
    };
    Target {
        name: arch.name().to_owned(),
        vector_bytes: 16,
        vector_registers: 255,
        l1_bytes: u64::from(arch.shared_bytes()),
        l2_bytes: l2,
        l3_bytes: l2,
        cores,
        warp: 32,
        speed: Speed {
            // What is said of products there is not about matrix units.
            matrix_ops: 0,
            mhz: 1500,
            vector_ops: 320,
            l2_bytes: 640,
            l3_bytes: 640,
            core_memory: memory / cores * 2,
            memory,
            loop_cycles: 40,
            program_cycles: 500,
            fork_ns: 3000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for a in Arch::ALL {
            assert_eq!(a.name().parse(), Ok(a));
        }
        assert_eq!("sm_20".parse::<Arch>(), Err("`sm_20` is not one of sm_80, sm_86, sm_89, sm_90a".to_owned()));
    }

    #[test]
    fn devices_get_what_they_can_run() {
        let of = |major, minor| Arch::of_device(major, minor).map(Arch::name);
        assert_eq!(of(7, 5), None);
        assert_eq!(of(8, 0), Some("sm_80"));
        assert_eq!(of(8, 9), Some("sm_89"));
        assert_eq!(of(9, 0), Some("sm_90a"));
        // Code for Hopper's own instructions runs nowhere else.
        assert_eq!(of(10, 0), Some("sm_89"));
    }
}
