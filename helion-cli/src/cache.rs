//! The `cache` commands: listing, showing, exporting, importing, verifying and removing records.

use crate::{Done, Failure};
use helion_autotune::store::{self, Key, Listed, Measured, Point, Record, Store};
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// How many digits of a key are shown; enough to tell records apart.
const DIGITS: usize = 12;

/// Which records are meant.
#[derive(Clone, Copy)]
pub struct Chosen<'a> {
    /// Names of kernels, or first digits of keys; all records when empty.
    pub names: &'a [&'a str],
    /// Only those that are used here.
    pub here: bool,
}

/// The cache folder.
pub fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    given.map(Path::to_owned).or_else(helion::settings::cache_dir).ok_or_else(|| {
        Failure::wrong("there is no cache folder: HELION_CACHE_DIR is `off`, or there is no home. `--dir` names one")
    })
}

/// Whether records of a key are used on this device, by this version.
pub fn is_here(key: &Key) -> bool {
    *key.device() == helion::Device::cpu().fingerprint() && key.compiler() == env!("CARGO_PKG_VERSION")
}

impl Chosen<'_> {
    fn has(&self, key: &Key) -> bool {
        let digits = key.digest().to_string();
        let named = |n: &&str| key.kernel() == *n || (n.len() >= 4 && digits.starts_with(*n));
        (self.names.is_empty() || self.names.iter().any(named)) && (!self.here || is_here(key))
    }

    /// The chosen records. A name that means none is a mistake.
    fn records(&self, store: &Store) -> Result<Vec<Listed>, Failure> {
        let all = store.list().map_err(Failure::wrong)?;
        for name in self.names {
            let one = Chosen { names: &[name], here: false };
            if !all.iter().any(|r| one.has(&r.key)) {
                let dir = store.dir().display();
                return Err(Failure::Wrong(format!(
                    "no record of `{name}` in {dir}: it is neither the name of a kernel nor the beginning of a key. `helion cache list` shows what there is"
                )));
            }
        }
        Ok(all.into_iter().filter(|r| self.has(&r.key)).collect())
    }
}

/// One line for each record.
pub fn list(dir: &Path, chosen: Chosen<'_>) -> Result<Done, Failure> {
    let records = chosen.records(&Store::read_only(dir))?;
    if records.is_empty() {
        return Ok(format!("no records in {}\n", dir.display()).into());
    }
    let width = records.iter().map(|r| r.key.kernel().chars().count()).max().unwrap_or(0).max(6);
    let mut out = format!("{:<DIGITS$}  {:<width$}  {:>6}  {:>8}  for\n", "key", "kernel", "points", "gain");
    for r in &records {
        let digits = r.key.digest().to_string();
        let points = &r.record.points;
        // The geometric mean, so that one odd size does not decide.
        let gain = points.iter().map(|p| p.gain().ln()).sum::<f64>() / points.len().max(1) as f64;
        let place = place(&r.key);
        let (kernel, count, gain) = (r.key.kernel(), points.len(), gain.exp());
        let _ = writeln!(out, "{:<DIGITS$}  {kernel:<width$}  {count:>6}  {gain:>7.2}x  {place}", &digits[..DIGITS]);
    }
    let here = records.iter().filter(|r| is_here(&r.key)).count();
    let _ = writeln!(out, "{} records in {}, {here} of them for this device and version", records.len(), dir.display());
    Ok(out.into())
}

/// Where a record is used.
fn place(key: &Key) -> String {
    if is_here(key) {
        return "this device".into();
    }
    let model = key.device().get("model").unwrap_or("another device");
    format!("{model}, helion {}", key.compiler())
}

/// Everything that records say.
pub fn show(dir: &Path, chosen: Chosen<'_>) -> Result<Done, Failure> {
    let mut out = String::new();
    for r in chosen.records(&Store::read_only(dir))? {
        let _ = writeln!(
            out,
            "{}\n  key       {}\n  file      {}, {} bytes",
            r.key.kernel(),
            r.key.digest(),
            r.path.display(),
            r.bytes
        );
        let _ = writeln!(
            out,
            "  used      {}",
            if is_here(&r.key) { "here" } else { "not here: another device or version" }
        );
        let _ = writeln!(out, "  device    {}\n  compiler  helion {}", r.key.device(), r.key.compiler());
        for p in &r.record.points {
            show_point(&mut out, p);
        }
        out.push('\n');
    }
    if out.is_empty() {
        out = format!("no records in {}\n", dir.display());
    }
    Ok(out.into())
}

