//! What programs tell the caches: stores that go around them, and prefetches.
//!
//! A tensor that a kernel only writes need not pass through the caches when it is larger than they are.
//! A tensor that a program instance reads twice is waited for in the first pass and idle in the last; there
//! the elements of the next instance are prefetched.

use super::{Facts, Source, VectorNest};
use crate::cpu::vector::ir::{Inst, Op as VectorOp, Program, Slot, SlotId, Walk};
use helion_ir::loops::{Function, Inst as LoopInst, Mem, Nest, Op, ParamId, ParamKind, Stmt};
use helion_ir::tile::Layout;
use smallvec::SmallVec;
use std::collections::HashSet;

/// A program whose stores go around the caches.
#[derive(Debug)]
pub(in crate::cpu) struct Streaming {
    /// The program; its argument block is that of the original.
    pub program: Program,
    /// The words of the argument block that must be aligned to a register's bytes.
    pub pointers: Vec<usize>,
    /// The tensors that should be large.
    pub tensors: Vec<ParamId>,
    /// Bytes of their elements, where they are the same.
    pub size: Option<usize>,
}

/// Tensors that anything in a function reads.
pub(super) fn loaded(f: &Function) -> HashSet<ParamId> {
    let mut found = HashSet::new();
    f.body.iter().for_each(|s| note_loads(s, &mut found));
    found
}

fn note_insts(list: &[LoopInst], found: &mut HashSet<ParamId>) {
    for inst in list {
        if let Op::Load { mem: Mem::Tensor(p), .. } | Op::Atomic { mem: Mem::Tensor(p), .. } = &inst.op {
            found.insert(*p);
        }
    }
}

fn note_loads(stmt: &Stmt, found: &mut HashSet<ParamId>) {
    let mut all = |list: &[Stmt]| list.iter().for_each(|s| note_loads(s, found));
    match stmt {
        Stmt::Inst(i) => note_insts(std::slice::from_ref(i), found),
        Stmt::For { body, .. } => all(body),
        Stmt::While { cond, body, .. } => {
            all(cond);
            all(body);
        }
        Stmt::If { then, other, .. } => {
            all(then);
            all(other);
        }
        Stmt::Nest(n) => {
            note_insts(&n.body, found);
            note_insts(&n.finals, found);
        }
        Stmt::Contract(c) => {
            for mem in [c.lhs.mem, c.rhs.mem] {
                if let Mem::Tensor(p) = mem {
                    found.insert(p);
                }
            }
        }
    }
}

/// The nests of a list that load tensors which a nest before them loads and nothing after them does.
pub(super) fn last_loads(body: &[Stmt]) -> Vec<(&Nest, Vec<ParamId>)> {
    let (mut after, mut last) = (HashSet::new(), Vec::new());
    for (i, stmt) in body.iter().enumerate().rev() {
        if let Stmt::Nest(nest) = stmt {
            let (mut before, mut here) = (HashSet::new(), HashSet::new());
            body[..i].iter().filter(|s| matches!(s, Stmt::Nest(_))).for_each(|s| note_loads(s, &mut before));
            note_insts(&nest.body, &mut here);
            here.retain(|p| before.contains(p) && !after.contains(p));
            if !here.is_empty() {
                last.push((nest, here.into_iter().collect()));
            }
        }
        note_loads(stmt, &mut after);
    }
    last
}

impl Facts<'_> {
    /// Whether a nest stores to a tensor that nothing loads.
    pub(in crate::cpu) fn streams(&self) -> bool {
        fn any(list: &[Stmt], found: &impl Fn(&Nest) -> bool) -> bool {
            list.iter().any(|s| match s {
                Stmt::Inst(_) | Stmt::Contract(_) => false,
                Stmt::Nest(n) => found(n),
                Stmt::For { body, .. } => any(body, found),
                Stmt::While { cond, body, .. } => any(cond, found) || any(body, found),
                Stmt::If { then, other, .. } => any(then, found) || any(other, found),
            })
        }
        let stores = |i: &LoopInst| match &i.op {
            Op::Store { mem: Mem::Tensor(p), .. } => !self.loaded.contains(p),
            _ => false,
        };
        any(&self.f.body, &|n| n.body.iter().any(stores))
    }

    /// Whether a tensor's elements lie side by side.
    fn is_contiguous(&self, p: ParamId) -> bool {
        match self.f.params.get(p.index()).map(|x| &x.kind) {
            Some(ParamKind::Tensor { layout, .. }) => *layout == Layout::Contiguous,
            Some(ParamKind::Scalar { .. }) | None => false,
        }
    }
}

impl VectorNest {
    /// The tensor behind a pointer of the program.
    fn tensor(&self, pointer: SlotId) -> Option<ParamId> {
        match self.slots.get(pointer.0 as usize) {
            Some(Source::Address(Mem::Tensor(p), _)) => Some(*p),
            Some(Source::Address(Mem::Buffer(_), _) | Source::Value(..) | Source::Limit(..)) => None,
            Some(Source::Ahead(_) | Source::Result) | None => None,
        }
    }

    /// Lets the program prefetch for the next program instance what this nest is the last one to load.
    pub(in crate::cpu) fn prefetch(&mut self, facts: &Facts<'_>, nest: &Nest) {
        let Some((_, tensors)) = facts.last.iter().find(|(n, _)| std::ptr::eq(*n, nest)) else { return };
        if facts.knobs.ahead == 0 {
            return;
        }
        let mut body = Vec::with_capacity(self.program.body.len() + 1);
        for inst in std::mem::take(&mut self.program.body) {
            let fetched = match inst.op {
                VectorOp::Load(addr, d) if addr.walk == Walk::Unit => {
                    let reread =
                        self.tensor(addr.pointer).is_some_and(|p| tensors.contains(&p) && facts.is_contiguous(p));
                    reread.then_some((addr, d))
                }
                _ => None,
            };
            body.push(inst);
            if let Some((addr, d)) = fetched {
                let addr = addr.row(facts.knobs.ahead, self.ahead(d.size()));
                body.push(Inst { op: VectorOp::Prefetch(addr, d), args: SmallVec::new(), result: None });
            }
        }
        self.program.body = body;
    }

    fn ahead(&mut self, size: usize) -> SlotId {
        let at = self.slots.iter().position(|s| *s == Source::Ahead(size)).unwrap_or_else(|| {
            self.slots.push(Source::Ahead(size));
            self.program.slots.push(Slot::Stride);
            self.slots.len() - 1
        });
        SlotId(at as u32)
    }

    /// The program with stores around the caches to tensors that nothing in the function loads; `None` when it
    /// has no such stores, or only of elements of one byte.
    pub(in crate::cpu) fn streaming(&self, facts: &Facts<'_>) -> Option<Streaming> {
        let program = self.program.clone();
        let mut s = Streaming { program, pointers: Vec::new(), tensors: Vec::new(), size: None };
        let mut sizes = Vec::new();
        for inst in &mut s.program.body {
            let VectorOp::Store(addr, d) = inst.op else { continue };
            let Some(p) = self.tensor(addr.pointer) else { continue };
            if d.size() < 2 || addr.walk != Walk::Unit || facts.loaded.contains(&p) {
                continue;
            }
            inst.op = VectorOp::StoreStream(addr, d);
            s.pointers.push(addr.pointer.0 as usize);
            s.tensors.push(p);
            sizes.push(d.size());
        }
        sizes.dedup();
        s.size = if let [size] = sizes[..] { Some(size) } else { None };
        (!s.pointers.is_empty()).then_some(s)
    }
}
