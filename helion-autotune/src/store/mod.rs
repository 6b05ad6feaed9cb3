//! What tuning found, remembered on disk for later processes.
//!
//! In: a folder. A [`Store`] keeps one [`Record`] for each [`Key`]: the kernel's content, the device, the compiler.
//! Out: what was put, or nothing. **A `put` that returned `Ok` is found by every later `get`, until it is replaced or
//! removed**, whatever happens to any process after; and what `get` returns was put, bit for bit.
//!
//! # Why plain files
//!
//! There are some hundred small records, each read once by a process and written once in a while, by any number
//! of processes that know nothing of each other. An embedded database is made for more: it wants one opener or
//! a shared memory file, recovers after a crash before it can be read, keeps all records in one file that can go bad
//! as a whole, and cannot be read from a folder that may not be written. With one plain file for each key, reading
//! is opening one file, takes no lock, and damage stays with one record. Replacing a file atomically is what every
//! file system offers: write beside it, sync, rename, sync the folder. The cost is a write of some milliseconds,
//! after a search of seconds.
//!
//! # Files
//!
//! | name | what |
//! |---|---|
//! | `<key>.v1.record` | a record: a line with format, checksum and length, then JSON. Another format has another name, so versions side by side do not touch each other's files |
//! | `<key>.v1.record.damaged`, `.future` | what stood in a record's place when it was written anew |
//! | `<key>.claim` | locked by the process that tunes the key |
//! | `<key>.<sizes>.v1.journal` | what a search has measured so far |
//! | `lock` | locked while a record is written |
//! | `new` | the record that is being written |
//!
//! Readers never write. Writers hold `lock`, so reading, merging and replacing a record is one step. Locks are the
//! system's and go with their process; what a killed process leaves is at most a `new`, which the next writer
//! overwrites.
//!
//! # What can be wrong
//!
//! Truncated, changed, foreign, later, oversized files, folders and pipes in their place, folders that cannot be
//! read: each is reported once in a process and treated as a miss. A disk that is full or may not be
//! written makes `put` return an error and leaves the old record. The checksum is against accidents; who may
//! write the folder may choose configs, all of which compute the same.

mod error;
mod export;
mod file;
mod journal;
mod key;
mod lock;
mod pairs;
mod record;
#[cfg(test)]
mod samples;

pub use error::{Damage, Problem, StoreError};
pub use export::{Embedded, ImportError, export, import};
pub use journal::Journal;
pub use key::{Digest, FORMAT, Fingerprint, Key};
pub use lock::{Claim, Guard};
pub use record::{Measured, Point, Provenance, Record};

use error::At as _;
use lock::Lock;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// How long a writer waits for other writers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hears of damaged files.
type Reporter = Arc<dyn Fn(&Problem) + Send + Sync>;

/// A folder of records. Cheap to make: nothing is opened, read or created before it is needed.
#[derive(Clone)]
pub struct Store {
    dir: PathBuf,
    writes: bool,
    reporter: Option<Reporter>,
}

/// A record as [`Store::list`] gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What it is about.
    pub key: Key,
    /// What it says.
    pub record: Record,
    /// Its file.
    pub path: PathBuf,
    /// The file's size.
    pub bytes: u64,
}

/// What [`Store::verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many records are good.
    pub good: usize,
    /// Every damaged record.
    pub problems: Vec<Problem>,
    /// Damaged or later files that were set aside when their record was written anew.
    pub aside: Vec<PathBuf>,
    /// Records of other formats; not looked into.
    pub other_formats: usize,
    /// Files that no store writes.
    pub strangers: Vec<PathBuf>,
}

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Record,
    OtherFormat,
    Aside,
    Claim,
    Journal,
    /// `lock` and `new`.
    Work,
    Stranger,
}

impl Store {
    /// The records in a folder, which is created by the first write.
    pub fn open(dir: impl Into<PathBuf>) -> Store {
        Store { dir: dir.into(), writes: true, reporter: None }
    }
    /// The records in a folder; nothing is ever written, created or locked.
    pub fn read_only(dir: impl Into<PathBuf>) -> Store {
        Store { dir: dir.into(), writes: false, reporter: None }
    }
    /// Damaged files are told to this instead of standard error; each file once in a process.
    #[must_use]
    pub fn reporting(mut self, to: impl Fn(&Problem) + Send + Sync + 'static) -> Store {
        self.reporter = Some(Arc::new(to));
        self
    }
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// Whether records may be written.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// What is remembered under a key. Takes no lock.
    pub fn get(&self, key: &Key) -> Option<Record> {
        let path = self.record_path(key);
        match self.read(&path, key) {
            Ok(record) => record,
            Err(damage) => {
                self.report(Problem { path, damage });
                None
            }
        }
    }

