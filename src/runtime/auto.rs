//! Whether a launch may be tuned, and tuning that launches start by themselves (`HELION_TUNE`).
//!
//! In: a launch whose code this thread does not know. Out: if the settings ask for it and nothing was measured at
//! exactly its sizes, a search, whose result this and later launches use. Of all threads and processes that want the
//! same kernel, one searches and the others wait for it. Nothing is tuned when the `cache` setting is `read`.

use super::compile::Traced;
use super::entry::Entry;
use super::launch::State;
use super::mode::Effort;
use super::records::{self, Id};
use super::tune::{self, Tuner, Tuning};
use crate::error::Result;
use crate::settings::{self, Cache};
use helion_autotune::Budget;
use helion_autotune::store::{Claim, Guard};
use helion_ir::config::Config;
use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};

/// Kernels and places for which a search was started by a launch. Locked during the search: one at a time.
static STARTED: LazyLock<Mutex<HashSet<Started>>> = LazyLock::new(Mutex::default);

/// A kernel and a place.
type Started = (Id, Box<[u64]>);

/// Tunes a launch because the caller asked for it.
///
/// # Errors
/// When nothing may be tuned; when the kernel does not compile, or memory for copies is short.
pub(super) fn asked(
    state: &State,
    traced: &Traced,
    tuner: &Tuner,
    pinned: Option<&Config>,
    threads: usize,
) -> Result<Tuning> {
    records::may_write(format_args!("kernel `{}` cannot be tuned", state.kernel))?;
    tune::tune(state, traced, tuner, pinned, threads)
}

/// Tunes a launch if the settings say so and nothing was measured at exactly its sizes. A search that fails is said, and
/// not tried again.
pub(super) fn tune(state: &State, entry: &Entry, traced: &Traced, threads: usize) {
    let effort = settings::tune();
    if effort == Effort::None || settings::cache() == Cache::Read {
        return;
    }
    let measured = || entry.pick(traced, None, state.place()).extrapolated == 0.0;
    if measured() {
        return;
    }
    let mut started = STARTED.lock().unwrap_or_else(|e| e.into_inner());
    if measured() || !started.insert((traced.id.clone(), state.place().into())) {
        return;
    }
    let Some(_claim) = claim(&traced.id, effort) else { return };
    if measured() {
        return;
    }
    match tune::tune(state, traced, &Tuner::from(effort), None, threads) {
        Ok(tuning) => eprintln!("{tuning}"),
        Err(e) => eprintln!("warning: kernel `{}` could not be tuned: {e}", state.kernel),
    }
}

/// Waits for other processes that tune this kernel; `None` when one takes too long, which leaves the launch with what is
/// known. Where there is no folder to lock there is nobody to wait for.
fn claim(id: &Id, effort: Effort) -> Option<Option<Guard>> {
    let Some(store) = records::store() else { return Some(None) };
    let patience = 3 * Budget::of(effort, 0).time;
    match store.claim_within(id.key(), patience) {
        Ok(Claim::Mine(guard)) => {
            records::look_again(id);
            Some(Some(guard))
        }
        Ok(Claim::Other { .. }) => None,
        Err(_) => Some(None),
    }
}
