//! Configurations: typed knobs over the slots of a kernel.
//!
//! A [`Knob`] is declared once in the table below: key, domain, default, meaning. A slot is a knob
//! applied to something a kernel has (`block` of tile variable `tm`); a [`Config`] maps slots to
//! values. What a config does not mention takes the scheduler's default. A [`ConfigSpace`] lists the
//! slots of one kernel with the values worth trying; search sees nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Which values a knob takes. Values are whole numbers everywhere; the domain gives them their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Every whole number from the first to the second.
    Integer(u64, u64),
    /// Powers of two from the first to the second.
    PowerOfTwo(u64, u64),
    /// One of these words, by position.
    Choice(&'static [&'static str]),
    /// 0 is `off`, 1 is `on`.
    Switch,
}

impl Domain {
    const SWITCH: &'static [&'static str] = &["off", "on"];

    /// The words for values, if they have any.
    pub const fn words(self) -> Option<&'static [&'static str]> {
        match self {
            Domain::Choice(words) => Some(words),
            Domain::Switch => Some(Domain::SWITCH),
            Domain::Integer(..) | Domain::PowerOfTwo(..) => None,
        }
    }
    /// Whether a value is in the domain.
    pub const fn contains(self, v: u64) -> bool {
        match self {
            Domain::Integer(lo, hi) => lo <= v && v <= hi,
            Domain::PowerOfTwo(lo, hi) => lo <= v && v <= hi && v.is_power_of_two(),
            Domain::Choice(words) => v < words.len() as u64,
            Domain::Switch => v < 2,
        }
    }
    /// A value as printed.
    pub fn show(self, v: u64) -> String {
        let word = self.words().and_then(|w| w.get(usize::try_from(v).ok()?));
        word.map_or_else(|| v.to_string(), |w| (*w).to_owned())
    }
    /// Reads what [`show`](Domain::show) prints; `None` when it is not in the domain.
    pub fn read(self, text: &str) -> Option<u64> {
        let v = match self.words() {
            Some(words) => words.iter().position(|w| *w == text)? as u64,
            None => text.parse().ok()?,
        };
        self.contains(v).then_some(v)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Integer(lo, hi) => write!(f, "{lo} to {hi}"),
            Domain::PowerOfTwo(lo, hi) => write!(f, "powers of two, {lo} to {hi}"),
            Domain::Choice(words) => f.write_str(&words.join(", ")),
            Domain::Switch => f.write_str("off, on"),
        }
    }
}

/// What slots of a knob belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One slot for the whole kernel.
    Kernel,
    /// One slot for each tile variable, by its name.
    Tile,
    /// One slot for each tunable that the kernel registers, by its name.
    Tunable,
}

macro_rules! knobs {
    ($($variant:ident $key:literal $scope:ident $domain:expr, $doc:literal;)*) => {
        /// A scheduling decision that can be pinned or searched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Knob { $(#[doc = $doc] $variant,)* }
        impl Knob {
            /// Every knob.
            pub const ALL: &'static [Knob] = &[$(Knob::$variant),*];
            /// The table without its meanings, as one text: equal where knobs are declared alike.
            pub const DECLARED: &'static str =
                concat!($($key, " ", stringify!($scope), " ", stringify!($domain), "\n"),*);
            /// The key in printed configs.
            pub const fn key(self) -> &'static str { match self { $(Knob::$variant => $key,)* } }
            /// What its slots belong to.
            pub const fn scope(self) -> Scope { match self { $(Knob::$variant => Scope::$scope,)* } }
            /// The values it can have; a kernel's space holds those worth trying.
            pub const fn domain(self) -> Domain { match self { $(Knob::$variant => $domain,)* } }
            /// Meaning, when it applies, what it costs and buys.
            pub const fn doc(self) -> &'static str { match self { $(Knob::$variant => $doc,)* } }
        }
    };
}

use Domain::{Choice, Integer, PowerOfTwo, Switch};

