//! Small building blocks: constants, address arithmetic, counted loops.

use super::{Lower, Stride, clif_type};
use crate::cpu::Error;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, MemFlagsData, types};
use helion_ir::dtype::{DType, Literal};

impl Lower<'_> {
    /// An integer constant; bits beyond the type's width are dropped.
    pub(super) fn iconst(&mut self, ty: ir::Type, v: i64) -> ir::Value {
        let v = if ty.bits() == 64 { v } else { v & ((1i64 << ty.bits()) - 1) };
        self.b.ins().iconst(ty, v)
    }

    /// A literal.
    pub(super) fn literal(&mut self, l: Literal) -> ir::Value {
        match l.dtype {
            DType::F32 => self.b.ins().f32const(f32::from_bits(l.bits as u32)),
            DType::F64 => self.b.ins().f64const(f64::from_bits(l.bits)),
            other => self.iconst(clif_type(other), l.bits as i64),
        }
    }

    /// Zero of an element type.
    pub(super) fn zero(&mut self, d: DType) -> ir::Value {
        self.literal(Literal::from_bits(d, 0))
    }

    /// `x + c`.
    pub(super) fn add_const(&mut self, x: ir::Value, c: i64) -> ir::Value {
        if c == 0 {
            return x;
        }
        let ty = self.b.func.dfg.value_type(x);
        let c = self.iconst(ty, c);
        self.b.ins().iadd(x, c)
    }

    /// `x * c`.
    pub(super) fn mul_const(&mut self, x: ir::Value, c: i64) -> ir::Value {
        let ty = self.b.func.dfg.value_type(x);
        match c {
            1 => x,
            c if c > 1 && (c as u64).is_power_of_two() => {
                let s = self.iconst(types::I8, i64::from(c.trailing_zeros()));
                self.b.ins().ishl(x, s)
            }
            c => {
                let c = self.iconst(ty, c);
                self.b.ins().imul(x, c)
            }
        }
    }

    /// The number an instruction computes, when it is an integer constant.
    pub(super) fn const_of(&self, v: ir::Value) -> Option<i64> {
        // Immediates of narrow types are zero-extended.
        let unused = 64 - self.b.func.dfg.value_type(v).bits().min(64);
        let inst = self.b.func.dfg.value_def(v).inst()?;
        match self.b.func.dfg.insts[inst] {
            ir::InstructionData::UnaryImm { opcode: ir::Opcode::Iconst, imm } => Some((imm.bits() << unused) >> unused),
            _ => None,
        }
    }

    /// A stride as a value.
    pub(super) fn stride_value(&mut self, s: Stride) -> ir::Value {
        match s {
            Stride::Const(c) => self.iconst(types::I64, c),
            Stride::Value(v) => v,
        }
    }

    /// `index * stride * size`, in bytes.
    pub(super) fn scaled(&mut self, index: ir::Value, stride: Stride, size: usize) -> ir::Value {
        let size = size as i64;
        match (stride, self.const_of(index)) {
            (Stride::Const(s), Some(i)) => self.iconst(types::I64, i.wrapping_mul(s).wrapping_mul(size)),
            (Stride::Const(s), None) => self.mul_const(index, s.wrapping_mul(size)),
            (Stride::Value(s), _) => {
                let elements = self.b.ins().imul(index, s);
                self.mul_const(elements, size)
            }
        }
    }

    /// Memory flags of element accesses: bounds are the scheduler's business, alignment is the element's.
    pub(super) fn flags() -> MemFlagsData {
        MemFlagsData::new().with_notrap()
    }

    /// `for i in (begin..end).step_by(step)` with carried values; gives the last ones.
    pub(super) fn counted(
        &mut self,
        begin: ir::Value,
        end: ir::Value,
        step: ir::Value,
        carried: &[ir::Value],
        body: impl FnOnce(&mut Self, ir::Value, &[ir::Value]) -> Result<Vec<ir::Value>, Error>,
    ) -> Result<Vec<ir::Value>, Error> {
        let (head, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(head, types::I64);
        let mut params = Vec::with_capacity(carried.len());
        for c in carried {
            let ty = self.b.func.dfg.value_type(*c);
            params.push(self.b.append_block_param(head, ty));
        }
        self.jump(head, begin, carried);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, end);
        self.b.ins().brif(more, inside, &[], exit, &[]);
        self.b.seal_block(inside);
        self.b.switch_to_block(inside);
        let next = body(self, i, &params)?;
        let after = self.b.ins().iadd(i, step);
        self.jump(head, after, &next);
        self.b.seal_block(head);
        self.b.seal_block(exit);
        self.b.switch_to_block(exit);
        Ok(params)
    }

    fn jump(&mut self, to: ir::Block, first: ir::Value, rest: &[ir::Value]) {
        let args: Vec<BlockArg> = std::iter::once(first).chain(rest.iter().copied()).map(BlockArg::Value).collect();
        self.b.ins().jump(to, &args);
    }

    /// Runs `body(true)` where a condition holds, else `body(false)`; gives what that gave, of the types of `like`.
    pub(super) fn either(
        &mut self,
        cond: ir::Value,
        like: &[ir::Value],
        mut body: impl FnMut(&mut Self, bool) -> Result<Vec<ir::Value>, Error>,
    ) -> Result<Vec<ir::Value>, Error> {
        let (yes, no, merge) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let mut results = Vec::with_capacity(like.len());
        for v in like {
            let ty = self.b.func.dfg.value_type(*v);
            results.push(self.b.append_block_param(merge, ty));
        }
        self.b.ins().brif(cond, yes, &[], no, &[]);
        for (block, which) in [(yes, true), (no, false)] {
            self.b.seal_block(block);
            self.b.switch_to_block(block);
            let out = body(self, which)?;
            let args: Vec<BlockArg> = out.into_iter().map(BlockArg::Value).collect();
            self.b.ins().jump(merge, &args);
        }
        self.b.seal_block(merge);
        self.b.switch_to_block(merge);
        Ok(results)
    }

    /// Runs `yes` where a condition holds and gives its value, else `no`.
    pub(super) fn guarded(
        &mut self,
        cond: ir::Value,
        no: Option<ir::Value>,
        yes: impl FnOnce(&mut Self) -> Result<Option<ir::Value>, Error>,
    ) -> Result<Option<ir::Value>, Error> {
        let (then, merge) = (self.b.create_block(), self.b.create_block());
        let result = no.map(|n| {
            let ty = self.b.func.dfg.value_type(n);
            self.b.append_block_param(merge, ty)
        });
        let no_args: Vec<BlockArg> = no.into_iter().map(BlockArg::Value).collect();
        self.b.ins().brif(cond, then, &[], merge, &no_args);
        self.b.seal_block(then);
        self.b.switch_to_block(then);
        let value = yes(self)?;
        let yes_args: Vec<BlockArg> = value.into_iter().map(BlockArg::Value).collect();
        self.b.ins().jump(merge, &yes_args);
        self.b.seal_block(merge);
        self.b.switch_to_block(merge);
        Ok(result)
    }
}
