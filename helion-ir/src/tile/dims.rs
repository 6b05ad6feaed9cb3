//! Size expressions: folding to a normal form, order, and names.
//!
//! In: an operation on two dims. Out: the interned dim of the result. A sum, difference or product is kept
//! as a polynomial with its terms in one order, so that dims which are equal by the rules of arithmetic are
//! equal as values: `n - m + m` is `n`, `2 * n` is `n + n`. Order is by structure, never by the order of
//! interning.

use super::types::{Dim, DimExpr, ExprId, Function};
use crate::elementwise::BinaryOp;
use std::cmp::Ordering;

/// A product of atoms in order, and its factor.
type Term = (Vec<Dim>, i64);
/// A sum of terms in order; no factor is zero. The term without atoms is the constant.
type Poly = Vec<Term>;

/// Larger polynomials are not multiplied out.
const MAX_TERMS: usize = 16;
const MAX_DEGREE: usize = 6;

impl Function {
    /// The dim of `a op b`, folded and interned. Operations that sizes do not have give `a`.
    pub fn dim_expr(&mut self, op: BinaryOp, a: Dim, b: Dim) -> Dim {
        let (a, b) = (self.normal_dim(a), self.normal_dim(b));
        match op {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul => match self.combine(op, a, b) {
                Some(poly) => self.rebuild(poly),
                None => self.intern(op, a, b),
            },
            BinaryOp::Div => self.fold_div(a, b),
            BinaryOp::Rem => self.fold_rem(a, b),
            BinaryOp::Min | BinaryOp::Max => self.fold_extreme(op, a, b),
            BinaryOp::Pow
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Xor
            | BinaryOp::Shl
            | BinaryOp::Shr
            | BinaryOp::Eq
            | BinaryOp::Ne
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge => a,
        }
    }

    /// The dim that stands for `d` in types: 1 for the extent of a unit tile variable, else `d`.
    pub fn normal_dim(&self, d: Dim) -> Dim {
        match d {
            Dim::Tile(t) if self.tiles.get(t.index()).is_some_and(|t| t.unit) => Dim::Const(1),
            Dim::Tile(_) | Dim::Const(_) | Dim::Symbol(_) | Dim::Expr(_) => d,
        }
    }

    /// The number of elements of a shape, as a dim.
    pub fn dim_product(&mut self, shape: &[Dim]) -> Dim {
        shape.iter().fold(Dim::Const(1), |n, d| self.dim_expr(BinaryOp::Mul, n, *d))
    }

    /// What a user calls a dim: `tm`, `n`, `n / 2`, `64`.
    pub fn dim_name(&self, d: Dim) -> String {
        self.named(d, 0, &mut 100)
    }

    /// A shape in the user's words: `[tm, n]`, or `a scalar`.
    pub fn shape_name(&self, shape: &[Dim]) -> String {
        if shape.is_empty() {
            return "a scalar".to_owned();
        }
        format!("[{}]", shape.iter().map(|d| self.dim_name(*d)).collect::<Vec<_>>().join(", "))
    }

    /// `budget` is how many more operations the text may hold: shared parts could make it very long.
    fn named(&self, d: Dim, strength: u32, budget: &mut u32) -> String {
        let unknown = || "?".to_owned();
        let e = match d {
            Dim::Const(c) => return c.to_string(),
            Dim::Symbol(s) => return self.symbols.get(s.index()).map_or_else(unknown, |s| s.name.clone()),
            Dim::Tile(t) => return self.tiles.get(t.index()).map_or_else(unknown, |t| t.name.clone()),
            Dim::Expr(e) => match self.exprs.get(e.index()) {
                Some(e) if *budget > 0 => *e,
                Some(_) => return "…".to_owned(),
                None => return unknown(),
            },
        };
        *budget -= 1;
        let (own, sign) = match e.op {
            BinaryOp::Add => (1, "+"),
            BinaryOp::Sub => (1, "-"),
            BinaryOp::Mul => (2, "*"),
            BinaryOp::Div => (2, "/"),
            BinaryOp::Rem => (2, "%"),
            op => {
                let (a, b) = (self.named(e.lhs, 0, budget), self.named(e.rhs, 0, budget));
                return format!("{op}({a}, {b})");
            }
        };
        let text = format!("{} {sign} {}", self.named(e.lhs, own, budget), self.named(e.rhs, own + 1, budget));
        if own < strength { format!("({text})") } else { text }
    }

