//! Checks that a loop function means something.
//!
//! In: any [`Function`]. Out: nothing, or everything that is wrong with it. Then: every id is in range, every
//! value is defined once and used only where it is in scope, every operand has the type its op asks for,
//! and the structural rules of the module head hold. What is left to the interpreter: that accesses are in
//! bounds, and that a nest does not load what another of its points stores.
//!
//! Scopes: header values are visible everywhere; a grid index in the body; what a statement list
//! defines, in the rest of that list and in statements nested there; what the condition of a `while`
//! defines, also in its test and body.

mod inst;
mod nest;

use super::types::*;
use crate::diag::{Diagnostic, Loc};
use crate::dtype::DType;
use crate::text::{MAX_DEPTH, write};
use crate::tile::Dim;
use std::fmt::Display;

/// More diagnostics than this are not collected.
const MAX_ERRORS: usize = 20;

/// Checks a function.
///
/// # Errors
/// What is wrong, in the order of the text; at most 20 diagnostics.
pub fn verify(func: &Function) -> Result<(), Vec<Diagnostic>> {
    let n = func.values.len();
    let mut v = Verifier {
        func,
        errors: Vec::new(),
        state: vec![State::Undefined; n],
        header: vec![false; n],
        consts: vec![None; n],
        scope: Vec::new(),
    };
    v.function();
    v.errors.truncate(MAX_ERRORS);
    if v.errors.is_empty() { Ok(()) } else { Err(v.errors) }
}

/// Where a value is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Undefined,
    InScope,
    Ended,
}

struct Verifier<'a> {
    func: &'a Function,
    errors: Vec<Diagnostic>,
    state: Vec<State>,
    /// Whether a value is a header value.
    header: Vec<bool>,
    /// Values of `const` instructions of type `i64`.
    consts: Vec<Option<i64>>,
    /// Values in scope, in the order of definition.
    scope: Vec<Val>,
}

