//! Plots as SVG: axes with round ticks, points with intervals, step lines.
//!
//! In: series of numbers. Out: one `<svg>` element whose colours come from the classes of the page around it.

use super::Seconds;
use super::html::escape;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
/// Space left of, above, right of and below the axes.
const MARGIN: [f64; 4] = [72.0, 12.0, 12.0, 40.0];

/// How numbers become positions on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// In proportion, from 0.
    Linear,
    /// In proportion to the logarithm; for times.
    Log,
}

/// What is drawn of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mark {
    /// A dot for each point, with its interval.
    Dots,
    /// A horizontal line to the next point, then up or down.
    Steps,
    /// A dashed line at the height of each point, across the plot.
    Level,
}

/// A place in a plot.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// From where to where the value may be.
    pub(super) interval: Option<(f64, f64)>,
    /// Shown when pointed at.
    pub(super) label: String,
}

/// Points that belong together.
pub(super) struct Series {
    pub(super) mark: Mark,
    /// Class of the marks, which gives the colour.
    pub(super) class: &'static str,
    pub(super) points: Vec<Point>,
}

/// A plot.
pub(super) struct Plot {
    pub(super) x: (Scale, &'static str),
    /// Heights are seconds on a logarithmic scale.
    pub(super) y: &'static str,
    pub(super) series: Vec<Series>,
}

/// Numbers to positions.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    start: f64,
    length: f64,
}

impl Axis {
    /// An axis for these values, with some room around them.
    fn new(scale: Scale, values: impl Iterator<Item = f64>, start: f64, length: f64) -> Axis {
        let usable = values.filter(|v| v.is_finite() && (scale == Scale::Linear || *v > 0.0));
        let (lo, hi) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        let (from, to) = match scale {
            _ if lo > hi => (1e-6, 1e-3),
            Scale::Linear => (0.0, if hi > 0.0 { hi * 1.02 } else { 1.0 }),
            Scale::Log => (lo / 1.15, hi * 1.15),
        };
        Axis { scale, from, to, start, length }
    }

    fn at(&self, v: f64) -> f64 {
        let of = |v: f64| if self.scale == Scale::Log { v.max(self.from * 1e-3).ln() } else { v };
        self.start + (of(v) - of(self.from)) / (of(self.to) - of(self.from)) * self.length
    }

    /// Round values within the axis: at most a dozen.
    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let raw = self.to / 8.0;
                let unit = 10f64.powf(raw.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * unit).find(|s| *s >= raw).unwrap_or(unit);
                (0..=16).map(|i| f64::from(i) * step).filter(|v| *v <= self.to).collect()
            }
            Scale::Log => {
                let decades = (self.to / self.from).log10();
                let steps: &[f64] = match decades {
                    d if d < 0.7 => &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
                    d if d < 3.0 => &[1.0, 2.0, 5.0],
                    _ => &[1.0],
                };
                let first = self.from.log10().floor() as i32;
                let all = (first..first + 40).flat_map(|e| steps.iter().map(move |s| s * 10f64.powi(e)));
                all.take_while(|v| *v <= self.to).filter(|v| *v >= self.from).collect()
            }
        }
    }
}

impl Plot {
    /// The plot as one element.
    pub(super) fn svg(&self) -> String {
        let [left, top, right, bottom] = MARGIN;
        let points = || self.series.iter().flat_map(|s| &s.points);
        let heights = points().flat_map(|p| [p.y, p.interval.map_or(p.y, |i| i.0), p.interval.map_or(p.y, |i| i.1)]);
        let x = Axis::new(self.x.0, points().map(|p| p.x), left, WIDTH - left - right);
        let y = Axis::new(Scale::Log, heights, HEIGHT - bottom, top + bottom - HEIGHT);
        let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
        self.grid(&mut out, &x, &y);
        for s in &self.series {
            s.draw(&mut out, &x, &y);
        }
        out.push_str("</svg>\n");
        out
    }

