//! The asynchronous engine: bulk copies, plain and of tensors.
//!
//! A load reads global memory at once and lands when the warps have had their turns; then its mbarrier hears of the
//! bytes. A store looks at shared memory at once and writes global memory when its thread waits; what it reads must not have
//! changed by then.

use super::Machine;
use super::memory::{Place, check_alignment, place};
use super::step::each;
use super::traffic::Request;
use super::warp::Warp;
use crate::fault::{AtLane, Exec, FaultKind, trouble};
use crate::program::inst::Bulk;
use crate::syntax::ast::Space;
use crate::tensor_map::{Swizzle, TensorMap, TensorType};
use std::collections::VecDeque;

/// A load that has not landed.
#[derive(Debug)]
pub(crate) struct Landing {
    line: u32,
    /// Offset in shared memory, bytes.
    pieces: Vec<(u64, Vec<u8>)>,
    mbarrier: u64,
}

/// A store that its thread has not waited for.
#[derive(Debug)]
struct Leaving {
    line: u32,
    /// Offset in shared memory, what was there, where it goes.
    pieces: Vec<(u64, Vec<u8>, u64)>,
    reduce: Option<(&'static str, TensorType)>,
}

/// The stores of a lane.
#[derive(Debug, Default)]
pub(crate) struct LaneStores {
    open: Vec<Leaving>,
    groups: VecDeque<Vec<Leaving>>,
}

impl LaneStores {
    /// A line whose store nobody waited for.
    pub fn unfinished(&self) -> Option<u32> {
        self.open.iter().chain(self.groups.iter().flatten()).map(|l| l.line).next()
    }
}

impl Warp {
    fn stores_of(&mut self, lane: usize) -> &mut LaneStores {
        if self.stores.is_empty() {
            self.stores.resize_with(32, LaneStores::default);
        }
        &mut self.stores[lane]
    }
}

/// The pieces of a box that lie side by side on both sides: offset in shared memory, address, bytes.
fn pieces(map: &TensorMap, coords: &[i64], base: u64) -> Vec<(u64, Option<u64>, usize)> {
    let size = map.element.bytes();
    let mut all: Vec<(u64, Option<u64>, usize)> = Vec::new();
    map.elements(coords, |offset, address| {
        let to = map.swizzle.apply(base + offset as u64);
        if let Some((at, from, length)) = all.last_mut() {
            let follows = match (&*from, address) {
                (Some(f), Some(a)) => f + *length as u64 == a,
                (None, None) => true,
                _ => false,
            };
            if follows && *at + *length as u64 == to && offset % 16 != 0 {
                *length += size;
                return;
            }
        }
        all.push((to, address, size));
    });
    all
}

impl Machine<'_> {
    pub(super) fn bulk(&mut self, warp: &mut Warp, mask: u32, bulk: &Bulk) -> Exec<()> {
        for lane in each(mask) {
            self.bulk_lane(warp, lane, bulk).at(lane)?;
        }
        Ok(())
    }

    fn bulk_lane(&mut self, warp: &mut Warp, lane: usize, bulk: &Bulk) -> Exec<()> {
        let shared = self.addresses(warp, bulk.shared)[lane];
        let shared = self.shared_offset(Space::Generic, shared, lane)?;
        let global = self.addresses(warp, bulk.global)[lane];
        let (pieces, element) = match bulk.size {
            Some(size) => {
                let size = self.lanes(warp, size)[lane] as usize;
                for (what, n) in [("size", size as u64), ("shared address", shared), ("global address", global)] {
                    if n % 16 != 0 {
                        return trouble(
                            FaultKind::Misaligned,
                            format!("the {what} {n:#x} of a bulk copy is not a multiple of 16"),
                        );
                    }
                }
                (vec![(shared, Some(global), size)], TensorType::U8)
            }
            None => {
                let map = self.tensor_map(warp, lane, global)?;
                check_alignment(shared, 128)?;
                let coords: Vec<i64> =
                    bulk.coords.iter().map(|c| i64::from(self.lanes(warp, *c)[lane] as u32 as i32)).collect();
                if coords.len() != map.extents.len() {
                    return trouble(
                        FaultKind::Misuse,
                        format!("{} coordinates for a tensor map of rank {}", coords.len(), map.extents.len()),
                    );
                }
                // The permutation is one of whole pieces of 16 bytes; without it the base need not be known.
                debug_assert!(map.swizzle == Swizzle::None || map.box_bytes().is_multiple_of(16));
                (pieces(&map, &coords, shared), map.element)
            }
        };
        let mut request = Request::default();
        let line = self.program.steps[self.pc as usize].line;
        let who = self.who(warp, lane, false);
        if let Some(at) = bulk.mbarrier {
            let at = self.addresses(warp, at)[lane];
            let at = self.shared_offset(Space::Generic, at, lane)?;
            self.check_mbarrier(warp, lane, at)?;
            let mut landing = Landing { line, pieces: Vec::new(), mbarrier: at };
            for (to, from, size) in pieces {
                let bytes = match from {
                    Some(from) => self.global.read(from, size)?.to_vec(),
                    None => vec![0; size],
                };
                self.shared.begin_copy(who, to, size)?;
                if let Some(from) = from {
                    request.global(from);
                }
                landing.pieces.push((to, bytes));
            }
            self.landings.push_back(landing);
        } else {
            let mut leaving = Leaving { line, pieces: Vec::new(), reduce: bulk.reduce.map(|op| (op, element)) };
            for (from, to, size) in pieces {
                let bytes = self.shared.read_by_proxy(who, from, size)?.to_vec();
                if let Some(to) = to {
                    self.global.write(to, size)?;
                    leaving.pieces.push((from, bytes, to));
                }
            }
            warp.stores_of(lane).open.push(leaving);
        }
        Ok(())
    }

