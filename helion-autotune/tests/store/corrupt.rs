//! Files that are not what they were.

use super::{Folder, Random, key, number, point, say};
use helion_autotune::store::{Record, Store, export, import};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Damaged files.
const FILES: usize = 10_000;
/// Damaged exported texts.
const TEXTS: usize = 2_000;

/// What can happen to bytes.
const KINDS: [&str; 14] = [
    "truncated",
    "one bit flipped",
    "bytes changed",
    "parts swapped",
    "written twice",
    "random",
    "zeros inside",
    "foreign JSON",
    "later format",
    "another record",
    "empty",
    "a line changed",
    "longer",
    "other checksum",
];

fn damage(kind: &str, good: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let len = bytes.len() as u64;
    let mut at = || random.below(len) as usize;
    match kind {
        "truncated" => bytes.truncate(at()),
        "one bit flipped" => {
            let (i, bit) = (at(), at() % 8);
            bytes[i] ^= 1 << bit;
        }
        "bytes changed" => {
            for _ in 0..=at() % 20 {
                let (i, v) = (at(), at());
                bytes[i] = v as u8;
            }
        }
        "parts swapped" => {
            let (i, n) = (at(), at());
            bytes.rotate_left(i.max(1));
            bytes.truncate(n.max(1));
            bytes.extend_from_slice(&good[n.max(1)..]);
        }
        "written twice" => bytes.extend_from_slice(good),
        "random" => bytes = (0..at()).map(|i| (at() ^ i) as u8).collect(),
        "zeros inside" => {
            let (a, b) = (at(), at());
            bytes[a.min(b)..=a.max(b)].fill(0);
        }
        "foreign JSON" => bytes = format!("{{\"version\": {}, \"points\": [1, 2]}}", at()).into_bytes(),
        "later format" => {
            bytes = format!("helion tuning record {} abc 3 more\nxyz", at() + 2).into_bytes();
        }
        "another record" => bytes = other.to_vec(),
        "empty" => bytes.clear(),
        "a line changed" => {
            let text = String::from_utf8_lossy(good).into_owned();
            bytes = text.replacen("unroll=", "unroll=1", 1 + at() % 3).into_bytes();
        }
        "longer" => bytes.extend((0..=at() % 50).map(|_| b' ')),
        "other checksum" => {
            let i = "helion tuning record 1 ".len() + at() % 32;
            bytes[i] = if bytes[i] == b'0' { b'1' } else { b'0' };
        }
        other => panic!("no such damage: {other}"),
    }
    bytes
}

#[test]
fn damaged_files_are_misses() {
    let dir = Folder::new("corrupt");
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let store = Store::open(&dir.0).reporting(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    for n in 0..4 {
        store.put(&key(0), point(n, n)).expect("a writable folder");
    }
    store.put(&key(1), point(9, 9)).expect("a writable folder");
    let (path, original) = (dir.record(&key(0)), store.get(&key(0)).expect("what was put"));
    let (good, other) = (fs::read(&path).expect("a file"), fs::read(dir.record(&key(1))).expect("a file"));
    let mut random = Random(3);
    let mut misses: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut same, mut recovered) = (0, 0);
    for i in 0..FILES {
        let kind = KINDS[i % KINDS.len()];
        let bytes = damage(kind, &good, &other, &mut random);
        fs::write(&path, &bytes).expect("a writable folder");
        match store.get(&key(0)) {
            None => *misses.entry(kind).or_default() += 1,
            Some(found) => {
                assert!(bytes == good && found == original, "{kind}: something else was read");
                same += 1;
            }
        }
        // A put does not trip over it, nor throw it away.
        if i % 97 == 0 && bytes != good {
            let aside = store.verify().expect("a readable folder").aside.len();
            store.put(&key(0), point(1, i as u64)).expect("a put over damage");
            let points = store.get(&key(0)).expect("what was put").points;
            assert_eq!(points, [point(1, i as u64)]);
            assert_eq!(store.verify().expect("a readable folder").aside.len(), aside + 1);
            assert_eq!(store.clear().expect("a writable folder"), 2);
            store.put(&key(1), point(9, 9)).expect("a writable folder");
            recovered += 1;
        }
    }
    assert_eq!(misses.values().sum::<usize>() + same, FILES);
    assert_eq!(told.load(Ordering::Relaxed), 1, "a file is told of once in a process");
    say(&format!("{FILES} damaged files of {} kinds: {misses:?}", misses.len()));
    say(&format!(
        "  {same} were unchanged by their damage, 0 wrong winners, 0 crashes, {recovered} written over and set aside"
    ));
}

#[test]
fn other_things_in_the_place_of_files_are_misses() {
    let dir = Folder::new("places");
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let store = Store::open(&dir.0).reporting(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    type Make = fn(&std::path::Path);
    let kinds: [(&str, Make); 6] = [
        ("folder", |p| fs::create_dir(p).expect("a folder")),
        ("full folder", |p| fs::create_dir_all(p.join("a/b")).expect("a folder")),
        ("link to nowhere", |p| symlink("/nowhere/at/all", p).expect("a link")),
        ("link to itself", |p| symlink(p, p).expect("a link")),
        ("huge file", |p| fs::File::create(p).and_then(|f| f.set_len(1 << 40)).expect("a sparse file")),
        ("pipe", |p| assert!(std::process::Command::new("mkfifo").arg(p).status().is_ok_and(|s| s.success()))),
    ];
    for (n, (what, make)) in kinds.iter().enumerate() {
        let n = n as u64;
        make(&dir.record(&key(n)));
        assert_eq!(store.get(&key(n)), None, "{what}");
        let put = store.put(&key(n), point(n, n));
        // What cannot even be looked at is not replaced.
        assert_eq!(put.is_ok(), *what != "link to itself", "{what}: {put:?}");
        assert_eq!(store.get(&key(n)).is_some(), put.is_ok(), "{what}");
    }
    assert_eq!(told.load(Ordering::Relaxed), kinds.len());
    // The folder itself is a file.
    let store = Store::open(dir.record(&key(0))).reporting(|_| {});
    assert!(store.get(&key(0)).is_none() && store.put(&key(0), point(0, 0)).is_err() && store.list().is_err());
    let names: Vec<_> = kinds.iter().map(|(what, _)| *what).collect();
    say(&format!("in the place of a file: {}: 0 crashes", names.join(", ")));
}

#[test]
fn damaged_texts_are_refused_or_make_sense() {
    let mut record = Record::default();
    (0..3).for_each(|n| record.insert(point(n, n)));
    let text = export([(&key(0), &record), (&key(1), &record)]);
    let (mut random, mut refused) = (Random(5), 0);
    for i in 0..TEXTS {
        let kind = KINDS[i % KINDS.len()];
        let bytes = damage(kind, text.as_bytes(), b"{}", &mut random);
        match import(&String::from_utf8_lossy(&bytes)) {
            Err(e) => {
                refused += 1;
                assert!(!e.to_string().is_empty());
            }
            // It has no checksum; a changed digit is another number, which is still one.
            Ok(records) => assert!(records.iter().all(|(_, r)| r.check().is_ok()), "{kind}"),
        }
    }
    let known = record.points.iter().filter(|p| number(p).is_some()).count();
    assert!(refused > TEXTS / 2 && known == 3);
    say(&format!(
        "{TEXTS} damaged texts: {refused} refused with line and column, {} still made sense, 0 crashes",
        TEXTS - refused
    ));
}
