//! Launches, with bodies recorded by hand: caching, errors, threads, modes, tuning and what is remembered.

mod guard;

use guard::guarded;
use helion::lang::Elem;
use helion::runtime::{self, Effort, Launching};
use helion::{ErrorKind, Result, Tensor};
use helion_ir::config::Config;
use helion_ir::dtype::Literal;
use helion_ir::tile::{Builder, Dim, Index, Op, ParamId, ReduceOp, TileId, ValueId};
use helion_ir::{BinaryOp, DType, Loc, UnaryOp};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often `add` was traced.
static ADD_TRACED: AtomicUsize = AtomicUsize::new(0);

fn grid(b: &mut Builder, name: &str, n: Dim) -> TileId {
    let at = Loc::caller();
    let zero = b.one(Op::Const(Literal::from_i64(DType::I64, 0)), &[], at);
    let end = b.one(Op::Extent(n), &[], at);
    b.grid_tile(name, zero, end, false, at)
}

fn load(b: &mut Builder, tensor: ParamId, index: &[Index]) -> ValueId {
    b.one(Op::Load { tensor, index: index.to_vec() }, &[], Loc::caller())
}

fn store(b: &mut Builder, tensor: ParamId, index: &[Index], v: ValueId) {
    b.push(Op::Store { tensor, index: index.to_vec() }, &[v], Loc::caller());
}

fn add_into<T: Elem>(x: &Tensor<T, 1>, y: &Tensor<T, 1>, out: &mut Tensor<T, 1>) -> Result<()> {
    let mut l = Launching::begin("add");
    let (x, [n]) = l.bind("x", x.raw());
    let (y, [_]) = l.bind("y", y.raw());
    let (out, [_]) = l.bind("out", out.raw_mut());
    l.run(add_into::<T> as *const () as usize, |b| {
        ADD_TRACED.fetch_add(1, Ordering::Relaxed);
        let t = Index::Tile(grid(b, "t", n), None);
        b.begin_body();
        let (vx, vy) = (load(b, x, &[t]), load(b, y, &[t]));
        let sum = b.one(Op::Binary(BinaryOp::Add), &[vx, vy], Loc::caller());
        store(b, out, &[t], sum);
    })
}

fn add<T: Elem>(x: &Tensor<T, 1>, y: &Tensor<T, 1>) -> Result<Tensor<T, 1>> {
    let mut out = x.empty_like();
    add_into(x, y, &mut out)?;
    Ok(out)
}

fn softmax(x: &Tensor<f32, 2>, scale: f32) -> Result<Tensor<f32, 2>> {
    softmax_as("softmax", x, scale)
}

/// `exp(x - max) / sum`, times a scalar. The name makes it another kernel, with its own tuning.
fn softmax_as(name: &'static str, x: &Tensor<f32, 2>, scale: f32) -> Result<Tensor<f32, 2>> {
    let mut out = x.empty_like();
    let mut l = Launching::begin(name);
    // SAFETY: the borrows last until the launch has run.
    let ((x, [m, _]), (o, _)): (_, (_, [Dim; 2])) = unsafe { (l.tensor("x", x.raw()), l.tensor("out", out.raw_mut())) };
    let scale = l.scalar("scale", DType::F32, u64::from(scale.to_bits()));
    l.run(name.as_ptr() as usize, |b| {
        let at = Loc::caller();
        let index = [Index::Tile(grid(b, "tm", m), None), Index::Full];
        b.begin_body();
        let row = load(b, x, &index);
        let reduce = |b: &mut Builder, op, v| b.one(Op::Reduce { op, axis: 1 }, &[v], at);
        let top = reduce(b, ReduceOp::Max, row);
        let low = b.one(Op::Binary(BinaryOp::Sub), &[row, top], at);
        let e = b.one(Op::Unary(UnaryOp::Exp), &[low], at);
        let sum = reduce(b, ReduceOp::Sum, e);
        let y = b.one(Op::Binary(BinaryOp::Div), &[e, sum], at);
        let s = b.one(Op::Scalar(scale), &[], at);
        let y = b.one(Op::Binary(BinaryOp::Mul), &[y, s], at);
        store(b, o, &index, y);
    })?;
    Ok(out)
}

fn numbers(n: usize) -> Tensor<f32, 1> {
    Tensor::from_fn([n], |[i]| i as f32)
}

fn matrix(m: usize, n: usize) -> Tensor<f32, 2> {
    Tensor::from_fn([m, n], |[i, j]| ((i * 31 + j * 17) % 101) as f32 / 25.0)
}

