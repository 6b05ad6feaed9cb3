//! Kernels that apply something to the elements of arrays, made and run.
//!
//! In: what to emit for one element. Out: PTX of a kernel that takes the addresses of up to three inputs, that of the
//! output, and a number of elements; what the interpreter says it leaves in the output.

use crate::ptx::Arch;
use crate::ptx::llvm::emit::{Done, Emit, Space, V};
use crate::ptx::llvm::module::to_ptx;
use helion_ir::dtype::{DType, Literal};
use helion_ptx_interp::{Device, Module};
use inkwell::IntPredicate;
use inkwell::context::Context;
use std::path::PathBuf;
use std::process::Command;

/// The architectures that differ in their element instructions.
pub(super) const ARCHS: [Arch; 3] = [Arch::Sm80, Arch::Sm89, Arch::Sm90a];

/// Threads of a block.
pub(super) const THREADS: u32 = 64;

/// What a kernel does with each element.
pub(super) type Body<'a> = dyn for<'c> Fn(&Emit<'c>, &[V<'c>]) -> Done<V<'c>> + 'a;

/// `out[i] = body(in0[i], in1[i], …)` for `i < n`.
pub(super) fn map(arch: Arch, inputs: &[DType], out: DType, body: &Body<'_>) -> String {
    let context = Context::create();
    let e = Emit::new(&context, "map", (0, 5), THREADS, arch);
    write_map(&e, inputs, out, body).expect("a kernel");
    to_ptx(&e.module, arch).expect("PTX")
}

fn write_map(e: &Emit<'_>, inputs: &[DType], out: DType, body: &Body<'_>) -> Done {
    let block = e.mul(e.special("ctaid.x")?, e.i32(i64::from(THREADS)))?;
    let i = e.to_i64(e.add(block, e.special("tid.x")?)?)?;
    let (inside, end) = (e.block("inside"), e.block("end"));
    e.branch(e.compare(IntPredicate::ULT, i, e.word(4)?)?, inside, end)?;
    e.at(inside);
    let at = |word: usize, d: DType| {
        let base = e.pointer(e.word(word)?, Space::Global)?;
        e.offset(base, e.mul(i, e.i64(d.size() as i64))?)
    };
    let mut values = Vec::new();
    for (word, d) in inputs.iter().enumerate() {
        values.extend(e.load_elements(Space::Global, at(word, *d)?, *d, 1, None, true)?);
    }
    let y = body(e, &values)?;
    e.store_elements(Space::Global, at(3, out)?, out, &[y], None)?;
    e.jump(end)?;
    e.at(end);
    e.builder.build_return(None)?;
    Ok(())
}

/// Elements as bytes in memory.
pub(super) fn bytes_of(d: DType, bits: &[u64]) -> Vec<u8> {
    bits.iter().flat_map(|b| b.to_le_bytes()[..d.size()].to_vec()).collect()
}

/// Elements from bytes in memory.
pub(super) fn elements_of(d: DType, bytes: &[u8]) -> Vec<Literal> {
    let one = |b: &[u8]| {
        let mut word = [0; 8];
        word[..b.len()].copy_from_slice(b);
        Literal::from_bits(d, u64::from_le_bytes(word))
    };
    bytes.chunks_exact(d.size()).map(one).collect()
}

/// A device with arrays on it.
pub(super) struct Bench {
    pub(super) device: Device,
    pub(super) module: Module,
}

impl Bench {
    pub(super) fn new(ptx: &str) -> Bench {
        let module = Module::parse(ptx).unwrap_or_else(|e| panic!("{e}\n{ptx}"));
        Bench { device: Device::new(), module }
    }

    pub(super) fn array(&mut self, bytes: &[u8]) -> u64 {
        let at = self.device.alloc(bytes.len().max(1));
        self.device.write(at, bytes).expect("an array");
        at
    }

    /// Runs the only entry with these words; gives what it printed.
    pub(super) fn launch(&mut self, blocks: u32, shared: u32, words: &[u64]) -> Result<String, String> {
        let params: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let entry = self.module.entries()[0].name.clone();
        let run = self.device.launch(&self.module, &entry, [blocks, 1, 1], [THREADS, 1, 1], shared, &params);
        run.map(|report| report.printed).map_err(|fault| fault.to_string())
    }
}

/// Runs a kernel of [`map`] on the bits of elements.
pub(super) fn run_map(ptx: &str, inputs: &[(DType, &[u64])], out: DType, n: usize) -> Result<Vec<Literal>, String> {
    let mut bench = Bench::new(ptx);
    let mut words = [0; 5];
    for (word, (d, bits)) in words.iter_mut().zip(inputs) {
        assert_eq!(bits.len(), n, "as many elements as results");
        *word = bench.array(&bytes_of(*d, bits));
    }
    words[3] = bench.array(&vec![0xcd; n * out.size()]);
    words[4] = n as u64;
    bench.launch(n.div_ceil(THREADS as usize) as u32, 0, &words)?;
    let bytes = bench.device.read(words[3], n * out.size()).expect("the output");
    Ok(elements_of(out, bytes))
}

/// Where the assembler is: `HELION_PTXAS`, or where `scripts/gpu-tools` puts it.
fn assembler() -> Option<PathBuf> {
    let named = std::env::var_os("HELION_PTXAS").filter(|v| !v.is_empty()).map(PathBuf::from);
    let fetched = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.gpu-tools/bin/ptxas");
    named.or_else(|| fetched.exists().then_some(fetched))
}

/// Assembles PTX where there is an assembler.
pub(super) fn assemble(ptx: &str, arch: Arch) -> Result<(), String> {
    let Some(ptxas) = assembler() else { return Ok(()) };
    let name = format!("helion-{}-{:?}.ptx", std::process::id(), std::thread::current().id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, ptx).expect("a file to write");
    let out = Command::new(ptxas).args(["-arch", arch.name(), "-o", "/dev/null"]).arg(&file).output();
    std::fs::remove_file(&file).expect("the file");
    let out = out.expect("an assembler");
    if out.status.success() { Ok(()) } else { Err(format!("{}\n{ptx}", String::from_utf8_lossy(&out.stderr))) }
}

/// Fails with what went wrong in each of many cases.
pub(super) fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
