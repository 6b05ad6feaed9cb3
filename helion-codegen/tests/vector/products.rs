//! Matrix micro-kernels against the same sums in Rust.

use helion_codegen::cpu::memory::CodeArena;
use helion_codegen::cpu::vector::compile;
use helion_codegen::cpu::vector::ir::Packed;
use helion_codegen::cpu::vector::micro::MicroKernel;
use helion_ir::DType;

use crate::memory::Random;

/// One multiply-add in the order and rounding of the kernel.
trait Number: Copy + PartialEq + std::fmt::Debug {
    fn small(x: i32) -> Self;
    fn fused(self, a: Self, b: Self) -> Self;
    fn plus(self, b: Self) -> Self;
}

macro_rules! float {
    ($($ty:ident)*) => {
        $(impl Number for $ty {
            fn small(x: i32) -> Self { x as $ty * 0.3 }
            fn fused(self, a: Self, b: Self) -> Self { a.mul_add(b, self) }
            fn plus(self, b: Self) -> Self { self + b }
        })*
    };
}
float!(f32 f64);

impl Number for i32 {
    fn small(x: i32) -> Self {
        x.wrapping_mul(123_456_789)
    }
    fn fused(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }
    fn plus(self, b: Self) -> Self {
        self.wrapping_add(b)
    }
}

fn check<T: Number>(dtype: DType, rows: u32, vectors: u32, unroll: u32, accumulate: bool) {
    for isa in crate::isas() {
        let kernel = MicroKernel { rows, vectors, dtype, packed: None, unroll, accumulate };
        let lanes = isa.lanes(dtype.size());
        let program = kernel.program(lanes).unwrap();
        let code = compile(&program, isa, &mut CodeArena::new()).unwrap();
        assert_eq!(code.lanes(), lanes);
        let (rows, columns) = (rows as usize, vectors as usize * lanes);
        // Rows of C are longer than the tile.
        let stride = columns + 3;
        for k in [0, 1, 2, 5, 8, 33] {
            let mut r = Random(k as u64 + 1);
            let mut numbers = |n: usize| (0..n).map(|_| T::small(r.below(200) as i32 - 100)).collect::<Vec<T>>();
            let (a, b, mut c) = (numbers(k * rows), numbers(k * columns), numbers(rows * stride));
            let mut want = c.clone();
            for i in 0..rows {
                for j in 0..columns {
                    let sum = (0..k).fold(T::small(0), |sum, s| sum.fused(a[s * rows + i], b[s * columns + j]));
                    let place = &mut want[i * stride + j];
                    *place = if accumulate { place.plus(sum) } else { sum };
                }
            }
            let bytes = (stride * dtype.size()) as u64;
            let mut slots = [a.as_ptr() as u64, b.as_ptr() as u64, c.as_mut_ptr() as u64, bytes];
            // SAFETY: panels and tile have the sizes of the kernel.
            unsafe { code.run(&mut slots, k as u64) };
            assert_eq!(c, want, "{isa} {rows}x{vectors} {dtype} unroll {unroll} k {k}");
        }
    }
}

#[test]
fn micro_kernels_are_exact() {
    for (rows, vectors, unroll, accumulate) in [(12, 2, 1, true), (6, 2, 4, false), (1, 1, 3, true), (16, 3, 2, true)] {
        check::<f32>(DType::F32, rows, vectors, unroll, accumulate);
        check::<f64>(DType::F64, rows, vectors, unroll, accumulate);
        check::<i32>(DType::I32, rows, vectors, unroll, accumulate);
    }
}

