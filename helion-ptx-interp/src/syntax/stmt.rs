//! Tokens to what stands in a function's body.

use super::Read;
use super::ast::*;
use super::lex::Token;
use super::parse::Parser;

/// How deep operands and blocks may nest.
const MAX_DEPTH: u32 = 16;

impl<'a> Parser<'a> {
    /// The items up to the brace that closes the body.
    pub(super) fn body(&mut self) -> Read<Vec<Item<'a>>> {
        let mut items = Vec::new();
        let mut depth = 0usize;
        loop {
            if self.skip_directive()? || self.eat(b';') {
                continue;
            }
            match self.peek() {
                Token::Mark(b'{') => {
                    self.next();
                    depth += 1;
                    items.push(Item::Open);
                }
                Token::Mark(b'}') => {
                    self.next();
                    if depth == 0 {
                        return Ok(items);
                    }
                    depth -= 1;
                    items.push(Item::Close);
                }
                Token::Dot("reg") => self.registers(&mut items)?,
                Token::Dot("local" | "shared" | "param" | "const" | "global" | "extern") => {
                    let is_extern = self.eat_dot("extern");
                    items.extend(self.variables(is_extern)?.into_iter().map(Item::Variable));
                }
                Token::Word(name) if self.peek_at(1) == Token::Mark(b':') => {
                    self.next();
                    self.next();
                    items.push(self.label(name)?);
                }
                Token::Word(_) | Token::Mark(b'@') => items.push(Item::Inst(self.instruction()?)),
                _ => return self.expected("an instruction, a declaration or `}`"),
            }
        }
    }

    fn label(&mut self, name: &'a str) -> Read<Item<'a>> {
        if !self.eat_dot("branchtargets") {
            return Ok(Item::Label(name));
        }
        let mut targets = vec![self.word("a label")?];
        while self.eat(b',') {
            targets.push(self.word("a label")?);
        }
        self.expect(b';')?;
        Ok(Item::Targets(name, targets))
    }

    fn registers(&mut self, items: &mut Vec<Item<'a>>) -> Read<()> {
        self.next();
        let ty = self.ty()?;
        loop {
            let name = self.word("the name of a register")?;
            let count = if self.eat(b'<') {
                let n = self.int("a number of registers")?;
                self.expect(b'>')?;
                if n > 1 << 20 {
                    return self.error(format!("{n} registers named `{name}`; at most {} are allowed", 1 << 20));
                }
                Some(n as u32)
            } else {
                None
            };
            items.push(Item::Reg { ty, name, count });
            if !self.eat(b',') {
                break;
            }
        }
        self.expect(b';')
    }

    fn instruction(&mut self) -> Read<Raw<'a>> {
        let line = self.line();
        let guard = if self.eat(b'@') {
            let negated = self.eat(b'!');
            Some((self.word("a predicate after @")?, negated))
        } else {
            None
        };
        let opcode = self.word("an instruction")?;
        let mut modifiers = Vec::new();
        while let Token::Dot(word) = self.peek() {
            self.next();
            modifiers.push(word);
        }
        let mut operands = Vec::new();
        if self.peek() != Token::Mark(b';') {
            operands.push(self.operand(0)?);
            while self.eat(b',') {
                operands.push(self.operand(0)?);
            }
        }
        if !self.eat(b';') {
            return self.expected("`,` or `;` after an operand");
        }
        Ok(Raw { line, guard, opcode, modifiers, operands })
    }

    fn operand(&mut self, depth: u32) -> Read<Operand<'a>> {
        if depth > MAX_DEPTH {
            return self.error("operands are nested too deep");
        }
        let first = self.simple(depth)?;
        if self.eat(b'|') {
            let second = self.simple(depth)?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn simple(&mut self, depth: u32) -> Read<Operand<'a>> {
        match self.peek() {
            Token::Mark(b'!') => {
                self.next();
                Ok(Operand::Not(Box::new(self.operand(depth + 1)?)))
            }
            Token::Mark(b'{') => Ok(Operand::Vector(self.list(b'{', b'}', depth)?)),
            Token::Mark(b'(') => Ok(Operand::List(self.list(b'(', b')', depth)?)),
            Token::Mark(b'[') => self.address(depth),
            Token::Mark(b'-') => {
                self.next();
                match self.next() {
                    Token::Int(i) => Ok(Operand::Int(-i128::from(i))),
                    Token::F32(b) => Ok(Operand::F32(b ^ 1 << 31)),
                    Token::F64(b) => Ok(Operand::F64(b ^ 1 << 63)),
                    _ => self.expected("a number after `-`"),
                }
            }
            Token::Int(i) => {
                self.next();
                Ok(Operand::Int(i128::from(i)))
            }
            Token::F32(b) => {
                self.next();
                Ok(Operand::F32(b))
            }
            Token::F64(b) => {
                self.next();
                Ok(Operand::F64(b))
            }
            Token::Word(name) => {
                self.next();
                self.named(name)
            }
            _ => self.expected("an operand"),
        }
    }

    /// A name, with the component of a special register or an offset from a symbol.
    fn named(&mut self, name: &'a str) -> Read<Operand<'a>> {
        if let Token::Dot(part @ ("x" | "y" | "z" | "w")) = self.peek() {
            self.next();
            return match special(name, part) {
                Some(whole) => Ok(Operand::Name(whole)),
                None => self.error(format!("`{name}.{part}` is not a register")),
            };
        }
        if self.peek() == Token::Mark(b'+') {
            self.next();
            let offset = self.signed("an offset")?;
            return Ok(Operand::Offset(name, offset));
        }
        Ok(Operand::Name(name))
    }

    fn list(&mut self, open: u8, close: u8, depth: u32) -> Read<Vec<Operand<'a>>> {
        self.expect(open)?;
        let mut list = Vec::new();
        while !self.eat(close) {
            if !list.is_empty() {
                self.expect(b',')?;
            }
            list.push(self.operand(depth + 1)?);
        }
        Ok(list)
    }

    fn address(&mut self, depth: u32) -> Read<Operand<'a>> {
        self.expect(b'[')?;
        let (base, mut offset) = match self.operand(depth + 1)? {
            Operand::Offset(name, n) => (Operand::Name(name), n),
            other => (other, 0),
        };
        if self.eat(b'+') || self.peek() == Token::Mark(b'-') {
            offset = self.signed("an offset")?;
        }
        let coords = if self.eat(b',') {
            match self.operand(depth + 1)? {
                Operand::Vector(coords) => coords,
                _ => return self.expected("coordinates in braces"),
            }
        } else {
            Vec::new()
        };
        self.expect(b']')?;
        Ok(Operand::Address { base: Box::new(base), offset, coords })
    }
}

/// The whole name of a component of a special register.
fn special(name: &str, part: &str) -> Option<&'static str> {
    const WHOLE: [&str; 24] = [
        "%tid.x",
        "%tid.y",
        "%tid.z",
        "%ntid.x",
        "%ntid.y",
        "%ntid.z",
        "%ctaid.x",
        "%ctaid.y",
        "%ctaid.z",
        "%nctaid.x",
        "%nctaid.y",
        "%nctaid.z",
        "%clusterid.x",
        "%clusterid.y",
        "%clusterid.z",
        "%nclusterid.x",
        "%nclusterid.y",
        "%nclusterid.z",
        "%cluster_ctaid.x",
        "%cluster_ctaid.y",
        "%cluster_ctaid.z",
        "%cluster_nctaid.x",
        "%cluster_nctaid.y",
        "%cluster_nctaid.z",
    ];
    WHOLE.into_iter().find(|w| w.strip_suffix(part).and_then(|w| w.strip_suffix('.')) == Some(name))
}
