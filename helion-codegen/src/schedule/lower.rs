//! The state of scheduling one function, and what is known of each value.

use super::uses::{Position, Uses};
use helion_ir::config::Config;
use helion_ir::diag::{Diagnostic, Loc};
use helion_ir::dtype::{DType, Literal};
use helion_ir::elementwise::BinaryOp;
use helion_ir::loops::{self, Buffer, BufferId, Mem, Op, Stmt, Val};
use helion_ir::tile::{Dim, Function, Inst, ParamKind, Shape, TileId, ValueId};
use std::collections::{BTreeSet, HashMap, HashSet};

use super::grid::Walk;
use super::scope::{Key, Scope};

/// Where a value of the tile function is.
#[derive(Clone, Debug)]
pub enum Def<'a> {
    /// A scalar.
    Scalar(Val),
    /// Not computed yet: evaluated element by element where it is used.
    Lazy(&'a Inst),
    /// In a buffer whose axes are those of the value.
    Buffer(BufferId),
}

/// The scalars of a tile variable in scope.
#[derive(Clone, Copy, Debug)]
pub struct TileVals {
    /// First index.
    pub begin: Val,
    /// One past the last index.
    pub end: Val,
    /// How many indices.
    pub extent: Val,
    /// Ordinal within the loop.
    pub ordinal: Val,
    /// How many tiles the loop has.
    pub count: Val,
}

/// A result of scheduling, or what is wrong with the kernel.
pub type Res<T> = Result<T, Diagnostic>;

/// The scheduler's state.
pub struct Lower<'a> {
    /// What is scheduled.
    pub src: &'a Function,
    /// Its uses.
    pub uses: Uses,
    /// Block size of each tile variable.
    pub blocks: Vec<u64>,
    /// How tiles become program instances.
    pub walk: Walk,
    /// What is built.
    pub out: loops::Function,
    /// Where each value is.
    pub defs: Vec<Option<Def<'a>>>,
    /// For lazy values: what their evaluation reads that can change.
    pub reads: Vec<BTreeSet<Mem>>,
    /// For lazy values: how much work one element is, in cheap operations.
    pub cost: Vec<u32>,
    /// Whether expensive values with several uses are kept.
    pub may_keep: bool,
    /// Whether there were any.
    pub could_keep: bool,
    /// Lazy values worth keeping: stored by the first nest that computes all of them.
    pub keep: HashSet<ValueId>,
    /// Scalars of the tile variables in scope.
    pub tiles: Vec<Option<TileVals>>,
    /// The statement list under construction.
    pub body: Vec<Stmt>,
    /// Common subexpressions of the kernel level, one table per open statement list.
    pub cse: Vec<HashMap<Key, Val>>,
    /// Constants by literal, and back.
    pub consts: HashMap<Literal, Val>,
    /// What is known of constant values.
    pub known: HashMap<Val, Literal>,
    /// Values of the header.
    pub header_vals: HashSet<Val>,
    /// Common subexpressions of the header.
    pub header_cse: HashMap<Key, Val>,
    /// Position of the instruction being scheduled.
    pub now: Position,
    /// The instruction that makes each value.
    pub origin: Vec<Option<&'a Inst>>,
    /// Nesting depth of the region being scheduled, and of each value's definition.
    pub depth: u32,
    /// Nesting depth of each value's definition.
    pub def_depth: Vec<u32>,
    /// What to restore when each open region ends: values from outside that live in buffers only there.
    pub undo: Vec<Vec<(ValueId, Def<'a>)>>,
    /// Products that wait for the addition they feed.
    pub deferred: HashSet<ValueId>,
    /// For each open region: where its yields go.
    pub yields: Vec<Vec<(ValueId, Dest)>>,
}

/// Where a value that leaves a region goes, and the carried value that lives there during the region.
#[derive(Clone, Copy, Debug)]
pub struct Dest {
    /// The buffer.
    pub buffer: BufferId,
    /// The region parameter that reads it, for loops.
    pub param: Option<ValueId>,
}

