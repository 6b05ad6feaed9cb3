//! Contracts as nests.
//!
//! In: a loop function. Out: the same with every contract that no matrix path takes written as a nest of multiplications
//! and additions, in the element type of the result.

use helion_ir::dtype::{Class, DType};
use helion_ir::elementwise::BinaryOp;
use helion_ir::eval;
use helion_ir::loops::{
    Args, Axis, Carry, Contract, Extent, Function, Inst, Mem, Nest, Op, Operand, ReduceOp, Stmt, Val, Value,
};

/// Writes contracts as nests, but for those that `keep` takes.
pub(super) fn contracts(f: &mut Function, keep: &dyn Fn(&Function, &Contract) -> bool) {
    let mut body = std::mem::take(&mut f.body);
    stmts(f, &mut body, keep);
    f.body = body;
}

fn stmts(f: &mut Function, body: &mut [Stmt], keep: &dyn Fn(&Function, &Contract) -> bool) {
    for s in body {
        match s {
            Stmt::Contract(c) if !keep(f, c) => *s = Stmt::Nest(Write { f, at: c.at }.nest(c)),
            Stmt::For { body, .. } => stmts(f, body, keep),
            Stmt::While { cond, body, .. } => {
                stmts(f, cond, keep);
                stmts(f, body, keep);
            }
            Stmt::If { then, other, .. } => {
                stmts(f, then, keep);
                stmts(f, other, keep);
            }
            Stmt::Inst(_) | Stmt::Nest(_) | Stmt::Contract(_) => {}
        }
    }
}

struct Write<'a> {
    f: &'a mut Function,
    at: helion_ir::Loc,
}

impl Write<'_> {
    fn value(&mut self, dtype: DType) -> Val {
        self.f.values.push(Value { dtype, name: None });
        Val(self.f.values.len() as u32 - 1)
    }

    fn inst(&mut self, out: &mut Vec<Inst>, op: Op, args: &[Val], dtype: DType) -> Val {
        let result = self.value(dtype);
        out.push(Inst { op, args: Args::from_slice(args), result: Some(result), at: self.at });
        result
    }

    fn axis(&mut self, e: Extent) -> Axis {
        Axis { var: self.value(DType::I64), extent: e.extent, bound: e.bound }
    }

    fn nest(&mut self, c: &Contract) -> Nest {
        let dtype = self.f.buffers[c.acc.index()].dtype;
        let mut axes: Vec<Axis> = c.batch.iter().map(|e| self.axis(*e)).collect();
        axes.extend([c.m, c.n, c.k].map(|e| self.axis(e)));
        let vars: Vec<Val> = axes.iter().map(|a| a.var).collect();
        let (batch, [m, n, k]) =
            (&vars[..c.batch.len()], [vars.len() - 3, vars.len() - 2, vars.len() - 1].map(|i| vars[i]));
        let mut body = Vec::new();
        let a = self.element(&mut body, &c.lhs, batch, m, k, dtype);
        let b = self.element(&mut body, &c.rhs, batch, k, n, dtype);
        let param = self.value(dtype);
        let float = matches!(dtype.class(), Class::Float) && !matches!(dtype, DType::F16 | DType::BF16);
        let next = if float {
            self.inst(&mut body, Op::Fma, &[a, b, param], dtype)
        } else {
            let product = self.inst(&mut body, Op::Binary(BinaryOp::Mul), &[a, b], dtype);
            self.inst(&mut body, Op::Binary(BinaryOp::Add), &[param, product], dtype)
        };
        let result = self.value(dtype);
        let init = self.zero(dtype);
        let index: Vec<Val> = vars[..vars.len() - 1].to_vec();
        let mut finals = Vec::new();
        let total = if c.accumulate {
            let load = Op::Load { mem: Mem::Buffer(c.acc), masked: false };
            let old = self.inst(&mut finals, load, &index, dtype);
            self.inst(&mut finals, Op::Binary(BinaryOp::Add), &[old, result], dtype)
        } else {
            result
        };
        let args = std::iter::once(total).chain(index).collect();
        let store = Op::Store { mem: Mem::Buffer(c.acc), masked: false };
        finals.push(Inst { op: store, args, result: None, at: self.at });
        let carries = vec![Carry { param, init, next, result, op: Some(ReduceOp::Sum) }];
        Nest { axes, reduce: 1, carries, body, finals }
    }

    /// A header constant.
    fn zero(&mut self, dtype: DType) -> Val {
        let mut header = std::mem::take(&mut self.f.header);
        let zero = self.inst(&mut header, Op::Const(eval::from_i64(dtype, 0)), &[], dtype);
        self.f.header = header;
        zero
    }

    /// An element of an operand, in the type of the result.
    fn element(&mut self, out: &mut Vec<Inst>, o: &Operand, batch: &[Val], row: Val, col: Val, to: DType) -> Val {
        let mut index: Vec<Val> = o.origin.to_vec();
        let walks = o.batch.iter().copied().zip(batch.iter().copied()).chain([(o.row, row), (o.col, col)]);
        for (axis, var) in walks.collect::<Vec<_>>() {
            if let Some(axis) = axis {
                let at = &mut index[axis as usize];
                let moved = self.inst(out, Op::Binary(BinaryOp::Add), &[*at, var], DType::I64);
                *at = moved;
            }
        }
        let dtype = match o.mem {
            Mem::Tensor(p) => match &self.f.params[p.index()].kind {
                helion_ir::loops::ParamKind::Tensor { dtype, .. } | helion_ir::loops::ParamKind::Scalar { dtype } => {
                    *dtype
                }
            },
            Mem::Buffer(b) => self.f.buffers[b.index()].dtype,
        };
        let x = self.inst(out, Op::Load { mem: o.mem, masked: false }, &index, dtype);
        if dtype == to { x } else { self.inst(out, Op::Cast(to), &[x], to) }
    }
}
