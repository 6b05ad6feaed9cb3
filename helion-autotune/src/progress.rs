//! A progress bar on the terminal: what is being done, best so far, time left.
//!
//! In: the [`Progress`] of a search, several times a second. Out: one line on standard error, redrawn in place and
//! gone at the end. Nothing is drawn where standard error is not a terminal.

use crate::report::Seconds;
use crate::{Observer, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// How the line is laid out; the rest of the line is the message.
const LINE: &str = "{prefix} [{bar:24}] {pos}/{len} {msg}";

/// Draws the line.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar for a search on this kernel.
    pub fn new(kernel: &str) -> Bar {
        Bar::on(kernel, ProgressDrawTarget::stderr_with_hz(8))
    }

    fn on(kernel: &str, target: ProgressDrawTarget) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(LINE) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(kernel.to_owned());
        Bar { bar }
    }
}

impl Observer for Bar {
    fn progress(&mut self, p: &Progress) -> bool {
        self.bar.set_length(p.configs as u64);
        self.bar.set_position(p.measured as u64);
        self.bar.set_message(message(p));
        true
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `racing, best 12.3 µs (1.42x), 3 rejected, 2 s left`.
fn message(p: &Progress) -> String {
    let mut text = p.phase.to_owned();
    if let Some(best) = p.best {
        text += &format!(", best {}", Seconds(best));
        if let Some(default) = p.default.filter(|_| best > 0.0) {
            text += &format!(" ({:.2}x)", default / best);
        }
    }
    if p.rejected > 0 {
        text += &format!(", {} rejected", p.rejected);
    }
    let left = p.time.saturating_sub(p.elapsed);
    if left > Duration::ZERO {
        text += &format!(", {:.0} s left", left.as_secs_f64().ceil());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Progress {
        Progress {
            phase: "racing",
            measured: 12,
            configs: 48,
            rejected: 3,
            best: Some(1e-5),
            default: Some(1.5e-5),
            elapsed: Duration::from_millis(1200),
            time: Duration::from_secs(4),
        }
    }

    #[test]
    fn the_line_says_where_the_search_stands() {
        assert_eq!(message(&sample()), "racing, best 10.0 µs (1.50x), 3 rejected, 3 s left");
        let begun = Progress { best: None, default: None, rejected: 0, ..sample() };
        assert_eq!(message(&begun), "racing, 3 s left");
        let late = Progress { elapsed: Duration::from_secs(9), ..begun };
        assert_eq!(message(&late), "racing");
    }

    #[test]
    fn a_hidden_bar_takes_progress() {
        let mut bar = Bar::on("softmax", ProgressDrawTarget::hidden());
        assert!(bar.progress(&sample()));
        assert_eq!((bar.bar.position(), bar.bar.length()), (12, Some(48)));
    }
}
