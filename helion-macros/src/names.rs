//! The user's names: of values, by the position at which they report themselves, and of sizes.

use crate::scope::{ident_of, pattern_names, place_text};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Expr, Pat, RangeLimits};

/// `let` variables with the position at which their outermost operation reports itself.
#[derive(Default)]
pub struct Lets(Vec<(String, usize, usize)>);

impl Lets {
    /// Notes `let name = init`.
    pub fn note(&mut self, pat: &Pat, init: &Expr) {
        let pat = match pat {
            Pat::Type(t) => &t.pat,
            pat => pat,
        };
        if let Pat::Ident(p) = pat {
            let at = reporting_span(init).start();
            self.0.push((p.ident.to_string(), at.line, at.column + 1));
        }
    }
    /// The table for the recorder.
    pub fn table(&self) -> TokenStream {
        let rows = self.0.iter().map(|(name, line, column)| {
            let (line, column) = (*line as u32, *column as u32);
            quote!((#name, #line, #column))
        });
        quote!(&::helion::__m::Names { file: ::core::file!(), table: &[#(#rows),*] })
    }
}

/// Where the outermost operation of an expression reports itself: a method at its name, all else at the
/// start.
fn reporting_span(e: &Expr) -> Span {
    match e {
        Expr::MethodCall(m) => m.method.span(),
        Expr::Paren(p) => reporting_span(&p.expr),
        e => e.span(),
    }
}

/// The loop variables of a pattern, in order.
pub fn loop_variables(pat: &Pat) -> Vec<String> {
    match pat {
        Pat::Wild(_) => vec!["_".to_owned()],
        Pat::Slice(s) => s.elems.iter().flat_map(loop_variables).collect(),
        Pat::Tuple(s) => s.elems.iter().flat_map(loop_variables).collect(),
        Pat::Paren(p) => loop_variables(&p.pat),
        pat => pattern_names(pat).into_iter().map(|n| n.0.to_string()).collect(),
    }
}

/// The variables of a tile loop with what their bounds are called.
pub fn loop_names(pat: &Pat, domain: &Expr) -> TokenStream {
    let vars = loop_variables(pat);
    let mut bounds = Vec::new();
    domain_bounds(domain, &mut bounds);
    let rows = vars.iter().enumerate().map(|(i, var)| {
        let var = match var.trim_start_matches('_') {
            "" => format!("t{i}"),
            name => name.to_owned(),
        };
        let (begin, end) = bounds.get(i).cloned().unwrap_or_default();
        let begin = begin.unwrap_or_else(|| format!("{var}_begin"));
        let end = end.unwrap_or_else(|| format!("{var}_end"));
        quote!(::helion::__m::VarName { var: #var, begin: #begin, end: #end })
    });
    quote!(&[#(#rows),*])
}

/// What the bounds of each axis of a domain are called.
fn domain_bounds(e: &Expr, out: &mut Vec<(Option<String>, Option<String>)>) {
    match e {
        Expr::Call(c) => c.args.iter().for_each(|a| domain_bounds(a, out)),
        Expr::Paren(p) => domain_bounds(&p.expr, out),
        Expr::Array(a) => a.elems.iter().for_each(|e| domain_bounds(e, out)),
        Expr::Tuple(t) => t.elems.iter().for_each(|e| domain_bounds(e, out)),
        Expr::Range(r) if matches!(r.limits, RangeLimits::HalfOpen(_)) => {
            let name = |e: &Option<Box<Expr>>| e.as_ref().and_then(|e| size_name(e));
            out.push((name(&r.start), name(&r.end)));
        }
        e => out.push((None, size_name(e))),
    }
}

/// A size that is just a variable or a field.
fn size_name(e: &Expr) -> Option<String> {
    if ident_of(e).is_some() || matches!(e, Expr::Field(_)) {
        return place_text(e);
    }
    None
}
