//! How long a launch will take: an analytic model over loop IR and the facts of a target.
//!
//! In: a scheduled function, the sizes of its symbols, a target, a number of threads. Out: seconds ([`predict`];
//! [`predict_config`] for a kernel and a config), good enough to tell good configs from bad ones; the config that the
//! model likes best ([`choose`]); and a time that no config can beat ([`bound`]). No backend is named: the model knows what loop IR makes easy (a nest with an axis along which
//! memory is dense) and hard (the rest), and the rates in [`Target::speed`].
//!
//! The model, in the order it works:
//!
//! 1. `values`: extents and indices in numbers, indices as sums of loop variables. What only the data knows counts as
//!    64, a `while` as 8 iterations.
//! 2. `tree`: loops, and leaves with their accesses and work (`ops` says what an operation costs).
//! 3. `traffic`: for each cache, the largest parts of the tree that fit it, hence the bytes that each leaf waits for.
//!    Launches repeat: what fits a cache as a whole is there already.
//! 4. `time`: cycles of each leaf (starts of vector loops, steps on lanes, register tiles and packing of products)
//!    against its bytes; program instances divided over threads; the last round of the largest programs.

mod bound;
mod choose;
mod config;
mod lockstep;
mod ops;
mod time;
mod traffic;
mod tree;
mod values;

pub use bound::bound;
pub use choose::{MOST_SCHEDULES, choose};
pub use config::{is_modelled, predict_config};
pub use lockstep::warps;

use helion_ir::loops;
use helion_ir::target::Target;
use tree::Tree;

/// Predicts how many seconds one launch takes on so many threads, the caches being warm from the launch before.
/// `sizes` has one entry for each symbol. `None` when it has not.
pub fn predict(f: &loops::Function, sizes: &[u64], target: &Target, threads: u32) -> Option<f64> {
    if sizes.len() != f.symbols.len() {
        return None;
    }
    let seconds = time::seconds(Tree::new(f, sizes, target), target, threads);
    seconds.is_finite().then_some(seconds)
}

/// How many program instances a launch has.
fn programs(f: &loops::Function, sizes: &[u64], target: &Target) -> f64 {
    let tree = Tree::new(f, sizes, target);
    tree.loops[..tree.grid].iter().map(|l| l.mean.ceil()).product()
}
