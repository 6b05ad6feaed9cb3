//! What makes a vector program legal.
//!
//! Comes in: any [`Program`]. Goes out: `Ok`, after which every index is in range, every value is
//! defined once before its uses and in scope, types and slot kinds fit, and only `after` reduces: every
//! lowering relies on it and cannot fail for such a program except by saying that it does not support it.

use super::ir::{Addr, Cmp, Fold, Inst, Op, Program, Slot, SlotId, Trip, Ty, V, Walk};

/// Checks a program; the error names the instruction.
pub fn verify(p: &Program) -> Result<(), String> {
    if p.unroll == 0 {
        return Err("unroll is 0".into());
    }
    let mut checker = Checker { p, defined: vec![false; p.values.len()], part: "before" };
    checker.part(&p.before)?;
    for (at, carry) in p.carries.iter().enumerate() {
        let place = |e: String| format!("carry {at}: {e}");
        checker.used(carry.init).map_err(place)?;
        checker.define(carry.param).map_err(place)?;
    }
    let before = checker.defined.clone();
    checker.part = "body";
    checker.part(&p.body)?;
    for (at, carry) in p.carries.iter().enumerate() {
        let place = |e: String| format!("carry {at}: {e}");
        let ty = p.ty(carry.param);
        checker.used(carry.next).map_err(place)?;
        checker.index(carry.result).map_err(place)?;
        if [carry.init, carry.next, carry.result].iter().any(|&v| p.ty(v) != ty) {
            return Err(format!("carry {at}: init, param, next and result differ in type"));
        }
        if let Some(fold) = carry.fold {
            fold_ty(fold, ty).map_err(place)?;
        }
    }
    // The body's values and the carries' params go out of scope.
    let body = std::mem::replace(&mut checker.defined, before);
    for (at, carry) in p.carries.iter().enumerate() {
        checker.defined[carry.param.0 as usize] = false;
        if body[carry.result.0 as usize] {
            return Err(format!("carry {at}: result {} is defined in the body", carry.result));
        }
        checker.define(carry.result).map_err(|e| format!("carry {at}: {e}"))?;
    }
    checker.part = "after";
    checker.part(&p.after)
}

/// Whether lanes of `ty` can be folded by `fold`.
fn fold_ty(fold: Fold, ty: Ty) -> Result<(), String> {
    let fits = match fold {
        Fold::Add | Fold::Mul | Fold::Max | Fold::Min => ty != Ty::Mask,
        Fold::Or | Fold::And => !ty.is_float(),
    };
    if fits { Ok(()) } else { Err(format!("{fold} of {ty}")) }
}

struct Checker<'a> {
    p: &'a Program,
    defined: Vec<bool>,
    part: &'static str,
}

