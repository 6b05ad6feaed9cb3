//! Functions of `f64`, `pow` of `f32`, and the remainder: what no instruction and no pass computes.
//!
//! In: values. Out: calls of internal functions of the module, each written at its first call; none uses a library.
//! Results are within 2 ulp of the exact value over the whole range (the tests measure it), `rem` is exact, and the edges
//! (infinities, NaN, zeros, denormals) are those of `helion_ir::eval`. Where double precision does not suffice, a number
//! is carried as an unevaluated sum of two ([`Pair`]).

use super::emit::{Done, Emit, V, mistake};
use super::formula::{Math, X};
use helion_ir::UnaryOp;
use helion_ir::dtype::DType;
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LOG2_E};

/// ln 2 and 1 / ln 2 beyond the precision of the constants.
const LN_2_LOW: f64 = 2.319_046_813_846_299_6e-17;
const LOG2_E_LOW: f64 = 2.035_527_374_093_103_3e-17;
/// 1/3 beyond the precision of `1.0 / 3.0`.
const THIRD_LOW: f64 = 1.850_371_707_708_594e-17;
/// `2 / sqrt(pi) - 1`.
const ERF_SLOPE: f64 = 0.128_379_167_095_512_6;
/// Adding this to a float below 2^51 rounds it to an integer, which is then in the low bits.
pub(super) const MAGIC: f64 = 6_755_399_441_055_744.0;
/// `exp(x^2) (1 - erf(x))` in powers of `(x - 3) / (x + 3)`, for `x` in `[1, 6]`; interpolated at Chebyshev's points.
const ERF_TAIL: [f64; 17] = [
    0.17900115118138996,
    -0.3262335600430372,
    0.24560380171233093,
    -0.15011593650077582,
    0.07166583719797331,
    -0.024392499318790735,
    0.004269136333077869,
    0.0007077464435611972,
    -0.0005970619531815352,
    4.525520140579536e-05,
    6.405657794051666e-05,
    -1.2859347351455289e-05,
    -7.977696579644072e-06,
    2.1124428949403864e-06,
    1.2459620847174093e-06,
    -2.6915157592850126e-07,
    -2.0355575642200858e-07,
];

/// The coefficients of the series of `exp`, from `x^first / first!` to `x^last / last!`.
pub(super) fn exp_series(first: u32, last: u32) -> Vec<f64> {
    // Factorials up to 22! are exact.
    (first..=last).map(|k| 1.0 / (1..=k).map(f64::from).product::<f64>()).collect()
}

/// `first`, then every second: `1 / first + x / (first + 2) + …`, so many.
fn odd_reciprocals(first: u32, count: u32) -> Vec<f64> {
    (0..count).map(|k| 1.0 / f64::from(first + 2 * k)).collect()
}

/// A number as the sum of two: a float, and a remainder far below its last place.
#[derive(Clone, Copy)]
struct Pair<'m, 'c>(X<'m, 'c>, X<'m, 'c>);

/// A sum where the first is not smaller in magnitude, or zero.
fn sum<'m, 'c>(a: X<'m, 'c>, b: X<'m, 'c>) -> Pair<'m, 'c> {
    let s = a + b;
    Pair(s, b - (s - a))
}

/// A product.
fn product<'m, 'c>(a: X<'m, 'c>, b: X<'m, 'c>) -> Pair<'m, 'c> {
    let p = a * b;
    Pair(p, a.fma(b, -p))
}

/// A sum.
fn any_sum<'m, 'c>(a: X<'m, 'c>, b: X<'m, 'c>) -> Pair<'m, 'c> {
    let s = a + b;
    let part = s - a;
    Pair(s, (a - (s - part)) + (b - part))
}

/// A quotient.
fn quotient<'m, 'c>(a: X<'m, 'c>, b: Pair<'m, 'c>) -> Pair<'m, 'c> {
    let inverse = b.0.like(1.0) / b.0;
    let q = a * inverse;
    let rest = (-q).fma(b.1, (-q).fma(b.0, a));
    Pair(q, rest * inverse)
}

impl<'m, 'c> Pair<'m, 'c> {
    fn times(self, b: Pair<'m, 'c>) -> Pair<'m, 'c> {
        let p = product(self.0, b.0);
        Pair(p.0, p.1 + self.0.fma(b.1, self.1 * b.0))
    }
    /// With the parts apart again, after sums in the remainder.
    fn settled(self) -> Pair<'m, 'c> {
        sum(self.0, self.1)
    }
}

/// `2^k` for the exponents of normal numbers.
pub(super) fn power_of_two<'m, 'c>(k: X<'m, 'c>) -> X<'m, 'c> {
    ((k + 1023) << 52).of_bits()
}

