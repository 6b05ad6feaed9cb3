//! Each operation: what it gives, and what it says when it refuses.

use super::super::samples::{AT, Sketch, tile};
use super::super::{Builder, Layout, TileId};
use super::*;
use crate::elementwise::{BinaryOp, UnaryOp};

/// A builder with tensors of several types and tile variables `tm` (of `m`) and `tn` (of `n`).
struct Bench {
    s: Sketch,
    tm: TileId,
    tn: TileId,
}

impl Bench {
    fn new() -> Bench {
        let mut s = Sketch::new();
        let (tm, tn) = (s.grid("tm", "m"), s.grid("tn", "n"));
        s.body();
        Bench { s, tm, tn }
    }
    /// The dim of that name: `tm`, `tn`, a size, or a number.
    fn dim(&mut self, name: &str) -> Dim {
        match name {
            "tm" => Dim::Tile(self.tm),
            "tn" => Dim::Tile(self.tn),
            _ => self.s.dim(name),
        }
    }
    /// A tile named `name`, such as `("row", F32, "tm n")`.
    fn value(&mut self, name: &str, dtype: DType, shape: &str) -> ValueId {
        let shape: Shape = shape.split_whitespace().map(|d| self.dim(d)).collect();
        let zero = self.s.one(Op::Const(Literal::from_bits(dtype, 0)), &[]);
        self.s.named(name, Op::Broadcast(shape), &[zero])
    }
    fn push(&mut self, op: Op, args: &[ValueId]) -> Vec<ValueId> {
        self.s.b.push(op, args, AT).to_vec()
    }
}

/// `op` on tiles written as `name: type [dims]`, refused with exactly this text (helps included).
#[track_caller]
fn refused(op: impl FnOnce(&mut Bench) -> Op, args: &[(&str, DType, &str)], want: &str) {
    let mut b = Bench::new();
    let values: Vec<ValueId> = args.iter().map(|(n, d, s)| b.value(n, *d, s)).collect();
    let op = op(&mut b);
    b.push(op, &values);
    let said = b.s.b.finish().unwrap_err();
    let said: Vec<String> = said.iter().map(|d| d.to_string()).collect();
    assert_eq!(said, [format!("error: {want}")]);
}

/// The type of the result of `op`, as `f32 [tm, n]`.
#[track_caller]
fn gives(op: impl FnOnce(&mut Bench) -> Op, args: &[(&str, DType, &str)], want: &str) {
    let mut b = Bench::new();
    let values: Vec<ValueId> = args.iter().map(|(n, d, s)| b.value(n, *d, s)).collect();
    let op = op(&mut b);
    let v = b.push(op, &values)[0];
    let ty = b.s.b.ty(v).clone();
    let said = format!("{} {}", ty.dtype, b.s.b.function().shape_name(&ty.shape));
    assert_eq!(said, want);
    b.s.finish();
}

use DType::{BF16, Bool, F8E4M3, F8E5M2, F16, F32, F64, I8, I32, I64, U32, U64};

fn bin(op: BinaryOp) -> impl FnOnce(&mut Bench) -> Op {
    move |_| Op::Binary(op)
}

#[test]
fn broadcasting() {
    let add = || bin(BinaryOp::Add);
    gives(add(), &[("a", F32, "tm n"), ("b", F32, "n")], "f32 [tm, n]");
    gives(add(), &[("a", F32, "tm 1"), ("b", F32, "1 n")], "f32 [tm, n]");
    gives(add(), &[("a", F32, "tm n"), ("b", F32, "")], "f32 [tm, n]");
    gives(bin(BinaryOp::Lt), &[("a", F32, "tm"), ("b", F32, "")], "bool [tm]");
    refused(
        add(),
        &[("row", F32, "tm n"), ("top", F32, "tm")],
        "shapes do not match in `add`: `row` is [tm, n], `top` is [tm]; on axis 1 n meets tm
  help: write `top.unsqueeze(1)`",
    );
    refused(
        add(),
        &[("top", F32, "tm"), ("x", F32, "tm n k")],
        "shapes do not match in `add`: `top` is [tm], `x` is [tm, n, k]; on axis 2 tm meets k
  help: write `top.unsqueeze(1).unsqueeze(2)`",
    );
    refused(
        add(),
        &[("x", F32, "tm n"), ("y", F32, "n tm")],
        "shapes do not match in `add`: `x` is [tm, n], `y` is [n, tm]; on axis 0 tm meets n
  help: transpose one of them: write `y.t()`",
    );
    refused(
        add(),
        &[("x", F32, "tm"), ("y", F32, "tn")],
        "shapes do not match in `add`: `x` is [tm], `y` is [tn]; on axis 0 tm meets tn
  help: `tm` and `tn` are different tile variables; index both with the same one",
    );
    refused(
        add(),
        &[("x", F32, "n"), ("y", F32, "tn")],
        "shapes do not match in `add`: `x` is [n], `y` is [tn]; on axis 0 n meets tn
  help: index with `tn` where the whole axis `n` was taken",
    );
    refused(
        add(),
        &[("x", F32, "m"), ("y", F32, "n")],
        "shapes do not match in `add`: `x` is [m], `y` is [n]; on axis 0 m meets n
  help: the sizes `m` and `n` differ; check them before the loop with `ensure!(m == n, …)`",
    );
}

