//! Tensors and launches on GPUs, on a simulated device: transfers, views, what code relies on, streams, graphs, memory,
//! errors. Each test has a device of its own.

#[path = "support/fake_gpu.rs"]
mod fake_gpu;

use fake_gpu::{FakeGpu, Options};
use helion::cuda;
use helion::prelude::*;
use helion::{ErrorKind, with_config, with_device};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

#[kernel]
fn add<T: Num>(x: &Tensor<T, 1>, y: &Tensor<T, 1>) -> Result<Tensor<T, 1>> {
    let [n] = x.dims();
    ensure!(y.dims() == [n], "sizes differ");
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t] + y[t];
    }
    Ok(out)
}

#[kernel]
fn add_into(x: &Tensor<f32, 2>, out: &mut Tensor<f32, 2>) -> Result<()> {
    let [m, n] = x.dims();
    ensure!(out.dims() == [m, n], "sizes differ");
    for [tm, tn] in tile([m, n]) {
        out[(tm, tn)] = x[(tm, tn)] + out[(tm, tn)];
    }
    Ok(())
}

#[kernel]
fn softmax(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let [m, _] = x.dims();
    let mut out = x.empty_like();
    for t in tile(m) {
        let row = x[(t, ..)];
        let e = (row - row.max(1)).exp();
        out[(t, ..)] = e / e.sum(1);
    }
    Ok(out)
}

#[kernel]
fn total(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let mut out = x.empty([1]);
    for one in grid(1) {
        out[one] = x[..].sum(0).squeeze(0);
    }
    Ok(out)
}

fn device(options: Options) -> (Arc<FakeGpu>, Device) {
    // Code that other runs kept on disk is not this simulator's. Once: a setting that changes makes calls look again.
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| helion::settings::set_cache("off").unwrap());
    let driver = FakeGpu::new(options);
    let first = cuda::install(driver.clone()).unwrap();
    (driver, Device::cuda(first).unwrap())
}

fn numbers(n: usize) -> Tensor<f32, 1> {
    Tensor::from_fn([n], |[i]| i as f32)
}

#[test]
fn a_missing_device_is_an_error_that_helps() {
    let e = Device::cuda(1 << 20).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Device(_)), "{e}");
    assert!(e.to_string().contains("CUDA device 1048576 cannot be used") && e.to_string().contains("help: "), "{e}");
    let old = FakeGpu::new(Options { capability: (7, 5), ..Options::default() });
    let old = cuda::install(old).unwrap();
    let e = Device::cuda(old).unwrap_err().to_string();
    assert!(e.contains("compute capability 7.5") && e.contains("8.0"), "{e}");
    assert!(cuda::devices().unwrap().iter().any(|d| d.index == old && d.arch.is_none()));
}

#[test]
fn elements_come_back_as_they_went() {
    let (_, gpu) = device(Options::default());
    let x = Tensor::from_fn([3, 4, 5], |[i, j, k]| (i * 100 + j * 10 + k) as i32);
    let there = x.to(gpu).unwrap();
    assert_eq!((x.device(), there.device()), (Device::Cpu, gpu));
    let views = |t: &Tensor<i32, 3>| {
        [
            t.clone(),
            t.transpose(0, 2).unwrap(),
            t.flip(1).unwrap(),
            t.slice(1, 1..3).unwrap(),
            t.step_by(2, 2).unwrap().flip(0).unwrap(),
            t.slice(0, 1..1).unwrap(),
            t.slice(2, 4..).unwrap().expand([3, 4, 6]).unwrap(),
        ]
    };
    for (here, there) in views(&x).iter().zip(views(&there)) {
        assert_eq!(there.to_vec().unwrap(), here.to_vec().unwrap(), "{:?}", here.strides());
        assert_eq!(there.copy().device(), gpu);
        assert_eq!(&there.copy(), here);
        assert_eq!(&there.to(Device::Cpu).unwrap(), here);
        assert_eq!(there.to_string(), here.to_string());
        assert_eq!(there.get([0; 3]), here.get([0; 3]));
    }
    let big = Tensor::from_fn([300, 7], |[i, j]| (i * 7 + j) as f64).to(gpu).unwrap();
    assert_eq!(big.t().copy(), big.t().to(Device::Cpu).unwrap(), "more rows than one copy takes");
    let flags = Tensor::from_vec([3], vec![true, false, true]).unwrap().to(gpu).unwrap();
    assert_eq!(flags.to_vec().unwrap(), [true, false, true]);
    assert_eq!(Tensor::<bool, 1>::new_on(gpu, [4]).to_vec().unwrap(), [false; 4]);
    assert_eq!(Tensor::<i64, 1>::zeros_on(gpu, [3]).to_vec().unwrap(), [0; 3]);
    let e = there.as_slice().unwrap_err().to_string();
    assert!(e.contains("not in host memory") && e.contains("Device::Cpu"), "{e}");
}

