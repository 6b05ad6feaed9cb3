//! From tile IR to loop IR.
