//! Cycles of each leaf, as far as a core's own work goes, and the time of a launch.

use super::traffic;
use super::tree::{ContractWork, Leaf, NestWork, Tree, Work};
use super::values::{Loop, LoopId};
use helion_ir::target::{Speed, Target};

/// Bytes of a cache that a plan may count on: the rest holds what nobody plans.
const USABLE: f64 = 0.75;
/// The part of computing, or of moving data if that is less, that does not happen at once with the other.
const APART: f64 = 0.5;
/// The same where the data was fetched ahead.
const APART_AHEAD: f64 = 0.1;
/// Cycles until a result can be used by the next step.
const LATENCY: f64 = 4.0;
/// Steps of a sum that overlap.
const ACCUMULATORS: f64 = 2.0;
/// Steps of `k`, and columns, that a product packs at once.
const KC: f64 = 512.0;
const NC: f64 = 2048.0;
/// Products with at most so many rows read the right operand where it lies.
const FEW: f64 = 16.0;
/// Products with at most so many rows sum along `k`, where its steps are adjacent in both operands and at least so many.
const FEW_ALONG: f64 = 16.0;
const LONG: f64 = 192.0;
/// Cycles to add up the lanes of such a sum.
const FOLD: f64 = 5.0;
/// Rows that then go over it at once.
const SWEEP: f64 = 8.0;
/// Cycles to pack an element: as it lies, across rows, with conversion.
const PACK: [f64; 3] = [0.7, 1.0, 1.2];
/// The same with narrow vectors.
const PACK_NARROW: [f64; 3] = [1.6, 1.8, 2.2];
/// What comes to it with wide vectors when a right operand is from memory: nothing else is done meanwhile.
const PACK_FAR: f64 = 1.0;
/// The same in lanes of several elements, for the left and the right operand.
const PACK_LANES: [[f64; 2]; 2] = [[1.0, 0.1], [0.2, 0.4]];
/// Rows and columns of a tile of the matrix unit, and cycles to load and store one.
const SIDE: f64 = 32.0;
const TURN: f64 = 400.0;
/// Cycles of a row and a vector in a sweep, with wide and with narrow vectors.
const SWEEP_STEP: [f64; 2] = [1.1, 1.25];
/// Cycles to start a sweep: its rows are streams from memory, and streams begin slowly.
const SWEEP_START: f64 = 800.0;
/// Cycles to start a register tile.
const TILE: f64 = 25.0;

/// Which iterations of loops count.
#[derive(Clone, Copy, PartialEq)]
enum Pick {
    Mean,
    Most,
}

impl Pick {
    fn of(self, l: &Loop) -> f64 {
        match self {
            Pick::Mean => l.mean,
            Pick::Most => l.most,
        }
    }
}

/// Seconds of a launch on so many threads.
pub(super) fn seconds(mut tree: Tree, target: &Target, threads: u32) -> f64 {
    let programs: f64 = tree.loops[..tree.grid].iter().map(|l| l.mean.ceil()).product();
    if programs < 1.0 {
        return 0.0;
    }
    let serial = share(&tree, target, 1.0, programs);
    let threads = f64::from(threads.max(1)).min(programs);
    if threads < 1.5 {
        return serial;
    }
    divide_grid(&mut tree, threads);
    let speed = &target.speed;
    let parallel = share(&tree, target, threads, programs / threads);
    // The largest programs decide how the last round ends.
    let (mean, most) = (work(&tree, target, Pick::Mean), work(&tree, target, Pick::Most));
    let full = programs * (mean / most.max(1.0)).clamp(0.01, 1.0);
    let rounds = (full / threads - 1e-6).ceil().max(1.0) / (full / threads);
    // The runtime keeps launches on one thread that are too small for several.
    serial.min(parallel * rounds + f64::from(speed.fork_ns) * 1e-9)
}

/// Gives one thread its part of the grid: blocks of the outermost loops.
fn divide_grid(tree: &mut Tree, threads: f64) {
    let mut rest = threads;
    for l in &mut tree.loops[..tree.grid] {
        let by = rest.min(l.mean.max(1.0));
        *l = Loop { mean: l.mean / by, most: l.most / by, span: ((l.span - 1.0) / by).ceil() + 1.0, ..*l };
        rest /= by;
    }
}

