//! Nests to vector programs.
//!
//! In: a nest. Out: a [`VectorNest`], that is a program for one axis of the nest and what the kernel must
//! do around it: loop over the other axes, compute what does not vary along the axis, fill the argument
//! block, call the program, and combine reduced values. `None` when the nest has no such form; the
//! kernel then runs it as scalar loops.
//!
//! An axis fits when along it every access has stride 1 or does not move, and every operation on what
//! varies exists for vectors. Parallel axes are tried from the innermost outwards (they may run in any
//! order); with reduce axes it must be the innermost one, and every carry must be a known reduction.

mod convert;
mod lanes;
mod memory;
mod operations;
mod reduce;

pub(super) use memory::Streaming;

use super::knobs::Knobs;
use super::vector::ir::{Program, Ty};
use helion_ir::dtype::{DType, Literal};
use helion_ir::loops::{Args, Function, Inst, Mem, Nest, Op, ParamId, ParamKind, ReduceOp, Stmt, Val};
use helion_ir::tile::{Dim, Layout};
use helion_ir::{BinaryOp, UnaryOp};
use std::collections::{HashMap, HashSet};

/// A program for one axis of a nest.
#[derive(Debug)]
pub(super) struct VectorNest {
    /// Position of the axis in the nest.
    pub axis: usize,
    /// What runs along it.
    pub program: Program,
    /// What each word of the argument block is.
    pub slots: Vec<Source>,
    /// Instructions of the body (by position) to run before each call, with the axis at 0.
    pub scalar: Vec<usize>,
    /// Index values (with the axis at 0) and their step: all of them must lie within 31 bits.
    pub narrow: Vec<(Val, i64)>,
    /// Whether the extent must lie within 31 bits.
    pub short: bool,
    /// How each carry ends up.
    pub carries: Vec<Carried>,
}

/// What a word of the argument block is filled with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// The address of an element.
    Address(Mem, Args),
    /// A value, in the lane type.
    Value(Val, Ty),
    /// `a - b`, clamped to `-1 ..= i32::MAX`.
    Limit(Val, Val),
    /// Bytes from the elements of this size that a nest covers to those that it covers in the next program
    /// instance, if they lie side by side.
    Ahead(usize),
    /// Nothing: the program writes it.
    Result,
}

/// What a carry is after a call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Carried {
    /// What it was before.
    Same,
    /// Combined with the result in a slot; `nan` is a slot that tells whether there was a NaN.
    Fold { op: ReduceOp, slot: usize, nan: Option<usize> },
}

/// How a value behaves along the axis.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// It does not vary.
    Same,
    /// An index that grows by this much per step.
    Affine(i64),
    /// It varies.
    Lane,
}

/// Facts about a function that every nest needs.
pub(super) struct Facts<'a> {
    f: &'a Function,
    /// Constants anywhere in the function.
    consts: HashMap<Val, Literal>,
    /// Tensors that something loads.
    loaded: HashSet<ParamId>,
    /// Knobs of the function.
    knobs: Knobs,
    /// Nests that are the last ones of a program instance to load tensors which others load before.
    last: Vec<(&'a Nest, Vec<ParamId>)>,
}

impl<'a> Facts<'a> {
    /// Collects them.
    pub(super) fn new(f: &'a Function) -> Facts<'a> {
        let mut consts = HashMap::new();
        note_consts(&f.header, &mut consts);
        note_stmts(&f.body, &mut consts);
        Facts { f, consts, loaded: memory::loaded(f), knobs: Knobs::of(&f.config), last: memory::last_loads(&f.body) }
    }

    /// Whether a tensor is loaded in a pass after the first one, so that its next part can be fetched meanwhile.
    pub(super) fn reads_again(&self) -> bool {
        !self.last.is_empty()
    }

    fn integer(&self, v: Val) -> Option<i64> {
        self.consts.get(&v).filter(|l| l.dtype == DType::I64).map(|l| l.to_i64())
    }

    /// Elements per step of each axis of a memory, where they are known; `None` for a scalar buffer.
    fn strides(&self, mem: Mem) -> Option<Vec<Option<i64>>> {
        let (layout, extents): (Layout, Vec<Option<i64>>) = match mem {
            Mem::Tensor(p) => match &self.f.params.get(p.index())?.kind {
                ParamKind::Tensor { dims, layout, .. } => {
                    let extent = |d: &Dim| match d {
                        Dim::Const(n) => Some(*n as i64),
                        Dim::Symbol(_) | Dim::Tile(_) | Dim::Expr(_) => None,
                    };
                    (*layout, dims.iter().map(extent).collect())
                }
                ParamKind::Scalar { .. } => return None,
            },
            Mem::Buffer(b) => {
                let dims = &self.f.buffers.get(b.index())?.dims;
                if dims.is_empty() {
                    return None;
                }
                (Layout::Contiguous, dims.iter().map(|d| self.integer(*d)).collect())
            }
        };
        let mut known = match layout {
            Layout::Contiguous | Layout::LastUnit => Some(1),
            Layout::Strided => None,
        };
        let mut strides = Vec::with_capacity(extents.len());
        for e in extents.iter().rev() {
            strides.push(known);
            known = match (layout, known, e) {
                (Layout::Contiguous, Some(s), Some(n)) => Some(s * n),
                _ => None,
            };
        }
        strides.reverse();
        Some(strides)
    }
}

fn note_consts(list: &[Inst], consts: &mut HashMap<Val, Literal>) {
    for inst in list {
        if let (Op::Const(l), Some(v)) = (&inst.op, inst.result) {
            consts.insert(v, *l);
        }
    }
}

fn note_stmts(list: &[Stmt], consts: &mut HashMap<Val, Literal>) {
    for s in list {
        match s {
            Stmt::Inst(i) => note_consts(std::slice::from_ref(i), consts),
            Stmt::For { body, .. } => note_stmts(body, consts),
            Stmt::While { cond, body, .. } => {
                note_stmts(cond, consts);
                note_stmts(body, consts);
            }
            Stmt::If { then, other, .. } => {
                note_stmts(then, consts);
                note_stmts(other, consts);
            }
            Stmt::Nest(n) => {
                note_consts(&n.body, consts);
                note_consts(&n.finals, consts);
            }
            Stmt::Contract(_) => {}
        }
    }
}

/// The forms a nest can take as a vector program, best first. The caller takes the first whose program
/// its instruction set supports.
pub(super) fn candidates<'a>(facts: &'a Facts<'a>, nest: &'a Nest) -> impl Iterator<Item = VectorNest> + 'a {
    let inner = nest.axes.len();
    let last = if nest.reduce > 0 { inner.saturating_sub(1) } else { 0 };
    (last..inner).rev().filter_map(move |axis| Analysis::new(facts, nest, axis)?.build())
}

