//! Which values are computed along an axis, element by element.
//!
//! In: a value and one of its axes, whole. Out: every value that it is computed from along that axis, with the
//! position of the axis in each. A part of the value is then computed from the same part of those.

use super::points::Body;
use helion_ir::tile::{Dim, Index, Inst, Op, ValueId};
use std::collections::BTreeMap;

/// Values and the position of the axis in each.
pub type Along = BTreeMap<ValueId, usize>;

/// Adds `v` and what it is computed from along its axis `axis`. `None` when some of it does more with the axis
/// than to go along it.
pub fn follow(body: &Body<'_>, v: ValueId, axis: usize, into: &mut Along) -> Option<()> {
    if let Some(known) = into.get(&v) {
        return (*known == axis).then_some(());
    }
    let inst = body.origin(v)?;
    into.insert(v, axis);
    match &inst.op {
        Op::Load { index, .. } => {
            (*load_entry(index, axis)? == Index::Full).then_some(())?;
            inst.args.first().map_or(Some(()), |mask| aligned(body, inst, *mask, axis, into))
        }
        Op::Unary(_) | Op::Cast(_) | Op::Bitcast(_) => follow(body, inst.args[0], axis, into),
        Op::Binary(_) | Op::Select | Op::Broadcast(_) => {
            inst.args.iter().try_for_each(|a| aligned(body, inst, *a, axis, into))
        }
        Op::Iota(_) => Some(()),
        Op::Random { .. } => follow(body, inst.args[1], axis, into),
        Op::Permute(perm) => follow(body, inst.args[0], perm[axis] as usize, into),
        Op::Reduce { axis: other, .. } if *other as usize != axis => follow(body, inst.args[0], axis, into),
        Op::Reshape(shape) => {
            let from = &body.f.ty(inst.args[0]).shape;
            let wide = |d: &&Dim| **d != Dim::Const(1);
            if !shape.iter().filter(wide).eq(from.iter().filter(wide)) {
                return None;
            }
            let nth = shape[..axis].iter().filter(wide).count();
            let at = from.iter().enumerate().filter(|(_, d)| wide(d)).nth(nth)?.0;
            follow(body, inst.args[0], at, into)
        }
        Op::Const(_)
        | Op::Extent(_)
        | Op::Scalar(_)
        | Op::TileBegin(_)
        | Op::TileEnd(_)
        | Op::TileOrdinal(_)
        | Op::TileCount(_)
        | Op::Store { .. }
        | Op::Atomic { .. }
        | Op::Slice { .. }
        | Op::Concat { .. }
        | Op::Gather { .. }
        | Op::Reduce { .. }
        | Op::ReduceWith { .. }
        | Op::Scan { .. }
        | Op::ScanWith { .. }
        | Op::Dot { .. }
        | Op::Print { .. }
        | Op::For { .. }
        | Op::While
        | Op::If => None,
    }
}

/// Follows an operand that broadcasts to the result, if it has the axis.
fn aligned(body: &Body<'_>, inst: &Inst, operand: ValueId, axis: usize, into: &mut Along) -> Option<()> {
    let (shape, rank) = (&body.f.ty(operand).shape, body.f.ty(inst.results[0]).rank());
    match (axis + shape.len()).checked_sub(rank) {
        Some(at) if shape[at] != Dim::Const(1) => follow(body, operand, at, into),
        Some(_) | None => Some(()),
    }
}

/// The entry of a load's index that makes an axis of its result.
fn load_entry(index: &[Index], axis: usize) -> Option<&Index> {
    index.iter().filter(|i| !matches!(i, Index::Scalar(_))).nth(axis)
}

/// A followed instruction over the block of a tile variable instead of the whole axis. Numbers counted along the axis
/// begin at 0 again.
pub fn narrowed(op: &Op, axis: usize, tile: helion_ir::tile::TileId) -> Op {
    let mut op = op.clone();
    if let Op::Load { index, .. } = &mut op {
        let kept = index.iter_mut().filter(|i| !matches!(i, Index::Scalar(_))).nth(axis);
        kept.into_iter().for_each(|i| *i = Index::Tile(tile, None));
    } else if let Op::Broadcast(shape) | Op::Reshape(shape) = &mut op {
        shape[axis] = Dim::Tile(tile);
    } else if let Op::Iota(d) = &mut op {
        *d = Dim::Tile(tile);
    }
    op
}
