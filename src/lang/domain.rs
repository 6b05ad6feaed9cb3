//! What tile loops run over.
//!
//! In: `tile(m)`, `tile([m, n])`, `tile(a..b)`, `grid(n)`, and tuples of these. Out: spans of indices
//! whose bounds a launch or a device loop turns into tile variables.

use super::elem::Int;
use super::operand::SizeOperand;
use super::trace::{self, Source, Trace};
use super::types::{Scalar, Size, TileIx, Val};
use crate::runtime::launch::Launching;
use helion_ir::Loc;
use helion_ir::tile::{Op, TileId};
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::ops::Range;

/// The user's words for one tile variable: its name, and what its bounds were called.
#[derive(Clone, Copy, Debug)]
pub struct VarName {
    /// The variable.
    pub var: &'static str,
    /// The text of the first index, if it was written.
    pub begin: &'static str,
    /// The text of the end.
    pub end: &'static str,
}

/// A range of indices in device terms.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    begin: Source,
    end: Source,
}

/// A range whose bounds may have different types.
#[derive(Clone, Copy, Debug)]
pub struct Between<A, B>(pub(crate) A, pub(crate) B);

/// `a..b` of a tile loop.
pub fn between<A, B>(a: A, b: B) -> Between<A, B> {
    Between(a, b)
}

