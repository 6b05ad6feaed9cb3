//! Nests: loops over the pieces that a block of threads handles at once.
//!
//! In: a nest and its layout. Every axis is cut in pieces as long as the layout's extent along it; the threads handle one
//! piece of all axes together (`points`). A piece that lies within all extents runs without conditions; the others
//! have one for each element. State of reductions is kept in registers, then exchanged (`reduce`).

use super::super::known::Forms;
use super::super::layout::Layout;
use super::super::plan::access;
use super::emit::{Done, I, P, V};
use super::lower::{Held, Lower};
use super::sync::Touch;
use helion_ir::eval;
use helion_ir::loops::{Axis, Inst, Mem, Nest, Op, Val};
use inkwell::IntPredicate;
use std::collections::HashMap;

/// The parts in which a thread keeps each state of a nest, when it folds many elements into few states.
fn parts(nest: &Nest, layout: &Layout) -> usize {
    let parallel: usize = (0..nest.axes.len() - nest.reduce).map(|a| layout.register_mask(a)).sum();
    let points = 1usize << parallel.count_ones();
    let can_split = nest.carries.iter().all(|c| c.op.is_some_and(|op| eval::reduce_combine(op).is_some()));
    if !can_split || layout.registers() < MANY * points { 1 } else { (MOST_PARTS / points).max(1) }
}

/// Elements of a thread that make parts of a state worth it, and the most states and parts of a carry together.
const MANY: usize = 16;
const MOST_PARTS: usize = 4;

/// A nest being made.
pub(super) struct Frame<'c, 'a> {
    pub nest: &'a Nest,
    pub layout: Layout,
    /// The layout for pieces that are partly outside, when they can be walked in another way: one element for each
    /// thread at a time.
    pub slim: Option<Layout>,
    pub forms: Forms,
    /// How many axes are parallel.
    pub parallel: usize,
    pub insts: HashMap<Val, &'a Inst>,
    /// Where the current piece begins along each axis.
    pub starts: Vec<I<'c>>,
    pub extents: Vec<I<'c>>,
    /// For each carry, its state for each parallel register, in parts.
    pub states: Vec<Vec<P<'c>>>,
    /// Parts of each state: operations on one part wait for each other.
    pub parts: usize,
    /// Values made in the current piece of code, by the register bits they depend on.
    pub memo: HashMap<(Val, usize), V<'c>>,
    /// Addresses of the first element of accesses made in the current piece of code, by the instruction.
    pub bases: HashMap<usize, P<'c>>,
    /// Whether elements of the current piece may lie outside the extents.
    pub partial: bool,
    /// How many axes, from the first on, have a say in whether a point is inside.
    pub checked: usize,
}

impl<'c, 'a> Frame<'c, 'a> {
    /// The bits of the register number that the parallel axes have.
    pub fn parallel_mask(&self) -> usize {
        (0..self.parallel).map(|a| self.layout.register_mask(a)).sum()
    }
    /// The register numbers of parallel points.
    pub fn parallel_registers(&self) -> Vec<usize> {
        let mask = self.parallel_mask();
        (0..self.layout.registers()).filter(|r| r & !mask == 0).collect()
    }
    /// What was made so far is of another piece of code.
    pub fn forget(&mut self) {
        self.memo.clear();
        self.bases.clear();
    }
}

impl<'c, 'a> Lower<'c, 'a> {
    pub(super) fn nest(&mut self, nest: &'a Nest) -> Done {
        let layout = self.plan.layout(nest);
        let mut touch = Touch::default();
        touch.nest(nest, &|m| self.is_shared(m));
        self.sync(&touch)?;
        let extents = nest.axes.iter().map(|a| self.int(a.extent)).collect::<Done<Vec<_>>>()?;
        let mut frame = Frame {
            nest,
            layout: layout.clone(),
            slim: self.slim(nest, layout),
            forms: Forms::new(self.f, self.known, nest),
            parallel: nest.axes.len() - nest.reduce,
            insts: nest.body.iter().chain(&nest.finals).filter_map(|i| Some((i.result?, i))).collect(),
            starts: vec![self.e.i64(0); nest.axes.len()],
            extents,
            states: Vec::new(),
            parts: parts(nest, layout),
            memo: HashMap::new(),
            bases: HashMap::new(),
            partial: false,
            checked: nest.axes.len(),
        };
        self.pieces(&mut frame, 0)?;
        // Barriers within the nest do not cover what came after them.
        self.pending.note(&touch);
        Ok(())
    }

