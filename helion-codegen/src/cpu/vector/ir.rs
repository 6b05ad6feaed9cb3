//! Vector programs: the part of a CPU kernel that is worth vectorising, independent of vector width.
//!
//! A [`Program`] is straight-line SSA on vectors around one counted loop: `before` runs once, `body`
//! runs per step, `after` runs once. All values have the same number of lanes,
//! `vector bytes / size of the widest element type used`, so an `f32` value beside an `f64` one
//! occupies half a register. Masks have one bit (or one full lane) per lane.
//!
//! **Steps.** In an *element* program ([`Trip::Elements`]) one step handles `lanes` consecutive
//! elements, the last one possibly partial: lanes past the end load zero, are never stored, and carry
//! combination with an operation ignores them. In a *counted* program ([`Trip::Count`], matrix
//! micro-kernels) one step is one iteration and lanes have no relation to it.
//!
//! **Calls.** The compiled form is `extern "C" fn(slots: *mut u64, n: u64)`. `slots` holds one 64-bit
//! word per parameter (a pointer, a byte stride, or the low bits of a scalar) and receives the
//! results. `n` is the number of elements or iterations, at least 0.
//!
//! **Addresses.** `pointer + row * row_stride + offset + step * advance`, in bytes, where for
//! [`Walk::Unit`] the advance is `lanes * element size` per step, and for [`Walk::Fixed`] it is zero.
//! In `before` and `after` the step is 0 and every lane exists, whatever `n` is: a load there that is
//! not a splat reads one full vector. A store writes lane `i` to element `i` however it walks.
//!
//! **Scope.** Values of `before` may be used everywhere, those of `body` only in `body` (and as the
//! `next` of a carry), those of `after` only in `after`. Programs are made with
//! [`Builder`](super::builder::Builder), checked by [`verify`](super::verify::verify()), printed by
//! `Display` and explained by [`interp`](super::interp).

use helion_ir::dtype::{DType, Literal};

/// A vector (or mask) value: an index into [`Program::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct V(pub u32);

/// A word of the argument block: an index into [`Program::slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// The element type of a vector value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    /// `f32` lanes.
    F32,
    /// `f64` lanes.
    F64,
    /// 32-bit integer lanes.
    I32,
    /// 64-bit integer lanes.
    I64,
    /// One truth value per lane.
    Mask,
}

/// What a word of the argument block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A pointer to elements.
    Pointer,
    /// A stride in bytes.
    Stride,
    /// A scalar of the given type in the low bits.
    Scalar(Ty),
    /// Written by the program: the result of a [`Op::ReduceTo`].
    Result(Ty),
}

/// How an address moves with the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// It does not move; a load gives every lane the same element.
    Fixed,
    /// By one vector per step; lane `i` is element `i`.
    Unit,
    /// By a constant number of bytes per step; a load gives every lane the same element when `splat`
    /// is set, else lane `i` is element `i` (counted programs).
    Bytes {
        /// Bytes per step.
        advance: i32,
        /// Whether all lanes get one element.
        splat: bool,
    },
}

/// A memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addr {
    /// The pointer.
    pub pointer: SlotId,
    /// A row offset: `row * stride slot`.
    pub row: Option<(u32, SlotId)>,
    /// A constant offset in bytes.
    pub offset: i32,
    /// A constant offset in vectors (of this access's element type).
    pub vectors: u32,
    /// How it moves.
    pub walk: Walk,
}

/// Comparison predicates; float ones are false on NaN except `Ne` and `Unordered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cmp {
    /// Equal.
    Eq,
    /// Not equal (true on NaN).
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Either is NaN (floats only).
    Unordered,
    /// Unsigned less (integers only).
    LtU,
}

/// Horizontal reductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    /// Sum.
    Add,
    /// Product.
    Mul,
    /// Largest, as the hardware maximum (NaN is handled by the caller).
    Max,
    /// Smallest.
    Min,
    /// Bitwise or; of masks: any.
    Or,
    /// Bitwise and; of masks: all.
    And,
}

/// Rounding to an integral float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Nearest, ties to even.
    Nearest,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
    /// Toward zero.
    Zero,
}

/// Elements that share the 32-bit lanes of both factors of [`Op::Dots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packed {
    /// Two bf16, added to an `f32`: first the product of the higher ones. Denormal numbers count as zero.
    Bf16,
    /// Two signed 16-bit integers; the sum wraps.
    I16,
    /// Four 8-bit integers, unsigned in the first factor and signed in the second; the sum wraps.
    I8,
}

impl Packed {
    /// How many share a lane.
    pub const fn per_lane(self) -> usize {
        match self {
            Packed::Bf16 | Packed::I16 => 2,
            Packed::I8 => 4,
        }
    }
    /// The type of their sums.
    pub const fn sum(self) -> Ty {
        match self {
            Packed::Bf16 => Ty::F32,
            Packed::I16 | Packed::I8 => Ty::I32,
        }
    }
}

