//! x86-64 code of vector programs: AVX-512 and AVX2.
//!
//! Comes in: a staged program. Goes out: position-independent machine code for the System V calling
//! convention, or the reason why there is none. The two instruction sets share the shape of the code
//! (this file), addresses (`address`), arithmetic (`arith`) and folds (`reduce`); masks, memory
//! accesses and conversions differ (`avx512`, `avx2`).
//!
//! General registers: `rdi` the argument block, `rsi` what is left of `n`, `rcx` the element index,
//! `r11` addresses, `rax`, `rdx`, `r10` scratch, the others bases of addresses in loops.

mod address;
mod arith;
mod asm;
mod avx2;
mod avx512;
mod codes;
mod needs;
mod reduce;

use iced_x86::{Code, MemoryOperand, Register};

use self::address::Bases;
use self::asm::{Asm, Rm, mem, vector};
use self::codes::Width;
use self::needs::Target;
use super::alloc::{Allocation, Memory, Place, Step, allocate};
use super::ir::{Inst, Op, SlotId, Trip, Ty, V};
use super::unroll::{Section, Source, Staged};

/// Machine code with its constants.
pub struct Emitted {
    /// Everything.
    pub bytes: Vec<u8>,
    /// Bytes before the constants.
    pub code: usize,
}

/// Emits a staged program; `wide` chooses AVX-512, else AVX2.
pub fn emit(staged: &Staged, wide: bool) -> Result<Emitted, String> {
    if !cfg!(unix) {
        return Err("vector code is emitted for the System V calling convention only".into());
    }
    let target = Target::host(wide);
    let allocation = allocate(staged, &target);
    let bases = Bases::assign(staged);
    let mut emitter = Emitter::new(staged, target, &allocation, bases);
    emitter.program(&allocation);
    let (bytes, code) = emitter.asm.finish()?;
    Ok(Emitted { bytes, code })
}

/// Bytes of the argument block word.
fn slot(id: SlotId) -> MemoryOperand {
    mem(Register::RDI, 8 * i64::from(id.0))
}

struct Emitter<'a> {
    asm: Asm,
    staged: &'a Staged,
    target: Target,
    bases: Bases,
    /// Bytes of one frame slot.
    slot_bytes: i64,
    /// Two slots for moving lanes one by one.
    staging: i64,
    /// Where bases that found no register are.
    cells: i64,
    frame: i64,
    in_loop: bool,
    /// What `r11` holds outside loops.
    cached: Option<(SlotId, Option<(u32, SlotId)>)>,
}

impl<'a> Emitter<'a> {
    fn new(staged: &'a Staged, target: Target, allocation: &Allocation, bases: Bases) -> Self {
        let slot_bytes = if target.wide { 64 } else { 32 };
        let staging = i64::from(allocation.frame) * slot_bytes;
        let needs_staging = !target.wide;
        let cells = staging + if needs_staging { 2 * slot_bytes } else { 0 };
        let frame = cells + 8 * bases.cells() as i64;
        let asm = Asm::new(target.wide);
        let frame = if frame == 2 * slot_bytes && needs_staging && !avx2::uses_staging(staged) { 0 } else { frame };
        Emitter { asm, staged, target, bases, slot_bytes, staging, cells, frame, in_loop: false, cached: None }
    }

    fn lanes(&self) -> usize {
        self.staged.lanes as usize
    }
    fn ty(&self, v: V) -> Ty {
        self.staged.ty(v)
    }
    /// Bytes of a mask's lane where masks are vectors.
    fn mask_lane(&self) -> usize {
        self.slot_bytes as usize / self.lanes()
    }
    /// The width of a vector of this type.
    fn width(&self, ty: Ty) -> Width {
        match ty {
            Ty::Mask => Width::of(self.slot_bytes as usize),
            Ty::F32 | Ty::F64 | Ty::I32 | Ty::I64 => Width::of(self.lanes() * ty.bytes()),
        }
    }
    fn frame_slot(&self, number: u32) -> MemoryOperand {
        mem(Register::RSP, i64::from(number) * self.slot_bytes)
    }
    fn reg(&self, place: Place, ty: Ty) -> Register {
        match place {
            Place::Reg(r) => self.register(r, ty),
            // The machine's needs forbid it.
            Place::Memory(_) => Register::None,
        }
    }
    fn register(&self, number: u8, ty: Ty) -> Register {
        if ty == Ty::Mask && self.target.wide {
            Register::K1 + u32::from(number)
        } else {
            vector(number, self.width(ty))
        }
    }

