//! What a vector program means: an interpreter.
//!
//! Comes in: a legal program, a number of lanes, the argument block with real pointers, and the count.
//! Goes out: memory and result slots as every lowering must leave them, bit for bit, except that NaN
//! results of arithmetic may differ in sign and payload, and that conversions of floats to integers
//! that do not fit may give anything.

use half::{bf16, f16};
use helion_ir::dtype::DType;

use super::ir::{Addr, Carry, Cmp, Fold, Inst, Op, Packed, Program, Rounding, SlotId, Trip, Ty, V, Walk};
use super::unroll::fold_op;

/// Bits per lane: `u32` types zero-extended, masks 0 or 1.
type Lanes = Vec<u64>;

/// Runs a program on `n` elements or iterations.
///
/// # Safety
/// Every access of the program, partial steps masked, must be to memory that may be read or written.
pub unsafe fn run(program: &Program, lanes: usize, slots: &mut [u64], n: u64) {
    let values = vec![Lanes::new(); program.values.len()];
    let mut m = Machine { p: program, lanes, slots, values, step: 0, tail: lanes };
    // SAFETY: by the caller's promise, here and below.
    unsafe { m.insts(&program.before) };
    let per_step = if program.trip == Trip::Elements { lanes as u64 } else { 1 };
    let unroll = u64::from(program.unroll);
    let whole = n / per_step;
    let main = whole / unroll * unroll;
    let mut state: Vec<Vec<Lanes>> = Vec::new();
    for carry in &program.carries {
        let copies = if carry.fold.is_some() { program.unroll as usize } else { 1 };
        state.push(vec![m.get(carry.init).clone(); copies]);
    }
    for step in 0..whole {
        let copy = if step < main { (step % unroll) as usize } else { 0 };
        if step == main {
            m.combine(&mut state);
        }
        m.step = step;
        // SAFETY: the slots point to memory of the promised extent (see `run`).
        unsafe { m.body(&mut state, copy) };
    }
    if whole == main && main > 0 {
        m.combine(&mut state);
    }
    let rest = n % per_step;
    if rest > 0 {
        (m.step, m.tail) = (whole, rest as usize);
        // SAFETY: the slots point to memory of the promised extent (see `run`).
        unsafe { m.body(&mut state, 0) };
    }
    (m.step, m.tail) = (0, lanes);
    for (carry, copies) in program.carries.iter().zip(state) {
        m.set(carry.result, copies[0].clone());
    }
    // SAFETY: the slots point to memory of the promised extent (see `run`).
    unsafe { m.insts(&program.after) };
}

struct Machine<'a> {
    p: &'a Program,
    lanes: usize,
    slots: &'a mut [u64],
    values: Vec<Lanes>,
    step: u64,
    /// Lanes that exist in this step.
    tail: usize,
}