/// One nest along one axis.
struct Analysis<'a> {
    facts: &'a Facts<'a>,
    nest: &'a Nest,
    axis: usize,
    kinds: HashMap<Val, Kind>,
    /// Which body instruction defines a value.
    defs: HashMap<Val, usize>,
}

impl<'a> Analysis<'a> {
    /// Classifies every value; `None` when something cannot be done with vectors at all.
    fn new(facts: &'a Facts<'a>, nest: &'a Nest, axis: usize) -> Option<Analysis<'a>> {
        let mut a = Analysis { facts, nest, axis, kinds: HashMap::new(), defs: HashMap::new() };
        a.kinds.insert(nest.axes[axis].var, Kind::Affine(1));
        for c in &nest.carries {
            a.kinds.insert(c.param, Kind::Lane);
        }
        for (i, inst) in nest.body.iter().enumerate() {
            let kind = a.classify(inst)?;
            if let Some(v) = inst.result {
                a.kinds.insert(v, kind);
                a.defs.insert(v, i);
            }
        }
        Some(a)
    }

    fn kind(&self, v: Val) -> Kind {
        self.kinds.get(&v).copied().unwrap_or(Kind::Same)
    }

    fn classify(&self, inst: &Inst) -> Option<Kind> {
        let all_same = inst.args.iter().all(|v| self.kind(*v) == Kind::Same);
        Some(match &inst.op {
            Op::Atomic { .. } | Op::Print { .. } => return None,
            Op::Store { .. } => Kind::Lane,
            Op::Load { mem, .. } if all_same => {
                if self.is_stored(*mem) {
                    return None;
                }
                Kind::Same
            }
            Op::Binary(op) if !all_same => self.affine(*op, inst.args[0], inst.args[1]).unwrap_or(Kind::Lane),
            Op::Select if self.kind(inst.args[0]) == Kind::Same => {
                match (self.kind(inst.args[1]), self.kind(inst.args[2])) {
                    (Kind::Affine(a), Kind::Affine(b)) if a == b => Kind::Affine(a),
                    (Kind::Same, Kind::Same) => Kind::Same,
                    _ => Kind::Lane,
                }
            }
            Op::Unary(UnaryOp::Neg) => match self.kind(inst.args[0]) {
                Kind::Affine(a) => Kind::Affine(-a),
                other => other,
            },
            Op::Const(_)
            | Op::Size(_)
            | Op::Dim(..)
            | Op::Scalar(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Fma
            | Op::Select
            | Op::Cast(_)
            | Op::Bitcast(_)
            | Op::Load { .. }
            | Op::Random { .. } => {
                if all_same {
                    Kind::Same
                } else {
                    Kind::Lane
                }
            }
        })
    }

    fn affine(&self, op: BinaryOp, a: Val, b: Val) -> Option<Kind> {
        let step = |v| match self.kind(v) {
            Kind::Same => Some(0),
            Kind::Affine(c) => Some(c),
            Kind::Lane => None,
        };
        if self.facts.f.dtype(a) != DType::I64 {
            return None;
        }
        let (ca, cb) = (step(a)?, step(b)?);
        match op {
            BinaryOp::Add => Some(Kind::Affine(ca.checked_add(cb)?)),
            BinaryOp::Sub => Some(Kind::Affine(ca.checked_sub(cb)?)),
            BinaryOp::Mul if cb == 0 => Some(Kind::Affine(ca.checked_mul(self.facts.integer(b)?)?)),
            BinaryOp::Mul if ca == 0 => Some(Kind::Affine(cb.checked_mul(self.facts.integer(a)?)?)),
            _ => None,
        }
    }

    fn is_stored(&self, mem: Mem) -> bool {
        self.nest.body.iter().any(|i| matches!(&i.op, Op::Store { mem: m, .. } if *m == mem))
    }

    /// Elements an access moves per step of the axis; `None` when that is not known.
    fn step(&self, mem: Mem, index: &[Val]) -> Option<i64> {
        let strides = self.facts.strides(mem)?;
        if strides.len() != index.len() {
            return None;
        }
        let mut total = 0i64;
        for (v, s) in index.iter().zip(strides) {
            match self.kind(*v) {
                Kind::Same | Kind::Affine(0) => {}
                Kind::Affine(c) => total = total.checked_add(c.checked_mul(s?)?)?,
                Kind::Lane => return None,
            }
        }
        Some(total)
    }

    /// Builds the program.
    fn build(self) -> Option<VectorNest> {
        lanes::Emitter::new(self).run()
    }
}
