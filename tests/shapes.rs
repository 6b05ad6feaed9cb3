//! How launches find their config, seen from outside: what processes do under `HELION_TUNE` and `HELION_CACHE`, and what they leave
//! in the folder of records.

use helion::prelude::*;
use helion::tuning::choices;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[kernel]
fn scaled(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let mut out = x.empty_like();
    for t in tile(x.dims()[0]) {
        out[t] = x[t] * 2.0;
    }
    Ok(out)
}

/// In a process of its own: launches at the sizes of a variable, and says what each took.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let sizes = std::env::var("SIZES").unwrap_or_default();
    for n in sizes.split_whitespace().map(|n| n.parse().unwrap()) {
        let x = Tensor::<f32, 1>::from_fn([n], |[i]| i as f32);
        if std::env::var_os("ASK").is_some() {
            println!("{:?}", scaled::tune(&x, Effort::Quick).err());
        }
        assert_eq!(scaled(&x).unwrap(), Tensor::from_fn([n], |[i]| 2.0 * i as f32));
        let choice = choices(|| scaled(&x)).unwrap().remove(0);
        println!("{n}: {} {}", choice.source.name(), choice.extrapolated);
    }
}

/// In a process of its own: how long it takes to name a kernel and to find its config.
#[test]
#[ignore = "run by `cache_hit_cost`"]
fn cold() {
    let x = Tensor::<f32, 1>::zeros([3000]);
    let report = scaled::explain(&x).unwrap().reports.remove(0);
    for p in report.phases.iter().filter(|p| matches!(p.name, "identify" | "choose")) {
        println!("{} {} {}", report.choice.source.name(), p.name, p.time.as_nanos());
    }
}

/// A folder of records that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("helion-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Folder(dir)
    }
    /// Every file with its content and when it was changed.
    fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return BTreeMap::new() };
        let all = entries.map(|e| e.unwrap().path());
        all.map(|p| (p.clone(), (std::fs::read(&p).unwrap(), p.metadata().unwrap().modified().unwrap()))).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(test: &str, dir: &Path, sizes: &str, settings: &[(&str, &str)]) -> Command {
    let mut c = Command::new(std::env::current_exe().unwrap());
    c.args(["--exact", test, "--ignored", "--nocapture"]).env("SIZES", sizes).env("HELION_CACHE_DIR", dir);
    c.env_remove("HELION_TUNE").env_remove("HELION_CACHE").envs(settings.iter().copied());
    c.stdout(Stdio::piped()).stderr(Stdio::piped());
    c
}

fn run(dir: &Path, sizes: &str, settings: &[(&str, &str)]) -> (String, String) {
    texts(command("child", dir, sizes, settings).output().unwrap())
}

fn texts(out: Output) -> (String, String) {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let (said, warned) = (text(&out.stdout), text(&out.stderr));
    assert!(out.status.success(), "{said}\n{warned}");
    (said, warned)
}

/// How many searches a process reported.
fn tuned(warned: &str) -> usize {
    warned.lines().filter(|l| l.contains("scaled: ") && l.contains("configs measured")).count()
}

#[test]
fn the_first_launch_tunes_and_later_processes_use_it() {
    let dir = Folder::new("tunes");
    let (said, warned) = run(&dir.0, "3000 70000", &[]);
    assert_eq!((tuned(&warned), dir.files().len()), (0, 0), "tuning is off: {warned}");
    assert!(said.contains("3000: model inf"), "{said}");
    let quick = [("HELION_TUNE", "quick")];
    let (said, warned) = run(&dir.0, "3000 70000 3000", &quick);
    assert_eq!(tuned(&warned), 2, "{warned}");
    assert!(said.contains("3000: disk 0\n") && said.contains("70000: disk 0\n"), "{said}");
    let (said, warned) = run(&dir.0, "3000 70000 71000", &quick);
    assert_eq!(tuned(&warned), 1, "only the new size: {warned}");
    assert!(said.contains("71000: disk 0\n"), "{said}");
    let (said, _) = run(&dir.0, "3000 6000", &[]);
    assert!(said.contains("3000: disk 0\n") && said.contains("6000: disk 1\n"), "{said}");
}

