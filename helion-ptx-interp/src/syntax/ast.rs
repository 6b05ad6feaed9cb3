//! A module as it was written.

use std::fmt;

/// The types that PTX instructions and variables name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub(crate) enum Ty {
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    U16x2,
    S16x2,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
    Tf32,
    E4m3,
    E5m2,
    E4m3x2,
    E5m2x2,
    Pred,
}

impl Ty {
    const NAMES: [(&'static str, Ty); 27] = [
        ("b8", Ty::B8),
        ("b16", Ty::B16),
        ("b32", Ty::B32),
        ("b64", Ty::B64),
        ("b128", Ty::B128),
        ("u8", Ty::U8),
        ("u16", Ty::U16),
        ("u32", Ty::U32),
        ("u64", Ty::U64),
        ("s8", Ty::S8),
        ("s16", Ty::S16),
        ("s32", Ty::S32),
        ("s64", Ty::S64),
        ("u16x2", Ty::U16x2),
        ("s16x2", Ty::S16x2),
        ("f16", Ty::F16),
        ("f16x2", Ty::F16x2),
        ("bf16", Ty::Bf16),
        ("bf16x2", Ty::Bf16x2),
        ("f32", Ty::F32),
        ("f64", Ty::F64),
        ("tf32", Ty::Tf32),
        ("e4m3", Ty::E4m3),
        ("e5m2", Ty::E5m2),
        ("e4m3x2", Ty::E4m3x2),
        ("e5m2x2", Ty::E5m2x2),
        ("pred", Ty::Pred),
    ];

    pub fn named(word: &str) -> Option<Ty> {
        Ty::NAMES.iter().find(|(n, _)| *n == word).map(|(_, t)| *t)
    }

    pub fn name(self) -> &'static str {
        Ty::NAMES.iter().find(|(_, t)| *t == self).map_or("?", |(n, _)| n)
    }

    /// Bits of a value; a predicate has one.
    pub fn bits(self) -> u32 {
        match self {
            Ty::Pred => 1,
            Ty::B8 | Ty::U8 | Ty::S8 | Ty::E4m3 | Ty::E5m2 => 8,
            Ty::B16 | Ty::U16 | Ty::S16 | Ty::F16 | Ty::Bf16 | Ty::E4m3x2 | Ty::E5m2x2 => 16,
            Ty::B32 | Ty::U32 | Ty::S32 | Ty::F32 | Ty::Tf32 | Ty::U16x2 | Ty::S16x2 | Ty::F16x2 | Ty::Bf16x2 => 32,
            Ty::B64 | Ty::U64 | Ty::S64 | Ty::F64 => 64,
            Ty::B128 => 128,
        }
    }

    /// Bytes of a value in memory.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Ty::S8 | Ty::S16 | Ty::S32 | Ty::S64)
    }
}

impl fmt::Display for Ty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ".{}", self.name())
    }
}

/// Where a variable lives, and what an access names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Const,
    Param,
}

impl Space {
    /// The space that a modifier names; the windows of shared memory are one here.
    pub fn named(word: &str) -> Option<Space> {
        Some(match word {
            "global" => Space::Global,
            "shared" | "shared::cta" | "shared::cluster" => Space::Shared,
            "local" => Space::Local,
            "const" => Space::Const,
            "param" | "param::entry" | "param::func" => Space::Param,
            _ => return None,
        })
    }
}

/// A whole text.
#[derive(Debug, Default)]
pub(crate) struct Source<'a> {
    pub target: &'a str,
    pub variables: Vec<Variable<'a>>,
    pub functions: Vec<Function<'a>>,
}

/// A declared variable.
#[derive(Debug, Clone)]
pub(crate) struct Variable<'a> {
    pub line: u32,
    pub space: Space,
    pub name: &'a str,
    pub align: u32,
    /// Bytes; an array without a length has none.
    pub size: u64,
    pub is_extern: bool,
    pub init: Vec<Init<'a>>,
}

/// A piece of an initialiser.
#[derive(Debug, Clone)]
pub(crate) enum Init<'a> {
    /// Bytes at an offset.
    Bytes(u64, Vec<u8>),
    /// An address of 8 bytes at an offset: the symbol's, plus a number.
    Address(u64, &'a str, i64),
}

/// A function or an entry.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub line: u32,
    pub name: &'a str,
    pub is_entry: bool,
    pub returns: Vec<Variable<'a>>,
    pub params: Vec<Variable<'a>>,
    pub bounds: Bounds,
    /// None for a declaration.
    pub body: Option<Vec<Item<'a>>>,
}

/// The performance directives of an entry that bound its launches.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub max_threads: Option<[u32; 3]>,
    pub required_threads: Option<[u32; 3]>,
    pub cluster: Option<[u32; 3]>,
}

/// One thing in a body.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Open,
    Close,
    /// `.reg .b32 %r<4>` (with a count) or `.reg .b32 x`.
    Reg {
        ty: Ty,
        name: &'a str,
        count: Option<u32>,
    },
    Variable(Variable<'a>),
    Label(&'a str),
    /// `name: .branchtargets a, b;`
    Targets(&'a str, Vec<&'a str>),
    Inst(Raw<'a>),
}

/// An instruction as words.
#[derive(Debug, Clone)]
pub(crate) struct Raw<'a> {
    pub line: u32,
    /// The guard's register, and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    pub opcode: &'a str,
    pub modifiers: Vec<&'a str>,
    pub operands: Vec<Operand<'a>>,
}

/// An operand as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand<'a> {
    /// A register, variable, label, or special register such as `%tid.x`.
    Name(&'a str),
    /// A symbol and a number that is added to its address.
    Offset(&'a str, i64),
    Int(i128),
    F32(u32),
    F64(u64),
    /// `!p`
    Not(Box<Operand<'a>>),
    /// `a|b`
    Pair(Box<Operand<'a>>, Box<Operand<'a>>),
    /// `{a, b}`
    Vector(Vec<Operand<'a>>),
    /// `(a, b)` of a call.
    List(Vec<Operand<'a>>),
    /// `[base + offset]`, and the coordinates of a tensor access.
    Address {
        base: Box<Operand<'a>>,
        offset: i64,
        coords: Vec<Operand<'a>>,
    },
}
