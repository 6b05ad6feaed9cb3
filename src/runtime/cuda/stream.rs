//! Streams of the caller, events, and captured graphs.
//!
//! In: raw handles, or nothing, which means the device's default stream. Out: launches, copies and memory in the order
//! of that stream. What holds at the end of [`with_stream`]: work queued inside is ordered between what was queued
//! before and what will be queued after, on the stream outside, so that tensors may be used on both sides.

use super::driver::{self, Stream};
use super::gpu::{Gpu, gpu};
use super::memory::{Free, GraphFree};
use crate::error::{Error, Result};
use crate::runtime::Device;
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

/// Where the work of a thread goes, on one device.
#[derive(Clone, Default)]
pub(super) struct Scope {
    pub(super) stream: Stream,
    /// The graph that is being captured.
    pub(super) graph: Option<Arc<Captured>>,
}

thread_local! {
    /// Scopes of this thread, the innermost last, with the number of their device.
    static SCOPES: RefCell<Vec<(usize, Scope)>> = const { RefCell::new(Vec::new()) };
}

/// The innermost scope of this thread on a device.
#[inline]
pub(super) fn current(gpu: &Gpu) -> Scope {
    let find = |scopes: &RefCell<Vec<(usize, Scope)>>| {
        scopes.borrow().iter().rev().find(|(i, _)| *i == gpu.index).map(|(_, s)| s.clone())
    };
    // At thread exit the place may be gone; tensors dropped then are the default stream's.
    SCOPES.try_with(find).ok().flatten().unwrap_or_default()
}

/// Ends a scope, also when the closure inside panics.
struct Within {
    gpu: &'static Gpu,
    outer: Stream,
    inner: Stream,
    /// Whether the streams are ordered at the end.
    ordered: bool,
}

impl Within {
    fn begin(gpu: &'static Gpu, scope: Scope, outer: Stream, ordered: bool) -> Within {
        let inner = scope.stream;
        SCOPES.with_borrow_mut(|s| s.push((gpu.index, scope)));
        Within { gpu, outer, inner, ordered }
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let _ = SCOPES.try_with(|s| s.borrow_mut().pop());
        // A failure shows at the next call: the device is lost then.
        if self.ordered && fence(self.gpu, self.inner, self.outer).is_ok() {
            self.gpu.pool().hand_over(self.inner, self.outer);
        }
    }
}

/// Makes later work of one stream wait for earlier work of another.
fn fence(gpu: &'static Gpu, earlier: Stream, later: Stream) -> Result<()> {
    if earlier == later {
        return Ok(());
    }
    let driver = gpu.enter()?;
    // Held while it is recorded and waited for: another thread's mark in between would be waited for instead.
    let mut mark = gpu.fence.lock().unwrap_or_else(|e| e.into_inner());
    let event = match *mark {
        Some(e) => e,
        None => *mark.insert(gpu.check(driver.event(false))?),
    };
    // SAFETY: the event lives as long as the process; streams are live by the promise made to `with_stream`.
    gpu.check(unsafe { driver.record(event, earlier).and_then(|()| driver.wait_for(later, event)) })
}

/// The device behind a [`Device`].
fn of(device: Device) -> Result<&'static Gpu> {
    match device {
        Device::Cuda(n) => gpu(n),
        Device::Cpu => Err(Error::device("the CPU has no streams\n  help: pass `Device::cuda(0)?`")),
    }
}

/// Runs `f` with everything that this thread does on a device queued in a stream of the caller, given as a `CUstream`.
/// Work inside runs after what was queued before on the stream outside, and before what is queued there later. When the
/// caller is capturing the stream, neither is arranged for, and memory that launches allocate stays with the graph for
/// as long as the process lives; launches that were made before the capture compile and load nothing in it.
///
/// Tensors that are made inside may be handed to other threads once `with_stream` has returned.
///
/// # Errors
/// When there is no such device, or the stream does not work.
///
/// # Safety
/// `stream` must be a live stream of the device (and of the context it is used with) until `with_stream` returns.
pub unsafe fn with_stream<R>(device: Device, stream: *mut c_void, f: impl FnOnce() -> R) -> Result<R> {
    let gpu = of(device)?;
    let inner = Stream(stream.expose_provenance() as u64);
    let outer = current(gpu).stream;
    let driver = gpu.enter()?;
    // SAFETY: promised by the caller.
    let capturing = gpu.check(unsafe { driver.is_capturing(inner) })?;
    let graph = capturing.then(|| {
        let captured = Arc::new(Captured::new(gpu));
        // Nobody tells when the caller's graph ends.
        std::mem::forget(Arc::clone(&captured));
        captured
    });
    if !capturing {
        fence(gpu, outer, inner)?;
    }
    let _within = Within::begin(gpu, Scope { stream: inner, graph }, outer, !capturing);
    Ok(f())
}

/// Waits until everything queued on a device is done, and reports what went wrong in it.
///
/// # Errors
/// What failed; or when there is no such device.
pub fn synchronize(device: Device) -> Result<()> {
    let gpu = of(device)?;
    let driver = gpu.enter()?;
    gpu.check(driver.wait_all())
}

/// A point in a stream, with the time at which the device came to it.
pub struct Event {
    gpu: &'static Gpu,
    event: driver::Event,
}

