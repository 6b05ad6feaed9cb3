//! Printing and reading loop IR: random functions survive the round trip, random text never panics.

mod common;

use common::{Rng, arguments, cases, mutate};
use helion_ir::config::{Config, Knob, Slot};
use helion_ir::dtype::Literal;
use helion_ir::loops::*;
use helion_ir::tile::{Dim, Layout};
use helion_ir::{BinaryOp, DType, Loc, UnaryOp};

const NAMES: &[&str] =
    &["x", "m", "tm", "x.1", "n'", "a b", "", "1st", "\"q\"\\", "größe", "_", "load", "%5", "line\nbreak", "m"];

/// Makes random functions: well formed as tables, otherwise without sense.
struct Gen {
    rng: Rng,
    /// Values not defined yet.
    fresh: Vec<u32>,
    values: Vec<Value>,
    params: usize,
    symbols: usize,
    buffers: usize,
}

impl Gen {
    fn name(&mut self) -> String {
        self.rng.pick(NAMES).to_owned()
    }
    fn dtype(&mut self) -> DType {
        self.rng.pick(DType::ALL)
    }
    fn val(&mut self) -> Val {
        Val(self.rng.below(self.values.len()) as u32)
    }
    fn vals<C: FromIterator<Val>>(&mut self, n: usize) -> C {
        (0..n).map(|_| self.val()).collect()
    }
    fn some<C: FromIterator<Val>>(&mut self, n: usize) -> C {
        let n = self.rng.below(n + 1);
        self.vals(n)
    }
    fn define(&mut self) -> Option<Val> {
        self.fresh.pop().map(Val)
    }
    fn at(&mut self) -> Loc {
        match self.rng.below(4) {
            0 => Loc::new(self.rng.pick(&["src/a.rs", "", "C:\\x y.rs", "a\"b"]), 3, self.rng.bits() as u32),
            _ => Loc::UNKNOWN,
        }
    }
    fn literal(&mut self) -> Literal {
        let dtype = self.dtype();
        let special =
            [0, 1, u64::MAX, 1 << 63, 0x3ff0_0000_0000_0000, 0x7f80_0000, 0x7fc0_0001, 0xff80_0000, 0x3dcc_cccd];
        let bits = if self.rng.one_in(2) { self.rng.pick(&special) } else { self.rng.bits() };
        Literal::from_bits(dtype, if dtype == DType::Bool { bits & 1 } else { bits })
    }
    fn mem(&mut self) -> Mem {
        match self.rng.one_in(2) {
            true => Mem::Tensor(ParamId(self.rng.below(self.params) as u32)),
            false => Mem::Buffer(BufferId(self.rng.below(self.buffers) as u32)),
        }
    }
    fn inst(&mut self) -> Inst {
        let param = ParamId(self.rng.below(self.params) as u32);
        let (mem, masked) = (self.mem(), self.rng.one_in(2));
        let extra = usize::from(masked);
        let rank = self.rng.below(3);
        let (op, args) = match self.rng.below(15) {
            0 => (Op::Const(self.literal()), self.vals(0)),
            1 => (Op::Size(SymbolId(self.rng.below(self.symbols) as u32)), self.vals(0)),
            2 => (Op::Dim(param, self.rng.below(3) as u32), self.vals(0)),
            3 => (Op::Scalar(param), self.vals(0)),
            4 => (Op::Unary(self.rng.pick(UnaryOp::ALL)), self.some(2)),
            5 => (Op::Binary(self.rng.pick(BinaryOp::ALL)), self.some(3)),
            6 => (Op::Fma, self.vals(3)),
            7 => (Op::Select, self.vals(3)),
            8 => (Op::Cast(self.dtype()), self.vals(1)),
            9 => (Op::Bitcast(self.dtype()), self.vals(1)),
            10 => (Op::Load { mem, masked }, self.vals(rank + 2 * extra)),
            11 => (Op::Store { mem, masked }, self.vals(1 + rank + extra)),
            12 => {
                let op = self.rng.pick(AtomicOp::ALL);
                (Op::Atomic { op, mem, masked }, self.vals(op.operands() + rank + extra))
            }
            13 => (Op::Random { word: self.rng.bits() as u8 }, self.vals(2)),
            _ => (Op::Print { label: self.name() }, self.some(3)),
        };
        let result = if self.rng.one_in(8) { None } else { self.define() };
        Inst { op, args, result, at: self.at() }
    }
    fn insts(&mut self, n: usize) -> Vec<Inst> {
        let n = self.rng.below(n + 1);
        (0..n).map(|_| self.inst()).collect()
    }
    fn extent(&mut self) -> Extent {
        let bound = if self.rng.one_in(2) { Some(self.rng.bits()) } else { None };
        Extent { extent: self.val(), bound }
    }
    fn operand(&mut self) -> Operand {
        let axis = |r: &mut Rng| if r.one_in(3) { None } else { Some(r.below(4) as u32) };
        Operand {
            mem: self.mem(),
            origin: self.some(4),
            batch: (0..self.rng.below(4)).map(|_| axis(&mut self.rng)).collect(),
            row: axis(&mut self.rng),
            col: axis(&mut self.rng),
        }
    }
    fn nest(&mut self) -> Nest {
        let mut axes = Vec::new();
        for _ in 0..self.rng.below(4) {
            let Extent { extent, bound } = self.extent();
            axes.extend(self.define().map(|var| Axis { var, extent, bound }));
        }
        let mut carries = Vec::new();
        for _ in 0..self.rng.below(3) {
            let op = if self.rng.one_in(2) { Some(self.rng.pick(ReduceOp::ALL)) } else { None };
            let (init, next) = (self.val(), self.val());
            if let (Some(param), Some(result)) = (self.define(), self.define()) {
                carries.push(Carry { param, init, next, result, op });
            }
        }
        let reduce = self.rng.below(axes.len() + 1);
        Nest { axes, reduce, carries, body: self.insts(4), finals: self.insts(2) }
    }
    fn block(&mut self, depth: usize) -> Vec<Stmt> {
        let n = self.rng.below(if depth > 4 { 1 } else { 5 });
        (0..n).filter_map(|_| self.stmt(depth + 1)).collect()
    }
    fn stmt(&mut self, depth: usize) -> Option<Stmt> {
        Some(match self.rng.below(8) {
            0 => {
                let var = self.define()?;
                let (begin, end, step) = (self.val(), self.val(), self.val());
                Stmt::For { var, begin, end, step, body: self.block(depth) }
            }
            1 => Stmt::While { cond: self.block(depth), test: self.val(), body: self.block(depth) },
            2 => Stmt::If { cond: self.val(), then: self.block(depth), other: self.block(depth) },
            3 => Stmt::Nest(self.nest()),
            4 => Stmt::Contract(Contract {
                batch: (0..self.rng.below(3)).map(|_| self.extent()).collect(),
                m: self.extent(),
                n: self.extent(),
                k: self.extent(),
                lhs: self.operand(),
                rhs: self.operand(),
                acc: BufferId(self.rng.below(self.buffers) as u32),
                accumulate: self.rng.one_in(2),
                at: self.at(),
            }),
            _ => Stmt::Inst(self.inst()),
        })
    }
}

