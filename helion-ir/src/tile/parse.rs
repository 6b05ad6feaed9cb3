//! Text to tile IR.
//!
//! In: any text. Out: the [`Function`] that prints as that text, or a [`Diagnostic`] with line and column. The
//! result is well formed as a table (every value, tile variable and expression that is named exists) but not
//! verified.

use super::print::operator;
use super::types::*;
use crate::diag::{Diagnostic, Loc};
use crate::elementwise::{BinaryOp, UnaryOp};
use crate::text::{self, Cursor, Read, Tok, Values};
use std::collections::HashMap;

/// Reads one printed function.
///
/// # Errors
/// The first mistake, with line and column in the text.
pub fn parse(text: &str) -> Result<Function, Diagnostic> {
    let c = Cursor::new(text)?;
    let values = Values::new(c.len());
    let func = Function {
        name: String::new(),
        params: Vec::new(),
        symbols: Vec::new(),
        exprs: Vec::new(),
        tiles: Vec::new(),
        values: Vec::new(),
        header: Vec::new(),
        body: Region::default(),
    };
    let sizes = Sizes { known: HashMap::new(), forward: Vec::new() };
    let mut p = Parser { c, values, func, sizes };
    p.function()?;
    let Parser { values, mut func, sizes, .. } = p;
    for (id, at) in sizes.forward {
        if id as usize >= func.exprs.len() {
            return Err(Diagnostic::new(at, format!("there is no expression {id}")));
        }
    }
    func.values = values.finish(|v| v.name.as_deref())?;
    Ok(func)
}

/// Size expressions by their content, and uses of ones by position.
struct Sizes {
    known: HashMap<DimExpr, ExprId>,
    forward: Vec<(u32, Loc)>,
}

struct Parser<'a> {
    c: Cursor<'a>,
    values: Values<Value>,
    /// What has been read of the head; its values come last.
    func: Function,
    sizes: Sizes,
}

/// A value whose type is read and whose position may depend on what follows.
struct Definition {
    id: u32,
    name: Option<String>,
    ty: Type,
    at: Option<Loc>,
    /// Where in the text.
    here: Loc,
}

