//! The entry points: what is emitted around a rewritten function.
//!
//! In: the item with the attribute. Out: the function, for a kernel also the type of the same name that
//! carries `tune`, `explain` and `with`, and its unit test. On a mistake the signature stays and the body
//! becomes the errors, so that callers see one error and not two.

use crate::device::{Cx, plain};
use crate::host::HostCode;
use crate::scope::{Bind, Host, pattern_names};
use crate::shape_test;
use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{Error, ExprClosure, FnArg, GenericParam, ItemFn, Pat, ReturnType, Type};

/// The options of `#[kernel(…)]`.
#[derive(Default)]
struct Options {
    no_test: bool,
    method: bool,
}

fn options(tokens: TokenStream) -> Result<Options, Error> {
    let mut options = Options::default();
    let parser = syn::meta::parser(|meta| {
        match meta.path.get_ident().map(Ident::to_string).as_deref() {
            Some("no_test") => options.no_test = true,
            Some("method") => options.method = true,
            _ => return Err(meta.error("the options of `#[kernel]` are `no_test` and `method`")),
        }
        Ok(())
    });
    parser.parse2(tokens)?;
    Ok(options)
}

/// `#[kernel]`.
pub fn kernel(attribute: TokenStream, input: TokenStream) -> TokenStream {
    let mut f: ItemFn = match syn::parse2(input.clone()) {
        Ok(f) => f,
        Err(_) => {
            let text = "`#[kernel]` marks a function; on a method put it on the method itself, not on the `impl`";
            return with_item(Error::new(Span::call_site(), text), input);
        }
    };
    let options = match options(attribute) {
        Ok(o) => o,
        Err(e) => return with_item(e, input),
    };
    let mut cx = Cx::new(f.sig.ident.to_string());
    check_signature(&mut cx, &f);
    let callable = cx.errors.is_none();
    bind_arguments(&mut cx, &f);
    cx.consts = shape_test::consts(&f);
    let original = f.clone();
    HostCode(&mut cx).visit_block_mut(&mut f.block);
    let is_method = options.method || f.sig.inputs.iter().any(|a| matches!(a, FnArg::Receiver(_)));
    let tools = if is_method || !callable { TokenStream::new() } else { named_type(&original) };
    if let Some(e) = cx.errors {
        return failed(&original, &e, &tools);
    }
    let test = if is_method || options.no_test { TokenStream::new() } else { shape_test::of(&original) };
    quote! {
        #[allow(unused_parens, unused_braces, clippy::all)]
        #f
        #tools
        #test
    }
}

