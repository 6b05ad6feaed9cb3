//! Text to tokens, each with its line. Comments and white space are gone.

use super::{ParseError, Read};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    /// A name, a register or an opcode.
    Word(&'a str),
    /// What follows a dot, `::` included: `.shared::cta`.
    Dot(&'a str),
    Int(u64),
    F32(u32),
    F64(u64),
    Text(&'a str),
    Mark(u8),
    End,
}

/// All tokens of a text; the last is `End`.
pub(crate) fn lex(text: &str) -> Read<Vec<(Token<'_>, u32)>> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut tokens = Vec::with_capacity(text.len() / 4);
    loop {
        lexer.skip_blank()?;
        let line = lexer.line;
        let token = lexer.token()?;
        tokens.push((token, line));
        if token == Token::End {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

fn in_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c == b'$'
}

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn error<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(ParseError::new(self.line, message))
    }

    fn skip_blank(&mut self) -> Read<()> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'\n', _) => {
                    self.line += 1;
                    self.at += 1;
                }
                (b' ' | b'\t' | b'\r', _) => self.at += 1,
                (b'/', b'/') => {
                    while self.at < self.text.len() && self.peek(0) != b'\n' {
                        self.at += 1;
                    }
                }
                (b'/', b'*') => {
                    let Some(end) = self.text[self.at..].find("*/") else {
                        return self.error("a comment that begins with /* has no end");
                    };
                    self.line += self.text[self.at..self.at + end].matches('\n').count() as u32;
                    self.at += end + 2;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Takes bytes while `keep` holds; they are ASCII.
    fn take(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.at < self.text.len() && keep(self.peek(0)) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn token(&mut self) -> Read<Token<'a>> {
        let c = self.peek(0);
        if self.at >= self.text.len() {
            return Ok(Token::End);
        }
        match c {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => Ok(Token::Word(self.take(in_word))),
            b'%' if in_word(self.peek(1)) => {
                let start = self.at;
                self.at += 1;
                self.take(in_word);
                Ok(Token::Word(&self.text[start..self.at]))
            }
            b'.' if in_word(self.peek(1)) => {
                self.at += 1;
                let start = self.at;
                self.take(in_word);
                while self.peek(0) == b':' && self.peek(1) == b':' {
                    self.at += 2;
                    self.take(in_word);
                }
                Ok(Token::Dot(&self.text[start..self.at]))
            }
            b'0'..=b'9' => self.number(),
            b'"' => {
                let rest = &self.text[self.at + 1..];
                let Some(end) = rest.find('"') else { return self.error("a text has no closing quote") };
                self.line += rest[..end].matches('\n').count() as u32;
                self.at += end + 2;
                Ok(Token::Text(&rest[..end]))
            }
            0x21..=0x7e => {
                self.at += 1;
                Ok(Token::Mark(c))
            }
            _ => self.error(format!("the byte {c:#04x} has no meaning in PTX")),
        }
    }

    fn number(&mut self) -> Read<Token<'a>> {
        let digits = |lexer: &mut Self, radix: u32, what: &str| -> Read<u64> {
            let text = lexer.take(|c| c.is_ascii_alphanumeric());
            let bare = text.strip_suffix('U').unwrap_or(text);
            u64::from_str_radix(bare, radix)
                .or_else(|_| lexer.error(format!("`{text}` is not {what} that fits into 64 bits")))
        };
        match (self.peek(0), self.peek(1)) {
            (b'0', b'f' | b'F') => {
                self.at += 2;
                Ok(Token::F32(digits(self, 16, "a float in hex digits")? as u32))
            }
            (b'0', b'd' | b'D') => {
                self.at += 2;
                Ok(Token::F64(digits(self, 16, "a float in hex digits")?))
            }
            (b'0', b'x' | b'X') => {
                self.at += 2;
                Ok(Token::Int(digits(self, 16, "a hex number")?))
            }
            (b'0', b'b' | b'B') => {
                self.at += 2;
                Ok(Token::Int(digits(self, 2, "a binary number")?))
            }
            _ => {
                let start = self.at;
                self.take(|c| c.is_ascii_digit());
                let is_float = self.peek(0) == b'.' && self.peek(1).is_ascii_digit();
                if is_float || matches!(self.peek(0), b'e' | b'E') {
                    self.at += usize::from(is_float);
                    self.take(|c| c.is_ascii_digit());
                    if matches!(self.peek(0), b'e' | b'E') {
                        self.at += 1;
                        self.at += usize::from(matches!(self.peek(0), b'+' | b'-'));
                        self.take(|c| c.is_ascii_digit());
                    }
                    let text = &self.text[start..self.at];
                    let value: f64 = text.parse().or_else(|_| self.error(format!("`{text}` is not a number")))?;
                    return Ok(Token::F64(value.to_bits()));
                }
                self.at = start;
                let octal = self.peek(0) == b'0' && self.peek(1).is_ascii_digit();
                Ok(Token::Int(digits(self, if octal { 8 } else { 10 }, "a number")?))
            }
        }
    }
}
