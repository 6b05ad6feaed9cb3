//! Nests over the same elements share loops, so that what they read comes from far memory once.
//!
//! In: loop IR. Neighbouring nests over the same axes that could run side by side form a *group*: no point of
//! one needs another point of the other. Out: the same work, by the knobs in the function's config, which they
//! leave there no longer:
//!
//! ```text
//! fuse:   for r { a }  for r { b }   ──▶   for r { a; b }
//! chunk:  for r { a }  for r { b }   ──▶   for c in chunks of r { for r in c { a }  for r in c { b } }
//! ```
//!
//! A mean and a mean of squares, or a sum and a largest element, are such nests. Fused ones load each element once,
//! but need registers for both; in chunks each keeps its own loop, and the second finds the chunk in a near
//! cache. Chunked reductions keep their state in scalar buffers between chunks and go on where they were,
//! so results are the same.

use super::interchange;
use helion_ir::config::{Knob, Slot};
use helion_ir::diag::Loc;
use helion_ir::dtype::DType;
use helion_ir::elementwise::BinaryOp;
use helion_ir::loops::{Args, Axis, Buffer, BufferId, Function, Inst, Mem, Nest, Op, ParamKind, Stmt, Val};
use std::collections::{HashMap, HashSet};

/// Most nests of a group: more need more registers than there are.
const MOST: usize = 4;
/// Index arithmetic is compared so many operations deep.
const DEPTH: u32 = 6;

/// Fuses and chunks as the config says.
pub fn share_loops(func: &mut Function) {
    let knob = |k| func.config.get(&Slot::kernel(k));
    let fuse = knob(Knob::Fuse) != Some(0);
    let chunk = knob(Knob::Chunk).unwrap_or(0);
    func.config = std::mem::take(&mut func.config).without(&[Knob::Fuse, Knob::Chunk]);
    if !fuse && chunk == 0 {
        return;
    }
    let mut body = std::mem::take(&mut func.body);
    Share { func, fuse, chunk }.list(&mut body);
    func.body = body;
}

/// The lengths (where the schedule fixes them) and widths in bytes of the elements of all groups of a function.
pub fn groups(func: &Function) -> Vec<(Option<u64>, u64)> {
    let mut found = Vec::new();
    find(func, &func.body, &mut found);
    found
}

fn find(func: &Function, list: &[Stmt], found: &mut Vec<(Option<u64>, u64)>) {
    let mut group: Vec<Nest> = Vec::new();
    let mut close = |group: &mut Vec<Nest>| {
        if let [first, _, ..] = &group[..] {
            found.push((first.axes.last().and_then(|a| a.bound), bytes(func, group)));
        }
        group.clear();
    };
    let mut inner: Vec<&[Stmt]> = Vec::new();
    for s in list {
        match s {
            Stmt::Nest(n) => {
                if !joins(func, &group, n) {
                    close(&mut group);
                }
                group.extend(fits(n).then(|| n.clone()));
            }
            Stmt::Inst(i) if moves_before(&group, i) => {}
            Stmt::Inst(_) | Stmt::Contract(_) => close(&mut group),
            Stmt::For { body, .. } => {
                close(&mut group);
                inner.push(body);
            }
            Stmt::While { cond, body, .. } => {
                close(&mut group);
                inner.extend([&cond[..], body]);
            }
            Stmt::If { then, other, .. } => {
                close(&mut group);
                inner.extend([&then[..], other]);
            }
        }
    }
    close(&mut group);
    inner.into_iter().for_each(|l| find(func, l, found));
}

/// Bytes of one element of everything that a group accesses.
fn bytes(func: &Function, group: &[Nest]) -> u64 {
    let mut mems: Vec<Mem> = group.iter().flat_map(|n| accesses(func, n, &n.body)).map(|a| a.mem).collect();
    mems.sort();
    mems.dedup();
    let size = |m: &Mem| match m {
        Mem::Buffer(b) => func.buffers[b.index()].dtype.size(),
        Mem::Tensor(p) => match &func.params[p.index()].kind {
            ParamKind::Tensor { dtype, .. } => dtype.size(),
            ParamKind::Scalar { .. } => 0,
        },
    };
    mems.iter().map(|m| size(m) as u64).sum::<u64>().max(1)
}

/// How an index of a nest is computed, comparable between nests.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Axis(usize),
    Outer(Val),
    Made(Op, Vec<Form>),
    /// Something else, equal to itself only.
    Other(Val),
}

