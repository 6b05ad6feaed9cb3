//! The `helion` command as a user runs it: what it prints, and its exit codes.

use helion_autotune::store::{Embedded, Fingerprint, Key, Measured, Point, Provenance, Store};
use helion_autotune::{Effort, End, Noise, Timing};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An empty cache folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let dir = std::env::temp_dir().join(format!("helion-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Folder(dir)
    }
    fn store(&self) -> Store {
        Store::open(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the command: its exit code, what it printed, what it complained of.
fn helion(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut c = Command::new(env!("CARGO_BIN_EXE_helion"));
    c.args(arguments).env("HELION_CACHE_DIR", dir).stdin(Stdio::null());
    let out = c.output().expect("the command runs");
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).expect("text");
    (out.status.code().expect("it was not killed"), text(&out.stdout), text(&out.stderr))
}

fn key(kernel: &str, device: &Fingerprint) -> Key {
    Key::new(kernel, &["tile ir"], device, env!("CARGO_PKG_VERSION"))
}

fn point(n: u64, unix: u64) -> Point {
    let measured = |config: &str, seconds| Measured {
        config: config.parse().expect("a config"),
        timing: Timing { seconds, low: seconds * 0.99, high: seconds * 1.01, samples: 31 },
    };
    Point {
        sizes: vec![("n".into(), n)],
        threads: 2,
        winner: measured("block.t=64 unroll=2", 1e-5),
        default: measured("block.t=32", 2e-5),
        runners_up: vec![measured("block.t=128", 1.1e-5)],
        provenance: Provenance {
            unix,
            effort: Effort::Quick,
            seed: 7,
            strategy: "race".into(),
            measured: 48,
            space: 900,
            seconds: 2.5,
            noise: Noise { ratio: 1.01, samples: 31 },
            end: End::Time,
            version: "0.1.0".into(),
        },
    }
}

/// Two records of this device, and one of another.
fn filled(name: &str) -> Folder {
    let dir = Folder::new(name);
    let here = helion::Device::cpu().fingerprint();
    for (kernel, device, n) in [
        ("softmax", here.clone(), 10),
        ("softmax", here.clone(), 20),
        ("matmul", here.clone(), 10),
        ("softmax", here.with("cores", 999), 10),
    ] {
        dir.store().put(&key(kernel, &device), point(n, 1_700_000_000)).expect("a writable folder");
    }
    dir
}

#[test]
fn help_and_mistakes() {
    let dir = Folder::new("help");
    for (arguments, code, expected) in [
        (&["--help"][..], 0, "cache verify"),
        (&["cache", "--help"], 0, "helion cache import FILE"),
        (&["doctor", "-h"], 0, "exit\ncode is 1"),
        (&["--version"], 0, env!("CARGO_PKG_VERSION")),
        (&[], 2, "a command is needed"),
        (&["cash"], 2, "`cash` is not a command"),
        (&["cache"], 2, "needs one of list, show"),
        (&["cache", "lsit"], 2, "`cache` has no `lsit`"),
        (&["cache", "verify", "softmax"], 2, "takes no names"),
        (&["cache", "list", "--output", "x"], 2, "takes no `--output`"),
        (&["cache", "verify", "--here"], 2, "takes no `--here`"),
        (&["cache", "import"], 2, "needs files"),
        (&["cache", "list", "--colour"], 2, "--colour"),
        (&["cache", "list", "--dir"], 2, "--dir"),
        (&["doctor", "cache"], 2, "takes no `cache`"),
    ] {
        let (found, out, err) = helion(&dir.0, arguments);
        assert_eq!(found, code, "{arguments:?}: {out}{err}");
        assert!(format!("{out}{err}").contains(expected), "{arguments:?}: {out}{err}");
        assert_eq!(out.is_empty(), code != 0, "{arguments:?}");
    }
    assert!(!dir.0.exists(), "asking creates nothing");
}

#[test]
fn records_are_listed_and_shown() {
    let dir = filled("list");
    let (code, out, _) = helion(&dir.0, &["cache", "list"]);
    assert_eq!((code, out.lines().count()), (0, 5), "{out}");
    assert!(out.contains("3 records") && out.contains("2 of them for this device") && out.contains("2.00x"), "{out}");
    assert_eq!(helion(&dir.0, &["cache", "list", "--here"]).1.lines().count(), 4);
    let (code, out, _) = helion(&dir.0, &["cache", "show", "matmul"]);
    assert_eq!(code, 0);
    for expected in
        ["n=10, 2 threads: 10.00 µs (2.00x", "block.t=128", "found 2023-11-14 by `race`", "48 of 900", "used      here"]
    {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    let digits = key("matmul", &helion::Device::cpu().fingerprint()).digest().to_string();
    assert_eq!(helion(&dir.0, &["cache", "show", &digits[..8]]).1, out);
    assert!(helion(&dir.0, &["cache", "show", "--here", "softmax"]).1.contains("n=20"));
    let (code, _, err) = helion(&dir.0, &["cache", "show", "sotfmax"]);
    assert!(code == 1 && err.contains("no record of `sotfmax`"), "{err}");
    let empty = Folder::new("list-empty");
    let (code, out, _) = helion(&empty.0, &["cache", "list"]);
    assert!(code == 0 && out.starts_with("no records in"), "{out}");
    let (code, _, err) = helion(Path::new("off"), &["cache", "list"]);
    assert!(code == 1 && err.contains("HELION_CACHE_DIR is `off`"), "{err}");
}

#[test]
fn what_is_exported_can_be_imported_and_embedded() {
    let (dir, other) = (filled("export"), Folder::new("import"));
    let (code, text, _) = helion(&dir.0, &["cache", "export"]);
    assert_eq!(code, 0);
    assert_eq!(Embedded::new(text.clone().leak()).records().expect("an exported text").len(), 3);
    let file = dir.0.join("tuned.json");
    let name = file.to_str().expect("a name");
    let (code, out, _) = helion(&dir.0, &["cache", "export", "softmax", "--here", "-o", name]);
    assert!(code == 0 && out.starts_with("1 records in"), "{out}");
    let (code, out, err) = helion(&other.0, &["cache", "import", name]);
    assert!(code == 0 && out.contains("1 records, 1 of them for this device and version; 2 of 2 points"), "{out}{err}");
    let (_, out, _) = helion(&other.0, &["cache", "import", name]);
    assert!(out.contains("0 of 2 points"), "{out}");
    assert_eq!(helion(&other.0, &["cache", "export"]).1, std::fs::read_to_string(&file).expect("the file"));
    std::fs::write(&file, text.replacen("unroll=2", "unrol=2", 1)).expect("a writable file");
    let (code, _, err) = helion(&other.0, &["cache", "import", name]);
    assert!(code == 1 && err.contains("tuned.json: line ") && err.contains("`unrol` is not a knob"), "{err}");
    let (code, _, err) = helion(&other.0, &["cache", "import", "no/such/file"]);
    assert!(code == 1 && err.contains("no/such/file"), "{err}");
}

#[test]
fn damage_is_found_and_records_are_removed() {
    let dir = filled("verify");
    let (code, out, _) = helion(&dir.0, &["cache", "verify"]);
    assert!(code == 0 && out.contains("3 good records, 0 damaged"), "{out}");
    let path = dir.store().list().expect("a readable folder")[0].path.clone();
    let bytes = std::fs::read(&path).expect("a record");
    std::fs::write(&path, &bytes[..bytes.len() - 9]).expect("a writable folder");
    let (code, out, _) = helion(&dir.0, &["cache", "verify"]);
    assert!(code == 1 && out.contains("damaged: ") && out.contains("cut off"), "{out}");
    let (code, out, err) = helion(&dir.0, &["cache", "list"]);
    assert!(code == 0 && out.contains("2 records") && err.contains("cut off"), "{out}{err}");
    let (code, out, _) = helion(&dir.0, &["doctor"]);
    assert!(code == 1 && out.contains("problem: 1 damaged records"), "{out}");
    let (code, out, _) = helion(&dir.0, &["cache", "clear", "softmax", "--here"]);
    assert!(code == 0 && out.starts_with("1 records removed"), "{out}");
    let (code, out, _) = helion(&dir.0, &["cache", "clear"]);
    assert!(code == 0 && out.starts_with("2 records removed"), "{out}");
    assert!(helion(&dir.0, &["cache", "list"]).1.starts_with("no records"));
}

#[test]
fn the_doctor_looks_at_this_machine() {
    let dir = filled("doctor");
    let (code, out, err) = helion(&dir.0, &["doctor"]);
    assert_eq!(code, 0, "{out}{err}");
    for expected in [
        "processor",
        "features",
        "threads",
        "GPU",
        "3, 2 of them for this device",
        "writable",
        "right result",
        "all is well",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    // A folder that cannot be made is a problem, and one that is not there yet is not.
    let file = dir.0.join("file");
    std::fs::write(&file, "x").expect("a writable folder");
    let (code, out, _) = helion(&file, &["doctor"]);
    assert!(code == 1 && out.contains("problem: the cache folder cannot be read"), "{out}");
    let (code, out, _) = helion(&dir.0.join("later"), &["doctor"]);
    assert!(code == 0 && out.contains("not there yet"), "{out}");
    let (code, out, _) = helion(Path::new("off"), &["doctor"]);
    assert!(code == 0 && out.contains("hint: tuning results are lost"), "{out}");
}
