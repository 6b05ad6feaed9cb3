//! Random numbers: Philox, seeded by a scalar, counted by global indices.
//!
//! In: a seed and the extents of a tile. Out: numbers that depend only on the seed and on where the
//! tile's elements lie in the whole, never on block sizes. Two calls with one seed and equal extents
//! give the same numbers; use another seed for another stream.

use crate::lang::elem::Float;
use crate::lang::extents::{Counter, Extents};
use crate::lang::operand::{ScalarOperand, SizeOperand, literal};
use crate::lang::trace::{self, Trace};
use crate::lang::types::{Scalar, Val, indices};
use helion_ir::dtype::Literal;
use helion_ir::tile::{Dim, Op, Shape, ValueId};
use helion_ir::{BinaryOp, DType, Loc, UnaryOp};

/// A seed: a `Scalar<i64>` or `Scalar<u64>` (a captured `i64` or `u64`), or an integer literal.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a seed",
    label = "expected a `Scalar<i64>` or `Scalar<u64>`",
    note = "pass the seed to the kernel as `seed: u64` or `seed: i64`"
)]
pub trait Seed: Copy {
    #[doc(hidden)]
    #[track_caller]
    fn seed(self) -> ValueId;
}
#[diagnostic::do_not_recommend]
impl Seed for Scalar<i64> {
    #[track_caller]
    fn seed(self) -> ValueId {
        self.value()
    }
}
#[diagnostic::do_not_recommend]
impl Seed for Scalar<u64> {
    #[track_caller]
    fn seed(self) -> ValueId {
        self.value()
    }
}
#[diagnostic::do_not_recommend]
impl Seed for i64 {
    #[track_caller]
    fn seed(self) -> ValueId {
        literal(Literal::from_i64(DType::I64, self))
    }
}

/// The row-major position of every element in the whole.
fn counter(t: &mut Trace, counters: &[Counter], at: Loc) -> ValueId {
    let rank = counters.len();
    let mut stride = t.int(1, at);
    let mut total = None;
    for (axis, c) in counters.iter().enumerate().rev() {
        let (index, extent) = match *c {
            Counter::Tile(tile) => (indices(t, tile, at), t.end_of(tile, at)),
            Counter::Whole(dim) => (t.one(Op::Iota(dim), &[], at), t.one(Op::Extent(dim), &[], at)),
        };
        let dim = t.builder().ty(index).shape.first().copied().unwrap_or(Dim::Const(1));
        let shape: Shape = (0..rank).map(|i| if i == axis { dim } else { Dim::Const(1) }).collect();
        let index = if rank == 1 { index } else { t.one(Op::Reshape(shape), &[index], at) };
        let part = t.binary(BinaryOp::Mul, index, stride, at);
        total = Some(match total {
            Some(sum) => t.binary(BinaryOp::Add, part, sum, at),
            None => part,
        });
        stride = t.binary(BinaryOp::Mul, stride, extent, at);
    }
    total.unwrap_or(stride)
}

/// One 32-bit word per element.
fn word(t: &mut Trace, seed: ValueId, counter: ValueId, word: u8, at: Loc) -> ValueId {
    t.one(Op::Random { word }, &[seed, counter], at)
}

/// The upper 24 bits of a word, plus an integer, times 2^-24: a float in `[0, 1)` for 0, `(0, 1]` for 1.
fn unit_float(t: &mut Trace, word: ValueId, plus: i64, at: Loc) -> ValueId {
    let eight = t.literal(Literal::from_i64(DType::U32, 8), at);
    let mut bits = t.binary(BinaryOp::Shr, word, eight, at);
    if plus != 0 {
        let plus = t.literal(Literal::from_i64(DType::U32, plus), at);
        bits = t.binary(BinaryOp::Add, bits, plus, at);
    }
    let float = t.cast(bits, DType::F32, at);
    let scale = t.literal(Literal::from_f64(DType::F32, 1.0 / f64::from(1 << 24)), at);
    t.binary(BinaryOp::Mul, float, scale, at)
}

/// Uniform random numbers in `[0, 1)`, with 24 random bits: `rand(seed, [tm, tn])`.
///
/// They depend on the seed and the global index of each element, not on block sizes.
#[track_caller]
pub fn rand<S: Extents>(seed: impl Seed, extents: S) -> S::Filled<f32> {
    let at = Loc::caller();
    let (seed, counters) = (seed.seed(), extents.counters());
    Val::from_value(trace::with(|t| {
        let counter = counter(t, &counters, at);
        let word = word(t, seed, counter, 0, at);
        unit_float(t, word, 0, at)
    }))
}

