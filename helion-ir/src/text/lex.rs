//! Text to tokens.
//!
//! In: any text. Out: tokens with their place, ended by [`Tok::End`], or a diagnostic for the first
//! character that belongs to no token. `;` starts a comment that ends with the line.

use super::error;
use crate::diag::{Diagnostic, Loc};

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok<'a> {
    /// A word: letters, digits, `_`, `'`, and dots between them.
    Name(&'a str),
    /// A quoted string, unescaped.
    Str(String),
    /// A number as written, without sign.
    Num(&'a str),
    /// `%12` or `%12.name`.
    Value(u32, Option<String>),
    /// `@file:line:column`.
    At(Loc),
    /// An operator or bracket.
    Punct(&'static str),
    /// The end of the text.
    End,
}

/// A token and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Token<'a> {
    pub tok: Tok<'a>,
    pub line: u32,
    pub column: u32,
    /// Whether it is the first of its line.
    pub first: bool,
}

const PUNCT: &[&str] =
    &["..", "<=", "->", ".", "{", "}", "[", "]", "(", ")", ",", ":", "=", "+", "-", "*", "/", "%", "&", "$", "#", "_"];

/// Whether `c` may start a bare name.
pub(crate) fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// Whether `c` may continue a bare name.
pub(crate) fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '\''
}

/// The length of the bare name at the start of `s`: words joined by single dots.
pub(crate) fn name_len(s: &str) -> usize {
    if !s.starts_with(starts_name) {
        return 0;
    }
    let mut end = 0;
    loop {
        end += s[end..].find(|c| !in_name(c)).unwrap_or(s.len() - end);
        match s[end..].strip_prefix('.') {
            Some(rest) if rest.starts_with(in_name) => end += 1,
            _ => return end,
        }
    }
}

/// Whether `c` may appear in an unquoted file name after `@`.
pub(crate) fn in_path(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
    first: bool,
}

/// The tokens of `text`.
pub(crate) fn lex(text: &str) -> Result<Vec<Token<'_>>, Diagnostic> {
    let mut lexer = Lexer { rest: text, line: 1, column: 1, first: true };
    let mut out = Vec::new();
    loop {
        lexer.skip_blank();
        let (line, column, first) = (lexer.line, lexer.column, lexer.first);
        let tok = lexer.token()?;
        lexer.first = false;
        let end = tok == Tok::End;
        out.push(Token { tok, line, column, first });
        if end {
            return Ok(out);
        }
    }
}

impl<'a> Lexer<'a> {
    fn error(&self, message: impl Into<String>) -> Diagnostic {
        error(self.line, self.column, message)
    }

    /// Takes `n` bytes.
    fn take(&mut self, n: usize) -> &'a str {
        let (head, tail) = self.rest.split_at(n);
        for c in head.chars() {
            if c == '\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
                self.first = true;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.rest = tail;
        head
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let n = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        self.take(n)
    }

    fn skip_blank(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with(';') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Result<Tok<'a>, Diagnostic> {
        let Some(c) = self.rest.chars().next() else { return Ok(Tok::End) };
        if c == '"' {
            return self.string().map(Tok::Str);
        }
        if c == '@' {
            return self.position().map(Tok::At);
        }
        if c == '%' && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            return self.value();
        }
        if c.is_ascii_digit() {
            return Ok(Tok::Num(self.number()));
        }
        let n = name_len(self.rest);
        if n > 0 && !(n == 1 && c == '_') {
            return Ok(Tok::Name(self.take(n)));
        }
        match PUNCT.iter().find(|p| self.rest.starts_with(**p)) {
            Some(p) => {
                self.take(p.len());
                Ok(Tok::Punct(p))
            }
            None => Err(self.error(format!("unexpected character {c:?}"))),
        }
    }

    /// Digits with a fraction and an exponent, or `0x` and hexadecimal digits.
    fn number(&mut self) -> &'a str {
        let s = self.rest;
        let digits = |from: usize| from + s[from..].find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len() - from);
        let starts_digit = |from: usize| s[from..].starts_with(|c: char| c.is_ascii_digit());
        if let Some(hex) = s.strip_prefix("0x") {
            return self.take(2 + hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len()));
        }
        let mut n = digits(0);
        if s[n..].starts_with('.') && starts_digit(n + 1) {
            n = digits(n + 1);
        }
        if s[n..].starts_with('e') {
            let sign = usize::from(s[n + 1..].starts_with(['+', '-']));
            if starts_digit(n + 1 + sign) {
                n = digits(n + 1 + sign);
            }
        }
        self.take(n)
    }

    fn small<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, Diagnostic> {
        let error = self.error(format!("{what} must be a whole number below 2^32"));
        self.take_while(|c| c.is_ascii_digit()).parse().map_err(|_| error)
    }

    fn value(&mut self) -> Result<Tok<'a>, Diagnostic> {
        self.take(1);
        let id = self.small("the number of a value")?;
        let named = self.rest.strip_prefix('.').is_some_and(|r| r.starts_with(|c| starts_name(c) || c == '"'));
        if !named {
            return Ok(Tok::Value(id, None));
        }
        self.take(1);
        let name = if self.rest.starts_with('"') { self.string()? } else { self.take(name_len(self.rest)).to_owned() };
        Ok(Tok::Value(id, Some(name)))
    }

    fn position(&mut self) -> Result<Loc, Diagnostic> {
        self.take(1);
        let file = if self.rest.starts_with('"') { self.string()? } else { self.take_while(in_path).to_owned() };
        let mut numbers = [0u32; 2];
        for n in &mut numbers {
            if !self.rest.starts_with(':') {
                return Err(self.error("a position is written `@file:line:column`"));
            }
            self.take(1);
            *n = self.small("a line or column")?;
        }
        Ok(Loc::new(&file, numbers[0], numbers[1]))
    }

    fn string(&mut self) -> Result<String, Diagnostic> {
        let open = self.error("this string has no closing quote");
        self.take(1);
        let mut out = String::new();
        loop {
            let chunk = self.take_while(|c| c != '"' && c != '\\');
            out.push_str(chunk);
            if self.rest.is_empty() {
                return Err(open);
            }
            if self.take(1) == "\"" {
                return Ok(out);
            }
            let bad = self.error("the escapes are \\\\ \\\" \\n \\r \\t and \\u{…}");
            match self.rest.chars().next() {
                Some(c @ ('"' | '\\')) => out.push(c),
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('u') => {
                    out.push(self.unicode().ok_or(bad)?);
                    continue;
                }
                Some(_) | None => return Err(bad),
            }
            self.take(1);
        }
    }

    /// `u{hex}`.
    fn unicode(&mut self) -> Option<char> {
        let body = self.rest.strip_prefix("u{")?;
        let n = body.find('}').filter(|n| *n <= 8)?;
        let c = u32::from_str_radix(&body[..n], 16).ok().and_then(char::from_u32)?;
        self.take(n + 3);
        Some(c)
    }
}
