//! Locks between processes and threads, and claims on keys.
//!
//! A lock is the system's advisory lock on an open file: it goes with its process, however that ends. A forked process
//! shares open files with its parent. So a lock is unlocked by hand when dropped, and not only closed, or it would
//! last as long as the child; and the child's copy does nothing when dropped, or it would take the parent's lock away.

use super::error::{At as _, StoreError};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A lock that is held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// The process that made it.
    owner: u32,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = self.file.unlock();
        }
    }
}

impl Lock {
    /// Of a file that was just locked.
    fn of(file: File) -> Lock {
        Lock { file, owner: std::process::id() }
    }
    fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }
    /// Locks a file, made if needed; waits for others at most this long.
    pub(super) fn within(path: &Path, limit: Duration) -> Result<Lock, StoreError> {
        let begin = Instant::now();
        let mut pause = Duration::from_micros(50);
        loop {
            if let Some(lock) = Lock::now(path)? {
                return Ok(lock);
            }
            if begin.elapsed() >= limit {
                return Err(StoreError::Busy(path.to_owned()));
            }
            std::thread::sleep(pause);
            // Seldom enough to leave the processor alone, often enough not to be passed by.
            pause = (pause * 2).min(Duration::from_millis(2));
        }
    }

    /// Locks a file, made if needed, unless another holds it.
    pub(super) fn now(path: &Path) -> Result<Option<Lock>, StoreError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock::of(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e).at("locking", path),
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).at("opening", path)
}

/// Who tunes a key.
#[derive(Debug)]
pub enum Claim {
    /// This one, until the guard is dropped or its process ends. What was found in the meantime should be looked up
    /// once more before a search.
    Mine(Guard),
    /// Another one; wait, or do without.
    Other {
        /// Its process, if it could be read.
        process: Option<u32>,
    },
}

/// Holds a claim.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    /// Dropped after the file is removed.
    lock: Lock,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Removed while it is locked: who opened it before finds that it is no longer in its place.
        if cfg!(unix) && self.lock.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Claims by locking this file; waits for another's claim at most this long.
pub(super) fn claim(path: &Path, limit: Duration) -> Result<Claim, StoreError> {
    let begin = Instant::now();
    loop {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => {
                let mut lock = Lock::of(file);
                if !in_place(&lock.file, path) {
                    continue;
                }
                // For people and messages only; a full disk does not matter.
                let _ = lock.file.set_len(0).and_then(|()| writeln!(lock.file, "{}", lock.owner));
                return Ok(Claim::Mine(Guard { path: path.to_owned(), lock }));
            }
            Err(TryLockError::WouldBlock) if begin.elapsed() >= limit => {
                let mut text = String::new();
                let _ = (&file).take(32).read_to_string(&mut text);
                return Ok(Claim::Other { process: text.trim().parse().ok() });
            }
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(Duration::from_millis(10).min(limit));
            }
            Err(TryLockError::Error(e)) => return Err(e).at("locking", path),
        }
    }
}

/// Whether an open file is still the one under its name.
#[cfg(unix)]
fn in_place(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
}

/// Elsewhere claims stay in their place.
#[cfg(not(unix))]
fn in_place(_: &File, _: &Path) -> bool {
    true
}
