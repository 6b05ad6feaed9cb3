//! Reductions: the state of each parallel point, from thread to warp to block.
//!
//! In: a frame with carries. Each thread folds its own elements into its own state, one for each parallel register. State
//! that may be split starts as the operation's identity; lanes then exchange theirs by shuffles, warps through
//! shared memory, and every thread ends with the whole result, to which the initial value is added last. State that
//! may not be split belongs to one thread alone: the plan gives it no lanes.

use super::emit::{Done, P, Space, V, mistake};
use super::lower::Lower;
use super::nest::Frame;
use super::sync::{Shared, Touch};
use helion_ir::dtype::DType;
use helion_ir::eval;
use helion_ir::loops::{Carry, ReduceOp};

impl<'c, 'a> Lower<'c, 'a> {
    /// Sets the state of all parallel registers to its beginning.
    pub(super) fn begin_states(&mut self, frame: &mut Frame<'c, 'a>) -> Done {
        let nest = frame.nest;
        if frame.states.is_empty() {
            for c in &nest.carries {
                let register = self.e.register_type(self.f.dtype(c.param));
                let states = frame.parallel_registers().len() * frame.parts;
                let all = (0..states).map(|_| self.e.variable(register)).collect::<Done<_>>()?;
                frame.states.push(all);
            }
        }
        for (k, c) in nest.carries.iter().enumerate() {
            let begin = match c.op {
                Some(op) => self.e.literal(eval::reduce_identity(op, self.f.dtype(c.param)))?,
                None => self.value(c.init)?,
            };
            for p in &frame.states[k] {
                self.e.builder.build_store(*p, begin)?;
            }
        }
        Ok(())
    }

