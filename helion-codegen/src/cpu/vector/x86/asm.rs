//! Bytes of x86 code: encoding, labels, and a pool of constants.
//!
//! Comes in: instructions. Goes out: position-independent code with its constants after it. What cannot
//! be encoded is remembered and reported once, by [`Asm::finish`].

use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};

use super::codes::{Codes, Width};

/// A place in the code to jump to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

/// The last operand of most instructions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rm {
    Reg(Register),
    Mem(MemoryOperand),
    /// Constants at this offset of the pool, one element for all lanes when set.
    Pool(usize, bool),
}

impl From<Register> for Rm {
    fn from(r: Register) -> Rm {
        Rm::Reg(r)
    }
}
impl From<MemoryOperand> for Rm {
    fn from(m: MemoryOperand) -> Rm {
        Rm::Mem(m)
    }
}

pub(super) struct Asm {
    encoder: Encoder,
    /// Bytes so far.
    len: usize,
    /// Whether AVX-512 encodings are used.
    pub wide: bool,
    labels: Vec<Option<usize>>,
    /// Where the displacements of jumps are.
    jumps: Vec<(usize, Label)>,
    pool: Vec<u8>,
    /// Where displacements of pool operands are, the end of their instructions, and the offsets.
    uses: Vec<(usize, usize, usize)>,
    mask: Option<(Register, bool)>,
    error: Option<String>,
}

pub(super) fn mem(base: Register, displacement: i64) -> MemoryOperand {
    MemoryOperand::new(
        base,
        Register::None,
        1,
        displacement,
        if displacement == 0 { 0 } else { 1 },
        false,
        Register::None,
    )
}

/// The vector register of a number and width.
pub(super) fn vector(number: u8, width: Width) -> Register {
    let first = match width {
        Width::X => Register::XMM0,
        Width::Y => Register::YMM0,
        Width::Z => Register::ZMM0,
    };
    first + u32::from(number)
}

impl Asm {
    pub fn new(wide: bool) -> Asm {
        Asm {
            encoder: Encoder::new(64),
            len: 0,
            wide,
            labels: Vec::new(),
            jumps: Vec::new(),
            pool: Vec::new(),
            uses: Vec::new(),
            mask: None,
            error: None,
        }
    }

    pub fn fail(&mut self, why: String) {
        self.error.get_or_insert(why);
    }

    fn emit(&mut self, made: Result<Instruction, iced_x86::IcedError>, pool: Option<usize>) {
        let mut inst = match made {
            Ok(inst) => inst,
            Err(e) => return self.fail(e.to_string()),
        };
        if let Some((mask, zero)) = self.mask.take() {
            inst.set_op_mask(mask);
            inst.set_zeroing_masking(zero);
        }
        match self.encoder.encode(&inst, self.len as u64) {
            Ok(bytes) => {
                if let Some(offset) = pool {
                    let at = self.len + self.encoder.get_constant_offsets().displacement_offset();
                    self.uses.push((at, self.len + bytes, offset));
                }
                self.len += bytes;
            }
            Err(e) => self.fail(format!("{:?}: {e}", inst.code())),
        }
    }

    /// The next instruction acts on the lanes of a mask register; the others are kept, or zero.
    pub fn masked(&mut self, mask: Register, zero: bool) -> &mut Asm {
        self.mask = Some((mask, zero));
        self
    }

    /// The memory operand of a pool entry; its displacement is filled in at the end.
    fn pooled(offset: usize, broadcast: bool) -> (MemoryOperand, Option<usize>) {
        let m = MemoryOperand::new(Register::RIP, Register::None, 1, 0, 8, broadcast, Register::None);
        (m, Some(offset))
    }

    fn split(rm: Rm) -> Result<Register, (MemoryOperand, Option<usize>)> {
        match rm {
            Rm::Reg(r) => Ok(r),
            Rm::Mem(m) => Err((m, None)),
            Rm::Pool(offset, broadcast) => Err(Self::pooled(offset, broadcast)),
        }
    }

