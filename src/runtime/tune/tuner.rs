//! How to search: a [`Tuner`] says how long, over what, and how samples are taken.

use crate::error::{Error, Result};
use crate::settings;
use helion_autotune::{Budget, Effort, strategy};
use helion_ir::config::{Config, ConfigSpace, Scope, Slot};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to search for the fastest config. An [`Effort`] is one with everything else by default.
///
/// ```
/// # use helion::prelude::*;
/// # #[kernel] pub fn double(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
/// #     let mut out = x.empty_like();
/// #     for t in tile(x.dims()[0]) { out[t] = x[t] * 2.0; }
/// #     Ok(out)
/// # }
/// # fn main() -> Result<()> {
/// # helion::settings::set_cache_dir("off")?;
/// # let x = Tensor::full([1000], 1.0f32);
/// let tuned = double::tune(&x, Tuner::quick().seconds(0.2).pin("unroll", 2))?;
/// println!("{tuned}");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuner {
    pub(super) effort: Effort,
    seconds: Option<f64>,
    configs: Option<usize>,
    goal: Option<f64>,
    seed: Option<u64>,
    pub(super) cold: bool,
    /// Slots with the only values they may have, as texts.
    allowed: Vec<(String, Vec<String>)>,
    /// The most configs of the space.
    most: Option<u64>,
    strategy: Option<String>,
    isolate: Option<bool>,
    pub(super) progress: Option<bool>,
    pub(super) report: Option<PathBuf>,
}

impl From<Effort> for Tuner {
    fn from(effort: Effort) -> Tuner {
        Tuner { effort, ..Tuner::default() }
    }
}

impl Tuner {
    /// Some tens of configs.
    pub fn quick() -> Tuner {
        Effort::Quick.into()
    }
    /// Some hundreds of configs.
    pub fn full() -> Tuner {
        Effort::Full.into()
    }
    /// Ends the search after about so many seconds; a final that has begun is finished.
    #[must_use]
    pub fn seconds(mut self, seconds: f64) -> Tuner {
        self.seconds = Some(seconds);
        self
    }
    /// Measures at most so many configs.
    #[must_use]
    pub fn configs(mut self, configs: usize) -> Tuner {
        self.configs = Some(configs);
        self
    }
    /// Ends the search once a launch takes at most so many times what the device needs at least: 1.05 is 5 % more.
    #[must_use]
    pub fn goal(mut self, factor: f64) -> Tuner {
        self.goal = Some(factor);
        self
    }
    /// Seed of random choices; without one that of the settings.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Tuner {
        self.seed = Some(seed);
        self
    }
    /// Measures launches whose data is not in the caches.
    #[must_use]
    pub fn cold(mut self, cold: bool) -> Tuner {
        self.cold = cold;
        self
    }
    /// Gives a slot, as printed in configs, a value: `pin("block.tm", 64)`.
    #[must_use]
    pub fn pin(self, slot: impl Display, value: impl Display) -> Tuner {
        self.restrict(slot, [value])
    }
    /// Leaves a slot only these values, the first being its default: `restrict("block.tm", [32, 64])`.
    #[must_use]
    pub fn restrict(mut self, slot: impl Display, values: impl IntoIterator<Item = impl Display>) -> Tuner {
        let values = values.into_iter().map(|v| v.to_string()).collect();
        self.allowed.push((slot.to_string(), values));
        self
    }
    /// Leaves at most so many configs to search: slots with many values lose their last ones.
    #[must_use]
    pub fn cut(mut self, configs: u64) -> Tuner {
        self.most = Some(configs);
        self
    }
    /// How the search chooses what to try: `guided`, which is usual, `random`, or `exhaustive`.
    #[must_use]
    pub fn strategy(mut self, name: impl Into<String>) -> Tuner {
        self.strategy = Some(name.into());
        self
    }
    /// Whether candidates run in a process of their own; without it as the settings say.
    #[must_use]
    pub fn isolate(mut self, isolate: bool) -> Tuner {
        self.isolate = Some(isolate);
        self
    }
    /// Whether a progress bar is drawn; without it where standard error is a terminal.
    #[must_use]
    pub fn progress(mut self, progress: bool) -> Tuner {
        self.progress = Some(progress);
        self
    }
    /// Writes a report of every candidate: a page at this path, and a document beside it that ends in `.json`. With
    /// several launches the later ones get a number.
    #[must_use]
    pub fn report(mut self, path: impl AsRef<Path>) -> Tuner {
        self.report = Some(path.as_ref().to_owned());
        self
    }

    /// Limits of the search; `None` when there is to be none.
    pub(super) fn budget(&self) -> Option<Budget> {
        let mut b = Budget::of(self.effort, self.seed.unwrap_or_else(settings::seed_tuning));
        if self.effort == Effort::None {
            return None;
        }
        b.configs = self.configs.unwrap_or(b.configs);
        let seconds = self.seconds.map(|s| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX));
        b.time = seconds.unwrap_or(b.time);
        b.goal = self.goal;
        Some(b)
    }

    /// What chooses configs to try.
    ///
    /// # Errors
    /// When there is no strategy of that name.
    pub(super) fn chooser(&self, seed: u64) -> Result<Box<dyn strategy::Strategy>> {
        let name = self.strategy.as_deref().unwrap_or(strategy::NAMES[0]);
        let unknown = || {
            let names = strategy::NAMES.join(", ");
            Error::setting(format!("`{name}` is not a strategy; the strategies are {names}"))
        };
        strategy::named(name, seed).ok_or_else(unknown)
    }

    /// Whether candidates run in a process of their own.
    pub(super) fn isolated(&self) -> bool {
        self.isolate.unwrap_or_else(settings::tune_isolate)
    }

    /// Cuts a space of tunables to what is allowed.
    ///
    /// # Errors
    /// A tunable that the kernel does not register.
    pub(super) fn restrict_tunables(&self, space: &mut ConfigSpace) -> Result<()> {
        for (slot, values) in &self.allowed {
            let (slot, values) = read(slot, values)?;
            if slot.knob.scope() == Scope::Tunable {
                space.restrict(&slot, &values).map_err(Error::setting)?;
            }
        }
        Ok(())
    }

    /// Cuts a space to what is allowed, and to what `pinned` says.
    ///
    /// # Errors
    /// A slot that the kernel does not have, or a value that its knob does not take.
    pub(super) fn restrict_space(&self, space: &mut ConfigSpace, pinned: Option<&Config>) -> Result<()> {
        for (slot, values) in &self.allowed {
            let (slot, values) = read(slot, values)?;
            // Tunables are restricted where calls are searched.
            if slot.knob.scope() != Scope::Tunable {
                space.restrict(&slot, &values).map_err(Error::setting)?;
            }
        }
        for (slot, value) in pinned.into_iter().flat_map(Config::iter) {
            match space.restrict(slot, &[value]) {
                Ok(()) => {}
                // A pinned config may say more than there is to choose.
                Err(_) if space.values(slot).is_none() => space.add(slot.clone(), vec![value]),
                Err(e) => return Err(Error::setting(e)),
            }
        }
        if let Some(most) = self.most {
            space.cut(most);
        }
        Ok(())
    }
}

