//! A kernel: its argument words, the instance it runs, its statements.
//!
//! In: a loop function and its plan. Out: an LLVM module with one kernel. All threads of a block run one program instance
//! together: statements outside nests are computed by every thread alike, and what they write is written by one.

use super::super::feed::WARPGROUP;
use super::super::knobs;
use super::super::known::Known;
use super::super::layout::Layout;
use super::super::plan::{Home, Plan, access};
use super::super::rule::word_offsets;
use super::super::{Error, PtxOptions};
use super::emit::{Done, Emit, I, P, Space, V, mistake};
use super::ring::Position;
use super::sync::{Pending, Shared, Touch, shared_tensors};
use helion_ir::dtype::DType;
use helion_ir::loops::{Function, Inst, Mem, Op, ParamKind, Stmt, Val};
use helion_ir::tile::{Dim, Layout as Strides};
use inkwell::IntPredicate;
use inkwell::basic_block::BasicBlock;
use inkwell::context::Context;
use inkwell::module::Linkage;
use inkwell::module::Module;
use std::collections::{HashMap, HashSet};

/// A distance in elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stride<'c> {
    /// Known when compiling.
    Const(i64),
    /// Known at launch.
    Value(I<'c>),
}

/// Elements in memory.
#[derive(Clone, Debug)]
pub(super) struct Array<'c> {
    pub base: P<'c>,
    pub space: Space,
    pub strides: Vec<Stride<'c>>,
    pub dtype: DType,
    /// Whether no kernel writes it while this one runs.
    pub constant: bool,
    /// log2 of the bytes of which its first element's address, and all strides but the last, are multiples.
    pub aligned: u32,
}

/// A buffer.
#[derive(Clone, Debug)]
pub(super) enum Held<'c> {
    /// One element in each thread.
    Scalar(P<'c>),
    /// Elements in registers.
    Registers(Layout, Vec<P<'c>>),
    /// Elements in memory.
    Memory(Array<'c>),
}

/// The state of making one kernel.
pub(super) struct Lower<'c, 'a> {
    pub(super) e: Emit<'c>,
    pub(super) f: &'a Function,
    pub(super) known: &'a Known,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a PtxOptions,
    pub(super) values: Vec<Option<V<'c>>>,
    pub(super) tensors: Vec<Option<Array<'c>>>,
    pub(super) buffers: Vec<Held<'c>>,
    pub(super) smem: P<'c>,
    pub(super) lane: I<'c>,
    pub(super) warp: I<'c>,
    /// What only the first thread does.
    pub(super) first_thread: I<'c>,
    /// Where every thread's place in layouts is computed: the end of the block before everything else.
    pub(super) prologue: BasicBlock<'c>,
    pub(super) places: HashMap<(Layout, usize), I<'c>>,
    pub(super) pending: Pending,
    /// Where the threads that multiply are in the ring, when products are fed.
    pub(super) ring: Option<Position<'c>>,
    /// Tensors through which threads see each other's elements.
    shared_tensors: HashSet<Mem>,
    words: Vec<usize>,
}

/// Makes the module of a kernel.
///
/// # Errors
/// When the function breaks a rule of the loop IR, or LLVM refuses something.
pub(super) fn lower<'c>(
    context: &'c Context,
    f: &Function,
    options: &PtxOptions,
    known: &Known,
    plan: &Plan,
    entry: &str,
    (threads, registers): (u32, u32),
) -> Result<Module<'c>, Error> {
    let words = word_offsets(f);
    let count = words.last().copied().unwrap_or(0);
    let maps = plan.feed.as_ref().map_or(0, |f| f.maps.len());
    let e = Emit::new(context, entry, (maps, count + 2), threads, options.arch);
    e.cap_registers(registers);
    let smem = e.module.add_global(context.i8_type().array_type(0), Some(Space::Shared.number()), "smem");
    smem.set_linkage(Linkage::External);
    smem.set_alignment(1024);
    let (lane, warp) = (e.lane()?, e.warp()?);
    let whole = e.or(lane, warp)?;
    let first_thread = e.compare(IntPredicate::EQ, whole, e.i32(0))?;
    let prologue = e.here()?;
    let start = e.block("start");
    e.jump(start)?;
    e.at(start);
    let mut lower = Lower {
        f,
        known,
        plan,
        options,
        values: vec![None; f.values.len()],
        tensors: vec![None; f.params.len()],
        buffers: Vec::new(),
        smem: smem.as_pointer_value(),
        lane,
        warp,
        first_thread,
        prologue,
        places: HashMap::new(),
        pending: Pending::default(),
        ring: None,
        shared_tensors: shared_tensors(&f.body),
        words,
        e,
    };
    lower.function(count, registers)?;
    Ok(lower.e.module)
}

