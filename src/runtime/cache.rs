//! Compiled kernels of this process, by key.
//!
//! Lookups go to a small table of the thread first, then to a shared one behind a lock that readers
//! share; both compare whole keys, and neither allocates when it finds something. On a miss one thread
//! compiles, outside the lock, and others that want the same kernel wait for it. Errors are kept like code: a
//! kernel that is wrong is traced once.

use super::compile::Compiled;
use crate::error::Result;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

/// A key and what became of it.
struct Entry {
    key: Box<[u64]>,
    compiled: OnceLock<Result<Arc<Compiled>>>,
}

type Table = HashMap<u64, Vec<Arc<Entry>>>;

fn table() -> &'static RwLock<Table> {
    static TABLE: OnceLock<RwLock<Table>> = OnceLock::new();
    TABLE.get_or_init(Default::default)
}

/// Changes when entries are taken out, so that threads forget their copies.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Places in a thread's table.
const PLACES: usize = 64;

/// The kernels a thread used last, by the low bits of the hash.
struct Recent {
    generation: u64,
    places: [Option<Arc<Entry>>; PLACES],
}

thread_local! {
    static RECENT: RefCell<Recent> =
        const { RefCell::new(Recent { generation: 0, places: [const { None }; PLACES] }) };
}

/// The compiled kernel of a key; `compile` makes it, at most once in the process.
///
/// # Errors
/// What `compile` returned for this key.
pub(super) fn get_or_compile(key: &[u64], compile: impl FnOnce() -> Result<Compiled>) -> Result<Arc<Compiled>> {
    let hash = hash(key);
    if let Some(c) = recent(hash, key) {
        return Ok(c);
    }
    let generation = GENERATION.load(Ordering::Acquire);
    let entry = shared(hash, key);
    let result = entry.compiled.get_or_init(|| compile().map(Arc::new)).clone();
    if result.is_ok() {
        remember(hash, generation, entry);
    }
    result
}

fn recent(hash: u64, key: &[u64]) -> Option<Arc<Compiled>> {
    RECENT
        .try_with(|r| {
            let r = r.try_borrow().ok()?;
            let entry = r.places[hash as usize % PLACES].as_ref()?;
            let fits = *entry.key == *key && r.generation == GENERATION.load(Ordering::Acquire);
            if fits { entry.compiled.get()?.as_ref().ok().cloned() } else { None }
        })
        .ok()
        .flatten()
}

fn remember(hash: u64, generation: u64, entry: Arc<Entry>) {
    let _ = RECENT.try_with(|r| {
        let Ok(mut r) = r.try_borrow_mut() else { return };
        if r.generation != generation {
            r.places = [const { None }; PLACES];
            r.generation = generation;
        }
        r.places[hash as usize % PLACES] = Some(entry);
    });
}

/// The entry of a key, made if needed.
fn shared(hash: u64, key: &[u64]) -> Arc<Entry> {
    let find = |t: &Table| t.get(&hash)?.iter().find(|e| *e.key == *key).cloned();
    if let Some(e) = find(&table().read().unwrap_or_else(|e| e.into_inner())) {
        return e;
    }
    let mut t = table().write().unwrap_or_else(|e| e.into_inner());
    if let Some(e) = find(&t) {
        return e;
    }
    let entry = Arc::new(Entry { key: key.into(), compiled: OnceLock::new() });
    t.entry(hash).or_default().push(Arc::clone(&entry));
    entry
}

/// Takes out every kernel for which `gone` holds; calls that run keep theirs until they end.
pub(super) fn forget(gone: impl Fn(&Compiled) -> bool) {
    let mut t = table().write().unwrap_or_else(|e| e.into_inner());
    for entries in t.values_mut() {
        entries.retain(|e| !matches!(e.compiled.get(), Some(Ok(c)) if gone(c)));
    }
    t.retain(|_, entries| !entries.is_empty());
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// A hash of whole words: multiply, mix, add the next.
fn hash(key: &[u64]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let h = key.iter().fold(key.len() as u64, |h, &w| {
        let wide = u128::from(h ^ w.wrapping_mul(ODD)) * u128::from(ODD ^ 0x5851_f42d_0000_0000);
        (wide as u64) ^ (wide >> 64) as u64
    });
    h ^ h >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn one_thread_compiles_and_errors_are_kept() {
        let (calls, key) = (AtomicUsize::new(0), [77, 78, 79]);
        std::thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    let r = get_or_compile(&key, || {
                        calls.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(5));
                        Err(Error::check("no"))
                    });
                    assert_eq!(r.err().map(|e| e.to_string()).as_deref(), Some("no"));
                });
            }
        });
        assert_eq!(calls.into_inner(), 1);
    }

    #[test]
    fn hashes_differ() {
        let mut seen = std::collections::HashSet::new();
        for a in 0..64u64 {
            for b in 0..64 {
                assert!(seen.insert(hash(&[a, b, 0])));
            }
        }
        assert_ne!(hash(&[0]), hash(&[0, 0]));
    }
}
