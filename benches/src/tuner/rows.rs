//! Rows of the table in a file, so that problems can be judged one after another and printed together.
//!
//! A line for each problem: its words and numbers, separated by tabs, then those of each run.

use crate::measure::{Row, Run};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Adds a row to a file.
///
/// # Errors
/// When the file cannot be written.
pub fn append(path: &Path, r: &Row) -> Result<(), String> {
    let mut cells = vec![
        r.kernel.clone(),
        r.shape.clone(),
        r.space.to_string(),
        r.timed.to_string(),
        r.same.to_string(),
        r.optimum.to_string(),
        r.untuned.to_string(),
        r.rate.to_string(),
    ];
    for run in &r.runs {
        let within = run.within.map_or(-1.0, |w| w as f64);
        let numbers = [run.ratio, within, run.measured as f64, run.seconds, run.noise];
        cells.extend(numbers.iter().map(f64::to_string));
    }
    let wrong = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(wrong)?;
    writeln!(file, "{}", cells.join("\t")).map_err(wrong)
}

/// Reads all rows of a file.
///
/// # Errors
/// When the file cannot be read, or a line is no row.
pub fn read(path: &Path) -> Result<Vec<Row>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = text.lines().enumerate();
    lines.map(|(n, line)| row(line).ok_or_else(|| format!("{}:{}: not a row", path.display(), n + 1))).collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.split('\t').collect();
    let (head, runs) = cells.split_at_checked(8)?;
    let number = |text: &str| text.parse::<f64>().ok();
    let run = |c: &[&str]| {
        let n: Vec<f64> = c.iter().filter_map(|c| number(c)).collect();
        let [ratio, within, measured, seconds, noise] = n.as_slice().try_into().ok()?;
        let within = (within >= 0.0).then_some(within as usize);
        Some(Run { ratio, within, measured: measured as usize, seconds, noise })
    };
    Some(Row {
        kernel: head[0].to_owned(),
        shape: head[1].to_owned(),
        space: head[2].parse().ok()?,
        timed: head[3].parse().ok()?,
        same: head[4].parse().ok()?,
        optimum: number(head[5])?,
        untuned: number(head[6])?,
        rate: number(head[7])?,
        runs: runs.chunks(5).map(run).collect::<Option<Vec<_>>>()?,
    })
}
