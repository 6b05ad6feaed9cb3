//! Loads, stores and atomics of every type, width and space: assembled, read, and run.

use super::kernel::{ARCHS, Bench, THREADS, assemble, bytes_of, elements_of, report};
use super::samples::Random;
use crate::ptx::Arch;
use crate::ptx::llvm::emit::{Done, Emit, I, P, Space};
use crate::ptx::llvm::module::to_ptx;
use helion_ir::dtype::{DType, Literal};
use helion_ir::tile::AtomicOp;
use helion_ir::{BinaryOp, eval};
use inkwell::IntPredicate;
use inkwell::context::Context;

/// Threads whose mask is true.
const ACTIVE: usize = 40;

/// A kernel of the words (in, out, expected, how many threads are active).
fn kernel(arch: Arch, body: &dyn for<'c> Fn(&Emit<'c>) -> Done) -> String {
    let context = Context::create();
    let e = Emit::new(&context, "access", (0, 4), THREADS, arch);
    body(&e).expect("a kernel");
    e.builder.build_return(None).expect("its end");
    to_ptx(&e.module, arch).expect("PTX")
}

/// The thread's place in an array.
fn place<'c>(e: &Emit<'c>, base: P<'c>, bytes: u32) -> Done<P<'c>> {
    place_of(e, base, e.special("tid.x")?, bytes)
}

fn place_of<'c>(e: &Emit<'c>, base: P<'c>, thread: I<'c>, bytes: u32) -> Done<P<'c>> {
    e.offset(base, e.to_i64(e.mul(thread, e.i32(i64::from(bytes)))?)?)
}

fn array<'c>(e: &Emit<'c>, word: usize) -> Done<P<'c>> {
    e.pointer(e.word(word)?, Space::Global)
}

/// Whether the thread is active, if that is asked.
fn mask<'c>(e: &Emit<'c>, masked: bool) -> Done<Option<I<'c>>> {
    if !masked {
        return Ok(None);
    }
    Ok(Some(e.compare(IntPredicate::ULT, e.to_i64(e.special("tid.x")?)?, e.word(3)?)?))
}

/// How many elements of a type one access may have.
fn counts(d: DType) -> impl Iterator<Item = u32> {
    (0..=4).map(|n| 1 << n).filter(move |n| n * d.size() as u32 <= 16)
}

/// One way to copy elements from global memory to global memory.
#[derive(Clone, Copy, Debug)]
struct Copy {
    d: DType,
    n: u32,
    load_masked: bool,
    store_masked: bool,
    constant: bool,
    /// Over shared memory, by the same accesses, to the neighbour.
    shared: bool,
}

impl Copy {
    fn bytes(self) -> u32 {
        self.n * self.d.size() as u32
    }

    fn ptx(self, arch: Arch) -> String {
        kernel(arch, &|e| {
            let (load, store) = (mask(e, self.load_masked)?, mask(e, self.store_masked)?);
            let from = place(e, array(e, 0)?, self.bytes())?;
            let mut values = e.load_elements(Space::Global, from, self.d, self.n, load, self.constant)?;
            if self.shared {
                let array = e.pointer(e.i64(0), Space::Shared)?;
                let own = place(e, array, self.bytes())?;
                e.store_elements(Space::Shared, own, self.d, &values, store)?;
                e.barrier()?;
                let other = place_of(e, array, e.xor(e.special("tid.x")?, e.i32(1))?, self.bytes())?;
                values = e.load_elements(Space::Shared, other, self.d, self.n, load, self.constant)?;
            }
            e.store_elements(Space::Global, place(e, array(e, 1)?, self.bytes())?, self.d, &values, store)
        })
    }

    /// Copies in memory that ends where the last active thread's elements do.
    fn check(self, arch: Arch) -> Result<(), String> {
        let ptx = self.ptx(arch);
        assemble(&ptx, arch)?;
        let count = |word: &str| ptx.matches(word).count();
        let (loads, stores, cached) = (count("ld.global"), count("st.global"), count("ld.global.nc"));
        let shared = usize::from(self.shared);
        if (loads, stores, cached) != (1, 1, usize::from(self.constant))
            || (count("ld.shared"), count("st.shared")) != (shared, shared)
        {
            return Err(format!("{loads} loads, {cached} of them cached, {stores} stores\n{ptx}"));
        }
        let mut bench = Bench::new(&ptx);
        let mut r = Random::new(9);
        let all = THREADS as usize * self.bytes() as usize;
        let byte = |r: &mut Random| if self.d == DType::Bool { r.next() as u8 & 1 } else { r.next() as u8 };
        let data: Vec<u8> = (0..all).map(|_| byte(&mut r)).collect();
        let end = |masked: bool| if masked { ACTIVE * self.bytes() as usize } else { all };
        let (from, to) = (end(self.load_masked), end(self.store_masked));
        let (input, out) = (bench.array(&data[..from]), bench.array(&vec![0xcd; to]));
        bench.launch(1, all as u32, &[input, out, 0, ACTIVE as u64])?;
        let got = bench.device.read(out, to).expect("the output");
        let size = self.bytes() as usize;
        let source = |i: usize| if self.shared { ((i / size) ^ 1) * size + i % size } else { i };
        let want: Vec<u8> = (0..to).map(|i| if i < from { data[source(i)] } else { 0 }).collect();
        if got == want { Ok(()) } else { Err(format!("{got:x?}, not {want:x?}\n{ptx}")) }
    }
}