#[test]
fn element_types() {
    refused(
        bin(BinaryOp::Mul),
        &[("x", F16, "tm"), ("y", F32, "tm")],
        "element types do not match in `mul`: `x` is f16, `y` is f32
  help: convert one: write `x.cast::<f32>()`",
    );
    refused(
        bin(BinaryOp::Add),
        &[("x", F8E4M3, "tm"), ("y", F8E4M3, "tm")],
        "`add` takes numbers, `x` is f8e4m3
  help: f8e4m3 only stores numbers; write `x.cast::<f32>()`",
    );
    refused(
        bin(BinaryOp::Add),
        &[("x", Bool, "tm"), ("y", Bool, "tm")],
        "`add` takes numbers, `x` is bool
  help: combine conditions with `and`, `or`, `xor`; to count, write `x.cast::<i32>()`",
    );
    refused(
        |_| Op::Unary(UnaryOp::Exp),
        &[("x", I32, "tm")],
        "`exp` takes floats (f16, bf16, f32, f64), `x` is i32
  help: convert first: write `x.cast::<f32>()`",
    );
    refused(bin(BinaryOp::Shl), &[("x", F32, ""), ("y", F32, "")], "`shl` takes integers, `x` is f32");
    gives(|_| Op::Unary(UnaryOp::IsNan), &[("x", F16, "tm")], "bool [tm]");
    gives(|_| Op::Cast(F8E5M2), &[("x", F32, "tm n")], "f8e5m2 [tm, n]");
    gives(|_| Op::Bitcast(U32), &[("x", F32, "tm")], "u32 [tm]");
    refused(
        |_| Op::Bitcast(U64),
        &[("x", F32, "tm")],
        "`bitcast` keeps the bits: `x` is f32 with 32 bits, u64 has 64
  help: to convert the value, write `.cast::<u64>()`",
    );
    refused(
        |_| Op::Bitcast(Bool),
        &[("x", I8, "tm")],
        "the bits of a bool are 0 or 1, so nothing is bitcast to it\n  help: write `x.ne(0)`",
    );
}

#[test]
fn select_and_random() {
    gives(|_| Op::Select, &[("c", Bool, "tm 1"), ("a", F32, "n"), ("b", F32, "")], "f32 [tm, n]");
    refused(
        |_| Op::Select,
        &[("c", F32, "tm"), ("a", F32, "tm"), ("b", F32, "")],
        "`c` of `select` is f32, it must be bool\n  help: compare to get a condition, as in `x.gt(0.0)`",
    );
    refused(
        |_| Op::Select,
        &[("c", Bool, "tm"), ("a", F32, "tm n"), ("b", F32, "")],
        "shapes do not match in `select`: `a` is [tm, n], `c` is [tm]; on axis 1 n meets tm
  help: write `c.unsqueeze(1)`",
    );
    gives(|_| Op::Random { word: 3 }, &[("seed", U64, ""), ("i", I64, "tm n")], "u32 [tm, n]");
    refused(
        |_| Op::Random { word: 0 },
        &[("seed", I32, ""), ("i", I64, "tm")],
        "`random` takes a seed that is one u64 or i64; `seed` is a scalar of i32",
    );
    refused(
        |_| Op::Random { word: 4 },
        &[("seed", U64, ""), ("i", I64, "tm")],
        "a counter gives four words, 0 to 3; 4 is asked for",
    );
}

