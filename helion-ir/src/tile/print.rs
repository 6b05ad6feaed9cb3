//! Tile IR to text, one instruction per line.
//!
//! In: any [`Function`], even one that does not verify. Out: text that [`super::parse`] reads back to an
//! equal function, provided that every value is defined at most once and memory operations have operands
//! enough to be written as such (the verifier demands both).
//!
//! A value without a position of its own has that of the instruction that defines it.

use super::types::*;
use crate::diag::Loc;
use crate::elementwise::BinaryOp;
use crate::text::write::{self, Names};
use crate::text::{write_param, write_symbols};
use std::collections::HashMap;
use std::fmt::{self, Write};

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims = Dims::new(self);
        let params = Names::new(self.params.iter().map(|p| p.name.as_str()));
        let mut p = Printer { func: self, out: f, dims, params, seen: vec![false; self.values.len()] };
        p.function()
    }
}

/// The operator of a size expression, if it has one.
pub(super) const fn operator(op: BinaryOp) -> Option<&'static str> {
    match op {
        BinaryOp::Add => Some("+"),
        BinaryOp::Sub => Some("-"),
        BinaryOp::Mul => Some("*"),
        BinaryOp::Div => Some("/"),
        BinaryOp::Rem => Some("%"),
        BinaryOp::Min | BinaryOp::Max | BinaryOp::Pow | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => None,
        BinaryOp::Shl | BinaryOp::Shr | BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le => None,
        BinaryOp::Gt | BinaryOp::Ge => None,
    }
}

/// Expressions with more leaves than this are written `expr(position)`.
const MAX_INLINE: u32 = 8;

/// Writes dims.
struct Dims<'a> {
    exprs: &'a [DimExpr],
    symbols: Names<'a>,
    tiles: Names<'a>,
    /// Whether an expression is written out where it is used: it is small, made of earlier ones, and the first
    /// of its kind in the table.
    inline: Vec<bool>,
}

impl<'a> Dims<'a> {
    fn new(func: &'a Function) -> Self {
        let mut leaves: Vec<u32> = Vec::with_capacity(func.exprs.len());
        let mut first = HashMap::new();
        let mut inline = Vec::with_capacity(func.exprs.len());
        for (i, e) in func.exprs.iter().enumerate() {
            let of = |d: Dim| match d {
                Dim::Const(_) | Dim::Symbol(_) | Dim::Tile(_) => 1,
                Dim::Expr(x) => leaves.get(x.index()).copied().unwrap_or(MAX_INLINE),
            };
            let n = of(e.lhs).saturating_add(of(e.rhs));
            leaves.push(n);
            let earlier = |d: Dim| !matches!(d, Dim::Expr(x) if x.index() >= i);
            let new = *first.entry(*e).or_insert(i) == i;
            inline.push(new && n <= MAX_INLINE && earlier(e.lhs) && earlier(e.rhs));
        }
        Dims {
            exprs: &func.exprs,
            symbols: Names::new(func.symbols.iter().map(|s| s.name.as_str())),
            tiles: Names::new(func.tiles.iter().map(|t| t.name.as_str())),
            inline,
        }
    }

    fn write(&self, f: &mut dyn Write, d: Dim) -> fmt::Result {
        match d {
            Dim::Const(n) => write!(f, "{n}"),
            Dim::Symbol(s) => {
                f.write_char('$')?;
                self.symbols.write(f, s.0)
            }
            Dim::Tile(t) => self.tiles.write(f, t.0),
            Dim::Expr(e) => match self.exprs.get(e.index()) {
                Some(x) if self.inline[e.index()] => self.expr(f, x),
                Some(_) | None => write!(f, "expr({})", e.0),
            },
        }
    }

    fn expr(&self, f: &mut dyn Write, e: &DimExpr) -> fmt::Result {
        let sign = operator(e.op);
        if sign.is_none() {
            f.write_str(e.op.name())?;
        }
        f.write_char('(')?;
        self.write(f, e.lhs)?;
        match sign {
            Some(s) => write!(f, " {s} ")?,
            None => f.write_str(", ")?,
        }
        self.write(f, e.rhs)?;
        f.write_char(')')
    }

