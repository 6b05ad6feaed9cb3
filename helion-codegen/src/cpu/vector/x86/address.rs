//! Addresses: which general registers hold what in loops, and operands from them.
//!
//! In loops every distinct pointer, row and byte advance has a base, in a register or in a cell of the
//! frame. What walks by vectors is indexed by the element index; what walks by bytes has a base of its own
//! that moves. Outside loops a base is computed when needed.

use helion_ir::DType;
use iced_x86::{Code, MemoryOperand, Register};

use super::super::ir::{Addr, Op, SlotId, Walk};
use super::super::unroll::Staged;
use super::asm::mem;
use super::{Emitter, slot};

/// Registers for bases; those from the third on belong to the caller.
const REGISTERS: [Register; 7] =
    [Register::R8, Register::R9, Register::RBX, Register::R12, Register::R13, Register::R14, Register::R15];
/// How many of them need not be saved.
const FREE: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Base {
    pointer: SlotId,
    row: Option<(u32, SlotId)>,
    advance: i32,
    uses: u32,
}

/// The bases of the loops, most used first.
#[derive(Clone, Debug)]
pub(super) struct Bases {
    bases: Vec<Base>,
    /// Whether anything walks by vectors or asks for the index.
    indexed: bool,
}

fn base_of(addr: &Addr) -> Base {
    let advance = match addr.walk {
        Walk::Fixed | Walk::Unit => 0,
        Walk::Bytes { advance, .. } => advance,
    };
    Base { pointer: addr.pointer, row: addr.row.filter(|r| r.0 != 0), advance, uses: 0 }
}

impl Bases {
    pub fn assign(staged: &Staged) -> Bases {
        let mut all = Bases { bases: Vec::new(), indexed: false };
        let sections = [staged.main.as_ref(), Some(&staged.single), staged.partial.as_ref()];
        for inst in sections.into_iter().flatten().flat_map(|s| &s.insts) {
            all.indexed |= inst.op == Op::Index;
            if let Some((addr, _)) = inst.op.memory() {
                all.indexed |= addr.walk == Walk::Unit;
                match all.find(&addr) {
                    Some(at) => all.bases[at].uses += 1,
                    None => all.bases.push(base_of(&addr)),
                }
            }
        }
        all.bases.sort_by_key(|b| std::cmp::Reverse(b.uses));
        all
    }

    fn find(&self, addr: &Addr) -> Option<usize> {
        let wanted = base_of(addr);
        self.bases.iter().position(|b| Base { uses: 0, ..*b } == wanted)
    }
    /// How many bases have no register.
    pub fn cells(&self) -> usize {
        self.bases.len().saturating_sub(REGISTERS.len())
    }
    /// The registers to save for the caller.
    pub fn saved(&self) -> Vec<Register> {
        REGISTERS.into_iter().take(self.bases.len()).skip(FREE).collect()
    }
}

impl Emitter<'_> {
    fn cell(&self, base: usize) -> MemoryOperand {
        mem(Register::RSP, self.cells + 8 * (base - REGISTERS.len()) as i64)
    }

    /// Sets up the bases and the index before the loops.
    pub(super) fn load_bases(&mut self) {
        for at in 0..self.bases.bases.len() {
            let base = self.bases.bases[at];
            match REGISTERS.get(at) {
                Some(&r) => self.load_base(r, base.pointer, base.row),
                None => {
                    self.load_base(Register::R11, base.pointer, base.row);
                    let cell = self.cell(at);
                    self.asm.store(Code::Mov_rm64_r64, cell, Register::R11);
                }
            }
        }
        if self.bases.indexed {
            self.asm.op2(Code::Xor_r32_rm32, Register::ECX, Register::ECX);
        }
    }

    fn load_base(&mut self, to: Register, pointer: SlotId, row: Option<(u32, SlotId)>) {
        self.asm.op2(Code::Mov_r64_rm64, to, slot(pointer));
        if let Some((row, stride)) = row {
            if row != 1 {
                self.asm.op2i(Code::Imul_r64_rm64_imm32, Register::RAX, slot(stride), row as i32);
                self.asm.op2(Code::Add_r64_rm64, to, Register::RAX);
            } else {
                self.asm.op2(Code::Add_r64_rm64, to, slot(stride));
            }
        }
    }

    /// Moves on after `elements` elements or `times` steps.
    pub(super) fn advance_bases(&mut self, amount: i32, times: i32) {
        for at in 0..self.bases.bases.len() {
            let by = self.bases.bases[at].advance * times;
            if by != 0 {
                match REGISTERS.get(at) {
                    Some(&r) => self.asm.add(r, by),
                    None => {
                        let cell = self.cell(at);
                        self.asm.imm_m(Code::Add_rm64_imm32, cell, by);
                    }
                }
            }
        }
        if self.bases.indexed {
            self.asm.add(Register::RCX, amount);
        }
    }

    /// The operand for an address. May change `r11` and `rax`, so it is good until the next one.
    pub(super) fn address(&mut self, addr: &Addr, dtype: DType) -> MemoryOperand {
        let vector = (self.lanes() * dtype.size()) as i64;
        let displacement = i64::from(addr.offset) + i64::from(addr.vectors) * vector;
        if !self.in_loop {
            self.straight_base(addr);
            return mem(Register::R11, displacement);
        }
        let base = match self.bases.find(addr) {
            Some(at) => match REGISTERS.get(at) {
                Some(&r) => r,
                None => {
                    let cell = self.cell(at);
                    self.asm.op2(Code::Mov_r64_rm64, Register::R11, cell);
                    Register::R11
                }
            },
            None => {
                self.asm.fail("an address has no base".into());
                Register::R11
            }
        };
        let plain = mem(base, displacement);
        match addr.walk {
            Walk::Unit => MemoryOperand { index: Register::RCX, scale: dtype.size() as u32, ..plain },
            Walk::Fixed | Walk::Bytes { .. } => plain,
        }
    }

    /// Brings pointer and row of an address outside loops into `r11`.
    fn straight_base(&mut self, addr: &Addr) {
        let row = addr.row.filter(|r| r.0 != 0);
        let wanted = (addr.pointer, row);
        let next = self.cached.and_then(|(pointer, row)| {
            let number = row.map_or(0, |r| r.0);
            let stride = row.map(|r| r.1).or(addr.row.map(|r| r.1))?;
            Some((pointer, Some((number + 1, stride))))
        });
        if self.cached == Some(wanted) {
            return;
        }
        match row {
            Some((_, stride)) if next == Some(wanted) => self.asm.op2(Code::Add_r64_rm64, Register::R11, slot(stride)),
            Some(_) | None => self.load_base(Register::R11, addr.pointer, row),
        }
        self.cached = Some(wanted);
    }
}
