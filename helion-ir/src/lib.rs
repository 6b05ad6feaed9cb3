//! The intermediate representations of helion and everything that gives them meaning.
//!
//! Data flows one way: a traced kernel becomes a [`tile::Function`] (*what* to compute), the
//! verifier turns it into a [`tile::Verified`], the scheduler of `helion-codegen` turns that and a
//! [`config::Config`] into a [`loops::Function`] (*how*), and a backend turns that into machine
//! code. Both representations have a printer, a parser, a verifier and a reference interpreter
//! here; the interpreters are the semantics every backend is compared with.
//!
//! This crate knows no backend and depends on no other crate of the workspace.
#![deny(missing_docs)]

pub mod args;
pub mod config;
pub mod diag;
pub mod dtype;
pub mod elementwise;
pub mod eval;
pub mod loops;
pub mod philox;
pub mod target;
mod text;
pub mod tile;

pub use diag::{Diagnostic, Loc};
pub use dtype::DType;
pub use elementwise::{BinaryOp, UnaryOp};
