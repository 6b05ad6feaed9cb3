//! `TABLE.md`: what the code of every kernel uses with its default config, kept so that it cannot silently get worse.
//!
//! In: measured rows. Out: the first differences for the worse from the stored ones, or a new page under
//! `HELION_BLESS=1`.
#![cfg_attr(not(feature = "llvm"), allow(dead_code, reason = "without code there is nothing to measure"))]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::sass::MainLoop;
use crate::tools::Usage;

/// What is kept of a kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory: declared, and asked for at launch.
    pub shared: u32,
    /// Bytes of a thread's stack, spills included.
    pub stack: u32,
    /// Instructions of the main loop for each `m16n8k16` product of a warp, in hundredths; 0 without matrix
    /// instructions.
    pub per_product: u32,
}

impl Row {
    /// From what the tools say, and what a launch asks for.
    pub fn new(usage: &Usage, asked: u32, main_loop: Option<&MainLoop>) -> Row {
        let per_product = main_loop.map_or(0, |l| (l.per_product() * 100.0).round() as u32);
        Row { registers: usage.registers, shared: usage.shared + asked, stack: usage.stack, per_product }
    }
    fn columns(&self) -> [(&'static str, u32); 4] {
        let Row { registers, shared, stack, per_product } = *self;
        [("registers", registers), ("shared", shared), ("stack", stack), ("loop", per_product)]
    }
}

/// All rows, by kernel and target.
pub type Rows = BTreeMap<(String, String), Row>;

/// The page.
pub fn page(rows: &Rows, versions: &str) -> String {
    let mut page = format!(
        "# What GPU code uses\n\nWritten by `HELION_BLESS=1 cargo test --features llvm --test gpu`, with {versions}. \
         Default configs; registers and bytes of stack of a thread, bytes of shared memory of a block, and instructions \
         of the main loop for each `m16n8k16` product of a warp, where there is a loop with matrix instructions.\n\n\
         | kernel | target | registers | shared | stack | loop |\n|---|---|---:|---:|---:|---:|\n"
    );
    for ((kernel, target), r) in rows {
        let per = if r.per_product == 0 { String::new() } else { format!("{:.2}", f64::from(r.per_product) / 100.0) };
        let _ = writeln!(page, "| {kernel} | {target} | {} | {} | {} | {per} |", r.registers, r.shared, r.stack);
    }
    page
}

/// Reads a page back; lines that are no rows are skipped.
pub fn read(page: &str) -> Rows {
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::trim).collect();
        // An empty last cell leaves its bar behind.
        let [kernel, target, registers, shared, stack, rest @ ..] = &cells[..] else { return None };
        let per = rest.first().map_or(0.0, |cell| cell.parse::<f64>().unwrap_or(0.0));
        let row = Row {
            registers: registers.parse().ok()?,
            shared: shared.parse().ok()?,
            stack: stack.trim_end_matches('|').trim().parse().ok()?,
            per_product: (per * 100.0).round() as u32,
        };
        Some(((kernel.to_string(), target.to_string()), row))
    };
    page.lines().filter_map(row).collect()
}

/// What is worse than stored, new or gone.
pub fn worse(stored: &Rows, measured: &Rows) -> Vec<String> {
    let mut found = Vec::new();
    for (key, row) in measured {
        let (kernel, target) = key;
        let Some(old) = stored.get(key) else {
            found.push(format!("{kernel} {target}: not in the table"));
            continue;
        };
        for ((what, now), (_, before)) in row.columns().into_iter().zip(old.columns()) {
            // A main loop that lost its matrix instructions is no improvement.
            if now > before || (what == "loop" && now == 0 && before > 0) {
                found.push(format!("{kernel} {target}: {what} {before} became {now}"));
            }
        }
    }
    let gone = stored.keys().filter(|key| !measured.contains_key(*key));
    found.extend(gone.map(|(kernel, target)| format!("{kernel} {target}: in the table only")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(list: &[(&str, Row)]) -> Rows {
        list.iter().map(|(k, r)| ((k.to_string(), "sm_80".to_string()), r.clone())).collect()
    }

    #[test]
    fn a_page_reads_back() {
        let plain = Row { registers: 32, shared: 0, stack: 8, per_product: 0 };
        let product = Row { registers: 254, shared: 49152, stack: 0, per_product: 198 };
        let all = rows(&[("add f32", plain), ("matmul bf16", product)]);
        assert_eq!(read(&page(&all, "ptxas 1")), all);
    }

    #[test]
    fn what_gets_worse_is_named() {
        let old = Row { registers: 100, shared: 10, stack: 0, per_product: 200 };
        let stored = rows(&[("a", old.clone()), ("b", old.clone()), ("gone", old.clone())]);
        let better = Row { registers: 90, per_product: 150, ..old.clone() };
        let slower = Row { per_product: 201, stack: 16, ..old.clone() };
        let measured = rows(&[("a", better.clone()), ("b", slower), ("new", old.clone())]);
        let found = worse(&stored, &measured);
        let want = [
            "b sm_80: stack 0 became 16",
            "b sm_80: loop 200 became 201",
            "new sm_80: not in the table",
            "gone sm_80: in the table only",
        ];
        assert_eq!(found, want);
        assert!(worse(&rows(&[("a", old.clone())]), &rows(&[("a", better)])).is_empty());
        let lost = Row { per_product: 0, ..old.clone() };
        assert_eq!(worse(&rows(&[("a", old)]), &rows(&[("a", lost)])), ["a sm_80: loop 200 became 0"]);
    }
}
