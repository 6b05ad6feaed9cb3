//! The types of tile IR. Their meaning is in the module's head.

use crate::diag::Loc;
use crate::dtype::{DType, Literal};
use crate::elementwise::{BinaryOp, UnaryOp};

macro_rules! ids {
    ($($(#[$m:meta])* $name:ident;)*) => {$(
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);
        impl $name {
            /// The position in the table it indexes.
            pub const fn index(self) -> usize { self.0 as usize }
        }
    )*};
}

ids! {
    /// A value: an index into [`Function::values`].
    ValueId;
    /// A tensor or scalar parameter: an index into [`Function::params`].
    ParamId;
    /// A size symbol: an index into [`Function::symbols`].
    SymbolId;
    /// A tile variable: an index into [`Function::tiles`].
    TileId;
    /// An interned size expression: an index into [`Function::exprs`].
    ExprId;
}

/// The extent of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A constant.
    Const(u64),
    /// A size known at launch.
    Symbol(SymbolId),
    /// The extent of a tile variable.
    Tile(TileId),
    /// An expression; never one that folds to another variant.
    Expr(ExprId),
}

/// An interned size expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DimExpr {
    /// `Add`, `Sub`, `Mul`, `Div`, `Rem`, `Min` or `Max`, on non-negative integers.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Dim,
    /// Right operand.
    pub rhs: Dim,
}

/// The shape of a tile; empty for scalars.
pub type Shape = smallvec::SmallVec<[Dim; 4]>;

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Extent of each axis, outermost first.
    pub shape: Shape,
}

impl Type {
    /// A scalar.
    pub fn scalar(dtype: DType) -> Type {
        Type { dtype, shape: Shape::new() }
    }
    /// A tile of the given shape.
    pub fn tile(dtype: DType, shape: impl IntoIterator<Item = Dim>) -> Type {
        Type { dtype, shape: shape.into_iter().collect() }
    }
    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
}

/// What the function knows of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its type.
    pub ty: Type,
    /// The user's name for it, if any.
    pub name: Option<String>,
    /// Where the user made it.
    pub at: Loc,
}

/// A named size, bound at launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The user's name for it (`m`, `n`, `x.1`); unique within the function.
    pub name: String,
}

/// One launch parameter, in launch order. Symbols are bound separately.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The user's name for it.
    pub name: String,
    /// What it is.
    pub kind: ParamKind,
    /// Where the user declared or captured it.
    pub at: Loc,
}

/// What a parameter is.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamKind {
    /// A strided tensor.
    Tensor {
        /// Element type.
        dtype: DType,
        /// Its axes; constants or symbols.
        dims: Shape,
        /// Whether stores and atomics are allowed.
        mutable: bool,
        /// Facts about its strides that the code may rely on.
        layout: Layout,
    },
    /// A number.
    Scalar {
        /// Its type.
        dtype: DType,
    },
}

/// What is known of a tensor's strides when a kernel is compiled; part of the cache key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Row-major without gaps.
    #[default]
    Contiguous,
    /// The last axis has stride 1; the others are arbitrary.
    LastUnit,
    /// Arbitrary strides, also zero and negative.
    Strided,
}

/// A tile variable.
#[derive(Clone, Debug, PartialEq)]
pub struct TileVar {
    /// The user's name (`tm`); unique within the function.
    pub name: String,
    /// Block size 1, from `grid`.
    pub unit: bool,
    /// First index: an `i64` scalar value.
    pub begin: ValueId,
    /// One past the last index: an `i64` scalar value. No index exists when it is not above `begin`.
    pub end: ValueId,
    /// Whether this is a variable of the launch grid (else of a loop).
    pub grid: bool,
    /// Where its loop is.
    pub at: Loc,
}

/// One launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The kernel's name.
    pub name: String,
    /// Launch parameters.
    pub params: Vec<Param>,
    /// Size symbols.
    pub symbols: Vec<Symbol>,
    /// Interned size expressions.
    pub exprs: Vec<DimExpr>,
    /// Tile variables; those of the grid come first, outermost first.
    pub tiles: Vec<TileVar>,
    /// All values.
    pub values: Vec<Value>,
    /// Launch-level scalars (constants, sizes, scalar parameters and arithmetic of them) that define the
    /// grid; visible everywhere.
    pub header: Vec<Inst>,
    /// What one program instance does. No parameters, no yields.
    pub body: Region,
}

