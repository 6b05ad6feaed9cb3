//! Integer values of a loop function in numbers: what extents and indices are for given sizes.
//!
//! A value may differ between program instances and iterations. It is kept for some iterations of the loops it depends
//! on: the first, the last, and scattered ones between. That is enough to tell full blocks from the cut one at the end,
//! and a triangle from a square. As an index it is a sum of loop variables with factors, where it is one.

use helion_ir::BinaryOp;
use helion_ir::loops::{Function, Inst, Op, ParamKind, Val};
use helion_ir::tile::{Dim, ParamId};
use smallvec::SmallVec;

/// What a size counts as when only the data knows it.
pub(super) const UNKNOWN: f64 = 64.0;

/// A loop, by its position in [`Loops`].
pub(super) type LoopId = u32;

/// Loop variables with factors; a constant part is left out. The factor of one that counts in some other way is not a
/// number.
pub(super) type Terms = SmallVec<[(LoopId, f64); 2]>;

/// How many iterations are looked at: the first, the last, and some between.
const SAMPLES: usize = 8;

/// A number at each sample.
pub(super) type Numbers = [f64; SAMPLES];

/// What is known of an integer.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// At some iterations of the loops it depends on.
    pub at: Numbers,
    /// The most iterations of a loop it depends on.
    pub trips: f64,
    /// Another value, and how much more than that it is, or at most is.
    pub above: Option<(Val, f64)>,
    /// The loops it depends on, with factors.
    pub terms: Terms,
    /// Whether the numbers are a guess.
    pub guess: bool,
}

impl Known {
    fn constant(v: f64) -> Known {
        Known { at: [v; SAMPLES], trips: 1.0, above: None, terms: Terms::new(), guess: false }
    }
    /// Something made of other values in a way that is not followed.
    pub(super) fn opaque(terms: Terms) -> Known {
        Known { at: [UNKNOWN; SAMPLES], trips: 1.0, above: None, terms, guess: true }
    }
    /// The mean over all iterations.
    pub(super) fn mean(&self) -> f64 {
        let [first, between @ .., last] = &self.at;
        if self.trips < 2.0 {
            return *first;
        }
        let rest = between.iter().sum::<f64>() / between.len() as f64 * (self.trips - 2.0);
        (first + rest + last) / self.trips
    }
    /// The largest.
    pub(super) fn most(&self) -> f64 {
        self.at.iter().copied().fold(0.0, f64::max)
    }
    /// As iterations, in steps.
    pub(super) fn trips(&self, step: f64) -> Trips {
        Trips { mean: (self.mean() / step).ceil(), most: (self.most() / step).ceil(), guess: self.guess }
    }
    /// Whether it is the sum of its terms and a constant.
    pub(super) fn is_linear(&self) -> bool {
        !self.guess && self.terms.iter().all(|(_, c)| !c.is_nan())
    }
    /// The factor of a loop variable it depends on.
    pub(super) fn along(&self, id: LoopId) -> Option<f64> {
        self.terms.iter().find(|(l, _)| *l == id).map(|(_, c)| *c)
    }
    fn is_fixed(&self) -> bool {
        !self.guess && self.terms.is_empty()
    }
}

/// A loop of the grid, of a program instance or of a nest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loop {
    /// Iterations, on average.
    pub mean: f64,
    /// Iterations, at most.
    pub most: f64,
    /// How far the variable moves, and one.
    pub span: f64,
    /// Whether the iterations are a guess.
    pub guess: bool,
}

/// Iterations of a loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trips {
    /// On average.
    pub mean: f64,
    /// At most.
    pub most: f64,
    /// Whether that is a guess.
    pub guess: bool,
}

/// What is known of every value so far.
pub(super) struct Values<'a> {
    f: &'a Function,
    sizes: &'a [u64],
    known: Vec<Option<Known>>,
    /// The loops met so far.
    pub loops: Vec<Loop>,
}

