//! Arithmetic that both instruction sets have, with small sequences where AVX2 lacks it.

use iced_x86::{Code, Register};

use super::super::alloc::Place;
use super::super::ir::{Op, Packed, Rounding, Ty};
use super::super::unroll::Section;
use super::Emitter;
use super::asm::{Rm, vector};
use super::codes::{self, Codes, Width};

/// The instruction for an operation on two vectors; `None` where AVX2 needs a sequence.
fn binary_codes(op: &Op, ty: Ty) -> Option<&'static Codes> {
    use codes::*;
    let of = |f32, f64, i32, i64| -> Option<&'static Codes> {
        match ty {
            Ty::F32 => Some(f32),
            Ty::F64 => Some(f64),
            Ty::I32 => Some(i32),
            Ty::I64 | Ty::Mask => Some(i64),
        }
    };
    match op {
        Op::Add => of(&ADDPS, &ADDPD, &PADDD, &PADDQ),
        Op::Sub => of(&SUBPS, &SUBPD, &PSUBD, &PSUBQ),
        Op::Mul => of(&MULPS, &MULPD, &PMULLD, &PMULLQ),
        Op::Div => of(&DIVPS, &DIVPD, &DIVPS, &DIVPD),
        Op::Min => of(&MINPS, &MINPD, &PMINSD, &PMINSQ),
        Op::Max => of(&MAXPS, &MAXPD, &PMAXSD, &PMAXSQ),
        Op::Scale => Some(&SCALEFPS),
        Op::And => of(&ANDPS, &ANDPD, &PANDD, &PANDQ),
        Op::Or => of(&ORPS, &ORPD, &PORD, &PORQ),
        Op::Xor => of(&XORPS, &XORPD, &PXORD, &PXORQ),
        _ => None,
    }
}