/// The sum of a lane's products, from `sum` on; the elements are small, so that every order gives the same.
fn lane(packed: Packed, a: u32, b: u32, sum: i64) -> i64 {
    let halves = |x: u32| [x as u16, (x >> 16) as u16];
    let pairs = halves(a).into_iter().zip(halves(b));
    match packed {
        Packed::Bf16 => {
            let number = |x: u16| f32::from_bits(u32::from(x) << 16) as i64;
            pairs.fold(sum, |s, (a, b)| s + number(a) * number(b))
        }
        Packed::I16 => pairs.fold(sum, |s, (a, b)| s + i64::from(a as i16) * i64::from(b as i16)),
        Packed::I8 => {
            let bytes = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
            bytes.fold(sum, |s, (a, b)| s + i64::from(a) * i64::from(b as i8))
        }
    }
}

/// A lane of small whole numbers.
fn lane_of(packed: Packed, r: &mut Random) -> u32 {
    match packed {
        Packed::Bf16 => {
            let mut half = || (r.below(21) as f32 - 10.0).to_bits() & 0xffff_0000;
            half() >> 16 | half()
        }
        Packed::I16 => r.below(1 << 16) as u32 | (r.below(1 << 16) as u32) << 16,
        Packed::I8 => r.below(1 << 32) as u32,
    }
}

/// A kernel whose panels hold several steps of `k` in a lane, where the machine multiplies such lanes.
fn check_packed(packed: Packed, rows: u32, vectors: u32, accumulate: bool) {
    let dtype = if packed == Packed::Bf16 { DType::F32 } else { DType::I32 };
    let kernel = MicroKernel { rows, vectors, dtype, packed: Some(packed), unroll: 2, accumulate };
    let (rows, sized) = (rows as usize, |isa: helion_codegen::cpu::vector::Isa| isa.lanes(4));
    for isa in crate::isas() {
        let columns = vectors as usize * sized(isa);
        let program = kernel.program(sized(isa)).unwrap();
        let compiled = compile(&program, isa, &mut CodeArena::new());
        if !isa.multiplies(packed) {
            assert!(compiled.is_err(), "{isa} has no such instruction");
            continue;
        }
        let code = compiled.unwrap();
        let headed = packed == Packed::I8;
        for k in [0, 1, 2, 7, 33] {
            let mut r = Random(k as u64 + 1);
            let heads: Vec<u32> = (0..if headed { rows } else { 0 }).map(|_| r.below(1000) as u32).collect();
            let a: Vec<u32> = (0..k * rows).map(|_| lane_of(packed, &mut r)).collect();
            let b: Vec<u32> = (0..k * columns).map(|_| lane_of(packed, &mut r)).collect();
            let panel: Vec<u32> = heads.iter().chain(&a).copied().collect();
            let mut c = vec![0u32; rows * columns];
            let start = |at: usize| (at % 50) as i64;
            let bits = |x: i64| if dtype == DType::F32 { (x as f32).to_bits() } else { x as i32 as u32 };
            c.iter_mut().enumerate().for_each(|(at, c)| *c = bits(start(at)));
            let mut slots = [panel.as_ptr() as u64, b.as_ptr() as u64, c.as_mut_ptr() as u64, 4 * columns as u64];
            // SAFETY: panels and tile have the sizes of the kernel.
            unsafe { code.run(&mut slots, k as u64) };
            for i in 0..rows {
                for j in 0..columns {
                    let head = heads.get(i).map_or(0, |h| i64::from(*h));
                    let old = if accumulate { start(i * columns + j) } else { 0 };
                    // Columns are the unsigned factor.
                    let sum = (0..k).fold(head, |s, g| lane(packed, b[g * columns + j], a[g * rows + i], s));
                    assert_eq!(c[i * columns + j], bits(old + sum), "{isa} {packed:?} k {k} at {i}, {j}");
                }
            }
        }
    }
}

#[test]
fn kernels_of_packed_panels_are_exact() {
    for packed in [Packed::Bf16, Packed::I16, Packed::I8] {
        for (rows, vectors, accumulate) in [(12, 2, true), (1, 1, false), (5, 3, true)] {
            check_packed(packed, rows, vectors, accumulate);
        }
    }
}
