//! Conversions between element types on lanes.
//!
//! A lane of a 16-bit float holds that value as `f32`; a lane of a narrow integer holds it in 32 bits.

use super::Kind;
use super::lanes::{Emitter, is_half, lane_type};
use crate::cpu::vector::ir::{Rounding, Ty, V};
use helion_ir::dtype::{Class, DType};
use helion_ir::loops::Val;

impl Emitter<'_> {
    /// `Op::Cast`; `None` where lanes cannot convert exactly as the scalar operation does.
    pub(super) fn cast(&mut self, x: Val, to: DType, result: Val) -> Option<V> {
        let from = self.dtype(x);
        if let Kind::Affine(step) = self.a.kind(x) {
            return self.cast_index(x, step, to);
        }
        let v = self.lane(x)?;
        if from == to {
            return Some(v);
        }
        lane_type(to)?;
        match (from.class(), to.class()) {
            (Class::Float, Class::Float) => self.float_to_float(from, to, v, result),
            (Class::Float, Class::Signed | Class::Unsigned) => self.float_to_int(from, to, v),
            (Class::Float, Class::Bool) => {
                let zero = if from == DType::F64 { self.b.f64(0.0) } else { self.b.f32(0.0) };
                Some(self.b.ne(v, zero))
            }
            (Class::Signed | Class::Unsigned, Class::Bool) => {
                let zero = self.integer(self.b.ty(v), 0);
                Some(self.b.ne(v, zero))
            }
            (Class::Signed | Class::Unsigned, Class::Signed | Class::Unsigned) => Some(self.resize(from, to, v)),
            (Class::Signed | Class::Unsigned, Class::Float) => self.int_to_float(from, to, v),
            (Class::Bool, Class::Signed | Class::Unsigned) => {
                let ty = lane_type(to)?;
                let (one, zero) = (self.integer(ty, 1), self.integer(ty, 0));
                Some(self.b.select(v, one, zero))
            }
            (Class::Bool, Class::Float) => {
                let (one, zero) = if to == DType::F64 {
                    (self.b.f64(1.0), self.b.f64(0.0))
                } else {
                    (self.b.f32(1.0), self.b.f32(0.0))
                };
                Some(self.b.select(v, one, zero))
            }
            (Class::Storage, _) | (_, Class::Storage) | (Class::Bool, Class::Bool) => None,
        }
    }

    /// An index that grows steadily, as another type.
    fn cast_index(&mut self, x: Val, step: i64, to: DType) -> Option<V> {
        match to {
            DType::I32 | DType::U32 | DType::I8 | DType::I16 | DType::U8 | DType::U16 => {
                let v = self.index_lanes(x, step, Ty::I32);
                Some(self.wrap(to, v))
            }
            DType::F32 | DType::F64 => {
                self.narrow.push((x, step));
                let v = self.index_lanes(x, step, Ty::I32);
                Some(self.b.convert(lane_type(to)?, v))
            }
            DType::I64 | DType::U64 => Some(self.index_lanes(x, step, Ty::I64)),
            DType::Bool | DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => None,
        }
    }

    fn float_to_float(&mut self, from: DType, to: DType, v: V, result: Val) -> Option<V> {
        match (from, to) {
            (DType::F64, DType::F16 | DType::BF16) => None,
            (_, DType::F16 | DType::BF16) if self.is_stored_only(result) => Some(v),
            (DType::F32, DType::BF16) => Some(self.round_bf16(v)),
            (DType::F32, DType::F16) => Some(self.round_f16(v)),
            (DType::F16 | DType::BF16, DType::F32) => Some(v),
            (DType::F16 | DType::BF16 | DType::F32, DType::F64) => Some(self.b.convert(Ty::F64, v)),
            (DType::F64, DType::F32) => Some(self.b.convert(Ty::F32, v)),
            _ => None,
        }
    }

    /// `bits + half an ulp - 1 + odd`, with the low `drop` bits cleared: nearest even for normal results.
    fn round_bits(&mut self, v: V, drop: u8) -> V {
        let bits = self.b.bitcast(Ty::I32, v);
        let high = self.b.shr_u(bits, drop);
        let one = self.b.i32(1);
        let odd = self.b.and(high, one);
        let half = self.b.i32((1 << (drop - 1)) - 1);
        let up = self.b.add(bits, half);
        let up = self.b.add(up, odd);
        let keep = self.b.i32(-1 << drop);
        let kept = self.b.and(up, keep);
        self.b.bitcast(Ty::F32, kept)
    }

    /// The nearest bf16, as f32.
    fn round_bf16(&mut self, v: V) -> V {
        let rounded = self.round_bits(v, 16);
        let nan = self.b.is_nan(v);
        self.b.select(nan, v, rounded)
    }

    /// The nearest f16, as f32: denormals by adding and subtracting 0.5 (whose last place is theirs), values
    /// that round past the largest become infinite.
    fn round_f16(&mut self, v: V) -> V {
        let normal = self.round_bits(v, 13);
        let sign_mask = self.b.f32(-0.0);
        let sign = self.b.and(v, sign_mask);
        let magnitude = self.b.xor(v, sign);
        let half = self.b.f32(0.5);
        let shifted = self.b.add(magnitude, half);
        let small = self.b.sub(shifted, half);
        let small = self.b.or(small, sign);
        let least = self.b.f32(6.103_515_6e-5);
        let is_small = self.b.lt(magnitude, least);
        let r = self.b.select(is_small, small, normal);
        let limit = self.b.f32(65520.0);
        let inf = self.b.f32(f32::INFINITY);
        let inf = self.b.or(inf, sign);
        let fits = self.b.lt(magnitude, limit);
        let r = self.b.select(fits, r, inf);
        let nan = self.b.is_nan(v);
        self.b.select(nan, v, r)
    }

    /// Truncates and saturates; NaN gives 0.
    fn float_to_int(&mut self, from: DType, to: DType, v: V) -> Option<V> {
        if matches!(to, DType::U32 | DType::U64 | DType::I64) {
            return None;
        }
        let wide = from == DType::F64;
        let bits = 8 * to.size() as i32;
        let (lo, hi) = match to.class() {
            Class::Signed => (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0),
            _ => (0.0, 2f64.powi(bits) - 1.0),
        };
        let nan = self.b.is_nan(v);
        let v = self.b.round(Rounding::Zero, v);
        let number = |s: &mut Self, x: f64| if wide { s.b.f64(x) } else { s.b.f32(x as f32) };
        let lo = number(self, lo);
        let v = self.b.max(lo, v);
        let zero = self.b.i32(0);
        // The largest i32 is not an f32: 2^31 is handled after the conversion.
        let exact = wide || to != DType::I32;
        let top = number(self, if exact { hi } else { hi + 1.0 });
        let r = if exact {
            let v = self.b.min(top, v);
            self.b.convert(Ty::I32, v)
        } else {
            let over = self.b.le(top, v);
            let r = self.b.convert(Ty::I32, v);
            let most = self.b.i32(i32::MAX);
            self.b.select(over, most, r)
        };
        Some(self.b.select(nan, zero, r))
    }

    fn resize(&mut self, from: DType, to: DType, v: V) -> V {
        match (from.size() == 8, to.size() == 8) {
            (true, true) => v,
            (false, false) => self.wrap(to, v),
            (true, false) => {
                let low = self.b.convert(Ty::I32, v);
                self.wrap(to, low)
            }
            (false, true) => {
                let wide = self.b.convert(Ty::I64, v);
                if from != DType::U32 {
                    return wide;
                }
                let low = self.b.i64(0xffff_ffff);
                self.b.and(wide, low)
            }
        }
    }

    fn int_to_float(&mut self, from: DType, to: DType, v: V) -> Option<V> {
        if matches!(from, DType::U32 | DType::U64) || (is_half(to) && from.size() > 2) {
            return None;
        }
        let y = self.b.convert(lane_type(to)?, v);
        self.is_number(y);
        match to {
            // Integers below 2^24 are exact in f32, so this rounds once.
            DType::BF16 => Some(self.round_bf16(y)),
            DType::F16 => Some(self.round_f16(y)),
            _ => Some(y),
        }
    }
}
