//! Each ONNX operator as tile operations, by family.

mod attention;
mod elementwise;
mod index;
mod loss;
mod matrix;
mod norm;
mod reduce;
mod shape;

use helion_ir::DType;

use crate::case::{Node, Tensor};
use crate::graph::{Graph, V};

/// The node being expressed, and the program it goes into.
pub struct Cx<'a> {
    pub g: &'a mut Graph,
    pub node: &'a Node,
}

impl Cx<'_> {
    /// Whether an operand is present.
    pub fn has(&self, i: usize) -> bool {
        self.node.inputs.get(i).is_some_and(|n| !n.is_empty())
    }
    /// An operand.
    pub fn x(&mut self, i: usize) -> V {
        let name = self.node.inputs[i].clone();
        self.g.value(&name)
    }
    /// An operand that may be missing.
    pub fn opt(&mut self, i: usize) -> Option<V> {
        if self.has(i) { Some(self.x(i)) } else { None }
    }
    /// All operands.
    pub fn all(&mut self) -> Vec<V> {
        (0..self.node.inputs.len()).map(|i| self.x(i)).collect()
    }
    /// An operand that a kernel knows when it is traced.
    pub fn host(&self, i: usize) -> Option<Tensor> {
        let name = self.node.inputs.get(i).filter(|n| !n.is_empty())?;
        Some(self.g.host(name).unwrap_or_else(|| panic!("`{name}` is not known on the host")).clone())
    }
    /// Its elements as whole numbers.
    pub fn ints(&self, i: usize) -> Option<Vec<i64>> {
        self.host(i).map(|t| t.ints())
    }
    /// Whether a result is wanted.
    pub fn wants(&self, i: usize) -> bool {
        self.node.outputs.get(i).is_some_and(|n| !n.is_empty())
    }
    /// Binds a result, if it is wanted.
    pub fn out(&mut self, i: usize, v: V) {
        if self.wants(i) {
            self.g.bind(&self.node.outputs[i], v);
        }
    }
    /// An axis attribute, counted from the end when negative.
    pub fn axis(&self, name: &str, rank: usize, default: i64) -> usize {
        let a = self.node.int(name).unwrap_or(default);
        (if a < 0 { a + rank as i64 } else { a }) as usize
    }
}

/// Appends one operator to the program.
pub fn lower(g: &mut Graph, node: &Node) -> Result<(), String> {
    let cx = &mut Cx { g, node };
    let families = [
        elementwise::lower,
        reduce::lower,
        shape::lower,
        index::lower,
        matrix::lower,
        norm::lower,
        loss::lower,
        attention::lower,
    ];
    if families.iter().any(|family| family(cx)) { Ok(()) } else { Err(format!("no program for {}", node.op)) }
}

/// Half-width floats are computed in f32 by operators made of many steps.
pub fn wide(v: &V) -> V {
    v.cast(if v.dtype == DType::F64 { DType::F64 } else { DType::F32 })
}