fn softmax_reference(x: &Tensor<f32, 2>, scale: f32) -> Tensor<f32, 2> {
    let [_, n] = x.dims();
    Tensor::from_fn(x.dims(), |[i, j]| {
        let v = |j| f64::from(x.get([i, j]).unwrap());
        let top = (0..n).map(v).fold(f64::MIN, f64::max);
        let sum: f64 = (0..n).map(|j| (v(j) - top).exp()).sum();
        ((v(j) - top).exp() / sum * f64::from(scale)) as f32
    })
}

#[test]
fn results_are_right_for_every_size_and_layout() {
    for n in [0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 1000, 100_003] {
        let (x, y) = (numbers(n), Tensor::full([n], 0.5f32));
        let z = add(&x, &y).unwrap();
        assert_eq!(z, Tensor::from_fn([n], |[i]| i as f32 + 0.5), "{n}");
    }
    let x = numbers(1000);
    let views = [
        x.flip(0).unwrap(),
        x.step_by(0, 3).unwrap(),
        x.slice(0, 7..).unwrap(),
        x.slice(0, 3..4).unwrap(),
        x.slice(0, 0..1).unwrap().expand([77]).unwrap(),
    ];
    for v in views {
        let z = add(&v, &v).unwrap();
        assert_eq!(z, Tensor::from_fn(v.dims(), |[i]| 2.0 * v.get([i]).unwrap()));
    }
    for (m, n) in [(1, 1), (3, 5), (64, 64), (7, 1), (1, 300), (0, 4), (129, 33)] {
        let x = matrix(m, n);
        assert!(softmax(&x, 2.0).unwrap().allclose(&softmax_reference(&x, 2.0), 1e-5, 1e-7), "{m} {n}");
        let t = matrix(n, m).t();
        assert!(softmax(&t, 1.0).unwrap().allclose(&softmax_reference(&t, 1.0), 1e-5, 1e-7), "{m} {n} transposed");
    }
}

#[test]
fn kernels_touch_nothing_outside() {
    for at_end in [false, true] {
        for n in [1, 5, 16, 100, 1023] {
            let (x, y, mut out) = (guarded::<f32, 1>([n], at_end), guarded([n], at_end), guarded([n], at_end));
            let at = out.as_ptr();
            add_into(&x, &y, &mut out).unwrap();
            assert_eq!((out.as_ptr(), out.to_vec().unwrap()), (at, vec![0.0; n]));
        }
    }
}

#[test]
fn one_trace_serves_all_sizes_of_a_pattern() {
    // Element types make these launches different from those of the other tests.
    let before = ADD_TRACED.load(Ordering::Relaxed);
    let traces = |f: &dyn Fn()| {
        f();
        ADD_TRACED.load(Ordering::Relaxed)
    };
    let of = |n: usize| Tensor::<i16, 1>::from_fn([n], |[i]| i as i16);
    // Other tests trace `add` of other types at the same time, so only a lower bound is known here.
    assert!(traces(&|| drop(add(&of(10), &of(10)).unwrap())) > before);
    let mut l = Launching::begin("keys");
    let sizes = [l.size("a", 5), l.size("b", 5), l.size("c", 1), l.size("d", 6)];
    assert_eq!(sizes[0], sizes[1]);
    assert_eq!(sizes[2], Dim::Const(1));
    assert_ne!(sizes[0], sizes[3]);
}

#[test]
fn clones_are_not_written() {
    let x = numbers(100);
    let mut out = x.clone();
    add_into(&x, &x, &mut out).unwrap();
    assert_eq!((x.get([7]), out.get([7])), (Some(7.0), Some(14.0)));
    let mut wide = Tensor::<f32, 1>::zeros([1]).expand([100]).unwrap();
    assert!(matches!(add_into(&x, &x, &mut wide).unwrap_err().kind(), ErrorKind::Access(_)));
    let huge = Tensor::<f32, 1>::zeros([usize::MAX]);
    assert!(add(&huge, &huge).unwrap_err().to_string().contains("does not fit"));
}

