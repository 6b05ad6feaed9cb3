//! Every operation on every element type it accepts.

use super::*;
use helion_ir::elementwise::Rule;
use helion_ir::{BinaryOp, UnaryOp};

/// `out[i] = op(x[i], y[i])`, as text.
fn kernel(op: &str, d: DType, result: DType, operands: &str) -> String {
    format!(
        "loops f {{
  symbol n
  param x: tensor {d}[$n] contiguous
  param y: tensor {d}[$n] contiguous
  param out: mut tensor {result}[$n] contiguous
  header {{
    %0: i64 = size $n
  }}
  body {{
    nest {{
      for %1 in 0..%0 (parallel)
      body {{
        %2: {d} = load x[%1]
        %3: {d} = load y[%1]
        %4: {result} = {op} {operands}
        store out[%1], %4
      }}
    }}
  }}
}}
"
    )
}

/// Elements at the edges of a type, and pairs of them.
fn edges(d: DType) -> (Vec<Literal>, Vec<Literal>) {
    let floats = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        2.5,
        -2.5,
        3.0,
        1e-3,
        7.25,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        300.0,
        -1e5,
        3e9,
        -3e9,
        1e20,
    ];
    let bits = [
        0,
        1,
        2,
        3,
        5,
        7,
        31,
        63,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0x7fff_ffff,
        0x8000_0000,
        u64::MAX,
        1 << 63,
        i64::MAX as u64,
    ];
    let list: Vec<Literal> = match d.class() {
        Class::Bool => vec![Literal::from_bits(d, 0), Literal::from_bits(d, 1)],
        Class::Signed | Class::Unsigned => bits.iter().map(|b| Literal::from_bits(d, *b)).collect(),
        Class::Float | Class::Storage => floats.iter().map(|v| Literal::from_f64(d, *v)).collect(),
    };
    let pairs = list.iter().flat_map(|a| list.iter().map(|b| (*a, *b)));
    pairs.unzip()
}

fn run(text: &str, d: DType, result: DType, tolerance: f64) {
    let f = loops::parse(&renumber(text)).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let (x, y) = edges(d);
    let n = x.len() as u64;
    let params = vec![
        TensorArg::new(d, &[n], x).into(),
        TensorArg::new(d, &[n], y).into(),
        TensorArg::zeros(result, &[n]).into(),
    ];
    let args = Args::bind(&f.params, &f.symbols, params, &[]).unwrap();
    check_args(&f, args, tolerance, false, text);
}

/// One rounding of the element type, for functions whose last bit may differ.
fn slack(d: DType) -> f64 {
    match d {
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        DType::F64 => 1e-14,
        _ => 3e-7,
    }
}

#[test]
fn unary_operations() {
    for op in UnaryOp::ALL {
        for d in DType::ALL.iter().filter(|d| op.rule().accepts(**d)) {
            let result = op.rule().result(*d);
            let exact = !matches!(op.rule(), Rule::Float)
                || matches!(op, UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc | UnaryOp::Sqrt);
            run(&kernel(op.name(), *d, result, "%2"), *d, result, if exact { 0.0 } else { slack(*d) });
        }
    }
}

#[test]
fn binary_operations() {
    for op in BinaryOp::ALL {
        for d in DType::ALL.iter().filter(|d| op.rule().accepts(**d)) {
            let result = op.rule().result(*d);
            let tolerance = if *op == BinaryOp::Pow { slack(*d) } else { 0.0 };
            run(&kernel(op.name(), *d, result, "%2, %3"), *d, result, tolerance);
        }
    }
}

#[test]
fn conversions() {
    for from in DType::ALL {
        for to in DType::ALL {
            run(&kernel(&format!("cast {to}"), *from, *to, "%2"), *from, *to, 0.0);
            if from.size() == to.size() && (*to != DType::Bool) {
                run(&kernel(&format!("bitcast {to}"), *from, *to, "%2"), *from, *to, 0.0);
            }
        }
    }
}

#[test]
fn fma_and_constant_shifts() {
    for d in [DType::F32, DType::F64] {
        run(&kernel("fma", d, d, "%2, %3, %2"), d, d, 0.0);
    }
    for d in [DType::I8, DType::U16, DType::I32, DType::U32, DType::I64, DType::U64] {
        for op in ["shl", "shr"] {
            let text = kernel(op, d, d, "%2, %5")
                .replace("  header {\n", &format!("  header {{\n    %5: {d} = const {d} 3\n"));
            run(&text, d, d, 0.0);
        }
    }
}
