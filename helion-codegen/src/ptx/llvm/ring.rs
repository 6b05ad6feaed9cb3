//! The two sides of a ring of stages that one warp fills and the others multiply: see [`super::super::feed`].
//!
//! In: a function whose plan has a feed. Out: its barriers; the producer's walk; for the others, what waits for a stage
//! and gives it back. A position in the ring is the number of a stage and a phase, which turns each time around.

use super::super::feed::{BARRIERS, Feed, Kept, multiplies};
use super::super::product::{Product, Tile};
use super::emit::{Done, I, P, mistake};
use super::lower::Lower;
use helion_ir::loops::{Contract, Operand, Stmt};
use inkwell::IntPredicate;

/// A side's position in the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position<'c> {
    /// Variables: the stage, and the phase of the barrier that says it is full.
    stage: P<'c>,
    phase: P<'c>,
    /// The phase of what is kept: a bit for each, by its number.
    kept: P<'c>,
}

/// One operand, as the producer fetches it.
struct Fetch<'a> {
    operand: &'a Operand,
    tile: Tile,
    map: usize,
    /// Axes of the memory that rows and columns of the tile walk.
    axes: [Option<u32>; 2],
    /// Where it lies in a stage.
    at: u32,
}

impl<'c, 'a> Lower<'c, 'a> {
    /// Makes the barriers; all threads wait until they are there.
    pub(super) fn begin_ring(&mut self, feed: &Feed) -> Done {
        self.when(self.first_thread, |s| {
            let warps = 1u32 << s.plan.warps;
            for stage in 0..feed.stages {
                s.begin_barriers(feed.barriers(stage), warps)?;
            }
            for kept in feed.all_kept() {
                s.begin_barriers(kept.barriers, warps)?;
            }
            s.e.show_barriers()
        })?;
        self.e.barrier()
    }

    /// The barriers of a stage: full when the producer has said so, empty when all warps have.
    fn begin_barriers(&self, full: u32, warps: u32) -> Done {
        self.e.make_barrier(self.shared(full)?, 1)?;
        self.e.make_barrier(self.shared(full + BARRIERS / 2)?, warps)
    }

