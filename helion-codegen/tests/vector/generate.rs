//! Random vector programs.

use helion_codegen::cpu::vector::builder::Builder;
use helion_codegen::cpu::vector::ir::{Addr, Cmp, Fold, Program, Rounding, SlotId, Trip, Ty, V, Walk};
use helion_ir::dtype::{DType, Literal};

use crate::memory::Random;

/// What a pointer points to.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    pub slot: SlotId,
    pub dtype: DType,
    /// Exactly `n` elements, walked by vectors.
    pub unit: bool,
    pub rows: u32,
    /// Whether stores may go around the caches, so that rows must be aligned.
    pub aligned: bool,
}

pub struct Case {
    pub program: Program,
    pub buffers: Vec<Buffer>,
    pub stride: SlotId,
    pub scalars: Vec<(SlotId, Ty)>,
    pub results: Vec<(SlotId, Ty)>,
}

struct Maker<'a> {
    b: Builder,
    r: &'a mut Random,
    /// Values in scope; and whether their bits are determined even when they are NaN.
    pool: Vec<(V, bool)>,
    tys: &'static [Ty],
    buffers: Vec<Buffer>,
    stride: SlotId,
    elements: bool,
}

const SHORT: &[Ty] = &[Ty::F32, Ty::I32, Ty::Mask];
const LONG: &[Ty] = &[Ty::F64, Ty::I64, Ty::Mask];
const MIXED: &[Ty] = &[Ty::F32, Ty::I32, Ty::F64, Ty::I64, Ty::Mask];

pub fn dtypes(ty: Ty) -> &'static [DType] {
    match ty {
        Ty::F32 => &[DType::F32, DType::F16, DType::BF16],
        Ty::F64 => &[DType::F64],
        Ty::I32 => &[DType::I32, DType::I8, DType::U8, DType::I16, DType::U16, DType::U32],
        Ty::I64 => &[DType::I64, DType::U64],
        Ty::Mask => &[DType::Bool],
    }
}

