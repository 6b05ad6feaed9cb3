//! Cases of file tests: how a file is cut into them, and what its `; given:` lines say.
#![allow(dead_code)] // Each test that includes this file uses a part of it.

use helion_ir::DType;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::dtype::{Class, Literal};
use helion_ir::tile::{Param, Symbol};
use std::path::{Path, PathBuf};

pub const EXPECT: &str = "; expect: ";
pub const TEST: &str = "; test: ";
pub const GIVEN: &str = "; given: ";

/// One case of a file.
pub struct Case {
    /// The line of the file on which it starts.
    pub line: usize,
    pub kind: String,
    /// Everything but the expectations.
    pub text: String,
    pub expect: Vec<String>,
}

/// What `; given:` lines say.
#[derive(Default)]
pub struct Given {
    pub sizes: Vec<(String, u64)>,
    pub blocks: Vec<(String, u64)>,
    pub args: Vec<(String, Arg)>,
}

/// The files.
pub fn paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../helion-ir/tests/files");
    let all = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    let mut out: Vec<PathBuf> = all.filter(|p| p.extension().is_some_and(|e| e == "tile" || e == "loops")).collect();
    out.sort();
    out
}

/// The cases of a file.
pub fn cases(text: &str) -> Result<Vec<Case>, String> {
    let mut out: Vec<Case> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if let Some(kind) = line.strip_prefix(TEST) {
            if !["roundtrip", "verify", "interp"].contains(&kind) {
                return Err(format!("line {}: `{kind}` is not a kind of test", i + 1));
            }
            out.push(Case { line: i + 1, kind: kind.to_owned(), text: String::new(), expect: Vec::new() });
        }
        let Some(case) = out.last_mut() else { return Err(format!("starts without `{TEST}`")) };
        match line.strip_prefix(EXPECT.trim_end()) {
            Some(e) => case.expect.push(e.strip_prefix(' ').unwrap_or(e).to_owned()),
            None => case.text = format!("{}{line}\n", case.text),
        }
    }
    Ok(out)
}

/// The shortest text of an element.
pub fn show(l: Literal) -> String {
    match l.dtype.class() {
        Class::Bool => l.is_true().to_string(),
        Class::Signed => l.to_i64().to_string(),
        Class::Unsigned => (l.to_i64() as u64).to_string(),
        Class::Float | Class::Storage if l.dtype == DType::F64 => l.to_f64().to_string(),
        Class::Float | Class::Storage => (l.to_f64() as f32).to_string(),
    }
}

/// An element from text.
pub fn element(dtype: DType, text: &str) -> Result<Literal, String> {
    let bad = || format!("`{text}` is no value of type {dtype}");
    Ok(match dtype.class() {
        Class::Bool => Literal::from_bits(dtype, text.parse::<bool>().map_err(|_| bad())?.into()),
        Class::Signed | Class::Unsigned => Literal::from_bits(dtype, text.parse::<i128>().map_err(|_| bad())? as u64),
        Class::Float | Class::Storage => Literal::from_f64(dtype, text.parse().map_err(|_| bad())?),
    })
}

/// Reads the `; given:` lines.
pub fn given(text: &str) -> Result<Given, String> {
    let mut out = Given::default();
    for line in text.lines().filter_map(|l| l.strip_prefix(GIVEN)) {
        let bad = || format!("`{line}`: not understood");
        let (what, value) = line.split_once('=').ok_or_else(bad)?;
        let (what, value) = (what.trim(), value.trim());
        let Some((name, ty)) = what.split_once(':') else {
            let v = value.parse().map_err(|_| bad())?;
            match what.strip_prefix("block ") {
                Some(tile) => out.blocks.push((tile.to_owned(), v)),
                None => out.sizes.push((what.to_owned(), v)),
            }
            continue;
        };
        out.args.push((name.to_owned(), argument(ty.trim(), value)?));
    }
    Ok(out)
}

/// A scalar or tensor of a type such as `f32[2, 3] order [1, 0]`.
pub fn argument(ty: &str, values: &str) -> Result<Arg, String> {
    let numbers = |s: &str| -> Result<Vec<u64>, String> {
        let inner = s.trim().trim_start_matches('[').trim_end_matches(']');
        let parts = inner.split(',').map(str::trim).filter(|p| !p.is_empty());
        parts.map(|p| p.parse().map_err(|_| format!("`{p}` is not a number"))).collect()
    };
    let (ty, order) = ty.split_once(" order ").unwrap_or((ty, ""));
    let Some((dtype, dims)) = ty.split_once('[') else {
        return Ok(Arg::Scalar(element(ty.parse()?, values)?));
    };
    let (dtype, dims) = (dtype.parse()?, numbers(dims)?);
    let mut elements = values.split_whitespace().map(|v| element(dtype, v)).collect::<Result<Vec<_>, _>>()?;
    let count: u64 = dims.iter().product();
    if elements.len() == 1 {
        elements = vec![elements[0]; count as usize];
    }
    if elements.len() as u64 != count {
        return Err(format!("{} values for {count} elements", elements.len()));
    }
    let t = TensorArg::new(dtype, &dims, elements);
    let order: Vec<usize> = numbers(order)?.into_iter().map(|n| n as usize).collect();
    Ok(Arg::Tensor(if order.is_empty() { t } else { t.relaid(&order, 0) }))
}

impl Given {
    /// Arguments for a function.
    pub fn bind(&self, params: &[Param], symbols: &[Symbol]) -> Result<Args, String> {
        let mut args = Vec::new();
        for p in params {
            let found = self.args.iter().find(|(name, _)| *name == p.name);
            args.push(found.ok_or_else(|| format!("`{}` is not given", p.name))?.1.clone());
        }
        let sizes: Vec<(&str, u64)> = self.sizes.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        Args::bind(params, symbols, args, &sizes)
    }
}
