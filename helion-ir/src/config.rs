//! Configurations: typed knobs over the slots of a kernel.
//!
//! A [`Knob`] is declared once in the table below: key, domain, default, meaning. A slot is a knob
//! applied to something a kernel has (`block` of tile variable `tm`); a [`Config`] maps slots to
//! values. What a config does not mention takes the scheduler's default. A [`ConfigSpace`] lists the
//! slots of one kernel with the values worth trying; search sees nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

macro_rules! knobs {
    ($($variant:ident $key:literal $lo:literal $hi:literal $doc:literal;)*) => {
        /// A scheduling decision that can be pinned or searched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Knob { $(#[doc = $doc] $variant,)* }
        impl Knob {
            /// Every knob.
            pub const ALL: &'static [Knob] = &[$(Knob::$variant),*];
            /// The key in printed configs.
            pub const fn key(self) -> &'static str { match self { $(Knob::$variant => $key,)* } }
            /// Smallest and largest legal value.
            pub const fn range(self) -> (u64, u64) { match self { $(Knob::$variant => ($lo, $hi),)* } }
            /// Meaning, when it applies, what it costs and buys.
            pub const fn doc(self) -> &'static str { match self { $(Knob::$variant => $doc,)* } }
        }
    };
}

knobs! {
    Block "block" 1 1048576 "Block size of a tile variable (slot: the variable's name). Applies to every variable that is not a unit variable. Larger blocks reuse loaded data more and need more cache.";
    MicroRows "micro_rows" 1 32 "Rows of the register tile of matrix products. Applies to kernels with `dot`. More rows reuse each loaded vector of the right operand; rows times vectors must fit in the registers.";
    MicroVectors "micro_vectors" 1 8 "Vectors per row of the register tile of matrix products. Applies to kernels with `dot`.";
    Unroll "unroll" 1 8 "How many vectors one iteration of a fused loop handles. Hides latency; costs registers.";
    Threads "threads" 1 1024 "How many threads share the grid. Default: all of the device's, one for tiny launches.";
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
    /// The value of a slot, if pinned.
    pub fn get(&self, slot: &Slot) -> Option<u64> {
        self.values.get(slot).copied()
    }
    /// Every pinned slot in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Slot, u64)> {
        self.values.iter().map(|(s, v)| (s, *v))
    }
    /// Whether nothing is pinned.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
    /// Checks every value against its knob's range.
    ///
    /// # Errors
    /// The first value outside its range, in words.
    pub fn check(&self) -> Result<(), String> {
        for (slot, v) in self.iter() {
            let (lo, hi) = slot.knob.range();
            if !(lo..=hi).contains(&v) {
                return Err(format!("`{slot}={v}` is outside the range of `{}`, {lo} to {hi}", slot.knob.key()));
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
            write!(f, "{}{slot}={v}", if i == 0 { "" } else { " " })?;
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
            let v = v.parse().map_err(|_| ParseError(format!("`{word}`: the value must be a whole number")))?;
            config.set(Slot::of(knob, of), v);
        }
        config.check().map_err(ParseError)?;
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
