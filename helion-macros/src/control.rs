//! Control flow and assignment of device code.
//!
//! In: loops, branches and assignments. Out: calls that take their bodies as closures, with the list of
//! cells that the bodies change.

use crate::device::{Cx, plain};
use crate::names;
use crate::refuse;
use crate::scope::{Bind, Host, ident_of};
use crate::writes::{self, Kind};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::VisitMut;
use syn::{BinOp, Expr, ExprForLoop, ExprIf, ExprWhile, RangeLimits, Stmt, parse_quote_spanned};

impl Cx {
    /// The cells that statements change.
    fn cells(&self, stmts: &[Stmt]) -> TokenStream {
        let mut names: Vec<String> = Vec::new();
        for w in writes::of_stmts(stmts) {
            let is_cell = w.kind == Kind::Assign && self.scopes.get(&w.name) == Some(Bind::Var);
            if is_cell && !names.contains(&w.name) {
                names.push(w.name);
            }
        }
        let cells = names.iter().map(|n| Ident::new(n, Span::call_site()));
        quote!(&[#(&#cells as &dyn ::helion::__m::AnyVar),*])
    }

    /// `for … in tile(…)` inside device code.
    pub fn tile_loop(&mut self, f: &mut ExprForLoop) -> Expr {
        self.check_label(f.label.as_ref());
        let names = names::loop_names(&f.pat, &f.expr);
        self.mixed_ranges(&mut f.expr);
        self.visit_expr_mut(&mut f.expr);
        let cells = self.cells(&f.body.stmts);
        self.scopes.open();
        self.scopes.bind_pattern(&f.pat, |mutable| Bind::Plain { mutable, device: true });
        let body = self.body(&mut f.body);
        self.scopes.close();
        let (domain, pat) = (&f.expr, &f.pat);
        parse_quote_spanned!(f.for_token.span=> ::helion::__m::tile_loop(#domain, #names, #cells, |#pat| #body))
    }

    /// `lo..hi` may mix a literal, a host size and a device size, which `Range` cannot hold.
    pub fn mixed_ranges(&mut self, domain: &mut Expr) {
        match domain {
            Expr::Call(c) => c.args.iter_mut().for_each(|a| self.mixed_ranges(a)),
            Expr::Paren(p) => self.mixed_ranges(&mut p.expr),
            Expr::Tuple(t) => t.elems.iter_mut().for_each(|e| self.mixed_ranges(e)),
            Expr::Array(a) => a.elems.iter_mut().for_each(|e| self.mixed_ranges(e)),
            Expr::Range(r) => match (&r.start, &r.limits, &r.end) {
                (Some(lo), RangeLimits::HalfOpen(_), Some(hi)) => {
                    *domain = parse_quote_spanned!(r.span()=> ::helion::__m::between(#lo, #hi));
                }
                _ => self.refuse(r.span(), refuse::INCLUSIVE),
            },
            _ => {}
        }
    }

    fn check_label(&mut self, label: Option<&syn::Label>) {
        if let Some(l) = label {
            self.refuse(l.name.span(), refuse::LABEL);
        }
    }

    /// A `for` over host values: it unrolls while recording.
    pub fn unrolled_loop(&mut self, f: &mut ExprForLoop) {
        self.check_label(f.label.as_ref());
        if let Expr::Range(r) = strip(&f.expr) {
            for bound in [&r.start, &r.end].into_iter().flatten() {
                if let Some((span, text)) = self.device_size(bound) {
                    self.refuse(span, refuse::counted_loop(&text));
                    return;
                }
            }
        }
        self.visit_expr_mut(&mut f.expr);
        self.scopes.open();
        self.scopes.bind_pattern(&f.pat, plain);
        self.visit_block_mut(&mut f.body);
        self.scopes.close();
    }

    /// A captured number or device value used as the bound of a range.
    fn device_size(&self, bound: &Expr) -> Option<(Span, String)> {
        struct Find<'a>(&'a Cx, Option<Ident>);
        impl Visit<'_> for Find<'_> {
            fn visit_expr(&mut self, e: &Expr) {
                match e {
                    // The length of a captured array is known.
                    Expr::MethodCall(m) if m.method == "len" => {}
                    Expr::Path(_) => {
                        if let Some(i) = ident_of(e)
                            && let Some(Bind::Host(_) | Bind::Var | Bind::Plain { device: true, .. }) =
                                self.0.scopes.get(&i.to_string())
                        {
                            self.1.get_or_insert(i.clone());
                        }
                    }
                    e => visit::visit_expr(self, e),
                }
            }
        }
        let mut find = Find(self, None);
        find.visit_expr(bound);
        let found = find.1?;
        let text = refuse::text(bound).unwrap_or_else(|| found.to_string());
        Some((found.span(), text))
    }

    /// `while` in device code; `None` when it was refused.
    pub fn while_loop(&mut self, w: &mut ExprWhile) -> Option<Expr> {
        self.check_label(w.label.as_ref());
        if writes::has_let(&w.cond) {
            self.refuse(
                w.while_token.span,
                "`while let` looks at host values; device code repeats with `while condition`",
            );
            return None;
        }
        let cells = self.cells(&w.body.stmts);
        self.visit_expr_mut(&mut w.cond);
        let body = self.body(&mut w.body);
        let c = &w.cond;
        let condition = quote_spanned!(c.span()=> ::helion::__m::condition(#c));
        Some(parse_quote_spanned!(w.while_token.span=> ::helion::__m::while_loop(#cells, || #condition, || #body)))
    }

    /// `if` without `let`: decided while recording or at run time, as the condition's type says.
    pub fn branch(&mut self, i: &mut ExprIf) -> Expr {
        let mut all = i.then_branch.stmts.clone();
        if let Some((_, e)) = &i.else_branch {
            all.push(Stmt::Expr((**e).clone(), None));
        }
        let cells = self.cells(&all);
        self.visit_expr_mut(&mut i.cond);
        let then = self.body(&mut i.then_branch);
        let other = match &mut i.else_branch {
            Some((_, e)) => {
                self.visit_expr_mut(e);
                e.to_token_stream()
            }
            None => quote!({}),
        };
        let c = &i.cond;
        let decided = quote_spanned!(c.span()=> ::helion::__m::decide(#c));
        parse_quote_spanned!(i.if_token.span=> ::helion::__m::branch(#decided, #cells, || #then, || #other))
    }

    /// `if let`: a Rust `if` on a host value.
    pub fn host_if(&mut self, i: &mut ExprIf) {
        self.scopes.open();
        self.let_chain(&mut i.cond);
        self.visit_block_mut(&mut i.then_branch);
        self.scopes.close();
        if let Some((_, e)) = &mut i.else_branch {
            self.visit_expr_mut(e);
        }
    }

    fn let_chain(&mut self, e: &mut Expr) {
        match e {
            Expr::Binary(b) if matches!(b.op, BinOp::And(_)) => {
                self.let_chain(&mut b.left);
                self.let_chain(&mut b.right);
            }
            Expr::Let(l) => {
                self.visit_expr_mut(&mut l.expr);
                self.scopes.bind_pattern(&l.pat, plain);
            }
            e => self.visit_expr_mut(e),
        }
    }

    /// `left op= right`.
    pub fn compound(&mut self, e: &mut Expr, op: BinOp) {
        let Expr::Binary(b) = &*e else { return };
        let (left, mut right) = ((*b.left).clone(), (*b.right).clone());
        let mut read = left.clone();
        self.visit_expr_mut(&mut read);
        self.visit_expr_mut(&mut right);
        let mut out = Vec::new();
        self.assign(&left, quote!(#read #op #right), &mut out);
        *e = Expr::Verbatim(quote!({ #(#out)* }));
    }

    /// `left = right`, as statements.
    pub fn assign(&mut self, left: &Expr, right: TokenStream, out: &mut Vec<TokenStream>) {
        match left {
            Expr::Paren(p) => self.assign(&p.expr, right, out),
            Expr::Infer(_) => out.push(quote!(let _ = #right;)),
            Expr::Tuple(t) => {
                let parts: Vec<Ident> =
                    (0..t.elems.len()).map(|i| Ident::new(&format!("__t{i}"), Span::mixed_site())).collect();
                out.push(quote!(let (#(#parts,)*) = #right;));
                for (e, part) in t.elems.iter().zip(&parts) {
                    self.assign(e, quote!(#part), out);
                }
            }
            Expr::Index(i) => self.assign_index(i, right, out),
            e => self.assign_variable(e, right, out),
        }
    }

    fn assign_index(&mut self, place: &syn::ExprIndex, right: TokenStream, out: &mut Vec<TokenStream>) {
        let mut index = (*place.index).clone();
        self.visit_expr_mut(&mut index);
        if let Expr::Field(f) = strip(&place.expr)
            && let Some((name, host)) = self.resolve_field(f, true)
        {
            if !host.mutable && !self.implicit {
                let text = crate::scope::place_text(&place.expr).unwrap_or_default();
                self.refuse(place.expr.span(), format!("`{text}` cannot be written: take its owner as `&mut`"));
            }
            out.push(quote_spanned!(name.span()=> ::helion::__m::store(&#name, #index, #right);));
            return;
        }
        let base = &place.expr;
        let name = ident_of(base).cloned();
        let bind = name.as_ref().and_then(|i| self.resolve(i, true));
        match (name, bind) {
            (Some(n), Some(Bind::Host(Host { mutable: false, input, .. }))) if !self.implicit => {
                self.refuse(n.span(), refuse::store(&n.to_string(), input));
            }
            (Some(n), Some(Bind::Var)) => {
                let whole = Ident::new("__whole", Span::mixed_site());
                out.push(quote_spanned!(n.span()=> {
                    let mut #whole = #n.get();
                    #whole[#index] = #right;
                    #n.set(#whole);
                }));
            }
            (Some(n), Some(Bind::Plain { mutable: true, .. })) => {
                out.push(quote_spanned!(n.span()=> #n[#index] = #right;));
            }
            _ => out.push(quote_spanned!(base.span()=> ::helion::__m::store(&#base, #index, #right);)),
        }
    }

    fn assign_variable(&mut self, e: &Expr, right: TokenStream, out: &mut Vec<TokenStream>) {
        let Some(name) = ident_of(e).cloned() else {
            return self.refuse(
                e.span(),
                "device code assigns to variables, tuples of variables, and indexed tensors; build a new value instead of changing a part of one",
            );
        };
        match self.scopes.get(&name.to_string()) {
            Some(Bind::Var) => out.push(quote_spanned!(name.span()=> #name.set(#right);)),
            Some(Bind::Host(_)) => self.refuse(name.span(), refuse::host_assignment(&name.to_string())),
            Some(Bind::Plain { mutable: false, .. }) => {
                self.refuse(name.span(), format!("cannot assign twice to `{name}`: declare it `let mut {name}`"));
            }
            Some(Bind::Plain { mutable: true, .. }) | None => out.push(quote_spanned!(name.span()=> #name = #right;)),
        }
    }
}

fn strip(e: &Expr) -> &Expr {
    match e {
        Expr::Paren(p) => strip(&p.expr),
        e => e,
    }
}
