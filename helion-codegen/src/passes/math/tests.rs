//! Every expansion over a dense sample of all `f32`, compiled, against `f64`.

use super::*;
use crate::cpu::vector::Isa;
use crate::cpu::{CompiledKernel, CpuOptions, compile};
use helion_ir::loops::Stmt;
use helion_ir::loops::{Axis, Mem, Param, ParamId, ParamKind, Symbol, SymbolId};
use helion_ir::tile::{Dim, Layout};

/// `out[i] = f(x[i])` as one nest.
fn apply(dtype: DType, op: Op, result: DType) -> Function {
    let value = |dtype| Value { dtype, name: None };
    let tensor = |name: &str, dtype, mutable| Param {
        name: name.into(),
        kind: ParamKind::Tensor {
            dtype,
            dims: smallvec![Dim::Symbol(SymbolId(0))],
            mutable,
            layout: Layout::Contiguous,
        },
        at: Loc::UNKNOWN,
    };
    let inst = |op: Op, args: &[u32], result: Option<u32>| Inst {
        op,
        args: args.iter().map(|a| Val(*a)).collect(),
        result: result.map(Val),
        at: Loc::UNKNOWN,
    };
    let args: &[u32] = if matches!(op, Op::Binary(_)) { &[2, 2] } else { &[2] };
    Function {
        name: "apply".into(),
        config: Default::default(),
        params: vec![tensor("x", dtype, false), tensor("out", result, true)],
        symbols: vec![Symbol { name: "n".into() }],
        values: vec![value(DType::I64), value(DType::I64), value(dtype), value(result)],
        buffers: vec![],
        header: vec![inst(Op::Size(SymbolId(0)), &[], Some(0))],
        grid: vec![],
        body: vec![Stmt::Nest(Nest {
            axes: vec![Axis { var: Val(1), extent: Val(0), bound: None }],
            reduce: 0,
            carries: vec![],
            body: vec![
                inst(Op::Load { mem: Mem::Tensor(ParamId(0)), masked: false }, &[1], Some(2)),
                inst(op, args, Some(3)),
                inst(Op::Store { mem: Mem::Tensor(ParamId(1)), masked: false }, &[3, 1], None),
            ],
            finals: vec![],
        })],
    }
}

/// Runs a kernel of [`apply`] on elements of any type.
fn run<T: Copy, U: Copy + Default>(f: &Function, x: &[T]) -> Vec<U> {
    run_compiled(&compile(f, &CpuOptions::default()).unwrap(), x)
}

fn run_compiled<T: Copy, U: Copy + Default>(k: &CompiledKernel, x: &[T]) -> Vec<U> {
    let n = x.len() as u64;
    let mut out = vec![U::default(); x.len()];
    let args = [x.as_ptr() as u64, n, 1, out.as_mut_ptr() as u64, n, 1, n];
    let plan = k.plan(&args);
    let mut scratch = vec![0u64; plan.scratch_bytes as usize / 8 + 8];
    let at = scratch.as_mut_ptr().cast::<u8>();
    // SAFETY: the words describe `x` and `out`, of the types the kernel was made for; scratch suffices.
    unsafe { k.run(&args, at.wrapping_add(at.align_offset(64)), 0, 1) };
    out
}

/// Distance from the exact value in units of the last place of the nearest float.
fn ulps(got: f32, exact: f64) -> f64 {
    let nearest = exact as f32;
    if got == nearest || (got.is_nan() && nearest.is_nan()) {
        return 0.0;
    }
    if !nearest.is_finite() || !got.is_finite() {
        // The largest finite float and infinity are neighbours.
        let edge = f64::from(f32::MAX);
        return if exact.abs() > edge * (1.0 - 1e-7) && got.abs() >= f32::MAX * (1.0 - 1e-7) {
            1.0
        } else {
            f64::INFINITY
        };
    }
    let unit = f64::from(nearest.abs().next_up()) - f64::from(nearest.abs());
    (f64::from(got) - exact).abs() / unit
}

/// Every 997th bit pattern, and the edges.
fn sample() -> Vec<f32> {
    let edges = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::MIN_POSITIVE];
    let near =
        [88.72, 88.73, 88.37, -87.33, -87.34, -103.2, -103.97, -104.0, 127.9, 128.0, -126.0, -149.0, -150.0, 0.6];
    let dense = (0..u32::MAX).step_by(997).map(f32::from_bits);
    let odd_nan = f32::from_bits(0x7fc0_0001);
    dense.chain(edges).chain(near).chain([odd_nan, f32::from_bits(1), f32::MAX]).collect()
}

