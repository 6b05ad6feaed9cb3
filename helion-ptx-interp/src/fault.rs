//! What went wrong in a launch, and where.

use std::fmt;

/// The kind of a fault, for tests that expect one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The launch itself is not possible: unknown entry, too many threads, parameters of the wrong size.
    Launch,
    /// An access outside of live memory.
    OutOfBounds,
    /// An address that is not a multiple of the access's size.
    Misaligned,
    /// A read of shared memory that nobody wrote.
    Uninitialised,
    /// Two threads access the same byte of shared memory, one of them writes, and nothing orders them.
    Race,
    /// Threads wait for what cannot happen.
    Deadlock,
    /// Data of an asynchronous copy or product is used before the wait that makes it visible.
    NotArrived,
    /// Memory written by ordinary stores is read by the asynchronous proxy without a fence between them.
    Proxy,
    /// An instruction whose operands break its rules.
    Misuse,
    /// The launch ran more instructions than it may.
    Limit,
    /// The kernel trapped, or an assertion failed.
    Trap,
}

/// A launch that was stopped, with the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of mistake it is.
    pub kind: FaultKind,
    /// The entry that was launched.
    pub kernel: String,
    /// The line of the module's text; zero where no instruction is to blame.
    pub line: u32,
    /// That line.
    pub text: String,
    /// The block's index in the grid.
    pub block: [u32; 3],
    /// The thread's index in its block, where one is to blame.
    pub thread: Option<[u32; 3]>,
    /// What was wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel `{}`", self.kernel)?;
        if self.line > 0 {
            write!(f, ", line {} (`{}`)", self.line, self.text.trim())?;
        }
        if self.kind != FaultKind::Launch {
            let [x, y, z] = self.block;
            write!(f, ", block ({x}, {y}, {z})")?;
        }
        if let Some([x, y, z]) = self.thread {
            write!(f, ", thread ({x}, {y}, {z})")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Fault {}

/// A fault without its place, as the parts of the interpreter make it.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub kind: FaultKind,
    pub message: String,
    pub lane: Option<usize>,
}

/// The result of a part of a step. Boxed: trouble is rare, and results are passed around a lot.
pub(crate) type Exec<T> = Result<T, Box<Trouble>>;

/// Makes trouble.
pub(crate) fn trouble<T>(kind: FaultKind, message: impl Into<String>) -> Exec<T> {
    Err(Box::new(Trouble { kind, message: message.into(), lane: None }))
}

/// Says which lane met the trouble.
pub(crate) trait AtLane<T> {
    /// Adds the lane.
    fn at(self, lane: usize) -> Exec<T>;
}

impl<T> AtLane<T> for Exec<T> {
    fn at(self, lane: usize) -> Exec<T> {
        self.map_err(|mut t| {
            t.lane = t.lane.or(Some(lane));
            t
        })
    }
}
