//! Compiled kernels against the reference interpreter and against plain Rust.

use super::*;
use helion_ir::dtype::{DType, Literal};
use helion_ir::loops::*;
use helion_ir::tile::{Dim, Layout};
use helion_ir::{BinaryOp, Loc};
use smallvec::smallvec;

/// `out[i] = x[i] + x[i]` in blocks of 4, made by hand.
fn doubled() -> Function {
    let i64v = || Value { dtype: DType::I64, name: None };
    let f32v = || Value { dtype: DType::F32, name: None };
    let inst = |op, args: &[u32], result: Option<u32>| Inst {
        op,
        args: args.iter().map(|v| Val(*v)).collect(),
        result: result.map(Val),
        at: Loc::UNKNOWN,
    };
    let tensor = |name: &str, mutable| Param {
        name: name.into(),
        kind: ParamKind::Tensor {
            dtype: DType::F32,
            dims: smallvec![Dim::Symbol(SymbolId(0))],
            mutable,
            layout: Layout::Contiguous,
        },
        at: Loc::UNKNOWN,
    };
    let four = Literal::from_i64(DType::I64, 4);
    let three = Literal::from_i64(DType::I64, 3);
    Function {
        name: "doubled".into(),
        config: Default::default(),
        params: vec![tensor("x", false), tensor("out", true)],
        symbols: vec![Symbol { name: "n".into() }],
        values: vec![
            i64v(),
            i64v(),
            i64v(),
            i64v(),
            i64v(),
            i64v(),
            i64v(),
            i64v(),
            i64v(),
            i64v(),
            i64v(),
            f32v(),
            f32v(),
        ],
        buffers: vec![],
        header: vec![
            inst(Op::Size(SymbolId(0)), &[], Some(0)),
            inst(Op::Const(four), &[], Some(1)),
            inst(Op::Const(three), &[], Some(2)),
            inst(Op::Binary(BinaryOp::Add), &[0, 2], Some(3)),
            inst(Op::Binary(BinaryOp::Div), &[3, 1], Some(4)),
        ],
        grid: vec![GridAxis { name: "t".into(), count: Val(4), index: Val(5) }],
        body: vec![
            Stmt::Inst(inst(Op::Binary(BinaryOp::Mul), &[5, 1], Some(6))),
            Stmt::Inst(inst(Op::Binary(BinaryOp::Sub), &[0, 6], Some(7))),
            Stmt::Inst(inst(Op::Binary(BinaryOp::Min), &[7, 1], Some(8))),
            Stmt::Nest(Nest {
                axes: vec![Axis { var: Val(9), extent: Val(8), bound: Some(4) }],
                reduce: 0,
                carries: vec![],
                body: vec![
                    inst(Op::Binary(BinaryOp::Add), &[6, 9], Some(10)),
                    inst(Op::Load { mem: Mem::Tensor(ParamId(0)), masked: false }, &[10], Some(11)),
                    inst(Op::Binary(BinaryOp::Add), &[11, 11], Some(12)),
                    inst(Op::Store { mem: Mem::Tensor(ParamId(1)), masked: false }, &[12, 10], None),
                ],
                finals: vec![],
            }),
        ],
    }
}

#[test]
fn a_kernel_made_by_hand_runs() {
    for vectorise in [false, true] {
        for effort in [Effort::Quick, Effort::Full] {
            let k = compile(&doubled(), &CpuOptions { vectorise, effort, ..Default::default() }).unwrap();
            for n in [0u64, 1, 3, 4, 5, 17] {
                let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
                let mut out = vec![0f32; n as usize];
                let args = [x.as_ptr() as u64, n, 1, out.as_mut_ptr() as u64, n, 1, n];
                let plan = k.plan(&args);
                assert_eq!(plan.programs, n.div_ceil(4));
                let mut scratch = vec![0u64; plan.scratch_bytes as usize / 8 + 16];
                let at = scratch.as_mut_ptr().cast::<u8>();
                let at = at.wrapping_add(at.align_offset(64));
                // SAFETY: the words describe `x` and `out`; scratch is large enough and aligned.
                unsafe { k.run(&args, at, 0, plan.programs) };
                assert!(out.iter().zip(&x).all(|(o, x)| *o == x + x), "{n}: {out:?}");
            }
            assert!(!k.clif().is_empty() && !k.asm().is_empty());
        }
    }
}
