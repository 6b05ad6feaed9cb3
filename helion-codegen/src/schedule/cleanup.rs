//! Removes what a schedule made and nothing uses: values, buffers that are never read, empty nests.

use helion_ir::loops::{BufferId, Contract, Function, Inst, Mem, Nest, Op, Stmt, Val};

/// What is read anywhere.
struct Live {
    vals: Vec<bool>,
    buffers: Vec<bool>,
}

/// Removes dead instructions, stores, nests and buffers until nothing changes.
pub fn remove_dead(func: &mut Function) {
    loop {
        let mut live = Live { vals: vec![false; func.values.len()], buffers: vec![false; func.buffers.len()] };
        live.function(func);
        let before = size(&func.body) + func.header.len();
        sweep(&mut func.body, &live);
        func.header.retain(|i| live.keeps(i));
        if size(&func.body) + func.header.len() == before {
            renumber_buffers(func, &live);
            return renumber_values(func);
        }
    }
}

fn size(stmts: &[Stmt]) -> usize {
    stmts
        .iter()
        .map(|s| match s {
            Stmt::Inst(_) | Stmt::Contract(_) => 1,
            Stmt::For { body, .. } => 1 + size(body),
            Stmt::While { cond, body, .. } => 1 + size(cond) + size(body),
            Stmt::If { then, other, .. } => 1 + size(then) + size(other),
            Stmt::Nest(n) => 1 + n.body.len() + n.finals.len() + n.carries.len(),
        })
        .sum()
}

impl Live {
    fn val(&mut self, v: Val) {
        self.vals[v.index()] = true;
    }

    fn function(&mut self, func: &Function) {
        for axis in &func.grid {
            self.val(axis.count);
        }
        for b in &func.buffers {
            b.dims.iter().for_each(|d| self.val(*d));
        }
        func.header.iter().for_each(|i| self.inst(i));
        self.stmts(&func.body);
    }

    fn inst(&mut self, inst: &Inst) {
        inst.args.iter().for_each(|a| self.val(*a));
        if let Op::Load { mem: Mem::Buffer(b), .. } | Op::Atomic { mem: Mem::Buffer(b), .. } = &inst.op {
            self.buffers[b.index()] = true;
        }
    }

    fn stmts(&mut self, stmts: &[Stmt]) {
        for s in stmts {
            match s {
                Stmt::Inst(i) => self.inst(i),
                Stmt::For { begin, end, step, body, .. } => {
                    [begin, end, step].into_iter().for_each(|v| self.val(*v));
                    self.stmts(body);
                }
                Stmt::While { cond, test, body } => {
                    self.val(*test);
                    self.stmts(cond);
                    self.stmts(body);
                }
                Stmt::If { cond, then, other } => {
                    self.val(*cond);
                    self.stmts(then);
                    self.stmts(other);
                }
                Stmt::Nest(n) => self.nest(n),
                Stmt::Contract(c) => self.contract(c),
            }
        }
    }

    fn nest(&mut self, n: &Nest) {
        n.axes.iter().for_each(|a| self.val(a.extent));
        for c in &n.carries {
            self.val(c.init);
            self.val(c.next);
        }
        n.body.iter().chain(&n.finals).for_each(|i| self.inst(i));
    }

    fn contract(&mut self, c: &Contract) {
        for e in c.batch.iter().chain([&c.m, &c.n, &c.k]) {
            self.val(e.extent);
        }
        for o in [&c.lhs, &c.rhs] {
            o.origin.iter().for_each(|v| self.val(*v));
            if let Mem::Buffer(b) = o.mem {
                self.buffers[b.index()] = true;
            }
        }
    }

    /// Whether an instruction does anything that is seen.
    fn keeps(&self, inst: &Inst) -> bool {
        match &inst.op {
            Op::Store { mem: Mem::Buffer(b), .. } => self.buffers[b.index()],
            Op::Store { mem: Mem::Tensor(_), .. } | Op::Atomic { .. } | Op::Print { .. } => true,
            _ => inst.result.is_none_or(|r| self.vals[r.index()]),
        }
    }

    fn effects(&self, inst: &Inst) -> bool {
        matches!(inst.op, Op::Store { .. } | Op::Atomic { .. } | Op::Print { .. }) && self.keeps(inst)
    }
}

fn sweep(stmts: &mut Vec<Stmt>, live: &Live) {
    stmts.retain_mut(|s| match s {
        Stmt::Inst(i) => live.keeps(i),
        Stmt::For { body, .. } => {
            sweep(body, live);
            !body.is_empty()
        }
        // Whether it ends is up to its test, so it stays.
        Stmt::While { cond, body, .. } => {
            sweep(cond, live);
            sweep(body, live);
            true
        }
        Stmt::If { then, other, .. } => {
            sweep(then, live);
            sweep(other, live);
            !(then.is_empty() && other.is_empty())
        }
        Stmt::Nest(n) => {
            n.body.retain(|i| live.keeps(i));
            n.finals.retain(|i| live.keeps(i));
            n.body.iter().chain(&n.finals).any(|i| live.effects(i))
        }
        Stmt::Contract(c) => live.buffers[c.acc.index()],
    });
}

