//! What instructions need on x86, for the register allocator.

use helion_ir::DType;
use std::sync::OnceLock;

use super::super::alloc::{Machine, Needs};
use super::super::ir::{Cmp, Inst, Op, Packed, Ty, V};
use super::super::unroll::{Source, Staged};

/// A processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// AVX-512, else AVX2.
    pub wide: bool,
    /// Uses of a repeated element up to which instructions of AVX-512 read it themselves.
    pub broadcast_uses: usize,
}

impl Target {
    /// This one, with AVX-512 or AVX2.
    pub(super) fn host(wide: bool) -> Target {
        Target { wide, broadcast_uses: if multiplies_as_fast_as_it_loads() { 1 } else { 4 } }
    }
}

/// Whether the processor has as many 512-bit multipliers as it has ports that load: then an element that each of several
/// multiplications reads again costs their time. AMD's had half as many when this was measured, and there reading again is
/// free, while a register for the element costs an instruction.
fn multiplies_as_fast_as_it_loads() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let id = std::arch::x86_64::__cpuid(0);
        let vendor: Vec<u8> = [id.ebx, id.edx, id.ecx].into_iter().flat_map(u32::to_le_bytes).collect();
        vendor == b"GenuineIntel"
    })
}

fn memory(operands: u8) -> Needs {
    Needs { memory: operands, ..Needs::default() }
}
fn vectors(count: u8) -> Needs {
    Needs { vectors: count, ..Needs::default() }
}

impl Machine for Target {
    fn vectors(&self) -> u8 {
        if self.wide { 32 } else { 16 }
    }
    fn masks(&self) -> u8 {
        if self.wide { 7 } else { 0 }
    }
    fn needs(&self, staged: &Staged, inst: &Inst) -> Needs {
        let ty = inst.args.last().map_or(Ty::F32, |&a| staged.ty(a));
        if self.wide { wide(inst, ty) } else { narrow(staged, inst, ty) }
    }
    fn folds(&self, _: &Staged, load: &Inst, uses: usize) -> bool {
        let Op::Load(addr, dtype) = load.op else { return false };
        let whole = matches!(dtype, DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64);
        whole && if addr.is_splat() { self.wide && uses <= self.broadcast_uses } else { uses == 1 }
    }
    fn reads_source(&self, staged: &Staged, v: V) -> bool {
        match staged.source(v) {
            Some(Source::Const(_)) => !self.wide || staged.ty(v) != Ty::Mask,
            Some(Source::Splat(_)) => self.wide && staged.ty(v) != Ty::Mask,
            None => false,
        }
    }
}

/// AVX-512.
fn wide(inst: &Inst, ty: Ty) -> Needs {
    match inst.op {
        Op::And | Op::Or | Op::Xor if ty == Ty::Mask => Needs::default(),
        Op::Add | Op::Mul | Op::And | Op::Or | Op::Xor => memory(0b11),
        Op::Sub | Op::Div | Op::Min | Op::Max | Op::Scale | Op::Compare(_) | Op::Select => memory(0b10),
        Op::Fma | Op::Fnma => memory(0b111),
        Op::Dots(Packed::I8) => memory(0b10),
        Op::Dots(_) => memory(0b11),
        Op::Sqrt | Op::Round(_) | Op::Shl(_) | Op::ShrU(_) | Op::ShrS(_) | Op::Bitcast(_) => memory(1),
        Op::Convert(to) => match (ty, to) {
            (Ty::I32, Ty::I64) | (Ty::I64, Ty::I32) => Needs::default(),
            (_, _) => memory(1),
        },
        Op::Load(_, d) | Op::LoadMasked(_, d) => {
            Needs { vectors: u8::from(d == DType::Bool), early: d == DType::Bool, ..Needs::default() }
        }
        Op::Store(_, d) | Op::StoreMasked(_, d) | Op::StoreStream(_, d) => match d {
            DType::BF16 => Needs { vectors: 2, masks: 1, ..Needs::default() },
            DType::F16 | DType::Bool | DType::I8 | DType::U8 | DType::I16 | DType::U16 => vectors(1),
            DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => Needs::default(),
            DType::F8E4M3 | DType::F8E5M2 => Needs::default(),
        },
        Op::ReduceTo(..) => vectors(2),
        Op::Const(_) | Op::Splat(_) | Op::Index | Op::Tail | Op::Prefetch(..) => Needs::default(),
    }
}

/// AVX2.
fn narrow(staged: &Staged, inst: &Inst, ty: Ty) -> Needs {
    // Masks have lanes of the widest type.
    let widest = 32 / staged.lanes as usize;
    let thin = ty != Ty::Mask && ty.bytes() < widest;
    match inst.op {
        Op::Mul if ty == Ty::I64 => Needs { vectors: 2, early: true, ..Needs::default() },
        Op::Min | Op::Max if ty == Ty::I64 => vectors(1),
        Op::Add | Op::Mul | Op::And | Op::Or | Op::Xor => memory(0b11),
        Op::Sub | Op::Div | Op::Min | Op::Max | Op::Scale => memory(0b10),
        Op::Compare(_) if ty.is_float() => memory(0b10),
        Op::Compare(Cmp::LtU) => vectors(2),
        Op::Compare(_) => Needs::default(),
        Op::Select => Needs { vectors: u8::from(thin), memory: 0b10, ..Needs::default() },
        Op::Fma | Op::Fnma => memory(0b111),
        // Refused before.
        Op::Dots(_) => Needs::default(),
        Op::Sqrt | Op::Round(_) | Op::Bitcast(_) => memory(1),
        Op::Shl(_) | Op::ShrU(_) | Op::ShrS(_) => Needs::default(),
        Op::Convert(to) => match (ty, to) {
            (Ty::I64, _) | (_, Ty::I64) if (ty, to) != (Ty::I32, Ty::I64) => vectors(1),
            (_, _) => memory(1),
        },
        Op::Load(_, d) => vectors(u8::from(d == DType::Bool)),
        Op::LoadMasked(..) => Needs { vectors: 1, early: true, ..Needs::default() },
        Op::StoreStream(_, DType::F16) => vectors(1),
        Op::Store(_, d) | Op::StoreStream(_, d) => match d {
            DType::BF16 => vectors(3),
            DType::Bool | DType::I8 | DType::U8 | DType::I16 | DType::U16 => vectors(1),
            DType::F16 | DType::F32 | DType::F64 => Needs::default(),
            DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F8E4M3 | DType::F8E5M2 => Needs::default(),
        },
        Op::StoreMasked(_, d) => vectors(if d == DType::BF16 { 3 } else { 1 }),
        Op::ReduceTo(..) => vectors(4),
        Op::Const(_) | Op::Splat(_) | Op::Index | Op::Tail | Op::Prefetch(..) => Needs::default(),
    }
}
