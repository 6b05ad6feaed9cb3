//! Builds a function while a kernel is traced.
//!
//! In: one call per operation, in program order. Out: a [`Function`] whose types are inferred, or every mistake
//! found on the way. A mistake never stops tracing: the operation then gives values of a plausible type, and
//! what depends on them is not reported again.

use super::infer::{Types, guess, infer};
use super::types::{
    Dim, ExprId, Function, Inst, Layout, Op, Param, ParamId, ParamKind, Region, Shape, Symbol, SymbolId, TileId,
    TileVar, Type, Value, ValueId,
};
use crate::diag::{Diagnostic, Loc};
use crate::dtype::DType;
use crate::elementwise::BinaryOp;
use smallvec::SmallVec;

/// A function under construction.
#[derive(Debug)]
pub struct Builder {
    f: Function,
    /// What is known of each value beside its type.
    facts: Vec<Fact>,
    /// Open regions, outermost first; the first is the body (or still the header).
    open: Vec<Open>,
    in_header: bool,
    next_serial: u32,
    errors: Vec<Diagnostic>,
}

/// What the builder knows of a value.
#[derive(Clone, Copy, Debug)]
struct Fact {
    /// Its value as a size expression.
    dim: Option<Dim>,
    /// The region it is defined in.
    home: u32,
    /// Whether it comes from a mistake that has been reported.
    poisoned: bool,
}

/// A region that is being filled.
#[derive(Debug)]
struct Open {
    serial: u32,
    params: Vec<ValueId>,
    body: Vec<Inst>,
}

impl Builder {
    /// An empty function; what is pushed first belongs to its header.
    pub fn new(name: &str) -> Builder {
        let f = Function {
            name: name.to_owned(),
            params: Vec::new(),
            symbols: Vec::new(),
            exprs: Vec::new(),
            tiles: Vec::new(),
            values: Vec::new(),
            header: Vec::new(),
            body: Region::default(),
        };
        let root = Open { serial: 0, params: Vec::new(), body: Vec::new() };
        Builder { f, facts: Vec::new(), open: vec![root], in_header: true, next_serial: 1, errors: Vec::new() }
    }

    /// A size bound at launch. The name is made unique by appending `'`.
    pub fn symbol(&mut self, name: &str) -> SymbolId {
        let name = unique(name, |n| self.f.symbols.iter().any(|s| s.name == n));
        self.f.symbols.push(Symbol { name });
        SymbolId(self.f.symbols.len() as u32 - 1)
    }

    /// A tensor parameter.
    pub fn tensor(&mut self, name: &str, dtype: DType, dims: Shape, mutable: bool, layout: Layout, at: Loc) -> ParamId {
        self.param(name, ParamKind::Tensor { dtype, dims, mutable, layout }, at)
    }

    /// A scalar parameter.
    pub fn scalar(&mut self, name: &str, dtype: DType, at: Loc) -> ParamId {
        self.param(name, ParamKind::Scalar { dtype }, at)
    }

    fn param(&mut self, name: &str, kind: ParamKind, at: Loc) -> ParamId {
        let name = unique(name, |n| self.f.params.iter().any(|p| p.name == n));
        self.f.params.push(Param { name, kind, at });
        ParamId(self.f.params.len() as u32 - 1)
    }

    /// A tile variable of the grid; `begin` and `end` are values of the header.
    pub fn grid_tile(&mut self, name: &str, begin: ValueId, end: ValueId, unit: bool, at: Loc) -> TileId {
        if !self.in_header {
            self.error(Diagnostic::new(at, format!("the grid is complete; `{name}` must be a loop inside the kernel")));
        }
        self.tile(name, begin, end, unit, true, at)
    }

    /// Ends the header: what follows is the body of a program instance.
    pub fn begin_body(&mut self) {
        if std::mem::replace(&mut self.in_header, false) {
            self.f.header = std::mem::take(&mut self.open[0].body);
        }
    }

