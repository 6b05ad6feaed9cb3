//! Small functions that the tests of this folder share.

use super::{Builder, Dim, Function, Index, Layout, Op, ParamId, ReduceOp, Shape, TileId, Type, ValueId};
use crate::diag::Loc;
use crate::dtype::{DType, Literal};
use crate::elementwise::{BinaryOp, UnaryOp};

pub(super) const AT: Loc = Loc::UNKNOWN;

/// A builder with less to write.
pub(super) struct Sketch {
    pub b: Builder,
    symbols: Vec<(String, Dim)>,
}

impl Sketch {
    pub fn new() -> Sketch {
        Sketch { b: Builder::new("k"), symbols: vec![] }
    }
    /// The size of that name; digits are a constant.
    pub fn dim(&mut self, name: &str) -> Dim {
        if let Ok(c) = name.parse() {
            return Dim::Const(c);
        }
        if let Some((_, d)) = self.symbols.iter().find(|(n, _)| n == name) {
            return *d;
        }
        let d = Dim::Symbol(self.b.symbol(name));
        self.symbols.push((name.to_owned(), d));
        d
    }
    pub fn tensor(&mut self, name: &str, dtype: DType, dims: &[&str], mutable: bool) -> ParamId {
        let dims: Shape = dims.iter().map(|d| self.dim(d)).collect();
        self.b.tensor(name, dtype, dims, mutable, Layout::Strided, AT)
    }
    pub fn int(&mut self, v: i64) -> ValueId {
        self.one(Op::Const(Literal::from_i64(DType::I64, v)), &[])
    }
    pub fn float(&mut self, v: f64) -> ValueId {
        self.one(Op::Const(Literal::from_f64(DType::F32, v)), &[])
    }
    pub fn size(&mut self, name: &str) -> ValueId {
        let d = self.dim(name);
        self.one(Op::Extent(d), &[])
    }
    pub fn grid(&mut self, name: &str, size: &str) -> TileId {
        let (begin, end) = (self.int(0), self.size(size));
        self.b.grid_tile(name, begin, end, false, AT)
    }
    pub fn unit_grid(&mut self, name: &str, size: &str) -> TileId {
        let (begin, end) = (self.int(0), self.size(size));
        self.b.grid_tile(name, begin, end, true, AT)
    }
    pub fn body(&mut self) {
        self.b.begin_body();
    }
    pub fn looped(&mut self, name: &str, size: &str) -> TileId {
        let (begin, end) = (self.int(0), self.size(size));
        self.b.loop_tile(name, begin, end, false, AT)
    }
    pub fn one(&mut self, op: Op, args: &[ValueId]) -> ValueId {
        self.b.one(op, args, AT)
    }
    pub fn named(&mut self, name: &str, op: Op, args: &[ValueId]) -> ValueId {
        let v = self.one(op, args);
        self.b.name_value(v, name);
        v
    }
    pub fn load(&mut self, tensor: ParamId, index: &[Index]) -> ValueId {
        self.one(Op::Load { tensor, index: index.to_vec() }, &[])
    }
    pub fn store(&mut self, tensor: ParamId, index: &[Index], value: ValueId) {
        self.b.push(Op::Store { tensor, index: index.to_vec() }, &[value], AT);
    }
    pub fn bin(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.one(Op::Binary(op), &[a, b])
    }
    pub fn reduce(&mut self, op: ReduceOp, axis: u32, x: ValueId) -> ValueId {
        self.one(Op::Reduce { op, axis }, &[x])
    }
    /// A tile of one number.
    pub fn full(&mut self, v: f64, shape: &[Dim]) -> ValueId {
        let c = self.float(v);
        self.one(Op::Broadcast(shape.iter().copied().collect()), &[c])
    }
    /// A loop over `tiles` that carries `init`.
    pub fn for_loop(
        &mut self,
        tiles: &[TileId],
        init: &[ValueId],
        body: impl FnOnce(&mut Sketch, &[ValueId]) -> Vec<ValueId>,
    ) -> Vec<ValueId> {
        let types: Vec<Type> = init.iter().map(|v| self.b.ty(*v).clone()).collect();
        let params = self.b.open_region(&types, AT);
        let yields = body(self, &params);
        let region = self.b.close_region(&yields);
        self.b.push_with_regions(Op::For { tiles: tiles.to_vec() }, init, vec![region], AT).to_vec()
    }
    pub fn finish(self) -> Function {
        self.b.finish().unwrap_or_else(|e| panic!("{}", crate::diag::render(&e)))
    }
}

pub(super) fn tile(t: TileId) -> Index {
    Index::Tile(t, None)
}

/// Softmax over the last axis of `x [m, n]`.
pub(super) fn softmax() -> Function {
    let mut s = Sketch::new();
    let (x, out) = (s.tensor("x", DType::F32, &["m", "n"], false), s.tensor("out", DType::F32, &["m", "n"], true));
    let tm = s.grid("tm", "m");
    s.body();
    let row = s.load(x, &[tile(tm), Index::Full]);
    let max = s.reduce(ReduceOp::Max, 1, row);
    let shifted = s.bin(BinaryOp::Sub, row, max);
    let e = s.one(Op::Unary(UnaryOp::Exp), &[shifted]);
    let sum = s.reduce(ReduceOp::Sum, 1, e);
    let y = s.bin(BinaryOp::Div, e, sum);
    s.store(out, &[tile(tm), Index::Full], y);
    s.finish()
}

/// `out [m, n] = a [m, k] * b [k, n]`.
pub(super) fn matmul() -> Function {
    let mut s = Sketch::new();
    let (a, b) = (s.tensor("a", DType::F32, &["m", "k"], false), s.tensor("b", DType::F32, &["k", "n"], false));
    let out = s.tensor("out", DType::F32, &["m", "n"], true);
    let (tm, tn) = (s.grid("tm", "m"), s.grid("tn", "n"));
    s.body();
    let zero = s.full(0.0, &[Dim::Tile(tm), Dim::Tile(tn)]);
    let tk = s.looped("tk", "k");
    let acc = s.for_loop(&[tk], &[zero], |s, acc| {
        let (x, y) = (s.load(a, &[tile(tm), tile(tk)]), s.load(b, &[tile(tk), tile(tn)]));
        let p = s.one(Op::Dot { acc: DType::F32 }, &[x, y]);
        vec![s.bin(BinaryOp::Add, acc[0], p)]
    });
    s.store(out, &[tile(tm), tile(tn)], acc[0]);
    s.finish()
}
