//! mbarriers: barriers in shared memory that count threads and bytes.

use super::Machine;
use super::memory::check_alignment;
use super::step::{Flow, each};
use super::warp::Warp;
use crate::fault::{AtLane, Exec, FaultKind, trouble};
use crate::memory::order::Clock;
use crate::program::inst::{Address, MbarrierAction};
use crate::syntax::ast::Space;
use std::collections::BTreeMap;

/// One mbarrier.
#[derive(Debug, Default, Clone)]
pub(crate) struct Mbarrier {
    /// Arrivals that a phase takes.
    count: u32,
    pending: u32,
    /// Bytes that are expected and have not come.
    bytes: i64,
    phase: u64,
    /// What happened before the arrivals of this phase, and of those that are over.
    arriving: Clock,
    over: Clock,
}

impl Mbarrier {
    /// Goes to the next phase if all have come; whether it did.
    fn turn(&mut self) -> bool {
        if self.pending > 0 || self.bytes != 0 {
            return false;
        }
        self.phase += 1;
        self.pending = self.count;
        let arriving = std::mem::take(&mut self.arriving);
        self.over.join(&arriving);
        true
    }
}

/// The mbarriers of a block, by their addresses.
#[derive(Debug, Default)]
pub(crate) struct Mbarriers(BTreeMap<u64, Mbarrier>);

impl Mbarriers {
    /// What the barriers wait for, in words.
    pub fn describe(&self) -> String {
        let all: Vec<String> = self
            .0
            .iter()
            .map(|(at, b)| {
                format!(
                    "mbarrier {at:#x}: phase {}, {} of {} arrivals and {} bytes missing",
                    b.phase, b.pending, b.count, b.bytes
                )
            })
            .collect();
        all.join("; ")
    }
}

impl Machine<'_> {
    pub(super) fn mbarrier(&mut self, warp: &mut Warp, mask: u32, at: Address, action: &MbarrierAction) -> Exec<Flow> {
        let addresses = self.addresses(warp, at);
        let mut spins = true;
        for lane in each(mask) {
            let at = self.shared_offset(Space::Generic, addresses[lane], lane)?;
            check_alignment(at, 8).at(lane)?;
            spins &= self.mbarrier_lane(warp, lane, at, action).at(lane)?;
        }
        Ok(if spins { Flow::Yield } else { Flow::Next })
    }

    /// The barrier at an address, for a thread that may use it.
    fn barrier_at(&mut self, warp: &Warp, lane: usize, at: u64) -> Exec<&mut Mbarrier> {
        let who = self.who(warp, lane, true);
        self.shared.read(who, at, 8)?;
        match self.mbarriers.0.get_mut(&at) {
            Some(barrier) => Ok(barrier),
            None => trouble(
                FaultKind::Misuse,
                format!("there is no mbarrier at shared address {at:#x}; mbarrier.init makes one"),
            ),
        }
    }

    /// Whether the lane has to try again.
    fn mbarrier_lane(&mut self, warp: &mut Warp, lane: usize, at: u64, action: &MbarrierAction) -> Exec<bool> {
        let of = |m: &Self, warp: &Warp, src| m.lanes(warp, src)[lane];
        match action {
            MbarrierAction::Init { count } => {
                let count = of(self, warp, *count) as u32;
                if count == 0 || count >= 1 << 20 {
                    return trouble(FaultKind::Misuse, format!("an mbarrier of {count} arrivals"));
                }
                let who = self.who(warp, lane, false);
                let barrier = Mbarrier { count, pending: count, ..Mbarrier::default() };
                if self.mbarriers.0.insert(at, barrier).is_some() {
                    return trouble(
                        FaultKind::Misuse,
                        format!("the mbarrier at {at:#x} is made twice without mbarrier.inval"),
                    );
                }
                // Its bits are nobody's business; the address makes them differ from those of others.
                self.shared.write(who, at, &(at ^ 0x6d62_6172_0000_0000 ^ u64::from(count) << 20).to_le_bytes())?;
            }
            MbarrierAction::Invalidate => {
                self.barrier_at(warp, lane, at)?;
                self.mbarriers.0.remove(&at);
            }
            MbarrierAction::Arrive { count, expect, drop, state } => {
                let (count, expect) = (of(self, warp, *count) as u32, expect.map(|e| of(self, warp, e)));
                let mut clock = Clock::default();
                self.shared.order.release(warp.index, &mut clock);
                let barrier = self.barrier_at(warp, lane, at)?;
                let phase = barrier.phase;
                barrier.bytes += expect.unwrap_or(0) as i64;
                barrier.arriving.join(&clock);
                arrive(barrier, at, count)?;
                if *drop {
                    barrier.count = barrier.count.saturating_sub(count);
                }
                barrier.turn();
                if let Some(state) = state {
                    warp.registers[*state as usize][lane] = phase;
                }
            }
            MbarrierAction::Expect(bytes) => {
                let bytes = of(self, warp, *bytes);
                self.barrier_at(warp, lane, at)?.bytes += bytes as i64;
            }
            MbarrierAction::Complete(bytes) => {
                let bytes = of(self, warp, *bytes);
                let barrier = self.barrier_at(warp, lane, at)?;
                barrier.bytes -= bytes as i64;
                barrier.turn();
            }
            MbarrierAction::ArriveAfterCopies { counted } => {
                let clock = self.land_copies(warp, lane);
                let barrier = self.barrier_at(warp, lane, at)?;
                barrier.arriving.join(&clock);
                if *counted {
                    arrive(barrier, at, 1)?;
                    barrier.turn();
                }
            }
            MbarrierAction::Test { done, state, parity, blocks } => {
                let state = of(self, warp, *state);
                let barrier = self.barrier_at(warp, lane, at)?;
                let over = if *parity { barrier.phase & 1 != state & 1 } else { barrier.phase != state };
                if over {
                    let clock = barrier.over.clone();
                    self.shared.order.acquire(warp.index, &clock);
                }
                warp.registers[*done as usize][lane] = u64::from(over);
                return Ok(*blocks && !over);
            }
        }
        self.effects += 1;
        Ok(false)
    }

    /// Bytes of the engine have landed.
    pub(super) fn bytes_landed(&mut self, at: u64, bytes: usize, clock: &Clock) -> Exec<()> {
        let Some(barrier) = self.mbarriers.0.get_mut(&at) else {
            return trouble(
                FaultKind::Misuse,
                format!("a copy reports to an mbarrier at {at:#x}, where there is none"),
            );
        };
        barrier.arriving.join(clock);
        barrier.bytes -= bytes as i64;
        barrier.turn();
        self.effects += 1;
        Ok(())
    }

    /// Whether there is an mbarrier that a thread may use.
    pub(super) fn check_mbarrier(&mut self, warp: &Warp, lane: usize, at: u64) -> Exec<()> {
        check_alignment(at, 8)?;
        self.barrier_at(warp, lane, at).map(|_| ())
    }
}

fn arrive(barrier: &mut Mbarrier, at: u64, count: u32) -> Exec<()> {
    match barrier.pending.checked_sub(count) {
        Some(left) => {
            barrier.pending = left;
            Ok(())
        }
        None => trouble(
            FaultKind::Misuse,
            format!(
                "{count} arrivals at the mbarrier {at:#x}, which waits for {} more of {}",
                barrier.pending, barrier.count
            ),
        ),
    }
}