fn random_function(seed: u64) -> Function {
    let mut rng = Rng(seed);
    let mut values: Vec<Value> = Vec::new();
    for _ in 0..1 + rng.below(40) {
        let name = if rng.one_in(2) { Some(rng.pick(NAMES).to_owned()) } else { None };
        values.push(Value { dtype: rng.pick(DType::ALL), name });
    }
    let mut fresh: Vec<u32> = (0..values.len() as u32).collect();
    for i in (1..fresh.len()).rev() {
        fresh.swap(i, rng.below(i + 1));
    }
    let mut g =
        Gen { params: 1 + rng.below(3), symbols: 1 + rng.below(3), buffers: 1 + rng.below(3), rng, fresh, values };
    let mut config = Config::new();
    for _ in 0..g.rng.below(4) {
        let slot = Slot::of(g.rng.pick(Knob::ALL), g.name());
        config.set(slot, g.rng.bits());
    }
    let symbols: Vec<Symbol> = (0..g.symbols).map(|_| Symbol { name: g.name() }).collect();
    let params = (0..g.params)
        .map(|_| {
            let dims = (0..g.rng.below(3)).map(|_| match g.rng.one_in(2) {
                true => Dim::Const(g.rng.bits()),
                false => Dim::Symbol(SymbolId(g.rng.below(g.symbols) as u32)),
            });
            let dims = dims.collect();
            let layout = g.rng.pick(&[Layout::Contiguous, Layout::LastUnit, Layout::Strided]);
            let kind = match g.rng.one_in(3) {
                true => ParamKind::Scalar { dtype: g.dtype() },
                false => ParamKind::Tensor { dtype: g.dtype(), dims, mutable: g.rng.one_in(2), layout },
            };
            Param { name: g.name(), kind, at: g.at() }
        })
        .collect();
    let mut header = g.insts(5);
    header.retain(|i| !matches!(i.op, Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. }));

    let buffers = (0..g.buffers).map(|_| Buffer { name: g.name(), dtype: g.dtype(), dims: g.some(3) }).collect();
    let mut grid = Vec::new();
    for _ in 0..g.rng.below(3) {
        let (name, count) = (g.name(), g.val());
        grid.extend(g.define().map(|index| GridAxis { name, count, index }));
    }
    let body = g.block(0);
    Function { name: g.name(), config, params, symbols, values: g.values, buffers, header, grid, body }
}