impl<'a> Lower<'a> {
    /// A scheduler for `src` with the given block sizes.
    pub fn new(src: &'a Function, config: Config, blocks: Vec<u64>, walk: Walk) -> Lower<'a> {
        let n = src.values.len();
        let out = loops::Function {
            name: src.name.clone(),
            config,
            params: src.params.clone(),
            symbols: src.symbols.clone(),
            values: Vec::new(),
            buffers: Vec::new(),
            header: Vec::new(),
            grid: Vec::new(),
            body: Vec::new(),
        };
        Lower {
            src,
            uses: Uses::of(src),
            blocks,
            walk,
            out,
            defs: vec![None; n],
            reads: vec![BTreeSet::new(); n],
            cost: vec![0; n],
            may_keep: true,
            could_keep: false,
            keep: HashSet::new(),
            tiles: vec![None; src.tiles.len()],
            body: Vec::new(),
            cse: vec![HashMap::new()],
            consts: HashMap::new(),
            known: HashMap::new(),
            header_vals: HashSet::new(),
            header_cse: HashMap::new(),
            now: 0,
            origin: super::uses::origins(src),
            depth: 0,
            def_depth: vec![0; n],
            undo: Vec::new(),
            deferred: HashSet::new(),
            yields: Vec::new(),
        }
    }

    /// Schedules the whole function. Also says whether there are values that can be kept or computed again.
    pub fn run(mut self) -> Res<(loops::Function, bool)> {
        let src = self.src;
        for inst in &src.header {
            self.scalar_inst(&mut Scope::kernel(), inst)?;
            self.now += 1;
        }
        self.grid(|this| this.region(&src.body))?;
        self.out.body = std::mem::take(&mut self.body);
        super::cleanup::remove_dead(&mut self.out);
        Ok((self.out, self.could_keep))
    }

    /// `ceil((hi - lo) / step)`; not positive when there is nothing.
    pub fn count_tiles(&mut self, sc: &mut Scope, lo: Val, hi: Val, step: Val) -> Val {
        let span = self.arith(sc, BinaryOp::Sub, hi, lo);
        let one = self.index(1);
        let slack = self.arith(sc, BinaryOp::Sub, step, one);
        let padded = self.arith(sc, BinaryOp::Add, span, slack);
        let zero = self.index(0);
        let padded = self.arith(sc, BinaryOp::Max, padded, zero);
        self.arith(sc, BinaryOp::Div, padded, step)
    }

    /// Binds a tile variable that starts at `begin` within a loop that ends at `hi`.
    pub fn bind_tile(&mut self, sc: &mut Scope, t: TileId, begin: Val, hi: Val, ordinal: Val, count: Val) {
        let one = self.index(1);
        let (end, extent) = if self.unit(t) {
            (self.arith(sc, BinaryOp::Add, begin, one), one)
        } else {
            let step = self.index(self.blocks[t.index()] as i64);
            let full = self.arith(sc, BinaryOp::Add, begin, step);
            let end = self.arith(sc, BinaryOp::Min, full, hi);
            (end, self.arith(sc, BinaryOp::Sub, end, begin))
        };
        self.tiles[t.index()] = Some(TileVals { begin, end, extent, ordinal, count });
    }

    /// Whether every tile of a variable has exactly one index.
    pub fn unit(&self, t: TileId) -> bool {
        self.blocks[t.index()] == 1
    }

    /// Whether an axis always has size 1, so that its index is 0.
    pub fn is_one(&self, d: Dim) -> bool {
        match d {
            Dim::Const(n) => n == 1,
            Dim::Tile(t) => self.unit(t),
            Dim::Symbol(_) | Dim::Expr(_) => false,
        }
    }

    /// The scalars of a tile variable; the verifier has shown that it is in scope.
    pub fn tile(&self, t: TileId) -> TileVals {
        self.tiles[t.index()].expect("a tile variable in scope")
    }

    /// A rank-0 value.
    pub fn scalar(&self, v: ValueId) -> Val {
        match self.defs[v.index()] {
            Some(Def::Scalar(val)) => val,
            ref other => unreachable!("scalar {v:?} is {other:?}"),
        }
    }

    /// The value of a dim where it is used.
    pub fn dim(&mut self, d: Dim) -> Val {
        match d {
            Dim::Const(n) => self.index(n as i64),
            Dim::Symbol(s) => self.emit(&mut Scope::kernel(), Op::Size(s), &[], DType::I64, Loc::UNKNOWN),
            Dim::Tile(t) => self.tile(t).extent,
            Dim::Expr(e) => {
                let e = self.src.exprs[e.index()];
                let (a, b) = (self.dim(e.lhs), self.dim(e.rhs));
                self.arith(&mut Scope::kernel(), e.op, a, b)
            }
        }
    }

    /// The largest value a dim can have, as a header value.
    pub fn capacity(&mut self, d: Dim) -> Val {
        match d {
            Dim::Const(_) | Dim::Symbol(_) => self.dim(d),
            Dim::Tile(t) => self.index(self.blocks[t.index()] as i64),
            Dim::Expr(e) => {
                let e = self.src.exprs[e.index()];
                let (a, b) = (self.capacity(e.lhs), self.capacity(e.rhs));
                match e.op {
                    // Not monotone in the right operand: the left one bounds the result.
                    BinaryOp::Sub | BinaryOp::Div | BinaryOp::Rem if self.varies(e.rhs) => a,
                    BinaryOp::Rem => a,
                    op => self.arith(&mut Scope::kernel(), op, a, b),
                }
            }
        }
    }

    /// Whether a dim depends on the block sizes.
    fn varies(&self, d: Dim) -> bool {
        match d {
            Dim::Const(_) | Dim::Symbol(_) => false,
            Dim::Tile(_) => true,
            Dim::Expr(e) => {
                let e = self.src.exprs[e.index()];
                self.varies(e.lhs) || self.varies(e.rhs)
            }
        }
    }

    /// The largest value a dim can have, when the schedule fixes it.
    pub fn bound(&self, d: Dim) -> Option<u64> {
        match d {
            Dim::Const(n) => Some(n),
            Dim::Tile(t) => Some(self.blocks[t.index()]),
            Dim::Symbol(_) | Dim::Expr(_) => None,
        }
    }

    /// A new buffer for a tile of that shape.
    pub fn buffer(&mut self, name: &str, dtype: DType, shape: &Shape) -> BufferId {
        let dims = shape.iter().map(|d| self.capacity(*d)).collect();
        self.out.buffers.push(Buffer { name: name.to_owned(), dtype, dims });
        BufferId(self.out.buffers.len() as u32 - 1)
    }

    /// A new buffer for a value.
    pub fn buffer_for(&mut self, v: ValueId) -> BufferId {
        let value = &self.src.values[v.index()];
        let name = value.name.clone().unwrap_or_else(|| format!("t{}", v.0));
        let ty = value.ty.clone();
        self.buffer(&name, ty.dtype, &ty.shape)
    }

    /// Dims and element type of a tensor parameter.
    pub fn tensor(&self, p: helion_ir::tile::ParamId) -> (DType, &'a Shape, bool) {
        match &self.src.params[p.index()].kind {
            ParamKind::Tensor { dtype, dims, mutable, .. } => (*dtype, dims, *mutable),
            ParamKind::Scalar { .. } => unreachable!("the verifier admits tensors only"),
        }
    }

    /// Schedules statements into a list of their own.
    pub fn nested(&mut self, f: impl FnOnce(&mut Self) -> Res<()>) -> Res<Vec<Stmt>> {
        let outer = std::mem::take(&mut self.body);
        self.cse.push(HashMap::new());
        let result = f(self);
        self.cse.pop();
        let inner = std::mem::replace(&mut self.body, outer);
        result.map(|()| inner)
    }
}
