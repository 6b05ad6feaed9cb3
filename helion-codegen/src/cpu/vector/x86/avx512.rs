//! AVX-512: mask registers, masked memory accesses, conversions.
//!
//! Bits of a mask register past the last lane are always zero, so masked accesses never touch memory
//! past the vector.

use helion_ir::DType;
use iced_x86::{Code, MemoryOperand, Register};

use super::super::ir::{Cmp, Op, Ty};
use super::Emitter;
use super::asm::{Rm, vector};
use super::codes::{self, Codes, Width};

impl Emitter<'_> {
    /// The width of the lanes of a narrower element type.
    fn packed(&self, bytes: usize) -> Width {
        Width::of(self.lanes() * bytes)
    }

    pub(super) fn mask_logic(&mut self, op: &Op, dst: Register, a: Register, b: Register) {
        let code = match (op, self.lanes() > 8) {
            (Op::And, true) => Code::VEX_Kandw_kr_kr_kr,
            (Op::And, false) => Code::VEX_Kandb_kr_kr_kr,
            (Op::Or, true) => Code::VEX_Korw_kr_kr_kr,
            (Op::Or, false) => Code::VEX_Korb_kr_kr_kr,
            (_, true) => Code::VEX_Kxorw_kr_kr_kr,
            (_, false) => Code::VEX_Kxorb_kr_kr_kr,
        };
        self.asm.op3(code, dst, a, b);
    }

    /// A mask register from the low bits of `eax`.
    fn mask_from_eax(&mut self, dst: Register) {
        let code = if self.lanes() > 8 { Code::VEX_Kmovw_kr_r32 } else { Code::VEX_Kmovb_kr_r32 };
        self.asm.op2(code, dst, Register::EAX);
    }

    pub(super) fn index(&mut self, to: u8, ty: Ty) {
        let width = self.width(ty);
        let dst = vector(to, width);
        let (long, wide) = (ty == Ty::I64, self.target.wide);
        let (add, spread) =
            if long { (&codes::PADDQ, &codes::PBROADCASTQ) } else { (&codes::PADDD, &codes::PBROADCASTD) };
        let add = self.asm.code(add, width);
        let from = if long { Register::RCX } else { Register::ECX };
        if wide {
            let spread = if long { &codes::PBROADCASTQ_R } else { &codes::PBROADCASTD_R };
            let code = self.asm.code(spread, width);
            self.asm.op2(code, dst, from);
        } else {
            let (low, spread) = (vector(to, Width::X), self.asm.code(spread, width));
            let code = if long { Code::VEX_Vmovq_xmm_rm64 } else { Code::VEX_Vmovd_xmm_rm32 };
            self.asm.op2(code, low, from);
            self.asm.op2(spread, dst, low);
        }
        let iota = self.iota(ty.bytes());
        self.asm.op3(add, dst, dst, iota);
    }

    /// The mask of the lanes below `rsi`, which is less than their number.
    pub(super) fn tail(&mut self, to: u8) {
        if !self.target.wide {
            return self.tail2(to);
        }
        self.asm.imm(Code::Mov_r32_imm32, Register::EAX, -1);
        self.asm.op3(Code::VEX_Bzhi_r32_rm32_r32, Register::EAX, Register::EAX, Register::ESI);
        // The count is the last operand of `bzhi`, the value the middle one.
        let dst = self.register(to, Ty::Mask);
        self.mask_from_eax(dst);
    }

    pub(super) fn splat512(&mut self, to: u8, m: MemoryOperand, dtype: DType) {
        let (x, z32) = (vector(to, Width::X), vector(to, self.width(Ty::F32)));
        let spread = codes::PBROADCASTD.at(self.width(Ty::F32), true);
        let spread_word = codes::PBROADCASTD_R.at(self.width(Ty::F32), true);
        match dtype {
            DType::F32 | DType::I32 | DType::U32 => self.asm.op2(spread, z32, m),
            DType::F64 | DType::I64 | DType::U64 => {
                let width = self.width(Ty::F64);
                let code = self.asm.code(&codes::PBROADCASTQ, width);
                self.asm.op2(code, vector(to, width), m);
            }
            DType::F16 => {
                self.asm.op2(Code::Movzx_r32_rm16, Register::EAX, m);
                self.asm.op2(Code::EVEX_Vmovd_xmm_rm32, x, Register::EAX);
                self.asm.op2(codes::CVTPH2PS.at(Width::X, true), x, x);
                self.asm.op2(spread, z32, x);
            }
            DType::BF16 => {
                self.asm.op2(Code::Movzx_r32_rm16, Register::EAX, m);
                self.asm.imm(Code::Shl_rm32_imm8, Register::EAX, 16);
                self.asm.op2(spread_word, z32, Register::EAX);
            }
            DType::I8 | DType::U8 | DType::I16 | DType::U16 => {
                self.asm.op2(extend_word(dtype), Register::EAX, m);
                self.asm.op2(spread_word, z32, Register::EAX);
            }
            DType::Bool => {
                self.word_of_bool(m);
                let dst = self.register(to, Ty::Mask);
                self.mask_from_eax(dst);
            }
            DType::F8E4M3 | DType::F8E5M2 => self.asm.fail(format!("loads of {dtype}")),
        }
    }

    /// `eax` all ones if the byte is not zero, else zero.
    pub(super) fn word_of_bool(&mut self, m: MemoryOperand) {
        self.asm.op2(Code::Movzx_r32_rm8, Register::EAX, m);
        self.asm.op1(Code::Neg_rm32, Register::EAX);
        self.asm.op2(Code::Sbb_r32_rm32, Register::EAX, Register::EAX);
    }

    /// A repeated element in the lanes of a mask; memory is not touched when there are none.
    pub(super) fn splat_masked512(&mut self, to: u8, m: MemoryOperand, dtype: DType, mask: Register) {
        let done = self.asm.label();
        let ty = Ty::of_memory(dtype).unwrap_or(Ty::F32);
        let dst = self.register(to, ty);
        match ty {
            Ty::Mask => self.constant_mask(to, false),
            Ty::F32 | Ty::F64 | Ty::I32 | Ty::I64 => self.zero(to, self.width(ty)),
        }
        self.asm.op2(Code::VEX_Kortestw_kr_kr, mask, mask);
        self.asm.jump(Code::Je_rel32_64, done);
        self.splat512(to, m, dtype);
        if ty == Ty::Mask {
            self.mask_logic(&Op::And, dst, dst, mask);
        } else {
            let codes = if ty.bytes() == 4 { &codes::LOADDQU32 } else { &codes::LOADDQU64 };
            let code = self.asm.code(codes, self.width(ty));
            self.asm.masked(mask, true).op2(code, dst, dst);
        }
        self.asm.bind(done);
    }

    /// A load, of the lanes of a mask if given. Only `bool` needs scratch.
    pub(super) fn load512(&mut self, to: u8, m: MemoryOperand, dtype: DType, mask: Option<Register>, temps: &[u8]) {
        let whole = |codes: &Codes, width: Width| (codes.at(width, true), vector(to, width));
        let (w4, w8) = (self.width(Ty::F32), self.width(Ty::F64));
        let (half, quarter) = (self.packed(2), self.packed(1));
        let (code, dst) = match dtype {
            DType::F32 => whole(&codes::LOADUPS, w4),
            DType::F64 => whole(&codes::LOADUPD, w8),
            DType::I32 | DType::U32 => whole(&codes::LOADDQU32, w4),
            DType::I64 | DType::U64 => whole(&codes::LOADDQU64, w8),
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 | DType::I8 | DType::U8 => {
                let bytes = matches!(dtype, DType::I8 | DType::U8);
                let (load, width) = if bytes { (&codes::LOADDQU8, quarter) } else { (&codes::LOADDQU16, half) };
                let part = vector(to, width);
                let from = match mask {
                    Some(mask) => {
                        self.asm.masked(mask, true).op2(load.at(width, true), part, m);
                        Rm::Reg(part)
                    }
                    None => Rm::Mem(m),
                };
                let dst = vector(to, w4);
                self.asm.op2(extend(dtype).at(w4, true), dst, from);
                if dtype == DType::BF16 {
                    self.asm.op2i(codes::PSLLD.at(w4, true), dst, dst, 16);
                }
                return;
            }
            DType::Bool => {
                let (t, dst) = (vector(temps[0], Width::X), self.register(to, Ty::Mask));
                match mask {
                    Some(mask) => {
                        self.asm.masked(mask, true).op2(codes::LOADDQU8.at(Width::X, true), t, m);
                    }
                    None if self.lanes() > 8 => self.asm.op2(codes::LOADDQU8.at(Width::X, true), t, m),
                    None => self.asm.op2(Code::EVEX_Vmovq_xmm_xmmm64, t, m),
                }
                return self.asm.op3(codes::PTESTMB_K.at(Width::X, true), dst, t, t);
            }
            DType::F8E4M3 | DType::F8E5M2 => return self.asm.fail(format!("loads of {dtype}")),
        };
        if let Some(mask) = mask {
            self.asm.masked(mask, true);
        }
        self.asm.op2(code, dst, m);
    }

    /// A store, of the lanes of a mask if given.
    pub(super) fn store512(
        &mut self,
        m: MemoryOperand,
        dtype: DType,
        v: Register,
        mask: Option<Register>,
        around: bool,
        temps: &[u8],
    ) {
        let (w4, w8) = (self.width(Ty::F32), self.width(Ty::F64));
        let half = self.packed(2);
        let part = |width| vector(temps.first().copied().unwrap_or(0), width);
        let (code, v) = match dtype {
            DType::F32 => (codes::STOREUPS.at(w4, true), v),
            DType::F64 => (codes::STOREUPD.at(w8, true), v),
            DType::I32 | DType::U32 => (codes::STOREDQU32.at(w4, true), v),
            DType::I64 | DType::U64 => (codes::STOREDQU64.at(w8, true), v),
            DType::F16 if mask.is_none() && !around => return self.asm.store_i(codes::CVTPS2PH.at(w4, true), m, v, 0),
            DType::F16 => {
                self.asm.store_i(codes::CVTPS2PH.at(w4, true), part(half), v, 0);
                (codes::STOREDQU16.at(half, true), part(half))
            }
            DType::BF16 => {
                let rounded = self.round_bf16(v, temps);
                self.asm.store(codes::PMOVDW.at(w4, true), part(half), rounded);
                (codes::STOREDQU16.at(half, true), part(half))
            }
            DType::I16 | DType::U16 => {
                self.asm.store(codes::PMOVDW.at(w4, true), part(half), v);
                (codes::STOREDQU16.at(half, true), part(half))
            }
            DType::I8 | DType::U8 | DType::Bool => {
                let x = part(Width::X);
                if dtype == DType::Bool {
                    self.asm.op2(codes::PMOVM2B.at(Width::X, true), x, v);
                    self.asm.op2(codes::PABSB.at(Width::X, true), x, x);
                } else {
                    self.asm.store(codes::PMOVDB.at(w4, true), x, v);
                }
                if mask.is_none() && self.lanes() <= 8 {
                    return self.asm.store(Code::EVEX_Vmovq_xmmm64_xmm, m, x);
                }
                (codes::STOREDQU8.at(Width::X, true), x)
            }
            DType::F8E4M3 | DType::F8E5M2 => return self.asm.fail(format!("stores of {dtype}")),
        };
        if let Some(mask) = mask {
            self.asm.masked(mask, false);
        }
        let code = if around && dtype.size() == 2 { codes::STREAM.at(half, true) } else { code };
        self.asm.store(code, m, v);
    }

    /// The upper halves, rounded to nearest even, in the low halves of a scratch register. NaNs stay
    /// NaNs: they get the quiet bit instead of being rounded.
    fn round_bf16(&mut self, v: Register, temps: &[u8]) -> Register {
        let w = self.width(Ty::F32);
        let (t, u) = (vector(temps[0], w), vector(temps[1], w));
        let nan = Register::K1 + u32::from(temps[2]);
        let (one, most, quiet) =
            (self.pooled(1, Ty::I32), self.pooled(0x7fff, Ty::I32), self.pooled(0x0040_0000, Ty::I32));
        self.asm.op3i(codes::CMPPS_K.at(w, true), nan, v, v, 3);
        self.asm.op2i(codes::PSRLD.at(w, true), t, v, 16);
        self.asm.op3(codes::PANDD.at(w, true), t, t, one);
        self.asm.op3(codes::PADDD.at(w, true), t, t, most);
        self.asm.op3(codes::PADDD.at(w, true), u, t, v);
        self.asm.masked(nan, false).op3(codes::PORD.at(w, true), u, v, quiet);
        self.asm.op2i(codes::PSRLD.at(w, true), u, u, 16);
        u
    }

    pub(super) fn compare512(&mut self, cmp: Cmp, ty: Ty, dst: Register, a: Register, b: Rm) {
        let codes = match (ty, cmp) {
            (Ty::F32, _) => &codes::CMPPS_K,
            (Ty::F64, _) => &codes::CMPPD_K,
            (Ty::I32, Cmp::LtU) => &codes::PCMPUD_K,
            (Ty::I32, _) => &codes::PCMPD_K,
            (_, Cmp::LtU) => &codes::PCMPUQ_K,
            (_, _) => &codes::PCMPQ_K,
        };
        let predicate = if ty.is_float() { float_predicate(cmp) } else { integer_predicate(cmp) };
        let code = self.asm.code(codes, self.width(ty));
        self.asm.op3i(code, dst, a, b, predicate);
    }

    pub(super) fn select512(&mut self, ty: Ty, to: u8, mask: Register, a: Rm, b: Register) {
        let codes = match ty {
            Ty::F32 => &codes::BLENDMPS,
            Ty::F64 => &codes::BLENDMPD,
            Ty::I32 => &codes::PBLENDMD,
            Ty::I64 | Ty::Mask => &codes::PBLENDMQ,
        };
        let width = self.width(ty);
        let code = self.asm.code(codes, width);
        self.asm.masked(mask, false).op3(code, vector(to, width), b, a);
    }

    pub(super) fn convert512(&mut self, from: Ty, into: Ty, to: u8, a: Rm) {
        let width = self.width(from).max(self.width(into));
        let dst = vector(to, self.width(into));
        match (conversion(from, into), a) {
            (Some(codes), a) => {
                let code = self.asm.code(codes, width);
                self.asm.op2(code, dst, a);
            }
            (None, Rm::Reg(a)) => {
                let code = self.asm.code(&codes::PMOVQD, width);
                self.asm.store(code, dst, a);
            }
            (None, Rm::Mem(_) | Rm::Pool(..)) => self.asm.fail(format!("converting {from} to {into} from memory")),
        }
    }
}

