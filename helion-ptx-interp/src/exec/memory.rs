//! Loads, stores and atomic updates of a warp.

use super::Machine;
use super::step::each;
use super::traffic::Request;
use super::warp::Warp;
use crate::address;
use crate::fault::{AtLane, Exec, FaultKind, trouble};
use crate::memory::number;
use crate::memory::shared::Who;
use crate::program::inst::{Access, Address, Atomic, Order, Regs, Src};
use crate::program::lanes::Lanes;
use crate::syntax::ast::Space;

/// An address in its own space.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Global(u64),
    Shared(u64),
    /// Offset in the lane's part.
    Local(u64),
    Param(u64),
}

/// Finds the space of a generic address.
pub(super) fn place(space: Space, address: u64) -> Place {
    match space {
        Space::Global | Space::Const => Place::Global(address),
        Space::Shared => Place::Shared(address),
        Space::Local => Place::Local(address),
        Space::Param => Place::Param(address),
        Space::Generic => match address::window(address) {
            address::SHARED => Place::Shared(address - address::SHARED),
            address::LOCAL => Place::Local(address - address::LOCAL),
            address::PARAM => Place::Param(address - address::PARAM),
            _ => Place::Global(address),
        },
    }
}

/// The range of a lane's local memory.
fn local_range(warp: &Warp, lane: usize, offset: u64, size: usize) -> Exec<std::ops::Range<usize>> {
    let each = warp.local.len() / 32;
    match usize::try_from(offset).ok().and_then(|o| Some((o, o.checked_add(size)?))) {
        Some((start, end)) if end <= each => Ok(lane * each + start..lane * each + end),
        _ => trouble(
            FaultKind::OutOfBounds,
            format!("accesses {size} bytes at local address {offset:#x}; the thread has {each} bytes of local memory"),
        ),
    }
}

pub(super) fn check_alignment(address: u64, size: usize) -> Exec<()> {
    if !address.is_multiple_of(size.next_power_of_two() as u64) {
        return trouble(
            FaultKind::Misaligned,
            format!("accesses {size} bytes at address {address:#x}, which is not a multiple of {size}"),
        );
    }
    Ok(())
}

