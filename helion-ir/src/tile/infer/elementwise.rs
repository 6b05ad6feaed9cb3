//! Rules of elementwise operations and of broadcasting.

use super::Cx;
use crate::diag::Diagnostic;
use crate::dtype::{Class, DType};
use crate::elementwise::{BinaryOp, Rule, UnaryOp};
use crate::tile::types::{Dim, Function, Shape, Type};

/// The shape two shapes broadcast to, or the axis of the result (from the left) that does not fit.
pub(super) fn broadcast_two(a: &[Dim], b: &[Dim]) -> Result<Shape, usize> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], axis: usize| (axis + s.len()).checked_sub(rank).map(|i| s[i]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (Some(x), Some(y)) if x == y => Ok(x),
            (Some(Dim::Const(1)), Some(d)) | (Some(d), Some(Dim::Const(1))) | (Some(d), None) | (None, Some(d)) => {
                Ok(d)
            }
            (Some(_), Some(_)) => Err(axis),
            (None, None) => Ok(Dim::Const(1)),
        })
        .collect()
}

impl Cx<'_> {
    pub(super) fn unary(&self, op: UnaryOp) -> Result<Type, Diagnostic> {
        self.check_rule(op.rule(), 0)?;
        Ok(Type { dtype: op.rule().result(self.dtype(0)), shape: self.shape(0) })
    }

    pub(super) fn binary(&self, op: BinaryOp) -> Result<Type, Diagnostic> {
        self.check_same_dtype(0, 1)?;
        self.check_rule(op.rule(), 0)?;
        Ok(Type { dtype: op.rule().result(self.dtype(0)), shape: self.broadcast_args(&[0, 1])? })
    }

    pub(super) fn select(&self) -> Result<Type, Diagnostic> {
        self.check_dtype(0, DType::Bool)?;
        self.check_same_dtype(1, 2)?;
        Ok(Type { dtype: self.dtype(1), shape: self.broadcast_args(&[1, 2, 0])? })
    }

    pub(super) fn bitcast(&self, to: DType) -> Result<Type, Diagnostic> {
        let from = self.dtype(0);
        if from.size() != to.size() {
            let (a, b) = (8 * from.size(), 8 * to.size());
            let who = self.who(0);
            return Err(self
                .error(format!("`bitcast` keeps the bits: {who} is {from} with {a} bits, {to} has {b}"))
                .help(format!("to convert the value, write `.cast::<{to}>()`")));
        }
        if to == DType::Bool && from != DType::Bool {
            return Err(self
                .error("the bits of a bool are 0 or 1, so nothing is bitcast to it")
                .help("write `x.ne(0)`"));
        }
        Ok(Type { dtype: to, shape: self.shape(0) })
    }

    pub(super) fn random(&self, word: u8) -> Result<Type, Diagnostic> {
        if word > 3 {
            return Err(self.error(format!("a counter gives four words, 0 to 3; {word} is asked for")));
        }
        let seed = self.ty(0);
        if seed.rank() != 0 || !matches!(seed.dtype, DType::U64 | DType::I64) {
            let (is, dtype) = (self.is(0), seed.dtype);
            return Err(self.error(format!("`random` takes a seed that is one u64 or i64; {is} of {dtype}")));
        }
        self.check_dtype(1, DType::I64)?;
        Ok(Type { dtype: DType::U32, shape: self.shape(1) })
    }

    /// Operand `i` has a type that the rule accepts.
    fn check_rule(&self, rule: Rule, i: usize) -> Result<(), Diagnostic> {
        let d = self.dtype(i);
        if rule.accepts(d) {
            return Ok(());
        }
        let (word, who) = (self.op.word(), self.who(i));
        let e = self.error(format!("`{word}` takes {}, {who} is {d}", rule.words()));
        Err(match (d.class(), rule) {
            (Class::Storage, _) => e.help(format!("{d} only stores numbers; {}", self.call(i, "cast::<f32>()"))),
            (_, Rule::Float | Rule::FloatTest) => e.help(format!("convert first: {}", self.call(i, "cast::<f32>()"))),
            (Class::Bool, Rule::Num) => e.help(format!(
                "combine conditions with `and`, `or`, `xor`; to count, {}",
                self.call(i, "cast::<i32>()")
            )),
            (_, Rule::Num | Rule::Bits | Rule::Int | Rule::Compare) => e,
        })
    }

    /// Operand `i` has element type `want`.
    pub(super) fn check_dtype(&self, i: usize, want: DType) -> Result<(), Diagnostic> {
        let d = self.dtype(i);
        if d == want {
            return Ok(());
        }
        let (word, who) = (self.op.word(), self.who(i));
        let e = self.error(format!("{who} of `{word}` is {d}, it must be {want}"));
        Err(match want {
            DType::Bool => e.help("compare to get a condition, as in `x.gt(0.0)`"),
            _ => e.help(self.call(i, &format!("cast::<{want}>()"))),
        })
    }

    /// Operands `i` and `j` have one element type.
    pub(super) fn check_same_dtype(&self, i: usize, j: usize) -> Result<(), Diagnostic> {
        let (a, b) = (self.dtype(i), self.dtype(j));
        if a == b {
            return Ok(());
        }
        let (word, x, y) = (self.op.word(), self.who(i), self.who(j));
        // Convert the one that loses less.
        let strength = |d: DType| (d.is_float(), d.is_num(), d.size());
        let (which, to) = if strength(a) < strength(b) { (i, b) } else { (j, a) };
        let e = self.error(format!("element types do not match in `{word}`: {x} is {a}, {y} is {b}"));
        Err(self.made_at(e, &[i, j]).help(format!("convert one: {}", self.call(which, &format!("cast::<{to}>()")))))
    }

    /// The shape that operands broadcast to.
    pub(super) fn broadcast_args(&self, which: &[usize]) -> Result<Shape, Diagnostic> {
        let mut shape = Shape::new();
        for (n, &i) in which.iter().enumerate() {
            let next = broadcast_two(&shape, &self.ty(i).shape);
            shape = match next {
                Ok(shape) => shape,
                Err(_) => {
                    // Name the pair that does not fit; failing that, the first and this one.
                    let fits = |j: usize| broadcast_two(&self.ty(j).shape, &self.ty(i).shape).is_ok();
                    let j = which[..n].iter().copied().find(|j| !fits(*j)).unwrap_or(which[0]);
                    return Err(self.broadcast_error(j, i));
                }
            };
        }
        Ok(shape)
    }

    fn broadcast_error(&self, i: usize, j: usize) -> Diagnostic {
        let (a, b) = (&self.ty(i).shape, &self.ty(j).shape);
        let axis = broadcast_two(a, b).err().unwrap_or(0);
        let rank = a.len().max(b.len());
        let at = |s: &Shape| s.get((axis + s.len()).saturating_sub(rank)).copied().unwrap_or(Dim::Const(1));
        let (x, y) = (at(a), at(b));
        let (p, q) = (self.f.dim_name(x), self.f.dim_name(y));
        let word = self.op.word();
        let message =
            format!("shapes do not match in `{word}`: {}, {}; on axis {axis} {p} meets {q}", self.is(i), self.is(j));
        let e = self.made_at(self.error(message), &[i, j]);
        if let Some(calls) = unsqueeze_calls(a, b) {
            return e.help(self.call(j, &calls));
        }
        if let Some(calls) = unsqueeze_calls(b, a) {
            return e.help(self.call(i, &calls));
        }
        if let ([.., r, c], [.., s, d]) = (&a[..], &b[..])
            && (r, c) == (d, s)
        {
            return e.help(format!("transpose one of them: {}", self.call(j, "t()")));
        }
        if a.len() == b.len() { differing_dims(self.f, e, x, y) } else { e }
    }
}

