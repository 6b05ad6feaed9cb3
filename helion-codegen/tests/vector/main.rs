//! Vector programs: every lowering of this machine against the interpreter, on random programs, with
//! memory that ends exactly where the program's does.

mod generate;
mod memory;
mod products;
mod stream;

use generate::{Buffer, Case, make};
use helion_codegen::cpu::memory::CodeArena;
use helion_codegen::cpu::vector::ir::{Trip, Ty};
use helion_codegen::cpu::vector::{Isa, Unsupported, compile, interp};
use helion_ir::dtype::DType;
use memory::{Guarded, Random};

const PAGES: usize = 3 * 4096;

fn isas() -> Vec<Isa> {
    let chosen = std::env::var("VECTOR_ISA").ok();
    Isa::ALL.into_iter().filter(|i| i.available() && chosen.as_ref().is_none_or(|c| *c == i.to_string())).collect()
}

/// Fills memory with elements that exercise the types.
fn fill(bytes: &mut [u8], dtype: DType, r: &mut Random) {
    let size = dtype.size();
    for element in bytes.chunks_exact_mut(size) {
        let wild = r.chance(6);
        let x = r.below(4001) as f32 / 100.0 - 20.0;
        let bits: u64 = match dtype {
            DType::Bool => u64::from(r.chance(50)),
            DType::F32 if wild => u64::from(r.pick(&[f32::NAN, f32::INFINITY, -0.0, 1e-41, 3e38]).to_bits()),
            DType::F32 => u64::from(x.to_bits()),
            DType::F64 if wild => r.pick(&[f64::NAN, f64::NEG_INFINITY, -0.0, 1e-310, 1e308]).to_bits(),
            DType::F64 => f64::from(x).to_bits(),
            DType::F16 if wild => r.pick(&[0x7e01, 0x7c00, 0x8000, 0x0003, 0x7bff]),
            DType::F16 => u64::from(half::f16::from_f32(x).to_bits()),
            DType::BF16 if wild => r.pick(&[0x7fc1, 0xff80, 0x8000, 0x0003, 0x7f7f]),
            DType::BF16 => u64::from(half::bf16::from_f32(x).to_bits()),
            _ => r.next(),
        };
        element.copy_from_slice(&bits.to_le_bytes()[..size]);
    }
}

/// Whether two elements are the same, or both NaN.
fn same(dtype: DType, a: u64, b: u64) -> bool {
    let nan = |bits: u64| match dtype {
        DType::F32 => f32::from_bits(bits as u32).is_nan(),
        DType::F64 => f64::from_bits(bits).is_nan(),
        DType::F16 => half::f16::from_bits(bits as u16).is_nan(),
        DType::BF16 => half::bf16::from_bits(bits as u16).is_nan(),
        _ => false,
    };
    a == b || (nan(a) && nan(b))
}

fn word(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(all)
}

struct World {
    memory: Vec<Guarded>,
}

impl World {
    fn new(count: usize) -> World {
        World { memory: (0..count).map(|_| Guarded::new(PAGES)).collect() }
    }

    /// The same contents for the same seed; the argument block.
    fn reset(&mut self, case: &Case, n: usize, at_end: bool, seed: u64) -> Vec<u64> {
        let mut r = Random(seed | 1);
        let mut slots = vec![0; case.program.slots.len()];
        // Rows lie side by side, one element of the widest type apart from each other.
        let aligned = case.buffers.iter().any(|b| b.aligned);
        let row = (n * 8).next_multiple_of(if aligned { 64 } else { 8 });
        slots[case.stride.0 as usize] = row as u64;
        for (buffer, memory) in case.buffers.iter().zip(&mut self.memory) {
            fill(memory.all(), buffer.dtype, &mut r);
            slots[buffer.slot.0 as usize] = place(case, buffer, memory, n, row, at_end) as u64;
        }
        for &(slot, ty) in &case.scalars {
            slots[slot.0 as usize] = match ty {
                Ty::F32 => u64::from(1.25_f32.to_bits()) | 0xdead << 32,
                Ty::F64 => 2.5_f64.to_bits(),
                Ty::I32 | Ty::I64 => 77,
                Ty::Mask => u64::from(r.chance(50)),
            };
        }
        slots
    }
}

