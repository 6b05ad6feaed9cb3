//! The loops around the micro-kernels.
//!
//! Called by compiled kernels with a block of words, see [`Word`]; afterwards the accumulator holds the product (or
//! has it added). Panels live in the scratch memory that the block names.

use super::amx::Unit;
use super::pack::{Minor, Side, Source, pack, pack_lanes, pack_rows_of_bytes};
use super::panels::Panels;
use super::{STEPS, SWEEPS, along};
use helion_ir::dtype::DType;

macro_rules! words {
    ($($name:ident $doc:literal;)*) => {
        /// Positions in the block.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in super::super) enum Word { $(#[doc = $doc] $name,)* }
        impl Word {
            /// How many there are.
            pub(in super::super) const COUNT: usize = [$(Word::$name),*].len();
        }
    };
}

words! {
    M "Rows of the result.";
    N "Columns of the result.";
    K "Length of the sum.";
    Lhs "Address of the left operand.";
    LhsRow "Its bytes per row.";
    LhsCol "Its bytes per step of `k`.";
    Rhs "Address of the right operand.";
    RhsRow "Its bytes per step of `k`.";
    RhsCol "Its bytes per column.";
    Acc "Address of the accumulator, whose columns are adjacent.";
    AccRow "Its bytes per row.";
    Scratch "Memory for panels, aligned to 64.";
    Accumulate "1 to add to the accumulator, 0 to replace it.";
    Panels "What panels hold, see `Panels::number`.";
    Rows "Rows of a full tile.";
    Columns "Columns of a full tile.";
    Kc "Steps of `k` per block.";
    Mc "Rows per block.";
    Nc "Columns per block.";
    LhsType "Ordinal of the left element type.";
    RhsType "Ordinal of the right element type.";
    Add "Kernel that adds a full tile.";
    Store "Kernel that stores a full tile.";
    Edge0 "Rows of an edge kernel; 0 for none.";
    Edge1 "Rows of a smaller edge kernel.";
    Edge2 "Rows of a smaller edge kernel.";
    Edge3 "Rows of a smaller edge kernel.";
    Edge4 "Rows of a smaller edge kernel.";
    EdgeKernel0 "Kernel that stores a tile of `Edge0` rows.";
    EdgeKernel1 "Kernel that stores a tile of `Edge1` rows.";
    EdgeKernel2 "Kernel that stores a tile of `Edge2` rows.";
    EdgeKernel3 "Kernel that stores a tile of `Edge3` rows.";
    EdgeKernel4 "Kernel that stores a tile of `Edge4` rows.";
    Few "The most rows for which the right operand is read in place.";
    Sweep0 "Kernel that sweeps over 8 rows.";
    Sweep1 "Kernel that sweeps over 4 rows.";
    Sweep2 "Kernel that sweeps over 1 row.";
    FewAlong "The most rows for which kernels sum along `k`; 0 where its steps are not adjacent in both operands.";
    LongAlong "The fewest steps of `k` for that.";
    AlongColumns "Columns that several rows share then.";
    Along0 "Kernel that sums 4 rows by these columns.";
    Along1 "Kernel that sums 2 rows by these columns.";
    Along2 "Kernel that sums 1 row by these columns.";
    Along3 "Kernel that sums 4 rows by 1 column.";
    Along4 "Kernel that sums 2 rows by 1 column.";
    Along5 "Kernel that sums 1 row by 1 column.";
    Along6 "Kernel for a single row.";
}

/// Edge kernels: their rows and where they are, largest first.
pub(in super::super) const EDGES: [(Word, Word); 5] = [
    (Word::Edge0, Word::EdgeKernel0),
    (Word::Edge1, Word::EdgeKernel1),
    (Word::Edge2, Word::EdgeKernel2),
    (Word::Edge3, Word::EdgeKernel3),
    (Word::Edge4, Word::EdgeKernel4),
];
/// Kernels that sweep, as [`SWEEPS`] says.
pub(in super::super) const SWEEP_KERNELS: [Word; SWEEPS.len()] = [Word::Sweep0, Word::Sweep1, Word::Sweep2];

