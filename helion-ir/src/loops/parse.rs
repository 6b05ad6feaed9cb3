//! Text to loop IR.
//!
//! In: any text. Out: the [`Function`] that prints as that text, or a [`Diagnostic`] with line and column. The
//! result is well formed as a table (every value that is named exists) but not verified.

use super::types::*;
use crate::config::{Config, Knob, Slot};
use crate::diag::Diagnostic;
use crate::dtype::DType;
use crate::elementwise::{BinaryOp, UnaryOp};
use crate::text::{self, Cursor, Read, Values};
use crate::tile::{Dim, Shape};
use smallvec::SmallVec;

/// Reads one printed function.
///
/// # Errors
/// The first mistake, with line and column in the text.
pub fn parse(text: &str) -> Result<Function, Diagnostic> {
    let c = Cursor::new(text)?;
    let values = Values::new(c.len());
    let func = Function {
        name: String::new(),
        config: Config::new(),
        params: Vec::new(),
        symbols: Vec::new(),
        values: Vec::new(),
        buffers: Vec::new(),
        header: Vec::new(),
        grid: Vec::new(),
        body: Vec::new(),
    };
    let mut p = Parser { c, values, func };
    p.function()?;
    let Parser { values, mut func, .. } = p;
    func.values = values.finish(|v| v.name.as_deref())?;
    Ok(func)
}

struct Parser<'a> {
    c: Cursor<'a>,
    values: Values<Value>,
    /// What has been read of the head; its values come last.
    func: Function,
}

