//! The planning half of a compiled kernel: instances, scratch bytes, and an estimate of the work.
//!
//! The estimate counts instructions of one instance: those of a vector program once for all its lanes, accesses to
//! memory as several, because what they touch is seldom in the first-level cache. Extents that are only known inside
//! the body count as their bound, or as [`UNKNOWN`]; it is a hint for how many threads to use, nothing more.

use super::Lower;
use crate::cpu::Error;
use cranelift_codegen::ir::{self, InstBuilder, types};
use helion_ir::loops::{Extent, Op, Stmt, Val};

/// What a vector load or store counts as: what the second-level cache takes for one.
const ACCESS: usize = 4;
/// What calling a vector program counts as.
const CALL: i64 = 24;
/// What an extent counts as when nothing is known of it.
const UNKNOWN: i64 = 64;

impl Lower<'_> {
    /// Writes the plan's words.
    pub(super) fn write_plan(
        &mut self,
        out: ir::Value,
        counts: &[ir::Value],
        sizes: &[Option<ir::Value>],
    ) -> Result<(), Error> {
        let mut programs = self.iconst(types::I64, 1);
        for c in counts {
            programs = self.b.ins().imul(programs, *c);
        }
        let mut bytes = self.iconst(types::I64, 0);
        for s in sizes.iter().flatten() {
            bytes = self.b.ins().iadd(bytes, *s);
        }
        let source = self.source;
        let spare = self.spare_bytes(&source.body)?;
        let bytes = self.b.ins().iadd(bytes, spare);
        let work = self.work(&source.body);
        for (i, v) in [programs, bytes, work].into_iter().enumerate() {
            self.b.ins().store(Self::flags(), v, out, (i * 8) as i32);
        }
        Ok(())
    }

    /// Scratch memory beyond the buffers: the most that one matrix product packs.
    fn spare_bytes(&mut self, body: &[Stmt]) -> Result<ir::Value, Error> {
        let mut most = self.iconst(types::I64, 0);
        for stmt in body {
            let bytes = match stmt {
                Stmt::Inst(_) | Stmt::Nest(_) => continue,
                Stmt::For { body, .. } => self.spare_bytes(body)?,
                Stmt::While { cond, body, .. } => {
                    let (a, b) = (self.spare_bytes(cond)?, self.spare_bytes(body)?);
                    self.b.ins().smax(a, b)
                }
                Stmt::If { then, other, .. } => {
                    let (a, b) = (self.spare_bytes(then)?, self.spare_bytes(other)?);
                    self.b.ins().smax(a, b)
                }
                Stmt::Contract(c) => match self.contract_form(c)? {
                    Some(form) => self.contract_bytes(c, &form)?,
                    None => continue,
                },
            };
            most = self.b.ins().smax(most, bytes);
        }
        Ok(most)
    }

    fn work(&mut self, list: &[Stmt]) -> ir::Value {
        let mut sum = self.iconst(types::I64, 0);
        for stmt in list {
            let w = self.work_of(stmt);
            sum = self.b.ins().iadd(sum, w);
        }
        sum
    }

    fn work_of(&mut self, stmt: &Stmt) -> ir::Value {
        match stmt {
            Stmt::Inst(_) => self.iconst(types::I64, 1),
            Stmt::For { begin, end, step, body, .. } => {
                let inner = self.work(body);
                let zero = self.iconst(types::I64, 0);
                let trips = match (self.known(*begin).unwrap_or(zero), self.known(*end), self.known(*step)) {
                    (b, Some(e), Some(s)) => {
                        let span = self.b.ins().isub(e, b);
                        let one = self.iconst(types::I64, 1);
                        let s = self.b.ins().smax(s, one);
                        let trips = self.b.ins().sdiv(span, s);
                        self.b.ins().smax(trips, one)
                    }
                    _ => self.iconst(types::I64, 8),
                };
                self.b.ins().imul(trips, inner)
            }
            Stmt::While { cond, body, .. } => {
                let (a, b) = (self.work(cond), self.work(body));
                let once = self.b.ins().iadd(a, b);
                self.mul_const(once, 8)
            }
            Stmt::If { then, other, .. } => {
                let (a, b) = (self.work(then), self.work(other));
                self.b.ins().smax(a, b)
            }
            Stmt::Nest(n) => {
                let memory = n.body.iter().filter(|i| matches!(i.op, Op::Load { .. } | Op::Store { .. })).count();
                let lanes = self.lanes.get(&std::ptr::from_ref(n).addr()).copied();
                let cost = n.body.len().max(1) + if lanes.is_some() { memory * (ACCESS - 1) } else { 0 };
                let mut work = self.iconst(types::I64, cost as i64);
                for a in &n.axes {
                    let e = self.extent_of(a.extent, a.bound);
                    work = self.b.ins().imul(work, e);
                }
                self.per_lane(work, lanes)
            }
            Stmt::Contract(c) => {
                // A multiplication and an addition.
                let mut work = self.iconst(types::I64, 2);
                for Extent { extent, bound } in c.batch.iter().chain([&c.m, &c.n, &c.k]) {
                    let e = self.extent_of(*extent, *bound);
                    work = self.b.ins().imul(work, e);
                }
                let lanes = self.lanes.get(&std::ptr::from_ref(c).addr()).copied();
                self.per_lane(work, lanes)
            }
        }
    }

    /// The work of a statement whose program has this many lanes, a power of two.
    fn per_lane(&mut self, work: ir::Value, lanes: Option<usize>) -> ir::Value {
        let Some(lanes) = lanes else { return work };
        let shift = self.iconst(types::I64, i64::from(lanes.max(1).ilog2()));
        let steps = self.b.ins().ushr(work, shift);
        self.add_const(steps, CALL)
    }

    /// A header value; values of the body are not defined yet.
    fn known(&self, v: Val) -> Option<ir::Value> {
        self.values.get(v.index()).copied().flatten()
    }

    fn extent_of(&mut self, extent: Val, bound: Option<u64>) -> ir::Value {
        match (self.known(extent), bound) {
            (Some(v), _) => v,
            (None, Some(b)) => self.iconst(types::I64, b as i64),
            (None, None) => self.iconst(types::I64, UNKNOWN),
        }
    }
}
