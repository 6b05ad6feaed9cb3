//! Kernels with known answers, each at several block sizes.

use super::super::samples::{AT, Sketch, matmul, softmax, tile};
use super::super::{AtomicOp, Index, ParamId, ReduceOp, Type, verify};
use super::*;
use crate::args::{Arg, TensorArg};
use crate::elementwise::{BinaryOp, UnaryOp};

fn floats(dims: &[u64], v: impl IntoIterator<Item = f64>) -> Arg {
    TensorArg::from_f64s(DType::F32, dims, v).into()
}
fn ints(dims: &[u64], v: impl IntoIterator<Item = i64>) -> Arg {
    TensorArg::from_i64s(DType::I64, dims, v).into()
}
fn zeros(dtype: DType, dims: &[u64]) -> Arg {
    TensorArg::zeros(dtype, dims).into()
}
/// Numbers that look random and are exact in f32.
fn noise(n: u64) -> impl Iterator<Item = f64> {
    (0..n).map(|i| f64::from((i as u32).wrapping_mul(2_654_435_761) >> 20) / 1024.0 - 2.0)
}

/// The last argument after a launch, and what was printed.
fn launch(f: &Function, args: &[Arg], block: u64) -> Result<(TensorArg, Vec<String>), String> {
    let f = verify(f.clone()).unwrap_or_else(|e| panic!("{}", crate::diag::render(&e)));
    let (params, symbols) = (&f.function().params, &f.function().symbols);
    let mut args = Args::bind(params, symbols, args.to_vec(), &[])?;
    let mut printed = Vec::new();
    run_with(&f, &mut args, &|_| block, &mut |line| printed.push(line))?;
    Ok((args.tensor(args.params.len() - 1).unwrap().clone(), printed))
}

/// The same result at every block size.
fn at_every_block(f: &Function, args: &[Arg], want: &[f64]) {
    for block in [1, 2, 3, 4, 7, 64] {
        let (out, _) = launch(f, args, block).unwrap();
        let want = TensorArg::from_f64s(out.dtype(), out.dims(), want.iter().copied());
        out.close_to(&want, 1e-6, 1e-6).unwrap_or_else(|e| panic!("block {block}: {e}"));
    }
}

#[test]
fn softmax_at_every_block_size() {
    let (m, n) = (5, 7);
    let x: Vec<f64> = noise(m * n).collect();
    let mut want = Vec::new();
    for row in x.chunks(n as usize) {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        want.extend(row.iter().map(|v| v.exp() / sum));
    }
    let x = TensorArg::from_f64s(DType::F32, &[m, n], x);
    at_every_block(&softmax(), &[x.clone().into(), zeros(DType::F32, &[m, n])], &want);
    // The layout of the operands does not matter.
    let out = TensorArg::zeros(DType::F32, &[m, n]).relaid(&[0, 1], 3);
    at_every_block(&softmax(), &[x.relaid(&[1, 0], 1).into(), out.into()], &want);
}

#[test]
fn matmul_at_every_block_size() {
    let (m, k, n) = (3usize, 5usize, 4usize);
    let (a, b): (Vec<f64>, Vec<f64>) = (noise(15).collect(), noise(20).map(|v| v * 2.0).collect());
    let mut want = vec![0.0; m * n];
    for (at, w) in want.iter_mut().enumerate() {
        *w = (0..k).map(|p| a[at / n * k + p] * b[p * n + at % n]).sum();
    }
    at_every_block(&matmul(), &[floats(&[3, 5], a), floats(&[5, 4], b), zeros(DType::F32, &[3, 4])], &want);
}

#[test]
fn empty_tensors() {
    let (out, _) = launch(&softmax(), &[floats(&[0, 3], []), zeros(DType::F32, &[0, 3])], 4).unwrap();
    assert!(out.is_empty());
    let (out, _) = launch(&softmax(), &[floats(&[3, 0], []), zeros(DType::F32, &[3, 0])], 4).unwrap();
    assert!(out.is_empty());
    // Nothing to sum over: zeros.
    at_every_block(&matmul(), &[floats(&[2, 0], []), floats(&[0, 2], []), floats(&[2, 2], [9.0; 4])], &[0.0; 4]);
}