impl Maker<'_> {
    fn find(&mut self, ty: Ty) -> Option<(V, bool)> {
        let all: Vec<(V, bool)> = self.pool.iter().copied().filter(|p| self.b.ty(p.0) == ty).collect();
        if all.is_empty() {
            return None;
        }
        // Mostly recent ones, sometimes old ones: short and long lives.
        let from = if self.r.chance(60) { all.len().saturating_sub(6) } else { 0 };
        Some(all[from + self.r.below(all.len() - from)])
    }

    fn get(&mut self, ty: Ty) -> (V, bool) {
        if !self.r.chance(12)
            && let Some(found) = self.find(ty)
        {
            return found;
        }
        let v = self.constant(ty);
        self.pool.push((v, true));
        (v, true)
    }

    fn constant(&mut self, ty: Ty) -> V {
        let small = self.r.below(64) as i32 - 32;
        match ty {
            Ty::F32 => {
                let x = self.r.pick(&[0.0, -0.0, 1.0, -1.5, 0.1, small as f32, f32::INFINITY, 1e-40]);
                self.b.f32(x)
            }
            Ty::F64 => {
                let x = self.r.pick(&[0.0, -0.0, 1.0, -1.5, 0.1, f64::from(small), f64::NEG_INFINITY]);
                self.b.f64(x)
            }
            Ty::I32 => {
                let x = self.r.pick(&[0, 1, -1, small, i32::MIN, i32::MAX, 255]);
                self.b.i32(x)
            }
            Ty::I64 => {
                let x = self.r.pick(&[0, 1, -1, i64::from(small), i64::MIN, i64::MAX, 1 << 40]);
                self.b.i64(x)
            }
            Ty::Mask => {
                let x = self.r.chance(50);
                self.b.mask(x)
            }
        }
    }

    fn address(&mut self, buffer: Buffer) -> Addr {
        let mut addr = Addr::unit(buffer.slot);
        if buffer.rows > 1 {
            addr = addr.row(self.r.below(buffer.rows as usize) as u32, self.stride);
        }
        if !buffer.unit {
            let size = buffer.dtype.size() as i32;
            let splat = self.r.chance(50);
            let advance = size * self.r.pick(&[0, 1, 3, 16]);
            addr.walk = if self.r.chance(30) { Walk::Fixed } else { Walk::Bytes { advance, splat } };
            addr.offset = size * self.r.below(5) as i32;
            addr.vectors = self.r.below(2) as u32;
        } else if !self.elements {
            addr.walk = Walk::Unit;
        }
        addr
    }

    fn load(&mut self) {
        let at = self.r.below(self.buffers.len());
        let buffer = self.buffers[at];
        let addr = self.address(buffer);
        let v = if self.r.chance(20) {
            let mask = self.get(Ty::Mask).0;
            self.b.load_masked(mask, addr, buffer.dtype)
        } else {
            self.b.load(addr, buffer.dtype)
        };
        self.pool.push((v, true));
        if self.r.chance(10) {
            // Nothing need be there.
            let addr = if self.elements { addr.row(1 << 20, self.stride) } else { addr };
            self.b.prefetch(addr, buffer.dtype);
        }
    }

    fn store(&mut self) {
        let unit: Vec<Buffer> = self.buffers.iter().copied().filter(|b| b.unit).collect();
        let buffer = self.r.pick(&unit);
        let ty = Ty::of_memory(buffer.dtype).unwrap();
        let addr = self.address(buffer);
        let v = self.get(ty).0;
        match self.r.below(6) {
            0 | 1 => {
                let mask = self.get(Ty::Mask).0;
                self.b.store_masked(mask, addr, buffer.dtype, v);
            }
            2 if buffer.aligned => self.b.store_stream(addr, buffer.dtype, v),
            _ => self.b.store(addr, buffer.dtype, v),
        }
        // Memory now may hold a NaN of undetermined bits: nobody may look at its bits any more.
        if ty.is_float() {
            self.buffers.retain(|b| b.unit || b.slot != buffer.slot);
        }
    }

    fn arithmetic(&mut self) {
        let ty = self.r.pick(self.tys);
        let (a, exact_a) = self.get(ty);
        let (b, exact_b) = self.get(ty);
        let exact = exact_a && exact_b;
        let (v, exact) = match ty {
            Ty::F32 | Ty::F64 => match self.r.below(14) {
                0 => (self.b.add(a, b), false),
                1 => (self.b.sub(a, b), false),
                2 => (self.b.mul(a, b), false),
                3 => (self.b.div(a, b), false),
                4 => (self.b.min(a, b), exact),
                5 => (self.b.max(a, b), exact),
                6..=8 => {
                    let c = self.get(ty).0;
                    (self.b.fma(a, b, c), false)
                }
                9 => {
                    let c = self.get(ty).0;
                    (self.b.fnma(a, b, c), false)
                }
                10 => (self.b.sqrt(a), false),
                11 => {
                    let mode = self.r.pick(&[Rounding::Nearest, Rounding::Down, Rounding::Up, Rounding::Zero]);
                    (self.b.round(mode, a), false)
                }
                12 if exact => {
                    let v = match self.r.below(3) {
                        0 => self.b.and(a, b),
                        1 => self.b.or(a, b),
                        _ => self.b.xor(a, b),
                    };
                    (v, true)
                }
                13 if exact_a => {
                    let to = if ty == Ty::F32 { Ty::I32 } else { Ty::I64 };
                    (self.b.bitcast(to, a), true)
                }
                _ => (self.b.add(a, b), false),
            },
            Ty::I32 | Ty::I64 => {
                let bits = 8 * ty.bytes();
                let by = self.r.below(bits) as u8;
                let v = match self.r.below(12) {
                    0 => self.b.add(a, b),
                    1 => self.b.sub(a, b),
                    2 => self.b.mul(a, b),
                    3 => self.b.min(a, b),
                    4 => self.b.max(a, b),
                    5 => self.b.and(a, b),
                    6 => self.b.or(a, b),
                    7 => self.b.xor(a, b),
                    8 => self.b.shl(a, by),
                    9 => self.b.shr_u(a, by),
                    10 => self.b.shr_s(a, by),
                    _ => self.b.bitcast(if ty == Ty::I32 { Ty::F32 } else { Ty::F64 }, a),
                };
                (v, true)
            }
            Ty::Mask => {
                let v = match self.r.below(4) {
                    0 => self.b.and(a, b),
                    1 => self.b.or(a, b),
                    2 => self.b.xor(a, b),
                    _ => self.b.not(a),
                };
                (v, true)
            }
        };
        self.pool.push((v, exact));
    }

    fn compare(&mut self) {
        let numbers: Vec<Ty> = self.tys.iter().copied().filter(|&t| t != Ty::Mask).collect();
        let ty = self.r.pick(&numbers);
        let (a, b) = (self.get(ty).0, self.get(ty).0);
        let last = if ty.is_float() { Cmp::Unordered } else { Cmp::LtU };
        let cmp = self.r.pick(&[Cmp::Eq, Cmp::Ne, Cmp::Lt, Cmp::Le, last]);
        let mask = self.b.compare(cmp, a, b);
        self.pool.push((mask, true));
        let ((x, ex), (y, ey)) = (self.get(ty), self.get(ty));
        let v = self.b.select(mask, x, y);
        self.pool.push((v, ex && ey));
    }

    fn convert(&mut self) {
        let numbers: Vec<Ty> = self.tys.iter().copied().filter(|&t| t != Ty::Mask).collect();
        let (from, to) = (self.r.pick(&numbers), self.r.pick(&numbers));
        let (mut a, _) = self.get(from);
        if from.is_float() && to.is_int() {
            let (low, high) = match from {
                Ty::F32 => (self.b.f32(-1e6), self.b.f32(1e6)),
                _ => (self.b.f64(-1e6), self.b.f64(1e6)),
            };
            let below = self.b.min(a, high);
            a = self.b.max(below, low);
        }
        if from != to {
            let v = self.b.convert(to, a);
            self.pool.push((v, !(from.is_float() && to.is_float())));
        }
    }

    fn steps(&mut self, count: usize) {
        for _ in 0..count {
            match self.r.below(20) {
                0..=3 => self.load(),
                4..=5 => self.store(),
                6..=8 => self.compare(),
                9..=10 => self.convert(),
                11 if self.elements => {
                    let ty = if self.tys.contains(&Ty::I32) { Ty::I32 } else { Ty::I64 };
                    let v = self.b.index(ty);
                    self.pool.push((v, true));
                }
                12 => {
                    let v = self.b.tail();
                    self.pool.push((v, true));
                }
                _ => self.arithmetic(),
            }
        }
    }
}