/// Normally distributed random numbers with mean 0 and deviation 1: `sqrt(-2 ln u) cos(2 pi v)` of two
/// uniform ones.
#[track_caller]
pub fn randn<S: Extents>(seed: impl Seed, extents: S) -> S::Filled<f32> {
    let at = Loc::caller();
    let (seed, counters) = (seed.seed(), extents.counters());
    Val::from_value(trace::with(|t| {
        let counter = counter(t, &counters, at);
        let (first, second) = (word(t, seed, counter, 0, at), word(t, seed, counter, 1, at));
        let (u, v) = (unit_float(t, first, 1, at), unit_float(t, second, 0, at));
        let log = t.one(Op::Unary(UnaryOp::Log), &[u], at);
        let minus_two = t.literal(Literal::from_f64(DType::F32, -2.0), at);
        let square = t.binary(BinaryOp::Mul, log, minus_two, at);
        let radius = t.one(Op::Unary(UnaryOp::Sqrt), &[square], at);
        let turn = t.literal(Literal::from_f64(DType::F32, std::f64::consts::TAU), at);
        let angle = t.binary(BinaryOp::Mul, v, turn, at);
        let cos = t.one(Op::Unary(UnaryOp::Cos), &[angle], at);
        t.binary(BinaryOp::Mul, radius, cos, at)
    }))
}

/// Random integers in `low..high`: `randint(seed, [tm], 0, 10)`. Ranges up to 2^31.
#[track_caller]
pub fn randint<S: Extents>(
    seed: impl Seed,
    extents: S,
    low: impl SizeOperand,
    high: impl SizeOperand,
) -> S::Filled<i64> {
    let at = Loc::caller();
    let (seed, counters) = (seed.seed(), extents.counters());
    let (low, high) = (low.source(), high.source());
    Val::from_value(trace::with(|t| {
        let counter = counter(t, &counters, at);
        let word = word(t, seed, counter, 0, at);
        let (low, high) = (t.resolve(low, at), t.resolve(high, at));
        let range = t.binary(BinaryOp::Sub, high, low, at);
        let wide = t.cast(word, DType::I64, at);
        let scaled = t.binary(BinaryOp::Mul, wide, range, at);
        let shift = t.int(32, at);
        let offset = t.binary(BinaryOp::Shr, scaled, shift, at);
        t.binary(BinaryOp::Add, offset, low, at)
    }))
}

/// 32 random bits per element.
#[track_caller]
pub fn rand_bits<S: Extents>(seed: impl Seed, extents: S) -> S::Filled<u32> {
    let at = Loc::caller();
    let (seed, counters) = (seed.seed(), extents.counters());
    Val::from_value(trace::with(|t| {
        let counter = counter(t, &counters, at);
        word(t, seed, counter, 0, at)
    }))
}

/// Sets a random share `p` of the elements to zero and divides the others by `1 - p`.
///
/// `extents` are those of `x`: `dropout(seed, x[(tm, tn)], p, [tm, tn])`.
#[track_caller]
pub fn dropout<T: Float, S: Extents>(
    seed: impl Seed,
    x: S::Filled<T>,
    p: impl ScalarOperand<f32, Out = Scalar<f32>>,
    extents: S,
) -> S::Filled<T> {
    let at = Loc::caller();
    let uniform = rand(seed, extents).value();
    let (p, x) = (p.operand(), x.value());
    Val::from_value(trace::with(|t| {
        let keep = t.binary(BinaryOp::Ge, uniform, p, at);
        let one = t.literal(Literal::from_f64(DType::F32, 1.0), at);
        let share = t.binary(BinaryOp::Sub, one, p, at);
        let wide = t.cast(x, T::DTYPE.compute(), at);
        let share = t.cast(share, T::DTYPE.compute(), at);
        let scaled = t.binary(BinaryOp::Div, wide, share, at);
        let zero = t.literal(Literal::from_i64(T::DTYPE.compute(), 0), at);
        let chosen = t.one(Op::Select, &[keep, scaled, zero], at);
        t.cast(chosen, T::DTYPE, at)
    }))
}
