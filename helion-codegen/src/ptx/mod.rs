//! The GPU backend: loop IR to PTX for NVIDIA GPUs, through LLVM.
//!
//! In: a loop function, the architecture, and facts about the launch's arguments ([`PtxOptions`]). Out: a [`PtxKernel`]:
//! PTX text, and the rule by which a launch finds its number of blocks and its memory. Loading and running it belongs to
//! the caller.
//!
//! Types, targets and launch rules are always here; [`compile`] needs the feature `llvm`.
//!
//! # Calling convention
//! A kernel takes 64-bit words: first those of the CPU backend (for each parameter in order: a tensor gives the
//! address of its element at index 0…0, its extents, then its strides in elements; a scalar gives its bits; then one word
//! per size symbol), then two of its own: `spill`, the address of memory for buffers that do not fit in shared memory
//! (0 when they do), and `programs`, the number of program instances. The grid is one-dimensional. Where the copy engine
//! walks tensors, their descriptions ([`Mapped`]) come before the words.

mod arch;
#[cfg(feature = "llvm")]
mod desugar;
#[cfg(feature = "llvm")]
mod feed;
mod kernel;
mod knobs;
#[cfg(feature = "llvm")]
mod known;
#[cfg(feature = "llvm")]
mod layout;
#[cfg(feature = "llvm")]
mod llvm;
#[cfg(feature = "llvm")]
mod peel;
#[cfg(feature = "llvm")]
mod plan;
#[cfg(feature = "llvm")]
mod product;
#[cfg_attr(not(feature = "llvm"), allow(dead_code, reason = "made by the code generator"))]
mod rule;
#[cfg(feature = "llvm")]
mod turns;

pub use arch::{Arch, target};
pub use kernel::{Foreign, Mapped, Plan, PtxKernel};
pub use rule::Values;

use crate::backend::Backend;
use helion_ir::config::{Config, ConfigSpace};
use helion_ir::loops::{Contract, Function, Inst, Op, Param, ParamKind, Stmt, SymbolId, Val};
use helion_ir::target::Target;
use helion_ir::tile::Dim;
use std::collections::HashSet;

/// For what to compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PtxOptions {
    /// The architecture.
    pub arch: Arch,
    /// What is known of the arguments of launches. A kernel may only be launched with arguments that fit.
    pub facts: Facts,
}

impl PtxOptions {
    /// For an architecture, knowing nothing of the arguments.
    pub fn new(arch: Arch) -> PtxOptions {
        PtxOptions { arch, facts: Facts::default() }
    }
}

/// What code may rely on beyond the types of its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Sizes that are constants; see [`Wanted::exact`].
    pub sizes: Vec<(SymbolId, u64)>,
    /// Sizes of which something is known; see [`Wanted::bounded`].
    pub bounds: Vec<(SymbolId, Bound)>,
    /// Bit `i` is set when parameter `i` is a tensor that [`is_aligned`].
    pub aligned: u64,
    /// Whether every offset into every tensor, in bytes, fits in 31 bits.
    pub narrow: bool,
}

impl Facts {
    /// Whether a parameter is known to be [`aligned`](Facts::aligned).
    pub fn is_aligned(&self, parameter: usize) -> bool {
        parameter < 64 && self.aligned >> parameter & 1 != 0
    }

    /// What holds for arguments, given as words, of what code wants to know.
    pub fn of(params: &[Param], words: &[u64], wanted: &Wanted) -> Facts {
        let (mut aligned, mut narrow) = (0, true);
        let mut at = 0;
        for (k, p) in params.iter().enumerate() {
            let ParamKind::Tensor { dtype, dims, .. } = &p.kind else {
                at += 1;
                continue;
            };
            let (rank, size) = (dims.len(), dtype.size() as u64);
            let (extents, strides) = (&words[at + 1..at + 1 + rank], &words[at + 1 + rank..at + 1 + 2 * rank]);
            let axes = || extents.iter().zip(strides).map(|(n, s)| (*n, (*s as i64).unsigned_abs()));
            let reach = |sum: u64, (n, s): (u64, u64)| sum.saturating_add(n.saturating_sub(1).saturating_mul(s));
            let bytes = axes().fold(1, reach).saturating_mul(size);
            narrow &= bytes < 1 << 31;
            let signed = extents.iter().zip(strides).map(|(n, s)| (*n, *s as i64));
            if k < 64 && is_aligned(words[at], size, signed) {
                aligned |= 1 << k;
            }
            at += 1 + 2 * rank;
        }
        wanted.facts(|s| words.get(at + s.index()).copied(), aligned, narrow)
    }
}

