//! Requests and answers as bytes.
//!
//! A message is its length (four bytes) and its body. Numbers are little-endian, texts and lists have
//! their length before them. Reading takes anything: what makes no sense is `None`.

use super::engine::{Answer, Item, Request};
use helion_autotune::{Id, Rejection};
use helion_ir::config::Config;
use std::time::Duration;

/// More than any message has.
pub(super) const LARGEST: usize = 16 << 20;

/// The bytes of a message, with its length.
pub(super) fn message(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    put(&mut out);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    out
}

pub(super) fn number(out: &mut Vec<u8>, n: u64) {
    out.extend(n.to_le_bytes());
}

pub(super) fn text(out: &mut Vec<u8>, t: &str) {
    number(out, t.len() as u64);
    out.extend(t.as_bytes());
}

pub(super) fn flag(out: &mut Vec<u8>, f: bool) {
    out.push(u8::from(f));
}

pub(super) fn list<V>(out: &mut Vec<u8>, items: &[V], mut put: impl FnMut(&mut Vec<u8>, &V)) {
    number(out, items.len() as u64);
    items.iter().for_each(|i| put(out, i));
}

pub(super) fn config(out: &mut Vec<u8>, c: &Config) {
    text(out, &c.to_string());
}

fn rejection(out: &mut Vec<u8>, r: &Rejection) {
    match r {
        Rejection::Illegal(t) => (out.push(1), text(out, t)),
        Rejection::Same(c) => (out.push(2), config(out, c)),
        Rejection::Compile(t) => (out.push(3), text(out, t)),
        Rejection::Wrong(t) => (out.push(4), text(out, t)),
        Rejection::Failed(t) => (out.push(5), text(out, t)),
        Rejection::Crashed(t) => (out.push(6), text(out, t)),
        Rejection::Hung(d) => (out.push(7), number(out, d.as_nanos() as u64)),
    };
}

fn result<V>(out: &mut Vec<u8>, r: &Result<V, Rejection>, put: impl FnOnce(&mut Vec<u8>, &V)) {
    match r {
        Ok(v) => {
            out.push(0);
            put(out, v);
        }
        Err(r) => rejection(out, r),
    }
}

pub(super) fn option<V>(out: &mut Vec<u8>, o: Option<&V>, put: impl FnOnce(&mut Vec<u8>, &V)) {
    out.push(u8::from(o.is_some()));
    if let Some(v) = o {
        put(out, v);
    }
}

impl Request {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Request::Expect(configs) => {
                out.push(1);
                list(out, configs, config);
            }
            Request::Prepare { items, alone } => {
                out.extend([2, u8::from(*alone)]);
                list(out, items, |out, i| {
                    number(out, i.id.0.into());
                    config(out, &i.config);
                    out.push(u8::from(i.fresh));
                });
            }
            Request::Sample(ids) => {
                out.push(3);
                list(out, ids, |out, i| number(out, i.0.into()));
            }
            Request::Verify(id) => {
                out.push(4);
                number(out, id.0.into());
            }
            Request::Forget(id) => {
                out.push(5);
                number(out, id.0.into());
            }
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Request> {
        let mut r = Reader(bytes);
        let request = match r.byte()? {
            1 => Request::Expect(r.list(Reader::config)?),
            2 => {
                let alone = r.flag()?;
                let item = |r: &mut Reader<'_>| Some(Item { id: r.id()?, config: r.config()?, fresh: r.flag()? });
                Request::Prepare { alone, items: r.list(item)? }
            }
            3 => Request::Sample(r.list(Reader::id)?),
            4 => Request::Verify(r.id()?),
            5 => Request::Forget(r.id()?),
            _ => return None,
        };
        r.0.is_empty().then_some(request)
    }
}

impl Answer {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Answer::Ready(Ok(())) => out.push(1),
            Answer::Ready(Err(why)) => {
                out.push(2);
                text(out, why);
            }
            Answer::Prepared(name, r) => {
                out.push(3);
                option(out, name.as_ref(), |out, n| out.extend(n.to_le_bytes()));
                result(out, r, |_, ()| ());
            }
            Answer::Sampled(results) => {
                out.push(4);
                list(out, results, |out, r| result(out, r, |out, s| number(out, s.to_bits())));
            }
            Answer::Verified(r) => {
                out.push(5);
                result(out, r, |out, why| option(out, why.as_ref(), |out, t| text(out, t)));
            }
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Answer> {
        let mut r = Reader(bytes);
        let answer = match r.byte()? {
            1 => Answer::Ready(Ok(())),
            2 => Answer::Ready(Err(r.text()?)),
            3 => {
                let name = r.option(|r| Some(u128::from_le_bytes(r.take(16)?.try_into().ok()?)))?;
                Answer::Prepared(name, r.result(|_| Some(()))?)
            }
            4 => Answer::Sampled(r.list(|r| r.result(|r| r.number().map(f64::from_bits)))?),
            5 => Answer::Verified(r.result(|r| r.option(Reader::text))?),
            _ => return None,
        };
        r.0.is_empty().then_some(answer)
    }
}

