//! Text of both IRs: tokens, names, literals, positions.
//!
//! In: the text of one function. Out: tokens with line and column ([`lex::lex`]), read through a
//! [`Cursor`] by the parsers of [`crate::tile`] and [`crate::loops`]; [`write`] is its mirror for the
//! printers. Then: whatever `write` prints, the cursor reads back, and any other text gives a
//! [`Diagnostic`] with line and column.

mod cursor;
mod lex;
mod names;
mod params;
pub(crate) mod write;

pub(crate) use cursor::{Cursor, Read, Values};
pub(crate) use lex::Tok;
pub(crate) use params::{param, reference, symbol, symbol_list, write_param, write_symbols};

use crate::diag::{Diagnostic, Loc};

/// The file name in positions of parse errors.
pub(crate) const INPUT: &str = "<text>";

/// How deeply statements, regions and size expressions may nest in text.
pub(crate) const MAX_DEPTH: usize = 100;

/// An error at a place of the text.
pub(crate) fn error(line: u32, column: u32, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Loc::new(INPUT, line, column), message)
}