/// What is known of a size, so that code serves many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    /// The most it can be.
    pub most: u64,
    /// log2 of a number that divides it.
    pub divisor: u32,
}

impl Bound {
    /// The largest size with a bound: threads do not keep rows of more in registers.
    const LARGEST: u64 = 1 << 16;
    /// The smallest bound; code for a warp is code for fewer elements, too.
    const SMALLEST: u64 = 32;
    /// log2 of the most elements in 16 bytes that are moved together.
    const DIVISOR: u32 = 3;

    /// What code for a size and those like it may know: powers of two that are no less, and divide it.
    pub fn of(size: u64) -> Option<Bound> {
        let most = size.max(Bound::SMALLEST).checked_next_power_of_two()?;
        (most <= Bound::LARGEST).then_some(Bound { most, divisor: size.trailing_zeros().min(Bound::DIVISOR) })
    }
}

/// The sizes that code wants to know before it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Those that should be constants: they give the shape of results of products, such as the depth of a head in attention.
    /// There is code for each value.
    pub exact: Vec<SymbolId>,
    /// Those that give the shape of other values which may be kept in registers, such as a row of softmax. There is code for
    /// each [`Bound`].
    pub bounded: Vec<SymbolId>,
}

impl Wanted {
    /// What the code of a function wants to know.
    pub fn of(f: &Function) -> Wanted {
        let mut results = HashSet::new();
        products(&f.body, &mut |c| results.extend(f.buffers[c.acc.index()].dims.iter().copied()));
        let exact = symbols_of(f, &results);
        let all: HashSet<Val> = f.buffers.iter().flat_map(|b| b.dims.iter().copied()).collect();
        let bounded = symbols_of(f, &all).into_iter().filter(|s| !exact.contains(s)).collect();
        Wanted { exact, bounded }
    }

    /// What holds for a launch with these sizes.
    pub fn facts(&self, size: impl Fn(SymbolId) -> Option<u64>, aligned: u64, narrow: bool) -> Facts {
        let exact = |s: &SymbolId| Some((*s, size(*s)?));
        let bounded = |s: &SymbolId| Some((*s, Bound::of(size(*s)?)?));
        let sizes = self.exact.iter().filter_map(exact).collect();
        Facts { sizes, bounds: self.bounded.iter().filter_map(bounded).collect(), aligned, narrow }
    }
}

/// Whether rows of a tensor can be moved 16 bytes at a time, and boxes of it by the copy engine, given the address of its
/// first element, bytes of an element, and each axis's elements and stride in elements: rows are dense, and the address
/// and the way from row to row, forwards, are multiples of 16 bytes. Strides of axes with one element do not matter. The limits
/// are the copy engine's.
#[inline]
pub fn is_aligned(address: u64, size: u64, axes: impl DoubleEndedIterator<Item = (u64, i64)>) -> bool {
    let mut axes = axes.rev();
    let dense = axes.next().is_none_or(|(n, stride)| n < MOST_ALONG && (n == 1 || stride == 1));
    let even = |stride: i64| {
        let bytes = u64::try_from(stride).map_or(0, |s| s.saturating_mul(size));
        (1..1 << 40).contains(&bytes) && bytes.is_multiple_of(16)
    };
    dense && address.is_multiple_of(16) && axes.all(|(n, stride)| n < MOST_ALONG && (n == 1 || even(stride)))
}

/// Elements along an axis, of which the copy engine's signed coordinates count fewer.
const MOST_ALONG: u64 = 1 << 31;