impl Checker<'_> {
    fn part(&mut self, insts: &[Inst]) -> Result<(), String> {
        for (at, inst) in insts.iter().enumerate() {
            self.inst(inst).map_err(|e| format!("{} {at} `{inst}`: {e}", self.part))?;
        }
        Ok(())
    }

    fn index(&self, v: V) -> Result<(), String> {
        if (v.0 as usize) < self.p.values.len() { Ok(()) } else { Err(format!("{v} does not exist")) }
    }

    fn used(&self, v: V) -> Result<Ty, String> {
        self.index(v)?;
        if self.defined[v.0 as usize] { Ok(self.p.ty(v)) } else { Err(format!("{v} is not defined here")) }
    }

    fn define(&mut self, v: V) -> Result<(), String> {
        self.index(v)?;
        if std::mem::replace(&mut self.defined[v.0 as usize], true) {
            return Err(format!("{v} is defined twice"));
        }
        Ok(())
    }

    fn slot(&self, id: SlotId) -> Result<Slot, String> {
        self.p.slots.get(id.0 as usize).copied().ok_or_else(|| format!("{id} does not exist"))
    }

    fn addr(&self, addr: &Addr) -> Result<(), String> {
        if self.slot(addr.pointer)? != Slot::Pointer {
            return Err(format!("{} is not a pointer", addr.pointer));
        }
        if let Some((row, stride)) = addr.row {
            if self.slot(stride)? != Slot::Stride {
                return Err(format!("{stride} is not a stride"));
            }
            if row > i32::MAX as u32 {
                return Err("row number too large".into());
            }
        }
        // Leaves room for unrolling and for addressing within a vector.
        let far = |bytes: i64| bytes.abs() >= 1 << 24;
        let advance = match addr.walk {
            Walk::Bytes { advance, .. } => advance,
            Walk::Fixed | Walk::Unit => 0,
        };
        if far(addr.offset.into()) || far(advance.into()) || addr.vectors >= 1 << 16 || self.p.unroll > 64 {
            return Err("address offset too large".into());
        }
        Ok(())
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), String> {
        let args = inst.args.iter().map(|&a| self.used(a)).collect::<Result<Vec<Ty>, String>>()?;
        if let Some((addr, dtype)) = inst.op.memory() {
            self.addr(&addr)?;
            if Ty::of_memory(dtype).is_none() {
                return Err(format!("vectors do not load or store {dtype}"));
            }
        }
        let result = inst.result.map(|r| self.index(r).map(|()| self.p.ty(r))).transpose()?;
        self.types(&inst.op, &args, result)?;
        match inst.result {
            Some(r) => self.define(r),
            None => Ok(()),
        }
    }

    /// The rules of types, op by op.
    fn types(&self, op: &Op, args: &[Ty], result: Option<Ty>) -> Result<(), String> {
        let want = |expected: &[Ty], gives: Option<Ty>| {
            if args != expected {
                return Err(format!("takes {expected:?}, got {args:?}"));
            }
            if result != gives {
                return Err(format!("gives {gives:?}, result is {result:?}"));
            }
            Ok(())
        };
        let first = args.first().copied();
        // One type in all operands and the result.
        let same = |count: usize, fits: &dyn Fn(Ty) -> bool| match first {
            Some(ty) if fits(ty) => want(&vec![ty; count], Some(ty)),
            Some(ty) => Err(format!("not defined for {ty}")),
            None => Err("no operands".into()),
        };
        let memory = |d| Ty::of_memory(d).ok_or_else(|| format!("vectors do not load or store {d}"));
        match *op {
            Op::Const(l) => {
                let ty = Ty::of_literal(l.dtype).ok_or_else(|| format!("no vector constants of {}", l.dtype))?;
                want(&[], Some(ty))
            }
            Op::Splat(id) => match self.slot(id)? {
                Slot::Scalar(ty) => want(&[], Some(ty)),
                Slot::Pointer | Slot::Stride | Slot::Result(_) => Err(format!("{id} is not a scalar")),
            },
            Op::Index if self.part != "body" || self.p.trip != Trip::Elements => {
                Err("only in the body of element programs".into())
            }
            Op::Index => match result {
                Some(Ty::I32 | Ty::I64) => want(&[], result),
                Some(_) | None => Err("gives i32 or i64".into()),
            },
            Op::Tail => want(&[], Some(Ty::Mask)),
            Op::Load(_, d) => want(&[], Some(memory(d)?)),
            Op::LoadMasked(_, d) => want(&[Ty::Mask], Some(memory(d)?)),
            Op::Store(_, d) | Op::StoreStream(_, d) => want(&[memory(d)?], None),
            Op::StoreMasked(_, d) => want(&[Ty::Mask, memory(d)?], None),
            Op::Prefetch(..) => want(&[], None),
            Op::Add | Op::Sub | Op::Mul | Op::Min | Op::Max => same(2, &|t| t != Ty::Mask),
            Op::Div => same(2, &Ty::is_float),
            Op::Fma | Op::Fnma => same(3, &Ty::is_float),
            Op::Scale => same(2, &|t| t == Ty::F32),
            Op::Dots(packed) => want(&[Ty::I32, Ty::I32, packed.sum()], Some(packed.sum())),
            Op::Sqrt | Op::Round(_) => same(1, &Ty::is_float),
            Op::And | Op::Or | Op::Xor => same(2, &|_| true),
            Op::Shl(by) | Op::ShrU(by) | Op::ShrS(by) => {
                same(1, &Ty::is_int)?;
                let bits = 8 * first.map_or(0, Ty::bytes);
                if (by as usize) < bits { Ok(()) } else { Err(format!("shift of {bits} bits by {by}")) }
            }
            Op::Compare(cmp) => match first {
                Some(ty) => {
                    let fits = match cmp {
                        Cmp::Eq | Cmp::Ne | Cmp::Lt | Cmp::Le => ty != Ty::Mask,
                        Cmp::Unordered => ty.is_float(),
                        Cmp::LtU => ty.is_int(),
                    };
                    if fits { want(&[ty, ty], Some(Ty::Mask)) } else { Err(format!("not defined for {ty}")) }
                }
                None => Err("no operands".into()),
            },
            Op::Select => match args {
                [Ty::Mask, ty, _] if *ty != Ty::Mask => want(&[Ty::Mask, *ty, *ty], Some(*ty)),
                _ => Err("takes a mask and two vectors".into()),
            },
            Op::Convert(to) => match first {
                Some(from) if from != Ty::Mask && to != Ty::Mask => want(&[from], Some(to)),
                Some(_) | None => Err("converts between numbers".into()),
            },
            Op::Bitcast(to) => match first {
                Some(from) if from.bytes() == to.bytes() && from != Ty::Mask => want(&[from], Some(to)),
                Some(_) | None => Err("needs types of one size".into()),
            },
            Op::ReduceTo(fold, id) => {
                if self.part != "after" {
                    return Err("only in `after`".into());
                }
                let ty = first.unwrap_or(Ty::Mask);
                fold_ty(fold, ty)?;
                match self.slot(id)? {
                    Slot::Result(slot) if slot == ty => want(&[ty], None),
                    Slot::Pointer | Slot::Stride | Slot::Scalar(_) | Slot::Result(_) => {
                        Err(format!("{id} is not a result of type {ty}"))
                    }
                }
            }
        }
    }
}