/// The form of a value in a nest; beyond `depth` operations it is its own.
fn form(n: &Nest, v: Val, depth: u32) -> Form {
    if let Some(k) = n.axes.iter().position(|a| a.var == v) {
        return Form::Axis(k);
    }
    if n.carries.iter().any(|c| c.param == v || c.result == v) {
        return Form::Other(v);
    }
    match n.body.iter().chain(&n.finals).find(|i| i.result == Some(v)) {
        None => Form::Outer(v),
        Some(i) if is_pure(i) && depth > 0 => {
            Form::Made(i.op.clone(), i.args.iter().map(|a| form(n, *a, depth - 1)).collect())
        }
        Some(_) => Form::Other(v),
    }
}

/// Whether an instruction gives the same wherever its operands are the same.
fn is_pure(i: &Inst) -> bool {
    !matches!(i.op, Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } | Op::Print { .. })
}

/// An access of a nest.
struct Access {
    mem: Mem,
    index: Vec<Form>,
    write: bool,
    masked: bool,
}

fn accesses(func: &Function, n: &Nest, insts: &[Inst]) -> Vec<Access> {
    let of = |i: &Inst| {
        let (Op::Load { mem, masked } | Op::Store { mem, masked }) = i.op else { return None };
        let write = matches!(i.op, Op::Store { .. });
        let rank = interchange::rank(func, mem);
        let first = usize::from(write);
        Some(Access {
            mem,
            index: i.args[first..first + rank].iter().map(|v| form(n, *v, DEPTH)).collect(),
            write,
            masked,
        })
    };
    insts.iter().filter_map(of).collect()
}

/// Whether a nest can be in a group at all: its effects are plain loads and stores.
fn fits(n: &Nest) -> bool {
    let plain = |i: &Inst| !matches!(i.op, Op::Atomic { .. } | Op::Print { .. });
    !n.axes.is_empty() && n.reduce <= 1 && n.body.iter().chain(&n.finals).all(plain)
}

/// Whether an instruction between nests can run before all of them.
fn moves_before(group: &[Nest], i: &Inst) -> bool {
    let written = |mem: Mem| {
        let insts = group.iter().flat_map(|n| n.body.iter().chain(&n.finals));
        insts.into_iter().any(|w| matches!(&w.op, Op::Store { mem: m, .. } if *m == mem))
    };
    is_pure(i) || matches!(&i.op, Op::Load { mem, .. } if !written(*mem))
}

/// Whether a nest can join a group: the same axes walked in the same way, and where it meets memory that the
/// others write, or writes what they read, each point meets only what is its own.
fn joins(func: &Function, group: &[Nest], n: &Nest) -> bool {
    let Some(first) = group.first() else { return true };
    let same = |(a, b): (&Axis, &Axis)| a.extent == b.extent && a.bound == b.bound;
    group.len() < MOST
        && fits(n)
        && n.axes.len() == first.axes.len()
        && n.axes.iter().zip(&first.axes).all(same)
        && kind(func, n) == kind(func, first)
        && group.iter().all(|m| are_apart(func, m, n))
}

/// What decides how a backend runs a nest; loops of one kind gain by company, those of different kinds lose: whether
/// it reduces across rows, whether its steps depend on their order, whether it goes where data says.
fn kind(func: &Function, n: &Nest) -> [bool; 3] {
    fn is_regular(f: &Form) -> bool {
        match f {
            Form::Axis(_) | Form::Outer(_) => true,
            Form::Made(_, parts) => parts.iter().all(is_regular),
            Form::Other(_) => false,
        }
    }
    let ordered = n.carries.iter().any(|c| c.op.is_none());
    let regular = accesses(func, n, &n.body).iter().all(|a| a.index.iter().all(is_regular));
    [interchange::is_across(func, n), ordered, regular]
}

/// Whether the points of two nests with the same axes can be taken in turn.
fn are_apart(func: &Function, m: &Nest, n: &Nest) -> bool {
    let steps = [accesses(func, m, &m.body), accesses(func, n, &n.body)];
    let ends = [accesses(func, m, &m.finals), accesses(func, n, &n.finals)];
    let clash = |a: &Access, b: &Access| a.mem == b.mem && (a.write || b.write);
    let free = |a: &[Access], b: &[Access]| a.iter().all(|x| b.iter().all(|y| !clash(x, y)));
    steps[0].iter().all(|a| steps[1].iter().all(|b| !clash(a, b) || is_own(a, b, m.axes.len())))
        && free(&ends[0], &steps[1])
        && free(&ends[0], &ends[1])
        && free(&ends[1], &steps[0])
}