impl Machine<'_> {
    fn get(&self, v: V) -> &Lanes {
        &self.values[v.0 as usize]
    }
    fn set(&mut self, v: V, lanes: Lanes) {
        self.values[v.0 as usize] = lanes;
    }
    fn slot(&self, id: SlotId) -> u64 {
        self.slots[id.0 as usize]
    }

    /// Folds the copies of the main loop into the first.
    fn combine(&mut self, state: &mut [Vec<Lanes>]) {
        for (carry, copies) in self.p.carries.iter().zip(state) {
            let Some(fold) = carry.fold else { continue };
            let ty = self.p.ty(carry.param);
            let (first, rest) = copies.split_at_mut(1);
            for copy in rest {
                for (a, &mut b) in first[0].iter_mut().zip(copy) {
                    *a = arithmetic(&fold_op(fold), ty, &[*a, b]);
                }
            }
        }
    }

    unsafe fn body(&mut self, state: &mut [Vec<Lanes>], copy: usize) {
        let pick = |carry: &Carry| if carry.fold.is_some() { copy } else { 0 };
        for (carry, copies) in self.p.carries.iter().zip(state.iter()) {
            self.set(carry.param, copies[pick(carry)].clone());
        }
        // SAFETY: by the caller's promise.
        unsafe { self.insts(&self.p.body) };
        for (carry, copies) in self.p.carries.iter().zip(state) {
            let mut next = self.get(carry.next).clone();
            if carry.fold.is_some() {
                next[self.tail..].clone_from_slice(&self.get(carry.param)[self.tail..]);
            }
            copies[pick(carry)] = next;
        }
    }

    unsafe fn insts(&mut self, insts: &[Inst]) {
        for inst in insts {
            // SAFETY: by the caller's promise.
            let result = unsafe { self.inst(inst) };
            if let Some(r) = inst.result {
                self.set(r, result);
            }
        }
    }

    fn address(&self, addr: &Addr, dtype: DType, lane: usize) -> *mut u8 {
        let size = dtype.size() as i64;
        let vector = self.lanes as i64 * size;
        let row = addr.row.map_or(0, |(row, stride)| i64::from(row).wrapping_mul(self.slot(stride) as i64));
        let moved = match addr.walk {
            Walk::Fixed => 0,
            Walk::Unit => self.step as i64 * vector,
            Walk::Bytes { advance, .. } => self.step as i64 * i64::from(advance),
        };
        let offset = i64::from(addr.offset) + i64::from(addr.vectors) * vector + row + moved + lane as i64 * size;
        (self.slot(addr.pointer) as *mut u8).wrapping_offset(offset as isize)
    }

    unsafe fn load(&self, addr: &Addr, dtype: DType, mask: &dyn Fn(usize) -> bool) -> Lanes {
        let lane = |lane: usize| {
            if !mask(lane) {
                return 0;
            }
            let at = self.address(addr, dtype, if addr.is_splat() { 0 } else { lane });
            // SAFETY: by the caller's promise.
            widen(unsafe { read(at, dtype.size()) }, dtype)
        };
        (0..self.lanes).map(lane).collect()
    }

    unsafe fn store(&self, addr: &Addr, dtype: DType, value: &Lanes, mask: &dyn Fn(usize) -> bool) {
        for (lane, &bits) in value.iter().enumerate() {
            if mask(lane) {
                let bytes = narrow(bits, dtype).to_le_bytes();
                let at = self.address(addr, dtype, lane);
                // SAFETY: by the caller's promise.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, dtype.size()) };
            }
        }
    }

    unsafe fn inst(&mut self, inst: &Inst) -> Lanes {
        let all = |make: &dyn Fn(usize) -> u64| (0..self.lanes).map(make).collect();
        let arg = |at: usize| self.get(inst.args[at]);
        // SAFETY (all blocks below): by the caller's promise.
        match &inst.op {
            Op::Const(l) => vec![l.bits; self.lanes],
            Op::Splat(slot) => {
                let bits = self.slot(*slot);
                let bits = match inst.result.map(|r| self.p.ty(r)) {
                    Some(Ty::F64 | Ty::I64) => bits,
                    Some(Ty::Mask) => u64::from(bits & 0xff != 0),
                    Some(Ty::F32 | Ty::I32) | None => bits & 0xffff_ffff,
                };
                vec![bits; self.lanes]
            }
            Op::Index => {
                let narrow = inst.result.is_some_and(|r| self.p.ty(r) == Ty::I32);
                let first = self.step * self.lanes as u64;
                all(&|lane| (first + lane as u64) & if narrow { 0xffff_ffff } else { u64::MAX })
            }
            Op::Tail => all(&|lane| u64::from(lane < self.tail)),
            // SAFETY: the slots point to memory of the promised extent (see `run`).
            Op::Load(a, d) if a.is_splat() => unsafe { self.load(a, *d, &|_| true) },
            // SAFETY: the slots point to memory of the promised extent (see `run`).
            Op::Load(a, d) => unsafe { self.load(a, *d, &|lane| lane < self.tail) },
            // SAFETY: the slots point to memory of the promised extent (see `run`).
            Op::LoadMasked(a, d) => unsafe { self.load(a, *d, &|lane| lane < self.tail && arg(0)[lane] != 0) },
            Op::Store(a, d) | Op::StoreStream(a, d) => {
                // SAFETY: the slots point to memory of the promised extent (see `run`).
                unsafe { self.store(a, *d, arg(0), &|lane| lane < self.tail) };
                Lanes::new()
            }
            Op::StoreMasked(a, d) => {
                // SAFETY: the slots point to memory of the promised extent (see `run`).
                unsafe { self.store(a, *d, arg(1), &|lane| lane < self.tail && arg(0)[lane] != 0) };
                Lanes::new()
            }
            Op::Prefetch(..) => Lanes::new(),
            Op::ReduceTo(fold, slot) => {
                let ty = self.p.ty(inst.args[0]);
                let total = reduce(*fold, ty, arg(0));
                self.slots[slot.0 as usize] = total;
                Lanes::new()
            }
            Op::Select => all(&|lane| if arg(0)[lane] != 0 { arg(1)[lane] } else { arg(2)[lane] }),
            Op::Compare(cmp) => {
                let ty = self.p.ty(inst.args[0]);
                all(&|lane| compare(*cmp, ty, arg(0)[lane], arg(1)[lane]))
            }
            Op::Convert(to) => {
                let from = self.p.ty(inst.args[0]);
                all(&|lane| convert(from, *to, arg(0)[lane]))
            }
            Op::Bitcast(_) => arg(0).clone(),
            Op::Dots(packed) => {
                all(&|lane| dots(*packed, arg(0)[lane] as u32, arg(1)[lane] as u32, arg(2)[lane] as u32))
            }
            op @ (Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Min
            | Op::Max
            | Op::Fma
            | Op::Fnma
            | Op::Scale
            | Op::Sqrt)
            | op @ (Op::Round(_) | Op::And | Op::Or | Op::Xor | Op::Shl(_) | Op::ShrU(_) | Op::ShrS(_)) => {
                let ty = self.p.ty(inst.args[0]);
                all(&|lane| {
                    let mut args = [0; 3];
                    args.iter_mut().zip(&inst.args).for_each(|(a, &v)| *a = self.get(v)[lane]);
                    arithmetic(op, ty, &args)
                })
            }
        }
    }
}

