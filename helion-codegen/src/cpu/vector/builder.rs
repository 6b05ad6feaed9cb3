//! Making vector programs.
//!
//! Comes in: calls in program order, `before` first, then [`Builder::begin_body`], then
//! [`Builder::begin_after`]. Goes out: a [`Program`] that [`verify`](super::verify::verify()) accepts, or
//! what is wrong with it. Constants and splats are made once per value and live in `before`, so they
//! may be asked for anywhere.

use std::collections::HashMap;

use helion_ir::dtype::{DType, Literal};
use smallvec::SmallVec;

use super::ir::{Addr, Carry, Cmp, Fold, Inst, Op, Packed, Program, Rounding, Slot, SlotId, Trip, Ty, V};
use super::verify::verify;

/// Names a carry while a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarryId(u32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Before,
    Body,
    After,
}

/// A program under construction.
#[derive(Clone, Debug)]
pub struct Builder {
    program: Program,
    part: Part,
    constants: HashMap<Literal, V>,
    splats: HashMap<SlotId, V>,
    unset: Vec<bool>,
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        $($(#[$doc])* pub fn $name(&mut self, a: V, b: V) -> V {
            let ty = self.ty(a);
            self.value(Op::$op, &[a, b], ty)
        })*
    };
}

macro_rules! compare {
    ($($(#[$doc:meta])* $name:ident $cmp:ident;)*) => {
        $($(#[$doc])* pub fn $name(&mut self, a: V, b: V) -> V {
            self.compare(Cmp::$cmp, a, b)
        })*
    };
}

impl Builder {
    /// An empty program; `before` is open.
    pub fn new(name: &str, trip: Trip) -> Builder {
        let program = Program {
            name: name.to_owned(),
            slots: Vec::new(),
            values: Vec::new(),
            trip,
            unroll: 1,
            carries: Vec::new(),
            before: Vec::new(),
            body: Vec::new(),
            after: Vec::new(),
        };
        Builder { program, part: Part::Before, constants: HashMap::new(), splats: HashMap::new(), unset: Vec::new() }
    }

    /// Steps per iteration of the main loop (1 unless set).
    pub fn unroll(&mut self, steps: u32) {
        self.program.unroll = steps;
    }

    fn slot(&mut self, slot: Slot) -> SlotId {
        self.program.slots.push(slot);
        SlotId(self.program.slots.len() as u32 - 1)
    }
    /// A word with a pointer to elements.
    pub fn pointer(&mut self) -> SlotId {
        self.slot(Slot::Pointer)
    }
    /// A word with a stride in bytes.
    pub fn stride(&mut self) -> SlotId {
        self.slot(Slot::Stride)
    }
    /// A word with a scalar in its low bits.
    pub fn scalar(&mut self, ty: Ty) -> SlotId {
        self.slot(Slot::Scalar(ty))
    }
    /// A word the program writes.
    pub fn result(&mut self, ty: Ty) -> SlotId {
        self.slot(Slot::Result(ty))
    }

    /// Ends `before`; what follows is done per step.
    pub fn begin_body(&mut self) {
        self.part = Part::Body;
    }
    /// Ends `body`; what follows is done once, last.
    pub fn begin_after(&mut self) {
        self.part = Part::After;
    }

    /// A value threaded through the steps, beginning as `init`. See [`Carry`] for `fold`.
    pub fn carry(&mut self, init: V, fold: Option<Fold>) -> (CarryId, V) {
        let ty = self.ty(init);
        let (param, result) = (self.new_value(ty), self.new_value(ty));
        self.program.carries.push(Carry { param, init, next: param, result, fold });
        self.unset.push(true);
        (CarryId(self.program.carries.len() as u32 - 1), param)
    }
    /// What the carry is after this step.
    pub fn set_next(&mut self, carry: CarryId, next: V) {
        self.program.carries[carry.0 as usize].next = next;
        self.unset[carry.0 as usize] = false;
    }
    /// What the carry is after the last step: for use in `after`.
    pub fn carried(&self, carry: CarryId) -> V {
        self.program.carries[carry.0 as usize].result
    }

    /// The type of a value.
    pub fn ty(&self, v: V) -> Ty {
        self.program.ty(v)
    }
    /// The number of values so far.
    pub fn len(&self) -> usize {
        self.program.values.len()
    }
    /// Whether nothing was built yet.
    pub fn is_empty(&self) -> bool {
        self.program.values.is_empty()
    }

    fn new_value(&mut self, ty: Ty) -> V {
        self.program.values.push(ty);
        V(self.program.values.len() as u32 - 1)
    }
    fn push(&mut self, op: Op, args: &[V], result: Option<V>) {
        let inst = Inst { op, args: SmallVec::from_slice(args), result };
        match self.part {
            Part::Before => self.program.before.push(inst),
            Part::Body => self.program.body.push(inst),
            Part::After => self.program.after.push(inst),
        }
    }
    /// Any instruction with a result of type `ty`.
    pub fn value(&mut self, op: Op, args: &[V], ty: Ty) -> V {
        let v = self.new_value(ty);
        self.push(op, args, Some(v));
        v
    }
    /// Any instruction without a result.
    pub fn effect(&mut self, op: Op, args: &[V]) {
        self.push(op, args, None);
    }

    /// Every lane the same literal (of type `f32`, `f64`, `i32`, `u32`, `i64`, `u64` or `bool`; others
    /// are an error of [`Builder::finish`]).
    pub fn constant(&mut self, literal: Literal) -> V {
        if let Some(&v) = self.constants.get(&literal) {
            return v;
        }
        let v = self.new_value(Ty::of_literal(literal.dtype).unwrap_or(Ty::I32));
        let inst = Inst { op: Op::Const(literal), args: SmallVec::new(), result: Some(v) };
        self.program.before.push(inst);
        self.constants.insert(literal, v);
        v
    }
    /// A constant.
    pub fn f32(&mut self, x: f32) -> V {
        self.constant(Literal::from_bits(DType::F32, x.to_bits().into()))
    }
    /// A constant.
    pub fn f64(&mut self, x: f64) -> V {
        self.constant(Literal::from_bits(DType::F64, x.to_bits()))
    }
    /// A constant.
    pub fn i32(&mut self, x: i32) -> V {
        self.constant(Literal::from_bits(DType::I32, x as u32 as u64))
    }
    /// A constant.
    pub fn i64(&mut self, x: i64) -> V {
        self.constant(Literal::from_bits(DType::I64, x as u64))
    }
    /// A constant mask.
    pub fn mask(&mut self, x: bool) -> V {
        self.constant(Literal::from_bits(DType::Bool, x.into()))
    }
    /// A scalar slot in every lane.
    pub fn splat(&mut self, slot: SlotId) -> V {
        if let Some(&v) = self.splats.get(&slot) {
            return v;
        }
        let ty = match self.program.slots[slot.0 as usize] {
            Slot::Scalar(ty) | Slot::Result(ty) => ty,
            Slot::Pointer | Slot::Stride => Ty::I64,
        };
        let v = self.new_value(ty);
        self.program.before.push(Inst { op: Op::Splat(slot), args: SmallVec::new(), result: Some(v) });
        self.splats.insert(slot, v);
        v
    }
    /// The index of each lane's element, as `i32` or `i64`.
    pub fn index(&mut self, ty: Ty) -> V {
        self.value(Op::Index, &[], ty)
    }
    /// The lanes that exist in this step.
    pub fn tail(&mut self) -> V {
        self.value(Op::Tail, &[], Ty::Mask)
    }

    /// A load; see [`Op::Load`] for the result's type.
    pub fn load(&mut self, addr: Addr, dtype: DType) -> V {
        self.value(Op::Load(addr, dtype), &[], Ty::of_memory(dtype).unwrap_or(Ty::F32))
    }
    /// A load of the lanes of `mask`; zero elsewhere.
    pub fn load_masked(&mut self, mask: V, addr: Addr, dtype: DType) -> V {
        self.value(Op::LoadMasked(addr, dtype), &[mask], Ty::of_memory(dtype).unwrap_or(Ty::F32))
    }
    /// A store.
    pub fn store(&mut self, addr: Addr, dtype: DType, v: V) {
        self.push(Op::Store(addr, dtype), &[v], None);
    }
    /// A store of data that will not be read soon.
    pub fn store_stream(&mut self, addr: Addr, dtype: DType, v: V) {
        self.push(Op::StoreStream(addr, dtype), &[v], None);
    }
    /// A store of the lanes of `mask`.
    pub fn store_masked(&mut self, mask: V, addr: Addr, dtype: DType, v: V) {
        self.push(Op::StoreMasked(addr, dtype), &[mask, v], None);
    }
    /// A hint that the cache line there will be read.
    pub fn prefetch(&mut self, addr: Addr, dtype: DType) {
        self.push(Op::Prefetch(addr, dtype), &[], None);
    }

    binary! {
        /// `a + b`.
        add Add;
        /// `a - b`.
        sub Sub;
        /// `a * b`.
        mul Mul;
        /// `a / b` of floats.
        div Div;
        /// The smaller; `b` if either is NaN.
        min Min;
        /// The larger; `b` if either is NaN.
        max Max;
        /// Bitwise and, or and of masks.
        and And;
        /// Bitwise or, or or of masks.
        or Or;
        /// Bitwise exclusive or, also of masks.
        xor Xor;
    }
    compare! {
        /// `a == b`.
        eq Eq;
        /// `a != b` (true on NaN).
        ne Ne;
        /// `a < b`.
        lt Lt;
        /// `a <= b`.
        le Le;
        /// `a < b` of unsigned integers.
        lt_u LtU;
    }
    /// A comparison.
    pub fn compare(&mut self, cmp: Cmp, a: V, b: V) -> V {
        self.value(Op::Compare(cmp), &[a, b], Ty::Mask)
    }
    /// Where `a` is NaN.
    pub fn is_nan(&mut self, a: V) -> V {
        self.compare(Cmp::Unordered, a, a)
    }
    /// `!a` of a mask.
    pub fn not(&mut self, a: V) -> V {
        let ones = self.mask(true);
        self.xor(a, ones)
    }
    /// `a * b + c`, rounded once.
    pub fn fma(&mut self, a: V, b: V, c: V) -> V {
        let ty = self.ty(a);
        self.value(Op::Fma, &[a, b, c], ty)
    }
    /// `c - a * b`, rounded once.
    pub fn fnma(&mut self, a: V, b: V, c: V) -> V {
        let ty = self.ty(a);
        self.value(Op::Fnma, &[a, b, c], ty)
    }
    /// `c` plus the products of the elements that share lanes.
    pub fn dots(&mut self, packed: Packed, a: V, b: V, c: V) -> V {
        self.value(Op::Dots(packed), &[a, b, c], packed.sum())
    }
    /// The square root.
    pub fn sqrt(&mut self, a: V) -> V {
        let ty = self.ty(a);
        self.value(Op::Sqrt, &[a], ty)
    }
    /// Rounding to an integral float.
    pub fn round(&mut self, mode: Rounding, a: V) -> V {
        let ty = self.ty(a);
        self.value(Op::Round(mode), &[a], ty)
    }
    /// `a << by`.
    pub fn shl(&mut self, a: V, by: u8) -> V {
        let ty = self.ty(a);
        self.value(Op::Shl(by), &[a], ty)
    }
    /// `a >> by`, zeros coming in.
    pub fn shr_u(&mut self, a: V, by: u8) -> V {
        let ty = self.ty(a);
        self.value(Op::ShrU(by), &[a], ty)
    }
    /// `a >> by`, the sign coming in.
    pub fn shr_s(&mut self, a: V, by: u8) -> V {
        let ty = self.ty(a);
        self.value(Op::ShrS(by), &[a], ty)
    }
    /// `mask ? a : b`.
    pub fn select(&mut self, mask: V, a: V, b: V) -> V {
        let ty = self.ty(a);
        self.value(Op::Select, &[mask, a, b], ty)
    }
    /// A numeric conversion.
    pub fn convert(&mut self, to: Ty, a: V) -> V {
        if self.ty(a) == to {
            return a;
        }
        self.value(Op::Convert(to), &[a], to)
    }
    /// The same bits as another type of the same size.
    pub fn bitcast(&mut self, to: Ty, a: V) -> V {
        if self.ty(a) == to {
            return a;
        }
        self.value(Op::Bitcast(to), &[a], to)
    }
    /// Folds the lanes into a result slot.
    pub fn reduce_to(&mut self, fold: Fold, slot: SlotId, v: V) {
        self.push(Op::ReduceTo(fold, slot), &[v], None);
    }

    /// The finished program, or what is wrong with it.
    pub fn finish(self) -> Result<Program, String> {
        if let Some(at) = self.unset.iter().position(|&unset| unset) {
            return Err(format!("carry {at} has no next value"));
        }
        verify(&self.program)?;
        Ok(self.program)
    }
}
