//! What a search has measured so far, so that one that was stopped can go on.
//!
//! In: trials, as they are made. Out: those of an earlier search for the same key, sizes and threads that did not
//! finish. A journal is a file that lines are added to, each with a checksum of its own: a torn or damaged line
//! loses itself and no other. Times of another day are not compared with today's: an old journal begins anew.
//!
//! One process at a time should write: hold the [`Claim`](super::Claim) of the key.

use super::error::{At as _, StoreError};
use super::file;
use super::key::{Digest, FORMAT, Key};
use super::{Store, pairs};
use crate::{Rejection, Timing, Trial};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::xxh3_64;

/// The oldest journal that is resumed, in seconds.
const OLDEST: u64 = 24 * 60 * 60;
/// More bytes than any journal has.
const LARGEST: u64 = 64 << 20;
/// What proposed a trial that was read from a journal.
const ORIGIN: &str = "journal";

/// The journal of a search under way.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

/// The first line.
#[derive(PartialEq, Serialize, Deserialize)]
struct Head {
    key: Key,
    #[serde(with = "pairs")]
    sizes: Vec<(String, u64)>,
    threads: u32,
    unix: u64,
}

/// A trial as a line: with a timing, or with a kind of rejection and why.
#[derive(Serialize, Deserialize)]
struct Line {
    config: String,
    timing: Option<Timing>,
    rejected: Option<(String, String)>,
    predicted: Option<f64>,
    at: f64,
}

impl Store {
    /// The journal of a search, and what an earlier one for the same key, sizes and threads left.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn journal(
        &self,
        key: &Key,
        sizes: &[(String, u64)],
        threads: u32,
    ) -> Result<(Journal, Vec<Trial>), StoreError> {
        self.writable()?;
        file::create_folder(&self.dir)?;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let head = Head { key: key.clone(), sizes: sizes.to_vec(), threads, unix };
        let place = serde_json::to_string(&(sizes, threads)).map_err(|e| StoreError::Invalid(e.to_string()))?;
        let path = self.dir.join(format!("{}.{}.v{FORMAT}.journal", key.digest(), Digest::of([place.as_str()])));
        let bytes = match file::bytes(&path, LARGEST) {
            Ok(bytes) => bytes.unwrap_or_default(),
            // Something else in its place cannot be resumed; whether it can be replaced is seen below.
            Err(_) => Vec::new(),
        };
        let trials = resume(&bytes, &head);
        let file = OpenOptions::new().create(true).append(true).open(&path).at("opening", &path)?;
        let mut journal = Journal { file, path };
        match &trials {
            // What was torn ends here.
            Some(_) if bytes.last() != Some(&b'\n') => journal.write("\n".into())?,
            Some(_) => {}
            None => {
                journal.file.set_len(0).at("emptying", &journal.path)?;
                journal.write(line(&head)?)?;
            }
        }
        Ok((journal, trials.unwrap_or_default()))
    }
}

impl Journal {
    /// Adds a trial. It stays when the process is killed; it may be lost when the power goes.
    ///
    /// # Errors
    /// It may not be there; what was added before is.
    pub fn append(&mut self, trial: &Trial) -> Result<(), StoreError> {
        let (timing, rejected) = match &trial.result {
            Ok(timing) => (Some(*timing), None),
            Err(why) => (None, Some((why.kind().to_owned(), reason(why)))),
        };
        let config = trial.config.to_string();
        self.write(line(&Line { config, timing, rejected, predicted: trial.predicted, at: trial.at })?)
    }

    /// Removes the journal, since the search has ended.
    ///
    /// # Errors
    /// It is still there.
    pub fn finish(self) -> Result<(), StoreError> {
        match fs::remove_file(&self.path) {
            // Somebody cleared the cache.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.at("removing", &self.path),
        }
    }

    /// One write for a line, so that lines do not mix.
    fn write(&mut self, line: String) -> Result<(), StoreError> {
        self.file.write_all(line.as_bytes()).at("writing", &self.path)
    }
}

fn line(value: &impl Serialize) -> Result<String, StoreError> {
    let json = serde_json::to_string(value).map_err(|e| StoreError::Invalid(e.to_string()))?;
    Ok(format!("{:016x} {json}\n", xxh3_64(json.as_bytes())))
}

/// The trials in a journal; `None` when it is not about the same, or too old.
fn resume(bytes: &[u8], head: &Head) -> Option<Vec<Trial>> {
    let mut lines = bytes.split(|b| *b == b'\n').filter_map(checked);
    let found: Head = serde_json::from_str(lines.next()?).ok()?;
    let age = head.unix.checked_sub(found.unix)?;
    let same = age < OLDEST && Head { unix: head.unix, ..found } == *head;
    same.then(|| lines.filter_map(|l| trial(serde_json::from_str(l).ok()?)).collect())
}

/// The text of a line whose checksum fits.
fn checked(line: &[u8]) -> Option<&str> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (sum.len() == 16 && u64::from_str_radix(sum, 16).ok()? == xxh3_64(json.as_bytes())).then_some(json)
}