/// Seconds of one thread's part, of so many programs, while so many threads are at work.
fn share(tree: &Tree, target: &Target, threads: f64, programs: f64) -> f64 {
    let s = &target.speed;
    let hertz = f64::from(s.mhz) * 1e6;
    let l3 = target.l3_bytes as f64 / threads;
    let sizes = [target.l1_bytes as f64, target.l2_bytes as f64, l3];
    let core_memory = f64::from(s.core_memory).min(f64::from(s.memory) / threads) * 1e6;
    let rates = [f64::from(s.l2_bytes) / 10.0 * hertz, f64::from(s.l3_bytes) / 10.0 * hertz, core_memory];
    let into: Vec<Vec<f64>> =
        sizes.iter().enumerate().map(|(i, size)| traffic::into_cache(tree, size * USABLE, i == 2)).collect();
    let mut total = programs * f64::from(s.program_cycles) / hertz;
    for (i, leaf) in tree.leaves.iter().enumerate() {
        let compute = runs(leaf, tree, Pick::Mean) * cycles(leaf, tree, target, Pick::Mean) / hertz;
        // What comes from farther away does not also come from the cache on the way.
        let beyond = [into[1][i], into[2][i], 0.0];
        let moved: f64 = (0..3).map(|level| (into[level][i] - beyond[level]).max(0.0) / rates[level]).sum();
        let ahead = leaf.ahead && traffic::of_leaf(tree, i) <= target.l2_bytes as f64 / 2.0;
        total += overlap(compute, moved, if ahead { APART_AHEAD } else { APART });
    }
    total
}

/// Time of computing and moving, of which most happens at once.
fn overlap(a: f64, b: f64, apart: f64) -> f64 {
    a.max(b) + apart * a.min(b)
}

/// How often a leaf runs.
fn runs(leaf: &Leaf, tree: &Tree, pick: Pick) -> f64 {
    leaf.around.iter().map(|l| pick.of(&tree.loops[*l as usize])).product::<f64>() * leaf.weight
}

/// Cycles of one program, with the grid's loops as they are.
fn work(tree: &Tree, target: &Target, pick: Pick) -> f64 {
    let one = |leaf: &Leaf| runs(leaf, tree, pick) * cycles(leaf, tree, target, pick);
    tree.leaves.iter().map(one).sum()
}

fn cycles(leaf: &Leaf, tree: &Tree, target: &Target, pick: Pick) -> f64 {
    match &leaf.work {
        Work::Scalar(c) => *c,
        Work::Nest(n) => nest(n, leaf, tree, &target.speed, pick),
        Work::Contract(c) => contract(c, leaf, tree, target, pick),
    }
}

fn nest(n: &NestWork, leaf: &Leaf, tree: &Tree, speed: &Speed, pick: Pick) -> f64 {
    let trips = |l: LoopId| pick.of(&tree.loops[l as usize]);
    let all: f64 = leaf.loops.clone().map(trips).product();
    let Some(axis) = n.lanes_of else { return all * n.step + n.start };
    let along = trips(axis);
    if along <= 0.0 || all <= 0.0 {
        return 0.0;
    }
    let calls = all / along;
    let steps = (along / n.lanes).ceil();
    let per_cycle = f64::from(speed.vector_ops) / 10.0;
    let mut step = ((n.step + n.loads + n.stores) / per_cycle).max(n.loads / 2.0).max(n.stores).max(0.5);
    if n.folds {
        step = step.max(LATENCY / ACCUMULATORS);
    }
    calls * (f64::from(speed.loop_cycles) + n.start + steps * step)
}

