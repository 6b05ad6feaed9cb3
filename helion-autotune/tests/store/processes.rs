//! Processes that are killed while they write, and many that write at once.

use super::child::{self, KEYS, PUTS};
use super::{Folder, Random, key, number, point, say, sound};
use helion_autotune::store::Claim;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Processes that are killed while they put.
const KILLS: usize = 1000;
/// Processes that are killed while they add to a journal, and while they hold a claim.
const OTHER_KILLS: usize = 50;
/// Processes that write at once.
const HAMMERS: u64 = 32;

/// Kills a process at a random moment. Mostly it has begun to write by then.
fn kill_sometime(task: &str, dir: &std::path::Path, n: u64, random: &mut Random) -> Vec<String> {
    let mut p = child::start(&[], task, dir, n);
    let mut said = Vec::new();
    if random.below(8) > 0 {
        said.extend(p.line());
    }
    std::thread::sleep(Duration::from_micros(random.below(4000)));
    said.extend(p.kill());
    said
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let start = Instant::now();
    let (acknowledged, torn, next) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let lane = |lane: u64| {
        let dir = Folder::new(&format!("kill-{lane}"));
        let mut random = Random(lane);
        let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let mut first = 0;
        while next.fetch_add(1, Ordering::Relaxed) < KILLS {
            for line in kill_sometime("write", &dir.0, first, &mut random) {
                let words: Vec<u64> = line.split(' ').map(|w| w.parse().expect("a number")).collect();
                let [k, size, n] = words[..] else { panic!("{line}") };
                last.insert((k, size), n);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            torn.fetch_add(usize::from(dir.0.join("new").exists()), Ordering::Relaxed);
            let mut highest = first;
            for k in 0..3 {
                let record = sound(&dir.0).get(&key(k)).unwrap_or_default();
                for p in &record.points {
                    highest = highest.max(number(p).expect("a point as it was put"));
                }
                for ((_, size), n) in last.iter().filter(|((of, _), _)| *of == k) {
                    let stored = record.at(&point(*size, 0).sizes, 2).and_then(number);
                    // A later one may have been written, and not yet acknowledged.
                    assert!(stored.is_some_and(|s| s >= *n), "put {n} at {k} {size} is lost: {stored:?}");
                }
            }
            first = highest + 1;
        }
        sound(&dir.0).put(&key(0), point(0, first)).expect("no lock stays behind");
    };
    std::thread::scope(|s| {
        (0..2).for_each(|n| drop(s.spawn(move || lane(n))));
    });
    let (acknowledged, torn) = (acknowledged.into_inner(), torn.into_inner());
    assert!(acknowledged > KILLS / 2 && torn > 0, "{acknowledged} puts, {torn} torn: nothing was tested");
    say(&format!(
        "{KILLS} processes killed while writing ({torn} left a torn file), {acknowledged} acknowledged puts, 0 lost, {:.1} s",
        start.elapsed().as_secs_f64()
    ));
}

#[test]
fn journals_and_claims_survive_kill_9() {
    let dir = Folder::new("kill-journal");
    let (mut random, mut acknowledged) = (Random(7), 0);
    for _ in 0..OTHER_KILLS {
        let said = kill_sometime("journal", &dir.0, 0, &mut random);
        if let Some(n) = said.last() {
            acknowledged = n.parse::<usize>().expect("a number") + 1;
        }
        let (_, trials) = sound(&dir.0).journal(&key(0), &point(1, 0).sizes, 2).expect("a journal");
        assert!(trials.len() >= acknowledged, "{} of {acknowledged} trials", trials.len());
        for (n, t) in trials.iter().enumerate() {
            assert_eq!(*t, child::trial(n as u64));
        }
    }
    for _ in 0..OTHER_KILLS {
        let mut p = child::start(&[], "claim", &dir.0, 0);
        assert_eq!(p.line().as_deref(), Some("mine"));
        let claim = sound(&dir.0).claim(&key(0)).expect("a claim");
        assert!(matches!(claim, Claim::Other { process } if process == Some(p.process.id())), "{claim:?}");
        p.kill();
        assert!(
            matches!(sound(&dir.0).claim(&key(0)).expect("a claim"), Claim::Mine(_)),
            "the claim outlives its process"
        );
    }
    say(&format!(
        "{OTHER_KILLS} processes killed while noting ({acknowledged} trials, 0 lost), {OTHER_KILLS} while holding a claim (0 left behind)"
    ));
}

#[test]
fn claims_belong_to_the_process_that_made_them() {
    let dir = Folder::new("fork");
    let (said, well) = child::start(&[], "fork", &dir.0, 0).finish();
    assert!(well && said == ["well"], "{said:?}");
}

#[test]
fn many_processes_share_a_folder() {
    let start = Instant::now();
    let dir = Folder::new("hammer");
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut acknowledged, mut searches) = (Vec::new(), 0);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for k in 0..KEYS {
                    let record = sound(&dir.0).get(&key(k)).unwrap_or_default();
                    assert!(record.points.iter().all(|p| number(p).is_some()), "a mixture was read");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let running: Vec<_> = (0..HAMMERS).map(|n| child::start(&[], "hammer", &dir.0, n)).collect();
        for p in running {
            let (said, well) = p.finish();
            assert!(well, "a process failed after saying {said:?}");
            for line in said {
                match line.split_once(' ') {
                    Some((k, size)) => {
                        acknowledged.push((k.parse().expect("a number"), size.parse().expect("a number")))
                    }
                    None => searches += 1,
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(acknowledged.len() as u64, HAMMERS * PUTS);
    assert_eq!(searches, 1, "one process searches, the others find what it found");
    let lost = |(k, size): &&(u64, u64)| {
        let record = sound(&dir.0).get(&key(*k)).unwrap_or_default();
        record.at(&point(*size, 0).sizes, 2).and_then(number) != Some(*size)
    };
    assert_eq!(acknowledged.iter().filter(lost).count(), 0);
    let verified = sound(&dir.0).verify().expect("a readable folder");
    assert!(verified.problems.is_empty() && verified.aside.is_empty() && verified.strangers.is_empty(), "{verified:?}");
    say(&format!(
        "{HAMMERS} processes at once, {} acknowledged puts, 0 lost, {} reads beside them, 1 of {HAMMERS} searched, {:.1} s",
        acknowledged.len(),
        reads.into_inner(),
        start.elapsed().as_secs_f64()
    ));
}