/// `x 2^k`, in two steps of which at most the last rounds.
fn scaled<'m, 'c>(x: X<'m, 'c>, k: X<'m, 'c>) -> X<'m, 'c> {
    let half = k.shift_right_signed(1);
    x * power_of_two(half) * power_of_two(k - half)
}

/// A float below 2^51 as the nearest integer, and as that integer's float.
fn nearest<'m, 'c>(m: &'m Math<'m, 'c>, with_magic: X<'m, 'c>) -> (X<'m, 'c>, X<'m, 'c>) {
    (with_magic.bits() - m.f64(MAGIC).bits(), with_magic - MAGIC)
}

/// `x`, but not below `low` and not above `high`; NaN stays.
fn clamped<'m, 'c>(x: X<'m, 'c>, low: f64, high: f64) -> X<'m, 'c> {
    let x = x.lt(low).select(x.like(low), x);
    x.gt(high).select(x.like(high), x)
}

/// `x = n ln 2 + r`: gives `n` and `r`.
fn by_ln_2<'m, 'c>(m: &'m Math<'m, 'c>, x: X<'m, 'c>) -> (X<'m, 'c>, Pair<'m, 'c>) {
    let (n, float) = nearest(m, x.fma(LOG2_E, MAGIC));
    // The first difference is exact.
    let high = float.fma(-LN_2, x);
    let r = float.fma(-LN_2_LOW, high);
    (n, Pair(r, float.fma(-LN_2_LOW, high - r)))
}

fn exp<'m, 'c>(m: &'m Math<'m, 'c>, x: X<'m, 'c>) -> X<'m, 'c> {
    let (n, r) = by_ln_2(m, clamped(x, -746.0, 710.0));
    scaled(r.0.polynomial(&exp_series(0, 13)), n)
}

/// `2^(x + low)`.
fn exp2<'m, 'c>(m: &'m Math<'m, 'c>, x: X<'m, 'c>, low: X<'m, 'c>, last: u32) -> X<'m, 'c> {
    let (n, float) = nearest(m, x + MAGIC);
    let r = ((x - float) + low) * LN_2;
    scaled(r.polynomial(&exp_series(0, last)), n)
}

/// `exp(x) - 1` for `x` up to 40.
fn exp_minus_one<'m, 'c>(m: &'m Math<'m, 'c>, x: X<'m, 'c>) -> X<'m, 'c> {
    let (n, r) = by_ln_2(m, x);
    let p = (r.0 * r.0).fma(r.0.polynomial(&exp_series(2, 13)), r.1.fma(r.0, r.1)) + r.0;
    let scale = power_of_two(n);
    scale.fma(p, scale - 1.0)
}

/// `x = m 2^e` with `m` in `[3/4, 3/2)`, for positive numbers: gives `e` as a float, and `m`.
fn exponent<'m, 'c>(x: X<'m, 'c>) -> (X<'m, 'c>, X<'m, 'c>) {
    let tiny = x.lt(f64::MIN_POSITIVE);
    let bits = tiny.select(x * 2f64.powi(54), x).bits();
    let e = (bits - 0.75f64.to_bits() as i64).shift_right_signed(52);
    let m = (bits - (e << 52)).of_bits();
    let e = e.resize(32).to_float(64);
    (tiny.select(e - 54.0, e), m)
}

/// The exponent of a positive number, and the logarithm of the rest to about 2^-64 of its value.
fn log_exactly<'m, 'c>(x: X<'m, 'c>) -> (X<'m, 'c>, Pair<'m, 'c>) {
    // ln(m) = 2 atanh(s) with s = (m - 1) / (m + 1).
    let (e, m) = exponent(x);
    let f = m - 1.0;
    let s = quotient(f, any_sum(m, m.like(1.0)));
    let t = s.times(s);
    let third = sum(t.0.like(1.0 / 3.0), t.0 * t.0.polynomial(&odd_reciprocals(5, 12)));
    let w = t.times(Pair(third.0, third.1 + THIRD_LOW));
    let one = sum(w.0.like(1.0), w.0);
    let half = s.times(Pair(one.0, one.1 + w.1)).settled();
    (e, Pair(half.0 * 2.0, half.1 * 2.0))
}

/// The logarithm to base 2 of a positive number.
fn log2_exactly<'m, 'c>(x: X<'m, 'c>) -> Pair<'m, 'c> {
    let (e, rest) = log_exactly(x);
    let scale = Pair(e.like(LOG2_E), e.like(LOG2_E_LOW));
    let rest = rest.times(scale);
    let y = sum(e, rest.0);
    Pair(y.0, y.1 + rest.1)
}

/// The logarithm to base 2 of a positive number to about 2^-45 of its value, which is what `f32` needs.
fn log2_roughly<'m, 'c>(x: X<'m, 'c>) -> Pair<'m, 'c> {
    let (e, m) = exponent(x);
    let s = (m - 1.0) / (m + 1.0);
    let t = s * s;
    let p = (s * t).fma(t.polynomial(&odd_reciprocals(3, 7)), s);
    Pair(p.fma(2.0 * LOG2_E, e), e.like(0.0))
}

