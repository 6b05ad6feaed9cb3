//! Tokens to declarations: the outer structure of a module.

use super::ast::*;
use super::lex::{Token, lex};
use super::{ParseError, Read};

/// Reads a module.
pub(crate) fn parse(text: &str) -> Read<Source<'_>> {
    let mut parser = Parser { tokens: lex(text)?, at: 0 };
    let mut source = Source::default();
    while parser.peek() != Token::End {
        parser.declaration(&mut source)?;
    }
    Ok(source)
}

/// A place in the tokens.
pub(super) struct Parser<'a> {
    tokens: Vec<(Token<'a>, u32)>,
    at: usize,
}

/// A token for a message.
fn show(token: Token<'_>) -> String {
    match token {
        Token::Word(w) => format!("`{w}`"),
        Token::Dot(w) => format!("`.{w}`"),
        Token::Int(i) => format!("`{i}`"),
        Token::F32(_) | Token::F64(_) => "a float".into(),
        Token::Text(t) => format!("\"{t}\""),
        Token::Mark(c) => format!("`{}`", char::from(c)),
        Token::End => "the end of the text".into(),
    }
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Token<'a> {
        self.tokens[self.at].0
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Token<'a> {
        self.tokens.get(self.at + ahead).map_or(Token::End, |t| t.0)
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens[self.at].1
    }

    pub(super) fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        if token != Token::End {
            self.at += 1;
        }
        token
    }

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(ParseError::new(self.line(), message))
    }

    pub(super) fn expected<T>(&self, what: &str) -> Read<T> {
        self.error(format!("expected {what}, found {}", show(self.peek())))
    }

    pub(super) fn eat(&mut self, mark: u8) -> bool {
        let hit = self.peek() == Token::Mark(mark);
        self.at += usize::from(hit);
        hit
    }

    pub(super) fn expect(&mut self, mark: u8) -> Read<()> {
        if self.eat(mark) { Ok(()) } else { self.expected(&format!("`{}`", char::from(mark))) }
    }

    pub(super) fn eat_dot(&mut self, word: &str) -> bool {
        let hit = self.peek() == Token::Dot(word);
        self.at += usize::from(hit);
        hit
    }

    pub(super) fn word(&mut self, what: &str) -> Read<&'a str> {
        match self.peek() {
            Token::Word(w) => {
                self.at += 1;
                Ok(w)
            }
            _ => self.expected(what),
        }
    }

    pub(super) fn int(&mut self, what: &str) -> Read<u64> {
        match self.peek() {
            Token::Int(i) => {
                self.at += 1;
                Ok(i)
            }
            _ => self.expected(what),
        }
    }

    /// A number with an optional sign.
    pub(super) fn signed(&mut self, what: &str) -> Read<i64> {
        let minus = self.eat(b'-');
        let value = self.int(what)? as i64;
        Ok(if minus { value.wrapping_neg() } else { value })
    }

    pub(super) fn ty(&mut self) -> Read<Ty> {
        match self.peek() {
            Token::Dot(w) => match Ty::named(w) {
                Some(ty) => {
                    self.at += 1;
                    Ok(ty)
                }
                None => self.expected("a type"),
            },
            _ => self.expected("a type"),
        }
    }

    /// Passes over the rest of the line; directives for debuggers end with it.
    fn skip_line(&mut self) {
        let line = self.line();
        while self.line() == line && self.peek() != Token::End {
            self.at += 1;
        }
    }

    /// Whether a directive that says nothing about the meaning stood here, and was passed over.
    pub(super) fn skip_directive(&mut self) -> Read<bool> {
        match self.peek() {
            Token::Dot("loc" | "file") => self.skip_line(),
            Token::Dot("pragma") => {
                while !self.eat(b';') {
                    if self.next() == Token::End {
                        return self.expected("`;` after .pragma");
                    }
                }
            }
            Token::Dot("section") => {
                while !self.eat(b'{') {
                    if self.next() == Token::End {
                        return self.expected("`{` after .section");
                    }
                }
                while !self.eat(b'}') {
                    if self.next() == Token::End {
                        return self.expected("`}` at the end of a section");
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn declaration(&mut self, source: &mut Source<'a>) -> Read<()> {
        if self.skip_directive()? {
            return Ok(());
        }
        match self.peek() {
            Token::Dot("version" | "address_size") => {
                self.skip_line();
                Ok(())
            }
            Token::Dot("target") => {
                self.next();
                source.target = self.word("the name of a target")?;
                while self.eat(b',') {
                    self.word("an option of .target")?;
                }
                Ok(())
            }
            Token::Mark(b';') => {
                self.next();
                Ok(())
            }
            Token::Dot(_) => {
                let mut is_extern = false;
                loop {
                    match self.peek() {
                        Token::Dot("extern") => is_extern = true,
                        Token::Dot("visible" | "weak" | "common") => {}
                        _ => break,
                    }
                    self.next();
                }
                match self.peek() {
                    Token::Dot("entry" | "func") => {
                        let function = self.function()?;
                        source.functions.push(function);
                    }
                    _ => {
                        let variables = self.variables(is_extern)?;
                        source.variables.extend(variables);
                    }
                }
                Ok(())
            }
            _ => self.expected("a declaration (.entry, .func, .global, .const, .shared)"),
        }
    }

    fn function(&mut self) -> Read<Function<'a>> {
        let line = self.line();
        let is_entry = self.next() == Token::Dot("entry");
        while self.eat_dot("noreturn") {}
        let returns = if self.peek() == Token::Mark(b'(') { self.params()? } else { Vec::new() };
        let name = self.word("the name of a function")?;
        let params = if self.peek() == Token::Mark(b'(') { self.params()? } else { Vec::new() };
        let mut bounds = Bounds::default();
        loop {
            match self.peek() {
                Token::Dot("maxntid") => bounds.max_threads = Some(self.extents()?),
                Token::Dot("reqntid") => bounds.required_threads = Some(self.extents()?),
                Token::Dot("reqnctapercluster") => bounds.cluster = Some(self.extents()?),
                Token::Dot("maxnreg" | "minnctapersm" | "maxnctapersm" | "maxclusterrank") => {
                    self.next();
                    self.int("a number")?;
                }
                Token::Dot("noreturn" | "explicitcluster" | "blocksareclusters") => {
                    self.next();
                }
                _ if self.skip_directive()? => {}
                _ => break,
            }
        }
        let body = if self.eat(b';') {
            None
        } else {
            self.expect(b'{')?;
            Some(self.body()?)
        };
        Ok(Function { line, name, is_entry, returns, params, bounds, body })
    }

    /// One to three numbers after a directive.
    fn extents(&mut self) -> Read<[u32; 3]> {
        self.next();
        let mut extents = [1; 3];
        for (i, e) in extents.iter_mut().enumerate() {
            if i > 0 && !self.eat(b',') {
                break;
            }
            *e = self.int("a number of threads or blocks")?.min(u64::from(u32::MAX)) as u32;
        }
        Ok(extents)
    }

    fn params(&mut self) -> Read<Vec<Variable<'a>>> {
        self.expect(b'(')?;
        let mut params = Vec::new();
        while !self.eat(b')') {
            if !params.is_empty() {
                self.expect(b',')?;
            }
            params.extend(self.variables_of_one(true)?);
        }
        Ok(params)
    }

    /// `.param .u64 .ptr .global .align 1 name[4]`
    fn variables_of_one(&mut self, is_extern: bool) -> Read<Vec<Variable<'a>>> {
        let (space, align, ty, lanes) = self.head()?;
        let v = self.declarator(space, align, ty, lanes, is_extern)?;
        Ok(vec![v])
    }

    /// A declaration of variables, up to its semicolon.
    pub(super) fn variables(&mut self, is_extern: bool) -> Read<Vec<Variable<'a>>> {
        let (space, align, ty, lanes) = self.head()?;
        let mut variables = vec![self.declarator(space, align, ty, lanes, is_extern)?];
        while self.eat(b',') {
            variables.push(self.declarator(space, align, ty, lanes, is_extern)?);
        }
        self.expect(b';')?;
        Ok(variables)
    }

    /// Space, alignment, element type and vector length.
    fn head(&mut self) -> Read<(Space, Option<u32>, Ty, u32)> {
        let Token::Dot(word) = self.peek() else { return self.expected("a state space") };
        let Some(space) = Space::named(word) else { return self.expected("a state space (.global, .shared, …)") };
        self.next();
        let (mut align, mut ty, mut lanes, mut is_pointer) = (None, None, 1, false);
        loop {
            match self.peek() {
                Token::Dot("align") => {
                    self.next();
                    let n = self.int("an alignment")?;
                    if !n.is_power_of_two() || n > 1 << 20 {
                        return self.error(format!("an alignment is a power of two, not {n}"));
                    }
                    // The alignment after .ptr is the pointee's.
                    if !is_pointer {
                        align = Some(n as u32);
                    }
                }
                Token::Dot("ptr") => {
                    is_pointer = true;
                    self.next();
                }
                Token::Dot("v2") => {
                    lanes = 2;
                    self.next();
                }
                Token::Dot("v4") => {
                    lanes = 4;
                    self.next();
                }
                Token::Dot(w) if is_pointer && Space::named(w).is_some() => {
                    self.next();
                }
                Token::Dot("attribute") => {
                    self.next();
                    self.expect(b'(')?;
                    while !self.eat(b')') {
                        if self.next() == Token::End {
                            return self.expected("`)` after .attribute");
                        }
                    }
                }
                Token::Dot(_) if ty.is_none() => ty = Some(self.ty()?),
                _ => break,
            }
        }
        match ty {
            Some(ty) => Ok((space, align, ty, lanes)),
            None => self.expected("a type"),
        }
    }

    fn declarator(
        &mut self,
        space: Space,
        align: Option<u32>,
        ty: Ty,
        lanes: u32,
        is_extern: bool,
    ) -> Read<Variable<'a>> {
        let line = self.line();
        let name = self.word("the name of a variable")?;
        let element = u64::from(ty.bytes() * lanes);
        let (mut count, mut open) = (1u64, false);
        while self.eat(b'[') {
            if self.eat(b']') {
                open = true;
                continue;
            }
            let n = self.int("a length")?;
            self.expect(b']')?;
            count = count
                .checked_mul(n)
                .filter(|c| c.saturating_mul(element) <= 1 << 28)
                .ok_or_else(|| ParseError::new(line, format!("`{name}` has more than 256 MiB")))?;
        }
        let mut init = Vec::new();
        let mut offset = 0;
        if self.eat(b'=') {
            self.initialiser(ty, &mut offset, &mut init)?;
        }
        let size = if open { offset } else { count * element };
        if offset > size {
            return self.error(format!("`{name}` has {size} bytes and an initialiser of {offset}"));
        }
        let align = align.unwrap_or(element as u32);
        Ok(Variable { line, space, name, align, size, is_extern, init })
    }

    /// A value or a braced list of them.
    fn initialiser(&mut self, ty: Ty, offset: &mut u64, init: &mut Vec<Init<'a>>) -> Read<()> {
        if self.eat(b'{') {
            while !self.eat(b'}') {
                self.initialiser(ty, offset, init)?;
                if !self.eat(b',') && self.peek() != Token::Mark(b'}') {
                    return self.expected("`,` or `}` in an initialiser");
                }
            }
            return Ok(());
        }
        let size = u64::from(ty.bytes());
        let minus = self.eat(b'-');
        match self.peek() {
            Token::Int(i) => {
                self.next();
                let value = if minus { i.wrapping_neg() } else { i };
                push_bytes(init, *offset, &value.to_le_bytes()[..size.min(8) as usize]);
            }
            Token::F32(bits) => {
                self.next();
                push_bytes(init, *offset, &bits.to_le_bytes());
            }
            Token::F64(bits) => {
                self.next();
                match ty {
                    Ty::F32 => push_bytes(init, *offset, &(f64::from_bits(bits) as f32).to_bits().to_le_bytes()),
                    _ => push_bytes(init, *offset, &bits.to_le_bytes()),
                }
            }
            Token::Word(word) if size == 8 && !minus => {
                self.next();
                let name = if word == "generic" && self.eat(b'(') {
                    let name = self.word("a variable")?;
                    self.expect(b')')?;
                    name
                } else {
                    word
                };
                let plus = self.eat(b'+');
                let add = if plus || self.peek() == Token::Mark(b'-') { self.signed("an offset")? } else { 0 };
                init.push(Init::Address(*offset, name, add));
            }
            _ => return self.expected("a number, or the address of a variable in 8 bytes"),
        }
        *offset += size;
        Ok(())
    }
}

/// Adds bytes, to the last piece where they follow it.
fn push_bytes(init: &mut Vec<Init<'_>>, offset: u64, bytes: &[u8]) {
    match init.last_mut() {
        Some(Init::Bytes(at, piece)) if *at + piece.len() as u64 == offset => piece.extend_from_slice(bytes),
        _ => init.push(Init::Bytes(offset, bytes.to_vec())),
    }
}
