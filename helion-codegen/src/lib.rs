//! From verified tile IR to machine code.
//!
//! In: a [`helion_ir::tile::Verified`] kernel, a config, a target. Out: a compiled kernel. [`pipeline`] runs all
//! steps in order. [`schedule`] turns a verified tile function and a configuration into loop IR, [`passes`] rewrite loop
//! IR, and a backend folder turns loop IR into code; [`cost`] predicts how long it will run. Schedule and passes ask
//! [`helion_ir::target::Target`] for facts and never name a backend.
#![deny(missing_docs)]

pub mod backend;
pub mod cost;
pub mod cpu;
pub mod passes;
pub mod pipeline;
pub mod ptx;
pub mod schedule;
pub mod split;
