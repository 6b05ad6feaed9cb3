//! Checks a whole function; the only maker of [`Verified`].
//!
//! In: any function, also one read from text: every id, count and type in it may be wrong. Out: a [`Verified`],
//! of which the following holds, or every mistake found.
//!
//! - Every id is in its table; size expressions are folded, without duplicates, and refer to earlier ones.
//! - Extents of tensors are constants or symbols. Names of symbols and of tile variables are unique.
//! - Grid variables come first and are bounded by scalars of the header; the header computes only
//!   launch-level scalars.
//! - Every value is defined once, before its uses, in a region that encloses them.
//! - A loop's tile variable belongs to one loop, is used only inside it, and its bounds are defined before.
//! - Every instruction obeys [`super::infer`], and its results have exactly the types that it gives.
//! - No two program instances touch one element when one of them writes it without an atomic (`races`).

#[cfg(test)]
mod mutants;
#[cfg(test)]
mod proofs;
mod races;
#[cfg(test)]
mod tests;

use super::builder::outside_region;
use super::infer::{dim_exists, infer};
use super::types::{Dim, Function, Index, Inst, Op, ParamKind, Region, TileId, Type, ValueId};
use crate::diag::{Diagnostic, Loc};
use crate::dtype::DType;
use crate::elementwise::BinaryOp;

/// A function that [`verify`] accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    f: Function,
}

impl Verified {
    /// The function.
    pub fn function(&self) -> &Function {
        &self.f
    }
    /// The function, to be changed and verified anew.
    pub fn into_function(self) -> Function {
        self.f
    }
}

/// More mistakes than this are not collected.
const MAX_ERRORS: usize = 20;
/// Deeper regions and size expressions are refused, so that everything may recurse over them.
const MAX_DEPTH: usize = 100;

/// Checks a function.
///
/// # Errors
/// What is wrong, in the order of the function.
pub fn verify(mut f: Function) -> Result<Verified, Vec<Diagnostic>> {
    if region_depth(&f.body.body).max(region_depth(&f.header)) > MAX_DEPTH {
        return Err(vec![Diagnostic::new(Loc::UNKNOWN, format!("regions nest more than {MAX_DEPTH} deep"))]);
    }
    let tables = check_tables(&mut f);
    if !tables.is_empty() {
        return Err(tables);
    }
    let (header, body, exprs) = (std::mem::take(&mut f.header), std::mem::take(&mut f.body), f.exprs.len());
    let expr_tiles = tiles_of_exprs(&f);
    let (values, tiles) = (f.values.len(), f.tiles.len());
    let mut v = Verifier {
        f,
        expr_tiles,
        values: vec![State::Undefined; values],
        tiles: vec![State::Undefined; tiles],
        errors: Vec::new(),
    };
    v.function(&header, &body);
    let (mut f, errors) = (v.f, v.errors);
    f.header = header;
    f.body = body;
    f.exprs.truncate(exprs);
    if !errors.is_empty() {
        return Err(errors);
    }
    let races = races::find_races(&f);
    if races.is_empty() { Ok(Verified { f }) } else { Err(races) }
}

/// How deeply regions nest, stopping just past the limit.
fn region_depth(insts: &[Inst]) -> usize {
    fn walk(insts: &[Inst], left: usize) -> usize {
        if left == 0 {
            return 0;
        }
        let inner = insts.iter().flat_map(|i| &i.regions).map(|r| 1 + walk(&r.body, left - 1));
        inner.max().unwrap_or(0)
    }
    walk(insts, MAX_DEPTH + 2)
}

/// Checks everything that is not an instruction.
fn check_tables(f: &mut Function) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    let mut error = |at: Loc, text: String| {
        if errors.len() < MAX_ERRORS {
            errors.push(Diagnostic::new(at, text));
        }
    };
    if let Some(text) = check_exprs(f) {
        error(Loc::UNKNOWN, text);
        return errors;
    }
    for p in &f.params {
        if let ParamKind::Tensor { dims, .. } = &p.kind {
            let simple = |d: &Dim| matches!(d, Dim::Const(_) | Dim::Symbol(_)) && dim_exists(f, *d);
            if !dims.iter().all(simple) {
                error(p.at, format!("the extents of `{}` must be constants or size symbols", p.name));
            }
        }
    }
    for (i, s) in f.symbols.iter().enumerate() {
        if f.symbols[..i].iter().any(|other| other.name == s.name) {
            error(Loc::UNKNOWN, format!("two size symbols are named `{}`", s.name));
        }
    }
    for (i, t) in f.tiles.iter().enumerate() {
        if f.tiles[..i].iter().any(|other| other.name == t.name) {
            error(t.at, format!("two tile variables are named `{}`", t.name));
        }
        if t.grid && f.tiles[..i].iter().any(|other| !other.grid) {
            error(t.at, format!("grid variable `{}` comes after a loop variable", t.name));
        }
        for bound in [t.begin, t.end] {
            if f.values.get(bound.index()).is_none_or(|v| v.ty != Type::scalar(DType::I64)) {
                error(t.at, format!("the bounds of `{}` must be i64 scalars", t.name));
            }
        }
    }
    for (i, v) in f.values.iter().enumerate() {
        if !v.ty.shape.iter().all(|d| dim_exists(f, *d)) {
            error(v.at, format!("the shape of value %{i} has a size that does not exist"));
        }
    }
    errors
}

