//! Launches, loops and branches of device code.
//!
//! In: a body as a function or closure, and the variables it assigns to. Out: instructions with
//! regions; the variables hold block parameters inside and results afterwards. Every body runs once.

use super::carry::{AnyVar, Carry, Ids, IntoCarry, current, replace};
use super::domain::{self, Loop, Spans, VarName};
use super::trace::{self, Names};
use super::types::{Scalar, Val};
use crate::error::Result;
use crate::runtime::launch::Launching;
use helion_ir::dtype::Literal;
use helion_ir::tile::{Op, Region, TileId, Type, ValueId};
use helion_ir::{DType, Diagnostic, Loc};

/// Starts a launch: what follows captures into it.
#[track_caller]
pub fn begin_launch<'t>(kernel: &'static str) -> Launching<'t> {
    Launching::begin(kernel)
}

/// Finishes a launch: finds or makes the compiled kernel and runs it.
///
/// `body` is a plain `fn`: it can reach nothing that was not captured, and its address identifies the
/// instantiation of the user's generic code.
#[track_caller]
pub fn launch<L: Loop, A>(
    launch: Launching<'_>,
    domain: L,
    names: &'static [VarName],
    lets: &'static Names,
    args: A,
    body: fn(L::Vars, A),
) -> Result<()> {
    let at = Loc::caller();
    let result = launch.run(body as *const () as usize, |builder| {
        trace::trace_into(builder, lets, || {
            let tiles = open_tiles(domain, names, true, at);
            trace::with(|t| t.builder().begin_body());
            body(L::variables(&mut each(&tiles)), args);
        });
    });
    result.inspect_err(super::shape_test::note_mistake)
}

/// Makes the tile variables of a loop, with their bounds.
#[track_caller]
fn open_tiles<L: Loop>(domain: L, names: &[VarName], grid: bool, at: Loc) -> Vec<TileId> {
    let mut spans = Spans::new();
    domain.axes(&mut spans);
    let named = |i: usize| names.get(i).or(names.last()).map_or("t", |n| n.var);
    trace::with(|t| {
        let bounds: Vec<_> = spans.iter().map(|(span, unit)| (domain::bounds(t, *span, at), *unit)).collect();
        let mut tiles = Vec::with_capacity(bounds.len());
        for (i, ((begin, end), unit)) in bounds.into_iter().enumerate() {
            let tile = match grid {
                true => t.builder().grid_tile(named(i), begin, end, unit, at),
                false => t.builder().loop_tile(named(i), begin, end, unit, at),
            };
            t.set_bounds(tile, begin, end);
            tiles.push(tile);
        }
        tiles
    })
}

/// Hands out the tile variables in order; the arrangement asks for exactly as many as there are.
fn each(tiles: &[TileId]) -> impl FnMut() -> TileId + '_ {
    let mut left = tiles.iter().copied();
    let last = tiles.last().copied().unwrap_or(TileId(0));
    move || left.next().unwrap_or(last)
}

/// The types of values.
fn types(values: &[ValueId]) -> Vec<Type> {
    trace::with(|t| values.iter().map(|v| t.builder().ty(*v).clone()).collect())
}

/// Opens a region whose parameters the variables take as values.
fn open(vars: &[&dyn AnyVar], before: &[ValueId], at: Loc) -> Vec<ValueId> {
    let types = types(before);
    let params = trace::with(|t| t.open(&types, at));
    replace(vars, &params);
    params
}