impl<'c, 'a> Lower<'c, 'a> {
    /// The body, for threads that may use so many registers.
    fn function(&mut self, words: usize, registers: u32) -> Done {
        for inst in &self.f.header {
            self.inst(inst)?;
        }
        self.find_tensors()?;
        self.find_buffers(words)?;
        let plan = self.plan;
        let Some(feed) = &plan.feed else {
            self.instances(words, &mut |s| s.stmts(&s.f.body))?;
            self.e.builder.build_return(None)?;
            return Ok(());
        };
        self.begin_ring(feed)?;
        let (producer, crew) = (self.e.block("producer"), self.e.block("crew"));
        let warps = 1u32 << plan.warps;
        let extra = self.e.compare(IntPredicate::SGE, self.warp, self.e.i32(i64::from(warps)))?;
        self.e.branch(extra, producer, crew)?;
        let moves_registers = feed.warps == WARPGROUP && registers == knobs::registers_of(warps + WARPGROUP);
        let (computing, fetching) = knobs::registers_of_crew(warps);
        for (block, fetches) in [(producer, true), (crew, false)] {
            self.e.at(block);
            // From here on barriers are for those who compute; the producer has none.
            self.e.crew.set(Some(warps * 32));
            if moves_registers {
                self.e.change_registers(if fetches { fetching } else { computing }, !fetches)?;
            }
            if fetches && feed.warps > 1 {
                let (first, others) = (self.e.block("first"), self.e.block("others"));
                let is_first = self.e.compare(IntPredicate::EQ, self.warp, self.e.i32(i64::from(warps)))?;
                self.e.branch(is_first, first, others)?;
                self.e.at(others);
                self.e.builder.build_return(None)?;
                self.e.at(first);
            }
            let position = self.ring_position()?;
            self.ring = Some(position);
            let values = self.values.clone();
            if fetches {
                self.instances(words, &mut |s| s.produce(feed, position, &s.f.body))?;
            } else {
                self.begin_turns()?;
                self.instances(words, &mut |s| s.stmts(&s.f.body))?;
                self.end_turns()?;
            }
            self.values = values;
            self.e.builder.build_return(None)?;
        }
        Ok(())
    }

    /// The program instances of this block.
    fn instances(&mut self, words: usize, body: &mut dyn FnMut(&mut Self) -> Done) -> Done {
        let block = self.e.special("ctaid.x")?;
        if self.plan.dynamic.is_empty() {
            return self.instance(block, body);
        }
        // Blocks are as many as have memory: each runs several instances.
        let programs = self.e.word(words + 1)?;
        let programs = self.e.to_i32(programs)?;
        let blocks = self.e.special("nctaid.x")?;
        self.counted(block, programs, blocks, |s, number| {
            s.instance(number, body)?;
            s.end_of_turn()
        })
    }

    /// One program instance, its number decoded row-major into the grid's indices.
    fn instance(&mut self, number: I<'c>, body: &mut dyn FnMut(&mut Self) -> Done) -> Done {
        let f = self.f;
        let mut rest = number;
        for (k, axis) in f.grid.iter().enumerate().rev() {
            let index = if k == 0 {
                rest
            } else {
                let count = self.int(axis.count)?;
                let count = self.e.to_i32(count)?;
                let whole = self.e.builder.build_int_unsigned_div(rest, count, "")?;
                let index = self.e.sub(rest, self.e.mul(whole, count)?)?;
                rest = whole;
                index
            };
            let index = self.e.to_i64(index)?;
            self.set(axis.index, index.into());
        }
        body(self)
    }

