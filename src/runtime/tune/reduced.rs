//! A small problem for a kernel, on which compiled code is compared with the interpreter.
//!
//! In: a verified function and the arguments of the real launch. Out: arguments of a few thousand elements: awkward
//! sizes, a little more than a block where that stays small, random numbers (integers partly outside the range of
//! indices), strides that promise no more than the real ones. Every function has a meaning for all sizes, so
//! any will do; one whose sizes are constants may have no small problem.

use super::super::alloc::Block;
use super::super::launch::State;
use super::compare::{Expected, Tolerance, tensors};
use helion_autotune::Rejection;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::config::{Config, Knob, Slot};
use helion_ir::dtype::{Class, DType, Literal};
use helion_ir::tile::{self, Dim, Function, Inst, Layout, Op, ParamKind, SymbolId, TileId, Verified};

/// The most points of the product of all sizes.
const POINTS: u64 = 60_000;
/// The largest size to try, in turn.
const LARGEST: [u64; 4] = [67, 39, 19, 7];
/// Integers given to a kernel are at most this.
const INTEGER: i64 = 61;

/// The bytes of each tensor after a run; empty for scalars.
pub(super) type Found = Result<Vec<Vec<u8>>, Rejection>;

/// A small problem.
pub(super) struct Reduced {
    args: Args,
}

impl Reduced {
    /// A small problem for a launch.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) fn new(kernel: &Verified, state: &State, config: &Config) -> Result<Reduced, String> {
        let f = kernel.function();
        let blocks = blocks_of_symbols(f, config);
        let sizes = LARGEST.iter().map(|most| sizes(state, &blocks, *most)).find(|sizes| points(f, sizes) <= POINTS);
        let sizes = sizes.ok_or("its sizes are constants, and too large for the interpreter")?;
        let mut random = Random(0x5eed ^ sizes.iter().sum::<u64>());
        let mut params = Vec::new();
        for (p, c) in f.params.iter().zip(&state.captures) {
            params.push(match &p.kind {
                ParamKind::Scalar { dtype } => Arg::Scalar(scalar(Literal::from_bits(*dtype, state.words[c.word]))),
                ParamKind::Tensor { dtype, dims, layout, .. } => {
                    let dims: Vec<u64> = dims.iter().map(|d| extent(*d, &sizes)).collect();
                    Arg::Tensor(tensor(*dtype, &dims, *layout, &sizes, &mut random))
                }
            });
        }
        let args = Args { params, symbols: sizes };
        args.check(&f.params, &f.symbols)?;
        Ok(Reduced { args })
    }

    /// Runs compiled code and the interpreter. `Ok(Some)` says why the interpreter could not.
    ///
    /// # Errors
    /// What is different, in words.
    pub(super) fn check(
        &self,
        kernel: &Verified,
        compiled: &dyn Fn(&[u64]) -> Result<(), Rejection>,
        config: &Config,
    ) -> Result<Option<String>, String> {
        self.check_with(kernel, &|_| self.run(compiled), config)
    }

    /// As [`check`](Reduced::check), with a function that runs compiled code on these arguments and gives the bytes of
    /// each tensor.
    ///
    /// # Errors
    /// As there.
    pub(super) fn check_with(
        &self,
        kernel: &Verified,
        run: &dyn Fn(&Args) -> Found,
        config: &Config,
    ) -> Result<Option<String>, String> {
        let f = kernel.function();
        let mut expected = self.args.clone();
        let block = |t: TileId| config.get(&Slot::of(Knob::Block, &f.tiles[t.index()].name)).unwrap_or(8);
        if let Err(why) = tile::interp::run_with(kernel, &mut expected, &block, &mut |_| {}) {
            return Ok(Some(why));
        }
        let found = run(&self.args).map_err(|e| e.to_string())?;
        let extents = |p: usize| self.args.tensor(p).map_or(&[][..], TensorArg::dims);
        let longest = self.args.symbols.iter().copied().max().unwrap_or(1);
        let tolerance = Tolerance::of(f, &tensors(f, extents), longest);
        for (p, (bytes, param)) in found.iter().zip(&f.params).enumerate() {
            let Some(e) = expected.tensor(p) else { continue };
            let e = Expected::new(e.dtype(), e.data().to_vec());
            if let Some(text) = e.differs(bytes, tolerance) {
                let sizes: Vec<String> =
                    f.symbols.iter().zip(&self.args.symbols).map(|(s, v)| format!("{}={v}", s.name)).collect();
                return Err(format!("`{}` on a small problem ({}): {text}", param.name, sizes.join(" ")));
            }
        }
        Ok(None)
    }

    /// The bytes of each tensor after a run of compiled code; empty for scalars.
    fn run(&self, compiled: &dyn Fn(&[u64]) -> Result<(), Rejection>) -> Result<Vec<Vec<u8>>, Rejection> {
        let (mut words, mut memory) = (Vec::new(), Vec::new());
        for arg in &self.args.params {
            match arg {
                Arg::Scalar(l) => {
                    words.push(l.bits);
                    memory.push(None);
                }
                Arg::Tensor(t) => {
                    let block = Block::new(t.data().len()).map_err(|e| Rejection::Failed(e.to_string()))?;
                    // SAFETY: the block has at least as many bytes and is ours.
                    unsafe { block.ptr().as_ptr().copy_from_nonoverlapping(t.data().as_ptr(), t.data().len()) };
                    words.push(block.ptr().as_ptr() as u64 + t.offset() * t.dtype().size() as u64);
                    words.extend(t.dims());
                    words.extend(t.strides().iter().map(|s| *s as u64));
                    memory.push(Some((block, t.data().len())));
                }
            }
        }
        words.extend(&self.args.symbols);
        // The words describe the blocks, laid out as the kernel's parameters promise (checked when the arguments were
        // made); nobody else uses them.
        compiled(&words)?;
        // SAFETY: every block has so many bytes, all initialised.
        let bytes = |(b, n): &(Block, usize)| unsafe { std::slice::from_raw_parts(b.ptr().as_ptr(), *n) }.to_vec();
        Ok(memory.iter().map(|m| m.as_ref().map_or_else(Vec::new, bytes)).collect())
    }
}

