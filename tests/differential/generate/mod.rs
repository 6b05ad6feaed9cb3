//! Random tile programs with their arguments, configuration and error bounds.
//!
//! A program is grown value by value: a pool holds what exists so far, each step appends one operation on values
//! of the pool, and at the end some values are stored. Every program is meant to be accepted by the verifier
//! and to have one meaning; where the language leaves rounding open, [`crate::num`] bounds the difference.

mod compute;
mod control;
mod data;
mod memory;
mod shape;

use std::collections::HashSet;

use helion_ir::args::{Arg, Args};
use helion_ir::config::{Config, ConfigSpace, Knob};
use helion_ir::dtype::Literal;
use helion_ir::tile::{self, Builder, Dim, Op, ParamId, Shape, TileId, Type, ValueId, Verified};
use helion_ir::{BinaryOp, DType, Loc};

use crate::num::Num;
use crate::source::Source;

/// A finished program.
pub struct Case {
    pub kernel: Verified,
    pub args: Args,
    /// Pins every block size.
    pub config: Config,
    /// Another config under which the results must be the same, when they may not depend on it.
    pub other: Option<Config>,
    /// For each parameter, how far its elements may differ between correct executions.
    pub bounds: Vec<Num>,
}

/// Why there is no program.
#[derive(Debug)]
pub enum Refused {
    /// The builder or verifier said no.
    Verifier(String),
    /// It would take too long.
    Cost,
}

/// A value of the pool.
#[derive(Clone, Debug)]
struct Val {
    id: ValueId,
    ty: Type,
    num: Num,
}

/// What is known of a tile variable.
#[derive(Clone, Debug)]
struct Tile {
    /// The dim it runs over, if it is a plain size.
    over: Option<Dim>,
    /// Most indices it can cover.
    size: u64,
    block: u64,
    grid: bool,
}

/// Sizes worth trying, plain ones first.
const SIZES: [u64; 20] = [4, 1, 2, 3, 5, 7, 8, 0, 13, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 130];

/// A value has at most so many elements.
const MAX_ELEMENTS: u64 = 4096;
/// A program takes at most about so many steps.
const MAX_COST: u64 = 120_000;

/// A program under construction.
struct Gen<'c> {
    c: &'c mut Source,
    b: Builder,
    /// Value of each symbol.
    sizes: Vec<u64>,
    tiles: Vec<Tile>,
    /// Tile variables whose loops are open, the grid's first.
    open: Vec<TileId>,
    params: Vec<(Arg, Num)>,
    pool: Vec<Val>,
    config: Config,
    /// How often the region being filled runs.
    trips: u64,
    cost: u64,
    /// Whether results may depend on block sizes.
    depends_on_blocks: bool,
    /// Element types this program prefers.
    theme: Vec<DType>,
    /// How deep regions nest.
    depth: usize,
    /// Values that something uses. The others are preferred as operands, and stored at the end, so that
    /// little of a program is without effect.
    used: HashSet<ValueId>,
    /// Whether anything was stored.
    stored: bool,
}

/// Grows a program from decisions.
pub fn generate(c: &mut Source) -> Result<Case, Refused> {
    let mut g = Gen {
        c,
        b: Builder::new("fuzz"),
        sizes: vec![],
        tiles: vec![],
        open: vec![],
        params: vec![],
        pool: vec![],
        config: Config::new(),
        trips: 1,
        cost: 0,
        depends_on_blocks: false,
        theme: vec![],
        depth: 0,
        used: HashSet::new(),
        stored: false,
    };
    g.header();
    g.b.begin_body();
    g.cost = g.trips;
    for _ in 0..1 + g.c.below(3) {
        g.load_fresh();
    }
    let steps = 1 + g.c.below(14);
    g.steps(steps);
    g.store_unused();
    g.finish()
}

