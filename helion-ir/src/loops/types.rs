//! The types of loop IR. Their meaning is in the module's head.

use crate::config::Config;
use crate::diag::Loc;
use crate::dtype::{DType, Literal};
use crate::elementwise::{BinaryOp, UnaryOp};
pub use crate::tile::{AtomicOp, Param, ParamId, ParamKind, ReduceOp, Symbol, SymbolId};
use smallvec::SmallVec;

/// A scalar value: an index into [`Function::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Val(pub u32);

/// A buffer: an index into [`Function::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

impl Val {
    /// The position in the value table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl BufferId {
    /// The position in the buffer table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its type.
    pub dtype: DType,
    /// A name for readers, usually the user's.
    pub name: Option<String>,
}

/// One launch, scheduled.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The kernel's name.
    pub name: String,
    /// What is left of the configuration after the schedule has read its part: the backend's.
    pub config: Config,
    /// Launch parameters, as in the tile function.
    pub params: Vec<Param>,
    /// Size symbols, as in the tile function.
    pub symbols: Vec<Symbol>,
    /// All values.
    pub values: Vec<Value>,
    /// Buffers of one program instance.
    pub buffers: Vec<Buffer>,
    /// Launch-level scalars.
    pub header: Vec<Inst>,
    /// The grid, outermost axis first; the last varies fastest.
    pub grid: Vec<GridAxis>,
    /// What one program instance does.
    pub body: Vec<Stmt>,
}

impl Function {
    /// The type of a value.
    pub fn dtype(&self, v: Val) -> DType {
        self.values[v.index()].dtype
    }

    /// The element type of a memory; `None` when there is no such memory.
    pub fn memory_dtype(&self, mem: Mem) -> Option<DType> {
        match mem {
            Mem::Tensor(p) => match self.params.get(p.index())?.kind {
                ParamKind::Tensor { dtype, .. } => Some(dtype),
                ParamKind::Scalar { .. } => None,
            },
            Mem::Buffer(b) => self.buffers.get(b.index()).map(|b| b.dtype),
        }
    }
}

/// One axis of the grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridAxis {
    /// The tile variable's name.
    pub name: String,
    /// How many blocks (header value, `i64`; not positive means none).
    pub count: Val,
    /// The block's ordinal, bound in the body (`i64`).
    pub index: Val,
}

/// Memory private to a program instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// A name for readers.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extent of each axis (header values, `i64`, not negative), row-major. Empty: one scalar.
    pub dims: Vec<Val>,
}

/// What an access refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mem {
    /// A tensor parameter.
    Tensor(ParamId),
    /// A buffer of the program instance.
    Buffer(BufferId),
}

/// Operands of an instruction.
pub type Args = SmallVec<[Val; 4]>;

/// One scalar instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Operands, in the order given by the op's documentation.
    pub args: Args,
    /// The result, for ops that have one.
    pub result: Option<Val>,
    /// Where the user wrote it.
    pub at: Loc,
}

/// What an instruction does. The documentation of each says: arguments → result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `→ v`.
    Const(Literal),
    /// `→ i64`. A size symbol.
    Size(SymbolId),
    /// `→ i64`. The extent of one axis of a tensor parameter.
    Dim(ParamId, u32),
    /// `→ v`. A scalar parameter.
    Scalar(ParamId),
    /// `[x] → v`.
    Unary(UnaryOp),
    /// `[a, b] → v`.
    Binary(BinaryOp),
    /// `[a, b, c] → a * b + c`, rounded once (floats). Made by passes.
    Fma,
    /// `[mask, a, b] → v`.
    Select,
    /// `[x] → v`. As in tile IR.
    Cast(DType),
    /// `[x] → v`. The same bits.
    Bitcast(DType),
    /// `[index…] → v`; with a mask `[index…, mask, other] → v`.
    Load {
        /// What is read.
        mem: Mem,
        /// Whether mask and other follow the indices.
        masked: bool,
    },
    /// `[value, index…] →`; with a mask `[value, index…, mask] →`.
    Store {
        /// What is written.
        mem: Mem,
        /// Whether a mask follows the indices.
        masked: bool,
    },
    /// `[value, (expected for CompareSwap,) index…] → old`; with a mask `[…, mask] → old or zero`.
    Atomic {
        /// What to do.
        op: AtomicOp,
        /// The tensor.
        mem: Mem,
        /// Whether a mask follows the indices.
        masked: bool,
    },
    /// `[seed: u64 or i64, counter: i64] → u32`. See [`crate::philox`].
    Random {
        /// Which word.
        word: u8,
    },
    /// `[value, coordinate…] →`. Prints label, coordinates and value.
    Print {
        /// The user's label.
        label: String,
    },
}