/// The block of the tile variable that ends at a symbol, if there is one.
fn blocks_of_symbols(f: &Function, config: &Config) -> Vec<Option<u64>> {
    fn walk(insts: &[Inst], seen: &mut impl FnMut(&Inst)) {
        for i in insts {
            seen(i);
            i.regions.iter().for_each(|r| walk(&r.body, seen));
        }
    }
    let mut blocks = vec![None; f.symbols.len()];
    let mut seen = |i: &Inst| {
        let Op::Extent(Dim::Symbol(SymbolId(s))) = i.op else { return };
        for t in f.tiles.iter().filter(|t| i.results.contains(&t.end) && !t.unit) {
            let block = config.get(&Slot::of(Knob::Block, &t.name));
            blocks[s as usize] = blocks[s as usize].max(block);
        }
    };
    walk(&f.header, &mut seen);
    walk(&f.body.body, &mut seen);
    blocks
}

/// A small value for each size symbol: a block and a half where that is at most `most`, else something odd.
fn sizes(state: &State, blocks: &[Option<u64>], most: u64) -> Vec<u64> {
    let small = |(i, real): (usize, &u64)| {
        let odd = most.saturating_sub(2 * i as u64 % (most / 2)).max(2);
        let block = blocks.get(i).copied().flatten().map(|b| b + b / 2 + 1).filter(|b| (3..=odd).contains(b));
        (*real).min(block.unwrap_or(odd))
    };
    state.sizes.iter().enumerate().map(small).collect()
}

/// About how much the interpreter has to do.
fn points(f: &Function, sizes: &[u64]) -> u64 {
    let constants = |kind: &ParamKind| match kind {
        ParamKind::Tensor { dims, .. } => dims
            .iter()
            .map(|d| match d {
                Dim::Const(c) => *c,
                Dim::Symbol(_) | Dim::Tile(_) | Dim::Expr(_) => 1,
            })
            .fold(1u64, u64::saturating_mul),
        ParamKind::Scalar { .. } => 1,
    };
    let most = f.params.iter().map(|p| constants(&p.kind)).max().unwrap_or(1);
    sizes.iter().fold(most, |n, s| n.saturating_mul(*s))
}

fn extent(d: Dim, sizes: &[u64]) -> u64 {
    match d {
        Dim::Const(c) => c,
        Dim::Symbol(s) => sizes.get(s.index()).copied().unwrap_or(1),
        // Not a size of a tensor.
        Dim::Tile(_) | Dim::Expr(_) => 1,
    }
}

/// Floats as they are; integers may count something, so they are made small.
fn scalar(l: Literal) -> Literal {
    match l.dtype.class() {
        Class::Signed | Class::Unsigned if l.to_i64().unsigned_abs() > INTEGER as u64 => {
            Literal::from_i64(l.dtype, (l.to_i64() % INTEGER).abs())
        }
        Class::Bool | Class::Signed | Class::Unsigned | Class::Float | Class::Storage => l,
    }
}

/// Random elements, in a layout that promises no more than `layout`.
fn tensor(dtype: DType, dims: &[u64], layout: Layout, sizes: &[u64], random: &mut Random) -> TensorArg {
    let count = dims.iter().product::<u64>() as usize;
    let past = sizes.iter().chain(dims).copied().max().unwrap_or(1) as i64 + 1;
    let t = match dtype.class() {
        // Multiples of a power of two: exact in all types but the smallest.
        Class::Float | Class::Storage => {
            TensorArg::from_f64s(dtype, dims, (0..count).map(|_| random.within(-128, 128) as f64 / 64.0))
        }
        Class::Bool => TensorArg::from_i64s(dtype, dims, (0..count).map(|_| random.within(0, 1))),
        Class::Signed | Class::Unsigned => {
            let low = if dtype.class() == Class::Signed { -2 } else { 0 };
            let mut v: Vec<i64> = (0..count).map(|_| random.within(low, past.min(100))).collect();
            // Lists of integers are often bounds of something, in order.
            if dims.len() == 1 {
                v.sort_unstable();
            }
            TensorArg::from_i64s(dtype, dims, v)
        }
    };
    let axes: Vec<usize> = (0..dims.len()).collect();
    match layout {
        Layout::Contiguous => t,
        Layout::LastUnit => t.relaid(&axes, 3),
        Layout::Strided => t.relaid(&axes.into_iter().rev().collect::<Vec<_>>(), 2),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn within(&mut self, lo: i64, hi: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let span = hi.abs_diff(lo) + 1;
        lo + ((z ^ z >> 31) % span) as i64
    }
}
