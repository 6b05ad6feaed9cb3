//! Reductions, scans, products and operations on shapes.

use helion_ir::tile::{Dim, Op, ReduceOp, Shape, Type};
use helion_ir::{BinaryOp, DType, Loc};

use super::{Gen, Val};
use crate::num::{self, Num};

impl Gen<'_> {
    /// A value with axes, and one of them.
    fn with_axis(&mut self, wanted: impl Fn(&Val) -> bool) -> Option<(Val, usize)> {
        let v = self.choose(|_, v| v.ty.rank() > 0 && wanted(v))?;
        let axis = v.ty.rank() - 1 - self.c.below(v.ty.rank());
        Some((v, axis))
    }

    pub(super) fn reduce(&mut self) -> Option<()> {
        let ops = [
            ReduceOp::Sum,
            ReduceOp::Max,
            ReduceOp::Min,
            ReduceOp::ArgMax,
            ReduceOp::ArgMin,
            ReduceOp::Prod,
            ReduceOp::Any,
            ReduceOp::All,
        ];
        let (v, axis) = self.with_axis(|v| v.ty.dtype.is_num() || v.ty.dtype == DType::Bool)?;
        let op = if v.ty.dtype == DType::Bool {
            *self.c.pick(&[ReduceOp::Any, ReduceOp::All])
        } else {
            *self.c.pick(&ops[..6])
        };
        let n = num::reduce(op, v.ty.dtype, self.extent(v.ty.shape[axis]), v.num)?;
        if !self.affordable(&v.ty.shape, 1) {
            return None;
        }
        self.touches(v.ty.shape[axis]);
        let r = self.keep(Op::Reduce { op, axis: axis as u32 }, &[v.id], n);
        // Without its axis, and as a scalar when that was the only one, it meets other values.
        if self.c.chance(30) {
            let mut shape = r.ty.shape.clone();
            shape.remove(axis);
            self.keep(Op::Reshape(shape), &[r.id], Num { product: false, ..n });
        }
        Some(())
    }

    pub(super) fn scan(&mut self) -> Option<()> {
        let op = *self.c.pick(&[ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Prod]);
        let (v, axis) = self.with_axis(|v| v.ty.dtype.is_num())?;
        let n = num::reduce(op, v.ty.dtype, self.extent(v.ty.shape[axis]), v.num)?;
        if !self.affordable(&v.ty.shape, 1) {
            return None;
        }
        self.touches(v.ty.shape[axis]);
        let reverse = self.c.chance(40);
        self.keep(Op::Scan { op, axis: axis as u32, reverse }, &[v.id], n);
        Some(())
    }

    /// A reduction or scan with a function: composition of `x -> a x + b` on integers, which is associative and
    /// not commutative, or the smallest element with its partner.
    pub(super) fn combine(&mut self) -> Option<()> {
        let (a, axis) = self.with_axis(|v| v.ty.dtype.is_int())?;
        let b = self.choose(|_, v| v.ty == a.ty)?;
        if !self.affordable(&a.ty.shape, 4) {
            return None;
        }
        self.touches(a.ty.shape[axis]);
        let element = Type::scalar(a.ty.dtype);
        let p = self.b.open_region(&vec![element; 4], Loc::UNKNOWN);
        let at = Loc::UNKNOWN;
        let yields = if self.c.chance(50) {
            let less = self.b.one(Op::Binary(BinaryOp::Lt), &[p[2], p[0]], at);
            let first = self.b.one(Op::Select, &[less, p[2], p[0]], at);
            [first, self.b.one(Op::Select, &[less, p[3], p[1]], at)]
        } else {
            let slope = self.b.one(Op::Binary(BinaryOp::Mul), &[p[0], p[2]], at);
            let moved = self.b.one(Op::Binary(BinaryOp::Mul), &[p[1], p[2]], at);
            [slope, self.b.one(Op::Binary(BinaryOp::Add), &[moved, p[3]], at)]
        };
        let region = self.b.close_region(&yields);
        let axis = axis as u32;
        let op =
            if self.c.chance(50) { Op::ScanWith { axis, reverse: self.c.chance(40) } } else { Op::ReduceWith { axis } };
        self.used.extend([a.id, b.id]);
        let results = self.b.push_with_regions(op, &[a.id, b.id], vec![region], at);
        let n = Num::whole(2f64.powi(8 * a.ty.dtype.size() as i32));
        for r in results {
            self.put(r, n);
        }
        Some(())
    }

    pub(super) fn dot(&mut self) -> Option<()> {
        let a = self.choose(|_, v| v.ty.rank() >= 2 && v.ty.dtype != DType::Bool)?;
        let r = a.ty.rank();
        let fits = |v: &Val| {
            let s = &v.ty.shape;
            v.ty.dtype == a.ty.dtype
                && s.len() == r
                && s[r - 2] == a.ty.shape[r - 1]
                && s[..r - 2] == a.ty.shape[..r - 2]
        };
        let b = match self.choose(|_, v| fits(v)) {
            Some(b) => b,
            None => {
                // The left operand turned around always fits.
                let mut perm: Vec<u32> = (0..r as u32).collect();
                perm.swap(r - 1, r - 2);
                let (n, _) = (a.num, ());
                self.keep(Op::Permute(perm), &[a.id], n)
            }
        };
        let choices: &[DType] = match a.ty.dtype {
            d if !d.is_int() => &[DType::F32, DType::F64],
            DType::I64 | DType::U64 => &[DType::I64, DType::U64],
            _ => &[DType::I32, DType::I64, DType::U32, DType::U64],
        };
        let acc = *self.c.pick(choices);
        let k = self.extent(a.ty.shape[r - 1]);
        let n = num::dot(a.ty.dtype, acc, k, a.num, b.num)?;
        let mut shape: Shape = a.ty.shape.clone();
        shape[r - 1] = b.ty.shape[r - 1];
        if !self.affordable(&shape, k) {
            return None;
        }
        self.touches(a.ty.shape[r - 1]);
        self.keep(Op::Dot { acc }, &[a.id, b.id], n);
        Some(())
    }

    pub(super) fn broadcast(&mut self) -> Option<()> {
        let v = self.choose(|_, v| v.ty.rank() < 4)?;
        let mut shape = v.ty.shape.clone();
        for i in 0..shape.len() {
            if shape[i] == Dim::Const(1) && self.c.chance(60) {
                shape[i] = self.any_dim();
            }
        }
        if shape == v.ty.shape || (shape.len() < 3 && self.c.chance(40)) {
            let d = self.any_dim();
            shape.insert(0, d);
        }
        if !self.affordable(&shape, 1) {
            return None;
        }
        self.keep(Op::Broadcast(shape), &[v.id], v.num);
        Some(())
    }

    /// Axes of size 1 come and go, neighbours are merged, constants are split.
    pub(super) fn reshape(&mut self) -> Option<()> {
        let v = self.choose(|_, _| true)?;
        let mut shape = v.ty.shape.clone();
        let at = self.c.below(shape.len() + 1);
        match self.c.below(4) {
            0 if shape.len() < 4 => shape.insert(at, Dim::Const(1)),
            1 => {
                let axis = shape.iter().position(|d| *d == Dim::Const(1))?;
                shape.remove(axis);
            }
            2 => {
                let (a, b) = (*shape.get(at)?, *shape.get(at + 1)?);
                let merged = self.b.dim_expr(BinaryOp::Mul, a, b);
                shape.remove(at);
                shape[at] = merged;
            }
            _ => {
                let Some(Dim::Const(n)) = shape.get(at).copied() else { return None };
                let by = *self.c.pick(&[2u64, 3, 5, 7]);
                if n == 0 || n % by != 0 {
                    return None;
                }
                shape[at] = Dim::Const(n / by);
                shape.insert(at + 1, Dim::Const(by));
            }
        }
        if !self.affordable(&shape, 1) {
            return None;
        }
        self.depends_on_blocks |= shape.iter().any(|d| matches!(d, Dim::Expr(_)));
        self.keep(Op::Reshape(shape), &[v.id], v.num);
        Some(())
    }

    pub(super) fn permute(&mut self) -> Option<()> {
        let v = self.choose(|_, v| v.ty.rank() >= 2)?;
        let mut perm: Vec<u32> = (0..v.ty.rank() as u32).rev().collect();
        if perm.len() > 2 && self.c.chance(60) {
            let i = self.c.below(perm.len());
            perm.swap(0, i);
        }
        if !self.affordable(&v.ty.shape, 1) {
            return None;
        }
        self.keep(Op::Permute(perm), &[v.id], v.num);
        Some(())
    }

    /// Part of an axis whose extent does not depend on the block.
    pub(super) fn slice(&mut self) -> Option<()> {
        let (v, axis) = self.with_axis(|_| true)?;
        let d = v.ty.shape[axis];
        if !matches!(d, Dim::Const(_) | Dim::Symbol(_)) {
            return None;
        }
        let n = self.extent(d);
        let start = self.c.below(n as usize + 1) as u64;
        let len = self.c.below((n - start) as usize + 1) as u64;
        if !self.affordable(&v.ty.shape, 1) {
            return None;
        }
        let op = Op::Slice { axis: axis as u32, start: Dim::Const(start), len: Dim::Const(len) };
        self.keep(op, &[v.id], v.num);
        Some(())
    }

    pub(super) fn concat(&mut self) -> Option<()> {
        let (a, axis) = self.with_axis(|_| true)?;
        let fits = |v: &Val| {
            let same = |i: usize| i == axis || v.ty.shape[i] == a.ty.shape[i];
            v.ty.dtype == a.ty.dtype && v.ty.rank() == a.ty.rank() && (0..a.ty.rank()).all(same)
        };
        let mut parts = vec![a.clone()];
        for _ in 0..1 + self.c.below(2) {
            parts.push(self.choose(|_, v| fits(v))?);
        }
        let mut shape = a.ty.shape.clone();
        for p in &parts[1..] {
            shape[axis] = self.b.dim_expr(BinaryOp::Add, shape[axis], p.ty.shape[axis]);
        }
        if !self.affordable(&shape, 1) {
            return None;
        }
        for p in &parts {
            self.touches(p.ty.shape[axis]);
        }
        let n = parts.iter().fold(a.num, |n, p| n.join(p.num));
        let args: Vec<_> = parts.iter().map(|p| p.id).collect();
        self.keep(Op::Concat { axis: axis as u32 }, &args, n);
        Some(())
    }

    pub(super) fn gather(&mut self) -> Option<()> {
        let (x, axis) = self.with_axis(|_| true)?;
        let fits = |v: &Val| {
            let same = |i: usize| i == axis || v.ty.shape[i] == x.ty.shape[i];
            v.ty.dtype.is_int() && v.num.is_exact() && v.ty.rank() == x.ty.rank() && (0..x.ty.rank()).all(same)
        };
        let index = self.choose(|_, v| fits(v))?;
        if !self.affordable(&index.ty.shape, 1) {
            return None;
        }
        self.touches(x.ty.shape[axis]);
        self.touches(index.ty.shape[axis]);
        let n = Num { mag: x.num.mag.max(1.0), ..x.num };
        self.keep(Op::Gather { axis: axis as u32 }, &[x.id, index.id], n);
        Some(())
    }
}
