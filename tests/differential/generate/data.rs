//! Contents and layouts of tensors.

use helion_ir::DType;
use helion_ir::args::TensorArg;
use helion_ir::dtype::{Class, Literal};
use helion_ir::tile::Layout;

use super::Gen;
use crate::num::Num;
use crate::source::Rng;

/// What elements are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Small whole numbers: sums of them are exact.
    Whole,
    /// Fractions between -2 and 2.
    Tame,
    /// Anything: NaN, infinities, both zeros, denormals, extremes.
    Wild,
}

/// One element.
pub(super) fn element(d: DType, kind: Kind, rng: &mut Rng) -> Literal {
    match (d.class(), kind) {
        (Class::Bool, _) => Literal::from_i64(d, rng.below(2) as i64),
        (Class::Unsigned, Kind::Whole) => Literal::from_i64(d, rng.below(9) as i64),
        (_, Kind::Whole) => Literal::from_i64(d, rng.below(9) as i64 - 4),
        (Class::Signed | Class::Unsigned, Kind::Tame) => Literal::from_i64(d, rng.below(201) as i64 - 100),
        (Class::Float | Class::Storage, Kind::Tame) => Literal::from_f64(d, rng.unit() * 4.0 - 2.0),
        (_, Kind::Wild) => wild(d, rng),
    }
}

fn wild(d: DType, rng: &mut Rng) -> Literal {
    let bits = 8 * d.size() as u32;
    let top = 1u64 << (bits - 1);
    if rng.below(3) == 0 {
        return Literal::from_bits(d, rng.next());
    }
    if matches!(d.class(), Class::Signed | Class::Unsigned) {
        let all = [0, 1, u64::MAX, top, top - 1, top + 1, u64::MAX - 1, 2, 7];
        return Literal::from_bits(d, all[rng.below(all.len() as u64) as usize]);
    }
    let all = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        1e-3,
        3.0,
        255.0,
        256.5,
        65504.0,
        1e9,
        -1e9,
        2147483648.0,
        -2147483648.0,
        9.3e18,
        1.9e19,
        -9.3e18,
        1e38,
        -3e38,
        1e-38,
        1e-40,
        -1e-44,
        6e-8,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        88.7,
        -104.0,
        709.5,
        0.9999999,
        1.0000001,
    ];
    let v = all[rng.below(all.len() as u64) as usize];
    match rng.below(8) {
        0 => Literal::from_bits(d, 1 + top * rng.below(2)), // The smallest denormal.
        1 if d != DType::F8E4M3 => Literal::from_bits(d, Literal::from_f64(d, f64::INFINITY).bits - 1), // The largest number.
        _ => Literal::from_f64(d, v),
    }
}

/// What is known of a tensor's elements.
pub(super) fn bound(d: DType, kind: Kind) -> Num {
    match (d.class(), kind) {
        (Class::Bool, _) => Num::whole(1.0),
        (Class::Unsigned, Kind::Whole) => Num::whole(8.0),
        (_, Kind::Whole) => Num::whole(4.0),
        (Class::Signed, Kind::Tame) => Num::whole(100.0),
        (Class::Float | Class::Storage, Kind::Tame) => Num::exact(2.0),
        (Class::Signed | Class::Unsigned, _) => Num::whole(2f64.powi(8 * d.size() as i32)),
        (_, Kind::Wild) => Num::WILD,
    }
}

impl Gen<'_> {
    pub(super) fn kind(&mut self) -> Kind {
        *self.c.pick(&[Kind::Whole, Kind::Tame, Kind::Wild])
    }

    /// A tensor's contents, with the layout it is declared with. One that is written has no two elements in one
    /// place.
    pub(super) fn contents(&mut self, d: DType, dims: &[u64], kind: Kind, written: bool) -> (TensorArg, Layout) {
        let layout = *self.c.pick(&[Layout::Contiguous, Layout::Contiguous, Layout::LastUnit, Layout::Strided]);
        let mut rng = Rng(self.c.seed());
        let (strides, low, high) = self.strides(dims, layout, written);
        let lead = if layout == Layout::Contiguous { 0 } else { self.c.below(3) as i64 };
        let tail = if layout == Layout::Contiguous { 0 } else { self.c.below(3) as i64 };
        let empty = dims.contains(&0);
        let count = if empty { lead + tail } else { lead + tail + high - low + 1 };
        let mut data = Vec::new();
        for _ in 0..count {
            data.extend_from_slice(&element(d, kind, &mut rng).bits.to_le_bytes()[..d.size()]);
        }
        let offset = if empty { 0 } else { (lead - low) as u64 };
        let t = TensorArg::strided(d, dims, &strides, offset, data).expect("a tensor within its storage");
        (t, layout)
    }

    /// Strides with the lowest and highest position they reach.
    fn strides(&mut self, dims: &[u64], layout: Layout, written: bool) -> (Vec<i64>, i64, i64) {
        if layout == Layout::Contiguous || dims.is_empty() {
            let n: u64 = dims.iter().product();
            return (helion_ir::args::row_major(dims), 0, n as i64 - 1);
        }
        // Axes from the innermost in memory.
        let mut order: Vec<usize> = (0..dims.len()).rev().collect();
        let fixed = usize::from(layout == Layout::LastUnit);
        for i in fixed..order.len() {
            let j = i + self.c.below(order.len() - i);
            order.swap(i, j);
        }
        let (mut strides, mut next, mut low, mut high) = (vec![0i64; dims.len()], 1i64, 0, 0);
        for (i, axis) in order.into_iter().enumerate() {
            let is_unit = i == 0 && layout == Layout::LastUnit;
            let mut stride = next * if is_unit { 1 } else { 1 + self.c.below(3) as i64 };
            if !is_unit && self.c.chance(20) {
                stride = -stride;
            }
            if !is_unit && !written && self.c.chance(10) {
                stride = 0;
            }
            strides[axis] = stride;
            let reach = (dims[axis].max(1) as i64 - 1) * stride;
            low += reach.min(0);
            high += reach.max(0);
            next = next.max((stride.abs() * dims[axis].max(1) as i64).max(1));
        }
        (strides, low, high)
    }
}