fn log<'m, 'c>(x: X<'m, 'c>) -> X<'m, 'c> {
    let (e, rest) = log_exactly(x);
    let high = e * LN_2;
    let low = e.fma(LN_2, -high) + e * LN_2_LOW;
    let y = sum(high, rest.0);
    y.0 + (y.1 + (low + rest.1))
}

/// The value of a logarithm for zero, negative, infinite and NaN arguments.
fn log_edges<'m, 'c>(x: X<'m, 'c>, y: X<'m, 'c>) -> X<'m, 'c> {
    let edge = x.eq(0.0).select(y.like(f64::NEG_INFINITY), f64::NAN);
    let y = x.gt(0.0).select(y, edge);
    x.eq(f64::INFINITY).select(x, y)
}

/// `a / (a + 2)` and `1 - 2 / (a + 2)` with `a = exp(2|x|) - 1`.
fn tanh<'m, 'c>(m: &'m Math<'m, 'c>, x: X<'m, 'c>) -> X<'m, 'c> {
    let magnitude = x.abs();
    let capped = magnitude.gt(20.0).select(m.f64(20.0), magnitude);
    let a = exp_minus_one(m, capped + capped);
    let small = magnitude.lt(0.5);
    let part = quotient(small.select(a, -2.0), any_sum(a, a.like(2.0)));
    small.select(part.0 + part.1, (part.0 + 1.0) + part.1).with_sign_of(x)
}

/// `e` over, or 1 over, `1 + e` with `e = exp(-|x|)`.
fn sigmoid<'m, 'c>(m: &'m Math<'m, 'c>, x: X<'m, 'c>) -> X<'m, 'c> {
    let e = exp(m, -x.abs());
    let q = quotient(x.lt(0.0).select(e, 1.0), sum(e.like(1.0), e));
    q.0 + q.1
}

/// The series up to 1, else `1 - exp(-x^2) p(x)`.
fn erf<'m, 'c>(m: &'m Math<'m, 'c>, x: X<'m, 'c>) -> X<'m, 'c> {
    let a = x.abs();
    let t = x * x;
    let series: Vec<f64> = exp_series(1, 19)
        .iter()
        .enumerate()
        .map(|(k, c)| FRAC_2_SQRT_PI * c / (2 * k + 3) as f64 * if k % 2 == 0 { -1.0 } else { 1.0 })
        .collect();
    let small = x.fma(t.fma(t.polynomial(&series), ERF_SLOPE), x);
    let capped = a.gt(6.0).select(m.f64(6.0), a);
    let tail = ((capped - 3.0) / (capped + 3.0)).polynomial(&ERF_TAIL);
    let big = (-exp(m, -(capped * capped))).fma(tail, 1.0).with_sign_of(x);
    a.gt(1.0).select(big, small)
}

/// `x^y`, from a logarithm to base 2 of positive numbers.
fn power<'m, 'c>(
    m: &'m Math<'m, 'c>,
    x: X<'m, 'c>,
    y: X<'m, 'c>,
    log2: impl FnOnce(X<'m, 'c>) -> Pair<'m, 'c>,
    last: u32,
) -> X<'m, 'c> {
    let a = x.abs();
    let log = log2(a);
    // Zero and infinity have infinite logarithms, which the last rounding turns into the right end.
    let (zero, infinite) = (a.eq(0.0), a.eq(f64::INFINITY));
    let high = zero.select(m.f64(f64::NEG_INFINITY), infinite.select(a, log.0));
    let exponent = high * y;
    let inside = exponent.abs().lt(1100.0);
    let low = inside.select(high.fma(y, -exponent) + log.1 * y, 0.0);
    let size = exp2(m, clamped(exponent, -1080.0, 1025.0), low, last);
    // One to any power is one, also to an infinite one.
    let size = a.eq(1.0).select(m.f64(1.0), size);

    let half = y * 0.5;
    let whole = y.trunc().eq(y);
    let odd = whole & half.trunc().ne(half);
    let negative = x.bits().lt(0);
    let signed = (negative & odd).select(-size, size);
    let root = x.lt(0.0) & x.gt(f64::NEG_INFINITY) & y.ne(y.trunc());
    let undefined = root | x.is_nan() | y.is_nan();
    let value = undefined.select(m.f64(f64::NAN), signed);
    (y.eq(0.0) | x.eq(1.0)).select(m.f64(1.0), value)
}

