//! The surfaces: for each a space and its true times.

use super::{Dice, value};
use helion_ir::config::{Config, ConfigSpace, Knob, Slot};

/// A kernel as the search sees it.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub make: fn() -> Surface,
}

/// The seconds of a config; none where it is illegal.
pub type Time = Box<dyn Fn(&Config) -> Option<f64>>;

/// A space and the time of each of its configs; no time where a config is illegal.
pub struct Surface {
    pub name: &'static str,
    pub space: ConfigSpace,
    pub time: Time,
}

/// All of them.
pub const SURFACES: &[Kind] = &[
    Kind { name: "matmul", make: matmul },
    Kind { name: "rows", make: rows },
    Kind { name: "transpose", make: transpose },
    Kind { name: "rugged", make: rugged },
    Kind { name: "needle", make: needle },
    Kind { name: "scan", make: scan },
];

fn block(name: &str) -> Slot {
    Slot::of(Knob::Block, name)
}
fn user(name: &str) -> Slot {
    Slot::of(Knob::User, name)
}
fn space(slots: &[(Slot, &[u64])]) -> ConfigSpace {
    ConfigSpace { slots: slots.iter().map(|(s, v)| (s.clone(), v.to_vec())).collect() }
}

/// `n` indices in blocks of `b`: how much longer it takes because the last block is not full.
fn remainder(n: f64, b: f64) -> f64 {
    (n / b).ceil() * b / n
}
/// What `bytes` touched again and again cost, by the cache that holds them.
fn cache(bytes: f64) -> f64 {
    match bytes {
        b if b <= 32e3 => 1.0,
        b if b <= 48e3 => 1.12,
        b if b <= 1e6 => 1.3,
        b if b <= 2e6 => 1.5,
        _ => 2.4,
    }
}
/// How much longer `pieces` of work take on 8 threads than an even split.
fn idle(pieces: f64) -> f64 {
    (pieces / 8.0).ceil() * 8.0 / pieces
}

/// Blocks of three loops and a register tile: 2,880 configs, a fifth of them illegal.
fn matmul() -> Surface {
    let [m, n, k] = ["m", "n", "k"].map(block);
    let (rows, vectors, pack) = (Slot::kernel(Knob::MicroRows), Slot::kernel(Knob::MicroVectors), user("pack"));
    let space = space(&[
        (m.clone(), &[64, 16, 32, 48, 96, 128]),
        (n.clone(), &[64, 16, 32, 128, 256]),
        (k.clone(), &[64, 32, 128, 256]),
        (rows.clone(), &[4, 2, 6, 8, 12, 14]),
        (vectors.clone(), &[2, 1]),
        (pack.clone(), &[0, 1]),
    ]);
    let time = move |c: &Config| {
        let v = |s| value(c, s);
        let (bm, bn, bk, r, w, p) = (v(&m), v(&n), v(&k), v(&rows), v(&vectors), v(&pack));
        if r > bm {
            return None;
        }
        let registers = r * w + w + 1.0;
        let spill = if registers > 28.0 { 1.8 + 0.05 * (registers - 28.0) } else { 1.0 };
        let latency = (10.0 / (r * w)).max(1.0).powf(0.7);
        let loads = 1.0 + 0.8 / r + 0.5 / (16.0 * w);
        let held = if p > 0.0 { 0.7 } else { 1.0 };
        let reuse = 1.0 + 6.0 / bm + 4.0 / bn + if p > 0.0 { 12.0 / bm } else { 0.25 * (bn / 256.0) };
        let (gm, gn) = (500.0, 520.0);
        let tail = remainder(gm, bm) * remainder(gn, bn) * remainder(bm, r).powf(0.8) * remainder(bn, 16.0 * w);
        let pieces = (gm / bm).ceil() * (gn / bn).ceil();
        let depth = 1.0 + 5.0 / bk;
        let mem = cache(4.0 * held * (bm * bk * 0.4 + bk * bn));
        Some(2e-4 * spill * latency * loads * reuse * tail * idle(pieces).powf(0.9) * depth * mem)
    };
    Surface { name: "matmul", space, time: Box::new(time) }
}

/// A reduction of long rows: 1,600 configs, mostly alike, some ten times slower.
fn rows() -> Surface {
    let (b, chunk, unroll) = (block("r"), user("chunk"), Slot::kernel(Knob::Unroll));
    let (stream, threads) = (user("stream"), Slot::kernel(Knob::Threads));
    let space = space(&[
        (b.clone(), &[4, 1, 2, 8, 16, 32, 64, 128]),
        (chunk.clone(), &[0, 256, 512, 1024, 2048]),
        (unroll.clone(), &[2, 1, 4, 8]),
        (stream.clone(), &[0, 1]),
        (threads.clone(), &[8, 1, 2, 4, 6]),
    ]);
    let time = move |c: &Config| {
        let v = |s| value(c, s);
        let (b, chunk, u, s, t) = (v(&b), v(&chunk), v(&unroll), v(&stream), v(&threads));
        let row = if chunk == 0.0 { 6000.0 } else { chunk };
        let passes = if chunk == 0.0 { 1.0 } else { 1.15 + 40.0 / chunk };
        let mem = cache(4.0 * row * b.min(4.0));
        let work = passes * mem * (1.0 + 0.35 / u + if u > 4.0 && chunk > 0.0 { 0.1 } else { 0.0 });
        let even = ((1000.0 / b).ceil() / t).ceil() * t * b / 1000.0;
        let compute = work * even / t;
        let bus = 0.16 * if s > 0.0 && chunk == 0.0 { 0.8 } else { 1.0 + 0.15 * s };
        let start = 0.004 * (1000.0 / b) / 20.0 + 0.003 * t;
        Some(3e-4 * (compute.max(bus) + start))
    };
    Surface { name: "rows", space, time: Box::new(time) }
}

