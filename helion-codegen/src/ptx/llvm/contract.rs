//! Products on matrix instructions: copies ahead, fragments, sums.
//!
//! In: a contract and its [`Product`]. Out: the sum in the fragments of its buffer. Copies of the next steps are under way
//! while a step is multiplied; one barrier for each step says both that its operands have arrived and that the place of
//! an earlier one may be overwritten. Warpgroups begin with a step while they still multiply the one before. A left operand that already is in fragments, as the result of another product is,
//! goes straight into the instructions.

use super::super::layout::Layout;
use super::super::product::{Product, Tile};
use super::emit::{Done, I, P, V, mistake};
use super::lower::{Held, Lower};
use super::matrix::Left;
use super::stage::Source;
use super::sync::{Shared, Touch};
use helion_ir::dtype::DType;
use helion_ir::loops::{Contract, Mem};
use inkwell::IntPredicate;

/// The longest sum whose steps are written out.
const FEW: u64 = 128;

/// A contract being made.
pub(super) struct Job<'c, 'p, 'a> {
    pub c: &'a Contract,
    pub p: &'p Product,
    pub lhs: Source<'c, 'a>,
    pub rhs: Source<'c, 'a>,
    /// Where the left operand's fragments are, when it is in registers.
    pub left: Option<(Layout, Vec<P<'c>>)>,
    /// Variables of its fragments' words, when they have been put together already; see [`Lower::pack_left`].
    pub packed: Vec<P<'c>>,
    /// The result's variables, by register of its fragments.
    pub sums: Vec<P<'c>>,
    /// How many steps there are.
    pub steps: I<'c>,
}

/// Where the lanes' addresses of fragments lie within a stage: a value and bytes to add, part by part.
struct Fragments<'c> {
    left: Vec<(I<'c>, u32)>,
    right: Vec<(I<'c>, u32)>,
}

/// One instruction of a warpgroup.
pub(super) struct Part<'c> {
    /// Which 64 of the group's rows.
    number: usize,
    left: PartLeft<'c>,
    /// The descriptor of its part of the right operand.
    right: I<'c>,
}

/// Its part of the left operand.
enum PartLeft<'c> {
    /// The first of four words.
    Words(usize),
    /// A descriptor.
    Shared(I<'c>),
}

impl Job<'_, '_, '_> {
    /// Where the words of the left fragment of sixteen rows and elements are among all.
    fn packed_at(&self, row: u32, k: u32) -> usize {
        (((row >> self.p.warps[0]) * self.packed_parts() + k / self.p.k()) * 4) as usize
    }

    /// Parts of the summed axis in the left operand.
    fn packed_parts(&self) -> u32 {
        self.left.as_ref().map_or(0, |(layout, _)| (1 << layout.extent(self.p.batch + 1)) / self.p.k())
    }

    /// So many steps back products may still run while the next step's begin: warpgroups multiply in the background.
    fn behind(&self) -> u32 {
        u32::from(self.p.groups && self.p.stages > 2 && self.left.is_none())
    }

    /// So many steps are copied ahead: the stage of a step is free when its product has ended and a barrier has said so.
    fn ahead(&self) -> u32 {
        self.p.stages - 1 - self.behind()
    }
}

impl<'c, 'a> Lower<'c, 'a> {
    pub(super) fn contract(&mut self, c: &'a Contract) -> Done {
        let plan = self.plan;
        let Some(p) = plan.product(c) else { return mistake("a contract without a path") };
        let mut touch = Touch::default();
        [c.lhs.mem, c.rhs.mem].into_iter().filter(|m| self.is_shared(*m)).for_each(|m| touch.read(Shared::Mem(m)));
        let acc = Mem::Buffer(c.acc);
        if self.is_shared(acc) {
            touch.write(Shared::Mem(acc));
        }
        if plan.feed.is_none() {
            touch.write(Shared::Stage);
        }
        self.sync(&touch)?;
        let mut job = self.job(c, p)?;
        self.begin_sums(&mut job)?;
        match (self.few_steps(&job), &plan.feed, self.ring) {
            (few, Some(feed), Some(ring)) => self.fed_steps(&job, feed, ring, few)?,
            (Some(count), ..) => self.written_out(&job, count)?,
            (None, ..) => self.steps(&job)?,
        }
        self.end_sums(&job)?;
        self.pending.note(&touch);
        Ok(())
    }

