//! Where a generated program's decisions come from: a random stream that is recorded, or a recorded one.
//!
//! A program is a function of its decisions, each a number from which a generator takes a remainder, zero
//! being the plainest choice. So a failing program shrinks by deleting and lowering numbers, whatever the
//! generator does with them.

/// SplitMix64: a tiny generator with a 64-bit state.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    /// A number in `0..1`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A stream of decisions.
#[derive(Clone, Debug)]
pub struct Source {
    choices: Vec<u32>,
    at: usize,
    rng: Option<Rng>,
}

impl Source {
    /// Fresh decisions.
    pub fn random(seed: u64) -> Source {
        Source { choices: Vec::new(), at: 0, rng: Some(Rng(seed)) }
    }
    /// Recorded decisions; past their end everything is plainest.
    pub fn replay(choices: &[u32]) -> Source {
        Source { choices: choices.to_vec(), at: 0, rng: None }
    }
    /// The decisions taken so far.
    pub fn taken(&self) -> &[u32] {
        &self.choices[..self.at.min(self.choices.len())]
    }
    fn draw(&mut self) -> u32 {
        if self.at == self.choices.len() {
            let fresh = self.rng.as_mut().map_or(0, |r| (r.next() >> 40) as u32);
            self.choices.push(fresh);
        }
        self.at += 1;
        self.choices[self.at - 1]
    }
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.draw() as usize % n.max(1)
    }
    /// True in about `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) >= 100 - percent
    }
    /// One of several, the first being the plainest.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
    /// A seed for data.
    pub fn seed(&mut self) -> u64 {
        u64::from(self.draw())
    }
}
