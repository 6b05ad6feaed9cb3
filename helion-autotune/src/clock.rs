//! What time it is: the wall's clock, or one that a test moves.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Tells the time since some fixed moment.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wall;

impl Clock for Wall {
    fn now(&self) -> Duration {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        FIRST.get_or_init(Instant::now).elapsed()
    }
}