    /// A layout with one element for each thread, for nests that touch nothing in registers that differs between threads
    /// or registers: what is left at the end of a row is then a short loop instead of all elements written out again.
    fn slim(&self, nest: &Nest, layout: &Layout) -> Option<Layout> {
        let differs = |l: &Layout| l.registers() > 1 || l.lane.iter().chain(&l.warp).any(Option::is_some);
        let keeps = nest.body.iter().chain(&nest.finals).filter_map(access).any(|(mem, _)| match mem {
            Mem::Buffer(b) => matches!(&self.buffers[b.index()], Held::Registers(l, _) if differs(l)),
            Mem::Tensor(_) => false,
        });
        // Each point of the parallel axes has state, which stays where it is.
        let states = !nest.carries.is_empty() && (0..nest.axes.len() - nest.reduce).any(|a| layout.extent(a) > 0);
        let full = layout.lane.iter().chain(&layout.warp).all(Option::is_some);
        if layout.reg.is_empty() || keeps || states || !full {
            return None;
        }
        let (mut extents, mut order) = (vec![0; nest.axes.len()], Vec::new());
        for b in layout.lane.iter().chain(&layout.warp).flatten() {
            extents[usize::from(b.axis)] += 1;
        }
        for b in layout.reg.iter().chain(layout.lane.iter().chain(&layout.warp).flatten()) {
            let axis = usize::from(b.axis);
            if !order.contains(&axis) {
                order.push(axis);
            }
        }
        Some(Layout::blocked(&extents, &order, 0, self.plan.warps))
    }

    /// Loops over the pieces of the axes from `axis` on.
    fn pieces(&mut self, frame: &mut Frame<'c, 'a>, axis: usize) -> Done {
        if axis == frame.parallel && !frame.nest.carries.is_empty() {
            self.begin_states(frame)?;
            self.pieces_of_sums(frame, axis)?;
            return self.end_states(frame);
        }
        if axis == frame.nest.axes.len() {
            return self.piece(frame);
        }
        self.along(frame, axis, |s, frame| s.pieces(frame, axis + 1))
    }

    /// Loops over the pieces of the reduce axes.
    fn pieces_of_sums(&mut self, frame: &mut Frame<'c, 'a>, axis: usize) -> Done {
        if axis == frame.nest.axes.len() {
            return self.piece(frame);
        }
        self.along(frame, axis, |s, frame| s.pieces_of_sums(frame, axis + 1))
    }

    /// A loop over the pieces of one axis, where there can be several.
    fn along(
        &mut self,
        frame: &mut Frame<'c, 'a>,
        axis: usize,
        body: impl FnOnce(&mut Self, &mut Frame<'c, 'a>) -> Done,
    ) -> Done {
        let length = 1u64 << frame.layout.extent(axis);
        let bound = self.known.bound(frame.nest.axes[axis].extent, frame.nest.axes[axis].bound);
        if bound.is_some_and(|b| b <= length) {
            frame.starts[axis] = self.e.i64(0);
            return body(self, frame);
        }
        let (zero, step) = (self.e.i64(0), self.e.i64(length as i64));
        self.counted(zero, frame.extents[axis], step, |s, start| {
            frame.starts[axis] = start;
            body(s, frame)?;
            // The next turn exchanges states in the same memory.
            if axis < frame.parallel && !frame.nest.carries.is_empty() { s.end_of_turn() } else { Ok(()) }
        })
    }

    /// One piece: with conditions where some of it is outside.
    fn piece(&mut self, frame: &mut Frame<'c, 'a>) -> Done {
        // Code for many sizes has conditions in any case, and no short loops for what is left.
        let many = |(k, a): (usize, &Axis)| {
            self.known.is_bounded(a.extent) && self.known.bound(a.extent, a.bound) <= Some(1 << frame.layout.extent(k))
        };
        if frame.nest.axes.iter().enumerate().any(many) {
            return self.points(frame, true);
        }
        let mut inside: Option<I<'c>> = None;
        let mut never = false;
        // What a point outside makes of registers is in registers that nobody reads.
        let first = if self.stays_in_registers(frame.nest) { frame.parallel } else { 0 };
        for axis in first..frame.nest.axes.len() {
            let length = 1i64 << frame.layout.extent(axis);
            match self.known.int(frame.nest.axes[axis].extent) {
                Some(n) if n % length == 0 && n > 0 => continue,
                Some(n) if n < length => never = true,
                _ => {}
            }
            let end = self.e.add(frame.starts[axis], self.e.i64(length))?;
            let whole = self.e.compare(IntPredicate::SLE, end, frame.extents[axis])?;
            inside = Some(match inside {
                Some(i) => self.e.and(i, whole)?,
                None => whole,
            });
        }
        let Some(inside) = inside else { return self.points(frame, false) };
        if never {
            return self.partial(frame);
        }
        let (whole, partial, after) = (self.e.block("whole"), self.e.block("partial"), self.e.block("after"));
        self.e.branch(inside, whole, partial)?;
        self.e.at(whole);
        self.points(frame, false)?;
        self.e.jump(after)?;
        self.e.at(partial);
        self.partial(frame)?;
        self.e.jump(after)?;
        self.e.at(after);
        frame.forget();
        Ok(())
    }

