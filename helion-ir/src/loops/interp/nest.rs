//! Nests and matrix products.

use super::memory::MANY;
use super::{Done, Machine};
use crate::dtype::Literal;
use crate::eval;
use crate::loops::types::*;
use smallvec::SmallVec;

type Counts = SmallVec<[u64; 8]>;

/// Counts `at` up within `extents`, the last axis fastest; `false` after the last point.
fn advance(at: &mut [u64], extents: &[u64]) -> bool {
    for (i, n) in at.iter_mut().zip(extents).rev() {
        *i += 1;
        if *i < *n {
            return true;
        }
        *i = 0;
    }
    false
}

impl Machine<'_> {
    /// An extent, within its bound.
    fn extent(&self, extent: Val, bound: Option<u64>) -> Result<u64, String> {
        let n = self.count(extent);
        match bound {
            Some(b) if n > b => Err(format!("the extent {} is {n}, above its bound {b}", self.show(extent))),
            Some(_) | None => Ok(n),
        }
    }

    pub(super) fn nest(&mut self, nest: &Nest) -> Done {
        let mut extents = Counts::new();
        for a in &nest.axes {
            extents.push(self.extent(a.extent, a.bound)?);
        }
        let parallel = nest.axes.len() - nest.reduce;
        if extents[..parallel].contains(&0) {
            return Ok(());
        }
        self.nest_start = self.points + 1;
        let mut at: Counts = SmallVec::from_elem(0, parallel);
        loop {
            self.points = self.points.checked_add(1).filter(|n| *n < MANY).ok_or("too many points to interpret")?;
            self.point = self.points;
            for (a, i) in nest.axes.iter().zip(&at) {
                self.vals[a.var.index()] = *i;
            }
            self.reduce(nest, &extents[parallel..])?;
            for inst in &nest.finals {
                self.inst(inst)?;
            }
            if !advance(&mut at, &extents[..parallel]) {
                break;
            }
        }
        self.point = 0;
        Ok(())
    }

    /// The reduce axes at one parallel point.
    fn reduce(&mut self, nest: &Nest, extents: &[u64]) -> Done {
        if nest.reduce == 0 {
            return nest.body.iter().try_for_each(|inst| self.inst(inst));
        }
        for c in &nest.carries {
            self.vals[c.param.index()] = self.bits(c.init);
        }
        if !extents.contains(&0) {
            let axes = &nest.axes[nest.axes.len() - nest.reduce..];
            let mut at: Counts = SmallVec::from_elem(0, nest.reduce);
            loop {
                for (a, i) in axes.iter().zip(&at) {
                    self.vals[a.var.index()] = *i;
                }
                for inst in &nest.body {
                    self.inst(inst)?;
                }
                // A carry's next value is not the running value of another, so they may move one by one.
                for c in &nest.carries {
                    self.vals[c.param.index()] = self.bits(c.next);
                }
                if !advance(&mut at, extents) {
                    break;
                }
            }
        }
        for c in &nest.carries {
            self.vals[c.result.index()] = self.bits(c.param);
        }
        Ok(())
    }

    pub(super) fn contract(&mut self, c: &Contract) -> Done {
        let name = self.memory.name(Mem::Buffer(c.acc));
        self.contract_into(c).map_err(|why| {
            let place = if c.at.is_known() { format!(" at {}", c.at) } else { String::new() };
            format!("contract into {name}{place}: {why}")
        })
    }

    fn contract_into(&mut self, c: &Contract) -> Done {
        let mut batch = Counts::new();
        for e in &c.batch {
            batch.push(self.extent(e.extent, e.bound)?);
        }
        let [m, n, k] = [c.m, c.n, c.k].map(|e| self.extent(e.extent, e.bound));
        let (m, n, k) = (m?, n?, k?);
        if batch.contains(&0) {
            return Ok(());
        }
        let mut at: Counts = SmallVec::from_elem(0, batch.len());
        loop {
            self.product(c, &at, [m, n, k])?;
            if !advance(&mut at, &batch) {
                return Ok(());
            }
        }
    }

    /// One matrix product: reads both operands, then writes every element of the result.
    fn product(&mut self, c: &Contract, batch: &[u64], [m, n, k]: [u64; 3]) -> Done {
        self.steps = self.steps.checked_sub(m.saturating_mul(n).saturating_mul(k)).ok_or(super::LIMIT)?;
        if m == 0 || n == 0 {
            return Ok(());
        }
        let dtype = self.func.buffers[c.acc.index()].dtype;
        let lhs = self.window("left operand", &c.lhs, dtype, batch, m, k)?;
        let rhs = self.window("right operand", &c.rhs, dtype, batch, k, n)?;
        let mem = Mem::Buffer(c.acc);
        let floats = dtype.is_float().then(|| {
            let float = |w: &[Literal]| w.iter().map(|l| l.to_f64()).collect::<Vec<f64>>();
            (float(&lhs), float(&rhs))
        });
        let mut index: SmallVec<[i64; 6]> = batch.iter().map(|i| *i as i64).collect();
        index.extend([0, 0]);
        let axes = index.len();
        for i in 0..m {
            for j in 0..n {
                (index[axes - 2], index[axes - 1]) = (i as i64, j as i64);
                let at = self.memory.locate(mem, &index).map_err(|why| format!("result {index:?}: {why}"))?;
                let old = if c.accumulate {
                    let bits = self.memory.get(mem, at).map_err(|why| format!("result {index:?}: {why}"))?;
                    Literal { dtype, bits }
                } else {
                    Literal::from_bits(dtype, 0)
                };
                let new = match &floats {
                    Some((l, r)) => {
                        let terms = (0..k).map(|x| l[(i * k + x) as usize] * r[(x * n + j) as usize]);
                        let sum = terms.fold(if c.accumulate { old.to_f64() } else { 0.0 }, |s, t| s + t);
                        Literal::from_f64(dtype, sum)
                    }
                    None => (0..k).fold(old, |s, x| eval::fma(lhs[(i * k + x) as usize], rhs[(x * n + j) as usize], s)),
                };
                if let Some(mut cell) = self.memory.cell(mem, at) {
                    cell.write(0, 0, true)?;
                }
                self.memory.set(mem, at, new)?;
            }
        }
        Ok(())
    }

    /// The elements of an operand, row-major, converted to the type of the result.
    fn window(
        &mut self,
        side: &str,
        o: &Operand,
        dtype: crate::DType,
        batch: &[u64],
        rows: u64,
        cols: u64,
    ) -> Result<Vec<Literal>, String> {
        let from = match o.mem {
            Mem::Tensor(p) => match &self.func.params[p.index()].kind {
                ParamKind::Tensor { dtype, .. } | ParamKind::Scalar { dtype } => *dtype,
            },
            Mem::Buffer(b) => self.func.buffers[b.index()].dtype,
        };
        let mut base = self.index(&o.origin);
        for (axis, i) in o.batch.iter().zip(batch) {
            if let Some(axis) = axis {
                base[*axis as usize] = base[*axis as usize].wrapping_add(*i as i64);
            }
        }
        let mut out = Vec::new();
        for i in 0..rows {
            for j in 0..cols {
                let mut index = base.clone();
                for (axis, i) in [(o.row, i), (o.col, j)] {
                    if let Some(axis) = axis {
                        index[axis as usize] = index[axis as usize].wrapping_add(i as i64);
                    }
                }
                let read = self.memory.locate(o.mem, &index).and_then(|at| {
                    self.memory.cell(o.mem, at).map_or(Ok(()), |mut c| c.read(0, 0))?;
                    self.memory.get(o.mem, at)
                });
                let bits = read.map_err(|why| format!("{side} {}{index:?}: {why}", self.memory.name(o.mem)))?;
                out.push(eval::cast(Literal { dtype: from, bits }, dtype));
            }
        }
        Ok(out)
    }
}
