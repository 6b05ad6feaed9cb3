//! What the heads of both IRs share: symbols and parameters.

use super::{Cursor, Read, write};
use crate::tile::{Dim, Layout, Param, ParamKind, Shape, Symbol, SymbolId};

impl Layout {
    const ALL: [Layout; 3] = [Layout::Contiguous, Layout::LastUnit, Layout::Strided];

    /// The word for it in printed IR.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Layout::Contiguous => "contiguous",
            Layout::LastUnit => "last_unit",
            Layout::Strided => "strided",
        }
    }

    fn from_word(word: &str) -> Option<Layout> {
        Layout::ALL.into_iter().find(|l| l.word() == word)
    }
}

/// Reads a reference to an entry of a table: `name`, or `name#position`.
pub(crate) fn reference<'n>(
    c: &mut Cursor<'_>,
    what: &str,
    names: impl ExactSizeIterator<Item = &'n str>,
) -> Read<u32> {
    let unknown = |c: &Cursor<'_>, name: &str| c.error(format!("there is no {what} `{name}`"));
    let before = c.error("");
    let name = c.name(&format!("the name of a {what}"))?;
    if c.eat("#") {
        let id: u32 = c.int("a position in a table")?;
        let mut names = names;
        return match names.nth(id as usize) {
            Some(n) if n == name => Ok(id),
            Some(_) | None => Err(unknown(c, &format!("{name}#{id}"))),
        };
    }
    let mut found = None;
    for (i, n) in names.enumerate() {
        if n == name {
            if found.is_some() {
                let mut e = c.error(format!("there are several {what}s named `{name}`; write `{name}#position`"));
                e.at = before.at;
                return Err(e);
            }
            found = Some(i as u32);
        }
    }
    found.ok_or_else(|| {
        let mut e = unknown(c, &name);
        e.at = before.at;
        e
    })
}

/// Reads `symbol m`, any number of times.
pub(crate) fn symbol_list(c: &mut Cursor<'_>) -> Read<Vec<Symbol>> {
    let mut out = Vec::new();
    while c.eat_word("symbol") {
        out.push(Symbol { name: c.name("the name of a size")? });
    }
    Ok(out)
}

/// Reads one parameter after the word `param`, for a parser `p` that holds a cursor; `dims` reads `[extent, …]`.
pub(crate) fn param<'t, P>(
    p: &mut P,
    cursor: impl Fn(&mut P) -> &mut Cursor<'t>,
    dims: impl FnOnce(&mut P) -> Read<Shape>,
) -> Read<Param> {
    let c = cursor(p);
    let name = c.name("the name of a parameter")?;
    c.expect(":")?;
    if c.eat_word("scalar") {
        let dtype = c.dtype()?;
        return Ok(Param { name, kind: ParamKind::Scalar { dtype }, at: c.position() });
    }
    let mutable = c.eat_word("mut");
    if !c.eat_word("tensor") {
        return Err(c.expected("`tensor`, `mut tensor` or `scalar`"));
    }
    let dtype = c.dtype()?;
    let dims = dims(p)?;
    let c = cursor(p);
    let e = c.expected("`contiguous`, `last_unit` or `strided`");
    let layout = Layout::from_word(c.word("a layout")?).ok_or(e)?;
    Ok(Param { name, kind: ParamKind::Tensor { dtype, dims, mutable, layout }, at: c.position() })
}

/// Reads `$n`, a size symbol.
pub(crate) fn symbol(c: &mut Cursor<'_>, symbols: &[Symbol]) -> Read<SymbolId> {
    c.expect("$")?;
    reference(c, "size", symbols.iter().map(|s| s.name.as_str())).map(SymbolId)
}

/// Writes `symbol m` lines.
pub(crate) fn write_symbols(f: &mut dyn std::fmt::Write, symbols: &[Symbol]) -> std::fmt::Result {
    for s in symbols {
        f.write_str("  symbol ")?;
        write::name(f, &s.name)?;
        f.write_str("\n")?;
    }
    Ok(())
}

/// Writes one `param` line; `dim` writes an extent.
pub(crate) fn write_param(
    f: &mut dyn std::fmt::Write,
    p: &Param,
    dim: impl FnMut(&mut dyn std::fmt::Write, &Dim) -> std::fmt::Result,
) -> std::fmt::Result {
    f.write_str("  param ")?;
    write::name(f, &p.name)?;
    f.write_str(": ")?;
    match &p.kind {
        ParamKind::Scalar { dtype } => write!(f, "scalar {dtype}")?,
        ParamKind::Tensor { dtype, dims, mutable, layout } => {
            write!(f, "{}tensor {dtype}[", if *mutable { "mut " } else { "" })?;
            write::list(f, dims, dim)?;
            write!(f, "] {}", layout.word())?;
        }
    }
    write::loc(f, p.at)?;
    f.write_str("\n")
}
