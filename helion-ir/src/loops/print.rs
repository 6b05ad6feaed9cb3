//! Loop IR to text, one instruction per line.
//!
//! In: any [`Function`], even one that does not verify. Out: text that [`super::parse`] reads back to an
//! equal function, provided that every value is defined at most once, every access has enough operands to be
//! written as one, and the header has no access (the verifier demands all of that).

use super::types::*;
use crate::config::Slot;
use crate::dtype::DType;
use crate::text::write::{self, Names};
use crate::text::{write_param, write_symbols};
use crate::tile::Dim;
use std::fmt::{self, Write};

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params = Names::new(self.params.iter().map(|p| p.name.as_str()));
        let symbols = Names::new(self.symbols.iter().map(|s| s.name.as_str()));
        let buffers = Names::new(self.buffers.iter().map(|b| b.name.as_str()));
        let mut p = Printer { func: self, f, params, symbols, buffers, seen: vec![false; self.values.len()] };
        p.function()
    }
}

struct Printer<'a, 'f> {
    func: &'a Function,
    f: &'a mut fmt::Formatter<'f>,
    params: Names<'a>,
    symbols: Names<'a>,
    buffers: Names<'a>,
    /// Values whose definition has been printed.
    seen: Vec<bool>,
}

impl Printer<'_, '_> {
    fn function(&mut self) -> fmt::Result {
        let func = self.func;
        self.f.write_str("loops ")?;
        write::name(self.f, &func.name)?;
        self.f.write_str(" {\n")?;
        self.config()?;
        write_symbols(self.f, &func.symbols)?;
        for p in &func.params {
            let symbols = &self.symbols;
            write_param(self.f, p, |f, d| match d {
                Dim::Const(n) => write!(f, "{n}"),
                Dim::Symbol(s) => {
                    f.write_str("$")?;
                    symbols.write(f, s.0)
                }
                Dim::Tile(_) | Dim::Expr(_) => f.write_str("?"),
            })?;
        }
        self.f.write_str("  header {\n")?;
        for inst in &func.header {
            self.inst(inst, 2)?;
        }
        self.f.write_str("  }\n")?;
        for b in &func.buffers {
            self.f.write_str("  buffer ")?;
            write::name(self.f, &b.name)?;
            write!(self.f, ": {}[", b.dtype)?;
            self.vals(&b.dims)?;
            self.f.write_str("]\n")?;
        }
        for axis in &func.grid {
            self.f.write_str("  grid ")?;
            write::name(self.f, &axis.name)?;
            self.f.write_str(" for ")?;
            self.define(axis.index, DType::I64)?;
            self.f.write_str(" in 0..")?;
            self.val(axis.count)?;
            self.f.write_str("\n")?;
        }
        self.f.write_str("  body {\n")?;
        self.block(&func.body, 2)?;
        self.f.write_str("  }\n")?;
        self.unused()?;
        self.f.write_str("}\n")
    }

    fn config(&mut self) -> fmt::Result {
        if self.func.config.is_empty() {
            return Ok(());
        }
        self.f.write_str("  config")?;
        for (Slot { knob, of }, v) in self.func.config.iter() {
            write!(self.f, " {}", knob.key())?;
            if !of.is_empty() {
                self.f.write_str(".")?;
                write::name(self.f, of)?;
            }
            write!(self.f, "={v}")?;
        }
        self.f.write_str("\n")
    }

    /// Values that nothing defines, so that the table reads back whole.
    fn unused(&mut self) -> fmt::Result {
        for i in 0..self.func.values.len() {
            if !self.seen[i] {
                self.f.write_str("  unused ")?;
                self.typed(Val(i as u32))?;
                self.f.write_str("\n")?;
            }
        }
        Ok(())
    }

    fn val(&mut self, v: Val) -> fmt::Result {
        write::value(self.f, v.0, self.func.values.get(v.index()).and_then(|x| x.name.as_deref()))
    }

    fn vals(&mut self, vals: &[Val]) -> fmt::Result {
        for (i, v) in vals.iter().enumerate() {
            if i > 0 {
                self.f.write_str(", ")?;
            }
            self.val(*v)?;
        }
        Ok(())
    }

    /// A definition with its type.
    fn typed(&mut self, v: Val) -> fmt::Result {
        self.val(v)?;
        match self.func.values.get(v.index()) {
            Some(x) => {
                self.seen[v.index()] = true;
                write!(self.f, ": {}", x.dtype)
            }
            None => self.f.write_str(": ?"),
        }
    }

    /// A definition whose type is written only where it is not the usual one.
    fn define(&mut self, v: Val, usual: DType) -> fmt::Result {
        match self.func.values.get(v.index()) {
            Some(x) if x.dtype == usual => {
                self.seen[v.index()] = true;
                self.val(v)
            }
            Some(_) | None => self.typed(v),
        }
    }

