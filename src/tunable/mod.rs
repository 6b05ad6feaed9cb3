//! Tunables: choices of an algorithm that a kernel registers itself, for the tuner to make.
//!
//! Block sizes and the like need no registration. A tunable is for what the kernel's own host code decides: into
//! how many pieces a sum is cut, which of two algorithms runs. The kernel names it, says which values make
//! sense, and reads the one in force:
//!
//! ```
//! use helion::prelude::*;
//!
//! /// The sum of a vector, cut into pieces that are added in parallel.
//! #[kernel]
//! pub fn total(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
//!     let [n] = x.dims();
//!     let pieces = tunable::power_of_two("pieces", 1..=256).default(64).on([n]).get()?;
//!     let piece = n.div_ceil(pieces);
//!     let mut partial = x.empty([pieces]);
//!     for p in grid(pieces) {
//!         let begin = p * piece;
//!         let mut sum = f32::zeros([1]);
//!         for t in tile(begin..(begin + piece).minimum(n)) {
//!             sum += x[t].sum(0);
//!         }
//!         partial[p] = sum.squeeze(0);
//!     }
//!     let mut out = x.empty([1]);
//!     for one in grid(1) {
//!         out[one] = partial[..].sum(0).squeeze(0);
//!     }
//!     Ok(out)
//! }
//!
//! # fn main() -> Result<()> {
//! let x = Tensor::from_vec([5], vec![1.0f32; 5])?;
//! assert_eq!(total(&x)?.to_vec()?, [5.0]);
//! // As every other knob it can be pinned.
//! let pinned: Config = "user.pieces=4".parse()?;
//! assert_eq!(total::with(pinned).call(&x)?.to_vec()?, [5.0]);
//! # Ok(())
//! # }
//! ```
//!
//! `total::tune(&x, Effort::Quick)` searches tunables first, over whole calls, then the launches of the winner. It
//! calls the kernel many times, on copies of what the kernel writes. The value in force is, in this
//! order: pinned by a config; found by tuning for these sizes (see [`Tunable::on`]), or for the nearest ones; the
//! default.

mod choose;

pub(crate) use choose::{Read, choose, reads, with_pinned};

use crate::error::{Error, Result};
use smallvec::SmallVec;
use std::ops::RangeInclusive;
use std::panic::Location;

/// More values of a tunable than this are not all tried.
const MOST_VALUES: usize = 64;

/// Where a tunable is registered: its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

/// The sizes that a choice depends on.
pub(crate) type Sizes = SmallVec<[u64; 4]>;

/// Which values there are, by the numbers that stand for them in configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    Integer(u64, u64),
    PowerOfTwo(u64, u64),
    Listed(u64),
}

impl Values {
    pub(crate) fn contains(self, v: u64) -> bool {
        match self {
            Values::Integer(lo, hi) => (lo..=hi).contains(&v),
            Values::PowerOfTwo(lo, hi) => (lo..=hi).contains(&v) && v.is_power_of_two(),
            Values::Listed(n) => v < n,
        }
    }

    /// The values worth trying: all, or, of long ranges, some in even ratios.
    pub(crate) fn candidates(self) -> Vec<u64> {
        match self {
            Values::Integer(lo, hi) if hi - lo < MOST_VALUES as u64 => (lo..=hi).collect(),
            Values::Integer(lo, hi) => {
                let ratio = (hi as f64 / lo.max(1) as f64).powf(1.0 / (MOST_VALUES as f64 - 1.0));
                let mut all: Vec<u64> = (0..MOST_VALUES)
                    .map(|i| ((lo.max(1) as f64 * ratio.powi(i as i32)) as u64).clamp(lo, hi))
                    .collect();
                all.extend([lo, hi]);
                all.sort_unstable();
                all.dedup();
                all
            }
            Values::PowerOfTwo(lo, hi) => (0..64).map(|k| 1 << k).filter(|v| (lo..=hi).contains(v)).collect(),
            Values::Listed(n) => (0..n).collect(),
        }
    }
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Values::Integer(lo, hi) => write!(f, "{lo} to {hi}"),
            Values::PowerOfTwo(lo, hi) => write!(f, "powers of two, {lo} to {hi}"),
            Values::Listed(n) => write!(f, "0 to {}, by position", n.saturating_sub(1)),
        }
    }
}

/// A choice being registered; [`get`](Tunable::get) makes it.
#[must_use = "`.get()?` makes the choice"]
#[derive(Clone, Debug)]
pub struct Tunable<'a, V> {
    site: Site,
    values: Values,
    default: u64,
    sizes: Sizes,
    of: Decode<'a, V>,
}