#[test]
fn dots() {
    let dot = |acc| move |_: &mut Bench| Op::Dot { acc };
    gives(dot(F32), &[("a", F16, "tm k"), ("b", F16, "k tn")], "f32 [tm, tn]");
    gives(dot(F32), &[("a", F8E4M3, "tm k"), ("b", F8E5M2, "k tn")], "f32 [tm, tn]");
    gives(dot(I32), &[("a", I8, "4 tm k"), ("b", I8, "4 k 8")], "i32 [4, tm, 8]");
    refused(
        dot(F32),
        &[("q", F32, "tm d"), ("k", F32, "tn d")],
        "inner sizes differ in `dot`: `q` is [tm, d], `k` is [tn, d]; d meets tn
  help: transpose the second: `k.t()`",
    );
    refused(
        dot(F32),
        &[("a", F32, "k tm"), ("b", F32, "k tn")],
        "inner sizes differ in `dot`: `a` is [k, tm], `b` is [k, tn]; tm meets k
  help: transpose the first: `a.t()`",
    );
    refused(
        dot(F32),
        &[("a", F32, "tm k"), ("x", F32, "k")],
        "`dot` multiplies matrices, `x` is [k]\n  help: write `x.unsqueeze(1)`",
    );
    refused(
        dot(F32),
        &[("a", F32, "2 tm k"), ("b", F32, "3 k n")],
        "batch sizes differ in `dot` on axis 0: `a` is [2, tm, k], `b` is [3, k, n]",
    );
    refused(
        dot(F32),
        &[("a", F32, "2 tm k"), ("b", F32, "k n")],
        "both operands of `dot` have equally many axes: `a` is [2, tm, k], `b` is [k, n]",
    );
    refused(
        dot(F16),
        &[("a", F16, "tm k"), ("b", F16, "k n")],
        "`dot` of f16 cannot accumulate in f16\n  help: accumulate floats in f32 or f64",
    );
    refused(
        dot(F32),
        &[("a", F16, "tm k"), ("b", BF16, "k n")],
        "element types do not match in `dot`: `a` is f16, `b` is bf16\n  help: convert one: write `b.cast::<f16>()`",
    );
}

#[test]
fn reductions_and_scans() {
    let reduce = |op, axis| move |_: &mut Bench| Op::Reduce { op, axis };
    gives(reduce(ReduceOp::Sum, 1), &[("x", F16, "tm n")], "f16 [tm, 1]");
    gives(reduce(ReduceOp::ArgMax, 0), &[("x", F16, "tm n")], "i64 [1, n]");
    gives(reduce(ReduceOp::Any, 0), &[("x", Bool, "tm")], "bool [1]");
    refused(
        reduce(ReduceOp::Sum, 2),
        &[("x", F32, "tm n")],
        "`sum` along axis 2, but `x` is [tm, n]\n  help: its axes are 0 to 1",
    );
    refused(reduce(ReduceOp::Max, 0), &[("s", F32, "")], "`max` along axis 0, but `s` is a scalar");
    refused(
        reduce(ReduceOp::Sum, 0),
        &[("c", Bool, "tm")],
        "`sum` takes numbers, `c` is bool\n  help: to count, write `c.cast::<i32>()`",
    );
    refused(
        reduce(ReduceOp::All, 0),
        &[("x", F32, "tm")],
        "`all` takes conditions (bool), `x` is f32\n  help: compare first, as in `x.gt(0.0)`",
    );
    gives(|_| Op::Scan { op: ReduceOp::Prod, axis: 0, reverse: true }, &[("x", I32, "tm n")], "i32 [tm, n]");
    refused(
        |_| Op::Scan { op: ReduceOp::ArgMax, axis: 0, reverse: false },
        &[("x", I32, "tm n")],
        "there is no running `argmax`",
    );
}

