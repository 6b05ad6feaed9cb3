//! Loop IR to LLVM IR to PTX.

mod emit;