#[test]
fn a_tensor_is_a_value_there_too() {
    let (_, gpu) = device(Options::default());
    let mut x = numbers(10).to(gpu).unwrap();
    let before = x.clone();
    x.set([3], -1.0).unwrap();
    assert_eq!((x.get([3]), before.get([3])), (Some(-1.0), Some(3.0)));
    let at = x.as_ptr();
    x.set([4], -2.0).unwrap();
    assert_eq!(x.as_ptr(), at, "alone, it is written in place");
    let mut out = Tensor::<f32, 2>::zeros_on(gpu, [4, 6]);
    let (kept, ones) = (out.clone(), Tensor::full([4, 6], 1.0f32).to(gpu).unwrap());
    add_into(&ones, &mut out).unwrap();
    add_into(&ones, &mut out).unwrap();
    assert_eq!((kept.get([1, 1]), out.get([1, 1])), (Some(0.0), Some(2.0)));
    let wide = Tensor::<f32, 2>::zeros_on(gpu, [4, 6]);
    let mut window = wide.slice(1, 1..4).unwrap();
    add_into(&ones.slice(1, ..3).unwrap(), &mut window).unwrap();
    assert_eq!((wide.get([0, 1]), window.get([0, 0])), (Some(0.0), Some(1.0)));
}

#[test]
fn kernels_run_where_their_tensors_are() {
    let (driver, gpu) = device(Options::default());
    for n in [0, 1, 2, 17, 1000, 4099] {
        let (x, before) = (numbers(n), driver.launches());
        let z = add(&x.to(gpu).unwrap(), &x.to(gpu).unwrap()).unwrap();
        assert_eq!(z.device(), gpu);
        assert_eq!(z, add(&x, &x).unwrap(), "{n}");
        assert_eq!(driver.launches() - before, u64::from(n > 0));
    }
    let made = with_device(gpu, || softmax(&Tensor::from_fn([5, 33], |[i, j]| (i * j % 7) as f32)).unwrap());
    let here = softmax(&Tensor::from_fn([5, 33], |[i, j]| (i * j % 7) as f32)).unwrap();
    assert!(made.device() == gpu && made.allclose(&here, 1e-6, 1e-7));
    let e = add(&numbers(4), &numbers(4).to(gpu).unwrap()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Device(_)), "{e}");
    assert!(e.to_string().contains("`x` is on cpu and `y` on cuda:"), "{e}");
}

#[test]
fn code_relies_on_what_holds() {
    let (driver, gpu) = device(Options::default());
    let x = numbers(1000).to(gpu).unwrap();
    add(&x, &x).unwrap();
    assert_eq!((driver.last().aligned, driver.last().narrow), (0b111, true));
    let odd = x.slice(0, 1..).unwrap();
    assert_eq!(add(&odd, &odd).unwrap().get([998]), Some(1998.0));
    assert_eq!(driver.last().aligned, 0b100, "the output is a tensor of its own");
    let kernels = driver.assembled();
    add(&odd, &odd).unwrap();
    add(&x, &x).unwrap();
    assert_eq!(driver.assembled(), kernels, "both are known");
    let rows = Tensor::<f32, 2>::zeros_on(gpu, [8, 6]);
    add_into(&rows, &mut rows.empty_like()).unwrap();
    assert_eq!(driver.last().aligned, 0, "rows of 24 bytes");
}

