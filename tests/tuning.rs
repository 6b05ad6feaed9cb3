//! Tuning by settings, seen from outside: what processes do under `HELION_TUNE` and `HELION_CACHE`, and what they leave
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

fn command(dir: &Path, sizes: &str, settings: &[(&str, &str)]) -> Command {
    let mut c = Command::new(std::env::current_exe().unwrap());
    c.args(["--exact", "child", "--ignored", "--nocapture"]).env("SIZES", sizes).env("HELION_CACHE_DIR", dir);
    c.env_remove("HELION_TUNE").env_remove("HELION_CACHE").envs(settings.iter().copied());
    c.stdout(Stdio::piped()).stderr(Stdio::piped());
    c
}

fn run(dir: &Path, sizes: &str, settings: &[(&str, &str)]) -> (String, String) {
    texts(command(dir, sizes, settings).output().unwrap())
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
    let start = || command(&dir.0, "3000", &[("HELION_TUNE", "quick")]).spawn().unwrap();
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
