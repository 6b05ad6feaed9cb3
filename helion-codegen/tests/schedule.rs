//! Scheduling keeps the meaning: kernels built by hand, scheduled with several block sizes, run by the loop
//! interpreter, compared with plain Rust. Also the shape of what comes out: how many nests, which buffers.

use helion_codegen::schedule::schedule;
use helion_ir::Loc;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::config::Config;
use helion_ir::dtype::{DType, Literal};
use helion_ir::elementwise::{BinaryOp, UnaryOp};
use helion_ir::loops;
use helion_ir::target::{Speed, Target};
use helion_ir::tile::{Builder, Dim, Index, Layout, Op, ReduceOp, TileId, Type, ValueId, Verified, verify};

const AT: Loc = Loc::UNKNOWN;

fn target() -> Target {
    Target {
        name: "test".into(),
        vector_bytes: 32,
        vector_registers: 16,
        l1_bytes: 32 << 10,
        l2_bytes: 1 << 20,
        l3_bytes: 32 << 20,
        cores: 2,
        warp: 1,
        speed: Speed::default(),
    }
}

fn grid(b: &mut Builder, name: &str, d: Dim) -> TileId {
    let zero = b.one(Op::Const(Literal::from_i64(DType::I64, 0)), &[], AT);
    let end = b.one(Op::Extent(d), &[], AT);
    b.grid_tile(name, zero, end, false, AT)
}

fn inner(b: &mut Builder, name: &str, d: Dim) -> TileId {
    let zero = b.one(Op::Const(Literal::from_i64(DType::I64, 0)), &[], AT);
    let end = b.one(Op::Extent(d), &[], AT);
    b.loop_tile(name, zero, end, false, AT)
}

fn f32_tensor(b: &mut Builder, name: &str, dims: &[Dim], mutable: bool) -> helion_ir::tile::ParamId {
    b.tensor(name, DType::F32, dims.iter().copied().collect(), mutable, Layout::Contiguous, AT)
}

fn done(b: Builder) -> Verified {
    verify(b.finish().expect("no mistakes while building")).expect("verified")
}

fn softmax() -> Verified {
    let mut b = Builder::new("softmax");
    let (m, n) = (Dim::Symbol(b.symbol("m")), Dim::Symbol(b.symbol("n")));
    let x = f32_tensor(&mut b, "x", &[m, n], false);
    let out = f32_tensor(&mut b, "out", &[m, n], true);
    let tm = grid(&mut b, "tm", m);
    b.begin_body();
    let index = vec![Index::Tile(tm, None), Index::Full];
    let row = b.one(Op::Load { tensor: x, index: index.clone() }, &[], AT);
    let top = b.one(Op::Reduce { op: ReduceOp::Max, axis: 1 }, &[row], AT);
    let centred = b.one(Op::Binary(BinaryOp::Sub), &[row, top], AT);
    let e = b.one(Op::Unary(UnaryOp::Exp), &[centred], AT);
    let sum = b.one(Op::Reduce { op: ReduceOp::Sum, axis: 1 }, &[e], AT);
    let y = b.one(Op::Binary(BinaryOp::Div), &[e, sum], AT);
    b.push(Op::Store { tensor: out, index }, &[y], AT);
    done(b)
}

/// `out = a · b + bias`, with a loop over `k` that carries the accumulator.
fn matmul() -> Verified {
    let mut b = Builder::new("matmul");
    let [m, n, k] = ["m", "n", "k"].map(|s| Dim::Symbol(b.symbol(s)));
    let x = f32_tensor(&mut b, "a", &[m, k], false);
    let y = f32_tensor(&mut b, "b", &[k, n], false);
    let bias = f32_tensor(&mut b, "bias", &[n], false);
    let out = f32_tensor(&mut b, "out", &[m, n], true);
    let (tm, tn) = (grid(&mut b, "tm", m), grid(&mut b, "tn", n));
    b.begin_body();
    let zero = b.one(Op::Const(Literal::from_f64(DType::F32, 0.0)), &[], AT);
    let shape = [Dim::Tile(tm), Dim::Tile(tn)];
    let init = b.one(Op::Broadcast(shape.into_iter().collect()), &[zero], AT);
    let tk = inner(&mut b, "tk", k);
    let acc = b.open_region(&[Type::tile(DType::F32, shape)], AT)[0];
    let l = b.one(Op::Load { tensor: x, index: vec![Index::Tile(tm, None), Index::Tile(tk, None)] }, &[], AT);
    let r = b.one(Op::Load { tensor: y, index: vec![Index::Tile(tk, None), Index::Tile(tn, None)] }, &[], AT);
    let p = b.one(Op::Dot { acc: DType::F32 }, &[l, r], AT);
    let next = b.one(Op::Binary(BinaryOp::Add), &[acc, p], AT);
    let region = b.close_region(&[next]);
    let total = b.push_with_regions(Op::For { tiles: vec![tk] }, &[init], vec![region], AT)[0];
    let c = b.one(Op::Load { tensor: bias, index: vec![Index::Tile(tn, None)] }, &[], AT);
    let sum = b.one(Op::Binary(BinaryOp::Add), &[total, c], AT);
    b.push(Op::Store { tensor: out, index: vec![Index::Tile(tm, None), Index::Tile(tn, None)] }, &[sum], AT);
    done(b)
}