    /// `for var in (begin..end).step_by(step)` on integers of one width, `step` positive.
    pub(super) fn counted(
        &mut self,
        begin: I<'c>,
        end: I<'c>,
        step: I<'c>,
        body: impl FnOnce(&mut Self, I<'c>) -> Done,
    ) -> Done {
        let (head, inside, after) = (self.e.block("loop"), self.e.block("body"), self.e.block("done"));
        let before = self.e.here()?;
        self.e.jump(head)?;
        self.e.at(head);
        let var = self.e.builder.build_phi(begin.get_type(), "")?;
        let now = var.as_basic_value().into_int_value();
        let more = self.e.compare(IntPredicate::SLT, now, end)?;
        self.e.branch(more, inside, after)?;
        self.e.at(inside);
        body(self, now)?;
        let next = self.e.add(now, step)?;
        let last = self.e.here()?;
        self.e.jump(head)?;
        var.add_incoming(&[(&begin, before), (&next, last)]);
        self.e.at(after);
        Ok(())
    }

    /// Addresses and strides of all tensors.
    fn find_tensors(&mut self) -> Done {
        let f = self.f;
        for (k, p) in f.params.iter().enumerate() {
            let ParamKind::Tensor { dtype, dims, layout, mutable } = &p.kind else { continue };
            let (word, rank) = (self.words[k], dims.len());
            let base = self.e.pointer(self.e.word(word)?, Space::Global)?;
            let mut strides = Vec::with_capacity(rank);
            let mut known = matches!(layout, Strides::Contiguous | Strides::LastUnit).then_some(1i64);
            for d in (0..rank).rev() {
                strides.push(match known {
                    Some(s) => Stride::Const(s),
                    None => Stride::Value(self.e.word(word + 1 + rank + d)?),
                });
                let extent = match dims[d] {
                    Dim::Const(n) => Some(n),
                    Dim::Symbol(s) => self.options.facts.sizes.iter().find(|(k, _)| *k == s).map(|(_, n)| *n),
                    Dim::Tile(_) | Dim::Expr(_) => None,
                };
                known = match (layout, known, extent) {
                    (Strides::Contiguous, Some(s), Some(n)) => Some(s.saturating_mul(n as i64)),
                    _ => None,
                };
            }
            strides.reverse();
            let aligned = if self.options.facts.is_aligned(k) { 4 } else { 0 };
            let constant = !*mutable;
            self.tensors[k] = Some(Array { base, space: Space::Global, strides, dtype: *dtype, constant, aligned });
        }
        Ok(())
    }

    /// Registers and addresses of all buffers.
    fn find_buffers(&mut self, words: usize) -> Done {
        let f = self.f;
        let spill = self.e.word(words)?;
        let mut next = self.dynamic_base(spill)?;
        for (k, buffer) in f.buffers.iter().enumerate() {
            let register = self.e.register_type(buffer.dtype);
            let held = match &self.plan.homes[k] {
                Home::Scalar => Held::Scalar(self.e.variable(register)?),
                Home::Registers(layout) => {
                    let all = (0..layout.registers()).map(|_| self.e.variable(register)).collect::<Done<Vec<_>>>()?;
                    Held::Registers(layout.clone(), all)
                }
                Home::Shared { at } => {
                    let base = self.shared(*at)?;
                    let (strides, _) = self.row_major(&buffer.dims)?;
                    Held::Memory(self.array(base, Space::Shared, strides, buffer.dtype))
                }
                Home::Dynamic(_) => {
                    let (strides, elements) = self.row_major(&buffer.dims)?;
                    let base =
                        self.e.builder.build_int_to_ptr(next, self.e.context.ptr_type(Space::Generic.number()), "")?;
                    let bytes = self.e.mul(elements, self.e.i64(buffer.dtype.size() as i64))?;
                    let up = self.e.add(bytes, self.e.i64(15))?;
                    next = self.e.add(next, self.e.and(up, self.e.i64(!15))?)?;
                    Held::Memory(self.array(base, Space::Generic, strides, buffer.dtype))
                }
            };
            self.buffers.push(held);
        }
        Ok(())
    }

    fn array(&self, base: P<'c>, space: Space, strides: Vec<Stride<'c>>, dtype: DType) -> Array<'c> {
        Array { base, space, strides, dtype, constant: false, aligned: 0 }
    }

