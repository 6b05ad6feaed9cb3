//! Records as one text that can be committed, read by people, and embedded in a program.
//!
//! In: records. Out: a JSON document with format and version first, records in the order of kernel and key, points in
//! the order of their sizes: the same records give the same text, and a change of one point is a change of a few
//! lines. It has no checksum, since people may edit it; what is read is checked for sense instead.
//!
//! # Which records are used
//!
//! A text may hold records of any device and any compiler. A record is used where its whole key is equal: kernel,
//! content, device and compiler. The others are kept, so that one text serves several machines and is not thinned out
//! by reading and writing it on one of them; they choose nothing.

use super::key::{Digest, Key};
use super::record::{Point, Record};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::OnceLock;

/// What the text calls itself.
const NAME: &str = "helion tuning table";
/// Its version.
const VERSION: u32 = 1;

/// Why a text cannot be imported: what, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It is not JSON, or lacks something.
    #[error("line {line}, column {column}: {what}")]
    Text {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// It is JSON, but something else.
    #[error("not a tuning table: expected `\"format\": \"{NAME}\"`, found `{0}`")]
    Foreign(String),
    /// A later version wrote it.
    #[error("version {0} of the tuning table; this one reads version {VERSION}. Export it again, or update helion")]
    Version(u32),
    /// A value makes no sense.
    #[error("{0}")]
    Content(String),
}

#[derive(Serialize)]
struct Out<'a> {
    format: &'a str,
    version: u32,
    records: Vec<OutEntry<'a>>,
}
#[derive(Serialize)]
struct OutEntry<'a> {
    #[serde(flatten)]
    key: &'a Key,
    points: &'a [Point],
}

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}
#[derive(Deserialize)]
struct In {
    records: Vec<InEntry>,
}
#[derive(Deserialize)]
struct InEntry {
    kernel: String,
    content: Digest,
    device: super::Fingerprint,
    compiler: String,
    points: Vec<Point>,
}

/// The text of some records.
pub fn export<'a>(records: impl IntoIterator<Item = (&'a Key, &'a Record)>) -> String {
    let mut records: Vec<OutEntry<'_>> =
        records.into_iter().map(|(key, r)| OutEntry { key, points: &r.points }).collect();
    records.sort_by(|a, b| (a.key.kernel(), a.key.digest()).cmp(&(b.key.kernel(), b.key.digest())));
    let document = Out { format: NAME, version: VERSION, records };
    // Nothing in a record fails to become JSON: keys of objects are strings, and a number that is none becomes `null`.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// The records in a text.
///
/// # Errors
/// What is wrong and where. Nothing is imported then.
pub fn import(text: &str) -> Result<Vec<(Key, Record)>, ImportError> {
    let wrong = |e: serde_json::Error| {
        let (line, column) = (e.line(), e.column());
        let what = e.to_string();
        let what = what.split(" at line ").next().unwrap_or_default().to_owned();
        ImportError::Text { line, column, what }
    };
    let head: Head = serde_json::from_str(text).map_err(wrong)?;
    if head.format != NAME {
        return Err(ImportError::Foreign(head.format));
    }
    if head.version != VERSION {
        return Err(ImportError::Version(head.version));
    }
    let document: In = serde_json::from_str(text).map_err(wrong)?;
    let mut found: Vec<(Key, Record)> = Vec::new();
    let mut seen: HashMap<Digest, usize> = HashMap::new();
    for (i, InEntry { kernel, content, device, compiler, points }) in document.records.into_iter().enumerate() {
        let wrong = |what: String| ImportError::Content(format!("records[{i}] (`{kernel}`): {what}"));
        // People may have put points in another order, or merged two texts.
        let mut record = Record::default();
        for (n, p) in points.into_iter().enumerate() {
            p.check().map_err(|e| wrong(format!("points[{n}]{e}")))?;
            if record.at(&p.sizes, p.threads).is_some() {
                return Err(wrong(format!("points[{n}]: an earlier point has the same sizes and threads")));
            }
            record.insert(p);
        }
        let key = Key::from_parts(kernel.clone(), content, device, compiler);
        if let Some(earlier) = seen.insert(key.digest(), i) {
            return Err(wrong(format!("the same key as records[{earlier}]; put their points into one")));
        }
        found.push((key, record));
    }
    Ok(found)
}