/// `out = body(x)` on whole tiles, with one program instance.
fn whole(x: &[&str], dtype: DType, out: &[&str], body: impl FnOnce(&mut Sketch, ValueId) -> ValueId) -> Function {
    let mut s = Sketch::new();
    let p = s.tensor("x", dtype, x, false);
    // The element type of the result is known only after the body, so it is built twice the simple way:
    // results are converted to f64.
    let o = s.tensor("out", DType::F64, out, true);
    s.body();
    let v = s.load(p, &vec![Index::Full; x.len()]);
    let y = body(&mut s, v);
    let y = s.one(Op::Cast(DType::F64), &[y]);
    s.store(o, &vec![Index::Full; out.len()], y);
    s.finish()
}

/// Runs `whole` on 64-bit integers.
fn on_ints(
    x: (&[u64], &[i64]),
    out: &[u64],
    body: impl FnOnce(&mut Sketch, ValueId) -> ValueId,
) -> Result<Vec<i64>, String> {
    let name = |d: &[u64]| d.iter().map(|d| d.to_string()).collect::<Vec<_>>();
    let (a, b) = (name(x.0), name(out));
    let (a, b): (Vec<&str>, Vec<&str>) =
        (a.iter().map(String::as_str).collect(), b.iter().map(String::as_str).collect());
    let f = whole(&a, DType::I64, &b, body);
    let args = [ints(x.0, x.1.iter().copied()), zeros(DType::F64, out)];
    launch(&f, &args, 2).map(|(t, _)| t.to_i64s())
}