#[test]
fn mistakes_come_back_on_every_call() {
    let wrong = |x: &Tensor<f32, 1>, y: &Tensor<f64, 1>| -> Result<()> {
        let mut l = Launching::begin("wrong");
        let (x, [n]) = l.bind("x", x.raw());
        let (y, [_]) = l.bind("y", y.raw());
        l.run(1, |b| {
            let t = Index::Tile(grid(b, "t", n), None);
            b.begin_body();
            let (x, y) = (load(b, x, &[t]), load(b, y, &[t]));
            b.one(Op::Binary(BinaryOp::Add), &[x, y], Loc::caller());
        })
    };
    let (x, y) = (numbers(4), Tensor::<f64, 1>::zeros([4]));
    let first = wrong(&x, &y).unwrap_err();
    assert!(matches!(first.kind(), ErrorKind::Kernel { .. }), "{first}");
    assert!(first.to_string().contains("kernel `wrong`") && first.to_string().contains("launch.rs"), "{first}");
    assert_eq!(wrong(&x, &y).unwrap_err(), first);
    assert_eq!(runtime::check(|| wrong(&x, &y)).unwrap_err(), first);
    runtime::check(|| softmax(&matrix(3, 4), 1.0)).unwrap();
}

#[test]
fn a_kernel_cannot_launch_another() {
    let x = numbers(4);
    let e = Launching::begin("outer")
        .run(2, |_| assert!(add(&numbers(4), &numbers(4)).unwrap_err().to_string().contains("recorded")));
    // An empty body is a kernel without programs or a mistake; either way nothing else is disturbed.
    drop(e);
    assert!(add(&x, &x).is_ok());
}

#[test]
fn a_body_cannot_exchange_the_parameters() {
    let x = numbers(4);
    let mut l = Launching::begin("exchanged");
    let (_, [_]) = l.bind("x", x.raw());
    let e = l.run(5, |b| {
        *b = Builder::new("other");
        b.scalar("x", DType::F32, Loc::caller());
    });
    assert!(e.unwrap_err().to_string().contains("changed the parameters"));
}

#[test]
fn panics_while_tracing_leave_everything_usable() {
    let go = || {
        let mut l = Launching::begin("panics");
        l.key(3);
        l.run(3, |_| panic!("in the body"))
    };
    for _ in 0..2 {
        assert!(std::panic::catch_unwind(go).is_err());
    }
    assert!(add(&numbers(4), &numbers(4)).is_ok());
}

#[test]
fn threads_agree() {
    let x = matrix(1024, 256);
    let expected = softmax_reference(&x, 1.0);
    let one = runtime::with_threads(1, || softmax(&x, 1.0)).unwrap();
    assert!(one.allclose(&expected, 1e-5, 1e-7));
    for n in [2, 3, 8] {
        assert_eq!(runtime::with_threads(n, || softmax(&x, 1.0)).unwrap(), one);
    }
    std::thread::scope(|s| {
        for k in 0..8 {
            let (x, one) = (&x, &one);
            s.spawn(move || {
                for i in 0..20 {
                    assert_eq!(softmax(x, 1.0).unwrap(), *one);
                    let n = 10 + (k * 37 + i * 11) % 500;
                    let y = numbers(n);
                    assert_eq!(add(&y, &y).unwrap().get([n - 1]), Some(2.0 * (n - 1) as f32));
                }
            });
        }
    });
}

