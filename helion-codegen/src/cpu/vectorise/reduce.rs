//! Carries of a reduction as carries of a program.
//!
//! Each carry starts as the neutral element; the kernel combines the folded result with the value that
//! the nest's carry had before the call. Maximum and minimum of floats keep a second carry that tells whether
//! a NaN was seen, because the vector instructions drop NaN on one side.

use super::lanes::{Emitter, lane_type};
use super::{Carried, Kind};
use crate::cpu::vector::builder::CarryId;
use crate::cpu::vector::ir::{Fold, Ty, V};
use helion_ir::BinaryOp;
use helion_ir::dtype::{Class, DType};
use helion_ir::eval;
use helion_ir::loops::{Carry, Op, ReduceOp, Val};

/// A carry of the nest while the body is built.
pub(super) enum Pending {
    Same,
    Fold { op: ReduceOp, fold: Fold, carry: CarryId, nan: Option<(CarryId, V)>, operand: Operand },
}

/// What is combined with the carry at each step.
pub(super) enum Operand {
    Value(Val),
    Product(Val, Val),
}

/// The program's fold and the loop operation for a reduction.
fn fold_of(op: ReduceOp) -> Option<(Fold, BinaryOp)> {
    match op {
        ReduceOp::Sum => Some((Fold::Add, BinaryOp::Add)),
        ReduceOp::Prod => Some((Fold::Mul, BinaryOp::Mul)),
        ReduceOp::Max => Some((Fold::Max, BinaryOp::Max)),
        ReduceOp::Min => Some((Fold::Min, BinaryOp::Min)),
        ReduceOp::Any => Some((Fold::Or, BinaryOp::Or)),
        ReduceOp::All => Some((Fold::And, BinaryOp::And)),
        ReduceOp::ArgMax | ReduceOp::ArgMin => None,
    }
}

impl Emitter<'_> {
    /// Declares the carries; `None` when one is not a reduction that can be split.
    pub(super) fn begin_carries(&mut self) -> Option<Vec<Pending>> {
        let nest = self.a.nest;
        nest.carries.iter().map(|c| self.begin_carry(c)).collect()
    }

    fn begin_carry(&mut self, c: &Carry) -> Option<Pending> {
        if c.next == c.param {
            return Some(Pending::Same);
        }
        let op = c.op?;
        let (fold, combine) = fold_of(op)?;
        let operand = self.operand_of(c, combine)?;
        let d = self.dtype(c.param);
        // Folds of lanes are signed and full width; 16-bit floats would round at other places.
        let fits = match d {
            DType::F32 | DType::F64 | DType::I32 | DType::I64 => true,
            DType::U32 | DType::U64 => !matches!(op, ReduceOp::Max | ReduceOp::Min),
            DType::Bool => matches!(op, ReduceOp::Any | ReduceOp::All),
            DType::I8 | DType::I16 | DType::U8 | DType::U16 => matches!(op, ReduceOp::Max | ReduceOp::Min),
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => false,
        };
        if !fits {
            return None;
        }
        let init = self.literal(eval::reduce_identity(op, d))?;
        let (carry, param) = self.b.carry(init, Some(fold));
        self.bind(c.param, param);
        let tracks = d.class() == Class::Float && matches!(op, ReduceOp::Max | ReduceOp::Min);
        let nan = tracks.then(|| {
            let none = self.b.mask(false);
            self.b.carry(none, Some(Fold::Or))
        });
        Some(Pending::Fold { op, fold, carry, nan, operand })
    }

    /// `next` must be the carry combined with something once, and nothing else may see the carry.
    fn operand_of(&self, c: &Carry, combine: BinaryOp) -> Option<Operand> {
        let body = &self.a.nest.body;
        let uses: usize = body.iter().map(|i| i.args.iter().filter(|v| **v == c.param).count()).sum();
        let inst = body.get(*self.a.defs.get(&c.next)?)?;
        let next_used = body.iter().any(|i| i.args.contains(&c.next));
        let elsewhere = self.a.nest.carries.iter().filter(|o| o.next == c.next || o.next == c.param).count();
        if uses != 1 || next_used || elsewhere != 1 {
            return None;
        }
        match inst.op {
            Op::Binary(op) if op == combine && inst.args[0] == c.param => Some(Operand::Value(inst.args[1])),
            Op::Binary(op) if op == combine && inst.args[1] == c.param => Some(Operand::Value(inst.args[0])),
            Op::Fma if combine == BinaryOp::Add && inst.args[2] == c.param => {
                Some(Operand::Product(inst.args[0], inst.args[1]))
            }
            _ => None,
        }
    }

    /// Ends the body: the carries' next values, then the folds.
    pub(super) fn finish_carries(&mut self, pending: Vec<Pending>) -> Option<Vec<Carried>> {
        let nest = self.a.nest;
        for (p, c) in pending.iter().zip(&nest.carries) {
            let Pending::Fold { fold, carry, nan, operand, .. } = p else { continue };
            let param = self.lane(c.param)?;
            let (next, seen) = match *operand {
                Operand::Product(a, b) => {
                    let (a, b) = (self.lane(a)?, self.lane(b)?);
                    if !self.b.ty(a).is_float() {
                        return None;
                    }
                    (self.b.fma(a, b, param), None)
                }
                Operand::Value(x) => {
                    if matches!(self.a.kind(x), Kind::Affine(_)) && self.dtype(x) != DType::I64 {
                        return None;
                    }
                    let x = self.lane(x)?;
                    let next = match fold {
                        Fold::Add => self.b.add(param, x),
                        Fold::Mul => self.b.mul(param, x),
                        Fold::Max => self.b.max(x, param),
                        Fold::Min => self.b.min(x, param),
                        Fold::Or => self.b.or(param, x),
                        Fold::And => self.b.and(param, x),
                    };
                    (next, Some(x))
                }
            };
            self.b.set_next(*carry, next);
            if let (Some((nan, before)), Some(x)) = (nan, seen) {
                let now = self.b.is_nan(x);
                let either = self.b.or(*before, now);
                self.b.set_next(*nan, either);
            }
        }
        self.b.begin_after();
        pending.into_iter().zip(&nest.carries).map(|(p, c)| self.fold(p, c)).collect()
    }

    fn fold(&mut self, p: Pending, c: &Carry) -> Option<Carried> {
        let Pending::Fold { op, fold, carry, nan, .. } = p else { return Some(Carried::Same) };
        let slot = self.result_slot(lane_type(self.dtype(c.param))?);
        let v = self.b.carried(carry);
        self.b.reduce_to(fold, slot, v);
        let nan = nan.map(|(n, _)| {
            let slot = self.result_slot(Ty::Mask);
            let v = self.b.carried(n);
            self.b.reduce_to(Fold::Or, slot, v);
            slot.0 as usize
        });
        Some(Carried::Fold { op, slot: slot.0 as usize, nan })
    }
}
