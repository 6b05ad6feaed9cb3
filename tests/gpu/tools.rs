//! NVIDIA's offline tools. In: PTX, or a cubin. Out: machine code, and what it uses of the device.
//!
//! `scripts/gpu-tools` puts the tools into `.gpu-tools`; `HELION_PTXAS` names another `ptxas`, whose folder then has
//! the other tools.
#![allow(dead_code, reason = "not every program that includes this file uses all of it")]

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The tools of one folder.
#[derive(Clone, Debug)]
pub struct Tools {
    ptxas: PathBuf,
    folder: PathBuf,
    /// The version of `ptxas`, as in `13.5.37`.
    pub version: String,
}

/// What a kernel uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The entry's name.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory that the code itself declares.
    pub shared: u32,
    /// Bytes of a thread's stack.
    pub stack: u32,
    /// Bytes that a thread stores because it is out of registers.
    pub spill_stores: u32,
    /// Bytes that it loads again.
    pub spill_loads: u32,
}

/// What `ptxas` made.
#[derive(Clone, Debug)]
pub struct Assembled {
    /// What each entry uses.
    pub usage: Vec<Usage>,
    /// Everything else it had to say, such as that matrix instructions are serialised (C7510).
    pub remarks: Vec<String>,
    /// The machine code.
    pub cubin: Vec<u8>,
}

impl Tools {
    /// The tools at hand.
    ///
    /// # Errors
    /// Says what is missing and how to get it.
    pub fn find() -> Result<Tools, String> {
        let exe = std::env::consts::EXE_SUFFIX;
        let ptxas = match std::env::var_os("HELION_PTXAS").filter(|v| !v.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => root().join(format!(".gpu-tools/bin/ptxas{exe}")),
        };
        let said = run(Command::new(&ptxas).arg("--version")).map_err(|e| {
            format!("{e}\n  help: scripts/gpu-tools fetches NVIDIA's tools, or set HELION_PTXAS to the path of a ptxas")
        })?;
        let version = version(&said.out).ok_or_else(|| format!("{}: no version in {:?}", ptxas.display(), said.out))?;
        let folder = ptxas.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Tools { ptxas, folder, version })
    }

    /// The tools for a test; without them, says what is missing.
    pub fn for_test() -> Option<Tools> {
        Tools::find().inspect_err(|e| eprintln!("skipped: {e}")).ok()
    }

    /// Assembles PTX for an architecture such as `sm_90a`.
    ///
    /// # Errors
    /// What `ptxas` refuses, with its words and the lines that they are about.
    pub fn assemble(&self, ptx: &str, arch: &str) -> Result<Assembled, String> {
        let scratch = Scratch::new()?;
        let (from, to) = (scratch.file("kernel.ptx"), scratch.file("kernel.cubin"));
        std::fs::write(&from, ptx).map_err(|e| format!("{}: {e}", from.display()))?;
        let said = run(Command::new(&self.ptxas).arg("-v").arg(format!("-arch={arch}")).arg(&from).arg("-o").arg(&to))
            .map_err(|e| format!("{e}{}", quoted_lines(&e, ptx)))?;
        let (usage, remarks) = parse(&said.err);
        let cubin = std::fs::read(&to).map_err(|e| format!("{}: {e}", to.display()))?;
        Ok(Assembled { usage, remarks, cubin })
    }

    /// Machine code as text.
    ///
    /// # Errors
    /// `nvdisasm` is missing or refuses.
    pub fn disassemble(&self, cubin: &Path) -> Result<String, String> {
        run(Command::new(self.folder.join("nvdisasm")).arg("-c").arg(cubin)).map(|said| said.out)
    }

    /// Registers, stack and static shared memory of the kernels in a cubin.
    ///
    /// # Errors
    /// `cuobjdump` is missing or refuses.
    pub fn usage(&self, cubin: &Path) -> Result<Vec<Usage>, String> {
        // It calls its neighbours by name.
        let path = std::env::join_paths([&self.folder]).map_err(|e| e.to_string())?;
        let mut command = Command::new(self.folder.join("cuobjdump"));
        run(command.arg("-res-usage").arg(cubin).env("PATH", path)).map(|said| parse_resources(&said.out))
    }
}

/// The root of the repository: the nearest folder above the package that has the scripts.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|p| p.join("scripts/gpu-tools").is_file()).unwrap_or(package).to_owned()
}

/// What a program wrote.
struct Said {
    out: String,
    err: String,
}

/// Runs a program to its end.
fn run(command: &mut Command) -> Result<Said, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said { out: text(&output.stdout), err: text(&output.stderr) };
    if output.status.success() { Ok(said) } else { Err(format!("{program}: {}{}", said.out, said.err)) }
}