    fn block(&mut self, stmts: &[Stmt], depth: usize) -> fmt::Result {
        stmts.iter().try_for_each(|s| self.stmt(s, depth))
    }

    fn line(&mut self, depth: usize, text: &str) -> fmt::Result {
        write::indent(self.f, depth)?;
        self.f.write_str(text)
    }

    fn stmt(&mut self, stmt: &Stmt, depth: usize) -> fmt::Result {
        match stmt {
            Stmt::Inst(inst) => self.inst(inst, depth),
            Stmt::For { var, begin, end, step, body } => {
                self.line(depth, "for ")?;
                self.define(*var, DType::I64)?;
                self.f.write_str(" in ")?;
                self.val(*begin)?;
                self.f.write_str("..")?;
                self.val(*end)?;
                self.f.write_str(" step ")?;
                self.val(*step)?;
                self.f.write_str(" {\n")?;
                self.block(body, depth + 1)?;
                self.line(depth, "}\n")
            }
            Stmt::While { cond, test, body } => {
                self.line(depth, "while {\n")?;
                self.block(cond, depth + 1)?;
                self.line(depth, "} test ")?;
                self.val(*test)?;
                self.f.write_str(" {\n")?;
                self.block(body, depth + 1)?;
                self.line(depth, "}\n")
            }
            Stmt::If { cond, then, other } => {
                self.line(depth, "if ")?;
                self.val(*cond)?;
                self.f.write_str(" {\n")?;
                self.block(then, depth + 1)?;
                if !other.is_empty() {
                    self.line(depth, "} else {\n")?;
                    self.block(other, depth + 1)?;
                }
                self.line(depth, "}\n")
            }
            Stmt::Nest(nest) => self.nest(nest, depth),
            Stmt::Contract(contract) => self.contract(contract, depth),
        }
    }

    fn bound(&mut self, bound: Option<u64>) -> fmt::Result {
        bound.map_or(Ok(()), |b| write!(self.f, " <= {b}"))
    }

    fn nest(&mut self, nest: &Nest, depth: usize) -> fmt::Result {
        self.line(depth, "nest {\n")?;
        let parallel = nest.axes.len().saturating_sub(nest.reduce);
        for (i, axis) in nest.axes.iter().enumerate() {
            self.line(depth + 1, "for ")?;
            self.define(axis.var, DType::I64)?;
            self.f.write_str(" in 0..")?;
            self.val(axis.extent)?;
            self.bound(axis.bound)?;
            self.f.write_str(if i < parallel { " (parallel)\n" } else { " (reduce)\n" })?;
        }
        for carry in &nest.carries {
            self.line(depth + 1, "carry ")?;
            self.typed(carry.param)?;
            self.f.write_str(" from ")?;
            self.val(carry.init)?;
            self.f.write_str(" next ")?;
            self.val(carry.next)?;
            self.f.write_str(" result ")?;
            match self.func.values.get(carry.param.index()) {
                Some(v) => self.define(carry.result, v.dtype)?,
                None => self.typed(carry.result)?,
            }
            if let Some(op) = carry.op {
                write!(self.f, " ({})", op.name())?;
            }
            self.f.write_str("\n")?;
        }
        self.line(depth + 1, "body {\n")?;
        for inst in &nest.body {
            self.inst(inst, depth + 2)?;
        }
        self.line(depth + 1, "}\n")?;
        if !nest.finals.is_empty() {
            self.line(depth + 1, "finals {\n")?;
            for inst in &nest.finals {
                self.inst(inst, depth + 2)?;
            }
            self.line(depth + 1, "}\n")?;
        }
        self.line(depth, "}\n")
    }

    fn extent(&mut self, e: &Extent) -> fmt::Result {
        self.val(e.extent)?;
        self.bound(e.bound)
    }

    fn contract(&mut self, c: &Contract, depth: usize) -> fmt::Result {
        self.line(depth, "contract ")?;
        self.mem(Mem::Buffer(c.acc))?;
        self.f.write_str("[")?;
        for (i, e) in c.batch.iter().chain([&c.m, &c.n]).enumerate() {
            if i > 0 {
                self.f.write_str(", ")?;
            }
            self.extent(e)?;
        }
        self.f.write_str(if c.accumulate { "] += sum " } else { "] = sum " })?;
        self.extent(&c.k)?;
        write::loc(self.f, c.at)?;
        self.f.write_str("\n")?;
        self.operand("lhs", &c.lhs, depth + 1)?;
        self.operand("rhs", &c.rhs, depth + 1)
    }

