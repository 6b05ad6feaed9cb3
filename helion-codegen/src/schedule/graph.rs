//! The schedule as a graph: which nest or product feeds which, and through what memory.
//!
//! In: loop IR. Out: a directed graph whose nodes are the statements that compute (nests, products, loose
//! instructions that touch memory) and whose edges are buffers and tensors that one writes and a later one
//! reads. For people: [`to_dot`] prints it for Graphviz.

use helion_ir::loops::{Function, Inst, Mem, Op, Stmt};
use petgraph::dot::Dot;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::{BTreeMap, BTreeSet};

/// What flows through a statement.
#[derive(Default)]
struct Traffic {
    reads: BTreeSet<Mem>,
    writes: BTreeSet<Mem>,
}

impl Traffic {
    fn inst(&mut self, inst: &Inst) {
        if let Op::Load { mem, .. } | Op::Atomic { mem, .. } = &inst.op {
            self.reads.insert(*mem);
        }
        if let Op::Store { mem, .. } | Op::Atomic { mem, .. } = &inst.op {
            self.writes.insert(*mem);
        }
    }
}

/// The dataflow between the statements of a program instance.
pub fn graph(func: &Function) -> DiGraph<String, String> {
    let mut flow = Flow { func, graph: DiGraph::new(), writer: BTreeMap::new() };
    flow.stmts(&func.body, "");
    flow.graph
}

/// The same in Graphviz's language.
pub fn to_dot(func: &Function) -> String {
    format!("{}", Dot::new(&graph(func)))
}

struct Flow<'a> {
    func: &'a Function,
    graph: DiGraph<String, String>,
    writer: BTreeMap<Mem, NodeIndex>,
}

impl Flow<'_> {
    fn stmts(&mut self, stmts: &[Stmt], within: &str) {
        for s in stmts {
            match s {
                Stmt::Inst(i) => {
                    let mut t = Traffic::default();
                    t.inst(i);
                    if !t.reads.is_empty() || !t.writes.is_empty() {
                        self.node(format!("{within}scalar"), t);
                    }
                }
                Stmt::For { var, body, .. } => {
                    let name = self.func.values[var.index()].name.as_deref().unwrap_or("loop").to_owned();
                    self.stmts(body, &format!("{within}for {name}: "));
                }
                Stmt::While { cond, body, .. } => {
                    self.stmts(cond, &format!("{within}while test: "));
                    self.stmts(body, &format!("{within}while: "));
                }
                Stmt::If { then, other, .. } => {
                    self.stmts(then, &format!("{within}if: "));
                    self.stmts(other, &format!("{within}else: "));
                }
                Stmt::Nest(n) => {
                    let mut t = Traffic::default();
                    n.body.iter().chain(&n.finals).for_each(|i| t.inst(i));
                    let kind = if n.reduce == 0 { "map" } else { "reduce" };
                    self.node(format!("{within}{kind}, {} axes, {} instructions", n.axes.len(), n.body.len()), t);
                }
                Stmt::Contract(c) => {
                    let acc = Mem::Buffer(c.acc);
                    let mut t = Traffic { reads: [c.lhs.mem, c.rhs.mem].into(), writes: [acc].into() };
                    if c.accumulate {
                        t.reads.insert(acc);
                    }
                    self.node(format!("{within}product"), t);
                }
            }
        }
    }

    fn node(&mut self, label: String, t: Traffic) {
        let node = self.graph.add_node(label);
        for mem in &t.reads {
            let from = match self.writer.get(mem) {
                Some(w) => *w,
                None => {
                    let source = self.graph.add_node(self.name(*mem));
                    self.writer.insert(*mem, source);
                    source
                }
            };
            self.graph.add_edge(from, node, self.name(*mem));
        }
        for mem in &t.writes {
            self.writer.insert(*mem, node);
            if let Mem::Tensor(_) = mem {
                let sink = self.graph.add_node(self.name(*mem));
                self.graph.add_edge(node, sink, self.name(*mem));
            }
        }
    }

    fn name(&self, mem: Mem) -> String {
        match mem {
            Mem::Tensor(p) => self.func.params[p.index()].name.clone(),
            Mem::Buffer(b) => format!("{} (buffer)", self.func.buffers[b.index()].name),
        }
    }
}