impl<'a> Values<'a> {
    /// The values of the header.
    pub(super) fn new(f: &'a Function, sizes: &'a [u64]) -> Values<'a> {
        let mut v = Values { f, sizes, known: vec![None; f.values.len()], loops: Vec::new() };
        for inst in &f.header {
            v.inst(inst);
        }
        v
    }

    /// What is known of a value.
    pub(super) fn of(&self, v: Val) -> Known {
        self.get(v).cloned().unwrap_or_else(|| Known::opaque(Terms::new()))
    }

    /// What is known of a value, if it was met.
    pub(super) fn get(&self, v: Val) -> Option<&Known> {
        self.known.get(v.index()).and_then(Option::as_ref)
    }

    /// Extent of a tensor's axis.
    pub(super) fn dim(&self, p: ParamId, axis: usize) -> f64 {
        match self.f.params.get(p.index()).map(|p| &p.kind) {
            Some(ParamKind::Tensor { dims, .. }) => dims.get(axis).map_or(1.0, |d| self.extent(*d)),
            Some(ParamKind::Scalar { .. }) | None => 1.0,
        }
    }

    fn extent(&self, d: Dim) -> f64 {
        match d {
            Dim::Const(n) => n as f64,
            Dim::Symbol(s) => self.sizes.get(s.index()).map_or(UNKNOWN, |n| *n as f64),
            Dim::Tile(_) | Dim::Expr(_) => UNKNOWN,
        }
    }

    /// A loop without a variable.
    pub(super) fn repeat(&mut self, trips: &Trips, step: f64) -> LoopId {
        let (mean, most) = (trips.mean.max(0.0), trips.most.max(0.0));
        self.loops.push(Loop { mean, most, span: (most - 1.0).max(0.0) * step + 1.0, guess: trips.guess });
        (self.loops.len() - 1) as LoopId
    }

    /// A loop whose variable starts at `begin` and moves by `step`.
    pub(super) fn enter(&mut self, var: Val, begin: &Known, step: f64, trips: &Trips) -> LoopId {
        let id = self.repeat(trips, step);
        // Scattered by the golden ratio, differently for each loop.
        let place = |i: usize| (i as f64 * 0.618_034 + f64::from(id) * 0.37).fract();
        let last = (trips.most - 1.0).max(0.0);
        let mut at = begin.at;
        for (i, v) in at.iter_mut().enumerate() {
            *v += step
                * match i {
                    0 => 0.0,
                    i if i + 1 == SAMPLES => last,
                    i => (1.0 + (place(i) * (last - 1.0)).floor()).clamp(0.0, last),
                };
        }
        let mut terms = begin.terms.clone();
        terms.push((id, 1.0));
        let trips = trips.most.max(1.0) * begin.trips;
        self.set(var, Known { at, trips, above: None, terms, guess: begin.guess });
        id
    }

    /// A loop whose variable starts at 0 and moves by 1.
    pub(super) fn count(&mut self, var: Val, trips: &Trips) -> LoopId {
        self.enter(var, &Known::constant(0.0), 1.0, trips)
    }

    /// Notes what is known of a value.
    pub(super) fn set(&mut self, v: Val, known: Known) {
        if let Some(slot) = self.known.get_mut(v.index()) {
            *slot = Some(known);
        }
    }

    /// Notes the result of an instruction.
    pub(super) fn inst(&mut self, inst: &Inst) {
        let Some(result) = inst.result else { return };
        let known = match &inst.op {
            Op::Const(l) if l.dtype.is_int() => Known::constant(l.to_i64() as f64),
            Op::Const(_) => Known::opaque(Terms::new()),
            Op::Size(s) => Known::constant(self.extent(Dim::Symbol(*s))),
            Op::Dim(p, axis) => Known::constant(self.dim(*p, *axis as usize)),
            Op::Cast(to) if to.is_int() && self.f.dtype(inst.args[0]).is_int() => self.of(inst.args[0]),
            Op::Binary(op) if self.f.dtype(result).is_int() => self.binary(*op, inst.args[0], inst.args[1]),
            Op::Scalar(_) | Op::Unary(_) | Op::Binary(_) | Op::Fma | Op::Select | Op::Cast(_) | Op::Bitcast(_) => {
                Known::opaque(self.union(inst))
            }
            Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } | Op::Random { .. } | Op::Print { .. } => {
                Known::opaque(self.union(inst))
            }
        };
        self.set(result, known);
    }

    fn binary(&self, op: BinaryOp, x: Val, y: Val) -> Known {
        let (a, b) = (self.of(x), self.of(y));
        let mut k = binary(op, &a, &b);
        // What a block has left is at most the block, also where only the data knows how much is left.
        if op == BinaryOp::Add && b.is_fixed() {
            k.above = Some((x, b.at[0]));
        } else if op == BinaryOp::Add && a.is_fixed() {
            k.above = Some((y, a.at[0]));
        } else if op == BinaryOp::Min {
            k.above = a.above.or(b.above);
        }
        if let (BinaryOp::Sub, Some((of, most))) = (op, a.above)
            && of == y
            && k.guess
        {
            k.at = [most; SAMPLES];
        }
        k
    }

    fn union(&self, inst: &Inst) -> Terms {
        let mut all = Terms::new();
        for (l, _) in inst.args.iter().filter_map(|v| self.get(*v)).flat_map(|k| &k.terms) {
            if all.iter().all(|(have, _)| have != l) {
                all.push((*l, f64::NAN));
            }
        }
        all
    }
}