    fn intern(&mut self, op: BinaryOp, lhs: Dim, rhs: Dim) -> Dim {
        let e = DimExpr { op, lhs, rhs };
        let at = self.exprs.iter().position(|known| *known == e).unwrap_or_else(|| {
            self.exprs.push(e);
            self.exprs.len() - 1
        });
        Dim::Expr(ExprId(at as u32))
    }

    fn expr(&self, d: Dim) -> Option<DimExpr> {
        match d {
            Dim::Expr(e) => self.exprs.get(e.index()).copied(),
            Dim::Const(_) | Dim::Symbol(_) | Dim::Tile(_) => None,
        }
    }

    /// Order by structure.
    fn order(&self, a: Dim, b: Dim) -> Ordering {
        match (self.expr(a), self.expr(b)) {
            (Some(_), Some(_)) if a == b => Ordering::Equal,
            (Some(x), Some(y)) => {
                x.op.cmp(&y.op).then_with(|| self.order(x.lhs, y.lhs)).then_with(|| self.order(x.rhs, y.rhs))
            }
            (None, _) | (_, None) => a.cmp(&b),
        }
    }

    /// Order of products: longer ones first, then by their atoms; the constant comes last.
    fn order_atoms(&self, a: &[Dim], b: &[Dim]) -> Ordering {
        let atoms = || a.iter().zip(b).map(|(x, y)| self.order(*x, *y)).find(|o| o.is_ne());
        b.len().cmp(&a.len()).then_with(|| atoms().unwrap_or(Ordering::Equal))
    }

    /// The polynomial that `rebuild` made `d` from; `d` itself as an atom when it did not.
    fn poly(&self, d: Dim) -> Poly {
        let atom = || vec![(vec![d], 1)];
        match d {
            Dim::Const(0) => Vec::new(),
            Dim::Const(c) => i64::try_from(c).map_or_else(|_| atom(), |c| vec![(Vec::new(), c)]),
            Dim::Symbol(_) | Dim::Tile(_) => atom(),
            Dim::Expr(_) => match self.expr(d) {
                Some(e) if self.is_rebuilt(e) => self.combine(e.op, e.lhs, e.rhs).unwrap_or_else(atom),
                Some(_) | None => atom(),
            },
        }
    }

    /// Whether an expression leans to the left as `rebuild` makes them; others were too large to
    /// multiply out, and looking into them again could take exponential time.
    fn is_rebuilt(&self, e: DimExpr) -> bool {
        let op = |d| self.expr(d).map(|e| e.op);
        let sum = |d| matches!(op(d), Some(BinaryOp::Add | BinaryOp::Sub));
        let product = |d| matches!(op(d), Some(BinaryOp::Mul));
        match e.op {
            BinaryOp::Add | BinaryOp::Sub => !sum(e.rhs),
            BinaryOp::Mul => !sum(e.lhs) && !sum(e.rhs) && !product(e.rhs),
            _ => false,
        }
    }

    /// The polynomial of a sum, difference or product; `None` when it is too large to be worth it.
    fn combine(&self, op: BinaryOp, a: Dim, b: Dim) -> Option<Poly> {
        let (a, b) = (self.poly(a), self.poly(b));
        let mut terms: Poly = Vec::new();
        if matches!(op, BinaryOp::Mul) {
            for (x, p) in &a {
                for (y, q) in &b {
                    let mut atoms = [&x[..], &y[..]].concat();
                    atoms.sort_by(|s, t| self.order(*s, *t));
                    terms.push((atoms, p.checked_mul(*q)?));
                }
            }
        } else {
            terms = a;
            for (x, p) in b {
                terms.push((x, if matches!(op, BinaryOp::Sub) { p.checked_neg()? } else { p }));
            }
        }
        terms.sort_by(|(x, _), (y, _)| self.order_atoms(x, y));
        let mut merged: Poly = Vec::new();
        for (atoms, factor) in terms {
            match merged.last_mut() {
                Some((last, sum)) if *last == atoms => *sum = sum.checked_add(factor)?,
                Some(_) | None => merged.push((atoms, factor)),
            }
        }
        merged.retain(|(_, factor)| *factor != 0);
        let fits = merged.len() <= MAX_TERMS && merged.iter().all(|(atoms, _)| atoms.len() <= MAX_DEGREE);
        fits.then_some(merged)
    }