    fn list(&self, f: &mut dyn Write, dims: &[Dim]) -> fmt::Result {
        f.write_char('[')?;
        write::list(f, dims, |f, d| self.write(f, *d))?;
        f.write_char(']')
    }
}

struct Printer<'a, 'f> {
    func: &'a Function,
    out: &'a mut fmt::Formatter<'f>,
    dims: Dims<'a>,
    params: Names<'a>,
    /// Values whose definition has been printed.
    seen: Vec<bool>,
}

impl Printer<'_, '_> {
    fn function(&mut self) -> fmt::Result {
        let func = self.func;
        self.out.write_str("tile ")?;
        write::name(self.out, &func.name)?;
        self.out.write_str(" {\n")?;
        write_symbols(self.out, &func.symbols)?;
        for t in &func.tiles {
            self.tile_var(t)?;
        }
        for e in &func.exprs {
            self.out.write_str("  expr ")?;
            self.dims.expr(self.out, e)?;
            self.out.write_str("\n")?;
        }
        for p in &func.params {
            let dims = &self.dims;
            write_param(self.out, p, |f, d| dims.write(f, *d))?;
        }
        self.out.write_str("  header {\n")?;
        for inst in &func.header {
            self.inst(inst, 2)?;
        }
        self.out.write_str("  }\n  body")?;
        self.region(&func.body, Loc::UNKNOWN, 1)?;
        self.out.write_str("\n")?;
        for i in 0..func.values.len() {
            if !self.seen[i] {
                self.out.write_str("  unused ")?;
                self.define(ValueId(i as u32), Loc::UNKNOWN)?;
                self.out.write_str("\n")?;
            }
        }
        self.out.write_str("}\n")
    }

    fn tile_var(&mut self, t: &TileVar) -> fmt::Result {
        self.out.write_str(if t.grid { "  grid " } else { "  loop " })?;
        write::name(self.out, &t.name)?;
        self.out.write_str(if t.unit { " unit in " } else { " in " })?;
        self.val(t.begin)?;
        self.out.write_str("..")?;
        self.val(t.end)?;
        write::loc(self.out, t.at)?;
        self.out.write_str("\n")
    }

    fn val(&mut self, v: ValueId) -> fmt::Result {
        write::value(self.out, v.0, self.func.values.get(v.index()).and_then(|x| x.name.as_deref()))
    }

    fn vals(&mut self, vals: &[ValueId]) -> fmt::Result {
        for (i, v) in vals.iter().enumerate() {
            self.out.write_str(if i == 0 { "" } else { ", " })?;
            self.val(*v)?;
        }
        Ok(())
    }

    /// A definition with its type, and its position where that is not `usual`.
    fn define(&mut self, v: ValueId, usual: Loc) -> fmt::Result {
        self.val(v)?;
        self.out.write_str(": ")?;
        let Some(x) = self.func.values.get(v.index()) else { return self.out.write_str("?") };
        self.seen[v.index()] = true;
        write!(self.out, "{}", x.ty.dtype)?;
        if !x.ty.shape.is_empty() {
            self.dims.list(self.out, &x.ty.shape)?;
        }
        match x.at == usual {
            true => Ok(()),
            false if x.at == Loc::UNKNOWN => self.out.write_str(" @\"\":0:0"),
            false => write::loc(self.out, x.at),
        }
    }

    fn definitions(&mut self, vals: &[ValueId], usual: Loc) -> fmt::Result {
        for (i, v) in vals.iter().enumerate() {
            self.out.write_str(if i == 0 { "" } else { ", " })?;
            self.define(*v, usual)?;
        }
        Ok(())
    }

