//! What the store must survive: processes killed while they write, many processes at once, damaged files, full and
//! read-only disks. Everything is counted, and the counts are printed.
//!
//! A test that needs other processes runs this program again, as [`child::child`] with a task.
#![cfg(unix)]

mod child;
mod corrupt;
mod disk;
mod processes;

use helion_autotune::store::{Fingerprint, Key, Measured, Point, Provenance, Store};
use helion_autotune::{Effort, End, Noise, Timing};
use helion_ir::config::{Config, Knob};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// One of the keys that tests use.
pub fn key(n: u64) -> Key {
    let device = Fingerprint::new().with("model", "Example 9000").with("features", "fast vectors").with("cores", 2);
    Key::new("softmax", &["tile ir", "space", &n.to_string()], &device, "0.1.0")
}

/// The point at a size that was written under a number. Everything in it follows from the two, so that any mixture of
/// two points is seen.
pub fn point(size: u64, number: u64) -> Point {
    let seconds = 1e-6 * (number as f64 + 1.0) / 3.0;
    let measured = |n: u64, factor: f64| {
        let x = seconds * factor;
        let config = Config::new().block("tm", n % 1000 + 1).block("tn", size % 1000 + 1).knob(Knob::Unroll, n % 8 + 1);
        Measured { config, timing: Timing { seconds: x, low: x * 0.99, high: x * 1.01, samples: 31 } }
    };
    Point {
        sizes: vec![("x.0".into(), size), ("n".into(), 512)],
        threads: 2,
        winner: measured(number, 1.0),
        default: measured(number + 1, 1.5),
        runners_up: (2..6).map(|i| measured(number + i, 1.0 + i as f64 / 10.0)).collect(),
        provenance: Provenance {
            unix: 1_700_000_000 + number,
            effort: Effort::Quick,
            seed: number,
            strategy: "race".into(),
            measured: 48,
            space: 3000,
            seconds: 3.25,
            noise: Noise { ratio: 1.004, samples: 31 },
            end: End::Configs,
            version: "0.1.0".into(),
        },
    }
}

/// The number of a point, if it is one that [`point`] makes.
pub fn number(p: &Point) -> Option<u64> {
    let (size, n) = (p.sizes.first()?.1, p.provenance.seed);
    (*p == point(size, n)).then_some(n)
}

/// Prints a line also when the test passes.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "store: {text}");
}

/// An empty folder, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// Made anew for a test.
    pub fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("helion-faults-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder for tests");
        Folder(dir)
    }
    /// Where the record of a key is.
    pub fn record(&self, key: &Key) -> PathBuf {
        record(&self.0, key)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the record of a key is.
pub fn record(dir: &Path, key: &Key) -> PathBuf {
    dir.join(format!("{}.v1.record", key.digest()))
}

/// A store in which damage is not expected.
pub fn sound(dir: &Path) -> Store {
    Store::open(dir).reporting(|p| panic!("a damaged file: {p}"))
}

/// Random numbers, the same in every run.
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n.max(1)
    }
}

/// How long a process that never saw a key takes to find it. Printed, not judged: the machine may be busy.
#[test]
fn lookups_are_timed() {
    let dir = Folder::new("lookup");
    let store = sound(&dir.0);
    for n in 0..200 {
        store.put(&key(n), point(n, n)).expect("a writable folder");
        store.put(&key(n), point(n + 1, n)).expect("a writable folder");
    }
    let time = |key: &Key| {
        let start = std::time::Instant::now();
        let found = Store::open(&dir.0).get(key);
        (start.elapsed(), found.map_or(0, |r| r.points.len()))
    };
    let keys: Vec<Key> = (0..400).map(key).collect();
    let (mut hits, mut misses): (Vec<_>, Vec<_>) = keys.iter().map(time).partition(|(_, points)| *points == 2);
    assert_eq!((hits.len(), misses.len()), (200, 200));
    hits.sort();
    misses.sort();
    let bytes = std::fs::metadata(dir.record(&key(0))).map_or(0, |m| m.len());
    say(&format!("a lookup of {bytes} bytes takes {:?} (median), a miss {:?}", hits[100].0, misses[100].0));
}
