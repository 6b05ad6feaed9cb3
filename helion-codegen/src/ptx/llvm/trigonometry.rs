//! `sin` and `cos` of `f32` and `f64`.
//!
//! In: any angle. Out: a value within 2 ulp (the tests measure it), NaN for infinities. The angle is `q pi/2 + r` with
//! `|r| <= pi/4`: up to some size of the angle by subtracting products with parts of pi/2, beyond it by multiplying with
//! those bits of 2/pi that matter, as integers.

use super::emit::{Done, Emit, P, V};
use super::formula::{Math, X};
use super::functions::{MAGIC, exp_series, power_of_two};
use helion_ir::dtype::DType;
use inkwell::module::Linkage;
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

/// What pi/2 has beyond the constant, in two parts.
const FRAC_PI_2_LOW: f64 = 6.123_233_995_736_766e-17;
const FRAC_PI_2_LOWEST: f64 = -1.497_384_904_859_169_8e-33;
/// [`MAGIC`] for `f32`.
const MAGIC_F32: f64 = 12_582_912.0;
/// Up to where products with parts of pi/2 are subtracted.
const NEAR_F32: f64 = 131_072.0;
const NEAR_F64: f64 = 1_048_576.0;

/// The bits of 2/pi after the point, after one word of zeros.
const TWO_OVER_PI: [u64; 21] = [
    0,
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
    0x0649_2eea_09d1_921c,
    0xfe1d_eb1c_b129_a73e,
    0xe882_35f5_2ebb_4484,
    0xe99c_7026_b45f_7e41,
    0x3991_d639_8353_39f4,
    0x9c84_5f8b_bdf9_283b,
    0x1ff8_97ff_de05_980f,
    0xef2f_118b_5a0a_6d1f,
    0x6d36_7ecf_27cb_09b7,
    0x4f46_3f66_9e5f_ea2d,
    0x7527_bac7_ebe5_f17b,
    0x3d07_39f7_8a52_92ea,
    0x6bfb_5fb1_1f8d_5d08,
    0x5603_3046_fc7b_6bab,
    0xf0cf_bc20_9af4_361d,
];

/// An angle without its multiples of pi/2: their number modulo 4 (an `i64`, other bits mean nothing), and the rest as the
/// sum of two `f64`.
struct Reduced<'m, 'c> {
    quadrant: X<'m, 'c>,
    rest: X<'m, 'c>,
    low: X<'m, 'c>,
}

/// The parts of pi/2 as `f32`s.
fn parts_f32() -> [f64; 3] {
    let high = f64::from(FRAC_PI_2 as f32);
    let middle = f64::from((FRAC_PI_2 - high) as f32);
    let low = f64::from((FRAC_PI_2 - high - middle + FRAC_PI_2_LOW) as f32);
    [high, middle, low]
}

/// Of an `f32` up to [`NEAR_F32`]: quadrant (an `i32`) and rest.
fn reduce_f32<'m, 'c>(x: X<'m, 'c>) -> (X<'m, 'c>, X<'m, 'c>) {
    let t = x.fma(FRAC_2_PI, MAGIC_F32);
    let n = -(t - MAGIC_F32);
    // The first difference is exact.
    let rest = parts_f32().iter().fold(x, |r, part| n.fma(*part, r));
    (t.bits(), rest)
}

/// Of an `f64` up to [`NEAR_F64`].
fn reduce_f64<'m, 'c>(x: X<'m, 'c>) -> Reduced<'m, 'c> {
    let t = x.fma(FRAC_2_PI, MAGIC);
    let n = t - MAGIC;
    // The first difference is exact; the second is kept with its error.
    let a = (-n).fma(FRAC_PI_2, x);
    let p = n * FRAC_PI_2_LOW;
    let p_low = n.fma(FRAC_PI_2_LOW, -p);
    let high = a - p;
    let b = high - a;
    let error = (a - (high - b)) - (p + b);
    let low = (error - p_low) - n * FRAC_PI_2_LOWEST;
    let rest = high + low;
    Reduced { quadrant: t.bits(), rest, low: (high - rest) + low }
}

/// Of any finite `f64` from 1 on, in magnitude.
fn reduce_far<'m, 'c>(m: &'m Math<'m, 'c>, x: X<'m, 'c>, table: P<'c>) -> Reduced<'m, 'c> {
    let bits = x.abs().bits();
    let units = (bits & ((1 << 52) - 1)) | (1 << 52);
    // |x| = units 2^e. From bit `e + 62` of the table on, bits of 2/pi contribute to the product modulo 4.
    let at = (bits >> 52) - (1075 - 62);
    let (word, by) = (at >> 6, at & 63);
    let words: [X<'m, 'c>; 4] = std::array::from_fn(|k| (word + k as i64).element_of(table));
    let joined =
        |high: X<'m, 'c>, low: X<'m, 'c>, by: X<'m, 'c>| high.shift_left(by) | (low >> 1).shift_right(-by + 63);
    let [w0, w1, w2] = std::array::from_fn(|k| joined(words[k], words[k + 1], by));
    // The product modulo 4, two bits before the point.
    let middle = w1 * units;
    let r2 = w2 * units;
    let r1 = w2.mul_high(units) + middle;
    let carry = r1.below(middle).select(m.i64(1), 0);
    let r0 = w1.mul_high(units) + w0 * units + carry;
    let high = (r0 << 2) | (r1 >> 62);
    let low = (r1 << 2) | (r2 >> 62);
    // To the nearest integer: what is above one half becomes negative.
    let sign = high.shift_right_signed(63);
    let quadrant = (r0 >> 62) - sign;
    let (high, low) = (high ^ sign, low ^ sign);
    let zeros = (high | 1).leading_zeros();
    let top = joined(high, low, zeros);
    let low = low.shift_left(zeros);
    let scale = power_of_two(-zeros - 53);
    let first = (top >> 11).to_float(64) * scale;
    let second = (((top & 0x7ff) << 42) | (low >> 22)).to_float(64) * scale * 2f64.powi(-53);
    let rest = first * FRAC_PI_2;
    let low = first.fma(FRAC_PI_2, -rest) + first.fma(FRAC_PI_2_LOW, second * FRAC_PI_2);
    let flip = (sign ^ x.bits()).lt(0);
    Reduced {
        quadrant: x.lt(0.0).select(-quadrant, quadrant),
        rest: flip.select(-rest, rest),
        low: flip.select(-low, low),
    }
}

