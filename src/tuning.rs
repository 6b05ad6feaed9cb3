//! Which config a launch takes, what decides it, and how tuning results get from one machine or process to another.
//!
//! # Where a config comes from
//!
//! Asked in this order; the first answer counts.
//!
//! 1. **Explicit**: [`with_config`](crate::with_config) and `kernel::with(config)`.
//! 2. **Measured at exactly the sizes and threads of the launch**: in a table that the program carries ([`embed`]), then in
//!    what was tuned on this machine, in this process or an earlier one.
//! 3. **Measured nearby**, within [`REACH`] doublings; again an embedded table before what was tuned here. The distance
//!    between two launches is how often a size, or the number of threads, must be doubled or halved to get from one
//!    to the other, summed over all of them: 1024×64 is one doubling from 512×64 and two from 512×32.
//! 4. **The cost model**, which knows the device and the sizes and has measured nothing.
//!
//! All configs of a kernel compute the same, so a far-fetched choice costs time and nothing else. [`choices`] tells what
//! launches would take and how far they are from what was measured, and so does [`explain`](crate::explain):
//!
//! ```
//! use helion::prelude::*;
//! use helion::tuning::{Source, choices};
//!
//! #[kernel]
//! pub fn double(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
//!     let mut out = x.empty_like();
//!     for t in tile(x.dims()[0]) {
//!         out[t] = x[t] + x[t];
//!     }
//!     Ok(out)
//! }
//!
//! # fn main() -> Result<()> {
//! # helion::settings::set_cache("off")?;
//! let x = Tensor::full([1000], 0.5f32);
//! let choice = &choices(|| double(&x))?[0];
//! assert_eq!((choice.source, choice.extrapolated), (Source::Model, f64::INFINITY)); // nothing was tuned
//! # Ok(())
//! # }
//! ```
//!
//! One kernel is compiled once for each config that some sizes take, not for each size.
//!
//! # What may happen by itself
//!
//! | setting | |
//! |---|---|
//! | `HELION_TUNE=off` | nothing is tuned unless asked for: [`tune`](crate::tune), `kernel::tune(…)` (default) |
//! | `HELION_TUNE=quick`, `full` | the first launch at new sizes tunes; of several threads or processes one does, the others wait |
//! | `HELION_CACHE=read-write` | results on disk are used and added to (default) |
//! | `HELION_CACHE=read` | for production: results on disk are used; nothing is tuned or written, whatever else is asked |
//! | `HELION_CACHE=off` | the disk is left alone; tuning lasts as long as the process |
//!
//! # Few configs for many shapes
//!
//! Each config is code, and each shape a search. [`tune_many`] tunes a list of shapes, measures all of them with each
//! other's winners, keeps at most so many configs, and says what that loses.
//!
//! # Shipping a table
//!
//! Tune where the program will run, [`export`] the results, commit them, and [`embed`] them:
//!
//! ```no_run
//! # const TABLE: &str = "";
//! # fn main() -> helion::Result<()> {
//! helion::tuning::export("src/tuned.json")?; // in a program that tunes
//!
//! # #[cfg(any())]
//! helion::tuning::embed(include_str!("tuned.json"))?; // in the program that is shipped, before its first launch
//! # Ok(()) }
//! ```
//!
//! A table may hold kernels of many devices and versions; each is used where kernel, device and version are the same, and
//! does nothing elsewhere. A kernel that changes has another key, so its old points do nothing either.
#[cfg(unix)]
pub use crate::runtime::worker;
pub use crate::runtime::{Choice, REACH, Served, Shared, Source, choices, embed, export, forget, import, tune_many};
pub use helion_autotune::{Noise, Outcome, Rejection, Timing, Trial};