    /// The dim of a polynomial: positive terms, then the others subtracted.
    fn rebuild(&mut self, poly: Poly) -> Dim {
        let mut sum: Option<Dim> = None;
        for (atoms, factor) in poly.iter().filter(|(_, f)| *f > 0) {
            let term = self.product(atoms, factor.unsigned_abs());
            sum = Some(match sum {
                Some(s) => self.intern(BinaryOp::Add, s, term),
                None => term,
            });
        }
        for (atoms, factor) in poly.iter().filter(|(_, f)| *f < 0) {
            let term = self.product(atoms, factor.unsigned_abs());
            sum = Some(self.intern(BinaryOp::Sub, sum.unwrap_or(Dim::Const(0)), term));
        }
        sum.unwrap_or(Dim::Const(0))
    }

    fn product(&mut self, atoms: &[Dim], factor: u64) -> Dim {
        let mut all = atoms.iter().copied().chain((factor != 1 || atoms.is_empty()).then_some(Dim::Const(factor)));
        let first = all.next().unwrap_or(Dim::Const(1));
        all.fold(first, |p, a| self.intern(BinaryOp::Mul, p, a))
    }

    /// `d / c` when every term of `d` is a multiple of `c`.
    fn exact_quotient(&mut self, d: Dim, c: u64) -> Option<Dim> {
        let c = i64::try_from(c).ok()?;
        let mut poly = self.poly(d);
        if c == 0 || poly.iter().any(|(_, f)| f % c != 0) {
            return None;
        }
        poly.iter_mut().for_each(|(_, f)| *f /= c);
        Some(self.rebuild(poly))
    }

    fn fold_div(&mut self, a: Dim, b: Dim) -> Dim {
        match (a, b) {
            (_, Dim::Const(0)) => Dim::Const(0),
            (_, Dim::Const(1)) => a,
            (Dim::Const(x), Dim::Const(y)) => Dim::Const(x / y),
            (_, Dim::Const(c)) => {
                if let Some(q) = self.exact_quotient(a, c) {
                    return q;
                }
                match self.expr(a) {
                    Some(DimExpr { op: BinaryOp::Div, lhs, rhs: Dim::Const(d) }) if c.checked_mul(d).is_some() => {
                        self.fold_div(lhs, Dim::Const(c * d))
                    }
                    Some(_) | None => self.intern(BinaryOp::Div, a, b),
                }
            }
            (Dim::Const(0), _) => a,
            _ => self.intern(BinaryOp::Div, a, b),
        }
    }

    fn fold_rem(&mut self, a: Dim, b: Dim) -> Dim {
        match (a, b) {
            (_, Dim::Const(0 | 1)) | (Dim::Const(0), _) => Dim::Const(0),
            (Dim::Const(x), Dim::Const(y)) => Dim::Const(x % y),
            _ if a == b => Dim::Const(0),
            (_, Dim::Const(c)) if self.exact_quotient(a, c).is_some() => Dim::Const(0),
            _ => self.intern(BinaryOp::Rem, a, b),
        }
    }

