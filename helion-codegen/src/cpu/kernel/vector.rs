//! Nests that run as vector programs: loops over the other axes, the argument block, the call, and the
//! combination of reduced values.

use super::Lower;
use super::stream::Around;
use crate::cpu::Error;
use crate::cpu::vector::Isa;
use crate::cpu::vector::ir::Ty;
use crate::cpu::vectorise::{Carried, Source, VectorNest, candidates};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, StackSlotData, StackSlotKind, types};
use helion_ir::dtype::{DType, Literal};
use helion_ir::eval;
use helion_ir::loops::{Carry, Mem, Nest, Val};

/// A vector nest with its compiled program and argument block.
pub(super) struct Call<'a> {
    pub nest: &'a Nest,
    pub form: &'a VectorNest,
    pub program: u32,
    pub block: ir::StackSlot,
    /// The variant that goes around the caches.
    pub stream: Option<Around>,
    pub isa: Isa,
}

impl Lower<'_> {
    /// Runs a nest through a vector program; false (and nothing emitted) when it has no such form.
    pub(super) fn vector_nest(&mut self, nest: &Nest) -> Result<bool, Error> {
        if !self.options.vectorise || nest.axes.is_empty() {
            return Ok(false);
        }
        let isa = self.options.isa.unwrap_or_else(Isa::best);
        let facts = self.facts.clone();
        for mut form in candidates(&facts, nest) {
            form.prefetch(&facts, nest);
            let Some(program) = self.programs.vector(&form.program, isa) else { continue };
            self.lanes.insert(std::ptr::from_ref(nest).addr(), isa.lanes_of(&form.program));
            let stream = self.around(form.streaming(&facts), isa)?;
            let bytes = (form.slots.len().max(1) * 8) as u32;
            let block = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3));
            let call = Call { nest, form: &form, program, block, stream, isa };
            self.vector_axis(&call, 0)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Parallel axes from `depth` on, except the program's.
    fn vector_axis(&mut self, call: &Call<'_>, depth: usize) -> Result<(), Error> {
        let nest = call.nest;
        if depth == call.form.axis && depth + nest.reduce < nest.axes.len() {
            return self.vector_axis(call, depth + 1);
        }
        if depth + nest.reduce == nest.axes.len() {
            let inits = nest.carries.iter().map(|c| self.value(c.init)).collect::<Result<Vec<_>, _>>()?;
            let results = self.vector_reduce(call, depth, &inits)?;
            for (c, r) in nest.carries.iter().zip(results) {
                self.set(c.result, r);
            }
            return self.insts(&nest.finals);
        }
        let axis = &nest.axes[depth];
        let (zero, one, end) = (self.iconst(types::I64, 0), self.iconst(types::I64, 1), self.value(axis.extent)?);
        self.counted(zero, end, one, &[], |s, i, _| {
            s.set(axis.var, i);
            s.vector_axis(call, depth + 1)?;
            Ok(Vec::new())
        })?;
        Ok(())
    }

    /// Reduce axes from `depth` on, except the program's, which is the last.
    fn vector_reduce(&mut self, call: &Call<'_>, depth: usize, carried: &[ir::Value]) -> Result<Vec<ir::Value>, Error> {
        if depth >= call.form.axis || depth >= call.nest.axes.len() {
            return self.vector_leaf(call, carried);
        }
        let axis = &call.nest.axes[depth];
        let (zero, one, end) = (self.iconst(types::I64, 0), self.iconst(types::I64, 1), self.value(axis.extent)?);
        self.counted(zero, end, one, carried, |s, i, params| {
            s.set(axis.var, i);
            s.vector_reduce(call, depth + 1, params)
        })
    }

    /// One run along the program's axis: the call, or scalar steps where a guard fails.
    fn vector_leaf(&mut self, call: &Call<'_>, carried: &[ir::Value]) -> Result<Vec<ir::Value>, Error> {
        let axis = &call.nest.axes[call.form.axis];
        let (zero, extent) = (self.iconst(types::I64, 0), self.value(axis.extent)?);
        let n = self.b.ins().smax(extent, zero);
        self.set(axis.var, zero);
        for i in &call.form.scalar {
            self.inst(&call.nest.body[*i])?;
        }
        let Some(guard) = self.guard(call, n)? else {
            return self.vector_run(call, n, carried);
        };
        self.either(
            guard,
            carried,
            |s, fast| {
                if fast { s.vector_run(call, n, carried) } else { s.scalar_leaf(call, carried) }
            },
        )
    }

    /// The program's axis as a scalar loop.
    fn scalar_leaf(&mut self, call: &Call<'_>, carried: &[ir::Value]) -> Result<Vec<ir::Value>, Error> {
        let (nest, axis) = (call.nest, &call.nest.axes[call.form.axis]);
        let (zero, one, end) = (self.iconst(types::I64, 0), self.iconst(types::I64, 1), self.value(axis.extent)?);
        self.counted(zero, end, one, carried, |s, i, params| {
            s.set(axis.var, i);
            for (c, v) in nest.carries.iter().zip(params) {
                s.set(c.param, *v);
            }
            s.insts(&nest.body)?;
            nest.carries.iter().map(|c| s.value(c.next)).collect()
        })
    }

    /// The conditions under which the program's 32-bit indices are right; `None` when they always are.
    fn guard(&mut self, call: &Call<'_>, n: ir::Value) -> Result<Option<ir::Value>, Error> {
        let axis = &call.nest.axes[call.form.axis];
        let mut all: Option<ir::Value> = None;
        let mut both = |s: &mut Self, c: ir::Value| {
            all = Some(match all {
                Some(a) => s.b.ins().band(a, c),
                None => c,
            });
        };
        let bounded = axis.bound.is_some_and(|b| b < i32::MAX as u64);
        if call.form.short && !bounded {
            let most = self.iconst(types::I64, i64::from(i32::MAX) - 1);
            let fits = self.b.ins().icmp(IntCC::SignedLessThanOrEqual, n, most);
            both(self, fits);
        }
        for (v, step) in &call.form.narrow {
            let first = self.value(*v)?;
            let span = self.mul_const(n, *step);
            let last = self.b.ins().iadd(first, span);
            for end in [first, last] {
                let half = self.add_const(end, 1 << 31);
                let whole = self.iconst(types::I64, 1 << 32);
                let fits = self.b.ins().icmp(IntCC::UnsignedLessThan, half, whole);
                both(self, fits);
            }
        }
        Ok(all)
    }

    /// Fills the argument block, calls a program on `count` elements, the first of which is where the axis stands,
    /// and combines the results.
    pub(super) fn vector_call(
        &mut self,
        call: &Call<'_>,
        program: u32,
        count: ir::Value,
        carried: &[ir::Value],
    ) -> Result<Vec<ir::Value>, Error> {
        for (i, source) in call.form.slots.iter().enumerate() {
            if let Some(word) = self.slot_word(call, source)? {
                self.b.ins().stack_store(types::I64, word, call.block, (i * 8) as i32);
            }
        }
        self.call_program(program, call.block, count);
        let list = call.nest.carries.iter().zip(&call.form.carries).zip(carried);
        list.map(|((c, how), before)| self.combine(call, c, how, *before)).collect()
    }

    fn call_program(&mut self, program: u32, block: ir::StackSlot, n: ir::Value) {
        let f = self.program_ref(program);
        let block = self.b.ins().stack_addr(types::I64, block, 0);
        self.b.ins().call(f, &[block, n]);
    }

    /// Bytes that the nest covers of a tensor, for prefetching; zero when they are too many.
    fn ahead(&mut self, call: &Call<'_>, size: usize) -> Result<ir::Value, Error> {
        let mut bytes = self.iconst(types::I64, size as i64);
        for axis in &call.nest.axes {
            let extent = self.value(axis.extent)?;
            bytes = self.b.ins().imul(bytes, extent);
        }
        let most = self.iconst(types::I64, self.options.prefetch_bytes.min(1 << 40) as i64);
        let zero = self.iconst(types::I64, 0);
        let near = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, bytes, most);
        Ok(self.b.ins().select(near, bytes, zero))
    }

    fn slot_word(&mut self, call: &Call<'_>, source: &Source) -> Result<Option<ir::Value>, Error> {
        Ok(Some(match source {
            Source::Result => return Ok(None),
            Source::Ahead(size) => self.ahead(call, *size)?,
            Source::Address(mem, index) => self.element_address(*mem, index)?,
            Source::Value(v, ty) => self.lane_word(*v, *ty)?,
            Source::Limit(a, b) => {
                let (a, b) = (self.value(*a)?, self.value(*b)?);
                let d = self.b.ins().isub(a, b);
                let (lo, hi) = (self.iconst(types::I64, -1), self.iconst(types::I64, i64::from(i32::MAX)));
                let d = self.b.ins().smax(d, lo);
                self.b.ins().smin(d, hi)
            }
        }))
    }

    pub(super) fn element_address(&mut self, mem: Mem, index: &[Val]) -> Result<ir::Value, Error> {
        let t = self.memory(mem)?.cloned().ok_or_else(|| Error::Malformed("a vector in a scalar buffer".into()))?;
        let index = index.iter().map(|v| self.value(*v)).collect::<Result<Vec<_>, _>>()?;
        self.address(&t, &index)
    }

    /// A scalar as the bits of a lane.
    fn lane_word(&mut self, v: Val, ty: Ty) -> Result<ir::Value, Error> {
        let (d, mut x) = (self.dtype(v), self.value(v)?);
        match ty {
            Ty::F32 if d != DType::F32 => x = self.cast(d, DType::F32, x)?,
            // Sign or zero extension by the element's own type, then the low half counts.
            Ty::I32 => x = self.cast(d, DType::I32, x)?,
            Ty::F32 | Ty::F64 | Ty::I64 | Ty::Mask => {}
        }
        Ok(self.word_bits(x))
    }

    /// The carry after a call.
    fn combine(&mut self, call: &Call<'_>, c: &Carry, how: &Carried, before: ir::Value) -> Result<ir::Value, Error> {
        let Carried::Fold { op, slot, nan } = how else { return Ok(before) };
        let d = self.dtype(c.param);
        let word = self.b.ins().stack_load(types::I64, types::I64, call.block, (slot * 8) as i32);
        let ty = super::clif_type(d);
        let bits = if ty.bits() == 64 { word } else { self.b.ins().ireduce(ty.as_int(), word) };
        let mut value = self.from_bits(bits, ty);
        if let Some(nan) = nan {
            let seen = self.b.ins().stack_load(types::I64, types::I64, call.block, (nan * 8) as i32);
            let quiet = self.literal(Literal::from_f64(d, f64::NAN));
            value = self.b.ins().select(seen, quiet, value);
        }
        match eval::reduce_combine(*op) {
            Some(combine) => self.binary(combine, d, before, value),
            None => Err(Error::Malformed(format!("{op:?} cannot be split"))),
        }
    }
}
