//! Compares strategies on kernels that do not exist, whose optimum is known.
//!
//! `cargo run --release -p helion-autotune --example strategies [seeds] [configs]` prints, for each surface and cost
//! model, how far the found config is from the optimum: median and 95th percentile over seeds.

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use helion_autotune::{Budget, Effort, Task, search, strategy};
use synthetic::{BUSY, Model, SURFACES, Synthetic};

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|a| a.parse::<usize>().ok());
    let (seeds, configs) = (args.next().unwrap_or(40), args.next().unwrap_or(48));
    println!("time of the found config over the optimum, {configs} configs, {seeds} seeds: median, 95th percentile\n");
    println!("| surface | configs | default | random | guided, no model | good model | useless | misleading |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut all = vec![Vec::new(); 5];
    for kind in SURFACES {
        let bench = Synthetic::new((kind.make)(), BUSY, 0);
        let (optimum, len) = (bench.optimum(), bench.surface.space.len());
        let default = bench.truth(&bench.surface.space.default_config()) / optimum;
        print!("| {} | {len} | {default:.2} |", kind.name);
        let columns = [
            ("random", Model::Absent),
            ("guided", Model::Absent),
            ("guided", Model::Good),
            ("guided", Model::Useless),
            ("guided", Model::Misleading),
        ];
        for (column, (name, model)) in columns.into_iter().enumerate() {
            let mut ratios: Vec<f64> =
                (0..seeds as u64).map(|s| one(kind.make, name, model, configs, s) / optimum).collect();
            all[column].extend(ratios.iter().copied());
            print!(" {} |", show(&mut ratios));
        }
        println!();
    }
    print!("| all | | |");
    all.iter_mut().for_each(|r| print!(" {} |", show(r)));
    println!();
}

/// The true time of what one search finds.
fn one(make: fn() -> synthetic::Surface, name: &str, model: Model, configs: usize, seed: u64) -> f64 {
    let mut bench = Synthetic::new(make(), BUSY, seed);
    bench.model = model;
    let space = bench.surface.space.clone();
    let budget = Budget { configs, ..Budget::of(Effort::Full, seed) };
    let hand = bench.hand.clone();
    let mut task = Task::new(&space, &budget);
    task.clock = &hand;
    let mut strategy = strategy::named(name, seed).expect("a known name");
    let outcome = search(&task, &mut *strategy, &mut bench, &mut ()).expect("a default that works");
    bench.truth(&outcome.best)
}

fn show(ratios: &mut [f64]) -> String {
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
    format!("{:.3}, {:.3}", at(0.5), at(0.95))
}
