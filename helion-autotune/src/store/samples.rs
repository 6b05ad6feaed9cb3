//! Keys and points for tests; one number gives one point, so that a wrong one is seen.

use super::{Fingerprint, Key, Measured, Point, Provenance};
use crate::{Effort, End, Noise, Timing};
use helion_ir::config::{Config, Knob};

pub(crate) fn key(n: u64) -> Key {
    let device = Fingerprint::new().with("model", "Example \"9\" é").with("cores", 2);
    Key::new("softmax", &["tile ir", &n.to_string()], &device, "0.1.0")
}

pub(crate) fn point(n: u64) -> Point {
    let timing = |x: f64| Timing { seconds: x, low: x * 0.99, high: x * 1.01, samples: 31 };
    let config = |b: u64| Config::new().block("tm", 1 << (b % 16)).knob(Knob::Unroll, 2);
    let measured = |b: u64, x: f64| Measured { config: config(b), timing: timing(x) };
    let x = 1e-6 * (n as f64 + 1.0) / 3.0;
    Point {
        sizes: vec![("x.0".into(), n), ("n".into(), 512)],
        threads: 2,
        winner: measured(n, x),
        default: measured(n + 1, x * 1.5),
        runners_up: vec![measured(n + 2, x * 1.1), measured(n + 3, x * 1.2)],
        provenance: Provenance {
            unix: 1_700_000_000,
            effort: Effort::Quick,
            seed: n,
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
