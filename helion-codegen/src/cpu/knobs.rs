//! The backend's own knobs.
//!
//! In: a config, a scheduled function, a target. Out: what the rest of the backend reads ([`Knobs`], [`Launch`]),
//! which slots a kernel has ([`add_knobs`]), whether their values fit the machine ([`legal`]), and the loop function
//! without those that change nothing in its code ([`settle`]). Each knob is read here and nowhere else.

use super::contract::{Blocks, Tile};
use super::vector::Isa;
use super::vectorise::Facts;
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};
use helion_ir::loops::{Contract, Function, Mem, Operand, ParamKind, Stmt};
use helion_ir::target::Target;
use helion_ir::tile::Layout;

/// What compiling reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knobs {
    /// Rows and vectors of the register tile of products, where pinned.
    pub micro: (Option<u32>, Option<u32>),
    /// Blocks of packed products.
    pub blocks: Blocks,
    /// What products pack.
    pub pack: Pack,
    /// Vectors per iteration of loops, if chosen.
    pub unroll: Option<u32>,
    /// How many parts ahead memory is fetched.
    pub ahead: u32,
    /// When results go around the caches.
    pub stream: Stream,
}

/// Which operands of a product are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pack {
    /// By the number of rows.
    Auto,
    /// Both.
    Both,
    /// Only the left one, where the right one allows it.
    Left,
}

/// When results go around the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// When they are large.
    Auto,
    /// Never.
    Never,
    /// Whenever they can.
    Always,
}

const UNROLL: u64 = 0;
const STAGES: u64 = 2;

fn value(config: &Config, knob: Knob) -> Option<u64> {
    config.get(&Slot::kernel(knob))
}

impl Knobs {
    /// Reads them.
    pub(super) fn of(config: &Config) -> Knobs {
        let get = |knob| value(config, knob);
        let standard = Blocks::default();
        Knobs {
            micro: (get(Knob::MicroRows).map(|v| v as u32), get(Knob::MicroVectors).map(|v| v as u32)),
            blocks: Blocks {
                kc: get(Knob::Kc).unwrap_or(standard.kc),
                mc: get(Knob::Mc).unwrap_or(standard.mc),
                nc: get(Knob::Nc).unwrap_or(standard.nc),
            },
            pack: match get(Knob::Pack) {
                None | Some(0) => Pack::Auto,
                Some(1) => Pack::Both,
                Some(_) => Pack::Left,
            },
            unroll: get(Knob::Unroll).filter(|v| *v != UNROLL).map(|v| v.min(8) as u32),
            ahead: get(Knob::Stages).unwrap_or(STAGES).saturating_sub(1).min(64) as u32,
            stream: match get(Knob::Stream) {
                None | Some(0) => Stream::Auto,
                Some(1) => Stream::Never,
                Some(_) => Stream::Always,
            },
        }
    }
}

/// What launches read: code is the same for all values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Launch {
    /// How many threads share the grid; 0 for as many as the work deserves.
    pub threads: u64,
    /// How they divide it.
    pub share: Share,
}

/// How threads divide the grid of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Share {
    /// A contiguous part for each, and the rest in pieces to whoever comes first.
    #[default]
    Mixed,
    /// Equal contiguous parts.
    Contiguous,
    /// Everything in pieces to whoever comes first.
    Dynamic,
    /// Single instances in turns.
    Interleaved,
}

impl Share {
    /// All of them, in the order of the knob's words.
    pub const ALL: [Share; 4] = [Share::Mixed, Share::Contiguous, Share::Dynamic, Share::Interleaved];
}

impl Launch {
    /// Reads a config.
    pub fn of(config: &Config) -> Launch {
        let share = value(config, Knob::Share).and_then(|v| Share::ALL.get(v as usize).copied());
        Launch { threads: value(config, Knob::Threads).unwrap_or(0), share: share.unwrap_or_default() }
    }
}

/// The vector instructions of a target.
fn isa(target: &Target) -> Isa {
    let fits = |isa: &Isa| *isa != Isa::Amx && isa.vector_bytes() <= target.vector_bytes as usize;
    Isa::ALL.into_iter().find(fits).unwrap_or(Isa::Clif128)
}

/// What a function has that knobs apply to.
#[derive(Default)]
struct Features<'a> {
    products: Vec<&'a Contract>,
    /// Whether a right operand can be read where it is.
    in_place: bool,
    nests: bool,
    /// Whether something is fetched ahead.
    ahead: bool,
    /// Whether something may be stored around the caches.
    streams: bool,
}

impl<'a> Features<'a> {
    fn of(f: &'a Function, isa: Isa) -> Features<'a> {
        let facts = Facts::new(f);
        let mut all = Features { ahead: facts.reads_again(), streams: facts.streams(), ..Features::default() };
        all.stmts(&f.body);
        all.in_place = all.products.iter().any(|c| used_in_place(f, c, isa));
        all
    }

    fn stmts(&mut self, body: &'a [Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Inst(_) => {}
                Stmt::Nest(_) => self.nests = true,
                Stmt::Contract(c) => self.products.push(c),
                Stmt::For { body, .. } => self.stmts(body),
                Stmt::While { cond, body, .. } => {
                    self.stmts(cond);
                    self.stmts(body);
                }
                Stmt::If { then, other, .. } => {
                    self.stmts(then);
                    self.stmts(other);
                }
            }
        }
    }
}

