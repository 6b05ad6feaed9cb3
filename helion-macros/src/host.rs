//! Host code of a kernel: everything outside tile loops.
//!
//! In: the kernel's body. Out: the same, with every host-level tile loop replaced by a launch: capture
//! what the body uses, then hand over the body as a plain `fn`. A variable that this analysis misses
//! cannot enter silently, because a closure that captures it is no `fn`.

use crate::device::Cx;
use crate::names;
use crate::refuse;
use crate::scope::{Bind, Host, is_domain};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, ExprForLoop, Item, Local, Stmt};

/// Walks host code.
pub struct HostCode<'a>(pub &'a mut Cx);

fn variable(mutable: bool) -> Bind {
    Bind::Host(Host { mutable, by_mut_ref: false, input: false })
}

impl HostCode<'_> {
    fn scoped(&mut self, f: impl FnOnce(&mut Self)) {
        self.0.scopes.open();
        f(self);
        self.0.scopes.close();
    }
}

impl VisitMut for HostCode<'_> {
    fn visit_block_mut(&mut self, b: &mut Block) {
        self.scoped(|h| visit_mut::visit_block_mut(h, b));
    }
    fn visit_stmt_mut(&mut self, s: &mut Stmt) {
        visit_mut::visit_stmt_mut(self, s);
        // A launch that ends a block has no value.
        if let Stmt::Expr(Expr::Verbatim(_), semi @ None) = s {
            *semi = Some(Default::default());
        }
    }
    fn visit_item_mut(&mut self, _: &mut Item) {}
    fn visit_local_mut(&mut self, l: &mut Local) {
        if let Some(init) = &mut l.init {
            self.visit_expr_mut(&mut init.expr);
            if let Some((_, e)) = &mut init.diverge {
                self.visit_expr_mut(e);
            }
        }
        self.0.scopes.bind_pattern(&l.pat, variable);
        if let Some(init) = &l.init {
            self.0.scopes.learn_dims(&l.pat, &init.expr);
        }
    }
    fn visit_expr_mut(&mut self, e: &mut Expr) {
        match e {
            Expr::ForLoop(f) if is_domain(&f.expr) => *e = Expr::Verbatim(launch(self.0, f)),
            Expr::ForLoop(f) => {
                self.visit_expr_mut(&mut f.expr);
                self.scoped(|h| {
                    h.0.scopes.bind_pattern(&f.pat, variable);
                    h.visit_block_mut(&mut f.body);
                });
            }
            Expr::If(i) => {
                self.scoped(|h| {
                    h.visit_expr_mut(&mut i.cond);
                    h.visit_block_mut(&mut i.then_branch);
                });
                if let Some((_, e)) = &mut i.else_branch {
                    self.visit_expr_mut(e);
                }
            }
            Expr::While(w) => self.scoped(|h| visit_mut::visit_expr_while_mut(h, w)),
            Expr::Let(l) => {
                self.visit_expr_mut(&mut l.expr);
                self.0.scopes.bind_pattern(&l.pat, variable);
            }
            Expr::Match(m) => {
                self.visit_expr_mut(&mut m.expr);
                for arm in &mut m.arms {
                    self.scoped(|h| {
                        h.0.scopes.bind_pattern(&arm.pat, variable);
                        if let Some((_, g)) = &mut arm.guard {
                            h.visit_expr_mut(g);
                        }
                        h.visit_expr_mut(&mut arm.body);
                    });
                }
            }
            Expr::Closure(c) => refuse_loops(self.0, &c.body),
            Expr::Async(a) => {
                let block = Expr::Block(syn::ExprBlock { attrs: Vec::new(), label: None, block: a.block.clone() });
                refuse_loops(self.0, &block);
            }
            e => visit_mut::visit_expr_mut(self, e),
        }
    }
}

/// Refuses tile loops inside closures.
fn refuse_loops(cx: &mut Cx, e: &Expr) {
    struct Find<'a>(&'a mut Cx);
    impl syn::visit::Visit<'_> for Find<'_> {
        fn visit_expr_for_loop(&mut self, f: &ExprForLoop) {
            if is_domain(&f.expr) {
                self.0.refuse(f.for_token.span, refuse::LOOP_IN_CLOSURE);
            } else {
                syn::visit::visit_expr_for_loop(self, f);
            }
        }
    }
    syn::visit::Visit::visit_expr(&mut Find(cx), e);
}

/// A host-level tile loop as a launch.
fn launch(cx: &mut Cx, f: &mut ExprForLoop) -> TokenStream {
    if let Some(l) = &f.label {
        cx.refuse(l.name.span(), refuse::LABEL);
    }
    let outer = std::mem::take(&mut cx.captures);
    let names = names::loop_names(&f.pat, &f.expr);
    cx.mixed_ranges(&mut f.expr);
    cx.scopes.open();
    cx.scopes.bind_pattern(&f.pat, |mutable| Bind::Plain { mutable, device: true });
    cx.visit_block_mut(&mut f.body);
    cx.scopes.close();
    let captures = std::mem::replace(&mut cx.captures, outer);
    let lets = std::mem::take(&mut cx.lets).table();

    let own = |name: &str| Ident::new(name, Span::mixed_site());
    let (l, domain, args, vars) = (own("__launch"), own("__domain"), own("__args"), own("__vars"));
    let takes = captures.iter().map(|c| c.take(&quote!(&mut #l)));
    let idents = captures.iter().map(|c| &c.ident);
    let consts = &cx.consts;
    let fix = if consts.is_empty() { quote!() } else { quote!(::helion::__m::fix_sizes(&mut #l, &[#(#consts),*]);) };
    let (iter, pat, kernel, body) = (&f.expr, &f.pat, &cx.kernel, &f.body.stmts);
    quote_spanned! {f.for_token.span=> {
        let #domain = #iter;
        let mut #l = ::helion::__m::begin_launch(#kernel);
        #fix
        let #domain = ::helion::__m::capture_loop(&mut #l, #names, #domain);
        let #args = (#(#takes,)*);
        ::helion::__m::launch(#l, #domain, #names, #lets, #args, |#vars, #args| {
            let #pat = #vars;
            let (#(#idents,)*) = #args;
            #(#body)*
        })?;
    }}
}
