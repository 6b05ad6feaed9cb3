//! From a program to straight-line sections.
//!
//! Comes in: a legal [`Program`] and the number of lanes. Goes out: [`Staged`], in which
//! - every section is straight-line code that begins with values in *homes* and ends by putting values
//!   into homes; homes are what lives between sections (carries, and values of `before` used later);
//! - the main loop holds `unroll` steps with their own addresses, the single loop one step, and the partial
//!   section (element programs) one step whose loads and stores are masked by the lanes that exist;
//! - a carry with a `fold` has one home per step of the main loop, combined by [`Staged::combine`];
//! - constants and splats are no instructions any more but *sources* of values, which a lowering puts
//!   where it likes;
//! - only `Fixed` and `Unit` addresses of element programs and `Bytes` addresses are left, dead code is not.

use helion_ir::dtype::{DType, Literal};
use smallvec::SmallVec;
use std::collections::HashMap;

use super::ir::{Addr, Fold, Inst, Op, Program, SlotId, Trip, Ty, V, Walk};

/// Where a value that is the same in every step comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A constant.
    Const(Literal),
    /// A scalar of the argument block.
    Splat(SlotId),
}

/// Something that lives between sections: an index into [`Staged::homes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Home(pub u32);

/// Straight-line code.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The code.
    pub insts: Vec<Inst>,
    /// The values of homes at the beginning.
    pub ins: Vec<(Home, V)>,
    /// The values of homes at the end; a home not named keeps its value only if it is in `ins`.
    pub outs: Vec<(Home, V)>,
}

/// A program as sections, in the order in which they run.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The slots and the rest of the original.
    pub program: Program,
    /// Lanes per vector.
    pub lanes: u32,
    /// Types of all values, those of the original first.
    pub values: Vec<Ty>,
    /// Sources, for the values that have one.
    pub sources: Vec<Option<Source>>,
    /// Types of the homes; carries first.
    pub homes: Vec<Ty>,
    /// How many of the homes change in loops.
    pub carried: usize,
    /// Once, first.
    pub before: Section,
    /// Repeated while `unroll` whole steps are left; absent when nothing is unrolled.
    pub main: Option<Section>,
    /// After the main loop, if it ran.
    pub combine: Section,
    /// Repeated while a whole step is left.
    pub single: Section,
    /// Once, if elements are left.
    pub partial: Option<Section>,
    /// Once, last.
    pub after: Section,
}

impl Staged {
    /// The sections with names, in order.
    pub fn sections(&self) -> impl Iterator<Item = (&'static str, &Section)> {
        let (main, partial) = (self.main.as_ref(), self.partial.as_ref());
        [Some(("before", &self.before)), main.map(|s| ("main", s)), main.map(|_| ("combine", &self.combine))]
            .into_iter()
            .chain([Some(("single", &self.single)), partial.map(|s| ("partial", s)), Some(("after", &self.after))])
            .flatten()
    }
    /// The type of a value.
    pub fn ty(&self, v: V) -> Ty {
        self.values[v.0 as usize]
    }
    /// The source of a value.
    pub fn source(&self, v: V) -> Option<Source> {
        self.sources[v.0 as usize]
    }
}

/// Stages a legal program.
pub fn stage(program: &Program, lanes: u32) -> Staged {
    Stager::new(program, lanes).run()
}

/// The instruction op that folds two values of type `ty`.
pub fn fold_op(fold: Fold) -> Op {
    match fold {
        Fold::Add => Op::Add,
        Fold::Mul => Op::Mul,
        Fold::Max => Op::Max,
        Fold::Min => Op::Min,
        Fold::Or => Op::Or,
        Fold::And => Op::And,
    }
}

struct Stager<'a> {
    p: &'a Program,
    lanes: u32,
    values: Vec<Ty>,
    sources: Vec<Option<Source>>,
    interned: HashMap<Source, V>,
    /// What values of the original became by interning.
    renamed: Vec<V>,
}

/// The code of some steps being put together.
struct Steps {
    insts: Vec<Inst>,
    tail: Option<V>,
}

impl<'a> Stager<'a> {
    fn new(p: &'a Program, lanes: u32) -> Self {
        let sources = vec![None; p.values.len()];
        let renamed = (0..p.values.len() as u32).map(V).collect();
        Stager { p, lanes, values: p.values.clone(), sources, interned: HashMap::new(), renamed }
    }

