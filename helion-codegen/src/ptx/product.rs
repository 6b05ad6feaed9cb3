//! Matrix products on matrix instructions: which ones, and how they are divided.
//!
//! In: a contract of a loop function. Out: a [`Product`]: how warps share the result, the layout of its fragments, and how
//! operands lie in shared memory while they are multiplied. A contract that has none becomes a nest.
//!
//! # How a product runs
//! The result is in registers, in the fragments of `m16n8k16` instructions. The summed axis is cut in *steps*; a step's
//! parts of both operands are copied to shared memory, several steps ahead of the one that is multiplied. In shared
//! memory an operand is rows of 16-byte chunks, the chunks of a row swapped by the row's number ([`Tile::chunk`]), so
//! that eight rows of a fragment lie in different banks.
//!
//! On Hopper the four warps of a *warpgroup* multiply together, 64 rows at a time, straight out of shared memory, where
//! rows of 128 bytes with swapped chunks are one of the forms that the instruction reads.

use super::known::Known;
use super::layout::{Bit, LANE_BITS, Layout};
use super::{Arch, Facts};
use helion_ir::dtype::DType;
use helion_ir::loops::{Contract, Function, Mem, Operand, ParamKind};
use helion_ir::tile::Layout as Strides;
use smallvec::SmallVec;

/// Bytes of the summed axis that one instruction takes of each row: 16 elements of 16 bits, 32 of 8 bits.
const K: u32 = 32;

/// A product on matrix instructions.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// Whether warpgroups multiply, not single warps.
    pub groups: bool,
    /// Element type of the operands, and of the result.
    pub dtype: DType,
    pub sum: DType,
    /// Rows and columns of the result, powers of two.
    pub m: u32,
    pub n: u32,
    /// log2 of the warps along rows and columns.
    pub warps: [u32; 2],
    /// Elements of the summed axis in a step.
    pub step: u32,
    /// Steps in shared memory at a time.
    pub stages: u32,
    /// Axes of the result before its rows, all of extent 1.
    pub batch: usize,
    /// The operands in shared memory; the left one is `m × k`, the right one `k × n`.
    pub lhs: Tile,
    pub rhs: Tile,
}

/// An operand in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Whether rows run along the summed axis (a row is one `m` or `n`), else across it (a row is one `k`).
    pub along: bool,
    /// Rows, and elements in a row.
    pub rows: u32,
    pub cols: u32,
    /// Bytes of an element.
    pub size: u32,
    /// Whether the tensor allows chunks of 16 bytes to be copied.
    pub chunks: bool,
}

impl Tile {
    /// Elements of a row that lie together; rows of more are cut in columns of so many.
    pub(super) fn width(self) -> u32 {
        self.cols.min(128 / self.size)
    }
    /// Bytes of as many.
    pub(super) fn line(self) -> u32 {
        self.width() * self.size
    }
    /// Elements of a chunk.
    pub(super) fn chunk(self) -> u32 {
        16 / self.size
    }
    /// Bytes of one step.
    pub(super) fn bytes(self) -> u32 {
        self.rows * self.cols * self.size
    }
    /// By how much the row's number is shifted before it swaps chunks, and the mask of what is swapped.
    pub(super) fn swizzle(self) -> (u32, u32) {
        match self.line() {
            128 => (0, 7),
            64 => (1, 3),
            _ => (2, 1),
        }
    }
}