    fn fold_extreme(&mut self, op: BinaryOp, a: Dim, b: Dim) -> Dim {
        // When the operands differ by a constant, the smaller is known.
        let a_is_smaller = match self.combine(BinaryOp::Sub, a, b).as_deref() {
            Some([]) => Some(true),
            Some([(atoms, difference)]) if atoms.is_empty() => Some(*difference < 0),
            Some(_) | None => None,
        };
        match a_is_smaller {
            Some(smaller) if smaller == matches!(op, BinaryOp::Min) => a,
            Some(_) => b,
            None if self.order(a, b).is_gt() => self.intern(op, b, a),
            None => self.intern(op, a, b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Region, Symbol, SymbolId};
    use super::*;
    use BinaryOp::{Add, Div, Max, Min, Mul, Rem, Sub};

    fn sizes() -> Function {
        let symbols = ["m", "n", "k"].map(|name| Symbol { name: name.into() }).to_vec();
        Function {
            name: String::new(),
            params: vec![],
            symbols,
            exprs: vec![],
            tiles: vec![],
            values: vec![],
            header: vec![],
            body: Region::default(),
        }
    }
    const M: Dim = Dim::Symbol(SymbolId(0));
    const N: Dim = Dim::Symbol(SymbolId(1));
    fn c(v: u64) -> Dim {
        Dim::Const(v)
    }

    #[test]
    fn folding_finds_equal_sizes() {
        let f = &mut sizes();
        for (op, a, b, want) in [
            (Add, M, c(0), M),
            (Mul, c(1), M, M),
            (Mul, M, c(0), c(0)),
            (Sub, M, M, c(0)),
            (Add, c(3), c(4), c(7)),
            (Div, c(7), c(2), c(3)),
            (Div, M, c(1), M),
            (Div, M, c(0), c(0)),
            (Rem, M, c(1), c(0)),
            (Rem, c(7), c(4), c(3)),
            (Min, c(3), c(4), c(3)),
            (Max, M, M, M),
        ] {
            assert_eq!(f.dim_expr(op, a, b), want, "{op} {a:?} {b:?}");
        }
        let (mn, nm) = (f.dim_expr(Mul, M, N), f.dim_expr(Mul, N, M));
        assert_eq!(mn, nm);
        let less = f.dim_expr(Sub, N, M);
        assert_eq!(f.dim_expr(Add, less, M), N);
        let (twice, double) = (f.dim_expr(Add, N, N), f.dim_expr(Mul, c(2), N));
        assert_eq!(twice, double);
        assert_eq!(f.dim_expr(Div, twice, c(2)), N);
        assert_eq!(f.dim_expr(Rem, twice, c(2)), c(0));
        let (more, both) = (f.dim_expr(Add, N, c(3)), f.dim_expr(Min, N, M));
        assert_eq!(f.dim_expr(Min, more, N), N);
        assert_eq!(f.dim_expr(Max, N, more), more);
        assert_eq!(f.dim_expr(Min, M, N), both);
        let quarter = f.dim_expr(Div, N, c(2));
        let quarter = f.dim_expr(Div, quarter, c(2));
        assert_eq!(quarter, f.dim_expr(Div, N, c(4)));
    }

    #[test]
    fn names_have_the_parentheses_they_need() {
        let f = &mut sizes();
        let half = f.dim_expr(Div, N, c(2));
        assert_eq!(f.dim_name(half), "n / 2");
        let up = f.dim_expr(Add, N, c(63));
        let blocks = f.dim_expr(Div, up, c(64));
        assert_eq!(f.dim_name(blocks), "(n + 63) / 64");
        let padded = f.dim_expr(Mul, blocks, c(64));
        assert_eq!(f.dim_name(padded), "(n + 63) / 64 * 64");
        let x = f.dim_expr(Mul, M, half);
        assert_eq!(f.dim_name(x), "m * (n / 2)");
        let y = f.dim_expr(Sub, M, up);
        assert_eq!(f.dim_name(y), "m - n - 63");
        let z = f.dim_expr(Min, up, M);
        assert_eq!(f.dim_name(z), "min(m, n + 63)");
        assert_eq!(f.shape_name(&[M, c(4)]), "[m, 4]");
    }

    #[test]
    fn folding_ends_on_large_expressions() {
        let f = &mut sizes();
        let (mut sum, mut product) = (M, M);
        for i in 0..60 {
            let part = f.dim_expr(Div, N, c(3 + i));
            sum = f.dim_expr(Add, sum, part);
            sum = f.dim_expr(Add, sum, sum);
            product = f.dim_expr(Mul, product, part);
        }
        assert!(!f.dim_name(sum).is_empty() && !f.dim_name(product).is_empty());
    }
}
