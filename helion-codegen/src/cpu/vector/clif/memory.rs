//! Loads and stores in Cranelift IR: whole vectors where the element type allows, else lane by lane;
//! the lanes of a mask behind a branch each. The 16-bit floats are converted with integer operations.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use helion_ir::DType;

use super::super::ir::{Addr, Cmp, Op, Ty};
use super::{Lower, plain};

impl Lower<'_, '_> {
    pub(super) fn load(&mut self, addr: &Addr, dtype: DType, mask: Option<Value>) -> Value {
        let ty = Ty::of_memory(dtype).unwrap_or(Ty::F32);
        let (base, offset) = self.address(addr, dtype);
        let whole = dtype.size() >= 4;
        if whole && !addr.is_splat() && mask.is_none() {
            let to = self.value_type(ty);
            return self.b.ins().load(to, plain(), base, offset);
        }
        let raw = match mask {
            None => self.gather(base, offset, dtype, addr.is_splat()),
            Some(mask) => self.gather_masked(base, offset, dtype, addr.is_splat(), mask),
        };
        self.widen(dtype, ty, raw)
    }

    /// The integer type of lanes that elements are loaded into.
    fn raw_type(&self, dtype: DType) -> Type {
        match Ty::of_memory(dtype) {
            Some(Ty::F64 | Ty::I64) => types::I64,
            Some(Ty::Mask) if self.vector && self.wide => types::I64,
            Some(Ty::F32 | Ty::I32 | Ty::Mask) | None => types::I32,
        }
    }

    fn raw_vector(&self, dtype: DType) -> Type {
        let lane = self.raw_type(dtype);
        match (self.vector, lane) {
            (false, lane) => lane,
            (true, types::I64) => types::I64X2,
            (true, _) => types::I32X4,
        }
    }

    fn element(&mut self, base: Value, offset: i32, dtype: DType) -> Value {
        let to = self.raw_type(dtype);
        match dtype {
            DType::I8 => self.b.ins().sload8(to, plain(), base, offset),
            DType::U8 | DType::Bool => self.b.ins().uload8(to, plain(), base, offset),
            DType::I16 => self.b.ins().sload16(to, plain(), base, offset),
            DType::U16 | DType::F16 | DType::BF16 => self.b.ins().uload16(to, plain(), base, offset),
            DType::I32 | DType::U32 | DType::F32 => self.b.ins().load(to, plain(), base, offset),
            DType::I64 | DType::U64 | DType::F64 => self.b.ins().load(to, plain(), base, offset),
            DType::F8E4M3 | DType::F8E5M2 => self.b.ins().uload8(to, plain(), base, offset),
        }
    }

    fn gather(&mut self, base: Value, offset: i32, dtype: DType, splat: bool) -> Value {
        let first = self.element(base, offset, dtype);
        if !self.vector {
            return first;
        }
        let ty = self.raw_vector(dtype);
        let mut all = self.b.ins().splat(ty, first);
        if !splat {
            for lane in 1..self.lanes() {
                let x = self.element(base, offset + (lane * dtype.size()) as i32, dtype);
                all = self.b.ins().insertlane(all, x, lane as u8);
            }
        }
        all
    }

    fn gather_masked(&mut self, base: Value, offset: i32, dtype: DType, splat: bool, mask: Value) -> Value {
        let ty = self.raw_vector(dtype);
        let lane = self.raw_type(dtype);
        let zero = self.b.ins().iconst(lane, 0);
        let mut all = if self.vector { self.b.ins().splat(ty, zero) } else { zero };
        for lane in 0..self.lanes() {
            let (then, done) = (self.b.create_block(), self.b.create_block());
            self.b.append_block_param(done, ty);
            let set = self.lane_of_mask(mask, lane);
            self.b.ins().brif(set, then, &[], done, &[all.into()]);
            self.b.switch_to_block(then);
            self.b.seal_block(then);
            let at = if splat { offset } else { offset + (lane * dtype.size()) as i32 };
            let x = self.element(base, at, dtype);
            let with = if self.vector { self.b.ins().insertlane(all, x, lane as u8) } else { x };
            self.b.ins().jump(done, &[with.into()]);
            self.b.switch_to_block(done);
            self.b.seal_block(done);
            all = self.b.block_params(done)[0];
        }
        all
    }

    fn lane_of_mask(&mut self, mask: Value, lane: usize) -> Value {
        if self.vector { self.b.ins().extractlane(mask, lane as u8) } else { mask }
    }

    /// What lanes hold after a load of these bits.
    fn widen(&mut self, dtype: DType, ty: Ty, raw: Value) -> Value {
        match dtype {
            DType::Bool if self.vector => {
                let zero = self.int(0, Ty::Mask);
                self.b.ins().icmp(IntCC::NotEqual, raw, zero)
            }
            DType::Bool => self.b.ins().icmp_imm_u(IntCC::NotEqual, raw, 0),
            DType::BF16 => {
                let bits = self.b.ins().ishl_imm_u(raw, 16);
                self.cast(self.value_type(ty), bits)
            }
            DType::F16 => self.from_half(raw),
            DType::F32 | DType::F64 => self.cast(self.value_type(ty), raw),
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => raw,
            DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::F8E4M3 | DType::F8E5M2 => raw,
        }
    }

    fn and(&mut self, a: Value, mask: i64) -> Value {
        let mask = self.int(mask, Ty::I32);
        self.b.ins().band(a, mask)
    }
    fn add(&mut self, a: Value, by: i64) -> Value {
        let by = self.int(by, Ty::I32);
        self.b.ins().iadd(a, by)
    }
    fn less_unsigned(&mut self, a: Value, than: i64) -> Value {
        let than = self.int(than, Ty::I32);
        self.compare(Cmp::LtU, Ty::I32, a, than)
    }