fn trial(line: Line) -> Option<Trial> {
    let result = match (line.timing, line.rejected) {
        (Some(timing), None) => Ok(timing),
        (None, Some((kind, why))) => Err(rejection(&kind, why)?),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let config = line.config.parse().ok()?;
    Some(Trial { config, result, predicted: line.predicted, origin: ORIGIN, at: line.at })
}

fn reason(why: &Rejection) -> String {
    match why {
        Rejection::Illegal(s)
        | Rejection::Compile(s)
        | Rejection::Wrong(s)
        | Rejection::Failed(s)
        | Rejection::Crashed(s) => s.clone(),
        Rejection::Same(config) => config.to_string(),
        Rejection::Hung(time) => time.as_secs_f64().to_string(),
    }
}

/// Reads what [`Rejection::kind`] and [`reason`] give.
fn rejection(kind: &str, why: String) -> Option<Rejection> {
    Some(match kind {
        "illegal" => Rejection::Illegal(why),
        "same" => Rejection::Same(why.parse().ok()?),
        "compile" => Rejection::Compile(why),
        "wrong" => Rejection::Wrong(why),
        "failed" => Rejection::Failed(why),
        "crashed" => Rejection::Crashed(why),
        "hung" => Rejection::Hung(Duration::try_from_secs_f64(why.parse().ok()?).ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples;
    use crate::store::tests::Folder;

    fn trials() -> Vec<Trial> {
        let config = |n| samples::point(n).winner.config;
        let outs = [
            Rejection::Illegal("needs 9 registers\nof 8".into()),
            Rejection::Same(config(3)),
            Rejection::Compile("no".into()),
            Rejection::Wrong("0.1 instead of 0.2".into()),
            Rejection::Failed(String::new()),
            Rejection::Crashed("signal 11".into()),
            Rejection::Hung(Duration::from_millis(1500)),
        ];
        let good = (0..5).map(|n| Ok(samples::point(n).winner.timing));
        let all = good.chain(outs.into_iter().map(Err)).enumerate();
        let trial = |(i, result)| Trial {
            config: config(i as u64),
            result,
            predicted: (i % 2 == 0).then_some(1e-6 / 3.0),
            origin: ORIGIN,
            at: i as f64 * 0.1,
        };
        all.map(trial).collect()
    }

    #[test]
    fn a_search_goes_on_where_it_was_stopped() {
        let dir = Folder::new("journal");
        let store = Store::open(&dir.0);
        let (key, sizes) = (samples::key(1), samples::point(1).sizes);
        let all = trials();
        let (mut j, before) = store.journal(&key, &sizes, 2).unwrap();
        assert_eq!(before, []);
        all[..6].iter().for_each(|t| j.append(t).unwrap());
        drop(j);
        let (mut j, before) = store.journal(&key, &sizes, 2).unwrap();
        assert_eq!(before, all[..6]);
        all[6..].iter().for_each(|t| j.append(t).unwrap());
        let path = j.path.clone();
        drop(j);
        // Other sizes and threads have their own.
        assert_eq!(store.journal(&key, &sizes[..1], 2).unwrap().1, []);
        assert_eq!(store.journal(&key, &sizes, 1).unwrap().1, []);
        // Every torn end, and every damaged line, loses one trial at most.
        let bytes = fs::read(&path).unwrap();
        let head = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
        for cut in (head..bytes.len()).step_by(7) {
            fs::write(&path, &bytes[..cut]).unwrap();
            let (mut j, found) = store.journal(&key, &sizes, 2).unwrap();
            // A line that lacks only its end is whole.
            let whole = bytes[head..=cut].iter().filter(|b| **b == b'\n').count();
            assert_eq!(found, all[..whole], "{cut}");
            j.append(&all[11]).unwrap();
            let found = store.journal(&key, &sizes, 2).unwrap().1;
            assert_eq!((found.len(), found.last()), (whole + 1, all.last()), "{cut}");
        }
        for i in (0..bytes.len()).step_by(5) {
            let mut bad = bytes.clone();
            bad[i] ^= 4;
            fs::write(&path, &bad).unwrap();
            let found = store.journal(&key, &sizes, 2).unwrap().1;
            let lost = all.len() - found.len();
            assert!(if i < head { found.is_empty() } else { (1..=2).contains(&lost) }, "{i}: {lost} lost");
            assert!(found.iter().all(|t| all.contains(t)));
        }
        let (j, _) = store.journal(&key, &sizes, 2).unwrap();
        j.finish().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_about_the_same_begins_anew() {
        let dir = Folder::new("journal-anew");
        let store = Store::open(&dir.0);
        let (key, sizes) = (samples::key(1), samples::point(1).sizes);
        let (mut j, _) = store.journal(&key, &sizes, 2).unwrap();
        j.append(&trials()[0]).unwrap();
        let good = fs::read_to_string(&j.path).unwrap();
        let unix = good.split("\"unix\":").nth(1).unwrap().split('}').next().unwrap();
        let head = |unix: u64, key: Key| line(&Head { key, sizes: sizes.clone(), threads: 2, unix }).unwrap();
        let now: u64 = unix.parse().unwrap();
        let rest = good.split_once('\n').unwrap().1;
        for (first, expected) in [
            (head(now, key.clone()), 1),
            (head(now - OLDEST - 5, key.clone()), 0),
            (head(now + 1000, key.clone()), 0),
            (head(now, samples::key(2)), 0),
            ("nonsense\n".into(), 0),
        ] {
            fs::write(&j.path, format!("{first}{rest}")).unwrap();
            assert_eq!(store.journal(&key, &sizes, 2).unwrap().1.len(), expected, "{first}");
        }
        assert!(matches!(Store::read_only(&dir.0).journal(&key, &sizes, 2), Err(StoreError::ReadOnly)));
        fs::remove_file(&j.path).unwrap();
        fs::create_dir(&j.path).unwrap();
        assert!(matches!(store.journal(&key, &sizes, 2), Err(StoreError::Io { .. })));
    }
}
