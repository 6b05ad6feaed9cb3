//! Rules of operations that move elements or combine them along an axis.

use super::elementwise::{broadcast_two, differing_dims};
use super::{Cx, reduce_word};
use crate::diag::Diagnostic;
use crate::dtype::{Class, DType};
use crate::elementwise::BinaryOp;
use crate::tile::types::{Dim, ReduceOp, Shape, Type};

impl Cx<'_> {
    /// The axis exists in operand `i`.
    pub(super) fn check_axis(&self, i: usize, axis: u32) -> Result<usize, Diagnostic> {
        let rank = self.ty(i).rank();
        if (axis as usize) < rank {
            return Ok(axis as usize);
        }
        let (word, is) = (self.op.word(), self.is(i));
        let e = self.error(format!("`{word}` along axis {axis}, but {is}"));
        Err(match rank {
            0 => e,
            1 => e.help("its only axis is 0"),
            _ => e.help(format!("its axes are 0 to {}", rank - 1)),
        })
    }

    fn normal_shape(&self, shape: &Shape) -> Shape {
        shape.iter().map(|d| self.f.normal_dim(*d)).collect()
    }

    pub(super) fn broadcast(&self, shape: &Shape) -> Result<Type, Diagnostic> {
        let shape = self.normal_shape(shape);
        if broadcast_two(&shape, &self.ty(0).shape).as_ref() != Ok(&shape) {
            let e = self.error(format!("{} and does not broadcast to {}", self.is(0), self.f.shape_name(&shape)));
            return Err(e.help("axes are matched from the last; each must be equal or 1"));
        }
        Ok(Type { dtype: self.dtype(0), shape })
    }

    pub(super) fn reshape(&mut self, shape: &Shape) -> Result<Type, Diagnostic> {
        let shape = self.normal_shape(shape);
        let old = self.shape(0);
        let (from, to) = (self.f.dim_product(&old), self.f.dim_product(&shape));
        if from != to {
            let (from, to) = (self.f.dim_name(from), self.f.dim_name(to));
            let want = self.f.shape_name(&shape);
            let e = self
                .error(format!("`reshape` keeps the number of elements: {} with {from}, {want} has {to}", self.is(0)));
            return Err(e.help("the numbers must be equal for every size, as in [tm, h * d] to [tm, h, d]"));
        }
        Ok(Type { dtype: self.dtype(0), shape })
    }

    pub(super) fn permute(&self, perm: &[u32]) -> Result<Type, Diagnostic> {
        let old = &self.ty(0).shape;
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..old.len() as u32) {
            let e = self.error(format!("{perm:?} is not an order of the axes of {}: {}", self.who(0), self.is(0)));
            return Err(e.help("name each axis once, as in `permute([1, 0])`"));
        }
        Ok(Type { dtype: self.dtype(0), shape: perm.iter().map(|p| old[*p as usize]).collect() })
    }

    pub(super) fn slice(&mut self, axis: u32, start: Dim, len: Dim) -> Result<Type, Diagnostic> {
        let axis = self.check_axis(0, axis)?;
        let mut shape = self.shape(0);
        let (start, len) = (self.f.normal_dim(start), self.f.normal_dim(len));
        let end = self.f.dim_expr(BinaryOp::Add, start, len);
        if let (Dim::Const(end), Dim::Const(have)) = (end, shape[axis])
            && end > have
        {
            let start = self.f.dim_name(start);
            return Err(self.error(format!("the slice {start}..{end} leaves axis {axis}: {}", self.is(0))));
        }
        shape[axis] = len;
        Ok(Type { dtype: self.dtype(0), shape })
    }

    pub(super) fn concat(&mut self, axis: u32) -> Result<Type, Diagnostic> {
        let axis = self.check_axis(0, axis)?;
        let mut shape = self.shape(0);
        for i in 1..self.args.len() {
            self.check_same_dtype(0, i)?;
            let next = self.shape(i);
            let fits = next.len() == shape.len() && (0..shape.len()).all(|a| a == axis || next[a] == shape[a]);
            if !fits {
                let (a, b) = (self.is(0), self.is(i));
                return Err(self.error(format!("`concat` along axis {axis} needs all other axes equal: {a}, {b}")));
            }
            shape[axis] = self.f.dim_expr(BinaryOp::Add, shape[axis], next[axis]);
        }
        Ok(Type { dtype: self.dtype(0), shape })
    }

    pub(super) fn gather(&self, axis: u32) -> Result<Type, Diagnostic> {
        let axis = self.check_axis(0, axis)?;
        let (x, index) = (&self.ty(0).shape, &self.ty(1).shape);
        if !self.dtype(1).is_int() {
            let (who, d) = (self.who(1), self.dtype(1));
            return Err(self.error(format!("`gather` picks by integers, {who} is {d}")));
        }
        if x.len() != index.len() || (0..x.len()).any(|a| a != axis && x[a] != index[a]) {
            let (a, b) = (self.is(0), self.is(1));
            let e = self.error(format!("`gather` along axis {axis} needs all other axes equal: {a}, {b}"));
            let one_less = index.len() + 1 == x.len();
            return Err(if one_less { e.help(self.call(1, &format!("unsqueeze({axis})"))) } else { e });
        }
        Ok(Type { dtype: self.dtype(0), shape: index.clone() })
    }

    pub(super) fn reduce(&self, op: ReduceOp, axis: u32) -> Result<Type, Diagnostic> {
        let axis = self.check_axis(0, axis)?;
        self.check_reduce(op)?;
        let mut shape = self.shape(0);
        shape[axis] = Dim::Const(1);
        let dtype = match op {
            ReduceOp::ArgMax | ReduceOp::ArgMin => DType::I64,
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All => {
                self.dtype(0)
            }
        };
        Ok(Type { dtype, shape })
    }

    pub(super) fn scan(&self, op: ReduceOp, axis: u32) -> Result<Type, Diagnostic> {
        self.check_axis(0, axis)?;
        match op {
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min => self.check_reduce(op)?,
            ReduceOp::Any | ReduceOp::All | ReduceOp::ArgMax | ReduceOp::ArgMin => {
                return Err(self.error(format!("there is no running `{}`", reduce_word(op))));
            }
        }
        Ok(self.ty(0).clone())
    }

    fn check_reduce(&self, op: ReduceOp) -> Result<(), Diagnostic> {
        let d = self.dtype(0);
        let (word, who) = (reduce_word(op), self.who(0));
        match op {
            ReduceOp::Any | ReduceOp::All if d == DType::Bool => Ok(()),
            ReduceOp::Any | ReduceOp::All => {
                let e = self.error(format!("`{word}` takes conditions (bool), {who} is {d}"));
                Err(e.help("compare first, as in `x.gt(0.0)`"))
            }
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::ArgMax | ReduceOp::ArgMin => {
                if d.is_num() {
                    return Ok(());
                }
                let e = self.error(format!("`{word}` takes numbers, {who} is {d}"));
                Err(match d.class() {
                    Class::Bool => e.help(format!("to count, {}", self.call(0, "cast::<i32>()"))),
                    _ => e.help(format!("{d} only stores numbers; {}", self.call(0, "cast::<f32>()"))),
                })
            }
        }
    }

    pub(super) fn dot(&self, acc: DType) -> Result<Type, Diagnostic> {
        let (a, b) = (self.ty(0), self.ty(1));
        for (i, t) in [a, b].into_iter().enumerate() {
            if t.rank() < 2 {
                let e = self.error(format!("`dot` multiplies matrices, {}", self.is(i)));
                return Err(if t.rank() == 1 { e.help(self.call(i, &format!("unsqueeze({i})"))) } else { e });
            }
        }
        self.check_dot_types(acc)?;
        let rank = a.rank();
        if b.rank() != rank {
            let (x, y) = (self.is(0), self.is(1));
            return Err(self.error(format!("both operands of `dot` have equally many axes: {x}, {y}")));
        }
        let (m, k) = (a.shape[rank - 2], a.shape[rank - 1]);
        let (kb, n) = (b.shape[rank - 2], b.shape[rank - 1]);
        if let Some(axis) = (0..rank - 2).find(|i| a.shape[*i] != b.shape[*i]) {
            let (x, y) = (self.is(0), self.is(1));
            let e = self.error(format!("batch sizes differ in `dot` on axis {axis}: {x}, {y}"));
            return Err(self.made_at(e, &[0, 1]));
        }
        if k != kb {
            let (x, y) = (self.is(0), self.is(1));
            let (p, q) = (self.f.dim_name(k), self.f.dim_name(kb));
            let e = self.error(format!("inner sizes differ in `dot`: {x}, {y}; {p} meets {q}"));
            let e = self.made_at(e, &[0, 1]);
            return Err(if k == n {
                e.help(format!("transpose the second: {}", self.call_bare(1)))
            } else if m == kb {
                e.help(format!("transpose the first: {}", self.call_bare(0)))
            } else {
                differing_dims(self.f, e, k, kb)
            });
        }
        let mut shape = a.shape.clone();
        shape[rank - 1] = n;
        Ok(Type { dtype: acc, shape })
    }

    /// A transposed operand as a user writes it.
    fn call_bare(&self, i: usize) -> String {
        self.name(i).map_or_else(|| "`.t()`".to_owned(), |name| format!("`{name}.t()`"))
    }

    fn check_dot_types(&self, acc: DType) -> Result<(), Diagnostic> {
        let (a, b) = (self.dtype(0), self.dtype(1));
        let both_storage = a.class() == Class::Storage && b.class() == Class::Storage;
        if !both_storage {
            self.check_same_dtype(0, 1)?;
        }
        let (good, help) = match a.class() {
            Class::Bool => return Err(self.error(format!("`dot` multiplies numbers, {} is bool", self.who(0)))),
            Class::Float | Class::Storage => {
                (matches!(acc, DType::F32 | DType::F64), "accumulate floats in f32 or f64")
            }
            Class::Signed | Class::Unsigned => {
                let wide = acc.size() >= a.size().max(4);
                (acc.is_int() && wide, "accumulate integers in i32, i64, u32 or u64, not narrower than the operands")
            }
        };
        if good { Ok(()) } else { Err(self.error(format!("`dot` of {a} cannot accumulate in {acc}")).help(help)) }
    }
}
