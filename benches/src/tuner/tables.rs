//! What was found, as Markdown.

use crate::measure::{Options, Row, quantile};

/// A row for people who watch.
pub fn line(r: &Row) -> String {
    let mut ratios: Vec<f64> = r.runs.iter().map(|r| r.ratio).collect();
    let mut seconds: Vec<f64> = r.runs.iter().map(|r| r.seconds).collect();
    format!(
        "{} of {} configs timed, {:.0} in a second; found {:.3} of the optimum (worst {:.3}) in {:.1} s; untuned {:.2}",
        r.timed,
        r.space,
        r.rate,
        quantile(&mut ratios, 0.5),
        quantile(&mut ratios, 1.0),
        quantile(&mut seconds, 0.5),
        1.0 / r.untuned
    )
}

/// All tables.
pub fn print(rows: &[Row], options: &Options) {
    println!("## The tuner\n");
    println!(
        "Each space is cut to at most {} configs, all of which are timed; the fastest are timed again in turns, which gives\n\
         the optimum. Then the search runs from {} seeds, and what it found is timed in turns with the optimum: ratios are\n\
         of first quartiles over 31 turns. Below 1 the optimum of the exhaustive search was not the fastest, which noise explains.\n\
         `The same`: configs that do what another does, found before they were compiled. Untuned is the cost model's\n\
         choice. `./scripts/bench tuner --most {} --seeds {}{}` makes these tables.\n",
        options.most,
        options.seeds,
        options.most,
        options.seeds,
        if options.full { " --full" } else { "" }
    );
    println!(
        "| kernel | shape | configs | the same | optimum | found / optimum | worst seed | within 5 % after | measured | search | untuned / tuned |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for r in rows {
        let of =
            |f: fn(&crate::measure::Run) -> f64, q: f64| quantile(&mut r.runs.iter().map(f).collect::<Vec<_>>(), q);
        let mut within: Vec<f64> = r.runs.iter().map(|r| r.within.map_or(f64::INFINITY, |w| w as f64)).collect();
        println!(
            "| {} | {} | {} | {} | {} | {:.3} | {:.3} | {} | {:.0} | {:.1} s | {:.2} |",
            r.kernel,
            r.shape,
            r.timed,
            r.same,
            time(r.optimum),
            of(|r| r.ratio, 0.5),
            of(|r| r.ratio, 1.0),
            count(quantile(&mut within, 0.5)),
            of(|r| r.measured as f64, 0.5),
            of(|r| r.seconds, 0.5),
            1.0 / r.untuned,
        );
    }
    println!();
    summary(rows, options);
}

fn summary(rows: &[Row], options: &Options) {
    let runs = || rows.iter().flat_map(|r| &r.runs);
    let (mut ratios, mut seconds): (Vec<f64>, Vec<f64>) = runs().map(|r| (r.ratio, r.seconds)).unzip();
    let mut within: Vec<f64> = runs().map(|r| r.within.map_or(f64::INFINITY, |w| w as f64)).collect();
    let untuned = rows.iter().map(|r| -r.untuned.ln()).sum::<f64>() / rows.len().max(1) as f64;
    let loud = runs().filter(|r| r.noise > 1.03).count();
    let effort = if options.full { "Full" } else { "Quick" };
    println!("| over all problems and seeds, effort `{effort}` | |");
    println!("|---|---|");
    println!("| found / optimum, median | {:.3} |", quantile(&mut ratios, 0.5));
    println!("| found / optimum, 95th percentile | {:.3} |", quantile(&mut ratios, 0.95));
    println!(
        "| configs measured until one is within 5 % of the optimum, median | {} |",
        count(quantile(&mut within, 0.5))
    );
    println!("| longest search | {:.1} s |", quantile(&mut seconds, 1.0));
    println!(
        "| candidates compiled, checked and timed in a second, best kernel | {:.0} |",
        rows.iter().map(|r| r.rate).fold(0.0, f64::max)
    );
    println!("| untuned / tuned speed, geometric mean | {:.2} |", untuned.exp());
    println!("| null arms that differ by more than 3 % | {loud} of {} |", ratios.len());
}

/// How many; a dash where it never was.
fn count(n: f64) -> String {
    if n.is_finite() { format!("{n:.0}") } else { "–".to_owned() }
}

/// A time with a fitting unit.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s => format!("{:.2} ms", s * 1e3),
    }
}