/// Values that agree in type with others; a variable whose shape differs is a mistake.
#[track_caller]
fn agree(vars: &[&dyn AnyVar], before: &[ValueId], values: Ids, first: &str, second: &str, at: Loc) -> Ids {
    let mut names = Vec::new();
    for var in vars {
        let mut own = Ids::new();
        var.ids(&mut own);
        names.extend(own.iter().map(|_| var.name()));
    }
    let mut out = Ids::new();
    for (i, (old, new)) in before.iter().zip(values).enumerate() {
        let same = trace::with(|t| {
            let (a, b) = (t.builder().ty(*old).clone(), t.builder().ty(new).clone());
            if a == b {
                return true;
            }
            let name = names.get(i).map_or("the value".to_owned(), |n| format!("`{n}`"));
            let (a, b) = (t.shape_text(*old), t.shape_text(new));
            let d = Diagnostic::new(at, format!("{name} is {a} {first}, and {b} {second}"))
                .help("a variable keeps its shape: give the first value the final shape, for example with `zeros`");
            t.builder().error(d);
            false
        });
        out.push(if same { new } else { *old });
    }
    out
}

/// A `for` over tiles inside device code: a sequential loop.
#[track_caller]
pub fn tile_loop<L: Loop>(domain: L, names: &[VarName], vars: &[&dyn AnyVar], body: impl Fn(L::Vars)) {
    let at = Loc::caller();
    let tiles = open_tiles(domain, names, false, at);
    let before = current(vars);
    open(vars, &before, at);
    body(L::variables(&mut each(&tiles)));
    let yields = agree(vars, &before, current(vars), "before this loop", "after an iteration", at);
    finish(vars, Op::For { tiles }, &before, |t| vec![t.close(&yields)], at);
}

/// Records the instruction that owns closed regions and gives the variables its results.
fn finish(
    vars: &[&dyn AnyVar],
    op: Op,
    args: &[ValueId],
    regions: impl FnOnce(&mut trace::Trace) -> Vec<Region>,
    at: Loc,
) -> Ids {
    let results = trace::with(|t| {
        let regions = regions(t);
        t.builder().push_with_regions(op, args, regions, at)
    });
    replace(vars, &results);
    results.into_iter().collect()
}

/// What `while` accepts as a condition.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot decide a `while` loop",
    label = "not a device condition",
    note = "`while` takes a `Scalar<bool>`, computed on the device: reduce a mask with `.any(axis)` or `.all(axis)` and `.squeeze(0)`, or read one element",
    note = "loops over host values are `for i in 0..4`, which unrolls"
)]
pub trait Condition {
    #[doc(hidden)]
    #[track_caller]
    fn condition(self) -> ValueId;
}
#[diagnostic::do_not_recommend]
impl Condition for Scalar<bool> {
    #[track_caller]
    fn condition(self) -> ValueId {
        self.value()
    }
}

/// A condition of a `while` loop, as a value.
#[derive(Clone, Copy, Debug)]
pub struct Tested(ValueId);

/// Tests a condition; a function, so that only one bound can fail.
#[track_caller]
pub fn condition<C: Condition>(condition: C) -> Tested {
    Tested(condition.condition())
}

/// `while` in device code.
#[track_caller]
pub fn while_loop(vars: &[&dyn AnyVar], condition: impl Fn() -> Tested, body: impl Fn()) {
    let at = Loc::caller();
    let before = current(vars);
    open(vars, &before, at);
    let Tested(decided) = condition();
    let test = trace::with(|t| t.close(&[decided]));
    open(vars, &before, at);
    body();
    let yields = agree(vars, &before, current(vars), "before this loop", "after an iteration", at);
    finish(vars, Op::While, &before, |t| vec![test, t.close(&yields)], at);
}

/// What `if` accepts in device code: a host `bool` picks an arm while recording, a `Scalar<bool>`
/// branches at run time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot decide an `if`",
    label = "not a host `bool` or a `Scalar<bool>`",
    note = "for a mask (a tile of bool) use `select(mask, a, b)`, or reduce it with `.any(axis)`"
)]
pub trait Decide {
    #[doc(hidden)]
    type How;
    #[doc(hidden)]
    #[track_caller]
    fn decide(self) -> Decision;
}
/// How an `if` is decided.
#[derive(Clone, Copy, Debug)]
pub enum Decision {
    /// While recording.
    Host(bool),
    /// At run time.
    Device(ValueId),
}
/// Decided while recording.
#[derive(Debug)]
pub struct ByHost;
/// Decided at run time.
#[derive(Debug)]
pub struct ByDevice;

