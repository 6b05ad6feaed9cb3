//! Search over the configurations of a kernel, and what was found, remembered.
//!
//! In: a [`ConfigSpace`](helion_ir::config::ConfigSpace), a [`Bench`] that compiles, checks and times configs, and
//! a [`Budget`]. Out: an [`Outcome`] with the best config and everything that was tried. No backend and no
//! knob is known here.
//!
//! A measured time is noisy, so no config wins by one lucky sample: candidates are sampled in turn, what is slower
//! for sure is dropped, and the rest is sampled again, until a few are left; these and the default then
//! get a longer final. The default is never dropped, and is only replaced by what is faster than measuring
//! it again would explain.
#![deny(missing_docs)]

mod bench;
mod budget;
mod clock;
pub mod cover;
mod outcome;
mod progress;
mod random;
mod report;
mod search;
pub mod stats;
pub mod store;
pub mod strategy;
mod surrogate;
pub mod table;

pub use bench::{Bench, Id, Rejection};
pub use budget::{Budget, Effort};
pub use clock::{Clock, Wall};
pub use outcome::{End, Noise, Observer, Outcome, Progress, Timing, Trial};
pub use progress::Bar;
pub use report::Report;
pub use search::{Task, search};
pub use strategy::Strategy;