/// The expressions refer only backwards, do not nest too deeply, and are what folding gives.
fn check_exprs(f: &mut Function) -> Option<String> {
    let mut depth: Vec<usize> = Vec::new();
    for (i, e) in f.exprs.iter().enumerate() {
        let sizes = matches!(
            e.op,
            BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::Rem
                | BinaryOp::Min
                | BinaryOp::Max
        );
        if !sizes {
            return Some(format!("sizes are not combined by `{}`", e.op));
        }
        let mut own = 1;
        for d in [e.lhs, e.rhs] {
            match d {
                Dim::Expr(d) if d.index() < i => own = own.max(depth[d.index()] + 1),
                Dim::Expr(_) => return Some(format!("size expression {i} refers to one that is not before it")),
                Dim::Const(_) | Dim::Symbol(_) | Dim::Tile(_) if dim_exists(f, d) => {}
                Dim::Const(_) | Dim::Symbol(_) | Dim::Tile(_) => {
                    return Some(format!("size expression {i} uses a size that does not exist"));
                }
            }
        }
        if own > MAX_DEPTH {
            return Some(format!("size expressions nest more than {MAX_DEPTH} deep"));
        }
        depth.push(own);
    }
    for i in 0..depth.len() {
        let (e, before) = (f.exprs[i], f.exprs.len());
        let folded = f.dim_expr(e.op, e.lhs, e.rhs);
        f.exprs.truncate(before);
        if folded != Dim::Expr(super::types::ExprId(i as u32)) {
            let id = Dim::Expr(super::types::ExprId(i as u32));
            return Some(format!("the size `{}` is not written in its simplest form", f.dim_name(id)));
        }
    }
    None
}

/// For each size expression, the tile variables in it.
fn tiles_of_exprs(f: &Function) -> Vec<Vec<TileId>> {
    let mut all: Vec<Vec<TileId>> = Vec::new();
    for e in &f.exprs {
        let mut tiles = Vec::new();
        for d in [e.lhs, e.rhs] {
            match d {
                Dim::Tile(t) => tiles.push(t),
                Dim::Expr(e) => tiles.extend(&all[e.index()]),
                Dim::Const(_) | Dim::Symbol(_) => {}
            }
        }
        tiles.sort_unstable();
        tiles.dedup();
        all.push(tiles);
    }
    all
}

/// Where in its life a value or tile variable is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Undefined,
    Live,
    Ended,
}

struct Verifier {
    /// The tables; header and body are taken out.
    f: Function,
    expr_tiles: Vec<Vec<TileId>>,
    values: Vec<State>,
    tiles: Vec<State>,
    errors: Vec<Diagnostic>,
}

impl Verifier {
    fn function(&mut self, header: &[Inst], body: &Region) {
        let mut defined = Vec::new();
        for inst in header {
            self.header_inst(inst);
            self.inst(inst, &mut defined);
        }
        for i in 0..self.f.tiles.len() {
            let t = &self.f.tiles[i];
            if t.grid {
                if [t.begin, t.end].iter().any(|v| self.values[v.index()] != State::Live) {
                    let text = format!("the bounds of grid variable `{}` must be computed in the header", t.name);
                    self.error(Diagnostic::new(t.at, text));
                }
                self.tiles[i] = State::Live;
            }
        }
        if !body.params.is_empty() || !body.yields.is_empty() {
            self.error(Diagnostic::new(Loc::UNKNOWN, "the body of a launch takes and gives no values"));
        }
        for inst in &body.body {
            self.inst(inst, &mut defined);
        }
    }

