//! Loops over tiles in two: the whole tiles, then what is left.
//!
//! In: a loop function. Out: the same with `for tile in (begin..end).step_by(block)`, whose tiles are
//! `min(tile + block, end) - tile` long, as a loop over the tiles that are `block` long and one over the last, shorter one. In
//! the first everything that depends on the tile's length is a constant: no element needs a condition.

use helion_ir::dtype::{DType, Literal};
use helion_ir::elementwise::BinaryOp;
use helion_ir::loops::{Args, Axis, Carry, Contract, Extent, Function, Inst, Nest, Op, Operand, Stmt, Val, Value};
use std::collections::HashMap;

/// Blocks longer than this mostly hold the whole range: there is one turn, and nothing to peel.
const LONGEST: i64 = 4096;

/// Splits loops that hold no other loop and whose block is a constant; `int` gives the constants among values.
pub(super) fn loops(f: &mut Function, int: &dyn Fn(Val) -> Option<i64>) {
    let body = std::mem::take(&mut f.body);
    f.body = stmts(f, body, int);
}

fn stmts(f: &mut Function, body: Vec<Stmt>, int: &dyn Fn(Val) -> Option<i64>) -> Vec<Stmt> {
    let mut out = Vec::with_capacity(body.len());
    for s in body {
        match s {
            Stmt::For { var, begin, end, step, body } => match lengths(&body, var, end, step) {
                Some(length) if !has_loop(&body) && int(step).is_some_and(|n| n > 1 && n <= LONGEST) => {
                    split(f, &mut out, [var, begin, end, step], body, length);
                }
                _ => {
                    let body = stmts(f, body, int);
                    out.push(Stmt::For { var, begin, end, step, body });
                }
            },
            Stmt::While { cond, test, body } => {
                let (cond, body) = (stmts(f, cond, int), stmts(f, body, int));
                out.push(Stmt::While { cond, test, body });
            }
            Stmt::If { cond, then, other } => {
                let (then, other) = (stmts(f, then, int), stmts(f, other, int));
                out.push(Stmt::If { cond, then, other });
            }
            Stmt::Inst(_) | Stmt::Nest(_) | Stmt::Contract(_) => out.push(s),
        }
    }
    out
}

fn has_loop(body: &[Stmt]) -> bool {
    body.iter().any(|s| matches!(s, Stmt::For { .. } | Stmt::While { .. } | Stmt::If { .. }))
}

/// The value that is a tile's length, when the body computes it in the usual way.
fn lengths(body: &[Stmt], var: Val, end: Val, step: Val) -> Option<Val> {
    let of = |op: BinaryOp, args: [Val; 2]| {
        body.iter().find_map(|s| match s {
            Stmt::Inst(i) if i.op == Op::Binary(op) && i.args[..] == args => i.result,
            _ => None,
        })
    };
    let next = of(BinaryOp::Add, [var, step])?;
    let last = of(BinaryOp::Min, [next, end])?;
    of(BinaryOp::Sub, [last, var])
}

/// Writes both loops. The second has values of its own.
fn split(f: &mut Function, out: &mut Vec<Stmt>, [var, begin, end, step]: [Val; 4], body: Vec<Stmt>, length: Val) {
    let mut inst = |f: &mut Function, op: Op, args: &[Val]| {
        f.values.push(Value { dtype: DType::I64, name: None });
        let result = Val(f.values.len() as u32 - 1);
        out.push(Stmt::Inst(Inst {
            op,
            args: Args::from_slice(args),
            result: Some(result),
            at: helion_ir::Loc::UNKNOWN,
        }));
        result
    };
    // Where the last whole tile ends.
    let zero = inst(f, Op::Const(Literal::from_i64(DType::I64, 0)), &[]);
    let all = inst(f, Op::Binary(BinaryOp::Sub), &[end, begin]);
    let all = inst(f, Op::Binary(BinaryOp::Max), &[all, zero]);
    let count = inst(f, Op::Binary(BinaryOp::Div), &[all, step]);
    let whole = inst(f, Op::Binary(BinaryOp::Mul), &[count, step]);
    let middle = inst(f, Op::Binary(BinaryOp::Add), &[begin, whole]);
    let mut copy = Copy { f, map: HashMap::new() };
    let rest_var = copy.define(var);
    let rest = copy.stmts(&body);
    let mut fixed = body;
    for s in &mut fixed {
        if let Stmt::Inst(i) = s
            && i.result == Some(length)
        {
            *i = Inst { op: Op::Bitcast(DType::I64), args: Args::from_slice(&[step]), ..i.clone() };
        }
    }
    out.push(Stmt::For { var, begin, end: middle, step, body: fixed });
    out.push(Stmt::For { var: rest_var, begin: middle, end, step, body: rest });
}

