//! Proofs that an index stays inside an axis, so that no mask is needed.
//!
//! All answers are conservative: `false` means "not proved".

use super::lower::Lower;
use helion_ir::elementwise::BinaryOp;
use helion_ir::tile::{Dim, Op, TileId, ValueId};

impl Lower<'_> {
    /// Whether every index of a tile variable is inside an axis of extent `d`.
    pub fn tile_fits(&self, t: TileId, d: Dim) -> bool {
        let var = &self.src.tiles[t.index()];
        self.nonneg(var.begin) && self.at_most(var.end, d)
    }

    /// Whether a scalar index is inside an axis of extent `d`.
    pub fn scalar_fits(&self, v: ValueId, d: Dim) -> bool {
        match self.origin[v.index()].map(|i| &i.op) {
            Some(Op::TileBegin(t)) => self.tile_fits(*t, d),
            Some(Op::Const(c)) => matches!(d, Dim::Const(n) if c.to_i64() >= 0 && (c.to_i64() as u64) < n),
            _ => false,
        }
    }

    fn nonneg(&self, v: ValueId) -> bool {
        let Some(inst) = self.origin[v.index()] else { return false };
        match &inst.op {
            Op::Const(c) => c.to_i64() >= 0,
            Op::Extent(_) | Op::TileOrdinal(_) | Op::TileCount(_) => true,
            Op::TileBegin(t) | Op::TileEnd(t) => self.nonneg(self.src.tiles[t.index()].begin),
            Op::Binary(BinaryOp::Min) => inst.args.iter().all(|a| self.nonneg(*a)),
            Op::Binary(BinaryOp::Max) => inst.args.iter().any(|a| self.nonneg(*a)),
            Op::Binary(BinaryOp::Rem) => self.nonneg(inst.args[0]),
            Op::Binary(BinaryOp::Div) => inst.args.iter().all(|a| self.nonneg(*a)),
            _ => false,
        }
    }

    fn at_most(&self, v: ValueId, d: Dim) -> bool {
        let Some(inst) = self.origin[v.index()] else { return false };
        match &inst.op {
            Op::Const(c) => matches!(d, Dim::Const(n) if c.to_i64() <= n as i64),
            Op::Extent(e) => *e == d,
            Op::TileBegin(t) | Op::TileEnd(t) => self.at_most(self.src.tiles[t.index()].end, d),
            Op::Binary(BinaryOp::Min) => inst.args.iter().any(|a| self.at_most(*a, d)),
            Op::Binary(BinaryOp::Sub) => self.at_most(inst.args[0], d) && self.nonneg(inst.args[1]),
            _ => false,
        }
    }
}