impl<'a> Verifier<'a> {
    fn error(&mut self, at: Loc, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(Diagnostic::new(at, message));
        }
    }

    /// A value as printed.
    fn show(&self, v: Val) -> String {
        let name = self.func.values.get(v.index()).and_then(|x| x.name.as_deref());
        write::text(|f| write::value(f, v.0, name))
    }

    /// The type of a value, if the value exists.
    fn ty(&self, v: Val) -> Option<DType> {
        self.func.values.get(v.index()).map(|x| x.dtype)
    }

    /// Brings a value into scope. `what` says what defines it.
    fn define(&mut self, v: Val, at: Loc, what: &dyn Display) {
        match self.state.get(v.index()) {
            None => self.error(at, format!("{what} defines %{}, which is not in the table of values", v.0)),
            Some(State::Undefined) => {
                self.state[v.index()] = State::InScope;
                self.scope.push(v);
            }
            Some(State::InScope | State::Ended) => {
                let text = self.show(v);
                self.error(at, format!("{what} defines {text}, which is already defined"));
            }
        }
    }

    /// Defines a value of a given type.
    fn define_as(&mut self, v: Val, dtype: DType, at: Loc, what: &dyn Display) {
        self.define(v, at, what);
        if let Some(d) = self.ty(v).filter(|d| *d != dtype) {
            let text = self.show(v);
            self.error(at, format!("{what} has type {dtype}, but {text} is declared as {d}"));
        }
    }

    /// Checks that a value may be used here; its type if so.
    fn used(&mut self, v: Val, at: Loc, what: &dyn Display) -> Option<DType> {
        match self.state.get(v.index()) {
            Some(State::InScope) => return self.ty(v),
            Some(State::Undefined) => {
                let text = self.show(v);
                self.error(at, format!("{what}: {text} is used before it is defined"));
            }
            Some(State::Ended) => {
                let text = self.show(v);
                self.error(at, format!("{what}: {text} is used outside the block that defines it"));
            }
            None => self.error(at, format!("{what}: %{} is not in the table of values", v.0)),
        }
        None
    }

    /// Checks a use that must have a given type.
    fn used_as(&mut self, v: Val, dtype: DType, at: Loc, what: &dyn Display) {
        if let Some(d) = self.used(v, at, what).filter(|d| *d != dtype) {
            let text = self.show(v);
            self.error(at, format!("{what}: {text} must be {dtype}, not {d}"));
        }
    }

    /// Checks a use that must be an `i64` of the header.
    fn header_index(&mut self, v: Val, what: &dyn Display) {
        self.used_as(v, DType::I64, Loc::UNKNOWN, what);
        if self.header.get(v.index()) == Some(&false) {
            let text = self.show(v);
            self.error(Loc::UNKNOWN, format!("{what}: {text} must be a value of the header"));
        }
    }

    /// Ends the scope of everything defined since `mark`.
    fn leave(&mut self, mark: usize) {
        for v in self.scope.split_off(mark) {
            self.state[v.index()] = State::Ended;
        }
    }

    fn function(&mut self) {
        let func = self.func;
        self.params();
        for inst in &func.header {
            if inst::allowed_in_header(&inst.op) {
                self.inst(inst);
            } else {
                self.error(inst.at, format!("`{}` is not allowed in the header", inst::name(&inst.op)));
            }
        }
        for v in &self.scope {
            self.header[v.index()] = true;
        }
        for b in &func.buffers {
            for d in &b.dims {
                self.header_index(*d, &format!("an extent of buffer `{}`", b.name));
                self.not_negative(*d, &format!("an extent of buffer `{}`", b.name));
            }
        }
        for axis in &func.grid {
            self.header_index(axis.count, &format!("the count of grid axis `{}`", axis.name));
        }
        for axis in &func.grid {
            self.define_as(axis.index, DType::I64, Loc::UNKNOWN, &format!("grid axis `{}`", axis.name));
        }
        self.block(&func.body, 0);
    }

    fn not_negative(&mut self, v: Val, what: &dyn Display) {
        if let Some(n) = self.consts.get(v.index()).copied().flatten().filter(|n| *n < 0) {
            self.error(Loc::UNKNOWN, format!("{what} is {n}, but must not be negative"));
        }
    }

    fn params(&mut self) {
        let func = self.func;
        for p in &func.params {
            let ParamKind::Tensor { dims, .. } = &p.kind else { continue };
            for d in dims {
                match d {
                    Dim::Const(_) => {}
                    Dim::Symbol(s) if s.index() < func.symbols.len() => {}
                    Dim::Symbol(_) => self.error(p.at, format!("`{}` has an extent that is no size symbol", p.name)),
                    Dim::Tile(_) | Dim::Expr(_) => {
                        self.error(p.at, format!("the extents of `{}` must be constants or size symbols", p.name));
                    }
                }
            }
        }
    }

    fn block(&mut self, stmts: &'a [Stmt], depth: usize) {
        let mark = self.scope.len();
        self.open_block(stmts, depth);
        self.leave(mark);
    }

    /// A block whose values stay in scope.
    fn open_block(&mut self, stmts: &'a [Stmt], depth: usize) {
        if depth > MAX_DEPTH {
            self.error(Loc::UNKNOWN, format!("statements are nested more than {MAX_DEPTH} levels deep"));
            return;
        }
        for s in stmts {
            if self.errors.len() >= MAX_ERRORS {
                return;
            }
            self.stmt(s, depth);
        }
    }

    fn stmt(&mut self, stmt: &'a Stmt, depth: usize) {
        let at = Loc::UNKNOWN;
        match stmt {
            Stmt::Inst(inst) => self.inst(inst),
            Stmt::For { var, begin, end, step, body } => {
                let what = format!("loop over {}", self.show(*var));
                for v in [begin, end, step] {
                    self.used_as(*v, DType::I64, at, &what);
                }
                match self.consts.get(step.index()).copied().flatten() {
                    Some(n) if n <= 0 => self.error(at, format!("{what}: the step is {n}, but must be positive")),
                    Some(_) => {}
                    None if self.header.get(step.index()) == Some(&false) => {
                        let text = self.show(*step);
                        self.error(at, format!("{what}: the step {text} must be a constant or a value of the header"));
                    }
                    None => {}
                }
                let mark = self.scope.len();
                self.define_as(*var, DType::I64, at, &what);
                self.open_block(body, depth + 1);
                self.leave(mark);
            }
            Stmt::While { cond, test, body } => {
                let mark = self.scope.len();
                self.open_block(cond, depth + 1);
                self.used_as(*test, DType::Bool, at, &"the test of a `while`");
                self.open_block(body, depth + 1);
                self.leave(mark);
            }
            Stmt::If { cond, then, other } => {
                self.used_as(*cond, DType::Bool, at, &"the condition of an `if`");
                self.block(then, depth + 1);
                self.block(other, depth + 1);
            }
            Stmt::Nest(n) => self.nest(n),
            Stmt::Contract(c) => self.contract(c),
        }
    }
}