impl Function {
    /// The type of a value.
    pub fn ty(&self, v: ValueId) -> &Type {
        &self.values[v.index()].ty
    }
    /// The grid's tile variables, outermost first.
    pub fn grid(&self) -> impl Iterator<Item = TileId> + '_ {
        (0..self.tiles.len() as u32).map(TileId).filter(|t| self.tiles[t.index()].grid)
    }
}

/// A sequence of instructions with arguments and results.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Region {
    /// Values bound on entry.
    pub params: Vec<ValueId>,
    /// Instructions in order.
    pub body: Vec<Inst>,
    /// Values handed out at the end.
    pub yields: Vec<ValueId>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Operands, in the order given by the op's documentation.
    pub args: Vec<ValueId>,
    /// Results, usually one.
    pub results: Vec<ValueId>,
    /// Regions, for the ops that have them.
    pub regions: Vec<Region>,
    /// Where the user wrote it.
    pub at: Loc,
}

/// One axis of a memory access. Scalar and index-tile operands are [`ValueId`]s of the instruction's
/// environment, kept here rather than in `args`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The indices of a tile variable, shifted by a scalar if given. Keeps the axis.
    Tile(TileId, Option<ValueId>),
    /// The whole axis. Keeps the axis.
    Full,
    /// One index (`i64` scalar). Drops the axis.
    Scalar(ValueId),
    /// A rank-1 tile of `i64` indices. Keeps the axis; several are combined as an outer product.
    Gather(ValueId),
}

/// Reductions with a known combine function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// Sum; of nothing 0.
    Sum,
    /// Product; of nothing 1.
    Prod,
    /// Largest, NaN if any is NaN; of nothing the type's lowest value (-inf for floats).
    Max,
    /// Smallest, NaN if any is NaN; of nothing the type's highest value (+inf for floats).
    Min,
    /// Whether any is true (bool); of nothing false.
    Any,
    /// Whether all are true (bool); of nothing true.
    All,
    /// Index (`i64`) of the first largest element, or of the first NaN; of nothing 0.
    ArgMax,
    /// Index (`i64`) of the first smallest element, or of the first NaN; of nothing 0.
    ArgMin,
}

/// Atomic read-modify-write operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    /// Adds.
    Add,
    /// Keeps the larger.
    Max,
    /// Keeps the smaller.
    Min,
    /// Replaces.
    Exchange,
    /// Replaces by the value where the element equals the expected operand bit for bit.
    CompareSwap,
}