    /// The state of a carry that belongs to a register.
    fn state(&self, frame: &Frame<'c, 'a>, carry: usize, register: usize) -> Done<P<'c>> {
        let mask = frame.parallel_mask();
        let point = frame.parallel_registers().iter().position(|p| *p == register & mask);
        // The number of the register among those of its point, of which neighbours along memory share a part.
        let bits = (0..frame.layout.reg.len()).filter(|k| mask >> k & 1 == 0);
        let number: usize = bits.enumerate().map(|(to, from)| (register >> from & 1) << to).sum();
        let part = number >> frame.layout.reg.first().map_or(0, |b| frame.layout.run(usize::from(b.axis)));
        let found = point.and_then(|p| frame.states.get(carry)?.get(p * frame.parts + part % frame.parts).copied());
        found.map_or_else(|| mistake("a point without state"), Ok)
    }

    /// What the points of a register find when they ask for the state.
    pub(super) fn bind_states(&mut self, frame: &mut Frame<'c, 'a>, register: usize) -> Done {
        for (k, c) in frame.nest.carries.iter().enumerate() {
            let state = self.read(self.state(frame, k, register)?, self.f.dtype(c.param))?;
            frame.memo.insert((c.param, register), state);
        }
        Ok(())
    }

    /// Folds the points of registers that have the same states, and are inside or outside together, into those.
    pub(super) fn fold(&mut self, frame: &mut Frame<'c, 'a>, registers: &[usize]) -> Done {
        let (nest, first) = (frame.nest, registers[0]);
        let inside = self.inside(frame, first, nest.axes.len())?;
        self.bind_states(frame, first)?;
        let before = nest.carries.iter().map(|c| self.at(frame, c.param, first)).collect::<Done<Vec<_>>>()?;
        for &r in registers {
            self.bind_states(frame, r)?;
            let next = nest.carries.iter().map(|c| self.at(frame, c.next, r)).collect::<Done<Vec<_>>>()?;
            for (k, next) in next.into_iter().enumerate() {
                self.e.builder.build_store(self.state(frame, k, r)?, next)?;
            }
        }
        let Some(inside) = inside else { return Ok(()) };
        for (k, (c, before)) in nest.carries.iter().zip(before).enumerate() {
            let p = self.state(frame, k, first)?;
            let after = self.read(p, self.f.dtype(c.param))?;
            self.e.builder.build_store(p, self.e.select(inside, after, before)?)?;
        }
        Ok(())
    }

    fn read(&self, p: P<'c>, d: DType) -> Done<V<'c>> {
        Ok(self.e.builder.build_load(self.e.register_type(d), p, "")?)
    }

    /// Combines the states of all threads and runs `finals`.
    pub(super) fn end_states(&mut self, frame: &mut Frame<'c, 'a>) -> Done {
        let nest = frame.nest;
        let points = frame.parallel_registers();
        frame.forget();
        for (k, c) in nest.carries.iter().enumerate() {
            let mut results = Vec::with_capacity(points.len());
            for parts in frame.states[k].clone().chunks(frame.parts) {
                results.push(self.whole(c, parts)?);
            }
            if let Some(op) = c.op {
                self.combine(frame, op, c, &mut results)?;
            }
            for (point, value) in points.iter().zip(results) {
                frame.memo.insert((c.result, *point), value);
            }
        }
        frame.partial = true;
        let acts = self.acts(&frame.layout, frame.parallel)?;
        self.effects(frame, &nest.finals, &points, acts, frame.parallel)?;
        frame.forget();
        Ok(())
    }

    /// The parts of a thread's state in one, neighbours first.
    fn whole(&mut self, c: &Carry, parts: &[P<'c>]) -> Done<V<'c>> {
        let dtype = self.f.dtype(c.param);
        let mut values = parts.iter().map(|p| self.read(*p, dtype)).collect::<Done<Vec<_>>>()?;
        while values.len() > 1 {
            let Some(step) = c.op.and_then(eval::reduce_combine) else { return mistake("a state in parts") };
            values = values.chunks(2).map(|two| self.e.binary(step, dtype, two[0], two[1])).collect::<Done<_>>()?;
        }
        Ok(values[0])
    }

    /// Makes the states of one carry whole.
    fn combine(&mut self, frame: &Frame<'c, 'a>, op: ReduceOp, c: &Carry, states: &mut [V<'c>]) -> Done {
        let dtype = self.f.dtype(c.param);
        let Some(step) = eval::reduce_combine(op) else { return mistake("a reduction that cannot be split") };
        let reduced = |b: &super::super::layout::Bit| usize::from(b.axis) >= frame.parallel;
        for (k, _) in frame.layout.lane.iter().enumerate().filter(|(_, b)| b.as_ref().is_some_and(reduced)) {
            for s in states.iter_mut() {
                let other = self.e.shuffle_xor(*s, dtype, 1 << k)?;
                *s = self.e.binary(step, dtype, *s, other)?;
            }
        }
        let warps: Vec<usize> = frame
            .layout
            .warp
            .iter()
            .enumerate()
            .filter(|(_, b)| b.as_ref().is_some_and(reduced))
            .map(|(k, _)| k)
            .collect();
        if !warps.is_empty() {
            self.across_warps(step, dtype, &warps, states)?;
        }
        let identity = eval::reduce_identity(op, dtype);
        if self.known.literal(c.init) != Some(identity) {
            let init = self.value(c.init)?;
            for s in states.iter_mut() {
                *s = self.e.binary(step, dtype, init, *s)?;
            }
        }
        Ok(())
    }

    /// Combines the states of warps that differ in these bits of their number, through shared memory.
    fn across_warps(
        &mut self,
        step: helion_ir::elementwise::BinaryOp,
        dtype: DType,
        bits: &[usize],
        states: &mut [V<'c>],
    ) -> Done {
        let size = dtype.size() as i64;
        let block = 32i64 << self.plan.warps;
        let mut touch = Touch::default();
        touch.write(Shared::Exchange);
        self.sync(&touch)?;
        let own = self.e.add(self.e.shl(self.warp, 5)?, self.lane)?;
        let area = self.shared(0)?;
        for (k, s) in states.iter().enumerate() {
            let at = self.e.add(own, self.e.i32(k as i64 * block))?;
            let p = self.e.offset(area, self.e.mul(at, self.e.i32(size))?)?;
            self.e.store_elements(Space::Shared, p, dtype, &[*s], None)?;
        }
        let mut touch = Touch::default();
        touch.read(Shared::Exchange);
        self.sync(&touch)?;
        let mask: i64 = bits.iter().map(|b| 1 << b).sum();
        let rest = self.e.and(self.warp, self.e.i32(!mask))?;
        for (k, s) in states.iter_mut().enumerate() {
            let mut sum: Option<V<'c>> = None;
            for turn in 0..1usize << bits.len() {
                let number: i64 = bits.iter().enumerate().map(|(i, b)| ((turn >> i & 1) as i64) << b).sum();
                let warp = self.e.add(rest, self.e.i32(number))?;
                let at = self.e.add(self.e.shl(warp, 5)?, self.lane)?;
                let at = self.e.add(at, self.e.i32(k as i64 * block))?;
                let p = self.e.offset(area, self.e.mul(at, self.e.i32(size))?)?;
                let part = self.e.load_elements(Space::Shared, p, dtype, 1, None, false)?[0];
                sum = Some(match sum {
                    Some(all) => self.e.binary(step, dtype, all, part)?,
                    None => part,
                });
            }
            *s = sum.unwrap_or(*s);
        }
        Ok(())
    }
}
