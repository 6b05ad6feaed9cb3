//! Tables of operations at their edges, and exhaustive checks of the small floats.

use super::*;
use half::{bf16, f16};

fn f32s(v: f32) -> Literal {
    Literal::from_bits(DType::F32, u64::from(v.to_bits()))
}
fn f(v: Literal) -> f64 {
    v.to_f64()
}
fn i(dtype: DType, v: i64) -> Literal {
    Literal::from_i64(dtype, v)
}

#[test]
fn small_floats_round_trip_exhaustively() {
    for dtype in [DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2] {
        for bits in 0..1u64 << (8 * dtype.size()) {
            let l = Literal::from_bits(dtype, bits);
            let v = l.to_f64();
            if v.is_nan() {
                assert!(Literal::from_f64(dtype, v).to_f64().is_nan());
            } else {
                assert_eq!(Literal::from_f64(dtype, v), l, "{dtype} {bits:#x} = {v}");
            }
        }
    }
}

#[test]
fn sixteen_bit_floats_agree_with_half() {
    for bits in 0..=u16::MAX {
        let (h, b) = (f16::from_bits(bits).to_f64(), bf16::from_bits(bits).to_f64());
        let (mine_h, mine_b) =
            (f(Literal::from_bits(DType::F16, bits.into())), f(Literal::from_bits(DType::BF16, bits.into())));
        assert!(mine_h == h || (mine_h.is_nan() && h.is_nan()));
        assert!(mine_b == b || (mine_b.is_nan() && b.is_nan()));
    }
    // Every 65537th f32, rounded by both.
    for n in (0..=u32::MAX).step_by(65537) {
        let v = f32::from_bits(n);
        if v.is_nan() {
            continue;
        }
        assert_eq!(from_f64(DType::F16, v.into()).bits, u64::from(f16::from_f32(v).to_bits()), "{v:e}");
        assert_eq!(from_f64(DType::BF16, v.into()).bits, u64::from(bf16::from_f32(v).to_bits()), "{v:e}");
    }
}

/// Between two neighbours the midpoint goes to the even code, everything else to the nearer one.
#[test]
fn small_floats_round_to_nearest_even() {
    for (dtype, max) in [(DType::F8E4M3, 0x7e), (DType::F8E5M2, 0x7b), (DType::F16, 0x7bff), (DType::BF16, 0x7f7f)] {
        for code in 0..max {
            let (lo, hi) = (f(Literal::from_bits(dtype, code)), f(Literal::from_bits(dtype, code + 1)));
            let mid = lo + (hi - lo) / 2.0;
            let even = code + (code & 1);
            assert_eq!(from_f64(dtype, mid).bits, even, "{dtype} {mid}");
            assert_eq!(from_f64(dtype, mid.next_down()).bits, code);
            assert_eq!(from_f64(dtype, mid.next_up()).bits, code + 1);
        }
    }
}

#[test]
fn overflow_of_small_floats() {
    assert_eq!(f(from_f64(DType::F8E4M3, 448.0)), 448.0);
    assert_eq!(f(from_f64(DType::F8E4M3, 464.0)), 448.0);
    assert!(f(from_f64(DType::F8E4M3, 464.1)).is_nan());
    assert!(f(from_f64(DType::F8E4M3, f64::INFINITY)).is_nan());
    assert_eq!(f(from_f64(DType::F8E5M2, 57344.0)), 57344.0);
    assert_eq!(f(from_f64(DType::F8E5M2, 1e9)), f64::INFINITY);
    assert_eq!(f(from_f64(DType::F16, 65519.9)), 65504.0);
    assert_eq!(f(from_f64(DType::F16, -65520.0)), f64::NEG_INFINITY);
    assert_eq!(from_f64(DType::F16, -0.0).bits, 0x8000);
    assert_eq!(from_f64(DType::F16, 5e-324).bits, 0);
}

#[test]
fn integers_convert_to_floats_with_one_rounding() {
    // 2^54 + 2^46 is a tie for bf16; one more breaks it, though f64 cannot hold the one.
    let tie = (1i64 << 60) + (1 << 52);
    assert_eq!(f(i(DType::BF16, tie)), (1i64 << 60) as f64);
    assert_eq!(f(i(DType::BF16, tie + 1)), ((1i64 << 60) + (1 << 53)) as f64);
    for v in [0, 1, -1, 16_777_217, i64::MAX, i64::MIN, i64::MAX - 512] {
        assert_eq!(i(DType::F32, v).bits, u64::from((v as f32).to_bits()), "{v}");
        assert_eq!(i(DType::F64, v).bits, (v as f64).to_bits(), "{v}");
        let u = v as u64;
        let l = Literal::from_bits(DType::U64, u);
        assert_eq!(cast(l, DType::F32).bits, u64::from((u as f32).to_bits()), "{u}");
    }
}

