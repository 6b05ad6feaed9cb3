//! Record files: bytes and their checks, reading, replacing, and setting damaged ones aside.
//!
//! A file is one line, `helion tuning record <format> <checksum> <bytes>`, and a JSON document of exactly that many
//! bytes with that checksum. What [`decode`] returns was written by [`encode`], bit for bit.

use super::error::{At as _, Damage, StoreError};
use super::key::{Digest, FORMAT, Key};
use super::record::Record;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// More bytes than any record may have.
pub(super) const LARGEST: u64 = 4 << 20;
/// How a record begins.
const MAGIC: &str = "helion tuning record ";

/// The document in a file.
#[derive(Serialize)]
struct Out<'a> {
    key: &'a Key,
    record: &'a Record,
}
#[derive(Deserialize)]
struct In {
    key: Key,
    record: Record,
}

/// The bytes of a file.
pub(super) fn encode(key: &Key, record: &Record) -> Result<Vec<u8>, StoreError> {
    record.check().map_err(StoreError::Invalid)?;
    let body = serde_json::to_string(&Out { key, record }).map_err(|e| StoreError::Invalid(e.to_string()))?;
    let bytes = format!("{MAGIC}{FORMAT} {} {}\n{body}", checksum(&body), body.len()).into_bytes();
    if bytes.len() as u64 > LARGEST { Err(StoreError::TooLarge(bytes.len() as u64)) } else { Ok(bytes) }
}

/// The content of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<(Key, Record), Damage> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(Damage::Foreign)?;
    let end = rest.iter().take(80).position(|b| *b == b'\n').ok_or(Damage::Foreign)?;
    let head = std::str::from_utf8(&rest[..end]).map_err(|_| Damage::Foreign)?;
    let body = &rest[end + 1..];
    let mut words = head.split(' ');
    let format: u32 = words.next().and_then(|w| w.parse().ok()).ok_or(Damage::Foreign)?;
    if format > FORMAT {
        return Err(Damage::Future(format));
    }
    let (Some(sum), Some(length), None) = (words.next(), words.next(), words.next()) else {
        return Err(Damage::Foreign);
    };
    if length != body.len().to_string() {
        return Err(Damage::Length);
    }
    let body = std::str::from_utf8(body).map_err(|_| Damage::Checksum)?;
    if sum != checksum(body).to_string() || format != FORMAT {
        return Err(Damage::Checksum);
    }
    let In { key, record } = serde_json::from_str(body).map_err(|e| Damage::Content(e.to_string()))?;
    record.check().map_err(Damage::Content)?;
    Ok((key, record))
}

fn checksum(body: &str) -> Digest {
    Digest(xxh3_128(body.as_bytes()))
}

/// The record in a file; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<(Key, Record)>, Damage> {
    bytes(path, LARGEST)?.map(|b| decode(&b)).transpose()
}

/// The bytes of a plain file of at most this size; `None` when there is none.
pub(super) fn bytes(path: &Path, largest: u64) -> Result<Option<Vec<u8>>, Damage> {
    let unreadable = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => Ok(None),
        _ => Err(Damage::Unreadable(e.to_string())),
    };
    // Asked before it is opened: opening a pipe would wait for its other end.
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        // A link to nowhere is something in the place of a file.
        Err(e) if e.kind() == ErrorKind::NotFound && path.is_symlink() => return Err(Damage::NotAFile),
        Err(e) => return unreadable(e),
    };
    if !facts.is_file() {
        return Err(Damage::NotAFile);
    }
    if facts.len() > largest {
        return Err(Damage::TooLarge(facts.len()));
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) => return unreadable(e),
    };
    let mut bytes = Vec::with_capacity(facts.len() as usize + 1);
    match file.take(largest + 1).read_to_end(&mut bytes) {
        Ok(n) if n as u64 > largest => Err(Damage::TooLarge(n as u64)),
        Ok(_) => Ok(Some(bytes)),
        Err(e) => unreadable(e),
    }
}

