//! Benchmarks of helion beside its peers.