#[test]
fn read_only_never_tunes_and_never_writes() {
    let dir = Folder::new("reads");
    let read = [("HELION_CACHE", "read"), ("HELION_TUNE", "quick")];
    let (said, warned) = run(&dir.0, "3000", &read);
    assert_eq!(tuned(&warned), 0, "{warned}");
    assert!(said.contains("3000: model inf") && !dir.0.exists(), "{said}");
    run(&dir.0, "3000", &[("HELION_TUNE", "quick")]);
    let before = dir.files();
    assert!(!before.is_empty());
    let (said, warned) = run(&dir.0, "3000 5000", &[read[0], read[1], ("ASK", "yes")]);
    assert_eq!(tuned(&warned), 0, "{warned}");
    assert!(said.contains("3000: disk 0\n") && said.contains("5000: disk 0.7"), "{said}");
    assert!(said.contains("`scaled` cannot be tuned: HELION_CACHE is `read`"), "{said}");
    assert_eq!(dir.files(), before);
}

#[test]
fn off_leaves_the_disk_alone() {
    let dir = Folder::new("off");
    let (said, warned) = run(&dir.0, "3000 3000", &[("HELION_CACHE", "off"), ("HELION_TUNE", "quick")]);
    assert_eq!(tuned(&warned), 1, "{warned}");
    assert!(said.contains("3000: disk 0\n") && !dir.0.exists(), "what this process found counts: {said}");
}

#[test]
fn of_two_processes_one_tunes() {
    let dir = Folder::new("both");
    let start = || command("child", &dir.0, "3000", &[("HELION_TUNE", "quick")]).spawn().unwrap();
    let both = [start(), start(), start()].map(|c| texts(c.wait_with_output().unwrap()));
    assert_eq!(both.iter().map(|(_, warned)| tuned(warned)).sum::<usize>(), 1, "{both:?}");
    assert!(both.iter().all(|(said, _)| said.contains("3000: disk 0\n")), "{both:?}");
}

#[test]
fn settings_that_make_no_sense_are_said() {
    let dir = Folder::new("settings");
    let (_, warned) = run(&dir.0, "3000", &[("HELION_TUNE", "sometimes"), ("HELION_CACHE", "full")]);
    assert!(warned.contains("HELION_TUNE: `sometimes` is none of off, quick, full"), "{warned}");
    assert!(warned.contains("HELION_CACHE: `full` is none of read-write, read, off"), "{warned}");
    assert_eq!(tuned(&warned), 0);
}

