//! Loads, stores and atomics.

use super::{Buffer, Lower, Tensor, clif_type};
use crate::cpu::Error;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, AtomicRmwOp, BlockArg, InstBuilder, MemFlagsData, types};
use helion_ir::BinaryOp;
use helion_ir::dtype::{Class, DType};
use helion_ir::loops::{AtomicOp, Inst, Mem, Val};

/// What [`Lower::place`] finds: a variable, or an address.
enum Place {
    Variable(cranelift_frontend::Variable),
    Address(ir::Value),
}

impl Lower<'_> {
    /// The tensor facts of a memory, unless it is a scalar buffer.
    pub(super) fn memory(&self, mem: Mem) -> Result<Option<&Tensor>, Error> {
        match mem {
            Mem::Tensor(p) => match self.tensors.get(p.index()) {
                Some(Some(t)) => Ok(Some(t)),
                _ => Err(Error::Malformed(format!("parameter {} is not a tensor", p.0))),
            },
            Mem::Buffer(id) => match self.buffers.get(id.index()) {
                Some(Buffer::Memory(t)) => Ok(Some(t)),
                Some(Buffer::Scalar(_)) => Ok(None),
                None => Err(Error::Malformed(format!("there is no buffer {}", id.0))),
            },
        }
    }

    /// The element type of a memory.
    pub(super) fn memory_dtype(&self, mem: Mem) -> Result<DType, Error> {
        match mem {
            Mem::Tensor(_) => self
                .memory(mem)?
                .map(|t| t.dtype)
                .ok_or_else(|| Error::Malformed("a tensor has no element type".into())),
            Mem::Buffer(id) => self
                .source
                .buffers
                .get(id.index())
                .map(|b| b.dtype)
                .ok_or_else(|| Error::Malformed(format!("there is no buffer {}", id.0))),
        }
    }

    /// The address of an element.
    pub(super) fn address(&mut self, t: &Tensor, index: &[ir::Value]) -> Result<ir::Value, Error> {
        if index.len() != t.strides.len() {
            return Err(Error::Malformed(format!("{} indices for {} axes", index.len(), t.strides.len())));
        }
        let mut at = t.base;
        for (i, s) in index.iter().zip(&t.strides) {
            if self.const_of(*i) == Some(0) {
                continue;
            }
            let offset = self.scaled(*i, *s, t.dtype.size());
            at = self.b.ins().iadd(at, offset);
        }
        Ok(at)
    }

    fn place(&mut self, mem: Mem, index: &[Val]) -> Result<Place, Error> {
        if let Mem::Buffer(id) = mem
            && let Some(Buffer::Scalar(v)) = self.buffers.get(id.index())
        {
            return Ok(Place::Variable(*v));
        }
        let Some(t) = self.memory(mem)?.cloned() else {
            return Err(Error::Malformed("memory without a place".into()));
        };
        let index = index.iter().map(|v| self.value(*v)).collect::<Result<Vec<_>, _>>()?;
        Ok(Place::Address(self.address(&t, &index)?))
    }

    /// `Op::Load`.
    pub(super) fn load(&mut self, mem: Mem, masked: bool, inst: &Inst) -> Result<ir::Value, Error> {
        let ty = clif_type(self.memory_dtype(mem)?);
        if !masked {
            return self.read(mem, &inst.args, ty);
        }
        let n =
            inst.args.len().checked_sub(2).ok_or_else(|| Error::Malformed("a masked load without a mask".into()))?;
        let (mask, other) = (self.value(inst.args[n])?, self.value(inst.args[n + 1])?);
        let got = self.guarded(mask, Some(other), |s| s.read(mem, &inst.args[..n], ty).map(Some))?;
        got.ok_or_else(|| Error::Malformed("a masked load without a value".into()))
    }

    fn read(&mut self, mem: Mem, index: &[Val], ty: ir::Type) -> Result<ir::Value, Error> {
        Ok(match self.place(mem, index)? {
            Place::Variable(v) => self.b.use_var(v),
            Place::Address(at) => self.b.ins().load(ty, Self::flags(), at, 0),
        })
    }

    /// `Op::Store`.
    pub(super) fn store(&mut self, mem: Mem, masked: bool, inst: &Inst) -> Result<(), Error> {
        let Some((value, rest)) = inst.args.split_first() else {
            return Err(Error::Malformed("a store without a value".into()));
        };
        let value = self.value(*value)?;
        let Some((mask, index)) = (if masked { rest.split_last() } else { None }) else {
            return self.write(mem, rest, value);
        };
        let mask = self.value(*mask)?;
        self.guarded(mask, None, |s| s.write(mem, index, value).map(|()| None))?;
        Ok(())
    }

    fn write(&mut self, mem: Mem, index: &[Val], value: ir::Value) -> Result<(), Error> {
        match self.place(mem, index)? {
            Place::Variable(v) => self.b.def_var(v, value),
            Place::Address(at) => {
                self.b.ins().store(Self::flags(), value, at, 0);
            }
        }
        Ok(())
    }

    /// `Op::Atomic`.
    pub(super) fn atomic(&mut self, op: AtomicOp, mem: Mem, masked: bool, inst: &Inst) -> Result<ir::Value, Error> {
        let operands = if op == AtomicOp::CompareSwap { 2 } else { 1 };
        let index_end = inst.args.len() - usize::from(masked);
        if inst.args.len() < operands + usize::from(masked) {
            return Err(Error::Malformed("an atomic without operands".into()));
        }
        let dtype = self.memory_dtype(mem)?;
        let value = self.value(inst.args[0])?;
        let expected = if operands == 2 { Some(self.value(inst.args[1])?) } else { None };
        let index = &inst.args[operands..index_end];
        if !masked {
            return self.atomic_at(op, dtype, mem, index, value, expected);
        }
        let mask = self.value(inst.args[index_end])?;
        let zero = self.zero(dtype);
        let got = self.guarded(mask, Some(zero), |s| s.atomic_at(op, dtype, mem, index, value, expected).map(Some))?;
        got.ok_or_else(|| Error::Malformed("an atomic without a value".into()))
    }

    fn atomic_at(
        &mut self,
        op: AtomicOp,
        d: DType,
        mem: Mem,
        index: &[Val],
        value: ir::Value,
        expected: Option<ir::Value>,
    ) -> Result<ir::Value, Error> {
        let Place::Address(at) = self.place(mem, index)? else {
            return Err(Error::Malformed("an atomic on a scalar buffer".into()));
        };
        let flags = MemFlagsData::trusted();
        let bits_type = clif_type(d).as_int();
        let bits = self.to_bits(value);
        let old = match (op, d.class()) {
            (AtomicOp::Exchange, _) => self.b.ins().atomic_rmw(bits_type, flags, AtomicRmwOp::Xchg, at, bits),
            (AtomicOp::CompareSwap, _) => {
                let expected = expected.ok_or_else(|| Error::Malformed("compare-swap without expected".into()))?;
                let expected = self.to_bits(expected);
                self.b.ins().atomic_cas(flags, at, expected, bits)
            }
            (AtomicOp::Add | AtomicOp::Max | AtomicOp::Min, Class::Float | Class::Storage | Class::Bool) => {
                let combine = match op {
                    AtomicOp::Add if d == DType::Bool => BinaryOp::Or,
                    AtomicOp::Max => BinaryOp::Max,
                    AtomicOp::Min => BinaryOp::Min,
                    AtomicOp::Add | AtomicOp::Exchange | AtomicOp::CompareSwap => BinaryOp::Add,
                };
                return self.atomic_loop(combine, d, at, value);
            }
            (AtomicOp::Add, Class::Signed | Class::Unsigned) => {
                self.b.ins().atomic_rmw(bits_type, flags, AtomicRmwOp::Add, at, bits)
            }
            (AtomicOp::Max, Class::Signed) => self.b.ins().atomic_rmw(bits_type, flags, AtomicRmwOp::Smax, at, bits),
            (AtomicOp::Min, Class::Signed) => self.b.ins().atomic_rmw(bits_type, flags, AtomicRmwOp::Smin, at, bits),
            (AtomicOp::Max, Class::Unsigned) => self.b.ins().atomic_rmw(bits_type, flags, AtomicRmwOp::Umax, at, bits),
            (AtomicOp::Min, Class::Unsigned) => self.b.ins().atomic_rmw(bits_type, flags, AtomicRmwOp::Umin, at, bits),
        };
        Ok(self.from_bits(old, clif_type(d)))
    }

    /// Read, combine, compare-and-swap until nobody was in between.
    fn atomic_loop(&mut self, op: BinaryOp, d: DType, at: ir::Value, value: ir::Value) -> Result<ir::Value, Error> {
        let ty = clif_type(d);
        let flags = MemFlagsData::trusted();
        let start = self.b.ins().atomic_load(ty.as_int(), flags, at);
        let (head, exit) = (self.b.create_block(), self.b.create_block());
        let seen = self.b.append_block_param(head, ty.as_int());
        self.b.ins().jump(head, &[BlockArg::Value(start)]);
        self.b.switch_to_block(head);
        let old = self.from_bits(seen, ty);
        let new = self.binary(op, d, old, value)?;
        let new = self.to_bits(new);
        let now = self.b.ins().atomic_cas(flags, at, seen, new);
        let done = self.b.ins().icmp(IntCC::Equal, now, seen);
        self.b.ins().brif(done, exit, &[], head, &[BlockArg::Value(now)]);
        self.b.seal_block(head);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
        Ok(old)
    }

    /// Bits of a float; integers as they are.
    pub(super) fn to_bits(&mut self, v: ir::Value) -> ir::Value {
        let ty = self.b.func.dfg.value_type(v);
        if ty.is_float() { self.b.ins().bitcast(ty.as_int(), MemFlagsData::new(), v) } else { v }
    }

    /// A value of a Cranelift type from bits of the same width.
    pub(super) fn from_bits(&mut self, v: ir::Value, ty: ir::Type) -> ir::Value {
        if ty.is_float() { self.b.ins().bitcast(ty, MemFlagsData::new(), v) } else { v }
    }

    /// Bits of any element, zero-extended to 64.
    pub(super) fn word_bits(&mut self, v: ir::Value) -> ir::Value {
        let bits = self.to_bits(v);
        if self.b.func.dfg.value_type(bits) == types::I64 { bits } else { self.b.ins().uextend(types::I64, bits) }
    }
}
