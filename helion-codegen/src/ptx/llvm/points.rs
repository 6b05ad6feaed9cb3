//! The points of one piece of a nest: each thread's elements, written out one after the other.
//!
//! In: a frame whose piece is set. Values are made when a store, an atomic, a print or the state of a reduction needs
//! them, once for all registers that agree in the axes they depend on. Adjacent elements of a thread are loaded and
//! stored together where the memory allows it.

use super::emit::{Done, I, P, Space, V, mistake};
use super::lower::{Array, Held, Lower, Stride};
use super::nest::Frame;
use helion_ir::dtype::DType;
use helion_ir::elementwise::BinaryOp;
use helion_ir::loops::{BufferId, Inst, Mem, Op, Val};
use inkwell::IntPredicate;
use std::collections::HashSet;

use super::super::known::CARRIED;
use super::super::plan::access;

impl<'c, 'a> Lower<'c, 'a> {
    /// All points of a piece.
    pub(super) fn points(&mut self, frame: &mut Frame<'c, 'a>, partial: bool) -> Done {
        frame.forget();
        frame.partial = partial;
        let registers: Vec<usize> = (0..frame.layout.registers()).collect();
        let nest = frame.nest;
        let acts = self.acts(&frame.layout, nest.axes.len())?;
        let axes = nest.axes.len();
        let carried = |i: &Inst| i.args.iter().any(|a| frame.forms.of(*a).axes & CARRIED != 0);
        let acting = |i: &Inst| matches!(i.op, Op::Store { .. } | Op::Atomic { .. } | Op::Print { .. });
        if nest.body.iter().any(|i| acting(i) && carried(i)) {
            // What is stored depends on the state before or after: one point after the other.
            for r in registers {
                self.bind_states(frame, r)?;
                self.effects(frame, &nest.body, &[r], acts, axes)?;
                self.fold(frame, &[r])?;
            }
            return Ok(());
        }
        self.effects(frame, &nest.body, &registers, acts, axes)?;
        if !nest.carries.is_empty() {
            let run = self.inside_run(frame);
            registers.chunks(1 << run).try_for_each(|run| self.fold(frame, run))?;
        }
        Ok(())
    }

    /// log2 of the adjacent registers of one state that are inside or outside together.
    fn inside_run(&self, frame: &Frame<'c, 'a>) -> u32 {
        match frame.layout.reg.first().map(|b| usize::from(b.axis)) {
            Some(fast) if frame.partial && fast >= frame.parallel => {
                frame.layout.run(fast).min(self.known.divisor(frame.nest.axes[fast].extent))
            }
            _ => 0,
        }
    }