    /// A position at the beginning.
    pub(super) fn ring_position(&mut self) -> Done<Position<'c>> {
        let word = self.e.context.i32_type();
        let zero = || -> Done<P<'c>> {
            let p = self.e.variable(word.into())?;
            self.e.builder.build_store(p, self.e.i32(0))?;
            Ok(p)
        };
        Ok(Position { stage: zero()?, phase: zero()?, kept: zero()? })
    }

    /// The stage and the phase of a position.
    fn at_position(&self, p: Position<'c>) -> Done<(I<'c>, I<'c>)> {
        let word = self.e.context.i32_type();
        let stage = self.e.builder.build_load(word, p.stage, "")?.into_int_value();
        Ok((stage, self.e.builder.build_load(word, p.phase, "")?.into_int_value()))
    }

    /// Moves a position to the next stage.
    pub(super) fn next_position(&self, feed: &Feed, p: Position<'c>) -> Done {
        let (stage, phase) = self.at_position(p)?;
        let next = self.e.add(stage, self.e.i32(1))?;
        let over = self.e.compare(IntPredicate::EQ, next, self.e.i32(i64::from(feed.stages)))?;
        let next = self.e.select(over, self.e.i32(0).into(), next.into())?;
        let turned = self.e.xor(phase, self.e.i32(1))?;
        let phase = self.e.select(over, turned.into(), phase.into())?;
        self.e.builder.build_store(p.stage, next)?;
        self.e.builder.build_store(p.phase, phase)?;
        Ok(())
    }

    /// The barrier of a stage that says full, or the one that says empty.
    fn ring_barrier(&self, feed: &Feed, stage: I<'c>, full: bool) -> Done<P<'c>> {
        let first = feed.barriers(0) + if full { 0 } else { BARRIERS / 2 };
        let by = self.e.mul(stage, self.e.i32(i64::from(BARRIERS)))?;
        self.e.offset(self.shared(first)?, by)
    }

    /// Where a stage begins, in bytes from the beginning of the ring.
    fn ring_bytes(&self, feed: &Feed, stage: I<'c>) -> Done<I<'c>> {
        self.e.mul(stage, self.e.i32(i64::from(feed.stage_bytes)))
    }

    /// Waits until the stage at a position is full; gives the stage, and where it begins in the ring.
    pub(super) fn await_stage(&mut self, feed: &Feed, p: Position<'c>) -> Done<(I<'c>, I<'c>)> {
        let (stage, phase) = self.at_position(p)?;
        self.e.await_barrier(self.ring_barrier(feed, stage, true)?, phase)?;
        Ok((stage, self.ring_bytes(feed, stage)?))
    }

    /// Waits until the next `count` stages are full, and moves the position past them; gives each stage, and where it begins
    /// in the ring. Mostly they all are, so that is asked first.
    pub(super) fn await_stages(&mut self, feed: &Feed, p: Position<'c>, count: u32) -> Done<Vec<(I<'c>, I<'c>)>> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.at_position(p)?);
            self.next_position(feed, p)?;
        }
        let mut ready = self.e.bool(true);
        for (stage, phase) in &all {
            ready = self.e.and(ready, self.e.is_over(self.ring_barrier(feed, *stage, true)?, *phase)?)?;
        }
        let (wait, go) = (self.e.block("wait"), self.e.block("go"));
        self.e.branch(ready, go, wait)?;
        self.e.at(wait);
        for (stage, phase) in &all {
            self.e.await_barrier(self.ring_barrier(feed, *stage, true)?, *phase)?;
        }
        self.e.jump(go)?;
        self.e.at(go);
        all.into_iter().map(|(stage, _)| Ok((stage, self.ring_bytes(feed, stage)?))).collect()
    }

    /// This warp has done with a stage, if `really`.
    pub(super) fn leave_stage(&mut self, feed: &Feed, stage: I<'c>, really: I<'c>) -> Done {
        let first = self.e.compare(IntPredicate::EQ, self.lane, self.e.i32(0))?;
        let says = self.e.and(first, really)?;
        self.e.arrive_if(self.ring_barrier(feed, stage, false)?, says)
    }

    /// The producer's walk: control flow, and what says where operands are.
    pub(super) fn produce(&mut self, feed: &Feed, p: Position<'c>, body: &'a [Stmt]) -> Done {
        for s in body {
            match s {
                Stmt::Inst(i) => self.inst(i)?,
                Stmt::For { var, begin, end, step, body } if multiplies(body) => {
                    let (begin, end, step) = (self.int(*begin)?, self.int(*end)?, self.int(*step)?);
                    let some = self.e.compare(IntPredicate::SLT, begin, end)?;
                    self.when(some, |s| {
                        kept_in(feed, body).try_for_each(|c| s.fetch_kept(feed, p, c))?;
                        if let Some(l) = s.rotated(*var, body) {
                            return s.produce_rotated(feed, p, l, [begin, end, step]);
                        }
                        s.counted(begin, end, step, |s, now| {
                            s.set(*var, now.into());
                            s.produce(feed, p, body)
                        })
                    })?;
                }
                Stmt::If { cond, then, other } if multiplies(then) || multiplies(other) => {
                    let cond = self.int(*cond)?;
                    let (yes, no, after) = (self.e.block("then"), self.e.block("else"), self.e.block("endif"));
                    self.e.branch(cond, yes, no)?;
                    for (block, body) in [(yes, then), (no, other)] {
                        self.e.at(block);
                        self.produce(feed, p, body)?;
                        self.e.jump(after)?;
                    }
                    self.e.at(after);
                }
                Stmt::Contract(c) => self.fetch(feed, p, c)?,
                Stmt::Nest(_) | Stmt::For { .. } | Stmt::If { .. } | Stmt::While { .. } => {}
            }
        }
        Ok(())
    }

    /// Fetches all steps of a product.
    pub(super) fn fetch(&mut self, feed: &Feed, p: Position<'c>, c: &'a Contract) -> Done {
        let plan = self.plan;
        let Some(product) = plan.product(c) else { return mistake("a contract without a path") };
        let fetches = fetches(feed, product, c);
        let k = self.int(c.k.extent)?;
        let whole = self.e.add(k, self.e.i64(i64::from(product.step) - 1))?;
        let steps = self.e.to_i32(self.e.shr(whole, u64::from(product.step.trailing_zeros()))?)?;
        let bytes: u32 = fetches.iter().map(|f| f.tile.bytes()).sum();
        self.counted(self.e.i32(0), steps, self.e.i32(1), |s, step| {
            let (stage, phase) = s.at_position(p)?;
            // The first time around every stage is empty: a barrier nobody has passed lies one phase behind.
            let empty = s.ring_barrier(feed, stage, false)?;
            s.e.await_barrier(empty, s.e.xor(phase, s.e.i32(1))?)?;
            let elected = s.e.elect()?;
            s.when(elected, |s| {
                let full = s.ring_barrier(feed, stage, true)?;
                s.e.expect_bytes(full, bytes)?;
                let first = s.e.mul(step, s.e.i32(i64::from(product.step)))?;
                let begin = s.ring_bytes(feed, stage)?;
                fetches.iter().try_for_each(|f| s.fetch_step(feed, f, first, begin, full))
            })?;
            s.next_position(feed, p)
        })
    }

    /// The phase of what a contract keeps, which turns now.
    fn kept_phase(&self, feed: &Feed, p: Position<'c>, kept: Kept) -> Done<I<'c>> {
        let number = feed.all_kept().take_while(|k| *k != kept).count();
        let word = self.e.context.i32_type();
        let all = self.e.builder.build_load(word, p.kept, "")?.into_int_value();
        let phase = self.e.and(self.e.shr(all, number as u64)?, self.e.i32(1))?;
        self.e.builder.build_store(p.kept, self.e.xor(all, self.e.i32(1 << number))?)?;
        Ok(phase)
    }

    /// Fetches what a contract keeps, when everybody has done with what was there.
    fn fetch_kept(&mut self, feed: &Feed, p: Position<'c>, c: &'a Contract) -> Done {
        let plan = self.plan;
        let (Some(kept), Some(product)) = (feed.kept(c), plan.product(c)) else { return Ok(()) };
        let Some(fetch) = left_fetch(feed, product, c) else { return mistake("nothing to keep") };
        let phase = self.kept_phase(feed, p, kept)?;
        self.e.await_barrier(self.shared(kept.barriers + BARRIERS / 2)?, self.e.xor(phase, self.e.i32(1))?)?;
        let elected = self.e.elect()?;
        self.when(elected, |s| {
            let full = s.shared(kept.barriers)?;
            s.e.expect_bytes(full, kept.steps * fetch.tile.bytes())?;
            for step in 0..kept.steps {
                let first = s.e.i32(i64::from(step * product.step));
                let begin = s.e.i32(i64::from(kept.at - feed.ring + step * fetch.tile.bytes()));
                s.fetch_step(feed, &fetch, first, begin, full)?;
            }
            Ok(())
        })
    }

    /// Waits for what the contracts of a loop's body keep.
    pub(super) fn await_kept(&mut self, feed: &Feed, p: Position<'c>, body: &'a [Stmt]) -> Done {
        for c in kept_in(feed, body) {
            let Some(kept) = feed.kept(c) else { continue };
            let phase = self.kept_phase(feed, p, kept)?;
            self.e.await_barrier(self.shared(kept.barriers)?, phase)?;
        }
        Ok(())
    }

    /// Says that this warp has done with it.
    pub(super) fn leave_kept(&mut self, feed: &Feed, body: &'a [Stmt]) -> Done {
        for kept in kept_in(feed, body).filter_map(|c| feed.kept(c)) {
            let first = self.e.compare(IntPredicate::EQ, self.lane, self.e.i32(0))?;
            self.e.arrive_if(self.shared(kept.barriers + BARRIERS / 2)?, first)?;
        }
        Ok(())
    }

    /// One operand of one step, from `first` on along the summed axis.
    fn fetch_step(&mut self, feed: &Feed, f: &Fetch<'a>, first: I<'c>, begin: I<'c>, full: P<'c>) -> Done {
        let tile = f.tile;
        let columns = tile.cols / tile.width();
        for column in 0..columns {
            let to = self.e.offset(self.shared(feed.ring + f.at + column * tile.rows * tile.line())?, begin)?;
            let across = self.e.i32(i64::from(column * tile.width()));
            let [row, col] = if tile.along { [self.e.i32(0), first] } else { [first, across] };
            let mut coordinates = Vec::with_capacity(f.operand.origin.len());
            for (axis, origin) in f.operand.origin.iter().enumerate().rev() {
                let mut at = self.e.to_i32(self.int(*origin)?)?;
                for (walks, by) in f.axes.iter().zip([row, col]) {
                    if *walks == Some(axis as u32) {
                        at = self.e.add(at, by)?;
                    }
                }
                coordinates.push(at);
            }
            self.e.copy_box(to, f.map as u32, &coordinates, full)?;
        }
        Ok(())
    }
}

/// The contracts of a loop's body whose left operands are kept.
fn kept_in<'a>(feed: &Feed, body: &'a [Stmt]) -> impl Iterator<Item = &'a Contract> {
    body.iter().filter_map(move |s| match s {
        Stmt::Contract(c) => feed.kept(c).map(|_| c),
        _ => None,
    })
}

/// The left operand, at the beginning of a stage.
fn left_fetch<'a>(feed: &Feed, p: &Product, c: &'a Contract) -> Option<Fetch<'a>> {
    let map = feed.operands(c)[0]?;
    let axes = if p.lhs.along { [c.lhs.row, c.lhs.col] } else { [c.lhs.col, c.lhs.row] };
    Some(Fetch { operand: &c.lhs, tile: p.lhs, map, axes, at: 0 })
}

/// What the producer fetches for each step of a contract.
fn fetches<'a>(feed: &Feed, p: &Product, c: &'a Contract) -> Vec<Fetch<'a>> {
    let mut all = Vec::with_capacity(2);
    all.extend(left_fetch(feed, p, c).filter(|_| feed.kept(c).is_none()));
    if let [_, Some(map)] = feed.operands(c) {
        let at = all.first().map_or(0, |left: &Fetch<'_>| left.tile.bytes());
        let axes = if p.rhs.along { [c.rhs.col, c.rhs.row] } else { [c.rhs.row, c.rhs.col] };
        all.push(Fetch { operand: &c.rhs, tile: p.rhs, map, axes, at });
    }
    all
}
