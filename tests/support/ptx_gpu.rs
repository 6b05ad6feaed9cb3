//! A GPU that is none: a driver whose kernels are run by the PTX interpreter, which checks every access.
//!
//! In: calls of the driver's trait, PTX among them. Out: what a device would do. Work is done when it is queued; graphs are
//! refused. A kernel that faults loses the context, as on a device, and says kernel, line and reason.

use helion::cuda::driver::{
    Address, Assembled, Context, Driver, Event, Facts, Fault, Function, Graph, Launch, Module, Result, Stream,
    TensorMap, Tiled, Usage,
};
use helion_codegen::ptx::{PtxKernel, PtxOptions};
use helion_ir::loops;
use helion_ptx_interp as interp;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Makes kernels in place of the code generator.
pub type Compiler = fn(&loops::Function, &PtxOptions) -> Option<std::result::Result<PtxKernel, String>>;

/// The driver of one device.
pub struct PtxGpu {
    capability: (u32, u32),
    compiler: Compiler,
    state: Mutex<State>,
    context: u64,
    begun: Instant,
}

#[derive(Default)]
struct State {
    device: interp::Device,
    modules: HashMap<u64, Arc<interp::Module>>,
    functions: HashMap<u64, (Arc<interp::Module>, String)>,
    events: HashMap<u64, f64>,
    next: u64,
    launches: u64,
}

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

fn fault(call: &'static str, code: u32, text: impl ToString) -> Fault {
    Fault { call, code, text: text.to_string() }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
    fn copy(&mut self, to: u64, from: u64, bytes: usize) -> std::result::Result<(), interp::HostError> {
        let read = self.device.read(from, bytes)?.to_vec();
        self.device.write(to, &read)
    }
}

impl PtxGpu {
    /// A device of this compute capability. What `compiler` does not make, the code generator does.
    pub fn new(capability: (u32, u32), compiler: Compiler) -> Arc<PtxGpu> {
        // Far from the numbers of other simulated drivers.
        static CONTEXTS: AtomicU64 = AtomicU64::new(1 << 40);
        let context = CONTEXTS.fetch_add(1, Ordering::Relaxed);
        Arc::new(PtxGpu { capability, compiler, state: Mutex::default(), context, begun: Instant::now() })
    }

