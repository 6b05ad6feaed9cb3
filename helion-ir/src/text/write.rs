//! Pieces of printed IR: names, strings, positions, literals.

use super::lex::{in_path, name_len};
use crate::diag::Loc;
use crate::dtype::{Class, DType, Literal};
use std::collections::HashMap;
use std::fmt;

/// Writes a name: bare where the lexer reads it back as one word, else quoted.
pub(crate) fn name(f: &mut dyn fmt::Write, name: &str) -> fmt::Result {
    if !name.is_empty() && name != "_" && name_len(name) == name.len() { f.write_str(name) } else { string(f, name) }
}

/// Writes a quoted string.
pub(crate) fn string(f: &mut dyn fmt::Write, s: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in s.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Writes ` @file:line:column`, or nothing where the position is unknown.
pub(crate) fn loc(f: &mut dyn fmt::Write, at: Loc) -> fmt::Result {
    if at == Loc::UNKNOWN {
        return Ok(());
    }
    f.write_str(" @")?;
    if !at.file.is_empty() && at.file.chars().all(in_path) {
        f.write_str(at.file)?
    } else {
        string(f, at.file)?
    }
    write!(f, ":{}:{}", at.line, at.column)
}

/// Writes `%12.name`.
pub(crate) fn value(f: &mut dyn fmt::Write, id: u32, value_name: Option<&str>) -> fmt::Result {
    write!(f, "%{id}")?;
    if let Some(n) = value_name {
        f.write_char('.')?;
        name(f, n)?;
    }
    Ok(())
}

/// The names of one table, and which of them are enough to find the entry.
pub(crate) struct Names<'a> {
    names: Vec<(&'a str, bool)>,
}

impl<'a> Names<'a> {
    /// Of the entries' names in table order.
    pub fn new(names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let mut count: HashMap<&str, u32> = HashMap::new();
        for n in names.clone() {
            *count.entry(n).or_default() += 1;
        }
        Names { names: names.map(|n| (n, count[n] == 1)).collect() }
    }

    /// Writes the entry's name, with `#position` where the name alone is not enough.
    pub fn write(&self, f: &mut dyn fmt::Write, id: u32) -> fmt::Result {
        match self.names.get(id as usize) {
            Some((n, unique)) => {
                name(f, n)?;
                if *unique { Ok(()) } else { write!(f, "#{id}") }
            }
            None => write!(f, "\"\"#{id}"),
        }
    }
}

/// Writes the value of a literal without its type: decimal where that is exact, else `0x` and its bits.
pub(crate) fn literal(f: &mut dyn fmt::Write, l: Literal) -> fmt::Result {
    let text = decimal(l);
    if parse_literal(l.dtype, &text) == Some(l) { f.write_str(&text) } else { write!(f, "0x{:x}", l.bits) }
}

fn decimal(l: Literal) -> String {
    match l.dtype.class() {
        Class::Bool => (l.bits == 1).to_string(),
        Class::Unsigned => l.bits.to_string(),
        Class::Signed => {
            let shift = 64 - 8 * l.dtype.size() as u32;
            (((l.bits << shift) as i64) >> shift).to_string()
        }
        Class::Float | Class::Storage => match l.dtype {
            DType::F64 => format!("{:?}", f64::from_bits(l.bits)),
            DType::F32 => format!("{:?}", f32::from_bits(l.bits as u32)),
            _ => format!("{:?}", l.to_f64() as f32),
        },
    }
}

/// Reads what [`literal`] writes (the sign included).
pub(crate) fn parse_literal(dtype: DType, text: &str) -> Option<Literal> {
    if let Some(hex) = text.strip_prefix("0x") {
        let bits = u64::from_str_radix(hex, 16).ok()?;
        let l = Literal::from_bits(dtype, bits);
        return (l.bits == bits).then_some(l);
    }
    match dtype.class() {
        Class::Bool => text.parse::<bool>().ok().map(|b| Literal::from_bits(dtype, b.into())),
        Class::Unsigned => {
            let v: u64 = text.parse().ok()?;
            let l = Literal::from_bits(dtype, v);
            (l.bits == v).then_some(l)
        }
        Class::Signed => {
            let v: i64 = text.parse().ok()?;
            let half = 1i64 << (8 * dtype.size() as u32 - 1).min(62);
            let fits = dtype.size() == 8 || (-half..half).contains(&v);
            fits.then(|| Literal::from_bits(dtype, v as u64))
        }
        Class::Float | Class::Storage => {
            let v: f64 = text.parse().ok()?;
            Some(match dtype {
                DType::F64 => Literal::from_bits(dtype, v.to_bits()),
                DType::F32 => Literal::from_bits(dtype, text.parse::<f32>().ok()?.to_bits().into()),
                _ => Literal::from_f64(dtype, v),
            })
        }
    }
}

/// What `write` does, as a string; for messages.
pub(crate) fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut s = String::new();
    match write(&mut s) {
        Ok(()) | Err(fmt::Error) => s,
    }
}

/// Two spaces for each level.
pub(crate) fn indent(f: &mut dyn fmt::Write, depth: usize) -> fmt::Result {
    for _ in 0..depth {
        f.write_str("  ")?;
    }
    Ok(())
}

/// Writes `", "` before every item but the first.
pub(crate) fn list<T>(
    f: &mut dyn fmt::Write,
    items: impl IntoIterator<Item = T>,
    mut item: impl FnMut(&mut dyn fmt::Write, T) -> fmt::Result,
) -> fmt::Result {
    for (i, x) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        item(f, x)?;
    }
    Ok(())
}
