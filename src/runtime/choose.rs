//! Which config a launch takes when nobody pins one.
//!
//! In: what was tuned for a kernel, and the sizes and threads of a launch. Out: a config, where it comes from, and
//! how far it is from what was measured. In this order:
//!
//! 1. **Explicit**: `with_config` and `kernel::with(config)`. Nothing else is asked.
//! 2. **Measured at exactly these sizes** with so many threads: an embedded table before what was tuned on this machine.
//! 3. **Measured nearby**: the nearest point within [`REACH`]; again an embedded table before what was tuned here.
//! 4. **The cost model**, for sizes rounded down to their first three binary digits.
//!
//! Threads count as one more size. Distances are in doublings, see [`helion_autotune::table`].

use super::entry::Variant;
use helion_autotune::table::Table;
use helion_ir::config::Config;
use std::fmt;
use std::sync::Arc;

/// How far a measured config is carried, in doublings: further away the cost model is asked. Two doublings are four
/// times as many rows, or twice as many of rows and columns.
pub const REACH: f64 = 2.0;

/// Where a config comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The caller pinned it.
    Explicit,
    /// A table that the program carries.
    Embedded,
    /// Tuning on this machine: in this process, or remembered on disk.
    Disk,
    /// The cost model: nothing was measured near these sizes.
    Model,
}

impl Source {
    /// One word for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Explicit => "explicit",
            Source::Embedded => "embedded",
            Source::Disk => "disk",
            Source::Model => "model",
        }
    }
}

/// What a launch takes, and why. `Display` gives one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The kernel's name.
    pub kernel: String,
    /// The sizes that the choice depends on, by name.
    pub sizes: Vec<(String, u64)>,
    /// How many threads the launch may use.
    pub threads: usize,
    /// The config.
    pub config: Config,
    /// Where it comes from.
    pub source: Source,
    /// How many doublings the sizes are from the nearest ones that were measured: 0 for exactly these, infinite when
    /// nothing was. A pinned config is not carried over from anywhere, so it has 0.
    pub extrapolated: f64,
}

impl Choice {
    /// How far the sizes are from what was measured, in words.
    fn distance(&self) -> String {
        match (self.source, self.extrapolated) {
            (Source::Explicit, _) => String::new(),
            (Source::Model, d) if d == f64::INFINITY => ", nothing tuned".to_owned(),
            (_, 0.0) => ", tuned at exactly these sizes".to_owned(),
            (_, d) => format!(", {d:.2} doublings from the nearest tuned sizes"),
        }
    }
    /// Source and distance: `disk, tuned at exactly these sizes`.
    pub fn reason(&self) -> String {
        format!("{}{}", self.source.name(), self.distance())
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kernel)?;
        self.sizes.iter().try_for_each(|(name, v)| write!(f, " {name}={v}"))?;
        write!(f, ", {} threads: `{}` ({})", self.threads, self.config, self.reason())
    }
}

/// A variant with its reasons.
#[derive(Clone)]
pub(super) struct Pick {
    pub(super) variant: Arc<Variant>,
    pub(super) source: Source,
    pub(super) extrapolated: f64,
}

/// Measured points of one kernel. A *place* is the sizes of a launch, then its threads.
#[derive(Default)]
pub(super) struct Points {
    pub(super) embedded: Table<Arc<Variant>>,
    pub(super) disk: Table<Arc<Variant>>,
}

impl Points {
    /// What was measured at a place or near it; else how far away the nearest point is.
    pub(super) fn pick(&self, place: &[u64]) -> Result<Pick, f64> {
        let pick = |source, (extrapolated, variant): (f64, &Arc<Variant>)| {
            let variant = Arc::clone(variant);
            Pick { variant, source, extrapolated }
        };
        let near = [(Source::Embedded, self.embedded.nearest(place)), (Source::Disk, self.disk.nearest(place))];
        for most in [0.0, REACH] {
            for (source, found) in near {
                if let Some(found) = found.filter(|(d, _)| *d <= most) {
                    return Ok(pick(source, found));
                }
            }
        }
        Err(near.iter().filter_map(|(_, found)| found.map(|f| f.0)).fold(f64::INFINITY, f64::min))
    }
}

/// Sizes for which the cost model gives one answer: rounded down to their first three binary digits.
pub(super) fn bucket(size: u64) -> u64 {
    let low = (u64::BITS - size.leading_zeros()).saturating_sub(3);
    size >> low << low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(embedded: &[(u64, u64)], disk: &[(u64, u64)]) -> Points {
        let variant = |block| Arc::new(Variant::new(Config::new().block("t", block)));
        let table = |p: &[(u64, u64)]| p.iter().map(|&(size, block)| (vec![size, 2], variant(block))).collect();
        Points { embedded: table(embedded), disk: table(disk) }
    }

    fn picked(p: &Points, size: u64) -> Option<(u64, Source, f64)> {
        let pick = p.pick(&[size, 2]).ok()?;
        let (_, block) = pick.variant.config.iter().next()?;
        Some((block, pick.source, pick.extrapolated))
    }

    #[test]
    fn exact_comes_before_near_and_embedded_before_disk() {
        let p = points(&[(64, 1), (1024, 2)], &[(64, 3), (128, 4), (4096, 5)]);
        assert_eq!(picked(&p, 64), Some((1, Source::Embedded, 0.0)));
        assert_eq!(picked(&p, 128), Some((4, Source::Disk, 0.0)));
        // 256 is one doubling from disk's 128 and two from 64 and 1024: the embedded table is asked first.
        assert_eq!(picked(&p, 256), Some((1, Source::Embedded, 2.0)));
        assert_eq!(picked(&p, 4096 * 4), Some((5, Source::Disk, 2.0)));
        assert_eq!(p.pick(&[4096 * 8, 2]).err(), Some(3.0));
        assert_eq!(p.pick(&[64, 2, 2]).err(), Some(f64::INFINITY));
        // Half as many threads are one doubling.
        assert_eq!(p.pick(&[64, 1]).ok().map(|p| p.extrapolated), Some(1.0));
    }

    #[test]
    fn buckets_are_few_and_near() {
        for (size, low) in [(0, 0), (1, 1), (7, 7), (9, 8), (10, 10), (1000, 896), (1024, 1024), (1536, 1536)] {
            assert_eq!(bucket(size), low, "{size}");
        }
        let mut seen: Vec<u64> = (1..1 << 16).map(bucket).collect();
        assert!(seen.is_sorted(), "larger sizes have larger buckets");
        seen.dedup();
        assert!(seen.len() < 64, "{}", seen.len());
        for size in (1..1 << 16).chain([u64::MAX, u64::MAX / 3]) {
            assert!(bucket(size) <= size && size as f64 <= bucket(size) as f64 * 1.25, "{size}");
            assert_eq!(bucket(bucket(size)), bucket(size));
        }
    }

    #[test]
    fn choices_say_why() {
        let choice = |source, extrapolated| Choice {
            kernel: "softmax".into(),
            sizes: vec![("m".into(), 64)],
            threads: 2,
            config: Config::new().block("tm", 4),
            source,
            extrapolated,
        };
        let line = choice(Source::Disk, 1.5).to_string();
        assert_eq!(line, "softmax m=64, 2 threads: `block.tm=4` (disk, 1.50 doublings from the nearest tuned sizes)");
        assert_eq!(choice(Source::Explicit, 0.0).reason(), "explicit");
        assert_eq!(choice(Source::Embedded, 0.0).reason(), "embedded, tuned at exactly these sizes");
        assert_eq!(choice(Source::Model, f64::INFINITY).reason(), "model, nothing tuned");
    }
}