/// A micro-kernel: `(A panel, B panel, C, bytes per row of C)` and steps of `k`.
pub(super) type Kernel = unsafe extern "C" fn(slots: *mut u64, k: u64);

/// Element types of accumulators.
pub(super) trait Number: Copy + Default + 'static {
    /// Its element type.
    const DTYPE: DType;
    /// `self + other`, wrapping.
    fn plus(self, other: Self) -> Self;
    /// The number in the low bits of a word.
    fn from_word(word: u64) -> Self;
}

impl Number for f32 {
    const DTYPE: DType = DType::F32;
    fn plus(self, other: f32) -> f32 {
        self + other
    }
    fn from_word(word: u64) -> f32 {
        f32::from_bits(word as u32)
    }
}
impl Number for f64 {
    const DTYPE: DType = DType::F64;
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    fn from_word(word: u64) -> f64 {
        f64::from_bits(word)
    }
}
impl Number for i32 {
    const DTYPE: DType = DType::I32;
    fn plus(self, other: i32) -> i32 {
        self.wrapping_add(other)
    }
    fn from_word(word: u64) -> i32 {
        word as u32 as i32
    }
}

/// Whether operands of type `from` can be packed as `to`.
pub(super) fn converts(from: DType, to: DType) -> bool {
    match to {
        DType::F32 => matches!(
            from,
            DType::F32
                | DType::F16
                | DType::BF16
                | DType::F8E4M3
                | DType::F8E5M2
                | DType::I8
                | DType::U8
                | DType::I16
                | DType::U16
        ),
        DType::F64 => matches!(from, DType::F64 | DType::F32),
        DType::I32 => matches!(from, DType::I32 | DType::I8 | DType::U8 | DType::I16 | DType::U16),
        _ => false,
    }
}

/// The driver for an accumulator type.
pub(in super::super) fn entry(acc: DType) -> Option<(&'static str, usize)> {
    match acc {
        DType::F32 => Some(("contract_f32", contract::<f32> as *const () as usize)),
        DType::F64 => Some(("contract_f64", contract::<f64> as *const () as usize)),
        DType::I32 => Some(("contract_i32", contract::<i32> as *const () as usize)),
        _ => None,
    }
}

/// The block of words, read.
pub(super) struct Job {
    words: *const u64,
}

impl Job {
    pub(super) fn word(&self, w: Word) -> u64 {
        // SAFETY: the caller of `contract` passes a full block.
        unsafe { *self.words.add(w as usize) }
    }
    pub(super) fn size(&self, w: Word) -> usize {
        // Extents are signed; not positive means none.
        usize::try_from(self.word(w) as i64).unwrap_or(0)
    }
    pub(super) fn step(&self, w: Word) -> isize {
        self.word(w) as i64 as isize
    }
    fn panels(&self) -> Panels {
        Panels::numbered(self.size(Word::Panels))
    }
    pub(super) fn kernel(&self, w: Word) -> Kernel {
        // SAFETY: the word is the address of a compiled micro-kernel with this signature.
        unsafe { std::mem::transmute::<usize, Kernel>(self.word(w) as usize) }
    }
    /// The smallest kernel with at least `rows` rows.
    fn kernel_for(&self, rows: usize) -> (usize, Kernel) {
        let mut best = (self.size(Word::Rows), Word::Store);
        for (size, kernel) in EDGES {
            let have = self.size(size);
            if have >= rows && have > 0 {
                best = (have, kernel);
            }
        }
        (best.0, self.kernel(best.1))
    }
}

