//! Folding lanes into the argument block.

use iced_x86::{Code, Register};

use super::super::alloc::Place;
use super::super::ir::{Fold, SlotId, Ty};
use super::super::unroll::fold_op;
use super::asm::{Rm, vector};
use super::codes::{self, Width};
use super::{Emitter, slot};

impl Emitter<'_> {
    pub(super) fn reduce(&mut self, fold: Fold, id: SlotId, ty: Ty, value: Place, temps: &[u8]) {
        match (ty, value) {
            (Ty::Mask, _) => {
                let mask = self.reg(value, ty);
                self.reduce_mask(fold, mask);
            }
            (Ty::F32 | Ty::F64 | Ty::I32 | Ty::I64, Place::Reg(from)) => self.reduce_vector(fold, ty, from, temps),
            (_, Place::Memory(_)) => self.asm.fail("a fold of memory".into()),
        }
        self.asm.store(Code::Mov_rm64_r64, slot(id), Register::RAX);
    }

    /// Whether any lane, or all, are set: in `rax`.
    fn reduce_mask(&mut self, fold: Fold, mask: Register) {
        if self.target.wide {
            self.asm.op2(Code::VEX_Kmovw_r32_kr, Register::EAX, mask);
        } else {
            self.mask_bits(mask);
        }
        match fold {
            Fold::And => {
                self.asm.imm(Code::Cmp_rm32_imm32, Register::EAX, (1_i32 << self.lanes()) - 1);
                self.asm.op1(Code::Sete_rm8, Register::AL);
            }
            Fold::Or | Fold::Add | Fold::Mul | Fold::Max | Fold::Min => {
                self.asm.op2(Code::Test_rm32_r32, Register::EAX, Register::EAX);
                self.asm.op1(Code::Setne_rm8, Register::AL);
            }
        }
        self.asm.op2(Code::Movzx_r32_rm8, Register::EAX, Register::AL);
    }

    /// The upper half onto the lower half until one lane is left: in `rax`.
    fn reduce_vector(&mut self, fold: Fold, ty: Ty, from: u8, temps: &[u8]) {
        let (sum, other) = (temps[0], temps[1]);
        let op = fold_op(fold);
        let mut current = from;
        let mut lanes = self.lanes();
        while lanes > 1 {
            let bytes = lanes * ty.bytes();
            let half = Width::of(bytes / 2);
            let low = vector(current, Width::X);
            match bytes {
                64 => {
                    let (y, z) = (vector(other, Width::Y), vector(current, Width::Z));
                    self.asm.store_i(Code::EVEX_Vextractf64x4_ymmm256_k1z_zmm_imm8, y, z, 1);
                }
                32 => {
                    let (x, y) = (vector(other, Width::X), vector(current, Width::Y));
                    let code = if self.target.wide {
                        Code::EVEX_Vextractf32x4_xmmm128_k1z_ymm_imm8
                    } else {
                        Code::VEX_Vextractf128_xmmm128_ymm_imm8
                    };
                    self.asm.store_i(code, x, y, 1);
                }
                _ => {
                    let code = self.asm.code(&codes::PSHUFD, Width::X);
                    let order = if bytes == 16 { 0xee } else { 0x55 };
                    self.asm.op2i(code, vector(other, Width::X), low, order);
                }
            }
            let (a, b) = (Rm::Reg(vector(current, half)), Rm::Reg(vector(other, half)));
            self.binary(&op, ty, half, sum, a, b, &temps[2..]);
            current = sum;
            lanes /= 2;
        }
        let low = vector(current, Width::X);
        let code = match (ty.bytes(), self.target.wide) {
            (8, true) => Code::EVEX_Vmovq_rm64_xmm,
            (8, false) => Code::VEX_Vmovq_rm64_xmm,
            (_, true) => Code::EVEX_Vmovd_rm32_xmm,
            (_, false) => Code::VEX_Vmovd_rm32_xmm,
        };
        let to = if ty.bytes() == 8 { Register::RAX } else { Register::EAX };
        self.asm.store(code, to, low);
    }
}