/// Every second coefficient of the series of `exp`, with signs in turns.
fn series(first: u32, last: u32, negative: bool) -> Vec<f64> {
    let signs = [1.0, -1.0];
    let every_second = exp_series(first, last).into_iter().step_by(2).enumerate();
    every_second.map(|(k, c)| c * signs[(k + usize::from(negative)) % 2]).collect()
}

/// Sine and cosine of `rest + low`, at most pi/4.
fn kernels<'m, 'c>(rest: X<'m, 'c>, low: X<'m, 'c>) -> (X<'m, 'c>, X<'m, 'c>) {
    let square = rest * rest;
    let half = square * 0.5;
    let correction = low * (-half + 1.0);
    let sine = (square * rest).fma(square.polynomial(&series(3, 19, true)), correction) + rest;
    let near = -half + 1.0;
    let error = (-near + 1.0) - half;
    let p = square.polynomial(&series(4, 18, false));
    let cosine = near + (square * square).fma(p, (-rest).fma(low, error));
    (sine, cosine)
}

fn kernels_f32<'m, 'c>(rest: X<'m, 'c>) -> (X<'m, 'c>, X<'m, 'c>) {
    let square = rest * rest;
    let sine = (square * rest).fma(square.polynomial(&series(3, 9, true)), rest);
    let cosine = square.fma(square.polynomial(&series(2, 10, true)), 1.0);
    (sine, cosine)
}

/// The value in a quadrant: of the sine, or, a quadrant later, of the cosine.
fn turned<'m, 'c>(quadrant: X<'m, 'c>, cosine: bool, kernels: (X<'m, 'c>, X<'m, 'c>)) -> X<'m, 'c> {
    let q = quadrant + i64::from(cosine);
    let y = (q & 1).ne(0).select(kernels.1, kernels.0);
    (q & 2).ne(0).select(-y, y)
}

impl<'c> Emit<'c> {
    /// The sine, or the cosine, of an `f32` or `f64`.
    pub(super) fn sine(&self, d: DType, cosine: bool, x: V<'c>) -> Done<V<'c>> {
        let name = if cosine { "cos" } else { "sin" };
        let write = |args: &[V<'c>]| match d {
            DType::F64 => self.sine_f64(args[0], cosine),
            _ => self.sine_f32(args[0], cosine),
        };
        self.function(&format!("{name}_{d}"), self.register_type(d), &[x], write)
    }

    fn sine_f32(&self, x: V<'c>, cosine: bool) -> Done<V<'c>> {
        let table = self.two_over_pi();
        let m = Math::new(self);
        let x = m.x(x);
        let near = || {
            let (quadrant, rest) = reduce_f32(x);
            m.all(&[quadrant, rest])
        };
        let far = || {
            let r = reduce_far(&m, x.widen(), table);
            m.all(&[r.quadrant.resize(32), r.rest.narrow()])
        };
        let reduced = self.either(x.abs().le(NEAR_F32).v, near, far)?;
        let y = turned(m.x(reduced[0]), cosine, kernels_f32(m.x(reduced[1])));
        m.done(edges(x, y, cosine))
    }

    fn sine_f64(&self, x: V<'c>, cosine: bool) -> Done<V<'c>> {
        let table = self.two_over_pi();
        let m = Math::new(self);
        let x = m.x(x);
        let list = |r: Reduced<'_, 'c>| m.all(&[r.quadrant, r.rest, r.low]);
        let reduced = self.either(x.abs().le(NEAR_F64).v, || list(reduce_f64(x)), || list(reduce_far(&m, x, table)))?;
        let [quadrant, rest, low] = std::array::from_fn(|k| m.x(reduced[k]));
        m.done(edges(x, turned(quadrant, cosine, kernels(rest, low)), cosine))
    }

    /// The table of 2/pi in the device's memory.
    fn two_over_pi(&self) -> P<'c> {
        let name = "two_over_pi";
        let word = self.context.i64_type();
        let global = self.module.get_global(name).unwrap_or_else(|| {
            let values = TWO_OVER_PI.map(|w| word.const_int(w, false));
            let g = self.module.add_global(
                word.array_type(values.len() as u32),
                Some(super::emit::Space::Constant.number()),
                name,
            );
            g.set_initializer(&word.const_array(&values));
            g.set_constant(true);
            g.set_linkage(Linkage::Internal);
            g
        });
        global.as_pointer_value()
    }
}

/// Infinities have no sine; zero keeps its sign.
fn edges<'m, 'c>(x: X<'m, 'c>, y: X<'m, 'c>, cosine: bool) -> X<'m, 'c> {
    let y = x.abs().lt(f64::INFINITY).select(y, f64::NAN);
    if cosine { y } else { x.eq(0.0).select(x, y) }
}
