//! The tables of `BENCHMARKS.md`: helion beside its peers, in one process and in turns.
//!
//! `./scripts/bench` runs this once for each number of threads; `HELION_THREADS` says which. Names of
//! benches as arguments select some of them.

mod candle;
mod cases;
mod race;
mod report;
mod torch;

#[path = "../../examples/matmul.rs"]
#[allow(dead_code)]
mod matmul;
#[path = "../../examples/rms_norm.rs"]
#[allow(dead_code)]
mod rms_norm;
#[path = "../../examples/softmax.rs"]
#[allow(dead_code)]
mod softmax;
#[path = "../../examples/vector_add.rs"]
#[allow(dead_code)]
mod vector_add;

#[path = "../../examples/minilm/kernels.rs"]
mod kernels;
#[path = "../../examples/minilm/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../../examples/minilm/tokens.rs"]
mod tokens;

use cases::{CASES, Context};

fn main() -> std::process::ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.iter().any(|w| w == "--machine") {
        println!("{}", report::machine());
        return std::process::ExitCode::SUCCESS;
    }
    let mut failed = false;
    let context = match Context::new() {
        Ok(c) => c,
        Err(e) => {
            eprintln!("error: {e}");
            return std::process::ExitCode::FAILURE;
        }
    };
    report::heading(context.threads, &context.torch.version);
    for (name, case) in CASES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            eprintln!("{name}, {} threads …", context.threads);
            if let Err(e) = case(&context) {
                eprintln!("error: {name}: {e}");
                failed = true;
            }
        }
    }
    if failed { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}