    fn from_half(&mut self, raw: Value) -> Value {
        let float = self.value_type(Ty::F32);
        let magnitude = self.and(raw, 0x7fff);
        let shifted = self.b.ins().ishl_imm_u(magnitude, 13);
        // Scaling by 2^112 moves the exponent, also of subnormal numbers.
        let small = self.cast(float, shifted);
        let scale = self.int(0x7780_0000, Ty::I32);
        let scale = self.cast(float, scale);
        let scaled = self.b.ins().fmul(small, scale);
        let scaled = self.cast(self.value_type(Ty::I32), scaled);
        let finite = self.less_unsigned(magnitude, 0x7c00);
        let top = self.int(0x7f80_0000, Ty::I32);
        let special = self.b.ins().bor(shifted, top);
        let bits = self.select(finite, scaled, special, Ty::I32);
        let sign = self.and(raw, 0x8000);
        let sign = self.b.ins().ishl_imm_u(sign, 16);
        let bits = self.b.ins().bor(bits, sign);
        self.cast(float, bits)
    }

    fn to_half(&mut self, bits: Value) -> Value {
        let float = self.value_type(Ty::F32);
        let sign = self.b.ins().ushr_imm_u(bits, 16);
        let sign = self.and(sign, 0x8000);
        let x = self.and(bits, 0x7fff_ffff);
        // Adding 1/2 leaves the bits of a subnormal result, rounded by the addition.
        let half = self.int(0x3f00_0000, Ty::I32);
        let (xf, hf) = (self.cast(float, x), self.cast(float, half));
        let sum = self.b.ins().fadd(xf, hf);
        let sum = self.cast(self.value_type(Ty::I32), sum);
        let subnormal = self.b.ins().isub(sum, half);
        // Normal: move the exponent, round to even, drop 13 bits.
        let odd = self.b.ins().ushr_imm_u(x, 13);
        let odd = self.and(odd, 1);
        let moved = self.add(x, 0xc800_0fff);
        let moved = self.b.ins().iadd(moved, odd);
        let normal = self.b.ins().ushr_imm_u(moved, 13);
        let payload = self.b.ins().ushr_imm_u(x, 13);
        let payload = self.and(payload, 0x3ff);
        let quiet = self.int(0x7e00, Ty::I32);
        let nan = self.b.ins().bor(payload, quiet);
        let infinity = self.int(0x7c00, Ty::I32);
        let is_number = self.less_unsigned(x, 0x7f80_0001);
        let fits = self.less_unsigned(x, 0x4780_0000);
        let small = self.less_unsigned(x, 0x3880_0000);
        let large = self.select(is_number, infinity, nan, Ty::I32);
        let v = self.select(fits, normal, large, Ty::I32);
        let v = self.select(small, subnormal, v, Ty::I32);
        self.b.ins().bor(v, sign)
    }

    fn to_brain(&mut self, bits: Value) -> Value {
        let odd = self.b.ins().ushr_imm_u(bits, 16);
        let odd = self.and(odd, 1);
        let rounded = self.add(bits, 0x7fff);
        let rounded = self.b.ins().iadd(rounded, odd);
        let quiet = self.int(0x0040_0000, Ty::I32);
        let nan = self.b.ins().bor(bits, quiet);
        let x = self.and(bits, 0x7fff_ffff);
        let is_number = self.less_unsigned(x, 0x7f80_0001);
        let v = self.select(is_number, rounded, nan, Ty::I32);
        self.b.ins().ushr_imm_u(v, 16)
    }

    /// The bits to store, in integer lanes.
    fn narrow(&mut self, dtype: DType, v: Value) -> Value {
        match dtype {
            DType::F16 | DType::BF16 => {
                let bits = self.cast(self.value_type(Ty::I32), v);
                if dtype == DType::F16 { self.to_half(bits) } else { self.to_brain(bits) }
            }
            DType::Bool => {
                let one = self.int(1, Ty::Mask);
                self.arithmetic(&Op::And, Ty::Mask, self.vector, &[v, one])
            }
            DType::F32 | DType::F64 => self.cast(self.raw_vector(dtype), v),
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => v,
            DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::F8E4M3 | DType::F8E5M2 => v,
        }
    }

    pub(super) fn store(&mut self, addr: &Addr, dtype: DType, v: Value, mask: Option<Value>) {
        let (base, offset) = self.address(addr, dtype);
        if dtype.size() >= 4 && mask.is_none() {
            self.b.ins().store(plain(), v, base, offset);
            return;
        }
        let raw = self.narrow(dtype, v);
        for lane in 0..self.lanes() {
            let at = offset + (lane * dtype.size()) as i32;
            let done = mask.map(|mask| {
                let (then, done) = (self.b.create_block(), self.b.create_block());
                let set = self.lane_of_mask(mask, lane);
                self.b.ins().brif(set, then, &[], done, &[]);
                self.b.switch_to_block(then);
                self.b.seal_block(then);
                done
            });
            let x = if self.vector { self.b.ins().extractlane(raw, lane as u8) } else { raw };
            let byte = self.b.func.dfg.value_type(x) == types::I8;
            match dtype.size() {
                1 if !byte => self.b.ins().istore8(plain(), x, base, at),
                2 => self.b.ins().istore16(plain(), x, base, at),
                _ => self.b.ins().store(plain(), x, base, at),
            };
            if let Some(done) = done {
                self.b.ins().jump(done, &[]);
                self.b.switch_to_block(done);
                self.b.seal_block(done);
            }
        }
    }
}
