//! What was measured as JSON, and that JSON as Markdown tables.
//!
//! A run is one JSON object: `machine`, `date`, `threads`, `quick`, `versions` of the peers, `ceilings` in operations or
//! bytes per second, `cases`, and `failed` (cases without numbers, and why). A case has `kernel`, `shape`, `work` and its
//! `unit`, `ceiling` (which one bounds it), and `contestants`: `name`, `kind` (`untuned`, `tuned`, `peer`, `packed`),
//! `seconds` of a call, its `spread` (half the distance between the quartiles, relative), and `ratio`, the time over that of
//! untuned helion in the same round, with `ratio_spread`.

use std::fmt::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cases::{Context, Measured, Work};
use crate::race::{Kind, Outcome};
use crate::{ceilings, date};

/// What this machine can do at most with the threads of a run.
pub struct Ceilings {
    flops: f64,
    copy: f64,
    read: f64,
}

impl Ceilings {
    /// Measures them.
    pub fn measure(threads: usize) -> Ceilings {
        let both = ceilings::measure(threads);
        Ceilings { flops: both.flops, copy: both.bytes, read: ceilings::measure_reading(threads) }
    }
}

impl fmt::Display for Ceilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [flops, copy, read] = [self.flops, self.copy, self.read].map(|v| v / 1e9);
        write!(f, "{flops:.0} Gflop/s in f32, {copy:.0} GB/s copying, {read:.0} GB/s reading")
    }
}

/// What helion knows of the processor: its model, stepping or features.
fn processor(fact: &str) -> String {
    let facts = helion_codegen::cpu::identity();
    facts.into_iter().find(|(name, _)| *name == fact).map(|(_, value)| value).unwrap_or_default()
}

/// Whether the processor has an extension of its instructions.
pub fn has(feature: &str) -> bool {
    processor("features").split(' ').any(|f| f == feature)
}

/// The widest vectors of the processor.
fn vectors() -> &'static str {
    let known = [("avx512bf16", "AVX-512 with bf16"), ("avx512f", "AVX-512"), ("avx2", "AVX2")];
    known.iter().find(|v| has(v.0)).map_or("no AVX2", |v| v.1)
}

/// The machine: processor with family, model and stepping, vectors, cores, memory, system.
fn machine() -> String {
    let line = |path: &str, name: &str| -> Option<String> {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.lines().find_map(|l| l.strip_prefix(name))?.trim().trim_matches('"').to_owned())
    };
    let kib = line("/proc/meminfo", "MemTotal:").and_then(|m| m.split(' ').next()?.parse::<f64>().ok());
    let memory = kib.map_or(String::new(), |k| format!(", {:.0} GiB", k / f64::from(1 << 20)));
    let system = line("/etc/os-release", "PRETTY_NAME=").unwrap_or_else(|| std::env::consts::OS.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (model, stepping) = (processor("model"), processor("stepping"));
    format!("{model} ({stepping}, {}), {cores} cores{memory}, {system}", vectors())
}

/// A name for the files of this machine.
pub fn slug() -> String {
    let text = format!("{} {} {}", processor("model"), processor("stepping"), vectors()).to_lowercase();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// A run.
///
/// # Errors
/// When the peers do not say their versions.
pub fn json(context: &Context, ceilings: &Ceilings) -> Result<Value, String> {
    let cases: Vec<Value> = context.measured.borrow().iter().map(case).collect();
    let failed: Vec<Value> = context.failed.borrow().iter().map(|(case, why)| json!([case, why])).collect();
    Ok(json!({
        "machine": machine(), "date": date::today(), "threads": context.threads, "quick": context.options.quick,
        "versions": context.python.versions()?,
        "ceilings": { "flops": ceilings.flops, "copy": ceilings.copy, "read": ceilings.read },
        "cases": cases, "failed": failed,
    }))
}

fn case(m: &Measured) -> Value {
    let (work, unit, ceiling) = match m.work {
        Work::Operations(n) => (n, "operations", Some("flops")),
        Work::Bytes(n) => (n, "bytes", Some("copy")),
        Work::Read(n) => (n, "bytes", Some("read")),
        Work::Things(n, unit) => (n, unit, None),
    };
    let contestant = |o: &Outcome| {
        let kind = match o.kind {
            Kind::Untuned => "untuned",
            Kind::Tuned => "tuned",
            Kind::Peer => "peer",
            Kind::Packed => "packed",
        };
        json!({
            "name": o.name, "kind": kind, "seconds": round(o.median), "spread": round(o.spread),
            "ratio": round(o.ratio), "ratio_spread": round(o.ratio_spread),
        })
    };
    let contestants: Vec<Value> = m.outcomes.iter().map(contestant).collect();
    json!({
        "kernel": m.kernel, "shape": m.shape, "work": work, "unit": unit, "ceiling": ceiling, "contestants": contestants,
    })
}

/// To four digits: more would be noise in every commit.
fn round(v: f64) -> f64 {
    format!("{v:.3e}").parse().unwrap_or(v)
}

/// Runs as the text of a file, a case to a line.
pub fn file(runs: &[Value]) -> String {
    let mut text = String::from("[");
    for (i, run) in runs.iter().enumerate() {
        text.push_str(if i == 0 { "\n{" } else { ",\n{" });
        for (name, value) in run.as_object().into_iter().flatten().filter(|(name, _)| *name != "cases") {
            let _ = write!(text, "\"{name}\": {value},\n ");
        }
        let cases: Vec<String> = run["cases"].as_array().into_iter().flatten().map(Value::to_string).collect();
        let _ = write!(text, "\"cases\": [\n{}]}}", cases.join(",\n"));
    }
    text.push_str("]\n");
    text
}

/// What the progress shows of a case.
pub fn line(m: &Measured, elapsed: Duration) -> String {
    let of = |kind| m.outcomes.iter().filter(move |o| o.kind == kind);
    let best = |kind| of(kind).min_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let first = m.outcomes.first().map_or(0.0, |o| o.median);
    let mut text =
        format!("{:4} s  {:<42} {:>10}", elapsed.as_secs(), format!("{} {}", m.kernel, m.shape), time(first));
    let tuned = best(Kind::Tuned).map_or(1.0, |t| t.ratio);
    let _ = write!(text, "  tuned {:.2}×", 1.0 / tuned);
    for (kind, what) in [(Kind::Peer, ""), (Kind::Packed, "; packed")] {
        if let Some(p) = best(kind) {
            let _ = write!(text, "{what}  {:.2}, tuned {:.2} of {}", p.ratio, p.ratio / tuned, p.name);
        }
    }
    text
}

/// A contestant of a case in a run.
fn of_kind<'a>(case: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    case["contestants"].as_array().into_iter().flatten().filter(move |c| c["kind"] == kind)
}