impl Emitter<'_> {
    /// An operation on two vectors of a width; at most one of them in memory.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn binary(&mut self, op: &Op, ty: Ty, width: Width, to: u8, a: Rm, b: Rm, temps: &[u8]) {
        let dst = vector(to, width);
        if ty == Ty::I64 && !self.target.wide {
            match (op, a, b) {
                (Op::Mul, Rm::Reg(a), Rm::Reg(b)) => return self.mul64(width, dst, a, b, temps),
                (Op::Min | Op::Max, Rm::Reg(a), Rm::Reg(b)) => {
                    let t = vector(temps[0], width);
                    let (greater, blend) = (self.asm.code(&codes::PCMPGTQ, width), codes::BLENDVPD.at(width, false));
                    self.asm.op3(greater, t, a, b);
                    let (if_set, otherwise) = if *op == Op::Max { (a, b) } else { (b, a) };
                    return self.asm.op4(blend, dst, otherwise, if_set, t);
                }
                (_, _, _) => {}
            }
        }
        let Some(codes) = binary_codes(op, ty) else {
            return self.asm.fail(format!("{op} is not an operation on two vectors"));
        };
        let code = self.asm.code(codes, width);
        match (a, b) {
            (Rm::Reg(a), b) => self.asm.op3(code, dst, a, b),
            // Only operations whose operands may change places have the first in memory.
            (a, Rm::Reg(b)) => self.asm.op3(code, dst, b, a),
            (_, _) => self.asm.fail("two operands in memory".into()),
        }
    }

    /// The low half of 64-bit products from 32-bit ones.
    fn mul64(&mut self, width: Width, dst: Register, a: Register, b: Register, temps: &[u8]) {
        let (t, u) = (vector(temps[0], width), vector(temps[1], width));
        let shift_right = self.asm.code(&codes::PSRLQ, width);
        let shift_left = self.asm.code(&codes::PSLLQ, width);
        let product = self.asm.code(&codes::PMULUDQ, width);
        let add = self.asm.code(&codes::PADDQ, width);
        self.asm.op2i(shift_right, t, a, 32);
        self.asm.op3(product, t, t, b);
        self.asm.op2i(shift_right, u, b, 32);
        self.asm.op3(product, u, u, a);
        self.asm.op3(add, t, t, u);
        self.asm.op2i(shift_left, t, t, 32);
        self.asm.op3(product, dst, a, b);
        self.asm.op3(add, dst, dst, t);
    }

    pub(super) fn unary(&mut self, op: &Op, ty: Ty, to: u8, a: Rm) {
        let width = self.width(ty);
        let dst = vector(to, width);
        let long = ty.bytes() == 8;
        let pick = |short: &'static Codes, other: &'static Codes| if long { other } else { short };
        match op {
            Op::Sqrt => {
                let code = self.asm.code(pick(&codes::SQRTPS, &codes::SQRTPD), width);
                self.asm.op2(code, dst, a);
            }
            Op::Round(mode) => {
                let code = self.asm.code(pick(&codes::ROUNDPS, &codes::ROUNDPD), width);
                let mode = match mode {
                    Rounding::Nearest => 0,
                    Rounding::Down => 1,
                    Rounding::Up => 2,
                    Rounding::Zero => 3,
                };
                self.asm.op2i(code, dst, a, 8 | mode);
            }
            Op::Shl(by) => {
                let code = self.asm.code(pick(&codes::PSLLD, &codes::PSLLQ), width);
                self.asm.op2i(code, dst, a, (*by).into());
            }
            Op::ShrU(by) => {
                let code = self.asm.code(pick(&codes::PSRLD, &codes::PSRLQ), width);
                self.asm.op2i(code, dst, a, (*by).into());
            }
            Op::ShrS(by) if long && !self.target.wide => {
                // Shift in zeros, then extend the sign from its new place.
                let (shift, sub) = (self.asm.code(&codes::PSRLQ, width), self.asm.code(&codes::PSUBQ, width));
                let xor = self.asm.code(&codes::PXORQ, width);
                let sign = self.pooled(1 << (63 - by), Ty::I64);
                self.asm.op2i(shift, dst, a, (*by).into());
                self.asm.op3(xor, dst, dst, sign);
                self.asm.op3(sub, dst, dst, sign);
            }
            Op::ShrS(by) => {
                let code = self.asm.code(pick(&codes::PSRAD, &codes::PSRAQ), width);
                self.asm.op2i(code, dst, a, (*by).into());
            }
            _ => self.asm.fail(format!("{op} is not an operation on one vector")),
        }
    }

    /// Fused multiply-add: the form is chosen by which operand is overwritten and which is in memory.
    pub(super) fn fma(&mut self, section: &Section, negated: bool, ty: Ty, to: u8, places: &[Place]) {
        use codes::*;
        let width = self.width(ty);
        let forms = match (negated, ty) {
            (false, Ty::F64) => [&FMADD132PD, &FMADD213PD, &FMADD231PD],
            (false, _) => [&FMADD132PS, &FMADD213PS, &FMADD231PS],
            (true, Ty::F64) => [&FNMADD132PD, &FNMADD213PD, &FNMADD231PD],
            (true, _) => [&FNMADD132PS, &FNMADD213PS, &FNMADD231PS],
        };
        let [f132, f213, f231] = forms.map(|f| f.at(width, self.target.wide));
        let dst = vector(to, width);
        let [mut a, mut b, c] = [0, 1, 2].map(|at| self.rm(section, places[at], ty));
        // The factors may change places: a memory factor last, the one to overwrite first.
        if b == Rm::Reg(dst) || !matches!(a, Rm::Reg(_)) {
            std::mem::swap(&mut a, &mut b);
        }
        if a != Rm::Reg(dst) && c != Rm::Reg(dst) {
            let from = if let Rm::Reg(_) = c { places[2] } else { self.place_of(places, a, ty) };
            if let Place::Reg(from) = from {
                self.copy(ty, to, from);
            }
            if let Rm::Reg(_) = c {
                return self.fused(f231, dst, a, b);
            }
            return self.fused(f213, dst, b, c);
        }
        if c == Rm::Reg(dst) {
            self.fused(f231, dst, a, b);
        } else if let (Rm::Reg(_), _) = (b, c) {
            self.fused(f213, dst, b, c);
        } else {
            self.fused(f132, dst, c, b);
        }
    }

    /// Products of packed elements, added to a sum that is overwritten.
    pub(super) fn dots(&mut self, section: &Section, packed: Packed, to: u8, places: &[Place]) {
        let codes = match packed {
            Packed::Bf16 => &codes::DPBF16PS,
            Packed::I16 => &codes::DPWSSD,
            Packed::I8 => &codes::DPBUSD,
        };
        let sum = packed.sum();
        let width = self.width(sum);
        let (code, dst) = (codes.at(width, self.target.wide), vector(to, width));
        let [mut a, mut b] = [0, 1].map(|at| self.rm(section, places[at], Ty::I32));
        match places[2] {
            Place::Reg(from) if from != to => self.copy(sum, to, from),
            Place::Reg(_) => {}
            Place::Memory(_) => return self.asm.fail("a sum of packed products in memory".into()),
        }
        // Only factors of one kind may change places; then the one in memory comes last.
        if !matches!(a, Rm::Reg(_)) && packed != Packed::I8 {
            std::mem::swap(&mut a, &mut b);
        }
        self.fused(code, dst, a, b);
    }

    fn place_of(&self, places: &[Place], rm: Rm, ty: Ty) -> Place {
        let same = |p: &&Place| matches!(p, Place::Reg(r) if Rm::Reg(self.register(*r, ty)) == rm);
        places.iter().find(same).copied().unwrap_or(places[0])
    }

    fn fused(&mut self, code: Code, dst: Register, a: Rm, b: Rm) {
        match a {
            Rm::Reg(a) => self.asm.op3(code, dst, a, b),
            Rm::Mem(_) | Rm::Pool(..) => self.asm.fail("two operands of a fused operation in memory".into()),
        }
    }
}
