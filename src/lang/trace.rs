//! The recorder: what device code appends to while a kernel's body runs once.
//!
//! In: operations with the caller's position, from typed handles. Out: instructions in the launch's
//! [`Builder`]. While a body is traced the builder lives in a thread-local; values that come from
//! outside the body (parameters, sizes, constants) are made where they are first used and shared
//! within the region that made them.

use helion_ir::dtype::Literal;
use helion_ir::tile::{Builder, Dim, Op, ParamId, Region, SymbolId, TileId, Type, ValueId};
use helion_ir::{BinaryOp, DType, Diagnostic, Loc};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::HashMap;

/// Names of `let` variables of one function, by the position at which their value reports itself.
#[derive(Debug)]
pub struct Names {
    /// The file, as `file!()` gives it.
    pub file: &'static str,
    /// Name, line and column.
    pub table: &'static [(&'static str, u32, u32)],
}

/// Where a scalar or a size comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Made by an instruction.
    Value(ValueId),
    /// A captured number.
    Param(ParamId),
    /// A captured size.
    Symbol(SymbolId),
    /// A constant `i64`.
    Const(i64),
}

impl Source {
    /// A captured size.
    pub(crate) fn of(dim: Dim) -> Source {
        match dim {
            Dim::Const(c) => Source::Const(c as i64),
            Dim::Symbol(s) => Source::Symbol(s),
            // Captures are constants and symbols.
            Dim::Tile(_) | Dim::Expr(_) => Source::Const(1),
        }
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Shared {
    Outside(Source),
    Literal(Literal),
}

/// The state of one trace.
pub(crate) struct Trace {
    builder: Builder,
    names: SmallVec<[&'static Names; 4]>,
    /// The value that currently carries the name of a position.
    named: HashMap<Loc, ValueId>,
    /// For each open region, the values of things outside.
    shared: Vec<HashMap<Shared, ValueId>>,
    /// First and past-the-last index of each tile variable.
    bounds: HashMap<TileId, (ValueId, ValueId)>,
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

/// Puts the previous trace back, also when the body panics.
struct Restore(Option<Trace>);
impl Drop for Restore {
    fn drop(&mut self) {
        let previous = self.0.take();
        TRACE.with(|t| *t.borrow_mut() = previous);
    }
}

/// Runs `body` with the recorder writing to `builder`.
pub(crate) fn trace_into(builder: &mut Builder, names: &'static Names, body: impl FnOnce()) {
    let trace = Trace {
        builder: std::mem::replace(builder, Builder::new("")),
        names: SmallVec::from_slice(&[names]),
        named: HashMap::new(),
        shared: vec![HashMap::new()],
        bounds: HashMap::new(),
    };
    let _restore = Restore(TRACE.with(|t| t.borrow_mut().replace(trace)));
    body();
    if let Some(trace) = TRACE.with(|t| t.borrow_mut().take()) {
        *builder = trace.builder;
    }
}

/// Adds the names of a `#[device]` function's variables.
pub fn device_names(names: &'static Names) {
    TRACE.with(|t| {
        if let Some(t) = &mut *t.borrow_mut()
            && !t.names.iter().any(|n| std::ptr::eq(*n, names))
        {
            t.names.push(names);
        }
    });
}

/// Borrows the recorder.
#[track_caller]
pub(crate) fn with<R>(f: impl FnOnce(&mut Trace) -> R) -> R {
    let found = TRACE.with(|t| t.borrow_mut().as_mut().map(f));
    match found {
        Some(r) => r,
        None => {
            panic!("device values exist only while a kernel is recorded: use this inside a tile loop of a `#[kernel]`")
        }
    }
}

/// Records an operation with one result.
#[track_caller]
pub(crate) fn op(op: Op, args: &[ValueId]) -> ValueId {
    let at = Loc::caller();
    with(|t| t.one(op, args, at))
}

/// Records an operation without a result.
#[track_caller]
pub(crate) fn effect(op: Op, args: &[ValueId]) {
    let at = Loc::caller();
    with(|t| {
        t.builder.push(op, args, at);
    });
}

/// Records a mistake of the user.
#[track_caller]
pub(crate) fn mistake(message: impl Into<String>, help: impl Into<String>) {
    let at = Loc::caller();
    with(|t| t.builder.error(Diagnostic::new(at, message).help(help)));
}

impl Trace {
    /// The builder, for reading types and sizes.
    pub(crate) fn builder(&mut self) -> &mut Builder {
        &mut self.builder
    }
    /// Records an operation with one result and names it after the variable it is bound to.
    pub(crate) fn one(&mut self, op: Op, args: &[ValueId], at: Loc) -> ValueId {
        // `a * b + c` and `a * b` start at the same place: the name goes to the last of them.
        let name = self.names.iter().filter(|n| n.file == at.file).find_map(|n| {
            n.table.iter().find(|(_, line, column)| (*line, *column) == (at.line, at.column)).map(|(name, ..)| *name)
        });
        if let Some(old) = name.and_then(|_| self.named.remove(&at)) {
            self.builder.unname_value(old);
        }
        let v = self.builder.one(op, args, at);
        if let Some(name) = name {
            self.named.insert(at, v);
            self.builder.name_value(v, name);
        }
        v
    }
    /// The value of a literal.
    pub(crate) fn literal(&mut self, literal: Literal, at: Loc) -> ValueId {
        self.share(Shared::Literal(literal), Op::Const(literal), at)
    }
    /// An `i64` constant.
    pub(crate) fn int(&mut self, v: i64, at: Loc) -> ValueId {
        self.literal(Literal::from_i64(DType::I64, v), at)
    }
    /// The value of a scalar or size.
    pub(crate) fn resolve(&mut self, source: Source, at: Loc) -> ValueId {
        match source {
            Source::Value(v) => v,
            Source::Param(p) => self.share(Shared::Outside(source), Op::Scalar(p), at),
            Source::Symbol(s) => self.share(Shared::Outside(source), Op::Extent(Dim::Symbol(s)), at),
            Source::Const(v) => self.int(v, at),
        }
    }
    fn share(&mut self, key: Shared, op: Op, at: Loc) -> ValueId {
        if let Some(v) = self.shared.iter().find_map(|region| region.get(&key)) {
            return *v;
        }
        let v = self.builder.one(op, &[], at);
        if let Some(region) = self.shared.last_mut() {
            region.insert(key, v);
        }
        v
    }
    /// Opens a region; values made for it are its own.
    pub(crate) fn open(&mut self, params: &[Type], at: Loc) -> Vec<ValueId> {
        self.shared.push(HashMap::new());
        self.builder.open_region(params, at)
    }
    /// Closes the innermost region.
    pub(crate) fn close(&mut self, yields: &[ValueId]) -> Region {
        self.shared.pop();
        self.builder.close_region(yields)
    }
    /// Records an operation with closed regions; results are named after the variable they are bound to.
    pub(crate) fn push_with_regions(
        &mut self,
        op: Op,
        args: &[ValueId],
        regions: Vec<Region>,
        at: Loc,
    ) -> SmallVec<[ValueId; 2]> {
        self.builder.push_with_regions(op, args, regions, at)
    }
    /// Notes the bounds of a tile variable.
    pub(crate) fn set_bounds(&mut self, tile: TileId, begin: ValueId, end: ValueId) {
        self.bounds.insert(tile, (begin, end));
    }
    /// One past the last index of a tile variable's axis.
    pub(crate) fn end_of(&mut self, tile: TileId, at: Loc) -> ValueId {
        match self.bounds.get(&tile) {
            Some((_, end)) => *end,
            None => self.int(0, at),
        }
    }
    /// The element type of a value.
    pub(crate) fn dtype(&self, v: ValueId) -> DType {
        self.builder.ty(v).dtype
    }
    /// The shape of a value in the user's words: `[tm, n]`.
    pub(crate) fn shape_text(&self, v: ValueId) -> String {
        let dims: Vec<_> = self.builder.ty(v).shape.iter().map(|d| self.builder.dim_name(*d)).collect();
        format!("[{}]", dims.join(", "))
    }
    /// The value as a size known at launch, if it is one.
    pub(crate) fn dim(&mut self, source: Source, at: Loc) -> Option<Dim> {
        match source {
            Source::Const(c) => u64::try_from(c).ok().map(Dim::Const),
            Source::Symbol(s) => Some(Dim::Symbol(s)),
            Source::Value(_) | Source::Param(_) => {
                let v = self.resolve(source, at);
                self.builder.dim_of(v)
            }
        }
    }
    /// A binary operation on the values' common type.
    pub(crate) fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId, at: Loc) -> ValueId {
        self.one(Op::Binary(op), &[a, b], at)
    }
    /// Conversion; nothing when the type is already right.
    pub(crate) fn cast(&mut self, v: ValueId, to: DType, at: Loc) -> ValueId {
        if self.dtype(v) == to { v } else { self.one(Op::Cast(to), &[v], at) }
    }
}
