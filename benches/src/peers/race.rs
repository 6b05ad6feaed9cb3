//! Timing several programs against each other: in turns, so that a change of the machine's speed hits all.
//!
//! In: contestants, each a closure that runs for a while and returns the seconds of one call, and how long the race may
//! last. Out: of each the median over all rounds with the spread of the middle half, and how much faster or slower the
//! first of them was, round by round.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What a contestant is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// helion with the config that nobody measured.
    Untuned,
    /// helion with the config that its tuner found.
    Tuned,
    /// Another program.
    Peer,
    /// Another program that packed its weights before the race.
    Packed,
}

/// A program in a race.
pub struct Contestant<'a> {
    /// What the table calls it.
    pub name: String,
    /// What it is to the others.
    pub kind: Kind,
    /// Runs for about so many seconds, and at least once; returns the median seconds of one call.
    turn: Box<dyn FnMut(f64) -> Result<f64, String> + 'a>,
}

/// Some of them, or what is wrong with one.
pub type Contestants<'a> = Result<Vec<Contestant<'a>>, String>;

/// What a race found for one contestant.
pub struct Outcome {
    /// What the table calls it.
    pub name: String,
    /// What it is to the others.
    pub kind: Kind,
    /// Median seconds of one call.
    pub median: f64,
    /// Half the distance between the quartiles, as a fraction of the median.
    pub spread: f64,
    /// Its time over that of the first contestant: the median over rounds.
    pub ratio: f64,
    /// Half the distance between the quartiles of that ratio.
    pub ratio_spread: f64,
}

/// Rounds of a race at most and at least.
const ROUNDS: (usize, usize) = (15, 3);
/// Seconds of a turn at most and at least.
const TURN: (f64, f64) = (0.06, 0.025);
/// Calls that take more seconds than this are made once in a turn; of others the first in a turn does not count, since
/// threads have to be woken and caches to be filled.
const LONG: f64 = 0.15;
/// So many times slower than the fastest is far behind.
const FAR_BEHIND: f64 = 6.0;
/// Threads of the one before may still be spinning: those of OpenMP and onnxruntime do so for milliseconds.
const GAP: Duration = Duration::from_millis(20);

impl<'a> Contestant<'a> {
    /// A call timed here.
    pub fn new<R, E: ToString>(name: &str, kind: Kind, mut call: impl FnMut() -> Result<R, E> + 'a) -> Contestant<'a> {
        Contestant::timed_elsewhere(name, kind, move |budget| {
            median_seconds(budget, &mut || call().map(|r| drop(black_box(r))).map_err(|e| e.to_string()))
        })
    }
    /// A program that times itself: `turn` runs for about so many seconds and returns the median of one call.
    pub fn timed_elsewhere(
        name: &str,
        kind: Kind,
        turn: impl FnMut(f64) -> Result<f64, String> + 'a,
    ) -> Contestant<'a> {
        Contestant { name: name.to_owned(), kind, turn: Box::new(turn) }
    }
}

/// Calls for about `budget` seconds, after one call that does not count unless it is long. Calls of less than a few
/// microseconds are timed many at a time.
pub fn median_seconds(budget: f64, call: &mut dyn FnMut() -> Result<(), String>) -> Result<f64, String> {
    let begin = Instant::now();
    call()?;
    let first = begin.elapsed().as_secs_f64();
    if first > LONG {
        return Ok(first);
    }
    let batch = (5e-5 / first.max(1e-9)).ceil().clamp(1.0, 10_000.0) as u32;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < 2 || begin.elapsed().as_secs_f64() < budget {
        let t = Instant::now();
        for _ in 0..batch {
            call()?;
        }
        times.push(t.elapsed().as_secs_f64() / f64::from(batch));
    }
    Ok(quantile(&mut times, 0.5))
}

/// Lets all take turns for about `budget` seconds; the first turn of each warms up and does not count, except that of one
/// that is far behind and slow: it does not run again.
///
/// # Errors
/// The first error of a contestant.
pub fn race(mut contestants: Vec<Contestant<'_>>, budget: f64) -> Result<Vec<Outcome>, String> {
    let turn = (budget / (contestants.len() * ROUNDS.0) as f64).clamp(TURN.1, TURN.0);
    let mut run = |c: &mut Contestant<'_>| {
        std::thread::sleep(GAP);
        (c.turn)(turn).map_err(|e| format!("{}: {e}", c.name))
    };
    let first = contestants.iter_mut().map(&mut run).collect::<Result<Vec<f64>, String>>()?;
    let best = first.iter().copied().fold(f64::INFINITY, f64::min);
    let behind = |seconds: f64| seconds > FAR_BEHIND * best && seconds > turn;
    let (begin, mut rounds) = (Instant::now(), Vec::<Vec<f64>>::new());
    loop {
        let elapsed = begin.elapsed().as_secs_f64();
        // Where a round takes many times what there is, fewer have to do.
        let least = if elapsed > 5.0 * budget { ROUNDS.1 - 1 } else { ROUNDS.1 };
        if rounds.len() >= ROUNDS.0 || (rounds.len() >= least && elapsed >= budget) {
            break;
        }
        let turns = contestants.iter_mut().zip(&first);
        rounds.push(turns.map(|(c, f)| if behind(*f) { Ok(*f) } else { run(c) }).collect::<Result<_, _>>()?);
    }
    let outcome = |(i, c): (usize, Contestant<'_>)| {
        let middle = |mut values: Vec<f64>| {
            let [low, median, high] = [0.25, 0.5, 0.75].map(|q| quantile(&mut values, q));
            (median, (high - low) / 2.0)
        };
        let (median, half) = middle(rounds.iter().map(|r| r[i]).collect());
        let (ratio, ratio_spread) = middle(rounds.iter().map(|r| r[i] / r[0]).collect());
        Outcome { name: c.name, kind: c.kind, median, spread: half / median, ratio, ratio_spread }
    };
    Ok(contestants.into_iter().enumerate().map(outcome).collect())
}

/// The element below which a fraction `q` of them lies.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}
