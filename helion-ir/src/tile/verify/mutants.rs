//! Good functions with random damage: the verifier answers, never panics, and what it accepts the interpreter
//! can run.

use super::super::samples::{matmul, softmax};
use super::super::{AtomicOp, ExprId, ParamId, ReduceOp, SymbolId, interp};
use super::*;
use crate::args::{Arg, Args, TensorArg};
use crate::elementwise::UnaryOp;

/// A small generator: the quality of its numbers does not matter, their order does.
pub(super) struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
    fn value(&mut self) -> ValueId {
        ValueId(self.below(24) as u32)
    }
    fn tile(&mut self) -> TileId {
        TileId(self.below(4) as u32)
    }
    fn dim(&mut self) -> Dim {
        match self.below(5) {
            0 => Dim::Const(self.below(4) as u64),
            1 => Dim::Symbol(SymbolId(self.below(4) as u32)),
            2 => Dim::Tile(self.tile()),
            3 => Dim::Expr(ExprId(self.below(2) as u32)),
            _ => Dim::Const(u64::MAX - self.below(2) as u64),
        }
    }
    fn index(&mut self) -> Index {
        match self.below(5) {
            0 => Index::Full,
            1 => Index::Scalar(self.value()),
            2 => Index::Gather(self.value()),
            3 => Index::Tile(self.tile(), Some(self.value())),
            _ => Index::Tile(self.tile(), None),
        }
    }
    fn op(&mut self) -> Op {
        let axis = self.below(3) as u32;
        let indices = |r: &mut Rng| (0..r.below(4)).map(|_| r.index()).collect();
        let tensor = ParamId(self.below(4) as u32);
        match self.below(22) {
            0 => Op::Extent(self.dim()),
            1 => Op::TileBegin(self.tile()),
            2 => Op::TileOrdinal(self.tile()),
            3 => Op::Iota(self.dim()),
            4 => Op::Load { tensor, index: indices(self) },
            5 => Op::Store { tensor, index: indices(self) },
            6 => Op::Atomic { op: AtomicOp::Add, tensor, index: indices(self) },
            7 => Op::Unary(UnaryOp::ALL[self.below(UnaryOp::ALL.len())]),
            8 => Op::Binary(BinaryOp::ALL[self.below(BinaryOp::ALL.len())]),
            9 => Op::Select,
            10 => Op::Cast(DType::ALL[self.below(DType::ALL.len())]),
            11 => Op::Bitcast(DType::ALL[self.below(DType::ALL.len())]),
            12 => Op::Broadcast((0..self.below(4)).map(|_| self.dim()).collect()),
            13 => Op::Reshape((0..self.below(4)).map(|_| self.dim()).collect()),
            14 => Op::Permute((0..self.below(4)).map(|_| self.below(3) as u32).collect()),
            15 => Op::Slice { axis, start: self.dim(), len: self.dim() },
            16 => Op::Concat { axis },
            17 => Op::Gather { axis },
            18 => Op::Reduce { op: ReduceOp::Sum, axis },
            19 => Op::ReduceWith { axis },
            20 => Op::Dot { acc: DType::F32 },
            _ => Op::For { tiles: (0..self.below(3)).map(|_| self.tile()).collect() },
        }
    }
    /// One change at a random place.
    fn damage(&mut self, f: &mut Function) {
        match self.below(8) {
            0 => {
                let v = self.below(f.values.len());
                f.values[v].ty.shape = (0..self.below(3)).map(|_| self.dim()).collect();
            }
            1 => {
                let t = self.below(f.tiles.len());
                f.tiles[t].end = self.value();
                f.tiles[t].unit = self.below(2) == 0;
            }
            2 => {
                let (op, lhs, rhs) = (BinaryOp::ALL[self.below(BinaryOp::ALL.len())], self.dim(), self.dim());
                f.exprs.push(crate::tile::DimExpr { op, lhs, rhs });
            }
            3 => {
                let n = self.below(f.body.body.len());
                f.body.body.remove(n);
            }
            _ => {
                let mut n = self.below(f.body.body.len());
                let mut insts = &mut f.body.body;
                // Sometimes inside the loop.
                if let Some(at) = insts.iter().position(|i| !i.regions.is_empty())
                    && self.below(2) == 0
                {
                    insts = &mut insts[at].regions[0].body;
                    n = self.below(insts.len());
                }
                if let Some(inst) = insts.get_mut(n) {
                    match self.below(4) {
                        0 => inst.op = self.op(),
                        1 => inst.args = (0..self.below(4)).map(|_| self.value()).collect(),
                        2 => inst.results = (0..self.below(3)).map(|_| self.value()).collect(),
                        _ => inst.regions.push(Region::default()),
                    }
                }
            }
        }
    }
}

fn run(f: &Verified) {
    let arg = |p: &crate::tile::Param| match &p.kind {
        ParamKind::Tensor { dtype, dims, .. } => {
            let dims: Vec<u64> = dims.iter().map(|d| if let Dim::Const(c) = d { *c } else { 3 }).collect();
            Arg::from(TensorArg::zeros(*dtype, &dims))
        }
        ParamKind::Scalar { dtype } => Arg::from(crate::dtype::Literal::from_i64(*dtype, 1)),
    };
    let function = f.function();
    let args = function.params.iter().map(arg).collect();
    let mut args = Args::bind(&function.params, &function.symbols, args, &[]).unwrap();
    // Any answer will do, a panic will not.
    let _ = interp::run_with(f, &mut args, &|_| 2, &mut |_| {});
}

#[test]
fn random_damage_never_panics() {
    let mut accepted = 0;
    for seed in 0..20_000 {
        let mut rng = Rng(seed);
        let mut f = if seed % 2 == 0 { softmax() } else { matmul() };
        for _ in 0..=rng.below(2) {
            rng.damage(&mut f);
        }
        if let Ok(f) = verify(f) {
            accepted += 1;
            run(&f);
        }
    }
    assert!(accepted > 200, "only {accepted} were accepted: the damage is too heavy to test much");
}
