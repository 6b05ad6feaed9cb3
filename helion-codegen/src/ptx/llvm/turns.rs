//! Rotated loops: see [`super::super::turns`].
//!
//! In: a loop with two products, and where they are. Out: rounds that begin both products together, the producer fetching
//! in the same order; groups of warps that multiply in turns. A group's turn begins when it has come to its own barrier and
//! the group before has arrived there; it ends by arriving at the next group's. The last group arrives once before
//! everything else, so that the first one may begin; at the end the first one waits for it once more, and barriers are left
//! as they were found.

use super::super::feed::{Feed, WARPGROUP};
use super::super::turns::Turns;
use super::contract::{Job, Part};
use super::emit::{Done, I, P, V, mistake};
use super::lower::Lower;
use super::ring::Position;
use helion_ir::loops::{Contract, Stmt, Val};
use inkwell::IntPredicate;

/// The barrier of the first group; those before are for all threads.
const FIRST: i64 = 2;
/// Threads of two groups, those that wait and those that arrive.
const THREADS: u32 = 2 * 32 * WARPGROUP;

/// A product, and where its tile begins.
type Tile<'c, 'a> = (&'a Contract, I<'c>);

/// Which statements of a rotated loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those between its products.
    Between,
    /// Those after the second one.
    After,
}

/// A loop to be rotated, and its parts.
#[derive(Clone, Copy)]
pub(super) struct Rotated<'a> {
    var: Val,
    body: &'a [Stmt],
    turns: Turns,
}

impl<'a> Rotated<'a> {
    /// What computes indices.
    fn insts(&self) -> impl Iterator<Item = &'a helion_ir::loops::Inst> {
        self.body.iter().filter_map(|s| if let Stmt::Inst(i) = s { Some(i) } else { None })
    }

    fn product(&self, at: usize) -> Done<&'a Contract> {
        match &self.body[at] {
            Stmt::Contract(c) => Ok(c),
            _ => mistake("a product is not where it was"),
        }
    }

    fn first(&self) -> Done<&'a Contract> {
        self.product(self.turns.first)
    }

    fn second(&self) -> Done<&'a Contract> {
        self.product(self.turns.second)
    }

    /// What lies between the products, and what follows them.
    fn nests(&self) -> [&'a [Stmt]; 2] {
        [&self.body[self.turns.first + 1..self.turns.second], &self.body[self.turns.second + 1..]]
    }
}

