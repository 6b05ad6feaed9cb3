//! Reading tokens, and the table of values that both parsers fill.

use super::lex::{Tok, Token, lex};
use super::{INPUT, MAX_DEPTH, error, write};
use crate::diag::{Diagnostic, Loc};
use crate::dtype::{DType, Literal};

/// Result of reading.
pub(crate) type Read<T> = Result<T, Diagnostic>;

/// A position in a list of tokens.
pub(crate) struct Cursor<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    /// The start of a text.
    pub fn new(text: &'a str) -> Read<Self> {
        Ok(Cursor { tokens: lex(text)?, next: 0, depth: 0 })
    }

    /// How many tokens there are: a bound on how many things the text can define.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    fn token(&self) -> &Token<'a> {
        // The list is never empty and `bump` stays on its last token, `End`.
        &self.tokens[self.next]
    }

    /// The token ahead.
    pub fn peek(&self) -> &Tok<'a> {
        &self.token().tok
    }

    /// The token after the one ahead.
    pub fn peek2(&self) -> &Tok<'a> {
        &self.tokens[(self.next + 1).min(self.tokens.len() - 1)].tok
    }

    /// Whether the token ahead is the first of its line.
    pub fn at_line_start(&self) -> bool {
        self.token().first
    }

    fn bump(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    /// The place of the token ahead.
    pub fn here(&self) -> Loc {
        Loc::new(INPUT, self.token().line, self.token().column)
    }

    /// An error at the token ahead.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        error(self.token().line, self.token().column, message)
    }

    /// An error that says what was expected and what is there.
    pub fn expected(&self, what: &str) -> Diagnostic {
        let found = match self.peek() {
            Tok::Name(n) => format!("`{n}`"),
            Tok::Str(s) => format!("{s:?}"),
            Tok::Num(n) => format!("`{n}`"),
            Tok::Value(id, n) => format!("`{}`", write::text(|f| write::value(f, *id, n.as_deref()))),
            Tok::At(at) => format!("the position `@{at}`"),
            Tok::Punct(p) => format!("`{p}`"),
            Tok::End => "the end of the text".to_owned(),
        };
        self.error(format!("expected {what}, found {found}"))
    }

    /// Whether the operator or bracket is ahead.
    pub fn sees(&self, p: &str) -> bool {
        matches!(self.peek(), Tok::Punct(q) if *q == p)
    }

    /// Takes an operator or bracket if it is ahead.
    pub fn eat(&mut self, p: &str) -> bool {
        let yes = self.sees(p);
        if yes {
            self.bump();
        }
        yes
    }

    /// Takes an operator or bracket.
    pub fn expect(&mut self, p: &str) -> Read<()> {
        if self.eat(p) { Ok(()) } else { Err(self.expected(&format!("`{p}`"))) }
    }

    /// Whether a word is ahead.
    pub fn sees_word(&self, w: &str) -> bool {
        matches!(self.peek(), Tok::Name(n) if *n == w)
    }

    /// Takes a word if it is ahead.
    pub fn eat_word(&mut self, w: &str) -> bool {
        let yes = self.sees_word(w);
        if yes {
            self.bump();
        }
        yes
    }

    /// Takes a word.
    pub fn expect_word(&mut self, w: &str) -> Read<()> {
        if self.eat_word(w) { Ok(()) } else { Err(self.expected(&format!("`{w}`"))) }
    }

    /// Takes any word.
    pub fn word(&mut self, what: &str) -> Read<&'a str> {
        match self.peek() {
            Tok::Name(n) => {
                let n = *n;
                self.bump();
                Ok(n)
            }
            _ => Err(self.expected(what)),
        }
    }

    /// Takes a name, bare or quoted.
    pub fn name(&mut self, what: &str) -> Read<String> {
        let name = match self.peek() {
            Tok::Name(n) => (*n).to_owned(),
            Tok::Str(s) => s.clone(),
            _ => return Err(self.expected(what)),
        };
        self.bump();
        Ok(name)
    }

    /// Takes a quoted string.
    pub fn string(&mut self, what: &str) -> Read<String> {
        match self.peek() {
            Tok::Str(_) => self.name(what),
            _ => Err(self.expected(what)),
        }
    }

    /// Takes a whole number that is not negative.
    pub fn int<T: TryFrom<u64>>(&mut self, what: &str) -> Read<T> {
        let Tok::Num(n) = self.peek() else { return Err(self.expected(what)) };
        let v = n.parse::<u64>().ok().and_then(|v| T::try_from(v).ok());
        let v = v.ok_or_else(|| self.error(format!("`{n}` is too large or not a whole number; expected {what}")))?;
        self.bump();
        Ok(v)
    }

    /// Takes an element type.
    pub fn dtype(&mut self) -> Read<DType> {
        let found = match self.peek() {
            Tok::Name(n) => n.parse().ok(),
            _ => None,
        };
        let d = found.ok_or_else(|| self.expected("an element type"))?;
        self.bump();
        Ok(d)
    }

    /// Takes the value of a literal.
    pub fn literal(&mut self, dtype: DType) -> Read<Literal> {
        let error = self.expected(&format!("a value of type {dtype}"));
        let mut text = String::new();
        if self.eat("-") {
            text.push('-');
        }
        let (Tok::Num(word) | Tok::Name(word)) = self.peek() else { return Err(error) };
        text.push_str(match *word {
            "NaN" => "nan",
            word => word,
        });
        let l = write::parse_literal(dtype, &text).ok_or(error)?;
        self.bump();
        Ok(l)
    }

    /// Takes a value: its number, its name if written, and its place.
    pub fn value(&mut self, what: &str) -> Read<(u32, Option<String>, Loc)> {
        let at = self.here();
        let Tok::Value(id, name) = self.peek() else { return Err(self.expected(what)) };
        let out = (*id, name.clone(), at);
        self.bump();
        Ok(out)
    }

    /// Takes a position if one is ahead on the same line.
    pub fn position(&mut self) -> Loc {
        match *self.peek() {
            Tok::At(at) => {
                self.bump();
                at
            }
            _ => Loc::UNKNOWN,
        }
    }

    /// Takes the end of the text.
    pub fn end(&self) -> Read<()> {
        if *self.peek() == Tok::End { Ok(()) } else { Err(self.expected("the end of the text")) }
    }

    /// Goes one level deeper; [`Cursor::shallower`] undoes it.
    pub fn deeper(&mut self) -> Read<()> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error(format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        Ok(())
    }

    /// Comes back from one level.
    pub fn shallower(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Takes items separated by commas up to a closing bracket, which is taken too.
    pub fn list<T>(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let mut out = Vec::new();
        if self.eat(close) {
            return Ok(out);
        }
        loop {
            out.push(item(self)?);
            if self.eat(close) {
                return Ok(out);
            }
            if !self.eat(",") {
                return Err(self.expected(&format!("`,` or `{close}`")));
            }
        }
    }
}

