//! Which thread holds which element of a block.
//!
//! A block has axes whose extents are powers of two. A [`Layout`] takes every bit of every index to a place: a bit of
//! the register number, of the lane within the warp, or of the warp within the block of threads. Lane and warp bits
//! that no index has make copies: threads that differ only there hold the same elements. This one form covers rows of
//! vectors, the fragments of matrix instructions, and what a reduction leaves of either.

use smallvec::SmallVec;
use std::fmt;

/// One bit of the index along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bit {
    pub axis: u8,
    pub bit: u8,
}

impl Bit {
    pub(super) const fn new(axis: usize, bit: u32) -> Bit {
        Bit { axis: axis as u8, bit: bit as u8 }
    }
}

/// log2 of the number of lanes.
pub(super) const LANE_BITS: usize = 5;

/// Where each bit of each index goes. Every bit is in one place only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    /// Bits of the register number, lowest first.
    pub reg: SmallVec<[Bit; 8]>,
    /// Bits of the lane; `None` where lanes hold copies.
    pub lane: [Option<Bit>; LANE_BITS],
    /// Bits of the warp, lowest first.
    pub warp: SmallVec<[Option<Bit>; 4]>,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |b: Option<Bit>| b.map_or_else(|| "-".to_owned(), |b| format!("{}.{}", b.axis, b.bit));
        let list = |bits: &mut dyn Iterator<Item = Option<Bit>>| bits.map(show).collect::<Vec<_>>().join(" ");
        write!(
            f,
            "reg[{}] lane[{}] warp[{}]",
            list(&mut self.reg.iter().copied().map(Some)),
            list(&mut self.lane.iter().copied()),
            list(&mut self.warp.iter().copied())
        )
    }
}

impl Layout {
    /// All threads hold the same single element.
    pub(super) fn copies(warps: u32) -> Layout {
        Layout { reg: SmallVec::new(), lane: [None; LANE_BITS], warp: SmallVec::from_elem(None, warps as usize) }
    }

    /// Runs of `vector` bits of the fastest axis in a thread, then lanes, then warps, then registers, along the axes in
    /// `order`, fastest first. `extents` are log2 of the extents of all axes; `warps` is log2 of the warps.
    pub(super) fn blocked(extents: &[u32], order: &[usize], vector: u32, warps: u32) -> Layout {
        let mut rest: Vec<Bit> = Vec::new();
        for &axis in order {
            rest.extend((0..extents[axis]).map(|bit| Bit::new(axis, bit)));
        }
        let mut rest = rest.into_iter();
        let mut layout = Layout::copies(warps);
        layout.reg.extend(rest.by_ref().take(vector as usize));
        for place in layout.lane.iter_mut().chain(&mut layout.warp) {
            *place = rest.next();
        }
        layout.reg.extend(rest);
        layout
    }

    /// How many elements a thread holds.
    pub(super) fn registers(&self) -> usize {
        1 << self.reg.len()
    }

    /// What a register number adds to the index along an axis.
    pub(super) fn offset(&self, axis: usize, register: usize) -> u64 {
        let add = |(k, b): (usize, &Bit)| {
            if usize::from(b.axis) == axis { ((register >> k & 1) as u64) << b.bit } else { 0 }
        };
        self.reg.iter().enumerate().map(add).sum()
    }

    /// The bits of the register number that an axis has.
    pub(super) fn register_mask(&self, axis: usize) -> usize {
        let mask = |(k, b): (usize, &Bit)| usize::from(usize::from(b.axis) == axis) << k;
        self.reg.iter().enumerate().map(mask).sum()
    }

    /// log2 of the extent along an axis.
    pub(super) fn extent(&self, axis: usize) -> u32 {
        let places = self.reg.iter().copied().map(Some).chain(self.lane).chain(self.warp.iter().copied());
        places.flatten().filter(|b| usize::from(b.axis) == axis).map(|b| u32::from(b.bit) + 1).max().unwrap_or(0)
    }

