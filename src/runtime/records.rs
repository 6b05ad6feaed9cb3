//! What tuning found, remembered in this process and, through the store, on disk.
//!
//! In: a traced kernel. Out: an [`Id`] that names it with its device and compiler, and the points known for it. The
//! disk is asked once in a process for each kernel; what is remembered is seen at once, by every thread.

use super::cache;
use super::device::Device;
use crate::settings::{self, Cache};
use helion_autotune::store::{Key, Point, Record, Store};
use helion_ir::config::ConfigSpace;
use helion_ir::target::Target;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once};

/// Names a kernel as specialised, on one device, under one version of this compiler. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(Arc<Key>);

impl Id {
    /// `space` is the kernel's own, before anything is pinned or restricted.
    pub(super) fn new(kernel: &str, tile_ir: &str, space: &ConfigSpace, target: &Target) -> Id {
        let mut slots = String::new();
        for (slot, values) in &space.slots {
            let _ = writeln!(slots, "{slot} {values:?}");
        }
        let device = Device::Cpu.fingerprint_as(target);
        Id(Arc::new(Key::new(kernel, &[tile_ir, &slots], &device, env!("CARGO_PKG_VERSION"))))
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

#[cfg(test)]
mod tests {
    use super::*;
    use helion_ir::config::{Knob, Slot};

    #[test]
    fn ids_depend_on_kernel_space_and_device() {
        let target = super::super::compile::target();
        let mut space = ConfigSpace::default();
        let a = Id::new("k", "tile", &space, target);
        assert_eq!(a, Id::new("k", "tile", &space, target));
        assert_ne!(a, Id::new("k", "other", &space, target));
        let other = Target { cores: target.cores + 1, ..target.clone() };
        assert_ne!(a, Id::new("k", "tile", &space, &other));
        space.add(Slot::kernel(Knob::Unroll), vec![1, 2]);
        assert_ne!(a, Id::new("k", "tile", &space, target));
        assert!(a.key().device().get("cores").is_some(), "{}", a.key());
    }
}
