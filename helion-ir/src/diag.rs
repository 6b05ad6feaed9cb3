//! Source positions and diagnostics.
//!
//! A [`Diagnostic`] holds facts: what is wrong, where, and what to try. Rendering is one function,
//! so every message of the project looks the same.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::panic::Location;
use std::sync::{Mutex, OnceLock};

/// A position in the user's source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Loc {
    /// File as the compiler names it; empty when unknown.
    pub file: &'static str,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
}

impl Loc {
    /// No position.
    pub const UNKNOWN: Loc = Loc { file: "", line: 0, column: 0 };

    /// The position of the caller of a `#[track_caller]` function.
    #[track_caller]
    pub fn caller() -> Loc {
        Location::caller().into()
    }
    /// A position from text, as a parser reads it.
    pub fn new(file: &str, line: u32, column: u32) -> Loc {
        Loc { file: intern(file), line, column }
    }
    /// Whether the position is known.
    pub const fn is_known(self) -> bool {
        self.line != 0
    }
}

impl From<&'static Location<'static>> for Loc {
    fn from(l: &'static Location<'static>) -> Loc {
        Loc { file: l.file(), line: l.line(), column: l.column() }
    }
}

impl fmt::Debug for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Keeps one copy of each distinct name for the life of the process.
pub fn intern(name: &str) -> &'static str {
    static NAMES: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let mut names = NAMES.get_or_init(Default::default).lock().unwrap_or_else(|e| e.into_inner());
    if let Some(n) = names.get(name) {
        return n;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}

/// Something wrong in a user's kernel or in IR text, with advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: expected and found, in the user's words. No internal type names.
    pub message: String,
    /// Where.
    pub at: Loc,
    /// Other places that matter, each with what it is.
    pub labels: Vec<(Loc, String)>,
    /// What to try.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// A diagnostic with a message and a place.
    pub fn new(at: Loc, message: impl Into<String>) -> Self {
        Diagnostic { message: message.into(), at, labels: Vec::new(), help: Vec::new() }
    }
    /// Adds another place.
    #[must_use]
    pub fn label(mut self, at: Loc, text: impl Into<String>) -> Self {
        self.labels.push((at, text.into()));
        self
    }
    /// Adds advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        write_place(f, self.at, "")?;
        for (at, text) in &self.labels {
            write!(f, "\nnote: {text}")?;
            write_place(f, *at, "")?;
        }
        for help in &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// `  --> file:line:column` and, where the file can be read, the line with a caret.
fn write_place(f: &mut fmt::Formatter<'_>, at: Loc, indent: &str) -> fmt::Result {
    if !at.is_known() {
        return Ok(());
    }
    write!(f, "\n{indent}  --> {at}")?;
    if let Some(line) = source_line(at) {
        let pad = " ".repeat(at.line.to_string().len());
        let mut caret = String::new();
        for c in line.chars().take(at.column.saturating_sub(1) as usize) {
            caret.push(if c == '\t' { '\t' } else { ' ' });
        }
        write!(caret, "^")?;
        write!(f, "\n{indent} {pad} |\n{indent} {} | {}\n{indent} {pad} | {caret}", at.line, line.trim_end())?;
    }
    Ok(())
}

/// The line of source, when the file is where the compiler saw it (development builds, tests).
fn source_line(at: Loc) -> Option<String> {
    let path = std::path::Path::new(at.file);
    if path.extension().is_none_or(|e| e != "rs") {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().nth(at.line as usize - 1).map(str::to_owned)
}

/// Renders several diagnostics, one blank line between them.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("\n\n")
}
