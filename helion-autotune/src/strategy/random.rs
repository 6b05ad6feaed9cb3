//! Configs by chance: what every cleverer strategy is compared with.

use super::{Next, Proposal, Strategy, View, pool};
use crate::random;

/// Tries legal configs by chance.
pub struct Random {
    rng: random::Random,
}

impl Random {
    /// A stream of configs that depends on the seed.
    pub fn new(seed: u64) -> Random {
        Random { rng: random::Random::new(seed) }
    }
}

impl Strategy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn propose(&mut self, view: &View<'_>, n: usize) -> Next {
        let list = pool::fresh(view, &mut self.rng, n.max(1));
        if list.is_empty() {
            return if pool::is_small(view.space) { Next::Exhausted } else { Next::Converged };
        }
        Next::Try(list.into_iter().map(|config| Proposal { config, origin: "random" }).collect())
    }
}