/// From the number in a config to the value.
#[derive(Clone, Debug)]
enum Decode<'a, V> {
    Whole { of: fn(u64) -> V, to: fn(V) -> u64 },
    Listed(&'a [V]),
}

/// Whole numbers stand for themselves.
const WHOLE: Decode<'static, usize> = Decode::Whole { of: |v| v as usize, to: |v| v as u64 };

#[track_caller]
fn site(name: &'static str) -> Site {
    let at = Location::caller();
    Site { name, file: at.file(), line: at.line() }
}

/// A whole number. The default is the first.
#[track_caller]
pub fn integer(name: &'static str, range: RangeInclusive<usize>) -> Tunable<'static, usize> {
    let (lo, hi) = (*range.start() as u64, *range.end() as u64);
    let of = WHOLE;
    Tunable { site: site(name), values: Values::Integer(lo, hi.max(lo)), default: lo, sizes: Sizes::new(), of }
}

/// A power of two. The default is the first.
#[track_caller]
pub fn power_of_two(name: &'static str, range: RangeInclusive<usize>) -> Tunable<'static, usize> {
    let lo = (*range.start()).max(1).checked_next_power_of_two().unwrap_or(1 << (usize::BITS - 1)) as u64;
    let hi = (*range.end() as u64).max(lo);
    let of = WHOLE;
    Tunable { site: site(name), values: Values::PowerOfTwo(lo, hi), default: lo, sizes: Sizes::new(), of }
}

/// Yes or no. The default is no.
#[track_caller]
pub fn switch(name: &'static str) -> Tunable<'static, bool> {
    let of = Decode::Listed(&[false, true]);
    Tunable { site: site(name), values: Values::Listed(2), default: 0, sizes: Sizes::new(), of }
}

/// One of these values, such as those of an enum. The default is the first. In configs they go by position.
#[track_caller]
pub fn choice<'a, V: Copy>(name: &'static str, values: &'a [V]) -> Tunable<'a, V> {
    let of = Decode::Listed(values);
    Tunable { site: site(name), values: Values::Listed(values.len() as u64), default: 0, sizes: Sizes::new(), of }
}

impl<V: Copy + PartialEq> Tunable<'_, V> {
    /// The value when nobody tuned or pinned it. One that is not among the values is reported by
    /// [`get`](Tunable::get).
    pub fn default(mut self, value: V) -> Self {
        let number = match &self.of {
            Decode::Listed(values) => values.iter().position(|v| *v == value).map(|i| i as u64),
            Decode::Whole { to, .. } => Some(to(value)),
        };
        self.default = number.filter(|v| self.values.contains(*v)).unwrap_or(u64::MAX);
        self
    }
}

impl<V: Copy> Tunable<'_, V> {
    /// The sizes that the best choice depends on. What tuning finds is remembered for them, and used for sizes
    /// near them. Without any, one choice serves all calls.
    pub fn on<const N: usize>(mut self, sizes: [usize; N]) -> Self {
        self.sizes = sizes.iter().map(|s| *s as u64).collect();
        self
    }

    /// The value in force.
    ///
    /// # Errors
    /// A pinned value or a default that is not among the values; no values at all.
    pub fn get(self) -> Result<V> {
        let name = self.site.name;
        let wrong = |what: &str, v: u64| {
            Error::setting(format!("tunable `{name}`: the {what} {v} is not among its values, {}", self.values))
        };
        if self.values == Values::Listed(0) {
            return Err(Error::setting(format!("tunable `{name}` has no values to choose from")));
        }
        if self.default == u64::MAX {
            return Err(Error::setting(format!(
                "tunable `{name}`: the default is not among its values, {}",
                self.values
            )));
        }
        let read = Read { site: self.site, values: self.values, default: self.default, sizes: self.sizes.clone() };
        let v = match choose::pinned(name) {
            Some(v) if !self.values.contains(v) => return Err(wrong("pinned value", v)),
            Some(v) => v,
            None => choose::chosen(&read),
        };
        choose::note(&read);
        match &self.of {
            Decode::Whole { of, .. } if self.values.contains(v) => Ok(of(v)),
            Decode::Listed(values) if (v as usize) < values.len() => Ok(values[v as usize]),
            Decode::Whole { .. } | Decode::Listed(_) => Err(wrong("value", v)),
        }
    }
}
