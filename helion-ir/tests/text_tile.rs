//! Printing and reading tile IR: random functions survive the round trip, random text never panics.

mod common;

use common::{Rng, arguments, cases, mutate};
use helion_ir::dtype::Literal;
use helion_ir::tile::*;
use helion_ir::{BinaryOp, DType, Loc, UnaryOp};

const NAMES: &[&str] =
    &["x", "m", "tm", "x.1", "n'", "a b", "", "expr", "min", "\"q\"\\", "größe", "_", "gather", "%5", "m"];

/// Makes random functions: well formed as tables, otherwise without sense.
struct Gen {
    rng: Rng,
    /// Values not defined yet.
    fresh: Vec<u32>,
    func: Function,
}

impl Gen {
    fn name(&mut self) -> String {
        self.rng.pick(NAMES).to_owned()
    }
    fn dtype(&mut self) -> DType {
        self.rng.pick(DType::ALL)
    }
    fn at(&mut self) -> Loc {
        match self.rng.below(4) {
            0 => Loc::new(self.rng.pick(&["src/a.rs", "", "C:\\x y.rs", "a\"b"]), 3, self.rng.below(99) as u32),
            _ => Loc::UNKNOWN,
        }
    }
    fn dim(&mut self) -> Dim {
        let f = &self.func;
        let r = &mut self.rng;
        match r.below(4) {
            1 if !f.symbols.is_empty() => Dim::Symbol(SymbolId(r.below(f.symbols.len()) as u32)),
            2 if !f.tiles.is_empty() => Dim::Tile(TileId(r.below(f.tiles.len()) as u32)),
            3 if !f.exprs.is_empty() => Dim::Expr(ExprId(r.below(f.exprs.len()) as u32)),
            _ => Dim::Const(r.pick(&[0, 1, 64, u64::MAX])),
        }
    }
    fn shape(&mut self) -> Shape {
        (0..self.rng.below(4)).map(|_| self.dim()).collect()
    }
    fn val(&mut self) -> ValueId {
        ValueId(self.rng.below(self.func.values.len()) as u32)
    }
    fn vals(&mut self, n: usize) -> Vec<ValueId> {
        (0..n).map(|_| self.val()).collect()
    }
    fn some(&mut self, n: usize) -> Vec<ValueId> {
        let n = self.rng.below(n + 1);
        self.vals(n)
    }
    fn define(&mut self, n: usize) -> Vec<ValueId> {
        (0..n).filter_map(|_| self.fresh.pop().map(ValueId)).collect()
    }
    fn tile(&mut self) -> TileId {
        TileId(self.rng.below(self.func.tiles.len()) as u32)
    }
    fn param(&mut self) -> ParamId {
        ParamId(self.rng.below(self.func.params.len()) as u32)
    }
    fn index(&mut self) -> Vec<Index> {
        (0..self.rng.below(4))
            .map(|_| match self.rng.below(5) {
                0 => Index::Tile(self.tile(), None),
                1 => Index::Tile(self.tile(), Some(self.val())),
                2 => Index::Full,
                3 => Index::Scalar(self.val()),
                _ => Index::Gather(self.val()),
            })
            .collect()
    }
    fn op(&mut self) -> (Op, Vec<ValueId>) {
        let axis = self.rng.below(4) as u32;
        let reverse = self.rng.one_in(2);
        let reduction = self.rng.pick(ReduceOp::ALL);
        let args = self.some(3);
        let op = match self.rng.below(33) {
            0 => Op::Const(Literal::from_bits(DType::F32, self.rng.bits())),
            1 => Op::Const(Literal::from_bits(DType::I64, self.rng.bits())),
            2 => Op::Extent(self.dim()),
            3 => Op::Scalar(self.param()),
            4 => Op::TileBegin(self.tile()),
            5 => Op::TileEnd(self.tile()),
            6 => Op::TileOrdinal(self.tile()),
            7 => Op::TileCount(self.tile()),
            8 => Op::Iota(self.dim()),
            9 => return (Op::Load { tensor: self.param(), index: self.index() }, self.some(2)),
            10 => {
                let n = 1 + self.rng.below(2);
                return (Op::Store { tensor: self.param(), index: self.index() }, self.vals(n));
            }
            11 => {
                let op = self.rng.pick(AtomicOp::ALL);
                let n = op.operands() + self.rng.below(2);
                return (Op::Atomic { op, tensor: self.param(), index: self.index() }, self.vals(n));
            }
            12 => Op::Unary(self.rng.pick(UnaryOp::ALL)),
            13 => Op::Binary(self.rng.pick(BinaryOp::ALL)),
            14 => Op::Select,
            15 => Op::Cast(self.dtype()),
            16 => Op::Bitcast(self.dtype()),
            17 => Op::Broadcast(self.shape()),
            18 => Op::Reshape(self.shape()),
            19 => Op::Permute((0..self.rng.below(4)).map(|_| self.rng.bits() as u32).collect()),
            20 => Op::Slice { axis, start: self.dim(), len: self.dim() },
            21 => Op::Concat { axis },
            22 => Op::Gather { axis },
            23 => Op::Reduce { op: reduction, axis },
            24 => Op::ReduceWith { axis },
            25 => Op::Scan { op: reduction, axis, reverse },
            26 => Op::ScanWith { axis, reverse },
            27 => Op::Dot { acc: self.dtype() },
            28 => Op::Random { word: self.rng.bits() as u8 },
            29 => Op::Print { label: self.name() },
            30 => Op::For { tiles: (0..self.rng.below(3)).map(|_| self.tile()).collect() },
            31 => Op::While,
            _ => Op::If,
        };
        (op, args)
    }
    fn inst(&mut self, depth: usize) -> Inst {
        let (op, args) = self.op();
        let n = self.rng.pick(&[0, 1, 1, 1, 2]);
        let results = self.define(n);
        let regions = match depth < 5 && self.rng.one_in(3) {
            true => (0..self.rng.below(4)).map(|_| self.region(depth + 1)).collect(),
            false => Vec::new(),
        };
        Inst { op, args, results, regions, at: self.at() }
    }
    fn insts(&mut self, n: usize, depth: usize) -> Vec<Inst> {
        (0..self.rng.below(n + 1)).map(|_| self.inst(depth)).collect()
    }
    fn region(&mut self, depth: usize) -> Region {
        let n = self.rng.below(3);
        Region { params: self.define(n), body: self.insts(4, depth), yields: self.some(2) }
    }
}

