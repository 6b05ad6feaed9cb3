//! Instructions as the interpreter runs them: operands are numbers of registers, symbols are resolved.

use super::lanes::LaneFn;
use crate::report::Class;
use crate::syntax::ast::Space;
use smallvec::SmallVec;

/// A register of a warp's file.
pub(crate) type Reg = u32;

/// Where an operand is read: a register, or a constant of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Src(u32);

impl Src {
    const CONSTANT: u32 = 1 << 31;

    pub fn reg(reg: Reg) -> Src {
        Src(reg)
    }

    pub fn constant(index: u32) -> Src {
        Src(index | Src::CONSTANT)
    }

    /// The index of a constant, or else the register.
    pub fn split(self) -> Result<usize, Reg> {
        if self.0 & Src::CONSTANT != 0 { Ok((self.0 & !Src::CONSTANT) as usize) } else { Err(self.0) }
    }
}

/// A value that is the same in all lanes and known before the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    Bits(u64),
    /// The address of a module's variable, plus a number.
    Symbol(String, i64),
}

/// A list of registers; `None` is the sink `_`.
pub(crate) type Regs = SmallVec<[Option<Reg>; 4]>;

/// `[base + offset]`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub base: Src,
    pub offset: i64,
}

/// What an access orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Weak,
    /// `.relaxed` and `.volatile`
    Relaxed,
    Acquire,
    Release,
    AcqRel,
}

impl Order {
    pub fn acquires(self) -> bool {
        matches!(self, Order::Acquire | Order::AcqRel)
    }
    pub fn releases(self) -> bool {
        matches!(self, Order::Release | Order::AcqRel)
    }
}

/// A load or a store of one or more elements.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub space: Space,
    pub address: Address,
    /// Bytes of an element.
    pub bytes: u32,
    /// Whether a loaded element is sign-extended.
    pub signed: bool,
    pub order: Order,
}

/// An atomic update.
#[derive(Debug, Clone)]
pub(crate) struct Atomic {
    pub space: Space,
    pub address: Address,
    pub bytes: u32,
    pub order: Order,
    /// From the old value and two operands to the new one.
    pub update: fn(u64, u64, u64) -> u64,
    pub operands: [Src; 2],
    pub dst: Option<Reg>,
}

/// How a shuffle picks its source lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What a vote or a reduction over lanes computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// A reduction with `redux.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redux {
    Add,
    MinS,
    MaxS,
    MinU,
    MaxU,
    And,
    Or,
    Xor,
}

/// What a barrier computes of its threads' predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierReduce {
    Count,
    And,
    Or,
}

/// A barrier of the block.
#[derive(Debug, Clone)]
pub(crate) struct Barrier {
    pub id: Src,
    /// How many threads take part; all that have not exited where it is not said.
    pub threads: Option<Src>,
    /// Whether whole warps arrive.
    pub aligned: bool,
    pub waits: bool,
    /// Operation, predicate, destination.
    pub reduce: Option<(BarrierReduce, Src, Reg)>,
}

/// How the bits of an element of a matrix are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    F64,
    S8,
    U8,
}

impl Element {
    pub fn bits(self) -> u32 {
        match self {
            Element::F16 | Element::Bf16 => 16,
            Element::Tf32 => 32,
            Element::E4m3 | Element::E5m2 | Element::S8 | Element::U8 => 8,
            Element::F64 => 64,
        }
    }

    pub fn is_integer(self) -> bool {
        matches!(self, Element::S8 | Element::U8)
    }
}

/// What sums of products are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    F16,
    F32,
    F64,
    S32,
}

/// A list of operands.
pub(crate) type Srcs = SmallVec<[Src; 4]>;

/// `mma.sync`
#[derive(Debug, Clone)]
pub(crate) struct Mma {
    /// Rows, columns, depth.
    pub shape: [usize; 3],
    pub elements: [Element; 2],
    /// Of the result and of the addend.
    pub sums: [Sum; 2],
    pub saturate: bool,
    pub d: Vec<Reg>,
    pub a: Srcs,
    pub b: Srcs,
    pub c: Srcs,
}

/// `wgmma.mma_async`
#[derive(Debug, Clone)]
pub(crate) struct Wgmma {
    pub columns: usize,
    pub depth: usize,
    pub elements: [Element; 2],
    pub sum: Sum,
    pub saturate: bool,
    pub d: Vec<Reg>,
    /// One descriptor, or four registers.
    pub a: Srcs,
    pub b: Src,
    /// Whether the accumulator is added: a predicate.
    pub accumulate: Src,
    pub negate: [bool; 2],
    /// Whether an operand's depth is its slow index.
    pub transposed: [bool; 2],
}