/// Adds what is known of two dims that should have been equal.
pub(super) fn differing_dims(f: &Function, e: Diagnostic, x: Dim, y: Dim) -> Diagnostic {
    let (p, q) = (f.dim_name(x), f.dim_name(y));
    match (x, y) {
        (Dim::Tile(_), Dim::Tile(_)) => {
            e.help(format!("`{p}` and `{q}` are different tile variables; index both with the same one"))
        }
        (Dim::Tile(_), Dim::Symbol(_)) => e.help(format!("index with `{p}` where the whole axis `{q}` was taken")),
        (Dim::Symbol(_), Dim::Tile(_)) => e.help(format!("index with `{q}` where the whole axis `{p}` was taken")),
        (Dim::Symbol(_), Dim::Symbol(_)) => e.help(format!(
            "the sizes `{p}` and `{q}` differ; check them before the loop with `ensure!({p} == {q}, …)`"
        )),
        _ => e,
    }
}

/// The calls that put axes of size 1 into `small` so that it broadcasts against `large`: one axis
/// anywhere, or several at the end.
fn unsqueeze_calls(large: &[Dim], small: &[Dim]) -> Option<String> {
    let rank = small.len();
    if rank == 0 || rank >= large.len() {
        return None;
    }
    let fits = |axis: usize, many: usize| {
        let mut padded = small.to_vec();
        padded.splice(axis..axis, std::iter::repeat_n(Dim::Const(1), many));
        broadcast_two(large, &padded).is_ok()
    };
    if let Some(axis) = (0..=rank).rev().find(|axis| fits(*axis, 1)) {
        return Some(format!("unsqueeze({axis})"));
    }
    let many = (2..=large.len() - rank).find(|many| fits(rank, *many))?;
    Some((rank..rank + many).map(|axis| format!("unsqueeze({axis})")).collect::<Vec<_>>().join("."))
}