#[test]
fn scans_and_reductions() {
    let x: (&[u64], &[i64]) = (&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let scan = |op, axis, reverse| on_ints(x, &[2, 3], |s, v| s.one(Op::Scan { op, axis, reverse }, &[v])).unwrap();
    assert_eq!(scan(ReduceOp::Sum, 1, false), [1, 3, 6, 4, 9, 15]);
    assert_eq!(scan(ReduceOp::Sum, 1, true), [6, 5, 3, 15, 11, 6]);
    assert_eq!(scan(ReduceOp::Prod, 0, false), [1, 2, 3, 4, 10, 18]);
    assert_eq!(scan(ReduceOp::Min, 0, true), [1, 2, 3, 4, 5, 6]);
    let reduce = |op, axis, out: &[u64]| on_ints(x, out, |s, v| s.reduce(op, axis, v)).unwrap();
    assert_eq!(reduce(ReduceOp::Max, 0, &[1, 3]), [4, 5, 6]);
    assert_eq!(reduce(ReduceOp::ArgMax, 1, &[2, 1]), [2, 2]);
    assert_eq!(reduce(ReduceOp::ArgMin, 1, &[2, 1]), [0, 0]);
    assert_eq!(reduce(ReduceOp::Prod, 1, &[2, 1]), [6, 120]);
}

#[test]
fn nothing_reduces_to_the_identity() {
    let of_nothing = |op| {
        let f = whole(&["0"], DType::F32, &["1"], |s, v| s.reduce(op, 0, v));
        launch(&f, &[floats(&[0], []), zeros(DType::F64, &[1])], 1).unwrap().0.to_f64s()[0]
    };
    assert_eq!(of_nothing(ReduceOp::Sum), 0.0);
    assert_eq!(of_nothing(ReduceOp::Prod), 1.0);
    assert_eq!(of_nothing(ReduceOp::Max), f64::NEG_INFINITY);
    assert_eq!(of_nothing(ReduceOp::ArgMax), 0.0);
}

#[test]
fn nan_wins_extremes() {
    let x = floats(&[4], [1.0, f64::NAN, 9.0, f64::NAN]);
    let of = |op| {
        let f = whole(&["4"], DType::F32, &["1"], |s, v| s.reduce(op, 0, v));
        launch(&f, &[x.clone(), zeros(DType::F64, &[1])], 1).unwrap().0.to_f64s()[0]
    };
    assert!(of(ReduceOp::Max).is_nan() && of(ReduceOp::Min).is_nan());
    assert_eq!((of(ReduceOp::ArgMax), of(ReduceOp::ArgMin)), (1.0, 1.0));
}

#[test]
fn shapes() {
    let x: (&[u64], &[i64]) = (&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let c = Dim::Const;
    let shape = |d: &[u64]| d.iter().map(|d| c(*d)).collect();
    assert_eq!(on_ints(x, &[3, 2], |s, v| s.one(Op::Permute(vec![1, 0]), &[v])).unwrap(), [1, 4, 2, 5, 3, 6]);
    assert_eq!(on_ints(x, &[6], |s, v| s.one(Op::Reshape(shape(&[6])), &[v])).unwrap(), [1, 2, 3, 4, 5, 6]);
    let slice = |s: &mut Sketch, v| s.one(Op::Slice { axis: 1, start: c(1), len: c(2) }, &[v]);
    assert_eq!(on_ints(x, &[2, 2], slice).unwrap(), [2, 3, 5, 6]);
    let joined = |s: &mut Sketch, v| {
        let part = slice(s, v);
        s.one(Op::Concat { axis: 1 }, &[part, v])
    };
    assert_eq!(on_ints(x, &[2, 5], joined).unwrap(), [2, 3, 1, 2, 3, 5, 6, 4, 5, 6]);
    let picked = |s: &mut Sketch, v| {
        let two = s.int(-2);
        let i = s.bin(BinaryOp::Add, v, two);
        s.one(Op::Gather { axis: 1 }, &[v, i])
    };
    // Indices -1, 0, 1 and 2, 3, 4: what is outside is zero.
    assert_eq!(on_ints(x, &[2, 3], picked).unwrap(), [0, 1, 2, 6, 0, 0]);
    let spread = |s: &mut Sketch, v| {
        let row = s.reduce(ReduceOp::Sum, 0, v);
        s.one(Op::Broadcast(shape(&[4, 3])), &[row])
    };
    assert_eq!(on_ints(x, &[4, 3], spread).unwrap(), [5, 7, 9, 5, 7, 9, 5, 7, 9, 5, 7, 9]);
}

/// Mean and sum of squared deviations of each row, with a combine function on (count, mean, m2).
#[test]
fn welford() {
    let mut s = Sketch::new();
    let x = s.tensor("x", DType::F32, &["m", "n"], false);
    let out = s.tensor("out", DType::F32, &["m", "2"], true);
    let tm = s.grid("tm", "m");
    s.body();
    let mean = s.load(x, &[tile(tm), Index::Full]);
    let shape = s.b.ty(mean).shape.clone();
    let (count, m2) = (s.full(1.0, &shape), s.full(0.0, &shape));
    let p = s.b.open_region(&vec![Type::scalar(DType::F32); 6], AT);
    let n = s.bin(BinaryOp::Add, p[0], p[3]);
    let delta = s.bin(BinaryOp::Sub, p[4], p[1]);
    let weight = s.bin(BinaryOp::Div, p[3], n);
    let step = s.bin(BinaryOp::Mul, delta, weight);
    let new_mean = s.bin(BinaryOp::Add, p[1], step);
    let square = s.bin(BinaryOp::Mul, delta, delta);
    let both = s.bin(BinaryOp::Mul, p[0], weight);
    let extra = s.bin(BinaryOp::Mul, square, both);
    let sum = s.bin(BinaryOp::Add, p[2], p[5]);
    let new_m2 = s.bin(BinaryOp::Add, sum, extra);
    let region = s.b.close_region(&[n, new_mean, new_m2]);
    let r = s.b.push_with_regions(Op::ReduceWith { axis: 1 }, &[count, mean, m2], vec![region], AT);
    let pair = s.one(Op::Concat { axis: 1 }, &[r[1], r[2]]);
    s.store(out, &[tile(tm), Index::Full], pair);
    let rows = [[1.0, 2.0, 3.0, 6.0], [4.0, 4.0, 4.0, 4.0], [-1.0, 1.0, -1.0, 1.0]];
    let want = [3.0, 14.0, 4.0, 0.0, 0.0, 4.0];
    at_every_block(&s.finish(), &[floats(&[3, 4], rows.concat()), zeros(DType::F32, &[3, 2])], &want);
}

#[test]
fn scan_with_keeps_the_running_value_on_the_left() {
    // `left * 10 + right` is not associative, but shows the order.
    let digits = |reverse| {
        on_ints((&[4], &[1, 2, 3, 4]), &[4], move |s, v| {
            let p = s.b.open_region(&vec![Type::scalar(DType::I64); 2], AT);
            let ten = s.int(10);
            let shifted = s.bin(BinaryOp::Mul, p[0], ten);
            let next = s.bin(BinaryOp::Add, shifted, p[1]);
            let region = s.b.close_region(&[next]);
            s.b.push_with_regions(Op::ScanWith { axis: 0, reverse }, &[v], vec![region], AT)[0]
        })
        .unwrap()
    };
    assert_eq!(digits(false), [1, 12, 123, 1234]);
    assert_eq!(digits(true), [4321, 432, 43, 4]);
}

#[test]
fn atomics() {
    // A histogram: every instance adds its block's elements to shared bins; old values are unused.
    let mut s = Sketch::new();
    let x = s.tensor("x", DType::I64, &["n"], false);
    let bins = s.tensor("bins", DType::I64, &["b"], true);
    let t = s.grid("t", "n");
    s.body();
    let v = s.load(x, &[tile(t)]);
    let one = s.int(1);
    s.one(Op::Atomic { op: AtomicOp::Add, tensor: bins, index: vec![Index::Gather(v)] }, &[one]);
    let args = [ints(&[7], [0, 1, 1, 2, 5, -1, 1]), ints(&[3], [0; 3])];
    at_every_block(&s.finish(), &args, &[1.0, 3.0, 1.0]);
}

#[test]
fn atomics_give_the_old_value_and_zero_where_masked() {
    let mut s = Sketch::new();
    let cell = s.tensor("cell", DType::I64, &["3"], true);
    let out = s.tensor("out", DType::I64, &["3"], true);
    s.body();
    let i = s.one(Op::Iota(Dim::Const(3)), &[]);
    let (one, seven) = (s.int(1), s.int(7));
    let mask = s.bin(BinaryOp::Ge, i, one);
    let swap = Op::Atomic { op: AtomicOp::CompareSwap, tensor: cell, index: vec![Index::Full] };
    let old = s.one(swap, &[seven, one, mask]);
    let max = Op::Atomic { op: AtomicOp::Max, tensor: cell, index: vec![Index::Full] };
    let now = s.one(max, &[one]);
    let ten = s.int(10);
    let scaled = s.bin(BinaryOp::Mul, old, ten);
    let y = s.bin(BinaryOp::Add, scaled, now);
    s.store(out, &[Index::Full], y);
    // Cells 4, 1, 2: the first is masked, the second swaps to 7, the third does not.
    let args = [ints(&[3], [4, 1, 2]), ints(&[3], [0; 3])];
    assert_eq!(launch(&s.finish(), &args, 1).unwrap().0.to_i64s(), [4, 17, 22]);
}

#[test]
fn what_is_outside_reads_zero_and_is_not_stored() {
    let mut s = Sketch::new();
    let x = s.tensor("x", DType::I64, &["n"], false);
    let out = s.tensor("out", DType::I64, &["n"], true);
    let t = s.grid("t", "n");
    s.body();
    let (one, minus) = (s.int(1), s.int(-1));
    let next = s.load(x, &[Index::Tile(t, Some(one))]);
    s.store(out, &[Index::Tile(t, Some(minus))], next);
    let args = [ints(&[4], [1, 2, 3, 4]), ints(&[4], [9; 4])];
    at_every_block(&s.finish(), &args, &[3.0, 4.0, 0.0, 9.0]);
}

#[test]
fn masks_and_gathered_indices() {
    let mut s = Sketch::new();
    let x = s.tensor("x", DType::I64, &["n", "2"], false);
    let rows = s.tensor("rows", DType::I64, &["k"], false);
    let out = s.tensor("out", DType::I64, &["k", "2"], true);
    let t = s.grid("t", "k");
    s.body();
    let i = s.load(rows, &[tile(t)]);
    let two = s.int(2);
    let small = s.bin(BinaryOp::Lt, i, two);
    let small = s.one(Op::Reshape([Dim::Tile(t), Dim::Const(1)].into_iter().collect()), &[small]);
    let other = s.int(-5);
    let v = s.one(Op::Load { tensor: x, index: vec![Index::Gather(i), Index::Full] }, &[small, other]);
    s.store(out, &[tile(t), Index::Full], v);
    let args = [ints(&[3, 2], 1..=6), ints(&[4], [1, -1, 2, 0]), ints(&[4, 2], [0; 8])];
    at_every_block(&s.finish(), &args, &[3.0, 4.0, 0.0, 0.0, -5.0, -5.0, 1.0, 2.0]);
}

#[test]
fn branches_and_loops() {
    // Collatz steps of each element: a unit grid, a `while`, and an `if` inside.
    let mut s = Sketch::new();
    let x = s.tensor("x", DType::I64, &["n"], false);
    let out = s.tensor("out", DType::I64, &["n"], true);
    let t = s.unit_grid("t", "n");
    s.body();
    let at = s.one(Op::TileBegin(t), &[]);
    let start = s.load(x, &[Index::Scalar(at)]);
    let (zero, one, two, three) = (s.int(0), s.int(1), s.int(2), s.int(3));
    let carried = vec![Type::scalar(DType::I64); 2];
    let p = s.b.open_region(&carried, AT);
    let more = s.bin(BinaryOp::Gt, p[0], one);
    let cond = s.b.close_region(&[more]);
    let p = s.b.open_region(&carried, AT);
    let odd = s.bin(BinaryOp::Rem, p[0], two);
    let odd = s.bin(BinaryOp::Eq, odd, one);
    s.b.open_region(&[], AT);
    let tripled = s.bin(BinaryOp::Mul, p[0], three);
    let up = s.bin(BinaryOp::Add, tripled, one);
    let then = s.b.close_region(&[up]);
    s.b.open_region(&[], AT);
    let down = s.bin(BinaryOp::Div, p[0], two);
    let other = s.b.close_region(&[down]);
    let next = s.b.push_with_regions(Op::If, &[odd], vec![then, other], AT)[0];
    let steps = s.bin(BinaryOp::Add, p[1], one);
    let body = s.b.close_region(&[next, steps]);
    let end = s.b.push_with_regions(Op::While, &[start, zero], vec![cond, body], AT);
    s.store(out, &[Index::Scalar(at)], end[1]);
    at_every_block(&s.finish(), &[ints(&[4], [1, 6, 7, 27]), ints(&[4], [0; 4])], &[0.0, 8.0, 16.0, 111.0]);
}

#[test]
fn endless_loops_end() {
    let mut s = Sketch::new();
    s.tensor("out", DType::I64, &["n"], true);
    s.body();
    s.b.open_region(&[], AT);
    let t = s.one(Op::Const(Literal::from_bits(DType::Bool, 1)), &[]);
    let cond = s.b.close_region(&[t]);
    s.b.open_region(&[], AT);
    let body = s.b.close_region(&[]);
    s.b.push_with_regions(Op::While, &[], vec![cond, body], AT);
    let said = launch(&s.finish(), &[ints(&[1], [0])], 1).unwrap_err();
    assert_eq!(said, "`while` loops ran for more than 4194304 turns");
}

#[test]
fn sixteen_bit_sums_round_once() {
    // 2048 + 1 is not an f16; adding one by one would stay at 2048.
    let f = whole(&["n"], DType::F16, &["1"], |s, v| s.reduce(ReduceOp::Sum, 0, v));
    let x = TensorArg::from_f64s(DType::F16, &[4097], std::iter::once(2048.0).chain([1.0; 4096]));
    assert_eq!(launch(&f, &[x.into(), zeros(DType::F64, &[1])], 1).unwrap().0.to_f64s(), [6144.0]);
}

#[test]
fn random_numbers_do_not_depend_on_blocks() {
    let mut s = Sketch::new();
    let out = s.tensor("out", DType::U32, &["n"], true);
    let t = s.grid("t", "n");
    s.body();
    let (i, begin, seed) = (s.one(Op::Iota(Dim::Tile(t)), &[]), s.one(Op::TileBegin(t), &[]), s.int(42));
    let counter = s.bin(BinaryOp::Add, i, begin);
    let v = s.one(Op::Random { word: 1 }, &[seed, counter]);
    s.store(out, &[tile(t)], v);
    let want: Vec<f64> = (0..9).map(|c| f64::from(philox::word(42, c, 1))).collect();
    at_every_block(&s.finish(), &[zeros(DType::U32, &[9])], &want);
}

#[test]
fn prints() {
    let mut s = Sketch::new();
    let out = s.tensor("out", DType::I64, &["n"], true);
    let t = s.grid("t", "n");
    s.body();
    let i = s.one(Op::Iota(Dim::Tile(t)), &[]);
    s.b.push(Op::Print { label: "i".into() }, &[i], AT);
    let f = s.one(Op::Cast(DType::F32), &[i]);
    let r = s.reduce(ReduceOp::Sum, 0, f);
    let r = s.one(Op::Unary(UnaryOp::Sqrt), &[r]);
    s.b.push(Op::Print { label: "r".into() }, &[r], AT);
    s.store(out, &[tile(t)], i);
    let (_, printed) = launch(&s.finish(), &[ints(&[3], [0; 3])], 2).unwrap();
    assert_eq!(printed, ["i (t 0): i64 [2] 0 1", "r (t 0): f32 [1] 1.0", "i (t 1): i64 [1] 0", "r (t 1): f32 [1] 0.0"]);
}

#[test]
fn run_time_mistakes_are_errors() {
    let less = |start: u64| {
        let mut s = Sketch::new();
        let x = s.tensor("x", DType::I64, &["n"], false);
        let out = s.tensor("out", DType::I64, &["n"], true);
        s.body();
        let v = s.load(x, &[Index::Full]);
        let n = s.dim("n");
        let len = s.b.dim_expr(BinaryOp::Sub, n, Dim::Const(3));
        let part = s.one(Op::Slice { axis: 0, start: Dim::Const(start), len }, &[v]);
        let sum = s.reduce(ReduceOp::Sum, 0, part);
        s.store(out, &[Index::Full], sum);
        s.finish()
    };
    let args = |n: u64| [ints(&[n], 0..n as i64), zeros(DType::I64, &[n])];
    assert_eq!(launch(&less(3), &args(5), 1).unwrap().0.to_i64s(), [7; 5]);
    assert_eq!(launch(&less(0), &args(2), 1).unwrap_err(), "the size `n - 3` is -1, it must not be negative");
    assert_eq!(launch(&less(4), &args(5), 1).unwrap_err(), "the slice 4..6 leaves axis 0 with 5 elements");
    let said = launch(&softmax(), &[floats(&[2, 2], [0.0; 4]), zeros(DType::F32, &[2, 3])], 1).unwrap_err();
    assert_eq!(said, "axis 1 of `out` has 3 elements, its size is n = 2");
    let said = launch(&softmax(), &[floats(&[2, 2], [0.0; 4]), zeros(DType::F32, &[2, 2])], 0).unwrap_err();
    assert_eq!(said, "the block size of `tm` must be positive");
    let huge = whole(&["n"], DType::I64, &["1"], |s, v| {
        let shape = [Dim::Const(1 << 40), Dim::Const(1)];
        let n = s.reduce(ReduceOp::Sum, 0, v);
        let wide = s.one(Op::Broadcast(shape.into_iter().collect()), &[n]);
        let all = s.reduce(ReduceOp::Sum, 0, wide);
        s.one(Op::Reshape([Dim::Const(1)].into_iter().collect()), &[all])
    });
    let said = launch(&huge, &[ints(&[2], [0; 2]), zeros(DType::F64, &[1])], 1).unwrap_err();
    assert_eq!(said, "a tile of shape [1099511627776, 1] is too large to interpret");
}

#[test]
fn dots_of_integers_and_batches() {
    let mut s = Sketch::new();
    let x = s.tensor("x", DType::I8, &["b", "m", "k"], false);
    let out = s.tensor("out", DType::I32, &["b", "m", "m"], true);
    let t = s.grid("t", "b");
    s.body();
    let v = s.load(x, &[tile(t), Index::Full, Index::Full]);
    let w = s.one(Op::Permute(vec![0, 2, 1]), &[v]);
    let d = s.one(Op::Dot { acc: DType::I32 }, &[v, w]);
    s.store(out, &[tile(t), Index::Full, Index::Full], d);
    let x = TensorArg::from_i64s(DType::I8, &[2, 2, 2], [127, 127, -128, 1, 1, 2, 3, 4]);
    let want = [32258.0, -16129.0, -16129.0, 16385.0, 5.0, 11.0, 11.0, 25.0];
    at_every_block(&s.finish(), &[x.into(), zeros(DType::I32, &[2, 2, 2])], &want);
}

#[test]
fn parameters_and_tile_facts() {
    let mut s = Sketch::new();
    let by: ParamId = s.b.scalar("by", DType::I64, AT);
    let out = s.tensor("out", DType::I64, &["n"], true);
    let t = s.grid("t", "n");
    s.body();
    let values = [Op::TileBegin(t), Op::TileEnd(t), Op::TileOrdinal(t), Op::TileCount(t), Op::Extent(Dim::Tile(t))];
    let mut sum = s.one(Op::Scalar(by), &[]);
    for op in values {
        let (v, ten) = (s.one(op, &[]), s.int(10));
        let shifted = s.bin(BinaryOp::Mul, sum, ten);
        sum = s.bin(BinaryOp::Add, shifted, v);
    }
    s.store(out, &[tile(t)], sum);
    let f = s.finish();
    let (out, _) = launch(&f, &[Literal::from_i64(DType::I64, 8).into(), ints(&[3], [0; 3])], 2).unwrap();
    assert_eq!(out.to_i64s(), [802_022, 802_022, 823_121]);
}
