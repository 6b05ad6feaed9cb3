//! What the main loop of a GPU kernel costs. In: the text of `nvdisasm -c`. Out: [`MainLoop`].
//!
//! The main loop is the innermost loop with the most matrix work. Its instructions are those that stand between its
//! first and its last address: where the assembler moved a rare path behind the loop, it does not count.
#![allow(dead_code, reason = "not every program that includes this file uses all of it")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
struct Inst {
    /// Its name with modifiers: `HMMA.16816.F32.BF16`.
    op: String,
    /// Where it may jump, as an index into the instructions.
    target: Option<usize>,
    /// Whether the next instruction may follow.
    falls_through: bool,
}

/// The loop that matters.
#[derive(Clone, Debug, PartialEq)]
pub struct MainLoop {
    /// Instructions of one round.
    pub instructions: usize,
    /// How many of each name without modifiers, the most frequent first.
    pub counts: Vec<(String, usize)>,
    /// The matrix instruction: `HGMMA.64x128x16`.
    pub matrix: String,
    /// How many of them.
    pub matrix_count: usize,
    /// How many `m16n8k16` products of a warp they amount to: the same work in Ampere's largest instruction.
    pub products: f64,
}

impl MainLoop {
    /// Instructions for each matrix instruction.
    pub fn per_matrix(&self) -> f64 {
        self.instructions as f64 / self.matrix_count as f64
    }
    /// Instructions for each `m16n8k16` product of a warp, which compares loops with matrix instructions of
    /// different sizes.
    pub fn per_product(&self) -> f64 {
        self.instructions as f64 / self.products
    }
}

/// The main loop of a kernel; `None` when no loop has matrix instructions.
pub fn main_loop(text: &str) -> Option<MainLoop> {
    functions(text).iter().filter_map(|f| main_loop_of(f)).max_by(|a, b| a.products.total_cmp(&b.products))
}

/// The instructions of every function in the text.
fn functions(text: &str) -> Vec<Vec<Inst>> {
    let mut all: Vec<(Vec<String>, HashMap<String, usize>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(".section") && line.contains(".text.") {
            all.push(Default::default());
        }
        let Some((insts, labels)) = all.last_mut() else { continue };
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label.to_owned(), insts.len());
        } else if let Some(inst) = line.strip_prefix("/*").and_then(|l| Some(l.split_once("*/")?.1.split_once(';')?.0))
        {
            insts.push(inst.trim().to_owned());
        }
    }
    all.into_iter().map(|(insts, labels)| insts.iter().map(|i| parse(i, &labels)).collect()).collect()
}

