//! The type rules of scalar instructions.

use super::Verifier;
use crate::diag::Loc;
use crate::dtype::{Class, DType, Literal};
use crate::elementwise::Rule;
use crate::loops::types::*;
use crate::text::write;
use smallvec::SmallVec;
use std::fmt::{self, Display};

/// Whether an op may stand in the header: it only computes from sizes and scalar parameters.
pub(super) fn allowed_in_header(op: &Op) -> bool {
    match op {
        Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) | Op::Unary(_) | Op::Binary(_) => true,
        Op::Fma | Op::Select | Op::Cast(_) | Op::Bitcast(_) => true,
        Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } | Op::Random { .. } | Op::Print { .. } => false,
    }
}

/// The word of an op, for messages.
pub(super) fn name(op: &Op) -> &'static str {
    match op {
        Op::Const(_) => "const",
        Op::Size(_) => "size",
        Op::Dim(..) => "dim",
        Op::Scalar(_) => "scalar",
        Op::Unary(u) => u.name(),
        Op::Binary(b) => b.name(),
        Op::Fma => "fma",
        Op::Select => "select",
        Op::Cast(_) => "cast",
        Op::Bitcast(_) => "bitcast",
        Op::Load { .. } => "load",
        Op::Store { .. } => "store",
        Op::Atomic { .. } => "atomic",
        Op::Random { .. } => "random",
        Op::Print { .. } => "print",
    }
}

/// Whether the bits are those of a value of the type.
fn is_canonical(l: Literal) -> bool {
    Literal::from_bits(l.dtype, l.bits) == l && (l.dtype != DType::Bool || l.bits <= 1)
}

/// An instruction in messages: `` `add` into %5.x ``.
#[derive(Clone, Copy)]
struct Subject<'a> {
    func: &'a Function,
    inst: &'a Inst,
}

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", name(&self.inst.op))?;
        let Some(r) = self.inst.result else { return Ok(()) };
        f.write_str(" into ")?;
        write::value(f, r.0, self.func.values.get(r.index()).and_then(|v| v.name.as_deref()))
    }
}

/// One instruction under check.
struct Check<'v, 'a> {
    v: &'v mut Verifier<'a>,
    at: Loc,
    what: Subject<'a>,
    /// The operands' types; `None` where the operand is wrong in itself.
    types: SmallVec<[Option<DType>; 6]>,
}

impl<'a> Verifier<'a> {
    /// Checks an instruction and brings its result into scope.
    pub(super) fn inst(&mut self, inst: &'a Inst) {
        let what = Subject { func: self.func, inst };
        let types = inst.args.iter().map(|a| self.used(*a, inst.at, &what)).collect();
        let mut check = Check { v: self, at: inst.at, what, types };
        let result = check.op(&inst.op, &inst.args);
        let (at, what) = (check.at, check.what);
        match (inst.result, result) {
            (Some(r), Some(Some(d))) => self.define_as(r, d, at, &what),
            // The operands are wrong and reported; what the result should be is not known.
            (Some(r), Some(None)) => self.define(r, at, &what),
            (None, Some(_)) => self.error(at, format!("{what} has a result, but none is defined")),
            (Some(_), None) => self.error(at, format!("{what}: this instruction has no result")),
            (None, None) => {}
        }
        if let (Op::Const(l), Some(r)) = (&inst.op, inst.result)
            && l.dtype == DType::I64
            && let Some(c) = self.consts.get_mut(r.index())
        {
            *c = Some(l.bits as i64);
        }
    }

    /// Element type, rank, and whether it may be written, of what an access names.
    pub(super) fn memory(&mut self, mem: Mem, at: Loc, what: &dyn Display) -> Option<(DType, usize, bool)> {
        let func = self.func;
        match mem {
            Mem::Tensor(p) => match func.params.get(p.index()).map(|p| &p.kind) {
                Some(ParamKind::Tensor { dtype, dims, mutable, .. }) => Some((*dtype, dims.len(), *mutable)),
                Some(ParamKind::Scalar { .. }) => {
                    self.error(at, format!("{what}: parameter `{}` is not a tensor", func.params[p.index()].name));
                    None
                }
                None => {
                    self.error(at, format!("{what}: there is no parameter {}", p.0));
                    None
                }
            },
            Mem::Buffer(b) => match func.buffers.get(b.index()) {
                Some(buffer) => Some((buffer.dtype, buffer.dims.len(), true)),
                None => {
                    self.error(at, format!("{what}: there is no buffer {}", b.0));
                    None
                }
            },
        }
    }

