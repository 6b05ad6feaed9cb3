//! Packing, and whole products against plain loops.

use super::pack::{Minor, Side, Source, pack, pack_lanes};
use super::panels::Panels;
use crate::cpu::vector::ir::Packed;
use helion_ir::dtype::DType;

#[test]
fn panels_are_padded_and_transposed() {
    let source: Vec<f32> = (0..70).map(|i| i as f32).collect();
    for (count, width, k) in [(4, 4, 4), (5, 8, 7), (1, 4, 10), (6, 6, 9), (7, 8, 1)] {
        for by_k in [false, true] {
            // Minor index adjacent, or `k` adjacent.
            let (stride, step) = if by_k { (40, 4) } else { (4, 28) };
            let mut to = vec![-1f32; width * k];
            let minor = Minor { count, width, stride };
            // SAFETY: the largest offset is below 70 elements, and the panel has `width * k`.
            unsafe {
                let at = source.as_ptr().cast();
                pack(Source { at, from: DType::F32, minor, step, k }, to.as_mut_ptr());
            }
            for j in 0..k {
                for i in 0..width {
                    let at = (i as isize * stride + j as isize * step) / 4;
                    let want = if i < count { at as f32 } else { 0.0 };
                    assert_eq!(to[j * width + i], want, "{count} {width} {k} {by_k}: {i} {j}");
                }
            }
        }
    }
}

/// Element `at` of the sources below.
fn element(at: isize) -> i8 {
    (at * 37 % 251) as i8
}

#[test]
fn shared_lanes_hold_steps_in_order() {
    let bytes: Vec<i8> = (0..600).map(element).collect();
    let shorts: Vec<i16> = bytes.iter().map(|x| i16::from(*x)).collect();
    for (count, width, k) in [(4, 4, 4usize), (5, 8, 7), (1, 4, 10), (6, 6, 9), (7, 8, 1), (16, 16, 16)] {
        for (packed, size) in [(Packed::I16, 2), (Packed::I16, 1), (Packed::I8, 1)] {
            for side in [Side::Left, Side::Right] {
                for by_k in [false, true] {
                    let (stride, step) = if by_k { (20 * size, size) } else { (size, 20 * size) };
                    let (from, source) = match size {
                        1 => (DType::I8, bytes.as_ptr().cast::<u8>()),
                        _ => (DType::I16, shorts.as_ptr().cast::<u8>()),
                    };
                    let (per, headed) = (packed.per_lane(), packed == Packed::I8 && side == Side::Left);
                    let depth = k.div_ceil(per);
                    let mut to = vec![7u32; width * (depth + usize::from(headed))];
                    let minor = Minor { count, width, stride };
                    // SAFETY: the largest offset is below 600 elements, and the panel has the words it needs.
                    unsafe {
                        let source = Source { at: source, from, minor, step, k };
                        pack_lanes(source, to.as_mut_ptr(), Panels::Lanes(packed), side);
                    }
                    let value = |i: usize, j: usize| match i < count && j < k {
                        true => element((i as isize * stride + j as isize * step) / size),
                        false => 0,
                    };
                    let (heads, body) = to.split_at(if headed { width } else { 0 });
                    for (i, head) in heads.iter().enumerate() {
                        let sum: i32 = (0..k).map(|j| i32::from(value(i, j))).sum();
                        assert_eq!(*head as i32, -128 * sum, "{count} {width} {k}: head {i}");
                    }
                    // What lies beyond the last column is never used.
                    for (at, word) in body.iter().enumerate().filter(|(at, _)| at % width < count) {
                        let (i, g) = (at % width, at / width);
                        for (e, got) in (0..per).map(|e| (e, *word >> (e * 32 / per))) {
                            let want = value(i, g * per + e);
                            let same = match (packed, side) {
                                (Packed::I8, Side::Left) => got as i8 == want,
                                // Beyond the last step the left operand is zero.
                                (Packed::I8, Side::Right) => got as u8 == want as u8 ^ 128 || g * per + e >= k,
                                (_, _) => got as i16 == i16::from(want),
                            };
                            assert!(same, "{packed:?} {side:?} {count} {width} {k} {by_k}: {i} {g} {e} {got:x} {want}");
                        }
                    }
                }
            }
        }
    }
}