knobs! {
    Block "block" Tile Integer(1, 1 << 20), "Block size of a tile variable. Applies to every variable that is not a unit variable. Larger blocks reuse loaded data more and need more cache.";
    Order "order" Kernel Integer(0, 5039), "Which order the axes of the grid are walked in: the number of a permutation, in the order of their names as written; 0 is as written. The last axis varies fastest. Applies to kernels with two or more grid axes. Costs nothing; neighbours in the walk share what they both read in caches.";
    Grid "grid" Kernel Choice(&["flat", "swizzled", "persistent"]), "How tiles become program instances. `flat`: one for each tile, in row-major order. `swizzled`: the last two axes in groups of `group` rows, each group walked column by column, so that neighbours share operands of both axes; applies to kernels with two or more grid axes, costs some index arithmetic. `persistent`: as many instances as the device has cores, each looping over tiles with a stride; saves starting instances, gives up balancing among them.";
    Group "group" Kernel PowerOfTwo(2, 64), "Rows of a group of a swizzled grid. Applies where `grid` is `swizzled`, on GPUs also where it is `persistent`. Larger groups reuse columns more and rows less.";
    Keep "keep" Kernel Switch, "Whether expensive values that are used more than once are stored in passing by the first loop that computes them (`on`) or computed again (`off`). Applies to kernels with such values. Storing costs memory traffic in near caches, computing again costs arithmetic.";
    Fuse "fuse" Kernel Switch, "Whether neighbouring loops over the same elements that do not need each other's results, such as those of a mean and a mean of squares, become one loop. Applies to kernels with such loops. Saves loads; needs registers for both.";
    Chunk "chunk" Kernel Integer(0, 1 << 20), "Elements per chunk in which neighbouring loops over the same elements take turns, so that the later ones find the chunk in a near cache; 0: each loop runs whole. Applies where `fuse` is `off`. Costs an outer loop.";
    Interchange "interchange" Kernel Switch, "Whether reductions across rows walk memory row by row with all their results at once in near memory (`on`) or finish one result after the other (`off`). Applies to kernels that reduce an axis which is not the last one.";
    Owners "owners" Kernel Integer(0, 64), "Into how many parts a tensor with scattered updates is divided: each part has one owner, a program instance that looks at all updates and makes its own, without atomic operations. 0: updates are atomic. Applies, on CPUs, to kernels that only update one tensor at indices which come from memory. Each owner reads all indices. Default: as many as there are cores, at most 8.";
    Split "split" Kernel Integer(1, 64), "Into how many parts reductions are divided: each part is a program instance of its own, and a later stage combines them in order. Applies to kernels whose tile loop, or reduction along a whole axis, combines by an associative operation. Pays when there are fewer program instances than threads; costs a stage and memory for the parts. Default: 1.";
    MicroRows "micro_rows" Kernel Integer(1, 31), "Rows of the register tile of matrix products. Applies to kernels with `dot`. More rows reuse each loaded vector of the right operand; rows times vectors, the vectors of one row and one more must fit in the registers.";
    MicroVectors "micro_vectors" Kernel Integer(1, 8), "Vectors per row of the register tile of matrix products. Applies to kernels with `dot`. More vectors reuse each element of the left operand. Of rows and vectors one may be left out: it becomes what fits best.";
    Kc "kc" Kernel Integer(8, 65536), "Steps of the summed axis in a packed block of a matrix product. Applies to kernels with `dot` whose block of that axis is longer. A block of both operands should stay in the caches; short blocks load and store the result more often. On a matrix unit four times as many.";
    Mc "mc" Kernel Integer(1, 65536), "Rows in a packed block of the left operand of a matrix product. Applies to kernels with `dot` whose block of rows is larger. The packed block should fit in the second-level cache.";
    Nc "nc" Kernel Integer(1, 1 << 20), "Columns in a packed block of the right operand of a matrix product. Applies to kernels with `dot` whose block of columns is larger. The packed block should fit in the last-level cache.";
    Pack "pack" Kernel Choice(&["auto", "both", "left"]), "Which operands of a matrix product are copied to packed panels. Applies to kernels with `dot`. `both`: best for many rows. `left`: the right operand is read where it is, which it must allow by adjacent columns of a type that vectors load; best for few rows. `auto`: by the number of rows at run time.";
    Unroll "unroll" Kernel Integer(0, 8), "How many vectors one iteration of a fused loop handles. Applies to kernels with loops over elements. 0: by the length of the loop. More hides latency; costs registers and code.";
    Stages "stages" Kernel Integer(1, 8), "Depth of pipelining between memory and arithmetic. 1: nothing is fetched ahead. 2: the next program instance's part of what this one has read before, and the next rows of a right operand that is read in place. More: parts farther ahead. On GPUs: steps of a matrix product in shared memory at a time, at least 2. Applies to kernels that read something twice or multiply matrices.";
    Stream "stream" Kernel Choice(&["auto", "never", "always"]), "Whether results are stored around the caches. Applies to tensors that a kernel only writes, in rows. `auto`: those of half the last-level cache and more. Saves reading what is overwritten; costs when the result is read soon.";
    Threads "threads" Kernel Integer(0, 1024), "How many threads share the grid, at most as many as the settings allow. 0: as many as the work deserves, one for tiny launches. Read at launch: code is the same for all values.";
    Share "share" Kernel Choice(&["mixed", "contiguous", "dynamic", "interleaved"]), "How the grid is divided among threads. `mixed`: a contiguous part for each, and the rest in pieces to whoever comes first. `contiguous`: equal contiguous parts. `dynamic`: all in pieces, for uneven work. `interleaved`: each thread takes single instances in turns, so that neighbours run at the same time. Read at launch: code is the same for all values.";
    Warps "warps" Kernel PowerOfTwo(1, 16), "Warps of the block of threads that runs a program instance. Applies to GPUs. More warps share the work of large blocks and hide latency; each then has fewer elements in registers, and reductions exchange more. Default: 4.";
    Registers "registers" Kernel Integer(0, 255), "The most registers of a thread; 0: as many as its block can have. Applies to GPUs. Fewer let more blocks run side by side; too few make code keep values in memory.";
    User "user" Tunable Integer(0, u64::MAX), "A tunable that the kernel registers itself, by its name there. Its values and their meaning are the kernel's.";
}

