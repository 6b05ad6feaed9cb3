//! AVX2: masks as whole lanes, masked memory accesses, conversions.
//!
//! A mask is a 256-bit vector with lanes of the widest type of the program, all ones or all zeros.
//! Masked accesses of elements of 4 and 8 bytes are instructions; those of narrower ones go through the
//! frame, lane by lane, and so do conversions between `i64` and floats.

use helion_ir::DType;
use iced_x86::{Code, MemoryOperand, Register};

use super::super::ir::{Cmp, Op, Ty};
use super::super::unroll::Staged;
use super::Emitter;
use super::asm::{Rm, mem, vector};
use super::avx512::{conversion, extend, extend_word, float_predicate};
use super::codes::{self, Width};

/// Whether a program moves lanes through the frame.
pub(super) fn uses_staging(staged: &Staged) -> bool {
    staged.sections().flat_map(|(_, s)| &s.insts).any(|inst| match inst.op {
        Op::LoadMasked(_, d) | Op::StoreMasked(_, d) => d.size() < 4,
        Op::Convert(to) => to == Ty::I64 || inst.args.iter().any(|&a| staged.ty(a) == Ty::I64),
        _ => false,
    })
}

impl Emitter<'_> {
    fn code2(&self, codes: &codes::Codes, width: Width) -> Code {
        codes.at(width, false)
    }
    fn stage(&self, number: i64) -> MemoryOperand {
        mem(Register::RSP, self.staging + number * self.slot_bytes)
    }
    /// The same operand with the lane number of `rdx` added.
    fn lane(m: MemoryOperand, size: usize) -> MemoryOperand {
        MemoryOperand { index: Register::RDX, scale: size as u32, ..m }
    }

    pub(super) fn tail2(&mut self, to: u8) {
        let (x, y) = (vector(to, Width::X), vector(to, Width::Y));
        let size = self.mask_lane();
        let iota = self.iota(size);
        if size == 8 {
            self.asm.op2(Code::VEX_Vmovq_xmm_rm64, x, Register::RSI);
            self.asm.op2(self.code2(&codes::PBROADCASTQ, Width::Y), y, x);
            self.asm.op3(self.code2(&codes::PCMPGTQ, Width::Y), y, y, iota);
        } else {
            self.asm.op2(Code::VEX_Vmovd_xmm_rm32, x, Register::ESI);
            self.asm.op2(self.code2(&codes::PBROADCASTD, Width::Y), y, x);
            self.asm.op3(self.code2(&codes::PCMPGTD, Width::Y), y, y, iota);
        }
    }

    pub(super) fn splat2(&mut self, to: u8, m: MemoryOperand, dtype: DType) {
        let (x, w4) = (vector(to, Width::X), self.width(Ty::F32));
        let spread = self.code2(&codes::PBROADCASTD, w4);
        match dtype {
            DType::F32 | DType::I32 | DType::U32 => return self.asm.op2(spread, vector(to, w4), m),
            DType::F64 | DType::I64 | DType::U64 => {
                return self.asm.op2(self.code2(&codes::PBROADCASTQ, Width::Y), vector(to, Width::Y), m);
            }
            DType::F16 | DType::BF16 => self.asm.op2(Code::Movzx_r32_rm16, Register::EAX, m),
            DType::I8 | DType::U8 | DType::I16 | DType::U16 => self.asm.op2(extend_word(dtype), Register::EAX, m),
            DType::Bool => {
                self.word_of_bool(m);
                self.asm.op2(Code::VEX_Vmovd_xmm_rm32, x, Register::EAX);
                return self.asm.op2(self.code2(&codes::PBROADCASTD, Width::Y), vector(to, Width::Y), x);
            }
            DType::F8E4M3 | DType::F8E5M2 => return self.asm.fail(format!("loads of {dtype}")),
        }
        if dtype == DType::BF16 {
            self.asm.imm(Code::Shl_rm32_imm8, Register::EAX, 16);
        }
        self.asm.op2(Code::VEX_Vmovd_xmm_rm32, x, Register::EAX);
        if dtype == DType::F16 {
            self.asm.op2(self.code2(&codes::CVTPH2PS, Width::X), x, x);
        }
        self.asm.op2(spread, vector(to, w4), x);
    }

    pub(super) fn load2(&mut self, to: u8, m: MemoryOperand, dtype: DType, temps: &[u8]) {
        let w4 = self.width(Ty::F32);
        let dst = vector(to, w4);
        match dtype {
            DType::F32 => self.asm.op2(self.code2(&codes::LOADUPS, w4), dst, m),
            DType::I32 | DType::U32 => self.asm.op2(self.code2(&codes::LOADDQU32, w4), dst, m),
            DType::F64 => self.asm.op2(self.code2(&codes::LOADUPD, Width::Y), vector(to, Width::Y), m),
            DType::I64 | DType::U64 => {
                self.asm.op2(self.code2(&codes::LOADDQU64, Width::Y), vector(to, Width::Y), m);
            }
            DType::F16 | DType::I8 | DType::U8 | DType::I16 | DType::U16 => {
                self.asm.op2(self.code2(extend(dtype), w4), dst, m);
            }
            DType::BF16 => {
                self.asm.op2(self.code2(extend(dtype), w4), dst, m);
                self.asm.op2i(self.code2(&codes::PSLLD, w4), dst, dst, 16);
            }
            DType::Bool => {
                let (t, y) = (vector(temps[0], Width::Y), vector(to, Width::Y));
                let long = self.mask_lane() == 8;
                let extend = if long { &codes::PMOVZXBQ } else { &codes::PMOVZXBD };
                let greater = if long { &codes::PCMPGTQ } else { &codes::PCMPGTD };
                self.asm.op2(self.code2(extend, Width::Y), y, m);
                self.asm.op3(self.code2(&codes::PXORD, Width::Y), t, t, t);
                self.asm.op3(self.code2(greater, Width::Y), y, y, t);
            }
            DType::F8E4M3 | DType::F8E5M2 => self.asm.fail(format!("loads of {dtype}")),
        }
    }

    /// The mask for values of a type with narrower lanes, in the scratch register.
    fn fit_mask(&mut self, mask: Register, ty: Ty, temp: u8) -> Register {
        if ty == Ty::Mask || ty.bytes() == self.mask_lane() {
            return mask;
        }
        let (x, low) = (vector(temp, Width::X), Register::XMM0 + (mask as u32 - Register::YMM0 as u32));
        self.asm.store_i(Code::VEX_Vextracti128_xmmm128_ymm_imm8, x, mask, 1);
        self.asm.op3i(self.code2(&codes::SHUFPS, Width::X), x, low, x, 0x88);
        x
    }

    /// One bit per lane of a mask in `eax`.
    pub(super) fn mask_bits(&mut self, mask: Register) {
        let code = if self.mask_lane() == 8 { Code::VEX_Vmovmskpd_r32_ymm } else { Code::VEX_Vmovmskps_r32_ymm };
        self.asm.op2(code, Register::EAX, mask);
    }

    /// Copies the elements of the lanes of a mask, one by one.
    fn copy_lanes(&mut self, mask: Register, size: usize, from: MemoryOperand, to: MemoryOperand) {
        let (again, done) = (self.asm.label(), self.asm.label());
        self.mask_bits(mask);
        self.asm.op2(Code::Test_rm32_r32, Register::EAX, Register::EAX);
        self.asm.jump(Code::Je_rel32_64, done);
        self.asm.bind(again);
        self.asm.op2(Code::Tzcnt_r32_rm32, Register::EDX, Register::EAX);
        if size == 1 {
            self.asm.op2(Code::Movzx_r32_rm8, Register::R10D, Self::lane(from, size));
            self.asm.store(Code::Mov_rm8_r8, Self::lane(to, size), Register::R10L);
        } else {
            self.asm.op2(Code::Movzx_r32_rm16, Register::R10D, Self::lane(from, size));
            self.asm.store(Code::Mov_rm16_r16, Self::lane(to, size), Register::R10W);
        }
        self.asm.op2(Code::VEX_Blsr_r32_rm32, Register::EAX, Register::EAX);
        self.asm.jump(Code::Jne_rel32_64, again);
        self.asm.bind(done);
    }

    pub(super) fn load_masked2(&mut self, to: u8, m: MemoryOperand, dtype: DType, mask: Register, temps: &[u8]) {
        let ty = Ty::of_memory(dtype).unwrap_or(Ty::F32);
        if dtype.size() >= 4 {
            let mask = self.fit_mask(mask, ty, temps[0]);
            let codes = if dtype.size() == 8 { &codes::MASKLOADPD } else { &codes::MASKLOADPS };
            let width = self.width(ty);
            return self.asm.op3(self.code2(codes, width), vector(to, width), mask, m);
        }
        // The address may be indexed, so it is made plain before lanes are added.
        self.asm.op2(Code::Lea_r64_m, Register::R11, m);
        self.zero(to, Width::Y);
        self.asm.store(self.code2(&codes::STOREAPS, Width::Y), self.stage(0), vector(to, Width::Y));
        self.copy_lanes(mask, dtype.size(), mem(Register::R11, 0), self.stage(0));
        self.cached = None;
        self.load2(to, self.stage(0), dtype, temps);
    }

    pub(super) fn splat_masked2(&mut self, to: u8, m: MemoryOperand, dtype: DType, mask: Register, temps: &[u8]) {
        let ty = Ty::of_memory(dtype).unwrap_or(Ty::F32);
        let (done, width) = (self.asm.label(), self.width(ty));
        self.zero(to, Width::Y);
        self.asm.op2(Code::VEX_Vptest_ymm_ymmm256, mask, mask);
        self.asm.jump(Code::Je_rel32_64, done);
        self.splat2(to, m, dtype);
        let mask = self.fit_mask(mask, ty, temps[0]);
        let dst = vector(to, width);
        self.asm.op3(self.code2(&codes::PANDD, width), dst, dst, mask);
        self.asm.bind(done);
    }

    /// What is stored of narrow elements, in the low bytes of the first scratch register.
    fn pack2(&mut self, dtype: DType, v: Register, temps: &[u8]) -> Register {
        let (w, t) = (self.width(Ty::F32), vector(temps[0], self.width(Ty::F32)));
        let (x, y) = (vector(temps[0], Width::X), vector(temps[0], Width::Y));
        let words = self.code2(&codes::PACKUSDW, w);
        match dtype {
            DType::Bool => {
                let low = Register::XMM0 + (v as u32 - Register::YMM0 as u32);
                self.asm.store_i(Code::VEX_Vextracti128_xmmm128_ymm_imm8, x, v, 1);
                if self.mask_lane() == 8 {
                    self.asm.op3i(self.code2(&codes::SHUFPS, Width::X), x, low, x, 0x88);
                    self.asm.op3(self.code2(&codes::PACKSSDW, Width::X), x, x, x);
                } else {
                    self.asm.op3(self.code2(&codes::PACKSSDW, Width::X), x, low, x);
                }
                self.asm.op3(self.code2(&codes::PACKSSWB, Width::X), x, x, x);
                self.asm.op2(self.code2(&codes::PABSB, Width::X), x, x);
                return x;
            }
            DType::BF16 => {
                let rounded = self.round_bf16_2(v, temps);
                self.asm.op3(words, t, rounded, rounded);
            }
            DType::I8 | DType::U8 | DType::I16 | DType::U16 => {
                let keep = if dtype.size() == 1 { 0xff } else { 0xffff };
                let keep = self.pooled(keep, Ty::I32);
                self.asm.op3(self.code2(&codes::PANDD, w), t, v, keep);
                self.asm.op3(words, t, t, t);
            }
            DType::F16 | DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => {}
            DType::F8E4M3 | DType::F8E5M2 => self.asm.fail(format!("stores of {dtype}")),
        }
        if w == Width::Y {
            self.asm.op2i(Code::VEX_Vpermq_ymm_ymmm256_imm8, y, y, 0b1000);
        }
        if dtype.size() == 1 {
            self.asm.op3(self.code2(&codes::PACKUSWB, Width::X), x, x, x);
        }
        x
    }

    /// As for AVX-512; the result has 16 bits per 32-bit lane.
    fn round_bf16_2(&mut self, v: Register, temps: &[u8]) -> Register {
        let w = self.width(Ty::F32);
        let [t, u, nan] = [0, 1, 2].map(|at| vector(temps[at], w));
        let [one, most, quiet] = [1, 0x7fff, 0x0040_0000].map(|bits| self.pooled(bits, Ty::I32));
        self.asm.op3i(self.code2(&codes::CMPPS_V, w), nan, v, v, 3);
        self.asm.op2i(self.code2(&codes::PSRLD, w), t, v, 16);
        self.asm.op3(self.code2(&codes::PANDD, w), t, t, one);
        self.asm.op3(self.code2(&codes::PADDD, w), t, t, most);
        self.asm.op3(self.code2(&codes::PADDD, w), t, t, v);
        self.asm.op3(self.code2(&codes::PORD, w), u, v, quiet);
        self.asm.op4(self.code2(&codes::BLENDVPS, w), t, t, u, nan);
        self.asm.op2i(self.code2(&codes::PSRLD, w), t, t, 16);
        t
    }

    pub(super) fn store2(&mut self, m: MemoryOperand, dtype: DType, v: Register, around: bool, temps: &[u8]) {
        let w4 = self.width(Ty::F32);
        match dtype {
            DType::F32 => return self.asm.store(self.code2(&codes::STOREUPS, w4), m, v),
            DType::I32 | DType::U32 => return self.asm.store(self.code2(&codes::STOREDQU32, w4), m, v),
            DType::F64 => return self.asm.store(self.code2(&codes::STOREUPD, Width::Y), m, v),
            DType::I64 | DType::U64 => return self.asm.store(self.code2(&codes::STOREDQU64, Width::Y), m, v),
            DType::F16 if !around => return self.asm.store_i(self.code2(&codes::CVTPS2PH, w4), m, v, 0),
            DType::F16 | DType::BF16 | DType::Bool | DType::I8 | DType::U8 | DType::I16 | DType::U16 => {}
            DType::F8E4M3 | DType::F8E5M2 => return self.asm.fail(format!("stores of {dtype}")),
        }
        let x = if dtype == DType::F16 {
            let x = vector(temps[0], Width::X);
            self.asm.store_i(self.code2(&codes::CVTPS2PH, w4), x, v, 0);
            x
        } else {
            self.pack2(dtype, v, temps)
        };
        match self.lanes() * dtype.size() {
            16 if around => self.asm.store(self.code2(&codes::STREAM, Width::X), m, x),
            16 => self.asm.store(self.code2(&codes::STOREDQU8, Width::X), m, x),
            8 => self.asm.store(Code::VEX_Vmovq_xmmm64_xmm, m, x),
            4 => self.asm.store(Code::VEX_Vmovd_rm32_xmm, m, x),
            other => self.asm.fail(format!("a store of {other} bytes")),
        }
    }

    pub(super) fn store_masked2(&mut self, m: MemoryOperand, dtype: DType, v: Register, mask: Register, temps: &[u8]) {
        let ty = Ty::of_memory(dtype).unwrap_or(Ty::F32);
        if dtype.size() >= 4 {
            let mask = self.fit_mask(mask, ty, temps[0]);
            let codes = if dtype.size() == 8 { &codes::MASKSTOREPD } else { &codes::MASKSTOREPS };
            let code = self.code2(codes, self.width(ty));
            return self.asm.store_masked(code, m, mask, v);
        }
        self.asm.op2(Code::Lea_r64_m, Register::R11, m);
        self.store2(self.stage(0), dtype, v, false, temps);
        self.copy_lanes(mask, dtype.size(), self.stage(0), mem(Register::R11, 0));
        self.cached = None;
    }

    pub(super) fn compare2(&mut self, cmp: Cmp, ty: Ty, dst: Register, a: Register, b: Rm, temps: &[u8]) {
        let width = self.width(ty);
        let number = (dst as u32 - Register::YMM0 as u32) as u8;
        let part = vector(number, width);
        let long = ty.bytes() == 8;
        if ty.is_float() {
            let codes = if long { &codes::CMPPD_V } else { &codes::CMPPS_V };
            self.asm.op3i(self.code2(codes, width), part, a, b, float_predicate(cmp));
        } else if let Rm::Reg(b) = b {
            self.compare_integers(cmp, long, part, a, b, temps);
        }
        if !long && self.mask_lane() == 8 {
            self.asm.op2(self.code2(&codes::PMOVSXDQ, Width::Y), dst, part);
        }
    }

    fn compare_integers(&mut self, cmp: Cmp, long: bool, dst: Register, a: Register, b: Register, temps: &[u8]) {
        let (ty, equal, greater) = if long {
            (Ty::I64, &codes::PCMPEQQ, &codes::PCMPGTQ)
        } else {
            (Ty::I32, &codes::PCMPEQD, &codes::PCMPGTD)
        };
        let width = self.width(ty);
        let (equal, greater) = (self.code2(equal, width), self.code2(greater, width));
        let xor = self.code2(&codes::PXORD, width);
        match cmp {
            Cmp::Eq | Cmp::Ne => self.asm.op3(equal, dst, a, b),
            Cmp::Lt | Cmp::Unordered => self.asm.op3(greater, dst, b, a),
            Cmp::Le => self.asm.op3(greater, dst, a, b),
            Cmp::LtU => {
                // Flipping the top bits turns unsigned order into signed order.
                let top = self.pooled(if long { 1 << 63 } else { 1 << 31 }, ty);
                let (t, u) = (vector(temps[0], width), vector(temps[1], width));
                self.asm.op3(xor, t, a, top);
                self.asm.op3(xor, u, b, top);
                self.asm.op3(greater, dst, u, t);
            }
        }
        if matches!(cmp, Cmp::Ne | Cmp::Le) {
            let ones = self.pooled(u64::MAX, ty);
            self.asm.op3(xor, dst, dst, ones);
        }
    }

    pub(super) fn select2(&mut self, ty: Ty, to: u8, mask: Register, a: Rm, b: Register, temps: &[u8]) {
        let temp = temps.first().copied().unwrap_or(0);
        let mask = self.fit_mask(mask, ty, temp);
        let codes = if ty.bytes() == 8 { &codes::BLENDVPD } else { &codes::BLENDVPS };
        let width = self.width(ty);
        self.asm.op4(self.code2(codes, width), vector(to, width), b, a, mask);
    }

    pub(super) fn convert2(&mut self, from: Ty, into: Ty, to: u8, a: Rm, temps: &[u8]) {
        let width = self.width(from).max(self.width(into));
        let dst = vector(to, self.width(into));
        match (from, into, a) {
            (Ty::I64, Ty::I32, Rm::Reg(a)) => {
                let fitted = self.fit_mask(a, Ty::I32, temps[0]);
                self.asm.op2(self.code2(&codes::MOVAPS, self.width(into)), dst, fitted);
            }
            (Ty::I64, Ty::F32 | Ty::F64, Rm::Reg(a)) | (Ty::F32 | Ty::F64, Ty::I64, Rm::Reg(a)) => {
                self.convert_lanes(from, into, to, a, temps);
            }
            (_, _, a) => match conversion(from, into) {
                Some(codes) => self.asm.op2(self.code2(codes, width), dst, a),
                None => self.asm.fail(format!("converting {from} to {into}")),
            },
        }
    }

    /// Conversions between `i64` and floats, lane by lane.
    fn convert_lanes(&mut self, from: Ty, into: Ty, to: u8, a: Register, temps: &[u8]) {
        let x = vector(temps[0], Width::X);
        self.asm.store(self.code2(&codes::STOREUPS, self.width(from)), self.stage(0), a);
        let lane = |m: MemoryOperand, number: usize, size: usize| mem(m.base, m.displacement + (number * size) as i64);
        for number in 0..self.lanes() {
            let source = lane(self.stage(0), number, from.bytes());
            let target = lane(self.stage(1), number, into.bytes());
            match (from, into) {
                (Ty::F32, _) => self.asm.op2(Code::VEX_Vcvttss2si_r64_xmmm32, Register::RAX, source),
                (Ty::F64, _) => self.asm.op2(Code::VEX_Vcvttsd2si_r64_xmmm64, Register::RAX, source),
                (_, Ty::F32) => self.asm.op3(Code::VEX_Vcvtsi2ss_xmm_xmm_rm64, x, x, source),
                (_, _) => self.asm.op3(Code::VEX_Vcvtsi2sd_xmm_xmm_rm64, x, x, source),
            }
            match into {
                Ty::F32 => self.asm.store(Code::VEX_Vmovss_m32_xmm, target, x),
                Ty::F64 => self.asm.store(Code::VEX_Vmovsd_m64_xmm, target, x),
                Ty::I32 | Ty::I64 | Ty::Mask => self.asm.store(Code::Mov_rm64_r64, target, Register::RAX),
            }
        }
        let width = self.width(into);
        self.asm.op2(self.code2(&codes::LOADUPS, width), vector(to, width), self.stage(1));
    }
}