    /// A tile variable of a loop; made before the loop's region is opened.
    pub fn loop_tile(&mut self, name: &str, begin: ValueId, end: ValueId, unit: bool, at: Loc) -> TileId {
        self.begin_body();
        self.tile(name, begin, end, unit, false, at)
    }

    fn tile(&mut self, name: &str, begin: ValueId, end: ValueId, unit: bool, grid: bool, at: Loc) -> TileId {
        for v in [begin, end] {
            if let Some(problem) = self.bound_problem(name, v, at) {
                self.error(problem);
            }
        }
        let name = unique(name, |n| self.f.tiles.iter().any(|t| t.name == n));
        self.f.tiles.push(TileVar { name, unit, begin, end, grid, at });
        TileId(self.f.tiles.len() as u32 - 1)
    }

    fn bound_problem(&self, tile: &str, v: ValueId, at: Loc) -> Option<Diagnostic> {
        let Some(fact) = self.facts.get(v.index()) else {
            return Some(Diagnostic::new(at, format!("a bound of `{tile}` does not exist")));
        };
        if *self.ty(v) == Type::scalar(DType::I64) || fact.poisoned {
            return None;
        }
        let (d, shape) = (self.ty(v).dtype, self.f.shape_name(&self.ty(v).shape));
        let e = Diagnostic::new(at, format!("a bound of `{tile}` must be one i64, this is {d}, {shape}"));
        Some(e.help("sizes and indices are i64: write `.cast::<i64>()`"))
    }

    /// Appends an operation. On a mistake it is recorded, and values of a plausible type are returned.
    pub fn push(&mut self, op: Op, args: &[ValueId], at: Loc) -> SmallVec<[ValueId; 2]> {
        self.push_with_regions(op, args, Vec::new(), at)
    }

    /// Appends an operation with exactly one result.
    pub fn one(&mut self, op: Op, args: &[ValueId], at: Loc) -> ValueId {
        let word = op.word();
        let results = self.push(op, args, at);
        results.first().copied().unwrap_or_else(|| {
            self.error(Diagnostic::new(at, format!("`{word}` gives no value")));
            self.value(Type::scalar(DType::F32), at, true)
        })
    }

    /// Opens a region; the operations that follow go into it until it is closed. Returns the values bound
    /// on entry.
    pub fn open_region(&mut self, params: &[Type], at: Loc) -> Vec<ValueId> {
        self.begin_body();
        self.open.push(Open { serial: self.next_serial, params: Vec::new(), body: Vec::new() });
        self.next_serial += 1;
        let values: Vec<ValueId> = params.iter().map(|ty| self.value(ty.clone(), at, false)).collect();
        self.top().params.clone_from(&values);
        values
    }

    /// Closes the innermost region, which hands out `yields`.
    pub fn close_region(&mut self, yields: &[ValueId]) -> Region {
        self.check_visible(yields.iter().copied(), Loc::UNKNOWN);
        if self.open.len() == 1 {
            self.error(Diagnostic::new(Loc::UNKNOWN, "a region is closed that was not opened"));
            return Region::default();
        }
        match self.open.pop() {
            Some(open) => Region { params: open.params, body: open.body, yields: yields.to_vec() },
            None => Region::default(),
        }
    }

    /// Appends an operation with regions made by [`Builder::close_region`].
    pub fn push_with_regions(
        &mut self,
        op: Op,
        args: &[ValueId],
        regions: Vec<Region>,
        at: Loc,
    ) -> SmallVec<[ValueId; 2]> {
        let used = args.iter().copied().chain(op.index_values());
        let mut poisoned = !self.check_visible(used.clone(), at);
        poisoned |= used.chain(regions.iter().flat_map(|r| r.yields.iter().copied())).any(|v| self.is_poisoned(v));
        let mut op = op;
        for d in op.dims_mut() {
            *d = self.f.normal_dim(*d);
        }
        let types: Types = match infer(&mut self.f, &op, args, &regions, at) {
            Ok(types) => types,
            Err(e) => {
                if !poisoned {
                    self.error(e);
                }
                poisoned = true;
                guess(&self.f, &op, args, &regions)
            }
        };
        let dim = if poisoned { None } else { self.dim_of_op(&op, args, &types) };
        let results: SmallVec<[ValueId; 2]> = types.into_iter().map(|ty| self.value(ty, at, poisoned)).collect();
        if let (Some(dim), Some(v)) = (dim, results.first()) {
            self.facts[v.index()].dim = Some(dim);
        }
        let inst = Inst { op, args: args.to_vec(), results: results.to_vec(), regions, at };
        self.top().body.push(inst);
        results
    }

