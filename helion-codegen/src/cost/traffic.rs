//! Which cache serves what: bytes that each leaf brings into each level.
//!
//! A part of the tree *fits* a cache when all it touches does. What fits is brought in once for each time the part
//! runs, or once for all runs in a row of a loop that the memory does not depend on; the first leaf that touches it
//! waits for it. What does not fit is looked at one loop further in.

use super::tree::{Access, Leaf, Node, Span, Tree, Work};
use super::values::LoopId;
use helion_ir::loops::Mem;
use smallvec::SmallVec;
use std::ops::Range;

/// Bytes of the lines in which caches are filled.
const LINE: f64 = 64.0;

/// What it costs, in bytes, that memory does not lie in one piece: the machine fetches ahead only within a piece.
const PIECE: f64 = 300.0;

/// Bytes that come into one cache, for each leaf, over the whole share of a thread. The last cache is the one before
/// memory.
pub(super) fn into_cache(tree: &Tree, capacity: f64, last: bool) -> Vec<f64> {
    let mut t = Traffic { tree, capacity, last, out: vec![0.0; tree.leaves.len()], outer: SmallVec::new() };
    let all = Part { loops: 0..tree.loops.len() as LoopId, leaves: 0..tree.leaves.len() };
    // What fits as a whole is still there from the launch before.
    if t.footprint(&all) > capacity {
        t.grid(0);
    }
    t.out
}

/// Bytes of tensors that one launch surely reads or writes.
pub(super) fn compulsory(tree: &Tree) -> f64 {
    let t = Traffic { tree, capacity: 0.0, last: false, out: Vec::new(), outer: SmallVec::new() };
    let loops = 0..tree.loops.len() as LoopId;
    let mut found: SmallVec<[(Mem, f64); 8]> = SmallVec::new();
    for a in tree.leaves.iter().filter(|l| l.weight >= 1.0).flat_map(|l| &l.accesses) {
        let sure = |s: &Span| s.terms.iter().all(|(l, c)| !c.is_nan() && !tree.loops[*l as usize].guess);
        if !matches!(a.mem, Mem::Tensor(_)) || !a.unit || !a.axes.iter().all(sure) {
            continue;
        }
        let (bytes, _) = t.bytes(a, &loops);
        match found.iter_mut().find(|(mem, _)| *mem == a.mem) {
            Some((_, most)) => *most = most.max(bytes),
            None => found.push((a.mem, bytes)),
        }
    }
    found.iter().map(|(_, bytes)| bytes).sum()
}

/// Bytes of tensors that a leaf touches each time it runs.
pub(super) fn of_leaf(tree: &Tree, leaf: usize) -> f64 {
    let t = Traffic { tree, capacity: 0.0, last: false, out: Vec::new(), outer: SmallVec::new() };
    t.footprint(&Part { loops: tree.leaves[leaf].loops.clone(), leaves: leaf..leaf + 1 })
}

/// A part of the tree.
#[derive(Clone, Debug)]
struct Part {
    loops: Range<LoopId>,
    leaves: Range<usize>,
}

struct Traffic<'a> {
    tree: &'a Tree,
    capacity: f64,
    last: bool,
    out: Vec<f64>,
    /// The loops around the part that is looked at.
    outer: SmallVec<[LoopId; 8]>,
}

/// Memory that a part touches.
struct Touched {
    mem: Mem,
    bytes: f64,
    /// In how many places.
    pieces: f64,
    /// The first leaf that does.
    first: usize,
    write: bool,
    stream: bool,
}

/// How an access moves along one axis.
struct Reach {
    /// How many places it jumps to.
    pieces: f64,
    /// Steps from each.
    steps: f64,
    /// From the first of these to the last.
    span: f64,
}