/// `acc (+)= lhs * rhs`.
///
/// # Safety
/// The block describes live operands, an accumulator of at least `M` by `N` elements that nothing else uses,
/// kernels compiled for its tile, and enough scratch memory.
unsafe extern "C" fn contract<T: Number>(words: *mut u64, _: u64) {
    let job = Job { words };
    let (m, n, k) = (job.size(Word::M), job.size(Word::N), job.size(Word::K));
    if m == 0 || n == 0 {
        return;
    }
    let accumulate = job.word(Word::Accumulate) != 0;
    if k == 0 {
        if !accumulate {
            // SAFETY: the accumulator has `m` rows of `n` elements.
            unsafe { clear::<T>(&job, m, n) };
        }
        return;
    }
    if along::wanted(&job, m, k) {
        // SAFETY: by the caller's promise; the block has such kernels where steps are adjacent.
        return unsafe { along::multiply::<T>(&job, [m, n, k], accumulate) };
    }
    let mut done = 0;
    if m <= job.size(Word::Few) {
        done = k / STEPS as usize * STEPS as usize;
        if !accumulate {
            // SAFETY: the accumulator has `m` rows of `n` elements.
            unsafe { clear::<T>(&job, m, n) };
        }
        // SAFETY: by the caller's promise.
        unsafe { in_place::<T>(&job, done, m, n) };
    }
    let _unit = match job.panels() {
        Panels::Tiles(_) => Unit::open(),
        Panels::Single | Panels::Lanes(_) => None,
    };
    let (kc, nc) = (job.size(Word::Kc), job.size(Word::Nc));
    for k0 in (done..k).step_by(kc) {
        let kb = kc.min(k - k0);
        for n0 in (0..n).step_by(nc) {
            let nb = nc.min(n - n0);
            // SAFETY: the block lies within the operands and the accumulator.
            unsafe { columns::<T>(&job, (k0, kb), (n0, nb), m, accumulate || k0 > 0) };
        }
    }
}

/// Adds the first `k` steps of the product, a multiple of [`STEPS`], with the right operand where it is.
///
/// The rows of the right operand that a sweep reads are still in cache when the next rows of the accumulator sweep.
unsafe fn in_place<T: Number>(job: &Job, k: usize, m: usize, n: usize) {
    let (mc, size, steps) = (job.size(Word::Mc), size_of::<T>(), STEPS as usize);
    let kc = (job.size(Word::Kc) / steps * steps).max(steps);
    let panel = job.word(Word::Scratch) as *mut u8;
    let (rhs_row, acc_row) = (job.step(Word::RhsRow), job.step(Word::AccRow));
    for m0 in (0..m).step_by(mc) {
        let mb = mc.min(m - m0);
        for k0 in (0..k).step_by(kc) {
            let kb = kc.min(k - k0);
            // SAFETY: the rows exist, and scratch memory has room for a block of them.
            each_sweep(mb, |i, rows, _| unsafe {
                pack_panel::<T>(job, (k0, kb), (m0 + i, rows), rows, panel, (i * kb, Panels::Single));
            });
            for s0 in (0..kb).step_by(steps) {
                let b = (job.word(Word::Rhs) as *const u8).wrapping_offset((k0 + s0) as isize * rhs_row);
                each_sweep(mb, |i, rows, kernel| {
                    let a = panel.wrapping_add((i * kb + s0 * rows) * size);
                    let c = (job.word(Word::Acc) as *mut u8).wrapping_offset((m0 + i) as isize * acc_row);
                    let mut slots = [a as u64, b as u64, rhs_row as u64, c as u64, acc_row as u64];
                    // SAFETY: the panel is packed, the rows of the right operand and of the accumulator exist.
                    unsafe { job.kernel(kernel)(slots.as_mut_ptr(), n as u64) };
                });
            }
        }
    }
}

/// Cuts rows into the pieces that kernels sweep over: the first row, how many, the kernel.
fn each_sweep(rows: usize, mut f: impl FnMut(usize, usize, Word)) {
    let mut at = 0;
    for (height, kernel) in SWEEPS.into_iter().zip(SWEEP_KERNELS) {
        let height = height as usize;
        while rows - at >= height {
            f(at, height, kernel);
            at += height;
        }
    }
}

unsafe fn clear<T: Number>(job: &Job, m: usize, n: usize) {
    let acc = job.word(Word::Acc) as *mut u8;
    for i in 0..m {
        // SAFETY: row `i` of the accumulator has `n` elements, and all zero bits is zero.
        unsafe { std::ptr::write_bytes(acc.offset(i as isize * job.step(Word::AccRow)).cast::<T>(), 0, n) };
    }
}

