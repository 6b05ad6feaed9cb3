//! The language of kernels: typed tiles whose operations are recorded.
//!
//! In: the calls that `#[kernel]` expands to. Out: a `tile::Function` in the builder of the launch.
//!
//! | file | holds |
//! |---|---|
//! | `elem` | element types and what each allows |
//! | `types` | [`Tile`], [`Scalar`], [`Size`], [`TileIx`], device tensors |
//! | `operand` | operators and broadcasting |
//! | `index` | `x[…]`, stores, atomics |
//! | `extents` | shapes of new tiles |
//! | `compare` | comparisons and logic |
//! | `ops` | everything else tiles can do |
//! | `domain` | what tile loops run over |
//! | `carry`, `control` | variables in loops and branches; launches, loops, branches |
//! | `capture`, `tile_fn` | how host values and functions enter |
//! | `trace` | the recorder |

pub(crate) mod capture;
pub(crate) mod carry;
pub(crate) mod compare;
pub(crate) mod control;
pub(crate) mod domain;
pub(crate) mod elem;
pub(crate) mod extents;
pub(crate) mod index;
pub(crate) mod modes;
pub(crate) mod operand;
pub(crate) mod ops;
pub(crate) mod shape_test;
pub(crate) mod tile_fn;
pub(crate) mod trace;
pub(crate) mod types;

pub use capture::{Capture, CaptureMut};
pub use carry::{Carry, IntoCarry};
pub use compare::{Compare, Logic};
pub use control::{Arm, Condition, Decide};
pub use domain::{Domain, Grid, Loop, Tiles, grid, tile};
pub use elem::{Bits, DotInto, Elem, F8E4M3, F8E5M2, Float, Int, Num, bf16, f16};
pub use extents::{Extent, Extents};
pub use index::{AxisIndex, DeviceIndex, DeviceStore, MaskFor, Rank, Stored, TensorIndex};
pub use modes::Outcome;
pub use operand::{Operand, ScalarOperand, SizeOperand, constant};
pub use ops::create::{Fill, Zeros, debug_print, full, iota, zeros};
pub use ops::dot::dot;
pub use ops::math::{Choice, ChosenBy, select};
pub use ops::random::{Seed, dropout, rand, rand_bits, randint, randn};
pub use ops::reduce::{ScalarTuple, TileTuple, reduce_with};
pub use ops::scan::{scan_with, scan_with_reverse};
pub use ops::shape::concat;
pub use tile_fn::{Apply, TileFn};
pub use types::{Scalar, Size, TensorMut, TensorRef, Tile, TileIx, TileOffset, Val};

/// What expansions of the macros refer to. Not for users.
#[doc(hidden)]
pub mod expansion {
    pub use super::capture::{Capture, CaptureMut, Name, capture, capture_mut};
    pub use super::carry::{AnyVar, var_new};
    pub use super::compare::{CmpOp, and, cmp, or};
    pub use super::control::{begin_launch, branch, condition, decide, launch, tile_loop, while_loop};
    pub use super::domain::{VarName, between, capture_loop, fix_sizes};
    pub use super::elem::{bf16, f16};
    pub use super::index::{index, store};
    pub use super::modes::{Outcome, explain, pinned, tune};
    pub use super::shape_test::{ShapeTest, Sizes, attempt};
    pub use super::tile_fn::{Apply, Named, closed};
    pub use super::trace::{Names, device_names};
    pub use crate::error::Result;
    pub use crate::runtime::{Effort, Explained, Tuned};
    pub use helion_ir::config::Config;
}