/// The conversion, if it has the result as first operand (`i64` to `i32` is a store).
pub(super) fn conversion(from: Ty, into: Ty) -> Option<&'static Codes> {
    Some(match (from, into) {
        (Ty::F32, Ty::F64) => &codes::CVTPS2PD,
        (Ty::F32, Ty::I32) => &codes::CVTTPS2DQ,
        (Ty::F32, Ty::I64) => &codes::CVTTPS2QQ,
        (Ty::F64, Ty::F32) => &codes::CVTPD2PS,
        (Ty::F64, Ty::I32) => &codes::CVTTPD2DQ,
        (Ty::F64, Ty::I64) => &codes::CVTTPD2QQ,
        (Ty::I32, Ty::F32) => &codes::CVTDQ2PS,
        (Ty::I32, Ty::F64) => &codes::CVTDQ2PD,
        (Ty::I32, Ty::I64) => &codes::PMOVSXDQ,
        (Ty::I64, Ty::F32) => &codes::CVTQQ2PS,
        (Ty::I64, Ty::F64) => &codes::CVTQQ2PD,
        (_, _) => return None,
    })
}

/// How packed elements become 32-bit lanes (the upper halves of `bf16` are still to be shifted up).
pub(super) fn extend(dtype: DType) -> &'static Codes {
    match dtype {
        DType::F16 => &codes::CVTPH2PS,
        DType::I8 => &codes::PMOVSXBD,
        DType::U8 => &codes::PMOVZXBD,
        DType::I16 => &codes::PMOVSXWD,
        DType::BF16 | DType::U16 => &codes::PMOVZXWD,
        DType::Bool | DType::I32 | DType::I64 | DType::U32 | DType::U64 => &codes::PMOVZXWD,
        DType::F32 | DType::F64 | DType::F8E4M3 | DType::F8E5M2 => &codes::PMOVZXWD,
    }
}

/// How one small integer becomes a 32-bit word.
pub(super) fn extend_word(dtype: DType) -> Code {
    match dtype {
        DType::I8 => Code::Movsx_r32_rm8,
        DType::I16 => Code::Movsx_r32_rm16,
        DType::U16 => Code::Movzx_r32_rm16,
        DType::U8 | DType::Bool | DType::I32 | DType::I64 | DType::U32 | DType::U64 => Code::Movzx_r32_rm8,
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 | DType::F8E4M3 | DType::F8E5M2 => Code::Movzx_r32_rm8,
    }
}

/// Quiet comparisons.
pub(super) fn float_predicate(cmp: Cmp) -> i32 {
    match cmp {
        Cmp::Eq => 0x00,
        Cmp::Ne => 0x04,
        Cmp::Lt | Cmp::LtU => 0x11,
        Cmp::Le => 0x12,
        Cmp::Unordered => 0x03,
    }
}

fn integer_predicate(cmp: Cmp) -> i32 {
    match cmp {
        Cmp::Eq | Cmp::Unordered => 0,
        Cmp::Lt | Cmp::LtU => 1,
        Cmp::Le => 2,
        Cmp::Ne => 4,
    }
}