fn check(op: UnaryOp, bound: f64, exact: fn(f64) -> f64) {
    let mut f = apply(DType::F32, Op::Unary(op), DType::F32);
    expand_math(&mut f, &[]);
    assert!(!format!("{:?}", f.body).contains(&format!("Unary({op:?})")), "{op} was expanded");
    let x = sample();
    let y: Vec<f32> = run(&f, &x);
    let (mut worst, mut at) = (0.0, 0.0);
    for (x, y) in x.iter().zip(&y) {
        let u = ulps(*y, exact(f64::from(*x)));
        if u > worst {
            (worst, at) = (u, *x);
        }
    }
    eprintln!("{op}: {worst:.3} ulp at {at:e}");
    assert!(worst <= bound, "{op}({at:e}) is off by {worst} ulp");
}

#[test]
fn functions_keep_their_bounds() {
    check(UnaryOp::Exp, 0.83, f64::exp);
    check(UnaryOp::Exp2, 0.86, f64::exp2);
    check(UnaryOp::Log, 1.15, f64::ln);
    check(UnaryOp::Log2, 1.97, f64::log2);
    check(UnaryOp::Tanh, 1.90, f64::tanh);
    check(UnaryOp::Sigmoid, 2.1, |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) });
    check(UnaryOp::Erf, 1.80, libm::erf);
}

#[test]
fn rsqrt_keeps_its_bound() {
    check(UnaryOp::Rsqrt, 1.48, |x| 1.0 / x.sqrt());
}

/// One instruction that scales by a power of two and the two steps it replaces give the same bits.
#[test]
fn instruction_sets_agree() {
    let x = sample();
    for op in [UnaryOp::Exp, UnaryOp::Exp2, UnaryOp::Sigmoid, UnaryOp::Tanh, UnaryOp::Erf] {
        let mut f = apply(DType::F32, Op::Unary(op), DType::F32);
        expand_math(&mut f, &[]);
        let mut first: Option<(Isa, Vec<f32>)> = None;
        for isa in Isa::ALL.into_iter().filter(|i| i.available()) {
            let k = compile(&f, &CpuOptions { isa: Some(isa), ..CpuOptions::default() }).unwrap();
            // The widest set has the instruction.
            if Isa::ALL.first() == Some(&isa) && matches!(op, UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Sigmoid) {
                assert!(k.asm().contains("vscalefps"), "{op}:\n{}", k.vector_programs());
            }
            let got: Vec<f32> = run_compiled(&k, &x);
            let Some((other, want)) = &first else {
                first = Some((isa, got));
                continue;
            };
            for ((x, a), b) in x.iter().zip(&got).zip(want) {
                let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                assert!(same, "{op}({x:e}): {a:e} with {isa}, {b:e} with {other}");
            }
        }
    }
}

/// All 16-bit floats through functions and arithmetic, against one rounding of the exact value.
#[test]
fn sixteen_bit_floats_round_once() {
    for d in [DType::F16, DType::BF16] {
        let x: Vec<u16> = (0..=u16::MAX).collect();
        let wide = |b: u16| Literal::from_bits(d, b.into()).to_f64();
        for (op, exact, slack) in [
            (Op::Unary(UnaryOp::Exp), f64::exp as fn(f64) -> f64, 1),
            (Op::Unary(UnaryOp::Tanh), f64::tanh, 1),
            (Op::Unary(UnaryOp::Sqrt), f64::sqrt, 0),
            (Op::Binary(BinaryOp::Add), |x| x + x, 0),
            (Op::Binary(BinaryOp::Mul), |x| x * x, 0),
        ] {
            let mut f = apply(d, op.clone(), d);
            expand_math(&mut f, &[]);
            let y: Vec<u16> = run(&f, &x);
            for (x, y) in x.iter().zip(&y) {
                let want = Literal::from_f64(d, exact(wide(*x)));
                let (a, b) = (wide(*y), want.to_f64());
                let near = (i32::from(*y) - want.bits as i32).abs() <= slack;
                assert!(near || a == b || (a.is_nan() && b.is_nan()), "{d} {op:?} {}: {a} not {b}", wide(*x));
            }
        }
    }
}
