//! Vector programs and their lowerings.

pub mod builder;
pub mod ir;
mod print;
pub mod verify;
