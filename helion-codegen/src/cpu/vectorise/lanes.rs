//! Instructions of a nest's body as vector instructions.
//!
//! Loads and stores keep their order; everything else is made when something needs it, so what nobody
//! uses disappears.

use super::{Analysis, Carried, Kind, Source, VectorNest};
use crate::cpu::vector::builder::Builder;
use crate::cpu::vector::ir::{Addr, SlotId, Trip, Ty, V};
use helion_ir::dtype::{DType, Literal};
use helion_ir::loops::{Inst, Mem, Op, Val};
use std::collections::{HashMap, HashSet};

/// The lane type of an element type; `None` where vectors have none.
pub(super) fn lane_type(d: DType) -> Option<Ty> {
    Ty::of_memory(d)
}

/// Floats that take less than a lane.
pub(super) fn is_half(d: DType) -> bool {
    matches!(d, DType::F16 | DType::BF16)
}

/// A program under construction.
pub(super) struct Emitter<'a> {
    pub(super) a: Analysis<'a>,
    pub(super) b: Builder,
    pub(super) slots: Vec<Source>,
    made: HashMap<Val, V>,
    /// Vectors without NaN.
    pub(super) numbers: HashSet<V>,
    pub(super) narrow: Vec<(Val, i64)>,
    pub(super) short: bool,
    /// Values that only stores use: their rounding is left to the store.
    stored_only: HashSet<Val>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(a: Analysis<'a>) -> Emitter<'a> {
        let name = format!(
            "{}.{}",
            a.facts.f.name,
            a.facts.f.values[a.nest.axes[a.axis].var.index()].name.as_deref().unwrap_or("i")
        );
        let b = Builder::new(&name, Trip::Elements);
        Emitter {
            a,
            b,
            slots: Vec::new(),
            made: HashMap::new(),
            numbers: HashSet::new(),
            narrow: Vec::new(),
            short: false,
            stored_only: HashSet::new(),
        }
    }

    /// The whole program, or `None` where something has no vector form.
    pub(super) fn run(mut self) -> Option<VectorNest> {
        let nest = self.a.nest;
        let live = self.live()?;
        self.find_stored_only();
        let folds = self.begin_carries()?;
        self.b.begin_body();
        for (i, inst) in nest.body.iter().enumerate() {
            match &inst.op {
                Op::Load { mem, masked } if live[i] && self.a.kind(inst.result?) == Kind::Lane => {
                    let v = self.load(*mem, *masked, inst)?;
                    self.made.insert(inst.result?, v);
                }
                Op::Store { mem, masked } => self.store(*mem, *masked, inst)?,
                _ => {}
            }
        }
        let carries = self.finish_carries(folds)?;
        self.pick_unroll(&carries);
        let scalar = self.scalar_insts();
        let program = self.b.finish().ok()?;
        Some(VectorNest {
            axis: self.a.axis,
            program,
            slots: self.slots,
            scalar,
            narrow: self.narrow,
            short: self.short,
            carries,
        })
    }

    /// Binds a vector to a value.
    pub(super) fn bind(&mut self, v: Val, to: V) {
        self.made.insert(v, to);
    }

    /// Which instructions a store or a carry needs.
    fn live(&self) -> Option<Vec<bool>> {
        let body = &self.a.nest.body;
        let mut wanted: HashSet<Val> = self.a.nest.carries.iter().map(|c| c.next).collect();
        let mut live = vec![false; body.len()];
        for (i, inst) in body.iter().enumerate().rev() {
            let needed = matches!(inst.op, Op::Store { .. }) || inst.result.is_some_and(|v| wanted.contains(&v));
            if needed {
                live[i] = true;
                wanted.extend(inst.args.iter().copied());
            }
        }
        Some(live)
    }

    fn find_stored_only(&mut self) {
        let mut other: HashSet<Val> = self.a.nest.carries.iter().flat_map(|c| [c.next, c.init]).collect();
        let mut stored = HashSet::new();
        for inst in &self.a.nest.body {
            let skip = usize::from(matches!(inst.op, Op::Store { .. }));
            stored.extend(inst.args.iter().take(skip).copied());
            other.extend(inst.args.iter().skip(skip).copied());
        }
        self.stored_only = stored.difference(&other).copied().collect();
    }

    /// Whether only stores use a value.
    pub(super) fn is_stored_only(&self, v: Val) -> bool {
        self.stored_only.contains(&v)
    }

    /// How many steps the main loop takes at once: the user's choice, else few for long bodies.
    fn pick_unroll(&mut self, carries: &[Carried]) {
        let reduces = carries.iter().any(|c| matches!(c, Carried::Fold { .. }));
        let default = match self.b.len() {
            0..16 => 4,
            16..40 => 2,
            _ if reduces => 2,
            _ => 1,
        };
        self.b.unroll(self.a.facts.knobs.unroll.unwrap_or(default));
    }

    /// Body instructions that the words of the argument block need, in order.
    fn scalar_insts(&self) -> Vec<usize> {
        let mut wanted: HashSet<Val> = HashSet::new();
        for s in &self.slots {
            match s {
                Source::Address(_, index) => wanted.extend(index.iter().copied()),
                Source::Value(v, _) => {
                    wanted.insert(*v);
                }
                Source::Limit(a, b) => wanted.extend([*a, *b]),
                Source::Ahead(_) | Source::Result => {}
            }
        }
        wanted.extend(self.narrow.iter().map(|(v, _)| *v));
        let body = &self.a.nest.body;
        let mut picked = Vec::new();
        for (i, inst) in body.iter().enumerate().rev() {
            if inst.result.is_some_and(|v| wanted.contains(&v)) {
                wanted.extend(inst.args.iter().copied());
                picked.push(i);
            }
        }
        picked.reverse();
        picked
    }

    /// The word of the argument block with this content; new ones are appended.
    pub(super) fn slot(&mut self, source: Source) -> SlotId {
        if source != Source::Result
            && let Some(i) = self.slots.iter().position(|s| *s == source)
        {
            return SlotId(i as u32);
        }
        let id = match &source {
            Source::Address(..) => self.b.pointer(),
            Source::Value(_, ty) => self.b.scalar(*ty),
            Source::Limit(..) => self.b.scalar(Ty::I32),
            Source::Ahead(_) | Source::Result => return SlotId(u32::MAX),
        };
        self.slots.push(source);
        id
    }

    /// A result word.
    pub(super) fn result_slot(&mut self, ty: Ty) -> SlotId {
        let id = self.b.result(ty);
        self.slots.push(Source::Result);
        id
    }

    pub(super) fn dtype(&self, v: Val) -> DType {
        self.a.facts.f.dtype(v)
    }

    /// A literal in every lane.
    pub(super) fn literal(&mut self, l: Literal) -> Option<V> {
        let lane = match l.dtype {
            DType::I8 | DType::I16 | DType::U8 | DType::U16 => Literal::from_i64(DType::I32, l.to_i64()),
            DType::F16 | DType::BF16 => Literal::from_f64(DType::F32, l.to_f64()),
            DType::F8E4M3 | DType::F8E5M2 => return None,
            DType::Bool | DType::I32 | DType::I64 | DType::U32 | DType::U64 | DType::F32 | DType::F64 => l,
        };
        let v = self.b.constant(lane);
        if l.dtype.is_float() && !l.to_f64().is_nan() {
            self.numbers.insert(v);
        }
        Some(v)
    }

    /// A value as a vector.
    pub(super) fn lane(&mut self, v: Val) -> Option<V> {
        if let Some(x) = self.made.get(&v) {
            return Some(*x);
        }
        let x = match self.a.kind(v) {
            Kind::Same => match self.a.facts.consts.get(&v) {
                Some(l) => self.literal(*l)?,
                None => {
                    let ty = lane_type(self.dtype(v))?;
                    let slot = self.slot(Source::Value(v, ty));
                    self.b.splat(slot)
                }
            },
            Kind::Affine(step) => self.index_lanes(v, step, Ty::I64),
            Kind::Lane => {
                let inst = self.a.nest.body.get(*self.a.defs.get(&v)?)?;
                self.operation(inst)?
            }
        };
        self.made.insert(v, x);
        Some(x)
    }

    /// `v0 + step * index`, wrapping to the lane type.
    pub(super) fn index_lanes(&mut self, v: Val, step: i64, ty: Ty) -> V {
        self.short |= ty == Ty::I32;
        let slot = self.slot(Source::Value(v, ty));
        let base = self.b.splat(slot);
        let mut index = self.b.index(ty);
        if step != 1 {
            let step = if ty == Ty::I32 { self.b.i32(step as i32) } else { self.b.i64(step) };
            index = self.b.mul(index, step);
        }
        self.b.add(base, index)
    }

    fn address(&mut self, mem: Mem, index: &[Val]) -> Option<Addr> {
        if self.a.step(mem, index)? != 1 {
            return None;
        }
        Some(Addr::unit(self.slot(Source::Address(mem, index.iter().copied().collect()))))
    }

    fn load(&mut self, mem: Mem, masked: bool, inst: &Inst) -> Option<V> {
        let d = self.a.facts.f.memory_dtype(mem)?;
        lane_type(d)?;
        if !masked {
            let at = self.address(mem, &inst.args)?;
            return Some(self.b.load(at, d));
        }
        let n = inst.args.len().checked_sub(2)?;
        let (mask, other) = (self.lane(inst.args[n])?, inst.args[n + 1]);
        // A masked element that does not move is one read under many masks: not a vector load.
        let at = self.address(mem, &inst.args[..n])?;
        let v = self.b.load_masked(mask, at, d);
        if self.a.facts.consts.get(&other).is_some_and(|l| l.bits == 0) {
            return Some(v);
        }
        let other = self.lane(other)?;
        Some(self.choose(mask, v, other))
    }

    fn store(&mut self, mem: Mem, masked: bool, inst: &Inst) -> Option<()> {
        let d = self.a.facts.f.memory_dtype(mem)?;
        lane_type(d)?;
        let (value, rest) = inst.args.split_first()?;
        let (index, mask) = if masked { rest.split_last().map(|(m, i)| (i, Some(*m)))? } else { (rest, None) };
        let value = self.lane(*value)?;
        let mask = match mask {
            Some(m) => Some(self.lane(m)?),
            None => None,
        };
        let at = self.address(mem, index)?;
        match mask {
            Some(m) => self.b.store_masked(m, at, d, value),
            None => self.b.store(at, d, value),
        }
        Some(())
    }
}