/// Loop order, two blocks and a mapping of the grid: words more than numbers; 1,350 configs.
fn transpose() -> Surface {
    let (a, b, order, map, unroll) = (block("a"), block("b"), user("order"), user("map"), Slot::kernel(Knob::Unroll));
    let space = space(&[
        (a.clone(), &[32, 8, 16, 64, 128, 256]),
        (b.clone(), &[32, 8, 16, 64, 128]),
        (order.clone(), &[0, 1, 2]),
        (map.clone(), &[0, 1, 2]),
        (unroll.clone(), &[1, 2, 4, 8, 3]),
    ]);
    let time = move |c: &Config| {
        let v = |s| value(c, s);
        let (a, b, o, m, u) = (v(&a), v(&b), v(&order), v(&map), v(&unroll));
        let stride = if o == 1.0 { 1.0 + 24.0 / b } else { 1.0 + 14.0 / a + 0.2 * o };
        let lines = if a * b * 8.0 > 32e3 { 1.35 } else { 1.0 };
        let walk = match (m as u64, o as u64) {
            (2, 1) => 0.85,
            (1, _) if a > 64.0 => 1.25,
            (1, _) => 0.95,
            _ => 1.0,
        };
        let body = if u == 4.0 { 1.0 } else { 1.0 + 0.06 * (u.log2() - 2.0).abs() };
        Some(1.2e-3 * stride * lines * walk * body * idle(4096.0 / a * 4096.0 / b).powf(0.3))
    };
    Surface { name: "transpose", space, time: Box::new(time) }
}

/// Every value and every pair of values of neighbouring slots has a random effect: 3,000 configs.
fn rugged() -> Surface {
    let names = ["a", "b", "c", "d", "e"].map(user);
    let space = space(&[
        (names[0].clone(), &[1, 2, 4, 8, 16, 32]),
        (names[1].clone(), &[1, 2, 4, 8, 16]),
        (names[2].clone(), &[0, 1, 2, 3, 4]),
        (names[3].clone(), &[0, 1, 2, 3, 4]),
        (names[4].clone(), &[0, 1, 2, 3]),
    ]);
    let time = move |c: &Config| {
        let mut sum = 0.0;
        for i in 0..5 {
            let (x, y) = (value(c, &names[i]) as u64, value(c, &names[(i + 1) % 5]) as u64);
            sum += 0.25 * Dice(1000 * i as u64 + x).even() + 0.12 * Dice(99_000 + 1000 * i as u64 + 40 * x + y).even();
        }
        Some(4e-4 * sum.exp())
    };
    Surface { name: "rugged", space, time: Box::new(time) }
}

/// One knob is useless until another has the right value: the best is in a corner that looks slow from afar.
fn needle() -> Surface {
    let (b, deep, split, unroll) = (block("t"), user("deep"), user("split"), Slot::kernel(Knob::Unroll));
    let space = space(&[
        (b.clone(), &[64, 8, 16, 32, 96, 128, 192, 256, 512]),
        (deep.clone(), &[0, 1, 2, 4]),
        (split.clone(), &[1, 2, 4, 8, 16]),
        (unroll.clone(), &[1, 2, 4, 8]),
    ]);
    let time = move |c: &Config| {
        let v = |s| value(c, s);
        let (b, deep, split, u) = (v(&b), v(&deep), v(&split), v(&unroll));
        let shape = 1.0 + 0.08 * (b / 96.0).log2().powi(2) + remainder(3000.0, b * split) - 1.0;
        let splitting = if split > 1.0 && deep > 0.0 {
            (0.75f64).max(1.0 - 0.07 * split * deep) + 0.03 * (split * deep - 6.0).max(0.0)
        } else {
            1.0 + 0.1 * split.log2() + 0.08 * deep
        };
        Some(9e-4 * shape * splitting * (1.0 + 0.15 / u + if u * deep > 16.0 { 0.3 } else { 0.0 }))
    };
    Surface { name: "needle", space, time: Box::new(time) }
}

/// Two hundred configs of a short kernel.
fn scan() -> Surface {
    let (b, unroll, threads) = (block("t"), Slot::kernel(Knob::Unroll), Slot::kernel(Knob::Threads));
    let space = space(&[
        (b.clone(), &[256, 16, 32, 64, 128, 512, 1024, 2048, 4096, 8192]),
        (unroll.clone(), &[1, 2, 4, 8]),
        (threads.clone(), &[1, 2, 3, 4, 8]),
    ]);
    let time = move |c: &Config| {
        let v = |s| value(c, s);
        let (b, u, t) = (v(&b), v(&unroll), v(&threads));
        let pieces = (20_000.0 / b).ceil();
        let work = (pieces / t).ceil() * b / 20_000.0;
        let reg = if u == 8.0 { 1.2 } else { 1.0 };
        Some(
            8e-6 * (work * reg * (1.0 + 0.4 / u + 20.0 / b) * cache(8.0 * b)
                + if t > 1.0 { 0.1 + 0.02 * t } else { 0.0 }),
        )
    };
    Surface { name: "scan", space, time: Box::new(time) }
}

/// Configs that differ in nothing, all of this many seconds.
pub fn flat(seconds: f64) -> Surface {
    let space = space(&[(block("a"), &[1, 2, 4, 8, 16, 32]), (block("b"), &[1, 2, 4, 8, 16, 32])]);
    Surface { name: "flat", space, time: Box::new(move |_| Some(seconds)) }
}