impl Product {
    /// The product that a contract is, on `1 << warps` warps, when there is one.
    pub(super) fn of(
        f: &Function,
        known: &Known,
        facts: &Facts,
        c: &Contract,
        warps: u32,
        stages: u32,
        arch: Arch,
    ) -> Option<Product> {
        let dtype = element(f, &c.lhs)?;
        let sum = f.buffers[c.acc.index()].dtype;
        let one = |e: &helion_ir::loops::Extent| known.bound(e.extent, e.bound) == Some(1);
        if element(f, &c.rhs) != Some(dtype) || !has_instruction(dtype, sum, arch) || !c.batch.iter().all(one) {
            return None;
        }
        let dims = &f.buffers[c.acc.index()].dims;
        let extent = |back: usize| known.int(dims[dims.len() - back]).and_then(|n| u32::try_from(n).ok());
        let (m, n) = (extent(2)?.next_power_of_two(), extent(1)?.next_power_of_two());
        if m < 16 || n < 16 || m > 256 || n > 256 {
            return None;
        }
        let k = known.bound(c.k.extent, c.k.bound).unwrap_or(u64::MAX);
        let tiles = |step: u32| {
            let lhs = tile(f, known, facts, &c.lhs, c.lhs.col, c.lhs.row, m, step);
            let rhs = tile(f, known, facts, &c.rhs, c.rhs.row, c.rhs.col, n, step);
            [lhs, rhs]
        };
        let stages = stages.clamp(2, 8);
        let batch = c.batch.len();
        let wide = |t: &Tile| t.line() == 128;
        if arch.has_warpgroups()
            && dtype.size() == 2
            && let Some(warps) = divide_groups(m, n, warps)
            && tiles(64).iter().all(wide)
        {
            let [lhs, rhs] = tiles(64);
            return Some(Product { groups: true, dtype, sum, m, n, warps, step: 64, stages, batch, lhs, rhs });
        }
        // Long sums take long steps: fewer barriers.
        let size = dtype.size() as u32;
        let step = match k.saturating_mul(u64::from(size)) {
            0..=32 => 32,
            33..=256 => 64,
            _ => 128,
        } / size;
        let warps = divide(m, n, warps)?;
        if (m * n) >> (5 + warps[0] + warps[1]) > MOST {
            return None;
        }
        let [lhs, rhs] = tiles(step);
        Some(Product { groups: false, dtype, sum, m, n, warps, step, stages, batch, lhs, rhs })
    }

    /// Elements of the summed axis that one instruction takes.
    pub(super) fn k(&self) -> u32 {
        K / self.dtype.size() as u32
    }

    /// The layout of the result.
    pub(super) fn result(&self) -> Layout {
        fragments(self.batch, self.m, self.n, self.warps, self.groups)
    }

    /// The layout that the left operand has when it is fed from registers: the result of another product, its columns
    /// being the summed axis of this one.
    pub(super) fn left_registers(&self, k: u32) -> Option<Layout> {
        // A warp that has some columns only would need the other warps' registers.
        (self.warps[1] == 0 && self.dtype.size() == 2)
            .then(|| fragments(self.batch, self.m, k.next_power_of_two(), [self.warps[0], 0], self.groups))
    }

    /// Bytes of shared memory.
    pub(super) fn bytes(&self) -> u32 {
        self.stages * (self.lhs.bytes() + self.rhs.bytes())
    }
}

/// Whether there is a matrix instruction for operands of one type and sums of another.
fn has_instruction(dtype: DType, sum: DType, arch: Arch) -> bool {
    match dtype {
        DType::F16 | DType::BF16 => sum == DType::F32,
        DType::I8 | DType::U8 => sum == DType::I32,
        DType::F8E4M3 | DType::F8E5M2 => sum == DType::F32 && arch.has_fp8(),
        DType::Bool | DType::I16 | DType::I32 | DType::I64 | DType::U16 | DType::U32 | DType::U64 => false,
        DType::F32 | DType::F64 => false,
    }
}

/// The element type of an operand.
fn element(f: &Function, o: &Operand) -> Option<DType> {
    match o.mem {
        Mem::Tensor(p) => match &f.params[p.index()].kind {
            ParamKind::Tensor { dtype, .. } => Some(*dtype),
            ParamKind::Scalar { .. } => None,
        },
        Mem::Buffer(b) => Some(f.buffers[b.index()].dtype),
    }
}