#[test]
fn casts() {
    use DType::*;
    for (x, to, want) in [
        (f32s(f32::NAN), I32, 0),
        (f32s(1e20), I32, i64::from(i32::MAX)),
        (f32s(-1e20), I8, -128),
        (f32s(-1.9), I16, -1),
        (f32s(-1.0), U8, 0),
        (f32s(300.0), U8, 255),
        (i(I32, -1), U8, 255),
        (i(U8, 255), I8, -1),
        (i(I8, -1), I64, -1),
        (i(U8, 255), I64, 255),
        (i(I32, 256), U8, 0),
        (i(I32, 256), Bool, 1),
        (f32s(f32::NAN), Bool, 1),
        (f32s(-0.0), Bool, 0),
        (i(Bool, 1), I32, 1),
    ] {
        assert_eq!(cast(x, to).to_i64(), want, "{x:?} as {to}");
    }
    assert_eq!(f(cast(i(I8, -3), F16)), -3.0);
    assert_eq!(cast(Literal::from_bits(F32, 0x7fc0_1234), F32).bits, 0x7fc0_1234);
    assert_eq!(bitcast(f32s(1.0), U32), Literal::from_bits(U32, 0x3f80_0000));
    assert_eq!(cast(Literal::from_bits(U64, u64::MAX), I32).to_i64(), -1);
}

#[test]
fn integer_arithmetic_wraps_and_is_total() {
    use BinaryOp::*;
    for (dtype, op, a, b, want) in [
        (DType::I8, Add, 127, 1, -128),
        (DType::I8, Div, -128, -1, -128),
        (DType::I8, Rem, -128, -1, 0),
        (DType::I32, Div, 7, 0, 0),
        (DType::I32, Rem, 7, 0, 0),
        (DType::I32, Div, -7, 2, -3),
        (DType::I32, Rem, -7, 2, -1),
        (DType::I64, Div, i64::MIN, -1, i64::MIN),
        (DType::U8, Sub, 0, 1, 255),
        (DType::U8, Mul, 16, 17, 16),
        (DType::I32, Shl, 1, 33, 2),
        (DType::I8, Shr, -128, 7, -1),
        (DType::U8, Shr, 128, 7, 1),
        (DType::I8, Shl, 1, -1, -128),
        (DType::U64, Lt, 1, -1, 1),
        (DType::I64, Lt, 1, -1, 0),
        (DType::I16, Min, -5, 3, -5),
        (DType::U16, Max, 65535, 3, 65535),
        (DType::Bool, Xor, 1, 1, 0),
        (DType::Bool, Le, 0, 1, 1),
    ] {
        let r = binary(op, i(dtype, a), i(dtype, b));
        assert_eq!(r.to_i64(), want, "{op} {dtype} {a} {b}");
        assert_eq!(r.dtype, op.rule().result(dtype));
    }
    assert_eq!(unary(UnaryOp::Abs, i(DType::I8, -128)).to_i64(), -128);
    assert_eq!(unary(UnaryOp::Neg, i(DType::U8, 1)).to_i64(), 255);
    assert_eq!(unary(UnaryOp::Not, i(DType::Bool, 1)).to_i64(), 0);
    assert_eq!(unary(UnaryOp::Not, i(DType::I16, 0)).to_i64(), -1);
}

#[test]
fn float_edges() {
    use BinaryOp::*;
    let nan = f32::NAN;
    for (op, a, b, want) in [
        (Div, 1.0f32, 0.0f32, f32::INFINITY),
        (Div, -1.0, 0.0, f32::NEG_INFINITY),
        (Rem, -7.5, 2.0, -1.5),
        (Max, 1.0, 2.0, 2.0),
        (Min, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY),
        (Add, f32::MAX, f32::MAX, f32::INFINITY),
        (Mul, 1e-30, 1e-30, 0.0),
        (Pow, 2.0, 10.0, 1024.0),
        (Add, 16_777_216.0, 1.0, 16_777_216.0),
    ] {
        assert_eq!(f(binary(op, f32s(a), f32s(b))), f64::from(want), "{op} {a} {b}");
    }
    for (op, a, b) in
        [(Max, nan, 1.0), (Max, 1.0, nan), (Min, nan, 1.0), (Min, 1.0, nan), (Div, 0.0, 0.0), (Rem, 1.0, 0.0)]
    {
        assert!(f(binary(op, f32s(a), f32s(b))).is_nan(), "{op} {a} {b}");
    }
    for (op, want) in [(Eq, false), (Ne, true), (Lt, false), (Le, false), (Gt, false), (Ge, false)] {
        assert_eq!(binary(op, f32s(nan), f32s(1.0)).is_true(), want, "{op}");
        assert_eq!(binary(op, f32s(1.0), f32s(nan)).is_true(), want, "{op}");
    }
    assert!(binary(Eq, f32s(0.0), f32s(-0.0)).is_true());
}

