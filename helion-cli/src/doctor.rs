//! The `doctor` command: what this machine has, what is missing, and how to get it.

use crate::{Done, Failure, cache};
use helion::prelude::*;
use helion::settings;
use helion_autotune::store::{Claim, Fingerprint, Key, Store};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

/// What is found on the way.
#[derive(Default)]
struct Report {
    lines: String,
    problems: Vec<String>,
    hints: Vec<String>,
}

impl Report {
    fn line(&mut self, name: &str, text: impl std::fmt::Display) {
        let _ = writeln!(self.lines, "{name:<13} {text}");
    }
}

/// Looks at everything.
pub fn examine(dir: Option<&Path>) -> Done {
    let mut r = Report::default();
    r.line("helion", env!("CARGO_PKG_VERSION"));
    processor(&mut r);
    memory(&mut r);
    gpus(&mut r);
    folder(&mut r, dir);
    kernel(&mut r);
    let mut text = r.lines;
    for p in &r.problems {
        let _ = writeln!(text, "problem: {p}");
    }
    for h in &r.hints {
        let _ = writeln!(text, "hint: {h}");
    }
    let well = r.problems.is_empty();
    if well {
        text.push_str("all is well\n");
    }
    Done { text, well }
}

fn processor(r: &mut Report) {
    let facts = Device::cpu().fingerprint();
    let get = |name| facts.get(name).filter(|v| !v.is_empty()).unwrap_or("unknown");
    r.line("processor", format_args!("{} ({})", get("model"), get("stepping")));
    r.line("  features", get("features"));
    r.line("  vectors", format_args!("{} bytes, compiled for {}", get("vector bytes"), get("target")));
    let sizes: Vec<String> = get("caches").split(' ').map(|b| b.parse().map_or("unknown".into(), bytes)).collect();
    r.line("  caches", sizes.join(", "));
    r.line("  cores", get("cores"));
    let threads = settings::threads();
    r.line("threads", format_args!("{threads} for a launch (HELION_THREADS)"));
    if cfg!(target_arch = "x86_64") && get("vector bytes") == "16" {
        let why = if settings::isa() == settings::Isa::Best {
            "this processor lacks AVX2 and FMA"
        } else {
            "HELION_ISA says so"
        };
        r.hints.push(format!("vectors of 16 bytes are used, since {why}; wider ones are several times faster"));
    }
    let governor = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    if let Ok(g) = governor
        && g.trim() != "performance"
    {
        let g = g.trim();
        r.hints.push(format!("the clock follows the load (`{g}`); `cpupower frequency-set -g performance` makes times steadier while tuning"));
    }
}

fn memory(r: &mut Report) {
    if let Ok(text) = std::fs::read_to_string("/proc/meminfo") {
        let get = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        if let (Some(total), Some(free)) = (get("MemTotal"), get("MemAvailable")) {
            r.line("memory", format_args!("{}, {} of it available", bytes(total << 10), bytes(free << 10)));
        }
    }
    let file = "/sys/kernel/mm/transparent_hugepage/enabled";
    match std::fs::read_to_string(file) {
        Ok(text) => {
            let chosen = text.split(['[', ']']).nth(1).unwrap_or("unknown").to_owned();
            r.line(
                "  huge pages",
                format_args!("{chosen}{}", if chosen == "never" { "" } else { ": large tensors get them" }),
            );
            if chosen == "never" {
                r.hints.push(format!(
                    "large tensors are up to 1.5 times faster with huge pages: `echo madvise | sudo tee {file}`"
                ));
            }
        }
        Err(_) => r.line("  huge pages", "this system does not say"),
    }
}

fn gpus(r: &mut Report) {
    let compiles = cfg!(feature = "llvm");
    match helion::cuda::devices() {
        Ok(devices) => {
            devices.iter().for_each(|d| gpu(r, d));
            if !compiles {
                let build =
                    "install LLVM 22 (Debian: `apt-get install llvm-22-dev`) and build with `--features cuda,llvm`";
                r.hints.push(format!("this build cannot compile for GPUs; {build}"));
            }
        }
        Err(e) => {
            r.line("GPU", "none that can be used");
            let present = Path::new("/dev/nvidia0").exists() || Path::new("/dev/kfd").exists();
            let there = if present { "there is one" } else { "and none was seen" };
            r.hints.push(format!("{e}; {there}. Kernels run on the processor"));
        }
    }
    r.line("  compiling", if compiles { "PTX through LLVM" } else { "not in this build (feature `llvm`)" });
    if let Some(arch) = settings::gpu_arch() {
        r.line("  explained", format_args!("for {arch}, too (HELION_GPU_ARCH)"));
    }
}

