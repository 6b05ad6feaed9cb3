//! The rules of shapes and element types: the one place that knows them.
//!
//! In: an operation, its operands and regions, in the tables of a function. Out: the types of its results,
//! or what is wrong in the user's words. The builder, the parser and the verifier all ask here. Any
//! input is answered: ids that do not exist are mistakes, not panics.

mod control;
mod elementwise;
mod guess;
mod memory;
mod shape;
#[cfg(test)]
mod tests;

use super::types::{AtomicOp, Dim, Function, Index, Op, ParamKind, ReduceOp, Region, Shape, Type, ValueId};
use crate::diag::{Diagnostic, Loc};
use crate::dtype::{DType, Literal};
use smallvec::{SmallVec, smallvec};

pub(super) use guess::guess;

/// The types of an operation's results, usually one.
pub type Types = SmallVec<[Type; 2]>;

/// The types of the results of `op` applied to `args` with `regions`, at `at` in the user's source.
///
/// Only the table of size expressions of `f` grows; nothing else changes.
///
/// # Errors
/// What does not fit, with advice.
pub fn infer(f: &mut Function, op: &Op, args: &[ValueId], regions: &[Region], at: Loc) -> Result<Types, Diagnostic> {
    let mut cx = Cx { f, op, args, at };
    cx.check_ids(regions)?;
    cx.check_counts(regions)?;
    cx.dispatch(regions)
}

impl Op {
    /// The word for the operation in messages.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Op::Const(_) => "constant",
            Op::Extent(_) => "size",
            Op::Scalar(_) => "scalar parameter",
            Op::TileBegin(_) => "begin",
            Op::TileEnd(_) => "end",
            Op::TileOrdinal(_) => "ordinal",
            Op::TileCount(_) => "count",
            Op::Iota(_) => "iota",
            Op::Load { .. } => "load",
            Op::Store { .. } => "store",
            Op::Atomic { op, .. } => match op {
                AtomicOp::Add => "atomic_add",
                AtomicOp::Max => "atomic_max",
                AtomicOp::Min => "atomic_min",
                AtomicOp::Exchange => "atomic_exchange",
                AtomicOp::CompareSwap => "atomic_compare_swap",
            },
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Select => "select",
            Op::Cast(_) => "cast",
            Op::Bitcast(_) => "bitcast",
            Op::Broadcast(_) => "broadcast",
            Op::Reshape(_) => "reshape",
            Op::Permute(_) => "permute",
            Op::Slice { .. } => "slice",
            Op::Concat { .. } => "concat",
            Op::Gather { .. } => "gather",
            Op::Reduce { op, .. } => reduce_word(*op),
            Op::ReduceWith { .. } => "reduce",
            Op::Scan { .. } => "scan",
            Op::ScanWith { .. } => "scan",
            Op::Dot { .. } => "dot",
            Op::Random { .. } => "random",
            Op::Print { .. } => "print",
            Op::For { .. } => "for",
            Op::While => "while",
            Op::If => "if",
        }
    }
}

/// The word for a reduction in messages.
const fn reduce_word(op: ReduceOp) -> &'static str {
    match op {
        ReduceOp::Sum => "sum",
        ReduceOp::Prod => "prod",
        ReduceOp::Max => "max",
        ReduceOp::Min => "min",
        ReduceOp::Any => "any",
        ReduceOp::All => "all",
        ReduceOp::ArgMax => "argmax",
        ReduceOp::ArgMin => "argmin",
    }
}

/// One question.
struct Cx<'a> {
    f: &'a mut Function,
    op: &'a Op,
    args: &'a [ValueId],
    at: Loc,
}