impl Knob {
    /// Whether only launches read it: code compiled with one value serves for all of them.
    pub const fn is_launch(self) -> bool {
        matches!(self, Knob::Threads | Knob::Share)
    }
}

/// A knob applied to something; the name is empty for knobs of the whole kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// Which knob.
    pub knob: Knob,
    /// What it is applied to: a tile variable's name, or empty.
    pub of: String,
}

impl Slot {
    /// A slot of a named thing.
    pub fn of(knob: Knob, name: impl Into<String>) -> Slot {
        Slot { knob, of: name.into() }
    }
    /// A slot of the whole kernel.
    pub fn kernel(knob: Knob) -> Slot {
        Slot { knob, of: String::new() }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.knob.key())?;
        if !self.of.is_empty() {
            write!(f, ".{}", self.of)?;
        }
        Ok(())
    }
}

/// Values for some slots of a kernel. Prints as `block.tm=64 unroll=2` and parses back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Config {
    values: BTreeMap<Slot, u64>,
}

impl Config {
    /// A config that pins nothing.
    pub fn new() -> Config {
        Config::default()
    }
    /// Pins the block size of a tile variable.
    #[must_use]
    pub fn block(self, tile: &str, size: u64) -> Config {
        self.with(Slot::of(Knob::Block, tile), size)
    }
    /// Pins a knob of the whole kernel.
    #[must_use]
    pub fn knob(self, knob: Knob, value: u64) -> Config {
        self.with(Slot::kernel(knob), value)
    }
    /// Pins a slot.
    #[must_use]
    pub fn with(mut self, slot: Slot, value: u64) -> Config {
        self.values.insert(slot, value);
        self
    }
    /// Pins a slot in place.
    pub fn set(&mut self, slot: Slot, value: u64) {
        self.values.insert(slot, value);
    }
    /// Forgets the slots for which `keep` does not hold.
    pub fn retain(&mut self, mut keep: impl FnMut(&Slot, u64) -> bool) {
        self.values.retain(|slot, v| keep(slot, *v));
    }
    /// The value of a slot, if pinned.
    pub fn get(&self, slot: &Slot) -> Option<u64> {
        self.values.get(slot).copied()
    }
    /// Every pinned slot in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Slot, u64)> {
        self.values.iter().map(|(s, v)| (s, *v))
    }
    /// The same without what it pins of some knobs.
    #[must_use]
    pub fn without(mut self, knobs: &[Knob]) -> Config {
        self.values.retain(|slot, _| !knobs.contains(&slot.knob));
        self
    }
    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
    /// Checks every value against its knob's domain.
    ///
    /// # Errors
    /// The first value outside its domain, in words.
    pub fn check(&self) -> Result<(), String> {
        for (slot, v) in self.iter() {
            let domain = slot.knob.domain();
            if !domain.contains(v) {
                return Err(format!("`{slot}={v}` is outside the domain of `{}`: {domain}", slot.knob.key()));
            }
        }
        Ok(())
    }
}

impl From<&Config> for Config {
    fn from(config: &Config) -> Config {
        config.clone()
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("default");
        }
        for (i, (slot, v)) in self.iter().enumerate() {
            write!(f, "{}{slot}={}", if i == 0 { "" } else { " " }, slot.knob.domain().show(v))?;
        }
        Ok(())
    }
}

