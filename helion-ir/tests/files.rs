//! Runs the file tests in `tests/files`; their format is described in the README there.

use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::diag::{Diagnostic, render};
use helion_ir::dtype::{Class, Literal};
use helion_ir::tile::{Param, ParamKind, Symbol};
use helion_ir::{DType, loops, tile};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const EXPECT: &str = "; expect: ";
const TEST: &str = "; test: ";
const GIVEN: &str = "; given: ";

/// One case of a file.
struct Case {
    /// The line of the file on which it starts.
    line: usize,
    kind: String,
    /// Everything but the expectations.
    text: String,
    expect: Vec<String>,
}

/// A function of either kind.
enum Function {
    Tile(tile::Function),
    Loops(loops::Function),
}

/// What `; given:` lines say.
#[derive(Default)]
struct Given {
    sizes: Vec<(String, u64)>,
    blocks: Vec<(String, u64)>,
    args: Vec<(String, Arg)>,
}

#[test]
fn files() {
    let bless = std::env::var_os("HELION_BLESS").is_some();
    let mut failures = String::new();
    let mut count = 0;
    for path in paths() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let is_tile = path.extension().is_some_and(|e| e == "tile");
        let mut blessed = String::new();
        for mut case in cases(&text).unwrap_or_else(|e| panic!("{name}: {e}")) {
            count += 1;
            let (found, printed) = run(is_tile, &case);
            if let Some(printed) = printed.filter(|p| case.kind == "roundtrip" && *p != function_text(&case.text)) {
                writeln!(failures, "\n{name}:{}: is printed differently:\n{printed}", case.line).unwrap();
                let comments: Vec<&str> = case.text.lines().take_while(|l| l.starts_with(';')).collect();
                case.text = format!("{}\n{printed}", comments.join("\n"));
            }
            if found != case.expect {
                let (want, found) = (case.expect.join("\n"), found.join("\n"));
                writeln!(failures, "\n{name}:{}: expected\n{want}\n  but found\n{found}", case.line).unwrap();
            }
            let line = |l: &String| format!("{EXPECT}{l}").trim_end().to_owned() + "\n";
            let end: String = found.iter().map(line).collect();
            write!(blessed, "{}{}\n{end}", if blessed.is_empty() { "" } else { "\n" }, case.text.trim_end()).unwrap();
        }
        if bless && blessed != text {
            std::fs::write(&path, blessed).unwrap();
        }
    }
    assert!(count > 20, "only {count} cases found");
    assert!(failures.is_empty() || bless, "{failures}\nHELION_BLESS=1 rewrites the expectations");
}

fn paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let all = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    let mut out: Vec<PathBuf> = all.filter(|p| p.extension().is_some_and(|e| e == "tile" || e == "loops")).collect();
    out.sort();
    out
}

fn cases(text: &str) -> Result<Vec<Case>, String> {
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

/// The function without the comments before it and blank lines after it.
fn function_text(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().skip_while(|l| l.starts_with(';')).collect();
    lines.join("\n") + "\n"
}

/// What a case gives, and how its function is printed.
fn run(is_tile: bool, case: &Case) -> (Vec<String>, Option<String>) {
    let parse = |text: &str| match is_tile {
        true => tile::parse(text).map(Function::Tile),
        false => loops::parse(text).map(Function::Loops),
    };
    let func = match parse(&case.text) {
        Ok(f) => f,
        Err(e) => return (lines(&e.to_string()), None),
    };
    let printed = func.print();
    let again = parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert!(func.same(&again), "does not survive the round trip:\n{printed}");
    let found = match case.kind.as_str() {
        "verify" => func.verify().map_or_else(|e| lines(&render(&e)), |()| lines("ok")),
        "interp" => match given(&case.text).and_then(|g| func.interp(g)) {
            Ok(out) => out,
            Err(e) => lines(&format!("error: {e}")),
        },
        _ => lines("ok"),
    };
    (found, Some(printed))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|l| l.trim_end().to_owned()).collect()
}

