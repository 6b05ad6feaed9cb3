//! Statements: control flow, nests and matrix products as scalar loops.

use super::{Lower, Stride, Tensor, clif_type};
use crate::cpu::Error;
use cranelift_codegen::ir::{self, InstBuilder, types};
use helion_ir::BinaryOp;
use helion_ir::dtype::DType;
use helion_ir::loops::{Contract, Mem, Nest, Operand, Stmt, Val};

/// An operand of a matrix product at some point: where it is and how it moves, in bytes.
pub(super) struct Window {
    /// The first element.
    pub base: ir::Value,
    /// Bytes per step of each batch axis.
    pub batch: Vec<Stride>,
    /// Bytes per row.
    pub row: Stride,
    /// Bytes per column.
    pub col: Stride,
    /// Element type.
    pub dtype: DType,
}

impl Lower<'_> {
    /// A list of statements.
    pub(super) fn stmts(&mut self, list: &[Stmt]) -> Result<(), Error> {
        list.iter().try_for_each(|s| self.stmt(s))
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), Error> {
        match stmt {
            Stmt::Inst(inst) => self.inst(inst),
            Stmt::For { var, begin, end, step, body } => {
                let (begin, end, step) = (self.value(*begin)?, self.value(*end)?, self.value(*step)?);
                self.counted(begin, end, step, &[], |s, i, _| {
                    s.set(*var, i);
                    s.stmts(body)?;
                    Ok(Vec::new())
                })?;
                Ok(())
            }
            Stmt::While { cond, test, body } => self.repeat(cond, *test, body),
            Stmt::If { cond, then, other } => self.branch(*cond, then, other),
            Stmt::Nest(nest) => self.nest(nest),
            Stmt::Contract(contract) => self.contract(contract),
        }
    }

    fn repeat(&mut self, cond: &[Stmt], test: Val, body: &[Stmt]) -> Result<(), Error> {
        let (head, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        self.stmts(cond)?;
        let test = self.value(test)?;
        self.b.ins().brif(test, inside, &[], exit, &[]);
        self.b.seal_block(inside);
        self.b.switch_to_block(inside);
        self.stmts(body)?;
        self.b.ins().jump(head, &[]);
        self.b.seal_block(head);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
        Ok(())
    }

    fn branch(&mut self, cond: Val, then: &[Stmt], other: &[Stmt]) -> Result<(), Error> {
        let cond = self.value(cond)?;
        let (yes, no, merge) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(cond, yes, &[], no, &[]);
        for (block, list) in [(yes, then), (no, other)] {
            self.b.seal_block(block);
            self.b.switch_to_block(block);
            self.stmts(list)?;
            self.b.ins().jump(merge, &[]);
        }
        self.b.seal_block(merge);
        self.b.switch_to_block(merge);
        Ok(())
    }

    /// A nest: vector programs where they apply, else scalar loops.
    fn nest(&mut self, nest: &Nest) -> Result<(), Error> {
        if self.vector_nest(nest)? { Ok(()) } else { self.parallel_axis(nest, 0) }
    }

    fn parallel_axis(&mut self, nest: &Nest, depth: usize) -> Result<(), Error> {
        if depth + nest.reduce == nest.axes.len() {
            let inits = nest.carries.iter().map(|c| self.value(c.init)).collect::<Result<Vec<_>, _>>()?;
            let results = self.reduce_axis(nest, depth, &inits)?;
            for (c, r) in nest.carries.iter().zip(results) {
                self.set(c.result, r);
            }
            return self.insts(&nest.finals);
        }
        let axis = &nest.axes[depth];
        let (zero, one, end) = (self.iconst(types::I64, 0), self.iconst(types::I64, 1), self.value(axis.extent)?);
        self.counted(zero, end, one, &[], |s, i, _| {
            s.set(axis.var, i);
            s.parallel_axis(nest, depth + 1)?;
            Ok(Vec::new())
        })?;
        Ok(())
    }

    pub(super) fn reduce_axis(
        &mut self,
        nest: &Nest,
        depth: usize,
        carried: &[ir::Value],
    ) -> Result<Vec<ir::Value>, Error> {
        let Some(axis) = nest.axes.get(depth) else {
            for (c, v) in nest.carries.iter().zip(carried) {
                self.set(c.param, *v);
            }
            self.insts(&nest.body)?;
            return nest.carries.iter().map(|c| self.value(c.next)).collect();
        };
        let (zero, one, end) = (self.iconst(types::I64, 0), self.iconst(types::I64, 1), self.value(axis.extent)?);
        self.counted(zero, end, one, carried, |s, i, params| {
            s.set(axis.var, i);
            s.reduce_axis(nest, depth + 1, params)
        })
    }

    /// A matrix product.
    fn contract(&mut self, c: &Contract) -> Result<(), Error> {
        let (lhs, rhs) = (self.window(&c.lhs)?, self.window(&c.rhs)?);
        let acc = self.accumulator(c)?;
        if self.micro_contract(c, &lhs, &rhs, &acc)? {
            return Ok(());
        }
        let extents =
            c.batch.iter().chain([&c.m, &c.n]).map(|e| self.value(e.extent)).collect::<Result<Vec<_>, _>>()?;
        let k = self.value(c.k.extent)?;
        self.contract_axis(c, &extents, k, &mut Vec::new(), &lhs, &rhs, &acc)
    }

    /// The accumulator as a tensor.
    pub(super) fn accumulator(&mut self, c: &Contract) -> Result<Tensor, Error> {
        self.memory(Mem::Buffer(c.acc))?
            .cloned()
            .ok_or_else(|| Error::Malformed("a matrix product into a scalar buffer".into()))
    }

    /// Where an operand starts and how it moves.
    pub(super) fn window(&mut self, o: &Operand) -> Result<Window, Error> {
        let t = self
            .memory(o.mem)?
            .cloned()
            .ok_or_else(|| Error::Malformed("a matrix operand is a scalar buffer".into()))?;
        let index = o.origin.iter().map(|v| self.value(*v)).collect::<Result<Vec<_>, _>>()?;
        let base = self.address(&t, &index)?;
        let size = t.dtype.size() as i64;
        let bytes = |s: &mut Self, axis: Option<u32>| match axis.and_then(|a| t.strides.get(a as usize)) {
            None => Stride::Const(0),
            Some(Stride::Const(c)) => Stride::Const(c * size),
            Some(Stride::Value(v)) => Stride::Value(s.mul_const(*v, size)),
        };
        let batch = o.batch.iter().map(|a| bytes(self, *a)).collect();
        let (row, col) = (bytes(self, o.row), bytes(self, o.col));
        Ok(Window { base, batch, row, col, dtype: t.dtype })
    }

    /// `base + sum of index * bytes`.
    pub(super) fn walk(&mut self, base: ir::Value, steps: &[(ir::Value, Stride)]) -> ir::Value {
        steps.iter().fold(base, |at, (i, s)| {
            let offset = self.scaled(*i, *s, 1);
            self.b.ins().iadd(at, offset)
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn contract_axis(
        &mut self,
        c: &Contract,
        extents: &[ir::Value],
        k: ir::Value,
        index: &mut Vec<ir::Value>,
        lhs: &Window,
        rhs: &Window,
        acc: &Tensor,
    ) -> Result<(), Error> {
        let (zero, one) = (self.iconst(types::I64, 0), self.iconst(types::I64, 1));
        if let Some(end) = extents.get(index.len()) {
            self.counted(zero, *end, one, &[], |s, i, _| {
                index.push(i);
                s.contract_axis(c, extents, k, index, lhs, rhs, acc)?;
                index.pop();
                Ok(Vec::new())
            })?;
            return Ok(());
        }
        let d = acc.dtype;
        let at = self.address(acc, index)?;
        let rank = c.batch.len();
        let (m, n) = (index[rank], index[rank + 1]);
        let steps = |w: &Window| index[..rank].iter().copied().zip(w.batch.iter().copied()).collect::<Vec<_>>();
        let (mut lsteps, mut rsteps) = (steps(lhs), steps(rhs));
        lsteps.push((m, lhs.row));
        rsteps.push((n, rhs.col));
        let (lbase, rbase) = (self.walk(lhs.base, &lsteps), self.walk(rhs.base, &rsteps));
        let start = if c.accumulate { self.b.ins().load(clif_type(d), Self::flags(), at, 0) } else { self.zero(d) };
        let sum = self.counted(zero, k, one, &[start], |s, i, sum| {
            let a = s.element(lbase, i, lhs.col, lhs.dtype, d)?;
            let b = s.element(rbase, i, rhs.row, rhs.dtype, d)?;
            let p = s.binary(BinaryOp::Mul, d, a, b)?;
            Ok(vec![s.binary(BinaryOp::Add, d, sum[0], p)?])
        })?;
        self.b.ins().store(Self::flags(), sum[0], at, 0);
        Ok(())
    }

    /// Loads an operand's element, converted.
    fn element(
        &mut self,
        base: ir::Value,
        i: ir::Value,
        s: Stride,
        from: DType,
        to: DType,
    ) -> Result<ir::Value, Error> {
        let at = self.walk(base, &[(i, s)]);
        let x = self.b.ins().load(clif_type(from), Self::flags(), at, 0);
        self.cast(from, to, x)
    }
}