/// Whether the right operand can be used where it is: its columns are adjacent, in a type that vectors load, or the steps
/// of the sum are in both operands.
fn used_in_place(f: &Function, c: &Contract, isa: Isa) -> bool {
    let acc = f.buffers[c.acc.index()].dtype;
    let (Some(lhs), Some(rhs)) = (f.memory_dtype(c.lhs.mem), f.memory_dtype(c.rhs.mem)) else { return false };
    let columns = adjacent(f, &c.rhs, c.rhs.col) && super::contract::reads_in_place(rhs, acc);
    let steps = adjacent(f, &c.lhs, c.lhs.col) && adjacent(f, &c.rhs, c.rhs.row);
    columns || (steps && super::contract::along::applies(acc, [lhs, rhs], isa))
}

/// Whether the elements of an operand along an axis lie side by side.
fn adjacent(f: &Function, operand: &Operand, axis: Option<u32>) -> bool {
    let last = |axes: usize| axis.is_some_and(|a| a as usize + 1 == axes);
    match operand.mem {
        Mem::Tensor(p) => match &f.params[p.index()].kind {
            ParamKind::Tensor { dims, layout, .. } => last(dims.len()) && !matches!(layout, Layout::Strided),
            ParamKind::Scalar { .. } => false,
        },
        Mem::Buffer(b) => last(f.buffers[b.index()].dims.len()),
    }
}

/// Adds the slots that apply to a kernel scheduled with its default config, the default first.
pub fn add_knobs(f: &Function, space: &mut ConfigSpace, target: &Target) {
    let features = Features::of(f, isa(target));
    let mut add = |knob: Knob, values: &[u64]| space.add(Slot::kernel(knob), values.to_vec());
    if !features.products.is_empty() {
        let isa = isa(target);
        let (rows, vectors): (&[u64], &[u64]) = match isa {
            Isa::Amx | Isa::Avx512 => (&[12, 8, 6, 14, 16, 24], &[2, 1, 3, 4]),
            Isa::Avx2 => (&[6, 4, 3, 12], &[2, 1, 3]),
            Isa::Clif128 => (&[4, 2, 6, 8], &[2, 1, 3]),
        };
        debug_assert_eq!(Tile::of((None, None), isa), Tile { rows: rows[0] as u32, vectors: vectors[0] as u32 });
        let standard = Blocks::default();
        add(Knob::MicroRows, rows);
        add(Knob::MicroVectors, vectors);
        add(Knob::Kc, &[standard.kc, 256, 128, 1024]);
        add(Knob::Mc, &[standard.mc, 96, 144, 576]);
        add(Knob::Nc, &[standard.nc, 512, 256, 1024]);
        if features.in_place {
            add(Knob::Pack, &[0, 1, 2]);
        }
    }
    if features.nests {
        add(Knob::Unroll, &[UNROLL, 1, 2, 4, 8]);
    }
    if features.ahead {
        add(Knob::Stages, &[STAGES, 1, 3, 4]);
    }
    if features.streams {
        add(Knob::Stream, &[0, 1, 2]);
    }
    if target.cores > 1 && !f.grid.is_empty() {
        let cores = u64::from(target.cores);
        let mut threads = vec![0];
        threads.extend(std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < cores));
        threads.push(cores);
        add(Knob::Threads, &threads);
        add(Knob::Share, &[0, 1, 2, 3]);
    }
}

/// Whether the values of a config fit the machine.
///
/// # Errors
/// What does not, in words.
pub fn legal(config: &Config, target: &Target) -> Result<(), String> {
    let isa = isa(target);
    let micro = Knobs::of(config).micro;
    let (rows, vectors) = (micro.0.unwrap_or(1), micro.1.unwrap_or(1));
    let (need, have) = (Tile { rows, vectors }.registers(), isa.registers());
    if need > have {
        let text = format!("a register tile of {rows} rows and {vectors} vectors needs {need} registers");
        return Err(format!("{text}; {} has {have}", target.name));
    }
    Ok(())
}

/// Takes out of a scheduled function's config what changes nothing in its code: values for launches, values equal to
/// the default, and those of knobs that do not apply. Functions that print alike then have the same code.
pub fn settle(f: &mut Function, target: &Target) {
    let knobs = Knobs::of(&f.config);
    let features = Features::of(f, isa(target));
    let standard = Blocks::default();
    let differs = |v: u64, standard: u64, bound: fn(&Contract) -> Option<u64>| {
        let cut = |v: u64, c: &Contract| bound(c).map_or(v, |b| v.min(b));
        features.products.iter().any(|c| cut(v, c) != cut(standard, c))
    };
    let isa = isa(target);
    let tile = !features.products.is_empty() && Tile::of(knobs.micro, isa) != Tile::of((None, None), isa);
    let keep = |slot: &Slot, v: u64| match slot.knob {
        Knob::Threads | Knob::Share | Knob::Split | Knob::Warps | Knob::Registers => false,
        Knob::MicroRows | Knob::MicroVectors => tile,
        Knob::Kc => differs(v, standard.kc, |c| c.k.bound),
        Knob::Mc => differs(v, standard.mc, |c| c.m.bound),
        Knob::Nc => differs(v, standard.nc, |c| c.n.bound),
        Knob::Pack => features.in_place && knobs.pack != Pack::Auto,
        Knob::Unroll => features.nests && knobs.unroll.is_some(),
        Knob::Stages => features.ahead && v != STAGES,
        Knob::Stream => features.streams && knobs.stream != Stream::Auto,
        Knob::Block | Knob::Order | Knob::Grid | Knob::Group | Knob::Keep => true,
        Knob::Fuse | Knob::Chunk | Knob::Interchange | Knob::Owners | Knob::User => true,
    };
    let mut config = f.config.clone();
    config.retain(keep);
    f.config = config;
}
