//! Reductions across rows: walk memory in the order it lies in.
//!
//! A reduce nest visits the reduce axis innermost. When elements lie next to each other along the last
//! parallel axis instead (sums of columns, scans down the rows), that is the wrong order: each step jumps to
//! another row. This pass turns such a nest around:
//!
//! ```text
//! for p, reduce r { body; carry }  finals        for p { state[p] = init }
//!                                          ──▶   for r { for p { carry = state[p]; body; state[p] = next } }
//!                                                for p { result = state[p]; finals }
//! ```
//!
//! The carries live in buffers, every nest over `p` is elementwise, and the sequence of steps for each
//! point is as before, so the results are the same. Only for targets that run one instance on one thread:
//! where lanes are threads, the original order is right.

use helion_ir::config::{Knob, Slot};
use helion_ir::diag::Loc;
use helion_ir::dtype::{DType, Literal};
use helion_ir::loops::{Args, Axis, Buffer, BufferId, Function, Inst, Mem, Nest, Op, Stmt, Val, Value};
use helion_ir::target::Target;
use std::collections::HashSet;

/// Turns around every nest that reduces across rows, unless the config says to leave them.
pub fn interchange_reductions(func: &mut Function, target: &Target) {
    let wanted = func.config.get(&Slot::kernel(Knob::Interchange)) != Some(0);
    func.config = std::mem::take(&mut func.config).without(&[Knob::Interchange]);
    if target.warp > 1 || !wanted {
        return;
    }
    let mut body = std::mem::take(&mut func.body);
    stmts(func, &mut body);
    func.body = body;
}

/// Whether a function has such a nest.
pub fn applies(func: &Function) -> bool {
    fn any(func: &Function, list: &[Stmt]) -> bool {
        list.iter().any(|s| match s {
            Stmt::Nest(n) => is_across(func, n),
            Stmt::For { body, .. } => any(func, body),
            Stmt::While { cond, body, .. } => any(func, cond) || any(func, body),
            Stmt::If { then, other, .. } => any(func, then) || any(func, other),
            Stmt::Inst(_) | Stmt::Contract(_) => false,
        })
    }
    any(func, &func.body)
}

fn stmts(func: &mut Function, list: &mut Vec<Stmt>) {
    let mut out = Vec::with_capacity(list.len());
    for s in list.drain(..) {
        match s {
            Stmt::Nest(n) => match plan(func, &n) {
                Some(dims) => turn(func, n, dims, &mut out),
                None => out.push(Stmt::Nest(n)),
            },
            Stmt::For { var, begin, end, step, mut body } => {
                stmts(func, &mut body);
                out.push(Stmt::For { var, begin, end, step, body });
            }
            Stmt::While { mut cond, test, mut body } => {
                stmts(func, &mut cond);
                stmts(func, &mut body);
                out.push(Stmt::While { cond, test, body });
            }
            Stmt::If { cond, mut then, mut other } => {
                stmts(func, &mut then);
                stmts(func, &mut other);
                out.push(Stmt::If { cond, then, other });
            }
            s @ (Stmt::Inst(_) | Stmt::Contract(_)) => out.push(s),
        }
    }
    *list = out;
}

/// Whether a nest reduces across rows: elements lie next to each other along its last parallel axis.
pub fn is_across(func: &Function, n: &Nest) -> bool {
    if n.reduce != 1 || n.axes.len() < 2 {
        return false;
    }
    let (p, r) = (&n.axes[n.axes.len() - 2], &n.axes[n.axes.len() - 1]);
    let (by_p, by_r) = (dependents(n, [p.var]), dependents(n, [r.var]));
    let mut along_p = false;
    for inst in &n.body {
        let Some(last) = last_index(func, inst) else { continue };
        if by_r.contains(&last) {
            return false;
        }
        along_p |= by_p.contains(&last);
    }
    along_p
}

/// Whether to turn a nest around; then the capacity of its state, as a header value.
fn plan(func: &mut Function, n: &Nest) -> Option<Val> {
    if !is_across(func, n) {
        return None;
    }
    let p = &n.axes[n.axes.len() - 2];
    match p.bound {
        Some(b) => Some(header_const(func, b as i64)),
        None => func.header.iter().any(|i| i.result == Some(p.extent)).then_some(p.extent),
    }
}

/// These values, such as an axis, and those of the body that depend on them.
pub(super) fn dependents(n: &Nest, on: impl IntoIterator<Item = Val>) -> HashSet<Val> {
    let mut set: HashSet<Val> = on.into_iter().collect();
    for inst in &n.body {
        if inst.args.iter().any(|a| set.contains(a)) {
            set.extend(inst.result);
        }
    }
    set
}

