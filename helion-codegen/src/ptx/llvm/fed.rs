//! Products whose operands a producer fetches: the side that multiplies.
//!
//! In: a contract, its product, the ring. Out: the sum in fragments, each stage of the ring given back when no product
//! reads it any more. What a window does not have of its last step, the tensor may have: those elements become zeros
//! in shared memory before they are multiplied.

use super::super::feed::Feed;
use super::super::product::Tile;
use super::contract::Job;
use super::emit::{Done, I, P, Space};
use super::lower::Lower;
use super::ring::Position;
use helion_ir::dtype::DType;
use inkwell::IntPredicate;

/// Products of so many steps back may run while the next step's begin.
const BEHIND: u32 = 1;

/// A product being fed.
struct Fed<'j, 'c, 'p, 'a> {
    job: &'j Job<'c, 'p, 'a>,
    feed: &'j Feed,
    ring: Position<'c>,
    /// A variable: the stage that was multiplied last, of this product; -1 in the beginning.
    last: P<'c>,
}

/// One of its steps.
#[derive(Clone, Copy)]
struct Step<'c> {
    number: I<'c>,
    /// Where its part of a left operand in registers begins.
    from: Option<u32>,
    /// Whether the window ends within it.
    cut: bool,
}

impl<'c, 'a> Lower<'c, 'a> {
    /// All steps of a product. With a left operand in registers, whose numbers are fixed, there are `few`, written out.
    pub(super) fn fed_steps(
        &mut self,
        job: &Job<'c, '_, 'a>,
        feed: &Feed,
        ring: Position<'c>,
        few: Option<u32>,
    ) -> Done {
        let last = self.e.variable(self.e.context.i32_type().into())?;
        self.e.builder.build_store(last, self.e.i32(-1))?;
        let fed = Fed { job, feed, ring, last };
        let bits = u64::from(job.p.step.trailing_zeros());
        let whole = self.e.to_i32(self.e.shr(job.lhs.summed, bits)?)?;
        match few {
            None => {
                let (zero, one) = (self.e.i32(0), self.e.i32(1));
                let step = |number, cut| Step { number, from: None, cut };
                self.counted(zero, whole, one, |s, number| s.fed_step(&fed, step(number, false)))?;
                let cut = self.e.compare(IntPredicate::SLT, whole, job.steps)?;
                self.when(cut, |s| s.fed_step(&fed, step(whole, true)))?;
            }
            Some(count) => {
                let known = self.known.int(job.c.k.extent).map(|k| k.max(0) as u64);
                for number in 0..count {
                    let from = job.left.is_some().then_some(number * job.p.step);
                    let end = u64::from(number + 1) << bits;
                    let number = self.e.i32(i64::from(number));
                    let step = |cut| Step { number, from, cut };
                    match known {
                        Some(k) if end <= k => self.fed_step(&fed, step(false))?,
                        Some(k) if end - k < 1 << bits => self.fed_step(&fed, step(true))?,
                        Some(_) => {}
                        None => {
                            let is_whole = self.e.compare(IntPredicate::SLT, number, whole)?;
                            self.when(is_whole, |s| s.fed_step(&fed, step(false)))?;
                            let more = self.e.compare(IntPredicate::SLT, number, job.steps)?;
                            let cut = self.e.and(self.e.not(is_whole)?, more)?;
                            self.when(cut, |s| s.fed_step(&fed, step(true)))?;
                        }
                    }
                }
            }
        }
        self.end_products(job)?;
        self.leave_last(&fed)
    }

    /// Waits for a step's operands and begins to multiply them; gives the stage before back.
    fn fed_step(&mut self, fed: &Fed<'_, 'c, '_, 'a>, step: Step<'c>) -> Done {
        let (stage, begin) = self.await_stage(fed.feed, fed.ring)?;
        let at = self.operands_at(fed.job, fed.feed, begin, step.number)?;
        if step.cut {
            self.cut_operands(fed, at, step.number)?;
        }
        self.multiply_groups(fed.job, at, step.from, BEHIND, &mut |_| Ok(()))?;
        self.leave_last(fed)?;
        self.e.builder.build_store(fed.last, stage)?;
        self.next_position(fed.feed, fed.ring)
    }

    /// Where the operands of step `number` are, the step's stage beginning at `begin` in the ring.
    pub(super) fn operands_at(
        &mut self,
        job: &Job<'c, '_, 'a>,
        feed: &Feed,
        begin: I<'c>,
        number: I<'c>,
    ) -> Done<[P<'c>; 2]> {
        let stage = self.e.offset(self.shared(feed.ring)?, begin)?;
        if let Some(kept) = feed.kept(job.c) {
            let by = self.e.mul(number, self.e.i32(i64::from(job.p.lhs.bytes())))?;
            return Ok([self.e.offset(self.shared(kept.at)?, by)?, stage]);
        }
        // A left operand in registers has no place in a stage.
        let left = if job.left.is_some() { 0 } else { job.p.lhs.bytes() };
        Ok([stage, self.e.offset(stage, self.e.i32(i64::from(left)))?])
    }

    /// Makes zeros of what the operands of step `number` have beyond the window.
    fn cut_operands(&mut self, fed: &Fed<'_, 'c, '_, 'a>, at: [P<'c>; 2], number: I<'c>) -> Done {
        let job = fed.job;
        let left = self.e.to_i32(job.lhs.summed)?;
        let left = self.e.sub(left, self.e.shl(number, u64::from(job.p.step.trailing_zeros()))?)?;
        // What is kept is whole.
        if job.left.is_none() && fed.feed.kept(job.c).is_none() {
            self.clear_rest(job.p.lhs, at[0], left)?;
        }
        self.clear_rest(job.p.rhs, at[1], left)?;
        self.e.show_to_warpgroups()?;
        self.e.barrier()
    }

    /// Gives the stage that was multiplied last back, if there was one.
    fn leave_last(&mut self, fed: &Fed<'_, 'c, '_, 'a>) -> Done {
        let stage = self.e.builder.build_load(self.e.context.i32_type(), fed.last, "")?.into_int_value();
        let some = self.e.compare(IntPredicate::SGE, stage, self.e.i32(0))?;
        self.leave_stage(fed.feed, stage, some)
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