impl<'c, 'a> Lower<'c, 'a> {
    /// A loop as one to be rotated, if it is.
    pub(super) fn rotated(&self, var: Val, body: &'a [Stmt]) -> Option<Rotated<'a>> {
        let turns = *self.plan.turns.get(&(body.as_ptr() as usize))?;
        Some(Rotated { var, body, turns })
    }

    /// Makes the indices of the tile at `now`.
    fn at_tile(&mut self, l: Rotated<'a>, now: I<'c>) -> Done {
        self.set(l.var, now.into());
        l.insts().try_for_each(|i| self.inst(i))
    }

    /// The nests among statements.
    fn nests_of(&mut self, body: &'a [Stmt]) -> Done {
        body.iter().try_for_each(|s| if let Stmt::Nest(n) = s { self.nest(n) } else { Ok(()) })
    }

    /// Rounds of a rotated loop over `begin..end`, which is not empty. `multiply` makes products of tiles, one or two;
    /// `rest` what lies between them and what follows.
    fn rotate(
        &mut self,
        l: Rotated<'a>,
        [begin, end, step]: [I<'c>; 3],
        multiply: &mut dyn FnMut(&mut Self, &[Tile<'c, 'a>]) -> Done,
        rest: &mut dyn FnMut(&mut Self, &'a [Stmt], Which) -> Done,
    ) -> Done {
        let (first, second, [between, after]) = (l.first()?, l.second()?, l.nests());
        self.counted(begin, end, step, |s, now| {
            let is_first = s.e.compare(IntPredicate::EQ, now, begin)?;
            let (one, both, then) = (s.e.block("one"), s.e.block("both"), s.e.block("then"));
            s.e.branch(is_first, one, both)?;
            s.e.at(one);
            multiply(s, &[(first, now)])?;
            s.e.jump(then)?;
            s.e.at(both);
            let before = s.e.sub(now, step)?;
            multiply(s, &[(second, before), (first, now)])?;
            s.at_tile(l, before)?;
            rest(s, after, Which::After)?;
            s.e.jump(then)?;
            s.e.at(then);
            s.at_tile(l, now)?;
            rest(s, between, Which::Between)
        })?;
        // The last tile begins a multiple of the step from the beginning.
        let length = self.e.sub(self.e.sub(end, begin)?, self.e.i64(1))?;
        let whole = self.e.builder.build_int_unsigned_div(length, step, "")?;
        let last = self.e.add(begin, self.e.mul(whole, step)?)?;
        multiply(self, &[(second, last)])?;
        self.at_tile(l, last)?;
        rest(self, after, Which::After)
    }

    /// The producer's side of a rotated loop.
    pub(super) fn produce_rotated(&mut self, feed: &Feed, p: Position<'c>, l: Rotated<'a>, over: [I<'c>; 3]) -> Done {
        let fetch = &mut |s: &mut Self, all: &[Tile<'c, 'a>]| {
            all.iter().try_for_each(|(c, tile)| {
                s.at_tile(l, *tile)?;
                s.fetch(feed, p, c)
            })
        };
        self.rotate(l, over, fetch, &mut |_, _, _| Ok(()))
    }

    /// The side of those who multiply.
    pub(super) fn multiply_rotated(&mut self, feed: &Feed, p: Position<'c>, l: Rotated<'a>, over: [I<'c>; 3]) -> Done {
        self.e.apart.set(true);
        let second = l.second()?;
        let packed = self.packed_left(second)?;
        let multiply = &mut |s: &mut Self, all: &[Tile<'c, 'a>]| {
            // Extents are the same for all tiles, and where operands are is the producer's affair.
            s.at_tile(l, all[0].1)?;
            s.products(feed, p, all.iter().map(|(c, _)| *c), &packed)
        };
        let rest = &mut |s: &mut Self, body: &'a [Stmt], which: Which| {
            s.nests_of(body)?;
            if which == Which::Between && !packed.is_empty() {
                s.pack_left(second, &packed)?;
            }
            Ok(())
        };
        self.rotate(l, over, multiply, rest)?;
        self.e.apart.set(false);
        Ok(())
    }

    /// Multiplies side by side, in this group's turn, and waits for the results.
    fn products(
        &mut self,
        feed: &Feed,
        ring: Position<'c>,
        all: impl Iterator<Item = &'a Contract>,
        packed: &[P<'c>],
    ) -> Done {
        let plan = self.plan;
        let (mut jobs, mut sums, mut words, mut stages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut wanted = Vec::new();
        for c in all {
            let Some(p) = plan.product(c) else { return mistake("a contract without a path") };
            wanted.push((c, p, self.known.int(c.k.extent).unwrap_or(0) as u32 / p.step));
        }
        let mut full = self.await_stages(feed, ring, wanted.iter().map(|w| w.2).sum())?.into_iter();
        for (c, p, steps) in wanted {
            let mut job = self.job(c, p)?;
            self.begin_sums(&mut job)?;
            if job.left.is_some() {
                job.packed = packed.to_vec();
            }
            sums.extend(self.sums_of(&job)?);
            let mut parts = Vec::new();
            for (number, (stage, begin)) in (0..steps).zip(full.by_ref()) {
                let at = self.operands_at(&job, feed, begin, self.e.i32(i64::from(number)))?;
                let from = job.left.is_some().then_some(number * p.step);
                parts.extend(self.parts(&job, at, from, &mut words)?);
                stages.push(stage);
            }
            jobs.push((job, parts));
        }
        let (mut sums, words) = self.e.begin_warpgroup(&sums, &words)?;
        // Only here: the assembler moves what a product needs over a barrier, but not over this.
        self.open_turn()?;
        self.side_by_side(&jobs, &mut sums, &words)?;
        self.e.end_warpgroup()?;
        self.close_turn()?;
        let sums = self.e.wait_warpgroup(&sums, 0)?;
        let mut rest = &sums[..];
        for (job, _) in &jobs {
            let (own, others) = rest.split_at(job.sums.len());
            self.set_sums(job, own)?;
            rest = others;
        }
        stages.into_iter().try_for_each(|stage| self.leave_stage(feed, stage, self.e.bool(true)))
    }

    /// Instructions of several products in turns, so that neighbours do not add to the same sums.
    fn side_by_side(&mut self, jobs: &[(Job<'c, '_, 'a>, Vec<Part<'c>>)], sums: &mut [V<'c>], words: &[V<'c>]) -> Done {
        let longest = jobs.iter().map(|(_, parts)| parts.len()).max().unwrap_or(0);
        for k in 0..longest {
            let mut first = 0;
            for (job, parts) in jobs {
                let own = first..first + job.sums.len();
                first = own.end;
                if let Some(part) = parts.get(k) {
                    self.multiply_part(job, part, &mut sums[own], words)?;
                }
            }
        }
        Ok(())
    }

    /// Before all turns.
    pub(super) fn begin_turns(&mut self) -> Done {
        if self.plan.turns.is_empty() || self.groups() == 1 {
            return Ok(());
        }
        let last = self.is_group(self.groups() - 1)?;
        self.when(last, |s| s.e.arrive_at(s.e.i32(FIRST), THREADS))
    }

    /// After all turns.
    pub(super) fn end_turns(&mut self) -> Done {
        if self.plan.turns.is_empty() || self.groups() == 1 {
            return Ok(());
        }
        let first = self.is_group(0)?;
        self.when(first, |s| s.e.wait_at(s.e.i32(FIRST), THREADS))
    }

    /// Waits for this group's turn.
    fn open_turn(&mut self) -> Done {
        if self.groups() == 1 {
            return Ok(());
        }
        self.e.wait_at(self.e.add(self.group()?, self.e.i32(FIRST))?, THREADS)
    }

    /// Gives the turn to the next group, whose products may queue behind this one's.
    fn close_turn(&mut self) -> Done {
        if self.groups() == 1 {
            return Ok(());
        }
        let next = self.e.add(self.group()?, self.e.i32(1))?;
        let next = self.e.and(next, self.e.i32(self.groups() - 1))?;
        self.e.arrive_at(self.e.add(next, self.e.i32(FIRST))?, THREADS)
    }

    fn groups(&self) -> i64 {
        i64::from((1 << self.plan.warps) / WARPGROUP)
    }

    /// Whether this thread is of a group.
    fn is_group(&self, number: i64) -> Done<I<'c>> {
        self.e.compare(IntPredicate::EQ, self.group()?, self.e.i32(number))
    }
}