#[test]
fn moving_elements() {
    let shape = |b: &mut Bench, s: &str| s.split_whitespace().map(|d| b.dim(d)).collect::<Shape>();
    gives(move |b| Op::Reshape(shape(b, "tm 4 8")), &[("x", F32, "tm 32")], "f32 [tm, 4, 8]");
    refused(
        move |b| Op::Reshape(shape(b, "tm 4")),
        &[("x", F32, "tm n")],
        "`reshape` keeps the number of elements: `x` is [tm, n] with n * tm, [tm, 4] has tm * 4
  help: the numbers must be equal for every size, as in [tm, h * d] to [tm, h, d]",
    );
    gives(|_| Op::Permute(vec![2, 0, 1]), &[("x", F32, "tm n 3")], "f32 [3, tm, n]");
    refused(
        |_| Op::Permute(vec![1, 1]),
        &[("x", F32, "tm n")],
        "[1, 1] is not an order of the axes of `x`: `x` is [tm, n]
  help: name each axis once, as in `permute([1, 0])`",
    );
    gives(move |b| Op::Broadcast(shape(b, "3 tm n")), &[("x", F32, "tm 1")], "f32 [3, tm, n]");
    refused(
        move |b| Op::Broadcast(shape(b, "tm n")),
        &[("x", F32, "tm")],
        "`x` is [tm] and does not broadcast to [tm, n]\n  help: axes are matched from the last; each must be equal or 1",
    );
    let slice =
        |axis, start, len| move |_: &mut Bench| Op::Slice { axis, start: Dim::Const(start), len: Dim::Const(len) };
    gives(slice(1, 2, 4), &[("x", F32, "tm 8")], "f32 [tm, 4]");
    refused(slice(1, 6, 4), &[("x", F32, "tm 8")], "the slice 6..10 leaves axis 1: `x` is [tm, 8]");
    gives(|_| Op::Concat { axis: 1 }, &[("x", F32, "tm n"), ("y", F32, "tm 2")], "f32 [tm, n + 2]");
    refused(
        |_| Op::Concat { axis: 0 },
        &[("x", F32, "tm n"), ("y", F32, "tm 2")],
        "`concat` along axis 0 needs all other axes equal: `x` is [tm, n], `y` is [tm, 2]",
    );
    gives(|_| Op::Gather { axis: 1 }, &[("x", F32, "tm n"), ("i", I32, "tm 1")], "f32 [tm, 1]");
    refused(
        |_| Op::Gather { axis: 1 },
        &[("x", F32, "tm n"), ("i", I64, "tm")],
        "`gather` along axis 1 needs all other axes equal: `x` is [tm, n], `i` is [tm]\n  help: write `i.unsqueeze(1)`",
    );
    refused(
        |_| Op::Gather { axis: 1 },
        &[("x", F32, "tm n"), ("i", F32, "tm n")],
        "`gather` picks by integers, `i` is f32",
    );
}

/// `op` on tensors `x` (read-only) and `out`, both `f32 [m, n]`, with the first mistake's text.
fn access(op: impl FnOnce(&mut Bench, ParamOf) -> (Op, Vec<ValueId>)) -> String {
    let mut b = Bench::new();
    let x = b.s.tensor("x", F32, &["m", "n"], false);
    let out = b.s.tensor("out", F32, &["m", "n"], true);
    let (op, args) = op(&mut b, ParamOf { x, out });
    b.push(op, &args);
    match b.s.b.finish() {
        Ok(_) => "fine".to_owned(),
        Err(e) => e[0].to_string(),
    }
}
struct ParamOf {
    x: crate::tile::ParamId,
    out: crate::tile::ParamId,
}

