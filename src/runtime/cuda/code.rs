//! Compiled kernels on a device: assembled or found on disk, loaded once, launched.
//!
//! In: the PTX of a launch's kernels. Out: a [`Loaded`], whose [`run`](Loaded::run) puts them into the current stream of
//! the thread. A launch takes its argument words, adds the two of the calling convention
//! ([`helion_codegen::ptx`]) and the descriptions of tensors that the copy engine walks, which the driver makes, and
//! makes one call of the driver for each kernel; words, descriptions and plans live in memory that the thread keeps.

use super::driver::{self, Address, Driver, Function, Launch, Module, Stream, TensorMap, Tiled, Usage};
use super::gpu::Gpu;
use super::memory::Block;
use super::{kept, stream};
use crate::error::{Error, Result};
use helion_codegen::pipeline::{Phase, Sequence};
use helion_codegen::ptx::{Mapped, Plan, PtxKernel, Values};
use smallvec::SmallVec;
use std::cell::Cell;
use std::time::Instant;

/// The kernels of a launch, loaded.
pub(in crate::runtime) struct Loaded {
    gpu: &'static Gpu,
    sequence: Sequence<PtxKernel>,
    /// For each kernel of the sequence, in order.
    ready: SmallVec<[Ready; 1]>,
    /// How long each step of compiling took.
    pub(in crate::runtime) phases: Vec<Phase>,
}

/// One loaded kernel.
struct Ready {
    module: Module,
    function: Function,
    usage: Usage,
    /// Bytes of dynamic shared memory that a launch can have.
    room: u32,
}

/// What a launch needs beside its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    blocks: u32,
    /// Dynamic shared memory.
    shared: u32,
    /// Memory for buffers that do not fit in shared memory.
    spill: u64,
}

/// The most blocks of a grid.
const MOST_BLOCKS: u64 = i32::MAX as u64;
/// Blocks for each multiprocessor when buffers are in device memory.
const SPILLING: u64 = 4;
/// Dynamic shared memory that every launch can have without asking.
const USUAL: u32 = 48 << 10;

#[derive(Default)]
struct Memory {
    words: Vec<u64>,
    /// Descriptions of tensors, then the words.
    parameters: Vec<u64>,
    values: Values,
}

thread_local! {
    /// Memory of the last launch of this thread.
    static MEMORY: Cell<Option<Box<Memory>>> = const { Cell::new(None) };
}

impl Loaded {
    /// Assembles the kernels, unless that was done before, and loads them.
    ///
    /// # Errors
    /// When the driver refuses a kernel, or it needs more than the device has.
    pub(in crate::runtime) fn new(
        gpu: &'static Gpu,
        sequence: Sequence<PtxKernel>,
        mut phases: Vec<Phase>,
    ) -> Result<Loaded> {
        let driver = gpu.enter()?;
        let mut ready = SmallVec::new();
        for kernel in sequence.kernels() {
            let start = Instant::now();
            let code = kept::assembled(gpu, &*driver, kernel)?;
            phases.push(Phase { name: "assemble", time: start.elapsed() });
            let start = Instant::now();
            ready.push(load(gpu, &*driver, kernel, &code)?);
            phases.push(Phase { name: "load", time: start.elapsed() });
        }
        Ok(Loaded { gpu, sequence, ready, phases })
    }

    /// The kernels, in order.
    pub(in crate::runtime) fn kernels(&self) -> impl Iterator<Item = &PtxKernel> {
        self.sequence.kernels()
    }

    /// What the kernels use, in order.
    pub(in crate::runtime) fn usages(&self) -> impl Iterator<Item = Usage> {
        self.ready.iter().map(|r| r.usage)
    }

    /// Queues the kernels on the current stream of this thread.
    ///
    /// # Errors
    /// When memory is short, the grid is too large, or the driver refuses; then outputs may be partly written.
    ///
    /// # Safety
    /// `words` are arguments of this launch: tensors that are live, written ones used by nobody else, and all as the
    /// facts that the kernels were compiled with say.
    #[inline]
    pub(in crate::runtime) unsafe fn run(&self, words: &[u64]) -> Result<()> {
        let driver = self.gpu.enter()?;
        let stream = stream::current(self.gpu).stream;
        // Taken, so that a launch within a launch gets memory of its own.
        let mut memory = MEMORY.try_with(Cell::take).ok().flatten().unwrap_or_default();
        let result = self.queue(&*driver, stream, words, &mut memory);
        let _ = MEMORY.try_with(|m| m.set(Some(memory)));
        result
    }

    fn queue(&self, driver: &dyn Driver, stream: Stream, words: &[u64], memory: &mut Memory) -> Result<()> {
        // Goes back to the pool of this stream at the end, whose later work runs after ours.
        let workspace = match self.sequence.workspaces.is_empty() {
            true => {
                memory.words.clear();
                memory.words.extend_from_slice(words);
                None
            }
            false => {
                let bytes = self.sequence.workspace_bytes(words).and_then(|b| usize::try_from(b).ok());
                let too_large = "the workspaces of a split reduction are too large; a smaller `split` needs less";
                let block = Block::new(self.gpu, bytes.ok_or_else(|| Error::memory(too_large))?)?;
                self.sequence.words(words, block.address().0, &mut memory.words);
                Some(block)
            }
        };
        for (kernel, ready) in self.sequence.kernels().zip(&self.ready) {
            self.queue_one(driver, stream, kernel, ready, memory)?;
        }
        drop(workspace);
        Ok(())
    }

