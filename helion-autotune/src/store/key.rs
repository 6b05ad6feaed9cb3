//! What a record is about: a kernel, a device, a compiler.
//!
//! In: texts and facts. Out: a [`Key`] with a number of 128 bits made from all of them. Records are found by the
//! number and compared in full, so two keys that share a number are told apart.

use serde::{Deserialize, Serialize};
use std::fmt;
use xxhash_rust::xxh3::Xxh3;

/// Changes when old records should no longer be used; part of every key and of file names.
pub const FORMAT: u32 = 1;

/// Named facts that tell one device from another: model, features, cores, memory, driver.
///
/// Two fingerprints are equal when all facts are, in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(super) Vec<(String, String)>);

impl Fingerprint {
    /// No facts yet.
    pub const fn new() -> Fingerprint {
        Fingerprint(Vec::new())
    }
    /// Adds a fact, or replaces the one with this name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Fingerprint {
        let value = value.to_string();
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, v)) => *v = value,
            None => self.0.push((name.to_owned(), value)),
        }
        self
    }
    /// The value of a fact.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    /// Every fact in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name} {value}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A number made from texts; prints as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub(super) u128);

impl Digest {
    /// The number of these texts, in this order. Where one ends and the next begins counts.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Digest {
        let mut h = Xxh3::new();
        for t in texts {
            h.update(&(t.len() as u64).to_le_bytes());
            h.update(t.as_bytes());
        }
        Digest(h.digest128())
    }
    /// Reads what is printed.
    pub fn parse(text: &str) -> Option<Digest> {
        let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        digits.then(|| u128::from_str_radix(text, 16).ok().map(Digest)).flatten()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names a kernel as specialised, on one device, under one version of the compiler.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "Parts")]
pub struct Key {
    kernel: String,
    content: Digest,
    device: Fingerprint,
    compiler: String,
    digest: Digest,
}

impl Key {
    /// `content` is whatever the best config may depend on: the printed tile IR (helpers are part of it), the space
    /// of configs, facts about arguments. `compiler` is its version.
    pub fn new(kernel: &str, content: &[&str], device: &Fingerprint, compiler: &str) -> Key {
        let content = Digest::of(content.iter().copied());
        Key::from_parts(kernel.to_owned(), content, device.clone(), compiler.to_owned())
    }
    pub(super) fn from_parts(kernel: String, content: Digest, device: Fingerprint, compiler: String) -> Key {
        Key::from(Parts { kernel, content, device, compiler })
    }
    /// The kernel's name.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }
    /// The number of the kernel's content.
    pub fn content(&self) -> Digest {
        self.content
    }
    /// The device.
    pub fn device(&self) -> &Fingerprint {
        &self.device
    }
    /// The compiler's version.
    pub fn compiler(&self) -> &str {
        &self.compiler
    }
    /// The number of everything in the key and the [`FORMAT`].
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {}, compiler {}", self.kernel, self.digest, self.device, self.compiler)
    }
}

/// What a key is made from; the number follows.
#[derive(Deserialize)]
struct Parts {
    kernel: String,
    content: Digest,
    device: Fingerprint,
    compiler: String,
}

impl From<Parts> for Key {
    fn from(Parts { kernel, content, device, compiler }: Parts) -> Key {
        let (number, format) = (content.to_string(), FORMAT.to_string());
        let facts = device.0.iter().flat_map(|(n, v)| [n.as_str(), v.as_str()]);
        let head = [format.as_str(), kernel.as_str(), number.as_str(), compiler.as_str()];
        let digest = Digest::of(head.into_iter().chain(facts));
        Key { kernel, content, device, compiler, digest }
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut s = s.serialize_struct("Key", 4)?;
        s.serialize_field("kernel", &self.kernel)?;
        s.serialize_field("content", &self.content)?;
        s.serialize_field("device", &self.device)?;
        s.serialize_field("compiler", &self.compiler)?;
        s.end()
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(d)?;
        Digest::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a number of 32 hexadecimal digits")))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        super::pairs::serialize(&self.0, s)
    }
}
impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Fingerprint, D::Error> {
        super::pairs::deserialize(d).map(Fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_key_counts() {
        let device = Fingerprint::new().with("cpu", "a").with("cores", 2);
        let key =
            |kernel, content: &[&str], device: &Fingerprint, compiler| Key::new(kernel, content, device, compiler);
        let base = key("softmax", &["tile", "space"], &device, "0.1.0");
        assert_eq!(base.digest(), key("softmax", &["tile", "space"], &device.clone(), "0.1.0").digest());
        let others = [
            key("softmin", &["tile", "space"], &device, "0.1.0"),
            key("softmax", &["tiles", "pace"], &device, "0.1.0"),
            key("softmax", &["tilespace"], &device, "0.1.0"),
            key("softmax", &["tile", "space"], &device.clone().with("cores", 4), "0.1.0"),
            key("softmax", &["tile", "space"], &device, "0.1.1"),
        ];
        let digests: std::collections::BTreeSet<_> = others.iter().chain([&base]).map(Key::digest).collect();
        assert_eq!(digests.len(), others.len() + 1);
        let json = serde_json::to_string(&base).unwrap();
        assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), base);
        assert_eq!(Digest::parse(&base.digest().to_string()), Some(base.digest()));
        assert!(Digest::parse("+0000000000000000000000000000000").is_none() && Digest::parse("").is_none());
    }
}