    /// Gives a value the user's name.
    pub fn name_value(&mut self, v: ValueId, name: &str) {
        if let Some(value) = self.f.values.get_mut(v.index()) {
            value.name = Some(name.to_owned());
        }
    }

    /// Takes a value's name away: it belongs to a later value of the same variable.
    pub fn unname_value(&mut self, v: ValueId) {
        if let Some(value) = self.f.values.get_mut(v.index()) {
            value.name = None;
        }
    }

    /// The type of a value.
    ///
    /// # Panics
    /// When the value is not of this builder.
    pub fn ty(&self, v: ValueId) -> &Type {
        self.f.ty(v)
    }

    /// The symbolic value of an `i64` scalar that is a constant, a size, or arithmetic of these.
    pub fn dim_of(&self, v: ValueId) -> Option<Dim> {
        self.facts.get(v.index())?.dim
    }

    /// The size `a op b`, folded and interned.
    pub fn dim_expr(&mut self, op: BinaryOp, a: Dim, b: Dim) -> Dim {
        self.f.dim_expr(op, a, b)
    }

    /// What a user calls a size: `tm`, `n`, `n / 2`, `64`.
    pub fn dim_name(&self, d: Dim) -> String {
        self.f.dim_name(d)
    }

    /// The tables so far, for messages.
    pub fn function(&self) -> &Function {
        &self.f
    }

    /// Records a mistake. The same text at the same place is kept once.
    pub fn error(&mut self, d: Diagnostic) {
        if !self.errors.iter().any(|e| (e.at, &e.message) == (d.at, &d.message)) {
            self.errors.push(d);
        }
    }

