//! Element instructions against `helion_ir::eval`, and every kernel through the assembler where one is at hand.

mod access;
mod kernel;
mod operations;
mod samples;
