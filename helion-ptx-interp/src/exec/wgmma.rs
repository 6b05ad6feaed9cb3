//! `wgmma`: products of a warpgroup, with operands in shared memory.
//!
//! Each of the four warps computes its 16 rows when the instruction is issued, and its accumulators are *pending* until a
//! wait. A pending register may only be copied by `mov` (which assemblers remove) or go into the next product.

use super::Machine;
use super::matrix::dot;
use super::step::Flow;
use super::warp::Warp;
use crate::fault::{Exec, FaultKind, trouble};
use crate::memory::number;
use crate::memory::order::Clock;
use crate::program::inst::{Element, Inst, Reg, Src, Wgmma};
use crate::report::Class;
use crate::tensor_map::Swizzle;

/// What is known about the registers of products.
#[derive(Debug, Default)]
pub(crate) struct Products {
    /// For each register: the group of products whose result it is.
    group: Vec<u64>,
    /// For each register: when it was written by something else than a product.
    written: Vec<u64>,
    /// The group that is open, and the last that was waited for.
    open: u64,
    done: u64,
    /// The time of the last fence, and now.
    fence: u64,
    now: u64,
}

/// The four warps that multiply together. A product is one operation of all of them: when one of them has waited for it, it
/// is over for all.
#[derive(Debug, Default)]
pub(crate) struct Warpgroup {
    /// How many groups each warp has closed.
    closed: [u64; 4],
    /// For each group, what happened before its warps closed it.
    clocks: Vec<Clock>,
    /// What products read from shared memory and must not change until they are waited for: group, offset, bytes.
    operands: Vec<(u64, u64, Vec<u8>)>,
}

impl Products {
    pub fn reset(&mut self, registers: usize) {
        self.group.clear();
        self.group.resize(registers, 0);
        self.written.clear();
        self.written.resize(registers, 1);
        (self.open, self.done, self.fence, self.now) = (1, 0, 0, 1);
    }
}

/// A matrix in shared memory, as a descriptor tells.
#[derive(Debug, Clone, Copy)]
struct Descriptor {
    start: u64,
    /// The byte offsets called leading and stride.
    leading: u64,
    stride: u64,
    swizzle: Swizzle,
}

impl Descriptor {
    fn of(bits: u64) -> Exec<Descriptor> {
        if bits >> 49 & 7 != 0 {
            return trouble(FaultKind::Misuse, "a matrix descriptor with a base offset is not supported");
        }
        let swizzle = match bits >> 62 {
            0 => Swizzle::None,
            1 => Swizzle::B128,
            2 => Swizzle::B64,
            _ => Swizzle::B32,
        };
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        Ok(Descriptor { start: field(0), leading: field(16), stride: field(32), swizzle })
    }

    /// The address of 16 bytes. Of an operand whose depth is its fast index: row `i`, the `j`-th 16 bytes of its depth. Of a
    /// transposed one: the `i`-th 16 bytes of rows, at depth `j`.
    fn piece(self, transposed: bool, i: u64, j: u64) -> u64 {
        let pieces = self.swizzle.row().unwrap_or(16) as u64 / 16;
        let offset = match (transposed, self.swizzle) {
            (false, Swizzle::None) => i % 8 * 16 + i / 8 * self.stride + j * self.leading,
            (false, _) => i % 8 * pieces * 16 + i / 8 * self.stride + j * 16,
            (true, Swizzle::None) => i * self.stride + j % 8 * 16 + j / 8 * self.leading,
            (true, _) => i % pieces * 16 + i / pieces * self.leading + j % 8 * pieces * 16 + j / 8 * self.stride,
        };
        self.swizzle.apply(self.start + offset)
    }
}

