//! Device code: the body of a tile loop, of a `#[device]` function, or of `tile_fn!`.
//!
//! In: statements and expressions as the user wrote them. Out: the same with sugar replaced by calls into
//! the library (indexing, comparisons, calls of captured functions), variables that loops change turned
//! into cells, and captures noted. User tokens keep their spans, so rustc reports at the user's source.

use crate::capture::{Captured, reads};
use crate::names::Lets;
use crate::refuse;
use crate::scope::{Bind, Host, Scopes, ident_of, is_domain};
use crate::writes::{self, Kind};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{BinOp, Block, Error, Expr, ExprCall, ExprMethodCall, Item, Local, Pat, PatIdent, Stmt, parse_quote_spanned};

/// What is known while a function is rewritten.
pub struct Cx {
    /// The function's name.
    pub kernel: String,
    /// What names stand for.
    pub scopes: Scopes,
    /// Host variables used by the current launch.
    pub captures: Vec<Captured>,
    /// Whether unknown lower-case names are captured (`tile_fn!`).
    pub implicit: bool,
    /// Names of device values.
    pub lets: Lets,
    /// Const parameters that are sizes.
    pub consts: Vec<Ident>,
    /// Everything refused so far.
    pub errors: Option<Error>,
}

impl Cx {
    /// For a function of this name.
    pub fn new(kernel: String) -> Cx {
        let mut scopes = Scopes::default();
        scopes.open();
        Cx {
            kernel,
            scopes,
            captures: Vec::new(),
            implicit: false,
            lets: Lets::default(),
            consts: Vec::new(),
            errors: None,
        }
    }
    /// Refuses a token.
    pub fn refuse(&mut self, span: Span, message: impl std::fmt::Display) {
        let e = Error::new(span, message);
        match &mut self.errors {
            Some(old) => old.combine(e),
            none => *none = Some(e),
        }
    }
}

/// A device value as a plain Rust variable.
pub fn plain(mutable: bool) -> Bind {
    Bind::Plain { mutable, device: false }
}

impl VisitMut for Cx {
    fn visit_block_mut(&mut self, b: &mut Block) {
        self.scopes.open();
        let source = b.stmts.clone();
        let last = source.len().saturating_sub(1);
        let mut out = Vec::with_capacity(source.len());
        for (k, mut s) in std::mem::take(&mut b.stmts).into_iter().enumerate() {
            match &mut s {
                Stmt::Local(l) => {
                    let cells = self.device_let(l, &source[k + 1..]);
                    out.push(s);
                    out.extend(cells);
                    continue;
                }
                Stmt::Expr(e, semi) => {
                    let is_loop = matches!(e, Expr::While(_) | Expr::ForLoop(_));
                    let blocky = semi.is_none() && (is_loop || matches!(e, Expr::If(_)));
                    self.visit_expr_mut(e);
                    // What was a block-like statement has become a call.
                    if blocky && (k != last || is_loop) && !matches!(e, Expr::If(_) | Expr::ForLoop(_)) {
                        *semi = Some(Default::default());
                    }
                }
                Stmt::Macro(m) => self.refuse_macro(&m.mac),
                Stmt::Item(Item::Static(i)) => self.refuse(i.static_token.span, refuse::STATIC),
                Stmt::Item(_) => {}
            }
            out.push(s);
        }
        b.stmts = out;
        self.scopes.close();
    }