/// How many panels of the right operand are packed together: few enough for the second-level cache, enough that
/// each of its rows is read in long pieces.
const GROUP: usize = 8;
/// Lanes of steps of `k` packed for one panel before the next panel of the group.
const STRIP: usize = 16;
/// Lanes that are left free after a panel of the right operand, for each of its columns: at a distance of a power of two all
/// panels would lie in the same few sets of the caches.
pub(super) const GAP: usize = 1;

/// One block of `k` and columns.
///
/// With one block of rows, panels of the right operand are packed in groups just before they are used and are
/// still in cache then; with several blocks all panels are packed first.
unsafe fn columns<T: Number>(job: &Job, (k0, kb): (usize, usize), (n0, nb): (usize, usize), m: usize, add: bool) {
    let (rows, width, mc) = (job.size(Word::Rows), job.size(Word::Columns), job.size(Word::Mc));
    let size = size_of::<T>();
    let a = job.word(Word::Scratch) as *mut u8;
    let (depth, row_depth) = (job.panels().depth(kb), job.panels().row_depth(kb));
    let pitch = (depth + GAP) * size;
    let tile = a.wrapping_add((mc.min(m).next_multiple_of(rows) * row_depth * size).next_multiple_of(64));
    let b = tile.wrapping_add((rows * width * size).next_multiple_of(64));
    let group = if m <= mc { GROUP * width } else { nb };
    for g0 in (0..nb).step_by(group) {
        let gb = group.min(nb - g0);
        // SAFETY: the columns exist, and scratch memory has room for all columns of the block.
        unsafe { pack_columns::<T>(job, (k0, kb), (n0 + g0, gb), b.cast()) };
        for m0 in (0..m).step_by(mc) {
            let mb = mc.min(m - m0);
            if g0 == 0 || group == nb {
                // SAFETY: the rows exist, and scratch memory has room for a block of them.
                unsafe { pack_rows::<T>(job, (k0, kb), (m0, mb), a) };
            }
            for j in (0..gb).step_by(width) {
                let panel = b.wrapping_add(j * pitch);
                for i in (0..mb).step_by(rows) {
                    let t = Tile { at: (m0 + i, n0 + g0 + j), rows: rows.min(mb - i), columns: width.min(gb - j) };
                    // SAFETY: the panels are packed, the tile lies in the accumulator.
                    unsafe { t.run::<T>(job, a.wrapping_add(i * row_depth * size), panel, depth, add, tile.cast()) };
                }
            }
        }
    }
}

/// Packs panels of the right operand, a strip of rows of all of them at a time.
unsafe fn pack_columns<T: Number>(job: &Job, (k0, kb): (usize, usize), (n0, nb): (usize, usize), to: *mut T) {
    let from = DType::ALL[job.size(Word::RhsType)];
    let (row, col) = (job.step(Word::RhsRow), job.step(Word::RhsCol));
    let (width, panels) = (job.size(Word::Columns), job.panels());
    let depth = panels.depth(kb);
    let pitch = depth + GAP;
    let start = (job.word(Word::Rhs) as *const u8).wrapping_offset(k0 as isize * row + n0 as isize * col);
    let lanes = panels.lanes(kb);
    for j in (0..nb).step_by(width).filter(|_| lanes < depth) {
        // SAFETY: the panel is this long.
        unsafe { std::ptr::write_bytes(to.add(j * pitch + lanes * width), 0, (depth - lanes) * width) };
    }
    // Where `k` is adjacent there is nothing to gain from strips.
    let strip = if row.abs() < col.abs() { kb } else { STRIP * panels.per_lane() };
    for s0 in (0..kb).step_by(strip) {
        let sb = strip.min(kb - s0);
        for j in (0..nb).step_by(width) {
            let minor = Minor { count: width.min(nb - j), width, stride: col };
            let at = start.wrapping_offset(s0 as isize * row + j as isize * col);
            let source = Source { at, from, minor, step: row, k: sb };
            // SAFETY: by the caller's promise; a strip is a whole number of lanes.
            unsafe {
                match panels {
                    Panels::Single => pack(source, to.add(j * pitch + s0 * width)),
                    Panels::Lanes(_) | Panels::Tiles(_) => {
                        let to = to.add(j * pitch + s0 / panels.per_lane() * width);
                        pack_lanes(source, to.cast(), panels, Side::Right);
                    }
                }
            }
        }
    }
}

