//! What the results of a mistaken operation would have been, so that tracing can go on.
//!
//! Element type and rank are right wherever they can be told; nothing else is promised.

use super::Types;
use crate::dtype::DType;
use crate::tile::types::{Dim, Function, Index, Op, ParamKind, Region, Shape, Type, ValueId};
use smallvec::smallvec;

/// Plausible result types for an operation that `infer` refused.
pub(in crate::tile) fn guess(f: &Function, op: &Op, args: &[ValueId], regions: &[Region]) -> Types {
    let get = |v: ValueId| f.values.get(v.index()).map(|v| v.ty.clone());
    let arg = |i: usize| args.get(i).and_then(|v| get(*v)).unwrap_or_else(|| Type::scalar(DType::F32));
    let largest = |from: usize| {
        let shapes = (from..args.len()).map(|i| arg(i).shape);
        shapes.max_by_key(|s| s.len()).unwrap_or_default()
    };
    let one = match op {
        Op::Const(l) => Type::scalar(l.dtype),
        Op::Extent(_) | Op::TileBegin(_) | Op::TileEnd(_) | Op::TileOrdinal(_) | Op::TileCount(_) => {
            Type::scalar(DType::I64)
        }
        Op::Scalar(p) => match f.params.get(p.index()).map(|p| &p.kind) {
            Some(ParamKind::Scalar { dtype } | ParamKind::Tensor { dtype, .. }) => Type::scalar(*dtype),
            None => Type::scalar(DType::F32),
        },
        Op::Iota(d) => Type::tile(DType::I64, [*d]),
        Op::Load { tensor, index } | Op::Atomic { tensor, index, .. } => Type {
            dtype: match f.params.get(tensor.index()).map(|p| &p.kind) {
                Some(ParamKind::Scalar { dtype } | ParamKind::Tensor { dtype, .. }) => *dtype,
                None => DType::F32,
            },
            shape: index
                .iter()
                .filter_map(|i| match i {
                    Index::Tile(t, _) => Some(Dim::Tile(*t)),
                    Index::Full | Index::Gather(_) => Some(Dim::Const(1)),
                    Index::Scalar(_) => None,
                })
                .collect(),
        },
        Op::Store { .. } | Op::Print { .. } => return Types::new(),
        Op::Unary(op) => Type { dtype: op.rule().result(arg(0).dtype), shape: arg(0).shape },
        Op::Binary(op) => Type { dtype: op.rule().result(arg(0).dtype), shape: largest(0) },
        Op::Select => Type { dtype: arg(1).dtype, shape: largest(0) },
        Op::Cast(to) | Op::Bitcast(to) => Type { dtype: *to, shape: arg(0).shape },
        Op::Broadcast(s) | Op::Reshape(s) => Type { dtype: arg(0).dtype, shape: s.clone() },
        Op::Permute(_) | Op::Slice { .. } | Op::Concat { .. } | Op::Scan { .. } => arg(0),
        Op::Gather { .. } => Type { dtype: arg(0).dtype, shape: arg(0).shape },
        Op::Reduce { axis, .. } => {
            let mut ty = arg(0);
            flatten(&mut ty.shape, *axis);
            ty
        }
        Op::ReduceWith { axis } => {
            let mut types: Types = (0..args.len()).map(arg).collect();
            types.iter_mut().for_each(|t| flatten(&mut t.shape, *axis));
            return types;
        }
        Op::ScanWith { .. } | Op::For { .. } | Op::While => return (0..args.len()).map(arg).collect(),
        Op::Dot { acc } => Type { dtype: *acc, shape: arg(0).shape },
        Op::Random { .. } => Type { dtype: DType::U32, shape: arg(1).shape },
        Op::If => {
            return regions.first().map_or_else(Types::new, |r| r.yields.iter().filter_map(|v| get(*v)).collect());
        }
    };
    smallvec![one]
}

fn flatten(shape: &mut Shape, axis: u32) {
    if let Some(d) = shape.get_mut(axis as usize) {
        *d = Dim::Const(1);
    }
}