    /// What an access names, as printed.
    pub(super) fn show_mem(&self, mem: Mem) -> String {
        let named = |f: &mut String, name: Option<&str>| write::name(f, name.unwrap_or("?"));
        match mem {
            Mem::Tensor(p) => write::text(|f| named(f, self.func.params.get(p.index()).map(|p| p.name.as_str()))),
            Mem::Buffer(b) => {
                let name = self.func.buffers.get(b.index()).map(|b| b.name.as_str());
                format!("&{}", write::text(|f| named(f, name)))
            }
        }
    }
}

impl Check<'_, '_> {
    fn error(&mut self, message: impl std::fmt::Display) {
        let text = format!("{}: {message}", self.what);
        self.v.error(self.at, text);
    }

    /// Checks the number of operands.
    fn arity(&mut self, n: usize) -> bool {
        let found = self.types.len();
        if found != n {
            self.error(format_args!("expected {n} operand{}, found {found}", if n == 1 { "" } else { "s" }));
        }
        found == n
    }

    /// Checks that operand `i` has a given type.
    fn is(&mut self, i: usize, dtype: DType, role: &str) {
        if let Some(Some(d)) = self.types.get(i).copied().filter(|d| *d != Some(dtype)) {
            self.error(format_args!("{role} must be {dtype}, not {d}"));
        }
    }

    /// The common type of operands `from..`; `None` if unknown or different.
    fn same(&mut self, from: usize) -> Option<DType> {
        let known: SmallVec<[DType; 4]> = self.types[from..].iter().filter_map(|d| *d).collect();
        let first = *known.first()?;
        if let Some(other) = known.iter().find(|d| **d != first) {
            self.error(format_args!("the operands have different types, {first} and {other}"));
            return None;
        }
        Some(first)
    }

    /// The result type of `inst`: `None` where it has no result, `Some(None)` where it cannot be told.
    fn op(&mut self, op: &Op, args: &[Val]) -> Option<Option<DType>> {
        match op {
            Op::Const(l) => {
                self.arity(0);
                if !is_canonical(*l) {
                    self.error(format_args!("the bits 0x{:x} are no value of type {}", l.bits, l.dtype));
                }
                Some(Some(l.dtype))
            }
            Op::Size(s) => {
                self.arity(0);
                if s.index() >= self.v.func.symbols.len() {
                    self.error(format_args!("there is no size symbol {}", s.0));
                }
                Some(Some(DType::I64))
            }
            Op::Dim(p, axis) => {
                self.arity(0);
                let (at, what) = (self.at, self.what);
                if let Some((_, rank, _)) = self.v.memory(Mem::Tensor(*p), at, &what)
                    && *axis as usize >= rank
                {
                    self.error(format_args!("axis {axis} of a tensor with {rank} axes"));
                }
                Some(Some(DType::I64))
            }
            Op::Scalar(p) => {
                self.arity(0);
                Some(self.scalar(*p))
            }
            Op::Unary(u) => Some(self.table(u.rule(), 1)),
            Op::Binary(b) => Some(self.table(b.rule(), 2)),
            Op::Fma => Some(self.table(Rule::Num, 3)),
            Op::Select => Some(self.arity(3).then(|| self.select()).flatten()),
            Op::Cast(d) => {
                self.arity(1);
                Some(Some(*d))
            }
            Op::Bitcast(d) => {
                if self.arity(1)
                    && let Some(from) = self.types[0]
                    && (from.size() != d.size() || (*d == DType::Bool && from != DType::Bool))
                {
                    self.error(format_args!("the bits of {from} cannot be taken as {d}"));
                }
                Some(Some(*d))
            }
            Op::Load { mem, masked } => Some(self.load(*mem, *masked)),
            Op::Store { mem, masked } => {
                self.update(*mem, 1, *masked, false);
                None
            }
            Op::Atomic { op, mem, masked } => Some(self.atomic(*op, *mem, *masked)),
            Op::Random { word } => {
                if *word > 3 {
                    self.error(format_args!("there are words 0 to 3, not {word}"));
                }
                if self.arity(2) {
                    if let Some(d) = self.types[0].filter(|d| !matches!(d, DType::U64 | DType::I64)) {
                        self.error(format_args!("the seed must be u64 or i64, not {d}"));
                    }
                    self.is(1, DType::I64, "the counter");
                }
                Some(Some(DType::U32))
            }
            Op::Print { .. } => {
                if args.is_empty() {
                    self.error("expected a value to print");
                }
                for i in 1..args.len() {
                    self.is(i, DType::I64, "a coordinate");
                }
                None
            }
        }
    }