    /// ` {`, lines, and a closing brace without newline.
    fn region(&mut self, r: &Region, at: Loc, depth: usize) -> fmt::Result {
        self.out.write_str(" {\n")?;
        if !r.params.is_empty() {
            write::indent(self.out, depth + 1)?;
            self.out.write_str("take ")?;
            self.definitions(&r.params, at)?;
            self.out.write_str("\n")?;
        }
        for inst in &r.body {
            self.inst(inst, depth + 1)?;
        }
        if !r.yields.is_empty() {
            write::indent(self.out, depth + 1)?;
            self.out.write_str("yield ")?;
            self.vals(&r.yields)?;
            self.out.write_str("\n")?;
        }
        write::indent(self.out, depth)?;
        self.out.write_str("}")
    }

    fn inst(&mut self, inst: &Inst, depth: usize) -> fmt::Result {
        write::indent(self.out, depth)?;
        if !inst.results.is_empty() {
            self.definitions(&inst.results, inst.at)?;
            self.out.write_str(" = ")?;
        }
        self.op(&inst.op, &inst.args)?;
        write::loc(self.out, inst.at)?;
        for (i, r) in inst.regions.iter().enumerate() {
            if i > 0 && inst.op == Op::If {
                self.out.write_str(" else")?;
            } else if i > 0 && inst.op == Op::While {
                self.out.write_str(" do")?;
            }
            self.region(r, inst.at, depth)?;
        }
        self.out.write_str("\n")
    }

    /// A word and the operands after it.
    fn word(&mut self, word: impl fmt::Display, args: &[ValueId]) -> fmt::Result {
        write!(self.out, "{word}{}", if args.is_empty() { "" } else { " " })?;
        self.vals(args)
    }

    fn named(&mut self, word: &str, param: ParamId, args: &[ValueId]) -> fmt::Result {
        write!(self.out, "{word} ")?;
        self.params.write(self.out, param.0)?;
        self.word("", args)
    }

    fn tile(&mut self, word: &str, tile: TileId, args: &[ValueId]) -> fmt::Result {
        write!(self.out, "{word} ")?;
        self.dims.tiles.write(self.out, tile.0)?;
        self.word("", args)
    }

    fn dim(&mut self, word: &str, dim: Dim, args: &[ValueId]) -> fmt::Result {
        write!(self.out, "{word} ")?;
        self.dims.write(self.out, dim)?;
        self.word("", args)
    }

    fn shaped(&mut self, word: &str, shape: &[Dim], args: &[ValueId]) -> fmt::Result {
        self.word(word, args)?;
        self.out.write_str(" to ")?;
        self.dims.list(self.out, shape)
    }

    /// A word, operands, an axis and whether it is walked from its end.
    fn along(&mut self, word: impl fmt::Display, axis: u32, reverse: bool, args: &[ValueId]) -> fmt::Result {
        self.word(word, args)?;
        write!(self.out, " axis {axis}{}", if reverse { " reverse" } else { "" })
    }