#[test]
fn unary_floats() {
    use UnaryOp::*;
    let inf = f32::INFINITY;
    for (op, x, want) in [
        (Round, 2.5f32, 2.0f32),
        (Round, -0.5, -0.0),
        (Floor, -1.5, -2.0),
        (Ceil, -1.5, -1.0),
        (Trunc, -1.5, -1.0),
        (Exp, -inf, 0.0),
        (Exp, 0.0, 1.0),
        (Exp2, 10.0, 1024.0),
        (Log, 0.0, -inf),
        (Log2, 8.0, 3.0),
        (Sqrt, 2.0, std::f32::consts::SQRT_2),
        (Rsqrt, 4.0, 0.5),
        (Rsqrt, 0.0, inf),
        (Tanh, 100.0, 1.0),
        (Sigmoid, 0.0, 0.5),
        (Sigmoid, inf, 1.0),
        (Sigmoid, -inf, 0.0),
        (Sigmoid, -88.0, 6.054_602e-39),
        (Erf, inf, 1.0),
        (Erf, 0.5, 0.520_499_9),
        (Erf, -1.0, -0.842_700_8),
        (Neg, 0.0, -0.0),
        (Abs, -inf, inf),
    ] {
        assert_eq!(unary(op, f32s(x)), f32s(want), "{op} {x}");
    }
    for (op, x) in
        [(Log, -1.0), (Sqrt, -1.0), (Sin, inf), (Cos, inf), (Exp, f32::NAN), (Erf, f32::NAN), (Sigmoid, f32::NAN)]
    {
        assert!(f(unary(op, f32s(x))).is_nan(), "{op} {x}");
    }
    assert!(unary(IsNan, f32s(f32::NAN)).is_true());
    assert!(!unary(IsNan, f32s(inf)).is_true());
}

#[test]
fn every_operation_is_total() {
    for &dtype in DType::ALL {
        let edges = [0u64, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x7c00, 0x7fc0_0000, u64::MAX, 1 << 63];
        for a in edges {
            let a = Literal::from_bits(dtype, a);
            for &op in UnaryOp::ALL {
                assert_eq!(unary(op, a).dtype, op.rule().result(dtype));
            }
            for &to in DType::ALL {
                assert_eq!(cast(a, to).dtype, to);
            }
            for b in edges {
                for &op in BinaryOp::ALL {
                    assert_eq!(binary(op, a, Literal::from_bits(dtype, b)).dtype, op.rule().result(dtype));
                }
            }
        }
    }
}

#[test]
fn identities_do_not_change_what_they_combine_with() {
    let ops = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];
    for &dtype in DType::ALL.iter().filter(|d| d.is_num()) {
        for op in ops {
            let combine = reduce_combine(op).unwrap();
            for v in [lowest(dtype), highest(dtype), from_i64(dtype, 3), from_i64(dtype, 0)] {
                assert_eq!(binary(combine, reduce_identity(op, dtype), v), v, "{op:?} {dtype}");
            }
        }
    }
    assert_eq!(lowest(DType::I8).to_i64(), -128);
    assert_eq!(highest(DType::U32).to_i64(), 0xffff_ffff);
    assert_eq!(highest(DType::I64).to_i64(), i64::MAX);
}

#[test]
fn fused_multiply_add_rounds_once() {
    let (a, b) = (1.0 + f32::EPSILON, 1.0 - f32::EPSILON);
    assert_eq!(f(fma(f32s(a), f32s(b), f32s(-1.0))), -f64::from(f32::EPSILON) * f64::from(f32::EPSILON));
    assert_eq!(fma(i(DType::I8, 100), i(DType::I8, 2), i(DType::I8, 1)).to_i64(), -55);
}