    /// An operand that may be in memory.
    fn rm(&mut self, section: &Section, place: Place, ty: Ty) -> Rm {
        match place {
            Place::Reg(r) => Rm::Reg(self.register(r, ty)),
            Place::Memory(Memory::Frame(slot)) => Rm::Mem(self.frame_slot(slot)),
            Place::Memory(Memory::Source(v)) => match self.staged.source(v) {
                Some(Source::Splat(id)) => Rm::Mem(MemoryOperand { is_broadcast: true, ..slot(id) }),
                Some(Source::Const(l)) => self.pooled(l.bits, ty),
                None => Rm::Reg(Register::None),
            },
            Place::Memory(Memory::Load(inst)) => match section.insts[inst as usize].op {
                Op::Load(addr, dtype) => {
                    let m = self.address(&addr, dtype);
                    Rm::Mem(MemoryOperand { is_broadcast: addr.is_splat(), ..m })
                }
                _ => Rm::Reg(Register::None),
            },
        }
    }

    /// A constant in memory: one element where the machine can repeat it, else a whole vector.
    fn pooled(&mut self, bits: u64, ty: Ty) -> Rm {
        let size = if ty == Ty::Mask { self.mask_lane() } else { ty.bytes() };
        let bits = if ty == Ty::Mask && bits != 0 { u64::MAX } else { bits };
        let element = &bits.to_le_bytes()[..size];
        if self.target.wide {
            Rm::Pool(self.asm.constant(element), true)
        } else {
            Rm::Pool(self.asm.constant(&element.repeat(self.width(ty).bytes() / size)), false)
        }
    }

    /// The numbers of the lanes.
    fn iota(&mut self, size: usize) -> Rm {
        let all: Vec<u8> = (0..self.lanes() as u64).flat_map(|lane| lane.to_le_bytes()[..size].to_vec()).collect();
        Rm::Pool(self.asm.constant(&all), false)
    }

    fn program(&mut self, allocation: &Allocation) {
        let saved = self.bases.saved();
        for &r in &saved {
            self.asm.op1(Code::Push_r64, r);
        }
        if self.frame > 0 {
            self.asm.op1(Code::Push_r64, Register::RBP);
            self.asm.op2(Code::Mov_r64_rm64, Register::RBP, Register::RSP);
            self.asm.imm(Code::And_rm64_imm8, Register::RSP, -64);
            self.asm.imm(Code::Sub_rm64_imm32, Register::RSP, (self.frame as i32 + 63) & -64);
        }
        self.section(&self.staged.before, &allocation.before);
        self.in_loop = true;
        self.load_bases();
        self.loops(allocation);
        self.in_loop = false;
        self.cached = None;
        self.section(&self.staged.after, &allocation.after);
        if self.frame > 0 {
            self.asm.op2(Code::Mov_r64_rm64, Register::RSP, Register::RBP);
            self.asm.op1(Code::Pop_r64, Register::RBP);
        }
        for &r in saved.iter().rev() {
            self.asm.op1(Code::Pop_r64, r);
        }
        self.asm.op0(Code::VEX_Vzeroupper);
        self.asm.op0(Code::Retnq);
    }

