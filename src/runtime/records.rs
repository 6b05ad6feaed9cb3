//! What tuning found, remembered in this process and, through the store, on disk.
//!
//! In: a traced kernel. Out: an [`Id`] that names it with its device and compiler, and the points known for it. The
//! disk is asked once in a process for each kernel; what is remembered is seen at once.

use super::device::Device;
use crate::settings;
use helion_autotune::store::{Key, Point, Record, Store};
use helion_ir::config::{Config, ConfigSpace};
use helion_ir::target::Target;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, Once, OnceLock};

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
        let device = Device::Cpu.fingerprint(target);
        Id(Arc::new(Key::new(kernel, &[tile_ir, &slots], &device, env!("CARGO_PKG_VERSION"))))
    }

    pub(super) fn key(&self) -> &Key {
        &self.0
    }
}

/// The folder of the `cache_dir` setting; `None` when nothing is to be remembered on disk.
pub(super) fn store() -> Option<Store> {
    settings::cache_dir().map(Store::open)
}

type Known = HashMap<Id, Arc<[Point]>>;

fn known() -> &'static Mutex<Known> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    KNOWN.get_or_init(Default::default)
}

/// The points known for a kernel; looks on disk once in a process.
pub(super) fn points(id: &Id) -> Arc<[Point]> {
    let mut known = known().lock().unwrap_or_else(|e| e.into_inner());
    if let Some(points) = known.get(id) {
        return Arc::clone(points);
    }
    let points: Arc<[Point]> = store().and_then(|s| s.get(id.key())).map_or_else(Arc::default, |r| r.points.into());
    known.insert(id.clone(), Arc::clone(&points));
    points
}

/// Remembers a point, in this process and on disk. A disk that cannot be written is said once.
pub(super) fn remember(id: &Id, point: Point) {
    let mut record = Record { points: points(id).to_vec() };
    record.insert(point.clone());
    known().lock().unwrap_or_else(|e| e.into_inner()).insert(id.clone(), record.points.into());
    let Some(store) = store() else { return };
    if let Err(e) = store.put(id.key(), point) {
        static SAID: Once = Once::new();
        SAID.call_once(|| eprintln!("warning: tuning results cannot be remembered: {e}"));
    }
}

/// The config found last for a kernel, at whatever sizes.
pub(super) fn best(id: &Id) -> Option<Config> {
    points(id).iter().max_by_key(|p| p.provenance.unix).map(|p| p.winner.config.clone())
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