    fn error(&mut self, d: Diagnostic) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(d);
        }
    }

    /// The header holds launch-level scalars only.
    fn header_inst(&mut self, inst: &Inst) {
        let scalar = |v: &ValueId| self.f.values.get(v.index()).is_some_and(|v| v.ty.rank() == 0);
        let launch_level = inst.op.is_math() && inst.results.iter().all(scalar);
        if !launch_level {
            let e = Diagnostic::new(inst.at, format!("`{}` cannot define the grid", inst.op.word()));
            self.error(e.help("the bounds of the grid are sizes, scalar parameters, and arithmetic of these"));
        }
    }

    fn inst(&mut self, inst: &Inst, defined: &mut Vec<ValueId>) {
        for v in inst.uses() {
            self.check_live(v, inst.at);
        }
        self.check_tiles(inst);
        let own: &[TileId] = if let Op::For { tiles } = &inst.op { tiles } else { &[] };
        self.enter_loop(own, inst.at);
        for region in &inst.regions {
            self.region(region, inst.at);
        }
        for t in own {
            if let Some(state) = self.tiles.get_mut(t.index()) {
                *state = State::Ended;
            }
        }
        match infer(&mut self.f, &inst.op, &inst.args, &inst.regions, inst.at) {
            Ok(types) => self.check_results(inst, &types),
            Err(e) => self.error(e),
        }
        for v in &inst.results {
            self.define(*v, inst.at, defined);
        }
    }

    fn region(&mut self, region: &Region, at: Loc) {
        let mut defined = Vec::new();
        for v in &region.params {
            self.define(*v, at, &mut defined);
        }
        for inst in &region.body {
            self.inst(inst, &mut defined);
        }
        for v in &region.yields {
            self.check_live(*v, at);
        }
        for v in defined {
            self.values[v.index()] = State::Ended;
        }
    }

    /// The variables of a loop become usable; their bounds are defined already.
    fn enter_loop(&mut self, tiles: &[TileId], at: Loc) {
        for t in tiles {
            let Some(var) = self.f.tiles.get(t.index()) else { continue };
            let (begin, end, name) = (var.begin, var.end, var.name.clone());
            if self.tiles[t.index()] != State::Undefined {
                self.error(Diagnostic::new(at, format!("`{name}` is already the tile variable of another loop")));
            }
            self.check_live(begin, at);
            self.check_live(end, at);
            self.tiles[t.index()] = State::Live;
        }
    }

    fn define(&mut self, v: ValueId, at: Loc, defined: &mut Vec<ValueId>) {
        match self.values.get_mut(v.index()) {
            Some(state @ State::Undefined) => {
                *state = State::Live;
                defined.push(v);
            }
            Some(_) => self.error(Diagnostic::new(at, format!("value %{} is defined twice", v.0))),
            None => self.error(Diagnostic::new(at, format!("value %{} does not exist", v.0))),
        }
    }

    fn check_live(&mut self, v: ValueId, at: Loc) {
        match self.values.get(v.index()) {
            Some(State::Live) => {}
            Some(State::Ended) => {
                let e = outside_region(&self.f, v, at);
                self.error(e);
            }
            Some(State::Undefined) => {
                self.error(Diagnostic::new(at, format!("value %{} is used before it is defined", v.0)));
            }
            None => self.error(Diagnostic::new(at, format!("value %{} does not exist", v.0))),
        }
    }

    /// The tile variables that an operation names are those of the grid and of enclosing loops.
    fn check_tiles(&mut self, inst: &Inst) {
        let mut named: Vec<TileId> = inst.op.tile_asked().into_iter().collect();
        for entry in inst.op.access().map_or(&[][..], |a| a.index) {
            match entry {
                Index::Tile(t, _) => named.push(*t),
                Index::Full | Index::Scalar(_) | Index::Gather(_) => {}
            }
        }
        for d in inst.op.dims() {
            match d {
                Dim::Tile(t) => named.push(t),
                Dim::Expr(e) => named.extend(self.expr_tiles.get(e.index()).into_iter().flatten()),
                Dim::Const(_) | Dim::Symbol(_) => {}
            }
        }
        for t in named {
            // An id that does not exist is reported by `infer`.
            if self.tiles.get(t.index()).is_some_and(|s| *s != State::Live) {
                let var = &self.f.tiles[t.index()];
                let e = Diagnostic::new(inst.at, format!("tile variable `{}` is used outside its loop", var.name));
                let e = if var.at.is_known() { e.label(var.at, "its loop is here") } else { e };
                self.error(e);
            }
        }
    }

    fn check_results(&mut self, inst: &Inst, types: &[Type]) {
        let word = inst.op.word();
        if inst.results.len() != types.len() {
            let (n, m) = (types.len(), inst.results.len());
            self.error(Diagnostic::new(inst.at, format!("`{word}` gives {n} values, {m} are named")));
            return;
        }
        for (v, ty) in inst.results.iter().zip(types) {
            let Some(value) = self.f.values.get(v.index()) else { continue };
            if value.ty != *ty {
                let name = |t: &Type| match t.rank() {
                    0 => t.dtype.to_string(),
                    _ => format!("{} {}", t.dtype, self.f.shape_name(&t.shape)),
                };
                let (declared, given) = (name(&value.ty), name(ty));
                let text = format!("`{word}` gives {given}, value %{} is declared as {declared}", v.0);
                self.error(Diagnostic::new(inst.at, text));
            }
        }
    }
}
