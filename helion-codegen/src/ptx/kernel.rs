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
    pub(super) maps: Vec<Mapped>,
    pub(super) rule: Rule,
}

/// A tensor that the device's copy engine walks in boxes. Its description, 128 bytes that the driver makes from the
/// argument words, is a parameter of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The first of the tensor's argument words.
    pub word: usize,
    /// How many axes it has.
    pub rank: usize,
    /// The driver's number of its element type (`CUtensorMapDataType`).
    pub dtype: u32,
    /// Bytes of an element.
    pub size: u32,
    /// Elements of a box along each axis, the innermost first. The innermost ones have 128 bytes, in which chunks of 16
    /// are swapped by the row's number.
    pub window: Vec<u32>,
}

impl Mapped {
    /// The most axes.
    pub const AXES: usize = 5;
    /// Bytes of the pattern in which chunks are swapped.
    pub const SWIZZLE: u32 = 128;

    /// From a launch's argument words: the address, then elements along each axis, the innermost first, and bytes
    /// between neighbours along each but that one.
    pub fn tensor(&self, args: &[u64]) -> (u64, [u64; Mapped::AXES], [u64; Mapped::AXES]) {
        let (mut dims, mut strides) = ([1; Mapped::AXES], [16; Mapped::AXES]);
        let words = &args[self.word + 1..self.word + 1 + 2 * self.rank];
        let (extents, steps) = words.split_at(self.rank);
        for (k, (n, by)) in extents.iter().zip(steps).rev().enumerate().take(Mapped::AXES) {
            dims[k] = (*n).max(1);
            // Along axes with one element any step will do, and not every one is legal.
            if k > 0 && *n > 1 {
                strides[k - 1] = by.wrapping_mul(u64::from(self.size));
            }
        }
        (args[self.word], dims, strides)
    }
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
            maps: Vec::new(),
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
    /// The tensors whose descriptions are the kernel's first parameters, in order; its argument words follow.
    pub fn maps(&self) -> &[Mapped] {
        &self.maps
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