/// How many axes a memory has.
pub(super) fn rank(func: &Function, mem: Mem) -> usize {
    match mem {
        Mem::Buffer(b) => func.buffers[b.index()].dims.len(),
        Mem::Tensor(p) => match &func.params[p.index()].kind {
            helion_ir::loops::ParamKind::Tensor { dims, .. } => dims.len(),
            helion_ir::loops::ParamKind::Scalar { .. } => 0,
        },
    }
}

/// The index along the last axis of a load or store.
fn last_index(func: &Function, inst: &Inst) -> Option<Val> {
    let (mem, first) = if let Op::Load { mem, .. } = &inst.op {
        (*mem, 0)
    } else if let Op::Store { mem, .. } = &inst.op {
        (*mem, 1)
    } else {
        return None;
    };
    let rank = rank(func, mem);
    (rank > 0).then(|| inst.args[first + rank - 1])
}

pub(super) fn header_const(func: &mut Function, v: i64) -> Val {
    let lit = Literal::from_i64(DType::I64, v);
    if let Some(Inst { result: Some(v), .. }) = func.header.iter().find(|i| i.op == Op::Const(lit)) {
        return *v;
    }
    let result = fresh(func, DType::I64);
    func.header.push(Inst { op: Op::Const(lit), args: Args::new(), result: Some(result), at: Loc::UNKNOWN });
    result
}

pub(super) fn fresh(func: &mut Function, dtype: DType) -> Val {
    func.values.push(Value { dtype, name: None });
    Val(func.values.len() as u32 - 1)
}

/// Appends an instruction with a result of its own.
pub(super) fn emit(func: &mut Function, op: Op, args: &[Val], dtype: DType, at: Loc, out: &mut Vec<Inst>) -> Val {
    let result = fresh(func, dtype);
    out.push(Inst { op, args: Args::from_slice(args), result: Some(result), at });
    result
}

fn store(b: BufferId, value: Val, at: Val) -> Inst {
    let op = Op::Store { mem: Mem::Buffer(b), masked: false };
    Inst { op, args: Args::from_slice(&[value, at]), result: None, at: Loc::UNKNOWN }
}

fn load(b: BufferId, at: Val, result: Val) -> Inst {
    let op = Op::Load { mem: Mem::Buffer(b), masked: false };
    Inst { op, args: Args::from_slice(&[at]), result: Some(result), at: Loc::UNKNOWN }
}

fn map(axis: Axis, body: Vec<Inst>) -> Stmt {
    Stmt::Nest(Nest { axes: vec![axis], reduce: 0, carries: Vec::new(), body, finals: Vec::new() })
}

fn turn(func: &mut Function, mut n: Nest, capacity: Val, out: &mut Vec<Stmt>) {
    let r = n.axes.pop().expect("a reduce axis");
    let p = n.axes.pop().expect("a parallel axis");
    let state: Vec<BufferId> = n
        .carries
        .iter()
        .map(|c| {
            let dtype = func.dtype(c.param);
            func.buffers.push(Buffer { name: "state".into(), dtype, dims: vec![capacity] });
            BufferId(func.buffers.len() as u32 - 1)
        })
        .collect();
    let (first, last) = (fresh(func, DType::I64), fresh(func, DType::I64));
    let begin: Vec<Inst> = n.carries.iter().zip(&state).map(|(c, b)| store(*b, c.init, first)).collect();
    let mut step: Vec<Inst> = n.carries.iter().zip(&state).map(|(c, b)| load(*b, p.var, c.param)).collect();
    step.append(&mut n.body);
    step.extend(n.carries.iter().zip(&state).map(|(c, b)| store(*b, c.next, p.var)));
    let mut end: Vec<Inst> = n.carries.iter().zip(&state).map(|(c, b)| load(*b, last, c.result)).collect();
    end.extend(n.finals.drain(..).map(|mut i| {
        i.args.iter_mut().filter(|a| **a == p.var).for_each(|a| *a = last);
        i
    }));
    let (zero, one) = (header_const(func, 0), header_const(func, 1));
    let over = |var: Val| Axis { var, ..p.clone() };
    let mut inner = vec![map(over(first), begin)];
    let body = vec![map(over(p.var), step)];
    inner.push(Stmt::For { var: r.var, begin: zero, end: r.extent, step: one, body });
    inner.push(map(over(last), end));
    for axis in n.axes.into_iter().rev() {
        inner = vec![Stmt::For { var: axis.var, begin: zero, end: axis.extent, step: one, body: inner }];
    }
    out.extend(inner);
}
