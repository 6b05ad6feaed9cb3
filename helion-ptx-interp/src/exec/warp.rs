//! A warp: its registers, and where its lanes stand.
//!
//! Lanes that stand at one place run together. When they part, each group is a *fragment*, and the ready fragment at the
//! smallest place runs: blocks are laid out so that this makes lanes meet again as early as they can.

use super::bulk::LaneStores;
use super::copies::LaneCopies;
use super::wgmma::Products;
use crate::program::lanes::{Lanes, WARP};

/// What a fragment waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// Other lanes have to come to the same instruction.
    Gathering(u32),
    /// It has arrived at a barrier.
    AtBarrier(u32),
}

/// Lanes that stand at the same place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub pc: u32,
    pub mask: u32,
    pub state: State,
}

/// One warp of the running block.
#[derive(Debug)]
pub(crate) struct Warp {
    pub index: usize,
    pub registers: Vec<Lanes>,
    /// Local memory, lane after lane.
    pub local: Vec<u8>,
    /// Lanes that exist and have not exited.
    pub live: u32,
    pub fragments: Vec<Fragment>,
    /// How often in a row its time ran out while fragments were kept from running.
    pub starving: u32,
    /// Copies of each lane that are on their way, if there ever were any.
    pub copies: Vec<LaneCopies>,
    /// Bulk stores of each lane, likewise.
    pub stores: Vec<LaneStores>,
    pub products: Products,
}

impl Warp {
    pub fn new(index: usize, registers: usize) -> Warp {
        Warp {
            index,
            registers: vec![[0; WARP]; registers],
            local: Vec::new(),
            live: 0,
            fragments: Vec::new(),
            starving: 0,
            copies: Vec::new(),
            stores: Vec::new(),
            products: Products::default(),
        }
    }

    /// Begins a block with some lanes.
    pub fn reset(&mut self, lanes: u32, local: usize) {
        self.registers.iter_mut().for_each(|r| *r = [0; WARP]);
        self.local.clear();
        self.local.resize(local * WARP, 0xcb);
        self.live = lanes;
        self.starving = 0;
        self.copies.clear();
        self.stores.clear();
        self.products.reset(self.registers.len());
        self.fragments.clear();
        self.fragments.push(Fragment { pc: 0, mask: lanes, state: State::Ready });
    }

    pub fn has_ready(&self) -> bool {
        self.fragments.iter().any(|f| f.state == State::Ready)
    }

    /// Puts a fragment among the others; lanes at the same place run on together.
    pub fn put(&mut self, fragment: Fragment) {
        if fragment.mask == 0 {
            return;
        }
        let meets = |f: &&mut Fragment| f.pc == fragment.pc && !matches!(f.state, State::AtBarrier(_));
        if !matches!(fragment.state, State::AtBarrier(_))
            && let Some(other) = self.fragments.iter_mut().find(meets)
        {
            other.mask |= fragment.mask;
            // With new lanes, a gathering may be complete: it is tried again.
            other.state = State::Ready;
            return;
        }
        self.fragments.push(fragment);
    }

    /// Takes out the ready fragment at the smallest place, or the largest if `last`.
    pub fn take(&mut self, last: bool) -> Option<Fragment> {
        let ready = self.fragments.iter().enumerate().filter(|(_, f)| f.state == State::Ready);
        let picked = if last { ready.max_by_key(|(_, f)| f.pc) } else { ready.min_by_key(|(_, f)| f.pc) };
        picked.map(|(i, _)| i).map(|i| self.fragments.swap_remove(i))
    }

    /// The next place after `pc` where other lanes stand; the running fragment has to look around there.
    pub fn next_meeting(&self, pc: u32) -> u32 {
        self.fragments.iter().map(|f| f.pc).filter(|p| *p > pc).min().unwrap_or(u32::MAX)
    }
}
