//! What a launch did: instructions, memory traffic, printed text.

use std::ops::AddAssign;

/// Groups of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Integer arithmetic, logic, selection.
    Integer,
    /// Floating-point arithmetic and comparison.
    Float,
    /// Conversions between types.
    Convert,
    /// Moves and packing.
    Move,
    /// Special registers that change while a kernel runs.
    Special,
    /// Loads of any space.
    Load,
    /// Stores of any space.
    Store,
    /// Atomic updates.
    Atomic,
    /// Branches, calls, exits.
    Control,
    /// Barriers and fences.
    Barrier,
    /// Shuffles, votes, reductions over a warp.
    Warp,
    /// Matrix products and the loads and stores of their fragments.
    Matrix,
    /// Asynchronous copies and what waits for them.
    Async,
}

impl Class {
    /// All classes.
    pub const ALL: [Class; 13] = [
        Class::Integer,
        Class::Float,
        Class::Convert,
        Class::Move,
        Class::Special,
        Class::Load,
        Class::Store,
        Class::Atomic,
        Class::Control,
        Class::Barrier,
        Class::Warp,
        Class::Matrix,
        Class::Async,
    ];
}

/// How often instructions ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Times a warp ran one of them.
    pub warps: u64,
    /// Threads in those warps that took part.
    pub threads: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.warps += other.warps;
        self.threads += other.threads;
    }
}

/// Accesses to global memory by warps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GlobalTraffic {
    /// Accesses of a warp.
    pub requests: u64,
    /// Sectors of 32 bytes that they touched.
    pub sectors: u64,
    /// Sectors that the same bytes would need if they lay side by side.
    pub ideal: u64,
}

impl AddAssign for GlobalTraffic {
    fn add_assign(&mut self, other: GlobalTraffic) {
        self.requests += other.requests;
        self.sectors += other.sectors;
        self.ideal += other.ideal;
    }
}

/// Accesses to shared memory by warps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SharedTraffic {
    /// Accesses of a warp.
    pub requests: u64,
    /// Passes over the 32 banks that they took.
    pub passes: u64,
    /// Passes that they would take without conflicts between banks.
    pub ideal: u64,
}

impl SharedTraffic {
    /// Passes that conflicts between banks cost.
    pub fn conflicts(&self) -> u64 {
        self.passes - self.ideal
    }
}

impl AddAssign for SharedTraffic {
    fn add_assign(&mut self, other: SharedTraffic) {
        self.requests += other.requests;
        self.passes += other.passes;
        self.ideal += other.ideal;
    }
}

/// What one line of PTX did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub line: u32,
    /// Its text.
    pub text: String,
    /// Its class.
    pub class: Class,
    /// How often it ran.
    pub count: Count,
    /// What it did to global memory.
    pub global: GlobalTraffic,
    /// What it did to shared memory.
    pub shared: SharedTraffic,
}

/// A launch that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// For each class (by its number) how often its instructions ran.
    pub counts: [Count; Class::ALL.len()],
    /// All traffic to global memory.
    pub global: GlobalTraffic,
    /// All traffic to shared memory.
    pub shared: SharedTraffic,
    /// The same for each line that ran, in the order of the text.
    pub lines: Vec<Line>,
    /// What the kernel printed.
    pub printed: String,
}

impl Report {
    /// How often instructions of a class ran.
    pub fn count(&self, class: Class) -> Count {
        self.counts[class as usize]
    }

    /// How often instructions ran.
    pub fn total(&self) -> Count {
        self.counts.iter().fold(Count::default(), |mut sum, c| {
            sum += *c;
            sum
        })
    }

    /// The lines whose text has a word in it, such as `ld.global`.
    pub fn lines_with<'r>(&'r self, word: &'r str) -> impl Iterator<Item = &'r Line> + 'r {
        self.lines.iter().filter(move |l| l.text.contains(word))
    }
}