    fn op(&mut self, op: &Op, args: &[ValueId]) -> fmt::Result {
        match op {
            Op::Const(l) => {
                write!(self.out, "const {} ", l.dtype)?;
                write::literal(self.out, *l)?;
                self.word("", args)
            }
            Op::Extent(d) => self.dim("extent", *d, args),
            Op::Scalar(p) => self.named("scalar", *p, args),
            Op::TileBegin(t) => self.tile("tile_begin", *t, args),
            Op::TileEnd(t) => self.tile("tile_end", *t, args),
            Op::TileOrdinal(t) => self.tile("tile_ordinal", *t, args),
            Op::TileCount(t) => self.tile("tile_count", *t, args),
            Op::Iota(d) => self.dim("iota", *d, args),
            Op::Load { tensor, index } => self.load(*tensor, index, args),
            Op::Store { tensor, index } => self.update("store", *tensor, index, 1, args),
            Op::Atomic { op, tensor, index } => {
                self.out.write_str("atomic ")?;
                self.update(op.name(), *tensor, index, op.operands(), args)
            }
            Op::Unary(u) => self.word(u, args),
            Op::Binary(b) => self.word(b, args),
            Op::Select => self.word("select", args),
            Op::Cast(d) => self.word(format_args!("cast {d}"), args),
            Op::Bitcast(d) => self.word(format_args!("bitcast {d}"), args),
            Op::Broadcast(shape) => self.shaped("broadcast", shape, args),
            Op::Reshape(shape) => self.shaped("reshape", shape, args),
            Op::Permute(perm) => {
                self.word("permute", args)?;
                self.out.write_str(" by [")?;
                write::list(self.out, perm, |f, p| write!(f, "{p}"))?;
                self.out.write_str("]")
            }
            Op::Slice { axis, start, len } => {
                self.along("slice", *axis, false, args)?;
                self.out.write_str(" from ")?;
                self.dims.write(self.out, *start)?;
                self.out.write_str(" len ")?;
                self.dims.write(self.out, *len)
            }
            Op::Concat { axis } => self.along("concat", *axis, false, args),
            Op::Gather { axis } => self.along("gather", *axis, false, args),
            Op::Reduce { op, axis } => self.along(format_args!("reduce {}", op.name()), *axis, false, args),
            Op::ReduceWith { axis } => self.along("reduce_with", *axis, false, args),
            Op::Scan { op, axis, reverse } => self.along(format_args!("scan {}", op.name()), *axis, *reverse, args),
            Op::ScanWith { axis, reverse } => self.along("scan_with", *axis, *reverse, args),
            Op::Dot { acc } => self.word(format_args!("dot {acc}"), args),
            Op::Random { word } => self.word(format_args!("random {word}"), args),
            Op::Print { label } => {
                self.out.write_str("print ")?;
                write::string(self.out, label)?;
                self.word("", args)
            }
            Op::For { tiles } => {
                self.out.write_str("for [")?;
                write::list(self.out, tiles, |f, t| self.dims.tiles.write(f, t.0))?;
                self.word(if args.is_empty() { "]" } else { "] with" }, args)
            }
            Op::While => self.word("while", args),
            Op::If => self.word("if", args),
        }
    }

    fn access(&mut self, tensor: ParamId, index: &[Index]) -> fmt::Result {
        self.params.write(self.out, tensor.0)?;
        self.out.write_str("[")?;
        for (i, x) in index.iter().enumerate() {
            self.out.write_str(if i == 0 { "" } else { ", " })?;
            match x {
                Index::Tile(t, shift) => {
                    self.dims.tiles.write(self.out, t.0)?;
                    if let Some(v) = shift {
                        self.out.write_str(" + ")?;
                        self.val(*v)?;
                    }
                }
                Index::Full => self.out.write_str("..")?,
                Index::Scalar(v) => self.val(*v)?,
                Index::Gather(v) => {
                    self.out.write_str("gather ")?;
                    self.val(*v)?;
                }
            }
        }
        self.out.write_str("]")
    }

    fn load(&mut self, tensor: ParamId, index: &[Index], args: &[ValueId]) -> fmt::Result {
        if args.len() > 2 {
            return self.word("malformed load", args);
        }
        self.out.write_str("load ")?;
        self.access(tensor, index)?;
        for (word, v) in [" where ", " else "].iter().zip(args) {
            self.out.write_str(word)?;
            self.val(*v)?;
        }
        Ok(())
    }

    /// A store or atomic with `values` operands before its mask.
    fn update(&mut self, word: &str, tensor: ParamId, index: &[Index], values: usize, args: &[ValueId]) -> fmt::Result {
        let Some((values, mask)) = args.split_at_checked(values).filter(|(_, mask)| mask.len() <= 1) else {
            return self.word(format_args!("malformed {word}"), args);
        };
        write!(self.out, "{word} ")?;
        self.access(tensor, index)?;
        self.out.write_str(", ")?;
        self.vals(values)?;
        if let [mask] = mask {
            self.out.write_str(" where ")?;
            self.val(*mask)?;
        }
        Ok(())
    }
}
