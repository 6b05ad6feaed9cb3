//! Tuning from outside: options, what it leaves alone, what Ctrl-C keeps.

use helion::Tuned;
use helion::prelude::*;
use helion::tuning::Rejection;
use std::path::PathBuf;

#[kernel]
fn softmax(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let [m, _] = x.dims();
    let mut out = x.empty_like();
    for tm in tile(m) {
        let row = x[(tm, ..)];
        let e = (row - row.max(1)).exp();
        out[(tm, ..)] = e / e.sum(1);
    }
    Ok(out)
}

#[kernel]
fn add(x: &Tensor<f32, 1>, y: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    ensure!(y.dims() == [n], "sizes differ");
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t] + y[t];
    }
    Ok(out)
}

#[kernel]
fn grow(x: &mut Tensor<f32, 1>) -> Result<()> {
    let [n] = x.dims();
    for t in tile(n) {
        x[t] = x[t] * 1.5 + 1.0;
    }
    Ok(())
}

fn matrix(m: usize, n: usize) -> Tensor<f32, 2> {
    Tensor::from_fn([m, n], |[i, j]| ((i * 7 + j * 13) % 101) as f32 / 25.0 - 2.0)
}

fn vector(n: usize) -> Tensor<f32, 1> {
    Tensor::from_fn([n], |[i]| (i % 97) as f32 / 8.0)
}

/// A folder of this test.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("helion-{name}-{}", std::process::id()))
}

/// No tuning results on disk, for tests that do not ask for them.
fn quiet() {
    helion::settings::set_cache_dir("off").unwrap();
}

#[test]
fn a_tuner_says_where_and_how_long() {
    quiet();
    let (x, dir) = (matrix(300, 64), folder("report"));
    let before = softmax(&x).unwrap();
    let path = dir.join("softmax.html");
    let tuner = Tuner::quick().seconds(0.7).configs(12).pin("unroll", 2).seed(7).report(&path).progress(false);
    let tuned: Tuned = softmax::tune(&x, tuner).unwrap();
    println!("{tuned}");
    let t = &tuned.tunings[0];
    let o = t.outcome.as_ref().unwrap();
    assert!(o.measured() > 1 && o.measured() <= 12 && o.seed == 7, "{tuned}");
    assert!(o.trials.iter().all(|t| t.config.to_string().contains("unroll=2")));
    assert_eq!((t.unverified.as_deref(), t.deaths), (None, 0));
    let config: Config = t.config.to_string().parse().unwrap();
    assert!(tuned.to_string().contains(&format!("let config: Config = \"{config}\".parse()?;")));
    assert!(std::fs::read_to_string(&path).unwrap().contains("softmax"));
    assert!(path.with_extension("json").exists());
    std::fs::remove_dir_all(dir).unwrap();
    assert!(softmax(&x).unwrap().allclose(&before, 1e-5, 1e-7));
    let said = softmax::tune(&x, Tuner::quick().pin("block.nothing", 2)).unwrap_err().to_string();
    assert!(said.contains("`block.nothing` is not in the kernel's space"), "{said}");
}

#[test]
fn what_is_updated_in_place_is_updated_once() {
    quiet();
    for isolate in [true, false] {
        let mut x = vector(5000);
        let mut expected = x.copy();
        grow(&mut expected).unwrap();
        let tuned = grow::tune(&mut x, Tuner::quick().seconds(0.5).configs(8).isolate(isolate)).unwrap();
        println!("{tuned}");
        assert!(x.allclose(&expected, 1e-6, 1e-6));
        assert_eq!(tuned.tunings[0].unverified, None);
    }
}

#[test]
fn configs_that_do_the_same_are_measured_once() {
    quiet();
    let (x, y) = (vector(2000), vector(2000));
    // One thread divides nothing, whatever it is told about dividing; and 2,000 numbers deserve one.
    let tuner = || Tuner::quick().strategy("exhaustive").seconds(30.0).pin("unroll", 2).pin("block.t", 512);
    let tuner = || tuner().pin("grid", "flat").pin("stream", "never").configs(1000).progress(false);
    for isolate in [true, false] {
        let all = tuner().restrict("threads", [0, 1]).isolate(isolate);
        let tuned = add::tune(&x, &y, all).unwrap();
        let o = tuned.tunings[0].outcome.as_ref().unwrap();
        let same = o.trials.iter().filter(|t| matches!(&t.result, Err(Rejection::Same(of)) if *of == o.default));
        assert_eq!((o.space, o.measured(), same.count()), (8, 1, 7), "{tuned}");
        // Two threads divide four program instances in several ways.
        let two = add::tune(&x, &y, tuner().pin("threads", 2).isolate(isolate)).unwrap();
        assert_eq!(two.tunings[0].outcome.as_ref().unwrap().measured(), 4, "{two}");
    }
}

