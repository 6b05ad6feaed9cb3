//! Gathers and scatters. Scatters are loops over single updates, as a kernel would write them.

use helion_ir::tile::{AtomicOp, Dim, Index, Op, ParamId, TileId, ValueId};
use helion_ir::{DType, Loc};

use super::Cx;
use crate::graph::{Dims, V};

/// Whether the operator is of this family; it is then appended.
pub fn lower(cx: &mut Cx<'_>) -> bool {
    match cx.node.op.as_str() {
        "Gather" => {
            let (x, index) = (cx.x(0), cx.x(1));
            let axis = cx.axis("axis", x.rank(), 0);
            let flat = from_front(&index, x.shape[axis]).reshape(&[index.len()]);
            let shape: Dims = [&x.shape[..axis], &index.shape, &x.shape[axis + 1..]].concat();
            let y = x.take(axis, &flat).reshape(&shape);
            cx.out(0, y);
        }
        "GatherElements" => {
            let (x, index) = (cx.x(0), cx.x(1));
            let axis = cx.axis("axis", x.rank(), 0);
            let index = from_front(&index, x.shape[axis]);
            let cut = (0..x.rank()).filter(|a| *a != axis).fold(x, |x, a| x.slice(a, 0, index.shape[a]));
            let y = cut.gather_elements(axis, &index);
            cx.out(0, y);
        }
        "GatherND" => gather_nd(cx),
        "Scatter" | "ScatterElements" => scatter_elements(cx),
        "ScatterND" => scatter_nd(cx),
        _ => return false,
    }
    true
}

/// Indices as `i64`, negative ones counted from the end.
pub fn from_front(index: &V, n: u64) -> V {
    let index = index.cast(DType::I64);
    index.lt(0.0).select(&index + n as f64, &index, &index)
}

fn gather_nd(cx: &mut Cx<'_>) {
    let (x, index) = (cx.x(0), cx.x(1));
    let batch = cx.node.int("batch_dims").unwrap_or(0) as usize;
    let depth = *index.shape.last().expect("an axis") as usize;
    let (outer, inner) = (&x.shape[..batch + depth], &x.shape[batch + depth..]);
    let lead = &index.shape[..index.rank() - 1];
    let (b, points): (u64, u64) = (lead[..batch].iter().product(), lead[batch..].iter().product());
    let rows: u64 = outer[batch..].iter().product();
    let cells: u64 = inner.iter().product();
    // One flat row number per point.
    let index = index.reshape(&[b, points, depth as u64]);
    let mut row = index.seed(0).broadcast(&[b, points]);
    for d in 0..depth {
        let n = outer[batch + d];
        let at = from_front(&index.slice(2, d as u64, 1).reshape(&[b, points]), n);
        row = row * n as f64 + at;
    }
    let pick = row.reshape(&[b, points, 1]).broadcast(&[b, points, cells]);
    let y = x.reshape(&[b, rows, cells]).gather_elements(1, &pick);
    let y = y.reshape(&[lead, inner].concat());
    cx.out(0, y);
}

/// A loop over single points of a shape, with its index scalars.
struct Points {
    tiles: Vec<TileId>,
    at: Vec<ValueId>,
}

/// Opens a loop over every point of a shape.
fn open(cx: &mut Cx<'_>, shape: &[u64]) -> Points {
    let seed = cx.g.seed();
    let bounds: Vec<(ValueId, ValueId)> =
        shape.iter().map(|n| (seed.id, seed.push(Op::Extent(Dim::Const(*n)), &[], DType::I64, vec![]).id)).collect();
    let mut b = cx.g.b.borrow_mut();
    let loop_tile = |(i, (begin, end)): (usize, &(ValueId, ValueId))| {
        b.loop_tile(&format!("t{i}"), *begin, *end, true, Loc::UNKNOWN)
    };
    let tiles: Vec<TileId> = bounds.iter().enumerate().map(loop_tile).collect();
    b.open_region(&[], Loc::UNKNOWN);
    let at = tiles.iter().map(|t| b.one(Op::TileBegin(*t), &[], Loc::UNKNOWN)).collect();
    Points { tiles, at }
}

