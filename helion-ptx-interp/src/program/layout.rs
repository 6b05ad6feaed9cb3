//! The order of basic blocks.
//!
//! In: steps whose branches name steps. Out: the same program with its blocks in an order in which each loop is
//! contiguous and, back edges aside, every block comes after its predecessors. Then of the lanes of a warp that stand at
//! different places, those at the smallest place have to run first, and lanes that parted meet again at the
//! earliest place where they can: no stack of reconvergence points is needed, for any control flow.

use super::inst::{Inst, Step};
use crate::report::Class;

struct Graph {
    /// First step of each block, and one past the last.
    ranges: Vec<(usize, usize)>,
    successors: Vec<Vec<usize>>,
}

/// Lays out the blocks of a program.
pub(crate) fn lay_out(steps: Vec<Step>) -> Vec<Step> {
    if steps.is_empty() {
        return steps;
    }
    let graph = Graph::of(&steps);
    let order = graph.order();
    graph.emit(&steps, &order)
}

fn ends_block(step: &Step) -> bool {
    matches!(step.inst, Inst::Branch(_) | Inst::BranchIndexed { .. } | Inst::Exit | Inst::Trap)
}

impl Graph {
    fn of(steps: &[Step]) -> Graph {
        let mut leads = vec![false; steps.len() + 1];
        leads[0] = true;
        for (i, step) in steps.iter().enumerate() {
            match &step.inst {
                Inst::Branch(t) => leads[*t as usize] = true,
                Inst::BranchIndexed { targets, .. } => targets.iter().for_each(|t| leads[*t as usize] = true),
                _ => {}
            }
            if ends_block(step) {
                leads[i + 1] = true;
            }
        }
        let starts: Vec<usize> = (0..steps.len()).filter(|i| leads[*i]).collect();
        let mut block_of = vec![0; steps.len()];
        let mut ranges = Vec::with_capacity(starts.len());
        for (b, start) in starts.iter().enumerate() {
            let end = starts.get(b + 1).copied().unwrap_or(steps.len());
            block_of[*start..end].fill(b);
            ranges.push((*start, end));
        }
        let successors = ranges
            .iter()
            .enumerate()
            .map(|(b, (_, end))| {
                let last = &steps[end - 1];
                let mut to = Vec::new();
                let falls = !ends_block(last) || last.guard.is_some();
                if falls && b + 1 < ranges.len() {
                    to.push(b + 1);
                }
                match &last.inst {
                    Inst::Branch(t) => to.push(block_of[*t as usize]),
                    Inst::BranchIndexed { targets, .. } => to.extend(targets.iter().map(|t| block_of[*t as usize])),
                    _ => {}
                }
                to
            })
            .collect();
        Graph { ranges, successors }
    }

    /// The blocks that can be reached, in their new order.
    fn order(&self) -> Vec<usize> {
        let mut reached = vec![false; self.ranges.len()];
        let mut stack = vec![0];
        while let Some(b) = stack.pop() {
            if !std::mem::replace(&mut reached[b], true) {
                stack.extend(&self.successors[b]);
            }
        }
        let nodes: Vec<usize> = (0..self.ranges.len()).filter(|b| reached[*b]).collect();
        let mut inside = vec![0u32; self.ranges.len()];
        let mut is_header = vec![false; self.ranges.len()];
        let mut order = Vec::with_capacity(nodes.len());
        // Work items: blocks to be ordered among themselves, at some depth of loops; or one block to be put out.
        let mut work = vec![nodes];
        let mut depth = 0;
        while let Some(nodes) = work.pop() {
            if let [only] = nodes[..] {
                order.push(only);
                continue;
            }
            depth += 1;
            nodes.iter().for_each(|n| inside[*n] = depth);
            let mut parts = self.components(&nodes, &inside, &is_header, depth);
            for part in &mut parts {
                if part.len() > 1 {
                    // The entry of the loop: the block that is reached from outside, or else the first one written.
                    part.sort_unstable();
                    let entered = |b: &usize| {
                        nodes.iter().any(|n| part.binary_search(n).is_err() && self.successors[*n].contains(b))
                    };
                    let header = part.iter().copied().find(|b| *b == 0 || entered(b)).unwrap_or(part[0]);
                    is_header[header] = true;
                }
            }
            // Components come out last first, which is how a stack wants them.
            work.extend(parts);
        }
        order
    }

    /// Strongly connected components among `nodes`, each after all that it leads to. Edges into a known loop header are
    /// not followed.
    fn components(&self, nodes: &[usize], inside: &[u32], is_header: &[bool], depth: u32) -> Vec<Vec<usize>> {
        const NEW: usize = usize::MAX;
        let mut index = vec![NEW; self.ranges.len()];
        let mut low = vec![0; self.ranges.len()];
        let mut on_stack = vec![false; self.ranges.len()];
        let (mut stack, mut found, mut counter) = (Vec::new(), Vec::new(), 0);
        for root in nodes {
            if index[*root] != NEW {
                continue;
            }
            let mut calls = vec![(*root, 0)];
            while let Some((b, edge)) = calls.pop() {
                if edge == 0 {
                    index[b] = counter;
                    low[b] = counter;
                    counter += 1;
                    stack.push(b);
                    on_stack[b] = true;
                }
                if let Some(&to) = self.successors[b].get(edge) {
                    calls.push((b, edge + 1));
                    if inside[to] != depth || is_header[to] {
                        continue;
                    }
                    if index[to] == NEW {
                        calls.push((to, 0));
                    } else if on_stack[to] {
                        low[b] = low[b].min(index[to]);
                    }
                    continue;
                }
                if let Some((parent, _)) = calls.last() {
                    low[*parent] = low[*parent].min(low[b]);
                }
                if low[b] == index[b] {
                    let at = stack.iter().rposition(|x| *x == b).unwrap_or(0);
                    let part = stack.split_off(at);
                    part.iter().for_each(|x| on_stack[*x] = false);
                    found.push(part);
                }
            }
        }
        found
    }

    fn emit(&self, steps: &[Step], order: &[usize]) -> Vec<Step> {
        let mut new_start = vec![0u32; self.ranges.len()];
        let mut out: Vec<Step> = Vec::with_capacity(steps.len());
        let mut old_targets = Vec::new();
        for (k, b) in order.iter().enumerate() {
            new_start[*b] = out.len() as u32;
            let (start, end) = self.ranges[*b];
            for step in &steps[start..end] {
                old_targets.push(out.len());
                out.push(step.clone());
            }
            let last = &steps[end - 1];
            let falls = (!ends_block(last) || last.guard.is_some()) && b + 1 < self.ranges.len();
            if falls && order.get(k + 1) != Some(&(b + 1)) {
                let jump = Inst::Branch(self.ranges[b + 1].0 as u32);
                old_targets.push(out.len());
                out.push(Step { guard: None, inst: jump, class: Class::Control, line: last.line });
            }
        }
        let mut start_of = vec![0u32; steps.len()];
        for (b, (start, _)) in self.ranges.iter().enumerate() {
            start_of[*start] = new_start[b];
        }
        for i in old_targets {
            match &mut out[i].inst {
                Inst::Branch(t) => *t = start_of[*t as usize],
                Inst::BranchIndexed { targets, .. } => targets.iter_mut().for_each(|t| *t = start_of[*t as usize]),
                _ => {}
            }
        }
        out
    }
}
