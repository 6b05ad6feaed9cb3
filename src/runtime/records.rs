//! What tuning found, remembered in this process and on disk.
//!
//! One small text file for each kernel, in the folder of the `cache_dir` setting; its last line is a
//! checksum of all before it. Files are written beside their place, synced, and renamed, so a reader sees
//! an old file, a new one, or none. A file that cannot be read, parsed, or does not match in every respect is
//! treated as absent. A record only ever chooses between configs that are all correct.

use crate::settings;
use helion_ir::config::Config;
use helion_ir::target::Target;
use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// Changes when old records should no longer be used.
const FORMAT: &str = "helion tuning record 1";
/// More than any record has.
const LARGEST: u64 = 64 << 10;

/// Names a kernel as specialised, on one device, under one version of this compiler.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    kernel: String,
    hash: String,
    device: String,
}

impl Id {
    pub(super) fn new(kernel: &str, tile_ir: &str, target: &Target) -> Id {
        let t = target;
        let device = format!(
            "{}, {} cores, caches {} {} {}, version {}",
            t.name,
            t.cores,
            t.l1_bytes,
            t.l2_bytes,
            t.l3_bytes,
            env!("CARGO_PKG_VERSION")
        );
        let hash = hash(&[tile_ir, &device]);
        Id { kernel: kernel.to_owned(), hash, device: device.replace('\n', " ") }
    }

    fn file(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.tuning", self.hash))
    }
}

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) config: Config,
    /// Seconds of one launch with the config, and with the default.
    pub(super) seconds: f64,
    pub(super) default_seconds: f64,
    pub(super) tried: usize,
}

fn known() -> &'static Mutex<HashMap<Id, Option<Config>>> {
    static KNOWN: OnceLock<Mutex<HashMap<Id, Option<Config>>>> = OnceLock::new();
    KNOWN.get_or_init(Default::default)
}

/// The best config known for a kernel; looks on disk once in a process.
pub(super) fn best(id: &Id) -> Option<Config> {
    let mut known = known().lock().unwrap_or_else(|e| e.into_inner());
    if let Some(c) = known.get(id) {
        return c.clone();
    }
    let config = settings::cache_dir().and_then(|dir| load(&dir, id)).map(|r| r.config);
    known.insert(id.clone(), config.clone());
    config
}

/// Remembers a result, in this process and on disk. A disk that cannot be written is said once.
pub(super) fn remember(id: &Id, record: &Record) {
    known().lock().unwrap_or_else(|e| e.into_inner()).insert(id.clone(), Some(record.config.clone()));
    let Some(dir) = settings::cache_dir() else { return };
    if let Err(e) = store(&dir, id, record) {
        static SAID: std::sync::Once = std::sync::Once::new();
        SAID.call_once(|| eprintln!("warning: tuning results cannot be remembered in {}: {e}", dir.display()));
    }
}

fn text(id: &Id, r: &Record) -> String {
    let body = format!(
        "{FORMAT}\nkernel {}\nhash {}\ndevice {}\nconfig {}\nseconds {:e}\ndefault {:e}\ntried {}\n",
        id.kernel, id.hash, id.device, r.config, r.seconds, r.default_seconds, r.tried
    );
    let sum = hash(&[&body]);
    format!("{body}checksum {sum}\n")
}

fn parse(text: &str, id: &Id) -> Option<Record> {
    let end = text.rfind("checksum ")?;
    let (body, sum) = text.split_at(end);
    if sum.strip_prefix("checksum ")?.strip_suffix('\n')? != hash(&[body]) {
        return None;
    }
    let mut lines = body.lines();
    let mut field = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned);
    // The first line is `FORMAT` split at its first space.
    let (head, rest) = FORMAT.split_once(' ')?;
    let same = field(head)? == rest
        && field("kernel")? == id.kernel
        && field("hash")? == id.hash
        && field("device")? == id.device;
    if !same {
        return None;
    }
    let config = field("config")?.parse().ok()?;
    let seconds = field("seconds")?.parse().ok().filter(|s: &f64| s.is_finite())?;
    let default_seconds = field("default")?.parse().ok().filter(|s: &f64| s.is_finite())?;
    let tried = field("tried")?.parse().ok()?;
    lines.next().is_none().then_some(Record { config, seconds, default_seconds, tried })
}

fn load(dir: &Path, id: &Id) -> Option<Record> {
    let path = id.file(dir);
    let meta = fs::metadata(&path).ok()?;
    if !meta.is_file() || meta.len() > LARGEST {
        return None;
    }
    parse(&fs::read_to_string(path).ok()?, id)
}

fn store(dir: &Path, id: &Id, record: &Record) -> std::io::Result<()> {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    fs::create_dir_all(dir)?;
    let n = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let temporary = dir.join(format!("{}.{}.{n}.new", id.hash, std::process::id()));
    let written = (|| {
        let mut f = fs::File::create(&temporary)?;
        f.write_all(text(id, record).as_bytes())?;
        f.sync_all()?;
        fs::rename(&temporary, id.file(dir))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// 128 bits of FNV-1a over the texts and their lengths, as hexadecimal digits. Not against attackers: who can
/// write the folder can choose a slow config at worst.
fn hash(texts: &[&str]) -> String {
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
    let mut h: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for t in texts {
        for b in t.bytes().chain((t.len() as u64).to_le_bytes()) {
            h = (h ^ u128::from(b)).wrapping_mul(PRIME);
        }
    }
    format!("{h:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Id, Record) {
        let id = Id { kernel: "softmax".into(), hash: hash(&["tile"]), device: "x86-64, 2 cores".into() };
        let config: Config = "block.tm=4 unroll=2".parse().unwrap();
        (id, Record { config, seconds: 1.25e-5, default_seconds: 2e-5, tried: 37 })
    }

    #[test]
    fn records_round_trip() {
        let (id, r) = sample();
        assert_eq!(parse(&text(&id, &r), &id), Some(r.clone()));
        let dir = std::env::temp_dir().join(format!("helion-records-{}", std::process::id()));
        assert_eq!(load(&dir, &id), None);
        store(&dir, &id, &r).unwrap();
        store(&dir, &id, &r).unwrap();
        assert_eq!(load(&dir, &id), Some(r));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing temporary stays");
        fs::write(id.file(&dir), b"\xff\xfe").unwrap();
        assert_eq!(load(&dir, &id), None);
        fs::remove_file(id.file(&dir)).unwrap();
        fs::create_dir(id.file(&dir)).unwrap();
        assert_eq!(load(&dir, &id), None);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn damaged_records_are_absent() {
        let (id, r) = sample();
        let good = text(&id, &r);
        for cut in 0..good.len() {
            assert_eq!(parse(&good[..cut], &id), None, "{cut}");
        }
        for i in 0..good.len() {
            for bit in 0..7 {
                let mut bytes = good.clone().into_bytes();
                bytes[i] ^= 1 << bit;
                assert_eq!(String::from_utf8(bytes).ok().and_then(|t| parse(&t, &id)), None, "{i} {bit}");
            }
        }
        assert_eq!(parse(&format!("{good}{good}"), &id), None);
        let (other, _) = (Id { kernel: "other".into(), ..id.clone() }, ());
        assert_eq!(parse(&good, &other), None);
        // A right checksum does not help what makes no sense.
        for (from, to) in [("unroll=2", "unroll=99"), ("1.25e-5", "NaN"), ("record 1", "record 2"), ("tried", "tired")]
        {
            let body = good[..good.rfind("checksum").unwrap()].replace(from, to);
            assert_eq!(parse(&format!("{body}checksum {}\n", hash(&[&body])), &id), None);
        }
    }
}
