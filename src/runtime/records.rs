//! What tuning found, remembered in this process and, through the store, on disk.
//!
//! In: a traced kernel. Out: an [`Id`] that names it with its device and compiler, and the points known for it. The
//! disk is asked once in a process for each kernel; what is remembered is seen at once, by every thread.

use super::cache;
use super::device::Device;
use crate::error::{Error, Result};
use crate::settings::{self, Cache};
use helion_autotune::store::{self, Key, Point, Record, Store};
use helion_ir::config::{ConfigSpace, Knob};
use helion_ir::target::Target;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once};

/// The version of this compiler.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Names a kernel as specialised, on one device, under one version of this compiler. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(Arc<Key>);

impl Id {
    /// Names a kernel. Its own space follows from its tile IR, the declaration of all knobs, the target and the compiler,
    /// which are all in the key; the slots themselves would take a schedule to know, which is more than a process
    /// that only looks something up wants to spend.
    pub(super) fn new(kernel: &str, tile_ir: &str, device: Device, target: &Target) -> Id {
        Id::of(kernel, &[tile_ir, Knob::DECLARED], device, target)
    }

    /// Names a tunable that is registered at `site`, with the values to choose from.
    pub(super) fn of_tunable(name: &str, site: &str, space: &ConfigSpace, target: &Target) -> Id {
        let slots: String = space.slots.iter().map(|(slot, values)| format!("{slot} {values:?}\n")).collect();
        Id::of(&format!("tunable {name}"), &[site, &slots], Device::Cpu, target)
    }

    fn of(name: &str, content: &[&str], device: Device, target: &Target) -> Id {
        Id(Arc::new(Key::new(name, content, &device.fingerprint_as(target), VERSION)))
    }

    pub(super) fn key(&self) -> &Key {
        &self.0
    }
}

/// The folder of the `cache_dir` setting, as far as the `cache` setting allows; `None` when the disk is left alone.
pub(super) fn store() -> Option<Store> {
    let dir = settings::cache_dir()?;
    match settings::cache() {
        Cache::ReadWrite => Some(Store::open(dir)),
        Cache::Read => Some(Store::read_only(dir)),
        Cache::Off => None,
    }
}

/// Points by where they come from.
pub(super) struct Found {
    /// From tables that the program carries.
    pub(super) embedded: Vec<Point>,
    /// Measured on this machine, in this process or an earlier one.
    pub(super) disk: Vec<Point>,
}

#[derive(Default)]
struct Known {
    /// Of tables that the program carries, by key.
    embedded: HashMap<Key, Record>,
    /// Found by this process.
    found: HashMap<Id, Record>,
    /// Read from this folder, if it may be used.
    loaded: HashMap<Id, Record>,
    folder: Option<(PathBuf, Cache)>,
}

impl Known {
    /// What the disk says of a kernel; looked up once for each folder that is set.
    fn load(&mut self, id: &Id) -> &Record {
        let folder = settings::cache_dir().map(|dir| (dir, settings::cache()));
        if folder != self.folder {
            self.loaded.clear();
            self.folder = folder;
        }
        let read = || store().and_then(|s| s.get(id.key())).unwrap_or_default();
        self.loaded.entry(id.clone()).or_insert_with(read)
    }
}

impl Known {
    /// What was measured on this machine, of the kernels that were asked for.
    fn here(&self) -> Vec<(Id, Record)> {
        let mut all = self.loaded.clone();
        for (id, record) in &self.found {
            let own = all.entry(id.clone()).or_default();
            record.points.iter().for_each(|p| own.insert(p.clone()));
        }
        all.into_iter().collect()
    }
}

fn known() -> MutexGuard<'static, Known> {
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    KNOWN.lock().unwrap_or_else(|e| e.into_inner())
}

/// The points known for a kernel. What this process measured replaces what it read.
pub(super) fn points(id: &Id) -> Found {
    let mut known = known();
    let mut disk = known.load(id).clone();
    if let Some(found) = known.found.get(id) {
        found.points.iter().for_each(|p| disk.insert(p.clone()));
    }
    let embedded = known.embedded.get(id.key()).map(|r| r.points.clone()).unwrap_or_default();
    Found { embedded, disk: disk.points }
}

/// Looks on disk again: another process may have tuned a kernel.
pub(super) fn look_again(id: &Id) {
    known().loaded.remove(id);
    cache::ask_again();
}

/// Remembers a point, in this process and on disk; running threads use it from their next launch on. A disk that cannot
/// be written is said once.
pub(super) fn remember(id: &Id, point: Point) {
    known().found.entry(id.clone()).or_default().insert(point.clone());
    cache::ask_again();
    let Some(store) = store().filter(Store::writes) else { return };
    if let Err(e) = store.put(id.key(), point) {
        static SAID: Once = Once::new();
        SAID.call_once(|| eprintln!("warning: tuning results cannot be remembered: {e}"));
    }
}