impl Parser<'_> {
    fn function(&mut self) -> Read<()> {
        self.c.expect_word("tile")?;
        self.func.name = self.c.name("the kernel's name")?;
        self.c.expect("{")?;
        self.func.symbols = text::symbol_list(&mut self.c)?;
        while self.c.sees_word("grid") || self.c.sees_word("loop") {
            self.tile_var()?;
        }
        while self.c.eat_word("expr") {
            let e = self.expr()?;
            let id = ExprId(self.func.exprs.len() as u32);
            self.func.exprs.push(e);
            self.sizes.known.entry(e).or_insert(id);
        }
        while self.c.eat_word("param") {
            let p = self.param()?;
            self.func.params.push(p);
        }
        if self.c.eat_word("header") {
            self.c.expect("{")?;
            while !self.c.eat("}") {
                let inst = self.inst()?;
                self.func.header.push(inst);
            }
        }
        self.c.expect_word("body")?;
        self.func.body = self.region(Loc::UNKNOWN)?;
        while self.c.eat_word("unused") {
            let d = self.definition()?;
            self.define(d, Loc::UNKNOWN)?;
        }
        self.c.expect("}")?;
        self.c.end()
    }

    fn tile_var(&mut self) -> Read<()> {
        let grid = self.c.eat_word("grid");
        if !grid {
            self.c.expect_word("loop")?;
        }
        let name = self.c.name("the name of a tile variable")?;
        let unit = self.c.eat_word("unit");
        self.c.expect_word("in")?;
        let begin = self.val()?;
        self.c.expect("..")?;
        let end = self.val()?;
        let at = self.c.position();
        self.func.tiles.push(TileVar { name, unit, begin, end, grid, at });
        Ok(())
    }

    fn param(&mut self) -> Read<Param> {
        text::param(self, |p| &mut p.c, Self::dims)
    }

    fn val(&mut self) -> Read<ValueId> {
        self.values.operand(&mut self.c).map(ValueId)
    }

    fn tile(&mut self) -> Read<TileId> {
        text::reference(&mut self.c, "tile variable", self.func.tiles.iter().map(|t| t.name.as_str())).map(TileId)
    }

    fn tensor(&mut self) -> Read<ParamId> {
        text::reference(&mut self.c, "parameter", self.func.params.iter().map(|p| p.name.as_str())).map(ParamId)
    }

    /// Items separated by commas up to a closing bracket.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        self.c.expect("[")?;
        let mut out = Vec::new();
        if self.c.eat("]") {
            return Ok(out);
        }
        loop {
            out.push(item(self)?);
            if self.c.eat("]") {
                return Ok(out);
            }
            if !self.c.eat(",") {
                return Err(self.c.expected("`,` or `]`"));
            }
        }
    }

    fn dims(&mut self) -> Read<Shape> {
        Ok(self.list(Self::dim)?.into_iter().collect())
    }

    fn dim(&mut self) -> Read<Dim> {
        match (self.c.peek(), self.c.peek2()) {
            (Tok::Num(_), _) => self.c.int("an extent").map(Dim::Const),
            (Tok::Punct("$"), _) => text::symbol(&mut self.c, &self.func.symbols).map(Dim::Symbol),
            (Tok::Name("expr"), Tok::Punct("(")) => {
                self.c.expect_word("expr")?;
                self.c.expect("(")?;
                let here = self.c.here();
                let id = self.c.int("the position of an expression")?;
                self.sizes.forward.push((id, here));
                self.c.expect(")")?;
                Ok(Dim::Expr(ExprId(id)))
            }
            (Tok::Punct("("), _) | (Tok::Name(_), Tok::Punct("(")) => {
                let e = self.expr()?;
                let next = ExprId(self.func.exprs.len() as u32);
                let id = *self.sizes.known.entry(e).or_insert(next);
                if id == next {
                    self.func.exprs.push(e);
                }
                Ok(Dim::Expr(id))
            }
            _ => self.tile().map(Dim::Tile),
        }
    }

    /// `(a + b)` or `min(a, b)`.
    fn expr(&mut self) -> Read<DimExpr> {
        self.c.deeper()?;
        let mut op = None;
        if !self.c.sees("(") {
            let unknown = self.c.expected("an operation on sizes");
            op = Some(BinaryOp::from_name(self.c.word("an operation on sizes")?).ok_or(unknown)?);
        }
        self.c.expect("(")?;
        let lhs = self.dim()?;
        let op = match op {
            Some(op) => {
                self.c.expect(",")?;
                op
            }
            None => {
                let found = BinaryOp::ALL.iter().copied().find(|o| operator(*o).is_some_and(|s| self.c.eat(s)));
                found.ok_or_else(|| self.c.expected("`+`, `-`, `*`, `/` or `%`"))?
            }
        };
        let rhs = self.dim()?;
        self.c.expect(")")?;
        self.c.shallower();
        Ok(DimExpr { op, lhs, rhs })
    }

    fn definition(&mut self) -> Read<Definition> {
        let (id, name, here) = self.c.value("a value to define (`%0`)")?;
        self.c.expect(":")?;
        let dtype = self.c.dtype()?;
        let shape = if self.c.sees("[") { self.dims()? } else { Shape::new() };
        let at = matches!(self.c.peek(), Tok::At(_)).then(|| self.c.position());
        Ok(Definition { id, name, ty: Type { dtype, shape }, at, here })
    }

    fn define(&mut self, d: Definition, usual: Loc) -> Read<ValueId> {
        let value = Value { ty: d.ty, name: d.name, at: d.at.unwrap_or(usual) };
        self.values.define(d.id, d.here, value)?;
        Ok(ValueId(d.id))
    }

    fn definitions(&mut self) -> Read<Vec<Definition>> {
        let mut out = vec![self.definition()?];
        while self.c.eat(",") {
            out.push(self.definition()?);
        }
        Ok(out)
    }

    fn region(&mut self, at: Loc) -> Read<Region> {
        self.c.deeper()?;
        self.c.expect("{")?;
        let mut r = Region::default();
        if self.c.eat_word("take") {
            for d in self.definitions()? {
                r.params.push(self.define(d, at)?);
            }
        }
        while !self.c.sees("}") && !self.c.sees_word("yield") {
            r.body.push(self.inst()?);
        }
        if self.c.eat_word("yield") {
            r.yields = self.args()?;
        }
        self.c.expect("}")?;
        self.c.shallower();
        Ok(r)
    }

    fn inst(&mut self) -> Read<Inst> {
        let mut definitions = Vec::new();
        if matches!(self.c.peek(), Tok::Value(..)) {
            definitions = self.definitions()?;
            self.c.expect("=")?;
        }
        let (op, args) = self.op()?;
        let at = self.c.position();
        let mut results = Vec::with_capacity(definitions.len());
        for d in definitions {
            results.push(self.define(d, at)?);
        }
        let mut regions = Vec::new();
        while self.c.sees("{") {
            regions.push(self.region(at)?);
            let _ = self.c.eat_word("else") || self.c.eat_word("do");
        }
        Ok(Inst { op, args, results, regions, at })
    }

    /// Operands up to the end of the line.
    fn args(&mut self) -> Read<Vec<ValueId>> {
        let mut out = Vec::new();
        while matches!(self.c.peek(), Tok::Value(..)) && !self.c.at_line_start() {
            out.push(self.val()?);
            if !self.c.eat(",") {
                break;
            }
        }
        Ok(out)
    }

    fn op(&mut self) -> Read<(Op, Vec<ValueId>)> {
        let unknown = self.c.expected("an instruction");
        let op = match self.c.word("an instruction")? {
            "const" => {
                let dtype = self.c.dtype()?;
                Op::Const(self.c.literal(dtype)?)
            }
            "extent" => Op::Extent(self.dim()?),
            "scalar" => Op::Scalar(self.tensor()?),
            "tile_begin" => Op::TileBegin(self.tile()?),
            "tile_end" => Op::TileEnd(self.tile()?),
            "tile_ordinal" => Op::TileOrdinal(self.tile()?),
            "tile_count" => Op::TileCount(self.tile()?),
            "iota" => Op::Iota(self.dim()?),
            "select" => Op::Select,
            "cast" => Op::Cast(self.c.dtype()?),
            "bitcast" => Op::Bitcast(self.c.dtype()?),
            "dot" => Op::Dot { acc: self.c.dtype()? },
            "random" => Op::Random { word: self.c.int("a word number")? },
            "print" => Op::Print { label: self.c.string("a quoted label")? },
            "while" => Op::While,
            "if" => Op::If,
            "for" => return self.for_tiles(),
            "load" => return self.load(),
            "store" => return self.store(),
            "atomic" => return self.atomic(),
            word => match (UnaryOp::from_name(word), BinaryOp::from_name(word)) {
                (Some(u), _) => Op::Unary(u),
                (None, Some(b)) => Op::Binary(b),
                (None, None) => return self.shaping(word, unknown),
            },
        };
        Ok((op, self.args()?))
    }

    fn for_tiles(&mut self) -> Read<(Op, Vec<ValueId>)> {
        let tiles = self.list(Self::tile)?;
        let args = if self.c.eat_word("with") { self.args()? } else { Vec::new() };
        Ok((Op::For { tiles }, args))
    }

    fn axis(&mut self) -> Read<u32> {
        self.c.expect_word("axis")?;
        self.c.int("an axis")
    }

    fn reduction(&mut self) -> Read<ReduceOp> {
        let names: Vec<&str> = ReduceOp::ALL.iter().map(|o| o.name()).collect();
        let unknown = self.c.expected(&format!("a reduction ({})", names.join(", ")));
        ReduceOp::from_name(self.c.word("a reduction")?).ok_or(unknown)
    }

    /// Ops with operands first: on shapes and along an axis.
    fn shaping(&mut self, word: &str, unknown: Diagnostic) -> Read<(Op, Vec<ValueId>)> {
        let reduction = match word {
            "reduce" | "scan" => Some(self.reduction()?),
            "broadcast" | "reshape" | "permute" | "slice" | "concat" | "gather" | "reduce_with" | "scan_with" => None,
            _ => return Err(unknown),
        };
        let args = self.args()?;
        let op = match word {
            "broadcast" | "reshape" => {
                self.c.expect_word("to")?;
                let shape = self.dims()?;
                if word == "broadcast" { Op::Broadcast(shape) } else { Op::Reshape(shape) }
            }
            "permute" => {
                self.c.expect_word("by")?;
                Op::Permute(self.list(|p| p.c.int("an axis"))?)
            }
            "slice" => {
                let axis = self.axis()?;
                self.c.expect_word("from")?;
                let start = self.dim()?;
                self.c.expect_word("len")?;
                Op::Slice { axis, start, len: self.dim()? }
            }
            "concat" => Op::Concat { axis: self.axis()? },
            "gather" => Op::Gather { axis: self.axis()? },
            _ => {
                let axis = self.axis()?;
                let scan = word.starts_with("scan");
                let reverse = scan && self.c.eat_word("reverse");
                match (scan, reduction) {
                    (false, Some(op)) => Op::Reduce { op, axis },
                    (false, None) => Op::ReduceWith { axis },
                    (true, Some(op)) => Op::Scan { op, axis, reverse },
                    (true, None) => Op::ScanWith { axis, reverse },
                }
            }
        };
        Ok((op, args))
    }
}