fn place(case: &Case, buffer: &Buffer, memory: &Guarded, n: usize, row: usize, at_end: bool) -> *mut u8 {
    if buffer.unit && case.program.trip == Trip::Elements {
        let used = n * buffer.dtype.size() + row * (buffer.rows as usize - 1);
        memory.place(if buffer.aligned { used.next_multiple_of(64) } else { used }, at_end)
    } else {
        memory.place(PAGES, false)
    }
}

fn compare(case: &Case, want: &mut World, got: &mut World, slots: (&[u64], &[u64])) -> Result<(), String> {
    for ((buffer, want), got) in case.buffers.iter().zip(&mut want.memory).zip(&mut got.memory) {
        let size = buffer.dtype.size();
        let pairs = want.all().chunks_exact(size).zip(got.all().chunks_exact(size));
        for (at, (a, b)) in pairs.enumerate() {
            let (a, b) = (word(a), word(b));
            if !same(buffer.dtype, a, b) {
                return Err(format!("{} element {at} of the pages: want {a:#x}, got {b:#x}", buffer.slot));
            }
        }
    }
    for &(slot, ty) in &case.results {
        let dtype = match ty {
            Ty::F32 => DType::F32,
            Ty::F64 => DType::F64,
            Ty::I32 | Ty::I64 | Ty::Mask => DType::I64,
        };
        let (a, b) = (slots.0[slot.0 as usize], slots.1[slot.0 as usize]);
        if !same(dtype, a, b) {
            return Err(format!("result {slot}: want {a:#x}, got {b:#x}"));
        }
    }
    Ok(())
}

fn check(seed: u64, isa: Isa, counts: &[usize], worlds: &mut (World, World)) {
    let case = make(seed);
    let mut arena = CodeArena::new();
    let compiled = match compile(&case.program, isa, &mut arena) {
        Ok(compiled) => compiled,
        Err(Unsupported::Reason { reason, .. }) => panic!("seed {seed} {isa}: {reason}\n{}", case.program),
        Err(e) => panic!("seed {seed}: {e}"),
    };
    if std::env::var("VECTOR_SHOW").is_ok() {
        println!("{}\n{}", case.program, compiled.disassemble());
    }
    for &n in counts {
        let at_end = n % 3 != 0;
        let mut want = worlds.0.reset(&case, n, at_end, seed + n as u64);
        let mut got = worlds.1.reset(&case, n, at_end, seed + n as u64);
        // SAFETY: the buffers are as large as the generator's addresses reach.
        unsafe {
            interp::run(&case.program, compiled.lanes(), &mut want, n as u64);
            compiled.run(&mut got, n as u64);
        }
        if let Err(e) = compare(&case, &mut worlds.0, &mut worlds.1, (&want, &got)) {
            panic!("seed {seed} {isa} n {n}: {e}\n{}\n{}", case.program, compiled.disassemble());
        }
    }
}

fn fuzz(isa: Isa, seeds: std::ops::Range<u64>) {
    if !isas().contains(&isa) {
        eprintln!("skipped: this machine has no {isa}");
        return;
    }
    let mut worlds = (World::new(16), World::new(16));
    for seed in seeds {
        let counts: Vec<usize> = if seed % 40 == 0 {
            (0..=70).collect()
        } else {
            let mut r = Random(seed + 99);
            vec![0, 1, r.below(16), r.below(71), r.below(71), 64]
        };
        check(seed, isa, &counts, &mut worlds);
    }
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("VECTOR_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..600,
    }
}

#[test]
fn random_programs_avx512() {
    fuzz(Isa::Avx512, seeds());
}

#[test]
fn random_programs_avx2() {
    fuzz(Isa::Avx2, seeds());
}

#[test]
fn random_programs_clif() {
    fuzz(Isa::Clif128, few(seeds()));
}

/// Compiling takes longer here.
fn few(seeds: std::ops::Range<u64>) -> std::ops::Range<u64> {
    seeds.start..seeds.end.min(seeds.start + 200)
}
