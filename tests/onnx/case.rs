//! Reads `cases.txt` and `data.bin`: values and nodes of each case, as the script wrote them.

use std::collections::BTreeMap;

use helion_ir::DType;
use helion_ir::dtype::Literal;

/// A dense row-major tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<u64>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<u64>() as usize
    }
    /// One element in row-major order.
    pub fn get(&self, i: usize) -> Literal {
        let n = self.dtype.size();
        let mut word = [0; 8];
        word[..n].copy_from_slice(&self.bytes[i * n..(i + 1) * n]);
        Literal::from_bits(self.dtype, u64::from_le_bytes(word))
    }
    /// All elements as whole numbers.
    pub fn ints(&self) -> Vec<i64> {
        (0..self.len()).map(|i| self.get(i).to_i64()).collect()
    }
}

/// A value of a case, by name.
pub type Named = (String, Tensor);

/// One operator of a case.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: String,
    /// Names; empty where an optional operand is missing.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    attrs: BTreeMap<String, String>,
}

impl Node {
    fn attr(&self, name: &str, kind: &str) -> Option<&str> {
        self.attrs.get(name).and_then(|v| v.strip_prefix(kind)).and_then(|v| v.strip_prefix(':'))
    }
    /// A whole-number attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.attr(name, "i").map(|v| v.parse().expect("a whole number"))
    }
    /// A switch.
    pub fn flag(&self, name: &str) -> bool {
        self.int(name).unwrap_or(0) != 0
    }
    /// A decimal attribute.
    pub fn float(&self, name: &str) -> Option<f64> {
        self.attr(name, "f").map(|v| v.parse().expect("a number"))
    }
    /// A list of whole numbers.
    pub fn list(&self, name: &str) -> Option<Vec<i64>> {
        let text = self.attr(name, "l")?;
        Some(text.split(',').filter(|w| !w.is_empty()).map(|w| w.parse().expect("a whole number")).collect())
    }
    /// A text attribute.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attr(name, "s")
    }
    /// An element-type attribute.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.text(name).map(|v| v.parse().expect("an element type"))
    }
}

/// One case: a small graph with its data and the expected results.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub name: String,
    /// What a kernel gets as tensors.
    pub inputs: Vec<Named>,
    /// What a kernel knows when it is traced; operands of no host meaning become tensors as well.
    pub host: Vec<Named>,
    /// The expected results.
    pub outputs: Vec<Named>,
    pub nodes: Vec<Node>,
}

impl Case {
    /// The operator the case is counted under: that of its name's only node, or of the expanded function.
    pub fn group(&self) -> String {
        match &self.nodes[..] {
            [node] => node.op.clone(),
            _ => format!("expanded {}", self.name.split('_').next().unwrap_or("")),
        }
    }
}

/// Every case of the fixture.
pub fn read() -> Vec<Case> {
    let data = include_bytes!("data.bin");
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("cases.txt").lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        if kind == "case" {
            cases.push(Case { name: rest.to_string(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        match kind {
            "in" => case.inputs.push(value(rest, data)),
            "host" => case.host.push(value(rest, data)),
            "out" => case.outputs.push(value(rest, data)),
            "node" => case.nodes.push(node(rest)),
            "" | "#" => {}
            other => panic!("cases.txt: a line begins with `{other}`"),
        }
    }
    cases
}

/// `name dtype shape offset`.
fn value(text: &str, data: &[u8]) -> Named {
    let w: Vec<&str> = text.split(' ').collect();
    let [name, dtype, shape, offset] = w[..] else { panic!("cases.txt: `{text}`") };
    let dtype: DType = dtype.parse().expect("an element type");
    let shape: Vec<u64> = match shape {
        "-" => Vec::new(),
        s => s.split(',').map(|d| d.parse().expect("an extent")).collect(),
    };
    let offset: usize = offset.parse().expect("an offset");
    let len = shape.iter().product::<u64>() as usize * dtype.size();
    (name.to_string(), Tensor { dtype, shape, bytes: data[offset..offset + len].to_vec() })
}

/// `op | inputs | outputs | attributes`.
fn node(text: &str) -> Node {
    let parts: Vec<&str> = text.split('|').map(str::trim).collect();
    let names = |s: &str| s.split_whitespace().map(|w| if w == "-" { String::new() } else { w.to_string() }).collect();
    let mut attrs = BTreeMap::new();
    // Attributes are `name=kind:value`; a text value may hold blanks.
    for word in parts[3].split(' ').filter(|w| !w.is_empty()) {
        match word.split_once('=') {
            Some((name, v)) => drop(attrs.insert(name.to_string(), v.to_string())),
            None => attrs.values_mut().next_back().expect("a value before").push_str(&format!(" {word}")),
        }
    }
    Node { op: parts[0].to_string(), inputs: names(parts[1]), outputs: names(parts[2]), attrs }
}