impl Machine<'_> {
    /// The addresses of all lanes.
    pub(super) fn addresses(&self, warp: &Warp, address: Address) -> Lanes {
        let base = self.lanes(warp, address.base);
        std::array::from_fn(|lane| base[lane].wrapping_add_signed(address.offset))
    }

    /// The bytes that a lane reads.
    pub(super) fn fetch<'s>(&'s mut self, warp: &'s Warp, who: Who, at: Place, size: usize) -> Exec<&'s [u8]> {
        let lane = who.lane;
        match at {
            Place::Global(a) => self.global.read(a, size),
            Place::Shared(a) => self.shared.read(who, a, size),
            Place::Local(a) => Ok(&warp.local[local_range(warp, lane, a, size)?]),
            Place::Param(a) => {
                let found = usize::try_from(a).ok().and_then(|a| self.params.get(a..a.checked_add(size)?));
                match found {
                    Some(bytes) => Ok(bytes),
                    None => trouble(
                        FaultKind::OutOfBounds,
                        format!(
                            "reads {size} bytes at parameter offset {a:#x}; the launch has {} bytes of parameters",
                            self.params.len()
                        ),
                    ),
                }
            }
        }
    }

    pub(super) fn load(&mut self, warp: &mut Warp, mask: u32, access: &Access, dst: &Regs, width: u32) -> Exec<()> {
        let addresses = self.addresses(warp, access.address);
        let element = access.bytes as usize;
        let size = element * dst.len();
        let mut request = Request::default();
        for lane in each(mask) {
            let address = addresses[lane];
            check_alignment(address, size).at(lane)?;
            let at = place(access.space, address);
            match at {
                Place::Global(a) => request.global(a),
                Place::Shared(a) => request.shared(lane, a),
                Place::Local(_) | Place::Param(_) => {}
            }
            let mut buffer = [0; 64];
            let bytes = &mut buffer[..size];
            let who = self.who(warp, lane, access.order != Order::Weak);
            bytes.copy_from_slice(self.fetch(warp, who, at, size).at(lane)?);
            for (reg, piece) in dst.iter().zip(bytes.chunks(element)) {
                let Some(reg) = reg else { continue };
                let mut value = number(piece);
                if access.signed {
                    value = sign_extend(value, access.bytes * 8, width);
                }
                warp.registers[*reg as usize][lane] = value;
            }
        }
        self.observed(warp, access.order, mask, access.space, &addresses);
        request.count(size as u32, &mut self.sites[self.pc as usize]);
        Ok(())
    }

    pub(super) fn store(&mut self, warp: &mut Warp, mask: u32, access: &Access, src: &[Src]) -> Exec<()> {
        self.effects += 1;
        let addresses = self.addresses(warp, access.address);
        self.published(warp, access.order, mask, access.space, &addresses);
        let element = access.bytes as usize;
        let size = element * src.len();
        let mut request = Request::default();
        for lane in each(mask) {
            let address = addresses[lane];
            check_alignment(address, size).at(lane)?;
            let mut buffer = [0; 64];
            for (piece, src) in buffer.chunks_mut(element).zip(src) {
                piece.copy_from_slice(&self.lanes(warp, *src)[lane].to_le_bytes()[..element]);
            }
            let bytes = &buffer[..size];
            match place(access.space, address) {
                Place::Global(a) => {
                    request.global(a);
                    self.global.write(a, size).at(lane)?.copy_from_slice(bytes);
                }
                Place::Shared(a) => {
                    request.shared(lane, a);
                    let who = self.who(warp, lane, access.order != Order::Weak);
                    self.shared.write(who, a, bytes).at(lane)?;
                }
                Place::Local(a) => {
                    let range = local_range(warp, lane, a, size).at(lane)?;
                    warp.local[range].copy_from_slice(bytes);
                }
                Place::Param(_) => {
                    return trouble(FaultKind::OutOfBounds, "writes to the kernel's parameters").at(lane);
                }
            }
        }
        request.count(size as u32, &mut self.sites[self.pc as usize]);
        Ok(())
    }

    pub(super) fn atomic(&mut self, warp: &mut Warp, mask: u32, atomic: &Atomic) -> Exec<()> {
        self.effects += 1;
        let addresses = self.addresses(warp, atomic.address);
        self.published(warp, atomic.order, mask, atomic.space, &addresses);
        self.observed(warp, atomic.order, mask, atomic.space, &addresses);
        let size = atomic.bytes as usize;
        let (x, y) = (*self.lanes(warp, atomic.operands[0]), *self.lanes(warp, atomic.operands[1]));
        let mut request = Request::default();
        for lane in each(mask) {
            let address = addresses[lane];
            check_alignment(address, size).at(lane)?;
            let mut old = 0;
            let mut apply = |bytes: &mut [u8]| {
                old = number(bytes);
                bytes.copy_from_slice(&(atomic.update)(old, x[lane], y[lane]).to_le_bytes()[..size]);
            };
            match place(atomic.space, address) {
                Place::Global(a) => {
                    request.global(a);
                    apply(self.global.write(a, size).at(lane)?);
                }
                Place::Shared(a) => {
                    request.shared(lane, a);
                    let who = self.who(warp, lane, true);
                    self.shared.update(who, a, size, apply).at(lane)?;
                }
                Place::Local(a) => {
                    let range = local_range(warp, lane, a, size).at(lane)?;
                    apply(&mut warp.local[range]);
                }
                Place::Param(_) => return trouble(FaultKind::OutOfBounds, "updates the kernel's parameters").at(lane),
            }
            if let Some(dst) = atomic.dst {
                warp.registers[dst as usize][lane] = old;
            }
        }
        request.count(size as u32, &mut self.sites[self.pc as usize]);
        Ok(())
    }
}

impl Machine<'_> {
    /// A lane of a warp at the running step.
    pub(super) fn who(&self, warp: &Warp, lane: usize, strong: bool) -> Who {
        Who { warp: warp.index, lane, line: self.program.steps[self.pc as usize].line, strong }
    }

    /// The places that an ordering access goes through.
    fn meeting_points(order: Order, mask: u32, space: Space, addresses: &Lanes) -> Vec<(bool, u64)> {
        if order == Order::Weak {
            return Vec::new();
        }
        let mut points: Vec<_> = each(mask)
            .filter_map(|lane| match place(space, addresses[lane]) {
                Place::Global(a) => Some((false, a)),
                Place::Shared(a) => Some((true, a)),
                Place::Local(_) | Place::Param(_) => None,
            })
            .collect();
        points.sort_unstable();
        points.dedup();
        points
    }

    /// An access that releases what its warp did.
    fn published(&mut self, warp: &Warp, order: Order, mask: u32, space: Space, addresses: &Lanes) {
        for point in Self::meeting_points(order, mask, space, addresses) {
            self.shared.order.publish(warp.index, point, !order.releases());
        }
    }

    /// An access that acquires what others did.
    fn observed(&mut self, warp: &Warp, order: Order, mask: u32, space: Space, addresses: &Lanes) {
        for point in Self::meeting_points(order, mask, space, addresses) {
            self.shared.order.observe(warp.index, point, !order.acquires());
        }
    }
}

/// A value of `from` bits with a sign, in a register of `to` bits.
fn sign_extend(value: u64, from: u32, to: u32) -> u64 {
    let extended = ((value << (64 - from)) as i64 >> (64 - from)) as u64;
    if to >= 64 { extended } else { extended & ((1 << to) - 1) }
}
