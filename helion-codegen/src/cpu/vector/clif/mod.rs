//! Vector programs as Cranelift IR: the lowering for every machine.
//!
//! Comes in: a staged program and a function under construction, with the argument block and the count.
//! Goes out: code appended there, after which the current block is the one that follows the program.
//! Programs whose lanes have one size use 128-bit vectors, masks as whole lanes; programs that mix sizes
//! run one lane at a time, truth values as `i8`. Every operation has a lowering.

mod memory;
mod ops;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Signature, Type, UserFuncName, Value, types};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

use super::ir::{Addr, Inst, Op, Program, SlotId, Trip, Ty, V, Walk};
use super::unroll::{Section, Source, Staged};

/// Lanes of a program in this lowering: 1 when it mixes sizes.
pub fn lanes(program: &Program) -> usize {
    let mixes = program.values.iter().any(|t| t.bytes() == 8) && program.values.iter().any(|t| t.bytes() == 4);
    if mixes { 1 } else { 16 / program.widest() }
}

/// The program as a function of its own: `fn(slots: *mut u64, n: u64)`.
pub fn function(staged: &Staged, target: TargetFrontendConfig) -> ir::Function {
    let mut signature = Signature::new(target.default_call_conv);
    signature.params.extend([AbiParam::new(types::I64), AbiParam::new(types::I64)]);
    let mut func = ir::Function::with_name_signature(UserFuncName::user(0, 0), signature);
    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut func, &mut context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    let (slots, n) = (builder.block_params(entry)[0], builder.block_params(entry)[1]);
    append(&mut builder, staged, slots, n);
    builder.ins().return_(&[]);
    builder.finalize(target);
    func
}

/// Appends a program, staged for [`lanes`] lanes, at the current block.
pub fn append(builder: &mut FunctionBuilder<'_>, staged: &Staged, slots: Value, n: Value) {
    let vector = staged.lanes > 1;
    let homes = staged.homes.iter().map(|_| None).collect();
    let mut lower = Lower {
        b: builder,
        staged,
        vector,
        wide: staged.program.widest() == 8,
        slots,
        homes,
        values: vec![None; staged.values.len()],
        index: None,
        left: None,
        bases: Vec::new(),
        in_loop: false,
    };
    lower.program(n);
}

/// A pointer with its row, at the current step.
struct Base {
    pointer: SlotId,
    row: Option<(u32, SlotId)>,
    advance: i32,
    at: Variable,
}

struct Lower<'a, 'b> {
    b: &'a mut FunctionBuilder<'b>,
    staged: &'a Staged,
    /// Vectors, or one lane at a time.
    vector: bool,
    /// Whether lanes have 8 bytes.
    wide: bool,
    slots: Value,
    homes: Vec<Option<Variable>>,
    values: Vec<Option<Value>>,
    /// The index of the step's first element.
    index: Option<Variable>,
    /// What is left of `n`.
    left: Option<Variable>,
    bases: Vec<Base>,
    in_loop: bool,
}