#[test]
fn buffers_that_do_not_fit_get_memory() {
    let x = Tensor::from_fn([9, 700], |[i, j]| (i * j % 13) as f32);
    let want = softmax(&x).unwrap();
    for (shared, spills) in [(100 << 10, false), (2 << 10, true)] {
        let (driver, gpu) = device(Options { dynamic: true, shared, ..Options::default() });
        let got = with_config(&"block.t=2 keep=all".parse().unwrap_or_default(), || softmax(&x.to(gpu).unwrap()));
        assert!(got.unwrap().allclose(&want, 1e-6, 1e-7));
        let seen = driver.last();
        assert_eq!(seen.spill != 0, spills, "{seen:?}");
        let used = driver.used();
        softmax(&x.to(gpu).unwrap()).unwrap();
        assert_eq!(driver.used(), used, "memory of the first call served the second");
    }
}

#[test]
fn split_reductions_have_workspaces_there() {
    let (driver, gpu) = device(Options::default());
    let x = numbers(5000);
    let want = total(&x).unwrap().to_vec().unwrap();
    let x = x.to(gpu).unwrap();
    let before = driver.launches();
    let got = with_config(&"split=4".parse().unwrap(), || total(&x)).unwrap();
    assert_eq!(driver.launches() - before, 2, "the parts, then their sum");
    assert!((got.to_vec().unwrap()[0] - want[0]).abs() <= want[0] * 1e-5);
}

#[test]
fn streams_of_the_caller_are_ordered_with_the_default_one() {
    let (driver, gpu) = device(Options::default());
    let x = numbers(100).to(gpu).unwrap();
    let stream = std::ptr::without_provenance_mut(77 << 20);
    // SAFETY: a stream is a number to this driver.
    let y = unsafe { cuda::with_stream(gpu, stream, || add(&x, &x)) }.unwrap().unwrap();
    assert_eq!(driver.last().stream, 77 << 20);
    assert_eq!(driver.fences(), [(0, 77 << 20), (77 << 20, 0)]);
    add(&y, &y).unwrap();
    assert_eq!(driver.last().stream, 0);
    // SAFETY: as above.
    let caught = unsafe {
        std::panic::catch_unwind(|| cuda::with_stream(gpu, std::ptr::without_provenance_mut(5), || panic!("stop")))
    };
    assert!(caught.is_err());
    add(&y, &y).unwrap();
    assert_eq!(driver.last().stream, 0, "a panic ends the scope");
    // SAFETY: the CPU is refused before the stream is used.
    assert!(unsafe { cuda::with_stream(Device::Cpu, stream, || ()) }.is_err());
}

#[test]
fn memory_is_used_again_on_its_stream_only() {
    let (driver, gpu) = device(Options::default());
    let at = |t: &Tensor<f32, 1>| t.as_ptr();
    let a = Tensor::<f32, 1>::new_on(gpu, [5000]);
    let first = at(&a);
    drop(a);
    let used = driver.used();
    let a = Tensor::<f32, 1>::new_on(gpu, [4999]);
    assert_eq!((at(&a), driver.used()), (first, used));
    drop(a);
    // SAFETY: a stream is a number to this driver.
    unsafe {
        cuda::with_stream(gpu, std::ptr::without_provenance_mut(9), || {
            assert_ne!(at(&Tensor::new_on(gpu, [5000])), first, "the default stream may still use it");
        })
        .unwrap();
    }
    let (b, c) = (Tensor::<f32, 1>::new_on(gpu, [5000]), Tensor::<f32, 1>::new_on(gpu, [5000]));
    assert_eq!(driver.used(), 2 * used, "{:?} {:?}: both have come back", at(&b), at(&c));
}