#[test]
fn loads_and_stores() {
    let store = |shape: &'static str, dtype, index: fn(&mut Bench) -> Vec<Index>| {
        access(move |b, p| {
            let v = b.value("v", dtype, shape);
            (Op::Store { tensor: p.out, index: index(b) }, vec![v])
        })
    };
    let both = |b: &mut Bench| vec![tile(b.tm), tile(b.tn)];
    assert_eq!(store("tm tn", F32, both), "fine");
    assert_eq!(store("tn", F32, both), "fine");
    assert_eq!(
        store("tm", F32, both),
        "error: `v` is [tm], but the index of `out` selects [tm, tn]\n  help: write `v.unsqueeze(1)`"
    );
    assert_eq!(
        store("tm 1", F32, |b| {
            let zero = b.s.int(0);
            vec![tile(b.tm), Index::Scalar(zero)]
        }),
        "error: `v` is [tm, 1], but the index of `out` selects [tm]\n  help: write `v.squeeze(1)`"
    );
    assert_eq!(
        store("tn tm", F32, both),
        "error: `v` is [tn, tm], but the index of `out` selects [tm, tn]\n  help: transpose it: write `v.t()`"
    );
    assert_eq!(store("tm tn", F64, both), "error: `out` holds f32, `v` is f64\n  help: write `v.cast()`");
    assert_eq!(
        store("tm", F32, |b| vec![tile(b.tm)]),
        "error: `out` has 2 axes [m, n], the index names 1\n  help: name every axis; `..` takes the rest whole"
    );
    assert_eq!(
        store("", F32, |b| {
            let i = b.value("i", I32, "");
            vec![Index::Scalar(i), Index::Full]
        }),
        "error: `i` on axis 0 of `out` is i32, indices are i64\n  help: convert it: write `.cast::<i64>()`"
    );
    assert_eq!(
        store("", F32, |b| {
            let i = b.value("i", I64, "tm n");
            vec![Index::Gather(i), Index::Full]
        }),
        "error: `i` on axis 0 of `out` is [tm, n], it must be a tile with one axis
  help: to pick one element per row, load the rows and use `gather`"
    );
    assert_eq!(
        access(|b, p| {
            let v = b.value("v", F32, "");
            (Op::Store { tensor: p.x, index: vec![Index::Full; 2] }, vec![v])
        }),
        "error: `x` can only be read here, this writes to it
  help: take it as `x: &mut Tensor<…>`, or make it with `let mut x = …`"
    );
    assert_eq!(
        access(|b, p| {
            let mask = b.value("mask", Bool, "tn 1");
            (Op::Load { tensor: p.x, index: vec![tile(b.tm), Index::Full] }, vec![mask])
        }),
        "error: `mask` is [tn, 1], but the index of `x` selects [tm, n]"
    );
    assert_eq!(
        access(|b, p| {
            let v = b.value("v", I32, "");
            (Op::Atomic { op: AtomicOp::Add, tensor: p.out, index: vec![Index::Full; 2] }, vec![v])
        }),
        "error: `out` holds f32, `v` is i32\n  help: write `v.cast()`"
    );
}

#[test]
fn unit_tiles_have_size_one() {
    let mut s = Sketch::new();
    let x = s.tensor("x", F32, &["m", "n"], false);
    let t = s.unit_grid("t", "m");
    s.body();
    let v = s.load(x, &[tile(t), Index::Full]);
    assert_eq!(s.b.ty(v).shape[0], Dim::Const(1));
    let i = s.one(Op::Iota(Dim::Tile(t)), &[]);
    assert_eq!(s.b.ty(i).shape[0], Dim::Const(1));
}

#[test]
fn loops_keep_types() {
    let mut b = Bench::new();
    let acc = b.value("acc", F32, "tm");
    let wide = b.value("wide", F32, "tm n");
    let tk = b.s.looped("tk", "k");
    b.s.for_loop(&[tk], &[acc], |_, _| vec![wide]);
    assert_eq!(
        b.s.b.finish().unwrap_err()[0].to_string(),
        "error: `acc` is f32 [tm] before the loop and f32 [tm, n] after an iteration
  help: a variable that a loop changes keeps its element type and shape; start with that shape"
    );
}

#[test]
fn branches_agree() {
    let branch = |other: &'static str, cond: &'static str| {
        let mut b = Bench::new();
        let c = b.value("c", Bool, cond);
        b.s.b.open_region(&[], AT);
        let x = b.value("x", F32, "tm");
        let then = b.s.b.close_region(&[x]);
        b.s.b.open_region(&[], AT);
        let y = b.value("y", F32, other);
        let other = b.s.b.close_region(&[y]);
        b.s.b.push_with_regions(Op::If, &[c], vec![then, other], AT);
        b.s.b.finish().map_or_else(|e| e[0].to_string(), |_| "fine".into())
    };
    assert_eq!(branch("tm", ""), "fine");
    assert_eq!(
        branch("tn", ""),
        "error: `x` is f32 [tm] after one arm of `if` and f32 [tn] after the other
  help: both arms must give the same element type and shape"
    );
    assert_eq!(
        branch("tm", "tm"),
        "error: the condition of `if` is bool [tm], it must be one bool
  help: to choose element by element, write `select(condition, a, b)`"
    );
}

#[test]
fn combine_functions_compute_on_elements() {
    let mut b = Bench::new();
    let x = b.value("x", F32, "tm n");
    let p = b.s.b.open_region(&[Type::scalar(F32), Type::scalar(F32)], AT);
    b.s.b.push(Op::Print { label: "p".into() }, &[p[0]], AT);
    let region = b.s.b.close_region(&[p[1]]);
    b.s.b.push_with_regions(Op::ReduceWith { axis: 1 }, &[x], vec![region], AT);
    assert_eq!(
        b.s.b.finish().unwrap_err()[0].to_string(),
        "error: `print` in the function of `reduce`\n  help: a combine function computes on its elements only; choose with `select`"
    );
}