fn random_function(seed: u64) -> Function {
    let body = Region::default();
    let (params, symbols, exprs, tiles, values, header) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let func = Function { name: String::new(), params, symbols, exprs, tiles, values, header, body };
    let mut g = Gen { rng: Rng(seed), fresh: Vec::new(), func };
    g.func.name = g.name();
    for _ in 0..g.rng.below(4) {
        let name = g.name();
        g.func.symbols.push(Symbol { name });
    }
    let n = 1 + g.rng.below(40);
    g.fresh = (0..n as u32).collect();
    for i in (1..n).rev() {
        g.fresh.swap(i, g.rng.below(i + 1));
    }
    let unknown = Value { ty: Type::scalar(DType::F32), name: None, at: Loc::UNKNOWN };
    g.func.values = vec![unknown; n];
    for _ in 0..1 + g.rng.below(3) {
        let (grid, unit) = (g.rng.one_in(2), g.rng.one_in(2));
        let t = TileVar { name: g.name(), unit, begin: g.val(), end: g.val(), grid, at: g.at() };
        g.func.tiles.push(t);
    }
    for _ in 0..g.rng.below(12) {
        let e = DimExpr { op: g.rng.pick(BinaryOp::ALL), lhs: g.dim(), rhs: g.dim() };
        g.func.exprs.push(e);
    }
    for v in 0..n {
        let ty = Type { dtype: g.dtype(), shape: g.shape() };
        let name = if g.rng.one_in(2) { Some(g.name()) } else { None };
        g.func.values[v] = Value { ty, name, at: g.at() };
    }
    for _ in 0..1 + g.rng.below(3) {
        let layout = g.rng.pick(&[Layout::Contiguous, Layout::LastUnit, Layout::Strided]);
        let kind = match g.rng.one_in(3) {
            true => ParamKind::Scalar { dtype: g.dtype() },
            false => ParamKind::Tensor { dtype: g.dtype(), dims: g.shape(), mutable: g.rng.one_in(2), layout },
        };
        let p = Param { name: g.name(), kind, at: g.at() };
        g.func.params.push(p);
    }
    g.func.header = g.insts(4, 3);
    g.func.body = g.region(0);
    g.func
}