/// A copy of statements in which everything that they define is new.
struct Copy<'a> {
    f: &'a mut Function,
    map: HashMap<Val, Val>,
}

impl Copy<'_> {
    fn define(&mut self, v: Val) -> Val {
        self.f.values.push(self.f.values[v.index()].clone());
        let new = Val(self.f.values.len() as u32 - 1);
        self.map.insert(v, new);
        new
    }
    fn of(&self, v: Val) -> Val {
        self.map.get(&v).copied().unwrap_or(v)
    }
    fn args(&self, args: &[Val]) -> Args {
        args.iter().map(|a| self.of(*a)).collect()
    }
    fn extent(&self, e: Extent) -> Extent {
        Extent { extent: self.of(e.extent), ..e }
    }
    fn inst(&mut self, i: &Inst) -> Inst {
        let args = self.args(&i.args);
        let result = i.result.map(|r| self.define(r));
        Inst { op: i.op.clone(), args, result, at: i.at }
    }
    fn insts(&mut self, all: &[Inst]) -> Vec<Inst> {
        all.iter().map(|i| self.inst(i)).collect()
    }
    fn stmts(&mut self, body: &[Stmt]) -> Vec<Stmt> {
        body.iter().map(|s| self.stmt(s)).collect()
    }

    fn stmt(&mut self, s: &Stmt) -> Stmt {
        match s {
            Stmt::Inst(i) => Stmt::Inst(self.inst(i)),
            Stmt::For { var, begin, end, step, body } => {
                let (begin, end, step) = (self.of(*begin), self.of(*end), self.of(*step));
                let var = self.define(*var);
                Stmt::For { var, begin, end, step, body: self.stmts(body) }
            }
            Stmt::While { cond, test, body } => {
                let cond = self.stmts(cond);
                let test = self.of(*test);
                Stmt::While { cond, test, body: self.stmts(body) }
            }
            Stmt::If { cond, then, other } => {
                let cond = self.of(*cond);
                Stmt::If { cond, then: self.stmts(then), other: self.stmts(other) }
            }
            Stmt::Nest(n) => Stmt::Nest(self.nest(n)),
            Stmt::Contract(c) => Stmt::Contract(self.contract(c)),
        }
    }

    fn nest(&mut self, n: &Nest) -> Nest {
        let extents: Vec<Val> = n.axes.iter().map(|a| self.of(a.extent)).collect();
        let axes =
            n.axes.iter().zip(extents).map(|(a, extent)| Axis { var: self.define(a.var), extent, bound: a.bound });
        let axes = axes.collect();
        let inits: Vec<Val> = n.carries.iter().map(|c| self.of(c.init)).collect();
        let params: Vec<Val> = n.carries.iter().map(|c| self.define(c.param)).collect();
        let body = self.insts(&n.body);
        let mut carries = Vec::with_capacity(n.carries.len());
        for ((c, init), param) in n.carries.iter().zip(inits).zip(params) {
            let (next, result) = (self.of(c.next), self.define(c.result));
            carries.push(Carry { param, init, next, result, op: c.op });
        }
        Nest { axes, reduce: n.reduce, carries, body, finals: self.insts(&n.finals) }
    }

    fn contract(&mut self, c: &Contract) -> Contract {
        let operand = |s: &Self, o: &Operand| Operand { origin: s.args(&o.origin), ..o.clone() };
        Contract {
            batch: c.batch.iter().map(|e| self.extent(*e)).collect(),
            m: self.extent(c.m),
            n: self.extent(c.n),
            k: self.extent(c.k),
            lhs: operand(self, &c.lhs),
            rhs: operand(self, &c.rhs),
            ..c.clone()
        }
    }
}