    fn value(&mut self, ty: Ty) -> V {
        self.values.push(ty);
        self.sources.push(None);
        V(self.values.len() as u32 - 1)
    }

    fn constant(&mut self, literal: Literal, ty: Ty) -> V {
        let source = Source::Const(literal);
        match self.interned.get(&source) {
            Some(&v) => v,
            None => {
                let v = self.value(ty);
                self.sources[v.0 as usize] = Some(source);
                self.interned.insert(source, v);
                v
            }
        }
    }

    /// Takes the sources of a part out of it: every source gets one value.
    fn intern(&mut self, part: &[Inst]) -> Vec<Inst> {
        let mut kept = Vec::with_capacity(part.len());
        for inst in part {
            let source = match inst.op {
                Op::Const(l) => Some(Source::Const(l)),
                Op::Splat(s) => Some(Source::Splat(s)),
                _ => None,
            };
            match (source, inst.result) {
                (Some(source), Some(r)) => {
                    let first = *self.interned.entry(source).or_insert(r);
                    self.sources[first.0 as usize] = Some(source);
                    self.renamed[r.0 as usize] = first;
                }
                (Some(_) | None, _) => kept.push(inst.clone()),
            }
        }
        kept
    }

    /// One step of the body: the `number`th of a section, with carries `env` to begin with.
    fn step(&mut self, body: &[Inst], number: u32, partial: bool, env: &mut [V], out: &mut Steps) {
        for inst in body {
            let mut new = inst.clone();
            for a in &mut new.args {
                *a = env[a.0 as usize];
            }
            if let Some((addr, _)) = new.op.memory_mut() {
                advance(addr, number);
            }
            if let Some(r) = inst.result {
                let fresh = self.value(self.p.ty(r));
                new.result = Some(fresh);
                env[r.0 as usize] = fresh;
            }
            match (new.op, out.tail) {
                (Op::Tail, tail) => {
                    let all = match tail {
                        Some(tail) => tail,
                        None => self.constant(Literal::from_bits(DType::Bool, 1), Ty::Mask),
                    };
                    inst.result.iter().for_each(|r| env[r.0 as usize] = all);
                }
                (Op::Index, _) if number > 0 => {
                    let ty = inst.result.map_or(Ty::I64, |r| self.p.ty(r));
                    let dtype = if ty == Ty::I32 { DType::I32 } else { DType::I64 };
                    let by = self.constant(Literal::from_bits(dtype, u64::from(number * self.lanes)), ty);
                    let base = self.value(ty);
                    let sum = new.result.replace(base);
                    out.insts.push(new);
                    out.insts.push(Inst { op: Op::Add, args: SmallVec::from_slice(&[base, by]), result: sum });
                }
                (_, Some(tail)) if partial => self.mask(new, tail, out),
                (_, _) => out.insts.push(new),
            }
        }
    }

    /// An instruction of the partial step.
    fn mask(&mut self, mut inst: Inst, tail: V, out: &mut Steps) {
        match inst.op {
            Op::Load(addr, d) if !addr.is_splat() => {
                inst.op = Op::LoadMasked(addr, d);
                inst.args.push(tail);
            }
            Op::Store(addr, d) | Op::StoreStream(addr, d) => {
                inst.op = Op::StoreMasked(addr, d);
                inst.args.insert(0, tail);
            }
            Op::StoreMasked(..) | Op::LoadMasked(..) => {
                let both = self.value(Ty::Mask);
                let args = SmallVec::from_slice(&[inst.args[0], tail]);
                out.insts.push(Inst { op: Op::And, args, result: Some(both) });
                inst.args[0] = both;
            }
            _ => {}
        }
        out.insts.push(inst);
    }

    /// In the partial step, lanes past the end keep what they had.
    fn keep(&mut self, tail: V, next: V, param: V, out: &mut Steps) -> V {
        let ty = self.values[param.0 as usize];
        let mut emit = |this: &mut Self, op: Op, args: &[V], ty: Ty| {
            let v = this.value(ty);
            out.insts.push(Inst { op, args: SmallVec::from_slice(args), result: Some(v) });
            v
        };
        if ty != Ty::Mask {
            return emit(self, Op::Select, &[tail, next, param], ty);
        }
        let changed = emit(self, Op::Xor, &[next, param], ty);
        let real = emit(self, Op::And, &[changed, tail], ty);
        emit(self, Op::Xor, &[real, param], ty)
    }

