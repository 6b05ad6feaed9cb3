//! Exact messages: see below.