impl Machine<'_> {
    /// Checks what a step other than a product does with the registers of products.
    pub(super) fn watch(
        &mut self,
        warp: &mut Warp,
        read: &[Reg],
        written: &[Reg],
        class: Class,
        inst: &Inst,
    ) -> Exec<()> {
        let p = &mut warp.products;
        p.now += 1;
        let copies = class == Class::Move && matches!(inst, Inst::Map { .. });
        let pending = |p: &Products, r: Reg| p.group[r as usize] > p.done;
        if !copies && let Some(r) = read.iter().chain(written).find(|r| pending(p, **r)) {
            return trouble(
                FaultKind::NotArrived,
                format!(
                    "uses a register of a wgmma that was not waited for (group {} of {})",
                    p.group[*r as usize], p.open
                ),
            );
        }
        for w in written {
            let from = read.first().filter(|_| copies);
            p.group[*w as usize] = from.map_or(0, |r| p.group[*r as usize]);
            p.written[*w as usize] = from.map_or(p.now, |r| p.written[*r as usize]);
        }
        Ok(())
    }

    pub(super) fn wgmma_fence(&mut self, warp: &mut Warp) {
        let p = &mut warp.products;
        p.now += 1;
        p.fence = p.now;
    }

    /// These instructions are for the four warps of a warpgroup.
    fn whole_warpgroup(&self, warp: &Warp) -> Exec<()> {
        if warp.index / 4 >= self.warpgroups.len() {
            return trouble(FaultKind::Misuse, "wgmma needs four warps; this block ends in the middle of a warpgroup");
        }
        Ok(())
    }

    pub(super) fn wgmma_commit(&mut self, warp: &mut Warp) -> Exec<()> {
        self.effects += 1;
        self.whole_warpgroup(warp)?;
        let group = warp.products.open;
        warp.products.open += 1;
        let mut clock = Clock::default();
        self.shared.order.release(warp.index, &mut clock);
        let all = &mut self.warpgroups[warp.index / 4];
        all.closed[warp.index % 4] = group;
        all.clocks.resize(all.clocks.len().max(group as usize + 1), Clock::default());
        all.clocks[group as usize].join(&clock);
        Ok(())
    }

    pub(super) fn wgmma_wait(&mut self, warp: &mut Warp, keep: u32) -> Exec<Flow> {
        self.whole_warpgroup(warp)?;
        let p = &mut warp.products;
        let done = p.done.max((p.open - 1).saturating_sub(u64::from(keep)));
        let all = &mut self.warpgroups[warp.index / 4];
        if all.closed.iter().any(|c| *c < done) {
            // Other warps of the warpgroup have yet to begin what this one waits for.
            return Ok(Flow::Retry);
        }
        for group in p.done + 1..=done {
            self.shared.order.acquire(warp.index, &all.clocks[group as usize]);
        }
        p.done = done;
        let over: Vec<_> = all.operands.extract_if(.., |o| o.0 <= done).collect();
        for (_, at, bytes) in over {
            if self.shared.peek(at, bytes.len()) != bytes {
                return trouble(
                    FaultKind::NotArrived,
                    format!("shared address {at:#x} was overwritten while a wgmma that reads it was not waited for"),
                );
            }
        }
        Ok(Flow::Next)
    }

    pub(super) fn wgmma(&mut self, warp: &mut Warp, w: &Wgmma) -> Exec<()> {
        self.whole_warpgroup(warp)?;
        let registers: Vec<Reg> = w.d.iter().copied().chain(w.a.iter().filter_map(|s| s.split().err())).collect();
        let from_registers = w.a.len() == 4;
        let fenced = if from_registers { &registers[..] } else { &w.d[..] };
        let p = &warp.products;
        if fenced.iter().any(|r| p.written[*r as usize] > p.fence) {
            return trouble(FaultKind::Misuse, "a register of this wgmma was written after the last wgmma.fence");
        }
        if from_registers && w.a.iter().filter_map(|s| s.split().err()).any(|r| p.group[r as usize] > p.done) {
            return trouble(
                FaultKind::NotArrived,
                "the operand of a wgmma is the result of one that was not waited for",
            );
        }
        let (rows, columns, depth) = (16, w.columns, w.depth);
        let mut a = if from_registers {
            self.gather_rows(warp, &w.a, w.elements[0], rows, depth)
        } else {
            let descriptor = Descriptor::of(self.uniform(warp, u32::MAX, w.a[0], "descriptors")?)?;
            let first = warp.index % 4 * 16;
            self.matrix(warp, descriptor, w.elements[0], w.transposed[0], first, rows, depth)?
        };
        let descriptor = Descriptor::of(self.uniform(warp, u32::MAX, w.b, "descriptors")?)?;
        let mut b = self.matrix(warp, descriptor, w.elements[1], w.transposed[1], 0, columns, depth)?;
        for (operand, negate) in [(&mut a, w.negate[0]), (&mut b, w.negate[1])] {
            if negate {
                operand.iter_mut().for_each(|x| *x = -*x);
            }
        }
        let accumulate = self.uniform(warp, u32::MAX, w.accumulate, "values of scale-d")? & 1 == 1;
        let mut sums = if accumulate {
            let d: Vec<Src> = w.d.iter().map(|r| Src::reg(*r)).collect();
            self.gather_sums(warp, &d, w.sum, rows, columns)
        } else {
            vec![0.0; rows * columns]
        };
        for row in 0..rows {
            for column in 0..columns {
                sums[row * columns + column] += dot(&a[row * depth..][..depth], &b[column * depth..][..depth]);
            }
        }
        Self::scatter_sums(warp, &w.d, w.sum, w.saturate, &sums, columns);
        let p = &mut warp.products;
        for r in &w.d {
            p.group[*r as usize] = p.open;
            p.written[*r as usize] = 0;
        }
        Ok(())
    }

    /// Reads an operand from shared memory: rows from `first`, row by row, `depth` elements each.
    #[allow(clippy::too_many_arguments)]
    fn matrix(
        &mut self,
        warp: &mut Warp,
        at: Descriptor,
        element: Element,
        transposed: bool,
        first: usize,
        rows: usize,
        depth: usize,
    ) -> Exec<Vec<f64>> {
        let size = element.bits() as usize / 8;
        let per_piece = 16 / size;
        let mut all = vec![0.0; rows * depth];
        let who = self.who(warp, 0, false);
        let (outer, inner) = if transposed { (rows / per_piece, depth) } else { (rows, depth / per_piece) };
        for i in 0..outer {
            for j in 0..inner {
                let row = if transposed { first / per_piece + i } else { first + i };
                let place = at.piece(transposed, row as u64, j as u64);
                let bytes = self.shared.read_by_proxy(who, place, 16)?.to_vec();
                for (e, piece) in bytes.chunks(size).enumerate() {
                    let (r, k) = if transposed { (i * per_piece + e, j) } else { (i, j * per_piece + e) };
                    all[r * depth + k] = super::matrix::value(element, number(piece));
                }
                self.warpgroups[warp.index / 4].operands.push((warp.products.open, place, bytes));
            }
        }
        Ok(all)
    }
}
