//! How tiles become program instances: which axis varies fastest, in groups or not, one tile for each instance or
//! a loop over many.
//!
//! In: the grid's tile variables, a [`Walk`]. Out: the grid of the loop function, and the tile variables bound in
//! its body, by index arithmetic where an axis of the grid stands for several. Every tile is visited exactly
//! once whatever the walk; what a tile computes never depends on it.

use super::lower::{Lower, Res};
use super::scope::Scope;
use helion_ir::config::{Config, Knob, Slot};
use helion_ir::dtype::DType;
use helion_ir::elementwise::BinaryOp;
use helion_ir::loops::{GridAxis, Stmt, Val};
use helion_ir::target::Target;
use helion_ir::tile::TileId;

/// How the grid is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Number of the permutation of the axes.
    pub order: u64,
    /// The mapping.
    pub mapping: Mapping,
}

/// How tiles are handed to program instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// One instance for each tile, row-major.
    Flat,
    /// The last two axes in groups of so many rows, each walked column by column.
    Swizzled(u64),
    /// So many instances, each looping over tiles, which come row-major or in groups of so many rows.
    Persistent(u64, Option<u64>),
}

impl Walk {
    /// What a config asks for.
    pub fn of(config: &Config, target: &Target) -> Walk {
        let knob = |k| config.get(&Slot::kernel(k));
        let group = knob(Knob::Group).unwrap_or(GROUPS[0]);
        let mapping = match knob(Knob::Grid) {
            Some(SWIZZLED) => Mapping::Swizzled(group),
            // Where instances run at the same time, those that share operands should.
            Some(PERSISTENT) => Mapping::Persistent(u64::from(target.cores).max(1), (target.warp > 1).then_some(group)),
            _ => Mapping::Flat,
        };
        Walk { order: knob(Knob::Order).unwrap_or(0), mapping }
    }
}

/// The values of the knob `grid`.
pub const FLAT: u64 = 0;
pub const SWIZZLED: u64 = 1;
pub const PERSISTENT: u64 = 2;

/// Group sizes worth trying, the default first.
pub const GROUPS: [u64; 5] = [8, 2, 4, 16, 32];

/// How many orders `n` axes have.
pub fn orders(n: usize) -> u64 {
    (1..=n as u64).fold(1, u64::saturating_mul)
}

/// The `number`-th order of `0..n`, counted as words of a dictionary are.
pub fn permutation(n: usize, number: u64) -> Vec<usize> {
    let mut left: Vec<usize> = (0..n).collect();
    let mut rest = number % orders(n);
    (0..n)
        .map(|k| {
            let below = orders(n - 1 - k);
            let pick = (rest / below) as usize;
            rest %= below;
            left.remove(pick)
        })
        .collect()
}

/// An axis of the grid before it has an index.
#[derive(Clone)]
struct Span {
    tile: TileId,
    begin: Val,
    end: Val,
    step: Val,
    count: Val,
}