/// Carried values that feed each other: `(a, b) = (b, a + b)` per step, and a running maximum.
fn swap() -> Verified {
    let mut b = Builder::new("swap");
    let n = Dim::Symbol(b.symbol("n"));
    let x = f32_tensor(&mut b, "x", &[n], false);
    let out = f32_tensor(&mut b, "out", &[n], true);
    let t = grid(&mut b, "t", n);
    b.begin_body();
    let index = vec![Index::Tile(t, None)];
    let v = b.one(Op::Load { tensor: x, index: index.clone() }, &[], AT);
    let ty = b.ty(v).clone();
    let steps = inner(&mut b, "steps", Dim::Const(5));
    let p = b.open_region(&[ty.clone(), ty], AT);
    let sum = b.one(Op::Binary(BinaryOp::Add), &[p[0], p[1]], AT);
    let region = b.close_region(&[p[1], sum]);
    let r: Vec<ValueId> = b.push_with_regions(Op::For { tiles: vec![steps] }, &[v, v], vec![region], AT).to_vec();
    b.push(Op::Store { tensor: out, index }, &[r[0]], AT);
    done(b)
}

/// In place: `x = reverse(x)` inside one tile, which must read everything before it writes.
fn reverse() -> Verified {
    let mut b = Builder::new("reverse");
    let n = Dim::Symbol(b.symbol("n"));
    let rows = Dim::Symbol(b.symbol("rows"));
    let x = f32_tensor(&mut b, "x", &[rows, n], true);
    let t = grid(&mut b, "t", rows);
    b.begin_body();
    let i = b.one(Op::Iota(n), &[], AT);
    let last = b.one(Op::Extent(n), &[], AT);
    let one = b.one(Op::Const(Literal::from_i64(DType::I64, 1)), &[], AT);
    let last = b.one(Op::Binary(BinaryOp::Sub), &[last, one], AT);
    let flipped = b.one(Op::Binary(BinaryOp::Sub), &[last, i], AT);
    let v = b.one(Op::Load { tensor: x, index: vec![Index::Tile(t, None), Index::Gather(flipped)] }, &[], AT);
    b.push(Op::Store { tensor: x, index: vec![Index::Tile(t, None), Index::Full] }, &[v], AT);
    done(b)
}

fn tensor(dims: &[u64], f: impl Fn(u64) -> f64) -> Arg {
    Arg::Tensor(TensorArg::from_f64s(DType::F32, dims, (0..dims.iter().product()).map(f)))
}

fn run(kernel: &Verified, config: &str, args: &Args) -> (loops::Function, Args) {
    let func = schedule(kernel, &config.parse::<Config>().expect("a config"), &target()).expect("scheduled");
    if let Err(e) = loops::verify(&func) {
        panic!("{}\n{func}", helion_ir::diag::render(&e));
    }
    let mut args = args.clone();
    if let Err(e) = loops::interp::run(&func, &mut args) {
        panic!("{e}\n{func}");
    }
    (func, args)
}

fn count(stmts: &[loops::Stmt], f: &impl Fn(&loops::Stmt) -> bool) -> usize {
    stmts
        .iter()
        .map(|s| {
            let inner = match s {
                loops::Stmt::For { body, .. } => count(body, f),
                loops::Stmt::While { cond, body, .. } => count(cond, f) + count(body, f),
                loops::Stmt::If { then, other, .. } => count(then, f) + count(other, f),
                loops::Stmt::Inst(_) | loops::Stmt::Nest(_) | loops::Stmt::Contract(_) => 0,
            };
            inner + usize::from(f(s))
        })
        .sum()
}

fn nests(f: &loops::Function) -> usize {
    count(&f.body, &|s| matches!(s, loops::Stmt::Nest(_)))
}

