//! Atomic updates at places that data decides, as plain updates with one owner for each place.
//!
//! In: a function that does nothing but such updates, as sums of rows by segment or histograms do: tiles may meet in one
//! element, so each update is atomic, which costs a core twenty times what adding does and keeps it from vectors. Out, where
//! threads are few: a grid of *owners*. Each looks at all updates and makes those that fall into its part of the tensor;
//! nobody else touches that part, so they are plain, and vectors again along the axes that data does not decide:
//!
//! ```text
//! grid t { for i, j { atomic add out[ids[i], j], x[i, j] } }
//!      ──▶   grid owner { for t { for i { if ids[i] is owned { for j { out[ids[i], j] += x[i, j] } } } } }
//! ```
//!
//! Updates of an element come in another order than before, as atomic ones may in any case.

use super::interchange::{fresh, header_const, rank};
use helion_ir::BinaryOp;
use helion_ir::config::{Knob, Slot};
use helion_ir::diag::Loc;
use helion_ir::dtype::{Class, DType};
use helion_ir::loops::{Args, AtomicOp, Axis, Function, GridAxis, Inst, Mem, Nest, Op, ParamKind, Stmt, Val};
use helion_ir::target::Target;
use helion_ir::tile::Dim;
use std::collections::HashSet;

/// More owners than this look at too much that is not theirs.
const MOST: u32 = 8;

/// How many owners a kernel has when nobody says: as many as there are threads.
fn standard(target: &Target) -> u64 {
    u64::from(target.cores.clamp(1, MOST))
}

/// The numbers of owners worth trying, the default first; 0 stands for atomic updates.
pub fn values(target: &Target) -> Vec<u64> {
    let first = standard(target);
    let others = [1, 2, 4, 8, 0].into_iter().filter(|n| *n != first && *n <= u64::from(target.cores));
    std::iter::once(first).chain(others).collect()
}

/// Divides a function among owners, as its config says.
pub fn divide_owners(f: &mut Function, target: &Target) {
    let owners = f.config.get(&Slot::kernel(Knob::Owners)).unwrap_or_else(|| standard(target));
    f.config = std::mem::take(&mut f.config).without(&[Knob::Owners]);
    if target.warp > 1 || owners == 0 {
        return;
    }
    let Some(update) = Update::find(f) else { return };
    let Some(Stmt::Nest(nest)) = f.body.pop() else { return };
    divide(f, nest, &update, owners);
}

/// Whether a function does nothing but updates that can have owners.
pub fn applies(f: &Function) -> bool {
    Update::find(f).is_some()
}

/// The one update of a function, which is in its last statement, a nest.
struct Update {
    /// Its position in the nest's body.
    at: usize,
    op: BinaryOp,
    mem: Mem,
    /// The axis of the tensor along which it is divided: the first whose index comes from memory.
    axis: usize,
    /// Axes of the nest that stay one: along them all elements differ.
    inner: Vec<usize>,
}

impl Update {
    fn find(f: &Function) -> Option<Update> {
        let (Stmt::Nest(nest), before) = f.body.split_last()? else { return None };
        let plain = |i: &Inst| !matches!(i.op, Op::Store { .. } | Op::Atomic { .. } | Op::Print { .. });
        let alone = before.iter().all(|s| matches!(s, Stmt::Inst(i) if plain(i)));
        let at = nest.body.iter().position(|i| !plain(i))?;
        let only = nest.body.iter().skip(at + 1).all(plain);
        if f.grid.is_empty() || !alone || !only || nest.reduce > 0 || !nest.finals.is_empty() {
            return None;
        }
        let inst = &nest.body[at];
        let Op::Atomic { op, mem, .. } = inst.op else { return None };
        let op = match op {
            AtomicOp::Add => BinaryOp::Add,
            AtomicOp::Max => BinaryOp::Max,
            AtomicOp::Min => BinaryOp::Min,
            AtomicOp::Exchange | AtomicOp::CompareSwap => return None,
        };
        let number = !matches!(f.memory_dtype(mem)?.class(), Class::Bool | Class::Storage);
        let reads = |i: &Inst| matches!(i.op, Op::Load { mem: m, .. } if m == mem);
        let read = nest.body.iter().any(reads) || before.iter().any(|s| matches!(s, Stmt::Inst(i) if reads(i)));
        let used = inst.result.is_some_and(|v| nest.body.iter().any(|i| i.args.contains(&v)));
        if !number || read || used {
            return None;
        }
        let index = &inst.args[1..1 + rank(f, mem)];
        let loaded = |v: &Val| needed(nest, &[*v]).iter().any(|i| matches!(nest.body[*i].op, Op::Load { .. }));
        let axis = index.iter().position(loaded)?;
        Some(Update { at, op, mem, axis, inner: inner_axes(nest, index, axis) })
    }
}

