//! What can be wrong with a store: damage found while reading, and what keeps it from writing.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a file is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Something that is not a plain file is in its place.
    NotAFile,
    /// It is larger than any record.
    TooLarge(u64),
    /// The system does not let it be read.
    Unreadable(String),
    /// It does not begin as a record does.
    Foreign,
    /// It is of a later format.
    Future(u32),
    /// It has fewer or more bytes than it says.
    Length,
    /// Its checksum does not fit its content.
    Checksum,
    /// Its content makes no sense, although the checksum fits.
    Content(String),
    /// It is the record of another kernel, device or compiler.
    OtherKey,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::NotAFile => f.write_str("not a plain file"),
            Damage::TooLarge(bytes) => write!(f, "{bytes} bytes, larger than any record"),
            Damage::Unreadable(why) => write!(f, "cannot be read: {why}"),
            Damage::Foreign => f.write_str("not a tuning record"),
            Damage::Future(v) => write!(f, "of format {v}, which a later version wrote"),
            Damage::Length => f.write_str("cut off, or longer than it was written"),
            Damage::Checksum => f.write_str("changed since it was written: the checksum does not fit"),
            Damage::Content(why) => write!(f, "the content makes no sense: {why}"),
            Damage::OtherKey => f.write_str("the record of something else"),
        }
    }
}

/// A damaged file; it is treated as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub damage: Damage,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.damage)
    }
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// What was to be remembered makes no sense.
    #[error("not remembered, since it makes no sense: {0}")]
    Invalid(String),
    /// The record would be larger than what is read back.
    #[error("the record would take {0} bytes, more than are read back; remove old points first")]
    TooLarge(u64),
    /// Other processes held the lock all the time.
    #[error("{} is locked by other processes for too long", .0.display())]
    Busy(PathBuf),
    /// The system refused.
    #[error("{doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Names the place and the deed of a system error.
pub(super) trait At<V> {
    fn at(self, doing: &'static str, path: &std::path::Path) -> Result<V, StoreError>;
}

impl<V> At<V> for io::Result<V> {
    fn at(self, doing: &'static str, path: &std::path::Path) -> Result<V, StoreError> {
        self.map_err(|error| StoreError::Io { doing, path: path.to_owned(), error })
    }
}