#[test]
fn softmax_is_three_passes_with_exp_stored_while_summing() {
    for (m, n) in [(1, 1), (3, 7), (5, 16), (2, 33), (0, 4)] {
        let x = |i: u64| ((i * 37 % 11) as f64 - 5.0) / 3.0;
        let args = Args { params: vec![tensor(&[m, n], x), tensor(&[m, n], |_| -1.0)], symbols: vec![m, n] };
        for config in ["block.tm=1", "block.tm=2", "block.tm=8"] {
            let (func, got) = run(&softmax(), config, &args);
            assert_eq!(nests(&func), 3, "{func}");
            let got = got.tensor(1).unwrap().to_f64s();
            for r in 0..m {
                let row: Vec<f64> = (0..n).map(|c| x(r * n + c).exp()).collect();
                let sum: f64 = row.iter().sum();
                for c in 0..n {
                    let (want, got) = (row[c as usize] / sum, got[(r * n + c) as usize]);
                    assert!((want - got).abs() < 1e-5, "{config} {m}x{n} at {r},{c}: {got} for {want}\n{func}");
                }
            }
        }
    }
}

#[test]
fn matmul_accumulates_in_place() {
    for (m, n, k) in [(1, 1, 1), (5, 7, 9), (16, 8, 4), (3, 4, 0), (17, 33, 5)] {
        let (a, b) = (|i: u64| (i % 7) as f64 - 3.0, |i: u64| (i % 5) as f64 - 2.0);
        let args = Args {
            params: vec![tensor(&[m, k], a), tensor(&[k, n], b), tensor(&[n], |i| i as f64), tensor(&[m, n], |_| -1.0)],
            symbols: vec![m, n, k],
        };
        for config in ["block.tm=4 block.tn=8 block.tk=2", "block.tm=1 block.tn=3 block.tk=4", "default"] {
            let (func, got) = run(&matmul(), config, &args);
            assert_eq!(count(&func.body, &|s| matches!(s, loops::Stmt::Contract(c) if c.accumulate)), 1, "{func}");
            assert_eq!(func.buffers.len(), 1, "{func}");
            let got = got.tensor(3).unwrap().to_f64s();
            for i in 0..m {
                for j in 0..n {
                    let want: f64 = (0..k).map(|l| a(i * k + l) * b(l * n + j)).sum::<f64>() + j as f64;
                    assert_eq!(want, got[(i * n + j) as usize], "{config} {m}x{n}x{k}\n{func}");
                }
            }
        }
    }
}

#[test]
fn carried_values_swap_through_a_spare_buffer() {
    let args = Args { params: vec![tensor(&[9], |i| i as f64), tensor(&[9], |_| 0.0)], symbols: vec![9] };
    for config in ["block.t=4 block.steps=1", "block.t=16 block.steps=1"] {
        let (_, got) = run(&swap(), config, &args);
        let want: Vec<f64> = (0..9).map(|i| 8.0 * i as f64).collect();
        assert_eq!(got.tensor(1).unwrap().to_f64s(), want);
    }
}

#[test]
fn in_place_reversal_reads_before_it_writes() {
    let args = Args { params: vec![tensor(&[3, 5], |i| i as f64)], symbols: vec![5, 3] };
    for config in ["block.t=1", "block.t=2"] {
        let (func, got) = run(&reverse(), config, &args);
        let want: Vec<f64> = (0..3).flat_map(|r| (0..5).rev().map(move |c| (r * 5 + c) as f64)).collect();
        assert_eq!(got.tensor(0).unwrap().to_f64s(), want, "{func}");
    }
}

#[test]
fn unknown_slots_are_refused() {
    let e = schedule(&softmax(), &Config::new().block("tq", 4), &target()).unwrap_err();
    assert_eq!(e.message, "kernel `softmax` has no tile variable `tq`; it has tm");
}

/// Sums, first largest elements and running sums of columns.
fn columns() -> Verified {
    let mut b = Builder::new("columns");
    let (m, n) = (Dim::Symbol(b.symbol("m")), Dim::Symbol(b.symbol("n")));
    let x = f32_tensor(&mut b, "x", &[m, n], false);
    let sums = f32_tensor(&mut b, "sums", &[n], true);
    let places = b.tensor("places", DType::I64, [n].into_iter().collect(), true, Layout::Contiguous, AT);
    let running = f32_tensor(&mut b, "running", &[m, n], true);
    let tn = grid(&mut b, "tn", n);
    b.begin_body();
    let index = vec![Index::Full, Index::Tile(tn, None)];
    let v = b.one(Op::Load { tensor: x, index: index.clone() }, &[], AT);
    for (op, tensor) in [(ReduceOp::Sum, sums), (ReduceOp::ArgMax, places)] {
        let r = b.one(Op::Reduce { op, axis: 0 }, &[v], AT);
        let r = b.one(Op::Reshape([Dim::Tile(tn)].into_iter().collect()), &[r], AT);
        b.push(Op::Store { tensor, index: vec![Index::Tile(tn, None)] }, &[r], AT);
    }
    let s = b.one(Op::Scan { op: ReduceOp::Sum, axis: 0, reverse: true }, &[v], AT);
    b.push(Op::Store { tensor: running, index }, &[s], AT);
    done(b)
}

