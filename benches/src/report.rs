//! Races as Markdown tables.

use crate::race::Outcome;

/// Prints what the tables below were measured on.
pub fn heading(threads: usize, torch: &str) {
    println!("## {threads} {}\n", if threads == 1 { "thread" } else { "threads" });
    println!("PyTorch {torch}.\n");
}

/// The machine: processor, cores, memory, system.
pub fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|l| l.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpu = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_else(|| "unknown memory".to_owned());
    let system = field(&read("/etc/os-release").replace('=', ":"), "PRETTY_NAME").unwrap_or_default();
    format!("{cpu}, {cores} cores, {memory}, {}", system.trim_matches('"'))
}

/// Prints one table: a row for each contestant, with the ratio of its time to the first one's.
pub fn table(title: &str, rate: Option<(&str, f64)>, outcomes: &[Outcome]) {
    let first = outcomes.first().map_or(1.0, |o| o.median);
    println!("### {title}\n");
    println!("| | time | spread | {} | helion is |", rate.map_or("", |r| r.0));
    println!("|---|---|---|---|---|");
    for (i, o) in outcomes.iter().enumerate() {
        let per_second = rate.map_or(String::new(), |(_, work)| format!("{:.1}", work / o.median));
        let ratio = if i == 0 { String::new() } else { format!("{:.2} times as fast", o.median / first) };
        println!("| {} | {} | ±{:.1} % | {per_second} | {ratio} |", o.name, time(o.median), o.spread * 100.0);
    }
    println!();
}

/// A time with a fitting unit.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.2} µs", s * 1e6),
        s => format!("{:.3} ms", s * 1e3),
    }
}
