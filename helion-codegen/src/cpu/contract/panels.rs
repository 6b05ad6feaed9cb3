//! What the panels of packed products hold.

use super::amx::{self, Matrix};
use crate::cpu::vector::ir::Packed;

/// The form of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Panels {
    /// An element of the accumulator's type for each step of `k`.
    Single,
    /// Several steps of `k` in each 32-bit lane, for vector instructions.
    Lanes(Packed),
    /// The same, in whole registers of the matrix unit: zeros after the last step, and the left operand in rows of 64
    /// bytes along `k`.
    Tiles(Matrix),
}

const LANES: [Packed; 3] = [Packed::Bf16, Packed::I16, Packed::I8];

impl Panels {
    /// Its number in the driver's block.
    pub(super) fn number(self) -> i64 {
        let place = |found: Option<usize>, first: usize| (found.unwrap_or(0) + first) as i64;
        match self {
            Panels::Single => 0,
            Panels::Lanes(p) => place(LANES.iter().position(|x| *x == p), 1),
            Panels::Tiles(m) => place(amx::ALL.iter().position(|x| *x == m), 1 + LANES.len()),
        }
    }

    /// The same back.
    pub(super) fn numbered(number: usize) -> Panels {
        let Some(at) = number.checked_sub(1) else { return Panels::Single };
        let tiles = || amx::ALL.get(at - LANES.len()).map(|m| Panels::Tiles(*m));
        LANES.get(at).map(|p| Panels::Lanes(*p)).or_else(tiles).unwrap_or(Panels::Single)
    }

    /// Steps of `k` in a lane.
    pub(super) fn per_lane(self) -> usize {
        match self {
            Panels::Single => 1,
            Panels::Lanes(p) => p.per_lane(),
            Panels::Tiles(m) => m.per_lane(),
        }
    }

    /// Lanes that `k` steps fill, the last one perhaps in part.
    pub(super) fn lanes(self, k: usize) -> usize {
        k.div_ceil(self.per_lane())
    }

    /// Lanes of a panel for each of its columns at `k` steps.
    pub(super) fn depth(self, k: usize) -> usize {
        match self {
            Panels::Single | Panels::Lanes(_) => self.lanes(k),
            Panels::Tiles(_) => self.lanes(k).next_multiple_of(amx::LANES),
        }
    }

    /// The same for a row of the left operand, with what its sums begin with.
    pub(super) fn row_depth(self, k: usize) -> usize {
        self.depth(k) + usize::from(self == Panels::Lanes(Packed::I8))
    }
}