/// Bytes that are still to be read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }
    pub(super) fn flag(&mut self) -> Option<bool> {
        self.byte().filter(|b| *b < 2).map(|b| b == 1)
    }
    pub(super) fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
    fn id(&mut self) -> Option<Id> {
        Some(Id(self.number()?.try_into().ok()?))
    }
    pub(super) fn text(&mut self) -> Option<String> {
        let n = self.number()?.try_into().ok()?;
        String::from_utf8(self.take(n)?.to_vec()).ok()
    }
    pub(super) fn config(&mut self) -> Option<Config> {
        self.text()?.parse().ok()
    }
    pub(super) fn list<V>(&mut self, mut item: impl FnMut(&mut Self) -> Option<V>) -> Option<Vec<V>> {
        let n = self.number()?;
        // No item takes less than a byte.
        if n > self.0.len() as u64 {
            return None;
        }
        (0..n).map(|_| item(self)).collect()
    }
    pub(super) fn option<V>(&mut self, item: impl FnOnce(&mut Self) -> Option<V>) -> Option<Option<V>> {
        if self.flag()? { item(self).map(Some) } else { Some(None) }
    }
    fn result<V>(&mut self, item: impl FnOnce(&mut Self) -> Option<V>) -> Option<Result<V, Rejection>> {
        Some(Err(match self.byte()? {
            0 => return item(self).map(Ok),
            1 => Rejection::Illegal(self.text()?),
            2 => Rejection::Same(self.config()?),
            3 => Rejection::Compile(self.text()?),
            4 => Rejection::Wrong(self.text()?),
            5 => Rejection::Failed(self.text()?),
            6 => Rejection::Crashed(self.text()?),
            7 => Rejection::Hung(Duration::from_nanos(self.number()?)),
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_nonsense_does_not() {
        let config: Config = "block.tm=4 unroll=2".parse().unwrap();
        let item = Item { id: Id(3), config: config.clone(), fresh: true };
        let requests = [
            Request::Expect(vec![config.clone(), Config::new()]),
            Request::Prepare { items: vec![item.clone(), item], alone: true },
            Request::Sample(vec![Id(1), Id(0)]),
            Request::Verify(Id(7)),
            Request::Forget(Id(8)),
        ];
        let reasons = [
            Rejection::Illegal("a".into()),
            Rejection::Same(config),
            Rejection::Compile("b".into()),
            Rejection::Wrong("é".into()),
            Rejection::Failed(String::new()),
            Rejection::Crashed("c".into()),
            Rejection::Hung(Duration::from_millis(5)),
        ];
        let mut answers: Vec<Answer> =
            reasons.iter().map(|r| Answer::Prepared(Some(u128::MAX / 3), Err(r.clone()))).collect();
        answers.extend([
            Answer::Ready(Ok(())),
            Answer::Ready(Err("no".into())),
            Answer::Prepared(None, Ok(())),
            Answer::Sampled(vec![Ok(1.5e-6), Err(reasons[4].clone())]),
            Answer::Verified(Ok(Some("too large".into()))),
            Answer::Verified(Err(reasons[3].clone())),
        ]);
        for r in requests {
            let bytes = message(|out| r.write(out));
            assert_eq!(Request::read(&bytes[4..]), Some(r));
            (4..bytes.len()).for_each(|cut| assert_eq!(Request::read(&bytes[4..cut]), None));
        }
        for a in answers {
            let bytes = message(|out| a.write(out));
            assert_eq!(Answer::read(&bytes[4..]), Some(a));
            (4..bytes.len()).for_each(|cut| assert_eq!(Answer::read(&bytes[4..cut]), None));
        }
        assert_eq!(Answer::read(&[4, 255, 255, 255, 255, 255, 255, 255, 255]), None);
    }
}
