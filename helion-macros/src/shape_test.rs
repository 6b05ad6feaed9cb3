//! The unit test made for every kernel.
//!
//! In: the kernel's signature. Out: a `#[test]` function beside it that records and verifies the kernel
//! for every element type its bounds allow, without running it. Arguments are made from their types; a
//! kernel with an argument that cannot be made gets a test that is ignored, with the reason.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{FnArg, GenericArgument, GenericParam, ItemFn, PathArguments, PathSegment, Type, TypeParam, TypeParamBound};

/// One way to instantiate a generic parameter: the item that defines it, and what to call it.
type Choice = (TokenStream, String);

/// The test of a kernel.
pub fn of(f: &ItemFn) -> TokenStream {
    let name = &f.sig.ident;
    let test = format_ident!("{}_kernel_shapes", name);
    let kernel = name.to_string();
    match instances(f).and_then(|i| Ok((i, arguments(f)?))) {
        Ok((instances, (lets, values))) => {
            let (function, consts) = (turbofish(f), consts(f));
            let runs = instances.iter().map(|(items, label)| {
                quote! {{
                    #(#items)*
                    tester.instance(#label, &[#(#consts),*], &|s: &mut ::helion::__m::Sizes| {
                        #(#lets)*
                        ::helion::__m::attempt(|| #function(#(#values),*))
                    });
                }}
            });
            quote! {
                #[cfg(test)]
                #[test]
                #[allow(non_snake_case, unnameable_test_items, unused_variables, unused_mut, dead_code, non_upper_case_globals, clippy::all)]
                fn #test() {
                    let mut tester = ::helion::__m::ShapeTest::new(#kernel);
                    #(#runs)*
                    tester.finish();
                }
            }
        }
        Err(why) => {
            let why = format!("no shape test: {why}");
            quote! {
                #[cfg(test)]
                #[test]
                #[ignore = #why]
                #[allow(non_snake_case, unnameable_test_items)]
                fn #test() {}
            }
        }
    }
}

/// Const parameters: sizes that arguments may have to match.
pub fn consts(f: &ItemFn) -> Vec<Ident> {
    let params = f.sig.generics.params.iter();
    params
        .filter_map(|p| match p {
            GenericParam::Const(c) if is_path(&c.ty, "usize") => Some(c.ident.clone()),
            _ => None,
        })
        .collect()
}

