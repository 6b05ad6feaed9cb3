//! Which outer variables a piece of device code changes, and how deep inside loops and branches.
//!
//! In: statements or an expression. Out: every assignment, mutating method call and `&mut` of a variable
//! that the code does not declare itself. Scopes are resolved, so a shadowing `let` hides its name.

use crate::scope::{ident_of, is_domain, pattern_names};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, Item, Local, Pat, Stmt};

/// How a variable is changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `v = …`, `v += …`, `v[i] = …`.
    Assign,
    /// `v.push(…)` and its like.
    Call(String),
    /// `&mut v`.
    Borrow,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Write {
    /// The variable.
    pub name: String,
    /// Where.
    pub span: Span,
    /// How.
    pub kind: Kind,
    /// How many device loops and branches it is inside of.
    pub depth: usize,
    /// Whether it is inside a closure.
    pub closure: bool,
}

/// Methods of the standard library that change their receiver.
const MUTATING: &[&str] = &[
    "push",
    "push_str",
    "push_back",
    "push_front",
    "insert",
    "extend",
    "extend_from_slice",
    "append",
    "pop",
    "remove",
    "clear",
    "truncate",
    "retain",
    "resize",
    "swap",
    "sort",
    "sort_by",
    "sort_by_key",
    "reverse",
    "fill",
    "drain",
    "entry",
    "iter_mut",
    "get_mut",
    "as_mut",
    "last_mut",
    "first_mut",
];

/// The changes in a sequence of statements.
pub fn of_stmts(stmts: &[Stmt]) -> Vec<Write> {
    let mut walk = Walk::default();
    walk.frames.push(Vec::new());
    stmts.iter().for_each(|s| walk.visit_stmt(s));
    walk.out
}

/// The changes in an expression.
pub fn of_expr(e: &Expr) -> Vec<Write> {
    let mut walk = Walk::default();
    walk.frames.push(Vec::new());
    walk.visit_expr(e);
    walk.out
}

/// The operator of a compound assignment, without the `=`.
pub fn compound(op: &BinOp) -> Option<BinOp> {
    use syn::Token;
    Some(match op {
        BinOp::AddAssign(t) => BinOp::Add(Token![+](t.spans[0])),
        BinOp::SubAssign(t) => BinOp::Sub(Token![-](t.spans[0])),
        BinOp::MulAssign(t) => BinOp::Mul(Token![*](t.spans[0])),
        BinOp::DivAssign(t) => BinOp::Div(Token![/](t.spans[0])),
        BinOp::RemAssign(t) => BinOp::Rem(Token![%](t.spans[0])),
        BinOp::BitAndAssign(t) => BinOp::BitAnd(Token![&](t.spans[0])),
        BinOp::BitOrAssign(t) => BinOp::BitOr(Token![|](t.spans[0])),
        BinOp::BitXorAssign(t) => BinOp::BitXor(Token![^](t.spans[0])),
        BinOp::ShlAssign(t) => BinOp::Shl(Token![<<]([t.spans[0], t.spans[1]])),
        BinOp::ShrAssign(t) => BinOp::Shr(Token![>>]([t.spans[0], t.spans[1]])),
        _ => return None,
    })
}

#[derive(Default)]
struct Walk {
    frames: Vec<Vec<String>>,
    depth: usize,
    closures: usize,
    out: Vec<Write>,
}

impl Walk {
    fn bind(&mut self, pat: &Pat) {
        let names = pattern_names(pat).into_iter().map(|(n, _)| n.to_string());
        if let Some(frame) = self.frames.last_mut() {
            frame.extend(names);
        }
    }
    fn note(&mut self, target: &Expr, kind: &Kind) {
        match target {
            Expr::Paren(p) => self.note(&p.expr, kind),
            Expr::Tuple(t) => t.elems.iter().for_each(|e| self.note(e, kind)),
            Expr::Array(t) => t.elems.iter().for_each(|e| self.note(e, kind)),
            Expr::Index(i) => {
                self.visit_expr(&i.index);
                self.note(&i.expr, kind);
            }
            Expr::Field(f) => self.note(&f.base, kind),
            e => {
                let Some(name) = ident_of(e).map(|i| i.to_string()) else { return };
                if !self.frames.iter().flatten().any(|bound| *bound == name) {
                    let (span, kind, closure) = (e.span(), kind.clone(), self.closures > 0);
                    self.out.push(Write { name, span, kind, depth: self.depth, closure });
                }
            }
        }
    }
    fn scoped(&mut self, f: impl FnOnce(&mut Self)) {
        self.frames.push(Vec::new());
        f(self);
        self.frames.pop();
    }
    fn deeper(&mut self, f: impl FnOnce(&mut Self)) {
        self.depth += 1;
        self.scoped(f);
        self.depth -= 1;
    }
}