/// Why there is no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This build has no code generator for GPUs.
    #[error(
        "this build of helion cannot compile for GPUs\n  help: install LLVM 22 (Debian: `apt-get install llvm-22-dev`) and build with `--features llvm`"
    )]
    NoCodeGenerator,
    /// The kernel needs more of something than the device has.
    #[error("{0}")]
    TooLarge(String),
    /// The function breaks a rule of the loop IR.
    #[error("malformed loop IR: {0}")]
    Malformed(String),
    /// The code generator refused.
    #[error("code generation failed: {0}")]
    Llvm(String),
}

/// Compiles a loop function.
///
/// # Errors
/// See [`Error`].
pub fn compile(f: &Function, options: &PtxOptions) -> Result<PtxKernel, Error> {
    #[cfg(feature = "llvm")]
    {
        let words = rule::word_offsets(f).last().copied().unwrap_or(0);
        if words > MOST_WORDS {
            return Err(Error::TooLarge(format!(
                "kernel `{}` has arguments of {words} words, a launch on a GPU takes {MOST_WORDS}\n  help: fewer tensors, or two kernels",
                f.name
            )));
        }
        let knobs = knobs::Knobs::of(f);
        let mut f = f.clone();
        let known = known::Known::new(&f, &options.facts);
        peel::loops(&mut f, &|v| known.int(v));
        let known = known::Known::new(&f, &options.facts);
        let on_matrix_units = |f: &Function, c: &helion_ir::loops::Contract| {
            product::Product::of(f, &known, &options.facts, c, knobs.warps, knobs.stages, options.arch).is_some()
        };
        desugar::contracts(&mut f, &on_matrix_units);
        llvm::compile(&f, options, knobs)
    }
    #[cfg(not(feature = "llvm"))]
    {
        let _ = (f, options);
        Err(Error::NoCodeGenerator)
    }
}

/// The most argument words: 4 kB of parameters, of which two words are the kernel's own.
#[cfg(feature = "llvm")]
const MOST_WORDS: usize = 510;

/// The symbols that these values are.
fn symbols_of(f: &Function, values: &HashSet<Val>) -> Vec<SymbolId> {
    let is_value = |i: &Inst| i.result.is_some_and(|r| values.contains(&r));
    let mut symbols: Vec<SymbolId> = f.header.iter().filter(|i| is_value(i)).filter_map(|i| symbol(f, i)).collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols
}

/// The symbol that a header instruction reads.
fn symbol(f: &Function, inst: &Inst) -> Option<SymbolId> {
    if let Op::Size(s) = &inst.op {
        return Some(*s);
    }
    let Op::Dim(p, axis) = &inst.op else { return None };
    let ParamKind::Tensor { dims, .. } = &f.params[p.index()].kind else { return None };
    if let Some(Dim::Symbol(s)) = dims.get(*axis as usize) { Some(*s) } else { None }
}

/// Shows every contract.
fn products(body: &[Stmt], show: &mut dyn FnMut(&Contract)) {
    for s in body {
        match s {
            Stmt::Contract(c) => show(c),
            Stmt::For { body, .. } => products(body, show),
            Stmt::While { cond, body, .. } => {
                products(cond, show);
                products(body, show);
            }
            Stmt::If { then, other, .. } => {
                products(then, show);
                products(other, show);
            }
            Stmt::Inst(_) | Stmt::Nest(_) => {}
        }
    }
}

impl Backend for PtxOptions {
    type Kernel = PtxKernel;

    fn legal(&self, config: &Config, target: &Target) -> Result<(), String> {
        let _ = target;
        knobs::legal(config)
    }
    fn add_knobs(&self, f: &Function, space: &mut ConfigSpace, target: &Target) {
        let _ = target;
        knobs::add(f, space);
    }
    fn settle(&self, f: &mut Function, target: &Target) {
        let _ = target;
        knobs::settle(f);
    }
    fn compile(&self, f: &Function) -> Result<PtxKernel, String> {
        compile(f, self).map_err(|e| e.to_string())
    }
}