/// Drops buffers that nothing reads.
fn renumber_buffers(func: &mut Function, live: &Live) {
    let mut next = 0;
    let map: Vec<BufferId> = live
        .buffers
        .iter()
        .map(|l| {
            let id = BufferId(next);
            next += u32::from(*l);
            id
        })
        .collect();
    let mut keep = live.buffers.iter();
    func.buffers.retain(|_| *keep.next().expect("one flag per buffer"));
    rename(&mut func.body, &map);
}

fn rename(stmts: &mut [Stmt], map: &[BufferId]) {
    let mem = |m: &mut Mem| {
        if let Mem::Buffer(b) = m {
            *b = map[b.index()];
        }
    };
    let inst = |i: &mut Inst| {
        if let Op::Load { mem: m, .. } | Op::Store { mem: m, .. } | Op::Atomic { mem: m, .. } = &mut i.op {
            mem(m);
        }
    };
    for s in stmts {
        match s {
            Stmt::Inst(i) => inst(i),
            Stmt::For { body, .. } => rename(body, map),
            Stmt::While { cond, body, .. } => {
                rename(cond, map);
                rename(body, map);
            }
            Stmt::If { then, other, .. } => {
                rename(then, map);
                rename(other, map);
            }
            Stmt::Nest(n) => n.body.iter_mut().chain(&mut n.finals).for_each(inst),
            Stmt::Contract(c) => {
                mem(&mut c.lhs.mem);
                mem(&mut c.rhs.mem);
                c.acc = map[c.acc.index()];
            }
        }
    }
}

/// Numbers values in the order they are made, leaving out those that are gone.
fn renumber_values(func: &mut Function) {
    let mut map: Vec<Option<Val>> = vec![None; func.values.len()];
    let mut next = 0;
    each_value(func, &mut |v| {
        let new = map[v.index()].get_or_insert_with(|| {
            next += 1;
            Val(next - 1)
        });
        *v = *new;
    });
    let mut kept: Vec<(Val, usize)> = map.iter().enumerate().filter_map(|(old, new)| new.map(|n| (n, old))).collect();
    kept.sort();
    func.values = kept.into_iter().map(|(_, old)| func.values[old].clone()).collect();
}

/// Visits every mention of a value: header, buffers, grid, body.
fn each_value(func: &mut Function, f: &mut impl FnMut(&mut Val)) {
    func.header.iter_mut().for_each(|i| inst_values(i, f));
    func.buffers.iter_mut().flat_map(|b| &mut b.dims).for_each(&mut *f);
    for axis in &mut func.grid {
        f(&mut axis.count);
        f(&mut axis.index);
    }
    stmt_values(&mut func.body, f);
}

fn inst_values(inst: &mut Inst, f: &mut impl FnMut(&mut Val)) {
    inst.args.iter_mut().for_each(&mut *f);
    inst.result.iter_mut().for_each(f);
}

fn stmt_values(stmts: &mut [Stmt], f: &mut impl FnMut(&mut Val)) {
    for s in stmts {
        match s {
            Stmt::Inst(i) => inst_values(i, f),
            Stmt::For { var, begin, end, step, body } => {
                [begin, end, step, var].into_iter().for_each(&mut *f);
                stmt_values(body, f);
            }
            Stmt::While { cond, test, body } => {
                stmt_values(cond, f);
                f(test);
                stmt_values(body, f);
            }
            Stmt::If { cond, then, other } => {
                f(cond);
                stmt_values(then, f);
                stmt_values(other, f);
            }
            Stmt::Nest(n) => {
                n.axes.iter_mut().for_each(|a| [&mut a.extent, &mut a.var].into_iter().for_each(&mut *f));
                n.carries.iter_mut().for_each(|c| [&mut c.init, &mut c.param].into_iter().for_each(&mut *f));
                n.body.iter_mut().for_each(|i| inst_values(i, f));
                n.carries.iter_mut().for_each(|c| [&mut c.next, &mut c.result].into_iter().for_each(&mut *f));
                n.finals.iter_mut().for_each(|i| inst_values(i, f));
            }
            Stmt::Contract(c) => {
                c.batch.iter_mut().chain([&mut c.m, &mut c.n, &mut c.k]).for_each(|e| f(&mut e.extent));
                c.lhs.origin.iter_mut().chain(&mut c.rhs.origin).for_each(&mut *f);
            }
        }
    }
}