#[test]
fn explain_shows_every_stage() {
    let e = runtime::explain(|| softmax(&matrix(8, 16), 1.0)).unwrap();
    let text = e.to_string();
    for part in [
        "kernel softmax",
        " (model, nothing tuned)",
        "-- arguments",
        "x: f32 [8, 16]",
        "scale: f32 = 1",
        "x.1 = 16",
        "-- tile",
        "-- loops",
        "-- clif",
        "-- asm",
        "compile time",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let pinned: Config = "block.tm=2".parse().unwrap();
    let e = runtime::explain(|| runtime::with_config(&pinned, || softmax(&matrix(8, 16), 1.0))).unwrap();
    assert!(e.to_string().contains("config: block.tm=2 (explicit)"));
}

#[test]
fn pinned_configs_give_the_same_result() {
    let x = matrix(50, 40);
    let expected = softmax(&x, 1.0).unwrap();
    for block in [1, 2, 7, 50, 64] {
        let c = Config::new().block("tm", block);
        assert!(runtime::with_config(&c, || softmax(&x, 1.0)).unwrap().allclose(&expected, 1e-6, 1e-8));
    }
    let e = runtime::with_config(&Config::new().block("other", 8), || softmax(&x, 1.0)).unwrap_err();
    assert_eq!(
        e.to_string(),
        "config `block.other=8` cannot be used here: kernel `softmax` has no tile variable `other`; it has tm"
    );
    let e = runtime::with_config(&Config::new().block("tm", 0), || softmax(&x, 1.0)).unwrap_err();
    assert!(e.to_string().contains("block.tm"), "{e}");
}

/// In a process of its own, so that it sees only what is on disk.
#[test]
#[ignore = "run by `tuning_is_remembered`"]
fn child() {
    let e = runtime::explain(|| softmax_as("tuned", &matrix(200, 64), 1.0)).unwrap();
    println!("source={} config={}", e.reports[0].choice.source.name(), e.reports[0].config);
}

#[test]
fn tuning_is_remembered() {
    let dir = std::env::temp_dir().join(format!("helion-tuning-{}", std::process::id()));
    let child = || {
        let exe = std::env::current_exe().unwrap();
        let mut c = std::process::Command::new(exe);
        c.args(["--exact", "child", "--ignored", "--nocapture"]).env("HELION_CACHE_DIR", &dir);
        String::from_utf8(c.output().unwrap().stdout).unwrap()
    };
    assert!(child().contains("source=model"), "{}", child());
    helion::settings::set_cache_dir(dir.to_str().unwrap()).unwrap();
    let x = matrix(200, 64);
    let before = softmax_as("tuned", &x, 1.0).unwrap();
    let tuned = runtime::tune(Effort::Quick, || softmax_as("tuned", &x, 1.0)).unwrap();
    println!("{tuned}");
    let o = tuned.tunings[0].outcome.as_ref().unwrap();
    assert!(o.timing.seconds <= o.default_timing.seconds && o.measured() > 1, "{tuned}");
    assert!(softmax_as("tuned", &x, 1.0).unwrap().allclose(&before, 1e-5, 1e-7));
    let says = child();
    assert!(says.contains(&format!("source=disk config={}", tuned.tunings[0].config)), "{says}");
    // A damaged record is a miss.
    for f in std::fs::read_dir(&dir).unwrap() {
        std::fs::write(f.unwrap().path(), "helion tuning record 1\nnonsense\n").unwrap();
    }
    assert!(child().contains("source=model"));
    helion::settings::set_cache_dir("off").unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
#[ignore = "a measurement: run alone, optimised"]
fn warm_call_overhead() {
    let (x, y, mut out) = (numbers(1024), numbers(1024), numbers(1024));
    let time = |what: &str, f: &mut dyn FnMut()| {
        let mut samples: Vec<f64> = (0..200)
            .map(|_| {
                let start = std::time::Instant::now();
                (0..200).for_each(|_| f());
                start.elapsed().as_secs_f64() / 200.0 * 1e9
            })
            .collect();
        samples.sort_by(f64::total_cmp);
        println!("{what:40} median {:8.1} ns, least {:8.1} ns", samples[100], samples[0]);
    };
    time("add 1024, output given", &mut || add_into(&x, &y, &mut out).unwrap());
    time("add 1024, new output", &mut || drop(add(&x, &y).unwrap()));
    let (a, b, mut c) = (numbers(2), numbers(2), numbers(2));
    time("add 2, output given", &mut || add_into(&a, &b, &mut c).unwrap());
    time("captures of add alone", &mut || {
        let mut l = Launching::begin("add");
        let _: [(_, [Dim; 1]); 3] = [l.bind("x", a.raw()), l.bind("y", b.raw()), l.bind("out", c.raw_mut())];
    });
    time("new tensor of 1024", &mut || drop(x.empty_like()));
    let big = numbers(1 << 20);
    time("new tensor of 4 MiB", &mut || drop(big.empty_like()));
    for n in [2, 4] {
        time("fork and join", &mut || runtime::pool::run(n, |_, _| ()));
    }
}

#[test]
fn dumps_go_where_the_settings_say() {
    let dir = std::env::temp_dir().join(format!("helion-dump-{}", std::process::id()));
    let exe = std::env::current_exe().unwrap();
    let mut c = std::process::Command::new(exe);
    c.args(["--exact", "child", "--ignored", "--nocapture"])
        .env("HELION_CACHE_DIR", "off")
        .env("HELION_THREADS", "none");
    c.env("HELION_DUMP", "tile,loops,asm").env("HELION_DUMP_DIR", &dir).env("HELION_DUMP_FILTER", "tune");
    let out = c.output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("HELION_THREADS: `none` is not a number of threads"));
    let mut endings: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path().extension().unwrap().to_owned()).collect();
    endings.sort();
    endings.dedup();
    assert_eq!(endings, ["asm", "loops", "tile"]);
    std::fs::remove_dir_all(&dir).unwrap();
}
