//! Products whose operands a producer fetches: the side that multiplies.
//!
//! In: a contract, its product, the ring. Out: the sum in fragments, each stage of the ring given back when no product
//! reads it any more. The last steps of a product run on in the background, next to what follows, until a nest or a product
//! wants the sum: `Lower::running` says which do. What a window does not have of its last step, the tensor may have: those elements become zeros
//! in shared memory before they are multiplied.

use super::super::feed::Feed;
use super::super::product::Tile;
use super::contract::Job;
use super::super::plan::access;
use super::emit::{Done, I, P, Space};
use super::lower::{Held, Lower};
use super::ring::Position;
use helion_ir::dtype::DType;
use helion_ir::loops::{BufferId, Contract, Mem, Stmt};
use inkwell::IntPredicate;

/// Products of so many steps back may run while the next step's begin.
const BEHIND: u32 = 1;

impl<'c, 'a> Lower<'c, 'a> {
    /// All steps of a product. With a left operand in registers, whose numbers are fixed, there are `few`, written out.
    pub(super) fn fed_steps(
        &mut self,
        job: &Job<'c, '_, 'a>,
        feed: &Feed,
        ring: Position<'c>,
        few: Option<u32>,
    ) -> Done {
        let bits = u64::from(job.p.step.trailing_zeros());
        let whole = self.e.to_i32(self.e.shr(job.lhs.summed, bits)?)?;
        // The assembler follows products that run on over the end of a loop's turn up to the first wait, which must
        // be for all of them; so there is none until the sum is wanted. Until then no stage is given back.
        let fits = few.is_some_and(|steps| steps < feed.stages);
        if !fits || !self.runs_on(job.c) {
            self.end_running()?;
        }
        self.quiet = !self.running.is_empty();
        match few {
            None => {
                let (zero, one) = (self.e.i32(0), self.e.i32(1));
                self.counted(zero, whole, one, |s, step| s.fed_step(job, feed, ring, None, step))?;
                let cut = self.e.compare(IntPredicate::SLT, whole, job.steps)?;
                self.when(cut, |s| s.cut_step(job, feed, ring, None, whole))?;
            }
            Some(count) => {
                let known = self.known.int(job.c.k.extent).map(|k| k.max(0) as u64);
                for step in 0..count {
                    let from = job.left.is_some().then_some(step * job.p.step);
                    let number = self.e.i32(i64::from(step));
                    let end = u64::from(step + 1) << bits;
                    match known {
                        Some(k) if end <= k => self.fed_step(job, feed, ring, from, number)?,
                        Some(k) if end - k < 1 << bits => self.cut_step(job, feed, ring, from, number)?,
                        Some(_) => {}
                        None => {
                            let is_whole = self.e.compare(IntPredicate::SLT, number, whole)?;
                            self.when(is_whole, |s| s.fed_step(job, feed, ring, from, number))?;
                            let more = self.e.compare(IntPredicate::SLT, number, job.steps)?;
                            let cut = self.e.and(self.e.not(is_whole)?, more)?;
                            self.when(cut, |s| s.cut_step(job, feed, ring, from, number))?;
                        }
                    }
                }
            }
        }
        if self.runs_on(job.c) {
            self.running.push(job.c.acc);
            return Ok(());
        }
        self.end_products(job)?;
        self.end_running()
    }

    /// Whether a product may run on until somebody wants the result: it is in registers, and no step depends on a
    /// condition, after which the assembler would not know which registers are in use.
    fn runs_on(&self, c: &Contract) -> bool {
        matches!(self.buffers[c.acc.index()], Held::Registers(..)) && self.known.int(c.k.extent).is_some()
    }

    /// Waits for the products that still run in the background, so that their results are in registers.
    pub(super) fn end_running(&mut self) -> Done {
        let plan = self.plan;
        let (Some(feed), Some(ring)) = (&plan.feed, self.ring) else { return Ok(()) };
        if !self.running.is_empty() {
            let sums = std::mem::take(&mut self.running);
            let sums: Vec<P<'c>> = sums.iter().flat_map(|b| self.registers_of(*b)).collect();
            self.end_products_in(&sums)?;
        }
        for stage in std::mem::take(&mut self.unreleased) {
            self.leave_stage(feed, stage, self.e.bool(true))?;
        }
        self.leave_last(feed, ring)
    }

    /// Waits if one of these is the result of a product that still runs.
    pub(super) fn end_running_in(&mut self, wanted: impl IntoIterator<Item = Mem>) -> Done {
        let wants = |m: Mem| matches!(m, Mem::Buffer(b) if self.running.contains(&b));
        if !self.running.is_empty() && wanted.into_iter().any(wants) { self.end_running() } else { Ok(()) }
    }