#[test]
fn reductions_of_columns_are_turned_around() {
    let reduces = |f: &loops::Function| count(&f.body, &|s| matches!(s, loops::Stmt::Nest(n) if n.reduce > 0));
    for (m, n) in [(1, 1), (5, 7), (0, 3), (3, 0), (6, 20)] {
        let x = |i: u64| ((i * 37 % 11) as f64 - 5.0) / 2.0;
        let places = Arg::Tensor(TensorArg::from_i64s(DType::I64, &[n], vec![-1; n as usize]));
        let params = vec![tensor(&[m, n], x), tensor(&[n], |_| -1.0), places, tensor(&[m, n], |_| -1.0)];
        let args = Args { params, symbols: vec![m, n] };
        for config in ["block.tn=4", "block.tn=8", "block.tn=1"] {
            let (func, want) = run(&columns(), config, &args);
            let mut turned = func.clone();
            helion_codegen::passes::interchange::interchange_reductions(&mut turned, &target());
            assert_eq!(reduces(&turned), if config == "block.tn=1" { reduces(&func) } else { 0 }, "{turned}");
            if let Err(e) = loops::verify(&turned) {
                panic!("{}\n{turned}", helion_ir::diag::render(&e));
            }
            let mut got = args.clone();
            loops::interp::run(&turned, &mut got).unwrap_or_else(|e| panic!("{e}\n{turned}"));
            assert_eq!(got, want, "{turned}");
        }
    }
}

#[test]
fn slots_exist_where_they_change_something() {
    use helion_codegen::schedule::{check_config, config_space, legal};
    let keys =
        |k: &Verified| -> Vec<String> { config_space(k, &target()).slots.iter().map(|s| s.0.to_string()).collect() };
    let (softmax, matmul) = (softmax(), matmul());
    assert_eq!(keys(&softmax), ["block.tm", "grid", "keep"]);
    assert_eq!(keys(&matmul), ["block.tm", "block.tn", "block.tk", "order", "grid", "group"]);
    for k in [&softmax, &matmul] {
        let default = config_space(k, &target()).default_config();
        assert_eq!(legal(k, &default, &target()), Ok(()), "{default}");
        let pinned = schedule(k, &default, &target()).expect("scheduled");
        assert_eq!(pinned, schedule(k, &Config::new(), &target()).expect("scheduled"), "the default is what it says");
    }
    let refused = |k: &Verified, config: &str| {
        let config: Config = config.parse().expect("a config");
        legal(k, &config, &target()).expect_err("refused")
    };
    assert_eq!(check_config(&matmul, &"order=1 grid=swizzled group=4".parse().expect("a config")), Ok(()));
    assert_eq!(refused(&matmul, "group=4"), "`group=4` has no effect without `grid=swizzled`");
    assert_eq!(refused(&matmul, "chunk=4"), "`chunk=4` has no effect without `fuse=off`");
    assert_eq!(refused(&softmax, "order=1"), "`order=1`: the grid of `softmax` has tm, so its orders are 0 to 0");
    assert_eq!(refused(&softmax, "grid=swizzled"), "`grid=swizzled` needs two grid axes; the grid of `softmax` has tm");
    assert_eq!(refused(&softmax, "block.tn=4"), "kernel `softmax` has no tile variable `tn`; it has tm");
    assert_eq!(
        refused(&softmax, "keep.tm=on"),
        "`keep.tm`: there is one `keep` for the whole kernel, so write `keep=…`"
    );
    assert!(refused(&matmul, "block.tm=8192 block.tn=8192").contains("caches have"));
}

#[test]
fn walks_of_the_grid_visit_every_tile() {
    let kernel = matmul();
    let (m, n, k) = (37, 23, 9);
    let value = |seed: u64| move |i: u64| ((i * seed) % 13) as f64 - 6.0;
    let params =
        vec![tensor(&[m, k], value(5)), tensor(&[k, n], value(7)), tensor(&[n], value(3)), tensor(&[m, n], |_| -1.0)];
    let args = Args { params, symbols: vec![m, n, k] };
    let blocks = "block.tm=4 block.tn=4 block.tk=8";
    let (_, want) = run(&kernel, blocks, &args);
    for walk in
        ["order=1", "grid=persistent", "order=1 grid=persistent", "grid=swizzled", "order=1 grid=swizzled group=4"]
    {
        let (func, got) = run(&kernel, &format!("{blocks} {walk}"), &args);
        assert_eq!(want.params, got.params, "{walk}");
        assert!(func.config.is_empty(), "the schedule has read everything: {}", func.config);
    }
}