#[kernel]
fn row_sums(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 1>> {
    let mut out = x.empty([x.dims()[0]]);
    for t in tile(x.dims()[0]) {
        out[t] = x[(t, ..)].sum(1).squeeze(1);
    }
    Ok(out)
}

#[test]
fn few_configs_serve_many_shapes() {
    helion::settings::set_cache("off").unwrap();
    let inputs = [[64, 300], [300, 64], [7, 5000], [128, 128], [1, 99]]
        .map(|[m, n]| Tensor::<f32, 2>::from_fn([m, n], |[i, j]| ((i * 7 + j * 3) % 17) as f32));
    let before: Vec<_> = inputs.iter().map(|x| row_sums(x).unwrap()).collect();
    let tuner = Tuner::quick().seconds(0.2);
    let shared = helion::tuning::tune_many(2, tuner, &inputs, |x| row_sums(x)).unwrap();
    assert_eq!(shared.len(), 1, "one kernel");
    println!("{}", shared[0]);
    let (configs, shapes) = (&shared[0].configs, &shared[0].shapes);
    assert!((1..=2).contains(&configs.len()) && shapes.len() == inputs.len());
    let mean = shapes.iter().map(|s| s.loss().ln()).sum::<f64>() / shapes.len() as f64;
    assert!(shared[0].loss >= 1.0 && (mean.exp() - shared[0].loss).abs() < 1e-6);
    for ((x, y), s) in inputs.iter().zip(&before).zip(shapes) {
        let choice = row_sums::choices(x).unwrap().remove(0);
        assert_eq!((&choice.config, choice.extrapolated), (&s.config, 0.0), "{choice}");
        assert!(configs.contains(&choice.config) && choice.sizes == s.sizes);
        assert!(row_sums(x).unwrap().allclose(y, 1e-5, 1e-6));
    }
}

#[kernel]
fn softmax(x: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let mut out = x.empty_like();
    for t in tile(x.dims()[0]) {
        let row = x[(t, ..)];
        let e = (row - row.max(1)).exp();
        out[(t, ..)] = e / e.sum(1);
    }
    Ok(out)
}

#[kernel]
fn matmul(a: &Tensor<f32, 2>, b: &Tensor<f32, 2>) -> Result<Tensor<f32, 2>> {
    let ([m, k], n) = (a.dims(), b.dims()[1]);
    let mut out = a.empty([m, n]);
    for [tm, tn] in tile([m, n]) {
        let mut sum = zeros((tm, tn));
        for tk in tile(k) {
            sum += dot(a[(tm, tk)], b[(tk, tn)]);
        }
        out[(tm, tn)] = sum;
    }
    Ok(out)
}

/// Launches of one kernel at any sizes.
type At = fn(&[usize]) -> Box<dyn Fn()>;

/// How much slower configs are at other sizes than those they were found for, against tuning these sizes, by distance;
/// and how the cost model's choice compares.
#[test]
#[ignore = "a measurement: run alone, optimised"]
fn how_far_configs_carry() {
    helion::settings::set_cache("off").unwrap();
    let kernels: [(&str, At, Vec<Vec<usize>>); 3] = [
        (
            "scaled",
            |s| {
                let x = Tensor::full([s[0]], 0.5f32);
                Box::new(move || drop(scaled(&x).unwrap()))
            },
            [1000, 3000, 9000, 30_000, 100_000, 300_000, 1_000_000, 4_000_000].map(|n| vec![n]).to_vec(),
        ),
        (
            "softmax",
            |s| {
                let x = Tensor::<f32, 2>::full([s[0], s[1]], 0.5);
                Box::new(move || drop(softmax(&x).unwrap()))
            },
            grid(&[&[10, 65, 500, 3000], &[70, 500, 3000]]),
        ),
        (
            "matmul",
            |s| {
                let (a, b) = (Tensor::<f32, 2>::full([s[0], s[2]], 0.5), Tensor::<f32, 2>::full([s[2], s[1]], 0.5));
                Box::new(move || drop(matmul(&a, &b).unwrap()))
            },
            grid(&[&[60, 300, 1000], &[50, 400], &[70, 500]]),
        ),
    ];
    let mut bands: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for (name, at, shapes) in kernels {
        let tuned: Vec<Tuned> = shapes.iter().map(|s| Tuned::new(at(s))).collect();
        for (i, here) in tuned.iter().enumerate() {
            let mut there: Vec<usize> = (0..tuned.len()).filter(|j| *j != i).collect();
            let far = |j: usize| distance(&shapes[i], &shapes[j]);
            there.sort_by(|a, b| far(*a).total_cmp(&far(*b)));
            let others: Vec<usize> = there.iter().copied().step_by(2).take(5).collect();
            let configs: Vec<&Config> =
                [&here.best, &here.model].into_iter().chain(others.iter().map(|j| &tuned[*j].best)).collect();
            let times = medians(&*here.call, &configs);
            for (j, t) in others.iter().zip(&times[2..]) {
                bands.entry(far(*j).ceil() as u64).or_default().push((t / times[0], times[1] / times[0]));
            }
            let one = |j: usize, t: f64| format!("{:.1}: {:.2}", far(j), t / times[0]);
            let carried: Vec<String> = others.iter().zip(&times[2..]).map(|(j, t)| one(*j, *t)).collect();
            println!("{name} {:?}: model {:.2}, carried {}", shapes[i], times[1] / times[0], carried.join(", "));
        }
    }
    let mean = |v: &mut dyn Iterator<Item = f64>| {
        let logs: Vec<f64> = v.map(f64::ln).collect();
        (logs.iter().sum::<f64>() / logs.len() as f64).exp()
    };
    for (band, v) in &bands {
        let (carried, model) = (mean(&mut v.iter().map(|x| x.0)), mean(&mut v.iter().map(|x| x.1)));
        println!("up to {band} doublings: carried {carried:.3} of the tuned time, model {model:.3}, {} pairs", v.len());
    }
}

fn grid(axes: &[&[usize]]) -> Vec<Vec<usize>> {
    axes.iter().fold(vec![Vec::new()], |all, axis| {
        all.iter().flat_map(|s| axis.iter().map(move |&n| [s.as_slice(), &[n]].concat())).collect()
    })
}

fn distance(a: &[usize], b: &[usize]) -> f64 {
    let wide = |s: &[usize]| s.iter().map(|&n| n as u64).collect::<Vec<_>>();
    helion_autotune::table::distance(&wide(a), &wide(b))
}

/// One shape with its own config, and the cost model's.
struct Tuned {
    call: Box<dyn Fn()>,
    model: Config,
    best: Config,
}

impl Tuned {
    fn new(call: Box<dyn Fn()>) -> Tuned {
        let run = || {
            call();
            Ok(())
        };
        let model = helion::explain(run).unwrap().reports.remove(0).default;
        let best = helion::tune(Effort::Quick, run).unwrap().tunings.remove(0).config;
        Tuned { call, model, best }
    }
}

/// The median seconds of a call with each config, measured in turn.
fn medians(call: &dyn Fn(), configs: &[&Config]) -> Vec<f64> {
    let mut samples = vec![Vec::new(); configs.len()];
    let mut batch = 0;
    for round in 0..32 {
        for (c, s) in configs.iter().zip(&mut samples) {
            helion::with_config(c, || {
                call();
                if batch == 0 {
                    let start = std::time::Instant::now();
                    call();
                    batch = (1e-3 / start.elapsed().as_secs_f64()).clamp(1.0, 200.0) as u32;
                }
                let start = std::time::Instant::now();
                (0..batch).for_each(|_| call());
                if round > 0 {
                    s.push(start.elapsed().as_secs_f64() / f64::from(batch));
                }
            });
        }
    }
    let median = |s: &mut Vec<f64>| {
        s.sort_by(f64::total_cmp);
        s[s.len() / 2]
    };
    samples.iter_mut().map(median).collect()
}

/// What remembering costs launches: in a process that has just begun, and in one that runs.
#[test]
#[ignore = "a measurement: run alone, optimised"]
fn cache_hit_cost() {
    let dir = Folder::new("cost");
    run(&dir.0, "3000", &[("HELION_TUNE", "quick")]);
    let mut cold: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..25 {
        for settings in [&[("HELION_CACHE", "off")][..], &[("HELION_CACHE", "read")], &[]] {
            let out = command("cold", &dir.0, "", settings).output().unwrap();
            for line in String::from_utf8(out.stdout).unwrap().lines() {
                if let Some((what, time)) = line.rsplit_once(' ')
                    && let (true, Ok(time)) =
                        (what.contains("identify") || what.contains("choose"), time.parse::<f64>())
                {
                    cold.entry(what.to_owned()).or_default().push(time / 1e3);
                }
            }
        }
    }
    for (what, times) in &mut cold {
        times.sort_by(f64::total_cmp);
        println!("cold process, {what}: median {:.1} µs of {}", times[times.len() / 2], times.len());
    }
    helion::settings::set_cache_dir(dir.0.to_str().unwrap()).unwrap();
    let x = |n: usize| Tensor::<f32, 1>::zeros([n]);
    let few = [x(3000)];
    let many: Vec<_> = (0..2000).map(|i| x(1500 + i)).collect();
    let pinned = choices(|| scaled(&few[0])).unwrap().remove(0).config;
    let time = |inputs: &[Tensor<f32, 1>]| {
        let calls = 2000 / inputs.len();
        let start = std::time::Instant::now();
        (0..calls).for_each(|_| inputs.iter().for_each(|x| drop(scaled(x).unwrap())));
        start.elapsed().as_secs_f64() / 2000.0 * 1e9
    };
    let mut warm = [const { Vec::new() }; 3];
    for _ in 0..101 {
        warm[0].push(helion::with_config(&pinned, || time(&few)));
        warm[1].push(time(&few));
        warm[2].push(time(&many));
    }
    for (what, times) in ["one size, pinned", "one size, tuned", "2000 sizes in turn"].iter().zip(&mut warm) {
        times.sort_by(f64::total_cmp);
        println!("warm process, {what}: median {:.0} ns a call", times[50]);
    }
}
