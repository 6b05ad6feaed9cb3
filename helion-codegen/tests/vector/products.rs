//! Matrix micro-kernels against the same sums in Rust.

use helion_codegen::cpu::memory::CodeArena;
use helion_codegen::cpu::vector::compile;
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
        let kernel = MicroKernel { rows, vectors, dtype, unroll, accumulate };
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
