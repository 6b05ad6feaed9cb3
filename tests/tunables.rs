//! Tunables that kernels register: defaults, pins, mistakes, and tuning over whole calls.

use helion::prelude::*;
use helion::{Tuner, with_config};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The pieces of the last call of `total`.
static PIECES: AtomicUsize = AtomicUsize::new(0);
/// Calls of `total` are looked at one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The sum of a vector, cut into pieces.
#[kernel(no_test)]
fn total(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let pieces = tunable::power_of_two("pieces", 1..=32).default(8).on([n]).get()?;
    PIECES.store(pieces, Ordering::Relaxed);
    let piece = n.div_ceil(pieces);
    let mut partial = x.empty([pieces]);
    for p in grid(pieces) {
        let begin = p * piece;
        let mut sum = f32::zeros([1]);
        for t in tile(begin..(begin + piece).minimum(n)) {
            sum += x[t].sum(0);
        }
        partial[p] = sum.squeeze(0);
    }
    let mut out = x.empty([1]);
    for one in grid(1) {
        out[one] = partial[..].sum(0).squeeze(0);
    }
    Ok(out)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Multiply,
    Add,
    Wrong,
}

/// Doubles in place, in one of several ways, of which one is wrong.
#[kernel(no_test)]
fn double(x: &mut Tensor<f32, 1>) -> Result<()> {
    let how = tunable::choice("how", &[How::Multiply, How::Add, How::Wrong]).get()?;
    let slow = tunable::switch("slow").get()?;
    if slow {
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
    let factor = if how == How::Wrong { 3.0 } else { 2.0f32 };
    if how == How::Add {
        for t in tile(x.dims()[0]) {
            x[t] = x[t] + x[t];
        }
    } else {
        for t in tile(x.dims()[0]) {
            x[t] = x[t] * factor;
        }
    }
    Ok(())
}

fn alone() -> std::sync::MutexGuard<'static, ()> {
    helion::settings::set_cache("off").unwrap();
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

fn ones(n: usize) -> Tensor<f32, 1> {
    Tensor::full([n], 1.0f32)
}

#[test]
fn defaults_and_pins() {
    let _alone = alone();
    let x = ones(1001);
    assert_eq!(total(&x).unwrap().to_vec().unwrap(), [1001.0]);
    assert_eq!(PIECES.load(Ordering::Relaxed), 8);
    for pieces in [1, 4, 32] {
        let config: Config = format!("user.pieces={pieces}").parse().unwrap();
        assert_eq!(total::with(&config).call(&x).unwrap().to_vec().unwrap(), [1001.0]);
        assert_eq!(PIECES.load(Ordering::Relaxed), pieces);
    }
    // Beside a pinned launch.
    let both: Config = "threads=1 user.pieces=2".parse().unwrap();
    assert_eq!(with_config(&both, || total(&x)).unwrap().to_vec().unwrap(), [1001.0]);
    assert_eq!(PIECES.load(Ordering::Relaxed), 2);
    let e = total::with("user.pieces=3".parse::<Config>().unwrap()).call(&x).unwrap_err().to_string();
    assert!(e.contains("`pieces`") && e.contains("powers of two, 1 to 32"), "{e}");
}

#[test]
fn mistakes_are_errors() {
    let none: [u8; 0] = [];
    assert!(tunable::choice("none", &none).get().unwrap_err().to_string().contains("no values"));
    let e = tunable::integer("i", 2..=5).default(9).get().unwrap_err().to_string();
    assert!(e.contains("default") && e.contains("2 to 5"), "{e}");
    assert_eq!(tunable::integer("i", 2..=5).get().unwrap(), 2);
    assert_eq!(tunable::power_of_two("p", 3..=20).get().unwrap(), 4);
    assert!(tunable::switch("s").default(true).get().unwrap());
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = tunable::integer("b", 7..=3).get().unwrap();
    assert_eq!(backwards, 7);
}

#[test]
fn tuning_searches_whole_calls() {
    let _alone = alone();
    let x = ones(200_000);
    let tuner = || Tuner::quick().seconds(0.5).configs(8).progress(false);
    let tuned = total::tune(&x, tuner().pin("user.pieces", 16)).unwrap();
    assert_eq!(PIECES.load(Ordering::Relaxed), 16, "a pinned tunable is not searched, and is used");
    assert!(tuned.tunings.len() >= 2, "{tuned}");
    let tuned = total::tune(&x, tuner()).unwrap();
    let calls = tuned.tunings[0].outcome.as_ref().expect("a search");
    assert_eq!(calls.space, 6);
    let found = tuned.tunings[0].config.to_string();
    let pieces = PIECES.load(Ordering::Relaxed);
    assert_eq!(found, format!("user.pieces={pieces}"), "later calls use what was found");
    total(&ones(190_000)).unwrap();
    assert_eq!(PIECES.load(Ordering::Relaxed), pieces, "and so do sizes near by");
    let e = total::tune(&x, tuner().pin("user.piece", 1)).unwrap_err().to_string();
    assert!(e.contains("user.pieces"), "{e}");
}

#[test]
fn trials_leave_arguments_alone_and_wrong_ways_lose() {
    let _alone = alone();
    let mut x = ones(1000);
    let tuned = double::tune(&mut x, Tuner::quick().seconds(0.5).progress(false)).unwrap();
    assert_eq!(x.to_vec().unwrap(), vec![2.0; 1000], "the one real call");
    let calls = tuned.tunings[0].outcome.as_ref().expect("a search");
    let wrong = calls.trials.iter().filter(|t| t.config.to_string().starts_with("user.how=2"));
    for t in wrong {
        assert_eq!(t.result.as_ref().err().map(|r| r.kind()), Some("wrong"), "{}", t.config);
    }
    assert!(calls.best.to_string().ends_with("user.slow=0"), "{}", calls.best);
}