/// What an instruction does. Arguments → result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// `→ v`. Every lane the same (of type f32, f64, i32, i64, or bool for masks).
    Const(Literal),
    /// `→ v`. A scalar slot in every lane.
    Splat(SlotId),
    /// `→ i32 or i64`. The element's index: lane number plus `step * lanes`.
    Index,
    /// `→ v`. Loads; the memory type may be narrower (f16, bf16 → f32; i8, i16, u8, u16 → i32; bool → mask;
    /// u32/i32 → i32; u64/i64 → i64; f32, f64).
    Load(Addr, DType),
    /// `[v] →`. Stores, converting back (rounding floats to nearest even, truncating integers).
    Store(Addr, DType),
    /// `[mask, v] →`. Stores the lanes of the mask.
    StoreMasked(Addr, DType),
    /// `[mask] → v`. Loads the lanes of the mask, zero elsewhere; other lanes are not touched.
    LoadMasked(Addr, DType),
    /// `[a, b] → v`.
    Add,
    /// `[a, b] → v`.
    Sub,
    /// `[a, b] → v`.
    Mul,
    /// `[a, b] → v`. Floats only.
    Div,
    /// `[a, b] → v`. As x86: `b` if either is NaN.
    Min,
    /// `[a, b] → v`. As x86: `b` if either is NaN.
    Max,
    /// `[a, b, c] → a * b + c`, rounded once.
    Fma,
    /// `[a, b, c] → c - a * b`, rounded once.
    Fnma,
    /// `[x, n] → x * 2^n`, rounded once, of `f32` and integral `n`. AVX-512 only; `fuse` makes it.
    Scale,
    /// `[a, b, c] → c` plus the products of what the lanes of `a` and `b` hold. Only where
    /// [`Isa::multiplies`](super::Isa::multiplies).
    Dots(Packed),
    /// `[x] → v`.
    Sqrt,
    /// `[x] → v`.
    Round(Rounding),
    /// `[a, b] → v`. Bits of vectors, or masks.
    And,
    /// `[a, b] → v`. Bits of vectors, or masks.
    Or,
    /// `[a, b] → v`. Bits of vectors, or masks.
    Xor,
    /// `[x] → v`. Shift left by a constant (integers).
    Shl(u8),
    /// `[x] → v`. Logical shift right by a constant (integers).
    ShrU(u8),
    /// `[x] → v`. Arithmetic shift right by a constant (integers).
    ShrS(u8),
    /// `[a, b] → mask`. Signed for integers unless the predicate says otherwise.
    Compare(Cmp),
    /// `[mask, a, b] → v`.
    Select,
    /// `[x] → v`. Numeric conversion between f32, f64, i32, i64: float to int truncates (the caller
    /// handles NaN and range), int to float and f64 to f32 round to nearest.
    Convert(Ty),
    /// `[x] → v`. The same bits (f32 ↔ i32, f64 ↔ i64).
    Bitcast(Ty),
    /// `[v] →`. Folds the lanes and writes the result slot (masks write 0 or 1). Only in `after`. The
    /// upper half of the lanes is folded into the lower half until one lane is left. A result narrower
    /// than a word is zero-extended.
    ReduceTo(Fold, SlotId),
    /// `→ mask`. The lanes of this step that exist: all of them, except in the last partial step.
    Tail,
    /// `[v] →`. Like [`Op::Store`], but the data will not be read soon: it may go around the caches. The
    /// caller guarantees that the pointer (with its row) is aligned to the bytes of a register, and puts a
    /// fence between the call and anything that tells another thread about the data.
    StoreStream(Addr, DType),
    /// `→`. The cache line at the address will be read soon. Never faults, may do nothing.
    Prefetch(Addr, DType),
}

impl Ty {
    /// Bytes of one lane; masks have none of their own.
    pub const fn bytes(self) -> usize {
        match self {
            Ty::F32 | Ty::I32 => 4,
            Ty::F64 | Ty::I64 => 8,
            Ty::Mask => 0,
        }
    }
    /// Whether the lanes are floats.
    pub const fn is_float(self) -> bool {
        matches!(self, Ty::F32 | Ty::F64)
    }
    /// Whether the lanes are integers.
    pub const fn is_int(self) -> bool {
        matches!(self, Ty::I32 | Ty::I64)
    }
    /// What a load of this element type gives; `None` where vectors have no such loads.
    pub const fn of_memory(dtype: DType) -> Option<Ty> {
        match dtype {
            DType::F16 | DType::BF16 | DType::F32 => Some(Ty::F32),
            DType::F64 => Some(Ty::F64),
            DType::I8 | DType::I16 | DType::I32 | DType::U8 | DType::U16 | DType::U32 => Some(Ty::I32),
            DType::I64 | DType::U64 => Some(Ty::I64),
            DType::Bool => Some(Ty::Mask),
            DType::F8E4M3 | DType::F8E5M2 => None,
        }
    }
    /// What a literal of this element type is in a vector.
    pub const fn of_literal(dtype: DType) -> Option<Ty> {
        match dtype {
            DType::F32 => Some(Ty::F32),
            DType::F64 => Some(Ty::F64),
            DType::I32 | DType::U32 => Some(Ty::I32),
            DType::I64 | DType::U64 => Some(Ty::I64),
            DType::Bool => Some(Ty::Mask),
            DType::I8 | DType::I16 | DType::U8 | DType::U16 => None,
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => None,
        }
    }
}

