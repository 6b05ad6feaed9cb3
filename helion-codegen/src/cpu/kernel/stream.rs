//! Results that go around the caches: when they do, and the calls.
//!
//! A program whose stores go around the caches wants them aligned to registers. Where a row begins elsewhere, the plain
//! program takes the elements up to the first such place.

use super::Lower;
use super::vector::Call;
use crate::cpu::Error;
use crate::cpu::knobs::Stream;
use crate::cpu::vector::Isa;
use crate::cpu::vectorise::{Source, Streaming};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, types};
use helion_ir::loops::{ParamId, ParamKind};

/// The variant of a program that goes around the caches.
pub(super) struct Around {
    program: u32,
    /// Whether what it stores is large.
    large: ir::Value,
    form: Streaming,
}

/// A row that does not begin aligned is worth two calls from this many registers on.
const SPLIT: i64 = 16;

impl Lower<'_> {
    /// Compiles a program that goes around the caches, where the machine can do that.
    pub(super) fn around(&mut self, form: Option<Streaming>, isa: Isa) -> Result<Option<Around>, Error> {
        let wanted = isa != Isa::Clif128 && self.knobs.stream != Stream::Never;
        let Some(form) = form.filter(|_| wanted) else { return Ok(None) };
        let Some(program) = self.programs.vector(&form.program, isa) else { return Ok(None) };
        let mut large = None;
        for p in &form.tensors {
            let this = self.large_tensor(*p)?;
            large = Some(match large {
                Some(all) => self.b.ins().band(all, this),
                None => this,
            });
        }
        Ok(large.map(|large| Around { program, large, form }))
    }

    /// Runs a call on all `n` elements, around the caches where that is possible and worth it.
    pub(super) fn vector_run(
        &mut self,
        call: &Call<'_>,
        n: ir::Value,
        carried: &[ir::Value],
    ) -> Result<Vec<ir::Value>, Error> {
        let Some(around) = &call.stream else { return self.vector_call(call, call.program, n, carried) };
        let (peel, fits) = self.peel(call, around, n)?;
        let go = self.b.ins().band(fits, around.large);
        self.either(go, carried, |s, around_caches| {
            if !around_caches {
                return s.vector_call(call, call.program, n, carried);
            }
            let before = s.values.clone();
            let zero = s.iconst(types::I64, 0);
            let split = s.b.ins().icmp(IntCC::NotEqual, peel, zero);
            let carried = s.either(split, carried, |s, split| match split {
                true => s.vector_call(call, call.program, peel, carried),
                false => Ok(carried.to_vec()),
            })?;
            // The rest of the row, seen from its first element.
            s.set(call.nest.axes[call.form.axis].var, peel);
            for i in &call.form.scalar {
                s.inst(&call.nest.body[*i])?;
            }
            let rest = s.b.ins().isub(n, peel);
            let results = s.vector_call(call, around.program, rest, &carried)?;
            s.values = before;
            Ok(results)
        })
    }

    /// How many elements come before the first aligned one, and whether all results are aligned there with enough
    /// elements following.
    fn peel(&mut self, call: &Call<'_>, around: &Around, n: ir::Value) -> Result<(ir::Value, ir::Value), Error> {
        let bytes = call.isa.vector_bytes() as i64;
        let mut places = Vec::with_capacity(around.form.pointers.len());
        for i in &around.form.pointers {
            if let Some(Source::Address(mem, index)) = call.form.slots.get(*i) {
                places.push(self.element_address(*mem, index)?);
            }
        }
        let Some((first, others)) = places.split_first() else {
            return Err(Error::Malformed("a result around the caches has no address".into()));
        };
        let low = self.iconst(types::I64, bytes - 1);
        // Results of one size that are equally far from alignment reach it together.
        let mut apart = self.iconst(types::I64, 0);
        for other in others {
            let differs = self.b.ins().bxor(*first, *other);
            apart = self.b.ins().bor(apart, differs);
        }
        let back = self.b.ins().ineg(*first);
        let gap = self.b.ins().band(back, low);
        let (peel, mut wrong) = match around.form.size {
            Some(size) => {
                let within = self.iconst(types::I64, size as i64 - 1);
                let within = self.b.ins().band(gap, within);
                let size = self.iconst(types::I64, size as i64);
                (self.b.ins().udiv(gap, size), self.b.ins().bor(apart, within))
            }
            None => (self.iconst(types::I64, 0), self.b.ins().bor(apart, gap)),
        };
        wrong = self.b.ins().band(wrong, low);
        let zero = self.iconst(types::I64, 0);
        let aligned = self.b.ins().icmp(IntCC::Equal, wrong, zero);
        // Short rows are not worth two calls; and there must be a row left.
        let lanes = bytes / around.form.size.unwrap_or(1) as i64;
        let enough = if self.knobs.stream == Stream::Always { 1 } else { SPLIT };
        let split = self.b.ins().icmp(IntCC::NotEqual, peel, zero);
        let least = self.iconst(types::I64, enough * lanes);
        let least = self.b.ins().select(split, least, zero);
        let long = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, n, least);
        Ok((peel, self.b.ins().band(aligned, long)))
    }

    /// Compares the bytes of each tensor that may be written around the caches with the limit.
    pub(super) fn find_large_tensors(&mut self) {
        let source = self.source;
        for (i, p) in source.params.iter().enumerate() {
            let ParamKind::Tensor { dtype, dims, mutable: true, .. } = &p.kind else { continue };
            let mut bytes = self.iconst(types::I64, dtype.size() as i64);
            for d in 0..dims.len() {
                let extent = self.word(self.words[i] + 1 + d);
                bytes = self.b.ins().imul(bytes, extent);
            }
            let limit = if self.knobs.stream == Stream::Always { 0 } else { self.options.stream_bytes };
            let limit = self.iconst(types::I64, limit.min(i64::MAX as u64) as i64);
            self.large[i].0 = Some(self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, bytes, limit));
        }
    }

    /// Whether stores to a tensor go around the caches, for a program that can do so.
    fn large_tensor(&mut self, p: ParamId) -> Result<ir::Value, Error> {
        match self.large.get_mut(p.index()) {
            Some((Some(large), asked)) => {
                *asked = true;
                Ok(*large)
            }
            Some((None, _)) | None => Err(Error::Malformed(format!("parameter {} is not a mutable tensor", p.0))),
        }
    }

    /// Stores that went around the caches are in memory before the caller tells another thread.
    pub(super) fn fence(&mut self) -> Result<(), Error> {
        let asked: Vec<ir::Value> = self.large.iter().filter(|l| l.1).filter_map(|l| l.0).collect();
        let Some(any) = asked.into_iter().reduce(|a, b| self.b.ins().bor(a, b)) else { return Ok(()) };
        self.guarded(any, None, |s| {
            s.b.ins().fence();
            Ok(None)
        })?;
        Ok(())
    }
}
