//! What is known of values when a kernel is compiled: constants, and how indices depend on the axes of a nest.
//!
//! In: a loop function and [`Facts`]. Out: the constants among its values ([`Known`]), and for each value of a nest the
//! axes it depends on and, for integers, with which factors ([`Forms`]). An index moves by factor times step
//! when an axis moves by a step; that is all that addresses need.

use super::{Bound, Facts, symbol};
use helion_ir::dtype::{DType, Literal};
use helion_ir::elementwise::BinaryOp;
use helion_ir::eval;
use helion_ir::loops::{Function, Inst, Nest, Op, ParamKind, Stmt, Val};
use helion_ir::tile::Dim;
use smallvec::SmallVec;
use std::collections::HashMap;

/// The constants of a function.
#[derive(Debug)]
pub(super) struct Known {
    values: Vec<Option<Literal>>,
    /// The most that integers can be which are no constants.
    bounds: Vec<Option<u64>>,
    /// log2 of a divisor of each integer, where axes of nests count as 0.
    divisors: Vec<u32>,
}

/// The divisor of 0.
const ANY: u32 = 63;

impl Known {
    pub(super) fn new(f: &Function, facts: &Facts) -> Known {
        let n = f.values.len();
        let mut known = Known { values: vec![None; n], bounds: vec![None; n], divisors: vec![0; n] };
        let mut fold = Fold { f, facts, known: &mut known };
        f.header.iter().for_each(|i| fold.inst(i));
        fold.stmts(&f.body);
        known
    }

    /// The value, if it is a constant.
    pub(super) fn literal(&self, v: Val) -> Option<Literal> {
        self.values[v.index()]
    }
    /// The integer, if it is a constant.
    pub(super) fn int(&self, v: Val) -> Option<i64> {
        self.literal(v).filter(|l| l.dtype.is_int()).map(Literal::to_i64)
    }
    /// log2 of a power of two that divides the integer, when the axes of its nest are at 0.
    pub(super) fn divisor(&self, v: Val) -> u32 {
        self.divisors[v.index()]
    }
    /// The most that an extent can be: itself where it is a constant, else the bound that the schedule gives, or that of
    /// launches.
    pub(super) fn bound(&self, extent: Val, bound: Option<u64>) -> Option<u64> {
        self.int(extent).map(|n| n.max(0) as u64).or(bound).or(self.bounds[extent.index()])
    }
    /// Whether launches say the most that an extent can be, and nothing else does.
    pub(super) fn is_bounded(&self, extent: Val) -> bool {
        self.int(extent).is_none() && self.bounds[extent.index()].is_some()
    }
}

struct Fold<'a> {
    f: &'a Function,
    facts: &'a Facts,
    known: &'a mut Known,
}

impl Fold<'_> {
    fn stmts(&mut self, body: &[Stmt]) {
        for s in body {
            match s {
                Stmt::Inst(i) => self.inst(i),
                Stmt::For { var, begin, step, body, .. } => {
                    let divides = self.known.divisor(*begin).min(self.known.divisor(*step));
                    self.known.divisors[var.index()] = divides;
                    self.stmts(body);
                }
                Stmt::While { cond, body, .. } => {
                    self.stmts(cond);
                    self.stmts(body);
                }
                Stmt::If { then, other, .. } => {
                    self.stmts(then);
                    self.stmts(other);
                }
                Stmt::Nest(n) => {
                    n.axes.iter().for_each(|a| self.known.divisors[a.var.index()] = ANY);
                    n.body.iter().chain(&n.finals).for_each(|i| self.inst(i));
                }
                Stmt::Contract(_) => {}
            }
        }
    }

    fn inst(&mut self, inst: &Inst) {
        let Some(result) = inst.result else { return };
        self.known.values[result.index()] = self.value(inst);
        self.known.bounds[result.index()] = self.launched(inst).map(|b| b.most);
        self.known.divisors[result.index()] = self.divisor(inst, result);
    }

    fn divisor(&self, inst: &Inst, result: Val) -> u32 {
        if let Some(n) = self.known.int(result) {
            return if n == 0 { ANY } else { n.trailing_zeros() };
        }
        if let Some(bound) = self.launched(inst) {
            return bound.divisor;
        }
        let of = |i: usize| self.known.divisor(inst.args[i]);
        match &inst.op {
            Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max) => of(0).min(of(1)),
            Op::Binary(BinaryOp::Mul) => (of(0) + of(1)).min(ANY),
            Op::Select => of(1).min(of(2)),
            Op::Bitcast(DType::I64) => of(0),
            Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) | Op::Unary(_) | Op::Binary(_) | Op::Fma => 0,
            Op::Cast(_) | Op::Bitcast(_) | Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } => 0,
            Op::Random { .. } | Op::Print { .. } => 0,
        }
    }

    /// What launches say of the size that an instruction reads.
    fn launched(&self, inst: &Inst) -> Option<Bound> {
        let symbol = symbol(self.f, inst)?;
        self.facts.bounds.iter().find(|(s, _)| *s == symbol).map(|(_, b)| *b)
    }

    fn value(&self, inst: &Inst) -> Option<Literal> {
        let arg = |i: usize| inst.args.get(i).and_then(|v| self.known.literal(*v));
        let size = |n: u64| Literal::from_bits(DType::I64, n);
        match &inst.op {
            Op::Const(l) => Some(*l),
            Op::Size(s) => self.facts.sizes.iter().find(|(k, _)| k == s).map(|(_, n)| size(*n)),
            Op::Dim(p, axis) => match &self.f.params[p.index()].kind {
                ParamKind::Tensor { dims, .. } => match dims.get(*axis as usize)? {
                    Dim::Const(n) => Some(size(*n)),
                    Dim::Symbol(s) => self.facts.sizes.iter().find(|(k, _)| k == s).map(|(_, n)| size(*n)),
                    Dim::Tile(_) | Dim::Expr(_) => None,
                },
                ParamKind::Scalar { .. } => None,
            },
            Op::Unary(op) => Some(eval::unary(*op, arg(0)?)),
            Op::Binary(op) => Some(eval::binary(*op, arg(0)?, arg(1)?)),
            Op::Fma => Some(eval::fma(arg(0)?, arg(1)?, arg(2)?)),
            Op::Select => arg(if arg(0)?.is_true() { 1 } else { 2 }),
            Op::Cast(to) => Some(eval::cast(arg(0)?, *to)),
            Op::Bitcast(to) => Some(eval::bitcast(arg(0)?, *to)),
            Op::Scalar(_)
            | Op::Load { .. }
            | Op::Store { .. }
            | Op::Atomic { .. }
            | Op::Random { .. }
            | Op::Print { .. } => None,
        }
    }
}

