//! Barriers of the block.

use super::Machine;
use super::step::{Flow, each};
use super::warp::{State, Warp};
use crate::fault::{Exec, FaultKind, trouble};
use crate::memory::order::Clock;
use crate::program::inst::{Barrier, BarrierReduce, Inst};
use crate::program::lanes::WARP;

/// Barriers that a block has; one more stands for the cluster's.
const COUNT: usize = 17;

/// One barrier.
#[derive(Debug, Default, Clone)]
struct Arrivals {
    /// Threads that have arrived. Whole warps count 32, exited lanes included.
    threads: u32,
    /// Lanes of each warp that have arrived, for barriers of the whole block.
    lanes: Vec<u32>,
    /// How many have to come, where it was said.
    wanted: Option<u32>,
    /// Threads whose predicate holds.
    count: u32,
    /// Threads that gave a predicate.
    voters: u32,
    /// What they did before.
    clock: Clock,
}

/// All barriers of the running block.
#[derive(Debug)]
pub(crate) struct Barriers {
    all: Vec<Arrivals>,
}

impl Default for Barriers {
    fn default() -> Barriers {
        Barriers { all: vec![Arrivals::default(); COUNT] }
    }
}

impl Machine<'_> {
    /// The one value that the lanes of a mask have.
    pub(super) fn uniform(&self, warp: &Warp, mask: u32, src: crate::program::inst::Src, what: &str) -> Exec<u64> {
        let values = self.lanes(warp, src);
        let first = values[mask.trailing_zeros() as usize];
        if each(mask).any(|l| values[l] != first) {
            return trouble(FaultKind::Misuse, format!("the lanes of a warp give different {what}"));
        }
        Ok(first)
    }

    pub(super) fn arrive(&mut self, warp: &mut Warp, mask: u32, barrier: &Barrier) -> Exec<Flow> {
        if barrier.aligned && mask != warp.live {
            return Ok(Flow::Gather { lanes: mask, missing: warp.live & !mask });
        }
        let id = self.uniform(warp, mask, barrier.id, "barrier numbers")?;
        if id >= COUNT as u64 {
            return trouble(FaultKind::Misuse, format!("barrier {id}; a block has 16, from 0"));
        }
        let wanted = match barrier.threads {
            None => None,
            Some(src) => {
                let n = self.uniform(warp, mask, src, "numbers of threads")?;
                if n == 0 || n % 32 != 0 || n > 1024 {
                    return trouble(
                        FaultKind::Misuse,
                        format!("a barrier of {n} threads; it has to be a multiple of 32"),
                    );
                }
                Some(n as u32)
            }
        };
        if !barrier.waits && wanted.is_none() {
            return trouble(FaultKind::Misuse, "bar.arrive has to say how many threads take part");
        }
        let (votes, voters) = match &barrier.reduce {
            None => (0, 0),
            Some((_, p, _)) => {
                let p = self.lanes(warp, *p);
                (each(mask).filter(|l| p[*l] & 1 == 1).count() as u32, mask.count_ones())
            }
        };
        self.effects += 1;
        let state = &mut self.barriers.all[id as usize];
        if state.threads > 0 && state.wanted != wanted {
            return trouble(
                FaultKind::Misuse,
                format!("barrier {id}: some threads wait for {:?} threads, others for {wanted:?}", state.wanted),
            );
        }
        state.wanted = wanted;
        state.threads += if barrier.aligned { 32 } else { mask.count_ones() };
        state.lanes.resize(state.lanes.len().max(warp.index + 1), 0);
        state.lanes[warp.index] |= mask;
        state.count += votes;
        state.voters += voters;
        let mut clock = std::mem::take(&mut state.clock);
        self.shared.order.release(warp.index, &mut clock);
        self.barriers.all[id as usize].clock = clock;
        Ok(if barrier.waits { Flow::Wait { lanes: mask, barrier: id as u32 } } else { Flow::Next })
    }

    /// Releases the barriers at which all have arrived; whether there was one.
    pub(super) fn settle(&mut self, warps: &mut [Warp]) -> Exec<bool> {
        let mut any = false;
        for id in 0..COUNT {
            let state = &self.barriers.all[id];
            if state.threads == 0 {
                continue;
            }
            let complete = match state.wanted {
                Some(n) if state.threads > n => {
                    return trouble(
                        FaultKind::Misuse,
                        format!("{} threads came to barrier {id}, which is for {n}", state.threads),
                    );
                }
                Some(n) => state.threads == n,
                None => warps.iter().all(|w| w.live & !state.lanes.get(w.index).copied().unwrap_or(0) == 0),
            };
            if complete {
                any = true;
                self.effects += 1;
                let state = std::mem::take(&mut self.barriers.all[id]);
                self.release(warps, id as u32, &state);
            }
        }
        Ok(any)
    }

    fn release(&mut self, warps: &mut [Warp], id: u32, state: &Arrivals) {
        for warp in warps.iter_mut() {
            let waiting: Vec<_> = warp.fragments.extract_if(.., |f| f.state == State::AtBarrier(id)).collect();
            if !waiting.is_empty() {
                self.shared.order.acquire(warp.index, &state.clock);
            }
            for mut f in waiting {
                if let Inst::Barrier(barrier) = &self.program.steps[f.pc as usize].inst
                    && let Some((op, _, dst)) = &barrier.reduce
                {
                    let value = match op {
                        BarrierReduce::Count => state.count,
                        BarrierReduce::And => u32::from(state.count == state.voters),
                        BarrierReduce::Or => u32::from(state.count > 0),
                    };
                    warp.set(*dst, f.mask, &[u64::from(value); WARP]);
                }
                f.pc += 1;
                f.state = State::Ready;
                warp.put(f);
            }
        }
    }
}
