//! Transcendental functions of `f32` as basic operations, and 16-bit arithmetic as `f32` arithmetic.
//!
//! In: nests whose bodies use `exp` and the like. Out: the same nests with only operations that every
//! vector unit has: `fma`, `mul`, `add`, `div`, `sqrt`, compare, select, shifts by constants and
//! changes of type; 16-bit floats are converted, computed in `f32`, and rounded back after each operation.
//! Statements outside nests, `finals`, and functions of `f64` stay as they are; a backend calls a
//! library for them. So do `sin`, `cos` and `pow`, which need a range reduction that vectors lack, and what a target
//! has instructions for ([`native`]).
//!
//! | function | largest error in ulp (sampled over all `f32`, see the tests) |
//! |---|---|
//! | `exp` | 0.83 |
//! | `exp2` | 0.86 |
//! | `log` | 1.15 |
//! | `log2` | 1.97 |
//! | `tanh` | 1.90 |
//! | `sigmoid` | 2.1 |
//! | `erf` | 1.80 |
//! | `rsqrt` | 1.48 |
//!
//! Results are right at the ends of the range too: infinities, NaN, signed zeros, denormal arguments
//! and denormal results.

#![allow(
    clippy::excessive_precision,
    clippy::approx_constant,
    reason = "coefficients are written as the fit printed them"
)]

use helion_ir::dtype::{DType, Literal};
use helion_ir::loops::{Args, Function, Inst, Nest, Op, Val, Value};
use helion_ir::target::Target;
use helion_ir::{BinaryOp, Loc, UnaryOp};
use smallvec::smallvec;
use std::collections::HashMap;

/// The functions for which a target has instructions that are exact enough: they stay.
pub fn native(target: &Target) -> &'static [UnaryOp] {
    // Threads in lockstep come with a unit for powers of two.
    if target.warp > 1 { &[UnaryOp::Exp, UnaryOp::Exp2] } else { &[] }
}

/// Rewrites every nest of the function; the functions in `keep` stay.
pub fn expand_math(f: &mut Function, keep: &[UnaryOp]) {
    let Function { body, values, .. } = f;
    super::each_nest(body, &mut |nest| expand_nest(nest, values, keep));
}

fn expand_nest(nest: &mut Nest, values: &mut Vec<Value>, keep: &[UnaryOp]) {
    let mut e = Expand::new(values, keep);
    for inst in std::mem::take(&mut nest.body) {
        e.inst(inst);
    }
    nest.body = e.out;
}

/// A function of one `f32` as basic operations.
pub struct Expansion {
    /// Types of the values; the first is the operand.
    pub values: Vec<Value>,
    /// What computes them.
    pub body: Vec<Inst>,
    /// The function's value.
    pub result: Val,
}

/// The expansion of a function of `f32`, for use outside nests; `None` for what stays.
pub fn expansion(op: UnaryOp) -> Option<Expansion> {
    let mut values = vec![Value { dtype: DType::F32, name: None }];
    let mut e = Expand::new(&mut values, &[]);
    let result = e.expand(op, Val(0))?;
    let body = e.out;
    Some(Expansion { values, body, result })
}

/// A body under construction.
struct Expand<'a> {
    values: &'a mut Vec<Value>,
    /// Functions that stay.
    keep: &'a [UnaryOp],
    out: Vec<Inst>,
    /// Constants made so far.
    consts: HashMap<Literal, Val>,
    /// 16-bit values as `f32`.
    wide: HashMap<Val, Val>,
    at: Loc,
}

/// 16-bit floats with arithmetic.
fn is_half(d: DType) -> bool {
    matches!(d, DType::F16 | DType::BF16)
}

