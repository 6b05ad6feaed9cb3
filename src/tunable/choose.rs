//! Which value of a tunable is in force, and which tunables a call reads.
//!
//! In: a read of a tunable. Out: the pinned value, the one found by tuning for these sizes or the nearest ones, or
//! the default. While [`reads`] runs, every read of the thread is also noted, once for each tunable.

use super::{Site, Sizes, Values};
use crate::runtime::tunables as stored;
use helion_autotune::table::Table;
use helion_ir::config::{Config, Knob, Slot};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// One read of a tunable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) site: Site,
    pub(crate) values: Values,
    pub(crate) default: u64,
    pub(crate) sizes: Sizes,
}

impl Read {
    /// Its slot in configs.
    pub(crate) fn slot(&self) -> Slot {
        Slot::of(Knob::User, self.site.name)
    }
}

/// What is known of each tunable of this process: values by sizes.
static KNOWN: RwLock<Option<HashMap<Site, Table<u64>>>> = RwLock::new(None);

thread_local! {
    /// Reads of this thread, while somebody wants to know.
    static READS: RefCell<Option<Vec<Read>>> = const { RefCell::new(None) };
    /// Values pinned on this thread.
    static PINNED: RefCell<Config> = RefCell::default();
}

/// The value that is pinned on this thread.
pub(super) fn pinned(name: &'static str) -> Option<u64> {
    PINNED.with_borrow(|p| if p.is_empty() { None } else { p.get(&Slot::of(Knob::User, name)) })
}

/// Runs `f` with these tunables pinned; others stay as they are.
pub(crate) fn with_pinned<R>(tunables: &Config, f: impl FnOnce() -> R) -> R {
    /// Puts the previous values back, also when the closure panics.
    struct Restore(Config);
    impl Drop for Restore {
        fn drop(&mut self) {
            PINNED.set(std::mem::take(&mut self.0));
        }
    }
    if tunables.is_empty() {
        return f();
    }
    let mut all = PINNED.with_borrow(Clone::clone);
    tunables.iter().for_each(|(slot, v)| all.set(slot.clone(), v));
    let _restore = Restore(PINNED.replace(all));
    f()
}

/// The value in force when none is pinned.
pub(super) fn chosen(read: &Read) -> u64 {
    let of = |points: &Table<u64>| {
        let found = points.nearest(&read.sizes).map(|(_, v)| *v);
        found.filter(|v| read.values.contains(*v)).unwrap_or(read.default)
    };
    if let Some(points) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|k| k.get(&read.site))
    {
        return of(points);
    }
    // Outside the lock: the disk is slow. Who comes second finds the same.
    let loaded = stored::load(read);
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    of(known.get_or_insert_default().entry(read.site).or_insert(loaded))
}

/// Makes a value the one in force for the sizes of a read, in this process.
pub(crate) fn choose(read: &Read, v: u64) {
    chosen(read);
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().entry(read.site).or_default().insert(&read.sizes, v);
}

/// Notes a read, if somebody wants to know.
pub(super) fn note(read: &Read) {
    READS.with_borrow_mut(|r| {
        if let Some(reads) = r
            && reads.iter().all(|old| old.site != read.site)
        {
            reads.push(read.clone());
        }
    });
}

/// Runs `f`, and tells which tunables it reads on this thread: for each the first read.
pub(crate) fn reads<R>(f: impl FnOnce() -> R) -> (R, Vec<Read>) {
    let outer = READS.replace(Some(Vec::new()));
    let result = f();
    let reads = READS.replace(outer).unwrap_or_default();
    (result, reads)
}