/// Whether two accesses meet only where both are at the same point.
fn is_own(a: &Access, b: &Access, axes: usize) -> bool {
    let follows = |f: &Form, k: usize| match f {
        Form::Axis(j) => *j == k,
        Form::Made(Op::Binary(BinaryOp::Add), parts) => {
            matches!(&parts[..], [Form::Outer(_), Form::Axis(j)] | [Form::Axis(j), Form::Outer(_)] if *j == k)
        }
        Form::Made(..) | Form::Outer(_) | Form::Other(_) => false,
    };
    a.index == b.index && !a.masked && !b.masked && (0..axes).all(|k| a.index.iter().any(|f| follows(f, k)))
}

/// The pass.
struct Share<'a> {
    func: &'a mut Function,
    fuse: bool,
    chunk: u64,
}

impl Share<'_> {
    fn list(&mut self, list: &mut Vec<Stmt>) {
        let mut out = Vec::with_capacity(list.len());
        let mut group: Vec<Nest> = Vec::new();
        for mut s in list.drain(..) {
            match &mut s {
                Stmt::Nest(n) => {
                    if !joins(self.func, &group, n) {
                        self.close(&mut group, &mut out);
                    }
                    if fits(n) {
                        group.push(n.clone());
                        continue;
                    }
                }
                Stmt::Inst(i) if moves_before(&group, i) => {}
                Stmt::Inst(_) | Stmt::Contract(_) => self.close(&mut group, &mut out),
                Stmt::For { body, .. } => {
                    self.close(&mut group, &mut out);
                    self.list(body);
                }
                Stmt::While { cond, body, .. } => {
                    self.close(&mut group, &mut out);
                    self.list(cond);
                    self.list(body);
                }
                Stmt::If { then, other, .. } => {
                    self.close(&mut group, &mut out);
                    self.list(then);
                    self.list(other);
                }
            }
            out.push(s);
        }
        self.close(&mut group, &mut out);
        *list = out;
    }

    /// Emits a group.
    fn close(&mut self, group: &mut Vec<Nest>, out: &mut Vec<Stmt>) {
        let group = std::mem::take(group);
        let long = |n: &Nest| n.axes.last().is_some_and(|a| a.bound.is_none_or(|b| b > self.chunk));
        if group.len() < 2 {
            out.extend(group.into_iter().map(Stmt::Nest));
        } else if self.fuse {
            let fused = group.into_iter().reduce(|m, n| fuse(self.func, m, n));
            out.extend(fused.map(Stmt::Nest));
        } else if long(&group[0]) && !interchange::is_across(self.func, &group[0]) {
            self.in_chunks(group, out);
        } else {
            out.extend(group.into_iter().map(Stmt::Nest));
        }
    }

    /// A loop over chunks of the last axis, within loops over the others.
    fn in_chunks(&mut self, group: Vec<Nest>, out: &mut Vec<Stmt>) {
        let mut axes = group[0].axes.clone();
        let last = axes.pop().expect("a group has axes");
        let (zero, one) = (self.constant(0), self.constant(1));
        let step = self.constant(self.chunk as i64);
        let at = self.fresh(DType::I64);
        let (left, length) = (self.fresh(DType::I64), self.fresh(DType::I64));
        let mut chunk = vec![
            inst(Op::Binary(BinaryOp::Sub), &[last.extent, at], Some(left)),
            inst(Op::Binary(BinaryOp::Min), &[left, step], Some(length)),
        ];
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        for mut n in group {
            let to: HashMap<Val, Val> = n.axes.iter().zip(&axes).map(|(a, b)| (a.var, b.var)).collect();
            rename(&mut n, &to);
            let var = n.axes.last().expect("as above").var;
            let local = self.fresh(DType::I64);
            n.axes = vec![Axis { var: local, extent: length, bound: Some(self.chunk) }];
            n.body.insert(0, loop_inst(Op::Binary(BinaryOp::Add), &[at, local], Some(var)));
            let finals = std::mem::take(&mut n.finals);
            for c in &mut n.carries {
                let state = self.state(c.param);
                begin.push(inst(Op::Store { mem: state, masked: false }, &[c.init], None));
                (c.init, c.result) = {
                    let (now, then) = (self.fresh_like(c.init), self.fresh_like(c.init));
                    chunk.push(inst(Op::Load { mem: state, masked: false }, &[], Some(now)));
                    n.finals.push(loop_inst(Op::Store { mem: state, masked: false }, &[then], None));
                    end.push(inst(Op::Load { mem: state, masked: false }, &[], Some(c.result)));
                    (now, then)
                };
            }
            chunk.push(Stmt::Nest(n));
            end.extend(finals.into_iter().map(Stmt::Inst));
        }
        let mut list = begin;
        list.push(Stmt::For { var: at, begin: zero, end: last.extent, step, body: chunk });
        list.append(&mut end);
        for a in axes.into_iter().rev() {
            list = vec![Stmt::For { var: a.var, begin: zero, end: a.extent, step: one, body: list }];
        }
        out.append(&mut list);
    }

    /// A scalar buffer for a carry.
    fn state(&mut self, of: Val) -> Mem {
        let dtype = self.func.dtype(of);
        self.func.buffers.push(Buffer { name: "state".into(), dtype, dims: Vec::new() });
        Mem::Buffer(BufferId(self.func.buffers.len() as u32 - 1))
    }

    fn constant(&mut self, v: i64) -> Val {
        interchange::header_const(self.func, v)
    }

    fn fresh(&mut self, dtype: DType) -> Val {
        interchange::fresh(self.func, dtype)
    }

    fn fresh_like(&mut self, v: Val) -> Val {
        self.fresh(self.func.dtype(v))
    }
}

