//! What the runtime needs of a GPU driver, as a trait.
//!
//! In: handles and addresses as numbers. Out: results, or a [`Fault`] with the driver's own code. There are two kinds of
//! implementations: the driver of the machine (feature `cuda`), and simulated ones, which tests install
//! ([`install`](super::install)) so that whole programs run without a device. Nothing above this trait knows which one
//! it speaks to.
//!
//! Calls that work on a device act on the *current* context of the calling thread, as the CUDA driver's do.

use helion_codegen::ptx::{PtxKernel, PtxOptions};
use helion_ir::loops::Function as LoopFunction;
use std::fmt;

macro_rules! handles {
    ($($name:ident $doc:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);
    )*};
}

handles! {
    Context "A context: what a process has on a device.";
    Stream "A queue of work. 0 is the default one, which waits for others as the driver documents.";
    Module "Loaded code.";
    Function "A kernel of a module.";
    Event "A point in a stream.";
    Graph "Captured work, ready to be launched.";
    Address "An address in a device's memory.";
}

/// The result of a call of the driver.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The function of the driver.
    pub call: &'static str,
    /// Its code, as in `cuda.h`.
    pub code: u32,
    /// The name of the code, and what it means.
    pub text: String,
}

/// What can be done about a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Device memory is short. Freeing some helps.
    Memory,
    /// The context is lost: every later call fails, until the process ends.
    Lost,
    /// This call failed; others may work.
    Call,
}

