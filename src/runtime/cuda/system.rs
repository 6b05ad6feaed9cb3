//! The driver of this machine, found when a program runs (feature `cuda`).
//!
//! In: calls of the [`Driver`] trait. Out: calls of `libcuda`. [`open`] looks for the library and every function that is
//! used here, so that no later call can meet one that is missing.

use super::driver::{
    Address, Assembled, Context, Driver, Event, Facts, Fault, Function, Graph, Launch, Module, Result, Stream,
    TensorMap, Tiled, Usage,
};
use cudarc::driver::sys;
use smallvec::SmallVec;
use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::ptr;

/// The library, initialised.
pub(super) struct System(());

/// Every function called below, as the library exports it.
const NEEDED: &[&str] = &[
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetUuid_v2",
    "cuDevicePrimaryCtxRetain",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpy2DAsync_v2",
    "cuMemsetD8Async",
    "cuLinkCreate_v2",
    "cuLinkAddData_v2",
    "cuLinkComplete",
    "cuLinkDestroy",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
    "cuTensorMapEncodeTiled",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuStreamIsCapturing",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuThreadExchangeStreamCaptureMode",
    "cuGraphInstantiateWithFlags",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphLaunch",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuGetErrorName",
    "cuGetErrorString",
];

/// Finds the driver of this machine and initialises it.
///
/// # Errors
/// What is missing, and what to do.
pub(super) fn open() -> Result<System, String> {
    // SAFETY: looks for a library; loading NVIDIA's runs nothing but its own initialisers.
    if !unsafe { sys::is_culib_present() } {
        return Err(
            "there is no NVIDIA driver (libcuda was not found)\n  help: install it, or, in a container, pass the \
                    devices in (`docker run --gpus all`)"
                .to_owned(),
        );
    }
    // SAFETY: the library is present, so this does not panic.
    let library = unsafe { sys::culib() };
    for name in NEEDED {
        // SAFETY: the symbol is looked up and not called.
        if unsafe { library.get::<*const c_void>(name.as_bytes()) }.is_err() {
            return Err(format!(
                "the NVIDIA driver is too old: it has no `{name}`\n  help: install version 525 or later"
            ));
        }
    }
    // SAFETY: takes a flag that must be 0.
    check("cuInit", unsafe { sys::cuInit(0) }).map_err(|f| match f.code {
        100 => {
            "the NVIDIA driver finds no device (CUDA_ERROR_NO_DEVICE, code 100)\n  help: `nvidia-smi` should list it; \
                CUDA_VISIBLE_DEVICES can hide it"
                .to_owned()
        }
        _ => format!("the NVIDIA driver does not start: {f}\n  help: `nvidia-smi` often says why"),
    })?;
    Ok(System(()))
}

/// A result of the driver as ours.
#[inline]
fn check(call: &'static str, result: sys::CUresult) -> Result<()> {
    if result == sys::CUresult::CUDA_SUCCESS { Ok(()) } else { Err(fault(call, result)) }
}