impl Visit<'_> for Walk {
    fn visit_block(&mut self, b: &Block) {
        self.scoped(|w| b.stmts.iter().for_each(|s| w.visit_stmt(s)));
    }
    fn visit_local(&mut self, l: &Local) {
        if let Some(init) = &l.init {
            self.visit_expr(&init.expr);
            if let Some((_, e)) = &init.diverge {
                self.visit_expr(e);
            }
        }
        self.bind(&l.pat);
    }
    fn visit_item(&mut self, _: &Item) {}
    fn visit_expr(&mut self, e: &Expr) {
        match e {
            Expr::Assign(a) => {
                self.visit_expr(&a.right);
                self.note(&a.left, &Kind::Assign);
            }
            Expr::Binary(b) if compound(&b.op).is_some() => {
                self.visit_expr(&b.right);
                self.note(&b.left, &Kind::Assign);
            }
            Expr::MethodCall(m) => {
                let method = m.method.to_string();
                if MUTATING.contains(&method.as_str()) {
                    self.note(&m.receiver, &Kind::Call(method));
                }
                visit::visit_expr_method_call(self, m);
            }
            Expr::Reference(r) if r.mutability.is_some() => {
                self.note(&r.expr, &Kind::Borrow);
                self.visit_expr(&r.expr);
            }
            Expr::ForLoop(f) => {
                self.visit_expr(&f.expr);
                let body = |w: &mut Self| {
                    w.bind(&f.pat);
                    w.visit_block(&f.body);
                };
                if is_domain(&f.expr) { self.deeper(body) } else { self.scoped(body) }
            }
            Expr::While(w) => {
                self.deeper(|walk| {
                    walk.visit_expr(&w.cond);
                    walk.visit_block(&w.body);
                });
            }
            Expr::If(i) if has_let(&i.cond) => {
                // Decided while recording: stays a Rust `if let`.
                self.scoped(|w| {
                    w.visit_expr(&i.cond);
                    w.visit_block(&i.then_branch);
                });
                if let Some((_, e)) = &i.else_branch {
                    self.visit_expr(e);
                }
            }
            Expr::If(i) => {
                self.visit_expr(&i.cond);
                self.deeper(|w| w.visit_block(&i.then_branch));
                if let Some((_, e)) = &i.else_branch {
                    self.deeper(|w| w.visit_expr(e));
                }
            }
            Expr::Let(l) => {
                self.visit_expr(&l.expr);
                self.bind(&l.pat);
            }
            Expr::Match(m) => {
                self.visit_expr(&m.expr);
                for arm in &m.arms {
                    self.scoped(|w| {
                        w.bind(&arm.pat);
                        if let Some((_, g)) = &arm.guard {
                            w.visit_expr(g);
                        }
                        w.visit_expr(&arm.body);
                    });
                }
            }
            Expr::Closure(c) => {
                self.closures += 1;
                self.scoped(|w| {
                    c.inputs.iter().for_each(|p| w.bind(p));
                    w.visit_expr(&c.body);
                });
                self.closures -= 1;
            }
            e => visit::visit_expr(self, e),
        }
    }
}

/// Whether a condition contains `let`.
pub fn has_let(e: &Expr) -> bool {
    match e {
        Expr::Let(_) => true,
        Expr::Binary(b) if matches!(b.op, BinOp::And(_)) => has_let(&b.left) || has_let(&b.right),
        Expr::Paren(p) => has_let(&p.expr),
        _ => false,
    }
}