    pub fn op0(&mut self, code: Code) {
        self.emit(Ok(Instruction::with(code)), None);
    }
    pub fn op1(&mut self, code: Code, a: Register) {
        self.emit(Instruction::with1(code, a), None);
    }
    pub fn op1m(&mut self, code: Code, m: MemoryOperand) {
        self.emit(Instruction::with1(code, m), None);
    }
    pub fn op2(&mut self, code: Code, dst: Register, rm: impl Into<Rm>) {
        match Self::split(rm.into()) {
            Ok(r) => self.emit(Instruction::with2(code, dst, r), None),
            Err((m, pool)) => self.emit(Instruction::with2(code, dst, m), pool),
        }
    }
    pub fn op2i(&mut self, code: Code, dst: Register, rm: impl Into<Rm>, imm: i32) {
        match Self::split(rm.into()) {
            Ok(r) => self.emit(Instruction::with3(code, dst, r, imm), None),
            Err((m, pool)) => self.emit(Instruction::with3(code, dst, m, imm), pool),
        }
    }
    pub fn op3(&mut self, code: Code, dst: Register, a: Register, rm: impl Into<Rm>) {
        match Self::split(rm.into()) {
            Ok(r) => self.emit(Instruction::with3(code, dst, a, r), None),
            Err((m, pool)) => self.emit(Instruction::with3(code, dst, a, m), pool),
        }
    }
    pub fn op3i(&mut self, code: Code, dst: Register, a: Register, rm: impl Into<Rm>, imm: i32) {
        match Self::split(rm.into()) {
            Ok(r) => self.emit(Instruction::with4(code, dst, a, r, imm), None),
            Err((m, pool)) => self.emit(Instruction::with4(code, dst, a, m, imm), pool),
        }
    }
    /// Three sources, the last always a register.
    pub fn op4(&mut self, code: Code, dst: Register, a: Register, rm: impl Into<Rm>, last: Register) {
        match Self::split(rm.into()) {
            Ok(r) => self.emit(Instruction::with4(code, dst, a, r, last), None),
            Err((m, pool)) => self.emit(Instruction::with4(code, dst, a, m, last), pool),
        }
    }
    /// A register to memory, or to a register with the operands the other way round.
    pub fn store(&mut self, code: Code, to: impl Into<Rm>, from: Register) {
        match Self::split(to.into()) {
            Ok(r) => self.emit(Instruction::with2(code, r, from), None),
            Err((m, pool)) => self.emit(Instruction::with2(code, m, from), pool),
        }
    }
    pub fn store_i(&mut self, code: Code, to: impl Into<Rm>, from: Register, imm: i32) {
        match Self::split(to.into()) {
            Ok(r) => self.emit(Instruction::with3(code, r, from, imm), None),
            Err((m, pool)) => self.emit(Instruction::with3(code, m, from, imm), pool),
        }
    }
    /// Memory, a mask in a vector register, and a vector register.
    pub fn store_masked(&mut self, code: Code, to: MemoryOperand, mask: Register, from: Register) {
        self.emit(Instruction::with3(code, to, mask, from), None);
    }
    pub fn imm(&mut self, code: Code, dst: Register, imm: i32) {
        self.emit(Instruction::with2(code, dst, imm), None);
    }
    pub fn imm_m(&mut self, code: Code, m: MemoryOperand, imm: i32) {
        self.emit(Instruction::with2(code, m, imm), None);
    }

    /// Adds a constant to a 64-bit register; the flags are those of an addition.
    pub fn add(&mut self, dst: Register, by: i32) {
        let code = if i8::try_from(by).is_ok() { Code::Add_rm64_imm8 } else { Code::Add_rm64_imm32 };
        self.imm(code, dst, by);
    }
    /// Subtracts a constant from a 64-bit register; the flags are those of a subtraction.
    pub fn sub(&mut self, dst: Register, by: i32) {
        let code = if i8::try_from(by).is_ok() { Code::Sub_rm64_imm8 } else { Code::Sub_rm64_imm32 };
        self.imm(code, dst, by);
    }

    /// The form of an instruction for a width.
    pub fn code(&mut self, codes: &Codes, width: Width) -> Code {
        let code = codes.at(width, self.wide);
        if code == Code::INVALID {
            self.fail(format!("no form of {codes:?} for {width:?}"));
        }
        code
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.len);
    }
    /// A jump (`jmp` or `jcc` with a 32-bit displacement).
    pub fn jump(&mut self, code: Code, label: Label) {
        self.emit(Instruction::with_branch(code, self.len as u64 + 0x1000), None);
        self.jumps.push((self.len - 4, label));
    }
    /// Fills up to a multiple of `to` bytes with instructions that do nothing.
    pub fn align(&mut self, to: usize) {
        let mut rest = self.len.next_multiple_of(to) - self.len;
        const NOPS: [&[u8]; 8] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        while rest > 0 {
            let bytes = NOPS[rest.min(8) - 1];
            bytes.iter().for_each(|&b| self.encoder.write_u8(b));
            self.len += bytes.len();
            rest -= bytes.len();
        }
    }

    /// The offset of constants in the pool, put there at most once.
    pub fn constant(&mut self, bytes: &[u8]) -> usize {
        let step = bytes.len().next_power_of_two().min(64);
        let found = (0..self.pool.len()).step_by(step).find(|&at| self.pool[at..].starts_with(bytes));
        found.unwrap_or_else(|| {
            let at = self.pool.len().next_multiple_of(step);
            self.pool.resize(at, 0);
            self.pool.extend_from_slice(bytes);
            at
        })
    }

    /// The code, its length without the constants, or the first thing that could not be encoded.
    pub fn finish(mut self) -> Result<(Vec<u8>, usize), String> {
        if let Some(e) = self.error {
            return Err(e);
        }
        let mut bytes = self.encoder.take_buffer();
        for (at, label) in &self.jumps {
            let target = self.labels[label.0].ok_or("a label was not bound")?;
            let displacement = target as i64 - (*at as i64 + 4);
            bytes[*at..at + 4].copy_from_slice(&(displacement as i32).to_le_bytes());
        }
        let code = bytes.len();
        let pool = code.next_multiple_of(64);
        bytes.resize(pool, 0xcc);
        bytes.extend_from_slice(&self.pool);
        for (at, end, offset) in self.uses {
            let displacement = (pool + offset) as i64 - end as i64;
            bytes[at..at + 4].copy_from_slice(&(displacement as i32).to_le_bytes());
        }
        Ok((bytes, code))
    }
}