/// The neutral element of a fold.
fn neutral(fold: Fold, ty: Ty) -> Literal {
    let (dtype, float) = match ty {
        Ty::F32 => (DType::F32, true),
        Ty::F64 => (DType::F64, true),
        Ty::I32 => (DType::I32, false),
        Ty::I64 => (DType::I64, false),
        Ty::Mask => (DType::Bool, false),
    };
    let short = dtype.size() == 4;
    let float_bits = |x: f64| if short { u64::from((x as f32).to_bits()) } else { x.to_bits() };
    let bits = match (fold, float) {
        (Fold::Add | Fold::Or, false) => 0,
        (Fold::Mul, false) => 1,
        (Fold::Max, false) => {
            if short {
                1 << 31
            } else {
                1 << 63
            }
        }
        (Fold::Min, false) => {
            if short {
                i32::MAX as u64
            } else {
                i64::MAX as u64
            }
        }
        (Fold::And, false) => {
            if ty == Ty::Mask {
                1
            } else {
                u64::MAX
            }
        }
        (Fold::Add | Fold::Or, true) => float_bits(-0.0),
        (Fold::Mul | Fold::And, true) => float_bits(1.0),
        (Fold::Max, true) => float_bits(f64::NEG_INFINITY),
        (Fold::Min, true) => float_bits(f64::INFINITY),
    };
    Literal::from_bits(dtype, bits)
}