/// log2 of the warps along rows and columns: rows first while a warp has more than 32 of them, then the longer side;
/// with 16 rows or columns a warp has the least it can.
fn divide(m: u32, n: u32, warps: u32) -> Option<[u32; 2]> {
    let (mut rows, mut cols) = (0, 0);
    for _ in 0..warps {
        let (left_m, left_n) = (m >> rows, n >> cols);
        if left_m > 16 && (left_m >= left_n || left_n <= 16 || m <= 64) {
            rows += 1;
        } else if left_n > 16 {
            cols += 1;
        } else {
            return None;
        }
    }
    Some([rows, cols])
}

/// log2 of the warps along rows and columns when warpgroups multiply: each takes 64 rows at a time, further groups more
/// rows, else half of the columns.
fn divide_groups(m: u32, n: u32, warps: u32) -> Option<[u32; 2]> {
    let groups = warps.checked_sub(2)?;
    if m < 64 {
        return None;
    }
    let rows = groups.min((m / 64).trailing_zeros());
    let cols = groups - rows;
    let own = n >> cols;
    let fits = own >= 16 && (cols == 0 || own >= 64) && (m * n) >> (5 + warps) <= MOST;
    fits.then_some([rows + 2, cols])
}

/// The most registers of a thread for one result.
const MOST: u32 = 128;

/// The layout of fragments of the result of `m16n8`. The four warps of a warpgroup have sixteen rows each of 64, then come
/// the other groups' rows; single warps have neighbouring rows.
fn fragments(batch: usize, m: u32, n: u32, warps: [u32; 2], groups: bool) -> Layout {
    let (row, col) = (batch, batch + 1);
    let (m, n) = (m.trailing_zeros(), n.trailing_zeros());
    let (own_m, own_n) = (m - warps[0], n - warps[1]);
    let bits = |axis: usize, range: std::ops::Range<u32>| range.map(move |b| Bit::new(axis, b));
    let mut reg: SmallVec<[Bit; 8]> = SmallVec::new();
    reg.extend([Bit::new(col, 0), Bit::new(row, 3)]);
    reg.extend(bits(col, 3..own_n));
    let (own, others) = if groups { (4 + warps[0]..m, 4..4 + warps[0]) } else { (4..own_m, own_m..m) };
    reg.extend(bits(row, own));
    let lane: [Option<Bit>; LANE_BITS] =
        [(col, 1), (col, 2), (row, 0), (row, 1), (row, 2)].map(|(axis, bit)| Some(Bit::new(axis, bit)));
    let warp = bits(row, others).chain(bits(col, own_n..n)).map(Some).collect();
    Layout { reg, lane, warp }
}

/// How an operand lies in shared memory: along the axis in which its memory runs. `summed` and `other` are the axes of
/// the memory that the summed axis and the other one walk.
#[allow(clippy::too_many_arguments, reason = "one operand, taken apart once")]
fn tile(
    f: &Function,
    known: &Known,
    facts: &Facts,
    o: &Operand,
    summed: Option<u32>,
    other: Option<u32>,
    extent: u32,
    step: u32,
) -> Tile {
    let last = o.origin.len() as u32 - 1;
    let size = element(f, o).map_or(2, |d| d.size() as u32);
    // Only elements of 16 bits can be turned on their way from shared memory to registers.
    let across = size == 2 && other == Some(last) && summed != Some(last);
    let runs = if across { other } else { summed } == Some(last);
    let even =
        o.origin.last().is_some_and(|v| known.divisor(*v) >= (16 / size).trailing_zeros() || known.int(*v) == Some(0));
    let chunks = runs
        && even
        && match o.mem {
            Mem::Tensor(p) => match &f.params[p.index()].kind {
                ParamKind::Tensor { layout, .. } => !matches!(layout, Strides::Strided) && facts.is_aligned(p.index()),
                ParamKind::Scalar { .. } => false,
            },
            Mem::Buffer(_) => false,
        };
    let (rows, cols) = if across { (step, extent) } else { (extent, step) };
    Tile { along: !across, rows, cols, size, chunks }
}