#[test]
fn random_functions_survive_the_round_trip() {
    for seed in 0..3000 {
        let func = random_function(seed);
        let text = func.to_string();
        let back = parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert_eq!(back, func, "seed {seed}\n{text}");
        // Whatever it says, it must not panic.
        let _ = verify(func);
    }
}

#[test]
fn mutated_text_never_panics() {
    let seeds: Vec<String> = cases("tile").into_iter().chain((0..20).map(|s| random_function(s).to_string())).collect();
    let (mut parsed, mut verified, mut ran) = (0, 0, 0);
    for seed in 0..20_000 {
        let mut rng = Rng(seed);
        let text = rng.pick(&seeds);
        let text = mutate(&mut rng, &text);
        match parse(&text) {
            Ok(func) => {
                parsed += 1;
                let printed = func.to_string();
                let back = parse(&printed).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{printed}"));
                assert_eq!(back, func, "seed {seed}");
                let Ok(func) = verify(func) else { continue };
                verified += 1;
                let f = func.function();
                if let Some(mut args) = arguments(&f.params, f.symbols.len()) {
                    ran += usize::from(interp::run_with(&func, &mut args, &|_| 2, &mut drop).is_ok());
                }
            }
            Err(e) => assert!(e.at.line > 0 && e.at.column > 0 && !e.message.is_empty(), "{e:?}"),
        }
    }
    println!("{parsed} of 20000 mutated texts parse, {verified} verify, {ran} run");
}

#[test]
fn depth_and_size_have_limits() {
    let wrap = |dim: &str, body: &str| {
        format!("tile f {{ expr ({dim} + 1) header {{ %0: bool = const bool true }} body {{ {body} }} }}")
    };
    let deep = |n: usize| wrap("2", &format!("{}{}", "if %0 { ".repeat(n), "} ".repeat(n)));
    assert!(parse(&deep(90)).is_ok());
    assert!(parse(&deep(200_000)).unwrap_err().message.contains("nested more than"));
    let sizes = |n: usize| wrap(&format!("{}1{}", "(".repeat(n), " + 1)".repeat(n)), "");
    assert!(parse(&sizes(90)).is_ok());
    assert!(parse(&sizes(200_000)).unwrap_err().message.contains("nested more than"));
    assert!(parse(&wrap("expr(7)", "")).unwrap_err().message.contains("no expression 7"));
    assert!(parse(&wrap("99999999999999999999", "")).unwrap_err().message.contains("too large"));
    assert!(parse(&wrap("tm", "")).unwrap_err().message.contains("no tile variable `tm`"));
}

#[test]
fn growing_expressions_print_short() {
    let mut func = random_function(1);
    func.exprs = vec![DimExpr { op: BinaryOp::Add, lhs: Dim::Const(1), rhs: Dim::Const(2) }];
    for i in 0..200 {
        func.exprs.push(DimExpr { op: BinaryOp::Mul, lhs: Dim::Expr(ExprId(i)), rhs: Dim::Expr(ExprId(i)) });
    }
    let text = func.to_string();
    assert!(text.len() < 50_000, "{}", text.len());
    assert_eq!(parse(&text).unwrap().exprs, func.exprs);
}