    /// Adds a point to the record of a key; it replaces the one with equal sizes and threads. Returns when it is safe on disk.
    ///
    /// # Errors
    /// It is not remembered; what was remembered before still is.
    pub fn put(&self, key: &Key, point: Point) -> Result<(), StoreError> {
        self.update(key, |record| {
            record.insert(point);
            1
        })
        .map(drop)
    }

    /// Adds all points of a record to that of a key. Where both have one with equal sizes and threads, the later found
    /// stays.
    /// Returns how many were taken.
    ///
    /// # Errors
    /// As [`put`](Store::put): all or nothing.
    pub fn merge(&self, key: &Key, points: &Record) -> Result<usize, StoreError> {
        self.update(key, |record| {
            let later =
                |p: &Point| record.at(&p.sizes, p.threads).is_none_or(|own| own.provenance.unix < p.provenance.unix);
            let taken: Vec<Point> = points.points.iter().filter(|p| later(p)).cloned().collect();
            let count = taken.len();
            taken.into_iter().for_each(|p| record.insert(p));
            count
        })
    }

    /// Forgets a key; whether there was something.
    ///
    /// # Errors
    /// It may still be there.
    pub fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        let Some(_lock) = self.lock_existing()? else { return Ok(false) };
        let path = self.record_path(key);
        let there = path.symlink_metadata().is_ok();
        if there {
            remove_any(&path)?;
            file::sync_folder(&self.dir)?;
        }
        Ok(there)
    }

    /// Removes every record of this format, what was set aside, journals, and claims nobody holds. Files that no
    /// store of this format writes stay. Returns how many records there were.
    ///
    /// # Errors
    /// Some may still be there.
    pub fn clear(&self) -> Result<usize, StoreError> {
        let Some(_lock) = self.lock_existing()? else { return Ok(0) };
        let mut count = 0;
        for (path, kind) in self.files()? {
            match kind {
                Kind::Record => {
                    remove_any(&path)?;
                    count += 1;
                }
                Kind::Aside | Kind::Journal => remove_any(&path)?,
                // Dropping a claim that could be made removes its file.
                Kind::Claim => drop(lock::claim(&path, Duration::ZERO)?),
                Kind::Work | Kind::OtherFormat | Kind::Stranger => {}
            }
        }
        file::sync_folder(&self.dir)?;
        Ok(count)
    }

    /// Every good record, by kernel; damaged ones are reported.
    ///
    /// # Errors
    /// When the folder cannot be read. A folder that does not exist is empty.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        for (path, _) in self.files()?.into_iter().filter(|(_, kind)| *kind == Kind::Record) {
            match self.look(&path) {
                Ok(Some(listed)) => found.push(listed),
                Ok(None) => {}
                Err(damage) => self.report(Problem { path, damage }),
            }
        }
        found.sort_by(|a, b| (a.key.kernel(), a.key.digest()).cmp(&(b.key.kernel(), b.key.digest())));
        Ok(found)
    }

    /// Reads every file and tells which are damaged.
    ///
    /// # Errors
    /// When the folder cannot be read. A folder that does not exist is empty.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        let mut v = Verified::default();
        for (path, kind) in self.files()? {
            match kind {
                Kind::Record => match self.look(&path) {
                    Ok(Some(_)) => v.good += 1,
                    Ok(None) => {}
                    Err(damage) => v.problems.push(Problem { path, damage }),
                },
                Kind::Aside => v.aside.push(path),
                Kind::OtherFormat => v.other_formats += 1,
                Kind::Stranger => v.strangers.push(path),
                Kind::Claim | Kind::Journal | Kind::Work => {}
            }
        }
        Ok(v)
    }

    /// Asks to be the only one who tunes a key, among all threads and processes that use the folder. Does not wait.
    ///
    /// # Errors
    /// The folder cannot be written or locked.
    pub fn claim(&self, key: &Key) -> Result<Claim, StoreError> {
        self.claim_within(key, Duration::ZERO)
    }

    /// As [`claim`](Store::claim), but waits for another's claim to end, at most this long.
    ///
    /// # Errors
    /// As [`claim`](Store::claim).
    pub fn claim_within(&self, key: &Key, limit: Duration) -> Result<Claim, StoreError> {
        self.writable()?;
        file::create_folder(&self.dir)?;
        lock::claim(&self.dir.join(format!("{}.claim", key.digest())), limit)
    }

    /// Reads, changes and writes a record in one step.
    fn update(&self, key: &Key, change: impl FnOnce(&mut Record) -> usize) -> Result<usize, StoreError> {
        self.writable()?;
        file::create_folder(&self.dir)?;
        let _lock = Lock::within(&self.dir.join("lock"), PATIENCE)?;
        let path = self.record_path(key);
        let (mut record, damage) = match self.read(&path, key) {
            Ok(record) => (record.unwrap_or_default(), None),
            // It may be good; it is not ours to replace.
            Err(Damage::Unreadable(why)) => return Err(std::io::Error::other(why)).at("reading", &path),
            Err(damage) => (Record::default(), Some(damage)),
        };
        let changed = change(&mut record);
        if changed == 0 {
            return Ok(0);
        }
        let bytes = file::encode(key, &record)?;
        if let Some(damage) = damage {
            file::set_aside(&path, &damage)?;
            self.report(Problem { path: path.clone(), damage });
        }
        file::replace(&path, &self.dir.join("new"), &bytes)?;
        Ok(changed)
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.writes { Ok(()) } else { Err(StoreError::ReadOnly) }
    }

    /// The lock of writers; `None` when there is no folder.
    fn lock_existing(&self) -> Result<Option<Lock>, StoreError> {
        self.writable()?;
        if self.dir.is_dir() { Lock::within(&self.dir.join("lock"), PATIENCE).map(Some) } else { Ok(None) }
    }

    fn record_path(&self, key: &Key) -> PathBuf {
        self.dir.join(format!("{}.v{FORMAT}.record", key.digest()))
    }

    fn read(&self, path: &Path, key: &Key) -> Result<Option<Record>, Damage> {
        match file::read(path)? {
            Some((found, record)) if found == *key => Ok(Some(record)),
            Some(_) => Err(Damage::OtherKey),
            None => Ok(None),
        }
    }

    /// A file found in the folder; `None` when it has gone since.
    fn look(&self, path: &Path) -> Result<Option<Listed>, Damage> {
        let Some((key, record)) = file::read(path)? else { return Ok(None) };
        if self.record_path(&key) != *path {
            return Err(Damage::OtherKey);
        }
        let bytes = fs::metadata(path).map_or(0, |m| m.len());
        Ok(Some(Listed { key, record, path: path.to_owned(), bytes }))
    }

    /// What is in the folder, by name.
    fn files(&self) -> Result<Vec<(PathBuf, Kind)>, StoreError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).at("reading", &self.dir),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.at("reading", &self.dir)?.path();
            let kind = kind(path.file_name().unwrap_or_default());
            found.push((path, kind));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Tells of a damaged file, unless it was told of before.
    fn report(&self, problem: Problem) {
        static TOLD: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
        if !TOLD.lock().unwrap_or_else(|e| e.into_inner()).insert(problem.path.clone()) {
            return;
        }
        match &self.reporter {
            Some(reporter) => reporter(&problem),
            None => eprintln!("warning: a tuning record is not used: {problem}"),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).field("writes", &self.writes).finish_non_exhaustive()
    }
}

/// What a name says; see the table above.
fn kind(name: &OsStr) -> Kind {
    let Some(name) = name.to_str() else { return Kind::Stranger };
    if matches!(name, "lock" | "new") {
        return Kind::Work;
    }
    let Some((digest, rest)) = name.split_once('.') else { return Kind::Stranger };
    if Digest::parse(digest).is_none() {
        return Kind::Stranger;
    }
    if rest == "claim" {
        return Kind::Claim;
    }
    if rest.ends_with(&format!(".v{FORMAT}.journal")) {
        return Kind::Journal;
    }
    let Some((version, rest)) = rest.split_once('.') else { return Kind::Stranger };
    let version = version.strip_prefix('v').and_then(|v| v.parse::<u32>().ok());
    match (version, rest.strip_prefix("record")) {
        (Some(FORMAT), Some("")) => Kind::Record,
        (Some(_), Some("")) => Kind::OtherFormat,
        (Some(FORMAT), Some(_)) => Kind::Aside,
        (Some(_) | None, _) => Kind::Stranger,
    }
}

/// Removes a file, or a folder in its place.
fn remove_any(path: &Path) -> Result<(), StoreError> {
    let is_folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) }.at("removing", path)
}

#[cfg(test)]
mod tests;
