//! The tutorial: from the first kernel to tuning. Its examples are tests.
//!
//! It is the README of the repository. Names such as `examples/welford.rs` are files there, see
//! [the end of this page](#files-of-the-repository); [`lang`](crate::lang) is the reference that belongs to it.
//!
//! ---
//!
//! [examples]: #files-of-the-repository
//! [minilm]: #files-of-the-repository
//! [welford]: #files-of-the-repository
//! [dropout]: #files-of-the-repository
//! [long_sum]: #files-of-the-repository
//! [architecture]: #files-of-the-repository
//! [contributing]: #files-of-the-repository
//! [benchmarks]: #files-of-the-repository
#![doc = include_str!("../README.md")]
//!
//! ## Files of the repository
//!
//! - `examples/*.rs`: one kernel each, compared with plain Rust and timed: `cargo run --release --example softmax`.
//! - `examples/minilm`: a language model whose every layer is a kernel.
//! - `ARCHITECTURE.md`: how helion works inside. `CONTRIBUTING.md`: how to add to it. `BENCHMARKS.md`: measurements.
//! - `docs/settings.md`: every setting and knob; the same as [`settings`](crate::settings).
