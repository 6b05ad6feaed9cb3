//! PTX as text.
//!
//! In: a module's text. Out: [`ast::Source`], the declarations and instructions as they were written, with the
//! line of each. Nothing is resolved yet: an instruction is its words and operands.

pub(crate) mod ast;
mod lex;
mod parse;
mod stmt;

pub(crate) use parse::parse;

/// Why a text is not a module that can be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line in the text, from 1.
    pub line: u32,
    /// What was expected, and what was found.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(line: u32, message: impl Into<String>) -> ParseError {
        ParseError { line, message: message.into() }
    }
}

/// The result of everything that reads text.
pub(crate) type Read<T> = Result<T, ParseError>;
