//! What is known of a generated value's numbers: how large they can be, and how far two correct
//! executions can be apart.
//!
//! Correct executions agree bit for bit except where the language leaves something open: the order of
//! floating-point sums, the last bits of transcendental functions, a product and a sum contracted into one
//! rounding, and the sign of a zero chosen by `min` or `max`. The rules here follow such differences
//! forward with worst-case magnitudes. An operation whose difference cannot be bounded (a comparison of
//! rounded numbers, a sum that may overflow) gives `None`, and the generator chooses something else.

use helion_ir::dtype::Class;
use helion_ir::tile::ReduceOp;
use helion_ir::{BinaryOp, DType, UnaryOp};

/// Bounds on a value's elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Num {
    /// Largest magnitude; infinite when NaN, infinities or extremes may occur.
    pub mag: f64,
    /// Absolute difference between correct executions.
    pub abs: f64,
    /// Relative difference between correct executions.
    pub rel: f64,
    /// Only whole numbers.
    pub integral: bool,
    /// Zeros may differ in sign.
    pub zero_sign: bool,
    /// It is a rounded product, which may be contracted with a sum.
    pub product: bool,
}

/// Unit roundoff.
pub fn eps(d: DType) -> f64 {
    match d {
        DType::F64 => 2f64.powi(-53),
        DType::F32 => 2f64.powi(-24),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        DType::F8E4M3 => 2f64.powi(-4),
        DType::F8E5M2 => 2f64.powi(-3),
        _ => 0.0,
    }
}

/// The smallest step near zero.
fn step(d: DType) -> f64 {
    match d {
        DType::F64 => f64::from_bits(1),
        DType::F32 => 2f64.powi(-149),
        DType::F16 => 2f64.powi(-24),
        DType::BF16 => 2f64.powi(-133),
        DType::F8E4M3 => 2f64.powi(-9),
        DType::F8E5M2 => 2f64.powi(-16),
        _ => 0.0,
    }
}

/// Beyond this an inexact value may overflow in one execution and not in the other.
fn safe(d: DType) -> f64 {
    match d {
        DType::F64 => 1e300,
        DType::F32 | DType::BF16 => 1e37,
        DType::F16 => 3e4,
        DType::F8E4M3 => 400.0,
        DType::F8E5M2 => 5e4,
        _ => f64::INFINITY,
    }
}

impl Num {
    pub const WILD: Num = Num::exact(f64::INFINITY);

    pub const fn exact(mag: f64) -> Num {
        Num { mag, abs: 0.0, rel: 0.0, integral: false, zero_sign: false, product: false }
    }
    pub const fn whole(mag: f64) -> Num {
        Num { integral: true, ..Num::exact(mag) }
    }
    pub fn is_exact(self) -> bool {
        self.abs == 0.0 && self.rel == 0.0
    }
    /// The worst of both.
    pub fn join(self, o: Num) -> Num {
        Num {
            mag: self.mag.max(o.mag),
            abs: self.abs.max(o.abs),
            rel: self.rel.max(o.rel),
            integral: self.integral && o.integral,
            zero_sign: self.zero_sign || o.zero_sign,
            product: false,
        }
    }
    /// The absolute difference, if there is a bound.
    fn error(self) -> Option<f64> {
        if self.is_exact() {
            return Some(0.0);
        }
        self.mag.is_finite().then_some(self.abs + self.rel * self.mag)
    }
    /// An inexact value of the given magnitude and difference, in a type.
    fn bounded(self, d: DType, mag: f64, abs: f64) -> Option<Num> {
        let fits = mag.is_finite() && mag + abs < safe(d);
        fits.then_some(Num { mag, abs: abs + step(d), rel: 0.0, integral: false, zero_sign: true, product: false })
    }
}

fn exact_type(d: DType) -> Num {
    Num::whole(match d {
        DType::Bool => 1.0,
        _ => 2f64.powi(8 * d.size() as i32),
    })
}

/// The largest whole number up to which all are representable.
fn whole_limit(d: DType) -> f64 {
    1.0 / eps(d)
}