#[test]
fn equal_launches_share_a_search() {
    quiet();
    let (x, y, long) = (vector(2000), vector(2000), vector(3000));
    let tuner = Tuner::quick().seconds(0.2).configs(4).progress(false);
    let tuned = helion::tune(tuner, || {
        add(&x, &y)?;
        add(&y, &x)?;
        add(&long, &long)?;
        helion::with_config(&"unroll=2".parse()?, || add(&x, &y))
    })
    .unwrap();
    // A clock never gives two searches the same time to the nanosecond.
    let times: Vec<_> = tuned.tunings.iter().map(|t| t.outcome.as_ref().unwrap().time).collect();
    assert_eq!(times.len(), 4, "{tuned}");
    assert_eq!(times[0], times[1], "{tuned}");
    assert!(times[0] != times[2] && times[0] != times[3] && times[2] != times[3], "{tuned}");
}

#[test]
fn cold_caches_are_slower() {
    quiet();
    let x = matrix(64, 1024);
    let time = |cold: bool| {
        let tuned = softmax::tune(&x, Tuner::quick().seconds(0.5).configs(3).cold(cold)).unwrap();
        tuned.tunings[0].outcome.as_ref().unwrap().default_timing.seconds
    };
    println!("warm {:.1} µs, cold {:.1} µs", time(false) * 1e6, time(true) * 1e6);
}

/// In a process of its own.
#[test]
#[ignore = "run by `an_interrupt_keeps_the_best_so_far`"]
fn child_that_searches() {
    println!("began");
    softmax::tune(&matrix(256, 512), Tuner::full().seconds(100.0).configs(100_000).strategy("random")).unwrap();
    // Only reached when the signal does nothing.
    println!("not interrupted");
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_the_best_so_far() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::os::unix::process::ExitStatusExt;
    let dir = folder("interrupt");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_searches", "--ignored", "--nocapture"])
        .env("HELION_CACHE_DIR", &dir)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("began") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0);
    }
    // Until something was measured.
    let begun = || {
        let journal =
            std::fs::read_dir(&dir).ok()?.flatten().find(|f| f.path().extension().is_some_and(|e| e == "journal"))?;
        let lines = std::fs::read_to_string(journal.path()).ok()?.lines().count();
        (lines > 8).then_some(())
    };
    while begun().is_none() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // SAFETY: our child, which was not waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let status = child.wait().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(status.signal(), Some(libc::SIGINT), "{rest}");
    let files: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
    println!("{files:?}");
    assert!(files.iter().any(|f| f.ends_with(".journal")), "{files:?}");
    assert!(files.iter().any(|f| !f.ends_with(".journal") && !f.ends_with("lock")), "{files:?}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
#[ignore = "a measurement: run alone, optimised"]
fn candidates_per_second() {
    quiet();
    let say = |what: &str, tuned: &Tuned| {
        let o = tuned.tunings[0].outcome.as_ref().unwrap();
        let seconds = o.time.as_secs_f64();
        let same = o.trials.iter().filter(|t| t.result.as_ref().is_err_and(|r| r.kind() == "same")).count();
        println!(
            "{what}: {} measured, {same} the same, {} tried in {seconds:.2} s: {:.0} measured per second ({:?}; {:?})",
            o.measured(),
            o.trials.len(),
            o.measured() as f64 / seconds,
            o.end,
            tuned.tunings[0].spent,
        );
    };
    let tuner = || Tuner::full().seconds(5.0).configs(5000);
    say("vector_add 1024", &add::tune(&vector(1024), &vector(1024), tuner()).unwrap());
    say("softmax 64x1024", &softmax::tune(&matrix(64, 1024), tuner()).unwrap());
    say("softmax 64x1024, in process", &softmax::tune(&matrix(64, 1024), tuner().isolate(false)).unwrap());
}