    /// A section of `steps` steps of the body. `copies[c][s]` is the home of step `s` of carry `c`.
    fn steps(&mut self, body: &[Inst], steps: u32, partial: bool, copies: &[Vec<Home>]) -> Section {
        let p = self.p;
        let mut section = Section::default();
        let mut out = Steps { insts: Vec::with_capacity(body.len() * steps as usize + 4), tail: None };
        if partial {
            let tail = self.value(Ty::Mask);
            out.insts.push(Inst { op: Op::Tail, args: SmallVec::new(), result: Some(tail) });
            out.tail = Some(tail);
        }
        let mut current: Vec<V> = Vec::with_capacity(p.carries.len());
        for number in 0..steps {
            let mut env = self.renamed.clone();
            for (at, carry) in p.carries.iter().enumerate() {
                let own = carry.fold.is_some() && steps > 1;
                let v = if number == 0 || own {
                    let v = self.value(p.ty(carry.param));
                    section.ins.push((copies[at][number as usize], v));
                    v
                } else {
                    current[at]
                };
                env[carry.param.0 as usize] = v;
            }
            self.step(body, number, partial, &mut env, &mut out);
            let mut nexts = Vec::with_capacity(p.carries.len());
            for (at, carry) in p.carries.iter().enumerate() {
                let mut next = env[carry.next.0 as usize];
                if let (Some(tail), Some(_)) = (out.tail, carry.fold) {
                    next = self.keep(tail, next, env[carry.param.0 as usize], &mut out);
                }
                if carry.fold.is_some() && steps > 1 {
                    section.outs.push((copies[at][number as usize], next));
                } else if number + 1 == steps {
                    section.outs.push((copies[at][0], next));
                }
                nexts.push(next);
            }
            current = nexts;
        }
        section.insts = out.insts;
        section
    }

    fn combine(&mut self, copies: &[Vec<Home>]) -> Section {
        let mut section = Section::default();
        for (at, carry) in self.p.carries.iter().enumerate() {
            let ty = self.p.ty(carry.param);
            let mut total = self.value(ty);
            section.ins.push((copies[at][0], total));
            for &home in &copies[at][1..] {
                let v = self.value(ty);
                section.ins.push((home, v));
                let sum = self.value(ty);
                let op = carry.fold.map_or(Op::Add, fold_op);
                section.insts.push(Inst { op, args: SmallVec::from_slice(&[total, v]), result: Some(sum) });
                total = sum;
            }
            section.outs.push((copies[at][0], total));
        }
        section
    }

    fn run(mut self) -> Staged {
        let mut p = self.p.clone();
        let before = self.intern(&p.before);
        let body = self.intern(&p.body);
        let after = self.intern(&p.after);
        for (part, kept) in [(&mut p.before, before), (&mut p.body, body), (&mut p.after, after)] {
            *part = kept;
        }
        for inst in p.before.iter_mut().chain(&mut p.body).chain(&mut p.after) {
            if p.trip == Trip::Count
                && let Some((addr, dtype)) = inst.op.memory_mut()
                && addr.walk == Walk::Unit
            {
                let size = dtype.size() as u32;
                addr.walk = Walk::Bytes { advance: (self.lanes * size) as i32, splat: false };
            }
        }
        let mut homes = Vec::new();
        let mut copies = Vec::new();
        for carry in &p.carries {
            let count = if carry.fold.is_some() { p.unroll } else { 1 };
            copies.push((0..count).map(|c| Home(homes.len() as u32 + c)).collect::<Vec<_>>());
            homes.extend((0..count).map(|_| p.ty(carry.param)));
        }
        let carried = homes.len();
        // First, because the body may use what `before` calls its tail.
        let (before, after) = self.ends(&p, &copies);
        let main = (p.unroll > 1).then(|| self.steps(&p.body, p.unroll, false, &copies));
        let combine = self.combine(&copies);
        let single = self.steps(&p.body, 1, false, &copies);
        let partial = (p.trip == Trip::Elements && self.lanes > 1).then(|| self.steps(&p.body, 1, true, &copies));
        let mut staged = Staged {
            lanes: self.lanes,
            values: self.values,
            sources: self.sources,
            homes,
            carried,
            before,
            main,
            combine,
            single,
            partial,
            after,
            program: p,
        };
        prune(&mut staged);
        give_homes(&mut staged);
        staged
    }

