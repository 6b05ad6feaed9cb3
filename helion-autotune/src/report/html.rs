//! The report as a page: plots and tables, styles within, readable in light and dark.

use super::plot::{Mark, Plot, Point, Scale, Series};
use super::{Report, Seconds};
use crate::{Outcome, Timing, Trial};
use helion_ir::config::Config;
use std::fmt::Write as _;

const STYLE: &str = "
:root { --ink: #1b1f24; --soft: #66707a; --line: #dde2e7; --page: #fff; --best: #0a7f4f; --seen: #4878b8; --bad: #b3423a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #98a2ac; --line: #333a41; --page: #14181c; --best: #4fc08d; --seen: #82aee6; --bad: #e08078; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 900px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: 0; } h2 { font-size: 1.1em; margin-top: 2em; }
p.about, caption { color: var(--soft); text-align: left; }
code { font-size: 0.92em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.2em 0.6em; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td.number { text-align: right; white-space: nowrap; }
tr.out td { color: var(--bad); } tr.best td { color: var(--best); }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--line); stroke-width: 1; }
.steps { fill: none; stroke-width: 2; stroke: var(--best); }
.level { stroke-dasharray: 5 4; stroke: var(--soft); }
.interval { stroke-width: 1; } .seen circle { fill: var(--seen); } .seen line { stroke: var(--seen); }
.best circle { fill: var(--best); } .best line { stroke: var(--best); }
";

/// The whole page.
pub(super) fn page(r: &Report<'_>) -> String {
    let o = r.outcome;
    let title = escape(&format!("{} {}", r.kernel, r.sizes_text()));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Tuning of {title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style></head>\n<body>\n\
         <h1>Tuning of {title}</h1>\n<p class=\"about\">{}</p>\n",
        escape(&about(r))
    );
    result(&mut out, o);
    section(&mut out, "Best so far", &convergence(o));
    section(&mut out, "Every candidate that was measured, fastest first", &candidates(o));
    if let Some(plot) = model(o) {
        section(&mut out, "The cost model against the clock", &plot);
    }
    trials(&mut out, o);
    out.push_str("</body>\n</html>\n");
    out
}

fn section(out: &mut String, title: &str, plot: &Plot) {
    let _ = write!(out, "<h2>{title}</h2>\n{}", plot.svg());
}

fn about(r: &Report<'_>) -> String {
    let o = r.outcome;
    format!(
        "{}. {} of {} configs measured, {} rejected, in {:.1} s ({} search, effort {}, seed {}; ended: {}). \
         Two arms of the default differed by {:.1} %.",
        r.device,
        o.measured(),
        o.space,
        o.trials.len() - o.measured(),
        o.time.as_secs_f64(),
        o.strategy,
        format!("{:?}", o.effort).to_lowercase(),
        o.seed,
        format!("{:?}", o.end).to_lowercase(),
        (o.noise.ratio - 1.0) * 100.0
    )
}

/// The final: winner, default, runners-up.
fn result(out: &mut String, o: &Outcome) {
    out.push_str("<h2>Result</h2>\n<table>\n<tr><th></th><th>config</th><th>time</th><th>95 % interval</th><th>against the default</th></tr>\n");
    let mut row = |class: &str, what: &str, config: &Config, t: &Timing| {
        let _ = writeln!(
            out,
            "<tr class=\"{class}\"><td>{what}</td><td><code>{}</code></td><td class=\"number\">{}</td><td class=\"number\">{} to {}</td><td class=\"number\">{:.2} x</td></tr>",
            escape(&config.to_string()),
            Seconds(t.seconds),
            Seconds(t.low),
            Seconds(t.high),
            o.default_timing.seconds / t.seconds
        );
    };
    row("best", "winner", &o.best, &o.timing);
    for (config, t) in &o.runners_up {
        row("", "runner-up", config, t);
    }
    row("", "default", &o.default, &o.default_timing);
    out.push_str("</table>\n");
    if let Some(bound) = o.bound {
        let of = bound / o.timing.seconds * 100.0;
        let _ = writeln!(
            out,
            "<p class=\"about\">No launch can take less than {}; the winner is at {of:.0} % of that speed.</p>",
            Seconds(bound)
        );
    }
}

