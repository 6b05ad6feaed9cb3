//! A GPU that is none: a driver whose kernels are compiled for the CPU and run when they are launched.
//!
//! In: calls of the driver's trait. Out: what a device would do, and an account of it. Device addresses are no addresses
//! of this process, so that code which mistakes one for a pointer crashes. Every launch is checked: parameters, shared
//! memory, what the kernel was promised about its arguments, and that all memory it is given is live.

#![allow(dead_code, reason = "no test uses all of it")]

use helion::cuda::driver::{
    Address, Assembled, Context, Driver, Event, Facts, Fault, Function, Graph, Launch, Module, Result, Stream,
    TensorMap, Tiled, Usage,
};
use helion_codegen::cpu::{self, CompiledKernel, CpuOptions};
use helion_codegen::ptx::{Foreign, PtxKernel, PtxOptions};
use helion_ir::loops::{self, BufferId, ParamKind};
use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// What device addresses are more than host addresses; no host address has such bits.
const AWAY: u64 = 1 << 56;
/// Alignment of memory.
const ALIGN: usize = 256;
/// What a new block is full of.
const GARBAGE: u8 = 0xa5;

/// What a driver is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    pub devices: usize,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Bytes of memory.
    pub memory: usize,
    /// Whether buffers of kernels are of a size that launches decide.
    pub dynamic: bool,
    /// Shared memory of a block.
    pub shared: u32,
    /// Launches do nothing.
    pub idle: bool,
    /// Events tell real time, not one millisecond for a piece of work.
    pub real_time: bool,
    /// What becomes of kernels with this name whose loop IR has this text; only wrong results outside of workers.
    pub deadly: &'static [(&'static str, &'static str, Fate)],
}

impl Default for Options {
    fn default() -> Options {
        Options {
            devices: 1,
            capability: (8, 0),
            memory: 1 << 30,
            dynamic: false,
            shared: 100 << 10,
            idle: false,
            real_time: false,
            deadly: &[],
        }
    }
}

/// What a kernel does to the process that launches it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Dies,
    Hangs,
    /// Its results are wrong.
    Errs,
}

/// The driver.
pub struct FakeGpu {
    options: Options,
    state: Mutex<State>,
    launches: AtomicU64,
    /// Calls that wait for the device.
    waits: AtomicU64,
    /// What the next call of a name returns instead of doing anything.
    fault: Mutex<Option<(&'static str, u32)>>,
    has_fault: AtomicBool,
    first_context: u64,
    begun: std::time::Instant,
}

#[derive(Default)]
struct State {
    /// Host address and size of live memory.
    live: BTreeMap<u64, usize>,
    used: usize,
    /// Compiled kernels by their text.
    compiled: HashMap<String, Arc<Kernel>>,
    /// Loaded ones by number.
    functions: HashMap<u64, Arc<Kernel>>,
    modules: HashMap<u64, Arc<Kernel>>,
    assembled: usize,
    captures: HashMap<u64, Vec<Work>>,
    graphs: HashMap<u64, Vec<Work>>,
    events: HashMap<u64, u64>,
    /// Streams that were made and not ended.
    streams: Vec<u64>,
    next: u64,
    /// Goes up with every piece of work.
    clock: u64,
    /// Pairs of streams of which the second waited for the first.
    fences: Vec<(u64, u64)>,
    recorded_on: HashMap<u64, u64>,
    last: Option<Seen>,
}

/// What a launch was like.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub kernel: String,
    pub blocks: u32,
    pub threads: u32,
    pub shared: u32,
    pub stream: u64,
    pub spill: u64,
    pub aligned: u64,
    pub narrow: bool,
}

/// A kernel for the CPU.
struct Kernel {
    name: String,
    code: CompiledKernel,
    /// First word, rank and element size of tensor parameters, by number.
    tensors: Vec<Option<(usize, usize, u64)>>,
    options: PtxOptions,
    symbols: usize,
    dynamic: bool,
    fate: Option<Fate>,
}