/// One instruction from its text, such as ``@!P0 BRA `(.L_x_3)``.
fn parse(text: &str, labels: &HashMap<String, usize>) -> Inst {
    let mut rest = text;
    let predicated = text.starts_with('@');
    if predicated {
        rest = rest.split_once(' ').map_or("", |(_, r)| r).trim();
    }
    let (op, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let class = op.split('.').next().unwrap_or_default();
    // A branch for a warp that is not together leads to a slow copy of the next instruction.
    let jumps = class == "BRA" && !op.contains(".DIV");
    let label = operands.split_once("`(").and_then(|(_, l)| l.split(')').next());
    let always = !predicated && operands.trim_start().starts_with("`(");
    let ends = matches!(class, "EXIT" | "RET" | "BRX" | "JMX") && !predicated;
    Inst {
        op: op.to_owned(),
        target: label.filter(|_| jumps).and_then(|l| labels.get(l)).copied(),
        falls_through: !(ends || jumps && always),
    }
}

/// The work of a matrix instruction in `m16n8k16` products of a warp; `None` for other instructions.
fn products(op: &str) -> Option<f64> {
    let mut parts = op.split('.');
    let class = parts.next()?;
    if !class.ends_with("MMA") {
        return None;
    }
    let shape = parts.find(|p| p.starts_with(|c: char| c.is_ascii_digit()))?;
    let numbers = |s: &str| s.split('x').map(|n| n.parse::<f64>().ok()).collect::<Option<Vec<_>>>();
    let [m, n, k] = match (shape, numbers(shape)?.as_slice()) {
        ("1688", _) => [16.0, 8.0, 8.0],
        ("16816", _) => [16.0, 8.0, 16.0],
        ("16832", _) => [16.0, 8.0, 32.0],
        ("884", _) => [8.0, 8.0, 4.0],
        // Four warps share one; each does a quarter of the rows.
        (_, &[m, n, k]) => [m / 4.0, n, k],
        _ => return None,
    };
    Some(m * n * k / 2048.0)
}

fn main_loop_of(insts: &[Inst]) -> Option<MainLoop> {
    let loops = loops(insts);
    let work = |l: &BTreeSet<usize>| l.iter().filter_map(|&i| products(&insts[i].op)).sum::<f64>();
    let with_work: Vec<_> = loops.iter().filter(|l| work(l) > 0.0).collect();
    let innermost = |l: &&&BTreeSet<usize>| !with_work.iter().any(|m| m.len() < l.len() && m.is_subset(l));
    let best =
        with_work.iter().filter(innermost).max_by(|a, b| work(a).total_cmp(&work(b)).then(b.len().cmp(&a.len())))?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut matrix, mut matrix_count) = (BTreeMap::new(), 0);
    for &i in best.iter() {
        let op = &insts[i].op;
        *counts.entry(op.split('.').next().unwrap_or_default()).or_default() += 1;
        if products(op).is_some() {
            matrix_count += 1;
            let shaped: Vec<_> = op.split('.').take(2).collect();
            *matrix.entry(shaped.join(".")).or_insert(0) += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(op, n)| (op.to_owned(), n)).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let matrix = matrix.into_keys().collect::<Vec<_>>().join(" and ");
    Some(MainLoop { instructions: best.len(), counts, matrix, matrix_count, products: work(best) })
}

/// The natural loops, as sets of instructions between the loop's head and its last jump back.
fn loops(insts: &[Inst]) -> Vec<BTreeSet<usize>> {
    let n = insts.len();
    let next = |i: usize| {
        let through = (insts[i].falls_through && i + 1 < n).then_some(i + 1);
        through.into_iter().chain(insts[i].target)
    };
    let mut before = vec![Vec::new(); n];
    for i in 0..n {
        next(i).for_each(|to| before[to].push(i));
    }
    let dominators = dominators(n, &before, next);
    let dominates = |a: usize, mut b: usize| loop {
        if a == b {
            return true;
        }
        match dominators[b] {
            Some(up) if up != b => b = up,
            _ => return false,
        }
    };
    let mut found: BTreeMap<usize, (BTreeSet<usize>, usize)> = BTreeMap::new();
    for i in 0..n {
        for head in next(i).filter(|&head| dominators[i].is_some() && dominates(head, i)) {
            let (body, last) = found.entry(head).or_default();
            *last = i.max(*last);
            body.insert(head);
            let mut open = vec![i];
            while let Some(at) = open.pop() {
                if body.insert(at) {
                    open.extend(before[at].iter().filter(|&&p| dominators[p].is_some()));
                }
            }
        }
    }
    let straight = |(head, (body, last)): (usize, (BTreeSet<usize>, usize))| body.range(head..=last).copied().collect();
    found.into_iter().map(straight).collect()
}

/// The nearest dominator of every instruction that can be reached; the first is its own.
fn dominators<I: Iterator<Item = usize>>(
    n: usize,
    before: &[Vec<usize>],
    next: impl Fn(usize) -> I,
) -> Vec<Option<usize>> {
    let order = postorder(n, next);
    let mut rank = vec![0; n];
    order.iter().enumerate().for_each(|(r, &i)| rank[i] = r);
    let mut nearest: Vec<Option<usize>> = vec![None; n];
    if n > 0 {
        nearest[0] = Some(0);
    }
    let meet = |nearest: &[Option<usize>], mut a: usize, mut b: usize| {
        while a != b {
            let low = if rank[a] < rank[b] { &mut a } else { &mut b };
            *low = nearest[*low].unwrap_or(0);
        }
        a
    };
    let mut changed = true;
    while changed {
        changed = false;
        for &i in order.iter().rev().filter(|&&i| i != 0) {
            let known = before[i].iter().copied().filter(|&p| nearest[p].is_some());
            let new = known.reduce(|a, b| meet(&nearest, a, b));
            changed |= new != nearest[i];
            nearest[i] = new;
        }
    }
    nearest
}

/// What can be reached from the first instruction, each after everything it leads to.
fn postorder<I: Iterator<Item = usize>>(n: usize, next: impl Fn(usize) -> I) -> Vec<usize> {
    let (mut order, mut seen) = (Vec::new(), vec![false; n]);
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    if n > 0 {
        seen[0] = true;
        open.push((0, next(0).collect()));
    }
    while let Some((at, rest)) = open.last_mut() {
        match rest.pop() {
            Some(to) if seen[to] => {}
            Some(to) => {
                seen[to] = true;
                open.push((to, next(to).collect()));
            }
            None => {
                order.push(*at);
                open.pop();
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text as `nvdisasm` writes it, from lines that are labels or instructions.
    fn listing(lines: &[&str]) -> String {
        let mut text = String::from("\t.section\t.text.k,\"ax\",@progbits\n.text.k:\n");
        for (i, line) in lines.iter().enumerate() {
            if line.ends_with(':') {
                text += &format!("{line}\n");
            } else {
                text += &format!("        /*{:04x}*/                   {line} ;\n", 16 * i);
            }
        }
        text
    }

    #[test]
    fn the_innermost_loop_with_matrix_work_counts() {
        let text = listing(&[
            "MOV R1, c[0x0][0x28]",
            ".L_x_0:",
            "LDSM.16.M88.4 R4, [R2]",
            ".L_x_1:",
            "HMMA.16816.F32.BF16 R8, R4, R5, R8",
            "HMMA.16816.F32.BF16 R8, R4, R5, R8",
            "IADD3 R2, R2, 0x1, RZ",
            "@P0 BRA `(.L_x_1)",
            "@!P1 BRA `(.L_x_0)",
            "EXIT",
        ]);
        let found = main_loop(&text).expect("a loop");
        assert_eq!((found.instructions, found.matrix_count, found.products), (4, 2, 2.0));
        assert_eq!(found.matrix, "HMMA.16816");
        assert_eq!(found.counts[0], ("HMMA".to_owned(), 2));
        assert_eq!(found.per_matrix(), 2.0);
    }

    #[test]
    fn rare_paths_behind_the_loop_do_not_count() {
        let text = listing(&[
            "MOV R1, c[0x0][0x28]",
            ".L_x_0:",
            "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0",
            "@!P0 BRA `(.L_x_2)",
            ".L_x_1:",
            "HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24",
            "BRA.DIV UR4, `(.L_x_2)",
            "@P1 BRA `(.L_x_0)",
            "EXIT",
            ".L_x_2:",
            "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0",
            "@!P0 BRA `(.L_x_2)",
            "BRA `(.L_x_1)",
        ]);
        let found = main_loop(&text).expect("a loop");
        assert_eq!((found.instructions, found.matrix_count), (5, 1));
        assert_eq!(found.products, 16.0);
    }

    #[test]
    fn a_kernel_without_matrix_loop_has_none() {
        assert_eq!(main_loop(&listing(&[".L_x_0:", "FADD R1, R1, R2", "@P0 BRA `(.L_x_0)", "EXIT"])), None);
        assert_eq!(main_loop(&listing(&["HMMA.16816.F32 R8, R4, R5, R8", "EXIT"])), None);
        assert_eq!(main_loop(""), None);
    }
}