    /// Whether a nest touches nothing but registers.
    fn stays_in_registers(&self, nest: &Nest) -> bool {
        let held = |mem: &Mem| match mem {
            Mem::Buffer(b) => Some(&self.buffers[b.index()]),
            Mem::Tensor(_) => None,
        };
        nest.body.iter().chain(&nest.finals).all(|i| match &i.op {
            Op::Load { mem, .. } => held(mem).is_some_and(|h| !matches!(h, Held::Memory(_))),
            Op::Store { mem, .. } => held(mem).is_some_and(|h| matches!(h, Held::Registers(..))),
            Op::Atomic { .. } | Op::Print { .. } => false,
            Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) | Op::Unary(_) | Op::Binary(_) | Op::Fma => true,
            Op::Select | Op::Cast(_) | Op::Bitcast(_) | Op::Random { .. } => true,
        })
    }

    /// A piece of which some is outside the extents.
    fn partial(&mut self, frame: &mut Frame<'c, 'a>) -> Done {
        let Some(slim) = frame.slim.clone() else { return self.points(frame, true) };
        let wide = std::mem::replace(&mut frame.layout, slim);
        let starts = frame.starts.clone();
        self.partial_along(frame, &wide, 0)?;
        frame.layout = wide;
        frame.starts = starts;
        Ok(())
    }

    /// Loops over what a piece laid out as `wide` has inside the extents, along the axes from `axis` on.
    fn partial_along(&mut self, frame: &mut Frame<'c, 'a>, wide: &Layout, axis: usize) -> Done {
        if axis == frame.nest.axes.len() {
            return self.points(frame, true);
        }
        if wide.extent(axis) == frame.layout.extent(axis) {
            return self.partial_along(frame, wide, axis + 1);
        }
        let (begin, step) = (frame.starts[axis], self.e.i64(1 << frame.layout.extent(axis)));
        let end = self.e.add(begin, self.e.i64(1 << wide.extent(axis)))?;
        let short = self.e.compare(IntPredicate::SLT, end, frame.extents[axis])?;
        let end = self.e.select(short, end.into(), frame.extents[axis].into())?.into_int_value();
        self.counted(begin, end, step, |s, start| {
            frame.starts[axis] = start;
            s.partial_along(frame, wide, axis + 1)
        })
    }

    /// What this thread's lane and warp add to the index along an axis.
    pub(super) fn place_along(&mut self, layout: &Layout, axis: usize) -> Done<I<'c>> {
        let key = (layout.clone(), axis);
        if let Some(p) = self.places.get(&key) {
            return Ok(*p);
        }
        let here = self.e.here()?;
        if let Some(end) = self.prologue.get_terminator() {
            self.e.builder.position_before(&end);
        }
        let mut sum = self.e.i32(0);
        for (number, bits) in [(self.lane, &layout.lane[..]), (self.warp, &layout.warp[..])] {
            let mut k = 0;
            while k < bits.len() {
                let Some(first) = bits[k].filter(|b| usize::from(b.axis) == axis) else {
                    k += 1;
                    continue;
                };
                // Neighbouring bits move together.
                let mut n = 1;
                while bits
                    .get(k + n)
                    .copied()
                    .flatten()
                    .is_some_and(|b| b.axis == first.axis && usize::from(b.bit) == usize::from(first.bit) + n)
                {
                    n += 1;
                }
                let part = self.e.and(self.e.shr(number, k as u64)?, self.e.i32((1 << n) - 1))?;
                sum = self.e.add(sum, self.e.shl(part, u64::from(first.bit))?)?;
                k += n;
            }
        }
        let wide = self.e.to_i64(sum)?;
        self.e.at(here);
        self.places.insert(key, wide);
        Ok(wide)
    }

    /// Whether this thread is the one of those with copies that acts, when there are copies: threads that differ only in
    /// bits that no axis has, or one of the axes from `first` on.
    pub(super) fn acts(&mut self, layout: &Layout, first: usize) -> Done<Option<I<'c>>> {
        let copies = |b: &Option<super::super::layout::Bit>| b.is_none_or(|b| usize::from(b.axis) >= first);
        let mask = |bits: &[Option<super::super::layout::Bit>]| -> i64 {
            bits.iter().enumerate().map(|(k, b)| i64::from(copies(b)) << k).sum()
        };
        let (lanes, warps) = (mask(&layout.lane), mask(&layout.warp));
        if lanes == 0 && warps == 0 {
            return Ok(None);
        }
        let lane = self.e.and(self.lane, self.e.i32(lanes))?;
        let warp = self.e.and(self.warp, self.e.i32(warps))?;
        let both = self.e.or(lane, warp)?;
        self.e.compare(IntPredicate::EQ, both, self.e.i32(0)).map(Some)
    }
}
