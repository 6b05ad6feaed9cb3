//! What is measured.

use std::path::Path;
use std::time::Instant;

use gemm::Parallelism;
use helion::prelude::*;
use helion::with_config;

use crate::candle::{self, Candle};
use crate::matmul::{identity, matmul};
use crate::model::MiniLm;
use crate::race::{Contestant, Outcome, quantile, race};
use crate::report::table;
use crate::rms_norm::rms_norm;
use crate::softmax::softmax;
use crate::tokens::Batch;
use crate::torch::Torch;
use crate::vector_add::add;

/// What the cases share.
pub struct Context {
    /// Threads of every contestant.
    pub threads: usize,
    /// The PyTorch process.
    pub torch: Torch,
}

impl Context {
    /// Starts the peers.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new() -> Result<Context, String> {
        let threads = helion::settings::threads();
        Ok(Context { threads, torch: Torch::start(threads)? })
    }
}

type Case = fn(&Context) -> Result<(), String>;

/// Every bench by name.
pub const CASES: [(&str, Case); 6] = [
    ("matmul", matmul_1024),
    ("softmax", softmax_4096),
    ("rms_norm", rms_norm_4096),
    ("call", call_overhead),
    ("compile", compile_time),
    ("minilm", minilm),
];

fn words(e: helion::Error) -> String {
    e.to_string()
}

fn numbers<const R: usize>(dims: [usize; R]) -> Result<Tensor<f32, R>, String> {
    let numbers = crate::softmax::support::Data::plain().numbers(dims.iter().product());
    Tensor::from_vec(dims, numbers).map_err(words)
}

