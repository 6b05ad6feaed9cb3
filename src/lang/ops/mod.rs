//! The operations of tiles and scalars, one family per file.
//!
//! In: typed handles. Out: recorded instructions, and handles of the results. Every operation reports
//! the caller's position; sizes are checked where it is recorded, element types and ranks by rustc.

pub mod create;
pub mod dot;
pub mod math;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod shape;
