//! The language of kernels: typed tiles whose operations are recorded.
//!
//! Values of device code are small copyable handles: a [`Tile`] has an element type and a rank, a [`Scalar`] is one
//! element, a [`Size`] an extent or index, a [`TileIx`] the variable of a tile loop, a [`TensorRef`] or
//! [`TensorMut`] a captured tensor. rustc checks element types and ranks; sizes are checked when a kernel is
//! recorded.
//!
//! # Operations and their element types
//!
//! `T` is the element type of the operands, which are equal unless said otherwise. *number* is any integer or
//! float ([`Num`]), *float* is `f16`, `bf16`, `f32` or `f64` ([`Float`]), *integer* is [`Int`], *bits* are integers and
//! `bool` ([`Bits`]), *any* is every type including 8-bit floats ([`Elem`]).
//!
//! | operation | `T` | result | notes |
//! |---|---|---|---|
//! | `+ - * / %`, unary `-` | number | `T` | integers wrap; division by zero gives 0; tiles broadcast; literals adapt |
//! | `& \| ^ !` | bits | `T` | |
//! | `<< >>` | integer | `T` | |
//! | `== != < <= > >=`, `eq ne lt le gt ge` | number, `bool` | `bool` | operators in kernels and `#[device]`, methods anywhere |
//! | `maximum minimum clamp abs` | number | `T` | NaN passes on |
//! | `pow`, `exp exp2 ln log log2 sqrt rsqrt sin cos tanh sigmoid erf` | float | `T` | 16-bit: in `f32`, rounded once |
//! | `floor ceil round trunc` | float | `T` | `round`: halves to even |
//! | `is_nan` | float | `bool` | |
//! | `rem_euclid` | integer | `T` | |
//! | [`select`]`(mask, a, b)` | any | `T` | all three broadcast |
//! | `masked(mask)` | number | `T` | zero where false |
//! | `cast::<U>()` | any | `U`, any | to integers: truncates and saturates, NaN is 0; between integers: wraps |
//! | `bitcast::<U>()` | any | `U` of equal size | |
//! | `sum prod` | number | `T` | 16-bit floats: in `f32`, rounded once; integers wrap |
//! | `mean` | float | `T` | |
//! | `max min` | number | `T` | NaN passes on |
//! | `argmax argmin` | number | `i64` | the first one; NaN counts as the extreme |
//! | `any all` | `bool` | `bool` | |
//! | `count` | `bool` | `i64` | |
//! | `cumsum cumprod cummax cummin`, each also `_reverse` | number | `T` | as the reductions |
//! | `reduce(axis, f)`, `scan(axis, f)`, `scan_reverse` | any | `T` | `f` is associative |
//! | [`reduce_with`], [`scan_with`], [`scan_with_reverse`] | any, each its own | the same | tuples of tiles |
//! | [`dot`] | `f16 bf16 f32 f64` | `f32` | `f64` also in `f64` |
//! | [`dot`] | `i8 u8` | `i32` | |
//! | `squeeze unsqueeze t transpose permute reshape broadcast_to expand split join slice`, [`concat()`] | any | `T` | |
//! | `gather(axis, index)` | any | `T` | `index` is of any integer type; outside gives zero |
//! | `x[…]`, `load`, `load_masked` | any | `T` | index tiles and scalars are integers; outside reads zero |
//! | `out[…] = v`, `store`, `store_masked` | any | | outside nothing is written |
//! | `atomic_add atomic_max atomic_min` | number | `T`, the old value | |
//! | `atomic_exchange`, `atomic_compare_and_swap` | any | `T`, the old value | |
//! | [`zeros`], `T::zeros`, [`full`], `full_like`, `zeros_like` | any | `T` | |
//! | [`iota`], `t.index()` | | `i64` | |
//! | `t.begin() end() len() id() count()` | | [`Size`] | |
//! | `size.to::<T>()`, [`constant`]`(v)` | number; any | [`Scalar`] | |
//! | [`rand`], [`randn`] | | `f32` | the seed is an `i64` or `u64` |
//! | [`randint`], [`rand_bits`] | | see there | |
//! | [`dropout`] | float | `T` | |
//! | [`debug_print`] | any | | |
//!
//! Reductions keep their axis with size 1. An element that is not in a tensor takes no part in them.
//!
//! # For contributors
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
    pub use super::modes::{Outcome, choices, explain, pinned, tune, tune_calls};
    pub use super::shape_test::{ShapeTest, Sizes, attempt};
    pub use super::tile_fn::{Apply, Named, closed};
    pub use super::trace::{Names, device_names};
    pub use crate::error::Result;
    pub use crate::runtime::{Choice, Explained, Tuned, Tuner};
    pub use helion_ir::config::Config;
}