impl Fault {
    /// What can be done.
    pub fn severity(&self) -> Severity {
        match self.code {
            2 => Severity::Memory,
            // Illegal address, launch timeout, hardware stack, illegal instruction, misaligned address, invalid address
            // space, invalid program counter, launch failed, assert, ECC, NVLink, contained errors, a destroyed
            // context, a driver that was shut down, tensor memory that was not given back.
            4 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721 => Severity::Lost,
            _ => Severity::Call,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (code {})", self.call, self.text, self.code)
    }
}

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its name, as in `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Compute capability: major and minor.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of its last cache.
    pub cache: u64,
    /// Bytes of shared memory that a block can have when it asks for more than usual.
    pub shared: u32,
    /// The clock of the multiprocessors in kHz; 0 when unknown.
    pub clock: u32,
    /// Width of the memory bus in bits, and its clock in kHz; 0 when unknown.
    pub bus: (u32, u32),
    /// Tells devices of the same name apart.
    pub uuid: u128,
}

/// What is known of a loaded kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory that the code declares.
    pub shared: u32,
    /// Bytes of local memory of a thread: what was spilled from registers.
    pub local: u32,
    /// The most threads a block can have.
    pub threads: u32,
}

/// One launch of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The kernel.
    pub function: Function,
    /// Blocks; the grid has one dimension.
    pub blocks: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks of a cluster; 1 where there are none.
    pub cluster: u32,
    /// Bytes of shared memory beside what the code declares.
    pub shared: u32,
    /// Where it queues.
    pub stream: Stream,
    /// Parameters, in order: first descriptions of tensors ([`TensorMap`]), then words of eight bytes.
    pub parameters: &'a [u64],
    /// How many descriptions there are, of sixteen words each.
    pub maps: usize,
}

/// A tensor that the hardware's copy engine can walk through, of at most five axes, the innermost first.
#[derive(Clone, Copy, Debug)]
pub struct Tiled<'a> {
    /// The driver's number of the element type (`CUtensorMapDataType`).
    pub dtype: u32,
    /// The element at index 0…0, a multiple of 16.
    pub address: Address,
    /// Elements along each axis.
    pub dims: &'a [u64],
    /// Bytes between neighbours along each axis but the innermost; multiples of 16.
    pub strides: &'a [u64],
    /// Elements of the box that one copy moves.
    pub window: &'a [u32],
    /// Bytes of the pattern in which shared memory is permuted: 0, 32, 64 or 128.
    pub swizzle: u32,
}

/// What [`Driver::encode`] makes: passed to kernels by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct TensorMap(pub [u64; 16]);

/// A GPU driver. Methods are named after what they do; the CUDA driver's function is in parentheses.
///
/// # Safety
/// What is documented here must hold; in particular [`copy_out`](Driver::copy_out) must fill the whole slice, and
/// nothing may write host memory that was not handed to it.
pub unsafe trait Driver: Send + Sync {
    /// Its version, as in 12080 for 12.8 (`cuDriverGetVersion`).
    fn version(&self) -> Result<u32>;
    /// How many devices there are (`cuDeviceGetCount`).
    fn devices(&self) -> Result<usize>;
    /// What is known of a device (`cuDeviceGetAttribute` and others).
    fn facts(&self, device: usize) -> Result<Facts>;

    /// The context that all users of a device in this process share (`cuDevicePrimaryCtxRetain`).
    fn context(&self, device: usize) -> Result<Context>;
    /// The current context of this thread; `Context(0)` when there is none (`cuCtxGetCurrent`).
    fn current(&self) -> Result<Context>;
    /// Makes a context the current one of this thread (`cuCtxSetCurrent`).
    ///
    /// # Safety
    /// It must be a live context, or `Context(0)`.
    unsafe fn enter(&self, context: Context) -> Result<()>;

    /// Memory of so many bytes, aligned to 256 (`cuMemAlloc`). Legal while this thread captures.
    fn alloc(&self, bytes: usize) -> Result<Address>;
    /// Frees memory (`cuMemFree`); waits for what uses it.
    ///
    /// # Safety
    /// It must be from [`alloc`](Driver::alloc), and nothing may use it afterwards.
    unsafe fn free(&self, address: Address) -> Result<()>;
    /// Free and total bytes of the current context's device (`cuMemGetInfo`).
    fn memory(&self) -> Result<(u64, u64)>;
    /// Copies from the host, in the stream's order; has read `from` when it returns.
    ///
    /// # Safety
    /// The device memory must be live.
    unsafe fn copy_in(&self, to: Address, from: &[u8], stream: Stream) -> Result<()>;
    /// Copies to the host what is there when all earlier work of the stream is done; waits for it.
    ///
    /// # Safety
    /// The device memory must be live.
    unsafe fn copy_out(&self, to: &mut [u8], from: Address, stream: Stream) -> Result<()>;
    /// Copies `rows` rows of `bytes` bytes within a device, in the stream's order (`cuMemcpy2DAsync`). Steps are
    /// from one row to the next.
    ///
    /// # Safety
    /// Both must be live device memory that does not overlap.
    unsafe fn copy(
        &self,
        to: (Address, usize),
        from: (Address, usize),
        bytes: usize,
        rows: usize,
        stream: Stream,
    ) -> Result<()>;
    /// Sets bytes, in the stream's order (`cuMemsetD8Async`).
    ///
    /// # Safety
    /// It must be live device memory.
    unsafe fn fill(&self, to: Address, value: u8, bytes: usize, stream: Stream) -> Result<()>;

    /// Code for a simulated device that does not run what the code generator makes; `None` for all others.
    fn compile(&self, f: &LoopFunction, options: &PtxOptions) -> Option<Result<PtxKernel, String>> {
        let _ = (f, options);
        None
    }
    /// Machine code for the device of the current context, and what the assembler says (`cuLinkAddData`).
    fn assemble(&self, ptx: &str) -> Result<Assembled>;
    /// Loads machine code (`cuModuleLoadDataEx`).
    fn load(&self, code: &[u8]) -> Result<Module>;
    /// Unloads it (`cuModuleUnload`).
    ///
    /// # Safety
    /// None of its functions may run or be launched any more.
    unsafe fn unload(&self, module: Module) -> Result<()>;
    /// A kernel by name (`cuModuleGetFunction`).
    ///
    /// # Safety
    /// The module must be loaded.
    unsafe fn function(&self, module: Module, name: &str) -> Result<Function>;
    /// What a kernel uses (`cuFuncGetAttribute`).
    ///
    /// # Safety
    /// The function's module must be loaded.
    unsafe fn usage(&self, function: Function) -> Result<Usage>;
    /// Allows a kernel so much dynamic shared memory (`cuFuncSetAttribute`).
    ///
    /// # Safety
    /// The function's module must be loaded.
    unsafe fn allow_shared(&self, function: Function, bytes: u32) -> Result<()>;
    /// Puts a launch into its stream (`cuLaunchKernel`, `cuLaunchKernelEx`).
    ///
    /// # Safety
    /// The parameters must be those of the kernel, and what it does with them must be sound.
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()>;
    /// Describes a tensor to the copy engine (`cuTensorMapEncodeTiled`).
    fn encode(&self, tensor: &Tiled<'_>) -> Result<TensorMap>;

    /// A stream of its own, which does not wait for the default one (`cuStreamCreate`).
    fn stream(&self) -> Result<Stream>;
    /// Ends a stream (`cuStreamDestroy`).
    ///
    /// # Safety
    /// It must be from [`stream`](Driver::stream), and is gone afterwards.
    unsafe fn end_stream(&self, stream: Stream) -> Result<()>;
    /// Waits until all work of a stream is done (`cuStreamSynchronize`).
    ///
    /// # Safety
    /// The stream must be live.
    unsafe fn wait(&self, stream: Stream) -> Result<()>;
    /// Waits until all work of the current context is done (`cuCtxSynchronize`).
    fn wait_all(&self) -> Result<()>;

    /// An event (`cuEventCreate`). Only one that is `timed` can be asked for times.
    fn event(&self, timed: bool) -> Result<Event>;
    /// Ends an event (`cuEventDestroy`).
    ///
    /// # Safety
    /// It must be from [`event`](Driver::event), and is gone afterwards.
    unsafe fn end_event(&self, event: Event) -> Result<()>;
    /// Puts an event into a stream (`cuEventRecord`).
    ///
    /// # Safety
    /// Both must be live.
    unsafe fn record(&self, event: Event, stream: Stream) -> Result<()>;
    /// Makes later work of a stream wait for an event (`cuStreamWaitEvent`).
    ///
    /// # Safety
    /// Both must be live.
    unsafe fn wait_for(&self, stream: Stream, event: Event) -> Result<()>;
    /// Milliseconds between two events; waits for the second (`cuEventElapsedTime`).
    ///
    /// # Safety
    /// Both must be live, and recorded.
    unsafe fn elapsed(&self, from: Event, to: Event) -> Result<f32>;

    /// Whether the work of a stream is being captured (`cuStreamIsCapturing`).
    ///
    /// # Safety
    /// The stream must be live.
    unsafe fn is_capturing(&self, stream: Stream) -> Result<bool>;
    /// From now on the work of a stream is not done but captured (`cuStreamBeginCapture`).
    ///
    /// # Safety
    /// The stream must be live.
    unsafe fn begin_capture(&self, stream: Stream) -> Result<()>;
    /// What was captured, ready to be launched (`cuStreamEndCapture`, `cuGraphInstantiate`).
    ///
    /// # Safety
    /// The stream must be live.
    unsafe fn end_capture(&self, stream: Stream) -> Result<Graph>;
    /// Puts all captured work into a stream (`cuGraphLaunch`).
    ///
    /// # Safety
    /// Both must be live, and so must all memory that the work uses.
    unsafe fn launch_graph(&self, graph: Graph, stream: Stream) -> Result<()>;
    /// Ends a graph (`cuGraphExecDestroy`).
    ///
    /// # Safety
    /// It must be from [`end_capture`](Driver::end_capture), and is gone afterwards.
    unsafe fn end_graph(&self, graph: Graph) -> Result<()>;
}

/// What [`Driver::assemble`] makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assembled {
    /// What [`Driver::load`] takes.
    pub code: Vec<u8>,
    /// What the assembler says.
    pub log: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_say_what_can_be_done() {
        let severity = |code| Fault { call: "cuLaunchKernel", code, text: "CUDA_ERROR".into() }.severity();
        assert_eq!(severity(2), Severity::Memory);
        for lost in [700, 716, 719] {
            assert_eq!(severity(lost), Severity::Lost);
        }
        for call in [1, 218, 701, 801, 900] {
            assert_eq!(severity(call), Severity::Call);
        }
        let f = Fault { call: "cuMemAlloc", code: 2, text: "CUDA_ERROR_OUT_OF_MEMORY: out of memory".into() };
        assert_eq!(f.to_string(), "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory (code 2)");
    }
}