    /// The variables of a buffer in registers.
    fn registers_of(&self, b: BufferId) -> Vec<P<'c>> {
        match &self.buffers[b.index()] {
            Held::Registers(_, all) => all.clone(),
            Held::Scalar(_) | Held::Memory(_) => Vec::new(),
        }
    }

    /// The results of products that run when a turn of a loop with this body ends, and so perhaps when one begins.
    pub(super) fn running_after(&self, body: &[Stmt]) -> Vec<BufferId> {
        let mut running: Vec<BufferId> = Vec::new();
        for s in body {
            match s {
                Stmt::Contract(c) => {
                    // The next product's wait ends all.
                    running.clear();
                    running.extend(self.runs_on(c).then_some(c.acc));
                }
                Stmt::Nest(n) => {
                    let touched: Vec<Mem> =
                        n.body.iter().chain(&n.finals).filter_map(access).map(|(mem, _)| mem).collect();
                    if touched.iter().any(|m| matches!(m, Mem::Buffer(b) if running.contains(b))) {
                        running.clear();
                    }
                }
                Stmt::Inst(_) => {}
                Stmt::For { .. } | Stmt::While { .. } | Stmt::If { .. } => running.clear(),
            }
        }
        running
    }

    /// Waits for the operands of step `number` and begins to multiply them; gives the stage before back.
    fn fed_step(
        &mut self,
        job: &Job<'c, '_, 'a>,
        feed: &Feed,
        ring: Position<'c>,
        from: Option<u32>,
        number: I<'c>,
    ) -> Done {
        let (stage, begin) = self.await_stage(feed, ring)?;
        let at = self.operands_at(job, feed, begin, number)?;
        self.multiply_stage(job, feed, ring, from, number, stage, at)
    }

    /// Where the operands of step `number` are, the step's stage beginning at `begin` in the ring.
    fn operands_at(&mut self, job: &Job<'c, '_, 'a>, feed: &Feed, begin: I<'c>, number: I<'c>) -> Done<[P<'c>; 2]> {
        let stage = self.e.offset(self.shared(feed.ring)?, begin)?;
        if let Some(kept) = feed.kept(job.c) {
            let by = self.e.mul(number, self.e.i32(i64::from(job.p.lhs.bytes())))?;
            return Ok([self.e.offset(self.shared(kept.at)?, by)?, stage]);
        }
        // A left operand in registers has no place in a stage.
        let left = if job.left.is_some() { 0 } else { job.p.lhs.bytes() };
        Ok([stage, self.e.offset(stage, self.e.i32(i64::from(left)))?])
    }

    /// The last step, which is step `number`, when it is not whole.
    fn cut_step(
        &mut self,
        job: &Job<'c, '_, 'a>,
        feed: &Feed,
        ring: Position<'c>,
        from: Option<u32>,
        number: I<'c>,
    ) -> Done {
        let (stage, begin) = self.await_stage(feed, ring)?;
        let bits = u64::from(job.p.step.trailing_zeros());
        let left = self.e.to_i32(job.lhs.summed)?;
        let left = self.e.sub(left, self.e.shl(number, bits)?)?;
        let at = self.operands_at(job, feed, begin, number)?;
        // What is kept is whole.
        if job.left.is_none() && feed.kept(job.c).is_none() {
            self.clear_rest(job.p.lhs, at[0], left)?;
        }
        self.clear_rest(job.p.rhs, at[1], left)?;
        self.e.show_to_warpgroups()?;
        self.e.barrier()?;
        self.multiply_stage(job, feed, ring, from, number, stage, at)
    }

    #[allow(clippy::too_many_arguments, reason = "one step, wherever it comes from")]
    fn multiply_stage(
        &mut self,
        job: &Job<'c, '_, 'a>,
        feed: &Feed,
        ring: Position<'c>,
        from: Option<u32>,
        number: I<'c>,
        stage: I<'c>,
        at: [P<'c>; 2],
    ) -> Done {
        let first = job.fresh && number.is_const() && number.get_zero_extended_constant() == Some(0);
        let behind = (!self.quiet).then_some(BEHIND);
        self.multiply_groups(job, at, from, (behind, first), &mut |_| Ok(()))?;
        if self.quiet {
            self.unreleased.push(stage);
        } else {
            self.leave_last(feed, ring)?;
            self.e.builder.build_store(ring.last, stage)?;
        }
        self.next_position(feed, ring)
    }

    /// Gives the stage that was multiplied last back, if there is one.
    fn leave_last(&mut self, feed: &Feed, ring: Position<'c>) -> Done {
        let stage = self.e.builder.build_load(self.e.context.i32_type(), ring.last, "")?.into_int_value();
        let some = self.e.compare(IntPredicate::SGE, stage, self.e.i32(0))?;
        self.leave_stage(feed, stage, some)?;
        self.e.builder.build_store(ring.last, self.e.i32(-1))?;
        Ok(())
    }

    /// Makes elements of a tile zero whose index along the summed axis is `left` or more.
    fn clear_rest(&mut self, tile: Tile, to: P<'c>, left: I<'c>) -> Done {
        let dtype = DType::U16;
        let zero = self.e.literal(helion_ir::eval::from_i64(dtype, 0))?;
        let in_row = tile.cols / tile.chunk();
        let thread = self.e.or(self.e.shl(self.warp, 5)?, self.lane)?;
        let end = self.e.i32(i64::from(tile.rows * in_row));
        let by = self.e.i32(32i64 << self.plan.warps);
        self.counted(thread, end, by, |s, number| {
            let row = s.e.shr(number, u64::from(in_row.trailing_zeros()))?;
            let chunk = s.e.and(number, s.e.i32(i64::from(in_row) - 1))?;
            let at = s.e.offset(to, s.chunk_offset(tile, row, chunk)?)?;
            for k in 0..tile.chunk() {
                let index = if tile.along {
                    let first = s.e.mul(chunk, s.e.i32(i64::from(tile.chunk())))?;
                    s.e.add(first, s.e.i32(i64::from(k)))?
                } else {
                    row
                };
                let beyond = s.e.compare(IntPredicate::SGE, index, left)?;
                let at = s.e.offset(at, s.e.i32(i64::from(k * tile.size)))?;
                s.e.store_elements(Space::Shared, at, dtype, &[zero], Some(beyond))?;
            }
            Ok(())
        })
    }
}
