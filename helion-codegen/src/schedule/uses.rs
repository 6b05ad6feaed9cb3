//! Who uses what, and when.
//!
//! In: a verified tile function. Out: [`Uses`]: how often each value is used, the position of its last
//! use (a use inside a loop counts as the end of the loop when the value is from outside), which
//! values are used inside a region nested in the one that defines them, and what a region writes.

use helion_ir::tile::{Function, Inst, Op, ParamId, Region, ValueId, index_values};
use std::collections::BTreeSet;

/// A position in the preorder of a function's instructions.
pub type Position = u32;

/// Facts about the uses of each value, indexed by value.
pub struct Uses {
    /// How many operands refer to it.
    pub count: Vec<u32>,
    /// The last position at which it may be read.
    pub last: Vec<Position>,
    /// Whether it is used in a region nested in its own.
    pub nested: Vec<bool>,
    depth: Vec<u32>,
    next: Position,
}

impl Uses {
    /// Collects the uses of a function.
    pub fn of(func: &Function) -> Uses {
        let n = func.values.len();
        let mut uses = Uses { count: vec![0; n], last: vec![0; n], nested: vec![false; n], depth: vec![0; n], next: 0 };
        for inst in &func.header {
            uses.inst(func, inst, 0);
        }
        uses.region(func, &func.body, 1);
        uses
    }

    fn region(&mut self, func: &Function, region: &Region, depth: u32) {
        for p in &region.params {
            self.depth[p.index()] = depth;
        }
        for inst in &region.body {
            self.inst(func, inst, depth);
        }
        let at = self.next;
        for v in &region.yields {
            self.touch(*v, at, depth);
        }
        self.next += 1;
    }

    fn inst(&mut self, func: &Function, inst: &Inst, depth: u32) {
        let at = self.next;
        self.next += 1;
        for v in operands(func, inst) {
            self.touch(v, at, depth);
        }
        for v in &inst.results {
            self.depth[v.index()] = depth;
        }
        for region in &inst.regions {
            self.region(func, region, depth + 1);
        }
        if !inst.regions.is_empty() {
            // What comes from outside stays alive until the whole instruction has ended.
            let end = self.next;
            for v in 0..self.count.len() {
                if self.last[v] > at && self.depth[v] <= depth {
                    self.last[v] = end;
                }
            }
            self.next += 1;
        }
    }

    fn touch(&mut self, v: ValueId, at: Position, depth: u32) {
        self.count[v.index()] += 1;
        self.last[v.index()] = self.last[v.index()].max(at);
        self.nested[v.index()] |= depth > self.depth[v.index()];
    }
}

/// Every value an instruction reads directly: operands, index operands, and bounds of its loop.
pub fn operands(func: &Function, inst: &Inst) -> Vec<ValueId> {
    let mut all = inst.args.clone();
    match &inst.op {
        Op::Load { index, .. } | Op::Store { index, .. } | Op::Atomic { index, .. } => all.extend(index_values(index)),
        Op::For { tiles } => {
            all.extend(tiles.iter().flat_map(|t| [func.tiles[t.index()].begin, func.tiles[t.index()].end]));
        }
        _ => {}
    }
    all
}

/// The tensors a region stores to, nested regions included.
pub fn writes(region: &Region, into: &mut BTreeSet<ParamId>) {
    for inst in &region.body {
        if let Op::Store { tensor, .. } | Op::Atomic { tensor, .. } = &inst.op {
            into.insert(*tensor);
        }
        for r in &inst.regions {
            writes(r, into);
        }
    }
}

/// The instruction that makes each value, if one does (region parameters have none).
pub fn origins(func: &Function) -> Vec<Option<&Inst>> {
    fn walk<'a>(insts: &'a [Inst], into: &mut Vec<Option<&'a Inst>>) {
        for inst in insts {
            for r in &inst.results {
                into[r.index()] = Some(inst);
            }
            for region in &inst.regions {
                walk(&region.body, into);
            }
        }
    }
    let mut origin = vec![None; func.values.len()];
    walk(&func.header, &mut origin);
    walk(&func.body.body, &mut origin);
    origin
}