#[test]
fn random_functions_survive_the_round_trip() {
    for seed in 0..3000 {
        let func = random_function(seed);
        let text = func.to_string();
        let back = parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert_eq!(back, func, "seed {seed}\n{text}");
        // Whatever it says, it must not panic.
        let _ = verify(&func);
    }
}

#[test]
fn mutated_text_never_panics() {
    let seeds: Vec<String> =
        cases("loops").into_iter().chain((0..20).map(|s| random_function(s).to_string())).collect();
    let (mut parsed, mut verified, mut ran) = (0, 0, 0);
    for seed in 0..20_000 {
        let mut rng = Rng(seed);
        let text = rng.pick(&seeds);
        let text = mutate(&mut rng, &text);
        let func = match parse(&text) {
            Ok(func) => func,
            Err(e) => {
                assert!(e.at.line > 0 && e.at.column > 0 && !e.message.is_empty(), "{e:?}");
                continue;
            }
        };
        parsed += 1;
        let printed = func.to_string();
        assert_eq!(parse(&printed).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{printed}")), func, "seed {seed}");
        if verify(&func).is_err() {
            continue;
        }
        verified += 1;
        if let Some(mut args) = arguments(&func.params, func.symbols.len()) {
            ran += usize::from(interp::run_with(&func, &mut args, 20_000, &mut drop).is_ok());
        }
    }
    println!("{parsed} of 20000 mutated texts parse, {verified} verify, {ran} run");
}

#[test]
fn depth_and_size_have_limits() {
    let wrap = |body: &str| format!("loops f {{ header {{ %0: bool = const bool true }} body {{ {body} }} }}");
    let deep = |n: usize| wrap(&format!("{}{}", "if %0 { ".repeat(n), "} ".repeat(n)));
    assert!(parse(&deep(90)).is_ok());
    assert!(parse(&deep(200_000)).unwrap_err().message.contains("nested more than"));
    assert!(parse(&wrap("%4000000000: f32 = const f32 0")).unwrap_err().message.contains("too large"));
    assert!(parse(&wrap("%9999999999: f32 = const f32 0")).unwrap_err().message.contains("below 2^32"));
    assert!(parse(&wrap("%2: f32 = const f32 0")).unwrap_err().message.contains("%1 is missing"));
    assert!(parse(&wrap("%1: f32 = neg %5")).unwrap_err().message.contains("%5 is not defined"));
    assert!(parse(&wrap("%0: f32 = neg %0")).unwrap_err().message.contains("defined twice"));
    assert!(parse(&wrap("%1.a: f32 = neg %1.b")).unwrap_err().message.contains("defined as `%1.a`"));
    assert!(parse(&"(".repeat(1_000_000)).is_err());
}