    pub(super) fn job<'p>(&mut self, c: &'a Contract, p: &'p Product) -> Done<Job<'c, 'p, 'a>> {
        let (m, n, k) = (self.int(c.m.extent)?, self.int(c.n.extent)?, self.int(c.k.extent)?);
        let source = |o: &'a helion_ir::loops::Operand, tile: Tile, summed_axis, other_axis, other| Source {
            operand: o,
            tile,
            row_axis: if tile.along { other_axis } else { summed_axis },
            col_axis: if tile.along { summed_axis } else { other_axis },
            other,
            summed: k,
        };
        let lhs = source(&c.lhs, p.lhs, c.lhs.col, c.lhs.row, m);
        let rhs = source(&c.rhs, p.rhs, c.rhs.row, c.rhs.col, n);
        let left = match self.in_registers(&c.lhs) {
            Some(Held::Registers(layout, all)) => Some((layout.clone(), all.clone())),
            Some(_) | None => None,
        };
        let whole = self.e.add(k, self.e.i64(i64::from(p.step) - 1))?;
        let steps = self.e.to_i32(self.e.shr(whole, u64::from(p.step.trailing_zeros()))?)?;
        Ok(Job { c, p, lhs, rhs, left, packed: Vec::new(), sums: Vec::new(), steps })
    }

    /// The variables of the result, with what they begin with.
    pub(super) fn begin_sums(&mut self, job: &mut Job<'c, '_, 'a>) -> Done {
        let layout = job.p.result();
        let register = self.e.register_type(job.p.sum);
        if let Held::Registers(home, all) = self.buffers[job.c.acc.index()].clone() {
            let axes: Vec<Option<usize>> = (0..job.p.batch + 2).map(Some).collect();
            for r in 0..layout.registers() {
                let found = layout.register_in(&home, &axes, r).and_then(|r| all.get(r).copied());
                let Some(p) = found else { return mistake("a result in other registers") };
                job.sums.push(p);
            }
        } else {
            for _ in 0..layout.registers() {
                job.sums.push(self.e.variable(register)?);
            }
        }
        let zero = self.e.literal(helion_ir::eval::from_i64(job.p.sum, 0))?;
        let held = matches!(self.buffers[job.c.acc.index()], Held::Registers(..));
        for (r, p) in job.sums.iter().enumerate() {
            if !job.c.accumulate {
                self.e.builder.build_store(*p, zero)?;
            } else if !held {
                let (place, inside) = self.result_at(job, &layout, r)?;
                let old = self.e.load_elements(place.space, place.base, job.p.sum, 1, Some(inside), false)?[0];
                self.e.builder.build_store(*p, old)?;
            }
        }
        Ok(())
    }

    /// Writes the result to its buffer, when that is in memory.
    fn end_sums(&mut self, job: &Job<'c, '_, 'a>) -> Done {
        if matches!(self.buffers[job.c.acc.index()], Held::Registers(..)) {
            return Ok(());
        }
        let layout = job.p.result();
        for (r, p) in job.sums.iter().enumerate() {
            let (place, inside) = self.result_at(job, &layout, r)?;
            let sum = self.e.builder.build_load(self.e.register_type(job.p.sum), *p, "")?;
            self.e.store_elements(place.space, place.base, job.p.sum, &[sum], Some(inside))?;
        }
        Ok(())
    }

    /// Where an element of the result is in its buffer, and whether it is within the extents.
    fn result_at(
        &mut self,
        job: &Job<'c, '_, 'a>,
        layout: &Layout,
        register: usize,
    ) -> Done<(super::access::Place<'c>, I<'c>)> {
        let mut index: Vec<V<'c>> = vec![self.e.i64(0).into(); job.p.batch];
        let mut inside = self.e.bool(true);
        for (axis, extent) in [(job.p.batch, job.lhs.other), (job.p.batch + 1, job.rhs.other)] {
            let place = self.place_along(layout, axis)?;
            let at = self.e.add(place, self.e.i64(layout.offset(axis, register) as i64))?;
            let within = self.e.compare(IntPredicate::SLT, at, extent)?;
            inside = self.e.and(inside, within)?;
            index.push(at.into());
        }
        Ok((self.element(Mem::Buffer(job.c.acc), &index)?, inside))
    }

    /// Where a stage's copy of an operand is, `stage` being the bytes from the first stage on.
    fn stage_at(&mut self, job: &Job<'c, '_, 'a>, stage: I<'c>, left: bool) -> Done<P<'c>> {
        let first = self.plan.stage + if left { 0 } else { job.p.lhs.bytes() };
        let base = self.e.offset(self.smem, stage)?;
        self.e.offset(base, self.e.i32(i64::from(first)))
    }

    /// Starts the copies of a step, if there is such a step, as a group of their own.
    fn start_step(&mut self, job: &Job<'c, '_, 'a>, step: I<'c>, stage: I<'c>) -> Done {
        let more = self.e.compare(IntPredicate::SLT, step, job.steps)?;
        self.when(more, |s| {
            let first = s.e.to_i64(s.e.mul(step, s.e.i32(i64::from(job.p.step)))?)?;
            if job.left.is_none() {
                let to = s.stage_at(job, stage, true)?;
                s.stage(&job.lhs, first, to)?;
            }
            let to = s.stage_at(job, stage, false)?;
            s.stage(&job.rhs, first, to)
        })?;
        self.e.end_copies()
    }

    /// All steps. Those whose successors are whole run in a loop that only moves addresses; the last ones, and all when
    /// nothing can be prepared, in one that looks at every chunk.
    fn steps(&mut self, job: &Job<'c, '_, 'a>) -> Done {
        let stages = i64::from(job.p.stages);
        let each = i64::from(job.p.lhs.bytes() + job.p.rhs.bytes());
        let word = self.e.context.i32_type();
        let (zero, one) = (self.e.i32(0), self.e.i32(1));
        let fragments = self.fragments(job)?;
        let ahead = i64::from(job.ahead());
        self.counted(zero, self.e.i32(ahead), one, |s, n| {
            let stage = s.e.mul(n, s.e.i32(each))?;
            s.start_step(job, n, stage)
        })?;
        // The stage that is multiplied now, and the one that is free.
        let (now, free) = (self.e.variable(word.into())?, self.e.variable(word.into())?);
        self.e.builder.build_store(now, zero)?;
        self.e.builder.build_store(free, self.e.i32(ahead % stages * each))?;
        let done = self.e.variable(word.into())?;
        self.e.builder.build_store(done, zero)?;
        if self.can_prepare(&job.lhs) && self.can_prepare(&job.rhs) {
            self.whole_steps(job, &fragments, [now, free, done])?;
        }
        let begin = self.e.builder.build_load(word, done, "")?.into_int_value();
        self.counted(begin, job.steps, one, |s, step| {
            s.arrive(job, job.ahead() - 1)?;
            let ahead = s.e.add(step, s.e.i32(ahead))?;
            let to = s.e.builder.build_load(word, free, "")?.into_int_value();
            s.multiply_turn(job, &fragments, [now, free], &mut |s| s.start_step(job, ahead, to))
        })?;
        if job.behind() > 0 {
            self.end_products(job)?;
        }
        self.e.wait_copies(0)
    }

    /// Waits for the products of warpgroups that still run.
    pub(super) fn end_products(&mut self, job: &Job<'c, '_, 'a>) -> Done {
        let sums = self.sums_of(job)?;
        let sums = self.e.wait_warpgroup(&sums, 0)?;
        self.set_sums(job, &sums)
    }

    /// The steps for which the step that is copied meanwhile is whole. `done` then says how many there were.
    fn whole_steps(&mut self, job: &Job<'c, '_, 'a>, fragments: &Fragments<'c>, [now, free, done]: [P<'c>; 3]) -> Done {
        let ahead = i64::from(job.ahead());
        let t = self.e.context.i64_type();
        let (zero, one) = (self.e.i32(0), self.e.i32(1));
        let whole = self.e.to_i32(self.e.shr(job.lhs.summed, u64::from(job.p.step.trailing_zeros()))?)?;
        let count = self.e.sub(whole, self.e.i32(ahead))?;
        let some = self.e.compare(IntPredicate::SGT, count, zero)?;
        let mut count = self.e.select(some, count.into(), zero.into())?.into_int_value();
        // Without rows there is nothing that could stand for those that are not there.
        for s in [&job.lhs, &job.rhs] {
            let some = self.e.compare(IntPredicate::SGT, s.other, self.e.i64(0))?;
            count = self.e.select(some, count.into(), zero.into())?.into_int_value();
        }
        // Columns that end within a chunk take the careful way.
        for s in [&job.lhs, &job.rhs].into_iter().filter(|s| !s.tile.along) {
            let even = self.e.compare(
                IntPredicate::EQ,
                self.e.and(s.other, self.e.i64(i64::from(s.tile.chunk()) - 1))?,
                self.e.i64(0),
            )?;
            count = self.e.select(even, count.into(), zero.into())?.into_int_value();
        }
        // One step back: addresses are moved before they are used, so that one register holds each.
        let first = self.e.i64(ahead * i64::from(job.p.step));
        let mut sources = Vec::new();
        for (source, left) in [(&job.lhs, true), (&job.rhs, false)] {
            let ahead = self.ahead(source, first)?;
            let mut variables = Vec::new();
            for address in &ahead.copies {
                let v = self.e.variable(t.into())?;
                let before = self.e.sub(*address, ahead.by)?;
                self.e.builder.build_store(v, before)?;
                variables.push(v);
            }
            sources.push((source, left, ahead, variables));
        }
        self.counted(zero, count, one, |s, _| {
            s.arrive(job, job.ahead() - 1)?;
            let to = s.e.builder.build_load(s.e.context.i32_type(), free, "")?.into_int_value();
            s.multiply_turn(job, fragments, [now, free], &mut |s| {
                for (source, left, ahead, variables) in &mut sources {
                    for (address, v) in ahead.copies.iter_mut().zip(variables.iter()) {
                        let before = s.e.builder.build_load(t, *v, "")?.into_int_value();
                        *address = s.e.add(before, ahead.by)?;
                        s.e.builder.build_store(*v, *address)?;
                    }
                    let at = s.stage_at(job, to, *left)?;
                    s.copy_ahead(source, ahead, at)?;
                }
                s.e.end_copies()
            })
        })?;
        self.e.builder.build_store(done, count)?;
        Ok(())
    }

    /// Waits until only so many groups of copies are under way, for all threads, and for the multiplication before.
    fn arrive(&mut self, job: &Job<'c, '_, 'a>, groups: u32) -> Done {
        self.e.wait_copies(groups)?;
        if job.p.groups {
            self.e.show_to_warpgroups()?;
        }
        self.e.barrier()
    }

    /// Multiplies the stage that has arrived, starts copies by `copy`, and turns to the next.
    fn multiply_turn(
        &mut self,
        job: &Job<'c, '_, 'a>,
        fragments: &Fragments<'c>,
        [now, free]: [P<'c>; 2],
        copy: &mut dyn FnMut(&mut Self) -> Done,
    ) -> Done {
        let word = self.e.context.i32_type();
        let stage = self.e.builder.build_load(word, now, "")?.into_int_value();
        if job.p.groups {
            let at = [self.stage_at(job, stage, true)?, self.stage_at(job, stage, false)?];
            self.multiply_groups(job, at, None, job.behind(), copy)?;
        } else {
            copy(self)?;
            self.multiply_step(job, fragments, stage, None)?;
        }
        let each = i64::from(job.p.lhs.bytes() + job.p.rhs.bytes());
        for variable in [now, free] {
            let stage = self.e.builder.build_load(word, variable, "")?.into_int_value();
            let next = self.e.add(stage, self.e.i32(each))?;
            let over = self.e.compare(IntPredicate::EQ, next, self.e.i32(each * i64::from(job.p.stages)))?;
            let next = self.e.select(over, self.e.i32(0).into(), next.into())?;
            self.e.builder.build_store(variable, next)?;
        }
        Ok(())
    }

    /// How many steps there are at most, when they are to be written out: a left operand's registers have fixed numbers,
    /// and a short sum is not worth a loop.
    fn few_steps(&self, job: &Job<'c, '_, 'a>) -> Option<u32> {
        if let Some((layout, _)) = &job.left {
            return Some((1u32 << layout.extent(job.p.batch + 1)).div_ceil(job.p.step));
        }
        let k = self.known.bound(job.c.k.extent, job.c.k.bound)?;
        (k <= FEW).then(|| (k as u32).div_ceil(job.p.step))
    }

    /// All steps written out.
    fn written_out(&mut self, job: &Job<'c, '_, 'a>, count: u32) -> Done {
        let (stages, each) = (job.p.stages, job.p.lhs.bytes() + job.p.rhs.bytes());
        let fragments = self.fragments(job)?;
        let number = |s: &Self, n: u32| s.e.i32(i64::from(n));
        for n in 0..(stages - 1).min(count) {
            self.start_step(job, number(self, n), number(self, n * each))?;
        }
        for step in 0..count {
            // Of the groups under way only those of later steps may be left.
            let later = (stages - 2).min(count - 1 - step);
            self.arrive(job, later)?;
            let ahead = step + stages - 1;
            if ahead < count {
                self.start_step(job, number(self, ahead), number(self, ahead % stages * each))?;
            }
            let from = job.left.is_some().then_some(step * job.p.step);
            let stage = number(self, step % stages * each);
            if self.known.int(job.c.k.extent).is_some() {
                self.multiply_either(job, &fragments, stage, from)?;
                continue;
            }
            // What was not copied may be anything.
            let more = self.e.compare(IntPredicate::SLT, number(self, step), job.steps)?;
            self.when(more, |s| s.multiply_either(job, &fragments, stage, from))?;
        }
        Ok(())
    }

    /// Where the lanes' addresses of all fragments lie within a stage.
    fn fragments(&mut self, job: &Job<'c, '_, 'a>) -> Done<Fragments<'c>> {
        let p = job.p;
        if p.groups {
            return Ok(Fragments { left: Vec::new(), right: Vec::new() });
        }
        let (own_m, own_n) = (p.m >> p.warps[0], p.n >> p.warps[1]);
        let warp_m = self.e.and(self.warp, self.e.i32((1 << p.warps[0]) - 1))?;
        let warp_n = self.e.shr(self.warp, u64::from(p.warps[0]))?;
        let first_m = self.e.mul(warp_m, self.e.i32(i64::from(own_m)))?;
        let first_n = self.e.mul(warp_n, self.e.i32(i64::from(own_n)))?;
        let left = if job.left.is_some() { Vec::new() } else { self.lanes(p, p.lhs, first_m, own_m, [3, 4])? };
        Ok(Fragments { left, right: self.lanes(p, p.rhs, first_n, own_n, [4, 3])? })
    }

    /// Multiplies one step that has arrived, as the product wants it.
    fn multiply_either(&mut self, job: &Job<'c, '_, 'a>, f: &Fragments<'c>, stage: I<'c>, from: Option<u32>) -> Done {
        if job.p.groups {
            let at = [self.stage_at(job, stage, true)?, self.stage_at(job, stage, false)?];
            self.multiply_groups(job, at, from, 0, &mut |_| Ok(()))
        } else {
            self.multiply_step(job, f, stage, from)
        }
    }

    /// Multiplies one step by warpgroups, which begin; does `meanwhile`; and waits until only the products of the last
    /// `behind` steps are under way. The operands' parts of the step are at `at`, left and right.
    pub(super) fn multiply_groups(
        &mut self,
        job: &Job<'c, '_, 'a>,
        at: [P<'c>; 2],
        from: Option<u32>,
        behind: u32,
        meanwhile: &mut dyn FnMut(&mut Self) -> Done,
    ) -> Done {
        let (sums, mut words) = (self.sums_of(job)?, Vec::new());
        let parts = self.parts(job, at, from, &mut words)?;
        let (mut sums, words) = self.e.begin_warpgroup(&sums, &words)?;
        parts.iter().try_for_each(|part| self.multiply_part(job, part, &mut sums, &words))?;
        self.e.end_warpgroup()?;
        meanwhile(self)?;
        let sums = self.e.wait_warpgroup(&sums, behind)?;
        self.set_sums(job, &sums)
    }

    /// Which warpgroup this thread is of.
    pub(super) fn group(&self) -> Done<I<'c>> {
        self.e.shr(self.warp, 2)
    }

    /// From here on the sums of a product are these.
    pub(super) fn set_sums(&self, job: &Job<'c, '_, 'a>, sums: &[V<'c>]) -> Done {
        job.sums.iter().zip(sums).try_for_each(|(s, v)| Ok(self.e.builder.build_store(*s, *v).map(drop)?))
    }

    /// The sums of a product so far.
    pub(super) fn sums_of(&mut self, job: &Job<'c, '_, 'a>) -> Done<Vec<V<'c>>> {
        let f32 = self.e.register_type(DType::F32);
        job.sums.iter().map(|s| Ok(self.e.builder.build_load(f32, *s, "")?)).collect()
    }

    /// The instructions of a step whose operands begin at `left_at` and `right_at`; words of a left operand in registers go
    /// to `words`.
    pub(super) fn parts(
        &mut self,
        job: &Job<'c, '_, 'a>,
        [left_at, right_at]: [P<'c>; 2],
        from: Option<u32>,
        words: &mut Vec<V<'c>>,
    ) -> Done<Vec<Part<'c>>> {
        let p = job.p;
        let rows_bits = p.warps[0] - 2;
        let group = self.group()?;
        let group_m = self.e.and(group, self.e.i32((1 << rows_bits) - 1))?;
        let group_n = self.e.shr(group, u64::from(rows_bits))?;
        let own_n = p.n >> p.warps[1];
        let sixty_fours = p.m >> (4 + p.warps[0]);
        // A group's columns begin some rows on, or some columns of 64 on; either way 128 bytes for each of 64 rows.
        let right_by = self.e.mul(group_n, self.e.i32(i64::from(own_n) * 128))?;
        let right_at = self.e.offset(right_at, right_by)?;
        let right = self.descriptor(p.rhs, right_at)?;
        let mut parts = Vec::new();
        for number in 0..sixty_fours {
            let rows = self.e.add(group_m, self.e.i32(i64::from(number) << rows_bits))?;
            let at = self.e.offset(left_at, self.e.mul(rows, self.e.i32(64 * 128))?)?;
            let left = self.descriptor(p.lhs, at)?;
            for part in 0..p.step / p.k() {
                let right = self.along_sum(p.rhs, right, part)?;
                let left = match from {
                    Some(from) => {
                        words.extend(self.left_fragment(job, number << p.warps[0], from + part * p.k())?);
                        PartLeft::Words(words.len() - 4)
                    }
                    None => PartLeft::Shared(self.along_sum(p.lhs, left, part)?),
                };
                parts.push(Part { number: number as usize, left, right });
            }
        }
        Ok(parts)
    }

    /// One instruction of a warpgroup: adds a part to its 64 rows of a product's sums.
    pub(super) fn multiply_part(
        &mut self,
        job: &Job<'c, '_, 'a>,
        part: &Part<'c>,
        sums: &mut [V<'c>],
        words: &[V<'c>],
    ) -> Done {
        let p = job.p;
        let (left, in_registers) = match part.left {
            PartLeft::Words(at) => (Left::Registers([words[at], words[at + 1], words[at + 2], words[at + 3]]), true),
            PartLeft::Shared(d) => (Left::Shared(d), false),
        };
        let across = [!p.lhs.along && !in_registers, !p.rhs.along];
        let each = sums.len() / (p.m >> (4 + p.warps[0])) as usize;
        let own = &mut sums[part.number * each..(part.number + 1) * each];
        let made = self.e.multiply_warpgroup(p.dtype, own, left, part.right, across)?;
        own.copy_from_slice(&made);
        Ok(())
    }

    /// What a warpgroup instruction takes for a tile at an address: rows of 128 bytes with swapped chunks, eight rows
    /// 1024 bytes apart from the next eight, columns of 64 as far apart as they are long.
    fn descriptor(&mut self, tile: Tile, at: P<'c>) -> Done<I<'c>> {
        let address = self.e.builder.build_ptr_to_int(at, self.e.context.i32_type(), "")?;
        let address = self.e.to_i64(self.e.shr(self.e.and(address, self.e.i32(0x3ffff))?, 4)?)?;
        let columns = if tile.along { 1 } else { i64::from(tile.rows) * 128 / 16 };
        let rest = 1 << 62 | (1024 / 16) << 32 | columns << 16;
        self.e.or(address, self.e.i64(rest))
    }

    /// A descriptor moved to a part of the step.
    fn along_sum(&mut self, tile: Tile, descriptor: I<'c>, part: u32) -> Done<I<'c>> {
        let bytes = if tile.along { part * 32 } else { part * 16 * 128 };
        self.e.add(descriptor, self.e.i64(i64::from(bytes / 16)))
    }

    /// Multiplies one step that has arrived. With the left operand in registers, `from` is the step's first element.
    fn multiply_step(&mut self, job: &Job<'c, '_, 'a>, f: &Fragments<'c>, stage: I<'c>, from: Option<u32>) -> Done {
        let p = job.p;
        let (own_m, own_n) = (p.m >> p.warps[0], p.n >> p.warps[1]);
        let (rows, cols) = (own_m / 16, own_n / 8);
        let left_at = self.stage_at(job, stage, true)?;
        let right_at = self.stage_at(job, stage, false)?;
        for part in 0..p.step / p.k() {
            let mut left = Vec::with_capacity(rows as usize);
            for row in 0..rows {
                left.push(match from {
                    Some(from) => self.left_fragment(job, row, from + part * p.k())?,
                    None => self.fragment(p.lhs, left_at, f.left[(part * rows + row) as usize])?,
                });
            }
            for pair in 0..cols / 2 {
                let right = self.fragment(p.rhs, right_at, f.right[(part * (cols / 2) + pair) as usize])?;
                for (row, left) in left.iter().enumerate() {
                    for half in 0..2 {
                        let column = pair * 2 + half;
                        let first = (row as u32 * cols + column) as usize * 4;
                        let b = [right[half as usize * 2], right[half as usize * 2 + 1]];
                        self.multiply_into(job, first, *left, b)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn multiply_into(&mut self, job: &Job<'c, '_, 'a>, first: usize, a: [V<'c>; 4], b: [V<'c>; 2]) -> Done {
        let sum = self.e.register_type(job.p.sum);
        let mut d = [self.e.literal(helion_ir::eval::from_i64(job.p.sum, 0))?; 4];
        for (k, d) in d.iter_mut().enumerate() {
            *d = self.e.builder.build_load(sum, job.sums[first + k], "")?;
        }
        let d = self.e.multiply(job.p.dtype, d, a, b)?;
        for (k, d) in d.into_iter().enumerate() {
            self.e.builder.build_store(job.sums[first + k], d)?;
        }
        Ok(())
    }

    /// Where each lane's address lies in a stage, for every part of a step and every sixteen of a warp's `own` rows (or
    /// columns), the first being `first`: a value and bytes to add. The lane bits in `bits` say which eight of the rows,
    /// and which eight of the part, a lane's address is of.
    fn lanes(&mut self, p: &Product, tile: Tile, first: I<'c>, own: u32, bits: [u64; 2]) -> Done<Vec<(I<'c>, u32)>> {
        let e = &self.e;
        let low = e.and(self.lane, e.i32(7))?;
        let bit = |k: u64| -> Done<I<'c>> { e.and(e.shr(self.lane, k)?, e.i32(1)) };
        let (half_row, half_k) = (bit(bits[0])?, bit(bits[1])?);
        let line = tile.line();
        let mut all = Vec::new();
        for part in 0..p.step / p.k() {
            for sixteen in 0..own / 16 {
                all.push(if tile.along {
                    // Sixteen rows on, chunks are swapped alike.
                    let row = e.add(first, e.add(low, e.shl(half_row, 3)?)?)?;
                    let chunk = e.add(half_k, e.i32(i64::from(part) * 2))?;
                    (self.chunk_offset(tile, row, chunk)?, sixteen * 16 * line)
                } else {
                    let row = e.add(low, e.shl(half_k, 3)?)?;
                    let (near, far) = (sixteen * 2 % 8, sixteen * 2 / 8);
                    let chunk = e.add(e.add(e.shr(first, 3)?, half_row)?, e.i32(i64::from(near)))?;
                    (self.chunk_offset(tile, row, chunk)?, (far * tile.rows + part * p.k()) * line)
                });
            }
        }
        Ok(all)
    }

    /// The fragment, or the two, at the lanes' places in a stage.
    fn fragment(&mut self, tile: Tile, stage: P<'c>, (lane, more): (I<'c>, u32)) -> Done<[V<'c>; 4]> {
        let at = self.e.offset(stage, lane)?;
        let at = self.e.offset(at, self.e.i32(i64::from(more)))?;
        self.e.load_matrices(at, !tile.along)
    }

    /// Variables for the words of a product's left operand; none when that is not in registers.
    pub(super) fn packed_left(&mut self, c: &'a Contract) -> Done<Vec<P<'c>>> {
        let plan = self.plan;
        let Some(p) = plan.product(c) else { return mistake("a contract without a path") };
        let words = (p.m >> (4 + p.warps[0])) * self.job(c, p)?.packed_parts() * 4;
        (0..words).map(|_| self.e.variable(self.e.context.i32_type().into())).collect()
    }

    /// Puts the words of a left operand in registers together, for a warpgroup's product that is made later: halves that
    /// wait for their partners would need a register each.
    pub(super) fn pack_left(&mut self, c: &'a Contract, packed: &[P<'c>]) -> Done {
        let plan = self.plan;
        let Some(p) = plan.product(c) else { return mistake("a contract without a path") };
        let job = self.job(c, p)?;
        let rows = p.m >> (4 + p.warps[0]);
        let mut words = Vec::new();
        for row in 0..rows {
            for part in 0..job.packed_parts() {
                words.extend(self.left_fragment(&job, row << p.warps[0], part * p.k())?);
            }
        }
        for (word, at) in words.into_iter().zip(packed) {
            self.e.builder.build_store(*at, word)?;
        }
        Ok(())
    }

    /// A fragment of the left operand from registers: sixteen rows, sixteen elements of the summed axis from `k` on.
    fn left_fragment(&mut self, job: &Job<'c, '_, 'a>, row: u32, k: u32) -> Done<[V<'c>; 4]> {
        let Some((layout, all)) = &job.left else { return mistake("no left operand in registers") };
        if !job.packed.is_empty() {
            let first = job.packed_at(row, k);
            let load = |n: usize| self.e.builder.build_load(self.e.context.i32_type(), job.packed[first + n], "");
            return Ok([load(0)?, load(1)?, load(2)?, load(3)?]);
        }
        let (rows, cols) = (job.p.batch, job.p.batch + 1);
        let own = u64::from(row * 16);
        let held = self.e.register_type(job.p.dtype);
        let zero = self.e.literal(helion_ir::eval::from_i64(job.p.dtype, 0))?;
        let place = self.place_along(layout, cols)?;
        let whole = self.known.int(job.c.k.extent).is_some_and(|n| n == 1 << layout.extent(cols));
        let mut words = Vec::with_capacity(4);
        for (half_k, half_m) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
            let mut two = Vec::with_capacity(2);
            for low in 0..2u64 {
                let (m, k) = (own + half_m, u64::from(k) + half_k + low);
                let at = (0..layout.registers())
                    .find(|r| layout.offset(rows, *r) == m && layout.offset(cols, *r) == k && *r < all.len());
                let Some(r) = at else {
                    two.push(zero);
                    continue;
                };
                let v = self.e.builder.build_load(held, all[r], "")?;
                two.push(if whole {
                    v
                } else {
                    // What lies beyond the extent may be anything, and times zero is not always zero.
                    let index = self.e.add(place, self.e.i64(k as i64))?;
                    let inside = self.e.compare(IntPredicate::SLT, index, job.lhs.summed)?;
                    self.e.select(inside, v, zero)?
                });
            }
            words.push(self.e.pair(two[0], two[1])?);
        }
        Ok([words[0], words[1], words[2], words[3]])
    }
}