/// # Safety
/// `size` bytes are readable.
unsafe fn read(at: *const u8, size: usize) -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: by the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), size) };
    u64::from_le_bytes(bytes)
}

/// What a lane holds after a load of these bits.
fn widen(bits: u64, dtype: DType) -> u64 {
    match dtype {
        DType::I8 => bits as i8 as u32 as u64,
        DType::I16 => bits as i16 as u32 as u64,
        DType::F16 => f16::from_bits(bits as u16).to_f32().to_bits().into(),
        DType::BF16 => bits << 16,
        DType::Bool => u64::from(bits != 0),
        DType::U8 | DType::U16 | DType::I32 | DType::U32 | DType::F32 => bits,
        DType::I64 | DType::U64 | DType::F64 | DType::F8E4M3 | DType::F8E5M2 => bits,
    }
}

/// What is stored of a lane; bytes past the element's are not used.
fn narrow(bits: u64, dtype: DType) -> u64 {
    match dtype {
        DType::F16 => f16::from_f32(f32::from_bits(bits as u32)).to_bits().into(),
        DType::BF16 => bf16::from_f32(f32::from_bits(bits as u32)).to_bits().into(),
        DType::Bool | DType::I8 | DType::I16 | DType::U8 | DType::U16 | DType::I32 | DType::U32 => bits,
        DType::F32 | DType::I64 | DType::U64 | DType::F64 | DType::F8E4M3 | DType::F8E5M2 => bits,
    }
}

fn reduce(fold: Fold, ty: Ty, lanes: &Lanes) -> u64 {
    let mut lanes = lanes.clone();
    while lanes.len() > 1 {
        let upper = lanes.split_off(lanes.len() / 2);
        for (a, b) in lanes.iter_mut().zip(upper) {
            *a = arithmetic(&fold_op(fold), ty, &[*a, b]);
        }
    }
    lanes[0]
}

fn compare(cmp: Cmp, ty: Ty, a: u64, b: u64) -> u64 {
    use std::cmp::Ordering;
    let order = match ty {
        Ty::F32 => f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32)),
        Ty::F64 => f64::from_bits(a).partial_cmp(&f64::from_bits(b)),
        Ty::I32 => Some((a as i32).cmp(&(b as i32))),
        Ty::I64 => Some((a as i64).cmp(&(b as i64))),
        Ty::Mask => Some(a.cmp(&b)),
    };
    u64::from(match cmp {
        Cmp::Eq => order == Some(Ordering::Equal),
        Cmp::Ne => order != Some(Ordering::Equal),
        Cmp::Lt => order == Some(Ordering::Less),
        Cmp::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Cmp::Unordered => order.is_none(),
        Cmp::LtU => a < b,
    })
}

fn convert(from: Ty, to: Ty, bits: u64) -> u64 {
    let (f, d) = (f32::from_bits(bits as u32), f64::from_bits(bits));
    let (i, l) = (bits as i32, bits as i64);
    let single = |x: f32| u64::from(x.to_bits());
    let word = |x: i32| u64::from(x as u32);
    match (from, to) {
        (Ty::F32, Ty::F64) => f64::from(f).to_bits(),
        (Ty::F32, Ty::I32) => word(f as i32),
        (Ty::F32, Ty::I64) => f as i64 as u64,
        (Ty::F64, Ty::F32) => single(d as f32),
        (Ty::F64, Ty::I32) => word(d as i32),
        (Ty::F64, Ty::I64) => d as i64 as u64,
        (Ty::I32, Ty::F32) => single(i as f32),
        (Ty::I32, Ty::F64) => f64::from(i).to_bits(),
        (Ty::I32, Ty::I64) => i64::from(i) as u64,
        (Ty::I64, Ty::F32) => single(l as f32),
        (Ty::I64, Ty::F64) => (l as f64).to_bits(),
        (Ty::I64, Ty::I32) => word(l as i32),
        (Ty::F32, Ty::F32) | (Ty::F64, Ty::F64) | (Ty::I32, Ty::I32) | (Ty::I64, Ty::I64) => bits,
        (Ty::Mask, _) | (_, Ty::Mask) => bits,
    }
}