/// The fastest contestant of a kind.
pub fn fastest<'a>(case: &'a Value, kind: &'a str) -> Option<&'a Value> {
    of_kind(case, kind).min_by(|a, b| f(&a["ratio"]).total_cmp(&f(&b["ratio"])))
}

/// A number of a run.
pub fn f(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// How a case is called: kernel and shape.
pub fn title(case: &Value) -> String {
    let word = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
    format!("{} {}", word("kernel").replace('_', " "), word("shape"))
}

/// The tables of some runs.
pub fn markdown(runs: &[Value]) -> String {
    let mut text = String::new();
    for run in runs {
        table(run, &mut text);
    }
    text
}

fn table(run: &Value, text: &mut String) {
    let (threads, c) = (&run["threads"], &run["ceilings"]);
    let word = |name: &str| run["versions"][name].as_str().unwrap_or("?").to_owned();
    let _ = writeln!(text, "## {threads} {}\n", if *threads == 1 { "thread" } else { "threads" });
    let _ = writeln!(
        text,
        "{}, on {}. PyTorch {}, onnxruntime {}, numpy {}. Ceilings: {:.0} Gflop/s in f32 multiply-adds, {:.0} GB/s copying, \
         {:.0} GB/s reading.\n",
        run["date"].as_str().unwrap_or_default(),
        run["machine"].as_str().unwrap_or_default(),
        word("PyTorch"),
        word("onnxruntime"),
        word("numpy"),
        f(&c["flops"]) / 1e9,
        f(&c["copy"]) / 1e9,
        f(&c["read"]) / 1e9,
    );
    let _ = writeln!(
        text,
        "| | helion | rate | of the ceiling | tuned | times as fast as | the best | packed before | all |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|---|---|");
    for case in run["cases"].as_array().into_iter().flatten() {
        row(case, c, text);
    }
    let failed = run["failed"].as_array().into_iter().flatten();
    let failed: Vec<String> = failed.filter_map(|f| Some(format!("{} ({})", f[0].as_str()?, f[1].as_str()?))).collect();
    if !failed.is_empty() {
        let _ = writeln!(text, "\nWithout numbers: {}.", failed.join("; "));
    }
    text.push('\n');
}

fn row(case: &Value, ceilings: &Value, text: &mut String) {
    let Some(ours) = fastest(case, "untuned") else { return };
    let tuned = fastest(case, "tuned");
    let rate = f(&case["work"]) / f(&ours["seconds"]);
    let shown = match case["unit"].as_str() {
        Some("operations") => format!("{:.1} Gop/s", rate / 1e9),
        Some("bytes") => format!("{:.1} GB/s", rate / 1e9),
        Some(unit) => format!("{rate:.0} {unit}/s"),
        None => String::new(),
    };
    let ceiling =
        case["ceiling"].as_str().map_or(String::new(), |c| format!("{:.0} %", 100.0 * rate / f(&ceilings[c])));
    let gain = tuned.map_or(String::new(), |t| format!("{:.2}×", 1.0 / f(&t["ratio"])));
    let than = |peer: &Value| {
        let tuned = tuned.map_or(String::new(), |t| format!(", tuned {:.2}", f(&peer["ratio"]) / f(&t["ratio"])));
        format!("**{:.2}** ±{:.2}{tuned}", f(&peer["ratio"]), f(&peer["ratio_spread"]))
    };
    let name = |c: &Value| c["name"].as_str().unwrap_or_default().to_owned();
    let (best, packed) = (fastest(case, "peer"), fastest(case, "packed"));
    let everybody = of_kind(case, "peer").chain(of_kind(case, "packed"));
    let everybody: Vec<String> = everybody.map(|c| format!("{} {}", name(c), time(f(&c["seconds"])))).collect();
    let _ = writeln!(
        text,
        "| {} | {} ±{:.1} % | {shown} | {ceiling} | {gain} | {} | {} | {} | {} |",
        title(case),
        time(f(&ours["seconds"])),
        100.0 * f(&ours["spread"]),
        best.map_or(String::new(), than),
        best.map_or(String::new(), name),
        packed.map_or(String::new(), |p| format!("{:.2} {}", f(&p["ratio"]), name(p))),
        everybody.join(", "),
    );
}

/// A time with a fitting unit.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.2} µs", s * 1e6),
        s => format!("{:.2} ms", s * 1e3),
    }
}
