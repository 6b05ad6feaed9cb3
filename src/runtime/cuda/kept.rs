//! Assembled kernels, kept on disk.
//!
//! In: PTX, and a device. Out: machine code for it, from the folder `gpu` in the folder of tuning results when it was
//! assembled before, by whatever process; else from the driver's assembler. A file's name is made of everything the
//! code depends on: the PTX, the compute capability, the driver. A file holds a line with format, checksum and lengths,
//! then the PTX, then the code. What is damaged, foreign or unreadable is a miss, and written anew; nothing here fails a
//! launch. The settings `cache` and `cache_dir` hold for it as for tuning results.

use super::driver::Driver;
use super::gpu::Gpu;
use crate::error::{Error, Result};
use crate::settings::{self, Cache, Stage};
use helion_codegen::ptx::PtxKernel;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// The first word of a file.
const FORMAT: &str = "helion-cubin-1";
/// Files that are larger are not read.
const LARGEST: u64 = 256 << 20;

/// Machine code for a kernel.
///
/// # Errors
/// When the assembler refuses it.
pub(super) fn assembled(gpu: &'static Gpu, driver: &dyn Driver, kernel: &PtxKernel) -> Result<Vec<u8>> {
    let ptx = kernel.text();
    let path = folder().map(|dir| dir.join(format!("{:032x}.cubin", name(gpu, ptx))));
    if let Some(code) = path.as_deref().and_then(|p| read(p, ptx)) {
        return Ok(code);
    }
    let made = driver.assemble(ptx).map_err(|f| match gpu.error(&f) {
        e if matches!(e.kind(), crate::error::Kind::Driver { .. }) => {
            let name = kernel.name();
            Error::internal(format!("kernel `{name}`: the driver's assembler refuses it for {gpu:?}: {f}"))
        }
        e => e,
    })?;
    crate::runtime::compile::dump(kernel.name(), Stage::Asm, || made.log.clone());
    if let Some(path) = path.filter(|_| settings::cache() == Cache::ReadWrite) {
        // The next process assembles it again if this fails.
        let _ = write(&path, ptx, &made.code);
    }
    Ok(made.code)
}

/// Where files are, if the settings allow them.
fn folder() -> Option<PathBuf> {
    let allowed = settings::cache() != Cache::Off;
    settings::cache_dir().filter(|_| allowed).map(|d| d.join("gpu"))
}

/// Everything that the code depends on, as a number.
fn name(gpu: &Gpu, ptx: &str) -> u128 {
    let (major, minor) = gpu.facts.capability;
    xxh3_128(format!("{FORMAT} {major}.{minor} {} {}\n{ptx}", gpu.version, gpu.facts.name).as_bytes())
}

fn read(path: &Path, ptx: &str) -> Option<Vec<u8>> {
    let meta = path.metadata().ok().filter(|m| m.is_file() && m.len() <= LARGEST)?;
    let mut bytes = std::fs::read(path).ok().filter(|b| b.len() as u64 == meta.len())?;
    let line = bytes.iter().position(|b| *b == b'\n')?;
    let head = std::str::from_utf8(&bytes[..line]).ok()?;
    let body = &bytes[line + 1..];
    let mut words = head.split(' ');
    let mut word = || words.next();
    let format = word()? == FORMAT;
    let sum = u128::from_str_radix(word()?, 16).ok()?;
    let lengths: (usize, usize) = (word()?.parse().ok()?, word()?.parse().ok()?);
    let whole = lengths.0.checked_add(lengths.1)? == body.len() && xxh3_128(body) == sum;
    let same = format && whole && body.get(..lengths.0)? == ptx.as_bytes();
    same.then(|| bytes.split_off(line + 1 + lengths.0))
}

/// Writes beside the place first, so that a killed process leaves the old file or the new one.
fn write(path: &Path, ptx: &str, code: &[u8]) -> std::io::Result<()> {
    let body = [ptx.as_bytes(), code].concat();
    let head = format!("{FORMAT} {:032x} {} {}\n", xxh3_128(&body), ptx.len(), code.len());
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let new = path.with_extension(format!("new-{}-{:?}", std::process::id(), std::thread::current().id()));
    let written = std::fs::write(&new, [head.as_bytes(), &body].concat()).and_then(|()| std::fs::rename(&new, path));
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&new);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_a_miss() {
        let dir = std::env::temp_dir().join(format!("helion-kept-{}", std::process::id()));
        let path = dir.join("a.cubin");
        let (ptx, code) = (".version 8.0\n", [0u8, 1, 10, 255].as_slice());
        assert_eq!(read(&path, ptx), None);
        write(&path, ptx, code).unwrap();
        assert_eq!(read(&path, ptx).as_deref(), Some(code));
        assert_eq!(read(&path, "other"), None);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path, ptx), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read(&path, ptx), None, "cut at {at}");
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
