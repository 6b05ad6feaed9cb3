//! Variables that enter device code: noted while it is rewritten, emitted before it.

use crate::device::Cx;
use crate::scope::{Bind, Host, place_text};
use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Expr, ExprField};

/// A host variable used by device code.
pub struct Captured {
    /// What device code calls it.
    pub ident: Ident,
    /// How it was declared.
    host: Host,
    /// Where the host has it: a variable or a field.
    place: TokenStream,
    /// The same as the user wrote it.
    text: String,
    /// The user's names of its extents.
    dims: Vec<String>,
    /// Whether it may be written: used other than by `x[…]` or a reading method.
    written: bool,
}

/// Methods of tensors that only read.
const READING: &[&str] = &["load", "load_masked", "dims"];

impl Cx {
    /// Resolves a variable in device code, noting a capture.
    pub fn resolve(&mut self, i: &Ident, written: bool) -> Option<Bind> {
        let name = i.to_string();
        let mut bind = self.scopes.get(&name);
        if bind.is_none() && self.implicit && name.starts_with(|c: char| c.is_lowercase() || c == '_') {
            bind = Some(Bind::Host(Host::default()));
        }
        if let Some(Bind::Host(host)) = bind {
            let dims = self.scopes.dims_of(&name);
            self.note_capture(Captured { ident: i.clone(), host, place: quote!(#i), text: name, dims, written });
        }
        bind
    }

    fn note_capture(&mut self, new: Captured) {
        match self.captures.iter_mut().find(|c| c.ident == new.ident) {
            Some(old) => old.written |= new.written,
            None => self.captures.push(new),
        }
    }

    /// A field of a host value is captured as that field alone: `self.w`, `config.eps`. Returns what
    /// device code calls it.
    pub fn resolve_field(&mut self, field: &ExprField, written: bool) -> Option<(Ident, Host)> {
        let root = root_of(field)?;
        let bind = match self.scopes.get(&root.to_string()) {
            None if self.implicit && root == "self" => Some(Bind::Host(Host::default())),
            bind => bind,
        };
        let Some(Bind::Host(host)) = bind else { return None };
        let text = place_text(&Expr::Field(field.clone()))?;
        let ident = Ident::new(&format!("__{}", text.replace('.', "_")), root.span());
        let dims = self.scopes.dims_of(&text);
        self.note_capture(Captured { ident: ident.clone(), host, place: quote!(#field), text, dims, written });
        Some((ident, host))
    }

    /// Notes that the base of `x[…]` or of a reading method is only read. `None` when it is not a capture.
    pub fn resolve_read(&mut self, e: &Expr) -> Option<Ident> {
        match e {
            Expr::Paren(p) => self.resolve_read(&p.expr),
            Expr::Field(f) => self.resolve_field(f, false).map(|(i, _)| i),
            e => {
                let i = crate::scope::ident_of(e)?.clone();
                let is_host = matches!(self.scopes.get(&i.to_string()), Some(Bind::Host(_)));
                if is_host || (self.implicit && self.scopes.get(&i.to_string()).is_none()) {
                    return matches!(self.resolve(&i, false), Some(Bind::Host(_))).then_some(i);
                }
                None
            }
        }
    }
}

/// Whether a method of a tensor only reads it.
pub fn reads(method: &Ident) -> bool {
    READING.iter().any(|m| method == m)
}

/// The variable at the root of a field access.
fn root_of(field: &ExprField) -> Option<Ident> {
    match &*field.base {
        Expr::Field(f) => root_of(f),
        Expr::Paren(p) => match &*p.expr {
            Expr::Field(f) => root_of(f),
            e => crate::scope::ident_of(e).cloned(),
        },
        e => crate::scope::ident_of(e).cloned(),
    }
}

impl Captured {
    fn name(&self) -> TokenStream {
        let (text, dims) = (&self.text, &self.dims);
        quote!(::helion::__m::Name { name: #text, dims: &[#(#dims),*] })
    }

    /// A reference with its name, for `tile_fn!`.
    pub fn named(&self) -> TokenStream {
        let (place, name) = (&self.place, self.name());
        quote_spanned!(self.ident.span()=> ::helion::__m::Named(#name, &#place))
    }

    /// The call that captures it into the launch.
    pub fn take(&self, launch: &TokenStream) -> TokenStream {
        let (place, name) = (&self.place, self.name());
        let span = self.ident.span();
        match self.host {
            Host { mutable: true, by_mut_ref, .. } if self.written => {
                // A field behind `&mut` is a place of its own; the reference itself is reborrowed.
                let target = if by_mut_ref && !self.text.contains('.') { quote!(*#place) } else { quote!(#place) };
                quote_spanned!(span=> ::helion::__m::capture_mut(#launch, #name, &mut #target))
            }
            _ => quote_spanned!(span=> ::helion::__m::capture(#launch, #name, &#place)),
        }
    }
}