/// What an instruction does. The documentation of each says: arguments → results.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `→ scalar`. A constant.
    Const(Literal),
    /// `→ i64 scalar`. The value of a dim: a constant, size, tile extent or expression.
    Extent(Dim),
    /// `→ scalar`. A scalar parameter.
    Scalar(ParamId),
    /// `→ i64 scalar`. First index of a tile.
    TileBegin(TileId),
    /// `→ i64 scalar`. One past the last index of a tile.
    TileEnd(TileId),
    /// `→ i64 scalar`. Ordinal of the tile within its loop, from 0.
    TileOrdinal(TileId),
    /// `→ i64 scalar`. How many tiles its loop has.
    TileCount(TileId),
    /// `→ i64 [dim]`. The numbers `0, 1, …` along one axis.
    Iota(Dim),
    /// `[mask: bool, other] → tile`. Reads a tensor; the result has the axes the index keeps. The
    /// mask (bool) broadcasts to the result; `other` is a scalar of the element type. Both or only the
    /// mask may be absent (args are empty, `[mask]`, or `[mask, other]`).
    Load {
        /// The tensor.
        tensor: ParamId,
        /// One entry per axis.
        index: Vec<Index>,
    },
    /// `[value, mask?] →`. Writes a tensor; value and mask broadcast to the axes the index keeps.
    Store {
        /// The tensor; must be mutable.
        tensor: ParamId,
        /// One entry per axis.
        index: Vec<Index>,
    },
    /// `[value, expected?, mask?] → old`. `expected` exactly for `CompareSwap`. The result has the
    /// axes the index keeps; where masked off or outside it is zero.
    Atomic {
        /// What to do.
        op: AtomicOp,
        /// The tensor; must be mutable.
        tensor: ParamId,
        /// One entry per axis.
        index: Vec<Index>,
    },
    /// `[x] → same shape`.
    Unary(UnaryOp),
    /// `[a, b] → broadcast shape`. Same element types; numpy broadcasting.
    Binary(BinaryOp),
    /// `[mask: bool, a, b] → broadcast shape`. `a` where true, else `b`.
    Select,
    /// `[x] → same shape`. Conversion: float to int truncates and saturates (NaN gives 0), int to int
    /// wraps, to a narrower float rounds to nearest even, to `bool` compares with zero.
    Cast(DType),
    /// `[x] → same shape`. The same bits as another type of equal size.
    Bitcast(DType),
    /// `[x] → shape`. numpy broadcasting to a given shape (trailing axes aligned).
    Broadcast(Shape),
    /// `[x] → shape`. The same elements in row-major order under another shape.
    Reshape(Shape),
    /// `[x] → permuted`. Result axis `i` is operand axis `perm[i]`.
    Permute(Vec<u32>),
    /// `[x] → slice`. Elements `start .. start + len` of one axis.
    Slice {
        /// Which axis.
        axis: u32,
        /// First element.
        start: Dim,
        /// How many.
        len: Dim,
    },
    /// `[a, b, …] → joined along one axis`.
    Concat {
        /// Which axis.
        axis: u32,
    },
    /// `[x, index: integer tile] → shape of index`. Picks along one axis; the other axes match. An
    /// index outside the axis gives zero.
    Gather {
        /// Which axis.
        axis: u32,
    },
    /// `[x] → axis has size 1`.
    Reduce {
        /// Which reduction.
        op: ReduceOp,
        /// Along which axis.
        axis: u32,
    },
    /// `[x0, x1, …] → one result each, axis has size 1`. One region: `2k` scalar parameters (left
    /// elements, then right elements), yields `k`. The function must be associative. Of nothing: zeros.
    ReduceWith {
        /// Along which axis.
        axis: u32,
    },
    /// `[x] → same shape`. Inclusive running `Sum`, `Prod`, `Max` or `Min`.
    Scan {
        /// Which reduction.
        op: ReduceOp,
        /// Along which axis.
        axis: u32,
        /// From the end of the axis.
        reverse: bool,
    },
    /// `[x0, x1, …] → same shapes`. Inclusive scan; region as in `ReduceWith` (left is the running one).
    ScanWith {
        /// Along which axis.
        axis: u32,
        /// From the end of the axis.
        reverse: bool,
    },
    /// `[a: [.., m, k], b: [.., k, n]] → acc[.., m, n]`. Equal leading axes.
    Dot {
        /// Type of accumulation and of the result.
        acc: DType,
    },
    /// `[seed: u64 or i64 scalar, counter: i64 tile] → u32, shape of counter`. One word of Philox 4x32-10; see
    /// [`crate::philox`].
    Random {
        /// Which of the four words, 0..4.
        word: u8,
    },
    /// `[value] →`. Prints label, program instance and value.
    Print {
        /// The user's label.
        label: String,
    },
    /// `[init…] → final…`. A sequential loop over the blocks of `tiles` (a product, outermost first),
    /// whose bounds are in the tile table and are defined before the loop. One region: parameters
    /// are the carried values on entry to an iteration, yields are those handed to the next; results
    /// are those after the last (the initial ones if there is none). Types do not change.
    For {
        /// The variables.
        tiles: Vec<TileId>,
    },
    /// `[init…] → final…`. Two regions: the condition (parameters: carried values; yields one `bool`
    /// scalar), the body (parameters: carried values; yields the next ones).
    While,
    /// `[condition: bool scalar] → results`. Two regions without parameters and equal yields.
    If,
}

/// The values an access reads to find its place.
pub fn index_values(index: &[Index]) -> impl Iterator<Item = ValueId> + '_ {
    index.iter().filter_map(|i| match i {
        Index::Tile(_, offset) => *offset,
        Index::Full => None,
        Index::Scalar(v) | Index::Gather(v) => Some(*v),
    })
}