/// The version in `… release 13.5, V13.5.37`.
fn version(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(", V")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// The lines that errors of the form `…, line 17; error …` speak of.
fn quoted_lines(errors: &str, ptx: &str) -> String {
    let numbers = errors.lines().filter_map(|l| l.split_once(", line ")?.1.split(';').next()?.parse::<usize>().ok());
    let quote = |n: usize| Some(format!("  {n}: {}\n", ptx.lines().nth(n.checked_sub(1)?)?));
    numbers.take(5).filter_map(quote).collect()
}

/// Takes `ptxas -v` apart.
fn parse(text: &str) -> (Vec<Usage>, Vec<String>) {
    let (mut kernels, mut remarks): (Vec<Usage>, Vec<String>) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let said = line.split_once(':').map_or(line, |(_, rest)| rest).trim();
        if let Some(rest) = said.strip_prefix("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            kernels.push(Usage { kernel, ..Usage::default() });
        } else if let (Some(k), true) = (kernels.last_mut(), line.contains("bytes stack frame")) {
            for (number, what) in numbers(line) {
                match what.as_str() {
                    "bytes stack frame" => k.stack = number,
                    "bytes spill stores" => k.spill_stores = number,
                    "bytes spill loads" => k.spill_loads = number,
                    _ => {}
                }
            }
        } else if let (Some(k), true) = (kernels.last_mut(), said.starts_with("Used ")) {
            for (number, what) in numbers(said.trim_start_matches("Used ")) {
                match what.as_str() {
                    "registers" => k.registers = number,
                    "bytes smem" => k.shared = number,
                    _ => {}
                }
            }
        } else if !["Function properties for", "Compile time =", "bytes gmem"].iter().any(|w| said.contains(w)) {
            remarks.extend(Some(said.to_owned()).filter(|s| !s.is_empty()));
        }
    }
    (kernels, remarks)
}

/// `12 bytes of this, 3 that` as pairs.
fn numbers(list: &str) -> impl Iterator<Item = (u32, String)> {
    list.split(',').filter_map(|item| {
        let (number, what) = item.trim().trim_start_matches("used ").split_once(' ')?;
        Some((number.parse().ok()?, what.to_owned()))
    })
}

/// Takes `cuobjdump -res-usage` apart.
fn parse_resources(text: &str) -> Vec<Usage> {
    let mut kernels = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("Function ") {
            kernels.push(Usage { kernel: name.trim_end_matches(':').to_owned(), ..Usage::default() });
        } else if let (Some(k), true) = (kernels.last_mut(), line.starts_with("REG:")) {
            for (what, number) in line.split_whitespace().filter_map(|item| item.split_once(':')) {
                let number = number.parse().unwrap_or(0);
                match what {
                    "REG" => k.registers = number,
                    "SHARED" => k.shared = number,
                    "STACK" => k.stack = number,
                    _ => {}
                }
            }
        }
    }
    kernels
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { registers, shared, stack, spill_stores, spill_loads, .. } = self;
        write!(f, "{registers} registers, {shared} bytes shared, {stack} bytes of stack, ")?;
        write!(f, "{spill_stores} bytes spilled and {spill_loads} loaded again")
    }
}

/// A folder that goes with its value.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Scratch, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("helion-gpu-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Scratch(folder))
    }
    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind in the folder for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel with shared memory; with `bad`, one that `ptxas` refuses in line 7.
    fn kernel(bad: bool) -> String {
        let op = if bad { "mov.f99" } else { "mov.u32" };
        format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n\
             .reg .b32 %r<4>; .reg .b64 %p<2>; .shared .align 16 .b8 s[512];\n{op} %r0, %tid.x;\n\
             mov.u32 %r1, s;\nmad.lo.u32 %r1, %r0, 4, %r1;\nst.shared.u32 [%r1], %r0;\nbar.sync 0;\n\
             ld.shared.u32 %r2, [%r1+4];\nld.param.u64 %p0, [p];\nst.global.u32 [%p0], %r2;\nret;\n}}\n"
        )
    }

    #[test]
    fn what_the_assembler_says_is_understood() {
        let text = "ptxas info    : 0 bytes gmem\n\
                    ptxas info    : Compiling entry function 'mm' for 'sm_90a'\n\
                    ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized\n\
                    ptxas info    : Function properties for mm\n    \
                    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n\
                    ptxas info    : Used 248 registers, used 1 barriers, 1024 bytes smem, 416 bytes cmem[0]\n\
                    ptxas info    : Compile time = 163.786 ms\n";
        let (usage, remarks) = parse(text);
        let want =
            Usage { kernel: "mm".into(), registers: 248, shared: 1024, stack: 16, spill_stores: 8, spill_loads: 12 };
        assert_eq!(usage, [want]);
        assert_eq!(remarks, ["(C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized"]);
    }

    #[test]
    fn what_a_cubin_uses_is_understood() {
        let text = "\nResource usage:\n Common:\n  GLOBAL:0\n Function mm:\n  \
                    REG:248 STACK:0 SHARED:1024 LOCAL:0 CONSTANT[0]:416 TEXTURE:0\n";
        let want = Usage { kernel: "mm".into(), registers: 248, shared: 1024, ..Usage::default() };
        assert_eq!(parse_resources(text), [want]);
    }

    #[test]
    fn the_tools_agree_about_a_kernel() {
        let Some(tools) = Tools::for_test() else { return };
        for arch in ["sm_80", "sm_90a"] {
            let made = tools.assemble(&kernel(false), arch).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((made.usage.len(), made.usage[0].shared), (1, 512));
            assert!(made.usage[0].registers > 0 && made.remarks.is_empty(), "{made:?}");
            let scratch = Scratch::new().unwrap_or_else(|e| panic!("{e}"));
            std::fs::write(scratch.file("k"), &made.cubin).expect("a writable folder");
            assert!(tools.disassemble(&scratch.file("k")).is_ok_and(|text| text.contains("BAR")));
        }
    }

    #[test]
    fn a_refusal_quotes_the_line() {
        let Some(tools) = Tools::for_test() else { return };
        let error = tools.assemble(&kernel(true), "sm_80").expect_err("no such type");
        assert!(error.contains("  7: mov.f99 %r0, %tid.x;"), "{error}");
    }
}
