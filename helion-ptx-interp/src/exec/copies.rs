//! `cp.async`: copies of single threads in the background.
//!
//! What is read is read at once. What is written is written when the thread waits for it, and until then nobody may
//! touch its place.

use super::Machine;
use super::memory::{Place, check_alignment, place};
use super::step::each;
use super::traffic::Request;
use super::warp::Warp;
use crate::fault::{AtLane, Exec, FaultKind, trouble};
use crate::memory::order::Clock;
use crate::program::inst::{Address, Src};
use crate::program::lanes::{Lanes, WARP};
use crate::syntax::ast::Space;
use std::collections::VecDeque;

/// One copy on its way.
#[derive(Debug)]
struct Copy {
    line: u32,
    to: u64,
    bytes: Vec<u8>,
}

/// The copies of a lane.
#[derive(Debug, Default)]
pub(crate) struct LaneCopies {
    open: Vec<Copy>,
    groups: VecDeque<Vec<Copy>>,
}

impl Warp {
    fn copies_of(&mut self, lane: usize) -> &mut LaneCopies {
        if self.copies.is_empty() {
            self.copies.resize_with(WARP, LaneCopies::default);
        }
        &mut self.copies[lane]
    }
}

impl Machine<'_> {
    /// The offset of an address in shared memory.
    pub(super) fn shared_offset(&self, space: Space, address: u64, lane: usize) -> Exec<u64> {
        match place(space, address) {
            Place::Shared(a) => Ok(a),
            // An address that was not converted is an offset already.
            Place::Global(a) if a < 1 << 32 => Ok(a),
            Place::Global(_) | Place::Local(_) | Place::Param(_) => {
                trouble(FaultKind::OutOfBounds, format!("{address:#x} is not in shared memory")).at(lane)
            }
        }
    }

    pub(super) fn copy(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        shared: Address,
        global: Address,
        size: u32,
        read: Option<Src>,
    ) -> Exec<()> {
        let (to, from) = (self.addresses(warp, shared), self.addresses(warp, global));
        let amounts: Lanes = match read {
            Some(src) => *self.lanes(warp, src),
            None => [u64::from(size); WARP],
        };
        let size = size as usize;
        let mut request = Request::default();
        let line = self.program.steps[self.pc as usize].line;
        for lane in each(mask) {
            let amount = amounts[lane] as usize;
            if amount > size {
                return trouble(FaultKind::Misuse, format!("reads {amount} bytes for a copy of {size}")).at(lane);
            }
            let to = self.shared_offset(Space::Generic, to[lane], lane)?;
            check_alignment(to, size).at(lane)?;
            check_alignment(from[lane], size).at(lane)?;
            let mut bytes = vec![0; size];
            if amount > 0 {
                bytes[..amount].copy_from_slice(self.global.read(from[lane], amount).at(lane)?);
                request.global(from[lane]);
            }
            let who = self.who(warp, lane, false);
            self.shared.begin_copy(who, to, size).at(lane)?;
            warp.copies_of(lane).open.push(Copy { line, to, bytes });
        }
        request.count(size as u32, &mut self.sites[self.pc as usize]);
        Ok(())
    }

    pub(super) fn copy_commit(&mut self, warp: &mut Warp, mask: u32) {
        for lane in each(mask) {
            let copies = warp.copies_of(lane);
            let group = std::mem::take(&mut copies.open);
            copies.groups.push_back(group);
        }
    }

    pub(super) fn copy_wait(&mut self, warp: &mut Warp, mask: u32, keep: Option<u32>) {
        self.effects += 1;
        for lane in each(mask) {
            let mut landed = Vec::new();
            let copies = warp.copies_of(lane);
            while copies.groups.len() > keep.unwrap_or(0) as usize {
                landed.extend(copies.groups.pop_front().into_iter().flatten());
            }
            if keep.is_none() {
                landed.append(&mut copies.open);
            }
            for copy in landed {
                let who = crate::memory::shared::Who { line: copy.line, ..self.who(warp, lane, false) };
                self.shared.land(who, copy.to, &copy.bytes);
            }
        }
    }

    /// Lands all copies of a lane for those who wait at an mbarrier.
    pub(super) fn land_copies(&mut self, warp: &mut Warp, lane: usize) -> Clock {
        let copies = warp.copies_of(lane);
        let mut landed: Vec<Copy> = copies.groups.iter_mut().flat_map(std::mem::take).collect();
        landed.append(&mut copies.open);
        let mut clock = Clock::default();
        for copy in landed {
            clock.join(&self.shared.land_by_engine(copy.line, copy.to, &copy.bytes));
        }
        clock
    }
}
