//! How often a search calls a difference where there is none.
//!
//! In: how many trials. Out: a table. Each trial is a whole search (heats, final, decision) over a tunable that the
//! kernel registers and does not use, so that every candidate is the same kernel under another name. The default is
//! the right answer; a winner that claims to be faster by more than 3 % is a false alarm.

use crate::measure::quantile;
use helion::Tuner;
use helion::prelude::*;

/// A gain above this is called a difference.
const DIFFERENCE: f64 = 1.03;
/// Seconds of a search.
const SECONDS: f64 = 0.8;

/// `2 x`, whatever the tunable says.
#[kernel(no_test)]
fn twice(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    tunable::integer("nothing", 0..=5).get()?;
    let mut out = x.empty_like();
    for t in tile(x.dims()[0]) {
        out[t] = x[t] * 2.0;
    }
    Ok(out)
}

/// The norm of each row, whatever the tunable says.
#[kernel(no_test)]
fn norms(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 1>> {
    tunable::integer("nothing", 0..=5).get()?;
    let [m, _] = x.dims();
    let mut out = x.empty([m]);
    for tm in tile(m) {
        let row = x[(tm, ..)];
        out[tm] = (row * row).sum(1).sqrt().squeeze(1);
    }
    Ok(out)
}

type Search = Box<dyn Fn(Tuner) -> Result<helion::Tuned>>;

/// Runs the trials and prints the table.
///
/// # Errors
/// When a search fails.
pub fn run(trials: u64) -> Result<(), String> {
    let words = |e: helion::Error| e.to_string();
    let vector = |n: usize| Tensor::from_fn([n], |[i]| (i % 97) as f32 / 97.0);
    let rows = |m: usize, n: usize| Tensor::from_fn([m, n], |[i, j]| ((i + j) % 89) as f32 / 89.0);
    let (small, large) = (vector(4096), vector(1 << 20));
    let (few, many) = (rows(32, 500), rows(1000, 1000));
    let kernels: Vec<(&str, Search)> = vec![
        ("vector of 4,096 numbers, doubled", Box::new(move |t| twice::tune(&small, t))),
        ("vector of 1,048,576 numbers, doubled", Box::new(move |t| twice::tune(&large, t))),
        ("norms of 32 rows of 500 numbers", Box::new(move |t| norms::tune(&few, t))),
        ("norms of 1,000 rows of 1,000 numbers", Box::new(move |t| norms::tune(&many, t))),
    ];
    println!("### Searches among identical candidates\n");
    println!("| kernel | searches | gain claimed | above 3 % | median noise between copies | largest |");
    println!("|---|---|---|---|---|---|");
    let (mut all, mut false_alarms) = (0, 0);
    let count = kernels.len() as u64;
    for (n, (name, search)) in kernels.iter().enumerate() {
        let seeds: Vec<u64> = (0..trials).filter(|t| t % count == n as u64).collect();
        let (mut claims, mut above, mut noise) = (0, 0, Vec::new());
        for seed in &seeds {
            // Of the launches themselves there is nothing to be found here.
            let tuner = Tuner::quick().seconds(SECONDS).seed(*seed).cut(1).progress(false);
            let found = search(tuner).map_err(words)?;
            let outcome = found.tunings.first().and_then(|t| t.outcome.as_ref()).ok_or("nothing was searched")?;
            claims += usize::from(outcome.best != outcome.default);
            above += usize::from(outcome.best != outcome.default && outcome.gain() > DIFFERENCE);
            noise.push(outcome.noise.ratio);
        }
        let middle = (quantile(&mut noise, 0.5) - 1.0) * 100.0;
        let most = (quantile(&mut noise, 1.0) - 1.0) * 100.0;
        println!("| {name} | {} | {claims} | {above} | {middle:.2} % | {most:.2} % |", seeds.len());
        all += seeds.len();
        false_alarms += above;
    }
    println!("\nA difference above 3 % between identical candidates was called in {false_alarms} of {all} searches.\n");
    Ok(())
}
