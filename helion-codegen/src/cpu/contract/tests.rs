//! Packing, and whole products against plain loops.

use super::pack::{Minor, pack};
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
            unsafe { pack(source.as_ptr().cast(), DType::F32, minor, step, k, to.as_mut_ptr()) };
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