#[test]
fn accesses_are_one_instruction_and_stay_within_their_mask() {
    let mut failures = Vec::new();
    for arch in ARCHS {
        for d in DType::ALL {
            for n in counts(*d) {
                for (load_masked, store_masked) in [(false, false), (true, false), (true, true)] {
                    for (constant, shared) in [(false, false), (true, false), (false, true)] {
                        // Shared memory that nothing was stored to holds anything.
                        let store_masked = store_masked || (shared && load_masked);
                        let copy = Copy { d: *d, n, load_masked, store_masked, constant, shared };
                        failures.extend(copy.check(arch).err().map(|e| format!("{copy:?} for {arch}: {e}")));
                    }
                }
            }
        }
    }
    report(&failures);
}

#[test]
fn loads_after_stores_see_them() {
    // Every thread writes its element, then reads it, by plain and by masked instructions in turns.
    for arch in ARCHS {
        for (first, second) in [(false, true), (true, false), (true, true), (false, false)] {
            let ptx = kernel(arch, &|e| {
                let at = place(e, array(e, 0)?, 4)?;
                let load = |masked: bool| -> Done<_> {
                    let values = e.load_elements(Space::Global, at, DType::I32, 1, mask(e, masked)?, false)?;
                    Ok(values[0].into_int_value())
                };
                let before = load(second)?;
                e.store_elements(Space::Global, at, DType::I32, &[e.add(before, e.i32(1))?.into()], mask(e, first)?)?;
                let between = load(second)?;
                e.store_elements(Space::Global, at, DType::I32, &[e.add(between, e.i32(1))?.into()], mask(e, second)?)?;
                let after = load(first)?;
                let sum = e.add(e.mul(before, e.i32(10_000))?, e.add(e.mul(between, e.i32(100))?, after)?)?;
                e.store_elements(Space::Global, place(e, array(e, 1)?, 4)?, DType::I32, &[sum.into()], None)
            });
            let mut bench = Bench::new(&ptx);
            let n = THREADS as usize;
            let (data, out) = (bench.array(&bytes_of(DType::I32, &vec![3; n])), bench.array(&vec![0; 4 * n]));
            bench.launch(1, 0, &[data, out, 0, u64::from(THREADS)]).unwrap();
            let got = elements_of(DType::I32, bench.device.read(out, 4 * n).unwrap());
            assert!(got.iter().all(|l| l.bits == 30405), "{first} {second} for {arch}: {got:?}\n{ptx}");
        }
    }
}

/// Every thread applies the operation to the second element of `in`, with its element of `out`, which takes the old
/// value.
fn atomic(arch: Arch, op: AtomicOp, d: DType, space: Space, masked: bool) -> String {
    kernel(arch, &|e| {
        let bytes = d.size() as u32;
        let own = place(e, array(e, 1)?, bytes)?;
        let value = e.load_elements(Space::Global, own, d, 1, None, false)?[0];
        let expected = match op {
            AtomicOp::CompareSwap => Some(e.load_elements(Space::Global, array(e, 2)?, d, 1, None, false)?[0]),
            _ => None,
        };
        let target = e.offset(e.pointer(e.word(0)?, space)?, e.i64(i64::from(bytes)))?;
        let old = e.atomic(op, d, space, target, value, expected, mask(e, masked)?)?;
        e.store_elements(Space::Global, own, d, &[old], None)
    })
}

/// The element at the start, and the operand of a thread: small numbers, whose sums are exact.
fn operands(op: AtomicOp, d: DType, thread: usize) -> (u64, u64) {
    if d == DType::Bool {
        return (0, thread as u64 % 2);
    }
    let number = |v: i64| Literal::from_i64(d, v).bits;
    match op {
        AtomicOp::Add => (number(1), number(1 + (thread as i64 % 3))),
        AtomicOp::Min | AtomicOp::Max => (number(20), number((thread as i64 * 29) % 41)),
        // Different ones of all types.
        AtomicOp::Exchange | AtomicOp::CompareSwap => (0x70, 1 + thread as u64),
    }
}