pub fn make(seed: u64) -> Case {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let r = &mut random;
    for _ in 0..4 {
        r.next();
    }
    let elements = !r.chance(15);
    let mut b = Builder::new("fuzz", if elements { Trip::Elements } else { Trip::Count });
    let unroll = r.pick(&[1, 1, 2, 3, 4]);
    b.unroll(unroll);
    let tys = r.pick(&[SHORT, SHORT, LONG, MIXED]);
    let stride = b.stride();
    let mut buffers = Vec::new();
    let most = if r.chance(15) { 12 } else { 4 };
    let count = 2 + r.below(most);
    for at in 0..count {
        let ty = r.pick(tys);
        let dtype = r.pick(dtypes(ty));
        let rows = if r.chance(20) { 3 } else { 1 };
        let (unit, aligned) = (elements && (at == 0 || r.chance(80)), r.chance(30));
        buffers.push(Buffer { slot: b.pointer(), dtype, unit, rows, aligned });
    }
    if !elements {
        // Something to store to: walked by vectors, far from the end.
        let ty = r.pick(tys);
        let dtype = r.pick(dtypes(ty));
        buffers.push(Buffer { slot: b.pointer(), dtype, unit: true, rows: 1, aligned: r.chance(50) });
    }
    let scalars: Vec<(SlotId, Ty)> = (0..r.below(4)).map(|_| r.pick(tys)).map(|ty| (b.scalar(ty), ty)).collect();
    let mut pool: Vec<(V, bool)> = Vec::new();
    for &(slot, _) in &scalars {
        pool.push((b.splat(slot), true));
    }
    let all_buffers = buffers.clone();
    let mut m = Maker { b, r, pool, tys, buffers, stride, elements };
    // Before: arithmetic on constants and scalars.
    for _ in 0..m.r.below(5) {
        m.arithmetic();
    }
    let carried = if m.r.chance(10) { 24 } else { m.r.below(5) };
    let mut folds = Vec::new();
    for _ in 0..carried {
        let ty = m.r.pick(tys);
        let fold = match ty {
            Ty::F32 | Ty::F64 => m.r.pick(&[Fold::Add, Fold::Mul, Fold::Max, Fold::Min]),
            Ty::I32 | Ty::I64 => m.r.pick(&[Fold::Add, Fold::Mul, Fold::Max, Fold::Min, Fold::Or, Fold::And]),
            Ty::Mask => m.r.pick(&[Fold::Or, Fold::And]),
        };
        if m.r.chance(65) {
            let init = m.b.constant(neutral(fold, ty));
            folds.push((init, Some(fold), ty));
        } else {
            let init = m.get(ty).0;
            folds.push((init, None, ty));
        }
    }
    let ids: Vec<_> = folds.iter().map(|&(init, fold, ty)| (m.b.carry(init, fold), fold, ty)).collect();
    let outside = m.pool.clone();
    m.b.begin_body();
    for &((_, param), fold, _) in &ids {
        if fold.is_none() {
            m.pool.push((param, false));
        }
    }
    let count = if m.r.chance(15) { 60 } else { 4 + m.r.below(20) };
    m.steps(count);
    for &((id, param), fold, ty) in &ids {
        let (x, _) = m.get(ty);
        let next = match fold {
            None => x,
            Some(Fold::Add) if ty.is_float() && m.r.chance(60) => {
                let y = m.get(ty).0;
                m.b.fma(x, y, param)
            }
            Some(Fold::Add) => m.b.add(param, x),
            Some(Fold::Mul) => m.b.mul(param, x),
            Some(Fold::Max) => m.b.max(param, x),
            Some(Fold::Min) => m.b.min(param, x),
            Some(Fold::Or) => m.b.or(param, x),
            Some(Fold::And) => m.b.and(param, x),
        };
        m.b.set_next(id, next);
    }
    m.store();
    m.b.begin_after();
    m.pool = outside;
    let mut results = Vec::new();
    for &((id, _), fold, ty) in &ids {
        let carried = m.b.carried(id);
        let slot = m.b.result(ty);
        let fold = fold.unwrap_or(if ty == Ty::Mask { Fold::Or } else { Fold::Max });
        m.b.reduce_to(fold, slot, carried);
        results.push((slot, ty));
        m.pool.push((carried, false));
    }
    let program = m.b.finish().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    Case { program, buffers: all_buffers, stride, scalars, results }
}