/// A table being filled under explicit numbers.
pub(crate) struct Table<T> {
    entries: Vec<Option<T>>,
    limit: usize,
}

impl<T> Table<T> {
    /// An empty table that can take numbers below `limit`.
    pub fn new(limit: usize) -> Self {
        Table { entries: Vec::new(), limit }
    }

    /// Fills one entry.
    pub fn set(&mut self, id: u32, at: Loc, entry: T) -> Read<()> {
        let i = id as usize;
        if i >= self.limit {
            return Err(Diagnostic::new(at, format!("%{id} is too large a number; values are numbered from 0 on")));
        }
        if i >= self.entries.len() {
            self.entries.resize_with(i + 1, || None);
        }
        if self.entries[i].is_some() {
            return Err(Diagnostic::new(at, format!("%{id} is defined twice")));
        }
        self.entries[i] = Some(entry);
        Ok(())
    }

    /// The entry of a number, if filled.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.entries.get(id as usize).and_then(Option::as_ref)
    }
}

/// The values of a function being read: definitions, and uses to check at the end.
pub(crate) struct Values<T> {
    table: Table<T>,
    uses: Vec<(u32, Option<String>, Loc)>,
}

impl<T> Values<T> {
    /// Nothing read yet; `limit` bounds the numbers.
    pub fn new(limit: usize) -> Self {
        Values { table: Table::new(limit), uses: Vec::new() }
    }

    /// Defines a value.
    pub fn define(&mut self, id: u32, at: Loc, value: T) -> Read<()> {
        self.table.set(id, at, value)
    }

    /// What is known of a value so far.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.table.get(id)
    }

    /// Reads a use of a value.
    pub fn operand(&mut self, c: &mut Cursor<'_>) -> Read<u32> {
        let used = c.value("a value (`%0`)")?;
        let id = used.0;
        self.uses.push(used);
        Ok(id)
    }

    /// The finished table: every number used or skipped is defined, under the name it is used with.
    pub fn finish(self, name: impl Fn(&T) -> Option<&str>) -> Read<Vec<T>> {
        for (id, used, at) in &self.uses {
            let Some(v) = self.table.get(*id) else {
                return Err(Diagnostic::new(*at, format!("%{id} is not defined anywhere")));
            };
            if used.is_some() && used.as_deref() != name(v) {
                let known = write::text(|f| write::value(f, *id, name(v)));
                return Err(Diagnostic::new(*at, format!("%{id} is defined as `{known}`")));
            }
        }
        let total = self.table.entries.len();
        let mut out = Vec::with_capacity(total);
        for (i, v) in self.table.entries.into_iter().enumerate() {
            out.push(v.ok_or_else(|| {
                error(1, 1, format!("%{i} is missing: values are numbered without gaps, and %{} exists", total - 1))
                    .help(format!("list it at the end of the function, as in `unused %{i}: f32`"))
            })?);
        }
        Ok(out)
    }
}
