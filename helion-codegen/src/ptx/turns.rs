//! Loops whose two products are multiplied side by side, and in turns.
//!
//! In: a function whose products are fed, and where its buffers are. Out: the loops that gain from it, with where in their
//! bodies both products are ([`Turns`]).
//!
//! # Why
//! In a loop like attention's, a warpgroup multiplies, computes on the result, and multiplies that: one product waits for
//! the other, and matrix units idle meanwhile. Instructions that add to the same sums wait for each other, too: a group
//! alone, with one product, gets half of what the units can do.
//!
//! Such a loop runs *rotated*: a round begins the first product of a tile together with the second one of the tile before,
//! instruction by instruction in turns, and then computes what lies between them. What follows the second product runs
//! after both. And where a block has several groups, they take turns: while one multiplies, the others compute.

use super::known::Known;
use super::plan::{Home, Plan, access};
use helion_ir::loops::{BufferId, Contract, Function, Mem, Nest, ParamKind, Stmt};
use std::collections::HashMap;

/// Where the products of a rotated loop are in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turns {
    pub first: usize,
    pub second: usize,
}

/// The rotated loops, by the addresses of their bodies.
pub(super) fn find(f: &Function, known: &Known, plan: &Plan) -> HashMap<usize, Turns> {
    let mut found = HashMap::new();
    if plan.feed.is_some() {
        Search { f, known, plan }.visit(&f.body, &mut found);
    }
    found
}

struct Search<'a> {
    f: &'a Function,
    known: &'a Known,
    plan: &'a Plan,
}

impl Search<'_> {
    fn visit(&self, body: &[Stmt], found: &mut HashMap<usize, Turns>) {
        for s in body {
            match s {
                Stmt::For { body, .. } => match self.turns(body) {
                    Some(turns) => {
                        found.insert(body.as_ptr() as usize, turns);
                    }
                    None => self.visit(body, found),
                },
                Stmt::If { then, other, .. } => {
                    self.visit(then, found);
                    self.visit(other, found);
                }
                Stmt::While { .. } | Stmt::Inst(_) | Stmt::Nest(_) | Stmt::Contract(_) => {}
            }
        }
    }

    /// How a loop with this body is rotated; `None` where its parts may not change places, or where groups must wait for
    /// each other within it, which would wait for ever.
    fn turns(&self, body: &[Stmt]) -> Option<Turns> {
        let contracts = body.iter().enumerate().filter_map(|(at, s)| match s {
            Stmt::Contract(c) => Some((at, c)),
            _ => None,
        });
        let [(first, one), (second, two)] = contracts.collect::<Vec<_>>()[..] else { return None };
        let apart = body.iter().enumerate().all(|(at, s)| match s {
            Stmt::Inst(i) => access(i).is_none(),
            Stmt::Nest(n) => at > first && self.is_quiet(n),
            Stmt::Contract(_) => true,
            Stmt::For { .. } | Stmt::While { .. } | Stmt::If { .. } => false,
        });
        // The next tile's first product is made before what follows the second one, and needs nothing of that.
        let after = &body[second..];
        let moves =
            !one.accumulate && !touches(after, one.acc) && one.acc != two.acc && matches!(one.lhs.mem, Mem::Tensor(_));
        let steps = self.steps(one)? + self.steps(two)?;
        let room = self.plan.feed.as_ref().is_some_and(|f| steps <= f.stages);
        (apart && moves && room).then_some(Turns { first, second })
    }

    /// The steps of a product of which each group makes its own rows, without waiting for others.
    fn steps(&self, c: &Contract) -> Option<u32> {
        let p = self.plan.product(c)?;
        let steps = self.known.int(c.k.extent).filter(|k| *k > 0 && k % i64::from(p.step) == 0)? / i64::from(p.step);
        let alone = p.warps[0] == self.plan.warps && self.is_held(Mem::Buffer(c.acc));
        u32::try_from(steps).ok().filter(|_| alone)
    }

    /// Whether threads need not wait for each other in a nest.
    fn is_quiet(&self, nest: &Nest) -> bool {
        let reduced = |axis: u8| usize::from(axis) >= nest.axes.len() - nest.reduce;
        let exchanges = self.plan.layout(nest).warp.iter().flatten().any(|b| reduced(b.axis));
        !exchanges && nest.body.iter().chain(&nest.finals).filter_map(access).all(|(mem, _)| self.is_held(mem))
    }

    /// Whether memory is a thread's own, or never changes.
    fn is_held(&self, mem: Mem) -> bool {
        match mem {
            Mem::Buffer(b) => matches!(self.plan.homes[b.index()], Home::Scalar | Home::Registers(_)),
            Mem::Tensor(p) => matches!(self.f.params[p.index()].kind, ParamKind::Tensor { mutable: false, .. }),
        }
    }
}

/// Whether statements outside loops read or write a buffer.
fn touches(body: &[Stmt], b: BufferId) -> bool {
    let b = Mem::Buffer(b);
    body.iter().any(|s| match s {
        Stmt::Nest(n) => n.body.iter().chain(&n.finals).filter_map(access).any(|(mem, _)| mem == b),
        Stmt::Contract(c) => [c.lhs.mem, c.rhs.mem, Mem::Buffer(c.acc)].contains(&b),
        Stmt::Inst(_) | Stmt::For { .. } | Stmt::While { .. } | Stmt::If { .. } => false,
    })
}