fn binary(op: BinaryOp, a: &Known, b: &Known) -> Known {
    let f = |x: f64, y: f64| match op {
        BinaryOp::Add => x + y,
        BinaryOp::Sub => x - y,
        BinaryOp::Mul => x * y,
        BinaryOp::Div if y != 0.0 => (x / y).trunc(),
        BinaryOp::Rem if y != 0.0 => x % y,
        BinaryOp::Min => x.min(y),
        BinaryOp::Max => x.max(y),
        BinaryOp::Div | BinaryOp::Rem => 0.0,
        BinaryOp::Pow | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr => UNKNOWN,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => UNKNOWN,
    };
    let at = std::array::from_fn(|i| f(a.at[i], b.at[i]));
    let clamps = matches!(op, BinaryOp::Min | BinaryOp::Max);
    let terms = if op == BinaryOp::Add || op == BinaryOp::Sub {
        sum(a, b, if op == BinaryOp::Add { 1.0 } else { -1.0 })
    } else if op == BinaryOp::Mul && (a.is_fixed() || b.is_fixed()) {
        if b.is_fixed() { scaled(&a.terms, b.at[0]) } else { scaled(&b.terms, a.at[0]) }
    } else if op == BinaryOp::Div && b.is_fixed() && b.at[0] != 0.0 {
        scaled(&a.terms, 1.0 / b.at[0])
    } else if clamps && (a.is_fixed() || b.is_fixed()) {
        // A clamped index is about the index.
        if b.is_fixed() { a.terms.clone() } else { b.terms.clone() }
    } else {
        scaled(&sum(a, b, 1.0), f64::NAN)
    };
    Known { at, trips: a.trips.max(b.trips), above: None, terms, guess: a.guess || b.guess }
}

fn scaled(terms: &Terms, by: f64) -> Terms {
    terms.iter().map(|(l, c)| (*l, c * by)).collect()
}

fn sum(a: &Known, b: &Known, sign: f64) -> Terms {
    let mut t = a.terms.clone();
    for (l, c) in &b.terms {
        match t.iter_mut().find(|(have, _)| have == l) {
            Some((_, have)) => *have += sign * c,
            None => t.push((*l, sign * c)),
        }
    }
    t.retain(|(_, c)| *c != 0.0);
    t
}