    /// What instructions do to memory, at points given by registers, within the extents of the first `axes` axes.
    pub(super) fn effects(
        &mut self,
        frame: &mut Frame<'c, 'a>,
        insts: &'a [Inst],
        registers: &[usize],
        acts: Option<I<'c>>,
        axes: usize,
    ) -> Done {
        frame.checked = axes;
        let written: HashSet<Mem> =
            insts.iter().filter(|i| !matches!(i.op, Op::Load { .. })).filter_map(|i| Some(access(i)?.0)).collect();
        let mut turns = Turns::default();
        for inst in insts {
            if let Some((mem, _)) = access(inst).filter(|(m, _)| acts.is_some() && written.contains(m))
                && self.held(mem).is_none()
                && !self.only_actors_read(frame, mem)
                && turns.change(mem, matches!(inst.op, Op::Load { .. }))
            {
                self.e.barrier()?;
            }
            match &inst.op {
                // What is written later must be read now.
                Op::Load { mem, .. } if written.contains(mem) => {
                    for r in registers {
                        let Some(v) = inst.result else { continue };
                        self.at(frame, v, *r)?;
                    }
                }
                Op::Store { .. } => self.stores(frame, inst, registers, acts, axes)?,
                Op::Atomic { .. } => {
                    for r in registers {
                        self.atomic_at(frame, inst, *r, acts, axes)?;
                    }
                }
                Op::Print { label } => {
                    for r in registers {
                        let value = self.at(frame, inst.args[0], *r)?;
                        let mut at = Vec::new();
                        for a in &inst.args[1..] {
                            at.push(self.at(frame, *a, *r)?.into_int_value());
                        }
                        let inside = self.inside(frame, *r, axes)?;
                        let mask = self.all([inside, acts])?;
                        self.e.print(label, &at, value, self.f.dtype(inst.args[0]), mask)?;
                    }
                }
                // Made when something needs them.
                Op::Load { .. } | Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) | Op::Unary(_) => {}
                Op::Binary(_) | Op::Fma | Op::Select | Op::Cast(_) | Op::Bitcast(_) | Op::Random { .. } => {}
            }
        }
        Ok(())
    }

    /// Whether a point is within the extents of the first `axes` axes; nothing when it is for sure.
    pub(super) fn inside(&mut self, frame: &Frame<'c, 'a>, register: usize, axes: usize) -> Done<Option<I<'c>>> {
        if !frame.partial {
            return Ok(None);
        }
        let mut all = None;
        for axis in 0..axes {
            let length = 1i64 << frame.layout.extent(axis);
            if self.known.int(frame.nest.axes[axis].extent).is_some_and(|n| n % length == 0 && n > 0) {
                continue;
            }
            let room = self.room_along(frame, axis)?;
            let offset = self.e.i32(frame.layout.offset(axis, register) as i64);
            let within = self.e.compare(IntPredicate::SGT, room, offset)?;
            all = self.all([all, Some(within)])?;
        }
        Ok(all)
    }

    /// How many indices from this thread's first one on are within the extent of an axis, or more than any thread has.
    fn room_along(&mut self, frame: &Frame<'c, 'a>, axis: usize) -> Done<I<'c>> {
        let place = self.place_along(&frame.layout, axis)?;
        let first = self.e.add(frame.starts[axis], place)?;
        let room = self.e.sub(frame.extents[axis], first)?;
        let plenty = self.e.i64(1 << 30);
        let less = self.e.compare(IntPredicate::SLT, room, plenty)?;
        self.e.to_i32(self.e.select(less, room.into(), plenty.into())?.into_int_value())
    }

    /// Both conditions, where there are some.
    pub(super) fn all(&self, conditions: [Option<I<'c>>; 2]) -> Done<Option<I<'c>>> {
        match conditions {
            [Some(a), Some(b)] => self.e.and(a, b).map(Some),
            [a, b] => Ok(a.or(b)),
        }
    }

    /// The index along an axis.
    fn index_along(&mut self, frame: &Frame<'c, 'a>, axis: usize, register: usize) -> Done<I<'c>> {
        let place = self.place_along(&frame.layout, axis)?;
        let first = self.e.add(frame.starts[axis], place)?;
        self.e.add(first, self.e.i64(frame.layout.offset(axis, register) as i64))
    }

    /// The register bits that a value depends on.
    fn relevant(frame: &Frame<'c, 'a>, axes: u32) -> usize {
        if axes & CARRIED != 0 {
            return frame.layout.registers() - 1;
        }
        let has = |a: &usize| axes >> a & 1 != 0;
        (0..frame.nest.axes.len()).filter(has).map(|a| frame.layout.register_mask(a)).sum()
    }

    /// A value at a point.
    pub(super) fn at(&mut self, frame: &mut Frame<'c, 'a>, v: Val, register: usize) -> Done<V<'c>> {
        if self.known.literal(v).is_some() {
            return self.value(v);
        }
        if let Some(axis) = frame.forms.axis(v, frame.nest) {
            return Ok(self.index_along(frame, axis, register)?.into());
        }
        let axes = frame.forms.of(v).axes;
        let key = (v, register & Self::relevant(frame, axes));
        if let Some(made) = frame.memo.get(&key) {
            return Ok(*made);
        }
        let Some(inst) = frame.insts.get(&v).copied() else { return self.value(v) };
        if let Op::Load { mem, masked } = inst.op {
            return self.load_at(frame, inst, mem, masked, key);
        }
        let made = match self.rounded_quotient(frame, inst) {
            Some((to, [a, b])) => {
                let (a, b) = (self.at(frame, a, register)?, self.at(frame, b, register)?);
                self.e.cast(self.e.quotient(a, b)?, DType::F32, to)?
            }
            None => {
                let mut args = Vec::with_capacity(inst.args.len());
                for a in &inst.args {
                    args.push(self.at(frame, *a, register)?);
                }
                self.pure(inst, &args)?
            }
        };
        frame.memo.insert(key, made);
        Ok(made)
    }

    /// What is divided, when an instruction rounds a quotient of `f32` to 16 bits: that leaves nothing of the last bits
    /// for which an exact division takes several times as long.
    fn rounded_quotient(&self, frame: &Frame<'c, 'a>, inst: &Inst) -> Option<(DType, [Val; 2])> {
        let Op::Cast(to @ (DType::F16 | DType::BF16)) = inst.op else { return None };
        let quotient = frame.insts.get(&inst.args[0])?;
        let divides = matches!(quotient.op, Op::Binary(BinaryOp::Div)) && self.f.dtype(inst.args[0]) == DType::F32;
        divides.then(|| (to, [quotient.args[0], quotient.args[1]]))
    }

    /// Loads an element, with its neighbours where they come along.
    fn load_at(
        &mut self,
        frame: &mut Frame<'c, 'a>,
        inst: &'a Inst,
        mem: Mem,
        masked: bool,
        (v, register): (Val, usize),
    ) -> Done<V<'c>> {
        let index = &inst.args[..inst.args.len() - if masked { 2 } else { 0 }];
        let value = match self.held(mem) {
            Some(b) => self.register_of(frame, b, index, register)?,
            None => {
                let run =
                    if masked && self.depends(frame, index_mask(inst), 0) { 0 } else { self.run(frame, mem, index)? };
                let first = register & !((1 << run) - 1);
                // Points that only differ in axes that do not matter: the first of them stands for all.
                let mut mask = self.inside(frame, first, frame.checked)?;
                if masked {
                    let m = self.at(frame, inst.args[index.len()], first)?.into_int_value();
                    mask = self.all([mask, Some(m)])?;
                }
                if self.only_actors_read(frame, mem) {
                    let acts = self.acts(&frame.layout, frame.checked)?;
                    mask = self.all([mask, acts])?;
                }
                let place = self.address(frame, inst, mem, index, first)?;
                let array = self.array_of(mem)?.clone();
                let constant = array.constant;
                let all = self.e.load_elements(array.space, place, array.dtype, 1 << run, mask, constant)?;
                for (k, x) in all.iter().enumerate() {
                    let x = if masked {
                        let m = self.at(frame, inst.args[index.len()], first + k)?.into_int_value();
                        let other = self.at(frame, inst.args[index.len() + 1], first + k)?;
                        self.e.select(m, *x, other)?
                    } else {
                        *x
                    };
                    frame.memo.insert((v, first + k), x);
                }
                return frame.memo.get(&(v, register)).copied().map_or_else(|| mistake("a load was lost"), Ok);
            }
        };
        let value = if masked {
            let m = self.at(frame, inst.args[index.len()], register)?.into_int_value();
            let other = self.at(frame, inst.args[index.len() + 1], register)?;
            self.e.select(m, value, other)?
        } else {
            value
        };
        // What is in registers may change within the piece; it is read where it is needed.
        frame.memo.insert((v, register), value);
        Ok(value)
    }

    /// Whether threads with copies leave memory alone, because the one that acts for them overwrites what they would read,
    /// and nothing that they keep depends on it.
    fn only_actors_read(&self, frame: &Frame<'c, 'a>, mem: Mem) -> bool {
        let written = |i: &Inst| match i.op {
            Op::Load { .. } => None,
            _ => access(i).map(|(mem, _)| mem),
        };
        let all = || frame.nest.body.iter().chain(&frame.nest.finals).filter_map(written);
        self.is_shared(mem) && all().any(|m| m == mem) && all().all(|m| self.held(m).is_none())
    }

    /// Whether a value depends on the axis of the lowest register bits.
    fn depends(&self, frame: &Frame<'c, 'a>, v: Val, bit: usize) -> bool {
        let axes = frame.forms.of(v).axes;
        frame.layout.reg.get(bit).is_some_and(|b| axes >> b.axis & 1 != 0) || axes & CARRIED != 0
    }

    /// The buffer that is accessed, when it is not in memory.
    fn held(&self, mem: Mem) -> Option<BufferId> {
        match mem {
            Mem::Buffer(b) if !matches!(self.buffers[b.index()], Held::Memory(_)) => Some(b),
            Mem::Buffer(_) | Mem::Tensor(_) => None,
        }
    }

    /// The variable of an element in a register.
    fn variable_of(&self, frame: &Frame<'c, 'a>, b: BufferId, index: &[Val], register: usize) -> Done<P<'c>> {
        match &self.buffers[b.index()] {
            Held::Scalar(p) => Ok(*p),
            Held::Registers(layout, all) => {
                let axes: Vec<Option<usize>> = index.iter().map(|i| frame.forms.axis(*i, frame.nest)).collect();
                let found = frame.layout.register_in(layout, &axes, register);
                found.and_then(|r| all.get(r).copied()).map_or_else(|| mistake("a buffer in other registers"), Ok)
            }
            Held::Memory(_) => mistake("a buffer in memory has no variable"),
        }
    }

    fn register_of(&self, frame: &Frame<'c, 'a>, b: BufferId, index: &[Val], register: usize) -> Done<V<'c>> {
        let p = self.variable_of(frame, b, index, register)?;
        Ok(self.e.builder.build_load(self.e.register_type(self.f.buffers[b.index()].dtype), p, "")?)
    }

    /// The address of an element: that of the thread's first one, and some steps on.
    fn address(
        &mut self,
        frame: &mut Frame<'c, 'a>,
        inst: &'a Inst,
        mem: Mem,
        index: &[Val],
        register: usize,
    ) -> Done<P<'c>> {
        let array = self.array_of(mem)?.clone();
        let factors: Option<Vec<_>> = index.iter().map(|i| frame.forms.of(*i).factors).collect();
        let Some(factors) = factors else {
            return self.first_address(frame, &array, index, register);
        };
        let key = std::ptr::from_ref(inst) as usize;
        let base = match frame.bases.get(&key) {
            Some(b) => *b,
            None => {
                let b = self.first_address(frame, &array, index, 0)?;
                frame.bases.insert(key, b);
                b
            }
        };
        let size = array.dtype.size() as i64;
        let (mut fixed, mut moving): (i64, Option<I<'c>>) = (0, None);
        for (steps, stride) in factors.iter().zip(&array.strides) {
            let step = |(a, f): (usize, &i64)| f * frame.layout.offset(a, register) as i64;
            let step: i64 = steps.iter().enumerate().map(step).sum();
            match (step, *stride) {
                (0, _) => {}
                (n, Stride::Const(s)) => fixed += n * s * size,
                (n, stride) => {
                    let by = self.narrowed(&array, self.e.i64(n * size))?;
                    let by = self.times(&array, by, stride)?;
                    moving = Some(match moving {
                        Some(m) => self.e.add(m, by)?,
                        None => by,
                    });
                }
            }
        }
        let moved = match moving {
            Some(m) => self.e.offset(base, m)?,
            None => base,
        };
        if fixed == 0 { Ok(moved) } else { self.e.offset(moved, self.e.i64(fixed)) }
    }

    fn first_address(
        &mut self,
        frame: &mut Frame<'c, 'a>,
        array: &Array<'c>,
        index: &[Val],
        register: usize,
    ) -> Done<P<'c>> {
        let mut at = Vec::with_capacity(index.len());
        for i in index {
            at.push(self.at(frame, *i, register)?);
        }
        let offset = self.offset_of(array, &at)?;
        Ok(self.place(array, offset)?.base)
    }

    /// log2 of the adjacent elements of a thread that lie side by side in memory, aligned as one instruction needs.
    fn run(&self, frame: &Frame<'c, 'a>, mem: Mem, index: &[Val]) -> Done<u32> {
        let Some(fast) = frame.layout.reg.first().map(|b| usize::from(b.axis)) else { return Ok(0) };
        let array = self.array_of(mem)?;
        if index.is_empty() || array.strides.last() != Some(&Stride::Const(1)) {
            return Ok(0);
        }
        let size = array.dtype.size();
        let mut most = frame.layout.run(fast).min((16 / size as u32).trailing_zeros());
        if frame.partial {
            // Pieces begin at multiples of their length: a run that divides the extent is inside or outside.
            most = most.min(self.known.divisor(frame.nest.axes[fast].extent));
        }
        for run in (1..=most).rev() {
            if self.runs(frame, array, index, fast, run) {
                return Ok(run);
            }
        }
        Ok(0)
    }

    fn runs(&self, frame: &Frame<'c, 'a>, array: &Array<'c>, index: &[Val], fast: usize, run: u32) -> bool {
        let bytes = (array.dtype.size() as u32).trailing_zeros() + run;
        let last = index.len() - 1;
        let tensor = array.space == Space::Global;
        if tensor && bytes > array.aligned {
            return false;
        }
        index.iter().zip(&array.strides).enumerate().all(|(d, (i, stride))| {
            let Some(factors) = frame.forms.of(*i).factors else {
                return d != last && tensor && !self.depends(frame, *i, 0);
            };
            let divides = |n: i64| n == 0 || n.trailing_zeros() >= run;
            if d == last {
                let others = factors.iter().enumerate().filter(|(a, _)| *a != fast).all(|(_, f)| divides(*f));
                return factors[fast] == 1 && others && self.known.divisor(*i) >= run;
            }
            let still = factors[fast] == 0;
            still
                && match stride {
                    // Strides of aligned tensors are multiples of 16 bytes.
                    _ if tensor => true,
                    _ if self.known.int(*i) == Some(0) => true,
                    Stride::Const(s) => (s * array.dtype.size() as i64).trailing_zeros() >= bytes,
                    Stride::Value(_) => false,
                }
        })
    }

    /// A store at all points.
    fn stores(
        &mut self,
        frame: &mut Frame<'c, 'a>,
        inst: &'a Inst,
        registers: &[usize],
        acts: Option<I<'c>>,
        axes: usize,
    ) -> Done {
        let Op::Store { mem, masked } = inst.op else { return mistake("not a store") };
        let index = &inst.args[1..inst.args.len() - usize::from(masked)];
        if let Some(b) = self.held(mem) {
            for r in registers {
                // Outside the extents nobody reads what this writes.
                let value = self.at(frame, inst.args[0], *r)?;
                let p = self.variable_of(frame, b, index, *r)?;
                self.e.builder.build_store(p, value)?;
            }
            return Ok(());
        }
        let mask_value = inst.args.last().copied().filter(|_| masked);
        let run = match mask_value {
            Some(m) if self.depends(frame, m, 0) => 0,
            _ => self.run(frame, mem, index)?,
        };
        // One point at a time is no run, whichever it is.
        let run = if registers.contains(&0) && registers.contains(&((1 << run) - 1)) { run } else { 0 };
        for r in registers.iter().filter(|r| *r & ((1 << run) - 1) == 0) {
            let mut values = Vec::with_capacity(1 << run);
            for k in 0..1 << run {
                values.push(self.at(frame, inst.args[0], r + k)?);
            }
            let inside = self.inside(frame, *r, axes)?;
            let mut mask = self.all([inside, acts])?;
            if let Some(m) = mask_value {
                let m = self.at(frame, m, *r)?.into_int_value();
                mask = self.all([mask, Some(m)])?;
            }
            let place = self.address(frame, inst, mem, index, *r)?;
            let array = self.array_of(mem)?;
            self.e.store_elements(array.space, place, array.dtype, &values, mask)?;
        }
        Ok(())
    }

    /// An atomic at one point.
    fn atomic_at(
        &mut self,
        frame: &mut Frame<'c, 'a>,
        inst: &'a Inst,
        register: usize,
        acts: Option<I<'c>>,
        axes: usize,
    ) -> Done {
        let Op::Atomic { op, mem, masked } = inst.op else { return mistake("not an atomic") };
        let Some((_, index)) = access(inst) else { return mistake("an atomic without memory") };
        let values = inst.args.len() - index.len() - usize::from(masked);
        let value = self.at(frame, inst.args[0], register)?;
        let expected = if values == 2 { Some(self.at(frame, inst.args[1], register)?) } else { None };
        let inside = self.inside(frame, register, axes)?;
        let mut mask = self.all([inside, acts])?;
        if masked {
            let m = self.at(frame, inst.args[inst.args.len() - 1], register)?.into_int_value();
            mask = self.all([mask, Some(m)])?;
        }
        let place = self.address(frame, inst, mem, index, register)?;
        let array = self.array_of(mem)?.clone();
        let old = self.e.atomic(op, array.dtype, array.space, place, value, expected, mask)?;
        if let Some(r) = inst.result {
            let axes = frame.forms.of(r).axes;
            let key = (r, register & Self::relevant(frame, axes));
            frame.memo.insert(key, old);
        }
        Ok(())
    }
}

/// What threads with copies of a point read, and what the one that acts for them wrote, since they last waited for each
/// other.
#[derive(Default)]
struct Turns {
    read: HashSet<Mem>,
    written: HashSet<Mem>,
}

impl Turns {
    /// Notes an access, and says whether threads must wait for each other before it.
    fn change(&mut self, mem: Mem, reads: bool) -> bool {
        let waits = if reads { self.written.contains(&mem) } else { self.read.contains(&mem) };
        if waits {
            *self = Turns::default();
        }
        if reads {
            self.read.insert(mem)
        } else {
            self.written.insert(mem)
        };
        waits
    }
}

/// The mask of a masked load.
fn index_mask(inst: &Inst) -> Val {
    inst.args[inst.args.len() - 2]
}