impl Traffic<'_> {
    fn grid(&mut self, depth: usize) {
        let end = self.tree.loops.len() as LoopId;
        let part = Part { loops: depth as LoopId..end, leaves: 0..self.tree.leaves.len() };
        if depth > 0 && self.footprint(&part) <= self.capacity {
            return self.charge(&part);
        }
        if depth == self.tree.grid {
            return self.list(&self.tree.body);
        }
        self.outer.push(depth as LoopId);
        self.grid(depth + 1);
        self.outer.pop();
    }

    fn list(&mut self, nodes: &[Node]) {
        let parts: SmallVec<[Part; 8]> = nodes.iter().map(|n| self.part(n)).collect();
        if let (Some(a), Some(b)) = (parts.first(), parts.last())
            && parts.len() > 1
        {
            let all = Part { loops: a.loops.start..b.loops.end, leaves: a.leaves.start..b.leaves.end };
            if self.footprint(&all) <= self.capacity {
                return self.charge(&all);
            }
        }
        for (node, part) in nodes.iter().zip(&parts) {
            if self.footprint(part) <= self.capacity {
                self.charge(part);
                continue;
            }
            match node {
                Node::Leaf(i) => self.leaf(*i, part),
                Node::Loop(l) => {
                    self.outer.push(l.loops.start);
                    self.list(&l.body);
                    self.outer.pop();
                }
            }
        }
    }

    fn part(&self, node: &Node) -> Part {
        match node {
            Node::Leaf(i) => Part { loops: self.tree.leaves[*i].loops.clone(), leaves: *i..*i + 1 },
            Node::Loop(l) => Part { loops: l.loops.clone(), leaves: l.leaves.clone() },
        }
    }

    /// A leaf that does not fit: one axis after the other becomes a loop around it. The last stays: a single run
    /// along it reads whole lines whatever fits. Products order their loops themselves.
    fn leaf(&mut self, i: usize, part: &Part) {
        let mut rest = part.clone();
        let is_nest = matches!(self.tree.leaves[i].work, Work::Nest(_));
        let before = self.outer.len();
        while is_nest && rest.loops.len() > 1 && self.footprint(&rest) > self.capacity {
            self.outer.push(rest.loops.start);
            rest.loops.start += 1;
        }
        self.charge(&rest);
        self.outer.truncate(before);
    }

    /// Brings in all that a part touches, each time it runs.
    fn charge(&mut self, part: &Part) {
        for t in self.memories(part) {
            let mut times = 1.0;
            let mut reused = true;
            for l in self.outer.iter().rev() {
                reused = reused && !self.depends(part, t.mem, *l);
                if !reused {
                    times *= self.tree.loops[*l as usize].mean;
                }
            }
            // A store brings a line in and takes it out again.
            let ways = if t.write && !(t.stream && self.last) { 2.0 } else { 1.0 };
            let weight = self.tree.leaves[t.first].weight;
            let pieces = if self.last { t.pieces * PIECE } else { 0.0 };
            self.out[t.first] += (t.bytes + pieces) * times * ways * weight;
        }
    }

    fn accesses<'b>(&'b self, part: &Part) -> impl Iterator<Item = (usize, &'b Leaf, &'b Access)> {
        let range = part.leaves.clone();
        range.flat_map(|i| {
            let leaf = &self.tree.leaves[i];
            leaf.accesses.iter().map(move |a| (i, leaf, a))
        })
    }

    fn depends(&self, part: &Part, mem: Mem, l: LoopId) -> bool {
        let mut of_mem = self.accesses(part).filter(|(_, _, a)| a.mem == mem);
        of_mem.any(|(_, _, a)| a.axes.iter().any(|s| s.terms.iter().any(|(t, _)| *t == l)))
    }

    fn footprint(&self, part: &Part) -> f64 {
        self.memories(part).iter().map(|t| t.bytes).sum()
    }

    fn memories(&self, part: &Part) -> SmallVec<[Touched; 8]> {
        let mut found: SmallVec<[Touched; 8]> = SmallVec::new();
        for (first, _, a) in self.accesses(part) {
            let (bytes, pieces) = self.bytes(a, &part.loops);
            match found.iter_mut().find(|t| t.mem == a.mem) {
                Some(t) => {
                    t.bytes = t.bytes.max(bytes);
                    t.pieces = t.pieces.max(pieces);
                    t.write |= a.write;
                }
                None => found.push(Touched { mem: a.mem, bytes, pieces, first, write: a.write, stream: a.stream }),
            }
        }
        found
    }

    /// Bytes of the lines that an access touches while these loops run, and in how many pieces they lie.
    fn bytes(&self, a: &Access, loops: &Range<LoopId>) -> (f64, f64) {
        let Some((last, rest)) = a.axes.split_last() else { return (a.size, 1.0) };
        let mut rows = 1.0;
        for s in rest {
            let r = self.reach(s, loops);
            rows *= (r.pieces * r.steps.min(r.span)).min(s.dim.max(1.0));
        }
        let r = self.reach(last, loops);
        // Few steps over a long way touch a line each.
        let dense = a.unit && r.span * a.size <= r.steps * LINE;
        let piece = if dense { (r.span * a.size).max(LINE) } else { r.steps * LINE };
        // Whole rows lie side by side.
        let whole = dense && r.pieces * r.span >= last.dim;
        let pieces = if whole { 1.0 } else { rows * r.pieces };
        ((rows * r.pieces * piece).min(rows * self.row(a, last)).min(self.whole(a)), pieces)
    }

    /// How an access moves along an axis while these loops run.
    fn reach(&self, s: &Span, loops: &Range<LoopId>) -> Reach {
        let mut r = Reach { pieces: 1.0, steps: 1.0, span: 1.0 };
        for (l, c) in s.terms.iter().filter(|(l, _)| loops.contains(l)) {
            let l = &self.tree.loops[*l as usize];
            if c.is_nan() {
                r.pieces *= l.mean.max(1.0);
            } else {
                r.steps *= l.mean.max(1.0);
                r.span += c.abs() * (l.span - 1.0);
            }
        }
        let dim = s.dim.max(1.0);
        Reach { pieces: r.pieces.min(dim), steps: r.steps.min(dim), span: r.span.min(dim) }
    }

    /// Bytes of a whole row, in lines.
    fn row(&self, a: &Access, last: &Span) -> f64 {
        if a.unit { (last.dim * a.size).max(LINE) } else { last.dim.max(1.0) * LINE }
    }

    fn whole(&self, a: &Access) -> f64 {
        let all: f64 = a.axes.iter().map(|s| s.dim.max(1.0)).product();
        if a.unit { (all * a.size).max(LINE) } else { all * LINE }
    }
}
