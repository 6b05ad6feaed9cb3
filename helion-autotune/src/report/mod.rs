//! A search as something to look at: a JSON document, and one HTML page that needs nothing else.
//!
//! In: an [`Outcome`] and what it is about. Out: text. Both say of every config that was tried what its time and
//! interval are or why it is out; the page adds plots (how the best got better, every candidate with its
//! interval, the cost model against the clock).

mod html;
mod json;
mod plot;

use crate::{Outcome, Timing};
use std::fmt;
use std::io;
use std::path::Path;

/// A search, and what it was about.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The kernel's name.
    pub kernel: &'a str,
    /// The device it ran on.
    pub device: &'a str,
    /// The sizes of the problem, by name.
    pub sizes: &'a [(String, u64)],
    /// What the search found.
    pub outcome: &'a Outcome,
}

impl Report<'_> {
    /// The report as a JSON document.
    pub fn json(&self) -> String {
        json::document(self)
    }

    /// The report as an HTML page.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Writes the page to this path, and the JSON document beside it, ending in `.json`. Folders are made as
    /// needed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, self.html())?;
        std::fs::write(path.with_extension("json"), self.json())
    }

    /// The sizes as text: `m=64 n=1024`.
    fn sizes_text(&self) -> String {
        let each: Vec<String> = self.sizes.iter().map(|(name, v)| format!("{name}={v}")).collect();
        each.join(" ")
    }
}

/// A time for people: `1.23 µs`.
pub(crate) struct Seconds(pub f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0;
        let (scale, unit) = match s.abs() {
            x if x < 1e-6 => (1e9, "ns"),
            x if x < 1e-3 => (1e6, "µs"),
            x if x < 1.0 => (1e3, "ms"),
            _ => (1.0, "s"),
        };
        let v = s * scale;
        let digits = if v.abs() < 10.0 {
            2
        } else if v.abs() < 100.0 {
            1
        } else {
            0
        };
        write!(f, "{v:.digits$} {unit}")
    }
}

impl fmt::Display for Timing {
    /// `12.3 µs (12.1 to 12.6)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} to {})", Seconds(self.seconds), Seconds(self.low), Seconds(self.high))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Effort, End, Noise, Rejection, Trial};
    use helion_ir::config::Config;
    use std::time::Duration;

    fn timing(seconds: f64) -> Timing {
        Timing { seconds, low: seconds * 0.98, high: seconds * 1.03, samples: 9 }
    }

    fn trial(config: &str, result: Result<Timing, Rejection>, at: f64) -> Trial {
        let config: Config = config.parse().unwrap();
        Trial { config, result, predicted: Some(1e-5), origin: "random", at }
    }

    /// A small search with one of everything.
    pub(crate) fn sample() -> Outcome {
        let wrong = Rejection::Wrong("output `out` <differs> at [3]".into());
        let trials = vec![
            trial("block.tm=1", Ok(timing(2e-5)), 0.1),
            trial("block.tm=2", Err(wrong), 0.2),
            trial("block.tm=4", Ok(timing(1.2e-5)), 0.3),
            trial("block.tm=8", Err(Rejection::Hung(Duration::from_secs(2))), 2.3),
        ];
        Outcome {
            best: trials[2].config.clone(),
            timing: timing(1.2e-5),
            default: trials[0].config.clone(),
            default_timing: timing(2e-5),
            runners_up: vec![(trials[0].config.clone(), timing(2e-5))],
            trials,
            noise: Noise { ratio: 1.004, samples: 31 },
            bound: Some(8e-6),
            space: 40,
            time: Duration::from_millis(2400),
            end: End::Converged,
            strategy: "guided",
            effort: Effort::Quick,
            seed: 7,
        }
    }

    fn report(f: impl FnOnce(Report<'_>)) {
        let outcome = sample();
        let sizes = [("m".to_owned(), 64), ("n".to_owned(), 1024)];
        f(Report { kernel: "softmax<f32>", device: "x86-64 \"test\"", sizes: &sizes, outcome: &outcome });
    }

    #[test]
    fn times_have_fitting_units() {
        let text = |s| Seconds(s).to_string();
        assert_eq!([text(1.234e-9), text(5.6e-5), text(0.25), text(12.0)], ["1.23 ns", "56.0 µs", "250 ms", "12.0 s"]);
    }

    #[test]
    fn the_document_holds_every_trial() {
        report(|r| {
            let v: serde_json::Value = serde_json::from_str(&r.json()).unwrap();
            assert_eq!(v["kernel"], "softmax<f32>");
            assert_eq!(v["sizes"]["n"], 1024);
            assert_eq!(v["winner"]["config"], "block.tm=4");
            assert_eq!(v["trials"].as_array().unwrap().len(), 4);
            assert_eq!(v["trials"][1]["rejected"]["kind"], "wrong");
            assert!((v["gain"].as_f64().unwrap() - 2e-5 / 1.2e-5).abs() < 1e-9);
        });
    }

    #[test]
    fn the_page_is_whole_and_escaped() {
        report(|r| {
            let page = r.html();
            assert!(page.contains("softmax&lt;f32&gt;") && !page.contains("softmax<f32>"));
            assert!(page.contains("output `out` &lt;differs&gt; at [3]"));
            assert!(!page.contains("http://") || page.matches("http").count() == page.matches("www.w3.org").count());
            for config in ["block.tm=1", "block.tm=2", "block.tm=4", "block.tm=8"] {
                assert!(page.contains(config));
            }
            assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
            assert_eq!(page.matches("<table").count(), page.matches("</table>").count());
        });
    }

    #[test]
    fn a_search_with_one_config_has_a_page() {
        let mut outcome = sample();
        outcome.trials.truncate(1);
        outcome.runners_up.clear();
        outcome.bound = None;
        let r = Report { kernel: "k", device: "d", sizes: &[], outcome: &outcome };
        assert!(r.html().contains("</html>") && !r.html().contains("NaN"));
    }

    #[test]
    fn both_files_are_written() {
        report(|r| {
            let folder = std::env::temp_dir().join(format!("helion-report-{}", std::process::id()));
            let path = folder.join("deep/softmax.html");
            r.write(&path).unwrap();
            assert!(path.is_file() && path.with_extension("json").is_file());
            std::fs::remove_dir_all(&folder).unwrap();
        });
    }
}
