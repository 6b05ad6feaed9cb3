//! `tune`, `explain`, `choices` and `with` of a kernel, for any error type that converts from ours.

use crate::error::{Error, Result};
use crate::runtime::{self, Choice, Explained, Tuned, Tuner};
use helion_ir::config::Config;

/// What a kernel returns: a `Result` whose error converts from [`Error`].
pub trait Outcome {
    /// What it returns on success.
    type Value;
    /// Its error.
    type Error: From<Error>;
    /// The same with another value.
    type With<X>;
    #[doc(hidden)]
    fn result(self) -> Result<Self::Value, Self::Error>;
    #[doc(hidden)]
    fn with<X>(result: Result<X, Self::Error>) -> Self::With<X>;
}
impl<R, E: From<Error>> Outcome for Result<R, E> {
    type Value = R;
    type Error = E;
    type With<X> = Result<X, E>;
    fn result(self) -> Result<R, E> {
        self
    }
    fn with<X>(result: Result<X, E>) -> Result<X, E> {
        result
    }
}

/// Runs a kernel inside a mode that knows only our errors.
fn within<O: Outcome, X>(
    call: impl FnOnce() -> O,
    mode: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<X>,
) -> O::With<X> {
    let mut theirs = None;
    let mut call = Some(call);
    let found = mode(&mut || match call.take().map(|c| c().result()) {
        Some(Err(e)) => {
            theirs = Some(e);
            Err(Error::check("the kernel returned an error"))
        }
        Some(Ok(_)) | None => Ok(()),
    });
    O::with(match (found, theirs) {
        (_, Some(e)) => Err(e),
        (Err(e), None) => Err(e.into()),
        (Ok(x), None) => Ok(x),
    })
}

/// `kernel::tune(…, tuner)`.
pub fn tune<O: Outcome>(tuner: impl Into<Tuner>, call: impl FnOnce() -> O) -> O::With<Tuned> {
    within(call, |f| runtime::tune(tuner, f))
}
/// `kernel::tune(…, tuner)` of a kernel with tunables, which is called many times: for trial, or for real.
pub fn tune_calls<O: Outcome>(
    kernel: &str,
    tuner: impl Into<Tuner>,
    mut call: impl FnMut(bool) -> O,
) -> O::With<Tuned> {
    let mut theirs = None;
    let found = runtime::tune_calls(kernel, tuner, |trial| match call(trial).result() {
        Ok(_) => Ok(()),
        Err(e) => {
            theirs = Some(e);
            Err(Error::check("the kernel returned an error"))
        }
    });
    O::with(found.map_err(|e| {
        theirs.take().filter(|_| e == Error::check("the kernel returned an error")).unwrap_or_else(|| e.into())
    }))
}
/// `kernel::explain(…)`.
pub fn explain<O: Outcome>(call: impl FnOnce() -> O) -> O::With<Explained> {
    within(call, |f| runtime::explain(f))
}
/// `kernel::choices(…)`.
pub fn choices<O: Outcome>(call: impl FnOnce() -> O) -> O::With<Vec<Choice>> {
    within(call, |f| runtime::choices(f))
}
/// `kernel::with(config).call(…)`.
pub fn pinned<O>(config: &Config, call: impl FnOnce() -> O) -> O {
    runtime::with_config(config, call)
}
