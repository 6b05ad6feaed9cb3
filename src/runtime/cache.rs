//! Kernels of this process, by key, and the code that each thread used last.
//!
//! In: the words of a call. The first ones are the key: what the kernel is specialised on. The others choose among the
//! kernel's variants: pinned config, settings, sizes, threads. Out: compiled code.
//!
//! A call whose words this thread has seen finds its code in a small table of the thread, and nothing is
//! allocated. Otherwise the key finds the [`Entry`] behind a lock that readers share, and the entry chooses. The tables
//! of threads have fixed sizes, and there is one entry for a key, whatever number of shapes is launched. When
//! something was tuned, a counter goes up, and threads forget what they kept.

use super::compile::Compiled;
use super::cuda::Loaded;
use super::entry::Entry;
use crate::error::Result;
use crate::settings;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

/// Entries with their keys, by the hashes of these.
type Table = HashMap<u64, Vec<(Box<[u64]>, Arc<Entry>)>>;

fn table() -> &'static RwLock<Table> {
    static TABLE: OnceLock<RwLock<Table>> = OnceLock::new();
    TABLE.get_or_init(Default::default)
}

/// Goes up when something was tuned or forgotten.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Makes every thread ask its kernels again which code to take.
pub(super) fn ask_again() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
}

/// Changes whenever other configs may have become the best: when something was tuned, and when a setting was changed.
#[inline]
pub(super) fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire) + u64::from(settings::version())
}

/// Places in a thread's table; a call has two of them to choose from.
const PLACES: usize = 256;

/// The code a thread used last, by the low bits of the hash of a call's words.
struct Recent {
    generation: u64,
    places: [Option<Hit>; PLACES],
}

/// What runs a call. Cheap to clone.
#[derive(Clone)]
pub(super) enum Code {
    Cpu(Arc<Compiled>),
    Gpu(Arc<Loaded>),
}

/// Words of a call, and its code.
struct Hit {
    words: Box<[u64]>,
    code: Code,
}

thread_local! {
    static RECENT: RefCell<Recent> =
        const { RefCell::new(Recent { generation: 0, places: [const { None }; PLACES] }) };
}

/// The code of a call. `resolve` asks the entry of the first `key` words when this thread does not know it.
///
/// # Errors
/// What `resolve` returns.
pub(super) fn find(words: &[u64], key: usize, resolve: impl FnOnce(&Entry) -> Result<Code>) -> Result<Code> {
    let place = hash(words) as usize % PLACES;
    if let Some(c) = recent(place, words) {
        return Ok(c);
    }
    // Read before asking: what is tuned from now on makes the answer old.
    let generation = generation();
    let code = resolve(&entry(&words[..key]))?;
    remember(place, generation, words, &code);
    Ok(code)
}

#[inline]
fn recent(place: usize, words: &[u64]) -> Option<Code> {
    RECENT
        .try_with(|r| {
            let r = r.try_borrow().ok()?;
            let hit = |i: usize| r.places[i].as_ref().filter(|h| *h.words == *words);
            let hit = hit(place).or_else(|| hit(place ^ 1))?;
            (r.generation == generation()).then(|| hit.code.clone())
        })
        .ok()
        .flatten()
}

fn remember(place: usize, generation: u64, words: &[u64], code: &Code) {
    let _ = RECENT.try_with(|r| {
        let Ok(mut r) = r.try_borrow_mut() else { return };
        if r.generation != generation {
            r.places = [const { None }; PLACES];
            r.generation = generation;
        }
        // The older of the two goes.
        r.places.swap(place, place ^ 1);
        r.places[place] = Some(Hit { words: words.into(), code: code.clone() });
    });
}

/// The entry of a key, made if needed.
pub(super) fn entry(key: &[u64]) -> Arc<Entry> {
    let hash = hash(key);
    let find = |t: &Table| t.get(&hash)?.iter().find(|(k, _)| **k == *key).map(|(_, e)| Arc::clone(e));
    if let Some(e) = find(&table().read().unwrap_or_else(|e| e.into_inner())) {
        return e;
    }
    let mut t = table().write().unwrap_or_else(|e| e.into_inner());
    if let Some(e) = find(&t) {
        return e;
    }
    let entry = Arc::new(Entry::default());
    t.entry(hash).or_default().push((key.into(), Arc::clone(&entry)));
    entry
}

/// An entry whose kernel has this name, with its trace.
#[cfg(test)]
pub(super) fn named(kernel: &str) -> Option<(Arc<Entry>, Arc<super::compile::Traced>)> {
    let table = table().read().unwrap_or_else(|e| e.into_inner());
    let mut traced = table.values().flatten().filter_map(|(_, e)| Some((Arc::clone(e), e.known_trace()?)));
    traced.find(|(_, t)| t.verified.function().name == kernel)
}

/// A hash of whole words: multiply, mix, add the next.
fn hash(words: &[u64]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let h = words.iter().fold(words.len() as u64, |h, &w| {
        let wide = u128::from(h ^ w.wrapping_mul(ODD)) * u128::from(ODD ^ 0x5851_f42d_0000_0000);
        (wide as u64) ^ (wide >> 64) as u64
    });
    h ^ h >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_entry() {
        let entries: Vec<Arc<Entry>> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8).map(|_| s.spawn(|| entry(&[77, 78, 79]))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(entries.iter().all(|e| Arc::ptr_eq(e, &entries[0])));
        assert!(!Arc::ptr_eq(&entries[0], &entry(&[77, 78])));
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
