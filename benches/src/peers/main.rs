//! helion beside its peers on a CPU: measures, and makes tables and a chart of what was measured.
//!
//! ```sh
//! helion-benches measure [--quick] [--seconds N] [KERNEL…] > one.json     # with the threads of HELION_THREADS
//! helion-benches report [--chart FILE.svg] [--json ALL.json] one.json two.json > table.md
//! helion-benches machine                             # a name for files
//! ```
//!
//! `./scripts/bench` runs the first once for each number of threads, since every peer has a setting of its own for them, and
//! then the second.

mod bert;
mod cases;
mod chart;
mod crates;
mod python;
mod race;
mod report;

#[path = "../../../examples/tour/ceilings.rs"]
mod ceilings;
#[path = "../date.rs"]
mod date;

/// The kernels are those of the examples, unchanged.
macro_rules! examples {
    ($($name:ident = $path:literal;)*) => {
        $(
            #[path = $path]
            #[allow(dead_code, clippy::duplicate_mod, reason = "the example's own main, and its support")]
            mod $name;
        )*
    };
}
examples! {
    attention = "../../../examples/attention.rs";
    batched_matmul = "../../../examples/batched_matmul.rs";
    cross_entropy = "../../../examples/cross_entropy.rs";
    embedding = "../../../examples/embedding.rs";
    int4_matmul = "../../../examples/int4_matmul.rs";
    int8_matmul = "../../../examples/int8_matmul.rs";
    layer_norm = "../../../examples/layer_norm.rs";
    matmul = "../../../examples/matmul.rs";
    pointwise = "../../../examples/pointwise.rs";
    rms_norm = "../../../examples/rms_norm.rs";
    segment_sum = "../../../examples/segment_sum.rs";
    softmax = "../../../examples/softmax.rs";
    swiglu = "../../../examples/swiglu.rs";
    vector_add = "../../../examples/vector_add.rs";
    kernels = "../../../examples/minilm/kernels.rs";
    tokens = "../../../examples/minilm/tokens.rs";
}
#[path = "../../../examples/minilm/model.rs"]
#[allow(dead_code, reason = "the example embeds texts, this only token numbers")]
mod minilm;

use cases::{Context, GROUPS, Options};
use report::Ceilings;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first().map(|(c, rest)| (c.as_str(), rest)) {
        Some(("measure", rest)) => measure(rest),
        Some(("report", rest)) => make_report(rest),
        Some(("machine", _)) => {
            println!("{}", report::slug());
            Ok(())
        }
        _ => Err("expected `measure`, `report` or `machine`".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: &[String]) -> Result<(), String> {
    let mut options = Options { quick: false, wanted: Vec::new(), seconds: f64::INFINITY };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => options.quick = true,
            "--seconds" => {
                let seconds = words.next().and_then(|w| w.parse().ok());
                options.seconds = seconds.ok_or("--seconds needs a number")?;
            }
            option if option.starts_with('-') => return Err(format!("unknown option `{option}`")),
            name => options.wanted.push(name.to_owned()),
        }
    }
    let context = Context::new(options)?;
    let ceilings = Ceilings::measure(context.threads);
    eprintln!("{} threads; {ceilings}", context.threads);
    for (name, group) in GROUPS {
        if let Err(e) = group(&context) {
            eprintln!("{name}: {e}");
            context.failed.borrow_mut().push((name.to_owned(), e));
        }
    }
    println!("{:#}", report::json(&context, &ceilings)?);
    Ok(())
}

fn make_report(words: &[String]) -> Result<(), String> {
    let (mut chart, mut all, mut files) = (None, None, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--chart" => chart = Some(words.next().ok_or("--chart needs a file")?),
            "--json" => all = Some(words.next().ok_or("--json needs a file")?),
            _ => files.push(word),
        }
    }
    let mut runs = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        runs.push(serde_json::from_str(&text).map_err(|e| format!("{file}: {e}"))?);
    }
    if let Some(path) = chart {
        std::fs::write(path, chart::svg(&runs)).map_err(|e| format!("{path}: {e}"))?;
    }
    if let Some(path) = all {
        std::fs::write(path, report::file(&runs)).map_err(|e| format!("{path}: {e}"))?;
    }
    print!("{}", report::markdown(&runs));
    Ok(())
}
