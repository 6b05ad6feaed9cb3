//! What happened before what, among the warps of a block.
//!
//! Each warp counts time: its own goes on whenever it releases something or its lanes meet. A *clock* holds, for each
//! warp, up to which of its times everything is known to have happened before. Barriers, and accesses with acquire and
//! release, pass clocks on. One more *agent* stands for the asynchronous engine that copies in the background; what
//! it does is known to those who waited for it.

use std::collections::HashMap;

/// For each agent, the last of its times that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Clock(Vec<u32>);

impl Clock {
    /// Adds what another clock knows.
    pub fn join(&mut self, other: &Clock) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a = (*a).max(*b);
        }
    }

    /// Notes one agent's time.
    pub fn note(&mut self, agent: usize, time: u32) {
        if self.0.len() <= agent {
            self.0.resize(agent + 1, 0);
        }
        self.0[agent] = self.0[agent].max(time);
    }

    /// The known time of an agent.
    pub fn of(&self, agent: usize) -> u32 {
        self.0.get(agent).copied().unwrap_or(0)
    }
}

/// Where in memory threads met, for accesses that order.
pub(crate) type Address = (bool, u64);

/// The clocks of a block.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// One for each warp; the engine is the agent after the last.
    clocks: Vec<Clock>,
    engine_time: u32,
    /// What a relaxed store publishes: the clock at the last fence.
    fenced: Vec<Clock>,
    /// What a fence would acquire: clocks seen by relaxed loads.
    seen: Vec<Clock>,
    /// What was released through an address.
    published: HashMap<Address, Clock>,
}

impl Order {
    /// A block with so many warps begins.
    pub fn reset(&mut self, warps: usize) {
        self.clocks = (0..warps)
            .map(|w| {
                let mut clock = Clock::default();
                clock.note(w, 1);
                clock
            })
            .collect();
        self.engine_time = 0;
        self.fenced = vec![Clock::default(); warps];
        self.seen = vec![Clock::default(); warps];
        self.published.clear();
    }

    /// The agent that copies in the background.
    pub fn engine(&self) -> usize {
        self.clocks.len()
    }

    /// The time of a new action of the engine.
    pub fn engine_tick(&mut self) -> u32 {
        self.engine_time += 1;
        self.engine_time
    }

    /// A warp's own time.
    pub fn now(&self, warp: usize) -> u32 {
        self.clocks[warp].of(warp)
    }

    /// What a warp knows.
    pub fn clock(&self, warp: usize) -> &Clock {
        &self.clocks[warp]
    }

    /// The lanes of a warp met, or it released something: what it does now is later.
    pub fn tick(&mut self, warp: usize) {
        let now = self.now(warp);
        self.clocks[warp].note(warp, now + 1);
    }

    /// A warp passes on what it knows.
    pub fn release(&mut self, warp: usize, to: &mut Clock) {
        to.join(&self.clocks[warp]);
        self.tick(warp);
    }

    /// A warp takes over what others passed on.
    pub fn acquire(&mut self, warp: usize, from: &Clock) {
        self.clocks[warp].join(from);
    }

    /// Releases through an address; a relaxed access passes on what was before the last fence.
    pub fn publish(&mut self, warp: usize, at: Address, relaxed: bool) {
        let to = self.published.entry(at).or_default();
        if relaxed {
            to.join(&self.fenced[warp]);
        } else {
            to.join(&self.clocks[warp]);
            self.tick(warp);
        }
    }

    /// Acquires through an address; a relaxed access takes effect with the next fence.
    pub fn observe(&mut self, warp: usize, at: Address, relaxed: bool) {
        if let Some(clock) = self.published.get(&at) {
            if relaxed {
                self.seen[warp].join(clock);
            } else {
                self.clocks[warp].join(clock);
            }
        }
    }

    /// A fence of a warp.
    pub fn fence(&mut self, warp: usize) {
        let seen = std::mem::take(&mut self.seen[warp]);
        self.clocks[warp].join(&seen);
        self.fenced[warp] = self.clocks[warp].clone();
        self.tick(warp);
    }
}
