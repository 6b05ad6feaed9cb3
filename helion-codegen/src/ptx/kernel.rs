//! A compiled kernel, and what a launch of it needs.

use super::rule::{Rule, Values};
use super::{Arch, Facts, PtxOptions};
use helion_ir::loops::{BufferId, Function};

/// A kernel as PTX.
#[derive(Clone, Debug, PartialEq)]
pub struct PtxKernel {
    pub(super) name: String,
    pub(super) entry: String,
    pub(super) text: String,
    pub(super) arch: Arch,
    pub(super) facts: Facts,
    pub(super) threads: u32,
    pub(super) shared_bytes: u32,
    pub(super) rule: Rule,
}

/// What a launch needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Program instances. A launch of kernels without [`dynamic_bytes`](Plan::dynamic_bytes) has as many blocks; with
    /// them any number of blocks will do, each block runs several instances.
    pub programs: u64,
    /// Bytes of buffers whose size is known only now, for each block: dynamic shared memory, or, when there is not
    /// enough of it, memory at `spill` (as many bytes for each block, one block's after the other's).
    pub dynamic_bytes: u64,
}

/// Code of a kernel that [`compile`](super::compile) did not make: written by hand, or for a simulated device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreign {
    /// The module.
    pub text: String,
    /// The name of its entry, which takes the words of the calling convention.
    pub entry: String,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory that launches ask for.
    pub shared_bytes: u32,
    /// Buffers of the function whose size launches decide.
    pub dynamic: Vec<BufferId>,
}

impl PtxKernel {
    /// A kernel with code for a loop function that comes from elsewhere.
    pub fn foreign(f: &Function, options: &PtxOptions, code: Foreign) -> PtxKernel {
        PtxKernel {
            name: f.name.clone(),
            entry: code.entry,
            text: code.text,
            arch: options.arch,
            facts: options.facts.clone(),
            threads: code.threads,
            shared_bytes: code.shared_bytes,
            rule: Rule::new(f, &code.dynamic),
        }
    }
    /// The kernel's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The name of the entry in the PTX.
    pub fn entry(&self) -> &str {
        &self.entry
    }
    /// The PTX, one module with one entry.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// What it was compiled for.
    pub fn arch(&self) -> Arch {
        self.arch
    }
    /// What arguments of launches must fulfil.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        self.threads
    }
    /// Bytes of shared memory that the PTX does not declare, before the plan's dynamic bytes: a launch asks for this
    /// and, unless buffers are spilled, for the plan's.
    pub fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }
    /// How many argument words it takes, without `spill` and `programs`.
    pub fn words(&self) -> usize {
        self.rule.words()
    }
    /// What a launch with these argument words needs. `values` is memory to be used again by the next call.
    ///
    /// # Panics
    /// When the number of words is wrong.
    pub fn plan(&self, args: &[u64], values: &mut Values) -> Plan {
        assert_eq!(args.len(), self.words(), "argument words of `{}`", self.name);
        self.rule.plan(args, values)
    }
}