/// Makes a table that the program carries known: a text that [`export`] or `helion cache export` wrote, mostly
/// `include_str!("tuned.json")`. Call it before the first launch, once for each table; where two have a point at the same
/// sizes, the later call counts.
///
/// Returns how many of its kernels are for this device and this version of helion. The others do nothing here.
///
/// # Errors
/// What is wrong with the text, and where; nothing of it is used then.
pub fn embed(text: &str) -> Result<usize> {
    let table = store::import(text).map_err(|e| Error::file(format!("the embedded tuning table: {e}")))?;
    let device = Device::Cpu.fingerprint();
    let here = |key: &&Key| *key.device() == device && key.compiler() == VERSION;
    let count = table.iter().map(|(key, _)| key).filter(here).count();
    let mut known = known();
    for (key, record) in table {
        let own = known.embedded.entry(key).or_default();
        record.points.into_iter().for_each(|p| own.insert(p));
    }
    cache::ask_again();
    Ok(count)
}

/// Writes what is known of the kernels that this process has launched, tuned or explained, and everything embedded, as
/// a table to commit and [`embed`]. Returns how many points it has. What was measured here replaces what was embedded.
///
/// # Errors
/// When the file cannot be written.
pub fn export(path: impl AsRef<Path>) -> Result<usize> {
    let mut records: HashMap<Key, Record> = known().embedded.clone();
    for (id, record) in known().here() {
        let own = records.entry(id.key().clone()).or_default();
        record.points.into_iter().for_each(|p| own.insert(p));
    }
    records.retain(|_, r| !r.points.is_empty());
    let text = store::export(records.iter());
    let (path, count) = (path.as_ref(), records.values().map(|r| r.points.len()).sum());
    // Beside its place first, so that a full disk leaves the old table.
    let new = path.with_extension("new");
    let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&new);
        Error::file(format!("{}: {e}", path.display()))
    })?;
    Ok(count)
}

/// Adds a table to what was tuned on this machine, in this process and on disk. Where both have a point at the same
/// sizes, the one that was found later stays. Returns how many points were taken.
///
/// # Errors
/// When the file cannot be read, is no tuning table, or nothing may be written.
pub fn import(path: impl AsRef<Path>) -> Result<usize> {
    may_write("a tuning table cannot be imported")?;
    let path = path.as_ref();
    let wrong = |e: &dyn std::fmt::Display| Error::file(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    let table = store::import(&text).map_err(|e| wrong(&e))?;
    let (store, mut count) = (store(), 0);
    for (key, record) in table {
        let in_process = merge(known().found.entry(Id(Arc::new(key.clone()))).or_default(), &record);
        count += match &store {
            Some(s) => s.merge(&key, &record).map_err(Error::file)?,
            None => in_process,
        };
    }
    cache::ask_again();
    Ok(count)
}

/// Takes the points that were found later than what is there.
fn merge(own: &mut Record, other: &Record) -> usize {
    let later = |p: &&Point| own.at(&p.sizes, p.threads).is_none_or(|o| o.provenance.unix < p.provenance.unix);
    let taken: Vec<Point> = other.points.iter().filter(later).cloned().collect();
    let count = taken.len();
    taken.into_iter().for_each(|p| own.insert(p));
    count
}

/// Forgets what tuning found on this machine for every kernel that this process has launched, tuned or explained, in
/// memory and on disk. Embedded tables stay. Returns how many points are gone.
///
/// # Errors
/// When nothing may be written, or a record cannot be removed.
pub fn forget() -> Result<usize> {
    may_write("tuning results cannot be forgotten")?;
    let (here, store) = (known().here(), store());
    if let Some(store) = &store {
        for (id, _) in &here {
            store.remove(id.key()).map_err(Error::file)?;
        }
    }
    let mut known = known();
    known.found.clear();
    known.loaded.clear();
    cache::ask_again();
    Ok(here.iter().map(|(_, r)| r.points.len()).sum())
}

/// Whether the settings allow to change what is remembered.
///
/// # Errors
/// When they do not; `what` begins the sentence.
pub(super) fn may_write(what: impl std::fmt::Display) -> Result<()> {
    if settings::cache() != Cache::Read {
        return Ok(());
    }
    let text = format!("{what}: HELION_CACHE is `read`");
    Err(Error::setting(format!("{text}\n  help: set it to `read-write`, or to `off` to remember nothing on disk")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use helion_ir::config::Slot;

    #[test]
    fn ids_depend_on_kernel_space_and_device() {
        let target = super::super::compile::target();
        let a = Id::new("k", "tile", Device::Cpu, target);
        assert_eq!(a, Id::new("k", "tile", Device::Cpu, target));
        assert_ne!(a, Id::new("k", "other", Device::Cpu, target));
        let other = Target { cores: target.cores + 1, ..target.clone() };
        assert_ne!(a, Id::new("k", "tile", Device::Cpu, &other));
        let tunable = |values: &[u64]| {
            let mut space = ConfigSpace::default();
            space.add(Slot::of(Knob::User, "t"), values.to_vec());
            Id::of_tunable("t", "here", &space, target)
        };
        assert_eq!(tunable(&[1, 2]), tunable(&[1, 2]));
        assert_ne!(tunable(&[1, 2]), tunable(&[1, 3]));
        assert!(a.key().device().get("cores").is_some(), "{}", a.key());
    }
}
