//! Proves that no two program instances touch one element when one of them writes it.
//!
//! In: a function whose types and scopes are right. Out: one diagnostic for each access that cannot be
//! shown to be safe.
//!
//! The proof is per grid variable `t` and pair of accesses (a store with itself, with other stores, with loads of
//! the same tensor). Instances that differ in `t` are kept apart when on one axis both accesses have the
//! same index `c * p + r`, where `p` is the begin or the ordinal of `t` (different in different blocks), `c`
//! is a constant, and `r` is the same in the whole launch; or, for the block of `t` itself, `begin + r ..
//! end + r`. Two accesses also never meet when on one axis their indices are launch constants that
//! differ by a known amount, or when both follow `t` and one is shifted by a multiple of the whole range of `t`
//! (`x[t]` and `x[t + n]` for `t` in `0..n`). Atomics need no proof, but a tensor that has them is not accessed otherwise.

use crate::diag::{Diagnostic, Loc};
use crate::dtype::DType;
use crate::elementwise::BinaryOp;
use crate::tile::parts::AccessKind;
use crate::tile::types::{Dim, Function, Index, Inst, Op, ParamId, TileId, Type, ValueId};
use std::collections::{BTreeMap, HashMap};

/// A scalar that an index is a linear function of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Atom {
    /// First index of a block of a grid variable.
    Begin(TileId),
    /// One past the last.
    End(TileId),
    /// Its ordinal.
    Ordinal(TileId),
    /// The same in the whole launch; equal numbers are equal values.
    Launch(u32),
    /// Anything else.
    Varying,
}

/// `constant + sum of factor * atom`, modulo 2^64; no factor is zero.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Linear {
    terms: BTreeMap<Atom, i64>,
    constant: i64,
}

impl Linear {
    fn atom(a: Atom) -> Linear {
        Linear { terms: BTreeMap::from([(a, 1)]), constant: 0 }
    }
    /// `self + factor * other`.
    fn plus(&self, other: &Linear, factor: i64) -> Linear {
        let mut sum = self.clone();
        sum.constant = sum.constant.wrapping_add(other.constant.wrapping_mul(factor));
        for (a, f) in &other.terms {
            let slot = sum.terms.entry(*a).or_insert(0);
            *slot = slot.wrapping_add(f.wrapping_mul(factor));
        }
        // Two unknown values need not be equal, so they never cancel.
        let varies = self.terms.contains_key(&Atom::Varying) || other.terms.contains_key(&Atom::Varying);
        sum.terms.retain(|_, f| *f != 0);
        if varies {
            sum.terms.insert(Atom::Varying, 1);
        }
        sum
    }
    fn is_launch_constant(&self) -> bool {
        self.terms.keys().all(|a| matches!(a, Atom::Launch(_)))
    }
    /// Whether blocks of `t` have different values of this, whatever the launch.
    fn follows(&self, t: TileId) -> bool {
        let mut found = false;
        for (a, factor) in &self.terms {
            match a {
                // A factor of at most 2^16 cannot wrap two blocks onto each other.
                Atom::Begin(u) | Atom::Ordinal(u) if *u == t && !found && factor.unsigned_abs() <= 1 << 16 => {
                    found = true;
                }
                Atom::Launch(_) => {}
                Atom::Begin(_) | Atom::End(_) | Atom::Ordinal(_) | Atom::Varying => return false,
            }
        }
        found
    }
}

/// The indices of an access on one axis.
#[derive(Clone, Debug, PartialEq)]
enum Axis {
    /// One index.
    Point(Linear),
    /// The block of a grid variable, shifted: the linear function is its first index.
    Block(Linear),
    /// Not known to differ between instances.
    Any,
}

impl Axis {
    fn linear(&self) -> Option<&Linear> {
        match self {
            Axis::Point(l) | Axis::Block(l) => Some(l),
            Axis::Any => None,
        }
    }
}

#[derive(Debug)]
struct Access {
    tensor: ParamId,
    kind: AccessKind,
    axes: Vec<Axis>,
    /// Whether an axis is indexed by a tile of numbers.
    gathers: bool,
    at: Loc,
}

/// A grid variable and how many indices it runs over.
type Span = (TileId, Linear);

