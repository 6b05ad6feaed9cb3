//! Tuning what a kernel's host code decides: whole calls, with the tunables it registers at different values.
//!
//! In: a function that calls the kernel, for trial on copies of what the caller passes to be written, or for real. Out: the tunables'
//! values in force from now on, and the launches of a real call tuned. Calls run in this process: host code may do
//! anything, so it is not run twice in copies of the process. A value is out when the kernel fails or panics with
//! it, or writes something else than with the defaults.

use super::super::cuda;
use super::super::mode::{self, Tuned};
use super::super::tunables;
use super::compare::{Expected, Tolerance};
use super::{Tuner, Tuning};
use crate::error::{Error, Result};
use crate::tunable::{self, Read};
use helion_autotune::{Bar, Bench, Id, Observer, Progress, Rejection, Task, search};
use helion_ir::config::{Config, ConfigSpace};
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// A sample calls as often as fills this time.
const SAMPLE: Duration = Duration::from_micros(100);

/// Searches the tunables of a kernel over whole calls, then the launches of a call. `call(true)` is a trial, which must
/// not change what the caller owns, `call(false)` the one real call.
///
/// # Errors
/// What a call returns; a tuner that asks for what the kernel does not have.
pub fn tune_calls(kernel: &str, tuner: impl Into<Tuner>, mut call: impl FnMut(bool) -> Result<()>) -> Result<Tuned> {
    let tuner = tuner.into();
    let (result, reads) = tunable::reads(|| call(true));
    result?;
    let mut space = space(&reads)?;
    tuner.restrict_tunables(&mut space)?;
    let mut tunings = Vec::new();
    let mut best = space.default_config();
    if let Some(budget) = tuner.budget().filter(|_| !space.is_empty()) {
        let mut bench = Calls { call: &mut |trial| call(trial), expected: None, candidates: Vec::new() };
        let mut strategy = tuner.chooser(budget.seed)?;
        let mut bar = Listener(wants_bar(&tuner).then(|| Bar::new(kernel)));
        let found = search(&Task::new(&space, &budget), &mut *strategy, &mut bench, &mut bar);
        let outcome =
            found.map_err(|why| Error::check(format!("kernel `{kernel}` with its default tunables: {why}")))?;
        for read in &reads {
            if let Some(v) = outcome.best.get(&read.slot()) {
                tunable::choose(read, v);
                tunables::remember(read, &outcome);
            }
        }
        best = outcome.best.clone();
        let config = best.clone();
        let tuning = Tuning::of_calls(kernel, outcome, config);
        eprintln!("{tuning}");
        tunings.push(tuning);
    }
    let launches = tunable::with_pinned(&best, || mode::tune(tuner, || call(false)))?;
    tunings.extend(launches.tunings);
    Ok(Tuned { tunings })
}

fn wants_bar(tuner: &Tuner) -> bool {
    tuner.progress.unwrap_or_else(|| std::io::stderr().is_terminal())
}

/// The tunables as a space, their values in force first.
fn space(reads: &[Read]) -> Result<ConfigSpace> {
    let mut space = ConfigSpace::default();
    let mut seen: Vec<&Read> = Vec::new();
    for read in reads {
        if let Some(old) = seen.iter().find(|old| old.site.name == read.site.name) {
            if old.values != read.values {
                let text = format!("tunable `{}` is registered twice, with different values", read.site.name);
                return Err(Error::setting(format!("{text}\n  help: give them different names")));
            }
            continue;
        }
        seen.push(read);
        let mut values = read.values.candidates();
        values.retain(|v| *v != read.default);
        values.insert(0, read.default);
        space.add(read.slot(), values);
    }
    Ok(space)
}

/// Whole calls as something to measure.
struct Calls<'a> {
    call: &'a mut dyn FnMut(bool) -> Result<()>,
    /// What the defaults write.
    expected: Option<Vec<Expected>>,
    /// Configs by number, and how many calls make a sample.
    candidates: Vec<(Config, u32)>,
}

impl Calls<'_> {
    /// A trial with these tunables; a panic is a failure.
    fn trial<R>(
        &mut self,
        config: &Config,
        f: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<R>,
    ) -> Result<R, Rejection> {
        let call = &mut *self.call;
        let run = || tunable::with_pinned(config, || f(&mut || call(true)));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(result) => result.map_err(|e| Rejection::Failed(e.to_string())),
            Err(_) => Err(Rejection::Failed("the kernel's host code panicked".to_owned())),
        }
    }

    fn prepare_one(&mut self, config: &Config) -> Result<Id, Rejection> {
        let found = self.trial(config, |call| mode::written(call))?;
        match &self.expected {
            None => self.expected = Some(found.into_iter().map(|(dtype, bytes)| Expected::new(dtype, bytes)).collect()),
            Some(expected) => {
                if expected.len() != found.len() {
                    return Err(Rejection::Wrong(format!("{} outputs instead of {}", found.len(), expected.len())));
                }
                let mut pairs = expected.iter().zip(&found);
                if let Some(text) = pairs.find_map(|(e, (_, bytes))| e.differs(bytes, Tolerance::wide())) {
                    return Err(Rejection::Wrong(text));
                }
            }
        }
        let once = self.trial(config, |call| {
            let begin = Instant::now();
            call()?;
            // What was queued on a device counts, too.
            cuda::wait_everywhere()?;
            Ok(begin.elapsed())
        })?;
        let batch = (SAMPLE.as_nanos() / once.as_nanos().max(20)).clamp(1, 1000) as u32;
        self.candidates.push((config.clone(), batch));
        Ok(Id(self.candidates.len() as u32 - 1))
    }

    fn sample_one(&mut self, id: Id) -> Result<f64, Rejection> {
        let Some((config, batch)) = self.candidates.get(id.0 as usize).cloned() else {
            return Err(Rejection::Failed("it was not prepared".to_owned()));
        };
        self.trial(&config, |call| {
            let begin = Instant::now();
            (0..batch).try_for_each(|_| call())?;
            cuda::wait_everywhere()?;
            Ok(begin.elapsed().as_secs_f64() / f64::from(batch))
        })
    }
}

impl Bench for Calls<'_> {
    fn legal(&self, _: &Config) -> Result<(), String> {
        Ok(())
    }
    fn predict(&self, _: &Config) -> Option<f64> {
        None
    }
    fn prepare(&mut self, configs: &[Config]) -> Vec<Result<Id, Rejection>> {
        configs.iter().map(|c| self.prepare_one(c)).collect()
    }
    fn sample(&mut self, ids: &[Id]) -> Vec<Result<f64, Rejection>> {
        ids.iter().map(|id| self.sample_one(*id)).collect()
    }
}

/// Draws the bar, if there is one.
struct Listener(Option<Bar>);

impl Observer for Listener {
    fn progress(&mut self, progress: &Progress) -> bool {
        self.0.as_mut().is_none_or(|b| b.progress(progress))
    }
}