    fn loops(&mut self, allocation: &Allocation) {
        let staged = self.staged;
        let step = if staged.program.trip == Trip::Elements { staged.lanes as i32 } else { 1 };
        if let (Some(section), Some(steps)) = (&staged.main, &allocation.main) {
            let unroll = staged.program.unroll as i32;
            self.counted(section, steps, step * unroll, unroll, Some(&allocation.combine));
        }
        self.counted(&staged.single, &allocation.single, step, 1, None);
        if let (Some(section), Some(steps)) = (&staged.partial, &allocation.partial) {
            let end = self.asm.label();
            self.asm.op2(Code::Test_rm64_r64, Register::RSI, Register::RSI);
            self.asm.jump(Code::Je_rel32_64, end);
            self.section(section, steps);
            self.asm.bind(end);
        }
    }

    /// Runs a section while `amount` is left of `n`; then `last`, if it ran at all.
    fn counted(&mut self, section: &Section, steps: &[Step], amount: i32, times: i32, last: Option<&[Step]>) {
        let (again, done) = (self.asm.label(), self.asm.label());
        self.asm.sub(Register::RSI, amount);
        self.asm.jump(Code::Jb_rel32_64, done);
        self.asm.align(32);
        self.asm.bind(again);
        self.section(section, steps);
        self.advance_bases(amount, times);
        self.asm.sub(Register::RSI, amount);
        self.asm.jump(Code::Jae_rel32_64, again);
        if let Some(steps) = last {
            self.section(&self.staged.combine, steps);
        }
        self.asm.bind(done);
        self.asm.add(Register::RSI, amount);
    }

