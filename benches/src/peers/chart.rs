//! A bar chart of runs: for each case and number of threads how many times as fast as the best peer helion is.
//!
//! In: runs as JSON (see `report`). Out: an SVG image. The scale is logarithmic, since twice and half as fast are equally
//! far from equal.

use std::fmt::Write;

use serde_json::Value;

use crate::report::{f, fastest, title};

const LEFT: f64 = 290.0;
const WIDTH: f64 = 900.0;
const BAR: f64 = 9.0;
const TOP: f64 = 62.0;
/// The ratios at the ends of the scale; bars beyond them are cut there, and say their number all the same.
const ENDS: (f64, f64) = (0.25, 16.0);
const COLOURS: [&str; 4] = ["#2f6fb0", "#8fb8de", "#c9742b", "#e6b98f"];

fn x(ratio: f64) -> f64 {
    let (low, high) = (ENDS.0.ln(), ENDS.1.ln());
    LEFT + (WIDTH - LEFT - 60.0) * (ratio.clamp(ENDS.0, ENDS.1).ln() - low) / (high - low)
}

/// Ratio of the best peer's time to that of untuned and tuned helion.
fn ratios(case: &Value) -> Option<(f64, f64)> {
    let peer = f(&fastest(case, "peer").or_else(|| fastest(case, "packed"))?["ratio"]);
    Some((peer, fastest(case, "tuned").map_or(peer, |t| peer / f(&t["ratio"]))))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The image.
pub fn svg(runs: &[Value]) -> String {
    let mut names: Vec<String> = Vec::new();
    for case in runs.iter().flat_map(|r| r["cases"].as_array().into_iter().flatten()) {
        let name = title(case);
        if ratios(case).is_some() && !names.contains(&name) {
            names.push(name);
        }
    }
    let row = BAR * runs.len() as f64 + 6.0;
    let height = TOP + row * names.len() as f64 + 24.0;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"18\" font-size=\"14\">helion, untuned: times as fast as the best peer (mark: tuned)</text>"
    );
    let machine = runs.first().and_then(|r| r["machine"].as_str()).unwrap_or_default();
    let _ = writeln!(svg, "<text x=\"10\" y=\"34\" fill=\"#555\">{}</text>", escaped(machine));
    for (i, run) in runs.iter().enumerate() {
        let (at, threads) = (LEFT + 120.0 * i as f64, &run["threads"]);
        let colour = COLOURS[i % COLOURS.len()];
        let _ = writeln!(svg, "<rect x=\"{at}\" y=\"40\" width=\"9\" height=\"9\" fill=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"49\">threads: {threads}</text>", at + 14.0);
    }
    for ratio in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0] {
        let (at, colour) = (x(ratio), if ratio == 1.0 { "#000" } else { "#ddd" });
        let (low, high) = (TOP - 4.0, height - 18.0);
        let _ = writeln!(svg, "<line x1=\"{at:.1}\" y1=\"{low}\" x2=\"{at:.1}\" y2=\"{high}\" stroke=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{ratio}</text>", height - 6.0);
    }
    for (i, name) in names.iter().enumerate() {
        let y = TOP + row * i as f64;
        let (end, middle) = (LEFT - 8.0, y + row / 2.0);
        let _ = writeln!(svg, "<text x=\"{end}\" y=\"{middle}\" text-anchor=\"end\">{}</text>", escaped(name));
        for (j, run) in runs.iter().enumerate() {
            let case = run["cases"].as_array().into_iter().flatten().find(|c| title(c) == *name);
            if let Some(both) = case.and_then(ratios) {
                bar(&mut svg, both, y + BAR * j as f64, COLOURS[j % COLOURS.len()]);
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, (untuned, tuned): (f64, f64), y: f64, colour: &str) {
    let (one, end, mark) = (x(1.0), x(untuned), x(tuned));
    let (left, width) = (one.min(end), (end - one).abs().max(0.5));
    let height = BAR - 1.0;
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{colour}\"/>\n\
         <rect x=\"{mark:.1}\" y=\"{y:.1}\" width=\"2\" height=\"{height}\" fill=\"#222\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"8\">{untuned:.2}</text>",
        end.max(one).max(mark) + 5.0,
        y + height - 0.5,
    );
}