/// A slot and its values from text.
fn read(slot: &str, values: &[String]) -> Result<(Slot, Vec<u64>)> {
    let mut found = None;
    let mut numbers = Vec::new();
    for v in values {
        let config: Config = format!("{slot}={v}").parse()?;
        let one = config.iter().next().map(|(s, v)| (s.clone(), v));
        let (slot, number) =
            one.ok_or_else(|| Error::setting(format!("`{slot}={v}` is not one slot and its value")))?;
        found = Some(slot);
        numbers.push(number);
    }
    let none = || Error::setting(format!("`{slot}`: at least one value is needed"));
    Ok((found.ok_or_else(none)?, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use helion_ir::config::Knob;

    #[test]
    fn spaces_are_cut() {
        let mut space = ConfigSpace::default();
        space.add(Slot::of(Knob::Block, "tm"), vec![8, 16, 32]);
        space.add(Slot::kernel(Knob::Unroll), vec![1, 2, 4]);
        let t = Tuner::quick().restrict("block.tm", [16, 8]).pin("unroll", "2").seconds(0.5).configs(7);
        let mut cut = space.clone();
        t.restrict_space(&mut cut, None).unwrap();
        assert_eq!(cut.default_config().to_string(), "block.tm=16 unroll=2");
        assert_eq!(cut.len(), 2);
        let b = t.budget().unwrap();
        assert_eq!((b.configs, b.time), (7, Duration::from_millis(500)));
        assert!(Tuner::from(Effort::None).budget().is_none());
        let said = |t: Tuner| t.restrict_space(&mut space.clone(), None).unwrap_err().to_string();
        assert!(said(Tuner::quick().pin("block.tn", 8)).contains("`block.tn` is not in the kernel's space"));
        assert!(said(Tuner::quick().pin("blocks.tm", 8)).contains("is not a knob"));
        assert!(said(Tuner::quick().pin("unroll", "many")).contains("the values of `unroll`"));
        let pinned: Config = "unroll=4".parse().unwrap();
        let mut cut = space.clone();
        Tuner::full().restrict_space(&mut cut, Some(&pinned)).unwrap();
        assert_eq!(cut.len(), 3);
    }
}
