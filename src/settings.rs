//! Settings: what can be changed from outside a program, in one table.
//!
//! ```sh
//! HELION_THREADS=4 HELION_DUMP=loops cargo run --release --example softmax
//! ```
//!
//! Each setting has an environment variable, read once at its first use, and a function to set it from
//! code, which wins. A value that cannot be understood is reported once on standard error and the
//! default is used. [`table`] prints what there is; the documentation is made from the same rows.

use crate::error::{Error, Result};
use helion_autotune::Effort;
use helion_codegen::ptx::Arch;
use std::path::PathBuf;
use std::sync::{OnceLock, RwLock};

macro_rules! settings {
    ($($name:ident $set:ident $var:literal: $t:ty = $default:expr, $parse:path, $default_text:literal, $doc:literal;)*) => {
        /// The value of every setting.
        #[derive(Clone, Debug)]
        struct Values { $($name: $t,)* }

        impl Values {
            fn from_environment() -> Values {
                Values { $($name: read($var, $parse).unwrap_or_else(|| $default),)* }
            }
        }

        $(
            #[doc = $doc]
            #[doc = concat!("\n\nEnvironment: `", $var, "`. Default: ", $default_text, ".")]
            pub fn $name() -> $t {
                values().read().unwrap_or_else(|e| e.into_inner()).$name.clone()
            }
            #[doc = concat!("Sets what [`", stringify!($name), "`] returns, as `", $var, "` would.")]
            ///
            /// # Errors
            /// When the text is not a value of this setting.
            pub fn $set(text: &str) -> Result<()> {
                let value = $parse(text).map_err(|e| Error::setting(format!("{}: {e}", $var)))?;
                values().write().unwrap_or_else(|e| e.into_inner()).$name = value;
                changed();
                Ok(())
            }
        )*

        /// Every setting: variable, default, meaning.
        pub const ALL: &[(&str, &str, &str)] = &[$(($var, $default_text, $doc)),*];
    };
}

settings! {
    threads set_threads "HELION_THREADS": usize = default_threads(), parse_threads, "all cores",
        "How many threads share a launch, the calling one included. 1 never uses another thread.";
    pin set_pin "HELION_PIN": bool = false, parse_switch, "off",
        "Whether the threads that help with launches stay on cores of their own (on Linux), and look for work there for a millisecond after each, `on` or `off`. Read when a thread starts. Worth it where other programs compete for the cores. The tuner always measures so.";
    isa set_isa "HELION_ISA": Isa = Isa::Best, parse_isa, "the best this machine has",
        "Which vector instructions compiled kernels use: `avx512`, `avx2`, `portable` or `best`. One that this machine lacks counts as the next lower one. Kernels compiled before a change stay as they are.";
    dump set_dump "HELION_DUMP": Dump = Dump::default(), parse_dump, "nothing",
        "Which stages of compiling are printed, separated by commas: `tile`, `graph`, `loops`, `clif`, `vector`, `llvm`, `ptx`, `asm`, or `all`.";
    gpu_arch set_gpu_arch "HELION_GPU_ARCH": Option<Arch> = None, parse_arch, "none",
        "A GPU architecture, `sm_80`, `sm_86`, `sm_89` or `sm_90a`, for which launches on the CPU are also compiled when they are explained or dumped, so that PTX can be seen without a GPU. Launches on a GPU are compiled for that GPU.";
    dump_filter set_dump_filter "HELION_DUMP_FILTER": String = String::new(), parse_text, "every kernel",
        "Dump only kernels whose name contains this.";
    dump_dir set_dump_dir "HELION_DUMP_DIR": Option<PathBuf> = None, parse_path, "standard error",
        "Folder that dumps are written to, one file for each kernel and stage.";
    cache_dir set_cache_dir "HELION_CACHE_DIR": Option<PathBuf> = default_cache_dir(), parse_path, "`helion` in the user's cache folder",
        "Folder where tuning results are remembered. `off` remembers nothing on disk.";
    cache set_cache "HELION_CACHE": Cache = Cache::ReadWrite, parse_cache, "read-write",
        "What becomes of tuning results on disk: `read-write` remembers and uses them, `read` uses them and never tunes or writes (for production), `off` neither reads nor writes.";
    tune set_tune "HELION_TUNE": Effort = Effort::None, parse_tune, "off",
        "Whether the first launch of a kernel at new sizes tunes it: `off`, `quick` (seconds) or `full` (up to half a minute). Sizes that were tuned before, in whatever process, are not tuned again.";
    pool_bytes set_pool_bytes "HELION_POOL_BYTES": usize = 1 << 30, parse_bytes, "1G",
        "How much memory of freed tensors of 2 MiB and more is kept for reuse. A number with an optional `K`, `M` or `G`.";
    seed_tuning set_seed_tuning "HELION_TUNE_SEED": u64 = 0, parse_number, "0",
        "Seed of the random choices of the tuner.";
    tune_isolate set_tune_isolate "HELION_TUNE_ISOLATE": bool = true, parse_switch, "on",
        "Whether the tuner runs candidates in a process of their own, `on` or `off`, so that one that crashes or hangs costs nothing else. Always off where there is no `fork`.";
    tune_worker set_tune_worker "HELION_TUNE_WORKER": Option<PathBuf> = None, parse_path, "the program itself, or `helion` in the path",
        "The `helion` command that runs candidates of the tuner on a GPU, for programs that do not call `helion::tuning::worker`. It must be of the same version.";
}