    /// `before` and `after`, where every lane exists.
    fn ends(&mut self, p: &Program, copies: &[Vec<Home>]) -> (Section, Section) {
        let mut sections = [Section::default(), Section::default()];
        for (section, part) in sections.iter_mut().zip([&p.before, &p.after]) {
            let mut env = self.renamed.clone();
            for inst in part {
                let mut new = inst.clone();
                for a in &mut new.args {
                    *a = env[a.0 as usize];
                }
                if let (Op::Tail, Some(r)) = (new.op, new.result) {
                    let all = self.constant(Literal::from_bits(DType::Bool, 1), Ty::Mask);
                    env[r.0 as usize] = all;
                    self.renamed[r.0 as usize] = all;
                } else {
                    section.insts.push(new);
                }
            }
        }
        let [mut before, mut after] = sections;
        for (at, carry) in p.carries.iter().enumerate() {
            let init = self.renamed[carry.init.0 as usize];
            before.outs.extend(copies[at].iter().map(|&home| (home, init)));
            after.ins.push((copies[at][0], carry.result));
        }
        (before, after)
    }
}

/// Moves an address of the first step to that of step `number`.
fn advance(addr: &mut Addr, number: u32) {
    match addr.walk {
        Walk::Fixed => {}
        Walk::Unit => addr.vectors += number,
        Walk::Bytes { advance, .. } => addr.offset += advance * number as i32,
    }
}

/// Removes instructions whose results nobody uses.
fn prune(staged: &mut Staged) {
    let mut used = vec![false; staged.values.len()];
    let main = staged.main.as_mut();
    let partial = staged.partial.as_mut();
    // Backwards, so that `before` sees what everyone else needs.
    let sections = [Some(&mut staged.after), partial, Some(&mut staged.single), Some(&mut staged.combine), main];
    for section in sections.into_iter().flatten().chain([&mut staged.before]) {
        for &(_, v) in &section.outs {
            used[v.0 as usize] = true;
        }
        let mut at = section.insts.len();
        while at > 0 {
            at -= 1;
            let inst = &section.insts[at];
            let needed = inst.result.is_none_or(|r| used[r.0 as usize]);
            if needed {
                inst.args.iter().for_each(|a| used[a.0 as usize] = true);
            }
            if !needed {
                section.insts[at].args.clear();
                section.insts[at].op = Op::Index;
                section.insts[at].result = None;
            }
        }
        section.insts.retain(|i| !(i.op == Op::Index && i.result.is_none()));
    }
}

/// Gives homes to the values of `before` that other sections use.
fn give_homes(staged: &mut Staged) {
    let mut made = vec![false; staged.values.len()];
    for inst in &staged.before.insts {
        if let Some(r) = inst.result {
            made[r.0 as usize] = true;
        }
    }
    let mut home_of: HashMap<V, Home> = HashMap::new();
    let sections = [staged.main.as_mut(), Some(&mut staged.combine), Some(&mut staged.single), staged.partial.as_mut()];
    for section in sections.into_iter().flatten().chain([&mut staged.after]) {
        let mut here: Vec<V> = Vec::new();
        let args = section.insts.iter().flat_map(|i| i.args.iter().copied());
        for v in args.chain(section.outs.iter().map(|o| o.1)) {
            if made[v.0 as usize] && !here.contains(&v) {
                here.push(v);
            }
        }
        for v in here {
            let home = *home_of.entry(v).or_insert_with(|| {
                staged.homes.push(staged.values[v.0 as usize]);
                Home(staged.homes.len() as u32 - 1)
            });
            section.ins.push((home, v));
        }
    }
    let mut outs: Vec<(Home, V)> = home_of.into_iter().map(|(v, home)| (home, v)).collect();
    outs.sort_by_key(|o| o.0);
    staged.before.outs.extend(outs);
}
