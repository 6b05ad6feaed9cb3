//! Rewrites of loop IR.
