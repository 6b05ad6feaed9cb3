//! Vector programs and their lowerings.

pub mod ir;
