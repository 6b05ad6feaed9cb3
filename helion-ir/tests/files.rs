//! Runs the file tests in `tests/files`; their format is described in the README there.

#[path = "common/case.rs"]
mod case;

use case::{Case, EXPECT, Given, cases, given, paths, show};
use helion_ir::args::{Arg, Args};
use helion_ir::diag::{Diagnostic, render};
use helion_ir::tile::{Param, ParamKind, Symbol};
use helion_ir::{loops, tile};
use std::fmt::Write as _;

/// A function of either kind.
enum Function {
    Tile(tile::Function),
    Loops(loops::Function),
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
        let mut args = given.bind(params, symbols)?;
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