    #[inline]
    fn queue_one(
        &self,
        driver: &dyn Driver,
        stream: Stream,
        kernel: &PtxKernel,
        ready: &Ready,
        memory: &mut Memory,
    ) -> Result<()> {
        let plan = kernel.plan(&memory.words, &mut memory.values);
        if plan.programs == 0 {
            return Ok(());
        }
        let (shape, spilled) = self.shape(kernel, ready, &plan)?;
        memory.words.extend([shape.spill, plan.programs]);
        let parameters = match kernel.maps() {
            [] => &memory.words,
            maps => {
                memory.parameters.clear();
                for map in maps {
                    let described = describe(driver, map, &memory.words);
                    memory.parameters.extend(self.gpu.check(described)?.0);
                }
                memory.parameters.extend_from_slice(&memory.words);
                &memory.parameters
            }
        };
        let launch = Launch {
            function: ready.function,
            blocks: shape.blocks,
            threads: kernel.threads(),
            cluster: 1,
            shared: shape.shared,
            stream,
            parameters,
            maps: kernel.maps().len(),
        };
        // SAFETY: the words are the kernel's, promised by the caller of `run`; spilled buffers have the bytes that its
        // plan asks for, for each block.
        let result = unsafe { driver.launch(&launch) };
        memory.words.truncate(memory.words.len() - 2);
        drop(spilled);
        self.gpu.check(result)
    }

    /// How many blocks run a plan, and where its buffers are.
    fn shape(&self, kernel: &PtxKernel, ready: &Ready, plan: &Plan) -> Result<(Shape, Option<Block>)> {
        let fixed = kernel.shared_bytes();
        if plan.dynamic_bytes == 0 {
            let blocks = u32::try_from(plan.programs).ok().filter(|b| u64::from(*b) <= MOST_BLOCKS);
            let blocks = blocks.ok_or_else(|| too_many(kernel, plan.programs))?;
            return Ok((Shape { blocks, shared: fixed, spill: 0 }, None));
        }
        let shared = u64::from(fixed).saturating_add(plan.dynamic_bytes);
        if shared <= u64::from(ready.room) {
            let blocks = plan.programs.min(MOST_BLOCKS) as u32;
            return Ok((Shape { blocks, shared: shared as u32, spill: 0 }, None));
        }
        let most = u64::from(self.gpu.facts.multiprocessors.max(1)) * SPILLING;
        let blocks = plan.programs.min(most);
        let bytes = blocks.checked_mul(plan.dynamic_bytes).and_then(|b| usize::try_from(b).ok());
        let short = || Error::memory(format!("the buffers of kernel `{}` are too large", kernel.name()));
        let block = Block::new(self.gpu, bytes.ok_or_else(short)?)?;
        Ok((Shape { blocks: blocks as u32, shared: fixed, spill: block.address().0 }, Some(block)))
    }
}

/// A tensor as the copy engine sees it.
fn describe(driver: &dyn Driver, map: &Mapped, words: &[u64]) -> driver::Result<TensorMap> {
    let (address, dims, strides) = map.tensor(words);
    driver.encode(&Tiled {
        dtype: map.dtype,
        address: Address(address),
        dims: &dims[..map.rank],
        strides: &strides[..map.rank - 1],
        window: &map.window,
        swizzle: Mapped::SWIZZLE,
    })
}

#[cold]
fn too_many(kernel: &PtxKernel, programs: u64) -> Error {
    let text = format!("kernel `{}`: {programs} program instances are more than a grid can have", kernel.name());
    Error::shape(format!("{text}\n  help: pin larger blocks, or `grid=persistent`"))
}

/// Loads one kernel.
fn load(gpu: &'static Gpu, driver: &dyn Driver, kernel: &PtxKernel, code: &[u8]) -> Result<Ready> {
    let module = gpu.check(driver.load(code))?;
    // SAFETY: loaded just now.
    let prepared = unsafe {
        driver.function(module, kernel.entry()).and_then(|function| {
            let usage = driver.usage(function)?;
            let room = gpu.shared_beside(usage.shared);
            // Asked for once, so that launches need not.
            if room > USUAL {
                driver.allow_shared(function, room)?;
            }
            Ok(Ready { module, function, usage, room })
        })
    };
    let unload = || {
        // SAFETY: nothing of it was launched.
        let _ = unsafe { driver.unload(module) };
    };
    let ready = prepared.map_err(|f| {
        unload();
        gpu.error(&f)
    })?;
    let (threads, shared) = (kernel.threads(), kernel.shared_bytes());
    let too_much = if ready.usage.threads < threads {
        let registers = ready.usage.registers;
        format!("{threads} threads with {registers} registers each; blocks of {} would fit", ready.usage.threads)
    } else if ready.room < shared {
        format!("{shared} bytes of shared memory beside {}; it has {}", ready.usage.shared, gpu.facts.shared)
    } else {
        return Ok(ready);
    };
    unload();
    Err(Error::setting(format!("kernel `{}` needs more than {gpu:?} has: {too_much}", kernel.name())))
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // Candidates of a search end so. Their launches may still be queued.
        let Ok(driver) = self.gpu.enter() else { return };
        if driver.wait_all().is_ok() {
            for r in &self.ready {
                // SAFETY: all work is done, and nobody can launch it any more.
                let _ = unsafe { driver.unload(r.module) };
            }
        }
    }
}
