//! What a store promises, one process at a time; processes that are killed are in `tests/store`.

use super::*;
use crate::store::samples::{key, point};
use std::sync::atomic::{AtomicUsize, Ordering};

/// An empty folder of this test, removed at the end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("helion-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Folder(dir)
    }
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn points_are_merged_and_replaced() {
    let dir = Folder::new("merge");
    let store = Store::open(dir.0.join("a/b"));
    assert_eq!(store.get(&key(1)), None);
    assert!(!dir.0.exists(), "reading creates nothing");
    for n in [5, 3, 5, 4] {
        store.put(&key(1), point(n)).unwrap();
    }
    let mut better = point(4);
    better.winner.timing.seconds /= 2.0;
    store.put(&key(1), better.clone()).unwrap();
    let expected = Record { points: vec![point(3), better.clone(), point(5)] };
    assert_eq!(Store::open(store.dir()).get(&key(1)), Some(expected.clone()));
    assert_eq!(store.get(&key(2)), None);
    // Of equal age, the own one stays; a later one replaces it.
    assert_eq!(store.merge(&key(1), &Record { points: vec![point(4)] }).unwrap(), 0);
    let mut later = point(4);
    later.provenance.unix += 1;
    assert_eq!(store.merge(&key(1), &Record { points: vec![later.clone(), point(9)] }).unwrap(), 2);
    assert_eq!(store.get(&key(1)).unwrap().points, [point(3), later, point(5), point(9)]);
    assert_eq!(store.list().unwrap().len(), 1);
    assert!(store.remove(&key(1)).unwrap() && !store.remove(&key(1)).unwrap());
    assert_eq!(store.get(&key(1)), None);
}

#[test]
fn read_only_stores_write_nothing() {
    let dir = Folder::new("readonly");
    let store = Store::read_only(&dir.0);
    assert!(matches!(store.put(&key(1), point(1)), Err(StoreError::ReadOnly)));
    assert!(matches!(store.claim(&key(1)), Err(StoreError::ReadOnly)));
    assert!(matches!(store.clear(), Err(StoreError::ReadOnly)));
    assert!(matches!(store.remove(&key(1)), Err(StoreError::ReadOnly)));
    assert!(store.list().unwrap().is_empty() && store.verify().unwrap() == Verified::default());
    assert!(!dir.0.exists());
    Store::open(&dir.0).put(&key(1), point(1)).unwrap();
    let before = dir.names();
    assert!(store.get(&key(1)).is_some() && store.verify().unwrap().good == 1);
    assert_eq!(dir.names(), before);
}

#[test]
fn damage_is_told_once_and_set_aside() {
    let dir = Folder::new("damage");
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let store = Store::open(&dir.0).reporting(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    store.put(&key(1), point(1)).unwrap();
    let path = store.record_path(&key(1));
    let good = fs::read(&path).unwrap();
    let check = |what: &str, aside: usize| {
        assert_eq!((store.get(&key(1)), store.get(&key(1))), (None, None), "{what}");
        assert_eq!(store.verify().unwrap().problems.len(), 1, "{what}");
        store.put(&key(1), point(2)).unwrap();
        assert_eq!(store.get(&key(1)).unwrap().points, [point(2)], "{what}");
        assert_eq!(store.verify().unwrap().aside.len(), aside, "{what}");
    };
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    check("cut", 1);
    fs::write(&path, b"helion tuning record 9 something else\n").unwrap();
    check("future", 2);
    assert!(dir.names().iter().any(|n| n.ends_with(".future")));
    fs::remove_file(&path).unwrap();
    fs::create_dir_all(path.join("inside")).unwrap();
    check("folder", 3);
    store.put(&key(2), point(7)).unwrap();
    fs::copy(store.record_path(&key(2)), &path).unwrap();
    check("another key's", 4);
    fs::write(&path, vec![b' '; file::LARGEST as usize + 1]).unwrap();
    check("too large", 5);
    assert_eq!(told.load(Ordering::Relaxed), 1, "one file is told of once");
    // Other formats and strangers stay when all is cleared.
    let foreign = [dir.0.join(format!("{}.v2.record", key(1).digest())), dir.0.join("README")];
    foreign.iter().for_each(|p| fs::write(p, b"x").unwrap());
    let v = store.verify().unwrap();
    assert_eq!((v.good, v.other_formats, v.strangers.len()), (2, 1, 1));
    assert_eq!(store.clear().unwrap(), 2);
    assert_eq!(dir.names().len(), 3, "{:?}", dir.names());
}

#[test]
fn one_claims_and_others_wait() {
    let dir = Folder::new("claim");
    let store = Store::open(&dir.0);
    let Claim::Mine(guard) = store.claim(&key(1)).unwrap() else { panic!("nobody else is there") };
    let me = std::process::id();
    assert!(matches!(store.claim(&key(1)).unwrap(), Claim::Other { process: Some(p) } if p == me));
    assert!(matches!(store.claim(&key(2)).unwrap(), Claim::Mine(_)));
    let searches = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                let claim = store.claim_within(&key(1), Duration::from_secs(20)).unwrap();
                let Claim::Mine(_guard) = claim else { panic!("waited for long enough") };
                if store.get(&key(1)).is_none() {
                    searches.fetch_add(1, Ordering::Relaxed);
                    store.put(&key(1), point(1)).unwrap();
                }
            });
        }
        std::thread::sleep(Duration::from_millis(20));
        drop(guard);
    });
    assert_eq!(searches.into_inner(), 1);
    assert!(!dir.names().iter().any(|n| n.ends_with(".claim")), "{:?}", dir.names());
}

#[test]
fn names_say_what_files_are() {
    let d = key(1).digest();
    for (name, expected) in [
        (format!("{d}.v1.record"), Kind::Record),
        (format!("{d}.v2.record"), Kind::OtherFormat),
        (format!("{d}.v1.record.damaged3"), Kind::Aside),
        (format!("{d}.v1.record.future"), Kind::Aside),
        (format!("{d}.claim"), Kind::Claim),
        (format!("{d}.{d}.v1.journal"), Kind::Journal),
        ("lock".into(), Kind::Work),
        ("new".into(), Kind::Work),
        (format!("{d}.tuning"), Kind::Stranger),
        ("notes.txt".into(), Kind::Stranger),
    ] {
        assert_eq!(kind(OsStr::new(&name)), expected, "{name}");
    }
}