/// What is wrong with the values that threads saw and left.
fn judge(op: AtomicOp, d: DType, seen: &[u64], last: u64) -> Option<String> {
    let of = |i: usize| operands(op, d, i).1;
    let start = operands(op, d, 0).0;
    let step = |old: u64, value: u64| {
        let l = |bits| Literal::from_bits(d, bits);
        match op {
            AtomicOp::Add => eval::binary(BinaryOp::Add, l(old), l(value)).bits,
            AtomicOp::Min => eval::binary(BinaryOp::Min, l(old), l(value)).bits,
            AtomicOp::Max => eval::binary(BinaryOp::Max, l(old), l(value)).bits,
            AtomicOp::Exchange => value,
            AtomicOp::CompareSwap => {
                if old == start {
                    value
                } else {
                    old
                }
            }
        }
    };
    // An order in which each thread sees what the one before left: those that change nothing go first.
    let mut left: Vec<usize> = (0..seen.len()).collect();
    let mut now = start;
    while !left.is_empty() {
        let fits = |i: &&usize| seen[**i] == now;
        let idle = left.iter().filter(fits).find(|i| step(now, of(**i)) == now);
        let Some(next) = idle.or_else(|| left.iter().find(fits)).copied() else {
            return Some(format!("nobody saw {now:#x} of {seen:x?}"));
        };
        now = step(now, of(next));
        left.retain(|i| *i != next);
    }
    (now != last).then(|| format!("{last:#x} is left, not {now:#x}"))
}

fn check_atomic(arch: Arch, op: AtomicOp, d: DType, masked: bool) -> Result<(), String> {
    let ptx = atomic(arch, op, d, Space::Global, masked);
    assemble(&ptx, arch)?;
    assemble(&atomic(arch, op, d, Space::Shared, masked), arch)?;
    let mut bench = Bench::new(&ptx);
    let (n, size) = (THREADS as usize, d.size());
    let start = operands(op, d, 0).0;
    let around = Literal::from_bits(d, 0x5a5a_5a5a_5a5a_5a5a).bits;
    let target = bench.array(&bytes_of(d, &[around, start, around, around]));
    let values: Vec<u64> = (0..n).map(|i| operands(op, d, i).1).collect();
    let (own, expected) = (bench.array(&bytes_of(d, &values)), bench.array(&bytes_of(d, &[start])));
    let active = if masked { ACTIVE } else { n };
    bench.launch(1, 0, &[target, own, expected, ACTIVE as u64])?;
    let bits = |at: u64, n: usize| -> Vec<u64> {
        elements_of(d, bench.device.read(at, n * size).expect("an array")).iter().map(|l| l.bits).collect()
    };
    let (seen, left) = (bits(own, n), bits(target, 4));
    if [left[0], left[2], left[3]] != [around; 3] {
        return Err(format!("neighbours are {left:x?}"));
    }
    if seen[active..].iter().any(|v| *v != 0) {
        return Err(format!("threads without a part saw {:x?}", &seen[active..]));
    }
    match judge(op, d, &seen[..active], left[1]) {
        None => Ok(()),
        Some(why) => Err(format!("{why}\n{ptx}")),
    }
}

#[test]
fn atomics() {
    let mut failures = Vec::new();
    let all = [AtomicOp::Add, AtomicOp::Max, AtomicOp::Min, AtomicOp::Exchange, AtomicOp::CompareSwap];
    for arch in ARCHS {
        for d in DType::ALL {
            for op in all.into_iter().skip(if d.is_num() { 0 } else { 3 }) {
                for masked in [false, true] {
                    let e = check_atomic(arch, op, *d, masked).err();
                    failures.extend(e.map(|e| format!("{op:?} of {d} masked {masked} for {arch}: {e}")));
                }
            }
        }
    }
    report(&failures);
}

/// The larger and the smaller of numbers and NaN is NaN, also in memory.
#[test]
fn extremes_of_floats_keep_nan() {
    for arch in ARCHS {
        for d in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            for op in [AtomicOp::Min, AtomicOp::Max] {
                let mut bench = Bench::new(&atomic(arch, op, d, Space::Global, false));
                let number = |v: f64| Literal::from_f64(d, v).bits;
                let mut values = vec![number(2.0); THREADS as usize];
                values[33] = number(f64::NAN);
                let target = bench.array(&bytes_of(d, &[0, number(1.0)]));
                let own = bench.array(&bytes_of(d, &values));
                bench.launch(1, 0, &[target, own, 0, 0]).unwrap();
                let left = elements_of(d, bench.device.read(target, 2 * d.size()).unwrap())[1];
                assert!(left.to_f64().is_nan(), "{op:?} of {d} for {arch}: {left:?}");
            }
        }
    }
}
