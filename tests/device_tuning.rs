//! Tuning launches on a GPU, on a simulated device: in this process, and in worker processes that candidates take down.
//! The worker is this test program, started again with the one test that serves.
#![cfg(unix)]

#[path = "support/fake_gpu.rs"]
mod fake_gpu;

use fake_gpu::{FakeGpu, Fate, Options};
use helion::prelude::*;
use helion::tuning::Rejection;
use helion::{Tuning, cuda, tune};
use std::sync::{Arc, LazyLock};

/// A block of 64 in loop IR.
const BLOCK: &str = "const i64 64\n";
/// Which kernels are dangerous, with blocks of 64.
const DEADLY: &[(&str, &str, Fate)] =
    &[("dies", BLOCK, Fate::Dies), ("hangs", BLOCK, Fate::Hangs), ("errs", BLOCK, Fate::Errs)];

static DEVICE: LazyLock<(Arc<FakeGpu>, Device)> = LazyLock::new(|| {
    helion::settings::set_cache("off").unwrap();
    let driver = FakeGpu::new(Options { real_time: true, deadly: DEADLY, ..Options::default() });
    let first = cuda::install(driver.clone()).unwrap();
    (driver, Device::cuda(first).unwrap())
});

/// The device, with this program ready to be started as a worker.
fn device() -> Device {
    let device = DEVICE.1;
    helion::tuning::worker(["this_program_serves", "--exact", "--test-threads=1"]);
    device
}

#[test]
fn this_program_serves() {
    let device = device();
    assert!(std::env::var_os("HELION_WORKER").is_none(), "a worker does not come here: {device}");
}

macro_rules! kernel_with_tile {
    ($name:ident) => {
        /// Sums with the tile variable named as the kernel, so that configs tell them apart.
        #[kernel]
        fn $name(x: &Tensor<f32, 1>, y: &mut Tensor<f32, 1>) -> Result<()> {
            let [n] = x.dims();
            for $name in tile(n) {
                y[$name] = x[$name] * 2.0 + y[$name];
            }
            Ok(())
        }
    };
}

kernel_with_tile!(dies);
kernel_with_tile!(hangs);
kernel_with_tile!(errs);
kernel_with_tile!(works);

/// Tunes over three blocks, one of which may be dangerous; checks that the tensors are as after one launch.
fn tuned(kernel: impl Fn(&Tensor<f32, 1>, &mut Tensor<f32, 1>) -> Result<()>, tile: &str, isolate: bool) -> Tuning {
    let device = device();
    let x = Tensor::from_fn([3001], |[i]| i as f32).to(device).unwrap();
    let mut y = Tensor::full([3001], 1.0f32).to(device).unwrap();
    let tuner = Tuner::quick()
        .restrict(format!("block.{tile}"), [32, 64, 128])
        .strategy("exhaustive")
        .seconds(4.0)
        .isolate(isolate);
    let tuned = tune(tuner, || kernel(&x, &mut y)).unwrap();
    assert_eq!(y.to_vec().unwrap(), (0..3001).map(|i| i as f32 * 2.0 + 1.0).collect::<Vec<_>>(), "one launch");
    tuned.tunings.into_iter().next().unwrap()
}

fn reason(t: &Tuning, tile: &str, block: u64) -> Option<Rejection> {
    let outcome = t.outcome.as_ref().unwrap();
    let mut trials = outcome.trials.iter().filter(|t| t.config.to_string().contains(&format!("block.{tile}={block}")));
    trials.find_map(|t| t.result.as_ref().err().cloned())
}

#[test]
fn candidates_are_measured_and_agree_with_the_interpreter() {
    for isolate in [false, true] {
        let t = tuned(works, "works", isolate);
        let outcome = t.outcome.as_ref().unwrap();
        assert!(outcome.measured() >= 2, "{t}");
        assert_eq!((t.deaths, t.unverified.as_deref()), (0, None), "{t}");
    }
}

#[test]
fn a_candidate_that_kills_its_process_is_only_out() {
    let t = tuned(dies, "dies", true);
    assert!(t.deaths >= 1, "{t}");
    assert!(matches!(reason(&t, "dies", 64), Some(Rejection::Crashed(_))), "{:?}", t.outcome);
    assert!(!t.config.to_string().contains("block.dies=64"), "{t}");
}

#[test]
fn a_candidate_that_hangs_is_only_out() {
    let t = tuned(hangs, "hangs", true);
    assert!(matches!(reason(&t, "hangs", 64), Some(Rejection::Hung(_))), "{:?}", t.outcome);
    assert!(!t.config.to_string().contains("block.hangs=64"), "{t}");
}

#[test]
fn wrong_results_are_out_wherever_they_are_measured() {
    for isolate in [false, true] {
        let t = tuned(errs, "errs", isolate);
        assert!(matches!(reason(&t, "errs", 64), Some(Rejection::Wrong(_))), "{isolate}: {:?}", t.outcome);
    }
}