impl<'a> Expand<'a> {
    fn new(values: &'a mut Vec<Value>, keep: &'a [UnaryOp]) -> Expand<'a> {
        Expand { values, keep, out: Vec::new(), consts: HashMap::new(), wide: HashMap::new(), at: Loc::UNKNOWN }
    }

    fn inst(&mut self, inst: Inst) {
        self.at = inst.at;
        let of = inst.args.first().map(|v| self.values[v.index()].dtype);
        match (&inst.op, of, inst.result) {
            (Op::Unary(op), Some(DType::F32), Some(result)) => match self.expand(*op, inst.args[0]) {
                Some(v) => self.rename(v, result),
                None => self.out.push(inst),
            },
            (Op::Unary(op), Some(d), Some(result)) if is_half(d) => {
                let x = self.widen(inst.args[0], d);
                let y = self.expand(*op, x).unwrap_or_else(|| self.unary(*op, x));
                self.narrow(y, d, result);
            }
            (Op::Binary(op), Some(d), Some(result)) if is_half(d) => {
                let (a, b) = (self.widen(inst.args[0], d), self.widen(inst.args[1], d));
                let y = self.bin(*op, a, b);
                self.narrow(y, d, result);
            }
            _ => self.out.push(inst),
        }
    }

    /// Makes the last instruction, whose result is `v`, define `result` instead.
    fn rename(&mut self, v: Val, result: Val) {
        match self.out.last_mut() {
            Some(last) if last.result == Some(v) => {
                last.result = Some(result);
                if v.index() + 1 == self.values.len() {
                    self.values.pop();
                }
            }
            _ => self.define(Op::Bitcast(self.values[result.index()].dtype), smallvec![v], result),
        }
    }

    fn define(&mut self, op: Op, args: Args, result: Val) {
        self.out.push(Inst { op, args, result: Some(result), at: self.at });
    }

    fn emit(&mut self, op: Op, args: Args, dtype: DType) -> Val {
        let v = Val(self.values.len() as u32);
        self.values.push(Value { dtype, name: None });
        self.define(op, args, v);
        v
    }

    fn widen(&mut self, v: Val, from: DType) -> Val {
        debug_assert!(is_half(from));
        if let Some(w) = self.wide.get(&v) {
            return *w;
        }
        let w = self.emit(Op::Cast(DType::F32), smallvec![v], DType::F32);
        self.wide.insert(v, w);
        w
    }

    /// Rounds back to the 16-bit type; tests give `bool` and stay.
    fn narrow(&mut self, y: Val, d: DType, result: Val) {
        if self.values[result.index()].dtype == d {
            self.define(Op::Cast(d), smallvec![y], result);
        } else {
            self.rename(y, result);
        }
    }

    fn literal(&mut self, l: Literal) -> Val {
        if let Some(v) = self.consts.get(&l) {
            return *v;
        }
        let v = self.emit(Op::Const(l), smallvec![], l.dtype);
        self.consts.insert(l, v);
        v
    }
    fn f(&mut self, v: f32) -> Val {
        self.literal(Literal::from_bits(DType::F32, u64::from(v.to_bits())))
    }
    fn i(&mut self, v: i32) -> Val {
        self.literal(Literal::from_bits(DType::I32, u64::from(v as u32)))
    }
    fn unary(&mut self, op: UnaryOp, x: Val) -> Val {
        let d = op.rule().result(self.values[x.index()].dtype);
        self.emit(Op::Unary(op), smallvec![x], d)
    }
    fn bin(&mut self, op: BinaryOp, a: Val, b: Val) -> Val {
        let d = op.rule().result(self.values[a.index()].dtype);
        self.emit(Op::Binary(op), smallvec![a, b], d)
    }
    fn add(&mut self, a: Val, b: Val) -> Val {
        self.bin(BinaryOp::Add, a, b)
    }
    fn sub(&mut self, a: Val, b: Val) -> Val {
        self.bin(BinaryOp::Sub, a, b)
    }
    fn mul(&mut self, a: Val, b: Val) -> Val {
        self.bin(BinaryOp::Mul, a, b)
    }
    fn div(&mut self, a: Val, b: Val) -> Val {
        self.bin(BinaryOp::Div, a, b)
    }
    fn lt(&mut self, a: Val, b: Val) -> Val {
        self.bin(BinaryOp::Lt, a, b)
    }
    fn fma(&mut self, a: Val, b: Val, c: Val) -> Val {
        self.emit(Op::Fma, smallvec![a, b, c], DType::F32)
    }
    fn select(&mut self, mask: Val, a: Val, b: Val) -> Val {
        let d = self.values[a.index()].dtype;
        self.emit(Op::Select, smallvec![mask, a, b], d)
    }
    fn cast(&mut self, x: Val, to: DType) -> Val {
        self.emit(Op::Cast(to), smallvec![x], to)
    }
    fn bits(&mut self, x: Val) -> Val {
        self.emit(Op::Bitcast(DType::I32), smallvec![x], DType::I32)
    }
    fn of_bits(&mut self, x: Val) -> Val {
        self.emit(Op::Bitcast(DType::F32), smallvec![x], DType::F32)
    }
    fn shl(&mut self, x: Val, by: i32) -> Val {
        let by = self.i(by);
        self.bin(BinaryOp::Shl, x, by)
    }
    /// `c[0] + c[1] x + …`.
    fn horner(&mut self, c: &[f32], x: Val) -> Val {
        let Some((last, rest)) = c.split_last() else { return x };
        let start = self.f(*last);
        rest.iter().rev().fold(start, |p, c| {
            let c = self.f(*c);
            self.fma(p, x, c)
        })
    }
    /// `x`, but not below `lo`; NaN stays.
    fn at_least(&mut self, x: Val, lo: f32) -> Val {
        let lo = self.f(lo);
        let below = self.lt(x, lo);
        self.select(below, lo, x)
    }
    /// `x`, but not above `hi`; NaN stays.
    fn at_most(&mut self, x: Val, hi: f32) -> Val {
        let hi = self.f(hi);
        let above = self.lt(hi, x);
        self.select(above, hi, x)
    }
    /// `|y|` with the sign of `x`, for a `y` that is not negative.
    fn with_sign(&mut self, y: Val, x: Val) -> Val {
        let (y, x) = (self.bits(y), self.bits(x));
        let mask = self.i(i32::MIN);
        let sign = self.bin(BinaryOp::And, x, mask);
        let r = self.bin(BinaryOp::Or, y, sign);
        self.of_bits(r)
    }

    /// The function as basic operations; `None` for what stays.
    fn expand(&mut self, op: UnaryOp, x: Val) -> Option<Val> {
        if self.keep.contains(&op) {
            return None;
        }
        Some(match op {
            UnaryOp::Exp => self.exp(x),
            UnaryOp::Exp2 => self.exp2(x),
            UnaryOp::Log => self.log(x),
            UnaryOp::Log2 => self.log2(x),
            UnaryOp::Tanh => self.tanh(x),
            UnaryOp::Sigmoid => self.sigmoid(x),
            UnaryOp::Erf => self.erf(x),
            UnaryOp::Rsqrt => {
                let (root, one) = (self.unary(UnaryOp::Sqrt, x), self.f(1.0));
                self.div(one, root)
            }
            UnaryOp::Neg
            | UnaryOp::Abs
            | UnaryOp::Not
            | UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Round
            | UnaryOp::Trunc
            | UnaryOp::Sqrt
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::IsNan => return None,
        })
    }
}