/// Factors of an index, one for each axis of the nest.
pub(super) type Factors = SmallVec<[i64; 4]>;

/// On what a value of a nest depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// The axes, as bits; [`CARRIED`] when it depends on the state of a reduction.
    pub axes: u32,
    /// For integers that are a sum of the axes with constant factors and something that is the same at all points.
    pub factors: Option<Factors>,
}

/// The bit of [`Form::axes`] for the state of a reduction.
pub(super) const CARRIED: u32 = 1 << 31;

/// The forms of the values of a nest.
#[derive(Debug)]
pub(super) struct Forms {
    of: HashMap<Val, Form>,
    rank: usize,
}

impl Forms {
    pub(super) fn new(f: &Function, known: &Known, nest: &Nest) -> Forms {
        let rank = nest.axes.len();
        let mut forms = Forms { of: HashMap::new(), rank };
        for (k, axis) in nest.axes.iter().enumerate() {
            let factors = (0..rank).map(|a| i64::from(a == k)).collect();
            forms.of.insert(axis.var, Form { axes: 1 << k, factors: Some(factors) });
        }
        for c in &nest.carries {
            forms.of.insert(c.param, Form { axes: CARRIED, factors: None });
        }
        nest.body.iter().for_each(|i| forms.inst(f, known, i));
        let parallel = (1u32 << (rank - nest.reduce)) - 1;
        for c in &nest.carries {
            // The results differ from one parallel point to the next.
            forms.of.insert(c.result, Form { axes: parallel, factors: None });
        }
        nest.finals.iter().for_each(|i| forms.inst(f, known, i));
        forms
    }

    /// The form of a value; values from outside the nest are the same at all points.
    pub(super) fn of(&self, v: Val) -> Form {
        let same = || Form { axes: 0, factors: Some(SmallVec::from_elem(0, self.rank)) };
        self.of.get(&v).cloned().unwrap_or_else(same)
    }

    /// The axis whose index a value is, if it is one.
    pub(super) fn axis(&self, v: Val, nest: &Nest) -> Option<usize> {
        nest.axes.iter().position(|a| a.var == v)
    }

    fn inst(&mut self, f: &Function, known: &Known, inst: &Inst) {
        let Some(result) = inst.result else { return };
        let axes = match inst.op {
            // Each point has its own.
            Op::Atomic { .. } => (1 << self.rank) - 1,
            _ => inst.args.iter().fold(0, |all, a| all | self.of(*a).axes),
        };
        let factors = match axes {
            0 => Some(SmallVec::from_elem(0, self.rank)),
            _ if f.dtype(result) != DType::I64 => None,
            _ => self.factors(known, inst),
        };
        self.of.insert(result, Form { axes, factors });
    }

    fn factors(&self, known: &Known, inst: &Inst) -> Option<Factors> {
        let arg = |i: usize| self.of(inst.args[i]).factors;
        let zip = |f: fn(i64, i64) -> Option<i64>| -> Option<Factors> {
            arg(0)?.iter().zip(&arg(1)?).map(|(a, b)| f(*a, *b)).collect()
        };
        let scaled = |by: i64, i: usize| -> Option<Factors> { arg(i)?.iter().map(|c| c.checked_mul(by)).collect() };
        match &inst.op {
            Op::Binary(BinaryOp::Add) => zip(i64::checked_add),
            Op::Binary(BinaryOp::Sub) => zip(i64::checked_sub),
            Op::Binary(BinaryOp::Mul) => match (known.int(inst.args[0]), known.int(inst.args[1])) {
                (_, Some(by)) => scaled(by, 0),
                (Some(by), None) => scaled(by, 1),
                (None, None) => None,
            },
            Op::Cast(DType::I64) | Op::Bitcast(DType::I64) if self.is_i64(inst.args[0]) => arg(0),
            Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) | Op::Unary(_) | Op::Binary(_) | Op::Fma => None,
            Op::Select | Op::Cast(_) | Op::Bitcast(_) | Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } => None,
            Op::Random { .. } | Op::Print { .. } => None,
        }
    }

    /// Whether a value has factors, which only 64-bit integers have.
    fn is_i64(&self, v: Val) -> bool {
        self.of(v).factors.is_some()
    }
}