    fn section(&mut self, section: &Section, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Inst { inst, args, dst, temps } => {
                    self.inst(section, &section.insts[*inst as usize], args, *dst, temps);
                }
                Step::Move { ty, to, from } => self.copy(*ty, *to, *from),
                Step::Fill { ty, to, from } => self.fill(section, *ty, *to, *from),
                Step::Spill { ty, frame, from } => {
                    let (to, from) = (self.frame_slot(*frame), self.register(*from, *ty));
                    if *ty == Ty::Mask && self.target.wide {
                        self.asm.store(Code::VEX_Kmovq_m64_kr, to, from);
                    } else {
                        let code = self.asm.code(&codes::STOREAPS, self.width(*ty));
                        self.asm.store(code, to, from);
                    }
                }
            }
        }
    }

    fn copy(&mut self, ty: Ty, to: u8, from: u8) {
        if to == from {
            return;
        }
        let (dst, src) = (self.register(to, ty), self.register(from, ty));
        if ty == Ty::Mask && self.target.wide {
            self.asm.op2(Code::VEX_Kmovq_kr_km64, dst, src);
        } else {
            let code = self.asm.code(&codes::MOVAPS, self.width(ty));
            self.asm.op2(code, dst, src);
        }
    }

    /// Brings a value from memory into a register.
    fn fill(&mut self, section: &Section, ty: Ty, to: u8, from: Memory) {
        match from {
            Memory::Frame(frame) => {
                let (from, dst) = (self.frame_slot(frame), self.register(to, ty));
                if ty == Ty::Mask && self.target.wide {
                    self.asm.op2(Code::VEX_Kmovq_kr_km64, dst, from);
                } else {
                    let code = self.asm.code(&codes::MOVAPS, self.width(ty));
                    self.asm.op2(code, dst, from);
                }
            }
            Memory::Source(v) => match self.staged.source(v) {
                Some(Source::Const(l)) if ty == Ty::Mask => self.constant_mask(to, l.bits != 0),
                Some(Source::Const(l)) if l.bits == 0 => self.zero(to, self.width(ty)),
                Some(Source::Const(l)) => {
                    let (dst, width) = (self.register(to, ty), self.width(ty));
                    let from = self.pooled(l.bits, ty);
                    match (from, self.target.wide) {
                        (Rm::Pool(at, _), true) => {
                            let codes = if ty.bytes() == 4 { &codes::PBROADCASTD } else { &codes::PBROADCASTQ };
                            let code = self.asm.code(codes, width);
                            self.asm.op2(code, dst, Rm::Pool(at, false));
                        }
                        (from, _) => {
                            let code = self.asm.code(&codes::MOVAPS, width);
                            self.asm.op2(code, dst, from);
                        }
                    }
                }
                Some(Source::Splat(id)) => {
                    let dtype = match ty {
                        Ty::F32 | Ty::I32 => helion_ir::DType::I32,
                        Ty::F64 | Ty::I64 => helion_ir::DType::I64,
                        Ty::Mask => helion_ir::DType::Bool,
                    };
                    self.load_splat(to, slot(id), dtype);
                }
                None => {}
            },
            Memory::Load(inst) => {
                if let Op::Load(addr, dtype) = section.insts[inst as usize].op {
                    // Only loads without scratch are folded.
                    self.load(to, &addr, dtype, &[]);
                }
            }
        }
    }

    fn zero(&mut self, to: u8, width: Width) {
        // Writing 128 bits clears the rest; the short encoding reaches 16 registers.
        if to < 16 {
            let r = vector(to, Width::X);
            self.asm.op3(Code::VEX_Vxorps_xmm_xmm_xmmm128, r, r, r);
        } else {
            let r = vector(to, width);
            let code = self.asm.code(&codes::PXORD, width);
            self.asm.op3(code, r, r, r);
        }
    }

    fn constant_mask(&mut self, to: u8, value: bool) {
        let r = self.register(to, Ty::Mask);
        if self.target.wide {
            let code = match (value, self.lanes() > 8) {
                (true, true) => Code::VEX_Kxnorw_kr_kr_kr,
                (true, false) => Code::VEX_Kxnorb_kr_kr_kr,
                (false, _) => Code::VEX_Kxorq_kr_kr_kr,
            };
            self.asm.op3(code, r, r, r);
        } else if value {
            self.asm.op3(Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256, r, r, r);
        } else {
            self.zero(to, Width::Y);
        }
    }

    fn load_splat(&mut self, dst: u8, m: MemoryOperand, dtype: helion_ir::DType) {
        if self.target.wide { self.splat512(dst, m, dtype) } else { self.splat2(dst, m, dtype) }
    }
    fn load(&mut self, dst: u8, addr: &super::ir::Addr, dtype: helion_ir::DType, temps: &[u8]) {
        let m = self.address(addr, dtype);
        if addr.is_splat() {
            self.load_splat(dst, m, dtype);
        } else if self.target.wide {
            self.load512(dst, m, dtype, None, temps);
        } else {
            self.load2(dst, m, dtype, temps);
        }
    }

    fn inst(&mut self, section: &Section, inst: &Inst, args: &[Place], dst: Option<u8>, temps: &[u8]) {
        let ty = match (inst.args.last(), inst.result) {
            (Some(&a), _) => self.ty(a),
            (None, Some(r)) => self.ty(r),
            (None, None) => Ty::F32,
        };
        let to = dst.unwrap_or(0);
        match inst.op {
            // Sources are no instructions.
            Op::Const(_) | Op::Splat(_) => {}
            Op::Index => self.index(to, inst.result.map_or(Ty::I64, |r| self.ty(r))),
            Op::Tail => self.tail(to),
            Op::Load(addr, d) => self.load(to, &addr, d, temps),
            Op::LoadMasked(addr, d) => {
                let mask = self.reg(args[0], Ty::Mask);
                let m = self.address(&addr, d);
                match (self.target.wide, addr.is_splat()) {
                    (true, false) => self.load512(to, m, d, Some(mask), temps),
                    (true, true) => self.splat_masked512(to, m, d, mask),
                    (false, false) => self.load_masked2(to, m, d, mask, temps),
                    (false, true) => self.splat_masked2(to, m, d, mask, temps),
                }
            }
            Op::StoreStream(addr, d) if d.size() >= 4 => {
                // One instruction for all types: no arithmetic follows that would care.
                let (m, code) = (self.address(&addr, d), self.asm.code(&codes::STREAM, self.width(ty)));
                let v = self.reg(args[0], ty);
                self.asm.store(code, m, v);
            }
            Op::Store(addr, d) | Op::StoreStream(addr, d) => {
                let m = self.address(&addr, d);
                let v = self.reg(args[0], ty);
                let around = matches!(inst.op, Op::StoreStream(..));
                if self.target.wide {
                    self.store512(m, d, v, None, around, temps);
                } else {
                    self.store2(m, d, v, around, temps);
                }
            }
            Op::StoreMasked(addr, d) => {
                let (mask, v) = (self.reg(args[0], Ty::Mask), self.reg(args[1], ty));
                let m = self.address(&addr, d);
                if self.target.wide {
                    self.store512(m, d, v, Some(mask), false, temps);
                } else {
                    self.store_masked2(m, d, v, mask, temps);
                }
            }
            // One per cache line, where vectors are shorter.
            Op::Prefetch(addr, d) if !(addr.vectors as usize * self.lanes() * d.size()).is_multiple_of(64) => {}
            Op::Prefetch(addr, d) => {
                let m = self.address(&addr, d);
                self.asm.op1m(Code::Prefetcht0_m8, m);
            }
            Op::And | Op::Or | Op::Xor if ty == Ty::Mask && self.target.wide => {
                let (a, b) = (self.reg(args[0], ty), self.reg(args[1], ty));
                self.mask_logic(&inst.op, self.register(to, ty), a, b);
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max | Op::And | Op::Or | Op::Xor | Op::Scale => {
                let (a, b) = (self.rm(section, args[0], ty), self.rm(section, args[1], ty));
                self.binary(&inst.op, ty, self.width(ty), to, a, b, temps);
            }
            Op::Fma | Op::Fnma => self.fma(section, inst.op == Op::Fnma, ty, to, args),
            Op::Dots(packed) => self.dots(section, packed, to, args),
            Op::Sqrt | Op::Round(_) | Op::Shl(_) | Op::ShrU(_) | Op::ShrS(_) => {
                let a = self.rm(section, args[0], ty);
                self.unary(&inst.op, ty, to, a);
            }
            Op::Compare(cmp) => {
                let (a, b) = (self.reg(args[0], ty), self.rm(section, args[1], ty));
                let to = self.register(to, Ty::Mask);
                if self.target.wide {
                    self.compare512(cmp, ty, to, a, b)
                } else {
                    self.compare2(cmp, ty, to, a, b, temps)
                }
            }
            Op::Select => {
                let mask = self.reg(args[0], Ty::Mask);
                let (a, b) = (self.rm(section, args[1], ty), self.reg(args[2], ty));
                if self.target.wide {
                    self.select512(ty, to, mask, a, b)
                } else {
                    self.select2(ty, to, mask, a, b, temps)
                }
            }
            Op::Convert(into) if into == ty => self.bits(section, ty, into, to, args[0]),
            Op::Convert(into) => {
                let a = self.rm(section, args[0], ty);
                if self.target.wide { self.convert512(ty, into, to, a) } else { self.convert2(ty, into, to, a, temps) }
            }
            Op::Bitcast(into) => self.bits(section, ty, into, to, args[0]),
            Op::ReduceTo(fold, id) => self.reduce(fold, id, ty, args[0], temps),
        }
    }

    /// The same bits in the register `to`.
    fn bits(&mut self, section: &Section, from: Ty, into: Ty, to: u8, place: Place) {
        match place {
            Place::Reg(r) => self.copy(into, to, r),
            Place::Memory(memory) => self.fill(section, from, to, memory),
        }
    }
}

/// Machine code as text, one instruction per line.
pub fn disassemble(code: &[u8]) -> String {
    use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    for inst in Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
        text.push_str(&format!("{:6x}  ", inst.ip()));
        formatter.format(&inst, &mut text);
        text.push('\n');
    }
    text
}