/// Packs rows of the left operand; the last panel is as narrow as its kernel.
unsafe fn pack_rows<T: Number>(job: &Job, (k0, kb): (usize, usize), (m0, mb): (usize, usize), to: *mut u8) {
    let rows = job.size(Word::Rows);
    for i in (0..mb).step_by(rows) {
        let count = rows.min(mb - i);
        let width = if count == rows { rows } else { job.kernel_for(count).0 };
        // SAFETY: by the caller's promise.
        unsafe {
            pack_panel::<T>(job, (k0, kb), (m0 + i, count), width, to, (i * job.panels().row_depth(kb), job.panels()))
        };
    }
}

/// Packs some rows of the left operand as a panel, `at` elements after `to`, with what shares lanes in it.
unsafe fn pack_panel<T: Number>(
    job: &Job,
    (k0, kb): (usize, usize),
    (m0, count): (usize, usize),
    width: usize,
    to: *mut u8,
    (at, panels): (usize, Panels),
) {
    let from = DType::ALL[job.size(Word::LhsType)];
    let (row, col) = (job.step(Word::LhsRow), job.step(Word::LhsCol));
    let at_first = (job.word(Word::Lhs) as *const u8).wrapping_offset(m0 as isize * row + k0 as isize * col);
    let minor = Minor { count, width, stride: row };
    let source = Source { at: at_first, from, minor, step: col, k: kb };
    // SAFETY: the rows lie in the left operand, the panel in scratch memory.
    unsafe {
        let to = to.cast::<T>().add(at);
        match panels {
            Panels::Single => pack(source, to),
            Panels::Lanes(_) => pack_lanes(source, to.cast(), panels, Side::Left),
            Panels::Tiles(_) => pack_rows_of_bytes(at_first, from.size(), minor, col, kb, to.cast()),
        }
    }
}

/// A tile of the accumulator, perhaps a partial one.
struct Tile {
    at: (usize, usize),
    rows: usize,
    columns: usize,
}

impl Tile {
    /// Runs the kernel, through the temporary where the tile is partial.
    unsafe fn run<T: Number>(&self, job: &Job, a: *mut u8, b: *mut u8, k: usize, add: bool, temporary: *mut T) {
        let (full_rows, full_columns) = (job.size(Word::Rows), job.size(Word::Columns));
        let stride = job.step(Word::AccRow);
        let c = (job.word(Word::Acc) as *mut u8)
            .wrapping_offset(self.at.0 as isize * stride)
            .wrapping_add(self.at.1 * size_of::<T>());
        if self.rows == full_rows && self.columns == full_columns {
            let kernel = job.kernel(if add { Word::Add } else { Word::Store });
            let mut slots = [a as u64, b as u64, c as u64, stride as u64];
            // SAFETY: full panels and a full tile of the accumulator.
            return unsafe { kernel(slots.as_mut_ptr(), k as u64) };
        }
        let kernel = if self.rows == full_rows { job.kernel(Word::Store) } else { job.kernel_for(self.rows).1 };
        let mut slots = [a as u64, b as u64, temporary as u64, (full_columns * size_of::<T>()) as u64];
        // SAFETY: the temporary holds a full tile.
        unsafe { kernel(slots.as_mut_ptr(), k as u64) };
        for i in 0..self.rows {
            let to = c.wrapping_offset(i as isize * stride).cast::<T>();
            for j in 0..self.columns {
                // SAFETY: row `i`, column `j` exist in the temporary and in the accumulator.
                unsafe {
                    let v = *temporary.add(i * full_columns + j);
                    let to = to.add(j);
                    *to = if add { (*to).plus(v) } else { v };
                }
            }
        }
    }
}