    /// An address in shared memory.
    pub(super) fn shared(&self, at: u32) -> Done<P<'c>> {
        self.e.offset(self.smem, self.e.i32(i64::from(at)))
    }

    /// Where this block's dynamic buffers begin: in shared memory, or in its part of the spill memory.
    fn dynamic_base(&mut self, spill: I<'c>) -> Done<I<'c>> {
        let zero = self.e.i64(0);
        if self.plan.dynamic.is_empty() {
            return Ok(zero);
        }
        let mut bytes = zero;
        for b in &self.plan.dynamic {
            let buffer = &self.f.buffers[b.index()];
            let (_, elements) = self.row_major(&buffer.dims)?;
            let size = self.e.mul(elements, self.e.i64(buffer.dtype.size() as i64))?;
            let up = self.e.add(size, self.e.i64(15))?;
            bytes = self.e.add(bytes, self.e.and(up, self.e.i64(!15))?)?;
        }
        let block = self.e.special("ctaid.x")?;
        let part = self.e.mul(bytes, self.e.to_i64(block)?)?;
        let global = self.e.add(spill, part)?;
        let shared = self.shared(self.plan.shared)?;
        let generic =
            self.e.builder.build_address_space_cast(shared, self.e.context.ptr_type(Space::Generic.number()), "")?;
        let shared = self.e.builder.build_ptr_to_int(generic, self.e.context.i64_type(), "")?;
        let none = self.e.compare(IntPredicate::EQ, spill, zero)?;
        Ok(self.e.select(none, shared.into(), global.into())?.into_int_value())
    }

    /// Strides of a row-major array of these extents, and its number of elements.
    fn row_major(&mut self, dims: &[Val]) -> Done<(Vec<Stride<'c>>, I<'c>)> {
        let mut strides = Vec::with_capacity(dims.len());
        let mut at = Stride::Const(1);
        for d in dims.iter().rev() {
            strides.push(at);
            at = match (at, self.known.int(*d)) {
                (Stride::Const(s), Some(n)) => Stride::Const(s.saturating_mul(n.max(0))),
                (s, _) => {
                    let n = self.int(*d)?;
                    let s = self.stride(s);
                    Stride::Value(self.e.mul(s, n)?)
                }
            };
        }
        strides.reverse();
        Ok((strides, self.stride(at)))
    }

    pub(super) fn stride(&self, s: Stride<'c>) -> I<'c> {
        match s {
            Stride::Const(n) => self.e.i64(n),
            Stride::Value(v) => v,
        }
    }

    /// Whether threads see each other's elements there.
    pub(super) fn is_shared(&self, mem: Mem) -> bool {
        match mem {
            Mem::Tensor(_) => self.shared_tensors.contains(&mem),
            Mem::Buffer(b) => matches!(self.buffers.get(b.index()), Some(Held::Memory(_))),
        }
    }

    /// Makes threads wait for each other if what comes next needs it.
    pub(super) fn sync(&mut self, next: &Touch) -> Done {
        if self.pending.needs_barrier(next) {
            self.e.barrier()?;
        }
        Ok(())
    }

    /// The value of something defined outside nests.
    pub(super) fn value(&self, v: Val) -> Done<V<'c>> {
        if let Some(l) = self.known.literal(v) {
            return self.e.literal(l);
        }
        match self.values[v.index()] {
            Some(x) => Ok(x),
            None => Err(Error::Malformed(format!("value %{} is used before it is defined", v.0))),
        }
    }
    pub(super) fn int(&self, v: Val) -> Done<I<'c>> {
        match self.value(v)? {
            V::IntValue(i) => Ok(i),
            _ => mistake("a float where an integer belongs"),
        }
    }
    pub(super) fn set(&mut self, v: Val, to: V<'c>) {
        self.values[v.index()] = Some(to);
    }
}

/// Statements.
impl<'c, 'a> Lower<'c, 'a> {
    pub(super) fn stmts(&mut self, body: &'a [Stmt]) -> Done {
        body.iter().try_for_each(|s| self.stmt(s))
    }