    fn operand(&mut self, side: &str, o: &Operand, depth: usize) -> fmt::Result {
        self.line(depth, side)?;
        self.f.write_str(" ")?;
        self.access(o.mem, &o.origin)?;
        self.f.write_str(" batch [")?;
        let axis = |f: &mut dyn Write, a: Option<u32>| match a {
            Some(a) => write!(f, "{a}"),
            None => f.write_str("_"),
        };
        write::list(self.f, o.batch.iter(), |f, a| axis(f, *a))?;
        self.f.write_str("] row ")?;
        axis(self.f, o.row)?;
        self.f.write_str(" col ")?;
        axis(self.f, o.col)?;
        self.f.write_str("\n")
    }

    fn mem(&mut self, mem: Mem) -> fmt::Result {
        match mem {
            Mem::Tensor(p) => self.params.write(self.f, p.0),
            Mem::Buffer(b) => {
                self.f.write_str("&")?;
                self.buffers.write(self.f, b.0)
            }
        }
    }

    fn access(&mut self, mem: Mem, index: &[Val]) -> fmt::Result {
        self.mem(mem)?;
        self.f.write_str("[")?;
        self.vals(index)?;
        self.f.write_str("]")
    }

    fn inst(&mut self, inst: &Inst, depth: usize) -> fmt::Result {
        write::indent(self.f, depth)?;
        if let Some(r) = inst.result {
            self.typed(r)?;
            self.f.write_str(" = ")?;
        }
        self.op(&inst.op, &inst.args)?;
        write::loc(self.f, inst.at)?;
        self.f.write_str("\n")
    }

    /// A word and the operands after it.
    fn word(&mut self, word: impl fmt::Display, args: &[Val]) -> fmt::Result {
        write!(self.f, "{word}")?;
        if !args.is_empty() {
            self.f.write_str(" ")?;
        }
        self.vals(args)
    }

    fn op(&mut self, op: &Op, args: &[Val]) -> fmt::Result {
        match op {
            Op::Const(l) => {
                write!(self.f, "const {} ", l.dtype)?;
                write::literal(self.f, *l)?;
                self.word("", args)
            }
            Op::Size(s) => {
                self.f.write_str("size $")?;
                self.symbols.write(self.f, s.0)?;
                self.word("", args)
            }
            Op::Dim(p, axis) => {
                self.f.write_str("dim ")?;
                self.params.write(self.f, p.0)?;
                self.word(format_args!(", {axis}"), args)
            }
            Op::Scalar(p) => {
                self.f.write_str("scalar ")?;
                self.params.write(self.f, p.0)?;
                self.word("", args)
            }
            Op::Unary(u) => self.word(u, args),
            Op::Binary(b) => self.word(b, args),
            Op::Fma => self.word("fma", args),
            Op::Select => self.word("select", args),
            Op::Cast(d) => self.word(format_args!("cast {d}"), args),
            Op::Bitcast(d) => self.word(format_args!("bitcast {d}"), args),
            Op::Random { word } => self.word(format_args!("random {word}"), args),
            Op::Print { label } => {
                self.f.write_str("print ")?;
                write::string(self.f, label)?;
                self.word("", args)
            }
            Op::Load { mem, masked } => self.load(*mem, *masked, args),
            Op::Store { mem, masked } => self.update("store", *mem, 1, *masked, args),
            Op::Atomic { op, mem, masked } => {
                let values = op.operands();
                self.f.write_str("atomic ")?;
                self.update(op.name(), *mem, values, *masked, args)
            }
        }
    }

    fn load(&mut self, mem: Mem, masked: bool, args: &[Val]) -> fmt::Result {
        let split = args.len().checked_sub(if masked { 2 } else { 0 });
        let Some(split) = split else { return self.word("malformed masked load", args) };
        self.f.write_str("load ")?;
        self.access(mem, &args[..split])?;
        if masked {
            self.f.write_str(" where ")?;
            self.val(args[split])?;
            self.f.write_str(" else ")?;
            self.val(args[split + 1])?;
        }
        Ok(())
    }

    /// A store or atomic with `values` operands before its indices.
    fn update(&mut self, word: &str, mem: Mem, values: usize, masked: bool, args: &[Val]) -> fmt::Result {
        if args.len() < values + usize::from(masked) {
            return self.word(format_args!("malformed {word}"), args);
        }
        write!(self.f, "{word} ")?;
        let last = args.len() - usize::from(masked);
        self.access(mem, &args[values..last])?;
        self.f.write_str(", ")?;
        self.vals(&args[..values])?;
        if masked {
            self.f.write_str(" where ")?;
            self.val(args[last])?;
        }
        Ok(())
    }
}