/// A load or store of 8 by 8 matrices of 16-bit elements.
#[derive(Debug, Clone)]
pub(crate) struct MatrixAccess {
    pub space: Space,
    pub address: Address,
    pub transposed: bool,
}

/// What an mbarrier is asked to do.
#[derive(Debug, Clone)]
pub(crate) enum MbarrierAction {
    Init {
        count: Src,
    },
    Invalidate,
    /// Arrives, after expecting bytes where that is said.
    Arrive {
        count: Src,
        expect: Option<Src>,
        drop: bool,
        state: Option<Reg>,
    },
    Expect(Src),
    Complete(Src),
    /// Whether a phase is over: of a state, or of a parity.
    Test {
        done: Reg,
        state: Src,
        parity: bool,
        blocks: bool,
    },
    /// The earlier `cp.async` of a thread arrive when they have landed.
    ArriveAfterCopies {
        counted: bool,
    },
}

/// A copy between global and shared memory by the asynchronous engine.
#[derive(Debug, Clone)]
pub(crate) struct Bulk {
    pub shared: Address,
    pub global: Address,
    /// The number of bytes, of a plain copy.
    pub size: Option<Src>,
    /// Coordinates, innermost first; then `global` is the address of a tensor map.
    pub coords: Srcs,
    /// Of a load.
    pub mbarrier: Option<Address>,
    /// How a store combines with what is there; replaces where none.
    pub reduce: Option<&'static str>,
}

/// What an instruction does.
#[derive(Debug, Clone)]
pub(crate) enum Inst {
    LoadMatrix {
        access: MatrixAccess,
        dst: Regs,
    },
    StoreMatrix {
        access: MatrixAccess,
        src: Srcs,
    },
    Mma(Box<Mma>),
    /// A copy of a thread in the background: how many bytes of the size are read, the rest is zero.
    Copy {
        shared: Address,
        global: Address,
        size: u32,
        read: Option<Src>,
    },
    CopyCommit,
    /// Waits until at most so many groups are on their way; all copies where none.
    CopyWait(Option<u32>),
    Mbarrier {
        at: Address,
        action: Box<MbarrierAction>,
    },
    Bulk(Box<Bulk>),
    BulkCommit,
    BulkWait {
        keep: u32,
    },
    ProxyFence,
    Wgmma(Box<Wgmma>),
    WgmmaFence,
    WgmmaCommit,
    WgmmaWait(u32),
    /// A function of lanes, without effects.
    Map {
        f: LaneFn,
        dst: Reg,
        src: [Src; 4],
    },
    /// The lower and upper result of a lane-by-lane clock.
    Clock {
        dst: Reg,
        nanoseconds: bool,
    },
    /// `width`: bits of the registers, which a signed element fills.
    Load {
        access: Access,
        dst: Regs,
        width: u32,
    },
    Store {
        access: Access,
        src: SmallVec<[Src; 4]>,
    },
    Atomic(Box<Atomic>),
    Branch(u32),
    BranchIndexed {
        index: Src,
        targets: Box<[u32]>,
    },
    Exit,
    Trap,
    Barrier(Box<Barrier>),
    /// Orders the memory of the lanes of a mask.
    WarpBarrier {
        mask: Src,
    },
    Fence,
    Shuffle {
        kind: Shuffle,
        dst: Reg,
        pred: Option<Reg>,
        value: Src,
        lane: Src,
        clamp: Src,
        mask: Src,
    },
    Vote {
        kind: Vote,
        dst: Reg,
        pred: Src,
        negate: bool,
        mask: Src,
    },
    Match {
        all: bool,
        dst: Reg,
        pred: Option<Reg>,
        value: Src,
        mask: Src,
    },
    Redux {
        kind: Redux,
        dst: Reg,
        value: Src,
        mask: Src,
    },
    ActiveMask {
        dst: Reg,
    },
    Elect {
        dst: Option<Reg>,
        pred: Reg,
        mask: Src,
    },
    /// Prints; the operands are addresses in the local window where format and arguments' addresses lie.
    Print {
        format: u64,
        arguments: u64,
        result: Option<u64>,
    },
    /// `__assertfail`: the address of the message.
    Assert {
        message: u64,
    },
    /// Lets other warps run.
    Pause,
    /// Has no effect that this interpreter models.
    Nothing,
}

/// An instruction with what surrounds it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The guard's register, and the bit that lets a lane run.
    pub guard: Option<(Reg, bool)>,
    pub inst: Inst,
    pub class: Class,
    pub line: u32,
}