/// Why a text is not a config, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for ParseError {}

impl FromStr for Config {
    type Err = ParseError;
    fn from_str(s: &str) -> Result<Config, ParseError> {
        let mut config = Config::new();
        for word in s.split_whitespace().filter(|w| *w != "default") {
            let (slot, v) =
                word.split_once('=').ok_or_else(|| ParseError(format!("`{word}`: expected `knob=value`")))?;
            let (key, of) = slot.split_once('.').unwrap_or((slot, ""));
            let knob = Knob::ALL.iter().copied().find(|k| k.key() == key).ok_or_else(|| {
                let keys: Vec<_> = Knob::ALL.iter().map(|k| k.key()).collect();
                ParseError(format!("`{key}` is not a knob; the knobs are {}", keys.join(", ")))
            })?;
            let domain = knob.domain();
            let v =
                domain.read(v).ok_or_else(|| ParseError(format!("`{word}`: the values of `{key}` are {domain}")))?;
            config.set(Slot::of(knob, of), v);
        }
        Ok(config)
    }
}

/// The slots of one kernel with the values worth trying, the default first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSpace {
    /// Each slot with its candidates; the first is the default.
    pub slots: Vec<(Slot, Vec<u64>)>,
}

impl ConfigSpace {
    /// The config that takes every slot's default.
    pub fn default_config(&self) -> Config {
        let mut c = Config::new();
        for (slot, values) in &self.slots {
            if let Some(v) = values.first() {
                c.set(slot.clone(), *v);
            }
        }
        c
    }
    /// Adds a slot; the first value is its default. Slots are searched in the order they are added.
    pub fn add(&mut self, slot: Slot, values: Vec<u64>) {
        debug_assert!(!values.is_empty() && self.values(&slot).is_none(), "{slot}");
        self.slots.push((slot, values));
    }
    /// The values of a slot, the default first; `None` when the kernel has no such slot.
    pub fn values(&self, slot: &Slot) -> Option<&[u64]> {
        self.slots.iter().find(|(s, _)| s == slot).map(|(_, v)| v.as_slice())
    }
    /// Leaves a slot only these values, the first being its default from now on. They need not have been
    /// among its values before.
    ///
    /// # Errors
    /// The kernel has no such slot, there is no value, or one is outside the knob's domain; in words.
    pub fn restrict(&mut self, slot: &Slot, values: &[u64]) -> Result<(), String> {
        let domain = slot.knob.domain();
        if values.is_empty() {
            return Err(format!("`{slot}`: at least one value is needed"));
        }
        if let Some(v) = values.iter().find(|v| !domain.contains(**v)) {
            return Err(format!("`{slot}={v}` is outside the domain of `{}`: {domain}", slot.knob.key()));
        }
        let has: Vec<String> = self.slots.iter().map(|(s, _)| s.to_string()).collect();
        let Some((_, own)) = self.slots.iter_mut().find(|(s, _)| s == slot) else {
            let has = if has.is_empty() { "nothing to choose".to_owned() } else { has.join(", ") };
            return Err(format!("`{slot}` is not in the kernel's space, which has {has}"));
        };
        values.clone_into(own);
        Ok(())
    }
    /// Leaves at most so many configs (at least one): the slots with the most values lose their last ones.
    pub fn cut(&mut self, most: u64) {
        while self.len() > most.max(1) {
            let widest = self.slots.iter_mut().map(|(_, v)| v).max_by_key(|v| v.len());
            match widest {
                Some(v) if v.len() > 1 => v.pop(),
                _ => return,
            };
        }
    }
    /// Whether a config has a value from this space in every slot and pins nothing else.
    pub fn contains(&self, config: &Config) -> bool {
        config.iter().count() == self.slots.len()
            && self.slots.iter().all(|(s, v)| config.get(s).is_some_and(|x| v.contains(&x)))
    }
    /// How many configs there are.
    pub fn len(&self) -> u64 {
        self.slots.iter().fold(1u64, |n, (_, v)| n.saturating_mul(v.len().max(1) as u64))
    }
    /// Whether there is nothing to choose.
    pub fn is_empty(&self) -> bool {
        self.len() <= 1
    }
    /// The `i`-th config in row-major order of the slots.
    pub fn nth(&self, mut i: u64) -> Config {
        let mut c = Config::new();
        for (slot, values) in self.slots.iter().rev() {
            let n = values.len().max(1) as u64;
            if let Some(v) = values.get((i % n) as usize) {
                c.set(slot.clone(), *v);
            }
            i /= n;
        }
        c
    }
}