#[test]
fn graphs_do_what_was_captured() {
    let (driver, gpu) = device(Options::default());
    let mut x = numbers(64).to(gpu).unwrap();
    add(&x, &x).unwrap();
    let before = (driver.launches(), driver.used());
    let (graph, y) = cuda::capture(gpu, || {
        let twice = add(&x, &x)?;
        add(&twice, &x)
    })
    .unwrap();
    assert!(driver.streams().is_empty());
    assert_eq!(driver.launches() - before.0, 2);
    assert_ne!(y.get([5]), Some(15.0), "nothing ran yet");
    // SAFETY: tensors are live and nothing else uses them.
    unsafe { graph.launch() }.unwrap();
    assert_eq!(y.get([5]), Some(15.0));
    x.set([5], 1.0).unwrap();
    // SAFETY: as above.
    unsafe { graph.launch() }.unwrap();
    assert_eq!(y.get([5]), Some(3.0));
    // Memory made in the capture is not handed out while the graph can write it.
    let others: Vec<_> = (0..8).map(|_| Tensor::<f32, 1>::zeros_on(gpu, [64])).collect();
    // SAFETY: as above.
    unsafe { graph.launch() }.unwrap();
    assert!(others.iter().all(|o| o.to_vec().unwrap() == [0.0; 64]));
    drop((graph, y));
    let used = driver.used();
    let _again: Vec<_> = (0..2).map(|_| Tensor::<f32, 1>::new_on(gpu, [64])).collect();
    assert_eq!(driver.used(), used, "and comes back with the graph");
    let failed = cuda::capture(gpu, || x.to_vec());
    assert!(matches!(failed.map(drop).unwrap_err().kind(), ErrorKind::Driver { code: 900, .. }));
    assert!(driver.streams().is_empty());
    add(&x, &x).unwrap();
    assert_eq!(driver.last().stream, 0);
}

#[test]
fn events_have_time_between_them() {
    let (_, gpu) = device(Options::default());
    let x = numbers(64).to(gpu).unwrap();
    let first = cuda::Event::record(gpu).unwrap();
    let y = add(&x, &x).unwrap();
    let second = cuda::Event::record(gpu).unwrap();
    drop(add(&x, &y));
    assert_eq!(first.until(&second).unwrap(), Duration::from_millis(1), "one launch");
    second.again().unwrap();
    assert_eq!(first.until(&second).unwrap(), Duration::from_millis(2));
    cuda::synchronize(gpu).unwrap();
}

#[test]
fn short_memory_is_an_error_after_what_is_kept_was_given_back() {
    let (driver, gpu) = device(Options { memory: 10 << 20, ..Options::default() });
    let Device::Cuda(n) = gpu else { unreachable!("a GPU") };
    drop((Tensor::<u8, 1>::new_on(gpu, [3 << 20]), Tensor::<u8, 1>::new_on(gpu, [3 << 20])));
    let before = cuda::memory(n).unwrap();
    assert_eq!((before.used, before.kept, before.total), (0, 8 << 20, 10 << 20));
    let large = Tensor::<u8, 1>::new_on(gpu, [9 << 20]);
    large.check().unwrap();
    assert_eq!(driver.used(), 10 << 20);
    let e = Tensor::<u8, 1>::zeros_on(gpu, [1 << 20]).check().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Memory(_)), "{e}");
    assert!(e.to_string().contains("tensors of this process have 10485760"), "{e}");
    let e = large.to(gpu).unwrap().copy().check().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Memory(_)), "{e}");
    drop(large);
    cuda::release(n).unwrap();
    assert_eq!((driver.used(), cuda::memory(n).unwrap().kept), (0, 0));
}

