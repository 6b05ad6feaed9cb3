//! Every config, in an order that is spread over the space.

use super::{Next, Proposal, Strategy, View};
use crate::random;

/// Tries every config once. The truth in tests, and the right thing for small spaces.
pub struct Exhaustive {
    rng: random::Random,
    /// Step, start and place of the walk.
    walk: Option<(u64, u64, u64)>,
}

impl Exhaustive {
    /// A walk through the space that depends on the seed.
    pub fn new(seed: u64) -> Exhaustive {
        Exhaustive { rng: random::Random::new(seed), walk: None }
    }
}

impl Strategy for Exhaustive {
    fn name(&self) -> &'static str {
        "exhaustive"
    }

    /// Steps of a length that shares no factor with the number of configs meet each of them once, and need no list.
    fn propose(&mut self, view: &View<'_>, n: usize) -> Next {
        let n = n.max(1);
        let len = view.space.len();
        let rng = &mut self.rng;
        let (step, start, place) = self.walk.get_or_insert_with(|| {
            let mut step = rng.below(len) | 1;
            while divisor(step, len) != 1 {
                step += 2;
            }
            (step, rng.below(len), 0)
        });
        let mut list = Vec::new();
        let mut at = *place;
        while list.len() < 2 * n && at < len {
            let i = (u128::from(at) * u128::from(*step) + u128::from(*start)) % u128::from(len);
            at += 1;
            let config = view.space.nth(i as u64);
            if view.is_fresh(&config) {
                list.push(Proposal { config, origin: "exhaustive" });
            }
            // The second half is only a hint; it comes again.
            if list.len() <= n {
                *place = at;
            }
        }
        if list.is_empty() { Next::Exhausted } else { Next::Try(list) }
    }
}

/// The greatest common divisor.
fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}
