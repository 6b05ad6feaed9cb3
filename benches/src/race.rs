//! Timing several programs against each other: in turns, so that a change of the machine's speed hits all.
//!
//! In: contestants, each a closure that runs for a while and returns the seconds of one call. Out: the
//! median of each over all turns, with the spread of the middle half.

use std::time::{Duration, Instant};

/// A program in a race.
pub struct Contestant<'a> {
    /// What the table calls it.
    pub name: String,
    turn: Box<dyn FnMut() -> Result<f64, String> + 'a>,
}

/// What a race found for one contestant.
pub struct Outcome {
    /// What the table calls it.
    pub name: String,
    /// Median seconds of one call.
    pub median: f64,
    /// Half the distance between the quartiles, as a fraction of the median.
    pub spread: f64,
}

const TURNS: usize = 15;
const TURN: Duration = Duration::from_millis(60);

impl<'a> Contestant<'a> {
    /// A call timed here: each turn calls it for a while and takes the median.
    pub fn new<R, E: ToString>(name: &str, mut call: impl FnMut() -> Result<R, E> + 'a) -> Contestant<'a> {
        Contestant::timed_elsewhere(name, move || {
            let (begin, mut times) = (Instant::now(), Vec::new());
            while times.len() < 3 || (begin.elapsed() < TURN && times.len() < 10_000) {
                let t = Instant::now();
                std::hint::black_box(call().map_err(|e| e.to_string())?);
                times.push(t.elapsed().as_secs_f64());
            }
            Ok(quantile(&mut times, 0.5))
        })
    }
    /// A program that times itself: `turn` returns the median seconds of one call.
    pub fn timed_elsewhere(name: &str, turn: impl FnMut() -> Result<f64, String> + 'a) -> Contestant<'a> {
        Contestant { name: name.to_owned(), turn: Box::new(turn) }
    }
}

/// Lets all take turns; the first turn of each warms up and does not count.
///
/// # Errors
/// The first error of a contestant.
pub fn race(mut contestants: Vec<Contestant<'_>>) -> Result<Vec<Outcome>, String> {
    let mut times = vec![Vec::new(); contestants.len()];
    for turn in 0..=TURNS {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            // Threads of the one before may still be spinning: OpenMP ones do so for 200 ms.
            std::thread::sleep(Duration::from_millis(250));
            let seconds = (contestant.turn)().map_err(|e| format!("{}: {e}", contestant.name))?;
            if turn > 0 {
                times.push(seconds);
            }
        }
    }
    let outcome = |(c, mut t): (Contestant<'_>, Vec<f64>)| {
        let (low, median, high) = (quantile(&mut t, 0.25), quantile(&mut t, 0.5), quantile(&mut t, 0.75));
        Outcome { name: c.name, median, spread: (high - low) / 2.0 / median }
    };
    Ok(contestants.into_iter().zip(times).map(outcome).collect())
}

/// The element below which a fraction `q` of them lies.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}