    fn stmt(&mut self, s: &'a Stmt) -> Done {
        match s {
            Stmt::Inst(i) => self.inst(i),
            Stmt::For { var, begin, end, step, body } => {
                let (begin, end, step) = (self.int(*begin)?, self.int(*end)?, self.int(*step)?);
                self.settle_before(body)?;
                let turns = |s: &mut Self| {
                    s.counted(begin, end, step, |s, now| {
                        s.set(*var, now.into());
                        s.stmts(body)?;
                        s.end_of_turn()
                    })
                };
                let plan = self.plan;
                let (Some(feed), Some(ring)) = (&plan.feed, self.ring) else { return turns(self) };
                let some = self.e.compare(IntPredicate::SLT, begin, end)?;
                self.when(some, |s| {
                    s.await_kept(feed, ring, body)?;
                    match s.rotated(*var, body) {
                        Some(l) => s.multiply_rotated(feed, ring, l, [begin, end, step])?,
                        None => turns(s)?,
                    }
                    s.leave_kept(feed, body)
                })
            }
            Stmt::While { cond, test, body } => self.repeat(cond, *test, body),
            Stmt::If { cond, then, other } => self.choose(*cond, then, other),
            Stmt::Nest(n) => self.nest(n),
            Stmt::Contract(c) => self.contract(c),
        }
    }

    /// Does something where a condition holds.
    pub(super) fn when(&mut self, condition: I<'c>, what: impl FnOnce(&mut Self) -> Done) -> Done {
        let (yes, after) = (self.e.block("when"), self.e.block("after"));
        self.e.branch(condition, yes, after)?;
        self.e.at(yes);
        what(self)?;
        self.e.jump(after)?;
        self.e.at(after);
        Ok(())
    }

    /// A loop is entered with nothing pending that its first turn could not tell from its later ones.
    fn settle_before(&mut self, _body: &[Stmt]) -> Done {
        self.end_of_turn()
    }

    /// After this threads have waited for each other since they last touched shared memory.
    pub(super) fn end_of_turn(&mut self) -> Done {
        if !self.pending.is_empty() {
            self.e.barrier()?;
            self.pending.clear();
        }
        Ok(())
    }

    fn repeat(&mut self, cond: &'a [Stmt], test: Val, body: &'a [Stmt]) -> Done {
        self.end_of_turn()?;
        let (head, inside, after) = (self.e.block("while"), self.e.block("body"), self.e.block("done"));
        self.e.jump(head)?;
        self.e.at(head);
        self.stmts(cond)?;
        let go_on = self.int(test)?;
        self.e.branch(go_on, inside, after)?;
        self.e.at(inside);
        let at_exit = self.pending.clone();
        self.stmts(body)?;
        self.end_of_turn()?;
        self.e.jump(head)?;
        self.pending = at_exit;
        self.e.at(after);
        Ok(())
    }

    fn choose(&mut self, cond: Val, then: &'a [Stmt], other: &'a [Stmt]) -> Done {
        let cond = self.int(cond)?;
        let (yes, no, after) = (self.e.block("then"), self.e.block("else"), self.e.block("endif"));
        self.e.branch(cond, yes, no)?;
        let before = self.pending.clone();
        self.e.at(yes);
        self.stmts(then)?;
        self.e.jump(after)?;
        let after_then = std::mem::replace(&mut self.pending, before);
        self.e.at(no);
        self.stmts(other)?;
        self.e.jump(after)?;
        self.pending.join(&after_then);
        self.e.at(after);
        Ok(())
    }