fn close(cx: &mut Cx<'_>, points: Points) {
    let mut b = cx.g.b.borrow_mut();
    let region = b.close_region(&[]);
    b.push_with_regions(Op::For { tiles: points.tiles }, &[], vec![region], Loc::UNKNOWN);
}

/// The element (or slab) of a tensor at scalar indices followed by full axes.
fn load(like: &V, tensor: ParamId, index: &[Index], dtype: DType, shape: Dims) -> V {
    like.push(Op::Load { tensor, index: index.to_vec() }, &[], dtype, shape)
}

/// How an update is combined by an atomic, if it is.
fn atomic(cx: &Cx<'_>) -> Option<AtomicOp> {
    match cx.node.text("reduction") {
        Some("add") => Some(AtomicOp::Add),
        Some("max") => Some(AtomicOp::Max),
        Some("min") => Some(AtomicOp::Min),
        _ => None,
    }
}

/// Writes the unscattered data. A tensor that atomics update is only written by atomics.
fn start(cx: &Cx<'_>, tensor: ParamId, data: &V) {
    let index = vec![Index::Full; data.rank()];
    let op = match atomic(cx) {
        Some(_) => Op::Atomic { op: AtomicOp::Exchange, tensor, index },
        None => Op::Store { tensor, index },
    };
    cx.g.b.borrow_mut().push(op, &[data.id], Loc::UNKNOWN);
}

/// Combines an update with what an output tensor holds.
fn combine(cx: &Cx<'_>, tensor: ParamId, index: Vec<Index>, update: &V) {
    let push = |op: Op, v: &V| drop(cx.g.b.borrow_mut().push(op, &[v.id], Loc::UNKNOWN));
    if let Some(op) = atomic(cx) {
        return push(Op::Atomic { op, tensor, index }, update);
    }
    if cx.node.text("reduction") == Some("mul") {
        let old = load(update, tensor, &index, update.dtype, update.shape.clone());
        return push(Op::Store { tensor, index }, &(&old * update));
    }
    push(Op::Store { tensor, index }, update);
}

fn scatter_elements(cx: &mut Cx<'_>) {
    let data = cx.x(0);
    let [index, updates] = [1, 2].map(|i| cx.node.inputs[i].clone());
    let (at_index, at_updates) = (cx.x(1), cx.x(2));
    let (index, updates) = (cx.g.param(&index), cx.g.param(&updates));
    let out = cx.g.out_param(&cx.node.outputs[0]);
    let axis = cx.axis("axis", data.rank(), 0);
    start(cx, out, &data);
    let points = open(cx, &at_index.shape);
    let here: Vec<Index> = points.at.iter().map(|v| Index::Scalar(*v)).collect();
    let to = from_front(&load(&data, index, &here, at_index.dtype, vec![]), data.shape[axis]);
    let update = load(&data, updates, &here, at_updates.dtype, vec![]);
    let mut place = here;
    place[axis] = Index::Scalar(to.id);
    combine(cx, out, place, &update);
    close(cx, points);
}

fn scatter_nd(cx: &mut Cx<'_>) {
    let data = cx.x(0);
    let [index, updates] = [1, 2].map(|i| cx.node.inputs[i].clone());
    let (at_index, at_updates) = (cx.x(1), cx.x(2));
    let (index, updates) = (cx.g.param(&index), cx.g.param(&updates));
    let out = cx.g.out_param(&cx.node.outputs[0]);
    let (depth, lead) = at_index.shape.split_last().expect("an axis");
    let depth = *depth as usize;
    start(cx, out, &data);
    let points = open(cx, lead);
    let here: Vec<Index> = points.at.iter().map(|v| Index::Scalar(*v)).collect();
    let mut place = Vec::new();
    for d in 0..depth {
        let mut at = here.clone();
        at.push(Index::Scalar(data.seed(d as i64).id));
        let to = from_front(&load(&data, index, &at, at_index.dtype, vec![]), data.shape[d]);
        place.push(Index::Scalar(to.id));
    }
    let slab = data.shape[depth..].to_vec();
    let mut from = here;
    from.extend(slab.iter().map(|_| Index::Full));
    place.extend(slab.iter().map(|_| Index::Full));
    let update = load(&data, updates, &from, at_updates.dtype, slab);
    combine(cx, out, place, &update);
    close(cx, points);
}
