//! Where threads must wait for each other.
//!
//! Threads share memory in three forms: buffers that are not in registers, tensors that the kernel both reads and writes,
//! and the exchange area of reductions. [`Pending`] remembers what was read and written since the last barrier, and says
//! when the next access needs one.

use helion_ir::loops::{Inst, Mem, Nest, Op, Stmt};
use std::collections::{HashMap, HashSet};

use super::super::plan::access;

/// What threads share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shared {
    /// A buffer or tensor.
    Mem(Mem),
    /// The exchange area.
    Exchange,
    /// The operands of products.
    Stage,
}

/// What a statement does to shared memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Touch {
    reads: HashSet<Shared>,
    writes: HashSet<Shared>,
}

impl Touch {
    pub(super) fn read(&mut self, what: Shared) {
        self.reads.insert(what);
    }
    pub(super) fn write(&mut self, what: Shared) {
        self.writes.insert(what);
    }
    /// What an instruction does, as far as `shared` says that threads share its memory.
    pub(super) fn inst(&mut self, inst: &Inst, shared: &dyn Fn(Mem) -> bool) {
        let Some((mem, _)) = access(inst).filter(|(m, _)| shared(*m)) else { return };
        match inst.op {
            Op::Load { .. } => self.read(Shared::Mem(mem)),
            _ => self.write(Shared::Mem(mem)),
        }
    }
    pub(super) fn nest(&mut self, nest: &Nest, shared: &dyn Fn(Mem) -> bool) {
        nest.body.iter().chain(&nest.finals).for_each(|i| self.inst(i, shared));
    }
}

/// What happened since the last barrier.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    since: Touch,
}

impl Pending {
    /// Whether a barrier must come before something that does `next`; it is noted as done.
    pub(super) fn needs_barrier(&mut self, next: &Touch) -> bool {
        let after_write = self.since.writes.iter().any(|w| next.reads.contains(w) || next.writes.contains(w));
        let over_read = self.since.reads.iter().any(|r| next.writes.contains(r));
        let needed = after_write || over_read;
        if needed {
            self.clear();
        }
        self.note(next);
        needed
    }
    /// Something was done.
    pub(super) fn note(&mut self, done: &Touch) {
        self.since.reads.extend(&done.reads);
        self.since.writes.extend(&done.writes);
    }
    /// A barrier was written.
    pub(super) fn clear(&mut self) {
        self.since = Touch::default();
    }
    /// Whether anything happened since the last barrier.
    pub(super) fn is_empty(&self) -> bool {
        self.since.reads.is_empty() && self.since.writes.is_empty()
    }
    /// One of two ways was taken.
    pub(super) fn join(&mut self, other: &Pending) {
        self.since.reads.extend(&other.since.reads);
        self.since.writes.extend(&other.since.writes);
    }
}

/// Tensors through which threads of an instance may see each other's elements: those that are written, and read or
/// written elsewhere too.
pub(super) fn shared_tensors(body: &[Stmt]) -> HashSet<Mem> {
    fn inst(i: &Inst, all: &mut HashMap<Mem, [usize; 2]>) {
        if let Some((mem @ Mem::Tensor(_), _)) = access(i) {
            all.entry(mem).or_default()[usize::from(!matches!(i.op, Op::Load { .. }))] += 1;
        }
    }
    fn walk(body: &[Stmt], all: &mut HashMap<Mem, [usize; 2]>) {
        for s in body {
            match s {
                Stmt::Inst(i) => inst(i, all),
                Stmt::Nest(n) => n.body.iter().chain(&n.finals).for_each(|i| inst(i, all)),
                Stmt::Contract(c) => [c.lhs.mem, c.rhs.mem].iter().for_each(|m| all.entry(*m).or_default()[0] += 1),
                Stmt::For { body, .. } => walk(body, all),
                Stmt::While { cond, body, .. } => {
                    walk(cond, all);
                    walk(body, all);
                }
                Stmt::If { then, other, .. } => {
                    walk(then, all);
                    walk(other, all);
                }
            }
        }
    }
    let mut all = HashMap::new();
    walk(body, &mut all);
    all.into_iter().filter(|(_, [reads, writes])| *writes > 0 && reads + writes > 1).map(|(m, _)| m).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use helion_ir::loops::BufferId;

    #[test]
    fn barriers_come_between_writes_and_reads() {
        let a = Shared::Mem(Mem::Buffer(BufferId(0)));
        let (mut writes, mut reads) = (Touch::default(), Touch::default());
        writes.write(a);
        reads.read(a);
        let mut p = Pending::default();
        assert!(!p.needs_barrier(&reads));
        assert!(!p.needs_barrier(&reads));
        assert!(p.needs_barrier(&writes), "others may still read");
        assert!(p.needs_barrier(&reads), "others may not have written");
        assert!(!p.needs_barrier(&reads));
        assert!(p.needs_barrier(&writes));
        assert!(p.needs_barrier(&writes), "who wrote last must not depend on speed");
    }
}
