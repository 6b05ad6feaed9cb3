//! What an operation refers to besides its operands: tensors, indices, dims, tile variables.
//!
//! Every question of the kind "which ops have such a thing" is answered here, by matches that name every op.

use super::types::{Dim, Index, Inst, Op, ParamId, TileId, ValueId};
use smallvec::{SmallVec, smallvec};

/// How a memory operation touches its tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// Reads.
    Load,
    /// Writes.
    Store,
    /// Reads and writes, in one step.
    Atomic,
}

/// What an operation does to memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryAccess<'a> {
    /// How.
    pub kind: AccessKind,
    /// Which tensor.
    pub tensor: ParamId,
    /// One entry per axis.
    pub index: &'a [Index],
}

/// What becomes of the things an operation refers to when it is copied elsewhere.
pub trait Rename {
    /// The size that takes the place of another.
    fn dim(&mut self, d: Dim) -> Dim;
    /// The tile variable that takes the place of another.
    fn tile(&mut self, t: TileId) -> TileId;
    /// The value that takes the place of another in an index.
    fn value(&mut self, v: ValueId) -> ValueId;
}

impl Op {
    /// The same operation about other sizes, tile variables and index values. Tensors stay.
    #[must_use]
    pub fn renamed(&self, to: &mut dyn Rename) -> Op {
        let mut op = self.clone();
        op.dims_mut().into_iter().for_each(|d| *d = to.dim(*d));
        match &mut op {
            Op::TileBegin(t) | Op::TileEnd(t) | Op::TileOrdinal(t) | Op::TileCount(t) => *t = to.tile(*t),
            Op::For { tiles } => tiles.iter_mut().for_each(|t| *t = to.tile(*t)),
            Op::Load { index, .. } | Op::Store { index, .. } | Op::Atomic { index, .. } => {
                for entry in index {
                    match entry {
                        Index::Tile(t, offset) => {
                            *t = to.tile(*t);
                            offset.iter_mut().for_each(|v| *v = to.value(*v));
                        }
                        Index::Scalar(v) | Index::Gather(v) => *v = to.value(*v),
                        Index::Full => {}
                    }
                }
            }
            Op::Const(_)
            | Op::Extent(_)
            | Op::Scalar(_)
            | Op::Iota(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Cast(_)
            | Op::Bitcast(_)
            | Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::Reduce { .. }
            | Op::ReduceWith { .. }
            | Op::Scan { .. }
            | Op::ScanWith { .. }
            | Op::Dot { .. }
            | Op::Random { .. }
            | Op::Print { .. }
            | Op::While
            | Op::If => {}
        }
        op
    }

    /// The access of a load, store or atomic.
    pub fn access(&self) -> Option<MemoryAccess<'_>> {
        let (kind, tensor, index) = match self {
            Op::Load { tensor, index } => (AccessKind::Load, *tensor, index),
            Op::Store { tensor, index } => (AccessKind::Store, *tensor, index),
            Op::Atomic { tensor, index, .. } => (AccessKind::Atomic, *tensor, index),
            Op::Const(_)
            | Op::Extent(_)
            | Op::Scalar(_)
            | Op::TileBegin(_)
            | Op::TileEnd(_)
            | Op::TileOrdinal(_)
            | Op::TileCount(_)
            | Op::Iota(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Cast(_)
            | Op::Bitcast(_)
            | Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::Reduce { .. }
            | Op::ReduceWith { .. }
            | Op::Scan { .. }
            | Op::ScanWith { .. }
            | Op::Dot { .. }
            | Op::Random { .. }
            | Op::Print { .. }
            | Op::For { .. }
            | Op::While
            | Op::If => return None,
        };
        Some(MemoryAccess { kind, tensor, index })
    }

    /// The values that the entries of a memory access's index use.
    pub fn index_values(&self) -> SmallVec<[ValueId; 4]> {
        let used = |i: &Index| match i {
            Index::Tile(_, offset) => *offset,
            Index::Scalar(v) | Index::Gather(v) => Some(*v),
            Index::Full => None,
        };
        self.access().map_or_else(SmallVec::new, |a| a.index.iter().filter_map(used).collect())
    }

    /// The dims that the operation itself names.
    pub(super) fn dims(&self) -> SmallVec<[Dim; 4]> {
        self.clone().dims_mut().into_iter().map(|d| *d).collect()
    }

    /// The dims that the operation itself names, to be changed.
    pub(super) fn dims_mut(&mut self) -> SmallVec<[&mut Dim; 4]> {
        match self {
            Op::Extent(d) | Op::Iota(d) => smallvec![d],
            Op::Broadcast(s) | Op::Reshape(s) => s.iter_mut().collect(),
            Op::Slice { start, len, .. } => smallvec![start, len],
            Op::Const(_)
            | Op::Scalar(_)
            | Op::TileBegin(_)
            | Op::TileEnd(_)
            | Op::TileOrdinal(_)
            | Op::TileCount(_)
            | Op::Load { .. }
            | Op::Store { .. }
            | Op::Atomic { .. }
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Cast(_)
            | Op::Bitcast(_)
            | Op::Permute(_)
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::Reduce { .. }
            | Op::ReduceWith { .. }
            | Op::Scan { .. }
            | Op::ScanWith { .. }
            | Op::Dot { .. }
            | Op::Random { .. }
            | Op::Print { .. }
            | Op::For { .. }
            | Op::While
            | Op::If => SmallVec::new(),
        }
    }

    /// The tile variable whose current block the operation asks about.
    pub fn tile_asked(&self) -> Option<TileId> {
        match self {
            Op::TileBegin(t) | Op::TileEnd(t) | Op::TileOrdinal(t) | Op::TileCount(t) => Some(*t),
            Op::Const(_)
            | Op::Extent(_)
            | Op::Scalar(_)
            | Op::Iota(_)
            | Op::Load { .. }
            | Op::Store { .. }
            | Op::Atomic { .. }
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Cast(_)
            | Op::Bitcast(_)
            | Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::Reduce { .. }
            | Op::ReduceWith { .. }
            | Op::Scan { .. }
            | Op::ScanWith { .. }
            | Op::Dot { .. }
            | Op::Random { .. }
            | Op::Print { .. }
            | Op::For { .. }
            | Op::While
            | Op::If => None,
        }
    }

    /// Whether the result is computed element by element from the operands, constants, sizes and scalar
    /// parameters alone.
    pub(super) fn is_math(&self) -> bool {
        match self {
            Op::Const(_)
            | Op::Extent(_)
            | Op::Scalar(_)
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::Cast(_)
            | Op::Bitcast(_) => true,
            Op::TileBegin(_)
            | Op::TileEnd(_)
            | Op::TileOrdinal(_)
            | Op::TileCount(_)
            | Op::Iota(_)
            | Op::Load { .. }
            | Op::Store { .. }
            | Op::Atomic { .. }
            | Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Concat { .. }
            | Op::Gather { .. }
            | Op::Reduce { .. }
            | Op::ReduceWith { .. }
            | Op::Scan { .. }
            | Op::ScanWith { .. }
            | Op::Dot { .. }
            | Op::Random { .. }
            | Op::Print { .. }
            | Op::For { .. }
            | Op::While
            | Op::If => false,
        }
    }
}

impl Inst {
    /// Every value the instruction itself uses: operands and index entries, not those inside its regions.
    pub fn uses(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.args.iter().copied().chain(self.op.index_values())
    }
}
