//! Atomic updates at places that data decides, as plain updates with one owner for each place.
//!
//! In: a function that does nothing but such updates, as sums of rows by segment or histograms do: tiles may meet in one
//! element, so each update is atomic, which is slow and keeps a core from using vectors. Out, where threads are few: a grid of *owners*. Each looks at all updates and makes those that fall into its part of the tensor;
//! nobody else touches that part, so they are plain, and vectors again along the axes that data does not decide:
//!
//! ```text
//! grid t { for i, j { atomic add out[ids[i], j], x[i, j] } }
//!      ──▶   grid owner { for t { for i { if ids[i] is owned { for j { out[ids[i], j] += x[i, j] } } } } }
//! ```
//!
//! Updates of an element come in another order than before, as atomic ones may in any case.

use super::interchange::{dependents, emit, fresh, header_const, rank};
use helion_ir::BinaryOp;
use helion_ir::config::{Knob, Slot};
use helion_ir::diag::Loc;
use helion_ir::dtype::{Class, DType};
use helion_ir::loops::{Args, AtomicOp, Function, GridAxis, Inst, Mem, Nest, Op, ParamId, Stmt, Val};
use helion_ir::target::Target;
use std::collections::HashSet;

/// More owners than this look at too much that is not theirs.
const MOST: u32 = 8;

/// How many owners a kernel has when nobody says: as many as there are cores.
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
    tensor: ParamId,
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
        let Op::Atomic { op, mem: mem @ Mem::Tensor(tensor), .. } = inst.op else { return None };
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
        let loaded = |v: &Val| needed(nest, [*v]).iter().any(|i| matches!(nest.body[*i].op, Op::Load { .. }));
        let axis = index.iter().position(loaded)?;
        Some(Update { at, op, tensor, axis, inner: inner_axes(nest, index, axis) })
    }
}