impl Event {
    /// Queues an event on the current stream of this thread.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn record(device: Device) -> Result<Event> {
        let gpu = of(device)?;
        let driver = gpu.enter()?;
        let event = Event { gpu, event: gpu.check(driver.event(true))? };
        event.again()?;
        Ok(event)
    }

    /// Queues it once more; the time before is forgotten.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn again(&self) -> Result<()> {
        let driver = self.gpu.enter()?;
        // SAFETY: the event is ours; the stream is live by the promise made to `with_stream`.
        self.gpu.check(unsafe { driver.record(self.event, current(self.gpu).stream) })
    }

    /// The time from this event to a later one, waiting for it.
    ///
    /// # Errors
    /// When they are of different devices, or the device is lost.
    pub fn until(&self, later: &Event) -> Result<Duration> {
        if !std::ptr::eq(self.gpu, later.gpu) {
            return Err(Error::device("events of different devices have no time between them"));
        }
        let driver = self.gpu.enter()?;
        // SAFETY: both are live and recorded.
        let ms = self.gpu.check(unsafe { driver.elapsed(self.event, later.event) })?;
        Ok(Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(driver) = self.gpu.enter() {
            // SAFETY: ours, and gone now.
            let _ = unsafe { driver.end_event(self.event) };
        }
    }
}

/// What belongs to a graph: its memory.
pub(in crate::runtime) struct Captured {
    gpu: &'static Gpu,
    free: GraphFree,
}

impl Captured {
    fn new(gpu: &'static Gpu) -> Captured {
        Captured { gpu, free: GraphFree::default() }
    }
    fn free(&self) -> std::sync::MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// A block that the captured work has no use for any more, at this point of the capture.
    pub(super) fn take(&self, class: usize) -> Option<driver::Address> {
        self.free().take(class)
    }
    pub(super) fn put(&self, class: usize, address: driver::Address) {
        self.free().put(class, address);
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // Launches of the graph may still run. Memory of a device that does not answer is left alone.
        if self.gpu.enter().is_ok_and(|d| d.wait_all().is_ok()) {
            let all = std::mem::take(&mut *self.free());
            self.gpu.pool().adopt(all);
        }
    }
}

/// Work that was captured, to be queued at once: no launch, allocation or check remains.
pub struct Graph {
    gpu: &'static Gpu,
    graph: driver::Graph,
    /// Memory that it uses.
    _memory: Arc<Captured>,
}

/// Runs `f` with everything that this thread does on a device captured instead of done, and returns the graph beside
/// what `f` returns. Tensors made inside live in memory of the graph and are written anew by each launch of it.
///
/// Make the same calls once before: kernels cannot be tuned, and elements cannot be read, while they are captured.
///
/// ```no_run
/// # use helion::prelude::*;
/// # fn f(x: Tensor<f32, 1>, step: impl Fn(&Tensor<f32, 1>) -> Result<Tensor<f32, 1>>) -> Result<()> {
/// let device = Device::cuda(0)?;
/// step(&x)?; // compiles
/// let (graph, y) = helion::cuda::capture(device, || step(&x))?;
/// // SAFETY: `x` and `y` live, and nothing else uses them meanwhile.
/// unsafe { graph.launch() }?;
/// println!("{y}");
/// # Ok(()) }
/// ```
///
/// # Errors
/// What `f` returns; or what the driver says to something that cannot be captured.
pub fn capture<R>(device: Device, f: impl FnOnce() -> Result<R>) -> Result<(Graph, R)> {
    let gpu = of(device)?;
    let driver = gpu.enter()?;
    let stream = Own::new(gpu)?;
    let memory = Arc::new(Captured::new(gpu));
    // SAFETY: the stream is ours.
    gpu.check(unsafe { driver.begin_capture(stream.0) })?;
    let scope = Scope { stream: stream.0, graph: Some(Arc::clone(&memory)) };
    let within = Within::begin(gpu, scope, stream.0, false);
    let result = f();
    drop(within);
    // Ended in any case. SAFETY: the stream is ours.
    let graph = gpu.check(unsafe { driver.end_capture(stream.0) });
    let result = result?;
    Ok((Graph { gpu, graph: graph?, _memory: memory }, result))
}

/// A stream of ours.
struct Own(Stream, &'static Gpu);

impl Own {
    fn new(gpu: &'static Gpu) -> Result<Own> {
        let driver = gpu.enter()?;
        Ok(Own(gpu.check(driver.stream())?, gpu))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Ok(driver) = self.1.enter() {
            // SAFETY: ours, and gone now; what is queued in it is still done.
            let _ = unsafe { driver.end_stream(self.0) };
        }
    }
}

impl Graph {
    /// Queues the work on the current stream of this thread.
    ///
    /// # Errors
    /// When the device is lost.
    ///
    /// # Safety
    /// Tensors that were used in the capture and not made in it must be live and have kept their memory (they were not
    /// written through a kernel while a clone was alive). Until the work is done nothing else may write what it reads, or
    /// use what it writes.
    pub unsafe fn launch(&self) -> Result<()> {
        let driver = self.gpu.enter()?;
        // SAFETY: the graph and its own memory live; the rest is promised by the caller.
        self.gpu.check(unsafe { driver.launch_graph(self.graph, current(self.gpu).stream) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(driver) = self.gpu.enter() {
            // SAFETY: ours, and gone now; launches that are queued are still done.
            let _ = unsafe { driver.end_graph(self.graph) };
        }
    }
}