    fn scalar(&mut self, p: ParamId) -> Option<DType> {
        match self.v.func.params.get(p.index()).map(|p| &p.kind) {
            Some(ParamKind::Scalar { dtype }) => Some(*dtype),
            Some(ParamKind::Tensor { .. }) => {
                self.error(format_args!("parameter {} is a tensor, not a scalar", p.0));
                None
            }
            None => {
                self.error(format_args!("there is no parameter {}", p.0));
                None
            }
        }
    }

    /// An operation of the elementwise tables.
    fn table(&mut self, rule: Rule, arity: usize) -> Option<DType> {
        if !self.arity(arity) {
            return None;
        }
        let d = self.same(0)?;
        if !rule.accepts(d) {
            self.error(format_args!("takes {}, not {d}", rule.words()));
            return None;
        }
        Some(rule.result(d))
    }

    fn select(&mut self) -> Option<DType> {
        self.is(0, DType::Bool, "the mask");
        self.same(1)
    }

    /// Checks indices `from..to` against the rank of `mem`; the element type and whether it may be written.
    fn access(&mut self, mem: Mem, from: usize, to: usize) -> Option<(DType, bool)> {
        let (at, what) = (self.at, self.what);
        let (dtype, rank, writable) = self.v.memory(mem, at, &what)?;
        if to - from != rank {
            let name = self.v.show_mem(mem);
            self.error(format_args!("{name} has {rank} axes, but {} indices are given", to - from));
        }
        for i in from..to {
            self.is(i, DType::I64, "an index");
        }
        Some((dtype, writable))
    }

    fn load(&mut self, mem: Mem, masked: bool) -> Option<DType> {
        let Some(indices) = self.types.len().checked_sub(if masked { 2 } else { 0 }) else {
            self.error("a masked load ends with a mask and the value read where it is false");
            return None;
        };
        let (dtype, _) = self.access(mem, 0, indices)?;
        if masked {
            self.is(indices, DType::Bool, "the mask");
            self.is(indices + 1, dtype, "the value read where the mask is false");
        }
        Some(dtype)
    }

    /// A store or atomic with `values` operands before the indices; the element type.
    fn update(&mut self, mem: Mem, values: usize, masked: bool, atomic: bool) -> Option<DType> {
        let Some(end) = self.types.len().checked_sub(usize::from(masked)).filter(|n| *n >= values) else {
            self.error("too few operands");
            return None;
        };
        let (dtype, writable) = self.access(mem, values, end)?;
        if !writable {
            let name = self.v.show_mem(mem);
            self.error(format_args!("{name} is not declared `mut`"));
        }
        if atomic && let Mem::Buffer(_) = mem {
            self.error("atomics apply to tensors, not to buffers");
        }
        for i in 0..values {
            self.is(i, dtype, "the value written");
        }
        if masked {
            self.is(end, DType::Bool, "the mask");
        }
        Some(dtype)
    }

    fn atomic(&mut self, op: AtomicOp, mem: Mem, masked: bool) -> Option<DType> {
        let dtype = self.update(mem, op.operands(), masked, true)?;
        let numbers = match op {
            AtomicOp::Add | AtomicOp::Max | AtomicOp::Min => true,
            AtomicOp::Exchange | AtomicOp::CompareSwap => false,
        };
        if numbers && matches!(dtype.class(), Class::Bool | Class::Storage) {
            self.error(format_args!("atomic {} takes numbers, not {dtype}", op.name()));
        }
        Some(dtype)
    }
}