impl Function {
    fn print(&self) -> String {
        match self {
            Function::Tile(f) => f.to_string(),
            Function::Loops(f) => f.to_string(),
        }
    }
    fn same(&self, other: &Function) -> bool {
        match (self, other) {
            (Function::Tile(a), Function::Tile(b)) => a == b,
            (Function::Loops(a), Function::Loops(b)) => a == b,
            _ => false,
        }
    }
    fn verify(&self) -> Result<(), Vec<Diagnostic>> {
        match self {
            Function::Tile(f) => tile::verify(f.clone()).map(|_| ()),
            Function::Loops(f) => loops::verify(f),
        }
    }
    fn tables(&self) -> (&[Param], &[Symbol]) {
        match self {
            Function::Tile(f) => (&f.params, &f.symbols),
            Function::Loops(f) => (&f.params, &f.symbols),
        }
    }
    fn interp(&self, given: Given) -> Result<Vec<String>, String> {
        let (params, symbols) = self.tables();
        let mut args = Vec::new();
        for p in params {
            let found = given.args.iter().find(|(name, _)| *name == p.name);
            args.push(found.ok_or_else(|| format!("`{}` is not given", p.name))?.1.clone());
        }
        let sizes: Vec<(&str, u64)> = given.sizes.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let mut args = Args::bind(params, symbols, args, &sizes)?;
        let mut out = Vec::new();
        match self {
            Function::Loops(f) => loops::interp::run_with(f, &mut args, 1 << 32, &mut |line| out.push(line))?,
            Function::Tile(f) => run_tile(f, &mut args, &given.blocks, &mut |line| out.push(line))?,
        }
        for (p, a) in params.iter().zip(&args.params) {
            if let (ParamKind::Tensor { mutable: true, .. }, Arg::Tensor(t)) = (&p.kind, a) {
                let values: Vec<String> = t.elements().into_iter().map(show).collect();
                out.push(format!("{}: {}{:?} = {}", p.name, t.dtype(), t.dims(), values.join(" ")));
            }
        }
        Ok(out)
    }
}

fn run_tile(
    f: &tile::Function,
    args: &mut Args,
    blocks: &[(String, u64)],
    print: &mut dyn FnMut(String),
) -> Result<(), String> {
    let f = tile::verify(f.clone()).map_err(|e| render(&e))?;
    let block = |t: tile::TileId| {
        let name = &f.function().tiles[t.index()].name;
        blocks.iter().find(|(n, _)| n == name).map_or(4, |(_, size)| *size)
    };
    tile::interp::run_with(&f, args, &block, print)
}

/// The shortest text of an element.
fn show(l: Literal) -> String {
    match l.dtype.class() {
        Class::Bool => l.is_true().to_string(),
        Class::Signed => l.to_i64().to_string(),
        Class::Unsigned => (l.to_i64() as u64).to_string(),
        Class::Float | Class::Storage if l.dtype == DType::F64 => l.to_f64().to_string(),
        Class::Float | Class::Storage => (l.to_f64() as f32).to_string(),
    }
}

fn element(dtype: DType, text: &str) -> Result<Literal, String> {
    let bad = || format!("`{text}` is no value of type {dtype}");
    Ok(match dtype.class() {
        Class::Bool => Literal::from_bits(dtype, text.parse::<bool>().map_err(|_| bad())?.into()),
        Class::Signed | Class::Unsigned => Literal::from_bits(dtype, text.parse::<i128>().map_err(|_| bad())? as u64),
        Class::Float | Class::Storage => Literal::from_f64(dtype, text.parse().map_err(|_| bad())?),
    })
}

/// Reads the `; given:` lines.
fn given(text: &str) -> Result<Given, String> {
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
fn argument(ty: &str, values: &str) -> Result<Arg, String> {
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