/// Bounds of a unary operation's result.
pub fn unary(op: UnaryOp, d: DType, x: Num) -> Option<Num> {
    if !d.is_float() {
        return Some(exact_type(d));
    }
    let c = d.compute();
    match op {
        UnaryOp::Neg | UnaryOp::Abs => Some(x),
        UnaryOp::Not => None,
        UnaryOp::IsNan => x.is_exact().then_some(Num::whole(1.0)),
        UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => {
            x.is_exact().then_some(Num { integral: true, mag: x.mag + 1.0, product: false, ..x })
        }
        UnaryOp::Sqrt => x.is_exact().then_some(Num { integral: false, product: false, mag: x.mag.max(1.0), ..x }),
        UnaryOp::Sin | UnaryOp::Cos if x.mag > 1e4 => None,
        UnaryOp::Tanh | UnaryOp::Sigmoid | UnaryOp::Erf | UnaryOp::Sin | UnaryOp::Cos => {
            let e = x.error()?;
            let rel = 16.0 * eps(c) + 2.0 * eps(d);
            if x.is_exact() {
                return Some(Num { mag: 1.0, abs: 4.0 * step(d) + 4.0 * eps(c), rel, ..Num::WILD });
            }
            x.bounded(d, 1.0, 1.2 * e + rel)
        }
        UnaryOp::Exp | UnaryOp::Exp2 => {
            let top = x.mag.exp();
            let rel = 16.0 * eps(c) + 2.0 * eps(d);
            if x.is_exact() {
                let mag = if top < safe(d) { top } else { f64::INFINITY };
                return Some(Num { mag, abs: 4.0 * step(d), rel, ..Num::WILD });
            }
            x.bounded(d, top, 1.1 * top * x.error()? + top * rel)
        }
        UnaryOp::Log | UnaryOp::Log2 | UnaryOp::Rsqrt => {
            if !x.is_exact() || x.zero_sign {
                return None;
            }
            // Near 1 a logarithm loses relative, not absolute accuracy.
            Some(Num {
                mag: f64::INFINITY,
                abs: 16.0 * eps(c) + 4.0 * step(d),
                rel: 16.0 * eps(c) + 2.0 * eps(d),
                ..Num::WILD
            })
        }
    }
}

/// Bounds of a binary operation's result.
pub fn binary(op: BinaryOp, d: DType, a: Num, b: Num) -> Option<Num> {
    let both = a.is_exact() && b.is_exact();
    let zero_sign = a.zero_sign || b.zero_sign;
    match op {
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
            return both.then_some(Num::whole(1.0));
        }
        _ if !d.is_float() => return Some(exact_type(d)),
        _ => {}
    }
    let whole = |mag: f64| a.integral && b.integral && mag < whole_limit(d);
    match op {
        BinaryOp::Add | BinaryOp::Sub => {
            let mag = a.mag + b.mag;
            let contracted = a.product || b.product;
            if both && (!contracted || whole(mag)) {
                return Some(Num { mag, integral: whole(mag), zero_sign: zero_sign || contracted, ..Num::WILD });
            }
            a.bounded(d, mag, a.error()? + b.error()? + 2.0 * eps(d) * mag)
        }
        BinaryOp::Mul => {
            let mag = a.mag * b.mag;
            if both {
                let mag = if mag.is_nan() { f64::INFINITY } else { mag };
                return Some(Num { mag, integral: whole(mag), zero_sign, product: true, ..Num::WILD });
            }
            let (ea, eb) = (a.error()?, b.error()?);
            let n = a.bounded(d, mag, ea * b.mag + eb * a.mag + ea * eb + 2.0 * eps(d) * mag)?;
            Some(Num { product: true, ..n })
        }
        BinaryOp::Div => (both && !b.zero_sign).then_some(Num { zero_sign, ..Num::WILD }),
        BinaryOp::Rem => both.then_some(Num { mag: a.mag, integral: a.integral && b.integral, zero_sign, ..Num::WILD }),
        BinaryOp::Min | BinaryOp::Max => {
            let n = a.join(b);
            if !both {
                n.error()?;
            }
            Some(Num { zero_sign: true, ..n })
        }
        BinaryOp::Pow => {
            // The difference grows with the logarithm of the result.
            let tame = both && !zero_sign && a.mag <= 64.0 && b.mag <= 16.0;
            let rel = 256.0 * eps(d.compute()) + 2.0 * eps(d);
            tame.then_some(Num { abs: 4.0 * step(d), rel, ..Num::WILD })
        }
        _ => None,
    }
}