/// The axes of the nest along which the elements of an access all differ, whatever data says: each alone moves, step by
/// step, along an axis of the tensor of its own, and the owner's index does not depend on it.
fn inner_axes(nest: &Nest, index: &[Val], owned: usize) -> Vec<usize> {
    let mut inner: Vec<usize> = (0..nest.axes.len()).collect();
    loop {
        let moves = |a: usize, v: Val| depends(nest, v, &[nest.axes[a].var]);
        let steps = |a: usize, v: Val| {
            let var = nest.axes[a].var;
            let alone = inner.iter().all(|b| *b == a || !moves(*b, v));
            let offset = nest.body.iter().find(|i| i.result == Some(v)).is_some_and(|i| match i.args.as_slice() {
                [p, q] if i.op == Op::Binary(BinaryOp::Add) => {
                    (*p == var && !moves(a, *q)) || (*q == var && !moves(a, *p))
                }
                _ => false,
            });
            alone && (v == var || offset)
        };
        let fits = |a: usize| !moves(a, index[owned]) && index.iter().any(|v| steps(a, *v));
        let rest: Vec<usize> = inner.iter().copied().filter(|a| fits(*a)).collect();
        if rest.len() == inner.len() {
            return rest;
        }
        inner = rest;
    }
}

/// Positions of the instructions of a nest that values need, in order.
fn needed(nest: &Nest, values: &[Val]) -> Vec<usize> {
    let mut wanted: HashSet<Val> = values.iter().copied().collect();
    let mut found = Vec::new();
    for (k, i) in nest.body.iter().enumerate().rev() {
        if i.result.is_some_and(|v| wanted.contains(&v)) {
            wanted.extend(i.args.iter().copied());
            found.push(k);
        }
    }
    found.reverse();
    found
}

/// Whether a value of a nest depends on one of these.
fn depends(nest: &Nest, v: Val, on: &[Val]) -> bool {
    on.contains(&v) || needed(nest, &[v]).iter().any(|k| nest.body[*k].args.iter().any(|a| on.contains(a)))
}

/// Puts the divided loops in place of the nest, which was the function's last statement.
fn divide(f: &mut Function, mut nest: Nest, update: &Update, owners: u64) {
    let atomic = nest.body[update.at].clone();
    let masked = matches!(atomic.op, Op::Atomic { masked: true, .. });
    let index = Args::from_slice(&atomic.args[1..atomic.args.len() - usize::from(masked)]);
    let mask = atomic.args.last().copied().filter(|_| masked);
    let owner = fresh(f, DType::I64);
    let range = range(f, update, owner, owners);

    // What decides about an update comes first, then the update for all elements that this decides about.
    let inner_vars: Vec<Val> = update.inner.iter().map(|a| nest.axes[*a].var).collect();
    let deciding = mask.filter(|m| !depends(&nest, *m, &inner_vars));
    let roots: Vec<Val> = deciding.into_iter().chain([index[update.axis]]).collect();
    let first = needed(&nest, &roots);
    let mut decide: Vec<Inst> = first.iter().map(|k| nest.body[*k].clone()).collect();
    let mut conditions: Vec<Val> = deciding.into_iter().collect();
    if owners > 1 {
        let (from, to) = (range.values.0, range.values.1);
        conditions.push(binary(f, BinaryOp::Ge, index[update.axis], from, DType::Bool, &mut decide));
        conditions.push(binary(f, BinaryOp::Lt, index[update.axis], to, DType::Bool, &mut decide));
    }
    let mut all = conditions.into_iter();
    let condition = all.next().map(|c| all.fold(c, |a, b| binary(f, BinaryOp::And, a, b, DType::Bool, &mut decide)));

    let rest = plain(f, &nest, update, &atomic, &index, mask.filter(|_| deciding.is_none()), &first);
    let (mut inner, mut outer): (Vec<Axis>, Vec<Axis>) = (Vec::new(), Vec::new());
    for (a, axis) in std::mem::take(&mut nest.axes).into_iter().enumerate() {
        if update.inner.contains(&a) { inner.push(axis) } else { outer.push(axis) }
    }
    let then = vec![Stmt::Nest(Nest { axes: inner, body: rest, ..nest })];
    let mut body: Vec<Stmt> = decide.into_iter().map(Stmt::Inst).collect();
    match condition {
        Some(cond) => body.push(Stmt::If { cond, then, other: Vec::new() }),
        None => body.extend(then),
    }
    let (begin, step) = (header_const(f, 0), header_const(f, 1));
    for axis in outer.into_iter().rev() {
        body = vec![Stmt::For { var: axis.var, begin, end: axis.extent, step, body }];
    }
    let before = std::mem::take(&mut f.body);
    body = before.into_iter().chain(body).collect();
    for axis in std::mem::take(&mut f.grid).into_iter().rev() {
        body = vec![Stmt::For { var: axis.index, begin, end: axis.count, step, body }];
    }
    f.body = range.code.into_iter().map(Stmt::Inst).chain(body).collect();
    let count = header_const(f, owners as i64);
    f.grid = vec![GridAxis { name: "owner".into(), count, index: owner }];
}