fn show_point(out: &mut String, p: &Point) {
    let _ = writeln!(out, "  {p}");
    let mut line = |name: &str, m: &Measured| {
        let t = m.timing;
        let (s, lo, hi) = (t.seconds * 1e6, t.low * 1e6, t.high * 1e6);
        let _ = writeln!(out, "    {name:<9} {s:>10.2} µs ({lo:.2} to {hi:.2}, {} samples)  {}", t.samples, m.config);
    };
    line("winner", &p.winner);
    line("default", &p.default);
    p.runners_up.iter().for_each(|m| line("runner-up", m));
    let v = &p.provenance;
    let _ = writeln!(
        out,
        "    found {} by `{}`, effort {:?}, seed {}: {} of {} configs in {:.1} s; equal kernels differed by {:.1} %; helion {}",
        day(v.unix),
        v.strategy,
        v.effort,
        v.seed,
        v.measured,
        v.space,
        v.seconds,
        (v.noise.ratio - 1.0) * 100.0,
        v.version
    );
}

/// A date of the Gregorian calendar, in UTC.
fn day(unix: u64) -> String {
    // Years begin in March here, so that the leap day is the last one. 719468 days before 1970 one such era began.
    let days = unix / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{date:02}", year + era * 400 + u64::from(month <= 2))
}

/// The chosen records as one text.
pub fn export(dir: &Path, chosen: Chosen<'_>, output: Option<&Path>) -> Result<Done, Failure> {
    let records = chosen.records(&Store::read_only(dir))?;
    let text = store::export(records.iter().map(|r| (&r.key, &r.record)));
    let Some(path) = output else { return Ok(text.into()) };
    std::fs::write(path, text).map_err(|e| Failure::Wrong(format!("writing {}: {e}", path.display())))?;
    Ok(format!("{} records in {}\n", records.len(), path.display()).into())
}

/// Adds the records of some texts. A text that cannot be read adds nothing, and those after it are not read.
pub fn import(dir: &Path, files: &[&str]) -> Result<Done, Failure> {
    if files.is_empty() {
        return Err(Failure::Usage("`cache import` needs files; `-` is standard input".into()));
    }
    let store = Store::open(dir);
    let mut out = String::new();
    for file in files {
        let text = if *file == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            std::fs::read_to_string(file)
        };
        let text = text.map_err(|e| Failure::Wrong(format!("reading {file}: {e}")))?;
        let records: Vec<(Key, Record)> = store::import(&text).map_err(|e| Failure::Wrong(format!("{file}: {e}")))?;
        let (mut taken, mut points, mut here) = (0, 0, 0);
        for (key, record) in &records {
            taken += store.merge(key, record).map_err(Failure::wrong)?;
            points += record.points.len();
            here += usize::from(is_here(key));
        }
        let _ = writeln!(
            out,
            "{file}: {} records, {here} of them for this device and version; {taken} of {points} points were new or later",
            records.len()
        );
    }
    Ok(out.into())
}

/// Reads every file.
pub fn verify(dir: &Path) -> Result<Done, Failure> {
    let v = Store::read_only(dir).verify().map_err(Failure::wrong)?;
    let mut out = String::new();
    for p in &v.problems {
        let _ = writeln!(out, "damaged: {p}");
    }
    for path in &v.aside {
        let _ = writeln!(out, "set aside earlier: {}", path.display());
    }
    for path in &v.strangers {
        let _ = writeln!(out, "not helion's: {}", path.display());
    }
    let (good, bad) = (v.good, v.problems.len());
    let _ = writeln!(out, "{good} good records, {bad} damaged, in {}", dir.display());
    if v.other_formats > 0 {
        let _ = writeln!(out, "{} records of other versions were not looked into", v.other_formats);
    }
    if bad > 0 {
        out.push_str("Damaged records are not used, and set aside when their kernel is tuned again.\n");
    }
    Ok(Done { text: out, well: bad == 0 })
}

/// Removes the chosen records, or everything.
pub fn clear(dir: &Path, chosen: Chosen<'_>) -> Result<Done, Failure> {
    let store = Store::open(dir);
    let count = if chosen.names.is_empty() && !chosen.here {
        store.clear().map_err(Failure::wrong)?
    } else {
        let mut count = 0;
        for r in chosen.records(&store)? {
            count += usize::from(store.remove(&r.key).map_err(Failure::wrong)?);
        }
        count
    };
    Ok(format!("{count} records removed from {}\n", dir.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (unix, date) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_603_200, "2024-12-31"),
            (1_709_164_800, "2024-02-29"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(unix), date);
        }
    }
}