/// What becomes of tuning results on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cache {
    /// They are used and remembered.
    ReadWrite,
    /// They are used; nothing is tuned or written.
    Read,
    /// They are neither used nor remembered.
    Off,
}

/// Vector instructions to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// The best this machine has.
    Best,
    /// 512-bit vectors, without the matrix unit that some processors have beside them.
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// What every machine of this architecture has.
    Portable,
}

/// Stages of compiling, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Tile IR: what is computed.
    Tile,
    /// The schedule as a graph, for Graphviz: which loop feeds which.
    Graph,
    /// Loop IR: how.
    Loops,
    /// Cranelift's text of the kernel.
    Clif,
    /// Vector programs.
    Vector,
    /// LLVM IR of a kernel for a GPU.
    Llvm,
    /// PTX of a kernel for a GPU.
    Ptx,
    /// Machine code, disassembled; for a GPU what its assembler says.
    Asm,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Stage; 8] =
        [Stage::Tile, Stage::Graph, Stage::Loops, Stage::Clif, Stage::Vector, Stage::Llvm, Stage::Ptx, Stage::Asm];
    /// The name in `HELION_DUMP` and the ending of dumped files.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Tile => "tile",
            Stage::Graph => "graph",
            Stage::Loops => "loops",
            Stage::Clif => "clif",
            Stage::Vector => "vector",
            Stage::Llvm => "llvm",
            Stage::Ptx => "ptx",
            Stage::Asm => "asm",
        }
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dump(u16);

impl Dump {
    /// Every stage.
    pub const ALL: Dump = Dump((1 << Stage::ALL.len()) - 1);
    /// Whether a stage is in the set.
    pub const fn has(self, stage: Stage) -> bool {
        self.0 & 1 << stage as u8 != 0
    }
    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Every setting as text, for programs that want to print help.
pub fn table() -> String {
    let rows = ALL.iter().map(|(var, default, doc)| format!("{var}\n    {doc}\n    Default: {default}.\n"));
    rows.collect()
}

fn values() -> &'static RwLock<Values> {
    static VALUES: OnceLock<RwLock<Values>> = OnceLock::new();
    VALUES.get_or_init(|| RwLock::new(Values::from_environment()))
}

/// Counts changes, so that readers on hot paths may keep copies.
static VERSION: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

fn changed() {
    VERSION.fetch_add(1, std::sync::atomic::Ordering::Release);
}

/// Changes whenever a setting does.
pub(crate) fn version() -> u32 {
    VERSION.load(std::sync::atomic::Ordering::Acquire)
}

/// A variable's value, or nothing; complaints go to standard error.
fn read<V>(var: &str, parse: impl Fn(&str) -> Result<V, String>) -> Option<V> {
    let text = std::env::var(var).ok()?;
    match parse(&text) {
        Ok(v) => Some(v),
        Err(e) => {
            eprintln!("warning: {var}: {e}; the default is used");
            None
        }
    }
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(crate::runtime::pool::MAX_WORKERS)
}