/// Puts these bytes in a file's place; when it returns, they stay even if the power goes. `temporary` is in the same
/// folder and ours alone.
pub(super) fn replace(path: &Path, temporary: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = (|| {
        let mut f = File::create(temporary).at("creating", temporary)?;
        f.write_all(bytes).at("writing", temporary)?;
        f.sync_all().at("writing", temporary)?;
        fs::rename(temporary, path).at("renaming to", path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes renames and removals in a folder last.
pub(super) fn sync_folder(dir: &Path) -> Result<(), StoreError> {
    // Elsewhere folders cannot be opened, and the file system keeps its own order.
    if cfg!(unix) {
        File::open(dir).and_then(|d| d.sync_all()).at("syncing", dir)?;
    }
    Ok(())
}

/// Makes a folder and those above it, to last.
pub(super) fn create_folder(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).at("creating", dir)?;
    // How many of them are new is not known; syncing a few more does no harm. Some folders above cannot be opened, and
    // were there before.
    for above in dir.ancestors().skip(1).take(4).filter(|a| !a.as_os_str().is_empty()) {
        let _ = sync_folder(above);
    }
    Ok(())
}

/// Names that a set-aside file may take, until one is free.
const ASIDE: usize = 9;

/// Moves what is in a record's place to a name beside it, `.damaged` or `.future`, so that nothing is overwritten.
pub(super) fn set_aside(path: &Path, damage: &Damage) -> Result<(), StoreError> {
    let ending = if matches!(damage, Damage::Future(_)) { "future" } else { "damaged" };
    let name = |n: usize| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        if n > 0 {
            name.push(n.to_string());
        }
        name.into()
    };
    let free = (0..ASIDE).map(name).find(|p| p.symlink_metadata().is_err());
    // With all names taken, the last is given up, unless it is a folder with things in it.
    let to = free.unwrap_or_else(|| name(ASIDE - 1));
    fs::rename(path, &to).at("setting aside", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples;

    #[test]
    fn files_round_trip_and_say_what_is_wrong() {
        let (key, record) = (samples::key(1), Record { points: vec![samples::point(3), samples::point(5)] });
        let good = encode(&key, &record).unwrap();
        assert_eq!(decode(&good), Ok((key.clone(), record)));
        let text = String::from_utf8(good.clone()).unwrap();
        assert_eq!(decode(b"{}"), Err(Damage::Foreign));
        assert_eq!(decode(&good[..good.len() - 1]), Err(Damage::Length));
        assert_eq!(decode(text.replacen("record 1", "record 7", 1).as_bytes()), Err(Damage::Future(7)));
        assert_eq!(decode(text.replacen("softmax", "softmin", 1).as_bytes()), Err(Damage::Checksum));
        // A right checksum does not help what makes no sense.
        let (_, body) = text.split_once('\n').unwrap();
        for (from, to) in [("unroll=2", "unroll=99"), ("winner", "loser"), ("\"seconds\":", "\"seconds\":-")] {
            let body = body.replace(from, to);
            let bytes = format!("{MAGIC}1 {} {}\n{body}", checksum(&body), body.len());
            assert!(matches!(decode(bytes.as_bytes()), Err(Damage::Content(_))), "{from}");
        }
    }

    #[test]
    fn no_flip_and_no_cut_goes_unseen() {
        let good = encode(&samples::key(1), &Record { points: vec![samples::point(3)] }).unwrap();
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "{cut}");
        }
        for i in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[i] ^= 1 << bit;
                assert!(decode(&bytes).is_err(), "{i} {bit}");
            }
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let mut p = samples::point(1);
            p.winner.timing.seconds = bad;
            let e = encode(&samples::key(1), &Record { points: vec![p] }).unwrap_err();
            assert!(e.to_string().contains("points[0].winner.timing.seconds"), "{e}");
        }
    }
}