/// An exported text that is part of the program.
///
/// ```
/// use helion_autotune::store::Embedded;
/// static TUNED: Embedded = Embedded::new(r#"{ "format": "helion tuning table", "version": 1, "records": [] }"#);
/// assert!(TUNED.records().unwrap().is_empty());
/// ```
///
/// The text is mostly `include_str!("tuned.json")`. It is read when it is first asked for something.
#[derive(Debug)]
pub struct Embedded {
    text: &'static str,
    records: OnceLock<Result<HashMap<Key, Record>, ImportError>>,
}

impl Embedded {
    /// Embeds what [`export`] gave.
    pub const fn new(text: &'static str) -> Embedded {
        Embedded { text, records: OnceLock::new() }
    }
    /// Every record.
    ///
    /// # Errors
    /// Why the text cannot be read. A test in the program should ask this.
    pub fn records(&self) -> Result<&HashMap<Key, Record>, &ImportError> {
        self.records.get_or_init(|| import(self.text).map(|r| r.into_iter().collect())).as_ref()
    }
    /// The record of a key; `None` also when the text cannot be read.
    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.records().ok()?.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples;

    fn text() -> String {
        let record = |n: &[u64]| {
            let mut r = Record::default();
            n.iter().for_each(|n| r.insert(samples::point(*n)));
            r
        };
        let all = [(samples::key(1), record(&[5, 3])), (samples::key(2), record(&[])), (samples::key(3), record(&[7]))];
        let forward = export(all.iter().map(|(k, r)| (k, r)));
        assert_eq!(forward, export(all.iter().rev().map(|(k, r)| (k, r))), "the order does not depend on the caller");
        let mut back = import(&forward).unwrap();
        back.sort_by_key(|(k, _)| all.iter().position(|(key, _)| key == k));
        assert_eq!(back, all);
        assert_eq!(export(back.iter().map(|(k, r)| (k, r))), forward);
        forward
    }

    #[test]
    fn texts_round_trip_and_read_well() {
        let text = text();
        assert!(text.starts_with("{\n  \"format\": \"helion tuning table\",\n  \"version\": 1,\n"), "{text}");
        assert!(text.contains("\"config\": \"block.tm=8 unroll=2\"") && text.contains("\"x.0\": 3"), "{text}");
    }

    #[test]
    fn errors_say_what_and_where() {
        let text = text();
        let check = |from: &str, to: &str, expected: &str| {
            assert!(text.contains(from), "{from}");
            let e = import(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(e.contains(expected), "{e}");
        };
        check("\"version\": 1", "\"version\": 2", "version 2 of the tuning table; this one reads version 1");
        check(NAME, "a shopping list", "found `a shopping list`");
        check("unroll=2", "unrol=2", "`unrol` is not a knob");
        check("unroll=2", "unrol=2", "line ");
        check("unroll=2", "unroll=99", "the values of `unroll`");
        check("\"winner\"", "\"loser\"", "missing field `winner`");
        check("\"records\": [", "\"records\": [,", "line 4, column 15");
        check("\"records\": [", "<<<<<<< HEAD\n  \"records\": [", "line 4, column 3");
        check("\"seconds\": ", "\"seconds\": -", "points[0].winner.timing.seconds: -");
        check("\"x.0\": 5", "\"x.0\": 3", "points[1]: an earlier point has the same sizes");
        let key = |n| samples::key(n).content().to_string();
        check(&key(3), &key(1), "the same key as records[");
        check("\"effort\": \"quick\"", "\"effort\": \"slow\"", "slow");
        assert!(
            import("").is_err() && import("[]").is_err() && import("{}").unwrap_err().to_string().contains("format")
        );
    }

    #[test]
    fn embedded_texts_are_read_once() {
        static BAD: Embedded = Embedded::new("{");
        assert!(BAD.get(&samples::key(1)).is_none() && BAD.records().is_err());
        let good = Embedded::new(text().leak());
        assert_eq!(good.get(&samples::key(1)).unwrap().points.len(), 2);
        assert!(good.get(&samples::key(9)).is_none());
    }
}