/// Every access that may race.
pub(super) fn find_races(f: &Function) -> Vec<Diagnostic> {
    let count = f.values.len();
    let mut scan =
        Scan { f, linear: vec![None; count], number: vec![None; count], known: HashMap::new(), found: vec![] };
    scan.insts(&f.header);
    scan.insts(&f.body.body);
    let length = |t: TileId| {
        let var = &f.tiles[t.index()];
        scan.value(var.end).plus(&scan.value(var.begin), -1)
    };
    let grid: Vec<Span> = f.grid().map(|t| (t, length(t))).collect();
    let accesses = scan.found;
    let mut errors = Vec::new();
    for p in (0..f.params.len() as u32).map(ParamId) {
        let of: Vec<&Access> = accesses.iter().filter(|a| a.tensor == p).collect();
        if let Some(e) = check_tensor(f, &grid, &of) {
            errors.push(e);
        }
    }
    errors
}

/// The first problem among the accesses of one tensor.
fn check_tensor(f: &Function, spans: &[Span], accesses: &[&Access]) -> Option<Diagnostic> {
    if let Some(atomic) = accesses.iter().find(|a| a.kind == AccessKind::Atomic) {
        return accesses.iter().find(|a| a.kind != AccessKind::Atomic).map(|plain| mixed(f, atomic, plain));
    }
    let grid: Vec<TileId> = spans.iter().map(|(t, _)| *t).collect();
    let stores: Vec<&Access> = accesses.iter().copied().filter(|a| a.kind == AccessKind::Store).collect();
    let missing = |a: &Access| grid.iter().copied().filter(|t| !separates(*t, a, a)).collect::<Vec<_>>();
    for store in &stores {
        let missing = missing(store);
        if !missing.is_empty() {
            return Some(unseparated_store(f, store, &missing));
        }
    }
    for store in &stores {
        for other in accesses {
            let bad: Vec<TileId> = grid.iter().copied().filter(|t| !separates(*t, store, other)).collect();
            if !bad.is_empty() && !never_meet(store, other, spans) {
                return Some(match other.kind {
                    AccessKind::Load => racing_load(f, store, other, &bad, missing(other).is_empty()),
                    AccessKind::Store | AccessKind::Atomic => racing_stores(f, store, other, &bad),
                });
            }
        }
    }
    None
}

/// Whether different blocks of `t` keep the two accesses apart.
fn separates(t: TileId, a: &Access, b: &Access) -> bool {
    a.axes.iter().zip(&b.axes).any(|(x, y)| match (x.linear(), y.linear()) {
        (Some(x), Some(y)) => x == y && x.follows(t),
        (Some(_) | None, _) => false,
    })
}

/// Whether the two accesses have different launch constants on some axis, or lie in ranges side by side.
fn never_meet(a: &Access, b: &Access, spans: &[Span]) -> bool {
    a.axes.iter().zip(&b.axes).any(|(x, y)| {
        let differ = match (x, y) {
            (Axis::Point(x), Axis::Point(y)) => {
                x.is_launch_constant() && x.terms == y.terms && x.constant != y.constant
            }
            (Axis::Point(_) | Axis::Block(_) | Axis::Any, _) => false,
        };
        let (Some(x), Some(y)) = (x.linear(), y.linear()) else { return differ };
        differ || spans.iter().any(|(t, length)| side_by_side(*t, length, x, y))
    })
}

/// Whether `x` and `y` are indices of `t`, which runs over `length` indices, shifted by different amounts of
/// which the difference is a multiple of `length`. A multiple of at most 2^16 cannot wrap around.
fn side_by_side(t: TileId, length: &Linear, x: &Linear, y: &Linear) -> bool {
    let shift = y.plus(x, -1);
    let begin = Linear::atom(Atom::Begin(t));
    let shifted = |l: &Linear| l.plus(&begin, -1).is_launch_constant();
    if shift == Linear::default() || !shifted(x) || !shifted(y) || !length.is_launch_constant() {
        return false;
    }
    let times = match length.terms.first_key_value() {
        Some((atom, factor)) => shift.terms.get(atom).map_or(0, |s| s.checked_div(*factor).unwrap_or(0)),
        // Known numbers: any shift that is far enough.
        None if shift.terms.is_empty() => {
            return length.constant < 1 << 32
                && (length.constant.max(1)..1 << 32).contains(&shift.constant.saturating_abs());
        }
        None => 0,
    };
    times.unsigned_abs() <= 1 << 16 && Linear::default().plus(length, times) == shift
}

