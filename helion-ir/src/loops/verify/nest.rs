//! The rules of nests and matrix products.

use super::Verifier;
use crate::diag::Loc;
use crate::dtype::{Class, DType};
use crate::elementwise::BinaryOp;
use crate::eval;
use crate::loops::types::*;
use std::fmt::Display;

impl<'a> Verifier<'a> {
    /// An extent and its bound, used before the nest or product it belongs to.
    fn extent(&mut self, extent: Val, bound: Option<u64>, at: Loc, what: &dyn Display) {
        self.used_as(extent, DType::I64, at, what);
        let known = self.consts.get(extent.index()).copied().flatten();
        if let (Some(n), Some(b)) = (known, bound)
            && n > 0
            && n as u64 > b
        {
            self.error(at, format!("{what}: the extent is {n}, above its bound {b}"));
        }
    }

    pub(super) fn nest(&mut self, nest: &'a Nest) {
        let at = Loc::UNKNOWN;
        let what = match nest.axes.first() {
            Some(a) => format!("nest over {}", self.show(a.var)),
            None => "nest without axes".to_owned(),
        };
        if nest.reduce > nest.axes.len() {
            self.error(at, format!("{what}: {} reduce axes of {}", nest.reduce, nest.axes.len()));
            return;
        }
        if nest.reduce == 0 && !nest.carries.is_empty() {
            self.error(at, format!("{what}: carries without a reduce axis"));
        }
        for a in &nest.axes {
            self.extent(a.extent, a.bound, at, &what);
        }
        for c in &nest.carries {
            self.used(c.init, at, &what);
        }
        let parallel = nest.axes.len() - nest.reduce;
        let outer = self.scope.len();
        for a in &nest.axes[..parallel] {
            self.define_as(a.var, DType::I64, at, &what);
        }
        let inner = self.scope.len();
        for a in &nest.axes[parallel..] {
            self.define_as(a.var, DType::I64, at, &what);
        }
        for c in &nest.carries {
            self.define(c.param, at, &what);
        }
        for inst in &nest.body {
            self.inst(inst);
        }
        for c in &nest.carries {
            self.carry(nest, c);
        }
        self.leave(inner);
        for c in &nest.carries {
            self.define(c.result, at, &what);
        }
        for inst in &nest.finals {
            self.inst(inst);
        }
        self.leave(outer);
    }

    /// Checks one carry at the end of the body.
    fn carry(&mut self, nest: &Nest, c: &Carry) {
        let at = Loc::UNKNOWN;
        let what = format!("carry {}", self.show(c.param));
        self.used(c.next, at, &what);
        if nest.carries.iter().any(|o| o.param == c.next && o.param != c.param) {
            let next = self.show(c.next);
            self.error(at, format!("{what}: its next value {next} is the running value of another carry"));
        }
        let types = [c.param, c.init, c.next, c.result].map(|v| self.ty(v));
        if let [Some(p), Some(i), Some(n), Some(r)] = types
            && !(p == i && p == n && p == r)
        {
            self.error(at, format!("{what} has type {p}, but starts from {i}, goes on as {n} and ends as {r}"));
        }
        let (Some(op), Some(dtype)) = (c.op, types[0]) else { return };
        let Some(binary) = eval::reduce_combine(op) else {
            self.error(at, format!("{what}: `{}` cannot be split", op.name()));
            return;
        };
        let fits = if matches!(op, ReduceOp::Any | ReduceOp::All) { dtype == DType::Bool } else { dtype.is_num() };
        if !fits {
            self.error(at, format!("{what}: `{}` does not apply to {dtype}", op.name()));
        }
        if let Err(why) = splittable(nest, c, binary) {
            self.error(at, format!("{what} is marked `{}`, but {why}", op.name()));
        }
    }

    pub(super) fn contract(&mut self, c: &Contract) {
        let at = c.at;
        let what = format!("contract into {}", self.show_mem(Mem::Buffer(c.acc)));
        for e in c.batch.iter().chain([&c.m, &c.n, &c.k]) {
            self.extent(e.extent, e.bound, at, &what);
        }
        if let Some((dtype, rank, _)) = self.memory(Mem::Buffer(c.acc), at, &what) {
            if rank != c.batch.len() + 2 {
                self.error(at, format!("{what}: the buffer has {rank} axes, but the result {}", c.batch.len() + 2));
            }
            if !dtype.is_num() {
                self.error(at, format!("{what}: the buffer must hold numbers, not {dtype}"));
            }
        }
        for (side, o) in [("left", &c.lhs), ("right", &c.rhs)] {
            self.operand(o, c, &format!("{what}, {side} operand"));
        }
    }

    fn operand(&mut self, o: &Operand, c: &Contract, what: &dyn Display) {
        let at = c.at;
        for v in &o.origin {
            self.used_as(*v, DType::I64, at, what);
        }
        if o.mem == Mem::Buffer(c.acc) {
            self.error(at, format!("{what}: reads the buffer that the product is written to"));
        }
        if o.batch.len() != c.batch.len() {
            self.error(at, format!("{what}: {} batch axes instead of {}", o.batch.len(), c.batch.len()));
        }
        let Some((dtype, rank, _)) = self.memory(o.mem, at, what) else { return };
        if dtype.class() == Class::Bool {
            self.error(at, format!("{what}: must hold numbers, not bool"));
        }
        if o.origin.len() != rank {
            let name = self.show_mem(o.mem);
            self.error(at, format!("{what}: {name} has {rank} axes, but the origin {}", o.origin.len()));
        }
        let mut walked = vec![false; rank];
        for axis in o.batch.iter().chain([&o.row, &o.col]).flatten() {
            match walked.get_mut(*axis as usize) {
                None => self.error(at, format!("{what}: axis {axis} of a memory with {rank} axes")),
                Some(w @ false) => *w = true,
                Some(true) => self.error(at, format!("{what}: axis {axis} is walked twice")),
            }
        }
    }
}

/// Whether the body threads a carry only through one `op` with a value that does not depend on it.
fn splittable(nest: &Nest, c: &Carry, op: BinaryOp) -> Result<(), String> {
    let Some(step) = nest.body.iter().find(|i| i.result == Some(c.next)) else {
        return Err("its next value is not computed by the body".to_owned());
    };
    let other = match (&step.op, step.args.as_slice()) {
        (Op::Binary(b), [x, y]) if *b == op && *x == c.param => Some([*y, *y]),
        (Op::Binary(b), [x, y]) if *b == op && *y == c.param => Some([*x, *x]),
        (Op::Fma, [x, y, z]) if op == BinaryOp::Add && *z == c.param => Some([*x, *y]),
        _ => None,
    };
    let Some(other) = other else {
        return Err(format!("its next value is not `{op}` of the carry and another value"));
    };
    if other.contains(&c.param) {
        return Err("it is combined with itself".to_owned());
    }
    let param_uses: usize = nest.body.iter().map(|i| i.args.iter().filter(|a| **a == c.param).count()).sum();
    let next_used = nest.body.iter().any(|i| i.args.contains(&c.next));
    let handed_on = nest.carries.iter().any(|o| o.param != c.param && (o.next == c.param || o.next == c.next));
    if param_uses != 1 || next_used || handed_on {
        return Err("its running value is used for something else".to_owned());
    }
    Ok(())
}