/// A statement of a program instance.
#[allow(clippy::large_enum_variant, reason = "a kernel has few statements, and most are nests")]
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// A scalar instruction.
    Inst(Inst),
    /// `for var in (begin..end).step_by(step)`, sequential.
    For {
        /// The loop variable (`i64`), bound in the body.
        var: Val,
        /// First value.
        begin: Val,
        /// Bound, exclusive.
        end: Val,
        /// Step, a positive header value or constant (`i64`).
        step: Val,
        /// The body.
        body: Vec<Stmt>,
    },
    /// `while { cond; test } { body }`.
    While {
        /// Statements that compute the test.
        cond: Vec<Stmt>,
        /// A `bool`.
        test: Val,
        /// The body.
        body: Vec<Stmt>,
    },
    /// `if cond { then } else { other }`.
    If {
        /// A `bool`.
        cond: Val,
        /// Taken when true.
        then: Vec<Stmt>,
        /// Taken when false.
        other: Vec<Stmt>,
    },
    /// A loop nest.
    Nest(Nest),
    /// A matrix product.
    Contract(Contract),
}

/// One axis of a nest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The index (`i64`), from 0, bound in the nest.
    pub var: Val,
    /// How many iterations (`i64`, defined before the nest; not positive means none).
    pub extent: Val,
    /// The largest the extent can be, when the schedule fixes it (a block size or constant).
    pub bound: Option<u64>,
}

/// State threaded through the reduce axes of a nest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    /// The value on entry to a step, bound in the body.
    pub param: Val,
    /// The value before the first step (defined before the nest).
    pub init: Val,
    /// The value after a step: `param` itself, or any value of the body or from before the nest, but not the
    /// `param` of another carry.
    pub next: Val,
    /// The value after the last step, bound for `finals`.
    pub result: Val,
    /// Set when `next` is `param` combined with a value that does not depend on `param`, by this
    /// operation (`Sum`, `Prod`, `Max`, `Min`, `Any`, `All`): then it may be split.
    pub op: Option<ReduceOp>,
}

/// A perfect loop nest.
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    /// The axes, outermost first: parallel ones, then reduce ones.
    pub axes: Vec<Axis>,
    /// How many of the trailing axes are reduce axes.
    pub reduce: usize,
    /// State of the reduce axes; empty when there are none.
    pub carries: Vec<Carry>,
    /// Runs at every point.
    pub body: Vec<Inst>,
    /// Runs at every point of the parallel axes, after the reduce axes.
    pub finals: Vec<Inst>,
}

/// One operand of a matrix product: a window of a tensor or buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// What is read.
    pub mem: Mem,
    /// The index of the window's first element, one entry per axis of `mem`.
    pub origin: Args,
    /// Which axis of `mem` each batch axis walks; `None` repeats.
    pub batch: SmallVec<[Option<u32>; 2]>,
    /// Which axis of `mem` the operand's rows walk (`m` of lhs, `k` of rhs); `None` repeats.
    pub row: Option<u32>,
    /// Which axis of `mem` the operand's columns walk (`k` of lhs, `n` of rhs); `None` repeats.
    pub col: Option<u32>,
}

/// A matrix product on operands in memory, accumulated into a buffer of shape `[batch.., m, n]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// Extents of the batch axes.
    pub batch: SmallVec<[Extent; 2]>,
    /// Extent of the rows of the result.
    pub m: Extent,
    /// Extent of the columns of the result.
    pub n: Extent,
    /// Extent of the summed axis.
    pub k: Extent,
    /// Left operand, `[batch.., m, k]`.
    pub lhs: Operand,
    /// Right operand, `[batch.., k, n]`.
    pub rhs: Operand,
    /// The result; its axes are batch, `m`, `n`, with capacity at least the extents.
    pub acc: BufferId,
    /// Whether the product is added to what `acc` holds (else it replaces it).
    pub accumulate: bool,
    /// Where the user wrote it.
    pub at: Loc,
}

/// An extent without an index variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How many (`i64`, defined before; not positive means none).
    pub extent: Val,
    /// The largest it can be, when the schedule fixes it.
    pub bound: Option<u64>,
}