#[test]
fn a_lost_device_stays_lost_and_a_refused_call_does_not() {
    let (driver, gpu) = device(Options::default());
    let x = numbers(64).to(gpu).unwrap();
    driver.fail("cuLaunchKernel", 701);
    let e = add(&x, &x).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Driver { code: 701, .. }), "{e}");
    let y = add(&x, &x).unwrap();
    driver.fail("cuMemcpyDtoHAsync", 700);
    let first = y.to_vec().unwrap_err();
    assert!(matches!(first.kind(), ErrorKind::Lost { code: 700, .. }), "{first}");
    assert!(first.to_string().contains("help: "), "{first}");
    for e in [add(&x, &x).map(drop), y.to_vec().map(drop), cuda::synchronize(gpu), numbers(1).to(gpu).map(drop)] {
        assert_eq!(e.unwrap_err(), first);
    }
    drop((x, y));
}

#[test]
fn a_kernel_that_needs_too_much_is_refused() {
    let (driver, gpu) = device(Options::default());
    let x = numbers(64).to(gpu).unwrap();
    driver.fail("cuLinkAddData", 218);
    let pinned: Config = "block.t=16".parse().unwrap();
    let e = with_config(&pinned, || add(&x, &x)).unwrap_err();
    assert!(e.to_string().contains("assembler refuses"), "{e}");
    add(&x, &x).unwrap();
    let e = with_config(&"block.t=7 block.nothing=2".parse().unwrap(), || add(&x, &x)).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Setting(_)), "{e}");
}

#[test]
fn explaining_tells_of_the_device() {
    let (_, gpu) = device(Options::default());
    let x = numbers(64).to(gpu).unwrap();
    let explained = helion::explain(|| add(&x, &x)).unwrap();
    let r = &explained.reports[0];
    assert!(r.device.contains("Simulated GPU (sm_80)"), "{}", r.device);
    assert_eq!(r.grids.len(), 1);
    assert!(r.grids[0].contains("128 threads") && r.grids[0].contains("32 registers"), "{:?}", r.grids);
    let ptx = r.stage(helion::settings::Stage::Ptx).unwrap();
    assert!(ptx.contains("aligned: 7"), "{ptx}");
    assert!(r.stage(helion::settings::Stage::Loops).is_some());
    assert!(explained.to_string().contains("assemble"), "{explained}");
}

/// Counts allocations of the thread that asks.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<Option<u64>> = const { Cell::new(None) };
}

// SAFETY: passes everything on to the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|a| a.set(a.get().map(|n| n + 1)));
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(ptr, layout) };
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_prepared_call_neither_allocates_nor_waits_nor_compiles() {
    for dynamic in [false, true] {
        let (driver, gpu) = device(Options { idle: true, dynamic, shared: 2 << 10, ..Options::default() });
        let x = Tensor::<f32, 2>::zeros_on(gpu, [64, 64]);
        let mut out = Tensor::<f32, 2>::zeros_on(gpu, [64, 64]);
        let split = "split=4".parse::<Config>().unwrap();
        let long = Tensor::<f32, 1>::zeros_on(gpu, [4096]);
        add_into(&x, &mut out).unwrap();
        let parts = || with_config(&split, || total(&long)).unwrap();
        drop((parts(), parts()));
        drop(parts());
        let seen = || (driver.waits(), driver.assembled(), driver.used(), driver.launches());
        let before = seen();
        ALLOCATIONS.set(Some(0));
        (0..2).for_each(|_| add_into(&x, &mut out).unwrap());
        assert_eq!(ALLOCATIONS.replace(None), Some(0));
        // Results are tensors, whose owner is allocated on the host; nothing else is.
        with_config(&split, || {
            ALLOCATIONS.set(Some(0));
            drop(total(&long).unwrap());
            assert_eq!(ALLOCATIONS.replace(None), Some(1));
        });
        let after = seen();
        assert_eq!(after, (before.0, before.1, before.2, before.3 + 4));
    }
}