/// `` `tm` and `tn` ``.
fn list(f: &Function, tiles: &[TileId]) -> String {
    let names: Vec<String> = tiles.iter().map(|t| format!("`{}`", f.tiles[t.index()].name)).collect();
    names.join(" and ")
}

const TWO_LAUNCHES: &str = "or split the work into two launches: a second `for … in tile(…)` after this one";

fn unseparated_store(f: &Function, store: &Access, missing: &[TileId]) -> Diagnostic {
    let (name, tiles) = (&f.params[store.tensor.index()].name, list(f, missing));
    if store.gathers {
        let text = format!(
            "program instances that differ in {tiles} may write the same elements of `{name}`: the indices are data, and may be equal"
        );
        return Diagnostic::new(store.at, text)
            .help(format!("combine what meets in one element with an atomic, as in `{name}.atomic_add(index, value)`"))
            .help(format!(
                "if no index occurs twice, or any of the values will do: `{name}.atomic_exchange(index, value)`"
            ));
    }
    let text = format!(
        "program instances that differ in {tiles} may write the same elements of `{name}`: no axis of this index follows {tiles}"
    );
    Diagnostic::new(store.at, text)
        .help(format!("use {tiles} in the index, so that each instance writes elements of its own"))
        .help(format!("or combine what the instances have with an atomic, as in `{name}.atomic_add(index, value)`"))
        .help(format!("or loop over {tiles} inside the kernel instead of in the grid"))
}

fn racing_load(f: &Function, store: &Access, load: &Access, bad: &[TileId], indexed: bool) -> Diagnostic {
    let (name, tiles) = (&f.params[load.tensor.index()].name, list(f, bad));
    let why = if indexed {
        format!("{tiles} is not on the same axis with the same offset in both")
    } else {
        format!("no axis of this index follows {tiles}")
    };
    let text = format!("this load of `{name}` may read what another program instance writes: {why}");
    Diagnostic::new(load.at, text)
        .label(store.at, format!("`{name}` is written here"))
        .help(format!("use {tiles} in the load as in the store"))
        .help(TWO_LAUNCHES)
}

fn racing_stores(f: &Function, a: &Access, b: &Access, bad: &[TileId]) -> Diagnostic {
    let (name, tiles) = (&f.params[a.tensor.index()].name, list(f, bad));
    let text = format!(
        "two stores to `{name}` may write the same elements from different program instances: {tiles} is not on the same axis with the same offset in both"
    );
    Diagnostic::new(b.at, text)
        .label(a.at, "the other store is here")
        .help(format!("use {tiles} in both in the same way"))
        .help(TWO_LAUNCHES)
}

fn mixed(f: &Function, atomic: &Access, plain: &Access) -> Diagnostic {
    let name = &f.params[plain.tensor.index()].name;
    let (done, verb) = match plain.kind {
        AccessKind::Load => ("read", "read"),
        AccessKind::Store | AccessKind::Atomic => ("stored to", "store"),
    };
    let text = format!("`{name}` is updated by atomics in this launch, so it cannot also be {done} here");
    Diagnostic::new(plain.at, text)
        .label(atomic.at, "the atomic is here")
        .help(match plain.kind {
            AccessKind::Load => "the atomic gives the value from before it; use that".to_owned(),
            AccessKind::Store | AccessKind::Atomic => format!("write it with `{name}.atomic_exchange(index, value)`"),
        })
        .help(format!("or {verb} in another launch: a second `for … in tile(…)`"))
}

/// Walks the function in order and collects accesses.
struct Scan<'a> {
    f: &'a Function,
    /// For each `i64` scalar seen, its linear form; none is varying.
    linear: Vec<Option<Linear>>,
    /// For each value that is the same in the whole launch, its number.
    number: Vec<Option<u32>>,
    /// Numbers of computations.
    known: HashMap<(String, Vec<u32>), u32>,
    found: Vec<Access>,
}