impl Lower<'_> {
    /// Declares the grid, binds its tile variables, and schedules `body` with them.
    pub fn grid(&mut self, body: impl FnOnce(&mut Self) -> Res<()>) -> Res<()> {
        let tiles: Vec<TileId> = self.src.grid().collect();
        let spans: Vec<Span> = tiles.iter().map(|t| self.span(*t)).collect();
        let order = permutation(spans.len(), self.walk.order);
        let walked: Vec<Span> = order.iter().map(|k| spans[*k].clone()).collect();
        let indices = match self.walk.mapping {
            Mapping::Swizzled(group) if walked.len() >= 2 => self.swizzled(&walked, group),
            Mapping::Persistent(workers, group) if !walked.is_empty() => {
                return self.persistent(&walked, workers, group, body);
            }
            Mapping::Flat | Mapping::Swizzled(_) | Mapping::Persistent(..) => {
                walked.iter().map(|s| self.grid_axis(self.src.tiles[s.tile.index()].name.clone(), s.count)).collect()
            }
        };
        self.bind_grid(&walked, &indices);
        body(self)
    }

    fn span(&mut self, tile: TileId) -> Span {
        let var = &self.src.tiles[tile.index()];
        let (begin, end) = (self.scalar(var.begin), self.scalar(var.end));
        let step = self.index(self.blocks[tile.index()] as i64);
        let count = self.count_tiles(&mut Scope::kernel(), begin, end, step);
        Span { tile, begin, end, step, count }
    }

    /// An axis of the loop function's grid; its index.
    fn grid_axis(&mut self, name: String, count: Val) -> Val {
        let index = self.value(DType::I64);
        self.out.grid.push(GridAxis { name, count, index });
        index
    }

    fn bind_grid(&mut self, spans: &[Span], indices: &[Val]) {
        let mut sc = Scope::kernel();
        for (s, index) in spans.iter().zip(indices) {
            let offset = self.arith(&mut sc, BinaryOp::Mul, *index, s.step);
            let begin = self.arith(&mut sc, BinaryOp::Add, s.begin, offset);
            self.bind_tile(&mut sc, s.tile, begin, s.end, *index, s.count);
        }
    }

    /// One axis for the last two: groups of `group` rows, each column by column; the last group may have fewer.
    fn swizzled(&mut self, spans: &[Span], group: u64) -> Vec<Val> {
        let (outer, last) = spans.split_at(spans.len() - 2);
        let name = |this: &Self, s: &Span| this.src.tiles[s.tile.index()].name.clone();
        let mut indices: Vec<Val> = outer.iter().map(|s| self.grid_axis(name(self, s), s.count)).collect();
        let (rows, cols) = (last[0].count, last[1].count);
        let sc = &mut Scope::kernel();
        let both = self.arith(sc, BinaryOp::Mul, rows, cols);
        let number = self.grid_axis(format!("{}_{}", name(self, &last[0]), name(self, &last[1])), both);
        indices.extend(self.in_groups(sc, number, [rows, cols], group));
        indices
    }

    /// The row and column of a tile by its number: groups of `group` rows, each column by column.
    fn in_groups(&mut self, sc: &mut Scope, number: Val, [rows, cols]: [Val; 2], group: u64) -> [Val; 2] {
        let group = self.index(group as i64);
        let in_group = self.arith(sc, BinaryOp::Mul, group, cols);
        let which = self.arith(sc, BinaryOp::Div, number, in_group);
        let first = self.arith(sc, BinaryOp::Mul, which, group);
        let left = self.arith(sc, BinaryOp::Sub, rows, first);
        let height = self.arith(sc, BinaryOp::Min, left, group);
        let at = self.arith(sc, BinaryOp::Rem, number, in_group);
        let down = self.arith(sc, BinaryOp::Rem, at, height);
        [self.arith(sc, BinaryOp::Add, first, down), self.arith(sc, BinaryOp::Div, at, height)]
    }

    /// At most `workers` instances; each takes every so many-th tile.
    fn persistent(
        &mut self,
        spans: &[Span],
        workers: u64,
        group: Option<u64>,
        body: impl FnOnce(&mut Self) -> Res<()>,
    ) -> Res<()> {
        let one = self.index(1);
        let total = spans.iter().fold(one, |n, s| self.arith(&mut Scope::kernel(), BinaryOp::Mul, n, s.count));
        let step = self.index(workers as i64);
        let count = self.arith(&mut Scope::kernel(), BinaryOp::Min, total, step);
        let begin = self.grid_axis("worker".to_owned(), count);
        let number = self.value(DType::I64);
        let stmts = self.nested(|this| {
            let sc = &mut Scope::kernel();
            let (mut rest, mut indices) = (number, Vec::new());
            let mut outer = spans;
            if let (Some(group), [before @ .., rows, cols]) = (group, spans) {
                let both = this.arith(sc, BinaryOp::Mul, rows.count, cols.count);
                let pair = this.arith(sc, BinaryOp::Rem, rest, both);
                rest = this.arith(sc, BinaryOp::Div, rest, both);
                let [row, col] = this.in_groups(sc, pair, [rows.count, cols.count], group);
                indices.extend([col, row]);
                outer = before;
            }
            for (k, s) in outer.iter().enumerate().rev() {
                let index = if k == 0 { rest } else { this.arith(sc, BinaryOp::Rem, rest, s.count) };
                rest = if k == 0 { rest } else { this.arith(sc, BinaryOp::Div, rest, s.count) };
                indices.push(index);
            }
            indices.reverse();
            this.bind_grid(spans, &indices);
            body(this)
        })?;
        self.body.push(Stmt::For { var: number, begin, end: total, step, body: stmts });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn permutations_are_all_different() {
        for n in 0..5 {
            let all: BTreeSet<Vec<usize>> = (0..orders(n)).map(|k| permutation(n, k)).collect();
            assert_eq!(all.len() as u64, orders(n));
            assert!(permutation(n, 0).into_iter().eq(0..n));
        }
        assert_eq!(permutation(3, 5), [2, 1, 0]);
    }
}
