//! Passes over loop IR in text: what becomes of neighbouring loops.

use helion_codegen::passes::share;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::config::Config;
use helion_ir::dtype::DType;
use helion_ir::loops::{self, Function, Stmt};

/// Sum and largest element of each row, and a store that reads what the first loop stored.
const ROWS: &str = include_str!("share.loops");

fn shared(config: &str) -> Function {
    let mut f = loops::parse(ROWS).unwrap_or_else(|e| panic!("{e}"));
    f.config = config.parse::<Config>().expect("a config");
    share::share_loops(&mut f);
    loops::verify(&f).unwrap_or_else(|e| panic!("{}\n{f}", helion_ir::diag::render(&e)));
    assert!(f.config.is_empty(), "knobs that were read are gone: {}", f.config);
    f
}

fn results(f: &Function, n: u64) -> Vec<f64> {
    let x = TensorArg::from_f64s(DType::F32, &[3, n], (0..3 * n).map(|i| (i * 7 % 11) as f64));
    let of_row = || TensorArg::from_f64s(DType::F32, &[3], (0..3).map(|_| 0.0));
    let y = TensorArg::from_f64s(DType::F32, &[3, n], (0..3 * n).map(|_| 0.0));
    let params = [x, of_row(), of_row(), y].into_iter().map(Arg::Tensor).collect();
    let mut args = Args { params, symbols: vec![3, n] };
    loops::interp::run(f, &mut args).unwrap_or_else(|e| panic!("{e}\n{f}"));
    let tensors = args.params.iter().map(|a| if let Arg::Tensor(t) = a { t.to_f64s() } else { vec![] });
    tensors.flatten().collect()
}

fn count(f: &Function) -> [usize; 2] {
    fn walk(list: &[Stmt], n: &mut [usize; 2]) {
        for s in list {
            match s {
                Stmt::Nest(_) => n[0] += 1,
                Stmt::For { body, .. } => {
                    n[1] += 1;
                    walk(body, n);
                }
                Stmt::Inst(_) | Stmt::Contract(_) | Stmt::While { .. } | Stmt::If { .. } => {}
            }
        }
    }
    let mut n = [0; 2];
    walk(&f.body, &mut n);
    n
}

#[test]
fn neighbours_share_loops() {
    let apart = shared("fuse=off");
    assert_eq!(count(&apart), [3, 0], "{apart}");
    let fused = shared("fuse=on");
    assert_eq!(count(&fused), [1, 0], "{fused}");
    let chunked = shared("fuse=off chunk=4");
    assert_eq!(count(&chunked), [3, 2], "{chunked}");
    assert_eq!(share::groups(&apart).len(), 1);
    for n in [0, 1, 3, 4, 5, 8, 9] {
        let want = results(&apart, n);
        assert_eq!(want, results(&fused, n), "{n}\n{fused}");
        assert_eq!(want, results(&chunked, n), "{n}\n{chunked}");
    }
}