#[derive(Clone)]
enum Work {
    Launch { kernel: Arc<Kernel>, words: Vec<u64> },
    Copy { to: (Address, usize), from: (Address, usize), bytes: usize, rows: usize },
    Fill { to: Address, value: u8, bytes: usize },
}

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

fn fault(call: &'static str, code: u32) -> Fault {
    Fault { call, code, text: "CUDA_ERROR of a simulated device".to_owned() }
}

impl FakeGpu {
    pub fn new(options: Options) -> Arc<FakeGpu> {
        static CONTEXTS: AtomicU64 = AtomicU64::new(1);
        let first_context = CONTEXTS.fetch_add(options.devices as u64, Ordering::Relaxed);
        Arc::new(FakeGpu {
            options,
            state: Mutex::default(),
            launches: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            fault: Mutex::new(None),
            has_fault: AtomicBool::new(false),
            first_context,
            begun: std::time::Instant::now(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// How many launches there were, graphs' included.
    pub fn launches(&self) -> u64 {
        self.launches.load(Ordering::Relaxed)
    }
    /// How often something waited for the device.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }
    /// How many kernels were assembled.
    pub fn assembled(&self) -> usize {
        self.state().assembled
    }
    /// Bytes of live memory.
    pub fn used(&self) -> usize {
        self.state().used
    }
    /// The last launch.
    pub fn last(&self) -> Seen {
        self.state().last.clone().expect("a launch")
    }
    /// Which streams waited for which: (earlier, later).
    pub fn fences(&self) -> Vec<(u64, u64)> {
        self.state().fences.clone()
    }
    /// Streams that were made and not ended.
    pub fn streams(&self) -> Vec<u64> {
        self.state().streams.clone()
    }
    /// Makes the next call of a name fail.
    pub fn fail(&self, call: &'static str, code: u32) {
        *self.fault.lock().unwrap() = Some((call, code));
        self.has_fault.store(true, Ordering::Release);
    }

    /// Whether a call may go on: no fault is due, and the context is current.
    fn on(&self, call: &'static str) -> Result<()> {
        self.due(call)?;
        let device = CURRENT.get().wrapping_sub(self.first_context);
        if device < self.options.devices as u64 { Ok(()) } else { Err(fault(call, 201)) }
    }

    fn due(&self, call: &'static str) -> Result<()> {
        if self.has_fault.load(Ordering::Acquire) {
            let mut f = self.fault.lock().unwrap();
            if let Some((_, code)) = f.filter(|(name, _)| *name == call) {
                *f = None;
                self.has_fault.store(false, Ordering::Release);
                return Err(fault(call, code));
            }
        }
        Ok(())
    }

    /// Does work, or captures it.
    fn queue(&self, stream: Stream, work: Work) -> Result<()> {
        let mut state = self.state();
        state.clock += 1;
        if let Some(captured) = state.captures.get_mut(&stream.0) {
            captured.push(work);
            return Ok(());
        }
        self.work(&state, &work)
    }

    fn work(&self, state: &State, work: &Work) -> Result<()> {
        match work {
            Work::Launch { kernel, words } => self.run(state, kernel, words),
            Work::Copy { to, from, bytes, rows } => {
                let span = |step: usize| step * (rows - 1) + bytes;
                let (t, f) = (state.host(to.0, span(to.1))?, state.host(from.0, span(from.1))?);
                for r in 0..*rows {
                    // SAFETY: within live memory, checked just now.
                    unsafe { t.add(r * to.1).copy_from_nonoverlapping(f.add(r * from.1), *bytes) };
                }
                Ok(())
            }
            Work::Fill { to, value, bytes } => {
                // SAFETY: within live memory.
                unsafe { state.host(*to, *bytes)?.write_bytes(*value, *bytes) };
                Ok(())
            }
        }
    }

    fn run(&self, state: &State, kernel: &Kernel, words: &[u64]) -> Result<()> {
        let n = kernel.code.words();
        let mut host = words[..n].to_vec();
        for (i, (first, rank, size)) in kernel.tensors.iter().enumerate().filter_map(|(i, t)| Some((i, (*t)?))) {
            let (dims, strides) = (&words[first + 1..][..rank], &words[first + 1 + rank..][..rank]);
            let strides: Vec<i64> = strides.iter().map(|s| *s as i64).collect();
            let last = |&d: &u64| d as i64 - 1;
            if dims.iter().all(|d| *d > 0) {
                let ends = dims.iter().zip(&strides).map(|(d, s)| last(d) * s * size as i64);
                let (lo, hi) = ends.fold((0, 0), |(lo, hi), e| (lo + e.min(0), hi + e.max(0)));
                let start = words[first].wrapping_add_signed(lo);
                state.host(Address(start), (hi - lo) as usize + size as usize)?;
                assert!(
                    !kernel.options.facts.narrow || (lo > -(1 << 31) && hi < 1 << 31),
                    "not narrow: {}",
                    kernel.name
                );
            }
            if kernel.options.facts.aligned >> i & 1 == 1 {
                let unit = usize::from(strides.last() == Some(&1));
                let rows = dims.iter().zip(&strides).take(rank - unit).filter(|(d, _)| **d > 1);
                let good = rows.map(|(_, s)| s.unsigned_abs() * size).chain([words[first]]).all(|v| v % 16 == 0);
                assert!(good, "parameter {i} of {} is not aligned", kernel.name);
            }
            host[first] = words[first].wrapping_sub(AWAY);
        }
        for (symbol, value) in &kernel.options.facts.sizes {
            assert_eq!(words[n - kernel.symbols + symbol.index()], *value, "a fixed size of {}", kernel.name);
        }
        for (symbol, bound) in &kernel.options.facts.bounds {
            let value = words[n - kernel.symbols + symbol.index()];
            let fits = value <= bound.most && value.is_multiple_of(1 << bound.divisor);
            assert!(fits, "{value} for a size of {} with {bound:?}", kernel.name);
        }
        let plan = kernel.code.plan(&host);
        assert_eq!(words[n + 1], plan.programs, "program instances of {}", kernel.name);
        let scratch = vec![0u8; plan.scratch_bytes as usize + 64];
        let aligned = scratch.as_ptr().wrapping_add(scratch.as_ptr().align_offset(64)).cast_mut();
        let programs = match kernel.fate {
            Some(Fate::Dies) => std::process::abort(),
            Some(Fate::Hangs) => loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            },
            Some(Fate::Errs) => plan.programs / 2,
            None => plan.programs,
        };
        // SAFETY: the words are the kernel's, for live memory; the scratch is ours, with room for its alignment.
        unsafe { kernel.code.run(&host, aligned, 0, programs) };
        Ok(())
    }

    fn number(&self) -> u64 {
        let mut state = self.state();
        state.next += 1;
        state.next
    }
}

impl State {
    /// Live memory as memory of this process.
    fn host(&self, at: Address, bytes: usize) -> Result<*mut u8> {
        let start = at.0.wrapping_sub(AWAY);
        let block = self.live.range(..=start).next_back();
        let inside = block.is_some_and(|(b, n)| start - b <= *n as u64 && start - b + bytes as u64 <= *n as u64);
        if !inside && bytes > 0 {
            return Err(fault("a copy or kernel", 700));
        }
        Ok(std::ptr::with_exposed_provenance_mut(start as usize))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for (start, bytes) in std::mem::take(&mut self.live) {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(std::ptr::with_exposed_provenance_mut(start as usize), layout(bytes)) };
        }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, ALIGN).expect("a layout")
}

// SAFETY: copies are checked against live memory and fill their whole slices.
unsafe impl Driver for FakeGpu {
    fn version(&self) -> Result<u32> {
        Ok(12080)
    }
    fn devices(&self) -> Result<usize> {
        Ok(self.options.devices)
    }
    fn facts(&self, device: usize) -> Result<Facts> {
        Ok(Facts {
            name: "Simulated GPU".to_owned(),
            capability: self.options.capability,
            multiprocessors: 4,
            memory: self.options.memory as u64,
            cache: 4 << 20,
            shared: self.options.shared,
            clock: 1_000_000,
            bus: (256, 1_000_000),
            uuid: device as u128,
        })
    }
    fn context(&self, device: usize) -> Result<Context> {
        self.due("cuDevicePrimaryCtxRetain")?;
        Ok(Context(self.first_context + device as u64))
    }
    fn current(&self) -> Result<Context> {
        Ok(Context(CURRENT.get()))
    }
    unsafe fn enter(&self, context: Context) -> Result<()> {
        CURRENT.set(context.0);
        Ok(())
    }
    fn alloc(&self, bytes: usize) -> Result<Address> {
        self.on("cuMemAlloc")?;
        let mut state = self.state();
        if bytes == 0 || state.used + bytes > self.options.memory {
            return Err(fault("cuMemAlloc", if bytes == 0 { 1 } else { 2 }));
        }
        // SAFETY: not of size zero.
        let start = unsafe { alloc(layout(bytes)) };
        // SAFETY: just allocated.
        unsafe { start.write_bytes(GARBAGE, bytes) };
        let start = start.expose_provenance() as u64;
        state.live.insert(start, bytes);
        state.used += bytes;
        Ok(Address(start + AWAY))
    }
    unsafe fn free(&self, address: Address) -> Result<()> {
        self.on("cuMemFree")?;
        self.waits.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let bytes = state.live.remove(&(address.0 - AWAY)).ok_or_else(|| fault("cuMemFree", 1))?;
        state.used -= bytes;
        let start = std::ptr::with_exposed_provenance_mut((address.0 - AWAY) as usize);
        // SAFETY: allocated with this layout, and removed from what is live.
        unsafe { dealloc(start, layout(bytes)) };
        Ok(())
    }
    fn memory(&self) -> Result<(u64, u64)> {
        self.on("cuMemGetInfo")?;
        let used = self.state().used;
        Ok(((self.options.memory - used) as u64, self.options.memory as u64))
    }
    unsafe fn copy_in(&self, to: Address, from: &[u8], stream: Stream) -> Result<()> {
        self.on("cuMemcpyHtoDAsync")?;
        self.waits.fetch_add(1, Ordering::Relaxed);
        let state = self.state();
        if state.captures.contains_key(&stream.0) {
            return Err(fault("cuMemcpyHtoDAsync", 900));
        }
        // SAFETY: live memory of so many bytes.
        unsafe { state.host(to, from.len())?.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        Ok(())
    }
    unsafe fn copy_out(&self, to: &mut [u8], from: Address, stream: Stream) -> Result<()> {
        self.on("cuMemcpyDtoHAsync")?;
        self.waits.fetch_add(1, Ordering::Relaxed);
        let state = self.state();
        if state.captures.contains_key(&stream.0) {
            return Err(fault("cuMemcpyDtoHAsync", 900));
        }
        // SAFETY: live memory of so many bytes.
        unsafe { state.host(from, to.len())?.copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
        Ok(())
    }
    unsafe fn copy(
        &self,
        to: (Address, usize),
        from: (Address, usize),
        bytes: usize,
        rows: usize,
        stream: Stream,
    ) -> Result<()> {
        self.on("cuMemcpy2DAsync")?;
        assert!(rows == 1 || (to.1 >= bytes && from.1 >= bytes), "the driver refuses steps shorter than rows");
        self.queue(stream, Work::Copy { to, from, bytes, rows })
    }
    unsafe fn fill(&self, to: Address, value: u8, bytes: usize, stream: Stream) -> Result<()> {
        self.on("cuMemsetD8Async")?;
        self.queue(stream, Work::Fill { to, value, bytes })
    }
    fn compile(&self, f: &loops::Function, options: &PtxOptions) -> Option<Result<PtxKernel, String>> {
        let code = match cpu::compile(f, &CpuOptions::default()) {
            Ok(code) => code,
            Err(e) => return Some(Err(e.to_string())),
        };
        let text = format!("// {options:?}\n{f}");
        let worker = std::env::var_os("HELION_WORKER").is_some();
        let is = |(name, part, fate): &&(&str, &str, Fate)| {
            f.name == *name && text.contains(part) && (worker || *fate == Fate::Errs)
        };
        let fate = self.options.deadly.iter().find(is).map(|d| d.2);
        let mut first = 0;
        let mut tensors = Vec::new();
        for p in &f.params {
            match &p.kind {
                ParamKind::Tensor { dtype, dims, .. } => {
                    tensors.push(Some((first, dims.len(), dtype.size() as u64)));
                    first += 1 + 2 * dims.len();
                }
                ParamKind::Scalar { .. } => {
                    tensors.push(None);
                    first += 1;
                }
            }
        }
        let dynamic: Vec<BufferId> =
            if self.options.dynamic { (0..f.buffers.len()).map(|i| BufferId(i as u32)).collect() } else { Vec::new() };
        let kernel = Kernel {
            name: f.name.clone(),
            code,
            tensors,
            options: options.clone(),
            symbols: f.symbols.len(),
            dynamic: !dynamic.is_empty(),
            fate,
        };
        self.state().compiled.insert(text.clone(), Arc::new(kernel));
        let code = Foreign { text, entry: f.name.clone(), threads: 128, shared_bytes: 0, dynamic };
        Some(Ok(PtxKernel::foreign(f, options, code)))
    }
    fn assemble(&self, ptx: &str) -> Result<Assembled> {
        self.on("cuLinkAddData")?;
        self.state().assembled += 1;
        Ok(Assembled { code: ptx.as_bytes().to_vec(), log: "assembled".to_owned() })
    }
    fn load(&self, code: &[u8]) -> Result<Module> {
        self.on("cuModuleLoadDataEx")?;
        let n = self.number();
        let text = std::str::from_utf8(code).map_err(|_| fault("cuModuleLoadDataEx", 200))?;
        let mut state = self.state();
        let kernel = state.compiled.get(text).cloned().ok_or_else(|| fault("cuModuleLoadDataEx", 200))?;
        state.modules.insert(n, kernel);
        Ok(Module(n))
    }
    unsafe fn unload(&self, module: Module) -> Result<()> {
        self.on("cuModuleUnload")?;
        self.state().modules.remove(&module.0).map(drop).ok_or_else(|| fault("cuModuleUnload", 400))
    }
    unsafe fn function(&self, module: Module, name: &str) -> Result<Function> {
        self.on("cuModuleGetFunction")?;
        let n = self.number();
        let mut state = self.state();
        let kernel = state.modules.get(&module.0).cloned().ok_or_else(|| fault("cuModuleGetFunction", 400))?;
        if kernel.name != name {
            return Err(fault("cuModuleGetFunction", 500));
        }
        state.functions.insert(n, kernel);
        Ok(Function(n))
    }
    unsafe fn usage(&self, _: Function) -> Result<Usage> {
        self.on("cuFuncGetAttribute")?;
        Ok(Usage { registers: 32, shared: 1024, local: 0, threads: 1024 })
    }
    unsafe fn allow_shared(&self, _: Function, bytes: u32) -> Result<()> {
        self.on("cuFuncSetAttribute")?;
        if bytes + 1024 <= self.options.shared { Ok(()) } else { Err(fault("cuFuncSetAttribute", 1)) }
    }
    unsafe fn launch(&self, l: &Launch<'_>) -> Result<()> {
        self.on("cuLaunchKernel")?;
        self.launches.fetch_add(1, Ordering::Relaxed);
        if self.options.idle {
            return Ok(());
        }
        let kernel = {
            let mut state = self.state();
            let kernel = state.functions.get(&l.function.0).cloned().ok_or_else(|| fault("cuLaunchKernel", 400))?;
            let n = kernel.code.words();
            assert_eq!(l.parameters.len(), n + 2, "parameters of {}", kernel.name);
            let (spill, programs) = (l.parameters[n], l.parameters[n + 1]);
            assert!(l.blocks > 0 && u64::from(l.blocks) <= programs, "{} blocks, {programs} programs", l.blocks);
            assert!(kernel.dynamic || u64::from(l.blocks) == programs, "as many blocks as programs");
            assert!(l.shared + 1024 <= self.options.shared, "{} bytes of shared memory", l.shared);
            if spill != 0 {
                state.host(Address(spill), 1)?;
            }
            state.last = Some(Seen {
                kernel: kernel.name.clone(),
                blocks: l.blocks,
                threads: l.threads,
                shared: l.shared,
                stream: l.stream.0,
                spill,
                aligned: kernel.options.facts.aligned,
                narrow: kernel.options.facts.narrow,
            });
            kernel
        };
        self.queue(l.stream, Work::Launch { kernel, words: l.parameters.to_vec() })
    }
    fn encode(&self, _: &Tiled<'_>) -> Result<TensorMap> {
        Err(fault("cuTensorMapEncodeTiled", 801))
    }
    fn stream(&self) -> Result<Stream> {
        self.on("cuStreamCreate")?;
        let n = self.number();
        self.state().streams.push(n);
        Ok(Stream(n))
    }
    unsafe fn end_stream(&self, stream: Stream) -> Result<()> {
        self.state().streams.retain(|s| *s != stream.0);
        Ok(())
    }
    unsafe fn wait(&self, _: Stream) -> Result<()> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.on("cuStreamSynchronize")
    }
    fn wait_all(&self) -> Result<()> {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.on("cuCtxSynchronize")
    }
    fn event(&self, _: bool) -> Result<Event> {
        self.on("cuEventCreate")?;
        Ok(Event(self.number()))
    }
    unsafe fn end_event(&self, event: Event) -> Result<()> {
        self.state().events.remove(&event.0);
        Ok(())
    }
    unsafe fn record(&self, event: Event, stream: Stream) -> Result<()> {
        self.on("cuEventRecord")?;
        let mut state = self.state();
        let now = if self.options.real_time { self.begun.elapsed().as_nanos() as u64 } else { state.clock };
        state.events.insert(event.0, now);
        state.recorded_on.insert(event.0, stream.0);
        Ok(())
    }
    unsafe fn wait_for(&self, stream: Stream, event: Event) -> Result<()> {
        self.on("cuStreamWaitEvent")?;
        let mut state = self.state();
        let earlier = state.recorded_on.get(&event.0).copied().ok_or_else(|| fault("cuStreamWaitEvent", 400))?;
        state.fences.push((earlier, stream.0));
        Ok(())
    }
    unsafe fn elapsed(&self, from: Event, to: Event) -> Result<f32> {
        self.on("cuEventElapsedTime")?;
        self.waits.fetch_add(1, Ordering::Relaxed);
        let state = self.state();
        let at = |e: Event| state.events.get(&e.0).copied().ok_or_else(|| fault("cuEventElapsedTime", 400));
        let (from, to) = (at(from)?, at(to)?);
        let unit = if self.options.real_time { 1e-6 } else { 1.0 };
        Ok((to - from) as f32 * unit)
    }
    unsafe fn is_capturing(&self, stream: Stream) -> Result<bool> {
        self.on("cuStreamIsCapturing")?;
        Ok(self.state().captures.contains_key(&stream.0))
    }
    unsafe fn begin_capture(&self, stream: Stream) -> Result<()> {
        self.on("cuStreamBeginCapture")?;
        self.state().captures.insert(stream.0, Vec::new());
        Ok(())
    }
    unsafe fn end_capture(&self, stream: Stream) -> Result<Graph> {
        self.on("cuStreamEndCapture")?;
        let n = self.number();
        let mut state = self.state();
        let work = state.captures.remove(&stream.0).ok_or_else(|| fault("cuStreamEndCapture", 901))?;
        state.graphs.insert(n, work);
        Ok(Graph(n))
    }
    unsafe fn launch_graph(&self, graph: Graph, _: Stream) -> Result<()> {
        self.on("cuGraphLaunch")?;
        let state = self.state();
        let work = state.graphs.get(&graph.0).ok_or_else(|| fault("cuGraphLaunch", 400))?;
        work.iter().try_for_each(|w| self.work(&state, w))
    }
    unsafe fn end_graph(&self, graph: Graph) -> Result<()> {
        self.state().graphs.remove(&graph.0);
        Ok(())
    }
}
