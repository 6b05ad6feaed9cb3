//! Variables that live through device loops and branches.
//!
//! In: the first value of a `let mut` that a loop or branch assigns to. Out: a [`Var`] cell whose
//! content the control-flow ops replace by block parameters and results.

use super::elem::Elem;
use super::operand::constant;
use super::trace;
use super::types::{Scalar, Size, Tile, Val};
use helion_ir::tile::ValueId;
use smallvec::SmallVec;
use std::cell::Cell;

/// Values in the order of a variable's parts.
pub type Ids = SmallVec<[ValueId; 4]>;

/// Values a device loop or branch can hand on: tiles, scalars, sizes, and tuples and arrays of them.
pub trait Carry: Copy {
    #[doc(hidden)]
    #[track_caller]
    fn ids(&self, out: &mut Ids);
    #[doc(hidden)]
    fn rebuild(&self, ids: &mut dyn Iterator<Item = ValueId>) -> Self;
}

impl<T: Elem, const R: usize> Carry for Tile<T, R> {
    fn ids(&self, out: &mut Ids) {
        out.push(self.value());
    }
    fn rebuild(&self, ids: &mut dyn Iterator<Item = ValueId>) -> Self {
        ids.next().map_or(*self, Val::from_value)
    }
}
impl<T: Elem> Carry for Scalar<T> {
    #[track_caller]
    fn ids(&self, out: &mut Ids) {
        out.push(self.value());
    }
    fn rebuild(&self, ids: &mut dyn Iterator<Item = ValueId>) -> Self {
        ids.next().map_or(*self, Val::from_value)
    }
}
impl Carry for Size {
    #[track_caller]
    fn ids(&self, out: &mut Ids) {
        out.push(self.value());
    }
    fn rebuild(&self, ids: &mut dyn Iterator<Item = ValueId>) -> Self {
        ids.next().map_or(*self, Size::from_value)
    }
}
impl<C: Carry, const N: usize> Carry for [C; N] {
    #[track_caller]
    fn ids(&self, out: &mut Ids) {
        for c in self {
            c.ids(out);
        }
    }
    fn rebuild(&self, ids: &mut dyn Iterator<Item = ValueId>) -> Self {
        self.map(|c| c.rebuild(ids))
    }
}

/// The first value of a variable that a device loop or branch changes, or the value of an arm of a
/// device `if`. Host numbers become scalars.
#[diagnostic::on_unimplemented(
    message = "a value of type `{Self}` cannot be changed inside a device loop or branch",
    label = "has one value per recording, not one per iteration",
    note = "tiles, scalars, sizes, `f32`, `i32`, `bool`, and tuples and arrays of them can; for another number type write `constant(v)`",
    note = "if the condition is a host `bool`, choose before: `let stride = if causal {{ 2 }} else {{ 1 }};`"
)]
pub trait IntoCarry {
    /// The variable's type.
    type V: Carry;
    #[doc(hidden)]
    #[track_caller]
    fn into_carry(self) -> Self::V;
}
#[diagnostic::do_not_recommend]
impl<T: Elem, const R: usize> IntoCarry for Tile<T, R> {
    type V = Self;
    fn into_carry(self) -> Self {
        self
    }
}
#[diagnostic::do_not_recommend]
impl<T: Elem> IntoCarry for Scalar<T> {
    type V = Self;
    fn into_carry(self) -> Self {
        self
    }
}
#[diagnostic::do_not_recommend]
impl IntoCarry for Size {
    type V = Self;
    fn into_carry(self) -> Self {
        self
    }
}
#[diagnostic::do_not_recommend]
impl<C: IntoCarry, const N: usize> IntoCarry for [C; N] {
    type V = [C::V; N];
    #[track_caller]
    fn into_carry(self) -> Self::V {
        self.map(C::into_carry)
    }
}

macro_rules! tuples {
    ($($($t:ident $i:tt),*;)*) => {$(
        #[allow(clippy::unused_unit, reason = "the empty tuple is one of the tuples")]
        impl<$($t: Carry),*> Carry for ($($t,)*) {
            #[track_caller]
            fn ids(&self, _out: &mut Ids) { $(self.$i.ids(_out);)* }
            fn rebuild(&self, _ids: &mut dyn Iterator<Item = ValueId>) -> Self { ($(self.$i.rebuild(_ids),)*) }
        }
        #[diagnostic::do_not_recommend]
        #[allow(clippy::unused_unit, reason = "the empty tuple is one of the tuples")]
        impl<$($t: IntoCarry),*> IntoCarry for ($($t,)*) {
            type V = ($($t::V,)*);
            #[track_caller]
            fn into_carry(self) -> Self::V { ($(self.$i.into_carry(),)*) }
        }
    )*};
}
tuples! { ; A 0; A 0, B 1; A 0, B 1, C 2; A 0, B 1, C 2, D 3; A 0, B 1, C 2, D 3, E 4; A 0, B 1, C 2, D 3, E 4, F 5; }

// One float and one integer type only: a literal then has its type at once, not after the fallback.
macro_rules! numbers {
    ($($t:ident)*) => {$(
        #[diagnostic::do_not_recommend]
        impl IntoCarry for $t {
            type V = Scalar<$t>;
            #[track_caller]
            fn into_carry(self) -> Scalar<$t> { constant(self) }
        }
    )*};
}
numbers! { f32 i32 bool }

/// A `let mut` of device code that a loop or branch assigns to.
///
/// It holds what it needs of [`Carry`], so that a variable of a wrong type is reported once, where it is
/// made.
pub struct Var<V> {
    cell: Cell<V>,
    name: &'static str,
    ids: fn(&V, &mut Ids),
    rebuild: fn(&V, &mut dyn Iterator<Item = ValueId>) -> V,
}

impl<V> std::fmt::Debug for Var<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<V: Copy> Var<V> {
    /// The current value.
    pub fn get(&self) -> V {
        self.cell.get()
    }
    /// Assigns.
    pub fn set(&self, v: V) {
        self.cell.set(v);
    }
}

/// Makes the variable; a function, so that only one bound can fail.
#[track_caller]
pub fn var_new<I: IntoCarry>(init: I, name: &'static str) -> Var<I::V> {
    Var { cell: Cell::new(init.into_carry()), name, ids: I::V::ids, rebuild: I::V::rebuild }
}

/// A variable of any type, for control flow.
pub trait AnyVar {
    #[doc(hidden)]
    fn ids(&self, out: &mut Ids);
    #[doc(hidden)]
    fn put(&self, ids: &mut dyn Iterator<Item = ValueId>);
    #[doc(hidden)]
    fn name(&self) -> &'static str;
}
impl<V: Copy> AnyVar for Var<V> {
    fn ids(&self, out: &mut Ids) {
        (self.ids)(&self.get(), out);
    }
    fn put(&self, ids: &mut dyn Iterator<Item = ValueId>) {
        self.set((self.rebuild)(&self.get(), ids));
    }
    fn name(&self) -> &'static str {
        self.name
    }
}

/// The current values of all variables.
#[track_caller]
pub(crate) fn current(vars: &[&dyn AnyVar]) -> Ids {
    let mut out = Ids::new();
    for v in vars {
        v.ids(&mut out);
    }
    out
}

/// Gives the variables new values and names them.
pub(crate) fn replace(vars: &[&dyn AnyVar], values: &[ValueId]) {
    let mut left = values.iter().copied();
    for var in vars {
        let from = values.len() - left.len();
        var.put(&mut left);
        let to = values.len() - left.len();
        trace::with(|t| values[from..to].iter().for_each(|v| t.builder().name_value(*v, var.name())));
    }
}