#[diagnostic::do_not_recommend]
impl Decide for bool {
    type How = ByHost;
    fn decide(self) -> Decision {
        Decision::Host(self)
    }
}
#[diagnostic::do_not_recommend]
impl Decide for Scalar<bool> {
    type How = ByDevice;
    #[track_caller]
    fn decide(self) -> Decision {
        Decision::Device(self.value())
    }
}

/// The value of an `if` whose arms have type `Self`: any value when the host decides, carried values
/// when the device does.
#[diagnostic::on_unimplemented(
    message = "a device `if` cannot have a value of type `{Self}`",
    label = "the arms have type `{Self}`",
    note = "arms are tiles, scalars, sizes, `f32`, `i32`, `bool`, and tuples and arrays of them; for another number type write `constant(v)`"
)]
pub trait Arm<How> {
    /// The value after the `if`.
    type Out;
    #[doc(hidden)]
    #[track_caller]
    fn branch(how: Decision, vars: &[&dyn AnyVar], then: impl Fn() -> Self, other: impl Fn() -> Self) -> Self::Out;
}
#[diagnostic::do_not_recommend]
impl<V> Arm<ByHost> for V {
    type Out = V;
    fn branch(how: Decision, _: &[&dyn AnyVar], then: impl Fn() -> V, other: impl Fn() -> V) -> V {
        if matches!(how, Decision::Host(true)) { then() } else { other() }
    }
}
#[diagnostic::do_not_recommend]
impl<V: IntoCarry> Arm<ByDevice> for V {
    type Out = V::V;
    #[track_caller]
    fn branch(how: Decision, vars: &[&dyn AnyVar], then: impl Fn() -> V, other: impl Fn() -> V) -> V::V {
        let at = Loc::caller();
        let condition = match how {
            Decision::Device(c) => c,
            Decision::Host(b) => trace::with(|t| t.literal(Literal::from_i64(DType::Bool, i64::from(b)), at)),
        };
        let before = current(vars);
        let (value, yields) = arm(vars, then, at);
        let first = trace::with(|t| t.close(&yields));
        replace(vars, &before);
        let (_, other_yields) = arm(vars, other, at);
        let other_yields = agree(vars, &yields, other_yields, "in the first arm of this `if`", "in the other", at);
        let second = trace::with(|t| t.close(&other_yields));
        let results = trace::with(|t| t.builder().push_with_regions(Op::If, &[condition], vec![first, second], at));
        let (of_vars, of_value) = results.split_at(before.len().min(results.len()));
        replace(vars, of_vars);
        value.rebuild(&mut of_value.iter().copied())
    }
}

/// Records one arm in a region that is left open; its value, and what it hands on: the variables, then
/// the value.
#[track_caller]
fn arm<V: IntoCarry>(vars: &[&dyn AnyVar], body: impl Fn() -> V, at: Loc) -> (V::V, Ids) {
    trace::with(|t| t.open(&[], at));
    let value = body().into_carry();
    let mut yields = current(vars);
    value.ids(&mut yields);
    (value, yields)
}

/// Decides an `if`; a function, so that only one bound can fail.
#[track_caller]
pub fn decide<C: Decide>(condition: C) -> Decided<C::How> {
    Decided { how: condition.decide(), of: std::marker::PhantomData }
}
/// A decided `if`.
#[derive(Debug)]
pub struct Decided<How> {
    how: Decision,
    of: std::marker::PhantomData<fn() -> How>,
}

/// `if` in device code.
#[track_caller]
pub fn branch<How, V: Arm<How>>(
    decided: Decided<How>,
    vars: &[&dyn AnyVar],
    then: impl Fn() -> V,
    other: impl Fn() -> V,
) -> V::Out {
    V::branch(decided.how, vars, then, other)
}