/// Memory operations.
impl Parser<'_> {
    fn load(&mut self) -> Read<(Op, Vec<ValueId>)> {
        let (tensor, index) = self.access()?;
        let mut args = Vec::new();
        if self.c.eat_word("where") {
            args.push(self.val()?);
            if self.c.eat_word("else") {
                args.push(self.val()?);
            }
        }
        Ok((Op::Load { tensor, index }, args))
    }

    fn store(&mut self) -> Read<(Op, Vec<ValueId>)> {
        let (tensor, index) = self.access()?;
        let args = self.written(1)?;
        Ok((Op::Store { tensor, index }, args))
    }

    fn atomic(&mut self) -> Read<(Op, Vec<ValueId>)> {
        let unknown = self.c.expected("`add`, `max`, `min`, `exchange` or `compare_swap`");
        let op = AtomicOp::from_name(self.c.word("an atomic operation")?).ok_or(unknown)?;
        let (tensor, index) = self.access()?;
        let args = self.written(op.operands())?;
        Ok((Op::Atomic { op, tensor, index }, args))
    }

    /// `, value…` and a mask.
    fn written(&mut self, values: usize) -> Read<Vec<ValueId>> {
        let mut args = Vec::new();
        for _ in 0..values {
            self.c.expect(",")?;
            args.push(self.val()?);
        }
        if self.c.eat_word("where") {
            args.push(self.val()?);
        }
        Ok(args)
    }

    fn access(&mut self) -> Read<(ParamId, Vec<Index>)> {
        let tensor = self.tensor()?;
        Ok((tensor, self.list(Self::index)?))
    }

    fn index(&mut self) -> Read<Index> {
        if self.c.eat("..") {
            return Ok(Index::Full);
        }
        match (self.c.peek(), self.c.peek2()) {
            (Tok::Value(..), _) => self.val().map(Index::Scalar),
            (Tok::Name("gather"), Tok::Value(..)) => {
                self.c.expect_word("gather")?;
                self.val().map(Index::Gather)
            }
            _ => {
                let tile = self.tile()?;
                let shift = if self.c.eat("+") { Some(self.val()?) } else { None };
                Ok(Index::Tile(tile, shift))
            }
        }
    }
}
