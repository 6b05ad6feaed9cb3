//! Compiled kernels against the reference interpreter, for every lowering this machine can run.

mod elementwise;
mod knobs;
mod nests;

use super::*;
use helion_ir::args::{Arg, Args, TensorArg};
use helion_ir::dtype::{Class, DType, Literal};
use helion_ir::loops::{self, ParamKind};
use helion_ir::tile::Dim;

/// Every way to compile that this machine can run.
fn ways() -> Vec<CpuOptions> {
    let base = CpuOptions { effort: Effort::Full, ..CpuOptions::default() };
    let scalar = |effort| CpuOptions { vectorise: false, effort, ..base.clone() };
    let mut ways = vec![scalar(Effort::Quick), scalar(Effort::Full)];
    for isa in vector::Isa::ALL.into_iter().filter(|i| i.available()) {
        ways.push(CpuOptions { isa: Some(isa), ..base.clone() });
        ways.push(CpuOptions { isa: Some(isa), stream_bytes: 0, ..base.clone() });
    }
    ways
}

/// A small generator of numbers, the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) ^ (self.0 << 20)
    }

    /// An element: mostly small numbers, sometimes an edge of the type.
    fn element(&mut self, d: DType) -> Literal {
        let (pick, small) = (self.next() % 16, (self.next() % 4001) as f64 / 250.0 - 8.0);
        match d.class() {
            Class::Bool => Literal::from_i64(d, (pick & 1) as i64),
            Class::Signed | Class::Unsigned if pick == 0 => Literal::from_bits(d, self.next()),
            Class::Signed | Class::Unsigned => Literal::from_i64(d, small as i64),
            Class::Float | Class::Storage => Literal::from_f64(d, small),
        }
    }
}

/// Arguments for a function: tensors of random elements, with these sizes.
fn arguments(f: &loops::Function, sizes: &[(&str, u64)], seed: u64) -> Args {
    let mut numbers = Numbers(seed);
    let size = |d: &Dim| match d {
        Dim::Const(n) => *n,
        Dim::Symbol(s) => sizes.iter().find(|(n, _)| *n == f.symbols[s.index()].name).unwrap().1,
        Dim::Tile(_) | Dim::Expr(_) => unreachable!("dims of tensors"),
    };
    let params = f.params.iter().map(|p| match &p.kind {
        ParamKind::Tensor { dtype, dims, .. } => {
            let dims: Vec<u64> = dims.iter().map(size).collect();
            let n = dims.iter().product::<u64>();
            let elements: Vec<Literal> = (0..n).map(|_| numbers.element(*dtype)).collect();
            Arg::from(TensorArg::new(*dtype, &dims, elements))
        }
        ParamKind::Scalar { dtype } => Arg::from(numbers.element(*dtype)),
    });
    let params = params.collect();
    Args::bind(&f.params, &f.symbols, params, sizes).unwrap()
}

/// The argument words of arguments.
fn words(args: &mut Args) -> Vec<u64> {
    let mut words = Vec::new();
    for a in &mut args.params {
        match a {
            Arg::Scalar(l) => words.push(l.bits),
            Arg::Tensor(t) => {
                let offset = t.offset() * t.dtype().size() as u64;
                words.push(t.data_mut().as_mut_ptr() as u64 + offset);
                words.extend(t.dims().iter().copied());
                words.extend(t.strides().iter().map(|s| *s as u64));
            }
        }
    }
    words.extend(args.symbols.iter().copied());
    words
}

/// Runs a compiled kernel on arguments.
fn execute(k: &CompiledKernel, args: &mut Args) {
    let words = words(args);
    let plan = k.plan(&words);
    let mut scratch = vec![0xa5a5_a5a5_a5a5_a5a5u64; plan.scratch_bytes as usize / 8 + 16];
    let at = scratch.as_mut_ptr().cast::<u8>();
    let at = at.wrapping_add(at.align_offset(64));
    // SAFETY: the words describe tensors that live in `args`; scratch is aligned and large enough. Two calls,
    // so that ranges of instances are covered.
    unsafe {
        k.run(&words, at, 0, plan.programs / 2);
        k.run(&words, at, plan.programs / 2, plan.programs);
    }
}

/// Compares every way to compile with the interpreter. `want_vector` says that vector programs must be used
/// where an instruction set is asked for.
/// The text with its values numbered without gaps, as the parser wants them.
fn renumber(text: &str) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let mut out = String::new();
    for (i, piece) in text.split('%').enumerate() {
        let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = piece.split_at(if i == 0 { 0 } else { digits });
        if i > 0 {
            let at = seen.iter().position(|n| *n == number).unwrap_or_else(|| {
                seen.push(number);
                seen.len() - 1
            });
            out += &format!("%{at}");
        }
        out += rest;
    }
    out
}

fn check(text: &str, sizes: &[(&str, u64)], tolerance: f64, want_vector: bool) {
    let f = loops::parse(&renumber(text)).unwrap_or_else(|e| panic!("{e}\n{text}"));
    check_args(&f, arguments(&f, sizes, 7), tolerance, want_vector, &format!("{sizes:?}"));
}

fn check_args(f: &loops::Function, start: Args, tolerance: f64, want_vector: bool, what: &str) {
    let mut want = start.clone();
    loops::interp::run(f, &mut want).unwrap_or_else(|e| panic!("{e}\n{f}"));
    let mut expanded = f.clone();
    crate::passes::math::expand_math(&mut expanded, &[]);
    loops::verify(&expanded).unwrap_or_else(|e| panic!("{}\n{expanded}", helion_ir::diag::render(&e)));
    for way in ways() {
        let source = if way.vectorise { &expanded } else { f };
        let k = compile(source, &way).unwrap_or_else(|e| panic!("{e}\n{way:?}\n{f}"));
        let mut got = start.clone();
        execute(&k, &mut got);
        for (i, p) in f.params.iter().enumerate() {
            if let (Some(g), Some(w)) = (got.tensor(i), want.tensor(i)) {
                let close = g.close_to(w, tolerance, tolerance);
                close.unwrap_or_else(|e| panic!("{way:?} {what} `{}`: {e}\n{source}\n{}", p.name, k.vector_programs()));
            }
        }
        if want_vector && way.isa.is_some_and(|i| i != vector::Isa::Clif128) {
            assert!(k.vector_programs().contains("u1:"), "{way:?}: no vector program in\n{source}");
        }
    }
}