#[test]
fn values_stay_in_their_region() {
    let mut b = Bench::new();
    let tk = b.s.looped("tk", "k");
    let mut leaked = None;
    b.s.for_loop(&[tk], &[], |s, _| {
        leaked = Some(s.named("part", Op::TileBegin(tk), &[]));
        vec![]
    });
    let v = leaked.unwrap();
    let twice = b.s.bin(BinaryOp::Add, v, v);
    b.s.bin(BinaryOp::Add, twice, v);
    let said: Vec<String> = b.s.b.finish().unwrap_err().iter().map(|d| d.to_string()).collect();
    assert_eq!(
        said,
        ["error: `part` is used outside the loop or branch that computes it
  help: to carry it out, assign it to a variable declared with `let mut` before the loop or branch"]
    );
}

#[test]
fn one_mistake_is_reported_once_and_tracing_goes_on() {
    let mut b = Bench::new();
    let (x, y) = (b.value("x", F32, "tm"), b.value("y", F32, "tn"));
    let bad = b.s.bin(BinaryOp::Add, x, y);
    assert_eq!(b.s.b.ty(bad).rank(), 1);
    let worse = b.s.bin(BinaryOp::Mul, bad, x);
    b.s.bin(BinaryOp::Mul, worse, y);
    assert_eq!(b.s.b.finish().unwrap_err().len(), 1);
}

#[test]
fn mistakes_name_where_operands_were_made() {
    let mut b = Bench::new();
    let at = |line| Loc::new("softmax.kernel", line, 5);
    let (x, y) = (b.value("x", F32, "tm"), b.value("y", F32, "tn"));
    let x = b.s.b.one(Op::Unary(UnaryOp::Neg), &[x], at(3));
    b.s.b.name_value(x, "x");
    b.s.b.one(Op::Binary(BinaryOp::Add), &[x, y], at(4));
    assert_eq!(
        b.s.b.finish().unwrap_err()[0].to_string(),
        "error: shapes do not match in `add`: `x` is [tm], `y` is [tn]; on axis 0 tm meets tn
  --> softmax.kernel:4:5
note: `x` is made here
  --> softmax.kernel:3:5
  help: `tm` and `tn` are different tile variables; index both with the same one"
    );
}

#[test]
fn sizes_are_followed_through_arithmetic() {
    let mut s = Sketch::new();
    let (n, two, one) = (s.size("n"), s.int(2), s.int(1));
    let half = s.bin(BinaryOp::Div, n, two);
    let dim = s.b.dim_of(half).unwrap();
    assert_eq!(s.b.dim_name(dim), "n / 2");
    let same = s.bin(BinaryOp::Mul, n, one);
    assert_eq!(s.b.dim_of(same), s.b.dim_of(n));
    let negative = s.int(-1);
    assert_eq!(s.b.dim_of(negative), None);
    let float = s.float(1.0);
    assert_eq!(s.b.dim_of(float), None);
    // What nothing uses is not kept.
    assert!(s.finish().exprs.is_empty());
}

#[test]
fn names_are_unique() {
    let mut b = Builder::new("k");
    let (p, q) = (b.symbol("n"), b.symbol("n"));
    b.tensor("x", F32, [Dim::Symbol(p), Dim::Symbol(q)].into_iter().collect(), false, Layout::Contiguous, AT);
    let f = b.finish().unwrap();
    assert_eq!((f.symbols[0].name.as_str(), f.symbols[1].name.as_str()), ("n", "n'"));
}

#[test]
fn misuse_of_the_builder_is_a_mistake_not_a_panic() {
    let mut b = Builder::new("k");
    assert_eq!(b.close_region(&[]), Region::default());
    let v = b.one(Op::Print { label: String::new() }, &[ValueId(7)], AT);
    b.push(Op::Unary(UnaryOp::Exp), &[v, ValueId(99)], AT);
    b.push(Op::If, &[], AT);
    b.grid_tile("t", ValueId(50), v, false, AT);
    b.open_region(&[], AT);
    assert!(b.finish().is_err());
}
