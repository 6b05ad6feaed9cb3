//! Arithmetic, comparisons, conversions and folds in Cranelift IR.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::super::ir::{Cmp, Fold, Op, Rounding, SlotId, Ty};
use super::super::unroll::fold_op;
use super::{Lower, plain};

impl Lower<'_, '_> {
    /// An operation whose operands and result have one type; on whole values, or on single lanes.
    pub(super) fn arithmetic(&mut self, op: &Op, ty: Ty, whole: bool, args: &[Value]) -> Value {
        let a = args[0];
        let b = args.get(1).copied().unwrap_or(a);
        let float = ty.is_float();
        match op {
            Op::And | Op::Or | Op::Xor => self.logic(op, a, b),
            Op::Min | Op::Max => self.smaller_or_larger(op, float, whole, a, b),
            Op::Add if float => self.b.ins().fadd(a, b),
            Op::Add => self.b.ins().iadd(a, b),
            Op::Sub if float => self.b.ins().fsub(a, b),
            Op::Sub => self.b.ins().isub(a, b),
            Op::Mul if float => self.b.ins().fmul(a, b),
            Op::Mul => self.b.ins().imul(a, b),
            Op::Div => self.b.ins().fdiv(a, b),
            Op::Fma => self.b.ins().fma(a, b, args[2]),
            Op::Fnma => {
                let minus = self.b.ins().fneg(a);
                self.b.ins().fma(minus, b, args[2])
            }
            Op::Sqrt => self.b.ins().sqrt(a),
            Op::Round(Rounding::Nearest) => self.b.ins().nearest(a),
            Op::Round(Rounding::Down) => self.b.ins().floor(a),
            Op::Round(Rounding::Up) => self.b.ins().ceil(a),
            Op::Round(Rounding::Zero) => self.b.ins().trunc(a),
            Op::Shl(by) => self.b.ins().ishl_imm_u(a, i64::from(*by)),
            Op::ShrU(by) => self.b.ins().ushr_imm_u(a, i64::from(*by)),
            Op::ShrS(by) => self.b.ins().sshr_imm_u(a, i64::from(*by)),
            _ => a,
        }
    }

    fn logic(&mut self, op: &Op, a: Value, b: Value) -> Value {
        let ty = self.b.func.dfg.value_type(a);
        let bits = match ty {
            types::F32 => types::I32,
            types::F64 => types::I64,
            types::F32X4 => types::I32X4,
            types::F64X2 => types::I64X2,
            ints => ints,
        };
        let (a, b) = (self.cast(bits, a), self.cast(bits, b));
        let v = match op {
            Op::And => self.b.ins().band(a, b),
            Op::Or => self.b.ins().bor(a, b),
            _ => self.b.ins().bxor(a, b),
        };
        self.cast(ty, v)
    }

    fn smaller_or_larger(&mut self, op: &Op, float: bool, whole: bool, a: Value, b: Value) -> Value {
        let (x, y) = if *op == Op::Min { (a, b) } else { (b, a) };
        let first = match float {
            true => self.b.ins().fcmp(FloatCC::LessThan, x, y),
            false => self.b.ins().icmp(IntCC::SignedLessThan, x, y),
        };
        self.choose(first, a, b, whole)
    }

    /// `mask ? a : b`.
    pub(super) fn select(&mut self, mask: Value, a: Value, b: Value, _: Ty) -> Value {
        self.choose(mask, a, b, self.vector)
    }

    fn choose(&mut self, mask: Value, a: Value, b: Value, whole: bool) -> Value {
        if !whole {
            return self.b.ins().select(mask, a, b);
        }
        let ty = self.b.func.dfg.value_type(a);
        let mask = self.cast(ty, mask);
        self.b.ins().bitselect(mask, a, b)
    }

    pub(super) fn compare(&mut self, cmp: Cmp, ty: Ty, a: Value, b: Value) -> Value {
        if ty.is_float() {
            let cc = match cmp {
                Cmp::Eq => FloatCC::Equal,
                Cmp::Ne => FloatCC::NotEqual,
                Cmp::Lt | Cmp::LtU => FloatCC::LessThan,
                Cmp::Le => FloatCC::LessThanOrEqual,
                Cmp::Unordered => FloatCC::Unordered,
            };
            return self.b.ins().fcmp(cc, a, b);
        }
        let cc = match cmp {
            Cmp::Eq | Cmp::Unordered => IntCC::Equal,
            Cmp::Ne => IntCC::NotEqual,
            Cmp::Lt => IntCC::SignedLessThan,
            Cmp::Le => IntCC::SignedLessThanOrEqual,
            Cmp::LtU => IntCC::UnsignedLessThan,
        };
        self.b.ins().icmp(cc, a, b)
    }

    pub(super) fn convert(&mut self, from: Ty, to: Ty, a: Value) -> Value {
        match (from, to) {
            (Ty::F32, Ty::I32) if self.vector => self.b.ins().fcvt_to_sint_sat(types::I32X4, a),
            (Ty::I32, Ty::F32) if self.vector => self.b.ins().fcvt_from_sint(types::F32X4, a),
            (_, _) if self.vector && from != to => {
                // 64-bit lanes: not every machine converts vectors of them.
                let mut all = self.int(0, if to.is_float() { Ty::I64 } else { to });
                all = self.cast(self.value_type(to), all);
                for lane in 0..self.lanes() as u8 {
                    let x = self.b.ins().extractlane(a, lane);
                    let y = self.convert_lane(from, to, x);
                    all = self.b.ins().insertlane(all, y, lane);
                }
                all
            }
            (_, _) => self.convert_lane(from, to, a),
        }
    }

    fn convert_lane(&mut self, from: Ty, to: Ty, a: Value) -> Value {
        let ty = self.lane_type(to);
        match (from, to) {
            (Ty::F32, Ty::F64) => self.b.ins().fpromote(ty, a),
            (Ty::F64, Ty::F32) => self.b.ins().fdemote(ty, a),
            (Ty::F32 | Ty::F64, Ty::I32 | Ty::I64) => self.b.ins().fcvt_to_sint_sat(ty, a),
            (Ty::I32 | Ty::I64, Ty::F32 | Ty::F64) => self.b.ins().fcvt_from_sint(ty, a),
            (Ty::I32, Ty::I64) => self.b.ins().sextend(ty, a),
            (Ty::I64, Ty::I32) => self.b.ins().ireduce(ty, a),
            (_, _) => a,
        }
    }

    /// The upper half of the lanes onto the lower half until one is left; written zero-extended.
    pub(super) fn reduce(&mut self, fold: Fold, id: SlotId, ty: Ty, value: Value) {
        let mut lanes: Vec<Value> = if self.vector {
            (0..self.lanes() as u8).map(|lane| self.b.ins().extractlane(value, lane)).collect()
        } else {
            vec![value]
        };
        while lanes.len() > 1 {
            let upper = lanes.split_off(lanes.len() / 2);
            for (a, b) in lanes.iter_mut().zip(upper) {
                *a = self.arithmetic(&fold_op(fold), ty, false, &[*a, b]);
            }
        }
        let bits = match ty {
            Ty::F32 => self.cast(types::I32, lanes[0]),
            Ty::F64 => self.cast(types::I64, lanes[0]),
            Ty::I32 | Ty::I64 => lanes[0],
            Ty::Mask => self.b.ins().band_imm_u(lanes[0], 1),
        };
        let narrow = self.b.func.dfg.value_type(bits) != types::I64;
        let word = if narrow { self.b.ins().uextend(types::I64, bits) } else { bits };
        self.b.ins().store(plain(), word, self.slots, 8 * id.0 as i32);
    }
}