    /// The function, unless a mistake was recorded.
    ///
    /// # Errors
    /// Every mistake, in the order found.
    pub fn finish(mut self) -> Result<Function, Vec<Diagnostic>> {
        self.begin_body();
        if self.open.len() > 1 {
            self.error(Diagnostic::new(Loc::UNKNOWN, "a region was opened and not closed"));
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        if let Some(root) = self.open.pop() {
            self.f.body.body = root.body;
        }
        drop_unused_exprs(&mut self.f);
        Ok(self.f)
    }

    fn top(&mut self) -> &mut Open {
        let last = self.open.len() - 1;
        &mut self.open[last]
    }

    fn value(&mut self, ty: Type, at: Loc, poisoned: bool) -> ValueId {
        let home = self.top().serial;
        self.f.values.push(Value { ty, name: None, at });
        self.facts.push(Fact { dim: None, home, poisoned });
        ValueId(self.f.values.len() as u32 - 1)
    }

    fn is_poisoned(&self, v: ValueId) -> bool {
        self.facts.get(v.index()).is_some_and(|f| f.poisoned)
    }

    /// Every value is defined in a region that is still open; the first that is not is reported.
    fn check_visible(&mut self, values: impl Iterator<Item = ValueId>, at: Loc) -> bool {
        let visible = |v: &ValueId| {
            self.facts.get(v.index()).is_none_or(|f| f.poisoned || self.open.iter().any(|o| o.serial == f.home))
        };
        let Some(v) = values.into_iter().find(|v| !visible(v)) else { return true };
        let e = outside_region(&self.f, v, at);
        self.error(e);
        // Reported; what is computed from it is not reported again.
        self.facts[v.index()].poisoned = true;
        false
    }

    /// The size that an operation computes, if it computes one.
    fn dim_of_op(&mut self, op: &Op, args: &[ValueId], types: &[Type]) -> Option<Dim> {
        if types != [Type::scalar(DType::I64)] {
            return None;
        }
        match op {
            Op::Const(l) => u64::try_from(l.to_i64()).ok().map(Dim::Const),
            Op::Extent(d) => Some(*d),
            Op::Cast(_) => self.dim_of(args[0]),
            Op::Binary(op) => {
                let (a, b) = (self.dim_of(args[0])?, self.dim_of(args[1])?);
                let sizes = matches!(
                    op,
                    BinaryOp::Add
                        | BinaryOp::Sub
                        | BinaryOp::Mul
                        | BinaryOp::Div
                        | BinaryOp::Rem
                        | BinaryOp::Min
                        | BinaryOp::Max
                );
                sizes.then(|| self.f.dim_expr(*op, a, b))
            }
            _ => None,
        }
    }
}

/// The mistake of using a value where its region has ended.
pub(super) fn outside_region(f: &Function, v: ValueId, at: Loc) -> Diagnostic {
    let value = &f.values[v.index()];
    let who = value.name.as_ref().map_or_else(|| "a value".to_owned(), |n| format!("`{n}`"));
    let e = Diagnostic::new(at, format!("{who} is used outside the loop or branch that computes it"));
    let e = if value.at.is_known() { e.label(value.at, "it is computed here") } else { e };
    e.help("to carry it out, assign it to a variable declared with `let mut` before the loop or branch")
}

/// `name`, with as many `'` as it takes.
fn unique(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = name.to_owned();
    while taken(&name) {
        name.push('\'');
    }
    name
}

/// Removes size expressions that nothing uses and renumbers the others in their order.
fn drop_unused_exprs(f: &mut Function) {
    let mut used = vec![false; f.exprs.len()];
    let mut stack: Vec<Dim> = f.values.iter().flat_map(|v| v.ty.shape.iter().copied()).collect();
    for p in &f.params {
        if let ParamKind::Tensor { dims, .. } = &p.kind {
            stack.extend(dims.iter().copied());
        }
    }
    each_inst(f, &mut |inst| stack.extend(inst.op.dims_mut().into_iter().map(|d| *d)));
    while let Some(d) = stack.pop() {
        if let Dim::Expr(e) = d
            && !std::mem::replace(&mut used[e.index()], true)
        {
            let e = f.exprs[e.index()];
            stack.extend([e.lhs, e.rhs]);
        }
    }
    let mut next = 0;
    let new: Vec<u32> = used
        .iter()
        .map(|u| {
            next += u32::from(*u);
            next.saturating_sub(1)
        })
        .collect();
    let renumber = |d: &mut Dim| {
        if let Dim::Expr(e) = d {
            *e = ExprId(new[e.index()]);
        }
    };
    let mut kept = used.iter();
    f.exprs.retain(|_| kept.next().copied().unwrap_or(true));
    f.exprs.iter_mut().for_each(|e| [&mut e.lhs, &mut e.rhs].into_iter().for_each(renumber));
    f.values.iter_mut().flat_map(|v| &mut v.ty.shape).for_each(renumber);
    for p in &mut f.params {
        if let ParamKind::Tensor { dims, .. } = &mut p.kind {
            dims.iter_mut().for_each(renumber);
        }
    }
    each_inst(f, &mut |inst| inst.op.dims_mut().into_iter().for_each(renumber));
}

/// Calls `visit` on every instruction, those of inner regions after their owner.
fn each_inst(f: &mut Function, visit: &mut dyn FnMut(&mut Inst)) {
    fn walk(insts: &mut [Inst], visit: &mut dyn FnMut(&mut Inst)) {
        for inst in insts {
            visit(inst);
            inst.regions.iter_mut().for_each(|r| walk(&mut r.body, visit));
        }
    }
    walk(&mut f.header, visit);
    walk(&mut f.body.body, visit);
}