/// The best time over the time of the search.
fn convergence(o: &Outcome) -> Plot {
    let mut best = f64::INFINITY;
    let (mut steps, mut dots) = (Vec::new(), Vec::new());
    let mut measured: Vec<(&Trial, &Timing)> = measured(o).collect();
    measured.sort_by(|a, b| a.0.at.total_cmp(&b.0.at));
    for (t, timing) in measured {
        let point = |y| Point { x: t.at, y, interval: None, label: label(t, timing) };
        dots.push(point(timing.seconds));
        best = best.min(timing.seconds);
        steps.push(point(best));
    }
    let default = Point { x: 0.0, y: o.default_timing.seconds, interval: None, label: "the default".into() };
    let mut levels = vec![default];
    levels.extend(o.bound.map(|y| Point { x: 0.0, y, interval: None, label: "the bound".into() }));
    let series = vec![
        Series { mark: Mark::Level, class: "", points: levels },
        Series { mark: Mark::Dots, class: "seen", points: dots },
        Series { mark: Mark::Steps, class: "best", points: steps },
    ];
    Plot { x: (Scale::Linear, "seconds of search"), y: "time of a launch", series }
}

/// Every measured config with its interval, in order.
fn candidates(o: &Outcome) -> Plot {
    let mut all: Vec<(&Trial, &Timing)> = measured(o).collect();
    all.sort_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
    let (mut seen, mut best) = (Vec::new(), Vec::new());
    for (i, (trial, t)) in all.into_iter().enumerate() {
        let to = if trial.config == o.best { &mut best } else { &mut seen };
        let interval = Some((t.low, t.high));
        to.push(Point { x: (i + 1) as f64, y: t.seconds, interval, label: label(trial, t) });
    }
    let series = vec![
        Series { mark: Mark::Dots, class: "seen", points: seen },
        Series { mark: Mark::Dots, class: "best", points: best },
    ];
    Plot { x: (Scale::Linear, "rank"), y: "time of a launch", series }
}

/// Expected against measured; `None` without a model.
fn model(o: &Outcome) -> Option<Plot> {
    let point = |(trial, t): (&Trial, &Timing)| {
        Some(Point { x: trial.predicted?, y: t.seconds, interval: None, label: label(trial, t) })
    };
    let points: Vec<Point> = measured(o).filter_map(point).collect();
    let series = vec![Series { mark: Mark::Dots, class: "seen", points }];
    (series[0].points.len() > 2).then_some(Plot {
        x: (Scale::Log, "expected by the cost model"),
        y: "measured",
        series,
    })
}

fn measured(o: &Outcome) -> impl Iterator<Item = (&Trial, &Timing)> {
    o.trials.iter().filter_map(|t| Some((t, t.result.as_ref().ok()?)))
}

fn label(trial: &Trial, t: &Timing) -> String {
    format!("{}: {t}", trial.config)
}

/// The table of everything that was tried.
fn trials(out: &mut String, o: &Outcome) {
    out.push_str("<h2>Trials</h2>\n<table>\n<tr><th>at</th><th>from</th><th>config</th><th>time or reason</th><th>samples</th><th>expected</th></tr>\n");
    for t in &o.trials {
        let (class, result, samples) = match &t.result {
            Ok(timing) => {
                (if t.config == o.best { "best" } else { "" }, timing.to_string(), timing.samples.to_string())
            }
            Err(why) => ("out", why.to_string(), String::new()),
        };
        let expected = t.predicted.map_or_else(String::new, |s| Seconds(s).to_string());
        let _ = writeln!(
            out,
            "<tr class=\"{class}\"><td class=\"number\">{:.2} s</td><td>{}</td><td><code>{}</code></td><td>{}</td><td class=\"number\">{samples}</td><td class=\"number\">{expected}</td></tr>",
            t.at,
            t.origin,
            escape(&t.config.to_string()),
            escape(&result)
        );
    }
    out.push_str("</table>\n");
}

/// Text as content of an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