impl Addr {
    /// Element 0 of a pointer, one vector per step.
    pub const fn unit(pointer: SlotId) -> Addr {
        Addr { pointer, row: None, offset: 0, vectors: 0, walk: Walk::Unit }
    }
    /// One element for every lane and step.
    pub const fn fixed(pointer: SlotId) -> Addr {
        Addr { pointer, row: None, offset: 0, vectors: 0, walk: Walk::Fixed }
    }
    /// The same in row `row`, whose rows are `stride` bytes apart.
    pub const fn row(self, row: u32, stride: SlotId) -> Addr {
        Addr { row: Some((row, stride)), ..self }
    }
    /// The same `offset` bytes further.
    pub const fn plus(self, offset: i32) -> Addr {
        Addr { offset: self.offset + offset, ..self }
    }
    /// Whether a load gives every lane the same element.
    pub const fn is_splat(&self) -> bool {
        match self.walk {
            Walk::Fixed => true,
            Walk::Unit => false,
            Walk::Bytes { splat, .. } => splat,
        }
    }
}

impl Op {
    /// The memory the op touches, with the element type.
    pub fn memory(&self) -> Option<(Addr, DType)> {
        let mut copy = *self;
        copy.memory_mut().map(|(addr, dtype)| (*addr, dtype))
    }
    /// The same for a change of address.
    pub fn memory_mut(&mut self) -> Option<(&mut Addr, DType)> {
        match self {
            Op::Load(a, d)
            | Op::LoadMasked(a, d)
            | Op::Store(a, d)
            | Op::StoreMasked(a, d)
            | Op::StoreStream(a, d)
            | Op::Prefetch(a, d) => Some((a, *d)),
            Op::Const(_) | Op::Splat(_) | Op::Index | Op::Tail | Op::ReduceTo(..) => None,
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max | Op::Fma | Op::Fnma | Op::Scale => None,
            Op::Sqrt | Op::Round(_) | Op::And | Op::Or | Op::Xor | Op::Shl(_) | Op::ShrU(_) | Op::ShrS(_) => None,
            Op::Compare(_) | Op::Select | Op::Convert(_) | Op::Bitcast(_) | Op::Dots(_) => None,
        }
    }
    /// Whether the op writes memory.
    pub const fn is_store(&self) -> bool {
        matches!(self, Op::Store(..) | Op::StoreMasked(..) | Op::StoreStream(..))
    }
}

impl Program {
    /// Bytes of the widest lane: 4 or 8. A machine with `b`-byte vectors runs `b / widest` lanes.
    pub fn widest(&self) -> usize {
        self.values.iter().map(|t| t.bytes()).max().unwrap_or(0).max(4)
    }
    /// The type of a value.
    pub fn ty(&self, v: V) -> Ty {
        self.values[v.0 as usize]
    }
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Operands.
    pub args: smallvec::SmallVec<[V; 3]>,
    /// The result, for ops that have one.
    pub result: Option<V>,
}

/// A value threaded through the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Carry {
    /// On entry to a step (bound in `body`).
    pub param: V,
    /// Before the first step (defined in `before`).
    pub init: V,
    /// After a step (defined in `body`).
    pub next: V,
    /// After the last step (bound in `after`).
    pub result: V,
    /// When set, `next` combines `param` with something by this operation and `init` is its neutral
    /// element (in the last partial step the lanes past the end keep `param`), so steps may be unrolled
    /// with several copies.
    pub fold: Option<Fold>,
}

/// What `n` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// Elements; a step handles `lanes` of them.
    Elements,
    /// Iterations.
    Count,
}

/// A vector program.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// A name for dumps.
    pub name: String,
    /// The argument block.
    pub slots: Vec<Slot>,
    /// The type of each value.
    pub values: Vec<Ty>,
    /// What `n` counts.
    pub trip: Trip,
    /// Steps per iteration of the emitted main loop.
    pub unroll: u32,
    /// State of the loop.
    pub carries: Vec<Carry>,
    /// Once, first.
    pub before: Vec<Inst>,
    /// Per step.
    pub body: Vec<Inst>,
    /// Once, last.
    pub after: Vec<Inst>,
}
