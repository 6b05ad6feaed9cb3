//! Loops and branches.

use helion_ir::dtype::Literal;
use helion_ir::tile::{Dim, Index, Op, ReduceOp, Type, ValueId};
use helion_ir::{BinaryOp, DType, Loc};

use super::data::{self, Kind};
use super::{Gen, Tile, Val, broadcast};
use crate::num::{self, Num};

const AT: Loc = Loc::UNKNOWN;

impl Gen<'_> {
    /// Bounds of a loop: a plain size, a block of a grid variable, or a number from data.
    fn loop_bounds(&mut self) -> (ValueId, ValueId, Option<Dim>, u64) {
        let zero = self.int(0);
        match self.c.below(10) {
            0..6 => {
                let (dim, size) = self.plain_dim();
                (zero, self.one(Op::Extent(dim), &[]), Some(dim), size)
            }
            6 if !self.open.is_empty() => {
                let open = self.open.clone();
                let t = *self.c.pick(&open);
                self.depends_on_blocks = true;
                let size = self.tiles[t.index()].size;
                (self.one(Op::TileBegin(t), &[]), self.one(Op::TileEnd(t), &[]), None, size)
            }
            7 => {
                let Some(v) = self.choose(|_, v| Self::is_scalar(v, DType::I64)) else {
                    let (five, two) = (self.int(5), self.int(2));
                    return (two, five, None, 5);
                };
                let top = self.int(20);
                let end = self.one(Op::Binary(BinaryOp::Min), &[v.id, top]);
                (zero, self.one(Op::Binary(BinaryOp::Max), &[end, zero]), None, 20)
            }
            _ => {
                let n = self.c.below(10) as i64;
                (zero, self.int(n), Some(Dim::Const(n as u64)), n as u64)
            }
        }
    }

    /// A loop over one or two tile variables that accumulates.
    pub(super) fn for_loop(&mut self) -> Option<()> {
        if self.depth >= 2 {
            return None;
        }
        let trips = self.trips;
        let (mut ids, mut iterations) = (Vec::new(), 1);
        for _ in 0..if self.c.chance(20) { 2 } else { 1 } {
            let (begin, end, over, size) = self.loop_bounds();
            let unit = self.c.chance(15);
            let block = if unit { 1 } else { self.block_for(size) };
            let name = format!("t{}", self.tiles.len());
            let id = self.b.loop_tile(&name, begin, end, unit, AT);
            if !unit {
                self.config = std::mem::take(&mut self.config).block(&name, block);
            }
            self.tiles.push(Tile { over, size, block, grid: false });
            ids.push(id);
            iterations *= size.div_ceil(block);
        }
        self.depends_on_blocks = true;
        let carried = self.carried();
        let types: Vec<Type> = carried.iter().map(|v| v.ty.clone()).collect();
        let start = self.pool.len();
        let params = self.b.open_region(&types, AT);
        self.trips = trips.saturating_mul(iterations.max(1));
        self.cost = self.cost.saturating_add(self.trips);
        self.depth += 1;
        self.open.extend(&ids);
        self.offer(&carried, &params);
        self.load_fresh();
        let steps = 1 + self.c.below(5);
        self.steps(steps);
        if self.c.chance(50) {
            self.reduce();
        }
        let (mut yields, mut nums) = (Vec::new(), Vec::new());
        for (v, p) in carried.iter().zip(&params) {
            let (y, n) = self.accumulate(v, *p, iterations);
            yields.push(y);
            nums.push(n);
        }
        if self.c.chance(30) {
            self.store_fresh();
        }
        let region = self.b.close_region(&yields);
        self.open.truncate(self.open.len() - ids.len());
        self.depth -= 1;
        self.trips = trips;
        self.pool.truncate(start);
        let init: Vec<ValueId> = carried.iter().map(|v| v.id).collect();
        self.used.extend(&init);
        let results = self.b.push_with_regions(Op::For { tiles: ids }, &init, vec![region], AT);
        for (r, n) in results.into_iter().zip(nums) {
            self.put(r, n);
        }
        Some(())
    }

    /// An axis of a matrix: a block of an open variable or a whole axis.
    fn matrix_axis(&mut self, except: Option<Dim>) -> (Index, Dim, Dim) {
        let open: Vec<_> = self.open.iter().copied().filter(|t| Some(Dim::Tile(*t)) != except).collect();
        if !open.is_empty() && !self.c.chance(30) {
            let t = *self.c.pick(&open);
            let kept = self.b.function().normal_dim(Dim::Tile(t));
            return (Index::Tile(t, None), self.size_dim(t), kept);
        }
        let dim = self.plain_dim().0;
        (Index::Full, dim, dim)
    }

    /// A matrix product as kernels write it: blocks of operands, either possibly transposed, accumulated over a loop.
    pub(super) fn matmul(&mut self) -> Option<()> {
        if self.depth >= 2 {
            return None;
        }
        let row = self.matrix_axis(None);
        let column = self.matrix_axis(Some(row.2));
        let types = [DType::F32, DType::F32, DType::F16, DType::BF16, DType::F64, DType::I8, DType::I32, DType::U8];
        let d = *self.c.pick(&types);
        let acc = match d {
            DType::F64 => DType::F64,
            d if d.is_int() => DType::I32,
            _ => DType::F32,
        };
        let kind = *self.c.pick(&[Kind::Whole, Kind::Tame]);
        let (over, k) = self.plain_dim();
        let block = self.block_for(k);
        let shape: Vec<Dim> = vec![row.2, column.2];
        let n = num::dot(d, acc, k, data::bound(d, kind), data::bound(d, kind))?;
        if !self.affordable(&shape, k + 2) {
            return None;
        }
        let zero = self.constant(Literal::from_i64(acc, 0));
        let init = self.one(Op::Broadcast(shape.into_iter().collect()), &[zero.id]);
        let (begin, end) = (self.int(0), self.one(Op::Extent(over), &[]));
        let name = format!("t{}", self.tiles.len());
        let t = self.b.loop_tile(&name, begin, end, false, AT);
        self.config = std::mem::take(&mut self.config).block(&name, block);
        self.tiles.push(Tile { over: Some(over), size: k, block, grid: false });
        let ty = self.b.ty(init).clone();
        let p = self.b.open_region(&[ty], AT);
        let mut operands = Vec::new();
        for (first, second) in
            [(row, (Index::Tile(t, None), over)), ((Index::Tile(t, None), over, over), (column.0, column.1))]
        {
            let turned = self.c.chance(30);
            let mut axes = [(first.0, first.1), second];
            if turned {
                axes.reverse();
            }
            let tensor = self.tensor(d, axes.iter().map(|a| a.1).collect(), kind, false);
            let mut v = self.one(Op::Load { tensor, index: axes.iter().map(|a| a.0).collect() }, &[]);
            if turned {
                v = self.one(Op::Permute(vec![1, 0]), &[v]);
            }
            operands.push(v);
        }
        let product = self.one(Op::Dot { acc }, &operands);
        let sum = self.one(Op::Binary(BinaryOp::Add), &[p[0], product]);
        let region = self.b.close_region(&[sum]);
        let results = self.b.push_with_regions(Op::For { tiles: vec![t] }, &[init], vec![region], AT);
        self.depends_on_blocks |= !n.is_exact();
        for r in results {
            self.put(r, Num { abs: 2.0 * n.abs, ..n });
        }
        Some(())
    }

    /// Values a loop carries: some of the pool, or zeros.
    fn carried(&mut self) -> Vec<Val> {
        let mut carried: Vec<Val> = Vec::new();
        for _ in 0..1 + self.c.below(2) {
            if self.c.chance(50)
                && let Some(v) = self.choose(|_, v| v.ty.dtype != DType::Bool)
            {
                carried.push(v);
                continue;
            }
            let d = self.dtype();
            let zero = self.constant(Literal::from_i64(d, 0));
            let shape: Vec<Dim> = (0..self.c.below(3)).map(|_| self.any_dim()).collect();
            if shape.is_empty() || !self.affordable(&shape, 1) {
                carried.push(zero);
            } else {
                let v = self.keep(Op::Broadcast(shape.into_iter().collect()), &[zero.id], zero.num);
                carried.push(v);
            }
        }
        carried
    }

    /// Integers carried by a loop may be used in any way; other carried values only by `accumulate`, because
    /// their differences would grow with every iteration.
    fn offer(&mut self, carried: &[Val], params: &[ValueId]) {
        for (v, p) in carried.iter().zip(params) {
            if v.ty.dtype.is_int() {
                self.put(*p, Num::whole(2f64.powi(8 * v.ty.dtype.size() as i32)));
            }
        }
    }

    /// The next value of a carried one, and what is known of it after all iterations.
    fn accumulate(&mut self, v: &Val, p: ValueId, iterations: u64) -> (ValueId, Num) {
        let d = v.ty.dtype;
        let keep = (p, v.num);
        let fits = |u: &Val| u.ty.dtype == d && broadcast(&v.ty.shape, &u.ty.shape).as_ref() == Some(&v.ty.shape);
        let Some(f) = self.choose(|_, u| fits(u)) else { return keep };
        if !self.affordable(&v.ty.shape, 2) {
            return keep;
        }
        if !d.is_num() {
            if f.ty == v.ty {
                return (f.id, v.num.join(f.num));
            }
            return keep;
        }
        match self.c.below(4) {
            0 | 1 => {
                // The bounds of a sum of as many terms.
                let Some(total) = num::reduce(ReduceOp::Sum, d, iterations, f.num) else { return keep };
                let Some(n) = num::binary(BinaryOp::Add, d, v.num, total) else { return keep };
                // Each step rounds to the type, not once at the end.
                let n = if d.is_float() && !(n.is_exact() && n.integral) {
                    let step = num::eps(d) * n.mag * (iterations as f64 + 1.0) * 2.0;
                    if !n.mag.is_finite() || n.mag > 1e4 && d == DType::F16 {
                        return keep;
                    }
                    Num { abs: n.abs + n.rel * n.mag + step, rel: 0.0, integral: false, zero_sign: true, ..n }
                } else {
                    Num { zero_sign: true, ..n }
                };
                (self.one(Op::Binary(BinaryOp::Add), &[p, f.id]), n)
            }
            2 => {
                let Some(n) = num::binary(BinaryOp::Max, d, v.num, f.num) else { return keep };
                (self.one(Op::Binary(BinaryOp::Max), &[p, f.id]), n)
            }
            _ => {
                let mask = self.choose(|_, m| {
                    m.ty.dtype == DType::Bool && broadcast(&v.ty.shape, &m.ty.shape).as_ref() == Some(&v.ty.shape)
                });
                match mask {
                    Some(m) => (self.one(Op::Select, &[m.id, f.id, p]), v.num.join(f.num)),
                    None if f.ty == v.ty => (f.id, v.num.join(f.num)),
                    None => keep,
                }
            }
        }
    }

    /// A loop that counts to a small number, perhaps one from data.
    pub(super) fn while_loop(&mut self) -> Option<()> {
        if self.depth >= 2 {
            return None;
        }
        let mut limit = self.c.below(4) as i64;
        let mut limit_id = self.int(limit);
        if self.c.chance(40)
            && let Some(v) = self.choose(|_, v| Self::is_scalar(v, DType::I64))
        {
            let three = self.int(3);
            limit_id = self.one(Op::Binary(BinaryOp::And), &[v.id, three]);
            limit = 3;
        }
        let zero = self.constant(Literal::from_i64(DType::I64, 0));
        let carried = self.carried();
        let mut types = vec![Type::scalar(DType::I64)];
        types.extend(carried.iter().map(|v| v.ty.clone()));
        let start = self.pool.len();
        let p = self.b.open_region(&types, AT);
        let test = self.one(Op::Binary(BinaryOp::Lt), &[p[0], limit_id]);
        let cond = self.b.close_region(&[test]);
        let p = self.b.open_region(&types, AT);
        let trips = self.trips;
        self.trips = trips.saturating_mul(limit.max(1) as u64);
        self.cost = self.cost.saturating_add(self.trips);
        self.depth += 1;
        self.put(p[0], Num::whole(4.0));
        self.offer(&carried, &p[1..]);
        let steps = 1 + self.c.below(3);
        self.steps(steps);
        let one = self.int(1);
        let mut yields = vec![self.one(Op::Binary(BinaryOp::Add), &[p[0], one])];
        let mut nums = vec![Num::whole(4.0)];
        for (v, p) in carried.iter().zip(&p[1..]) {
            let (y, n) = self.accumulate(v, *p, limit as u64);
            yields.push(y);
            nums.push(n);
        }
        let body = self.b.close_region(&yields);
        self.depth -= 1;
        self.trips = trips;
        self.pool.truncate(start);
        let mut init = vec![zero.id];
        init.extend(carried.iter().map(|v| v.id));
        self.used.extend(&init);
        let results = self.b.push_with_regions(Op::While, &init, vec![cond, body], AT);
        for (r, n) in results.into_iter().zip(nums) {
            self.put(r, n);
        }
        Some(())
    }

    /// A branch on a scalar.
    pub(super) fn branch(&mut self) -> Option<()> {
        if self.depth >= 3 {
            return None;
        }
        let cond = match self.choose(|_, v| Self::is_scalar(v, DType::Bool)) {
            Some(v) => v.id,
            None => {
                let v = self.choose(|_, v| v.ty.rank() == 0 && v.ty.dtype.is_num() && v.num.is_exact())?;
                let half = self.constant(Literal::from_i64(v.ty.dtype, 1));
                self.one(Op::Binary(BinaryOp::Lt), &[v.id, half.id])
            }
        };
        let out = self.choose(|_, _| true)?;
        let start = self.pool.len();
        let mut regions = Vec::new();
        let mut num = None;
        for _ in 0..2 {
            self.b.open_region(&[], AT);
            self.depth += 1;
            let steps = self.c.below(3);
            self.steps(steps);
            let y = self.choose(|_, v| v.ty == out.ty)?;
            self.depth -= 1;
            num = Some(num.map_or(y.num, |n: Num| n.join(y.num)));
            self.pool.truncate(start);
            self.used.insert(y.id);
            regions.push(self.b.close_region(&[y.id]));
        }
        let results = self.b.push_with_regions(Op::If, &[cond], regions, AT);
        for r in results {
            self.put(r, num?);
        }
        Some(())
    }
}