impl<'c> Emit<'c> {
    /// A function of `f64`; `sin` and `cos` have their own file.
    pub(super) fn function_f64(&self, op: UnaryOp, x: V<'c>) -> Done<V<'c>> {
        let body = |args: &[V<'c>]| {
            self.formula(|m| {
                let x = m.x(args[0]);
                match op {
                    UnaryOp::Exp => exp(m, x),
                    UnaryOp::Exp2 => exp2(m, clamped(x, -1080.0, 1025.0), m.f64(0.0), 13),
                    UnaryOp::Log => log_edges(x, log(x)),
                    UnaryOp::Log2 => {
                        let y = log2_exactly(x);
                        log_edges(x, y.0 + y.1)
                    }
                    UnaryOp::Tanh => tanh(m, x),
                    UnaryOp::Sigmoid => sigmoid(m, x),
                    UnaryOp::Erf => erf(m, x),
                    UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Not | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => x,
                    UnaryOp::Trunc | UnaryOp::Sqrt | UnaryOp::Rsqrt | UnaryOp::Sin | UnaryOp::Cos | UnaryOp::IsNan => x,
                }
            })
        };
        self.function(&format!("{}_f64", op.name()), self.context.f64_type().into(), &[x], body)
    }

    /// `a^b` of `f32` or `f64`.
    pub(super) fn pow(&self, d: DType, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        let double = match d {
            DType::F32 => false,
            DType::F64 => true,
            _ => return mistake(format!("`pow` of {d}")),
        };
        let body = |args: &[V<'c>]| {
            self.formula(|m| {
                let (x, y) = (m.x(args[0]), m.x(args[1]));
                if double {
                    power(m, x, y, log2_exactly, 13)
                } else {
                    power(m, x.widen(), y.widen(), log2_roughly, 9).narrow()
                }
            })
        };
        self.function(&format!("pow_{d}"), self.register_type(d), &[a, b], body)
    }

    /// The remainder of `f64`s with the sign of the first, exactly; so also that of all shorter floats.
    pub(super) fn remainder(&self, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        self.function("rem_f64", self.context.f64_type().into(), &[a, b], |args| self.write_remainder(args[0], args[1]))
    }

    fn write_remainder(&self, a: V<'c>, b: V<'c>) -> Done<V<'c>> {
        let m = Math::new(self);
        let (m_x, m_y) = (m.x(a), m.x(b));
        let (x, y) = (m_x.abs(), m_y.abs());
        let quotient = x / y;
        let huge = quotient.lt(4_503_599_627_370_496.0) ^ m.x(self.bool(true).into());
        let far = huge & x.lt(f64::INFINITY) & y.gt(0.0);
        let near = || {
            // A quotient that was rounded up is one too large; either way the remainder is a float.
            let q = quotient.trunc();
            let r = (-q).fma(y, x);
            let r = r.lt(0.0).select(r + y, r);
            m.all(&[y.eq(f64::INFINITY).select(x, r)])
        };
        let r = self.either(far.v, || self.long_remainder(&m, x.v, y.v), near)?;
        let r = m.x(r[0]).with_sign_of(m_x);
        let undefined = m_x.is_nan() | m_y.is_nan() | x.eq(f64::INFINITY) | y.eq(0.0);
        m.done(undefined.select(m.f64(f64::NAN), r))
    }

    /// The remainder of positive finite numbers by long division, eleven bits of the quotient at a time.
    fn long_remainder(&self, m: &Math<'_, 'c>, x: V<'c>, y: V<'c>) -> Done<Vec<V<'c>>> {
        let parts = |v: V<'c>| {
            let bits = m.x(v).bits();
            let (field, rest) = (bits >> 52, bits & ((1 << 52) - 1));
            let normal = field.gt(0);
            (normal.select(field, 1), normal.select(rest | (1 << 52), rest))
        };
        let ((x_exp, x_units), (y_exp, y_units)) = (parts(x), parts(y));
        let start = m.all(&[x_units.modulo(y_units), x_exp - y_exp])?;
        let before = self.here()?;
        let (head, body, end) = (self.block_here()?, self.block_here()?, self.block_here()?);
        self.jump(head)?;
        self.at(head);
        let i64_type = self.context.i64_type();
        let (units, left) = (self.builder.build_phi(i64_type, "")?, self.builder.build_phi(i64_type, "")?);
        let (r, n) = (m.x(units.as_basic_value()), m.x(left.as_basic_value()));
        let V::IntValue(more) = m.done(n.gt(0))? else { return mistake("a comparison that is not a truth") };
        self.branch(more, body, end)?;
        self.at(body);
        let step = n.lt(11).select(n, 11);
        let next = m.all(&[r.shift_left(step).modulo(y_units), n - step])?;
        units.add_incoming(&[(&start[0], before), (&next[0], body)]);
        left.add_incoming(&[(&start[1], before), (&next[1], body)]);
        self.jump(head)?;
        self.at(end);
        m.all(&[scaled(r.to_float(64), y_exp - 1075)])
    }
}