fn matmul_1024(context: &Context) -> Result<(), String> {
    const S: usize = 1024;
    let (a, b) = (numbers([S, S])?, numbers([S, S])?);
    let (plain_a, plain_b) = (a.to_vec().map_err(words)?, b.to_vec().map_err(words)?);
    let mut c = vec![0.0f32; S * S];
    let parallelism = if context.threads == 1 { Parallelism::None } else { Parallelism::Rayon(context.threads) };
    let gemm_crate = || {
        let s = S as isize;
        // SAFETY: three row-major S × S matrices; `c` is not read or written by anything else meanwhile.
        unsafe {
            gemm::gemm(
                S,
                S,
                S,
                c.as_mut_ptr(),
                1,
                s,
                false,
                plain_a.as_ptr(),
                1,
                s,
                plain_b.as_ptr(),
                1,
                s,
                0.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
        Ok::<_, String>(())
    };
    let outcomes = race(vec![
        Contestant::new("helion", || matmul(&a, &b, identity)),
        Contestant::new("`gemm` crate", gemm_crate),
        context.torch.contestant("matmul"),
    ])?;
    table("f32 matrix product, 1024 × 1024 × 1024", Some(("Gflop/s", 2.0 * (S * S * S) as f64 / 1e9)), &outcomes);
    Ok(())
}

fn softmax_4096(context: &Context) -> Result<(), String> {
    let x = numbers([4096, 4096])?;
    let outcomes = race(vec![Contestant::new("helion", || softmax(&x)), context.torch.contestant("softmax")])?;
    table("softmax, 4096 × 4096 f32", Some(("GB/s", 2.0 * 4.0 * 4096.0 * 4096.0 / 1e9)), &outcomes);
    Ok(())
}

fn rms_norm_4096(context: &Context) -> Result<(), String> {
    let (x, w) = (numbers([4096, 4096])?, numbers([4096])?);
    let ours = Contestant::new("helion", || rms_norm(&x, &w, 1e-5));
    let outcomes = race(vec![ours, context.torch.contestant("rms_norm")])?;
    table("RMS norm, 4096 × 4096 f32", Some(("GB/s", 2.0 * 4.0 * 4096.0 * 4096.0 / 1e9)), &outcomes);
    Ok(())
}

/// A call of a compiled kernel with next to nothing to do, output allocation included.
fn call_overhead(context: &Context) -> Result<(), String> {
    let x = numbers([1024])?;
    let ours = Contestant::timed_elsewhere("helion", || {
        let begin = Instant::now();
        for _ in 0..10_000 {
            std::hint::black_box(add(&x, &x).map_err(words)?);
        }
        Ok(begin.elapsed().as_secs_f64() / 10_000.0)
    });
    let outcomes = race(vec![ours, context.torch.contestant("add")])?;
    table("one call: sum of two vectors of 1,024 elements", None, &outcomes);
    Ok(())
}

/// First calls with configs never used before, less later calls with the same config.
fn compile_time(_: &Context) -> Result<(), String> {
    let (a, b) = (numbers([64, 64])?, numbers([64, 64])?);
    let product = compile_times("matrix product", |c| with_config(c, || matmul(&a, &b, identity)).map(drop))?;
    let rows = compile_times("softmax", |c| with_config(c, || softmax(&a)).map(drop))?;
    println!("### compiling one config, from recording to machine code\n");
    println!("| | time | spread |\n|---|---|---|");
    for o in [product, rows] {
        println!("| {} | {} | ±{:.1} % |", o.name, crate::report::time(o.median), o.spread * 100.0);
    }
    println!();
    Ok(())
}

fn compile_times(name: &str, call: impl Fn(&Config) -> helion::Result<()>) -> Result<Outcome, String> {
    let mut times = Vec::new();
    for block in 1..=40 {
        let config = Config::new().block("tm", block);
        let seconds = || -> Result<f64, String> {
            let begin = Instant::now();
            call(&config).map_err(words)?;
            Ok(begin.elapsed().as_secs_f64())
        };
        let (first, second) = (seconds()?, seconds()?);
        times.push(first - second);
    }
    let (low, median, high) = (quantile(&mut times, 0.25), quantile(&mut times, 0.5), quantile(&mut times, 0.75));
    Ok(Outcome { name: name.to_owned(), median, spread: (high - low) / 2.0 / median })
}

/// The sentences of the fixture, sorted by length and in batches of eight, through the whole model.
fn minilm(_: &Context) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/all-MiniLM-L6-v2");
    let model = MiniLm::open(&folder).map_err(words)?;
    let peer = Candle::open(&folder.join("model.safetensors"))?;
    let text = include_str!("../../tests/fixtures/minilm/sentences.txt");
    let sentences: Vec<&str> = text.lines().collect();
    let mut tokens = model.tokens().encode(&sentences).map_err(words)?;
    tokens.sort_by_key(Vec::len);
    let rows: Vec<&[i64]> = tokens.iter().map(Vec::as_slice).collect();
    let ours: Vec<Batch> = rows.chunks(8).map(Batch::new).collect::<helion::Result<_>>().map_err(words)?;
    let theirs: Vec<candle::Batch> = rows.chunks(8).map(candle::Batch::new).collect::<Result<_, _>>()?;
    same_vectors(&model, &ours, &peer, &theirs)?;

    let all_of_ours = || ours.iter().map(|b| model.forward(b)).collect::<helion::Result<Vec<_>>>();
    let all_of_theirs = || theirs.iter().map(|b| peer.forward(b)).collect::<Result<Vec<_>, _>>();
    let outcomes = race(vec![Contestant::new("helion", all_of_ours), Contestant::new("candle", all_of_theirs)])?;
    let title = format!("all-MiniLM-L6-v2, {} sentences of 3 to 256 tokens in batches of 8", sentences.len());
    table(&title, Some(("sentences/s", sentences.len() as f64)), &outcomes);
    Ok(())
}

/// A race between different computations would say nothing.
fn same_vectors(model: &MiniLm, ours: &[Batch], peer: &Candle, theirs: &[candle::Batch]) -> Result<(), String> {
    for (a, b) in ours.iter().zip(theirs) {
        let (a, b) = (model.forward(a).and_then(|t| t.to_vec()).map_err(words)?, peer.forward(b)?);
        for (x, y) in a.chunks(384).zip(&b) {
            let cosine: f32 = x.iter().zip(y).map(|(x, y)| x * y).sum();
            if cosine < 0.9999 {
                return Err(format!("candle's vector differs: cosine {cosine}"));
            }
        }
    }
    Ok(())
}
