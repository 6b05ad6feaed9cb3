//! Tests of how launches find their code: a kernel that writes its block's length shows which config ran.

use super::choose::Source;
use super::compile::Traced;
use super::entry::Entry;
use super::records::{self, embed, remember};
use super::{cache, mode};
use crate::prelude::*;
use crate::runtime::{Choice, choices, with_config, with_threads};
use helion_autotune::store::{self, Measured, Point, Provenance, Record};
use helion_autotune::{Effort, End, Noise, Timing, table};
use std::sync::Arc;

/// Kernels of these names; every test has its own, since what is remembered belongs to the process.
macro_rules! kernels {
    ($($name:ident)*) => {$(
        #[kernel]
        fn $name(x: &Tensor<i64, 1>) -> Result<Tensor<i64, 1>> {
            let mut out = x.empty_like();
            for t in tile(x.dims()[0]) {
                out[t] = x[t] + t.len();
            }
            Ok(out)
        }
    )*};
}
kernels! { many_sizes racing ranked embedded later unusable bounded exported threads_differ }

type Kernel = fn(&Tensor<i64, 1>) -> Result<Tensor<i64, 1>>;

/// The block length that a launch of this size ran with; it must be larger than that.
fn ran(kernel: Kernel, n: usize) -> i64 {
    let out = with_threads(2, || kernel(&Tensor::zeros([n]))).unwrap();
    let blocks = out.to_vec().unwrap();
    let block = blocks[0];
    let last = n as i64 - (n as i64 - 1) / block * block;
    assert!(blocks.iter().rev().take(last as usize).all(|b| *b == last), "the rest is one shorter block");
    assert!(blocks.iter().take(n - last as usize).all(|b| *b == block));
    block
}

/// What a launch of this size would take.
fn chosen(kernel: Kernel, n: usize) -> Choice {
    // What earlier runs of these tests remembered is not to be found.
    crate::settings::set_cache("off").unwrap();
    with_threads(2, || choices(|| kernel(&Tensor::zeros([n])))).unwrap().remove(0)
}

/// Entry and trace of a kernel.
fn entry(name: &str, kernel: Kernel) -> (Arc<Entry>, Arc<Traced>) {
    chosen(kernel, 5000);
    cache::named(name).unwrap()
}

fn block(n: u64) -> Config {
    Config::new().block("t", n)
}

/// A point as tuning finds it.
fn point(n: u64, threads: u32, config: Config) -> Point {
    let timing = Timing { seconds: 1e-6, low: 1e-6, high: 1e-6, samples: 1 };
    let winner = Measured { config: config.clone(), timing };
    let provenance = Provenance {
        unix: 1,
        effort: Effort::Quick,
        seed: 0,
        strategy: "test".into(),
        measured: 1,
        space: 1,
        seconds: 1.0,
        noise: Noise { ratio: 1.0, samples: 1 },
        end: End::Exhausted,
        version: "0".into(),
    };
    let sizes = vec![("x.0".to_owned(), n)];
    Point { sizes, threads, default: winner.clone(), winner, runners_up: Vec::new(), provenance }
}

fn table(points: &[(u64, u64)], traced: &Traced) -> String {
    let mut record = Record::default();
    points.iter().for_each(|&(n, b)| record.insert(point(n, 2, block(b))));
    store::export([(traced.id.key(), &record)])
}

#[test]
fn each_size_takes_its_config_and_each_config_is_compiled_once() {
    let (entry, traced) = entry("many_sizes", many_sizes);
    let points = [(3000, 40), (5000, 56), (20_000, 40), (90_000, 72)];
    points.iter().for_each(|&(n, b)| remember(&traced.id, point(n, 2, block(b))));
    let nearest = table::Table::from_iter(points.map(|(n, b)| (vec![n], b)));
    let sizes: Vec<u64> = (0..200).map(|i| 2000 + i * 997).collect();
    for &n in &sizes {
        let choice = chosen(many_sizes, n as usize);
        let (distance, expected) = nearest.nearest(&[n]).unwrap();
        assert_eq!(choice.source, Source::Disk, "{choice}");
        assert!((choice.extrapolated - distance).abs() < 1e-9 && choice.config == block(*expected), "{choice}");
        assert_eq!(ran(many_sizes, n as usize), *expected as i64, "{choice}");
    }
    assert_eq!(entry.compiled_configs(), [block(40), block(56), block(72)].map(|c| (c, true)));
}