fn default_cache_dir() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        var("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        var("HOME").map(|h| h.join("Library/Caches"))
    } else {
        var("XDG_CACHE_HOME").filter(|p| p.is_absolute()).or_else(|| var("HOME").map(|h| h.join(".cache")))
    };
    base.map(|b| b.join("helion"))
}

fn parse_threads(text: &str) -> Result<usize, String> {
    let max = crate::runtime::pool::MAX_WORKERS;
    match text.trim().parse() {
        Ok(n) if (1..=max).contains(&n) => Ok(n),
        _ => Err(format!("`{text}` is not a number of threads from 1 to {max}")),
    }
}

fn parse_isa(text: &str) -> Result<Isa, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "best" => Ok(Isa::Best),
        "avx512" => Ok(Isa::Avx512),
        "avx2" => Ok(Isa::Avx2),
        "portable" => Ok(Isa::Portable),
        _ => Err(format!("`{text}` is none of avx512, avx2, portable, best")),
    }
}

fn parse_arch(text: &str) -> Result<Option<Arch>, String> {
    match text.trim() {
        "" | "none" => Ok(None),
        name => name.parse().map(Some),
    }
}

fn parse_cache(text: &str) -> Result<Cache, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "read-write" => Ok(Cache::ReadWrite),
        "read" => Ok(Cache::Read),
        "off" => Ok(Cache::Off),
        _ => Err(format!("`{text}` is none of read-write, read, off")),
    }
}

fn parse_tune(text: &str) -> Result<Effort, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "off" => Ok(Effort::None),
        "quick" => Ok(Effort::Quick),
        "full" => Ok(Effort::Full),
        _ => Err(format!("`{text}` is none of off, quick, full")),
    }
}

fn parse_dump(text: &str) -> Result<Dump, String> {
    let mut set = 0;
    for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        match Stage::ALL.into_iter().find(|s| s.name() == word) {
            Some(s) => set |= 1 << s as u8,
            None if word == "all" => set = Dump::ALL.0,
            None => {
                return Err(format!(
                    "`{word}` is not a stage; the stages are tile, graph, loops, clif, vector, llvm, ptx, asm, all"
                ));
            }
        }
    }
    Ok(Dump(set))
}

fn parse_text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn parse_path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok(if text.is_empty() || text == "off" { None } else { Some(PathBuf::from(text)) })
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text.trim() {
        "on" | "1" => Ok(true),
        "off" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither `on` nor `off`")),
    }
}

fn parse_number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is not a whole number"))
}

fn parse_bytes(text: &str) -> Result<usize, String> {
    let t = text.trim();
    let (digits, shift) = match t.chars().last() {
        Some('K' | 'k') => (&t[..t.len() - 1], 10),
        Some('M' | 'm') => (&t[..t.len() - 1], 20),
        Some('G' | 'g') => (&t[..t.len() - 1], 30),
        _ => (t, 0),
    };
    let n: Option<usize> = digits.parse().ok().and_then(|n: usize| n.checked_mul(1 << shift));
    n.ok_or_else(|| format!("`{text}` is not a number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        assert_eq!(parse_threads("4"), Ok(4));
        assert!(parse_threads("0").is_err() && parse_threads("-1").is_err() && parse_threads("9999").is_err());
        assert_eq!(parse_isa("AVX2"), Ok(Isa::Avx2));
        assert_eq!((parse_cache("Read"), parse_tune("quick")), (Ok(Cache::Read), Ok(Effort::Quick)));
        assert!(parse_cache("write").unwrap_err().contains("read-write") && parse_tune("on").is_err());
        assert!(parse_isa("sse9").unwrap_err().contains("avx512"));
        let d = parse_dump("tile, asm").unwrap();
        assert!(d.has(Stage::Tile) && d.has(Stage::Asm) && !d.has(Stage::Loops));
        assert_eq!(parse_dump("all"), Ok(Dump::ALL));
        assert!(parse_dump("tiles").is_err());
        assert_eq!(parse_bytes("2M"), Ok(2 << 20));
        assert!(parse_bytes("99999999999G").is_err() && parse_bytes("é").is_err());
    }

    #[test]
    fn every_setting_is_in_the_table() {
        let text = table();
        for (var, ..) in ALL {
            assert!(text.contains(var) && var.starts_with("HELION_"));
        }
        assert!(set_isa("what").is_err());
    }
}