impl Parser<'_> {
    fn function(&mut self) -> Read<()> {
        self.c.expect_word("loops")?;
        self.func.name = self.c.name("the kernel's name")?;
        self.c.expect("{")?;
        self.config()?;
        self.func.symbols = text::symbol_list(&mut self.c)?;
        while self.c.eat_word("param") {
            let p = text::param(self, |p| &mut p.c, Self::extents)?;
            self.func.params.push(p);
        }
        if self.c.eat_word("header") {
            self.func.header = self.insts()?;
        }
        while self.c.eat_word("buffer") {
            let name = self.c.name("the name of a buffer")?;
            self.c.expect(":")?;
            let dtype = self.c.dtype()?;
            self.c.expect("[")?;
            let dims = self.vals("]")?;
            self.func.buffers.push(Buffer { name, dtype, dims });
        }
        while self.c.eat_word("grid") {
            let name = self.c.name("the name of a tile variable")?;
            self.c.expect_word("for")?;
            let index = self.define(Some(DType::I64))?;
            self.c.expect_word("in")?;
            self.zero_to()?;
            let count = self.val()?;
            self.func.grid.push(GridAxis { name, count, index });
        }
        self.c.expect_word("body")?;
        self.func.body = self.block()?;
        while self.c.eat_word("unused") {
            self.define(None)?;
        }
        self.c.expect("}")?;
        self.c.end()
    }

    /// Extents of a tensor parameter.
    fn extents(&mut self) -> Read<Shape> {
        let symbols = &self.func.symbols;
        self.c.expect("[")?;
        let dims = self.c.list("]", |c| match c.sees("$") {
            true => text::symbol(c, symbols).map(Dim::Symbol),
            false => c.int("an extent").map(Dim::Const),
        });
        Ok(dims?.into_iter().collect())
    }

    fn config(&mut self) -> Read<()> {
        if !self.c.eat_word("config") {
            return Ok(());
        }
        while !self.c.at_line_start() {
            let unknown = self.c.expected("a knob");
            let word = self.c.word("a knob")?;
            let (key, of) = word.split_once('.').unwrap_or((word, ""));
            let knob = Knob::ALL.iter().copied().find(|k| k.key() == key).ok_or(unknown)?;
            let of = if self.c.eat(".") { self.c.string("a quoted name")? } else { of.to_owned() };
            self.c.expect("=")?;
            let v = self.c.int("the value of a knob")?;
            self.func.config.set(Slot::of(knob, of), v);
        }
        Ok(())
    }

    /// `0..`
    fn zero_to(&mut self) -> Read<()> {
        let e = self.c.expected("`0..`");
        if self.c.int::<u64>("`0..`")? != 0 {
            return Err(e);
        }
        self.c.expect("..")
    }

    fn val(&mut self) -> Read<Val> {
        self.values.operand(&mut self.c).map(Val)
    }

    fn vals<L: FromIterator<Val>>(&mut self, close: &str) -> Read<L> {
        let values = &mut self.values;
        Ok(self.c.list(close, |c| values.operand(c).map(Val))?.into_iter().collect())
    }

    /// A definition, with a type unless there is a usual one.
    fn define(&mut self, usual: Option<DType>) -> Read<Val> {
        let (id, name, at) = self.c.value("a value to define (`%0`)")?;
        let dtype = match usual {
            Some(d) if !self.c.sees(":") => d,
            Some(_) | None => {
                self.c.expect(":")?;
                self.c.dtype()?
            }
        };
        self.values.define(id, at, Value { dtype, name })?;
        Ok(Val(id))
    }

    fn insts(&mut self) -> Read<Vec<Inst>> {
        self.c.expect("{")?;
        let mut out = Vec::new();
        while !self.c.eat("}") {
            out.push(self.inst()?);
        }
        Ok(out)
    }

    fn block(&mut self) -> Read<Vec<Stmt>> {
        self.c.expect("{")?;
        self.c.deeper()?;
        let mut out = Vec::new();
        while !self.c.eat("}") {
            out.push(self.stmt()?);
        }
        self.c.shallower();
        Ok(out)
    }

    fn stmt(&mut self) -> Read<Stmt> {
        if self.c.eat_word("for") {
            return self.for_loop();
        }
        if self.c.eat_word("while") {
            let cond = self.block()?;
            self.c.expect_word("test")?;
            let test = self.val()?;
            return Ok(Stmt::While { cond, test, body: self.block()? });
        }
        if self.c.eat_word("if") {
            let cond = self.val()?;
            let then = self.block()?;
            let other = if self.c.eat_word("else") { self.block()? } else { Vec::new() };
            return Ok(Stmt::If { cond, then, other });
        }
        if self.c.eat_word("nest") {
            return self.nest().map(Stmt::Nest);
        }
        if self.c.eat_word("contract") {
            return self.contract().map(Stmt::Contract);
        }
        self.inst().map(Stmt::Inst)
    }

    fn for_loop(&mut self) -> Read<Stmt> {
        let var = self.define(Some(DType::I64))?;
        self.c.expect_word("in")?;
        let begin = self.val()?;
        self.c.expect("..")?;
        let end = self.val()?;
        self.c.expect_word("step")?;
        let step = self.val()?;
        Ok(Stmt::For { var, begin, end, step, body: self.block()? })
    }

    fn bound(&mut self) -> Read<Option<u64>> {
        if self.c.eat("<=") { self.c.int("a bound").map(Some) } else { Ok(None) }
    }

    fn nest(&mut self) -> Read<Nest> {
        self.c.expect("{")?;
        let mut nest = Nest { axes: Vec::new(), reduce: 0, carries: Vec::new(), body: Vec::new(), finals: Vec::new() };
        while self.c.eat_word("for") {
            let var = self.define(Some(DType::I64))?;
            self.c.expect_word("in")?;
            self.zero_to()?;
            let extent = self.val()?;
            let bound = self.bound()?;
            self.c.expect("(")?;
            if self.c.eat_word("reduce") {
                nest.reduce += 1;
            } else if nest.reduce > 0 {
                return Err(self.c.expected("`reduce`, as parallel axes come before reduce axes"));
            } else if !self.c.eat_word("parallel") {
                return Err(self.c.expected("`parallel` or `reduce`"));
            }
            self.c.expect(")")?;
            nest.axes.push(Axis { var, extent, bound });
        }
        while self.c.eat_word("carry") {
            nest.carries.push(self.carry()?);
        }
        self.c.expect_word("body")?;
        nest.body = self.insts()?;
        if self.c.eat_word("finals") {
            nest.finals = self.insts()?;
        }
        self.c.expect("}")?;
        Ok(nest)
    }

    fn carry(&mut self) -> Read<Carry> {
        let param = self.define(None)?;
        self.c.expect_word("from")?;
        let init = self.val()?;
        self.c.expect_word("next")?;
        let next = self.val()?;
        self.c.expect_word("result")?;
        let usual = self.values.get(param.0).map(|v| v.dtype);
        let result = self.define(usual)?;
        let mut op = None;
        if self.c.eat("(") {
            let unknown = self.c.expected("a reduction (sum, prod, max, min, any, all)");
            op = Some(ReduceOp::from_name(self.c.word("a reduction")?).ok_or(unknown)?);
            self.c.expect(")")?;
        }
        Ok(Carry { param, init, next, result, op })
    }

    fn extent(c: &mut Cursor<'_>, values: &mut Values<Value>) -> Read<Extent> {
        let extent = Val(values.operand(c)?);
        let bound = if c.eat("<=") { Some(c.int("a bound")?) } else { None };
        Ok(Extent { extent, bound })
    }

    fn contract(&mut self) -> Read<Contract> {
        let acc = match self.mem()? {
            Mem::Buffer(b) => b,
            Mem::Tensor(_) => return Err(self.c.error("the result of a contract is a buffer (`&name`)")),
        };
        self.c.expect("[")?;
        let values = &mut self.values;
        let mut batch = self.c.list("]", |c| Self::extent(c, values))?;
        let (Some(n), Some(m)) = (batch.pop(), batch.pop()) else {
            return Err(self.c.error("the result of a contract has at least two axes, rows and columns"));
        };
        let accumulate = self.c.eat("+");
        self.c.expect("=")?;
        self.c.expect_word("sum")?;
        let k = Self::extent(&mut self.c, &mut self.values)?;
        let at = self.c.position();
        self.c.expect_word("lhs")?;
        let lhs = self.operand()?;
        self.c.expect_word("rhs")?;
        let rhs = self.operand()?;
        Ok(Contract { batch: batch.into(), m, n, k, lhs, rhs, acc, accumulate, at })
    }

    fn operand(&mut self) -> Read<Operand> {
        let mem = self.mem()?;
        self.c.expect("[")?;
        let origin = self.vals("]")?;
        let axis = |c: &mut Cursor<'_>| if c.eat("_") { Ok(None) } else { c.int("an axis or `_`").map(Some) };
        self.c.expect_word("batch")?;
        self.c.expect("[")?;
        let batch = self.c.list("]", axis)?.into();
        self.c.expect_word("row")?;
        let row = axis(&mut self.c)?;
        self.c.expect_word("col")?;
        let col = axis(&mut self.c)?;
        Ok(Operand { mem, origin, batch, row, col })
    }

    fn param_ref(&mut self) -> Read<ParamId> {
        text::reference(&mut self.c, "parameter", self.func.params.iter().map(|p| p.name.as_str())).map(ParamId)
    }

    fn mem(&mut self) -> Read<Mem> {
        if self.c.eat("&") {
            let names = self.func.buffers.iter().map(|b| b.name.as_str());
            return text::reference(&mut self.c, "buffer", names).map(|i| Mem::Buffer(BufferId(i)));
        }
        self.param_ref().map(Mem::Tensor)
    }

    fn inst(&mut self) -> Read<Inst> {
        let mut result = None;
        if matches!(self.c.peek(), text::Tok::Value(..)) {
            result = Some(self.define(None)?);
            self.c.expect("=")?;
        }
        let (op, args) = self.op()?;
        Ok(Inst { op, args, result, at: self.c.position() })
    }

    /// Operands up to the end of the line.
    fn args(&mut self) -> Read<Args> {
        let mut out = Args::new();
        while matches!(self.c.peek(), text::Tok::Value(..)) && !self.c.at_line_start() {
            out.push(self.val()?);
            if !self.c.eat(",") {
                break;
            }
        }
        Ok(out)
    }

    fn op(&mut self) -> Read<(Op, Args)> {
        let unknown = self.c.expected("an instruction");
        let word = self.c.word("an instruction")?;
        let op = match word {
            "const" => {
                let dtype = self.c.dtype()?;
                Op::Const(self.c.literal(dtype)?)
            }
            "size" => Op::Size(text::symbol(&mut self.c, &self.func.symbols)?),
            "dim" => {
                let p = self.param_ref()?;
                self.c.expect(",")?;
                Op::Dim(p, self.c.int("an axis")?)
            }
            "scalar" => Op::Scalar(self.param_ref()?),
            "fma" => Op::Fma,
            "select" => Op::Select,
            "cast" => Op::Cast(self.c.dtype()?),
            "bitcast" => Op::Bitcast(self.c.dtype()?),
            "random" => Op::Random { word: self.c.int("a word number")? },
            "print" => Op::Print { label: self.c.string("a quoted label")? },
            "load" => return self.load(),
            "store" => {
                let (mem, masked, args) = self.update(1)?;
                return Ok((Op::Store { mem, masked }, args));
            }
            "atomic" => {
                let unknown = self.c.expected("`add`, `max`, `min`, `exchange` or `compare_swap`");
                let op = AtomicOp::from_name(self.c.word("an atomic operation")?).ok_or(unknown)?;
                let (mem, masked, args) = self.update(op.operands())?;
                return Ok((Op::Atomic { op, mem, masked }, args));
            }
            name => match (UnaryOp::from_name(name), BinaryOp::from_name(name)) {
                (Some(u), _) => Op::Unary(u),
                (None, Some(b)) => Op::Binary(b),
                (None, None) => return Err(unknown),
            },
        };
        Ok((op, self.args()?))
    }

    fn load(&mut self) -> Read<(Op, Args)> {
        let mem = self.mem()?;
        self.c.expect("[")?;
        let mut args: Args = self.vals("]")?;
        let masked = self.c.eat_word("where");
        if masked {
            args.push(self.val()?);
            self.c.expect_word("else")?;
            args.push(self.val()?);
        }
        Ok((Op::Load { mem, masked }, args))
    }

    /// `mem[index…], value… where mask`; the values go first in the operands.
    fn update(&mut self, values: usize) -> Read<(Mem, bool, Args)> {
        let mem = self.mem()?;
        self.c.expect("[")?;
        let index: Args = self.vals("]")?;
        let mut args = SmallVec::new();
        for _ in 0..values {
            self.c.expect(",")?;
            args.push(self.val()?);
        }
        args.extend(index);
        let masked = self.c.eat_word("where");
        if masked {
            args.push(self.val()?);
        }
        Ok((mem, masked, args))
    }
}
