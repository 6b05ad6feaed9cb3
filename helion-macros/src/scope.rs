//! What names stand for while code is walked.
//!
//! In: patterns as they come into scope. Out: for a name, whether it is a host variable, a device value
//! or a loop-carried cell.

use proc_macro2::Ident;
use std::collections::HashMap;
use syn::visit::{self, Visit};
use syn::{Expr, Pat, PatIdent};

/// What a variable is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bind {
    /// A variable of host code.
    Host(Host),
    /// A value of device code, as a Rust variable.
    Plain {
        /// Declared `mut`.
        mutable: bool,
        /// A loop variable: certainly not a host number.
        device: bool,
    },
    /// A device variable that a loop or branch assigns to: a cell.
    Var,
}

/// How a host variable was declared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Host {
    /// `let mut`, `mut` argument, or behind `&mut`.
    pub mutable: bool,
    /// An argument of type `&mut …`.
    pub by_mut_ref: bool,
    /// An argument of type `&…`.
    pub input: bool,
}

/// Open scopes, innermost last.
#[derive(Default)]
pub struct Scopes {
    frames: Vec<HashMap<String, Bind>>,
    /// Extents that the user named: tensor to names, from `let [m, n] = x.dims()`.
    dims: HashMap<String, Vec<String>>,
}

impl Scopes {
    /// Opens a scope.
    pub fn open(&mut self) {
        self.frames.push(HashMap::new());
    }
    /// Closes the innermost scope.
    pub fn close(&mut self) {
        self.frames.pop();
    }
    /// What a name stands for.
    pub fn get(&self, name: &str) -> Option<Bind> {
        self.frames.iter().rev().find_map(|f| f.get(name).copied())
    }
    /// Brings a name into the innermost scope.
    pub fn bind(&mut self, name: &Ident, bind: Bind) {
        if matches!(bind, Bind::Host(_)) {
            self.dims.remove(&name.to_string());
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.insert(name.to_string(), bind);
        }
    }
    /// Brings the names of a pattern into the innermost scope.
    pub fn bind_pattern(&mut self, pat: &Pat, bind: impl Fn(bool) -> Bind) {
        for (name, mutable) in pattern_names(pat) {
            self.bind(&name, bind(mutable));
        }
    }
    /// The user's names of a tensor's extents.
    pub fn dims_of(&self, tensor: &str) -> Vec<String> {
        self.dims.get(tensor).cloned().unwrap_or_default()
    }
    /// Learns names of extents from `let [m, n] = x.dims()`.
    pub fn learn_dims(&mut self, pat: &Pat, init: &Expr) {
        match (pat, init) {
            (Pat::Type(t), _) => self.learn_dims(&t.pat, init),
            (Pat::Paren(p), _) => self.learn_dims(&p.pat, init),
            (_, Expr::Paren(e)) => self.learn_dims(pat, &e.expr),
            (Pat::Tuple(p), Expr::Tuple(e)) => {
                p.elems.iter().zip(&e.elems).for_each(|(p, e)| self.learn_dims(p, e));
            }
            (Pat::Slice(p), Expr::MethodCall(call)) if call.method == "dims" => {
                let names = p.elems.iter().map(|p| match p {
                    Pat::Ident(p) => p.ident.to_string().trim_start_matches('_').to_owned(),
                    _ => String::new(),
                });
                if let Some(tensor) = place_text(&call.receiver) {
                    self.dims.insert(tensor, names.collect());
                }
            }
            _ => {}
        }
    }
}

/// A variable or a field of one, as text: `x`, `self.w`.
pub fn place_text(e: &Expr) -> Option<String> {
    match e {
        Expr::Paren(p) => place_text(&p.expr),
        Expr::Field(f) => {
            let member = match &f.member {
                syn::Member::Named(n) => n.to_string(),
                syn::Member::Unnamed(i) => i.index.to_string(),
            };
            Some(format!("{}.{member}", place_text(&f.base)?))
        }
        e => ident_of(e).map(Ident::to_string),
    }
}

/// The variable that an expression is, if it is just that.
pub fn ident_of(e: &Expr) -> Option<&Ident> {
    match e {
        Expr::Path(p) if p.qself.is_none() => p.path.get_ident(),
        Expr::Paren(p) => ident_of(&p.expr),
        Expr::Group(g) => ident_of(&g.expr),
        _ => None,
    }
}

/// The variables a pattern binds, each with whether it is `mut`.
pub fn pattern_names(pat: &Pat) -> Vec<(Ident, bool)> {
    struct Names(Vec<(Ident, bool)>);
    impl Visit<'_> for Names {
        fn visit_pat_ident(&mut self, p: &PatIdent) {
            // Constants and unit variants look like variables; they are not lower case.
            if !p.ident.to_string().starts_with(char::is_uppercase) {
                self.0.push((p.ident.clone(), p.mutability.is_some()));
            }
            visit::visit_pat_ident(self, p);
        }
        fn visit_expr(&mut self, _: &Expr) {}
    }
    let mut names = Names(Vec::new());
    names.visit_pat(pat);
    names.0
}

/// Whether an expression is the domain of a tile loop: `tile(…)`, `grid(…)`, or a tuple of these.
pub fn is_domain(e: &Expr) -> bool {
    match e {
        Expr::Call(c) => matches!(&*c.func, Expr::Path(p)
            if p.path.segments.last().is_some_and(|s| s.ident == "tile" || s.ident == "grid")),
        Expr::Tuple(t) => !t.elems.is_empty() && t.elems.iter().all(is_domain),
        Expr::Paren(p) => is_domain(&p.expr),
        _ => false,
    }
}
