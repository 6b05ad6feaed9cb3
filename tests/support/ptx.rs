//! PTX as an engine: compiled through LLVM, run by the interpreter of PTX.
//!
//! Each tensor is an allocation of its own, so that an access outside of it is a fault; dynamic buffers are in shared
//! memory where they fit and spilled elsewhere, as a launch would do it.

use helion_codegen::ptx::{self, Arch, Facts, Mapped, PtxKernel, PtxOptions, Values};
use helion_ir::args::{Arg, Args};
use helion_ir::loops::Function;
use helion_ptx_interp::{Device, Module, TensorMap};

/// Compiles and runs; gives the PTX.
pub fn run(f: &Function, arch: Arch, args: &mut Args) -> Result<String, String> {
    let mut device = Device::new();
    device.set_instruction_limit(1 << 32);
    let mut words = Vec::new();
    let mut memory: Vec<Option<u64>> = Vec::new();
    for arg in &args.params {
        match arg {
            Arg::Tensor(t) => {
                let at = device.alloc(t.data().len());
                device.write(at, t.data()).map_err(|e| e.to_string())?;
                words.push(at.wrapping_add(t.offset() * t.dtype().size() as u64));
                words.extend(t.dims());
                words.extend(t.strides().iter().map(|s| *s as u64));
                memory.push(Some(at));
            }
            Arg::Scalar(l) => {
                words.push(l.bits);
                memory.push(None);
            }
        }
    }
    words.extend(&args.symbols);
    let facts = Facts::of(&f.params, &words, &ptx::Wanted::of(f));
    let kernel = ptx::compile(f, &PtxOptions { arch, facts }).map_err(|e| e.to_string())?;
    launch(&mut device, &kernel, &words).map_err(|e| format!("{e}\n{}", kernel.text()))?;
    for (arg, at) in args.params.iter_mut().zip(memory) {
        if let (Arg::Tensor(t), Some(at)) = (arg, at) {
            let bytes = t.data().len();
            let data = device.read(at, bytes).map_err(|e| e.to_string())?.to_vec();
            t.data_mut().copy_from_slice(&data);
        }
    }
    Ok(kernel.text().to_owned())
}

/// Runs the kernel as a launch would.
fn launch(device: &mut Device, kernel: &PtxKernel, words: &[u64]) -> Result<(), String> {
    let module = Module::parse(kernel.text()).map_err(|e| format!("the interpreter cannot read this: {e}"))?;
    let plan = kernel.plan(words, &mut Values::default());
    if plan.programs == 0 {
        return Ok(());
    }
    let room = u64::from(kernel.arch().shared_bytes() - kernel.shared_bytes());
    let fits = plan.dynamic_bytes <= room;
    // Fewer blocks than instances, where a block may run several.
    let blocks = if plan.dynamic_bytes > 0 { plan.programs.min(2) } else { plan.programs };
    let spill = if fits { 0 } else { device.alloc((plan.dynamic_bytes * blocks) as usize) };
    let shared = u64::from(kernel.shared_bytes()) + if fits { plan.dynamic_bytes } else { 0 };
    let mut params = Vec::new();
    for map in kernel.maps() {
        let (address, dims, strides) = map.tensor(words);
        let (dims, strides) = (&dims[..map.rank], &strides[..map.rank - 1]);
        let map = TensorMap::tiled(map.dtype, address, dims, strides, &map.window, Mapped::SWIZZLE);
        let map = map.ok_or("a map of a type or swizzle that there is not")?;
        params.extend(map.encode().map_err(|e| e.to_string())?);
    }
    params.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    params.extend(spill.to_le_bytes());
    params.extend(plan.programs.to_le_bytes());
    let grid = [blocks as u32, 1, 1];
    device
        .launch(&module, kernel.entry(), grid, [kernel.threads(), 1, 1], shared as u32, &params)
        .map(drop)
        .map_err(|e| e.to_string())
}
