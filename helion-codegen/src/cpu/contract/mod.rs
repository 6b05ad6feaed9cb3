//! Matrix products: operands packed into panels, micro-kernels over the panels.
//!
//! In: a [`Contract`]. Out: a [`Form`], that is the micro-kernels to compile and the block sizes; the kernel
//! then calls [`driver`] once per batch element with a block of words that says where everything is. `None`
//! for element types without micro-kernels; the kernel then runs scalar loops.
//!
//! The driver blocks over `k` (so that a panel of the right operand stays in cache), over columns, and over
//! rows (so that the packed left operand stays in the second-level cache). Panels are `[k][rows]` and
//! `[k][columns]`, padded with zeros; tiles at the edges go through a temporary.

pub(super) mod driver;
mod pack;
#[cfg(test)]
mod tests;

use super::vector::Isa;
use super::vector::ir::Program;
use super::vector::micro::MicroKernel;
use driver::Word;
use helion_ir::dtype::DType;
use helion_ir::loops::{Contract, Micro};

/// Steps of `k` per block.
const KC: u64 = 512;
/// Rows per block.
const MC: u64 = 288;
/// Columns per block.
const NC: u64 = 2048;
/// How many sizes of edge kernels there are at most.
const EDGES: usize = 4;

/// How a product is computed.
#[derive(Debug)]
pub(super) struct Form {
    /// Element type of the accumulator.
    pub dtype: DType,
    /// Rows of a full tile.
    pub rows: u64,
    /// Columns of a full tile.
    pub columns: u64,
    /// Steps of `k` per block.
    pub kc: u64,
    /// Adds a full tile to the accumulator.
    pub add: Program,
    /// Stores a full tile.
    pub store: Program,
    /// Stores a tile with fewer rows.
    pub edges: Vec<(u64, Program)>,
}

/// The register tile that suits an instruction set.
fn default_micro(isa: Isa) -> Micro {
    match isa {
        Isa::Avx512 => Micro { rows: 12, vectors: 2 },
        Isa::Avx2 => Micro { rows: 6, vectors: 2 },
        Isa::Clif128 => Micro { rows: 4, vectors: 2 },
    }
}

/// Plans a product with operands of types `lhs` and `rhs`; `None` when it must run as scalar loops.
pub(super) fn form(c: &Contract, acc: DType, lhs: DType, rhs: DType, isa: Isa) -> Option<Form> {
    if !driver::converts(lhs, acc) || !driver::converts(rhs, acc) {
        return None;
    }
    let micro = c.micro.unwrap_or_else(|| default_micro(isa));
    let most = u64::from(micro.rows.clamp(1, 32));
    let rows = c.m.bound.map_or(most, |b| most.min(b.max(1)));
    let lanes = isa.vector_bytes() / acc.size();
    let vectors = micro.vectors.clamp(1, 8);
    let kernel = |rows: u64, accumulate| {
        let k = MicroKernel { rows: rows as u32, vectors, dtype: acc, unroll: 2, accumulate };
        k.program(lanes).ok()
    };
    let mut edges = Vec::new();
    let mut smaller = rows / 2;
    while smaller > 0 && edges.len() < EDGES {
        edges.push((smaller, kernel(smaller, false)?));
        smaller /= 2;
    }
    let kc = c.k.bound.map_or(KC, |b| KC.min(b.max(1)));
    let columns = u64::from(vectors) * lanes as u64;
    Some(Form { dtype: acc, rows, columns, kc, add: kernel(rows, true)?, store: kernel(rows, false)?, edges })
}

impl Form {
    /// Constant words of the driver's block.
    pub(super) fn words(&self, lhs: DType, rhs: DType, accumulate: bool) -> Vec<(Word, i64)> {
        let mut words = vec![
            (Word::Rows, self.rows as i64),
            (Word::Columns, self.columns as i64),
            (Word::Kc, self.kc as i64),
            (Word::Mc, (MC / self.rows * self.rows).max(self.rows) as i64),
            (Word::Nc, (NC / self.columns * self.columns).max(self.columns) as i64),
            (Word::LhsType, super::runtime::ordinal(lhs)),
            (Word::RhsType, super::runtime::ordinal(rhs)),
            (Word::Accumulate, i64::from(accumulate)),
        ];
        for (i, word) in [Word::Edge0, Word::Edge1, Word::Edge2, Word::Edge3].into_iter().enumerate() {
            words.push((word, self.edges.get(i).map_or(0, |(r, _)| *r as i64)));
        }
        words
    }

    /// Bytes of packed panels that do not depend on the extents, and those per row and per column.
    pub(super) fn spare(&self) -> (i64, i64, i64) {
        let size = self.dtype.size() as i64;
        let (rows, columns, kc) = (self.rows as i64, self.columns as i64, self.kc as i64);
        let fixed = (rows * kc + columns * kc + rows * columns) * size + 3 * 64;
        (fixed, kc * size, kc * size)
    }

    /// The most rows and columns of a block.
    pub(super) fn block(&self) -> (i64, i64) {
        (MC as i64, NC as i64)
    }
}