/// The axes of the nest along which the elements of an access all differ, whatever data says: each alone moves, step by
/// step, along an axis of the tensor of its own, and the owner's index does not depend on it.
fn inner_axes(nest: &Nest, index: &[Val], owned: usize) -> Vec<usize> {
    let mut inner: Vec<usize> = (0..nest.axes.len()).collect();
    let moved: Vec<HashSet<Val>> = nest.axes.iter().map(|a| dependents(nest, [a.var])).collect();
    let moves = |a: usize, v: Val| moved[a].contains(&v);
    loop {
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
fn needed(nest: &Nest, values: impl IntoIterator<Item = Val>) -> Vec<usize> {
    let mut wanted: HashSet<Val> = values.into_iter().collect();
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

/// Puts the divided loops in place of the nest, which was the function's last statement.
fn divide(f: &mut Function, mut nest: Nest, update: &Update, owners: u64) {
    let access = Access::of(&nest.body[update.at]);
    let owner = fresh(f, DType::I64);
    let (range, from_to) = range(f, update, owner, owners);
    // What decides about an update comes first, then the update for all elements that this decides about.
    let inner_vars = update.inner.iter().map(|a| nest.axes[*a].var);
    let within = dependents(&nest, inner_vars);
    let (deciding, rest) = match access.mask {
        Some(m) if !within.contains(&m) => (Some(m), None),
        mask => (None, mask),
    };
    let index = access.index[update.axis];
    let first = needed(&nest, deciding.into_iter().chain([index]));
    let mut decide: Vec<Inst> = first.iter().map(|k| nest.body[*k].clone()).collect();
    let owned = (owners > 1).then_some([(BinaryOp::Ge, from_to[0]), (BinaryOp::Lt, from_to[1])]);
    let mut condition = deciding;
    for (op, bound) in owned.into_iter().flatten() {
        let test = binary(f, op, [index, bound], DType::Bool, &mut decide);
        condition = Some(condition.map_or(test, |c| binary(f, BinaryOp::And, [c, test], DType::Bool, &mut decide)));
    }
    nest.body = plain(f, &nest, update, &Access { mask: rest, ..access }, &first);
    let (inner, outer) = nest.axes.drain(..).enumerate().partition::<Vec<_>, _>(|(a, _)| update.inner.contains(a));
    nest.axes = inner.into_iter().map(|(_, axis)| axis).collect();
    let mut body: Vec<Stmt> = decide.into_iter().map(Stmt::Inst).collect();
    body.push(match condition {
        Some(cond) => Stmt::If { cond, then: vec![Stmt::Nest(nest)], other: Vec::new() },
        None => Stmt::Nest(nest),
    });
    body = loops(f, outer.into_iter().map(|(_, axis)| (axis.var, axis.extent)), body);
    body = std::mem::take(&mut f.body).into_iter().chain(body).collect();
    let grid = std::mem::take(&mut f.grid);
    body = loops(f, grid.into_iter().map(|axis| (axis.index, axis.count)), body);
    f.body = range.into_iter().map(Stmt::Inst).chain(body).collect();
    let count = header_const(f, owners as i64);
    f.grid = vec![GridAxis { name: "owner".into(), count, index: owner }];
}

/// Loops over variables with their extents, the first outermost, around statements.
fn loops(f: &mut Function, over: impl DoubleEndedIterator<Item = (Val, Val)>, body: Vec<Stmt>) -> Vec<Stmt> {
    let (begin, step) = (header_const(f, 0), header_const(f, 1));
    over.rev().fold(body, |body, (var, end)| vec![Stmt::For { var, begin, end, step, body }])
}

/// The operands of an update.
struct Access {
    value: Val,
    index: Args,
    mask: Option<Val>,
    at: Loc,
}

impl Access {
    fn of(atomic: &Inst) -> Access {
        let masked = matches!(atomic.op, Op::Atomic { masked: true, .. });
        let index = Args::from_slice(&atomic.args[1..atomic.args.len() - usize::from(masked)]);
        let mask = atomic.args.last().copied().filter(|_| masked);
        Access { value: atomic.args[0], index, mask, at: atomic.at }
    }
}

/// What computes the indices that an owner has, and these: from the first up to and without the second.
fn range(f: &mut Function, update: &Update, owner: Val, owners: u64) -> (Vec<Inst>, [Val; 2]) {
    let (less, count) = (header_const(f, owners as i64 - 1), header_const(f, owners as i64));
    let mut header = Vec::new();
    let extent = Op::Dim(update.tensor, update.axis as u32);
    let extent = emit(f, extent, &[], DType::I64, Loc::UNKNOWN, &mut header);
    let up = binary(f, BinaryOp::Add, [extent, less], DType::I64, &mut header);
    let part = binary(f, BinaryOp::Div, [up, count], DType::I64, &mut header);
    f.header.append(&mut header);
    let mut code = Vec::new();
    let from = binary(f, BinaryOp::Mul, [owner, part], DType::I64, &mut code);
    let to = binary(f, BinaryOp::Add, [from, part], DType::I64, &mut code);
    (code, [from, to])
}

/// The body of the nest with a plain update in place of the atomic one, without what was computed before it.
fn plain(f: &mut Function, nest: &Nest, update: &Update, access: &Access, first: &[usize]) -> Vec<Inst> {
    let (mem, masked) = (Mem::Tensor(update.tensor), access.mask.is_some());
    let dtype = f.dtype(access.value);
    let mut out: Vec<Inst> = Vec::with_capacity(nest.body.len() + 2);
    for (k, inst) in nest.body.iter().enumerate().filter(|(k, _)| !first.contains(k)) {
        if k != update.at {
            out.push(inst.clone());
            continue;
        }
        // What a masked load has elsewhere is not used: the store has the same mask.
        let mut args = access.index.clone();
        args.extend(access.mask.into_iter().flat_map(|m| [m, access.value]));
        let old = emit(f, Op::Load { mem, masked }, &args, dtype, access.at, &mut out);
        let new = binary(f, update.op, [old, access.value], dtype, &mut out);
        let args = [new].into_iter().chain(access.index.iter().copied()).chain(access.mask).collect();
        out.push(Inst { op: Op::Store { mem, masked }, args, result: None, at: access.at });
    }
    out
}

fn binary(f: &mut Function, op: BinaryOp, args: [Val; 2], result: DType, out: &mut Vec<Inst>) -> Val {
    emit(f, Op::Binary(op), &args, result, Loc::UNKNOWN, out)
}