    /// The layout of a block whose axis `i` is axis `axes[i]` of this one, or has one element. Threads that differ in
    /// other axes hold copies.
    pub(super) fn project(&self, axes: &[Option<usize>]) -> Layout {
        let to = |b: Bit| {
            let axis = axes.iter().position(|a| *a == Some(usize::from(b.axis)))?;
            Some(Bit { axis: axis as u8, ..b })
        };
        Layout {
            reg: self.reg.iter().filter_map(|b| to(*b)).collect(),
            lane: self.lane.map(|b| b.and_then(to)),
            warp: self.warp.iter().map(|b| b.and_then(to)).collect(),
        }
    }

    /// For a block laid out as `part`, a projection of this layout by `axes`: the register of it that holds what
    /// belongs to a register of this layout. `None` when `part` puts elements elsewhere.
    pub(super) fn register_in(&self, part: &Layout, axes: &[Option<usize>], register: usize) -> Option<usize> {
        let mut found = 0;
        for (k, b) in part.reg.iter().enumerate() {
            let axis = axes.get(usize::from(b.axis)).copied().flatten()?;
            let mine = self.reg.iter().position(|m| usize::from(m.axis) == axis && m.bit == b.bit)?;
            found |= (register >> mine & 1) << k;
        }
        Some(found)
    }

    /// Whether threads hold the same elements in both layouts, though perhaps in other registers.
    pub(super) fn same_threads(&self, other: &Layout) -> bool {
        let sorted = |l: &Layout| {
            let mut bits = l.reg.clone();
            bits.sort_unstable();
            bits
        };
        self.lane == other.lane && self.warp == other.warp && sorted(self) == sorted(other)
    }

    /// How many low bits of the register number are the low bits of an axis: runs of so many adjacent elements, as a
    /// power of two.
    pub(super) fn run(&self, axis: usize) -> u32 {
        let next = |(k, b): &(usize, &Bit)| usize::from(b.axis) == axis && usize::from(b.bit) == *k;
        self.reg.iter().enumerate().take_while(next).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element of a block with these extents and the threads and registers that hold it.
    fn holders(layout: &Layout, extents: &[u32]) -> Vec<usize> {
        let size: u32 = extents.iter().sum();
        let mut count = vec![0; 1 << size];
        let threads = LANE_BITS + layout.warp.len();
        for thread in 0..1usize << threads {
            for register in 0..layout.registers() {
                let mut index = vec![0u64; extents.len()];
                for (axis, i) in index.iter_mut().enumerate() {
                    *i = layout.offset(axis, register);
                }
                for (k, b) in layout.lane.iter().chain(&layout.warp).enumerate() {
                    if let Some(b) = b {
                        index[usize::from(b.axis)] += ((thread >> k & 1) as u64) << b.bit;
                    }
                }
                let flat = index.iter().zip(extents).fold(0, |f, (i, e)| f << e | *i as usize);
                count[flat] += 1;
            }
        }
        count
    }

    #[test]
    fn blocks_are_covered_evenly() {
        for (extents, vector, warps) in
            [(vec![0, 10], 2, 2), (vec![5, 5], 3, 1), (vec![2], 2, 0), (vec![1, 1, 1], 0, 2)]
        {
            let order: Vec<usize> = (0..extents.len()).rev().collect();
            let layout = Layout::blocked(&extents, &order, vector, warps);
            let counts = holders(&layout, &extents);
            assert!(counts[0] > 0 && counts.iter().all(|c| *c == counts[0]), "{layout:?}");
        }
    }

    #[test]
    fn projections_find_their_registers() {
        let layout = Layout::blocked(&[5, 5], &[1, 0], 2, 1);
        let rows = layout.project(&[Some(0)]);
        assert_eq!(rows.extent(0), 5);
        for register in 0..layout.registers() {
            let r = layout.register_in(&rows, &[Some(0)], register).unwrap();
            assert_eq!(rows.offset(0, r), layout.offset(0, register));
        }
        assert_eq!(layout.run(1), 2);
        assert_eq!(layout.run(0), 0);
        assert!(layout.same_threads(&layout.project(&[Some(0), Some(1)])));
    }
}