fn contract(c: &ContractWork, leaf: &Leaf, tree: &Tree, target: &Target, pick: Pick) -> f64 {
    let trips = |l: LoopId| pick.of(&tree.loops[l as usize]);
    let (m, n, k) = (trips(c.m), trips(c.n), trips(c.k));
    let batch: f64 = (leaf.loops.start..c.m).map(trips).product();
    if m <= 0.0 || n <= 0.0 || k <= 0.0 {
        return 0.0;
    }
    let plain = if target.narrow() { PACK_NARROW } else { PACK };
    let pack = |i: usize| {
        if c.matrix.is_some() {
            PACK_LANES[i][usize::from(c.transposed[i])]
        } else if c.converted[i] {
            plain[2]
        } else {
            plain[usize::from(c.transposed[i])]
        }
    };
    let in_place = c.in_place.unwrap_or(m <= FEW) && !c.transposed[1];
    let along = c.in_place.unwrap_or(m <= FEW_ALONG && k >= LONG);
    let once = if along && c.transposed == [true, true] && c.matrix.is_none() && c.dtype.is_float() {
        sums_along(c, target, [m, n, k])
    } else if in_place {
        sweeps(c, target, [m, n, k]) + m * k * pack(0)
    } else {
        let nc = c.blocks[1].map_or(NC, |nc| nc as f64);
        let far = if c.far && !target.narrow() { PACK_FAR } else { 0.0 };
        tiles(c, target, [m, n, k]) + m * k * pack(0) * (n / nc).ceil() + n * k * (pack(1) + far)
    };
    batch * (60.0 + once)
}

/// Cycles of a product in register tiles.
fn tiles(c: &ContractWork, target: &Target, [m, n, k]: [f64; 3]) -> f64 {
    if let Some(ops) = c.matrix {
        let tiles = (m / SIDE).ceil() * (n / SIDE).ceil();
        let blocks = (k / c.blocks[0].map_or(4.0 * KC, |kc| 4.0 * kc as f64)).ceil();
        return tiles * (SIDE * SIDE * k / ops + blocks * TURN);
    }
    let lanes = (f64::from(target.vector_bytes) / c.dtype.size() as f64).max(1.0);
    let (rows, vectors) = c.micro.map_or_else(|| default_micro(target), |(r, v)| (f64::from(r), f64::from(v)));
    let rows = c.rows.map_or(rows, |b| rows.min(b as f64)).max(1.0);
    let columns = vectors * lanes;
    // The last rows take the smallest kernel that holds them, of powers of two.
    let whole = (m / rows).floor();
    let rest = m - whole * rows;
    let edge = rest.max(1.0).log2().ceil().exp2().min(rows);
    let per_cycle = f64::from(target.speed.vector_ops) / 10.0;
    let blocks = (k / c.blocks[0].map_or(KC, |kc| kc as f64)).ceil();
    let kernel = |rows: f64| {
        let step = (rows * vectors / per_cycle).max(vectors).max(rows / 2.0).max(LATENCY / 2.0);
        k * step * 1.04 + blocks * (TILE + rows * vectors * 1.5)
    };
    // A tile that is not full goes through other memory.
    let ragged = |rows: f64| kernel(rows) + blocks * rows * columns * 0.4;
    let across = (n / columns).floor();
    let part = if n > across * columns { 1.0 } else { 0.0 };
    let full = whole * (across * kernel(rows) + part * ragged(rows));
    full + if rest > 0.0 { (across + part) * ragged(edge) } else { 0.0 }
}

/// Cycles of a product with few rows: sums stay in memory, the right operand passes by once for each group of rows.
fn sweeps(c: &ContractWork, target: &Target, [m, n, k]: [f64; 3]) -> f64 {
    let lanes = (f64::from(target.vector_bytes) / c.dtype.size() as f64).max(1.0);
    let groups = (m / SWEEP).ceil();
    let rows = m / groups;
    let vectors = k * (n / lanes).ceil();
    groups * (vectors * rows * SWEEP_STEP[usize::from(target.narrow())] + k / SWEEP * SWEEP_START)
}

/// Cycles of a product whose kernels sum along `k`.
fn sums_along(c: &ContractWork, target: &Target, [m, n, k]: [f64; 3]) -> f64 {
    let lanes = (f64::from(target.vector_bytes) / c.dtype.size() as f64).max(1.0);
    let per_cycle = f64::from(target.speed.vector_ops) / 10.0;
    m * n * ((k / lanes).ceil() * 1.15 / per_cycle + FOLD)
}

/// The register tile that fills the registers.
fn default_micro(target: &Target) -> (f64, f64) {
    match target.vector_registers {
        32.. => (12.0, 2.0),
        _ if target.vector_bytes >= 32 => (6.0, 2.0),
        _ => (4.0, 2.0),
    }
}