    fn visit_expr_mut(&mut self, e: &mut Expr) {
        if let Some(why) = refuse::expression(e) {
            return self.refuse(e.span(), why);
        }
        match e {
            Expr::Path(_) => self.path(e),
            Expr::Field(f) => match self.resolve_field(&f.clone(), true) {
                Some((name, _)) => *e = parse_quote_spanned!(name.span()=> #name),
                None => visit_mut::visit_expr_mut(self, e),
            },
            Expr::Assign(a) => {
                let (left, mut right) = ((*a.left).clone(), (*a.right).clone());
                self.visit_expr_mut(&mut right);
                let mut out = Vec::new();
                self.assign(&left, right.to_token_stream(), &mut out);
                *e = Expr::Verbatim(quote!({ #(#out)* }));
            }
            Expr::Binary(b) => match writes::compound(&b.op) {
                Some(op) => self.compound(e, op),
                None => self.binary(e),
            },
            Expr::Index(i) => {
                if self.resolve_read(&i.expr).is_none() {
                    self.visit_expr_mut(&mut i.expr);
                } else {
                    self.rename_read(&mut i.expr);
                }
                self.visit_expr_mut(&mut i.index);
                let (base, index, span) = (&i.expr, &i.index, i.expr.span());
                *e = parse_quote_spanned!(span=> ::helion::__m::index(&#base, #index));
            }
            Expr::ForLoop(f) if is_domain(&f.expr) => *e = self.tile_loop(f),
            Expr::ForLoop(f) => self.unrolled_loop(f),
            Expr::While(w) => {
                if let Some(done) = self.while_loop(w) {
                    *e = done;
                }
            }
            Expr::If(i) if writes::has_let(&i.cond) => self.host_if(i),
            Expr::If(i) => *e = self.branch(i),
            Expr::Match(m) => self.matching(m),
            Expr::Closure(c) => {
                let body = writes::of_expr(&Expr::Closure(c.clone()));
                for w in body.iter().filter(|w| w.kind == Kind::Assign) {
                    self.refuse(w.span, refuse::closure_change(&w.name));
                }
                self.scopes.open();
                c.inputs.iter().for_each(|p| self.scopes.bind_pattern(p, plain));
                self.visit_expr_mut(&mut c.body);
                self.scopes.close();
            }
            Expr::Call(c) => {
                if let Some(done) = self.call(c) {
                    *e = done;
                }
            }
            Expr::MethodCall(m) => self.method(m),
            Expr::Reference(r) if r.mutability.is_some() => self.refuse(r.and_token.span, refuse::MUT_REFERENCE),
            Expr::Cast(c) => {
                if let Some(what) = self.certainly_device(&c.expr) {
                    let ty = refuse::text(&c.ty).unwrap_or_else(|| "f32".to_owned());
                    self.refuse(c.as_token.span, refuse::cast(&what, &ty));
                }
                visit_mut::visit_expr_mut(self, e);
            }
            Expr::Macro(m) => self.refuse_macro(&m.mac),
            Expr::Block(b) if b.label.is_some() => self.refuse(b.span(), refuse::LABEL),
            e => visit_mut::visit_expr_mut(self, e),
        }
    }
}

impl Cx {
    fn path(&mut self, e: &mut Expr) {
        let Some(i) = ident_of(e).cloned() else { return };
        if i == "self" {
            return self.refuse(i.span(), refuse::WHOLE_SELF);
        }
        if self.resolve(&i, true) == Some(Bind::Var) {
            *e = parse_quote_spanned!(i.span()=> #i.get());
        }
    }

    /// A field that is only read gets its captured name.
    fn rename_read(&mut self, e: &mut Expr) {
        if let Some(name) = self.resolve_read(e) {
            *e = parse_quote_spanned!(name.span()=> #name);
        }
    }

    /// Rewrites a `let`; returns the cells of variables that later code changes inside loops or branches.
    fn device_let(&mut self, l: &mut Local, rest: &[Stmt]) -> Vec<Stmt> {
        let Some(init) = &mut l.init else {
            self.refuse(l.let_token.span, refuse::NO_INIT);
            return Vec::new();
        };
        self.lets.note(&l.pat, &init.expr);
        self.visit_expr_mut(&mut init.expr);
        if let Some((_, e)) = &mut init.diverge {
            self.visit_expr_mut(e);
        }
        let names = crate::scope::pattern_names(&l.pat);
        let changes = writes::of_stmts(rest);
        let mut cells = Vec::new();
        for (name, mutable) in names {
            let own = || changes.iter().filter(|w| name == w.name.as_str() && w.depth > 0 && !w.closure);
            if mutable && own().any(|w| w.kind == Kind::Assign) {
                StripMut(&name).visit_pat_mut(&mut l.pat);
                self.scopes.bind(&name, Bind::Var);
                let text = name.to_string();
                cells.push(parse_quote_spanned!(name.span()=> let #name = ::helion::__m::var_new(#name, #text);));
                continue;
            }
            if mutable {
                for w in own() {
                    if let Kind::Call(method) = &w.kind {
                        self.refuse(w.span, refuse::nested_change(&name.to_string(), &format!("`{method}`")));
                    }
                }
            }
            self.scopes.bind(&name, plain(mutable));
        }
        cells
    }

    fn binary(&mut self, e: &mut Expr) {
        let Expr::Binary(b) = e else { return };
        self.visit_expr_mut(&mut b.left);
        self.visit_expr_mut(&mut b.right);
        let (l, r, span) = (&b.left, &b.right, b.left.span());
        let op = match b.op {
            BinOp::Lt(_) => "Lt",
            BinOp::Le(_) => "Le",
            BinOp::Gt(_) => "Gt",
            BinOp::Ge(_) => "Ge",
            BinOp::Eq(_) => "Eq",
            BinOp::Ne(_) => "Ne",
            BinOp::And(_) => {
                *e = parse_quote_spanned!(span=> ::helion::__m::and(#l, || #r));
                return;
            }
            BinOp::Or(_) => {
                *e = parse_quote_spanned!(span=> ::helion::__m::or(#l, || #r));
                return;
            }
            _ => return,
        };
        let op = Ident::new(op, span);
        *e = parse_quote_spanned!(span=> ::helion::__m::cmp(::helion::__m::CmpOp::#op, #l, #r));
    }

    /// A call; `Some` when a captured function is applied.
    fn call(&mut self, c: &mut ExprCall) -> Option<Expr> {
        c.args.iter_mut().for_each(|a| self.visit_expr_mut(a));
        let Some(name) = ident_of(&c.func).cloned() else {
            self.visit_expr_mut(&mut c.func);
            return None;
        };
        let bind = self.scopes.get(&name.to_string());
        if bind.is_none() && name == self.kernel.as_str() {
            self.refuse(name.span(), refuse::RECURSION);
            return None;
        }
        // In `tile_fn!` an unknown name that is called is a function item.
        let Some(Bind::Host(_)) = bind else { return None };
        self.resolve(&name, true);
        let args: Vec<_> = c.args.iter().collect();
        let args = if args.len() == 1 { quote!(#(#args)*) } else { quote!((#(#args),*)) };
        Some(parse_quote_spanned!(name.span()=> ::helion::__m::Apply::apply(&#name, #args)))
    }

    fn method(&mut self, m: &mut ExprMethodCall) {
        if reads(&m.method) && self.resolve_read(&m.receiver).is_some() {
            self.rename_read(&mut m.receiver);
        } else {
            self.check_writing_method(m);
            self.visit_expr_mut(&mut m.receiver);
        }
        m.args.iter_mut().for_each(|a| self.visit_expr_mut(a));
    }

    /// `x.atomic_add(…)` and `x.store(…)` need an output.
    fn check_writing_method(&mut self, m: &ExprMethodCall) {
        let method = m.method.to_string();
        if !(method.starts_with("atomic_") || method == "store" || method == "store_masked") {
            return;
        }
        if let Some(i) = ident_of(&m.receiver)
            && let Some(Bind::Host(Host { mutable: false, input, .. })) = self.scopes.get(&i.to_string())
        {
            self.refuse(i.span(), refuse::store(&i.to_string(), input));
        }
    }

    fn matching(&mut self, m: &mut syn::ExprMatch) {
        if let Some(i) = ident_of(&m.expr)
            && matches!(self.scopes.get(&i.to_string()), Some(Bind::Host(_) | Bind::Var))
            && m.arms.iter().any(|a| is_number(&a.pat))
        {
            self.refuse(i.span(), refuse::matching(&i.to_string()));
            return;
        }
        self.visit_expr_mut(&mut m.expr);
        for arm in &mut m.arms {
            self.scopes.open();
            self.scopes.bind_pattern(&arm.pat, plain);
            if let Some((_, g)) = &mut arm.guard {
                self.visit_expr_mut(g);
            }
            self.visit_expr_mut(&mut arm.body);
            self.scopes.close();
        }
    }

    /// The text of an expression that cannot be a host number: a capture, a loop variable, a cell.
    pub fn certainly_device(&self, e: &Expr) -> Option<String> {
        let i = match e {
            Expr::Paren(p) => return self.certainly_device(&p.expr),
            Expr::Index(i) => {
                let base = ident_of(&i.expr)?;
                matches!(self.scopes.get(&base.to_string()), Some(Bind::Host(_))).then_some(())?;
                return refuse::text(e);
            }
            e => ident_of(e)?,
        };
        let name = i.to_string();
        match self.scopes.get(&name) {
            Some(Bind::Host(_) | Bind::Var | Bind::Plain { device: true, .. }) => Some(name),
            Some(Bind::Plain { device: false, .. }) | None => None,
        }
    }

    fn refuse_macro(&mut self, m: &syn::Macro) {
        if let Some(why) = refuse::macro_call(m) {
            self.refuse(m.path.span(), why);
        }
    }

    /// The body of a closure made from a block.
    pub fn body(&mut self, b: &mut Block) -> TokenStream {
        self.visit_block_mut(b);
        let stmts = &b.stmts;
        quote_spanned!(b.span()=> { #(#stmts)* })
    }
}

/// Whether a pattern is a number, a range of numbers, or several of these.
fn is_number(p: &Pat) -> bool {
    match p {
        Pat::Lit(l) => matches!(l.lit, syn::Lit::Int(_) | syn::Lit::Float(_)),
        Pat::Range(_) => true,
        Pat::Or(o) => o.cases.iter().any(is_number),
        Pat::Paren(p) => is_number(&p.pat),
        _ => false,
    }
}

/// Drops `mut` from a variable of a pattern.
struct StripMut<'a>(&'a Ident);
impl VisitMut for StripMut<'_> {
    fn visit_pat_ident_mut(&mut self, p: &mut PatIdent) {
        if p.ident == *self.0 {
            p.mutability = None;
        }
        visit_mut::visit_pat_ident_mut(self, p);
    }
}
