//! What tuning found for tunables, in the store beside what it found for launches.
//!
//! In: a read of a tunable. Out: values by sizes. A tunable's record is found by its name, its values, and where in
//! the source it is registered, so code that moves is tuned again.

use super::compile;
use super::records::{self, Id};
use crate::settings;
use crate::tunable::Read;
use helion_autotune::Outcome;
use helion_autotune::store::Point;
use helion_autotune::table::Table;
use helion_ir::config::ConfigSpace;

fn id(read: &Read) -> Id {
    let site = format!("{}:{} {}", read.site.file, read.site.line, read.values);
    let mut space = ConfigSpace::default();
    space.add(read.slot(), read.values.candidates());
    Id::of_tunable(read.site.name, &site, &space, compile::target())
}

/// What is known of a tunable, for the threads that are set.
pub(crate) fn load(read: &Read) -> Table<u64> {
    let found = records::points(&id(read));
    let (slot, threads) = (read.slot(), settings::threads() as u32);
    let mut table = Table::default();
    // What was measured here first, so that an embedded table replaces it.
    for p in found.disk.iter().chain(&found.embedded).filter(|p| p.threads == threads) {
        if let Some(v) = p.winner.config.get(&slot) {
            let sizes: Vec<u64> = p.sizes.iter().map(|s| s.1).collect();
            table.insert(&sizes, v);
        }
    }
    table
}

/// Remembers what a search found for a tunable.
pub(super) fn remember(read: &Read, outcome: &Outcome) {
    let sizes = read.sizes.iter().enumerate().map(|(i, v)| (i.to_string(), *v)).collect();
    records::remember(&id(read), Point::of(outcome, sizes, settings::threads() as u32));
}