/// Unaligned accesses that are known not to fault.
fn plain() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Lower<'_, '_> {
    fn lanes(&self) -> usize {
        self.staged.lanes as usize
    }
    /// The type of a value's lanes; of masks, of the integers they are made of.
    fn lane_type(&self, ty: Ty) -> Type {
        match ty {
            Ty::F32 => types::F32,
            Ty::F64 => types::F64,
            Ty::I32 => types::I32,
            Ty::I64 => types::I64,
            Ty::Mask if !self.vector => types::I8,
            Ty::Mask if self.wide => types::I64,
            Ty::Mask => types::I32,
        }
    }
    fn value_type(&self, ty: Ty) -> Type {
        let lane = self.lane_type(ty);
        if !self.vector {
            return lane;
        }
        match lane {
            types::F32 => types::F32X4,
            types::F64 => types::F64X2,
            types::I64 => types::I64X2,
            _ => types::I32X4,
        }
    }
    fn spread(&mut self, lane: Value, ty: Ty) -> Value {
        let to = self.value_type(ty);
        if self.vector { self.b.ins().splat(to, lane) } else { lane }
    }
    /// Every lane an integer of the type.
    fn int(&mut self, x: i64, ty: Ty) -> Value {
        let lane = self.lane_type(ty);
        let lane = self.b.ins().iconst(lane, x);
        self.spread(lane, ty)
    }
    fn cast(&mut self, to: Type, v: Value) -> Value {
        if self.b.func.dfg.value_type(v) == to {
            return v;
        }
        self.b.ins().bitcast(to, MemFlagsData::new().with_endianness(ir::Endianness::Little), v)
    }
    fn slot(&mut self, id: SlotId, ty: Type) -> Value {
        self.b.ins().load(ty, plain(), self.slots, 8 * id.0 as i32)
    }
    fn variable(&mut self, ty: Type, init: Value) -> Variable {
        let variable = self.b.declare_var(ty);
        self.b.def_var(variable, init);
        variable
    }

    fn get(&mut self, v: V) -> Value {
        if let Some(source) = self.staged.source(v) {
            return self.source(source, self.staged.ty(v));
        }
        match self.values[v.0 as usize] {
            Some(value) => value,
            // Legal programs define values before use.
            None => self.int(0, Ty::I32),
        }
    }

    fn source(&mut self, source: Source, ty: Ty) -> Value {
        let lane = match (source, ty) {
            (Source::Const(l), Ty::F32) => self.b.ins().f32const(f32::from_bits(l.bits as u32)),
            (Source::Const(l), Ty::F64) => self.b.ins().f64const(f64::from_bits(l.bits)),
            (Source::Const(l), Ty::I32) => return self.int(i64::from(l.bits as u32), ty),
            (Source::Const(l), Ty::I64) => return self.int(l.bits as i64, ty),
            (Source::Const(l), Ty::Mask) => {
                let all = if self.vector { self.all_ones() } else { 1 };
                return self.int(if l.bits != 0 { all } else { 0 }, ty);
            }
            (Source::Splat(id), Ty::Mask) => {
                let byte = self.slot(id, types::I8);
                return self.mask_of_byte(byte);
            }
            (Source::Splat(id), _) => self.slot(id, self.lane_type(ty)),
        };
        self.spread(lane, ty)
    }

    /// A mask lane that is set, as an `iconst` of the lane's type takes it.
    fn all_ones(&self) -> i64 {
        if self.wide { -1 } else { 0xffff_ffff }
    }

    /// Every lane of a mask from one byte.
    fn mask_of_byte(&mut self, byte: Value) -> Value {
        let set = self.b.ins().icmp_imm_u(IntCC::NotEqual, byte, 0);
        if !self.vector {
            return set;
        }
        let lane = self.lane_type(Ty::Mask);
        let bit = self.b.ins().uextend(lane, set);
        let all = self.b.ins().ineg(bit);
        self.spread(all, Ty::Mask)
    }

    fn program(&mut self, n: Value) {
        self.section(&self.staged.before);
        self.make_bases();
        let zero = self.b.ins().iconst(types::I64, 0);
        self.index = Some(self.variable(types::I64, zero));
        self.left = Some(self.variable(types::I64, n));
        self.in_loop = true;
        let staged = self.staged;
        let step = if staged.program.trip == Trip::Elements { i64::from(staged.lanes) } else { 1 };
        if let Some(main) = &staged.main {
            let unroll = i64::from(staged.program.unroll);
            self.counted(main, step * unroll, unroll, Some(&staged.combine));
        }
        self.counted(&staged.single, step, 1, None);
        if let Some(partial) = &staged.partial {
            let (some, done) = (self.b.create_block(), self.b.create_block());
            let left = self.left_now();
            self.b.ins().brif(left, some, &[], done, &[]);
            self.b.switch_to_block(some);
            self.b.seal_block(some);
            self.section(partial);
            self.b.ins().jump(done, &[]);
            self.b.switch_to_block(done);
            self.b.seal_block(done);
        }
        self.in_loop = false;
        self.section(&staged.after);
    }

    fn left_now(&mut self) -> Value {
        match self.left {
            Some(left) => self.b.use_var(left),
            None => self.b.ins().iconst(types::I64, 0),
        }
    }

    /// Runs a section while `amount` is left; then `last`, if it ran at all.
    fn counted(&mut self, section: &Section, amount: i64, times: i64, last: Option<&Section>) {
        let [again, after, done] = [0; 3].map(|_| self.b.create_block());
        let enough = |this: &mut Self| {
            let left = this.left_now();
            this.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, left, amount)
        };
        let begin = enough(self);
        self.b.ins().brif(begin, again, &[], done, &[]);
        self.b.switch_to_block(again);
        self.section(section);
        self.step(amount, times);
        let more = enough(self);
        self.b.ins().brif(more, again, &[], after, &[]);
        self.b.seal_block(again);
        self.b.switch_to_block(after);
        self.b.seal_block(after);
        if let Some(last) = last {
            self.section(last);
        }
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
        self.b.seal_block(done);
    }

    fn step(&mut self, amount: i64, times: i64) {
        for (variable, by) in [(self.left, -amount), (self.index, amount)] {
            if let Some(variable) = variable {
                let old = self.b.use_var(variable);
                let new = self.b.ins().iadd_imm_s(old, by);
                self.b.def_var(variable, new);
            }
        }
        for at in 0..self.bases.len() {
            let by = i64::from(self.bases[at].advance) * times;
            if by != 0 {
                let old = self.b.use_var(self.bases[at].at);
                let new = self.b.ins().iadd_imm_s(old, by);
                self.b.def_var(self.bases[at].at, new);
            }
        }
    }

    fn section(&mut self, section: &Section) {
        for &(home, v) in &section.ins {
            if let Some(variable) = self.homes[home.0 as usize] {
                self.values[v.0 as usize] = Some(self.b.use_var(variable));
            }
        }
        for inst in &section.insts {
            let result = self.inst(inst);
            if let Some(r) = inst.result {
                self.values[r.0 as usize] = result;
            }
        }
        let outs: Vec<(usize, Value, Type)> = section
            .outs
            .iter()
            .map(|&(home, v)| (home.0 as usize, self.get(v), self.value_type(self.staged.ty(v))))
            .collect();
        for (home, value, ty) in outs {
            match self.homes[home] {
                Some(variable) => self.b.def_var(variable, value),
                None => self.homes[home] = Some(self.variable(ty, value)),
            }
        }
    }

    /// The bases of all addresses in loops.
    fn make_bases(&mut self) {
        let staged = self.staged;
        let sections = [staged.main.as_ref(), Some(&staged.single), staged.partial.as_ref()];
        for inst in sections.into_iter().flatten().flat_map(|s| &s.insts) {
            if let Some((addr, _)) = inst.op.memory()
                && self.find_base(&addr).is_none()
            {
                let start = self.start(&addr);
                let at = self.variable(types::I64, start);
                self.bases.push(Base { pointer: addr.pointer, row: addr.row, advance: advance(&addr), at });
            }
        }
    }

    fn find_base(&self, addr: &Addr) -> Option<Variable> {
        let same = |b: &&Base| b.pointer == addr.pointer && b.row == addr.row && b.advance == advance(addr);
        self.bases.iter().find(same).map(|b| b.at)
    }

    fn start(&mut self, addr: &Addr) -> Value {
        let pointer = self.slot(addr.pointer, types::I64);
        let Some((row, stride)) = addr.row else { return pointer };
        let stride = self.slot(stride, types::I64);
        let offset = self.b.ins().imul_imm_s(stride, i64::from(row));
        self.b.ins().iadd(pointer, offset)
    }

    /// Base and constant offset of an address now.
    fn address(&mut self, addr: &Addr, dtype: helion_ir::DType) -> (Value, i32) {
        let offset = addr.offset + (addr.vectors as usize * self.lanes() * dtype.size()) as i32;
        let base = match (self.in_loop, self.find_base(addr)) {
            (true, Some(at)) => self.b.use_var(at),
            (_, _) => return (self.start(addr), offset),
        };
        match (addr.walk, self.index) {
            (Walk::Unit, Some(index)) => {
                let index = self.b.use_var(index);
                let bytes = self.b.ins().imul_imm_s(index, dtype.size() as i64);
                (self.b.ins().iadd(base, bytes), offset)
            }
            (Walk::Unit | Walk::Fixed | Walk::Bytes { .. }, _) => (base, offset),
        }
    }

    fn inst(&mut self, inst: &Inst) -> Option<Value> {
        let args: Vec<Value> = inst.args.iter().map(|&a| self.get(a)).collect();
        let ty = inst.args.last().map_or(Ty::F32, |&a| self.staged.ty(a));
        match inst.op {
            // Sources are no instructions.
            Op::Const(_) | Op::Splat(_) => None,
            Op::Index => {
                let ty = inst.result.map_or(Ty::I64, |r| self.staged.ty(r));
                Some(self.index_lanes(ty))
            }
            Op::Tail => Some(self.tail()),
            Op::Load(addr, d) => Some(self.load(&addr, d, None)),
            Op::LoadMasked(addr, d) => Some(self.load(&addr, d, Some(args[0]))),
            Op::Store(addr, d) | Op::StoreStream(addr, d) => {
                self.store(&addr, d, args[0], None);
                None
            }
            Op::StoreMasked(addr, d) => {
                self.store(&addr, d, args[1], Some(args[0]));
                None
            }
            // Scaling and products of packed elements are refused before.
            Op::Prefetch(..) | Op::Scale | Op::Dots(_) => None,
            Op::ReduceTo(fold, id) => {
                self.reduce(fold, id, ty, args[0]);
                None
            }
            Op::Select => Some(self.select(args[0], args[1], args[2], ty)),
            Op::Compare(cmp) => Some(self.compare(cmp, ty, args[0], args[1])),
            Op::Convert(to) => Some(self.convert(ty, to, args[0])),
            Op::Bitcast(to) => Some(self.cast(self.value_type(to), args[0])),
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Min | Op::Max | Op::Fma | Op::Fnma | Op::Sqrt => {
                Some(self.arithmetic(&inst.op, ty, self.vector, &args))
            }
            Op::Round(_) | Op::And | Op::Or | Op::Xor | Op::Shl(_) | Op::ShrU(_) | Op::ShrS(_) => {
                Some(self.arithmetic(&inst.op, ty, self.vector, &args))
            }
        }
    }

    fn iota(&mut self, ty: Ty) -> Value {
        if !self.vector {
            return self.int(0, ty);
        }
        let size = if ty == Ty::Mask { self.lane_type(ty).bytes() as usize } else { ty.bytes() };
        let bytes: Vec<u8> = (0..self.lanes() as u64).flat_map(|l| l.to_le_bytes()[..size].to_vec()).collect();
        let constant = self.b.func.dfg.constants.insert(bytes.into());
        let ty = self.value_type(ty);
        self.b.ins().vconst(ty, constant)
    }

    /// A 64-bit integer in every lane.
    fn spread_word(&mut self, word: Value, ty: Ty) -> Value {
        let lane = self.lane_type(ty);
        let lane = if lane == types::I64 { word } else { self.b.ins().ireduce(lane, word) };
        self.spread(lane, ty)
    }

    fn index_lanes(&mut self, ty: Ty) -> Value {
        let first = match self.index {
            Some(index) => self.b.use_var(index),
            None => self.b.ins().iconst(types::I64, 0),
        };
        let first = self.spread_word(first, ty);
        let iota = self.iota(ty);
        self.b.ins().iadd(first, iota)
    }

    fn tail(&mut self) -> Value {
        let left = self.left_now();
        let left = self.spread_word(left, Ty::Mask);
        let iota = self.iota(Ty::Mask);
        self.b.ins().icmp(IntCC::SignedGreaterThan, left, iota)
    }
}

fn advance(addr: &Addr) -> i32 {
    match addr.walk {
        Walk::Fixed | Walk::Unit => 0,
        Walk::Bytes { advance, .. } => advance,
    }
}