    /// An instruction outside nests: computed by all threads alike; what it writes, the first one writes.
    pub(super) fn inst(&mut self, inst: &Inst) -> Done {
        if inst.result.is_some_and(|r| self.known.literal(r).is_some()) {
            return Ok(());
        }
        let mut touch = Touch::default();
        touch.inst(inst, &|m| self.is_shared(m));
        self.sync(&touch)?;
        let args = inst.args.iter().map(|a| self.value(*a)).collect::<Done<Vec<_>>>()?;
        let made = match &inst.op {
            Op::Load { mem, masked } => Some(self.load_one(*mem, &args, *masked)?),
            Op::Store { mem, masked } => {
                self.store_one(*mem, &args, *masked)?;
                None
            }
            Op::Atomic { .. } => Some(self.atomic_one(inst, &args)?),
            Op::Print { label } => {
                let at: Vec<I<'c>> = args[1..].iter().map(|a| a.into_int_value()).collect();
                self.e.print(label, &at, args[0], self.f.dtype(inst.args[0]), Some(self.first_thread))?;
                None
            }
            Op::Const(_) | Op::Size(_) | Op::Dim(..) | Op::Scalar(_) | Op::Unary(_) | Op::Binary(_) | Op::Fma => {
                Some(self.pure(inst, &args)?)
            }
            Op::Select | Op::Cast(_) | Op::Bitcast(_) | Op::Random { .. } => Some(self.pure(inst, &args)?),
        };
        if let (Some(r), Some(v)) = (inst.result, made) {
            self.set(r, v);
        }
        Ok(())
    }

    /// An instruction that touches no memory.
    pub(super) fn pure(&self, inst: &Inst, args: &[V<'c>]) -> Done<V<'c>> {
        let of = |i: usize| self.f.dtype(inst.args[i]);
        match &inst.op {
            Op::Const(l) => self.e.literal(*l),
            Op::Size(s) => Ok(self.e.word(self.words[self.f.params.len()] + s.index())?.into()),
            Op::Dim(p, axis) => Ok(self.e.word(self.words[p.index()] + 1 + *axis as usize)?.into()),
            Op::Scalar(p) => self.scalar_word(*p),
            Op::Unary(op) => self.e.unary(*op, of(0), args[0]),
            Op::Binary(op) => self.e.binary(*op, of(0), args[0], args[1]),
            Op::Fma => self.e.fma(of(0), args[0], args[1], args[2]),
            Op::Select => self.e.select(args[0].into_int_value(), args[1], args[2]),
            Op::Cast(to) => self.e.cast(args[0], of(0), *to),
            Op::Bitcast(to) => self.e.bitcast(args[0], of(0), *to),
            Op::Random { word } => Ok(self.e.random(args[0].into_int_value(), args[1].into_int_value(), *word)?.into()),
            Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } | Op::Print { .. } => {
                mistake("an access is not pure")
            }
        }
    }

    /// A scalar parameter: the low bits of its word.
    fn scalar_word(&self, p: helion_ir::loops::ParamId) -> Done<V<'c>> {
        let ParamKind::Scalar { dtype } = &self.f.params[p.index()].kind else {
            return mistake("a tensor where a scalar belongs");
        };
        let word = self.e.word(self.words[p.index()])?;
        let bits = if *dtype == DType::Bool { 1 } else { 8 * dtype.size() as u32 };
        let low = match bits {
            64 => word,
            _ => self.e.builder.build_int_truncate(word, self.e.int_type(bits), "")?,
        };
        self.e.bits_to(low.into(), self.e.register_type(*dtype))
    }

    /// The old value that an atomic outside nests returned, told to all threads.
    fn atomic_one(&mut self, inst: &Inst, args: &[V<'c>]) -> Done<V<'c>> {
        let Some((mem, index)) = access(inst) else { return mistake("an atomic without memory") };
        let Op::Atomic { op, masked, .. } = &inst.op else { return mistake("not an atomic") };
        let values = args.len() - index.len() - usize::from(*masked);
        let place = self.element(mem, &args[values..values + index.len()])?;
        let mask = match args.last().filter(|_| *masked) {
            Some(m) => self.e.and(m.into_int_value(), self.first_thread)?,
            None => self.first_thread,
        };
        let dtype = place.dtype;
        let expected = (values == 2).then(|| args[1]);
        let old = self.e.atomic(*op, dtype, place.space, place.base, args[0], expected, Some(mask))?;
        let mut exchange = Touch::default();
        exchange.write(Shared::Exchange);
        self.sync(&exchange)?;
        let cell = self.shared(0)?;
        self.e.store_elements(Space::Shared, cell, dtype, &[old], Some(self.first_thread))?;
        let mut exchange = Touch::default();
        exchange.read(Shared::Exchange);
        self.sync(&exchange)?;
        Ok(self.e.load_elements(Space::Shared, cell, dtype, 1, None, false)?[0])
    }
}