#[test]
fn racing_threads_share_the_code_and_see_what_is_tuned() {
    let (entry, traced) = entry("racing", racing);
    remember(&traced.id, point(4000, 2, block(40)));
    std::thread::scope(|s| {
        for k in 0..8u64 {
            s.spawn(move || {
                for i in 0..60 {
                    let n = 2000 + (k * 131 + i * 977) % 9000;
                    let b = ran(racing, n as usize);
                    assert!(b == 40 || b == 56, "{b}");
                }
            });
        }
        s.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(3));
            remember(&traced.id, point(6000, 2, block(56)));
        });
    });
    assert_eq!(ran(racing, 6000), 56);
    let code = |c: &Config| entry.compiled(&traced, Some(c), &[4000, 2]).unwrap();
    let codes: Vec<_> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..8).map(|_| s.spawn(|| code(&block(40)))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|c| Arc::ptr_eq(c, &codes[0])));
    assert_eq!(entry.compiled_configs(), [block(40), block(56)].map(|c| (c, true)));
}

#[test]
fn exact_comes_before_near_and_near_before_the_model() {
    let (_, traced) = entry("ranked", ranked);
    let model = chosen(ranked, 5000);
    assert_eq!((model.source, model.extrapolated), (Source::Model, f64::INFINITY));
    remember(&traced.id, point(4000, 2, block(40)));
    remember(&traced.id, point(4001, 2, block(48)));
    let of = |n| {
        let c = chosen(ranked, n);
        (c.source, c.extrapolated, ran(ranked, n))
    };
    assert_eq!((of(4000), of(4001)), ((Source::Disk, 0.0, 40), (Source::Disk, 0.0, 48)));
    assert_eq!(of(2000), (Source::Disk, 1.0, 40));
    let (source, distance, _) = of(4001 * 5);
    assert_eq!(source, Source::Model);
    assert!((distance - 5f64.log2()).abs() < 1e-9);
    // What the caller pins is asked first.
    let pinned = with_config(&block(24), || (chosen(ranked, 4000), ran(ranked, 4000)));
    assert_eq!((pinned.0.source, pinned.0.extrapolated, pinned.1), (Source::Explicit, 0.0, 24));
    assert_eq!(of(4000).2, 40);
}

#[test]
fn an_embedded_table_comes_before_the_disk() {
    let (_, traced) = entry("embedded", embedded);
    remember(&traced.id, point(4000, 2, block(40)));
    remember(&traced.id, point(9000, 2, block(48)));
    assert_eq!(ran(embedded, 4000), 40);
    assert_eq!(embed(&table(&[(4000, 56), (6000, 64)], &traced)).unwrap(), 1);
    let of = |n| (chosen(embedded, n).source, ran(embedded, n));
    assert_eq!(of(4000), (Source::Embedded, 56));
    assert_eq!(of(9000), (Source::Disk, 48));
    // 8900 is nearer to the disk's 9000.
    assert_eq!(of(8900), (Source::Embedded, 64));
    // A later table replaces points of an earlier one.
    embed(&table(&[(6000, 72)], &traced)).unwrap();
    assert_eq!((of(6000), of(4000)), ((Source::Embedded, 72), (Source::Embedded, 56)));
}

#[test]
fn tables_that_make_no_sense_are_errors() {
    let (_, traced) = entry("ranked", ranked);
    let good = table(&[(4000, 40)], &traced);
    for cut in [0, 1, good.len() / 2, good.len() - 3] {
        let e = embed(&good[..cut]).unwrap_err().to_string();
        assert!(e.starts_with("the embedded tuning table: line "), "{e}");
    }
    let e = embed(&good.replace("block.t=40", "block.t=0")).unwrap_err().to_string();
    assert!(e.contains("block"), "{e}");
    assert!(embed(&good.replace("tuning table", "shopping list")).unwrap_err().to_string().contains("tuning table"));
    // Another device's table is read and does nothing.
    let cores = traced.id.key().device().get("cores").unwrap().to_owned();
    let other = good.replace(&format!("\"cores\": \"{cores}\""), "\"cores\": \"9999\"");
    assert_ne!(other, good);
    assert_eq!(embed(&other).unwrap(), 0);
}