fn gpu(r: &mut Report, d: &helion::cuda::Info) {
    let f = &d.facts;
    let (version, (major, minor)) = (d.driver, f.capability);
    r.line("GPU", format_args!("cuda:{} {}, compute capability {major}.{minor}", d.index, f.name));
    let memory = helion::cuda::memory(d.index).map_or_else(|e| e.to_string(), |m| format!("{} free", bytes(m.free)));
    r.line("  memory", format_args!("{}, {memory}", bytes(f.memory)));
    let shared = bytes(f.shared.into());
    r.line("  processors", format_args!("{}, {shared} of shared memory for a block", f.multiprocessors));
    r.line("  driver", format_args!("for CUDA {}.{}", version / 1000, version % 1000 / 10));
    let Some(arch) = d.arch else {
        r.hints.push(format!("cuda:{} is too old: kernels need compute capability 8.0", d.index));
        return;
    };
    r.line("  compiled for", arch);
    if cfg!(feature = "llvm") {
        let ran = Device::cuda(d.index).and_then(|gpu| {
            let x = Tensor::from_vec([1003], (0..1003).map(|i| i as f32).collect())?.to(gpu)?;
            small(&x)?.to_vec()
        });
        match ran {
            Ok(v) if is_right(&v) => r.line("  a kernel", "compiled, ran and gave the right result"),
            Ok(_) => {
                r.problems.push(format!("a small kernel gave a wrong result on cuda:{}; please report it", d.index))
            }
            Err(e) => r.problems.push(format!("a small kernel cannot be compiled or run on cuda:{}: {e}", d.index)),
        }
    }
}

/// Whether these are the results of [`small`] for 0, 1, 2, ….
fn is_right(v: &[f32]) -> bool {
    v.iter().enumerate().all(|(i, y)| *y == i as f32 * 2.0 + 1.0)
}

fn folder(r: &mut Report, dir: Option<&Path>) {
    let dir = match cache::folder(dir) {
        Ok(dir) => dir,
        Err(Failure::Wrong(text) | Failure::Usage(text)) => {
            r.line("cache folder", "none");
            r.hints.push(format!("tuning results are lost when a program ends: {text}"));
            return;
        }
    };
    r.line("cache folder", dir.display());
    let store = Store::read_only(&dir);
    let (records, verified) = match (store.verify(), store.list()) {
        (Ok(v), Ok(records)) => (records, v),
        (Err(e), _) | (_, Err(e)) => {
            r.problems.push(format!("the cache folder cannot be read: {e}; set HELION_CACHE_DIR to another one"));
            return;
        }
    };
    let here = records.iter().filter(|l| cache::is_here(&l.key)).count();
    let size: u64 = records.iter().map(|l| l.bytes).sum();
    r.line("  records", format_args!("{}, {here} of them for this device and version, {}", verified.good, bytes(size)));
    if !verified.problems.is_empty() {
        let n = verified.problems.len();
        r.problems.push(format!(
            "{n} damaged records are not used; `helion cache verify` names them, `helion cache clear` removes them"
        ));
    }
    let mode = match settings::cache() {
        settings::Cache::ReadWrite => "read and written",
        settings::Cache::Read => "only read (HELION_CACHE)",
        settings::Cache::Off => "left alone (HELION_CACHE)",
    };
    r.line("  launches", mode);
    match writable(&dir) {
        Ok(true) => r.line("  writable", "yes"),
        Ok(false) => r.line("  writable", "not there yet; the first tuning makes it"),
        // As meant for production.
        Err(_) if settings::cache() != settings::Cache::ReadWrite => r.line("  writable", "no"),
        Err(e) => {
            r.line("  writable", "no");
            r.problems.push(format!(
                "tuning results cannot be remembered: {e}; set HELION_CACHE_DIR to a folder that can be written"
            ));
        }
    }
}

/// Whether the folder is there and can be written and locked: by doing it.
fn writable(dir: &Path) -> Result<bool, String> {
    if !dir.exists() {
        return Ok(false);
    }
    let key = Key::new("doctor", &["writable"], &Fingerprint::new(), env!("CARGO_PKG_VERSION"));
    match Store::open(dir).claim(&key) {
        // Another doctor holds it; it could be written then.
        Ok(Claim::Mine(_) | Claim::Other { .. }) => Ok(true),
        Err(e) => Err(e.to_string()),
    }
}

/// `x * 2 + 1`.
#[kernel]
fn small(x: &Tensor<f32, 1>) -> Result<Tensor<f32, 1>> {
    let [n] = x.dims();
    let mut out = x.empty_like();
    for t in tile(n) {
        out[t] = x[t] * 2.0 + 1.0;
    }
    Ok(out)
}

/// Compiles a kernel and checks what it computes.
fn kernel(r: &mut Report) {
    let n = 1003;
    let start = Instant::now();
    let found = Tensor::from_vec([n], (0..n).map(|i| i as f32).collect()).and_then(|x| small(&x)?.to_vec());
    let time = start.elapsed();
    match found {
        Ok(v) if is_right(&v) => {
            r.line("a kernel", format_args!("compiled, ran and gave the right result in {time:.1?}"));
        }
        Ok(_) => r
            .problems
            .push("a small kernel gave a wrong result on this machine; please report it with this text".into()),
        Err(e) => r.problems.push(format!("a small kernel cannot be compiled or run: {e}")),
    }
}

/// A number of bytes for people.
fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (n.max(1).ilog2() / 10).min(4) as usize;
    let value = n as f64 / (1u64 << (10 * unit)) as f64;
    if value.fract() == 0.0 { format!("{value} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_well() {
        for (n, text) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (49152, "48 KiB"), (2 << 20, "2 MiB"), (1_610_612_736, "1.5 GiB")]
        {
            assert_eq!(bytes(n), text);
        }
    }
}