/// One axis of a loop on the host: it can be captured.
#[doc(hidden)]
pub trait HostSpan {
    fn host_span(self, launch: &mut Launching<'_>, name: VarName) -> Span;
}
impl HostSpan for usize {
    fn host_span(self, launch: &mut Launching<'_>, name: VarName) -> Span {
        Span { begin: Source::Const(0), end: Source::of(launch.size(name.end, self as u64)) }
    }
}
impl HostSpan for Range<usize> {
    fn host_span(self, launch: &mut Launching<'_>, name: VarName) -> Span {
        // A range from zero is the common case and gets simpler code.
        launch.key(u64::from(self.start == 0));
        let begin = match self.start {
            0 => Source::Const(0),
            start => Source::of(launch.size(name.begin, start as u64)),
        };
        Span { begin, end: Source::of(launch.size(name.end, self.end as u64)) }
    }
}
impl HostSpan for Between<usize, usize> {
    fn host_span(self, launch: &mut Launching<'_>, name: VarName) -> Span {
        (self.0..self.1).host_span(launch, name)
    }
}

/// One axis of a loop in device code.
#[doc(hidden)]
pub trait DeviceSpan {
    #[track_caller]
    fn span(self) -> Span;
}
impl DeviceSpan for usize {
    fn span(self) -> Span {
        Span { begin: Source::Const(0), end: Source::Const(self as i64) }
    }
}
impl DeviceSpan for Size {
    fn span(self) -> Span {
        Span { begin: Source::Const(0), end: self.source }
    }
}
impl<I: Int> DeviceSpan for Scalar<I> {
    #[track_caller]
    fn span(self) -> Span {
        Span { begin: Source::Const(0), end: SizeOperand::source(self) }
    }
}
impl<A: SizeOperand> DeviceSpan for Range<A> {
    #[track_caller]
    fn span(self) -> Span {
        Span { begin: self.start.source(), end: self.end.source() }
    }
}
impl<A: SizeOperand, B: SizeOperand> DeviceSpan for Between<A, B> {
    #[track_caller]
    fn span(self) -> Span {
        Span { begin: self.0.source(), end: self.1.source() }
    }
}

/// What `tile` and `grid` divide: a size, a range of sizes, or an array or tuple of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be divided into tiles",
    label = "not a size, a range of sizes, or an array or tuple of these",
    note = "write `tile(m)`, `tile([m, n])`, or `tile(begin..end)`; the bounds are `usize`, sizes of tensors, or integer scalars"
)]
pub trait Domain {
    /// The same arrangement holding `V` per axis.
    type Of<V: Copy>: Copy;
    #[doc(hidden)]
    fn vars<V: Copy>(next: &mut dyn FnMut() -> V) -> Self::Of<V>;
}
/// A domain of the host.
#[doc(hidden)]
pub trait HostDomain: Domain {
    fn host_spans(self, launch: &mut Launching<'_>, next: &mut dyn FnMut() -> VarName, out: &mut SpanList);
}
/// A domain of device code.
#[doc(hidden)]
pub trait DeviceDomain: Domain {
    #[track_caller]
    fn spans(self, out: &mut Spans);
}
/// The axes of a loop.
#[doc(hidden)]
pub type Spans = SmallVec<[(Span, bool); 4]>;

macro_rules! singles {
    ($([$($g:tt)*] $t:ty;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($g)*> Domain for $t {
            type Of<V: Copy> = V;
            fn vars<V: Copy>(next: &mut dyn FnMut() -> V) -> V { next() }
        }
        #[diagnostic::do_not_recommend]
        impl<$($g)*> DeviceDomain for $t {
            #[track_caller]
            fn spans(self, out: &mut Spans) { out.push((self.span(), false)); }
        }
    )*};
}
singles! {
    [] usize; [] Size; [I: Int] Scalar<I>;
    [A: SizeOperand] Range<A>; [A: SizeOperand, B: SizeOperand] Between<A, B>;
}
macro_rules! host_singles {
    ($($t:ty)*) => {$(
        #[diagnostic::do_not_recommend]
        impl HostDomain for $t {
            fn host_spans(self, launch: &mut Launching<'_>, next: &mut dyn FnMut() -> VarName, out: &mut SpanList) {
                out.push(self.host_span(launch, next()));
            }
        }
    )*};
}
host_singles! { usize Range<usize> Between<usize, usize> }

#[diagnostic::do_not_recommend]
impl<S, const N: usize> Domain for [S; N] {
    type Of<V: Copy> = [V; N];
    fn vars<V: Copy>(next: &mut dyn FnMut() -> V) -> [V; N] {
        std::array::from_fn(|_| next())
    }
}
#[diagnostic::do_not_recommend]
impl<S: DeviceSpan, const N: usize> DeviceDomain for [S; N] {
    #[track_caller]
    fn spans(self, out: &mut Spans) {
        for s in self {
            out.push((s.span(), false));
        }
    }
}
#[diagnostic::do_not_recommend]
impl<S: HostSpan, const N: usize> HostDomain for [S; N] {
    fn host_spans(self, launch: &mut Launching<'_>, next: &mut dyn FnMut() -> VarName, out: &mut SpanList) {
        for s in self {
            out.push(s.host_span(launch, next()));
        }
    }
}

macro_rules! domain_tuples {
    ($($($t:ident $v:ident $i:tt),+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($t),+> Domain for ($($t,)+) {
            type Of<V: Copy> = ($(domain_tuples!(@v V $t),)+);
            fn vars<V: Copy>(next: &mut dyn FnMut() -> V) -> Self::Of<V> { $(let $v = next();)+ ($($v,)+) }
        }
        #[diagnostic::do_not_recommend]
        impl<$($t: DeviceSpan),+> DeviceDomain for ($($t,)+) {
            #[track_caller]
            fn spans(self, out: &mut Spans) { $(out.push((self.$i.span(), false));)+ }
        }
        #[diagnostic::do_not_recommend]
        impl<$($t: HostSpan),+> HostDomain for ($($t,)+) {
            fn host_spans(self, launch: &mut Launching<'_>, next: &mut dyn FnMut() -> VarName, out: &mut SpanList) {
                $(out.push(self.$i.host_span(launch, next()));)+
            }
        }
    )*};
    (@v $v:ident $t:ident) => { $v };
}
domain_tuples! { A a 0, B b 1; A a 0, B b 1, C c 2; A a 0, B b 1, C c 2, D d 3; A a 0, B b 1, C c 2, D d 3, E e 4; }

/// A domain divided into tiles; only as the `in` of a `for` loop in `#[kernel]` or `#[device]`.
#[derive(Clone, Copy, Debug)]
pub struct Tiles<D>(D);
/// A domain walked index by index; only as the `in` of a `for` loop in `#[kernel]` or `#[device]`.
#[derive(Clone, Copy, Debug)]
pub struct Grid<D>(D);

/// Divides a domain into tiles: `for tm in tile(m)`, `for [tm, tn] in tile([m, n])`,
/// `for tk in tile(begin..end)`.
///
/// Outside other tile loops the `for` is one launch, its tiles run in parallel; inside it is a
/// sequential loop. The compiler and the tuner choose how long a tile is. It works only as the
/// iterator of a `for` in a function marked `#[kernel]` or `#[device]`.
pub fn tile<D: Domain>(domain: D) -> Tiles<D> {
    Tiles(domain)
}

/// Walks a domain index by index: `for i in grid(n)` gives `i: Scalar<i64>`.
///
/// As with [`tile`], an outermost loop runs in parallel and an inner one in order.
pub fn grid<D: Domain>(domain: D) -> Grid<D> {
    Grid(domain)
}

/// What a `for` of a kernel runs over: tiles, a grid, or a tuple of these.
pub trait Loop {
    /// The loop variables.
    type Vars;
    #[doc(hidden)]
    #[track_caller]
    fn axes(self, out: &mut Spans);
    #[doc(hidden)]
    #[track_caller]
    fn variables(next: &mut dyn FnMut() -> TileId) -> Self::Vars;
}
/// A loop over sizes of the host: a launch.
#[doc(hidden)]
pub trait HostLoop {
    type Device: Loop;
    fn capture(self, launch: &mut Launching<'_>, next: &mut dyn FnMut() -> VarName) -> Self::Device;
}

/// Captured spans in the arrangement of `D`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Captured<D, const UNIT: bool>(SpanList, PhantomData<fn() -> D>);

/// A few spans without allocation; a launch has at most as many axes as a tensor.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct SpanList([Option<Span>; 8]);

impl SpanList {
    fn push(&mut self, span: Span) {
        if let Some(free) = self.0.iter_mut().find(|s| s.is_none()) {
            *free = Some(span);
        }
    }
}

#[track_caller]
fn unit_value(tile: TileId) -> Scalar<i64> {
    Scalar::from_value(trace::op(Op::TileBegin(tile), &[]))
}

macro_rules! loops {
    ($($kind:ident $unit:literal $var:ty, $make:expr;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<D: DeviceDomain> Loop for $kind<D> {
            type Vars = D::Of<$var>;
            #[track_caller]
            fn axes(self, out: &mut Spans) {
                let first = out.len();
                self.0.spans(out);
                out[first..].iter_mut().for_each(|s| s.1 = $unit);
            }
            #[track_caller]
            fn variables(next: &mut dyn FnMut() -> TileId) -> Self::Vars {
                D::vars::<$var>(&mut || $make(next()))
            }
        }
        #[diagnostic::do_not_recommend]
        impl<D: HostDomain> HostLoop for $kind<D> {
            type Device = Captured<D, $unit>;
            fn capture(self, launch: &mut Launching<'_>, next: &mut dyn FnMut() -> VarName) -> Self::Device {
                let mut spans = SpanList([None; 8]);
                self.0.host_spans(launch, next, &mut spans);
                Captured(spans, PhantomData)
            }
        }
        #[diagnostic::do_not_recommend]
        impl<D: Domain> Loop for Captured<D, $unit> {
            type Vars = D::Of<$var>;
            fn axes(self, out: &mut Spans) {
                out.extend(self.0.0.into_iter().flatten().map(|s| (s, $unit)));
            }
            #[track_caller]
            fn variables(next: &mut dyn FnMut() -> TileId) -> Self::Vars {
                D::vars::<$var>(&mut || $make(next()))
            }
        }
    )*};
}
loops! { Tiles false TileIx, |tile| TileIx { tile }; Grid true Scalar<i64>, unit_value; }

macro_rules! loop_tuples {
    ($($($t:ident $i:tt),+;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<$($t: Loop),+> Loop for ($($t,)+) {
            type Vars = ($($t::Vars,)+);
            #[track_caller]
            fn axes(self, out: &mut Spans) { $(self.$i.axes(out);)+ }
            #[track_caller]
            fn variables(next: &mut dyn FnMut() -> TileId) -> Self::Vars { ($($t::variables(next),)+) }
        }
        #[diagnostic::do_not_recommend]
        impl<$($t: HostLoop),+> HostLoop for ($($t,)+) {
            type Device = ($($t::Device,)+);
            fn capture(self, launch: &mut Launching<'_>, next: &mut dyn FnMut() -> VarName) -> Self::Device {
                ($(self.$i.capture(launch, next),)+)
            }
        }
    )*};
}
loop_tuples! { A 0, B 1; A 0, B 1, C 2; }

/// Captures the domain of a launch; `names` are the loop variables in order.
pub fn capture_loop<L: HostLoop>(launch: &mut Launching<'_>, names: &'static [VarName], domain: L) -> L::Device {
    let mut next = 0;
    domain.capture(launch, &mut || {
        let name = names.get(next).or(names.last());
        next += 1;
        name.copied().unwrap_or(VarName { var: "t", begin: "", end: "t_end" })
    })
}

/// Makes sizes that equal a const parameter of the kernel that constant.
pub fn fix_sizes(launch: &mut Launching<'_>, consts: &[usize]) {
    for c in consts {
        launch.fix(*c as u64);
    }
}

/// The bounds of a span as values.
#[track_caller]
pub(crate) fn bounds(t: &mut Trace, span: Span, at: Loc) -> (helion_ir::tile::ValueId, helion_ir::tile::ValueId) {
    (t.resolve(span.begin, at), t.resolve(span.end, at))
}