/// The indices that an owner has, from the first up to and without the second, and what computes them.
struct Range {
    values: (Val, Val),
    code: Vec<Inst>,
}

fn range(f: &mut Function, update: &Update, owner: Val, owners: u64) -> Range {
    let extent = extent(f, update);
    let (less, count) = (header_const(f, owners as i64 - 1), header_const(f, owners as i64));
    let mut header = Vec::new();
    let up = binary(f, BinaryOp::Add, extent, less, DType::I64, &mut header);
    let part = binary(f, BinaryOp::Div, up, count, DType::I64, &mut header);
    f.header.append(&mut header);
    let mut code = Vec::new();
    let from = binary(f, BinaryOp::Mul, owner, part, DType::I64, &mut code);
    let to = binary(f, BinaryOp::Add, from, part, DType::I64, &mut code);
    Range { values: (from, to), code }
}

/// The extent of the divided axis, a header value.
fn extent(f: &mut Function, update: &Update) -> Val {
    let dims = match update.mem {
        Mem::Tensor(p) => match &f.params[p.index()].kind {
            ParamKind::Tensor { dims, .. } => dims.clone(),
            ParamKind::Scalar { .. } => Default::default(),
        },
        Mem::Buffer(_) => Default::default(),
    };
    let op = match dims.get(update.axis) {
        Some(Dim::Symbol(s)) => Op::Size(*s),
        Some(Dim::Const(n)) => return header_const(f, *n as i64),
        Some(Dim::Tile(_) | Dim::Expr(_)) | None => return header_const(f, i64::MAX >> 8),
    };
    if let Some(v) = f.header.iter().find(|i| i.op == op).and_then(|i| i.result) {
        return v;
    }
    let v = fresh(f, DType::I64);
    f.header.push(Inst { op, args: Args::new(), result: Some(v), at: Loc::UNKNOWN });
    v
}

/// The body of the nest with a plain update in place of the atomic one, without what was computed before it.
fn plain(
    f: &mut Function,
    nest: &Nest,
    update: &Update,
    atomic: &Inst,
    index: &Args,
    mask: Option<Val>,
    first: &[usize],
) -> Vec<Inst> {
    let dtype = f.dtype(atomic.args[0]);
    let mut out: Vec<Inst> = Vec::with_capacity(nest.body.len() + 2);
    for (k, inst) in nest.body.iter().enumerate() {
        if k != update.at {
            if !first.contains(&k) {
                out.push(inst.clone());
            }
            continue;
        }
        let old = fresh(f, dtype);
        let masks: Args = mask.into_iter().collect();
        let mut args = index.clone();
        if let Some(m) = mask {
            // What a masked load has elsewhere is not used: the store has the same mask.
            args.extend([m, atomic.args[0]]);
        }
        let load = Op::Load { mem: update.mem, masked: mask.is_some() };
        out.push(Inst { op: load, args, result: Some(old), at: atomic.at });
        let new = binary(f, update.op, old, atomic.args[0], dtype, &mut out);
        let args = [new].into_iter().chain(index.iter().copied()).chain(masks).collect();
        let store = Op::Store { mem: update.mem, masked: mask.is_some() };
        out.push(Inst { op: store, args, result: None, at: atomic.at });
    }
    out
}

fn binary(f: &mut Function, op: BinaryOp, a: Val, b: Val, result: DType, out: &mut Vec<Inst>) -> Val {
    let v = fresh(f, result);
    out.push(Inst { op: Op::Binary(op), args: Args::from_slice(&[a, b]), result: Some(v), at: Loc::UNKNOWN });
    v
}