impl Gen<'_> {
    /// Sizes and the grid.
    fn header(&mut self) {
        let themes = [DType::F32, DType::F32, DType::I32];
        let first = if self.c.chance(50) { *self.c.pick(DType::ALL) } else { *self.c.pick(&themes) };
        let second = if self.c.chance(30) { *self.c.pick(DType::ALL) } else { first };
        self.theme = vec![first, second];
        for name in ["m", "n", "k"].iter().take(1 + self.c.below(3)) {
            self.b.symbol(name);
            let size = *self.c.pick(&SIZES);
            self.sizes.push(size);
        }
        let count = *self.c.pick(&[1, 2, 0, 1, 2, 3]);
        for i in 0..count {
            let (dim, size) = self.plain_dim();
            let begin = if self.c.chance(8) { self.c.below(4) as u64 } else { 0 };
            let unit = self.c.chance(15);
            let block = if unit { 1 } else { self.block_for(size) };
            let (b, e) = (self.int(begin as i64), self.one(Op::Extent(dim), &[]));
            let name = format!("t{i}");
            let id = self.b.grid_tile(&name, b, e, unit, Loc::UNKNOWN);
            if !unit {
                self.config = std::mem::take(&mut self.config).block(&name, block);
            }
            let over = (begin == 0).then_some(dim);
            self.tiles.push(Tile { over, size, block, grid: true });
            self.open.push(id);
            self.trips *= size.saturating_sub(begin).div_ceil(block);
        }
    }

    /// A constant or a symbol, with its value.
    fn plain_dim(&mut self) -> (Dim, u64) {
        if self.c.chance(20) {
            let size = *self.c.pick(&SIZES);
            return (Dim::Const(size), size);
        }
        let i = self.c.below(self.sizes.len());
        (Dim::Symbol(tile::SymbolId(i as u32)), self.sizes[i])
    }

    /// A block size for an axis.
    fn block_for(&mut self, size: u64) -> u64 {
        let all = [size, 4, 1, 2, 3, 7, 8, 16, 32, 64, size + 1, size.saturating_sub(1), 5];
        (*self.c.pick(&all)).max(1)
    }

    /// The largest a dim can be at run time.
    fn extent(&self, d: Dim) -> u64 {
        match d {
            Dim::Const(c) => c,
            Dim::Symbol(s) => self.sizes[s.index()],
            Dim::Tile(t) => {
                let t = &self.tiles[t.index()];
                t.block.min(t.size)
            }
            Dim::Expr(e) => {
                let e = self.b.function().exprs[e.index()];
                let (a, b) = (self.extent(e.lhs), self.extent(e.rhs));
                match e.op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Max => a.max(b),
                    BinaryOp::Min => a.min(b),
                    BinaryOp::Div => a.checked_div(b).unwrap_or(0),
                    _ => a,
                }
            }
        }
    }

    fn elements(&self, shape: &[Dim]) -> u64 {
        shape.iter().map(|d| self.extent(*d)).fold(1, u64::saturating_mul)
    }

    /// Whether another value of this shape fits the budgets; it is then paid for.
    fn affordable(&mut self, shape: &[Dim], per_element: u64) -> bool {
        let n = self.elements(shape);
        let cost = self.trips.saturating_mul(n.max(1)).saturating_mul(per_element.max(1));
        if n > MAX_ELEMENTS || self.cost.saturating_add(cost) > MAX_COST {
            return false;
        }
        self.cost += cost;
        true
    }

    /// Appends an instruction with one result.
    fn one(&mut self, op: Op, args: &[ValueId]) -> ValueId {
        self.use_up(&op, args);
        self.b.one(op, args, Loc::UNKNOWN)
    }

    /// Appends an instruction whose result joins the pool.
    fn keep(&mut self, op: Op, args: &[ValueId], num: Num) -> Val {
        let id = self.one(op, args);
        self.put(id, num)
    }

    /// Appends an instruction.
    fn push(&mut self, op: Op, args: &[ValueId]) {
        self.use_up(&op, args);
        self.b.push(op, args, Loc::UNKNOWN);
    }

    fn use_up(&mut self, op: &Op, args: &[ValueId]) {
        self.used.extend(args.iter().copied().chain(op.index_values()));
    }

    fn put(&mut self, id: ValueId, num: Num) -> Val {
        let v = Val { id, ty: self.b.ty(id).clone(), num };
        self.pool.push(v.clone());
        v
    }

    fn int(&mut self, v: i64) -> ValueId {
        self.one(Op::Const(Literal::from_i64(DType::I64, v)), &[])
    }

    /// A value of the pool, recent ones first, mostly one that nothing uses yet.
    fn choose(&mut self, wanted: impl Fn(&Self, &Val) -> bool) -> Option<Val> {
        let mut found: Vec<usize> = (0..self.pool.len()).rev().filter(|i| wanted(self, &self.pool[*i])).collect();
        if found.is_empty() {
            return None;
        }
        if !self.c.chance(30) {
            let fresh = |i: &usize| !self.used.contains(&self.pool[*i].id);
            if found.iter().any(fresh) {
                found.retain(fresh);
            }
        }
        let i = *self.c.pick(&found);
        Some(self.pool[i].clone())
    }

    /// An element type, mostly of the program's theme.
    fn dtype(&mut self) -> DType {
        if self.c.chance(25) {
            return *self.c.pick(DType::ALL);
        }
        let theme = self.theme.clone();
        *self.c.pick(&theme)
    }

    /// Appends about `n` operations. One that finds no operands appends nothing.
    fn steps(&mut self, n: usize) {
        for _ in 0..n {
            let _ = match self.c.below(100) {
                0..12 => self.unary(),
                12..34 => self.binary(),
                34..40 => self.select(),
                40..47 => self.cast(),
                47..57 => self.reduce(),
                57..61 => self.scan(),
                61..63 => self.combine(),
                63..65 => self.broadcast(),
                65..68 => self.reshape(),
                68..71 => self.permute(),
                71..73 => self.slice(),
                73..75 => self.concat(),
                75..77 => self.gather(),
                77..83 => self.load_fresh(),
                83..85 => self.dot(),
                85..87 => self.matmul(),
                87..89 => self.index_value(),
                89..90 => self.random(),
                90..91 => self.bitcast(),
                91..94 => self.for_loop(),
                94..95 => self.while_loop(),
                95..97 => self.branch(),
                97..98 => self.store_fresh(),
                98..99 => self.atomic(),
                _ => self.in_place(),
            };
        }
    }

    fn finish(mut self) -> Result<Case, Refused> {
        if self.cost > MAX_COST {
            return Err(Refused::Cost);
        }
        let mut other = if self.depends_on_blocks { None } else { Some(self.other_config()) };
        let f = self.b.finish().map_err(|d| Refused::Verifier(helion_ir::diag::render(&d)))?;
        let kernel = tile::verify(f).map_err(|d| Refused::Verifier(helion_ir::diag::render(&d)))?;
        let (params, bounds): (Vec<Arg>, Vec<Num>) = self.params.into_iter().unzip();
        let args = Args { params, symbols: self.sizes };
        let f = kernel.function();
        args.check(&f.params, &f.symbols).map_err(Refused::Verifier)?;
        let space = helion_codegen::schedule::config_space(&kernel, &helion_codegen::cpu::host_target());
        let mut config = self.config;
        [&mut config].into_iter().chain(&mut other).for_each(|c| turn_knobs(self.c, &space, c));
        Ok(Case { kernel, args, config, other, bounds })
    }

    /// The same kernel in blocks of other sizes.
    fn other_config(&mut self) -> Config {
        let mut config = Config::new();
        for (slot, _) in self.config.clone().iter() {
            let size = *self.c.pick(&SIZES);
            let block = self.block_for(size);
            config.set(slot.clone(), block);
        }
        config
    }

    /// Declares a tensor or scalar parameter's argument; ids are handed out in order.
    fn argument(&mut self, id: ParamId, arg: Arg, num: Num) {
        assert_eq!(id.index(), self.params.len(), "one argument per parameter");
        self.params.push((arg, num));
    }

    /// Something structural happens along this axis; when it is a block, results depend on its size.
    fn touches(&mut self, d: Dim) {
        if matches!(d, Dim::Tile(_) | Dim::Expr(_)) {
            self.depends_on_blocks = true;
        }
    }
}

/// Pins some of the slots that are not pinned yet: results depend on none of them.
fn turn_knobs(c: &mut Source, space: &ConfigSpace, config: &mut Config) {
    for (slot, values) in &space.slots {
        if config.get(slot).is_none() && c.chance(60) {
            config.set(slot.clone(), any_value(c, slot.knob, values));
        }
    }
}

/// A value worth trying; for some knobs sometimes an odd one.
fn any_value(c: &mut Source, knob: Knob, values: &[u64]) -> u64 {
    // Sizes of caches are larger than most of these programs.
    if knob == Knob::Chunk { *c.pick(&[0, 16, 1, 3, 7, 64, 1024]) } else { *c.pick(values) }
}

/// The shape two shapes broadcast to.
fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Shape> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], i: usize| (i + s.len()).checked_sub(rank).map(|i| s[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (Some(x), Some(y)) if x == y => Some(x),
            (Some(Dim::Const(1)) | None, Some(d)) | (Some(d), Some(Dim::Const(1)) | None) => Some(d),
            _ => None,
        })
        .collect()
}