impl Scan<'_> {
    fn insts(&mut self, insts: &[Inst]) {
        for inst in insts {
            self.note_value(inst);
            if let Some(access) = inst.op.access() {
                let axes = access.index.iter().map(|i| self.axis(i)).collect();
                let gathers = access.index.iter().any(|i| matches!(i, Index::Gather(_)));
                self.found.push(Access { tensor: access.tensor, kind: access.kind, axes, gathers, at: inst.at });
            }
            inst.regions.iter().for_each(|r| self.insts(&r.body));
        }
    }

    fn value(&self, v: ValueId) -> Linear {
        self.linear[v.index()].clone().unwrap_or_else(|| Linear::atom(Atom::Varying))
    }

    fn axis(&self, index: &Index) -> Axis {
        match index {
            Index::Full | Index::Gather(_) => Axis::Any,
            Index::Scalar(v) => Axis::Point(self.value(*v)),
            Index::Tile(t, offset) => {
                let offset = offset.map_or_else(Linear::default, |v| self.value(v));
                match self.block(*t) {
                    Some(block) => Axis::Block(block.plus(&offset, 1)),
                    None => Axis::Any,
                }
            }
        }
    }

    /// The first index of what a tile variable covers, when that stays within a block of a grid variable,
    /// shifted: the variable itself, or a loop from the begin to the end of such a block.
    fn block(&self, t: TileId) -> Option<Linear> {
        let var = &self.f.tiles[t.index()];
        if var.grid {
            return Some(Linear::atom(Atom::Begin(t)));
        }
        let (begin, end) = (self.value(var.begin), self.value(var.end));
        self.f.grid().find_map(|g| {
            let shift = begin.plus(&Linear::atom(Atom::Begin(g)), -1);
            let same = shift.is_launch_constant() && end.plus(&Linear::atom(Atom::End(g)), -1) == shift;
            same.then(|| begin.clone())
        })
    }

    /// Records what is known of an instruction's result.
    fn note_value(&mut self, inst: &Inst) {
        let [result] = inst.results[..] else { return };
        let number = self.launch_number(inst);
        self.number[result.index()] = number;
        if *self.f.ty(result) != Type::scalar(DType::I64) {
            return;
        }
        let opaque = || Linear::atom(number.map_or(Atom::Varying, Atom::Launch));
        let arg = |i: usize| self.value(inst.args[i]);
        let grid = |t: &TileId| self.f.tiles[t.index()].grid;
        let linear = match &inst.op {
            Op::Const(l) => Linear { terms: BTreeMap::new(), constant: l.to_i64() },
            Op::TileBegin(t) if grid(t) => Linear::atom(Atom::Begin(*t)),
            Op::TileEnd(t) if grid(t) => Linear::atom(Atom::End(*t)),
            Op::TileOrdinal(t) if grid(t) => Linear::atom(Atom::Ordinal(*t)),
            Op::Binary(BinaryOp::Add) => arg(0).plus(&arg(1), 1),
            Op::Binary(BinaryOp::Sub) => arg(0).plus(&arg(1), -1),
            Op::Binary(BinaryOp::Mul) => match (arg(0), arg(1)) {
                (a, b) if b.terms.is_empty() => Linear::default().plus(&a, b.constant),
                (a, b) if a.terms.is_empty() => Linear::default().plus(&b, a.constant),
                _ => opaque(),
            },
            Op::Cast(_) if self.f.ty(inst.args[0]).dtype == DType::I64 => arg(0),
            _ => opaque(),
        };
        self.linear[result.index()] = Some(linear);
    }

    /// The number of a computation that gives the same in every program instance.
    fn launch_number(&mut self, inst: &Inst) -> Option<u32> {
        let pure = match &inst.op {
            Op::TileCount(t) => self.f.tiles[t.index()].grid,
            Op::Extent(d) => !self.mentions_tile(*d),
            op => op.is_math(),
        };
        if !pure {
            return None;
        }
        let args = inst.args.iter().map(|v| self.number[v.index()]).collect::<Option<Vec<u32>>>()?;
        let next = self.known.len() as u32;
        Some(*self.known.entry((format!("{:?}", inst.op), args)).or_insert(next))
    }

    fn mentions_tile(&self, d: Dim) -> bool {
        match d {
            Dim::Tile(_) => true,
            Dim::Const(_) | Dim::Symbol(_) => false,
            Dim::Expr(e) => {
                let e = self.f.exprs[e.index()];
                self.mentions_tile(e.lhs) || self.mentions_tile(e.rhs)
            }
        }
    }
}