/// One lane of [`Op::Dots`].
fn dots(packed: Packed, a: u32, b: u32, c: u32) -> u64 {
    let halves = |x: u32| [(x >> 16) as u16, x as u16];
    let products = halves(a).into_iter().zip(halves(b));
    let sum = match packed {
        Packed::Bf16 => {
            let number = |x: u16| f32::from_bits(u32::from(x) << 16);
            let flushed = |x: f32| if x.is_subnormal() { x * 0.0 } else { x };
            let step = |sum: f32, (a, b)| flushed(flushed(number(a)).mul_add(flushed(number(b)), flushed(sum)));
            products.fold(f32::from_bits(c), step).to_bits()
        }
        Packed::I16 => {
            let step =
                |sum: u32, (a, b): (u16, u16)| sum.wrapping_add((i32::from(a as i16) * i32::from(b as i16)) as u32);
            products.fold(c, step)
        }
        Packed::I8 => {
            let bytes = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
            bytes.fold(c, |sum, (a, b)| sum.wrapping_add((i32::from(a) * i32::from(b as i8)) as u32))
        }
    };
    u64::from(sum)
}

/// Operations from lanes of one type to the same type.
fn arithmetic(op: &Op, ty: Ty, args: &[u64]) -> u64 {
    match op {
        Op::And => args[0] & args[1],
        Op::Or => args[0] | args[1],
        Op::Xor => args[0] ^ args[1],
        _ => match ty {
            Ty::F32 => {
                let args: Vec<f32> = args.iter().map(|&a| f32::from_bits(a as u32)).collect();
                float32(op, &args).to_bits().into()
            }
            Ty::F64 => {
                let args: Vec<f64> = args.iter().map(|&a| f64::from_bits(a)).collect();
                float64(op, &args).to_bits()
            }
            Ty::I32 => integer(op, args[0] as i32 as i64, args[1.min(args.len() - 1)] as i32 as i64, 32) as u32 as u64,
            Ty::I64 => integer(op, args[0] as i64, args[1.min(args.len() - 1)] as i64, 64) as u64,
            Ty::Mask => args[0],
        },
    }
}

macro_rules! float {
    ($name:ident $ty:ident) => {
        fn $name(op: &Op, args: &[$ty]) -> $ty {
            let a = args[0];
            let b = args.get(1).copied().unwrap_or(a);
            match op {
                Op::Add => a + b,
                Op::Sub => a - b,
                Op::Mul => a * b,
                Op::Div => a / b,
                Op::Min => {
                    if a < b {
                        a
                    } else {
                        b
                    }
                }
                Op::Max => {
                    if a > b {
                        a
                    } else {
                        b
                    }
                }
                Op::Fma => a.mul_add(b, args[2]),
                Op::Fnma => (-a).mul_add(b, args[2]),
                // Exact in `f64` up to the one rounding.
                Op::Scale => (f64::from(a) * f64::from(b).exp2()) as $ty,
                Op::Sqrt => a.sqrt(),
                Op::Round(Rounding::Nearest) => a.round_ties_even(),
                Op::Round(Rounding::Down) => a.floor(),
                Op::Round(Rounding::Up) => a.ceil(),
                Op::Round(Rounding::Zero) => a.trunc(),
                _ => a,
            }
        }
    };
}

float!(float32 f32);
float!(float64 f64);

fn integer(op: &Op, a: i64, b: i64, bits: u32) -> i64 {
    let unsigned = if bits == 32 { a as u32 as u64 } else { a as u64 };
    match op {
        Op::Add => a.wrapping_add(b),
        Op::Sub => a.wrapping_sub(b),
        Op::Mul => a.wrapping_mul(b),
        Op::Min => a.min(b),
        Op::Max => a.max(b),
        Op::Shl(by) => ((unsigned) << by) as i64,
        Op::ShrU(by) => (unsigned >> by) as i64,
        Op::ShrS(by) => a >> by,
        _ => a,
    }
}