    /// The tensor map at an address.
    fn tensor_map(&mut self, warp: &Warp, lane: usize, address: u64) -> Exec<TensorMap> {
        check_alignment(address, 64)?;
        let at = place(Space::Generic, address);
        if matches!(at, Place::Shared(_) | Place::Local(_)) {
            return trouble(
                FaultKind::OutOfBounds,
                format!("the tensor map at {address:#x} is neither a parameter nor in global memory"),
            );
        }
        let mut bytes = [0; 128];
        let who = self.who(warp, lane, false);
        bytes.copy_from_slice(self.fetch(warp, who, at, 128)?);
        match TensorMap::decode(&bytes) {
            Some(map) => Ok(map),
            None => trouble(FaultKind::Misuse, format!("the 128 bytes at {address:#x} are no tensor map")),
        }
    }

    /// Lands what is on its way.
    pub(super) fn land_all(&mut self) -> Exec<bool> {
        let any = !self.landings.is_empty();
        while let Some(landing) = self.landings.pop_front() {
            let mut total = 0;
            let mut clock = crate::memory::order::Clock::default();
            for (to, bytes) in &landing.pieces {
                clock.join(&self.shared.land_by_engine(landing.line, *to, bytes));
                total += bytes.len();
            }
            self.bytes_landed(landing.mbarrier, total, &clock)?;
        }
        Ok(any)
    }

    pub(super) fn bulk_commit(&mut self, warp: &mut Warp, mask: u32) {
        for lane in each(mask) {
            let stores = warp.stores_of(lane);
            let group = std::mem::take(&mut stores.open);
            stores.groups.push_back(group);
        }
    }

    pub(super) fn bulk_wait(&mut self, warp: &mut Warp, mask: u32, keep: u32) -> Exec<()> {
        self.effects += 1;
        for lane in each(mask) {
            let stores = warp.stores_of(lane);
            let mut done = Vec::new();
            while stores.groups.len() > keep as usize {
                done.extend(stores.groups.pop_front().into_iter().flatten());
            }
            for leaving in done {
                self.leave(&leaving).at(lane)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self, leaving: &Leaving) -> Exec<()> {
        for (from, bytes, to) in &leaving.pieces {
            if self.shared.peek(*from, bytes.len()) != bytes {
                return trouble(
                    FaultKind::NotArrived,
                    format!(
                        "shared address {from:#x} was overwritten before the bulk store of line {} was waited for",
                        leaving.line
                    ),
                );
            }
            let to = self.global.write(*to, bytes.len())?;
            match leaving.reduce {
                None => to.copy_from_slice(bytes),
                Some((op, element)) => {
                    for (old, new) in to.chunks_mut(element.bytes()).zip(bytes.chunks(element.bytes())) {
                        reduce(op, element, old, new)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Combines one element with what is in memory.
fn reduce(op: &str, element: TensorType, old: &mut [u8], new: &[u8]) -> Exec<()> {
    use crate::memory::number;
    use crate::program::lanes::{Bf16, F16, F32, Real, Value};
    let (x, y) = (number(old), number(new));
    macro_rules! float {
        ($t:ty) => {{
            let (a, b) = (<$t>::of(x), <$t>::of(y));
            match op {
                "add" => <$t>::bits(a + b),
                "min" => <$t>::bits(a.smaller(b)),
                "max" => <$t>::bits(a.larger(b)),
                _ => return trouble(FaultKind::Misuse, format!("the reduction .{op} does not exist for floats")),
            }
        }};
    }
    let signed = matches!(element, TensorType::I32 | TensorType::I64);
    let result = match element {
        TensorType::F16 => float!(F16),
        TensorType::Bf16 => float!(Bf16),
        TensorType::F32 | TensorType::F32Ftz => float!(F32),
        TensorType::F64 | TensorType::Tf32 | TensorType::Tf32Ftz | TensorType::U8 | TensorType::U16 => {
            return trouble(FaultKind::Misuse, format!("bulk reductions of {element:?} do not exist"));
        }
        TensorType::U32 | TensorType::I32 | TensorType::U64 | TensorType::I64 => {
            let shift = 64 - 8 * old.len() as u32;
            let wide = |v: u64| if signed { ((v << shift) as i64 >> shift) as i128 } else { i128::from(v) };
            match op {
                "add" => x.wrapping_add(y),
                "min" => wide(x).min(wide(y)) as u64,
                "max" => wide(x).max(wide(y)) as u64,
                "and" => x & y,
                "or" => x | y,
                "xor" => x ^ y,
                _ => return trouble(FaultKind::Misuse, format!("the bulk reduction .{op} is not supported")),
            }
        }
    };
    old.copy_from_slice(&result.to_le_bytes()[..old.len()]);
    Ok(())
}