#[test]
fn a_running_thread_takes_what_was_tuned_later() {
    let (_, traced) = entry("later", later);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (say, hear) = std::sync::mpsc::channel();
    std::thread::scope(|s| {
        s.spawn(move || {
            for () in wait {
                say.send((ran(later, 4000), ran(later, 4000))).unwrap();
            }
        });
        for b in [40, 48, 40] {
            remember(&traced.id, point(4000, 2, block(b)));
            go.send(()).unwrap();
            assert_eq!(hear.recv().unwrap(), (b as i64, b as i64));
        }
        drop(go);
    });
}

#[test]
fn points_that_do_not_fit_are_as_good_as_none() {
    let (_, traced) = entry("unusable", unusable);
    remember(&traced.id, point(4000, 2, block(40)));
    // Of a variable that the kernel does not have.
    remember(&traced.id, point(5000, 2, Config::new().block("other", 8)));
    assert_eq!((chosen(unusable, 5000).source, ran(unusable, 5000)), (Source::Disk, 40));
    // The wrong number of sizes.
    let mut p = point(5000, 2, block(48));
    p.sizes.push(("y.0".into(), 3));
    remember(&traced.id, p);
    assert_eq!(ran(unusable, 5000), 40);
}

#[test]
fn what_is_kept_does_not_grow_with_the_number_of_shapes() {
    let (entry, _) = entry("bounded", bounded);
    for n in 1..3000 {
        bounded(&Tensor::zeros([n])).unwrap();
    }
    let (answers, variants) = entry.kept();
    assert!(answers < 60 && variants < 20, "{answers} answers of the model, {variants} configs");
}

#[test]
fn half_as_many_threads_are_one_doubling() {
    let (_, traced) = entry("threads_differ", threads_differ);
    remember(&traced.id, point(4000, 2, block(40)));
    remember(&traced.id, point(4000, 1, block(48)));
    let of = |threads| with_threads(threads, || choices(|| threads_differ(&Tensor::zeros([4000])))).unwrap().remove(0);
    assert_eq!((of(1).config, of(1).extrapolated), (block(48), 0.0));
    assert_eq!((of(2).config, of(2).extrapolated), (block(40), 0.0));
    assert_eq!((of(4).config, of(4).extrapolated, of(4).threads), (block(40), 1.0, 4));
}

#[test]
fn what_is_exported_can_be_embedded_and_imported() {
    let (_, traced) = entry("exported", exported);
    remember(&traced.id, point(4000, 2, block(40)));
    remember(&traced.id, point(8000, 2, block(48)));
    let path = std::env::temp_dir().join(format!("helion-export-{}.json", std::process::id()));
    assert!(records::export(&path).unwrap() >= 2);
    let text = std::fs::read_to_string(&path).unwrap();
    let table = store::import(&text).unwrap();
    let own = table.iter().find(|(key, _)| key == traced.id.key()).unwrap();
    assert_eq!(own.1.points.len(), 2);
    // Found later than what is known, so it replaces it.
    let mut record = own.1.clone();
    record.points[0].winner.config = block(56);
    record.points[0].provenance.unix = 9;
    record.points[1].winner.config = block(64);
    record.points[1].provenance.unix = 0;
    std::fs::write(&path, store::export([(traced.id.key(), &record)])).unwrap();
    assert_eq!(records::import(&path).unwrap(), 1);
    assert_eq!((ran(exported, 4000), ran(exported, 8000)), (56, 48));
    std::fs::write(&path, "{").unwrap();
    assert!(records::import(&path).unwrap_err().to_string().contains("line 1"));
    assert!(records::export("/there/is/no/such/folder.json").is_err());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(mode::current().config, 0);
}