fn loop_inst(op: Op, args: &[Val], result: Option<Val>) -> Inst {
    Inst { op, args: args.into(), result, at: Loc::UNKNOWN }
}

fn inst(op: Op, args: &[Val], result: Option<Val>) -> Stmt {
    Stmt::Inst(loop_inst(op, args, result))
}

/// Replaces uses of values in a nest; axes keep their own names.
fn rename(n: &mut Nest, to: &HashMap<Val, Val>) {
    let new = |v: &mut Val| *v = to.get(v).copied().unwrap_or(*v);
    n.body.iter_mut().chain(&mut n.finals).for_each(|i| i.args.iter_mut().for_each(new));
    n.carries.iter_mut().for_each(|c| new(&mut c.next));
}

/// One nest that does the work of two. What both compute or load is computed and loaded once; what the first stores
/// and the second loads is not loaded.
fn fuse(func: &Function, mut m: Nest, mut n: Nest) -> Nest {
    let stores: HashSet<Mem> = m.body.iter().chain(&n.body).filter_map(stored).map(|s| s.0).collect();
    let loads_alone = |i: &Inst| matches!(&i.op, Op::Load { mem, .. } if !stores.contains(mem));
    let mut known: HashMap<(Op, Args), Val> = HashMap::new();
    let mut latest: HashMap<Mem, Val> = HashMap::new();
    for i in &m.body {
        if let Some(r) = i.result.filter(|_| is_pure(i) || loads_alone(i)) {
            known.entry((i.op.clone(), i.args.clone())).or_insert(r);
        }
        latest.extend(stored(i));
    }
    let mut names: HashMap<Val, Val> = n.axes.iter().zip(&m.axes).map(|(a, b)| (a.var, b.var)).collect();
    let theirs: HashSet<Mem> = latest.keys().copied().collect();
    for mut i in std::mem::take(&mut n.body) {
        i.args.iter_mut().for_each(|a| *a = names.get(a).copied().unwrap_or(*a));
        let same = match &i.op {
            Op::Load { mem, .. } if theirs.contains(mem) => latest.get(mem),
            _ if is_pure(&i) || loads_alone(&i) => known.get(&(i.op.clone(), i.args.clone())),
            _ => None,
        };
        match (i.result, same) {
            (Some(r), Some(same)) => drop(names.insert(r, *same)),
            _ => {
                latest.extend(stored(&i).filter(|(mem, _)| theirs.contains(mem)));
                m.body.push(i);
            }
        }
    }
    rename(&mut n, &names);
    debug_assert!(m.carries.iter().chain(&n.carries).all(|c| c.param.index() < func.values.len()));
    m.reduce = m.reduce.max(n.reduce);
    m.carries.append(&mut n.carries);
    m.finals.append(&mut n.finals);
    m
}

/// What an instruction stores, and where.
fn stored(i: &Inst) -> Option<(Mem, Val)> {
    match &i.op {
        Op::Store { mem, .. } => Some((*mem, i.args[0])),
        _ => None,
    }
}