/// Adding this to a float below 2^22 rounds it to an integer, which is then in the low bits.
const MAGIC: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has few enough bits that its product with an exponent is exact.
const LN2_HI: f32 = 0.693_145_75;
const LN2_LO: f32 = 1.428_606_8e-6;
/// Taylor-like coefficients of `exp` on `[-ln 2 / 2, ln 2 / 2]`, fitted for least relative error.
const EXP: [f32; 7] = [1.0, 1.0, 0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_454];
/// `(ln(1 + f) - f) / f^2` for `f` in `[-1/4, 1/2]`.
const LOG: [f32; 8] =
    [-0.500_000_6, 0.333_335_5, -0.249_934_42, 0.199_770_78, -0.168_228_12, 0.149_839_18, -0.120_673_72, 0.054_132_502];

impl Expand<'_> {
    /// `x = n ln 2 + r`; gives `n` as magic bits and `r`.
    fn reduced(&mut self, x: Val) -> (Val, Val) {
        let (log2e, magic) = (self.f(std::f32::consts::LOG2_E), self.f(MAGIC));
        let t = self.fma(x, log2e, magic);
        let n = self.sub(t, magic);
        let (hi, lo) = (self.f(-LN2_HI), self.f(-LN2_LO));
        let r = self.fma(n, hi, x);
        let r = self.fma(n, lo, r);
        (self.bits(t), r)
    }

    /// `x = n ln 2 + r`; gives `n` as magic bits and `exp(r)`.
    fn exp_core(&mut self, x: Val) -> (Val, Val) {
        let (n, r) = self.reduced(x);
        (n, self.horner(&EXP, r))
    }

    /// `p * 2^n` in two exact-or-final steps, so that denormal results round once and 2^128 is reached.
    fn scale(&mut self, n: Val, p: Val, tiny: Val) -> Val {
        let e = self.shl(n, 23);
        let (up, down) = (self.i((127 + 64) << 23), self.i((127 - 1) << 23));
        let bias = self.select(tiny, up, down);
        let e = self.add(e, bias);
        let s = self.of_bits(e);
        let y = self.mul(p, s);
        let (small, two) = (self.f(f32::from_bits((127 - 64) << 23)), self.f(2.0));
        let s = self.select(tiny, small, two);
        self.mul(y, s)
    }

    fn exp(&mut self, x: Val) -> Val {
        let x = self.at_least(x, -104.0);
        let x = self.at_most(x, 89.0);
        let (n, p) = self.exp_core(x);
        let edge = self.f(-86.0);
        let tiny = self.lt(x, edge);
        self.scale(n, p, tiny)
    }

    fn exp2(&mut self, x: Val) -> Val {
        let x = self.at_least(x, -151.0);
        let x = self.at_most(x, 129.0);
        let magic = self.f(MAGIC);
        let t = self.add(x, magic);
        let n = self.sub(t, magic);
        let r = self.sub(x, n);
        let ln2 = self.f(std::f32::consts::LN_2);
        let r = self.mul(r, ln2);
        let p = self.horner(&EXP, r);
        let n = self.bits(t);
        let edge = self.f(-125.0);
        let tiny = self.lt(x, edge);
        self.scale(n, p, tiny)
    }

    /// `x = m 2^e` with `m` in `[3/4, 3/2)`: gives `e`, `f = m - 1` and `ln(m) - f`.
    fn log_core(&mut self, x: Val) -> (Val, Val, Val) {
        let least = self.f(f32::MIN_POSITIVE);
        let tiny = self.lt(x, least);
        let up = self.f(8_388_608.0);
        let scaled = self.mul(x, up);
        let x = self.select(tiny, scaled, x);
        let bits = self.bits(x);
        let base = self.i(0x3f40_0000);
        let e = self.sub(bits, base);
        let by = self.i(23);
        let e = self.bin(BinaryOp::Shr, e, by);
        let back = self.shl(e, 23);
        let m = self.sub(bits, back);
        let m = self.of_bits(m);
        let e = self.cast(e, DType::F32);
        let (offset, zero) = (self.f(-23.0), self.f(0.0));
        let offset = self.select(tiny, offset, zero);
        let e = self.add(e, offset);
        let one = self.f(1.0);
        let f = self.sub(m, one);
        let q = self.horner(&LOG, f);
        let f2 = self.mul(f, f);
        (e, f, self.mul(f2, q))
    }

    /// The value for zero, negative, infinite and NaN arguments.
    fn log_edges(&mut self, x: Val, y: Val) -> Val {
        let (zero, nan, low) = (self.f(0.0), self.f(f32::NAN), self.f(f32::NEG_INFINITY));
        let is_zero = self.bin(BinaryOp::Eq, x, zero);
        let edge = self.select(is_zero, low, nan);
        let positive = self.lt(zero, x);
        let y = self.select(positive, y, edge);
        let inf = self.f(f32::INFINITY);
        let is_inf = self.bin(BinaryOp::Eq, x, inf);
        self.select(is_inf, x, y)
    }

    fn log(&mut self, x: Val) -> Val {
        let (e, f, rest) = self.log_core(x);
        let (lo, hi) = (self.f(-2.121_944_4e-4), self.f(0.693_359_4));
        let t = self.fma(e, lo, rest);
        let t = self.add(t, f);
        let y = self.fma(e, hi, t);
        self.log_edges(x, y)
    }

    fn log2(&mut self, x: Val) -> Val {
        let (e, f, rest) = self.log_core(x);
        // log2(e) in two parts; the first is exact in few bits.
        let (hi, lo) = (self.f(1.442_695), self.f(1.925_963_e-8));
        let rest = self.mul(rest, hi);
        let low = self.fma(f, lo, rest);
        let y = self.fma(f, hi, low);
        let y = self.add(y, e);
        self.log_edges(x, y)
    }

    /// `2^-n` and `(1 - exp(-r)) 2^-n` for `z = n ln 2 + r`, `z` from 0 to 40: `exp(-z)` is the first less the second, so
    /// that `1 - exp(-z)` keeps its digits near zero.
    fn falling(&mut self, z: Val) -> (Val, Val) {
        let (n, r) = self.reduced(z);
        let r2 = self.mul(r, r);
        let p = self.horner(&FALL, r);
        let p = self.fma(r2, p, r);
        let (n, one) = (self.shl(n, 23), self.i(127 << 23));
        let s = self.sub(one, n);
        let s = self.of_bits(s);
        // Exact: the factor is a power of two.
        (s, self.mul(p, s))
    }

    /// `(1 - e) / (1 + e)` with `e = exp(-2|x|)`.
    fn tanh(&mut self, x: Val) -> Val {
        let a = self.unary(UnaryOp::Abs, x);
        let a = self.at_most(a, 10.0);
        let z = self.add(a, a);
        let (s, p) = self.falling(z);
        let one = self.f(1.0);
        let (above, below) = (self.sub(one, s), self.add(one, s));
        let (above, below) = (self.add(above, p), self.sub(below, p));
        let y = self.div(above, below);
        self.with_sign(y, x)
    }

    /// `e^-|x|` over, or 1 over, `1 + e^-|x|`.
    fn sigmoid(&mut self, x: Val) -> Val {
        let a = self.unary(UnaryOp::Abs, x);
        let a = self.unary(UnaryOp::Neg, a);
        let a = self.at_least(a, -104.0);
        let (n, p) = self.exp_core(a);
        let edge = self.f(-86.0);
        let tiny = self.lt(a, edge);
        let e = self.scale(n, p, tiny);
        let (one, zero) = (self.f(1.0), self.f(0.0));
        let negative = self.lt(x, zero);
        let top = self.select(negative, e, one);
        let d = self.add(e, one);
        self.div(top, d)
    }

    /// `1 - exp(-z)` with a polynomial for `z = -ln(1 - erf |x|)`.
    fn erf(&mut self, x: Val) -> Val {
        let t = self.unary(UnaryOp::Abs, x);
        let t = self.at_most(t, 4.0);
        let z = self.horner(&ERF, t);
        let z = self.fma(z, t, t);
        let (s, p) = self.falling(z);
        let one = self.f(1.0);
        let y = self.sub(one, s);
        let y = self.add(y, p);
        self.with_sign(y, x)
    }
}

/// `(1 - exp(-r) - r) / r^2` on `[-ln 2 / 2, ln 2 / 2]`: the coefficients of [`EXP`] from the square on, with signs in turns.
const FALL: [f32; 5] = [-0.499_999_94, 0.166_665_21, -0.041_668_39, 0.008_368_745, -0.001_381_454];
/// `-ln(1 - erf(t)) / t - 1` for `t` up to 4, fitted for least relative error of `erf`.
const ERF: [f32; 9] = [
    0.128_379_17,
    0.636_619_39,
    0.102_777_83,
    -0.019_153_062,
    -0.000_160_399_37,
    0.001_667_031_1,
    -0.000_632_838_99,
    0.000_117_641_917,
    -9.256_342_3e-6,
];

#[cfg(test)]
mod tests;