impl Cx<'_> {
    fn dispatch(&mut self, regions: &[Region]) -> Result<Types, Diagnostic> {
        let ty = match self.op {
            Op::Const(l) => {
                self.check_literal(*l)?;
                Type::scalar(l.dtype)
            }
            Op::Extent(_) | Op::TileBegin(_) | Op::TileEnd(_) | Op::TileOrdinal(_) | Op::TileCount(_) => {
                Type::scalar(DType::I64)
            }
            Op::Scalar(p) => match &self.f.params[p.index()].kind {
                ParamKind::Scalar { dtype } => Type::scalar(*dtype),
                ParamKind::Tensor { .. } => {
                    let name = &self.f.params[p.index()].name;
                    return Err(self.error(format!("`{name}` is a tensor where a scalar is needed")));
                }
            },
            Op::Iota(d) => Type::tile(DType::I64, [self.f.normal_dim(*d)]),
            Op::Load { tensor, index } => self.load(*tensor, index)?,
            Op::Store { tensor, index } => {
                self.store(*tensor, index)?;
                return Ok(Types::new());
            }
            Op::Atomic { op, tensor, index } => self.atomic(*op, *tensor, index)?,
            Op::Unary(op) => self.unary(*op)?,
            Op::Binary(op) => self.binary(*op)?,
            Op::Select => self.select()?,
            Op::Cast(to) => Type { dtype: *to, shape: self.shape(0) },
            Op::Bitcast(to) => self.bitcast(*to)?,
            Op::Random { word } => self.random(*word)?,
            Op::Broadcast(shape) => self.broadcast(shape)?,
            Op::Reshape(shape) => self.reshape(shape)?,
            Op::Permute(perm) => self.permute(perm)?,
            Op::Slice { axis, start, len } => self.slice(*axis, *start, *len)?,
            Op::Concat { axis } => self.concat(*axis)?,
            Op::Gather { axis } => self.gather(*axis)?,
            Op::Reduce { op, axis } => self.reduce(*op, *axis)?,
            Op::Scan { op, axis, .. } => self.scan(*op, *axis)?,
            Op::Dot { acc } => self.dot(*acc)?,
            Op::Print { .. } => return Ok(Types::new()),
            Op::ReduceWith { axis } => return self.combine(*axis, &regions[0], true),
            Op::ScanWith { axis, .. } => return self.combine(*axis, &regions[0], false),
            Op::For { tiles } => return self.for_loop(tiles, &regions[0]),
            Op::While => return self.while_loop(&regions[0], &regions[1]),
            Op::If => return self.branch(&regions[0], &regions[1]),
        };
        Ok(smallvec![ty])
    }

    /// Every id the question mentions exists, so that everything after may index the tables.
    fn check_ids(&self, regions: &[Region]) -> Result<(), Diagnostic> {
        let f = &*self.f;
        let in_regions = regions.iter().flat_map(|r| r.params.iter().chain(&r.yields)).copied();
        for v in self.args.iter().copied().chain(self.op.index_values()).chain(in_regions) {
            if v.index() >= f.values.len() {
                return Err(self.error(format!("value %{} does not exist", v.0)));
            }
        }
        for d in self.op.dims() {
            if !dim_exists(f, d) {
                return Err(self.error("a size that does not exist is used"));
            }
        }
        let tile = |t: &super::types::TileId| t.index() < f.tiles.len();
        let param = |p: &super::types::ParamId| p.index() < f.params.len();
        let entry = |i: &Index| match i {
            Index::Tile(t, _) => tile(t),
            Index::Full | Index::Scalar(_) | Index::Gather(_) => true,
        };
        let mut good = self.op.tile_asked().is_none_or(|t| tile(&t));
        good &= self.op.access().is_none_or(|a| param(&a.tensor) && a.index.iter().all(entry));
        if let Op::For { tiles } = self.op {
            good &= tiles.iter().all(tile);
        }
        if let Op::Scalar(p) = self.op {
            good &= param(p);
        }
        if good { Ok(()) } else { Err(self.error("a parameter or tile variable that does not exist is used")) }
    }

    fn check_literal(&self, l: Literal) -> Result<(), Diagnostic> {
        if Literal::from_bits(l.dtype, l.bits) != l || (l.dtype == DType::Bool && l.bits > 1) {
            return Err(self.error(format!("{:#x} is not a value of {}", l.bits, l.dtype)));
        }
        Ok(())
    }

    fn check_counts(&self, regions: &[Region]) -> Result<(), Diagnostic> {
        let (least, most, blocks) = match self.op {
            Op::Const(_)
            | Op::Extent(_)
            | Op::Scalar(_)
            | Op::TileBegin(_)
            | Op::TileEnd(_)
            | Op::TileOrdinal(_)
            | Op::TileCount(_)
            | Op::Iota(_) => (0, 0, 0),
            Op::Load { .. } => (0, 2, 0),
            Op::Store { .. } => (1, 2, 0),
            Op::Atomic { op: AtomicOp::CompareSwap, .. } => (2, 3, 0),
            Op::Atomic { .. } => (1, 2, 0),
            Op::Unary(_)
            | Op::Cast(_)
            | Op::Bitcast(_)
            | Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Reduce { .. }
            | Op::Scan { .. }
            | Op::Print { .. } => (1, 1, 0),
            Op::Binary(_) | Op::Gather { .. } | Op::Dot { .. } | Op::Random { .. } => (2, 2, 0),
            Op::Select => (3, 3, 0),
            Op::Concat { .. } => (1, usize::MAX, 0),
            Op::ReduceWith { .. } | Op::ScanWith { .. } => (1, usize::MAX, 1),
            Op::For { .. } => (0, usize::MAX, 1),
            Op::While => (0, usize::MAX, 2),
            Op::If => (1, 1, 2),
        };
        let (word, n) = (self.op.word(), self.args.len());
        if !(least..=most).contains(&n) {
            let takes = if least == most { least.to_string() } else { format!("at least {least}") };
            return Err(self.error(format!("`{word}` takes {takes} operands, {n} given")));
        }
        if regions.len() != blocks {
            return Err(self.error(format!("`{word}` has {blocks} regions, {} given", regions.len())));
        }
        Ok(())
    }

    fn ty(&self, i: usize) -> &Type {
        self.f.ty(self.args[i])
    }
    fn shape(&self, i: usize) -> Shape {
        self.ty(i).shape.clone()
    }
    fn dtype(&self, i: usize) -> DType {
        self.ty(i).dtype
    }

    fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.at, message)
    }

    /// The user's name of an operand in backticks, or its place.
    fn who(&self, i: usize) -> String {
        match self.name(i) {
            Some(name) => format!("`{name}`"),
            None => self.place(i),
        }
    }
    fn name(&self, i: usize) -> Option<&str> {
        self.f.values[self.args[i].index()].name.as_deref()
    }
    /// Which operand it is.
    fn place(&self, i: usize) -> String {
        let text = match (self.op, i) {
            (Op::Binary(_) | Op::Dot { .. }, 0) => "the left operand",
            (Op::Binary(_) | Op::Dot { .. }, 1) => "the right operand",
            (Op::Select, 0) => "the condition",
            (Op::Select, 1) => "the value where true",
            (Op::Select, 2) => "the value where false",
            (Op::Load { .. }, 0) => "the mask",
            (Op::Load { .. }, 1) => "the value for masked elements",
            (Op::Store { .. } | Op::Atomic { .. }, 0) => "the value",
            (Op::Atomic { op: AtomicOp::CompareSwap, .. }, 1) => "the expected value",
            (Op::Store { .. } | Op::Atomic { .. }, _) => "the mask",
            (Op::Gather { .. }, 1) => "the index",
            (Op::Random { .. }, 0) => "the seed",
            (Op::Random { .. }, 1) => "the counter",
            (Op::If, 0) => "the condition",
            _ if self.args.len() == 1 => "the operand",
            _ => return format!("operand {}", i + 1),
        };
        text.to_owned()
    }
    /// How a user would write a method call on an operand.
    fn call(&self, i: usize, method: &str) -> String {
        match self.name(i) {
            Some(name) => format!("write `{name}.{method}`"),
            None => format!("write `.{method}` after {}", self.place(i)),
        }
    }
    /// `` `row` is [tm, n] ``.
    fn is(&self, i: usize) -> String {
        format!("{} is {}", self.who(i), self.f.shape_name(&self.ty(i).shape))
    }
    /// Adds where the named operands were made, when that is another line.
    fn made_at(&self, mut d: Diagnostic, operands: &[usize]) -> Diagnostic {
        for &i in operands {
            let made = self.f.values[self.args[i].index()].at;
            let elsewhere = made.is_known() && (made.file, made.line) != (self.at.file, self.at.line);
            if let Some(name) = self.name(i).filter(|_| elsewhere) {
                d = d.label(made, format!("`{name}` is made here"));
            }
        }
        d
    }
}

/// Whether a dim's own id is in the tables.
pub(super) fn dim_exists(f: &Function, d: Dim) -> bool {
    match d {
        Dim::Const(_) => true,
        Dim::Symbol(s) => s.index() < f.symbols.len(),
        Dim::Tile(t) => t.index() < f.tiles.len(),
        Dim::Expr(e) => e.index() < f.exprs.len(),
    }
}