/// The kernel with its generic arguments: aliases for element types and constants, `_` for functions.
fn turbofish(f: &ItemFn) -> TokenStream {
    let name = &f.sig.ident;
    let args: Vec<TokenStream> = f
        .sig
        .generics
        .params
        .iter()
        .filter_map(|p| match p {
            GenericParam::Type(t) if tile_fn(&t.bounds).is_some() => Some(quote!(_)),
            GenericParam::Type(t) => Some(t.ident.to_token_stream()),
            GenericParam::Const(c) => Some(c.ident.to_token_stream()),
            GenericParam::Lifetime(_) => None,
        })
        .collect();
    if args.is_empty() { quote!(#name) } else { quote!(#name::<#(#args),*>) }
}

/// Every combination of element types and constants, as items and a label.
fn instances(f: &ItemFn) -> Result<Vec<(Vec<TokenStream>, String)>, String> {
    if f.sig.generics.where_clause.as_ref().is_some_and(|w| !w.predicates.is_empty()) {
        return Err("the kernel has a `where` clause".to_owned());
    }
    let mut all: Vec<(Vec<TokenStream>, String)> = vec![(Vec::new(), String::new())];
    for p in &f.sig.generics.params {
        let choices: Vec<Choice> = match p {
            GenericParam::Lifetime(_) => continue,
            GenericParam::Type(t) if tile_fn(&t.bounds).is_some() => continue,
            GenericParam::Type(t) => element_types(t)?,
            GenericParam::Const(c) => {
                let (name, ty) = (&c.ident, &c.ty);
                let values: &[&str] = match () {
                    () if is_path(ty, "usize") => &["16"],
                    () if is_path(ty, "bool") => &["false", "true"],
                    () => return Err(format!("`{name}` is a constant of an unusual type")),
                };
                let make = |v: &&str| {
                    let value: TokenStream = v.parse().unwrap_or_default();
                    (quote!(const #name: #ty = #value;), format!("{name} = {v}"))
                };
                values.iter().map(make).collect()
            }
        };
        all = all
            .iter()
            .flat_map(|(items, label)| {
                choices.iter().map(move |(item, text)| {
                    let items = items.iter().chain([item]).cloned().collect();
                    let label = if label.is_empty() { text.clone() } else { format!("{label}, {text}") };
                    (items, label)
                })
            })
            .collect();
        // Enough to see every type; many parameters would multiply.
        all.truncate(16);
    }
    Ok(all)
}

/// The element types that a parameter's bounds allow.
fn element_types(t: &TypeParam) -> Result<Vec<Choice>, String> {
    let name = &t.ident;
    let mut found: Option<&[&str]> = None;
    for b in &t.bounds {
        let TypeParamBound::Trait(b) = b else { continue };
        let Some(last) = b.path.segments.last() else { continue };
        found = Some(match last.ident.to_string().as_str() {
            "Float" => &["f32", "f16", "bf16", "f64"],
            "Num" => &["f32", "f16", "bf16", "f64", "i32", "i64", "u8"],
            "Int" => &["i32", "i64", "u8"],
            "Elem" => &["f32", "f16", "i64", "bool"],
            "Bits" => &["i32", "u8", "bool"],
            "Copy" | "Clone" | "Send" | "Sync" | "Debug" | "Default" | "PartialEq" => continue,
            other => {
                return Err(format!("the bound `{name}: {other}` is not one of Elem, Num, Float, Int, Bits, TileFn"));
            }
        });
    }
    let types = found.ok_or_else(|| format!("`{name}` has no bound that says which types it can be"))?;
    Ok(types
        .iter()
        .map(|ty| {
            let ident = Ident::new(ty, Span::call_site());
            let path = if ty.ends_with("f16") { quote!(::helion::__m::#ident) } else { quote!(#ident) };
            (quote!(type #name = #path;), format!("{name} = {ty}"))
        })
        .collect())
}

/// The `TileFn<In, Out>` among bounds.
fn tile_fn<'a>(bounds: impl IntoIterator<Item = &'a TypeParamBound>) -> Option<&'a PathSegment> {
    bounds.into_iter().find_map(|b| match b {
        TypeParamBound::Trait(b) => b.path.segments.last().filter(|s| s.ident == "TileFn"),
        _ => None,
    })
}

/// Statements that make the arguments, and the expressions that pass them.
fn arguments(f: &ItemFn) -> Result<(Vec<TokenStream>, Vec<TokenStream>), String> {
    let (mut lets, mut values) = (Vec::new(), Vec::new());
    for (i, a) in f.sig.inputs.iter().enumerate() {
        let FnArg::Typed(p) = a else { return Err("methods are tested through their callers".to_owned()) };
        let (made, pass) = argument(f, &p.ty)?;
        let name = format_ident!("argument{i}");
        lets.push(quote!(let mut #name = #made;));
        values.push(match pass {
            Pass::Value => quote!(#name),
            Pass::Shared => quote!(&#name),
            Pass::Mut => quote!(&mut #name),
            Pass::AsRef => quote!(#name.as_ref()),
            Pass::AsMut => quote!(#name.as_mut()),
        });
    }
    Ok((lets, values))
}

/// How a made value is passed.
enum Pass {
    Value,
    Shared,
    Mut,
    AsRef,
    AsMut,
}

fn argument(f: &ItemFn, ty: &Type) -> Result<(TokenStream, Pass), String> {
    match ty {
        Type::Reference(r) => {
            let made = value(f, &r.elem)?;
            Ok((made, if r.mutability.is_some() { Pass::Mut } else { Pass::Shared }))
        }
        Type::Paren(p) => argument(f, &p.elem),
        Type::Group(p) => argument(f, &p.elem),
        Type::Path(_) if option_of(ty).is_some_and(|t| matches!(t, Type::Reference(_))) => {
            let Some(Type::Reference(r)) = option_of(ty) else { return Err(unknown(ty)) };
            let inner = value(f, &r.elem)?;
            let made =
                quote!(if s.flag() { ::core::option::Option::Some(#inner) } else { ::core::option::Option::None });
            Ok((made, if r.mutability.is_some() { Pass::AsMut } else { Pass::AsRef }))
        }
        ty => Ok((value(f, ty)?, Pass::Value)),
    }
}

/// An expression that makes an owned value of a type; which type exactly, the call infers.
fn value(f: &ItemFn, ty: &Type) -> Result<TokenStream, String> {
    match ty {
        Type::Paren(p) => value(f, &p.elem),
        Type::Group(p) => value(f, &p.elem),
        Type::ImplTrait(i) => match tile_fn(&i.bounds) {
            Some(s) => identity(s),
            None => Err(unknown(ty)),
        },
        Type::Array(a) => {
            let (inner, n) = (value(f, &a.elem)?, &a.len);
            Ok(quote!({ let made: [_; #n] = ::core::array::from_fn(|_| #inner); made }))
        }
        Type::Tuple(t) => {
            let parts = t.elems.iter().map(|t| value(f, t)).collect::<Result<Vec<_>, _>>()?;
            Ok(quote!((#(#parts,)*)))
        }
        Type::Path(p) => {
            let last = p.path.segments.last().ok_or_else(|| unknown(ty))?;
            if let Some(inner) = option_of(ty) {
                let inner = value(f, inner)?;
                return Ok(
                    quote!(if s.flag() { ::core::option::Option::Some(#inner) } else { ::core::option::Option::None }),
                );
            }
            let name = last.ident.to_string();
            let parameter = f.sig.generics.type_params().find(|t| p.path.is_ident(&t.ident));
            match (name.as_str(), parameter) {
                (_, Some(t)) => match tile_fn(&t.bounds) {
                    Some(s) => identity(s),
                    None => Ok(quote!(s.make())),
                },
                ("Tensor", None) => Ok(quote!(s.make())),
                ("bool", None) => Ok(quote!(s.flag())),
                (
                    "f16" | "bf16" | "f32" | "f64" | "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64"
                    | "usize" | "isize",
                    None,
                ) => Ok(quote!(s.make())),
                _ => Err(unknown(ty)),
            }
        }
        _ => Err(unknown(ty)),
    }
}

fn unknown(ty: &Type) -> String {
    format!("a value of type `{}` cannot be made up", ty.to_token_stream())
}

/// A closure from the `In` of a `TileFn` to its `Out`: the argument itself, or the part of that type.
fn identity(s: &PathSegment) -> Result<TokenStream, String> {
    let PathArguments::AngleBracketed(a) = &s.arguments else { return Err("`TileFn` without arguments".to_owned()) };
    let types: Vec<&Type> = a
        .args
        .iter()
        .filter_map(|a| match a {
            GenericArgument::Type(t) => Some(t),
            _ => None,
        })
        .collect();
    let text = |t: &Type| t.to_token_stream().to_string();
    match types[..] {
        [input] => Ok(quote!(|t: #input| t)),
        [input, output] if text(input) == text(output) => Ok(quote!(|t: #input| t)),
        [Type::Tuple(t), output] => {
            let at = t.elems.iter().position(|e| text(e) == text(output));
            let at = at.map(syn::Index::from).ok_or("no argument of a tile function has the type of its result")?;
            Ok(quote!(|t: #t| t.#at))
        }
        _ => Err("a tile function cannot be made up".to_owned()),
    }
}

/// `X` of `Option<X>`.
fn option_of(ty: &Type) -> Option<&Type> {
    let Type::Path(p) = ty else { return None };
    let last = p.path.segments.last().filter(|s| s.ident == "Option")?;
    let PathArguments::AngleBracketed(a) = &last.arguments else { return None };
    match a.args.first() {
        Some(GenericArgument::Type(t)) => Some(t),
        _ => None,
    }
}

fn is_path(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(p) if p.path.is_ident(name))
}