#[cold]
fn fault(call: &'static str, result: sys::CUresult) -> Fault {
    let text = |get: unsafe fn(sys::CUresult, *mut *const std::ffi::c_char) -> sys::CUresult| {
        let mut text = ptr::null();
        // SAFETY: a place for the address of a constant text.
        let found = unsafe { get(result, &raw mut text) } == sys::CUresult::CUDA_SUCCESS && !text.is_null();
        // SAFETY: a constant text of the library, ended by a zero.
        found.then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    let name = text(sys::cuGetErrorName).unwrap_or_else(|| "unknown error".to_owned());
    let text = text(sys::cuGetErrorString).map_or(name.clone(), |t| format!("{name}: {t}"));
    Fault { call, code: result as u32, text }
}

/// Calls a function of the library by name.
macro_rules! call {
    ($name:ident($($arg:expr),* $(,)?)) => {
        check(stringify!($name), sys::$name($($arg),*))
    };
}

impl Context {
    fn raw(self) -> sys::CUcontext {
        ptr::with_exposed_provenance_mut(self.0 as usize)
    }
}
impl Stream {
    fn raw(self) -> sys::CUstream {
        ptr::with_exposed_provenance_mut(self.0 as usize)
    }
}
impl Event {
    fn raw(self) -> sys::CUevent {
        ptr::with_exposed_provenance_mut(self.0 as usize)
    }
}
impl Function {
    fn raw(self) -> sys::CUfunction {
        ptr::with_exposed_provenance_mut(self.0 as usize)
    }
}

/// The number of a handle.
fn number<T>(handle: *mut T) -> u64 {
    handle.expose_provenance() as u64
}

/// An attribute of a device; 0 where there is none.
fn attribute(device: sys::CUdevice, which: sys::CUdevice_attribute) -> u32 {
    let mut value: c_int = 0;
    // SAFETY: a place for a number.
    let found = unsafe { sys::cuDeviceGetAttribute(&raw mut value, which, device) };
    if found == sys::CUresult::CUDA_SUCCESS { u32::try_from(value).unwrap_or(0) } else { 0 }
}

fn device(ordinal: usize) -> Result<sys::CUdevice> {
    let mut device = 0;
    let ordinal = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
    // SAFETY: a place for a device.
    unsafe { call!(cuDeviceGet(&raw mut device, ordinal)) }?;
    Ok(device)
}

/// Bytes of each of the assembler's two logs.
const LOG: usize = 16 << 10;

// SAFETY: every method does what the trait documents, by the driver's own documentation of the function it calls.
unsafe impl Driver for System {
    fn version(&self) -> Result<u32> {
        let mut version: c_int = 0;
        // SAFETY: a place for a number.
        unsafe { call!(cuDriverGetVersion(&raw mut version)) }?;
        Ok(u32::try_from(version).unwrap_or(0))
    }

    fn devices(&self) -> Result<usize> {
        let mut count: c_int = 0;
        // SAFETY: a place for a number.
        unsafe { call!(cuDeviceGetCount(&raw mut count)) }?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    fn facts(&self, ordinal: usize) -> Result<Facts> {
        use sys::CUdevice_attribute as A;
        let device = device(ordinal)?;
        let (mut name, mut memory, mut uuid) = ([0; 256], 0usize, sys::CUuuid { bytes: [0; 16] });
        // SAFETY: places for a text of so many bytes, a number and a UUID.
        unsafe {
            call!(cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int - 1, device))?;
            call!(cuDeviceTotalMem_v2(&raw mut memory, device))?;
            call!(cuDeviceGetUuid_v2(&raw mut uuid, device))?;
        }
        let name: Vec<u8> = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
        let of = |which| attribute(device, which);
        Ok(Facts {
            name: String::from_utf8_lossy(&name).into_owned(),
            capability: (
                of(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
                of(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
            ),
            multiprocessors: of(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
            memory: memory as u64,
            cache: u64::from(of(A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)),
            shared: of(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
            clock: of(A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
            bus: (of(A::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH), of(A::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)),
            uuid: u128::from_be_bytes(uuid.bytes.map(|b| b as u8)),
        })
    }

    fn context(&self, ordinal: usize) -> Result<Context> {
        let (device, mut context) = (device(ordinal)?, ptr::null_mut());
        // SAFETY: a place for a handle.
        unsafe { call!(cuDevicePrimaryCtxRetain(&raw mut context, device)) }?;
        Ok(Context(number(context)))
    }

    #[inline]
    fn current(&self) -> Result<Context> {
        let mut context = ptr::null_mut();
        // SAFETY: a place for a handle.
        unsafe { call!(cuCtxGetCurrent(&raw mut context)) }?;
        Ok(Context(number(context)))
    }

    #[inline]
    unsafe fn enter(&self, context: Context) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuCtxSetCurrent(context.raw())) }
    }

    fn alloc(&self, bytes: usize) -> Result<Address> {
        // Allocations are no part of a graph; other modes of capture forbid them.
        let mut mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        let mut address = 0;
        // SAFETY: places for a mode and an address; the thread's mode is put back.
        unsafe {
            call!(cuThreadExchangeStreamCaptureMode(&raw mut mode))?;
            let result = call!(cuMemAlloc_v2(&raw mut address, bytes));
            call!(cuThreadExchangeStreamCaptureMode(&raw mut mode))?;
            result?;
        }
        Ok(Address(address))
    }

    unsafe fn free(&self, address: Address) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuMemFree_v2(address.0)) }
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: places for two numbers.
        unsafe { call!(cuMemGetInfo_v2(&raw mut free, &raw mut total)) }?;
        Ok((free as u64, total as u64))
    }

    unsafe fn copy_in(&self, to: Address, from: &[u8], stream: Stream) -> Result<()> {
        // SAFETY: readable bytes, which stay until the stream has been waited for; the rest is promised by the caller.
        unsafe {
            call!(cuMemcpyHtoDAsync_v2(to.0, from.as_ptr().cast(), from.len(), stream.raw()))?;
            call!(cuStreamSynchronize(stream.raw()))
        }
    }

    unsafe fn copy_out(&self, to: &mut [u8], from: Address, stream: Stream) -> Result<()> {
        // SAFETY: writable bytes, which stay until the stream has been waited for; the rest is promised by the caller.
        unsafe {
            call!(cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from.0, to.len(), stream.raw()))?;
            call!(cuStreamSynchronize(stream.raw()))
        }
    }

    unsafe fn copy(
        &self,
        (to, to_step): (Address, usize),
        (from, from_step): (Address, usize),
        bytes: usize,
        rows: usize,
        stream: Stream,
    ) -> Result<()> {
        if rows == 1 {
            // SAFETY: promised by the caller.
            return unsafe { call!(cuMemcpyDtoDAsync_v2(to.0, from.0, bytes, stream.raw())) };
        }
        let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
        let copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: device,
            srcHost: ptr::null(),
            srcDevice: from.0,
            srcArray: ptr::null_mut(),
            srcPitch: from_step,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: device,
            dstHost: ptr::null_mut(),
            dstDevice: to.0,
            dstArray: ptr::null_mut(),
            dstPitch: to_step,
            WidthInBytes: bytes,
            Height: rows,
        };
        // SAFETY: promised by the caller.
        unsafe { call!(cuMemcpy2DAsync_v2(&raw const copy, stream.raw())) }
    }

    unsafe fn fill(&self, to: Address, value: u8, bytes: usize, stream: Stream) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuMemsetD8Async(to.0, value, bytes, stream.raw())) }
    }

    fn assemble(&self, ptx: &str) -> Result<Assembled> {
        use sys::CUjit_option as O;
        let (mut info, mut errors) = (vec![0u8; LOG], vec![0u8; LOG]);
        let mut options = [
            O::CU_JIT_INFO_LOG_BUFFER,
            O::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
            O::CU_JIT_ERROR_LOG_BUFFER,
            O::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
            O::CU_JIT_LOG_VERBOSE,
        ];
        let size = |n: usize| ptr::without_provenance_mut::<c_void>(n);
        let mut values = [info.as_mut_ptr().cast(), size(LOG), errors.as_mut_ptr().cast(), size(LOG), size(1)];
        let text = CString::new(ptx).map_err(|_| Fault {
            call: "cuLinkAddData",
            code: 218,
            text: "the PTX has a zero byte".to_owned(),
        })?;
        let bytes = text.as_bytes_with_nul();
        let (mut state, mut code, mut length) = (ptr::null_mut(), ptr::null_mut(), 0usize);
        // SAFETY: options and their values in the same order, with logs that outlive the link; a text that is only read,
        // ended by a zero; the code is copied before the link that owns it ends.
        let (result, code) = unsafe {
            call!(cuLinkCreate_v2(options.len() as c_uint, options.as_mut_ptr(), values.as_mut_ptr(), &raw mut state))?;
            let from = bytes.as_ptr().cast_mut().cast();
            let kind = sys::CUjitInputType::CU_JIT_INPUT_PTX;
            let added = call!(cuLinkAddData_v2(
                state,
                kind,
                from,
                bytes.len(),
                c"helion".as_ptr(),
                0,
                ptr::null_mut(),
                ptr::null_mut()
            ));
            let done = added.and_then(|()| call!(cuLinkComplete(state, &raw mut code, &raw mut length)));
            let code = match done {
                Ok(()) => std::slice::from_raw_parts(code.cast::<u8>(), length).to_vec(),
                Err(_) => Vec::new(),
            };
            let ended = call!(cuLinkDestroy(state));
            (done.and(ended), code)
        };
        let log = |b: &[u8]| {
            let end = b.iter().position(|c| *c == 0).unwrap_or(b.len());
            String::from_utf8_lossy(&b[..end]).trim().to_owned()
        };
        match result {
            Ok(()) => Ok(Assembled { code, log: log(&info) }),
            Err(f) => Err(Fault { text: format!("{}\n{}", f.text, log(&errors)), ..f }),
        }
    }

    fn load(&self, code: &[u8]) -> Result<Module> {
        let mut module = ptr::null_mut();
        // SAFETY: a place for a handle, and an image that the driver copies; it checks what it is.
        unsafe {
            call!(cuModuleLoadDataEx(&raw mut module, code.as_ptr().cast(), 0, ptr::null_mut(), ptr::null_mut()))
        }?;
        Ok(Module(number(module)))
    }

    unsafe fn unload(&self, module: Module) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuModuleUnload(ptr::with_exposed_provenance_mut(module.0 as usize))) }
    }

    unsafe fn function(&self, module: Module, name: &str) -> Result<Function> {
        let wrong = |_| Fault { call: "cuModuleGetFunction", code: 500, text: "a name with a zero byte".to_owned() };
        let (name, mut function) = (CString::new(name).map_err(wrong)?, ptr::null_mut());
        // SAFETY: a place for a handle and a text that ends with a zero; the rest is promised by the caller.
        unsafe {
            let module = ptr::with_exposed_provenance_mut(module.0 as usize);
            call!(cuModuleGetFunction(&raw mut function, module, name.as_ptr()))
        }?;
        Ok(Function(number(function)))
    }

    unsafe fn usage(&self, function: Function) -> Result<Usage> {
        use sys::CUfunction_attribute as A;
        let of = |which| {
            let mut value: c_int = 0;
            // SAFETY: a place for a number; the rest is promised by the caller.
            unsafe { call!(cuFuncGetAttribute(&raw mut value, which, function.raw())) }?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        Ok(Usage {
            registers: of(A::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            shared: of(A::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
            local: of(A::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
            threads: of(A::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
        })
    }

    unsafe fn allow_shared(&self, function: Function, bytes: u32) -> Result<()> {
        let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        // SAFETY: promised by the caller.
        unsafe { call!(cuFuncSetAttribute(function.raw(), which, bytes)) }
    }

    unsafe fn launch(&self, l: &Launch<'_>) -> Result<()> {
        let words = size_of::<TensorMap>() / size_of::<u64>();
        let (maps, rest) = l.parameters.split_at(l.maps * words);
        let first = |p: &[u64]| p.as_ptr().cast_mut().cast::<c_void>();
        // The driver copies what these point to; how long each is it knows from the kernel. (All parameters in one
        // piece of memory would be simpler, but descriptions of tensors do not reach the kernel that way.)
        let mut each: SmallVec<[*mut c_void; MOST_PARAMETERS]> =
            maps.chunks(words).map(first).chain(rest.chunks(1).map(first)).collect();
        let none = ptr::null_mut();
        if l.cluster <= 1 {
            // SAFETY: a list of parameters that is read during the call; the rest is promised by the caller.
            return unsafe {
                call!(cuLaunchKernel(
                    l.function.raw(),
                    l.blocks,
                    1,
                    1,
                    l.threads,
                    1,
                    1,
                    l.shared,
                    l.stream.raw(),
                    each.as_mut_ptr(),
                    none
                ))
            };
        }
        // SAFETY: a structure of numbers.
        let mut value: sys::CUlaunchAttributeValue = unsafe { std::mem::zeroed() };
        value.clusterDim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: l.cluster, y: 1, z: 1 };
        let id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        let mut attribute = sys::CUlaunchAttribute { id, pad: [0; 4], value };
        let config = sys::CUlaunchConfig {
            gridDimX: l.blocks,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: l.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: l.shared,
            hStream: l.stream.raw(),
            attrs: &raw mut attribute,
            numAttrs: 1,
        };
        // SAFETY: as above; the configuration is read during the call.
        unsafe { call!(cuLaunchKernelEx(&raw const config, l.function.raw(), each.as_mut_ptr(), none)) }
    }

    fn encode(&self, t: &Tiled<'_>) -> Result<TensorMap> {
        let wrong = |what: &str| Fault { call: "cuTensorMapEncodeTiled", code: 1, text: what.to_owned() };
        let rank = t.dims.len();
        if rank == 0 || rank > 5 || t.strides.len() + 1 != rank || t.window.len() != rank {
            return Err(wrong("dims, strides and window do not fit together"));
        }
        let dtype = DTYPES.get(t.dtype as usize).ok_or_else(|| wrong("no such element type"))?;
        let swizzle = match t.swizzle {
            0 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
            32 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
            64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
            128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            _ => return Err(wrong("a swizzle has 0, 32, 64 or 128 bytes")),
        };
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let ones = [1u32; 5];
        // SAFETY: a place for a map, and lists of as many numbers as the rank says.
        unsafe {
            call!(cuTensorMapEncodeTiled(
                &raw mut map,
                *dtype,
                rank as u32,
                ptr::with_exposed_provenance_mut(t.address.0 as usize),
                t.dims.as_ptr(),
                t.strides.as_ptr(),
                t.window.as_ptr(),
                ones.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                swizzle,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            ))
        }?;
        Ok(TensorMap(map.opaque))
    }

    fn stream(&self) -> Result<Stream> {
        let mut stream = ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
        // SAFETY: a place for a handle.
        unsafe { call!(cuStreamCreate(&raw mut stream, flags)) }?;
        Ok(Stream(number(stream)))
    }

    unsafe fn end_stream(&self, stream: Stream) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuStreamDestroy_v2(stream.raw())) }
    }

    unsafe fn wait(&self, stream: Stream) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuStreamSynchronize(stream.raw())) }
    }

    fn wait_all(&self) -> Result<()> {
        // SAFETY: no preconditions.
        unsafe { call!(cuCtxSynchronize()) }
    }

    fn event(&self, timed: bool) -> Result<Event> {
        use sys::CUevent_flags as F;
        let mut event = ptr::null_mut();
        let flags = if timed { F::CU_EVENT_DEFAULT } else { F::CU_EVENT_DISABLE_TIMING } as c_uint;
        // SAFETY: a place for a handle.
        unsafe { call!(cuEventCreate(&raw mut event, flags)) }?;
        Ok(Event(number(event)))
    }

    unsafe fn end_event(&self, event: Event) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuEventDestroy_v2(event.raw())) }
    }

    unsafe fn record(&self, event: Event, stream: Stream) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuEventRecord(event.raw(), stream.raw())) }
    }

    unsafe fn wait_for(&self, stream: Stream, event: Event) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuStreamWaitEvent(stream.raw(), event.raw(), 0)) }
    }

    unsafe fn elapsed(&self, from: Event, to: Event) -> Result<f32> {
        let mut time = 0.0;
        // SAFETY: a place for a number; the rest is promised by the caller.
        unsafe {
            call!(cuEventSynchronize(to.raw()))?;
            call!(cuEventElapsedTime(&raw mut time, from.raw(), to.raw()))?;
        }
        Ok(time)
    }

    unsafe fn is_capturing(&self, stream: Stream) -> Result<bool> {
        let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        // SAFETY: a place for a status; the rest is promised by the caller.
        unsafe { call!(cuStreamIsCapturing(stream.raw(), &raw mut status)) }?;
        Ok(status != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    }

    unsafe fn begin_capture(&self, stream: Stream) -> Result<()> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: promised by the caller.
        unsafe { call!(cuStreamBeginCapture_v2(stream.raw(), mode)) }
    }

    unsafe fn end_capture(&self, stream: Stream) -> Result<Graph> {
        let (mut graph, mut ready) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: places for handles; the graph is not used once it was made ready. The rest is promised by the caller.
        unsafe {
            call!(cuStreamEndCapture(stream.raw(), &raw mut graph))?;
            let made = call!(cuGraphInstantiateWithFlags(&raw mut ready, graph, 0));
            call!(cuGraphDestroy(graph))?;
            made?;
        }
        Ok(Graph(number(ready)))
    }

    unsafe fn launch_graph(&self, graph: Graph, stream: Stream) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuGraphLaunch(ptr::with_exposed_provenance_mut(graph.0 as usize), stream.raw())) }
    }

    unsafe fn end_graph(&self, graph: Graph) -> Result<()> {
        // SAFETY: promised by the caller.
        unsafe { call!(cuGraphExecDestroy(ptr::with_exposed_provenance_mut(graph.0 as usize))) }
    }
}

/// More parameters than a kernel can have, so that a launch never allocates: 4 kB of words.
const MOST_PARAMETERS: usize = 512;

/// Element types of tensor maps, by number.
const DTYPES: [sys::CUtensorMapDataType; 13] = {
    use sys::CUtensorMapDataType as T;
    [
        T::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        T::CU_TENSOR_MAP_DATA_TYPE_UINT16,
        T::CU_TENSOR_MAP_DATA_TYPE_UINT32,
        T::CU_TENSOR_MAP_DATA_TYPE_INT32,
        T::CU_TENSOR_MAP_DATA_TYPE_UINT64,
        T::CU_TENSOR_MAP_DATA_TYPE_INT64,
        T::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        T::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        T::CU_TENSOR_MAP_DATA_TYPE_FLOAT64,
        T::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        T::CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ,
        T::CU_TENSOR_MAP_DATA_TYPE_TFLOAT32,
        T::CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ,
    ]
};
