//! One loop IR instruction.

use super::{Lower, clif_type};
use crate::cpu::Error;
use crate::cpu::runtime::{Runtime, ordinal};
use cranelift_codegen::ir::{self, InstBuilder, StackSlotData, StackSlotKind, types};
use helion_ir::dtype::DType;
use helion_ir::loops::{Inst, Op, ParamKind};

impl Lower<'_> {
    /// Emits an instruction and binds its result.
    pub(super) fn inst(&mut self, inst: &Inst) -> Result<(), Error> {
        let value = self.inst_value(inst)?;
        if let (Some(result), Some(value)) = (inst.result, value) {
            self.set(result, value);
        }
        Ok(())
    }

    /// Emits a sequence.
    pub(super) fn insts(&mut self, list: &[Inst]) -> Result<(), Error> {
        list.iter().try_for_each(|i| self.inst(i))
    }

    /// Operand `i` and its element type.
    fn operand(&self, inst: &Inst, i: usize) -> Result<(ir::Value, DType), Error> {
        let v = *inst.args.get(i).ok_or_else(|| Error::Malformed(format!("{:?} lacks operand {i}", inst.op)))?;
        Ok((self.value(v)?, self.dtype(v)))
    }

    fn inst_value(&mut self, inst: &Inst) -> Result<Option<ir::Value>, Error> {
        Ok(Some(match &inst.op {
            Op::Const(l) => self.literal(*l),
            Op::Size(s) => {
                let first = self.words.last().copied().unwrap_or(0);
                self.word(first + s.index())
            }
            Op::Dim(p, axis) => {
                let first = self.words.get(p.index()).copied().unwrap_or(0);
                self.word(first + 1 + *axis as usize)
            }
            Op::Scalar(p) => self.scalar(p.index())?,
            Op::Unary(op) => {
                let (x, d) = self.operand(inst, 0)?;
                self.unary(*op, d, x)?
            }
            Op::Binary(op) => {
                let ((a, d), (b, _)) = (self.operand(inst, 0)?, self.operand(inst, 1)?);
                self.binary(*op, d, a, b)?
            }
            Op::Fma => {
                let ((a, d), (b, _), (c, _)) = (self.operand(inst, 0)?, self.operand(inst, 1)?, self.operand(inst, 2)?);
                self.fma(d, a, b, c)?
            }
            Op::Select => {
                let ((m, _), (a, _), (b, _)) = (self.operand(inst, 0)?, self.operand(inst, 1)?, self.operand(inst, 2)?);
                self.b.ins().select(m, a, b)
            }
            Op::Cast(to) => {
                let (x, from) = self.operand(inst, 0)?;
                self.cast(from, *to, x)?
            }
            Op::Bitcast(to) => {
                let (x, _) = self.operand(inst, 0)?;
                let bits = self.to_bits(x);
                self.from_bits(bits, clif_type(*to))
            }
            Op::Load { mem, masked } => self.load(*mem, *masked, inst)?,
            Op::Store { mem, masked } => {
                self.store(*mem, *masked, inst)?;
                return Ok(None);
            }
            Op::Atomic { op, mem, masked } => self.atomic(*op, *mem, *masked, inst)?,
            Op::Random { word } => {
                let ((seed, _), (counter, _)) = (self.operand(inst, 0)?, self.operand(inst, 1)?);
                let word = self.iconst(types::I32, i64::from(*word));
                self.call(Runtime::Random, &[seed, counter, word])
            }
            Op::Print { label } => {
                self.print(label, inst)?;
                return Ok(None);
            }
        }))
    }

    /// A scalar parameter: its word, narrowed to its type.
    fn scalar(&mut self, param: usize) -> Result<ir::Value, Error> {
        let Some(ParamKind::Scalar { dtype }) = self.source.params.get(param).map(|p| &p.kind) else {
            return Err(Error::Malformed(format!("parameter {param} is not a scalar")));
        };
        let ty = clif_type(*dtype);
        let word = self.word(self.words[param]);
        let bits = if ty.bits() == 64 { word } else { self.b.ins().ireduce(ty.as_int(), word) };
        Ok(self.from_bits(bits, ty))
    }

    fn print(&mut self, label: &str, inst: &Inst) -> Result<(), Error> {
        let (value, d) = self.operand(inst, 0)?;
        let count = inst.args.len() - 1;
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, (count.max(1) * 8) as u32, 3);
        let slot = self.b.create_sized_stack_slot(slot);
        for (i, v) in inst.args[1..].iter().enumerate() {
            let v = self.value(*v)?;
            self.b.ins().stack_store(types::I64, v, slot, (i * 8) as i32);
        }
        let text: Box<str> = label.into();
        let address = self.iconst(types::I64, text.as_ptr() as i64);
        let len = self.iconst(types::I64, text.len() as i64);
        self.labels.push(text);
        let of = self.iconst(types::I32, ordinal(d));
        let bits = self.word_bits(value);
        let coords = self.b.ins().stack_addr(types::I64, slot, 0);
        let count = self.iconst(types::I64, count as i64);
        let f = self.runtime_ref(Runtime::Print);
        self.b.ins().call(f, &[address, len, of, bits, coords, count]);
        Ok(())
    }
}