/// Bounds of a conversion's result.
pub fn cast(from: DType, to: DType, x: Num) -> Option<Num> {
    let floating = |d: DType| matches!(d.class(), Class::Float | Class::Storage);
    if !floating(to) {
        return x.is_exact().then(|| if x.mag < 1e6 && x.integral { Num::whole(x.mag) } else { exact_type(to) });
    }
    if x.is_exact() {
        let fits = x.mag < safe(to);
        let integral = x.integral && x.mag <= whole_limit(to);
        let mag = if fits { x.mag } else { f64::INFINITY };
        return Some(Num { mag, integral, product: false, ..x });
    }
    if eps(to) <= eps(from) && floating(from) {
        return Some(Num { product: false, ..x });
    }
    if !x.mag.is_finite() {
        return None; // Overflow is decided by the last bit.
    }
    x.bounded(to, x.mag * (1.0 + eps(to)), x.error()? + 2.0 * eps(to) * x.mag)
}

/// Bounds of a reduction (or of every prefix of a scan) over `n` elements.
pub fn reduce(op: ReduceOp, d: DType, elements: u64, x: Num) -> Option<Num> {
    if !d.is_float() {
        return Some(match op {
            ReduceOp::ArgMax | ReduceOp::ArgMin => Num::whole(elements as f64),
            _ => exact_type(d),
        });
    }
    let (n, c) = (elements.max(1) as f64, d.compute());
    match op {
        ReduceOp::Max | ReduceOp::Min => {
            if !x.is_exact() {
                x.error()?;
            }
            // Of nothing it is infinite.
            let mag = if elements == 0 { f64::INFINITY } else { x.mag };
            Some(Num { mag, zero_sign: true, product: false, ..x })
        }
        ReduceOp::ArgMax | ReduceOp::ArgMin => x.is_exact().then_some(Num::whole(n)),
        ReduceOp::Any | ReduceOp::All => None,
        ReduceOp::Sum => {
            let mag = n * x.mag;
            if x.is_exact() && x.integral && mag < whole_limit(c) {
                let integral = mag < whole_limit(d);
                return Some(Num { mag, integral, zero_sign: true, ..Num::WILD });
            }
            x.bounded(d, mag, n * x.error()? + n * (n + 4.0) * eps(c) * x.mag + 2.0 * eps(d) * mag)
        }
        ReduceOp::Prod => {
            let mag = x.mag.max(1.0).powf(n);
            if x.is_exact() && x.integral && mag < whole_limit(c).min(whole_limit(d)) {
                return Some(Num { mag, integral: true, zero_sign: true, ..Num::WILD });
            }
            x.bounded(d, mag, n * mag * x.error()? + (n + 2.0) * eps(c) * mag + 2.0 * eps(d) * mag)
        }
    }
}

/// Bounds of a matrix product with inner extent `k`.
pub fn dot(from: DType, acc: DType, k: u64, a: Num, b: Num) -> Option<Num> {
    if !acc.is_float() {
        return Some(exact_type(acc));
    }
    let (k, mag) = (k.max(1) as f64, k.max(1) as f64 * a.mag * b.mag);
    let c = acc.compute();
    if a.is_exact() && b.is_exact() && a.integral && b.integral && mag < whole_limit(c) {
        return Some(Num { mag, integral: mag < whole_limit(acc), zero_sign: true, ..Num::WILD });
    }
    let (ea, eb) = (a.error()?, b.error()?);
    let inputs = k * (ea * b.mag + eb * a.mag + ea * eb);
    let _ = from;
    a.bounded(acc, mag, inputs + (k + 4.0) * eps(c) * mag + 2.0 * eps(acc) * mag)
}