    /// How many launches there were.
    pub fn launches(&self) -> u64 {
        self.state().launches
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The device, when its context is current.
    fn on(&self, call: &'static str) -> Result<MutexGuard<'_, State>> {
        if CURRENT.get() == self.context {
            Ok(self.state())
        } else {
            Err(fault(call, 201, "another context is current"))
        }
    }
}

// SAFETY: copies fill their whole slices; kernels touch the interpreter's memory only.
unsafe impl Driver for PtxGpu {
    fn version(&self) -> Result<u32> {
        Ok(12080)
    }
    fn devices(&self) -> Result<usize> {
        Ok(1)
    }
    fn facts(&self, _: usize) -> Result<Facts> {
        Ok(Facts {
            name: "PTX interpreter".to_owned(),
            capability: self.capability,
            multiprocessors: 4,
            memory: 4 << 30,
            cache: 4 << 20,
            shared: 227 << 10,
            ..Facts::default()
        })
    }
    fn context(&self, _: usize) -> Result<Context> {
        Ok(Context(self.context))
    }
    fn current(&self) -> Result<Context> {
        Ok(Context(CURRENT.get()))
    }
    unsafe fn enter(&self, context: Context) -> Result<()> {
        CURRENT.set(context.0);
        Ok(())
    }
    fn alloc(&self, bytes: usize) -> Result<Address> {
        Ok(Address(self.on("cuMemAlloc")?.device.alloc(bytes)))
    }
    unsafe fn free(&self, address: Address) -> Result<()> {
        self.on("cuMemFree")?.device.free(address.0).map_err(|e| fault("cuMemFree", 1, e))
    }
    fn memory(&self) -> Result<(u64, u64)> {
        Ok((4 << 30, 4 << 30))
    }
    unsafe fn copy_in(&self, to: Address, from: &[u8], _: Stream) -> Result<()> {
        let call = "cuMemcpyHtoDAsync";
        self.on(call)?.device.write(to.0, from).map_err(|e| fault(call, 1, e))
    }
    unsafe fn copy_out(&self, to: &mut [u8], from: Address, _: Stream) -> Result<()> {
        let call = "cuMemcpyDtoHAsync";
        let state = self.on(call)?;
        to.copy_from_slice(state.device.read(from.0, to.len()).map_err(|e| fault(call, 1, e))?);
        Ok(())
    }
    unsafe fn copy(
        &self,
        to: (Address, usize),
        from: (Address, usize),
        bytes: usize,
        rows: usize,
        _: Stream,
    ) -> Result<()> {
        let call = "cuMemcpy2DAsync";
        let mut state = self.on(call)?;
        let row = |at: (Address, usize), r: usize| at.0.0 + (r * at.1) as u64;
        (0..rows).try_for_each(|r| state.copy(row(to, r), row(from, r), bytes)).map_err(|e| fault(call, 1, e))
    }
    unsafe fn fill(&self, to: Address, value: u8, bytes: usize, _: Stream) -> Result<()> {
        let call = "cuMemsetD8Async";
        self.on(call)?.device.write(to.0, &vec![value; bytes]).map_err(|e| fault(call, 1, e))
    }
    fn compile(&self, f: &loops::Function, options: &PtxOptions) -> Option<std::result::Result<PtxKernel, String>> {
        (self.compiler)(f, options)
    }
    fn assemble(&self, ptx: &str) -> Result<Assembled> {
        interp::Module::parse(ptx).map_err(|e| fault("cuLinkAddData", 218, e))?;
        Ok(Assembled { code: ptx.as_bytes().to_vec(), log: String::new() })
    }
    fn load(&self, code: &[u8]) -> Result<Module> {
        let call = "cuModuleLoadDataEx";
        let text = std::str::from_utf8(code).map_err(|e| fault(call, 200, e))?;
        let module = interp::Module::parse(text).map_err(|e| fault(call, 200, e))?;
        let mut state = self.on(call)?;
        let n = state.number();
        state.modules.insert(n, Arc::new(module));
        Ok(Module(n))
    }
    unsafe fn unload(&self, module: Module) -> Result<()> {
        self.on("cuModuleUnload")?.modules.remove(&module.0);
        Ok(())
    }
    unsafe fn function(&self, module: Module, name: &str) -> Result<Function> {
        let call = "cuModuleGetFunction";
        let mut state = self.on(call)?;
        let module = state.modules.get(&module.0).cloned().ok_or_else(|| fault(call, 400, "no such module"))?;
        if module.entry(name).is_none() {
            return Err(fault(call, 500, format!("no entry `{name}`")));
        }
        let n = state.number();
        state.functions.insert(n, (module, name.to_owned()));
        Ok(Function(n))
    }
    unsafe fn usage(&self, function: Function) -> Result<Usage> {
        let state = self.on("cuFuncGetAttribute")?;
        let entry = state.functions.get(&function.0).and_then(|(m, name)| m.entry(name));
        let (shared, threads) = entry.map_or((0, 1024), |e| (e.static_shared_bytes(), e.max_threads().unwrap_or(1024)));
        Ok(Usage { shared, threads, ..Usage::default() })
    }
    unsafe fn allow_shared(&self, _: Function, _: u32) -> Result<()> {
        Ok(())
    }
    unsafe fn launch(&self, l: &Launch<'_>) -> Result<()> {
        let call = "cuLaunchKernel";
        let mut state = self.on(call)?;
        let known = state.functions.get(&l.function.0).cloned();
        let (module, entry) = known.ok_or_else(|| fault(call, 400, "no such function"))?;
        let words: Vec<u8> = l.parameters.iter().flat_map(|w| w.to_le_bytes()).collect();
        state.launches += 1;
        let done = state.device.launch(&module, &entry, [l.blocks, 1, 1], [l.threads, 1, 1], l.shared, &words);
        done.map(drop).map_err(|f| {
            let code = match f.kind {
                interp::FaultKind::Launch => 1,
                interp::FaultKind::OutOfBounds => 700,
                interp::FaultKind::Misaligned => 716,
                interp::FaultKind::Limit => 702,
                // Races, deadlocks, traps and the like.
                _ => 719,
            };
            fault(call, code, f)
        })
    }
    fn encode(&self, t: &Tiled<'_>) -> Result<TensorMap> {
        let call = "cuTensorMapEncodeTiled";
        let map = interp::TensorMap::tiled(t.dtype, t.address.0, t.dims, t.strides, t.window, t.swizzle);
        let map = map.ok_or_else(|| fault(call, 1, "no such element type or swizzle"))?;
        let bytes = map.encode().map_err(|e| fault(call, 1, e))?;
        let (words, _) = bytes.as_chunks::<8>();
        let mut all = [0; 16];
        all.iter_mut().zip(words).for_each(|(word, b)| *word = u64::from_le_bytes(*b));
        Ok(TensorMap(all))
    }
    fn stream(&self) -> Result<Stream> {
        Ok(Stream(self.on("cuStreamCreate")?.number()))
    }
    unsafe fn end_stream(&self, _: Stream) -> Result<()> {
        Ok(())
    }
    unsafe fn wait(&self, _: Stream) -> Result<()> {
        Ok(())
    }
    fn wait_all(&self) -> Result<()> {
        Ok(())
    }
    fn event(&self, _: bool) -> Result<Event> {
        Ok(Event(self.on("cuEventCreate")?.number()))
    }
    unsafe fn end_event(&self, event: Event) -> Result<()> {
        self.on("cuEventDestroy")?.events.remove(&event.0);
        Ok(())
    }
    unsafe fn record(&self, event: Event, _: Stream) -> Result<()> {
        let now = self.begun.elapsed().as_secs_f64();
        self.on("cuEventRecord")?.events.insert(event.0, now);
        Ok(())
    }
    unsafe fn wait_for(&self, _: Stream, _: Event) -> Result<()> {
        Ok(())
    }
    unsafe fn elapsed(&self, from: Event, to: Event) -> Result<f32> {
        let state = self.on("cuEventElapsedTime")?;
        let at = |e: Event| state.events.get(&e.0).copied().ok_or_else(|| fault("cuEventElapsedTime", 400, "no event"));
        Ok(((at(to)? - at(from)?) * 1e3) as f32)
    }
    unsafe fn is_capturing(&self, _: Stream) -> Result<bool> {
        Ok(false)
    }
    unsafe fn begin_capture(&self, _: Stream) -> Result<()> {
        Err(fault("cuStreamBeginCapture", 801, "not simulated"))
    }
    unsafe fn end_capture(&self, _: Stream) -> Result<Graph> {
        Err(fault("cuStreamEndCapture", 801, "not simulated"))
    }
    unsafe fn launch_graph(&self, _: Graph, _: Stream) -> Result<()> {
        Err(fault("cuGraphLaunch", 801, "not simulated"))
    }
    unsafe fn end_graph(&self, _: Graph) -> Result<()> {
        Ok(())
    }
}