/// `#[device]`.
pub fn device(attribute: TokenStream, input: TokenStream) -> TokenStream {
    let mut f: ItemFn = match syn::parse2(input.clone()) {
        Ok(f) => f,
        Err(_) => return with_item(Error::new(Span::call_site(), "`#[device]` marks a function"), input),
    };
    if !attribute.is_empty() {
        return with_item(Error::new(attribute.span(), "`#[device]` has no options"), input);
    }
    let mut cx = Cx::new(f.sig.ident.to_string());
    for a in &f.sig.inputs {
        match a {
            FnArg::Typed(p) => cx.scopes.bind_pattern(&p.pat, plain),
            FnArg::Receiver(r) => cx.scopes.bind(&Ident::new("self", r.self_token.span), plain(false)),
        }
    }
    let original = f.clone();
    cx.visit_block_mut(&mut f.block);
    if let Some(e) = cx.errors {
        return failed(&original, &e, &TokenStream::new());
    }
    let (table, stmts) = (cx.lets.table(), &f.block.stmts);
    let block = quote!({ ::helion::__m::device_names(#table); #(#stmts)* });
    let (attrs, vis, sig) = (&f.attrs, &f.vis, &f.sig);
    quote! { #(#attrs)* #[allow(unused_parens, unused_braces, clippy::all)] #vis #sig #block }
}

/// `tile_fn!`.
pub fn tile_fn(input: TokenStream) -> TokenStream {
    let mut f: ExprClosure = match syn::parse2(input) {
        Ok(f) => f,
        Err(e) => {
            let text = "`tile_fn!` takes a closure: `tile_fn!(|t: Tile<f32, 2>| t * gain)`";
            return Error::new(e.span(), text).to_compile_error();
        }
    };
    let mut cx = Cx::new("tile_fn!".to_owned());
    cx.implicit = true;
    f.inputs.iter().for_each(|p| cx.scopes.bind_pattern(p, plain));
    cx.visit_expr_mut(&mut f.body);
    if let Some(e) = cx.errors {
        return e.to_compile_error();
    }
    let takes = cx.captures.iter().map(|c| c.named());
    let idents: Vec<_> = cx.captures.iter().map(|c| &c.ident).collect();
    let (inputs, body) = (&f.inputs, &f.body);
    let inputs = if inputs.len() == 1 { quote!(#inputs) } else { quote!((#inputs)) };
    quote! {
        ::helion::__m::closed(
            (#(#takes,)*),
            |(#(#idents,)*), #inputs| #body
        )
    }
}

/// The item as it was, with an error beside it.
fn with_item(e: Error, item: TokenStream) -> TokenStream {
    let e = e.to_compile_error();
    quote!(#e #item)
}

/// The signature with errors for a body.
fn failed(f: &ItemFn, e: &Error, tools: &TokenStream) -> TokenStream {
    let (attrs, vis, mut sig, e) = (&f.attrs, &f.vis, f.sig.clone(), e.to_compile_error());
    (sig.asyncness, sig.constness) = (None, None);
    quote!(#(#attrs)* #[allow(unused)] #vis #sig { #e ::core::unreachable!() } #tools)
}

fn check_signature(cx: &mut Cx, f: &ItemFn) {
    if let Some(t) = &f.sig.asyncness {
        cx.refuse(t.span, "a kernel is an ordinary function that returns when it is done: remove `async`");
    }
    if let Some(t) = &f.sig.constness {
        cx.refuse(t.span, "a kernel runs at run time: remove `const`");
    }
    let returns_result = match &f.sig.output {
        ReturnType::Type(_, ty) => is_result(ty),
        ReturnType::Default => false,
    };
    if !returns_result {
        let span = match &f.sig.output {
            ReturnType::Type(_, ty) => ty.span(),
            ReturnType::Default => f.sig.ident.span(),
        };
        cx.refuse(
            span,
            "a kernel returns a `Result`, because a launch can fail: write `-> Result<Tensor<T, 2>>`, or `-> Result<()>` when it writes to its arguments",
        );
    }
}

fn is_result(ty: &Type) -> bool {
    match ty {
        Type::Path(p) => p.path.segments.last().is_some_and(|s| s.ident.to_string().ends_with("Result")),
        Type::Paren(p) => is_result(&p.elem),
        Type::Group(g) => is_result(&g.elem),
        _ => false,
    }
}

fn bind_arguments(cx: &mut Cx, f: &ItemFn) {
    for a in &f.sig.inputs {
        match a {
            FnArg::Receiver(r) => {
                let by_mut_ref = r.reference.is_some() && r.mutability.is_some();
                let host = Host { mutable: r.mutability.is_some(), by_mut_ref, input: !by_mut_ref };
                cx.scopes.bind(&Ident::new("self", r.self_token.span), Bind::Host(host));
            }
            FnArg::Typed(p) => {
                let (reference, by_mut_ref) = match &*p.ty {
                    Type::Reference(r) => (true, r.mutability.is_some()),
                    _ => (false, false),
                };
                cx.scopes.bind_pattern(&p.pat, |mutable| {
                    Bind::Host(Host { mutable: mutable || by_mut_ref, by_mut_ref, input: reference && !by_mut_ref })
                });
            }
        }
    }
}

/// The type that shares the kernel's name: `softmax::tune(&x, Effort::Quick)`.
///
/// A struct with named fields lives only in the namespace of types, so it stands beside the function.
fn named_type(f: &ItemFn) -> TokenStream {
    let (vis, name, generics) = (&f.vis, &f.sig.ident, &f.sig.generics);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let ReturnType::Type(_, output) = &f.sig.output else { return TokenStream::new() };
    let arguments: Vec<_> = f.sig.inputs.iter().enumerate().filter_map(|(i, a)| argument(i, a)).collect();
    let (types, names): (Vec<_>, Vec<_>) = arguments.into_iter().map(|(n, t)| (quote!(#n: #t), n)).unzip();
    let parameters: Vec<_> = generics
        .params
        .iter()
        .filter_map(|p| match p {
            GenericParam::Type(t) => Some(&t.ident),
            GenericParam::Const(c) => Some(&c.ident),
            GenericParam::Lifetime(_) => None,
        })
        .collect();
    let function = if parameters.is_empty() { quote!(#name) } else { quote!(#name::<#(#parameters),*>) };
    let text = name.to_string();
    // Named apart from the kernel's arguments, also where a macro makes the kernel.
    let tuner = Ident::new("tuner", Span::mixed_site());
    let tune = if mentions(f.block.to_token_stream(), "tunable") {
        let (copies, given) = trial_arguments(f, &names);
        quote! {
            ::helion::__m::tune_calls(#text, #tuner, |trial| {
                if trial {
                    #(#copies)*
                    return #function(#(#given),*);
                }
                #function(#(#names),*)
            })
        }
    } else {
        quote!(::helion::__m::tune(#tuner, || #function(#(#names),*)))
    };
    let doc =
        format!("The kernel [`{text}`](fn@{text}) as a value: tuning, explanation, and calls with a pinned config.");
    // An `impl Trait` argument cannot be named again.
    if f.sig.inputs.iter().any(|a| matches!(a, FnArg::Typed(p) if matches!(&*p.ty, Type::ImplTrait(_)))) {
        return TokenStream::new();
    }
    quote_spanned! {name.span()=>
        #[doc = #doc]
        #[allow(non_camel_case_types, dead_code)]
        #[derive(Clone, Debug)]
        #vis struct #name { config: ::helion::__m::Config }
        #[allow(dead_code, clippy::all)]
        impl #name {
            /// Calls the kernel and searches for its fastest config on these arguments, which later calls use. How to
            /// search is an `Effort` or a `Tuner`.
            #vis fn tune #impl_generics (#(#types,)* #tuner: impl ::core::convert::Into<::helion::__m::Tuner>) -> <#output as ::helion::__m::Outcome>::With<::helion::__m::Tuned> #where_clause {
                #tune
            }
            /// What the kernel becomes for these arguments: config, tile IR, loop IR, machine code.
            #vis fn explain #impl_generics (#(#types),*) -> <#output as ::helion::__m::Outcome>::With<::helion::__m::Explained> #where_clause {
                ::helion::__m::explain(|| #function(#(#names),*))
            }
            /// Which config each launch would take for these arguments, and why; nothing runs.
            #vis fn choices #impl_generics (#(#types),*) -> <#output as ::helion::__m::Outcome>::With<::std::vec::Vec<::helion::__m::Choice>> #where_clause {
                ::helion::__m::choices(|| #function(#(#names),*))
            }
            /// The kernel with a pinned config, given or by reference: `.call(…)` takes the kernel's arguments.
            #vis fn with(config: impl ::core::convert::Into<::helion::__m::Config>) -> Self {
                Self { config: config.into() }
            }
            /// Calls the kernel with the pinned config.
            #vis fn call #impl_generics (&self, #(#types),*) -> #output #where_clause {
                ::helion::__m::pinned(&self.config, || #function(#(#names),*))
            }
        }
    }
}

/// Whether tokens hold this word.
fn mentions(tokens: TokenStream, word: &str) -> bool {
    tokens.into_iter().any(|t| match t {
        TokenTree::Ident(i) => i == word,
        TokenTree::Group(g) => mentions(g.stream(), word),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// For trial calls: copies of what the kernel may write, and what to pass.
fn trial_arguments(f: &ItemFn, names: &[Ident]) -> (Vec<TokenStream>, Vec<TokenStream>) {
    let types = f.sig.inputs.iter().filter_map(|a| if let FnArg::Typed(p) = a { Some(&*p.ty) } else { None });
    let one = |(name, ty): (&Ident, &Type)| match ty {
        Type::Reference(r) if r.mutability.is_some() => {
            let copy = Ident::new(&format!("{name}_copy"), Span::mixed_site());
            (Some(quote!(let mut #copy = (*#name).copy();)), quote!(&mut #copy))
        }
        _ => (None, quote!(#name)),
    };
    let (copies, given): (Vec<_>, Vec<_>) = names.iter().zip(types).map(one).unzip();
    (copies.into_iter().flatten().collect(), given)
}

/// A name for an argument whose pattern may be anything, and its type.
fn argument(i: usize, a: &FnArg) -> Option<(Ident, &Type)> {
    match a {
        FnArg::Typed(p) => {
            let name = match &*p.pat {
                Pat::Ident(_) => pattern_names(&p.pat).into_iter().next().map(|n| n.0),
                _ => None,
            };
            Some((name.unwrap_or_else(|| Ident::new(&format!("argument{i}"), Span::mixed_site())), &*p.ty))
        }
        FnArg::Receiver(_) => None,
    }
}
