//! `x * 2^n` as one instruction.
//!
//! The expansion of exponential functions multiplies by a power of two in two steps, made of exponent bits,
//! so that results which are denormal round once and 2^128 is reached. In: a program. Out: the same program
//! with [`Op::Scale`] where it does exactly that and the range of `n` shows that the result is the same.

use std::collections::HashMap;

use super::ir::{Cmp, Inst, Op, Program, Ty, V};

/// Added to a small float, it leaves the nearest integer in the low bits.
const MAGIC: f32 = 12_582_912.0;

/// Replaces what is found in the body; what nobody uses any more goes away when the program is staged.
pub(super) fn scales(p: &Program) -> Program {
    let mut fused = p.clone();
    let all = p.before.iter().chain(&p.body);
    let mut finder = Finder { defs: all.filter_map(|i| Some((i.result?, i))).collect(), integers: HashMap::new() };
    let constants = constants(p);
    for inst in &mut fused.body {
        if let Some((x, n)) = finder.scale(&constants, inst) {
            inst.op = Op::Scale;
            inst.args = smallvec::smallvec![x, n];
        }
        // What comes later cannot be used.
        finder.integers.extend(integer_of(inst));
    }
    fused
}

/// `t - c` as `t` with `c` and the result.
fn integer_of(inst: &Inst) -> Option<(V, (V, V))> {
    match (inst.op, inst.args.as_slice()) {
        (Op::Sub, [t, c]) => Some((*t, (*c, inst.result?))),
        (_, _) => None,
    }
}

struct Finder<'a> {
    defs: HashMap<V, &'a Inst>,
    /// Differences by what is subtracted from.
    integers: HashMap<V, (V, V)>,
}

/// Bits of the constants.
type Constants = HashMap<V, u32>;

fn constants(p: &Program) -> Constants {
    let bits = |i: &Inst| match i.op {
        Op::Const(l) => Some((i.result?, l.bits as u32)),
        _ => None,
    };
    p.before.iter().chain(&p.body).filter_map(bits).filter(|(v, _)| p.ty(*v).bytes() == 4).collect()
}

impl Finder<'_> {
    /// Limits of a float that is not NaN.
    fn range(&self, constants: &Constants, v: V) -> (f32, f32) {
        let all = (f32::NEG_INFINITY, f32::INFINITY);
        let Some((op, &[a, b])) = self.defs.get(&v).map(|i| (i.op, i.args.as_slice())) else { return all };
        let bits = |v| constants.get(&v).copied();
        match op {
            Op::Min | Op::Max => {
                let Some(limit) = bits(a).map(f32::from_bits) else { return all };
                let (low, high) = self.range(constants, b);
                if op == Op::Min { (low.min(limit), high.min(limit)) } else { (low.max(limit), high.max(limit)) }
            }
            // A sign put on an absolute value.
            Op::Xor if bits(b) == Some(1 << 31) => match self.args(a, Op::And) {
                Some(&[_, keep]) if bits(keep) == Some(i32::MAX as u32) => (f32::NEG_INFINITY, 0.0),
                Some(_) | None => all,
            },
            _ => all,
        }
    }

    /// The arguments of a value made by this op.
    fn args(&self, v: V, op: Op) -> Option<&[V]> {
        self.defs.get(&v).filter(|i| i.op == op).map(|i| i.args.as_slice())
    }

    /// `x` and `n` if the instruction gives `x * 2^n`.
    fn scale(&self, constants: &Constants, inst: &Inst) -> Option<(V, V)> {
        let float = |v: V| constants.get(&v).map(|b| f32::from_bits(*b));
        let (Op::Mul, &[y, second]) = (inst.op, inst.args.as_slice()) else { return None };
        let &[x, first] = self.args(y, Op::Mul)? else { return None };
        let &[tiny, small, two] = self.args(second, Op::Select)? else { return None };
        if float(small)?.to_bits() != (127 - 64) << 23 || float(two)? != 2.0 {
            return None;
        }
        let &[exponent] = self.args(first, Op::Bitcast(Ty::F32))? else { return None };
        let &[shifted, bias] = self.args(exponent, Op::Add)? else { return None };
        let &[tiny_too, up, down] = self.args(bias, Op::Select)? else { return None };
        if tiny_too != tiny || constants.get(&up)? != &((127 + 64) << 23) || constants.get(&down)? != &((127 - 1) << 23)
        {
            return None;
        }
        let &[bits] = self.args(shifted, Op::Shl(23))? else { return None };
        let &[t] = self.args(bits, Op::Bitcast(Ty::I32))? else { return None };
        let &(magic, n) = self.integers.get(&t)?;
        // The first product is exact for an `x` near one: here the end of a polynomial, `1 + r * ...`.
        let &[_, _, one] = self.args(x, Op::Fma)? else { return None };
        let (argument, factor) = match self.defs.get(&t).map(|i| (i.op, i.args.as_slice()))? {
            (Op::Fma, &[a, f, m]) if m == magic => (a, float(f)?),
            (Op::Add, &[a, m]) if m == magic => (a, 1.0),
            (_, _) => return None,
        };
        let &[limited, edge] = self.args(tiny, Op::Compare(Cmp::Lt))? else { return None };
        let (low, high) = self.range(constants, argument);
        let [low, edge, high] = [low, float(edge)?, high].map(|x| (x * factor).round());
        // Exponents stay normal in both steps; at 129 either way gives infinity.
        let fits = low >= -190.0 && (-125.0..=63.0).contains(&edge) && high <= 129.0;
        (fits && limited == argument && float(magic)? == MAGIC && float(one)? == 1.0).then_some((x, n))
    }
}