    fn grid(&self, out: &mut String, x: &Axis, y: &Axis) {
        let [left, top, right, bottom] = MARGIN;
        let (end, base) = (WIDTH - right, HEIGHT - bottom);
        for v in y.ticks() {
            let at = y.at(v);
            let _ = writeln!(out, "<line class=\"grid\" x1=\"{left}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                Seconds(v)
            );
        }
        for v in x.ticks() {
            let at = x.at(v);
            let text =
                if x.scale == Scale::Log { Seconds(v).to_string() } else { format!("{}", (v * 1e6).round() / 1e6) };
            let _ = writeln!(out, "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{base}\"/>");
            let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", base + 16.0);
        }
        let middle = (left + end) / 2.0;
        let _ = writeln!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>", HEIGHT - 6.0, self.x.1);
        let turned = (top + base) / 2.0;
        let _ = writeln!(
            out,
            "<text transform=\"translate(14 {turned}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            self.y
        );
    }
}

impl Series {
    fn draw(&self, out: &mut String, x: &Axis, y: &Axis) {
        let usable: Vec<&Point> = self.points.iter().filter(|p| p.x.is_finite() && p.y > 0.0).collect();
        match self.mark {
            Mark::Dots => usable.iter().for_each(|p| self.dot(out, p, x, y)),
            Mark::Level => {
                for p in usable {
                    let (from, to, at) = (x.start, x.start + x.length, y.at(p.y));
                    let _ = writeln!(
                        out,
                        "<line class=\"level {}\" x1=\"{from}\" x2=\"{to}\" y1=\"{at:.1}\" y2=\"{at:.1}\"><title>{}</title></line>",
                        self.class,
                        escape(&p.label)
                    );
                }
            }
            Mark::Steps => {
                let mut path = String::new();
                for (i, p) in usable.iter().enumerate() {
                    let (px, py) = (x.at(p.x), y.at(p.y));
                    let _ = if i == 0 { write!(path, "M{px:.1} {py:.1}") } else { write!(path, "H{px:.1}V{py:.1}") };
                }
                let _ = write!(path, "H{:.1}", x.start + x.length);
                let _ = writeln!(out, "<path class=\"steps {}\" d=\"{path}\"/>", self.class);
            }
        }
    }

    fn dot(&self, out: &mut String, p: &Point, x: &Axis, y: &Axis) {
        let (px, py) = (x.at(p.x), y.at(p.y));
        let _ = write!(out, "<g class=\"{}\"><title>{}</title>", self.class, escape(&p.label));
        if let Some((lo, hi)) = p.interval {
            let (a, b) = (y.at(lo), y.at(hi));
            let _ = write!(out, "<line class=\"interval\" x1=\"{px:.1}\" x2=\"{px:.1}\" y1=\"{a:.1}\" y2=\"{b:.1}\"/>");
        }
        let _ = writeln!(out, "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\"/></g>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let a = Axis::new(Scale::Linear, [0.0, 47.0].into_iter(), 0.0, 100.0);
        assert_eq!(a.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        let a = Axis::new(Scale::Log, [1e-6, 1e-4].into_iter(), 0.0, 100.0);
        assert!(a.ticks().len() >= 6 && a.ticks().iter().all(|v| (a.from..=a.to).contains(v)));
        for lo in [1e-9, 3e-5, 0.7] {
            for factor in [1.0, 1.1, 3.0, 100.0, 1e6] {
                let a = Axis::new(Scale::Log, [lo, lo * factor].into_iter(), 0.0, 1.0);
                assert!((1..=14).contains(&a.ticks().len()), "{lo} {factor} {:?}", a.ticks());
            }
        }
    }

    #[test]
    fn nothing_to_draw_is_still_a_plot() {
        let p = Plot { x: (Scale::Linear, "n"), y: "time", series: Vec::new() };
        assert!(p.svg().starts_with("<svg") && !p.svg().contains("NaN"));
    }
}
